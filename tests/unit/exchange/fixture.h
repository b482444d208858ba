/* Stores, a server that serves one, a peer that misbehaves as told, and random files. */
#ifndef EMAC_TESTS_EXCHANGE_FIXTURE_H
#define EMAC_TESTS_EXCHANGE_FIXTURE_H

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/philox.h"
#include "codec/car.h"
#include "exchange/exchange.h"
#include "../asserts.h"
#include "../remove_tree.h"

#define MIB ((size_t)1 << 20)

static inline uint8_t *random_bytes(size_t n, uint64_t seed)
{
    uint8_t *p;
    uint32_t word[4];
    assert_int_equal(emac_alloc_aligned(&p, n, NULL), EMAC_OK);
    for (size_t i = 0; i < n; i += sizeof word) {
        philox_at(seed, PHILOX_TEST, 0, i, word);
        memcpy(p + i, word, n - i < sizeof word ? n - i : sizeof word);
    }
    return p;
}

static inline struct store *store_new(const char *dir)
{
    struct store_config cfg = {.os = os_real(),
                               .dir = dir,
                               .disk_quota = 256 * MIB,
                               .memory_quota = 64 * MIB,
                               .hash_threads = 1};
    struct emac_err err;
    struct store *s;
    OK(store_open(&cfg, &s, &err));
    return s;
}

/* A random file as a value; its CID. */
static inline struct cid value_add(struct store *s, size_t n, uint64_t seed)
{
    struct emac_err err;
    const struct store_value *v;
    OK(store_value_adopt(s, random_bytes(n, seed), n, &v, &err));
    struct cid cid = v->cid;
    store_value_drop(s, v);
    return cid;
}

static inline struct cid block_add(struct store *s, size_t n, uint64_t seed)
{
    struct emac_err err;
    struct cid cid;
    uint8_t *data = random_bytes(n, seed);
    OK(store_block_put(s, CID_RAW, data, n, &cid, &err));
    free(data);
    return cid;
}

/* ---- a peer ---- */

enum misdeed {
    HONEST,
    WRONG_BYTES, /* flips a bit of every answer beyond its first 100 bytes */
    ENDLESS,     /* random garbage without end */
    ENDLESS_CAR, /* sound blocks nobody asked for, without end */
    NOTHING,     /* 200 and no bytes */
    CUT,         /* breaks off after `cut_at` bytes */
    PARTIAL_END, /* ends cleanly after `cut_at` bytes */
    HTML,        /* 200 and a page */
    RAW_ONLY,    /* knows no CARs */
    BROKEN,      /* 500 */
    CURIOUS      /* a depot that says that it misses `wanted` */
};

struct peer {
    struct store *s;
    struct http_server *server;
    char url[64];
    enum misdeed misdeed;
    size_t cut_at;
    struct cid wanted; /* CURIOUS: what it says it misses */
    atomic_uint requests, cars, raws, uploads;
    atomic_ullong sent;
};

/* An answer of exchange_serve, spoilt on its way. */
struct spoilt {
    struct peer *peer;
    bool (*stream)(void *ctx, struct emac_buf *chunk);
    void (*stream_free)(void *ctx);
    void *ctx;
    size_t at;
    uint64_t seed;
};

static inline bool spoilt_endless(struct spoilt *p, struct emac_buf *chunk)
{
    struct cid cid;
    uint8_t *data = random_bytes(100000, 777 + p->seed++);
    if (p->peer->misdeed == ENDLESS_CAR) {
        cid = cid_of(CID_RAW, data, 100000);
        if (p->seed == 1)
            car_header(chunk, &cid, NULL);
        car_section_prefix(chunk, &cid, 100000, NULL);
    }
    emac_buf_append(chunk, data, 100000, NULL);
    atomic_fetch_add(&p->peer->sent, 100000);
    free(data);
    return true;
}

static inline bool spoilt_stream(void *ctx, struct emac_buf *chunk)
{
    struct spoilt *p = ctx;
    enum misdeed m = p->peer->misdeed;
    if (m == ENDLESS || m == ENDLESS_CAR)
        return spoilt_endless(p, chunk);
    bool more = p->stream(p->ctx, chunk);
    if (m == WRONG_BYTES && p->at + chunk->len > 300)
        chunk->data[chunk->len - 1] ^= 1;
    if ((m == CUT || m == PARTIAL_END) && p->at + chunk->len > p->peer->cut_at) {
        chunk->len = p->peer->cut_at - p->at;
        more = false;
    }
    p->at += chunk->len;
    return more;
}

static inline void spoilt_free(void *ctx)
{
    struct spoilt *p = ctx;
    if (p->stream_free != NULL)
        p->stream_free(p->ctx);
    free(p);
}

static inline void spoil(struct peer *peer, struct http_response *res)
{
    if (peer->misdeed == WRONG_BYTES && res->stream == NULL && res->body.len > 0)
        res->body.data[0] ^= 1;
    bool endless = peer->misdeed == ENDLESS || peer->misdeed == ENDLESS_CAR;
    if (res->stream == NULL && !endless)
        return;
    struct spoilt *p = calloc(1, sizeof *p);
    *p = (struct spoilt){.peer = peer,
                         .stream = res->stream,
                         .stream_free = res->stream_free,
                         .ctx = res->stream_ctx};
    res->stream = spoilt_stream;
    res->stream_free = spoilt_free;
    res->stream_ctx = p;
    if (endless || peer->misdeed == PARTIAL_END)
        res->content_length = -1;
}

static inline enum emac_status peer_get(void *ctx, const struct http_request *req,
                                        struct http_response *res, struct emac_err *err)
{
    struct peer *p = ctx;
    const char *accept = http_header_get(&req->headers, "accept");
    bool car = accept != NULL && strstr(accept, "car") != NULL;
    atomic_fetch_add(&p->requests, 1);
    atomic_fetch_add(car ? &p->cars : &p->raws, 1);
    if (p->misdeed == BROKEN)
        return emac_fail(err, EMAC_INTERNAL, "out of order");
    if (p->misdeed == RAW_ONLY && car)
        return emac_fail(err, EMAC_INVALID, "no CARs here");
    if (p->misdeed == NOTHING || p->misdeed == HTML) {
        res->content_type = p->misdeed == HTML ? "text/html" : "application/vnd.ipld.car";
        return p->misdeed == HTML ? emac_buf_printf(&res->body, err, "<html>hello</html>")
                                  : EMAC_OK;
    }
    enum emac_status st = exchange_serve(p->s, req, res, err);
    if (st == EMAC_OK && p->misdeed != HONEST)
        spoil(p, res);
    return st;
}

static inline enum emac_status peer_missing(void *ctx, const struct http_request *req,
                                            struct http_response *res, struct emac_err *err)
{
    struct peer *p = ctx;
    char text[CID_TEXT_MAX];
    if (p->misdeed != CURIOUS)
        return exchange_depot_missing(p->s, req, res, err);
    cid_text(text, &p->wanted);
    return emac_buf_printf(&res->body, err, "{\"missing\": [\"%s\"]}", text);
}

static inline enum emac_status peer_post(void *ctx, const struct http_request *req,
                                         struct http_response *res, struct emac_err *err)
{
    struct peer *p = ctx;
    if (p->misdeed == CUT && atomic_load(&p->uploads) >= p->cut_at)
        return emac_fail(err, EMAC_UNAVAILABLE, "the depot is gone");
    atomic_fetch_add(&p->uploads, 1);
    if (p->misdeed == NOTHING)
        return emac_buf_printf(&res->body, err, "{\"complete\": true}");
    return exchange_depot_post(p->s, req, "depot", res, err);
}

static inline void peer_start(struct peer *p, struct store *s, enum misdeed misdeed)
{
    static const struct http_route routes[] = {
        {"GET", "/ipfs/{cid}", 0, peer_get},
        {"GET", "/v1/depot/{cid}/missing", 0, peer_missing},
        {"POST", "/v1/depot/{cid}", 17 << 20, peer_post},
    };
    struct emac_err err;
    *p = (struct peer){.s = s, .misdeed = misdeed};
    struct http_server_config cfg = {
        .address = "127.0.0.1", .routes = routes, .route_count = EMAC_COUNT(routes), .ctx = p};
    OK(http_server_start(&cfg, &p->server, &err));
    snprintf(p->url, sizeof p->url, "http://127.0.0.1:%u", http_server_port(p->server));
}

static inline void peer_stop(struct peer *p)
{
    http_server_stop(p->server);
}

#endif
