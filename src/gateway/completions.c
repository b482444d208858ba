/* POST /v1/completions: whole, or as a stream of server-sent events.
 *
 * A stream that fails within its first seconds, before any text, is answered with the error's HTTP
 * status, as a whole answer would be; after that an error travels as an object inside the stream.
 * While nothing comes, a comment is sent now and then, so that nobody on the way takes the
 * connection for dead. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/hex.h"
#include "gateway/request.h"

#define WAIT_MS       1000
#define FIRST_MS      5000 /* so long a stream's first text may take before its headers are sent */
#define KEEP_ALIVE_MS 10000
#define ID_BYTES      12
#define WHOLE_MAX     (16u << 20)
#define RETRY_AFTER_S "2"

struct generation {
    struct coordinator *c;
    struct serve_ticket *ticket;
    struct serve_piece piece; /* reused for each read */
    char id[2 * ID_BYTES + 8], model[CID_TEXT_MAX];
    uint64_t created_s, said_ms;
    bool include_usage;
    char *echo;  /* the prompt, to be sent first; NULL: none */
    bool primed; /* `piece` holds what was read before the stream began */
    bool ended;
};

static uint64_t now_ms(struct generation *g)
{
    struct os *os = serve_os(g->c);
    return os->mono_ns(os) / 1000000;
}

static void generation_free(void *ctx)
{
    struct generation *g = ctx;
    if (g->ticket)
        serve_close(g->c, g->ticket);
    emac_buf_release(&g->piece.text);
    free(g->echo);
    free(g);
}

/* ---- JSON ---- */

static json_t *usage_json(const struct serve_piece *p)
{
    return json_pack("{s:I, s:I, s:I}", "prompt_tokens", (json_int_t)p->prompt_tokens,
                     "completion_tokens", (json_int_t)p->completion_tokens, "total_tokens",
                     (json_int_t)p->prompt_tokens + (json_int_t)p->completion_tokens);
}

/* text NULL: no choices (the chunk that carries usage). */
static json_t *completion_json(const struct generation *g, const char *text, const char *finish)
{
    json_t *choices = json_array();
    if (text)
        json_array_append_new(choices, json_pack("{s:i, s:s, s:n, s:s?}", "index", 0, "text", text,
                                                 "logprobs", "finish_reason", finish));
    return json_pack("{s:s, s:s, s:I, s:s, s:o}", "id", g->id, "object", "text_completion",
                     "created", (json_int_t)g->created_s, "model", g->model, "choices", choices);
}

static enum emac_status dumps_to(struct emac_buf *out, json_t *o, bool event, struct emac_err *err)
{
    char *text = o ? json_dumps(o, JSON_COMPACT) : NULL;
    json_decref(o);
    if (text == NULL)
        return emac_fail(err, EMAC_NO_MEMORY, "no memory for the answer");
    enum emac_status st =
        event ? http_sse_event(out, text, err) : emac_buf_append(out, text, strlen(text), err);
    free(text);
    return st;
}

/* ---- streaming ---- */

static enum emac_status chunk_text(struct generation *g, struct emac_buf *out, const char *text,
                                   const char *finish, struct emac_err *err)
{
    json_t *o = completion_json(g, text, finish);
    if (g->include_usage)
        json_object_set_new(o, "usage", json_null());
    return dumps_to(out, o, true, err);
}

static enum emac_status chunk_piece(struct generation *g, struct emac_buf *out,
                                    struct emac_err *err)
{
    struct serve_piece *p = &g->piece;
    enum emac_status st = EMAC_OK;
    if (g->echo) {
        EMAC_TRY(st, chunk_text(g, out, g->echo, NULL, err));
        free(g->echo);
        g->echo = NULL;
    }
    if (p->text.len > 0)
        EMAC_TRY(st, chunk_text(g, out, emac_buf_str(&p->text), NULL, err));
    if (!p->done)
        return st;
    EMAC_TRY(st, chunk_text(g, out, "", p->finish_reason, err));
    if (g->include_usage) {
        json_t *o = completion_json(g, NULL, NULL);
        json_object_set_new(o, "usage", usage_json(p));
        EMAC_TRY(st, dumps_to(out, o, true, err));
    }
    st = http_sse_event(out, "[DONE]", err);
    g->ended = true;
out:
    return st;
}

static enum emac_status chunk_error(struct emac_buf *out, const struct emac_err *why)
{
    struct http_response res;
    http_response_init(&res);
    http_response_error(&res, why);
    enum emac_status st = http_sse_event(out, emac_buf_str(&res.body), NULL);
    http_response_release(&res);
    return st;
}

/* Read what is there within WAIT_MS and turn it into events; a comment when it is time. */
static enum emac_status stream_read(struct generation *g, struct emac_buf *out,
                                    struct emac_err *err)
{
    enum emac_status st = EMAC_OK;
    if (!g->primed) {
        emac_buf_clear(&g->piece.text);
        st = serve_next(g->c, g->ticket, WAIT_MS, &g->piece, err);
    }
    g->primed = false;
    if (st != EMAC_OK)
        return st;
    if (g->piece.text.len > 0 || g->piece.done) {
        g->said_ms = now_ms(g);
        return chunk_piece(g, out, err);
    }
    if (now_ms(g) - g->said_ms < KEEP_ALIVE_MS)
        return EMAC_OK;
    g->said_ms = now_ms(g);
    return emac_buf_printf(out, err, ": waiting\n\n");
}

static bool stream_next(void *ctx, struct emac_buf *chunk)
{
    struct generation *g = ctx;
    struct emac_err err = {0};
    while (chunk->len == 0 && !g->ended) {
        if (stream_read(g, chunk, &err) == EMAC_OK)
            continue;
        g->ended = true;
        (void)chunk_error(chunk, &err);
    }
    return !g->ended;
}

/* ---- the handler ---- */

static enum emac_status generation_new(struct coordinator *c, struct completion *q,
                                       const struct serve_model *m, struct generation **out,
                                       struct emac_err *err)
{
    struct generation *g;
    uint8_t id[ID_BYTES];
    struct os *os = serve_os(c);
    enum emac_status st = emac_alloc(&g, 1, sizeof(*g), err);
    if (st != EMAC_OK)
        return st;
    g->c = c;
    g->created_s = os->wall_ms(os) / 1000;
    g->said_ms = now_ms(g);
    g->include_usage = q->include_usage;
    g->echo = q->echo ? emac_strdup(q->serve.prompt) : NULL;
    emac_buf_init(&g->piece.text, SERVE_TEXT_MAX);
    os->entropy(os, id, sizeof(id));
    memcpy(g->id, "cmpl-", 5);
    emac_hex(g->id + 5, id, sizeof(id));
    cid_text(g->model, &m->model);
    q->serve.model = m->model;
    q->serve.params = m->params;
    if (!q->has_seed)
        os->entropy(os, &q->serve.seed, sizeof(q->serve.seed));
    st = serve_submit(c, &q->serve, &g->ticket, err);
    if (st != EMAC_OK) {
        generation_free(g);
        return st;
    }
    *out = g;
    return EMAC_OK;
}

static enum emac_status answer_stream(struct generation *g, struct http_response *res,
                                      struct emac_err *err)
{
    enum emac_status st = serve_next(g->c, g->ticket, FIRST_MS, &g->piece, err);
    if (st != EMAC_OK) {
        generation_free(g);
        return st;
    }
    g->primed = true;
    res->content_type = "text/event-stream";
    http_header_add(&res->headers, "Cache-Control", "no-cache");
    res->stream = stream_next;
    res->stream_free = generation_free;
    res->stream_ctx = g;
    return EMAC_OK;
}

static enum emac_status answer_whole(struct generation *g, struct http_response *res,
                                     struct emac_err *err)
{
    struct emac_buf text;
    enum emac_status st = EMAC_OK;
    emac_buf_init(&text, WHOLE_MAX);
    if (g->echo)
        EMAC_TRY(st, emac_buf_append(&text, g->echo, strlen(g->echo), err));
    while (!g->piece.done) {
        emac_buf_clear(&g->piece.text);
        EMAC_TRY(st, serve_next(g->c, g->ticket, WAIT_MS, &g->piece, err));
        EMAC_TRY(st, emac_buf_append(&text, g->piece.text.data, g->piece.text.len, err));
    }
    json_t *o = completion_json(g, emac_buf_str(&text), g->piece.finish_reason);
    json_object_set_new(o, "usage", usage_json(&g->piece));
    st = dumps_to(&res->body, o, false, err);
out:
    emac_buf_release(&text);
    generation_free(g);
    return st;
}

/* 400 with the field's name; everything else as always, with a hint when to come back. */
static enum emac_status refuse(struct http_response *res, enum emac_status st,
                               const struct emac_err *err, const char *param)
{
    if (st == EMAC_BUSY || st == EMAC_UNAVAILABLE)
        http_header_add(&res->headers, "Retry-After", RETRY_AFTER_S);
    http_response_error_param(res, err, param);
    return EMAC_OK;
}

static enum emac_status complete(struct coordinator *c, json_t *root, struct http_response *res,
                                 const char **param, struct emac_err *err)
{
    struct completion q;
    struct serve_model m;
    struct generation *g;
    enum emac_status st;
    EMAC_TRY(st, completion_parse(root, &q, param, err));
    st = serve_model_find(c, q.model, &m, err);
    if (st != EMAC_OK) {
        *param = st == EMAC_NOT_FOUND ? "model" : NULL;
        return st;
    }
    EMAC_TRY(st, generation_new(c, &q, &m, &g, err));
    st = q.stream ? answer_stream(g, res, err) : answer_whole(g, res, err);
out:
    return st;
}

enum emac_status gateway_completions_post(void *ctx, const struct http_request *req,
                                          struct http_response *res, struct emac_err *err)
{
    json_error_t je;
    const char *param = NULL;
    struct emac_err why = {0};
    json_t *root =
        json_loadb((const char *)req->body.data, req->body.len, JSON_REJECT_DUPLICATES, &je);
    if (!json_is_object(root)) {
        json_decref(root);
        return emac_fail(err, EMAC_INVALID, "the body must be a JSON object: %s", je.text);
    }
    enum emac_status st = complete(ctx, root, res, &param, &why);
    json_decref(root);
    return st == EMAC_OK ? EMAC_OK : refuse(res, st, &why, param);
}
