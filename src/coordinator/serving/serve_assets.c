/* Models of the catalogue that no job here made: they are served by their CID, under the terms of
 * their licence. What they are is read from their directory in the depot. */
#include <string.h>

#include "coordinator/assets/assets.h"
#include "coordinator/serving/serve.h"
#include "model/model_config.h"

/* A whole model, or an adapter or a head with its base. */
static enum emac_status directory_take(struct coordinator *c, struct serve_model *out,
                                       struct model_config *config, struct emac_err *err)
{
    struct model_tree own, base;
    enum emac_status st;
    EMAC_TRY(st, model_tree_read(c->depot, &out->model, &own, err));
    if (model_tree_has(&own, MODEL_WEIGHTS)) {
        out->params = own.file[MODEL_WEIGHTS];
        return model_tree_config(c->depot, &own, config, err);
    }
    bool adapter = model_tree_has(&own, MODEL_ADAPTER);
    enum model_file trained = adapter ? MODEL_ADAPTER : MODEL_HEAD;
    if (!model_tree_has(&own, MODEL_BASE) || !model_tree_has(&own, trained))
        return emac_fail(err, EMAC_INVALID, "the asset '%.100s' holds no model's weights",
                         out->name);
    out->params = own.file[trained];
    out->base = own.file[MODEL_BASE];
    EMAC_TRY(st, model_tree_read(c->depot, &out->base, &base, err));
    st = model_tree_config(c->depot, adapter ? &base : &own, config, err);
out:
    return st;
}

static enum emac_status asset_take(struct coordinator *c, const struct asset *a,
                                   struct serve_model *out, struct emac_err *err)
{
    struct model_config config;
    *out = (struct serve_model){.model = a->cid, .created_ms = a->licence.issued_ms};
    emac_strcpy(out->name, sizeof(out->name), a->licence.name);
    emac_strcpy(out->owner, sizeof(out->owner), a->licence.owner);
    enum emac_status st = directory_take(c, out, &config, err);
    if (st == EMAC_OK && config.is_classifier)
        st = emac_fail(err, EMAC_INVALID, "model '%.100s' is a classifier and generates no text",
                       out->name);
    if (st == EMAC_OK)
        out->weights = llama_param_elements(&config.llama);
    return st;
}

enum emac_status serve_asset_find(struct coordinator *c, const char *name, struct serve_model *out,
                                  struct emac_err *err)
{
    struct asset a;
    struct cid cid;
    if (cid_parse(&cid, name, NULL) != EMAC_OK || asset_find(c, &cid, &a, NULL) != EMAC_OK ||
        a.licence.kind != ASSET_MODEL)
        return emac_fail(err, EMAC_NOT_FOUND, "the catalogue has no model '%.100s'", name);
    return asset_take(c, &a, out, err);
}

static enum emac_status cids_read(struct coordinator *c, uint32_t limit, struct emac_buf *out,
                                  struct emac_err *err)
{
    struct db_stmt *q;
    bool row = false;
    enum emac_status st =
        db_query(c->db, &q, err,
                 "SELECT cid FROM assets WHERE kind = 'model' AND state = 'active' AND NOT EXISTS"
                 " (SELECT 1 FROM jobs WHERE jobs.model = assets.cid AND jobs.state = 'succeeded')"
                 " ORDER BY created_ms DESC, cid LIMIT ?",
                 "i", (int64_t)limit);
    while (st == EMAC_OK && (st = db_next(q, &row, err)) == EMAC_OK && row) {
        const struct cid cid = cid_from_text(db_text(q, 0));
        st = emac_buf_append(out, &cid, sizeof(cid), err);
        if (st != EMAC_OK)
            db_done(q);
    }
    return st;
}

enum emac_status serve_assets_each(struct coordinator *c, uint32_t limit,
                                   void (*each)(void *ctx, const struct serve_model *m), void *ctx,
                                   struct emac_err *err)
{
    struct emac_buf cids;
    emac_buf_init(&cids, limit * sizeof(struct cid));
    enum emac_status st = cids_read(c, limit, &cids, err);
    for (size_t i = 0; st == EMAC_OK && i < cids.len / sizeof(struct cid); i++) {
        struct serve_model m;
        struct asset a;
        struct cid cid;
        memcpy(&cid, cids.data + i * sizeof(cid), sizeof(cid));
        if (asset_find(c, &cid, &a, NULL) == EMAC_OK && asset_take(c, &a, &m, NULL) == EMAC_OK)
            each(ctx, &m);
    }
    emac_buf_release(&cids);
    return st;
}
