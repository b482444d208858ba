/* The chain beside the coordinator, where one is configured: a thread of its own follows the final
 * blocks and posts what they say; handlers show where it stands and close epochs. The thread holds
 * the database only while it posts, and the coordinator's lock only to say how it went, never both
 * and neither over the network. */
#include "coordinator/internal.h"

#include <stdlib.h>
#include <string.h>

#include "chain/config.h"
#include "codec/unixfs.h"

#define FOLLOW_MS 1000 /* between looks at the chain when nothing is new */

struct chain_side {
    struct chain_config cfg;
    struct chain_nodes nodes;
    struct chain_book book;
    struct http_client *http;
    struct os_thread thread;
    bool started;
    /* guarded by the coordinator's lock */
    uint64_t final;
    char problem[EMAC_ERR_TEXT_MAX]; /* why nothing is taken; "" */
};

void chain_wallet_of(struct coordinator *c, const char *did, char out[EVM_ADDRESS_MAX])
{
    struct emac_err err = {0};
    out[0] = '\0';
    if (c->chain != NULL && chain_book_wallet(&c->chain->book, did, out, &err) != EMAC_OK)
        LOG_W("coordinator", "the wallet of '%s' cannot be read: %s", did, err.text);
}

/* ---- following ---- */

static void report(struct coordinator *c, enum emac_status st, const struct emac_err *err,
                   uint64_t final)
{
    struct chain_side *s = c->chain;
    const char *text = st == EMAC_OK ? "" : err->text;
    os_mutex_lock(&c->lock);
    if (strcmp(s->problem, text) != 0 && st != EMAC_OK)
        LOG_W("chain", "%s", text);
    else if (strcmp(s->problem, text) != 0)
        LOG_I("chain", "events are taken again");
    if (st == EMAC_OK)
        s->final = final;
    emac_strcpy(s->problem, sizeof(s->problem), text);
    os_mutex_unlock(&c->lock);
}

static enum emac_status take(struct coordinator *c, const struct chain_cursor *from,
                             const struct chain_batch *batch, struct emac_err *err)
{
    enum emac_status st = db_begin(c->db, err);
    if (st != EMAC_OK)
        return st;
    st = chain_book_apply(&c->chain->book, from, batch, wall_ms(c), err);
    if (st == EMAC_OK)
        return db_commit(c->db, err);
    db_rollback(c->db);
    return st;
}

/* One look; true when there may be more at once. */
static bool follow(struct coordinator *c)
{
    struct chain_side *s = c->chain;
    struct chain_cursor from;
    struct chain_batch batch = {0};
    struct emac_err err = {0};
    enum emac_status st;
    bool more = false;
    EMAC_TRY(st, chain_book_cursor(&s->book, &from, &err));
    EMAC_TRY(st, chain_follow(&s->nodes.source, &from, &batch, &err));
    if (batch.next.number != from.number)
        EMAC_TRY(st, take(c, &from, &batch, &err));
    more = batch.next.number != from.number;
    if (batch.count > 0)
        LOG_I("chain", "%zu events up to block %llu", batch.count,
              (unsigned long long)batch.next.number);
out:
    report(c, st, &err, batch.final);
    chain_batch_release(&batch);
    return more && st == EMAC_OK;
}

static bool stopping(struct coordinator *c, uint32_t wait_ms)
{
    os_mutex_lock(&c->lock);
    uint64_t until = now_ms(c) + wait_ms, now;
    while (!c->stopping && (now = now_ms(c)) < until)
        os_cond_wait_ms(&c->changed, &c->lock, (uint32_t)(until - now));
    bool stop = c->stopping;
    os_mutex_unlock(&c->lock);
    return stop;
}

static void *chain_main(void *arg)
{
    struct coordinator *c = arg;
    while (!stopping(c, follow(c) ? 0 : FOLLOW_MS))
        ;
    return NULL;
}

enum emac_status chain_side_start(struct coordinator *c, const struct chain_config *cfg,
                                  struct emac_err *err)
{
    struct chain_side *s;
    enum emac_status st = emac_alloc(&s, 1, sizeof(*s), err);
    if (st != EMAC_OK)
        return st;
    c->chain = s;
    s->cfg = *cfg;
    s->book = (struct chain_book){.db = c->db, .chain_id = cfg->chain_id};
    memcpy(s->book.address, cfg->address, sizeof(cfg->address));
    EMAC_TRY(st, http_client_new(&s->http, err));
    EMAC_TRY(st, chain_nodes_init(&s->nodes, &s->cfg, s->http, err));
    EMAC_TRY(st, chain_book_open(&s->book, &cfg->start, err));
    os_thread_start(&s->thread, chain_main, c);
    s->started = true;
out:
    return st;
}

void chain_side_stop(struct coordinator *c)
{
    if (c->chain == NULL || !c->chain->started)
        return;
    http_client_stop(c->chain->http);
    os_thread_join(&c->chain->thread);
    c->chain->started = false;
}

void chain_side_free(struct coordinator *c)
{
    if (c->chain != NULL && c->chain->http != NULL)
        http_client_free(c->chain->http);
    free(c->chain);
    c->chain = NULL;
}

/* ---- over HTTP ---- */

static enum emac_status configured(struct coordinator *c, struct emac_err *err)
{
    if (c->chain != NULL)
        return EMAC_OK;
    return emac_fail(err, EMAC_NOT_FOUND,
                     "this coordinator settles on no chain: start it with --chain chain.json");
}

static json_t *hash_json(const uint8_t hash[CHAIN_HASH_BYTES])
{
    return chain_json_bytes(hash, CHAIN_HASH_BYTES);
}

static json_t *address_json(const uint8_t address[EVM_ADDRESS_BYTES])
{
    char text[EVM_ADDRESS_MAX];
    crypto_evm_address_text(text, address);
    return json_string(text);
}

static json_t *epoch_json(const struct chain_epoch *e)
{
    if (e->state == CHAIN_EPOCH_NONE)
        return json_null();
    return json_pack("{s:I, s:s, s:o, s:o, s:o, s:o}", "epoch", (json_int_t)e->epoch, "state",
                     chain_epoch_state_name(e->state), "root", hash_json(e->root), "total_units",
                     api_units((int64_t)e->total), "list", hash_json(e->list), "journal",
                     hash_json(e->journal));
}

static void short_each(void *ctx, const struct chain_short *s)
{
    json_array_append_new(ctx, json_pack("{s:s, s:s, s:o, s:o, s:I}", "did", s->did, "wallet",
                                         s->wallet, "asked_units", api_units(s->asked_units),
                                         "debited_units", api_units(s->debited_units), "ready_s",
                                         (json_int_t)s->ready_s));
}

/* What the database says, at one moment. */
static enum emac_status stand_read(struct coordinator *c, struct chain_cursor *cursor,
                                   struct chain_epoch *last, int64_t *held, json_t *shorts,
                                   struct emac_err *err)
{
    const struct chain_book *b = &c->chain->book;
    enum emac_status st = db_begin(c->db, err);
    if (st != EMAC_OK)
        return st;
    st = chain_book_cursor(b, cursor, err);
    if (st == EMAC_OK)
        st = chain_epoch_last(b, last, err);
    if (st == EMAC_OK)
        st = chain_book_shorts(b, short_each, shorts, err);
    if (st == EMAC_OK)
        st = ledger_balance(c->db, "chain", held, err);
    db_rollback(c->db);
    *held = -*held;
    return st;
}

enum emac_status chain_get(void *ctx, const struct http_request *req, struct http_response *res,
                           struct emac_err *err)
{
    struct coordinator *c = ctx;
    struct chain_cursor cursor;
    struct chain_epoch last;
    int64_t held = 0;
    char problem[EMAC_ERR_TEXT_MAX];
    enum emac_status st = configured(c, err);
    if (st != EMAC_OK)
        return st;
    json_t *shorts = json_array();
    st = stand_read(c, &cursor, &last, &held, shorts, err);
    if (st != EMAC_OK) {
        json_decref(shorts);
        return st;
    }
    const struct chain_config *cfg = &c->chain->cfg;
    os_mutex_lock(&c->lock);
    uint64_t final = c->chain->final;
    memcpy(problem, c->chain->problem, sizeof(problem));
    os_mutex_unlock(&c->lock);
    return api_reply(
        res, 200,
        json_pack("{s:I, s:o, s:o, s:o, s:o, s:o, s:s, s:I, s:I, s:s, s:o, s:o, s:o}", "chain_id",
                  (json_int_t)cfg->chain_id, "token", address_json(cfg->token), "vault",
                  address_json(cfg->address[CHAIN_VAULT]), "bindings",
                  address_json(cfg->address[CHAIN_BINDINGS]), "payouts",
                  address_json(cfg->address[CHAIN_PAYOUTS]), "datacap",
                  address_json(cfg->address[CHAIN_DATACAP]), "operator", cfg->operator_did, "block",
                  (json_int_t)cursor.number, "final_block", (json_int_t) final, "problem", problem,
                  "held_units", api_units(held), "epoch", epoch_json(&last), "shorts", shorts),
        err);
}

static enum emac_status leaves_add(struct coordinator *c, json_t *o, uint64_t epoch,
                                   struct emac_err *err)
{
    struct chain_leaf *leaf = NULL;
    size_t count = 0;
    char did[DID_KEY_MAX];
    json_t *list = json_array();
    enum emac_status st = chain_epoch_leaves(&c->chain->book, epoch, &leaf, &count, err);
    for (size_t i = 0; i < count; i++) {
        crypto_did_key(did, leaf[i].account);
        json_array_append_new(list, json_pack("{s:s, s:o, s:o}", "did", did, "wallet",
                                              address_json(leaf[i].wallet), "cumulative_units",
                                              api_units((int64_t)leaf[i].cumulative)));
    }
    json_object_set_new(o, "leaves", list);
    free(leaf);
    return st;
}

enum emac_status chain_epoch_get_one(void *ctx, const struct http_request *req,
                                     struct http_response *res, struct emac_err *err)
{
    struct coordinator *c = ctx;
    struct chain_epoch e;
    struct u256 number;
    uint64_t epoch = 0;
    enum emac_status st = configured(c, err);
    if (st == EMAC_OK && (!u256_parse(http_path_param(req, "epoch"), &number) ||
                          !u256_to_u64(&number, &epoch) || epoch > INT64_MAX))
        st = emac_fail(err, EMAC_INVALID, "'%.40s' is no number of an epoch",
                       http_path_param(req, "epoch"));
    if (st == EMAC_OK)
        st = chain_epoch_get(&c->chain->book, epoch, &e, err);
    if (st != EMAC_OK)
        return st;
    json_t *o = epoch_json(&e);
    st = leaves_add(c, o, epoch, err);
    if (st == EMAC_OK)
        return api_reply(res, 200, o, err);
    json_decref(o);
    return st;
}

/* The last epoch while it is on its way; else a new one. */
static enum emac_status epoch_due(struct coordinator *c, struct chain_epoch *e,
                                  struct emac_err *err)
{
    const struct chain_book *b = &c->chain->book;
    enum emac_status st = db_begin(c->db, err);
    if (st != EMAC_OK)
        return st;
    st = chain_epoch_last(b, e, err);
    if (st == EMAC_OK && e->state != CHAIN_EPOCH_CLOSED && e->state != CHAIN_EPOCH_PROPOSED)
        st = chain_epoch_close(b, c->chain->cfg.least_units, wall_ms(c), e, err);
    if (st == EMAC_OK)
        return db_commit(c->db, err);
    db_rollback(c->db);
    return st;
}

/* The list of leaves under the CID whose digest the root is proposed with: anybody can fetch it at
 * /ipfs/ and compute the root. Again at each settling, so that a lost depot heals. */
static enum emac_status leaves_publish(struct coordinator *c, const struct chain_epoch *e,
                                       struct emac_err *err)
{
    const struct chain_book *b = &c->chain->book;
    struct chain_leaf *leaf = NULL;
    size_t count = 0;
    struct emac_buf list;
    struct cid cid;
    enum emac_status st;
    emac_buf_init(&list, UNIXFS_BLOCK_MAX);
    EMAC_TRY(st, chain_epoch_leaves(b, e->epoch, &leaf, &count, err));
    EMAC_TRY(st, chain_leaves_encode(b->chain_id, b->address[CHAIN_PAYOUTS], e->epoch, leaf, count,
                                     &list, err));
    EMAC_TRY(st, store_block_put(c->depot, CID_DAG_CBOR, list.data, list.len, &cid, err));
    EMAC_ASSERT(memcmp(cid.digest, e->list, SHA256_BYTES) == 0);
    st = store_pin(c->depot, "epochs", &cid, err);
out:
    free(leaf);
    emac_buf_release(&list);
    return st;
}

/* Of a request to be paid out: how much, and its name. */
static enum emac_status payable_parse(json_t *root, int64_t *units, const char **key,
                                      struct emac_err *err)
{
    const char *text = NULL;
    enum emac_status st = api_request_key(root, CHAIN_PAYABLE_KEY_MAX - 1, key, err);
    if (st == EMAC_OK)
        st = api_str(root, "units", 20, &text, err);
    return st == EMAC_OK ? api_units_parse(text, units, err) : st;
}

enum emac_status chain_payables_post(void *ctx, const struct http_request *req,
                                     struct http_response *res, struct emac_err *err)
{
    struct coordinator *c = ctx;
    json_t *root = NULL;
    const char *key = NULL;
    char did[DID_KEY_MAX], account[LEDGER_ACCOUNT_MAX];
    int64_t units = 0, waiting = 0;
    enum emac_status st;
    EMAC_TRY(st, configured(c, err));
    EMAC_TRY(st, api_signer(c, req, did, err));
    EMAC_TRY(st, api_body(req, &root, err));
    EMAC_TRY(st, payable_parse(root, &units, &key, err));
    snprintf(account, sizeof(account), "rig:%s", did);
    EMAC_TRY(st, db_begin(c->db, err));
    st = chain_payable_add(&c->chain->book, did, units, key, wall_ms(c), NULL, err);
    if (st == EMAC_OK)
        st = ledger_balance(c->db, account, &waiting, err);
    EMAC_TRY(st, db_end(c->db, st, err));
    st = api_reply(res, 200,
                   json_pack("{s:s, s:o, s:o}", "did", did, "units", api_units(units),
                             "waiting_units", api_units(waiting)),
                   err);
out:
    json_decref(root);
    return st;
}

enum emac_status chain_settle_post(void *ctx, const struct http_request *req,
                                   struct http_response *res, struct emac_err *err)
{
    struct coordinator *c = ctx;
    struct chain_epoch e;
    char did[DID_KEY_MAX];
    enum emac_status st = configured(c, err);
    if (st == EMAC_OK)
        st = api_signer(c, req, did, err);
    if (st != EMAC_OK)
        return st;
    if (strcmp(did, c->chain->cfg.operator_did) != 0)
        return emac_fail(err, EMAC_FORBIDDEN,
                         "epochs are closed by the operator '%s' that chain.json names",
                         c->chain->cfg.operator_did);
    st = epoch_due(c, &e, err);
    if (st == EMAC_OK)
        st = leaves_publish(c, &e, err);
    return st == EMAC_OK ? api_reply(res, 200, epoch_json(&e), err) : st;
}
