#include "work/sealed_parts.h"

#include "base/assert.h"
#include "work/corpus.h"
#include "work/dataset.h"
#include "work/model_tree.h"

static enum emac_status part_add(struct store *s, const struct cid *cid, const struct cid *of,
                                 struct sealed_parts *out, struct emac_err *err)
{
    EMAC_ASSERT(out->count < SEALED_PARTS_MAX);
    struct sealed_part *p = &out->at[out->count];
    enum emac_status st = sealed_load(s, cid, &p->sealed, err);
    p->cid = *cid;
    p->of = *of;
    out->count += st == EMAC_OK;
    return st;
}

enum emac_status sealed_parts_data(struct store *s, const struct cid *data,
                                   struct sealed_parts *out, struct emac_err *err)
{
    struct dataset d;
    struct corpus corpus;
    *out = (struct sealed_parts){0};
    if (!sealed_is(data))
        return EMAC_OK;
    if (!store_block_has(s, data, NULL))
        return emac_fail(err, EMAC_NOT_FOUND, "the block that says what the data are is not here");
    if (corpus_load(s, data, &corpus, NULL) == EMAC_OK)
        return sealed_is(&corpus.file) ? part_add(s, &corpus.file, data, out, err) : EMAC_OK;
    enum emac_status st = EMAC_OK;
    if (dataset_load(s, data, &d, NULL) == EMAC_OK) {
        for (int i = 0; i < DATASET_PARTS && st == EMAC_OK; i++)
            if (d.split[i].records > 0 && sealed_is(&d.split[i].file))
                st = part_add(s, &d.split[i].file, data, out, err);
    }
    dataset_release(&d);
    return st;
}

static enum emac_status directory_add(struct store *s, const struct model_tree *m,
                                      struct sealed_parts *out, struct emac_err *err)
{
    static const enum model_file WEIGHTS[] = {MODEL_WEIGHTS, MODEL_ADAPTER, MODEL_HEAD};
    enum emac_status st = EMAC_OK;
    for (size_t i = 0; i < EMAC_COUNT(WEIGHTS) && st == EMAC_OK; i++)
        if (model_tree_has(m, WEIGHTS[i]) && sealed_is(&m->file[WEIGHTS[i]]))
            st = part_add(s, &m->file[WEIGHTS[i]], &m->dir, out, err);
    return st;
}

enum emac_status sealed_parts_model(struct store *s, const struct cid *dir,
                                    struct sealed_parts *out, struct emac_err *err)
{
    struct model_tree m;
    enum emac_status st;
    *out = (struct sealed_parts){0};
    if (dir->codec != CID_DAG_PB)
        return EMAC_OK;
    st = model_tree_read(s, dir, &m, err);
    if (st == EMAC_INVALID || st == EMAC_UNSUPPORTED)
        return EMAC_OK; /* no model: nobody can use it as one */
    if (st != EMAC_OK)
        return st;
    EMAC_TRY(st, directory_add(s, &m, out, err));
    if (!model_tree_has(&m, MODEL_BASE) || model_tree_has(&m, MODEL_WEIGHTS))
        goto out; /* a whole model rests on nothing */
    const struct cid base = m.file[MODEL_BASE];
    EMAC_TRY(st, model_tree_read(s, &base, &m, err));
    if (model_tree_has(&m, MODEL_WEIGHTS) && sealed_is(&m.file[MODEL_WEIGHTS]))
        st = part_add(s, &m.file[MODEL_WEIGHTS], &m.dir, out, err);
out:
    return st;
}

enum emac_status sealed_parts(struct store *s, const struct cid *asset, struct sealed_parts *out,
                              struct emac_err *err)
{
    return sealed_is(asset) ? sealed_parts_data(s, asset, out, err)
                            : sealed_parts_model(s, asset, out, err);
}
