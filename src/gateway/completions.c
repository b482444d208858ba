/* POST /v1/completions and /v1/chat/completions: one generation, as a whole or as a stream of its
 * parts.
 *
 * The status of a stream is decided when its first text comes, so that a missing rig is a plain
 * 503; after KEEP_ALIVE_MS without text the answer begins with a comment all the same, and what
 * fails from then on is an event with the error. */
#include <stdlib.h>
#include <string.h>

#include "gateway/gateway.h"
#include "gateway/handlers.h"
#include "gateway/reply.h"
#include "gateway/request.h"

#define WAIT_MS       500        /* between looks at whether the coordinator stops */
#define KEEP_ALIVE_MS 10000      /* silence after which a stream says that it lives */
#define TEXT_MAX      (4u << 20) /* bytes of one completion, whatever a rig sends */
#define NS_PER_MS     UINT64_C(1000000)

struct flow {
    struct coordinator *c;
    const struct http_request *req; /* whose client may hang up while the handler runs; NULL: he may
                                       not, or a stream goes on and sees it itself */
    struct serve_ticket *ticket;
    struct gateway_head head;
    struct serve_piece piece; /* its text: what was not sent yet */
    size_t came;              /* bytes of text in all */
    bool include_usage;
    bool began;  /* the stream has had a part */
    bool silent; /* the stream's beginning waited in vain: it begins with a comment */
};

static void flow_free(void *ctx)
{
    struct flow *f = ctx;
    if (f->ticket != NULL)
        serve_close(f->c, f->ticket);
    emac_buf_release(&f->piece.text);
    free(f);
}

static enum emac_status flow_new(struct coordinator *c, const struct gateway_request *q,
                                 struct flow **out, struct emac_err *err)
{
    struct flow *f;
    enum emac_status st = emac_alloc(&f, 1, sizeof *f, err);
    if (st != EMAC_OK)
        return st;
    f->c = c;
    f->include_usage = q->include_usage;
    emac_buf_init(&f->piece.text, SERVE_PROMPT_MAX + TEXT_MAX + SERVE_TEXT_MAX);
    gateway_head_fill(&f->head, serve_os(c), &q->serve.model.model, q->kind == GATEWAY_CHAT);
    if (q->echo)
        EMAC_TRY(st,
                 emac_buf_append(&f->piece.text, q->serve.prompt, strlen(q->serve.prompt), err));
    struct serve_request r = q->serve;
    emac_strcpy(r.id, sizeof(r.id), f->head.id);
    EMAC_TRY(st, serve_submit(c, &r, &f->ticket, err));
    emac_strcpy(f->head.id, sizeof(f->head.id), serve_id(f->ticket));
    *out = f;
    return EMAC_OK;
out:
    flow_free(f);
    return st;
}

/* Wait up to limit_ms for more text or the end; OK without either when the time is over. */
static enum emac_status flow_wait(struct flow *f, uint64_t limit_ms, struct emac_err *err)
{
    struct os *os = serve_os(f->c);
    uint64_t end = os->mono_ns(os) + limit_ms * NS_PER_MS;
    do {
        size_t before = f->piece.text.len;
        if (f->req != NULL && http_request_gone(f->req))
            return emac_fail(err, EMAC_CANCELLED, "the client is gone");
        enum emac_status st = serve_next(f->c, f->ticket, WAIT_MS, &f->piece, err);
        if (st != EMAC_OK)
            return st;
        f->came += f->piece.text.len - before;
        if (f->came > TEXT_MAX)
            return emac_fail(err, EMAC_UNAVAILABLE,
                             "the rig sent more text than can be: ask again");
        if (f->piece.text.len > before || f->piece.done)
            return EMAC_OK;
        if (serve_stopping(f->c))
            return emac_fail(err, EMAC_UNAVAILABLE, "the coordinator is stopping: ask again soon");
    } while (os->mono_ns(os) < end);
    return EMAC_OK;
}

/* ---- as a whole ---- */

static enum emac_status flow_whole(struct flow *f, struct http_response *res, struct emac_err *err)
{
    enum emac_status st = EMAC_OK;
    while (st == EMAC_OK && !f->piece.done)
        st = flow_wait(f, KEEP_ALIVE_MS, err);
    if (st != EMAC_OK)
        return st;
    json_t *answer = gateway_completion(&f->head, emac_buf_slice(&f->piece.text), &f->piece);
    return gateway_json_append(&res->body, answer, err);
}

/* ---- as a stream ---- */

static enum emac_status chunk_add(struct flow *f, const char *finish_reason, struct emac_buf *chunk,
                                  struct emac_err *err)
{
    struct emac_slice text = emac_buf_slice(&f->piece.text);
    json_t *part = gateway_chunk(&f->head, text, !f->began, finish_reason, f->include_usage);
    enum emac_status st = gateway_event_append(chunk, part, err);
    f->began = true;
    emac_buf_clear(&f->piece.text);
    return st;
}

static enum emac_status end_add(struct flow *f, struct emac_buf *chunk, struct emac_err *err)
{
    enum emac_status st;
    EMAC_TRY(st, chunk_add(f, f->piece.finish_reason, chunk, err));
    if (f->include_usage)
        EMAC_TRY(st, gateway_event_append(chunk, gateway_usage_chunk(&f->head, &f->piece), err));
    st = http_sse_event(chunk, "[DONE]", err);
out:
    return st;
}

/* What came since the last call, as events; a comment when nothing did. */
static enum emac_status flow_add(struct flow *f, struct emac_buf *chunk, struct emac_err *err)
{
    enum emac_status st = EMAC_OK;
    if (f->piece.text.len == 0 && !f->piece.done && !f->silent)
        EMAC_TRY(st, flow_wait(f, KEEP_ALIVE_MS, err));
    f->silent = false;
    if (f->piece.text.len == 0 && !f->piece.done)
        return emac_buf_printf(chunk, err, ": keep-alive\n\n");
    if (f->piece.text.len > 0)
        EMAC_TRY(st, chunk_add(f, NULL, chunk, err));
    if (f->piece.done)
        st = end_add(f, chunk, err);
out:
    return st;
}

static bool flow_more(void *ctx, struct emac_buf *chunk)
{
    struct flow *f = ctx;
    struct emac_err err = {.status = EMAC_OK};
    if (flow_add(f, chunk, &err) == EMAC_OK)
        return !f->piece.done;
    /* If this fails too, the client sees a stream without its [DONE]. */
    (void)gateway_error_event(chunk, &err, NULL);
    return false;
}

static enum emac_status flow_stream(struct flow *f, struct http_response *res, struct emac_err *err)
{
    enum emac_status st = flow_wait(f, KEEP_ALIVE_MS, err);
    if (st != EMAC_OK)
        return st;
    if (!http_header_add(&res->headers, "Cache-Control", "no-cache"))
        return emac_fail(err, EMAC_INTERNAL, "no room for another header");
    f->silent = f->piece.text.len == 0;
    f->req = NULL;
    res->content_type = "text/event-stream";
    res->stream = flow_more;
    res->stream_free = flow_free;
    res->stream_ctx = f;
    return EMAC_OK;
}

/* ---- the handler ---- */

static void seed_choose(struct gateway_request *q, struct os *os)
{
    if (q->seeded)
        return;
    os->entropy(os, &q->serve.seed, sizeof q->serve.seed);
    q->serve.seed &= INT64_MAX;
}

static enum emac_status model_choose(struct coordinator *c, struct gateway_request *q,
                                     const char **param, struct emac_err *err)
{
    enum emac_status st = serve_model_find(c, q->model, &q->serve.model, err);
    if (st == EMAC_NOT_FOUND)
        *param = "model";
    return st;
}

static enum emac_status answer(struct coordinator *c, const struct gateway_request *q,
                               const struct http_request *req, struct http_response *res,
                               struct emac_err *err)
{
    struct flow *f;
    enum emac_status st = flow_new(c, q, &f, err);
    if (st != EMAC_OK)
        return st;
    /* Who names a key may come back for the answer (SERVE-6). */
    f->req = q->serve.idempotency == NULL ? req : NULL;
    st = q->stream ? flow_stream(f, res, err) : flow_whole(f, res, err);
    if (st != EMAC_OK || !q->stream)
        flow_free(f);
    return st;
}

static enum emac_status payer_choose(struct coordinator *c, const struct http_request *req,
                                     struct serve_request *q, struct emac_err *err)
{
    const char *key = http_header_get(&req->headers, "idempotency-key");
    if (key != NULL && (key[0] == 0 || strlen(key) > GATEWAY_IDEMPOTENCY_MAX))
        return emac_fail(err, EMAC_INVALID, "an Idempotency-Key has 1 to %d bytes",
                         GATEWAY_IDEMPOTENCY_MAX);
    q->idempotency = key;
    crypto_sha256(q->body, req->body.data, req->body.len);
    return serve_payer_of(c, req, &q->payer, err);
}

/* The conversation as a prompt, which the caller's buffer keeps. */
static enum emac_status chat_prompt(struct coordinator *c, struct gateway_request *q,
                                    struct emac_buf *prompt, const char **param,
                                    struct emac_err *err)
{
    const struct chat_form *form;
    struct emac_buf config;
    enum emac_status st;
    *param = NULL;
    emac_buf_init(&config, MODEL_TEXT_MAX);
    EMAC_TRY(st, serve_model_text(c, &q->serve.model, MODEL_TOKENIZER_CONFIG, &config, err));
    *param = "model";
    EMAC_TRY(st, chat_form_of(emac_buf_slice(&config), &form, err));
    *param = "messages";
    EMAC_TRY(st, chat_begin(form, emac_buf_slice(&config), q->message, prompt, err));
    EMAC_TRY(st, chat_render(form, q->message, q->message_count, prompt, err));
    q->serve.prompt = emac_buf_str(prompt);
    if (q->serve.stop_count < SERVE_STOP_MAX)
        emac_strcpy(q->serve.stop[q->serve.stop_count++], SERVE_STOP_BYTES + 1, chat_stop(form));
    *param = NULL;
out:
    emac_buf_release(&config);
    return st;
}

static enum emac_status post(struct coordinator *c, enum gateway_kind kind,
                             const struct http_request *req, struct http_response *res,
                             struct emac_err *err)
{
    struct gateway_request q = {0};
    struct serve_request who;
    struct emac_buf prompt;
    const char *param = NULL;
    enum emac_status st;
    emac_buf_init(&prompt, SERVE_PROMPT_MAX + 1);
    EMAC_TRY(st, payer_choose(c, req, &who, err));
    EMAC_TRY(st, gateway_request_parse(&q, kind, req->body, &param, err));
    q.serve.payer = who.payer;
    q.serve.idempotency = who.idempotency;
    memcpy(q.serve.body, who.body, sizeof(who.body));
    EMAC_TRY(st, model_choose(c, &q, &param, err));
    if (kind == GATEWAY_CHAT)
        EMAC_TRY(st, chat_prompt(c, &q, &prompt, &param, err));
    seed_choose(&q, serve_os(c));
    st = answer(c, &q, req, res, err);
out:
    gateway_request_release(&q);
    emac_buf_release(&prompt);
    if (st == EMAC_BUSY)
        http_header_add(&res->headers, "Retry-After", "1");
    if (param == NULL)
        return st;
    http_response_error_param(res, err, param);
    return EMAC_OK;
}

enum emac_status gateway_completions_post(void *ctx, const struct http_request *req,
                                          struct http_response *res, struct emac_err *err)
{
    return post(ctx, GATEWAY_TEXT, req, res, err);
}

enum emac_status gateway_chat_post(void *ctx, const struct http_request *req,
                                   struct http_response *res, struct emac_err *err)
{
    return post(ctx, GATEWAY_CHAT, req, res, err);
}
