/* Model directories in a store, for tests: weights are zeros. */
#ifndef EMAC_TESTS_WORK_MODELS_H
#define EMAC_TESTS_WORK_MODELS_H

#include "fixture.h"

#include "../store/fixture.h"
#include "model/model_config.h"
#include "work/plan_blocks.h"

static struct store *s;
static char dir[64];

static inline int store_new(void **state)
{
    dir_fresh(dir);
    s = open_store(os_real(), dir, 0, 0, 1);
    return 0;
}

static inline int store_done(void **state)
{
    store_close(s);
    remove_tree(dir);
    return 0;
}

/* ---- directories ---- */

struct entry {
    const char *name;
    struct emac_slice bytes;
};

static inline struct cid dir_put(const struct entry *e, size_t count)
{
    struct unixfs_link link[8];
    struct block_list blocks = {0};
    struct emac_buf block;
    struct cid cid;
    uint64_t tree;
    emac_buf_init(&block, UNIXFS_DIR_MAX);
    for (size_t i = 0; i < count; i++) {
        link[i] = (struct unixfs_link){.name = e[i].name, .size = e[i].bytes.len};
        assert_ok(blocks_add_file(&blocks, e[i].bytes.data, e[i].bytes.len, &link[i].cid,
                                  &link[i].tsize, err));
    }
    assert_ok(unixfs_directory(link, count, &block, &cid, &tree, err));
    for (size_t i = 0; i < blocks.count; i++)
        assert_ok(store_block_put_as(s, &blocks.block[i].cid, blocks.block[i].data,
                                     blocks.block[i].len, err));
    assert_ok(store_block_put_as(s, &cid, block.data, block.len, err));
    job_blocks_free(blocks.block, blocks.count);
    emac_buf_release(&block);
    return cid;
}

/* A safetensors file of zeros. */
static inline void weights_write(const struct model_params *params, enum st_dtype dtype,
                                 struct emac_buf *out)
{
    struct st_index idx = {0};
    for (uint32_t i = 0; i < params->count; i++) {
        struct model_param p;
        uint64_t dim[TENSOR_RANK_MAX];
        params->at(params->config, i, &p);
        for (uint32_t k = 0; k < p.shape.rank; k++)
            dim[k] = p.shape.dim[k];
        assert_ok(st_index_add(&idx, p.name, dtype, p.shape.rank, dim, err));
    }
    assert_ok(st_bundle_layout(&idx, out, err));
    uint8_t *zeros = calloc(1, idx.file_size);
    assert_ok(emac_buf_append(out, zeros, idx.file_size - out->len, err));
    free(zeros);
    st_index_release(&idx);
}

/* The directory of a model of the job's shape; `more` is a file beside, or has no name. */
static inline struct cid text_base(const struct llama_config *c, enum st_dtype dtype,
                                   struct entry more)
{
    const struct llama_model m = {c, NULL};
    const struct model_params params = llama_params(&m);
    struct emac_buf config, weights;
    emac_buf_init(&config, MODEL_TEXT_MAX);
    emac_buf_init(&weights, 1 << 24);
    assert_ok(llama_config_write(c, &config, err));
    weights_write(&params, dtype, &weights);
    const struct entry e[] = {{"config.json", emac_buf_slice(&config)},
                              {"model.safetensors", emac_buf_slice(&weights)},
                              more};
    struct cid cid = dir_put(e, more.name == NULL ? 2 : 3);
    emac_buf_release(&config);
    emac_buf_release(&weights);
    return cid;
}

static inline struct cid records_base(const struct classifier_config *c)
{
    const struct model_params params = classifier_params(c);
    struct emac_buf weights;
    json_t *root = classifier_config_json(c);
    json_object_set_new(root, "model_type", json_string(CLASSIFIER_MODEL_TYPE));
    json_object_set_new(root, "architecture", json_string("cnn"));
    char *text = json_dumps(root, 0);
    emac_buf_init(&weights, 1 << 24);
    weights_write(&params, ST_F32, &weights);
    const struct entry e[] = {{"config.json", EMAC_SLICE_STR(text)},
                              {"model.safetensors", emac_buf_slice(&weights)}};
    struct cid cid = dir_put(e, 2);
    emac_buf_release(&weights);
    json_decref(root);
    free(text);
    return cid;
}

#endif
