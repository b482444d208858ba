/* Uploading a DAG: ask what is missing, send it in CARs, ask again. Parents go before children, so
 * after a broken upload the depot can tell what it lacks. What it names is its own word: only
 * blocks of the DAG go out, whatever else the store holds. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "codec/car.h"
#include "exchange/internal.h"
#include "store/cid_map.h"
#include "store/walk.h"

#define MISSING_REPLY_MAX (1u << 20)

static char SENT, OURS;

struct push {
    struct store *s;
    struct http_client *http;
    struct cid root;
    const char *base_url;
    const struct http_signer *signer;
    uint64_t *bytes;
    struct cid_map sent, ours; /* ours: the DAG's blocks, once a depot lacks a part of it */
    bool partial;              /* we lack some, so what is below them may be asked for */
    struct emac_buf car;
    size_t posts;
};

static char *url_make(const struct push *p, const char *tail)
{
    size_t n = strlen(p->base_url);
    while (n > 0 && p->base_url[n - 1] == '/')
        n--;
    return emac_asprintf("%.*s/v1/depot/%s%s", (int)n, p->base_url, exchange_name_of(&p->root).text,
                         tail);
}

/* ---- asking ---- */

static enum emac_status missing_parse(const struct emac_buf *body, struct cid *out, size_t *count,
                                      struct emac_err *err)
{
    json_t *j = json_loadb((const char *)body->data, body->len, JSON_REJECT_DUPLICATES, NULL);
    json_t *list = json_object_get(j, "missing"), *item;
    enum emac_status st = EMAC_OK;
    size_t i;
    if (!json_is_array(list) || json_array_size(list) > DEPOT_MISSING_MAX) {
        st = emac_fail(err, EMAC_CORRUPT, "the depot's list of missing blocks is malformed");
        goto out;
    }
    json_array_foreach(list, i, item)
    {
        const char *text = json_string_value(item);
        EMAC_TRY(st, cid_parse(&out[i], text != NULL ? text : "", err));
    }
    *count = json_array_size(list);
out:
    json_decref(j);
    return st;
}

static enum emac_status missing_ask(struct push *p, struct cid *out, size_t *count,
                                    struct emac_err *err)
{
    struct http_reply reply;
    char *url = url_make(p, "/missing");
    struct http_call call = {
        .method = "GET", .url = url, .signer = p->signer, .reply_max = MISSING_REPLY_MAX};
    enum emac_status st = http_client_call(p->http, &call, &reply, err);
    if (st == EMAC_OK)
        st = missing_parse(&reply.body, out, count, err);
    http_reply_release(&reply);
    free(url);
    return st;
}

static enum emac_status our_block(void *ctx, const struct cid *cid, bool present)
{
    struct push *p = ctx;
    p->partial = p->partial || !present;
    return cid_map_put(&p->ours, cid, &OURS, NULL);
}

/* All of them, where we can tell. */
static enum emac_status missing_check(struct push *p, const struct cid *missing, size_t count,
                                      struct emac_err *err)
{
    enum emac_status st = EMAC_OK;
    bool rest = count > 1 || (count == 1 && !cid_equal(&missing[0], &p->root));
    if (rest && p->ours.count == 0)
        st = store_dag_walk(p->s, &p->root, our_block, p, err);
    for (size_t i = 0; rest && !p->partial && st == EMAC_OK && i < count; i++)
        if (cid_map_get(&p->ours, &missing[i]) == NULL)
            st = emac_fail(err, EMAC_CORRUPT,
                           "the depot at '%.200s' asks for block '%s', which is no part of '%s'",
                           p->base_url, exchange_name_of(&missing[i]).text,
                           exchange_name_of(&p->root).text);
    return st;
}

/* ---- sending ---- */

static enum emac_status car_send(struct push *p, struct emac_err *err)
{
    struct http_reply reply;
    if (p->car.len == 0)
        return EMAC_OK;
    char *url = url_make(p, "");
    struct http_call call = {.method = "POST",
                             .url = url,
                             .body = emac_buf_slice(&p->car),
                             .content_type = CAR_TYPE "; version=1",
                             .signer = p->signer};
    enum emac_status st = http_client_call(p->http, &call, &reply, err);
    if (st == EMAC_OK)
        *p->bytes += p->car.len;
    emac_buf_clear(&p->car);
    p->posts++;
    http_reply_release(&reply);
    free(url);
    return st;
}

static enum emac_status block_add(struct push *p, const struct store_walk_item *item,
                                  struct emac_err *err)
{
    enum emac_status st = EMAC_OK;
    if (!item->present)
        return emac_fail(err, EMAC_NOT_FOUND,
                         "'%s' cannot be uploaded, its block '%s' is not here: fetch it first",
                         exchange_name_of(&p->root).text, exchange_name_of(&item->cid).text);
    if (p->car.len + item->block_size + 64 > CAR_UPLOAD_MAX)
        EMAC_TRY(st, car_send(p, err));
    if (p->car.len == 0)
        EMAC_TRY(st, car_header(&p->car, &p->root, err));
    EMAC_TRY(st, car_section_prefix(&p->car, &item->cid, (size_t)item->block_size, err));
    EMAC_TRY(st, store_block_append(p->s, &item->cid, &p->car, err));
    st = cid_map_put(&p->sent, &item->cid, &SENT, err);
out:
    return st;
}

/* A missing block, and all below it that was not sent yet. */
static enum emac_status dag_add(struct push *p, const struct cid *cid, struct emac_err *err)
{
    struct store_walk_options all = {.scope = STORE_SCOPE_ALL, .to = UINT64_MAX};
    struct store_walk_item item;
    struct store_walk *w;
    if (cid_map_get(&p->sent, cid) != NULL)
        return EMAC_OK;
    enum emac_status st = store_walk_new(p->s, cid, &all, &w, err);
    if (st != EMAC_OK)
        return st;
    for (;;) {
        EMAC_TRY(st, store_walk_next(w, &item, err));
        if (cid_is_none(&item.cid))
            break;
        if (cid_map_get(&p->sent, &item.cid) == NULL)
            EMAC_TRY(st, block_add(p, &item, err));
    }
out:
    store_walk_free(w);
    return st;
}

/* Ask, and send what is missing. *whole: nothing is. */
static enum emac_status round_run(struct push *p, struct cid *missing, bool *whole,
                                  struct emac_err *err)
{
    size_t count = 0, before = p->sent.count;
    enum emac_status st;
    EMAC_TRY(st, missing_ask(p, missing, &count, err));
    EMAC_TRY(st, missing_check(p, missing, count, err));
    *whole = count == 0;
    /* All is there, yet perhaps by chance and unpinned: a CAR of no blocks asks the depot to keep
     * it. */
    if (*whole && p->posts == 0)
        EMAC_TRY(st, car_header(&p->car, &p->root, err));
    for (size_t i = 0; i < count; i++)
        EMAC_TRY(st, dag_add(p, &missing[i], err));
    EMAC_TRY(st, car_send(p, err));
    if (!*whole && p->sent.count == before)
        st = emac_fail(err, EMAC_UNAVAILABLE,
                       "the depot at '%.200s' took block '%s' and still misses it: it may be full",
                       p->base_url, exchange_name_of(&missing[0]).text);
out:
    return st;
}

enum emac_status exchange_push(struct store *s, struct http_client *http, const struct cid *root,
                               const char *base_url, const struct http_signer *signer,
                               uint64_t *bytes, struct emac_err *err)
{
    struct push p = {.s = s,
                     .http = http,
                     .root = *root,
                     .base_url = base_url,
                     .signer = signer,
                     .bytes = bytes};
    struct cid *missing;
    bool whole = false;
    enum emac_status st = emac_alloc(&missing, DEPOT_MISSING_MAX, sizeof *missing, err);
    if (st != EMAC_OK)
        return st;
    cid_map_init(&p.sent, (uint64_t)(uintptr_t)&p * 0x9e3779b97f4a7c15u);
    cid_map_init(&p.ours, p.sent.secret);
    emac_buf_init(&p.car, CAR_UPLOAD_MAX);
    while (st == EMAC_OK && !whole)
        st = round_run(&p, missing, &whole, err);
    cid_map_release(&p.sent);
    cid_map_release(&p.ours);
    emac_buf_release(&p.car);
    free(missing);
    return st;
}
