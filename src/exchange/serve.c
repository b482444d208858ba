/* The gateway: a block, or a DAG as a CAR that is made while it is sent. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "codec/car.h"
#include "exchange/internal.h"
#include "store/walk.h"

#define CAR_CHUNK     (256u << 10) /* a chunk ends with the block that passes this */
#define CAR_COUNT_MAX 65536        /* blocks counted beforehand to know the length */
#define CACHE_FOREVER "public, max-age=29030400, immutable"
#define PROBE_CID     "bafkqaaa" /* the empty identity CID */

/* {"roots": [bafkqaaa], "version": 1} with its length before it. */
static const uint8_t PROBE_CAR[] = {0x19, 0xa2, 0x65, 'r', 'o',  'o',  't', 's', 0x81,
                                    0xd8, 0x2a, 0x45, 0,   0x01, 0x55, 0,   0,   0x67,
                                    'v',  'e',  'r',  's', 'i',  'o',  'n', 0x01};

/* ---- headers ---- */

struct answer {
    struct store *s;
    const struct http_request *req;
    struct http_response *res;
    struct exchange_ask ask;
    const char *name; /* of the root, as we write it */
};

static enum emac_status header_add(struct answer *a, const char *name, const char *value,
                                   struct emac_err *err)
{
    if (value == NULL || !http_header_add(&a->res->headers, name, value))
        return emac_fail(err, EMAC_NO_MEMORY, "out of memory for the headers of '%s'", a->name);
    return EMAC_OK;
}

static const char *scope_name(const struct exchange_ask *ask)
{
    static const char *const NAMES[] = {
        [STORE_SCOPE_BLOCK] = "block", [STORE_SCOPE_ENTITY] = "entity", [STORE_SCOPE_ALL] = "all"};
    return NAMES[ask->scope];
}

/* Our CARs are a function of the root and these parameters, so the tag is a strong one. NULL
 * without memory. */
static char *etag_of(struct answer *a)
{
    const struct exchange_ask *ask = &a->ask;
    if (ask->format == EXCHANGE_RAW)
        return exchange_printf(a->req->arena, "\"%s.raw\"", a->name);
    /* The range goes in as sent, yet a tag may hold no quotes and few other signs. */
    char range[48] = "";
    size_t n = 0;
    for (const char *p = ask->range; p != NULL && *p != '\0' && n + 1 < sizeof range; p++)
        if (strchr("0123456789:-*", *p) != NULL)
            range[n++] = *p;
    return exchange_printf(a->req->arena, "\"%s.car.dfs.%s.%s%s%s\"", a->name,
                           ask->duplicates ? "y" : "n", scope_name(ask), n > 0 ? "." : "", range);
}

/* If-None-Match: a list of tags; weak ones match, too (RFC 9110). */
static bool etag_known(const struct http_request *req, const char *etag)
{
    const char *list = http_header_get(&req->headers, "if-none-match");
    if (list == NULL)
        return false;
    if (strcmp(list, "*") == 0)
        return true;
    const char *at = strstr(list, etag); /* tags are quoted, so a part of one cannot match */
    return at != NULL;
}

/* Where else the same answer lies: only needed when the URL alone does not say it. */
static enum emac_status content_location(struct answer *a, struct emac_err *err)
{
    const struct exchange_ask *ask = &a->ask;
    if (ask->format_in_query)
        return EMAC_OK;
    bool car = ask->format == EXCHANGE_CAR;
    const char *text = exchange_printf(
        a->req->arena, "/ipfs/%s?format=%s%s%s%s%s%s", a->name, car ? "car" : "raw",
        car && ask->scope_given ? "&dag-scope=" : "",
        car && ask->scope_given ? scope_name(ask) : "",
        car && ask->range != NULL ? "&entity-bytes=" : "",
        car && ask->range != NULL ? ask->range : "", car && ask->duplicates ? "&car-dups=y" : "");
    return header_add(a, "Content-Location", text, err);
}

static enum emac_status headers_set(struct answer *a, struct emac_err *err)
{
    struct arena *arena = a->req->arena;
    bool car = a->ask.format == EXCHANGE_CAR;
    enum emac_status st;
    a->res->content_type = !car                ? RAW_TYPE
                           : a->ask.duplicates ? CAR_TYPE "; version=1; order=dfs; dups=y"
                                               : CAR_TYPE "; version=1; order=dfs; dups=n";
    EMAC_TRY(st, header_add(a, "Content-Disposition",
                            exchange_printf(arena, "attachment; filename=\"%s.%s\"", a->name,
                                            car ? "car" : "bin"),
                            err));
    EMAC_TRY(st, header_add(a, "Cache-Control", CACHE_FOREVER, err));
    EMAC_TRY(st, header_add(a, "X-Content-Type-Options", "nosniff", err));
    EMAC_TRY(st, header_add(a, "Vary", "Accept", err));
    EMAC_TRY(st, header_add(a, "X-Ipfs-Path", exchange_printf(arena, "/ipfs/%s", a->name), err));
    EMAC_TRY(st, header_add(a, "X-Ipfs-Roots", a->name, err));
    st = content_location(a, err);
out:
    return st;
}

/* ---- a CAR, as it is sent ---- */

struct car_stream {
    struct store *s;
    struct cid root;
    const struct store_value *value; /* held while it is sent; may be NULL */
    struct store_walk *walk;
    bool header_sent;
};

static void car_stream_free(void *ctx)
{
    struct car_stream *c = ctx;
    store_walk_free(c->walk);
    store_value_drop(c->s, c->value);
    free(c);
}

/* Append the next block. *end: there is none, or it cannot be had. */
static enum emac_status car_next(struct car_stream *c, struct emac_buf *chunk, bool *end,
                                 struct emac_err *err)
{
    struct store_walk_item item;
    enum emac_status st = store_walk_next(c->walk, &item, err);
    *end = st != EMAC_OK || cid_is_none(&item.cid);
    if (*end)
        return st;
    if (!item.present)
        return emac_fail(err, EMAC_NOT_FOUND, "block '%s' is not here",
                         exchange_name_of(&item.cid).text);
    size_t before = chunk->len;
    EMAC_TRY(st, car_section_prefix(chunk, &item.cid, (size_t)item.block_size, err));
    EMAC_TRY(st, store_block_append(c->s, &item.cid, chunk, err));
    return EMAC_OK;
out:
    chunk->len = before; /* no section without its block */
    return st;
}

static bool car_stream_more(void *ctx, struct emac_buf *chunk)
{
    struct car_stream *c = ctx;
    struct emac_err err;
    bool end = false;
    enum emac_status st = EMAC_OK;
    if (!c->header_sent)
        st = car_header(chunk, &c->root, &err);
    c->header_sent = true;
    while (st == EMAC_OK && !end && chunk->len < CAR_CHUNK)
        st = car_next(c, chunk, &end, &err);
    if (st == EMAC_OK)
        return !end;
    LOG_I("exchange", "the CAR of '%s' ends early: %s", exchange_name_of(&c->root).text, err.text);
    return false;
}

/* What the CAR will take, so that a client can tell a whole one from one that was cut: with a block
 * missing, the length of what is there plus one. -1 when there are too many blocks to count. */
static enum emac_status car_length(struct store *s, const struct cid *root,
                                   const struct store_walk_options *options, int64_t *out,
                                   struct emac_err *err)
{
    struct store_walk *w;
    struct store_walk_item item;
    struct emac_buf prefix;
    uint64_t total;
    emac_buf_init(&prefix, 4096);
    enum emac_status st = store_walk_new(s, root, options, &w, err);
    if (st != EMAC_OK)
        return st;
    EMAC_TRY(st, car_header(&prefix, root, err));
    total = prefix.len;
    *out = -1;
    for (size_t i = 0; i < CAR_COUNT_MAX; i++) {
        EMAC_TRY(st, store_walk_next(w, &item, err));
        bool end = cid_is_none(&item.cid);
        if (end || !item.present) {
            *out = (int64_t)(total + (end ? 0 : 1));
            break;
        }
        emac_buf_clear(&prefix);
        EMAC_TRY(st, car_section_prefix(&prefix, &item.cid, (size_t)item.block_size, err));
        total += prefix.len + item.block_size;
    }
out:
    emac_buf_release(&prefix);
    store_walk_free(w);
    return st;
}

static enum emac_status car_options(struct answer *a, const struct cid *root,
                                    struct store_walk_options *out, struct emac_err *err)
{
    uint64_t size;
    *out = (struct store_walk_options){
        .scope = (enum store_scope)a->ask.scope, .duplicates = a->ask.duplicates, .to = UINT64_MAX};
    if (a->ask.range == NULL)
        return EMAC_OK;
    uint64_t from, to;
    bool file = store_file_size(a->s, root, &size, NULL) == EMAC_OK;
    enum emac_status st = exchange_range_parse(a->ask.range, file ? size : 0, &from, &to, err);
    /* Of what is no file the range is ignored, but not what it says about the scope. */
    if (st != EMAC_OK || !file)
        return st;
    if (from >= size && size > 0)
        return emac_fail(err, EMAC_INVALID,
                         "entity-bytes '%.60s' is past the end: '%s' has %llu bytes", a->ask.range,
                         a->name, (unsigned long long)size);
    out->from = from;
    out->to = to;
    if (from == to)
        out->scope = STORE_SCOPE_BLOCK;
    return EMAC_OK;
}

static enum emac_status car_answer(struct answer *a, const struct cid *root, struct emac_err *err)
{
    struct store_walk_options options;
    struct car_stream *c;
    enum emac_status st = car_options(a, root, &options, err);
    if (st == EMAC_OK)
        st = car_length(a->s, root, &options, &a->res->content_length, err);
    if (st != EMAC_OK || strcmp(a->req->method, "HEAD") == 0)
        return st;
    st = emac_alloc(&c, 1, sizeof *c, err);
    if (st != EMAC_OK)
        return st;
    c->s = a->s;
    c->root = *root;
    c->value = store_value_find(a->s, root);
    EMAC_TRY(st, store_walk_new(a->s, root, &options, &c->walk, err));
    a->res->stream = car_stream_more;
    a->res->stream_free = car_stream_free;
    a->res->stream_ctx = c;
    return EMAC_OK;
out:
    car_stream_free(c);
    return st;
}

/* ---- answering ---- */

static enum emac_status raw_answer(struct answer *a, const struct cid *root, uint64_t size,
                                   struct emac_err *err)
{
    if (strcmp(a->req->method, "HEAD") == 0) {
        a->res->content_length = (int64_t)size;
        return EMAC_OK;
    }
    return store_block_get(a->s, root, &a->res->body, err);
}

static enum emac_status probe_answer(struct answer *a, struct emac_err *err)
{
    enum emac_status st = headers_set(a, err);
    if (st == EMAC_OK && a->ask.format == EXCHANGE_CAR)
        st = emac_buf_append(&a->res->body, PROBE_CAR, sizeof PROBE_CAR, err);
    return st;
}

static enum emac_status missing_answer(struct answer *a, struct emac_err *err)
{
    const char *cache = http_header_get(&a->req->headers, "cache-control");
    enum emac_status st =
        emac_fail(err, EMAC_NOT_FOUND, "block '%s' is not here: ask another peer", a->name);
    if (cache == NULL || strstr(cache, "only-if-cached") == NULL)
        return st;
    http_response_error(a->res, err);
    a->res->status = 412;
    return EMAC_OK;
}

static enum emac_status root_answer(struct answer *a, const struct cid *root, struct emac_err *err)
{
    uint64_t size;
    enum emac_status st;
    if (!store_block_has(a->s, root, &size))
        return missing_answer(a, err);
    const char *etag = etag_of(a);
    if (etag == NULL)
        return emac_fail(err, EMAC_NO_MEMORY, "out of memory for a request");
    if (etag_known(a->req, etag)) {
        a->res->status = 304;
        EMAC_TRY(st, header_add(a, "Cache-Control", CACHE_FOREVER, err));
        return header_add(a, "Etag", etag, err);
    }
    if (a->ask.format == EXCHANGE_CAR)
        EMAC_TRY(st, car_answer(a, root, err));
    else
        EMAC_TRY(st, raw_answer(a, root, size, err));
    EMAC_TRY(st, header_add(a, "Etag", etag, err));
    st = headers_set(a, err);
out:
    return st;
}

enum emac_status exchange_serve(struct store *s, const struct http_request *req,
                                struct http_response *res, struct emac_err *err)
{
    struct answer a = {.s = s, .req = req, .res = res};
    const char *text = http_path_param(req, "cid");
    struct cid root;
    enum emac_status st;
    EMAC_TRY(st, exchange_ask_parse(req, &a.ask, err));
    if (text != NULL && strcmp(text, PROBE_CID) == 0) {
        a.name = PROBE_CID;
        return probe_answer(&a, err);
    }
    EMAC_TRY(st, exchange_path_cid(req, &root, err));
    a.name = exchange_printf(req->arena, "%s", exchange_name_of(&root).text);
    if (a.name == NULL)
        return emac_fail(err, EMAC_NO_MEMORY, "out of memory for a request");
    st = root_answer(&a, &root, err);
out:
    return st;
}
