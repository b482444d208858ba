/* Storage deals against a real coordinator: what is paid, to whom, when, and what is lost. Rigs are
 * scripts; epochs end when the test moves the coordinator's clock. Cites DEAL-n of
 * coordinator/storage/deals.h. */
#include "harness.h"

#include <stdatomic.h>

#include "coordinator/storage/deals.h"
#include "store/car.h"

#define EPOCH_MS (UINT64_C(3600) * 1000)
#define PRICE    "1000000000000" /* a GiB and day */

/* ---- a clock that can be moved ---- */

static atomic_uint_fast64_t moved_ns;

static uint64_t moved_mono(struct os *os)
{
    return os_real()->mono_ns(os_real()) + atomic_load(&moved_ns);
}

static struct os moved_os;

/* ---- a network with a deal ---- */

struct world {
    struct net n;
    struct commp piece;
    uint8_t *chunk;
    char id[DEAL_ID_MAX], path[128];
};

static int say(struct world *w, const struct rigbot *r, const char *what, json_t *body,
               json_t **reply)
{
    char path[128];
    snprintf(path, sizeof path, "/v1/deals/%s/%s", w->id, what);
    return call(&w->n, &r->id, "POST", path, body, reply);
}

static void rig_hello(struct world *w, struct rigbot *r)
{
    json_t *reply, *body = hello_body(r);
    json_object_set_new(body, "url", json_string(w->n.url)); /* which answers the probe */
    json_object_set_new(body, "offer_bytes", json_integer(1 << 24));
    assert_int_equal(call(&w->n, &r->id, "POST", "/v1/nodes", body, &reply), 200);
    if (strcmp(str_of(reply, "state"), "challenge") == 0)
        assert_int_equal(challenge_answer(&w->n, r, json_object_get(reply, "challenge"), true),
                         200);
    json_decref(reply);
}

static json_t *deal_now(struct world *w)
{
    return get(&w->n, w->path);
}

static int64_t open_epoch(struct world *w)
{
    json_t *d = deal_now(w);
    int64_t epoch = int_of(d, "epoch");
    json_decref(d);
    return epoch;
}

/* Rig k's replica, or NULL; borrowed from *deal, which is the caller's. */
static json_t *holder_of(struct world *w, const struct rigbot *r, json_t **deal)
{
    json_t *h;
    size_t i;
    *deal = deal_now(w);
    json_array_foreach(json_object_get(*deal, "holders"), i,
                       h) if (strcmp(str_of(h, "node"), r->id.did) == 0) return h;
    return NULL;
}

static bool rig_is(struct world *w, const struct rigbot *r, const char *state)
{
    json_t *deal, *h = holder_of(w, r, &deal);
    bool is = h != NULL && strcmp(str_of(h, "state"), state) == 0;
    json_decref(deal);
    return is;
}

/* A while in which no rig is taken for lost, however slow the machine is. */
static void all_wait(struct world *w)
{
    for (uint32_t i = 0; i < w->n.rigs; i++)
        json_decref(beat(&w->n, &w->n.rig[i]));
    sleep_ms(5);
}

static void until_rig(struct world *w, const struct rigbot *r, const char *state)
{
    for (int i = 0; i < NET_LOOPS; i++) {
        if (rig_is(w, r, state))
            return;
        json_decref(beat(&w->n, (struct rigbot *)(uintptr_t)r));
        sleep_ms(5);
    }
    fail_msg("rig %s is not '%s'", r->id.did, state);
}

static int replica_of(struct world *w, const struct rigbot *r)
{
    json_t *deal, *h = holder_of(w, r, &deal);
    int number = h != NULL ? (int)int_of(h, "replica") : -1;
    json_decref(deal);
    return number;
}

static void epoch_ends(struct world *w)
{
    int64_t before = open_epoch(w);
    atomic_fetch_add(&moved_ns, EPOCH_MS * 1000000);
    for (int i = 0; i < NET_LOOPS && open_epoch(w) == before; i++)
        sleep_ms(5);
    assert_int_equal(open_epoch(w), before + 1);
    assert_audit(&w->n);
}

static json_t *duties(struct world *w, const struct rigbot *r)
{
    json_t *reply;
    assert_int_equal(call(&w->n, &r->id, "POST", "/v1/deals/duties", json_object(), &reply), 200);
    return reply;
}

static enum emac_status collect(void *ctx, const void *data, size_t n, struct emac_err *err)
{
    return emac_buf_append(ctx, data, n, err);
}

/* The rig's true answer to the open epoch, `flip` (if not NULL) changed in one bit. */
static json_t *proof_json(struct world *w, const struct rigbot *r, bool flip)
{
    json_t *told = duties(w, r);
    uint8_t seed[SHA256_BYTES];
    uint64_t epoch = (uint64_t)int_of(told, "epoch");
    int replica = replica_of(w, r);
    struct emac_buf data, proof;
    assert_true(emac_unhex(seed, sizeof seed, str_of(told, "seed")));
    json_decref(told);
    emac_buf_init(&data, 1 << 24);
    emac_buf_init(&proof, DEAL_PROOF_MAX);
    assert_ok(store_car_read(w->n.bytes, &w->n.corpus->cid, 0, UINT64_MAX, collect, &data, err));
    for (uint32_t k = 0; k < DEAL_CHALLENGES; k++) {
        uint8_t one[COMMP_PROOF_MAX];
        uint64_t from, leaf = deal_challenge(seed, w->id, (uint32_t)replica, epoch, k,
                                             commp_leaves(w->piece.size));
        size_t len;
        commp_chunk_of(w->piece.size, leaf, &from, &len);
        assert_ok(commp_prove(&w->piece, w->chunk, leaf, data.data + from, one, err));
        assert_ok(emac_buf_append(&proof, one, commp_proof_bytes(w->piece.size), err));
    }
    if (flip)
        proof.data[proof.len / 2] ^= 1;
    char *text = malloc(EMAC_BASE64_LEN(proof.len) + 1);
    emac_base64(text, proof.data, proof.len);
    json_t *body =
        json_pack("{s:i,s:I,s:s}", "replica", replica, "epoch", (json_int_t)epoch, "proof", text);
    free(text);
    emac_buf_release(&proof);
    emac_buf_release(&data);
    return body;
}

static void proves(struct world *w, const struct rigbot *r)
{
    assert_int_equal(say(w, r, "proofs", proof_json(w, r, false), NULL), 200);
}

static json_t *make_body(struct world *w, int replicas, int epochs, const char *nonce)
{
    char cid[CID_TEXT_MAX], piece[COMMP_TEXT_MAX];
    cid_text(cid, &w->n.corpus->cid);
    commp_text(piece, &w->piece);
    return json_pack("{s:s,s:s,s:i,s:i,s:s,s:s,s:s}", "cid", cid, "piece", piece, "replicas",
                     replicas, "epochs", epochs, "price_units", PRICE, "traffic_units", PRICE,
                     "nonce", nonce);
}

static void world_open(struct world *w, const char *name, int rigs)
{
    *w = (struct world){0};
    atomic_store(&moved_ns, 0);
    moved_os = *os_real();
    moved_os.mono_ns = moved_mono;
    w->n.cfg.deal_epoch_ms = EPOCH_MS;
    w->n.moved = &moved_os;
    net_open(&w->n, name);
    faucet(&w->n);
    push(&w->n, &w->n.user, &w->n.corpus->cid);
    assert_ok(store_car_commit(w->n.bytes, &w->n.corpus->cid, &w->piece, &w->chunk, err));
    for (int i = 0; i < rigs; i++)
        rig_hello(w, rig_named(&w->n, (uint8_t)(1 + i)));
}

static void deal_make(struct world *w, int replicas, int epochs)
{
    json_t *reply;
    int status =
        call(&w->n, &w->n.user, "POST", "/v1/deals", make_body(w, replicas, epochs, "1"), &reply);
    if (status != 201)
        fail_msg("POST /v1/deals: %d %s", status, str_of(reply, "error"));
    set_text(w->id, str_of(reply, "id"));
    snprintf(w->path, sizeof w->path, "/v1/deals/%s", w->id);
    json_decref(reply);
}

static void keeps(struct world *w, const struct rigbot *r, json_t *received)
{
    until_rig(w, r, "placed");
    assert_int_equal(say(w, r, "kept",
                         json_pack("{s:i,s:o}", "replica", replica_of(w, r), "received", received),
                         NULL),
                     200);
}

static void world_close(struct world *w)
{
    free(w->chunk);
    net_close(&w->n);
}

static int64_t units(struct world *w, const char *kind, const struct identity *id)
{
    char account[LEDGER_ACCOUNT_MAX];
    snprintf(account, sizeof account, "%s:%s", kind, id->did);
    return balance(&w->n, account);
}

/* ---- the tests ---- */

/* DEAL-5, DEAL-6: a true proof is paid once; a forged, late, early or foreign one not at all. */
static void paid_once(void **state)
{
    struct world w;
    json_t *deal, *again;
    world_open(&w, "paid", 2);
    struct rigbot *a = &w.n.rig[0], *b = &w.n.rig[1];
    deal_make(&w, 1, 10);
    for (int i = 0; i < NET_LOOPS && !rig_is(&w, a, "placed") && !rig_is(&w, b, "placed"); i++)
        all_wait(&w);
    if (rig_is(&w, b, "placed")) { /* a is the one that has it */
        a = &w.n.rig[1];
        b = &w.n.rig[0];
    }
    keeps(&w, a, json_array());
    deal = deal_now(&w);
    int64_t pay = units_of(deal, "epoch_units"), bond = units_of(deal, "bond_units");
    json_decref(deal);
    /* nothing is due in the epoch it came in */
    assert_int_equal(say(&w, a, "proofs", proof_json(&w, a, false), NULL), 409);
    epoch_ends(&w);
    rig_hello(&w, a);
    rig_hello(&w, b);
    assert_int_equal(say(&w, a, "proofs", proof_json(&w, a, true), NULL), 400);
    json_t *stale = proof_json(&w, a, false);
    assert_int_equal(say(&w, b, "proofs", json_deep_copy(stale), NULL), 404);
    assert_int_equal(balance(&w.n, "stake:"), 0);
    again = json_deep_copy(stale);
    assert_int_equal(say(&w, a, "proofs", json_deep_copy(stale), NULL), 200);
    assert_int_equal(say(&w, a, "proofs", again, NULL), 200);
    assert_int_equal(balance(&w.n, "stake:") + units(&w, "rig", &a->id), pay);
    assert_audit(&w.n);
    epoch_ends(&w);
    rig_hello(&w, a);
    json_object_set_new(stale, "epoch", json_integer(open_epoch(&w)));
    assert_int_equal(say(&w, a, "proofs", stale, NULL), 400); /* the proof of another epoch */
    proves(&w, a);
    assert_int_equal(balance(&w.n, "stake:") + units(&w, "rig", &a->id), 2 * pay);
    assert_true(balance(&w.n, "stake:") <= bond);
    assert_audit(&w.n);
    world_close(&w);
}

/* DEAL-7, DEAL-9: one miss costs an epoch's pay, the second the bond; another rig takes over, and
 * who sent it the data is paid once the first proof shows that they came. */
static void lost_and_repaired(void **state)
{
    struct world w;
    json_t *deal;
    world_open(&w, "lost", 3);
    for (int i = 0; i < 3; i++) /* all can put up their bonds */
        assert_int_equal(call(&w.n, &w.n.rig[i].id, "POST", "/v1/faucet", json_object(), NULL),
                         200);
    deal_make(&w, 2, 20);
    struct rigbot *good = NULL, *bad = NULL, *spare = NULL;
    for (int i = 0; i < NET_LOOPS && (good == NULL || bad == NULL); i++, all_wait(&w)) {
        good = bad = spare = NULL;
        for (int k = 0; k < 3; k++) {
            struct rigbot *r = &w.n.rig[k];
            if (!rig_is(&w, r, "placed"))
                spare = r;
            else if (good == NULL)
                good = r;
            else
                bad = r;
        }
    }
    assert_true(good != NULL && bad != NULL && spare != NULL);
    keeps(&w, good, json_array());
    keeps(&w, bad, json_array());
    deal = deal_now(&w);
    int64_t bond = units_of(deal, "bond_units"), carry = units_of(deal, "traffic_units");
    int64_t pay = units_of(deal, "epoch_units"), escrow = units_of(deal, "escrow_units");
    json_decref(deal);
    assert_int_equal(balance(&w.n, "stake:"), 2 * bond);
    epoch_ends(&w); /* e + 1: both are due; the bad one says so itself, and is not paid */
    rig_hello(&w, good);
    rig_hello(&w, bad);
    proves(&w, good);
    assert_int_equal(say(&w, bad, "proofs",
                         json_pack("{s:i,s:I,s:s}", "replica", replica_of(&w, bad), "epoch",
                                   (json_int_t)open_epoch(&w), "lost", "a block is gone"),
                         NULL),
                     200);
    assert_int_equal(say(&w, bad, "proofs", proof_json(&w, bad, false), NULL), 409);
    epoch_ends(&w);
    assert_true(rig_is(&w, bad, "active"));
    rig_hello(&w, good);
    rig_hello(&w, spare);
    proves(&w, good);
    epoch_ends(&w); /* two in a row */
    assert_true(rig_is(&w, bad, "lost"));
    assert_int_equal(balance(&w.n, "stake:"), bond);
    char account[LEDGER_ACCOUNT_MAX];
    snprintf(account, sizeof account, "escrow:%s", w.id);
    assert_int_equal(balance(&w.n, account), escrow - 2 * pay + bond);
    rig_hello(&w, good);
    rig_hello(&w, spare);
    proves(&w, good);
    until_rig(&w, spare, "placed");
    json_t *received =
        json_pack("[{s:s,s:I},{s:s,s:I},{s:s,s:I}]", "node", good->id.did, "bytes",
                  (json_int_t)1 << 40, "node", w.n.user.did, "bytes", (json_int_t)1 << 40, "node",
                  spare->id.did, "bytes", (json_int_t)1 << 40);
    int64_t before = units(&w, "rig", &good->id);
    keeps(&w, spare, received);
    assert_int_equal(units(&w, "rig", &good->id), before); /* a word is not a proof */
    epoch_ends(&w);
    rig_hello(&w, spare);
    proves(&w, spare);
    assert_int_equal(units(&w, "rig", &good->id), before + carry); /* a whole transfer, no more */
    assert_int_equal(units(&w, "user", &w.n.user), COORDINATOR_FAUCET_UNITS - escrow);
    assert_audit(&w.n);
    world_close(&w);
}

/* DEAL-8: at the end bonds go back to rigs and the rest to the client; not a unit is missing. */
static void ended(void **state)
{
    struct world w;
    world_open(&w, "ended", 1);
    struct rigbot *a = &w.n.rig[0];
    deal_make(&w, 1, 3);
    keeps(&w, a, json_array());
    for (int i = 0; i < 3; i++) {
        epoch_ends(&w);
        rig_hello(&w, a);
        if (i != 1)
            proves(&w, a);
    }
    json_t *deal = deal_now(&w);
    int64_t pay = units_of(deal, "epoch_units");
    json_decref(deal);
    epoch_ends(&w);
    assert_true(rig_is(&w, a, "ended"));
    assert_int_equal(balance(&w.n, "stake:"), 0);
    assert_int_equal(units(&w, "rig", &a->id), 2 * pay);
    assert_int_equal(units(&w, "user", &w.n.user), COORDINATOR_FAUCET_UNITS - 2 * pay);
    json_t *told = duties(&w, a);
    assert_int_equal(json_array_size(json_object_get(told, "duties")), 0);
    json_decref(told);
    assert_int_equal(say(&w, a, "proofs",
                         json_pack("{s:i,s:i,s:s}", "replica", 0, "epoch", 5, "proof", "AAAA"),
                         NULL),
                     409);
    world_close(&w);
}

/* DEAL-9, DEAL-10: a coordinator that was away blames nobody, and reveals no other secret. */
static void restarted(void **state)
{
    struct world w;
    world_open(&w, "restart", 1);
    struct rigbot *a = &w.n.rig[0];
    deal_make(&w, 1, 10);
    keeps(&w, a, json_array());
    epoch_ends(&w);
    json_t *before = get(&w.n, "/v1/deals/epochs");
    coordinator_stop(w.n.c);
    w.n.c = NULL;
    atomic_fetch_add(&moved_ns, 100 * EPOCH_MS * 1000000); /* long after its end */
    w.n.cfg.deal_epoch_ms = EPOCH_MS / 2;
    struct emac_err err;
    assert_int_equal(coordinator_start(&w.n.cfg, &w.n.c, &err), EMAC_CONFLICT);
    assert_non_null(strstr(err.text, "keep that length"));
    w.n.cfg.deal_epoch_ms = EPOCH_MS;
    net_start(&w.n);
    json_t *after = get(&w.n, "/v1/deals/epochs");
    assert_int_equal(int_of(before, "epoch"), int_of(after, "epoch"));
    json_t *x = json_object_get(before, "epochs"), *y = json_object_get(after, "epochs");
    assert_true(json_equal(x, y));
    json_t *next = json_array_get(y, json_array_size(y) - 1);
    assert_string_equal(str_of(next, "state"), "next");
    assert_string_equal(str_of(next, "secret"), "");
    char commitment[80];
    set_text(commitment, str_of(next, "commitment"));
    json_decref(before);
    json_decref(after);
    rig_hello(&w, a);
    proves(&w, a);
    epoch_ends(&w);
    /* what was committed to is what is revealed */
    after = get(&w.n, "/v1/deals/epochs");
    y = json_object_get(after, "epochs");
    json_t *open = json_array_get(y, json_array_size(y) - 2);
    uint8_t secret[SHA256_BYTES], hash[SHA256_BYTES];
    char text[2 * SHA256_BYTES + 1];
    assert_true(emac_unhex(secret, sizeof secret, str_of(open, "secret")));
    crypto_sha256(hash, secret, sizeof secret);
    emac_hex(text, hash, sizeof hash);
    assert_string_equal(text, commitment);
    json_decref(after);
    json_t *deal, *h = holder_of(&w, a, &deal);
    assert_int_equal(int_of(h, "misses"), 0);
    assert_int_equal(int_of(h, "proven"), 1);
    json_decref(deal);
    world_close(&w);
}

/* A rig that will not have it makes room for another; one that says nothing, after a while, too. */
static void declined_and_lapsed(void **state)
{
    struct world w;
    world_open(&w, "declined", 2);
    deal_make(&w, 1, 10);
    struct rigbot *a = &w.n.rig[0], *b = &w.n.rig[1];
    for (int i = 0; i < NET_LOOPS && !rig_is(&w, a, "placed") && !rig_is(&w, b, "placed"); i++)
        all_wait(&w);
    if (rig_is(&w, b, "placed")) {
        a = &w.n.rig[1];
        b = &w.n.rig[0];
    }
    assert_int_equal(
        say(&w, a, "declined",
            json_pack("{s:i,s:s}", "replica", replica_of(&w, a), "reason", "another piece"), NULL),
        200);
    assert_true(rig_is(&w, a, "declined"));
    until_rig(&w, b, "placed");
    assert_int_equal(say(&w, a, "kept", json_pack("{s:i}", "replica", replica_of(&w, a)), NULL),
                     409);
    for (int i = 0; i <= DEAL_PATIENCE; i++)
        epoch_ends(&w);
    assert_true(rig_is(&w, b, "lapsed"));
    assert_int_equal(balance(&w.n, "stake:"), 0);
    world_close(&w);
}

/* What clients may not do. */
static void refused(void **state)
{
    struct world w;
    world_open(&w, "refused", 0);
    static const struct {
        const char *key, *value;
        int status;
    } CASES[] = {
        {"price_units", "\"100000000000000\"", 402}, /* more than there is */
        {"price_units", "\"0\"", 400},
        {"cid", "\"bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku\"", 404},
        {"nonce", "\"\"", 400},
        {"replicas", "0", 400},
    };
    for (size_t i = 0; i < EMAC_COUNT(CASES); i++) {
        json_t *body = make_body(&w, 2, 100000, "x"), *reply;
        json_object_set_new(body, CASES[i].key, json_loads(CASES[i].value, JSON_DECODE_ANY, NULL));
        int status = call(&w.n, &w.n.user, "POST", "/v1/deals", body, &reply);
        if (status != CASES[i].status)
            fail_msg("%s = %s: %d %s", CASES[i].key, CASES[i].value, status,
                     str_of(reply, "error"));
        json_decref(reply);
    }
    assert_int_equal(call(&w.n, NULL, "POST", "/v1/deals", make_body(&w, 1, 5, "y"), NULL), 401);
    deal_make(&w, 1, 5);
    assert_int_equal(call(&w.n, &w.n.user, "POST", "/v1/deals", make_body(&w, 1, 5, "1"), NULL),
                     200); /* the same again */
    assert_int_equal(call(&w.n, &w.n.user, "POST", "/v1/deals", make_body(&w, 2, 5, "1"), NULL),
                     409);
    char path[192];
    snprintf(path, sizeof path, "%s/cancel", w.path);
    struct identity other;
    identity_seeded(&other, 77);
    assert_int_equal(call(&w.n, &other, "POST", path, json_object(), NULL), 403);
    assert_int_equal(call(&w.n, &w.n.user, "POST", path, json_object(), NULL), 200);
    assert_int_equal(units(&w, "user", &w.n.user), COORDINATOR_FAUCET_UNITS);
    assert_audit(&w.n);
    world_close(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(paid_once),
        cmocka_unit_test(lost_and_repaired),
        cmocka_unit_test(ended),
        cmocka_unit_test(restarted),
        cmocka_unit_test(declined_and_lapsed),
        cmocka_unit_test(refused),
    };
    return cmocka_run_group_tests_name("deals", tests, NULL, NULL);
}
