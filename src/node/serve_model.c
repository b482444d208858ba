/* Models that this rig generates with. Only the worker comes here. */
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/log.h"
#include "node/serving.h"
#include "work/model_tree.h"

#define CARD_POSITIONS 256 /* that an answer on a card must have room for */

static enum emac_status language_load(struct node *n, const struct cid *cid,
                                      struct emac_slice config, struct agent_model *m,
                                      struct emac_err *err)
{
    struct model_texts texts;
    model_texts_init(&texts);
    enum emac_status st = model_texts_read(n->store, cid, &texts, err);
    if (st == EMAC_OK)
        st = model_texts_language(&texts, config, m->config.vocab_size, &m->language, err);
    model_texts_release(&texts);
    return st;
}

/* A whole model is used where the store has it in memory; another is merged with its base. What is
 * private is opened into memory that no store knows. */
static enum emac_status dir_load(struct node *n, const struct cid *cid,
                                 const struct sealed_ring *keys, struct agent_model *m,
                                 struct emac_err *err)
{
    struct emac_buf text;
    struct model_tree tree;
    struct device *dev;
    enum emac_status st;
    emac_buf_init(&text, MODEL_TEXT_MAX);
    EMAC_TRY(st, model_tree_read(n->store, cid, &tree, err));
    if (model_tree_has(&tree, MODEL_WEIGHTS) && !model_tree_is_private(&tree)) {
        EMAC_TRY(st, model_tree_file(n->store, &tree, MODEL_CONFIG, &text, err));
        EMAC_TRY(st,
                 store_value_get(n->store, &tree.file[MODEL_WEIGHTS], n->file_max, &m->whole, err));
        m->weights = EMAC_SLICE(m->whole->data, m->whole->size);
    } else {
        EMAC_TRY(st, agent_generation_device(n, &dev, err));
        EMAC_TRY(st, model_tree_load(n->store, cid, dev, keys, &text, &m->merged, err));
        m->weights = emac_buf_slice(&m->merged);
    }
    EMAC_TRY(st, llama_config_read(&m->config, emac_buf_str(&text), text.len, err));
    st = language_load(n, cid, emac_buf_slice(&text), m, err);
out:
    emac_buf_release(&text);
    return st;
}

static void decoder_end(struct agent_model *m)
{
    if (m->is_private)
        decoder_wipe(m->decoder);
    decoder_close(m->decoder);
    m->decoder = NULL;
}

static void model_free(struct node *n, struct agent_model *m)
{
    if (m == NULL)
        return;
    decoder_end(m);
    language_release(&m->language);
    store_value_forget(n->store, m->whole);
    if (m->is_private)
        model_weights_release(&m->merged);
    else
        emac_buf_release(&m->merged);
    free(m);
}

static enum emac_status model_load(struct node *n, const struct cid *cid,
                                   const struct sealed_ring *keys, struct agent_model **out,
                                   struct emac_err *err)
{
    struct agent_model *m = NULL;
    uint64_t began = n->os->mono_ns(n->os);
    enum emac_status st = emac_alloc(&m, 1, sizeof *m, err);
    if (st != EMAC_OK)
        return st;
    m->cid = *cid;
    m->is_private = keys->count > 0;
    emac_buf_init(&m->merged, n->file_max);
    st = dir_load(n, cid, keys, m, err);
    if (st == EMAC_NOT_FOUND || st == EMAC_CORRUPT) {
        st = agent_fetch(n, cid, false, err);
        if (st == EMAC_OK)
            st = dir_load(n, cid, keys, m, err);
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

/* ---- those that are loaded ---- */

/* For polls, which tell of them. */
static void loaded_note(struct node *n)
{
    os_mutex_lock(&n->lock);
    n->loaded_count = 0;
    for (size_t i = 0; i < NODE_SERVE_MODELS && n->model[i] != NULL; i++)
        n->loaded[n->loaded_count++] = n->model[i]->cid;
    os_mutex_unlock(&n->lock);
}

/* The latest use is first in the list; the last one goes when another comes. */
static void model_put_first(struct node *n, struct agent_model *m)
{
    size_t at = 0;
    while (at < NODE_SERVE_MODELS - 1 && n->model[at] != NULL && n->model[at] != m)
        at++;
    if (n->model[at] != m) {
        EMAC_ASSERT(n->model[at] == NULL || n->model[at]->users == 0);
        model_free(n, n->model[at]);
    }
    memmove(&n->model[1], &n->model[0], at * sizeof n->model[0]);
    n->model[0] = m;
    loaded_note(n);
}

static struct agent_model *model_find(struct node *n, const struct cid *cid, bool is_private)
{
    if (is_private)
        return n->private_model != NULL && cid_equal(&n->private_model->cid, cid) ? n->private_model
                                                                                  : NULL;
    for (size_t i = 0; i < NODE_SERVE_MODELS && n->model[i] != NULL; i++)
        if (cid_equal(&n->model[i]->cid, cid))
            return n->model[i];
    return NULL;
}

void agent_model_leave(struct node *n, struct agent_model *m)
{
    if (m == NULL)
        return;
    EMAC_ASSERT(m->users > 0);
    if (--m->users > 0 || !m->is_private)
        return;
    EMAC_ASSERT(n->private_model == m);
    n->private_model = NULL;
    model_free(n, m);
}

/* ---- where they are answered ---- */

static uint64_t device_free_bytes(const struct device *dev)
{
    struct device_memory m;
    device_memory(dev, &m);
    return m.used < m.total ? m.total - m.used : 0;
}

static enum emac_status decoder_begin(struct agent_model *m, struct device *dev,
                                      struct emac_err *err)
{
    enum emac_status st =
        decoder_open(dev, &m->config, m->weights.data, m->weights.len, &m->decoder, err);
    m->dev = dev;
    m->room = UINT64_MAX;
    return st;
}

/* NO_MEMORY when the weights, or an answer of some length beside them, have no room there. */
static enum emac_status card_begin(struct node *n, struct agent_model *m, struct emac_err *err)
{
    uint64_t least = session_bytes(&m->config, CARD_POSITIONS);
    enum emac_status st;
    while (device_free_bytes(n->dev) < m->weights.len + 2 * least && agent_models_spare(n))
        ;
    st = decoder_begin(m, n->dev, err);
    while (st == EMAC_NO_MEMORY && agent_models_spare(n))
        st = decoder_begin(m, n->dev, err);
    if (st != EMAC_OK)
        return st;
    m->room = device_free_bytes(n->dev) / 4 * 3;
    if (m->room < least) {
        decoder_end(m);
        return emac_fail(err, EMAC_NO_MEMORY, "its weights leave %.1f MiB of '%s' for answers",
                         (double)m->room * 0x1p-20, device_name(n->dev));
    }
    LOG_I("node", "it is answered on '%s', with room for %.1f MiB of keys and values",
          device_name(n->dev), (double)m->room * 0x1p-20);
    return EMAC_OK;
}

static enum emac_status model_open(struct node *n, struct agent_model *m, struct emac_err *err)
{
    struct device *dev;
    enum emac_status st = EMAC_NO_MEMORY;
    if (m->decoder != NULL)
        return EMAC_OK;
    if (!device_is_host(n->dev)) {
        st = card_begin(n, m, err);
        if (st == EMAC_NO_MEMORY)
            LOG_W("node", "a model is answered by the processor: %s", err->text);
    }
    if (st != EMAC_NO_MEMORY)
        return st;
    st = agent_generation_device(n, &dev, err);
    return st == EMAC_OK ? decoder_begin(m, dev, err) : st;
}

enum emac_status agent_model_get(struct node *n, const struct cid *cid,
                                 const struct sealed_ring *keys, bool may_load,
                                 struct agent_model **out, struct emac_err *err)
{
    struct agent_model *m = model_find(n, cid, keys->count > 0);
    enum emac_status st = EMAC_OK;
    *out = NULL;
    if (m == NULL && !may_load)
        return EMAC_OK;
    if (m == NULL)
        st = model_load(n, cid, keys, &m, err);
    if (st != EMAC_OK)
        return st;
    m->users++;
    if (m->is_private)
        n->private_model = m;
    else
        model_put_first(n, m);
    st = model_open(n, m, err);
    if (st == EMAC_OK)
        *out = m;
    else
        agent_model_leave(n, m);
    return st;
}

void agent_models_rest(struct node *n)
{
    for (size_t i = 0; i < NODE_SERVE_MODELS && n->model[i] != NULL; i++)
        if (n->model[i]->decoder != NULL && device_is_host(n->model[i]->dev))
            decoder_end(n->model[i]);
    EMAC_ASSERT(n->private_model == NULL);
}

/* The one that was not used for longest. */
static bool card_decoder_end(struct node *n)
{
    for (size_t i = NODE_SERVE_MODELS; i-- > 0;) {
        struct agent_model *m = n->model[i];
        if (m == NULL || m->decoder == NULL || m->users > 0 || device_is_host(m->dev))
            continue;
        decoder_end(m);
        return true;
    }
    return false;
}

bool agent_models_spare(struct node *n)
{
    struct emac_err why;
    return !device_is_host(n->dev) && (exec_spare(n->exec, &why) == EMAC_OK || card_decoder_end(n));
}

bool agent_models_yield(struct node *n)
{
    bool some = false;
    while (card_decoder_end(n))
        some = true;
    return some;
}

void agent_models_yield_for_task(struct node *n)
{
    struct device_memory m;
    device_memory(n->dev, &m);
    if (!device_is_host(n->dev) && m.used > m.total / 2 && agent_models_yield(n))
        LOG_I("node", "a task needs the device: models go from it until they are asked again");
}

void agent_models_release(struct node *n)
{
    for (size_t i = 0; i < NODE_SERVE_MODELS; i++) {
        model_free(n, n->model[i]);
        n->model[i] = NULL;
    }
}
