/* Models that this rig generates with. Only the worker comes here. */
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/log.h"
#include "node/agent_internal.h"

#define CONFIG_BYTES_MAX (1u << 20)

static enum emac_status file_find(const struct unixfs_node *dir, const char *name, struct cid *out,
                                  struct emac_err *err)
{
    for (size_t i = 0; i < dir->count; i++) {
        if (strcmp(dir->link[i].name, name) == 0) {
            *out = dir->link[i].cid;
            return EMAC_OK;
        }
    }
    return emac_fail(err, EMAC_CORRUPT, "the model directory holds no '%s'", name);
}

static enum emac_status config_load(struct node *n, const struct cid *cid, struct llama_config *out,
                                    struct emac_err *err)
{
    struct emac_buf text;
    uint64_t size = 0;
    enum emac_status st;
    emac_buf_init(&text, CONFIG_BYTES_MAX);
    EMAC_TRY(st, store_file_size(n->store, cid, &size, err));
    EMAC_TRY(st, emac_buf_reserve(&text, size, err));
    EMAC_TRY(st, store_file_read(n->store, cid, 0, text.data, size, err));
    st = llama_config_read(out, (const char *)text.data, size, err);
out:
    emac_buf_release(&text);
    return st;
}

static enum emac_status dir_load(struct node *n, const struct cid *cid, struct agent_model *m,
                                 struct emac_err *err)
{
    struct emac_buf block;
    struct unixfs_node dir = {0};
    struct cid file;
    enum emac_status st;
    emac_buf_init(&block, UNIXFS_BLOCK_MAX);
    EMAC_TRY(st, store_block_get(n->store, cid, &block, err));
    EMAC_TRY(st, unixfs_node_parse(&dir, cid->codec, block.data, block.len, err));
    EMAC_TRY(st, file_find(&dir, "config.json", &file, err));
    EMAC_TRY(st, config_load(n, &file, &m->config, err));
    EMAC_TRY(st, file_find(&dir, "model.safetensors", &file, err));
    st = store_value_get(n->store, &file, n->file_max, &m->weights, err);
out:
    unixfs_node_release(&dir);
    emac_buf_release(&block);
    return st;
}

static void model_free(struct node *n, struct agent_model *m)
{
    if (m == NULL)
        return;
    store_value_forget(n->store, m->weights);
    free(m);
}

static enum emac_status model_load(struct node *n, const struct cid *cid, struct agent_model **out,
                                   struct emac_err *err)
{
    struct agent_model *m = NULL;
    uint64_t began = n->os->mono_ns(n->os);
    enum emac_status st = emac_alloc(&m, 1, sizeof *m, err);
    if (st != EMAC_OK)
        return st;
    m->cid = *cid;
    st = dir_load(n, cid, m, err);
    if (st == EMAC_NOT_FOUND || st == EMAC_CORRUPT) {
        st = agent_fetch(n, cid, false, err);
        if (st == EMAC_OK)
            st = dir_load(n, cid, m, err);
    }
    if (st != EMAC_OK) {
        model_free(n, m);
        return st;
    }
    LOG_I("node", "a model of %llu weights is loaded in %.2f s",
          (unsigned long long)llama_param_elements(&m->config),
          (double)(n->os->mono_ns(n->os) - began) * 1e-9);
    *out = m;
    return EMAC_OK;
}

enum emac_status agent_model_get(struct node *n, const struct cid *cid,
                                 const struct agent_model **out, struct emac_err *err)
{
    struct agent_model *m = NULL;
    size_t at = 0;
    while (at < NODE_SERVE_MODELS && n->model[at] != NULL && !cid_equal(&n->model[at]->cid, cid))
        at++;
    if (at < NODE_SERVE_MODELS && n->model[at] != NULL) {
        m = n->model[at];
    } else {
        enum emac_status st = model_load(n, cid, &m, err);
        if (st != EMAC_OK)
            return st;
        at = at < NODE_SERVE_MODELS ? at : NODE_SERVE_MODELS - 1;
        model_free(n, n->model[at]);
    }
    memmove(&n->model[1], &n->model[0], at * sizeof n->model[0]);
    n->model[0] = m;
    *out = m;
    return EMAC_OK;
}

void agent_models_release(struct node *n)
{
    for (size_t i = 0; i < NODE_SERVE_MODELS; i++)
        model_free(n, n->model[i]);
}
