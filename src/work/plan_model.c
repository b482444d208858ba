/* The model directory: the params bundle under the name that Hugging Face tools look for, beside
 * the texts that say how to use it. */
#include "work/planner.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "work/family.h"
#include "work/plan_blocks.h"

#define MODEL_FILES 6

static enum emac_status ignore_block(void *ctx, const struct cid *cid, const void *data, size_t n,
                                     struct emac_err *err)
{
    return EMAC_OK;
}

/* Bytes of all blocks of a file of `size` bytes. Links are of one size whatever the digests are, so
 * made-up leaves give the answer. */
static enum emac_status tree_size_of(uint64_t size, uint64_t *out, struct emac_err *err)
{
    *out = size;
    if (size <= UNIXFS_CHUNK)
        return EMAC_OK;
    size_t leaves = (size_t)((size + UNIXFS_CHUNK - 1) / UNIXFS_CHUNK);
    struct cid *leaf, root;
    enum emac_status st = emac_alloc(&leaf, leaves, sizeof *leaf, err);
    if (st != EMAC_OK)
        return st;
    for (size_t i = 0; i < leaves; i++)
        leaf[i].codec = CID_RAW;
    st = unixfs_tree_from_leaves(leaf, leaves, size, ignore_block, NULL, &root, out, err);
    free(leaf);
    return st;
}

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

static enum emac_status texts_add(struct model_dir *d, const struct job_plan *p,
                                  struct emac_err *err)
{
    const struct job_family *family = job_family_of(&p->job);
    struct emac_buf text;
    enum emac_status st;
    emac_buf_init(&text, MODEL_TEXT_MAX);
    st = emac_buf_append(&text, p->config.data, p->config.len, err);
    st = model_dir_text(d, "config.json", &text, st, err);
    if (st == EMAC_OK && family->texts != NULL)
        st = family->texts(&p->job, d, err);
    emac_buf_release(&text);
    return st;
}

enum emac_status plan_model(const struct job_plan *p, const struct cid *params, struct cid *model,
                            struct job_block **block, size_t *count, struct emac_err *err)
{
    struct model_dir d = {0};
    struct emac_buf dir;
    uint64_t tree;
    enum emac_status st;
    emac_buf_init(&dir, UNIXFS_DIR_MAX);
    *block = NULL;
    *count = 0;
    EMAC_TRY(st, texts_add(&d, p, err));
    EMAC_TRY(st, tree_size_of(p->params_bytes, &tree, err));
    link_add(&d, "model.safetensors", params, p->params_bytes, tree);
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
