/* The model directory (work/model_tree.h): the params bundle under the name that Hugging Face tools
 * look for, beside the texts that say how to use it; what is trained on top of a base, beside the
 * base. */
#include "work/planner.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "model/model_config.h"
#include "work/family.h"
#include "work/plan_blocks.h"

#define MODEL_FILES 10

struct model_dir {
    struct block_list blocks;
    struct unixfs_link link[MODEL_FILES];
    char name[MODEL_FILES][32];
    size_t count;
};

static void link_add(struct model_dir *d, const char *name, const struct cid *cid, uint64_t size,
                     uint64_t tree_size)
{
    EMAC_ASSERT(d->count < MODEL_FILES);
    bool fits = emac_strcpy(d->name[d->count], sizeof d->name[0], name);
    EMAC_ASSERT(fits);
    d->link[d->count] = (struct unixfs_link){*cid, d->name[d->count], tree_size, size};
    d->count++;
}

enum emac_status model_dir_text(struct model_dir *d, const char *name, struct emac_buf *text,
                                enum emac_status made, struct emac_err *err)
{
    struct cid cid;
    uint64_t tree;
    if (made == EMAC_OK)
        made = blocks_add_file(&d->blocks, text->data, text->len, &cid, &tree, err);
    if (made == EMAC_OK)
        link_add(d, name, &cid, text->len, tree);
    emac_buf_clear(text);
    return made;
}

static enum emac_status config_add(struct model_dir *d, const struct job_plan *p,
                                   struct emac_err *err)
{
    struct emac_buf text;
    emac_buf_init(&text, MODEL_TEXT_MAX);
    enum emac_status st = emac_buf_append(&text, p->config.data, p->config.len, err);
    st = model_dir_text(d, model_file_name(MODEL_CONFIG), &text, st, err);
    emac_buf_release(&text);
    return st;
}

static enum emac_status adapter_config_add(struct model_dir *d, const struct job_plan *p,
                                           struct emac_err *err)
{
    struct emac_buf text;
    char base[CID_TEXT_MAX];
    cid_text(base, &p->job.base);
    emac_buf_init(&text, MODEL_TEXT_MAX);
    enum emac_status st = peft_config_write(&p->job.tune, base, &text, err);
    st = model_dir_text(d, model_file_name(MODEL_ADAPTER_CONFIG), &text, st, err);
    emac_buf_release(&text);
    return st;
}

static void tokenizer_add(struct model_dir *d, const struct model_tree *t)
{
    for (int f = MODEL_TOKENIZER; f <= MODEL_GENERATION; f++)
        if (model_tree_has(t, (enum model_file)f))
            link_add(d, model_file_name((enum model_file)f), &t->file[f], 0, t->link_size[f]);
}

/* The texts; *weights is what the params bundle is called among them. */
static enum emac_status texts_add(struct model_dir *d, const struct job_plan *p,
                                  enum model_file *weights, struct emac_err *err)
{
    const struct job_family *family = job_family_of(&p->job);
    enum emac_status st;
    if (p->job.tune.kind == TUNE_LORA) {
        *weights = MODEL_ADAPTER;
        return adapter_config_add(d, p, err);
    }
    *weights = p->job.tune.kind == TUNE_HEAD ? MODEL_HEAD : MODEL_WEIGHTS;
    st = config_add(d, p, err);
    if (st == EMAC_OK && *weights == MODEL_WEIGHTS && p->job.tokens > 0)
        tokenizer_add(d, &p->tokenizer);
    else if (st == EMAC_OK && *weights == MODEL_WEIGHTS && family->texts != NULL)
        st = family->texts(&p->job, d, err);
    return st;
}

/* What is not trained comes with the base; what holds the base's weights keeps its licence. */
static void base_add(struct model_dir *d, const struct job_plan *p)
{
    const struct model_tree *base = &p->base;
    bool whole = p->job.tune.kind == TUNE_FULL;
    if (p->job.tune.kind == TUNE_SCRATCH)
        return;
    if (!whole)
        link_add(d, model_file_name(MODEL_BASE), &base->dir, 0, base->tree_size);
    else if (model_tree_has(base, MODEL_LICENCE))
        link_add(d, model_file_name(MODEL_LICENCE), &base->file[MODEL_LICENCE], 0,
                 base->link_size[MODEL_LICENCE]);
}

enum emac_status plan_model(const struct job_plan *p, const struct cid *params, struct cid *model,
                            struct job_block **block, size_t *count, struct emac_err *err)
{
    struct model_dir d = {0};
    struct emac_buf dir;
    enum model_file weights;
    uint64_t tree;
    enum emac_status st;
    emac_buf_init(&dir, UNIXFS_DIR_MAX);
    *block = NULL;
    *count = 0;
    EMAC_TRY(st, texts_add(&d, p, &weights, err));
    EMAC_TRY(st, unixfs_tree_size(p->params_bytes, &tree, err));
    link_add(&d, model_file_name(weights), params, p->params_bytes, tree);
    base_add(&d, p);
    EMAC_TRY(st, unixfs_directory(d.link, d.count, &dir, model, &tree, err));
    EMAC_TRY(st, blocks_add(&d.blocks, model, dir.data, dir.len, err));
    *block = d.blocks.block;
    *count = d.blocks.count;
    d.blocks = (struct block_list){0};
out:
    job_blocks_free(d.blocks.block, d.blocks.count);
    emac_buf_release(&dir);
    return st;
}
