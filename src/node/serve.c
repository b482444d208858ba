/* Generating text for a client of the gateway.
 *
 * The worker makes bytes; a thread beside it, the poster, sends what has come
 * together since its last call, at most every 20 ms or 16 bytes, so that the
 * network's delay costs no compute. They share struct post, under its lock:
 *   worker: adds text and counts, sets done at the end
 *   poster: takes them; sets cancel when the client is gone or the coordinator
 *           does not take pieces any more; ends after it has sent `done` */
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/log.h"
#include "model/language.h"
#include "node/agent_internal.h"
#include "node/piece.h"

#define POST_EVERY_MS   20
#define POST_BYTES      16
#define POST_BYTES_MOST (32u << 10)
#define POST_TRIES      3
#define POST_TEXT_MAX   (4u << 20)
#define PROMPT_BYTES    (1u << 20)
#define SERVE_TOKENS    1000000

struct post {
    struct node *n;
    const char *lease;
    struct os_mutex lock;
    struct os_cond changed;
    /* guarded by lock */
    struct emac_buf text;
    uint32_t tokens, prompt_tokens; /* tokens: not sent yet */
    bool done, cancel;
    const char *finish;    /* "stop", "length", NULL */
    struct emac_err error; /* OK: none */
};

struct request {
    const char *prompt;
    size_t prompt_len;
    uint32_t max_tokens;
    struct sample_params params;
    struct piece_filter filter;
    struct cid model;
};

/* ---- what is asked ---- */

static enum emac_status number(const json_t *o, const char *key, double least, double most,
                               double *out, struct emac_err *err)
{
    const json_t *v = json_object_get(o, key);
    double x = json_number_value(v);
    if (!json_is_number(v) || !(x >= least && x <= most))
        return emac_fail(err, EMAC_INVALID, "field '%s' must be a number from %g to %g", key, least,
                         most);
    *out = x;
    return EMAC_OK;
}

static enum emac_status stops_parse(const json_t *list, struct piece_filter *f,
                                    struct emac_err *err)
{
    enum emac_status st = EMAC_OK;
    for (size_t i = 0; i < json_array_size(list) && st == EMAC_OK; i++) {
        const json_t *s = json_array_get(list, i);
        if (!json_is_string(s))
            return emac_fail(err, EMAC_INVALID, "field 'stop' must hold texts");
        st = piece_stop_add(f, json_string_value(s), json_string_length(s), err);
    }
    return st;
}

static enum emac_status request_parse(const json_t *reply, struct request *out,
                                      struct emac_err *err)
{
    const json_t *r = json_object_get(reply, "request"), *prompt = json_object_get(r, "prompt");
    const char *model;
    uint64_t tokens, top_k, seed;
    enum emac_status st;
    *out = (struct request){0};
    piece_init(&out->filter);
    EMAC_TRY(st, agent_field_str(reply, "model", CID_TEXT_MAX, &model, err));
    EMAC_TRY(st, cid_parse(&out->model, model, err));
    if (!json_is_string(prompt) || json_string_length(prompt) > PROMPT_BYTES)
        return emac_fail(err, EMAC_INVALID, "field 'prompt' must be text of at most %u bytes",
                         PROMPT_BYTES);
    out->prompt = json_string_value(prompt);
    out->prompt_len = json_string_length(prompt);
    EMAC_TRY(st, agent_field_u64(r, "max_tokens", SERVE_TOKENS, &tokens, err));
    EMAC_TRY(st, agent_field_u64(r, "top_k", SERVE_TOKENS, &top_k, err));
    EMAC_TRY(st, agent_field_u64(r, "seed", INT64_MAX, &seed, err));
    EMAC_TRY(st, number(r, "temperature", 0, 100, &out->params.temperature, err));
    EMAC_TRY(st, number(r, "top_p", 1e-9, 1, &out->params.top_p, err));
    EMAC_TRY(st, stops_parse(json_object_get(r, "stop"), &out->filter, err));
    out->max_tokens = (uint32_t)tokens;
    out->params.top_k = (uint32_t)top_k;
    out->params.seed = seed;
out:
    return st;
}

/* ---- the poster ---- */

/* Where to cut what has come together over a slow network: after a whole character. */
static size_t piece_cut(const struct emac_buf *text)
{
    size_t n = text->len < POST_BYTES_MOST ? text->len : POST_BYTES_MOST;
    while (n > 0 && n < text->len && (text->data[n] & 0xc0) == 0x80)
        n--;
    return n;
}

static json_t *piece_json(struct post *p, bool *last)
{
    bool failed = p->error.status != EMAC_OK;
    size_t n = piece_cut(&p->text);
    *last = p->done && n == p->text.len;
    json_t *o =
        json_pack("{s:o,s:I,s:b,s:s?,s:I,s:o}", "text", json_stringn(emac_buf_str(&p->text), n),
                  "tokens", (json_int_t)p->tokens, "done", (int)*last, "finish_reason", p->finish,
                  "prompt_tokens", (json_int_t)p->prompt_tokens, "error",
                  failed ? agent_json_sentence(p->error.text) : json_null());
    p->tokens = 0;
    p->text.len -= n;
    if (n > 0)
        memmove(p->text.data, p->text.data + n, p->text.len + 1); /* and the zero behind it */
    return o;
}

/* Waits until there is something to send; NULL when nothing will come any more. */
static json_t *piece_take(struct post *p, uint64_t *sent_ns, bool *last)
{
    struct os *os = p->n->os;
    os_mutex_lock(&p->lock);
    while (!p->done && !p->cancel) {
        uint64_t since = (os->mono_ns(os) - *sent_ns) / NS_PER_MS;
        if (p->text.len >= POST_BYTES || (p->text.len > 0 && since >= POST_EVERY_MS))
            break;
        if (p->text.len > 0)
            os_cond_wait_ms(&p->changed, &p->lock, (uint32_t)(POST_EVERY_MS - since));
        else
            os_cond_wait(&p->changed, &p->lock);
    }
    json_t *o = p->cancel ? NULL : piece_json(p, last);
    os_mutex_unlock(&p->lock);
    *sent_ns = os->mono_ns(os);
    return o;
}

/* true when the client wants more */
static bool piece_send(struct post *p, const char *path, json_t *piece)
{
    struct emac_err err = {.status = EMAC_OK};
    enum emac_status st = EMAC_UNAVAILABLE;
    json_t *reply = NULL;
    for (int i = 0; i < POST_TRIES && emac_status_retryable(st); i++) {
        if (i > 0)
            agent_pause(p->n, 100u << i);
        if (i > 0 && agent_over(p->n))
            break;
        st = agent_post(p->n, path, json_incref(piece), NODE_CALL_MS, &reply, &err);
    }
    bool more = st == EMAC_OK && !json_is_true(json_object_get(reply, "cancel"));
    if (st == EMAC_FORBIDDEN)
        agent_refused(p->n, &err);
    else if (st != EMAC_OK)
        LOG_W("node", "a piece of text cannot be delivered: %s", err.text);
    json_decref(reply);
    return more;
}

static void *poster(void *arg)
{
    struct post *p = arg;
    char path[sizeof "/v1/serve/" + NODE_LEASE_MAX] = "/v1/serve/";
    uint64_t sent_ns = 0;
    bool last = false;
    strncat(path, p->lease, NODE_LEASE_MAX);
    while (!last) {
        json_t *piece = piece_take(p, &sent_ns, &last);
        if (piece == NULL)
            break;
        if (!piece_send(p, path, piece)) {
            os_mutex_lock(&p->lock);
            p->cancel = true;
            os_mutex_unlock(&p->lock);
        }
        json_decref(piece);
    }
    return NULL;
}

/* ---- the worker ---- */

/* Adds decided text; false when nobody wants more. */
static bool post_add(struct post *p, const struct emac_buf *text, uint32_t prompt_tokens)
{
    os_mutex_lock(&p->lock);
    bool more = !p->cancel && !agent_lease_cancelled(p->n, p->lease) && !agent_over(p->n) &&
                emac_buf_append(&p->text, text->data, text->len, NULL) == EMAC_OK;
    p->tokens++;
    p->prompt_tokens = prompt_tokens;
    os_cond_signal(&p->changed);
    os_mutex_unlock(&p->lock);
    return more;
}

static void post_done(struct post *p, const struct emac_buf *text, const char *finish,
                      const struct emac_err *error)
{
    os_mutex_lock(&p->lock);
    emac_buf_append(&p->text, text->data, text->len, NULL);
    p->finish = finish;
    p->error = *error;
    p->done = true;
    os_cond_signal(&p->changed);
    os_mutex_unlock(&p->lock);
}

/* *made counts the tokens, that which ends the text with them. */
static enum emac_status generate(struct post *p, struct request *q, struct completion *g,
                                 const char **finish, uint32_t *made, struct emac_buf *text,
                                 struct emac_err *err)
{
    enum emac_status st = EMAC_OK;
    *finish = "length";
    bool ended = false;
    while (*made < q->max_tokens && !q->filter.stopped && !ended) {
        struct emac_slice bytes;
        emac_buf_clear(text);
        EMAC_TRY(st, completion_next(g, &bytes, &ended, err));
        for (size_t i = 0; i < bytes.len && !q->filter.stopped; i++)
            EMAC_TRY(st, piece_push(&q->filter, bytes.data[i], text, err));
        ++*made;
        if (!post_add(p, text, completion_prompt_tokens(g)))
            return emac_fail(err, EMAC_CANCELLED, "the generation was cancelled");
    }
    emac_buf_clear(text);
    if (q->filter.stopped || ended)
        *finish = "stop";
    if (!q->filter.stopped)
        st = piece_end(&q->filter, text, err);
out:
    return st;
}

static enum emac_status answer(struct post *p, struct request *q, const struct sealed_ring *keys,
                               const char **finish, uint32_t *made, struct emac_buf *text,
                               struct emac_err *err)
{
    struct node *n = p->n;
    struct agent_model *m = NULL;
    struct session *s = NULL;
    struct completion *g = NULL;
    struct device *dev;
    enum emac_status st;
    EMAC_TRY(st, agent_model_get(n, &q->model, keys, &m, err));
    EMAC_TRY(st, agent_generation_device(n, &dev, err));
    EMAC_TRY(st, session_open(dev, &m->config, m->weights.data, m->weights.len, &s, err));
    EMAC_TRY(st, completion_open(s, &m->config, &m->language, EMAC_SLICE(q->prompt, q->prompt_len),
                                 &q->params, &g, err));
    st = generate(p, q, g, finish, made, text, err);
out:
    completion_close(g);
    if (m != NULL && m->is_private)
        session_wipe(s);
    session_close(s);
    agent_model_leave(n, m);
    return st;
}

static void served(struct node *n, uint32_t made, uint64_t began, const struct emac_err *err)
{
    double s = (double)(n->os->mono_ns(n->os) - began) * 1e-9;
    os_mutex_lock(&n->lock);
    n->figures.tokens_served += made;
    os_mutex_unlock(&n->lock);
    if (err->status == EMAC_OK)
        LOG_I("node", "generated %u tokens in %.2f s", made, s);
    else
        LOG_W("node", "a generation ended after %u tokens: %s", made, err->text);
}

void agent_serve(struct node *n, const json_t *reply, const char *lease)
{
    struct post p = {.n = n, .lease = lease};
    struct request q;
    struct sealed_ring keys = {0};
    struct emac_err err = {.status = EMAC_OK};
    struct emac_buf text;
    struct os_thread thread;
    const char *finish = NULL;
    uint32_t made = 0;
    uint64_t began = n->os->mono_ns(n->os);
    emac_buf_init(&text, POST_TEXT_MAX);
    emac_buf_init(&p.text, POST_TEXT_MAX);
    os_mutex_init(&p.lock);
    os_cond_init(&p.changed);
    os_thread_start(&thread, poster, &p);
    enum emac_status st = request_parse(reply, &q, &err);
    if (st == EMAC_OK)
        st = agent_keys_take(n, reply, lease, &keys, &err);
    if (st == EMAC_OK)
        st = answer(&p, &q, &keys, &finish, &made, &text, &err);
    sealed_ring_wipe(&keys);
    if (st == EMAC_OK)
        err.status = EMAC_OK; /* it may tell of an attempt that was made good */
    else
        emac_buf_clear(&text);
    post_done(&p, &text, st == EMAC_OK ? finish : NULL, &err);
    os_thread_join(&thread);
    served(n, made, began, &err);
    os_cond_release(&p.changed);
    os_mutex_release(&p.lock);
    emac_buf_release(&p.text);
    emac_buf_release(&text);
}
