#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

/* Sending (SEND-1 to 5) to a scripted node whose blocks come with the scripted clock. */
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "chain/send.h"

#define POOL_MAX 64
#define BLOCK_MS 2000

struct sent {
    uint8_t hash[CHAIN_HASH_BYTES];
    struct chain_tx tx;
    uint64_t mined_at; /* 0: waits */
    bool dropped;
};

/* What happens, by the number of blocks since the start. */
struct story {
    const char *name;
    uint64_t base_fee;    /* what a block asks for; max_fee below it stays out */
    uint64_t rises_to;    /* base fee after block 2 */
    uint64_t drop_at;     /* the pool is emptied at this block */
    uint64_t stranger_at; /* another transaction takes the nonce */
    uint64_t reorg_at;    /* blocks from here back to 2 vanish, once */
    uint64_t mines_from;  /* no block takes anything before */
    uint64_t lost_at;     /* so many-th that is sent: taken, but the answer is lost */
    uint64_t deaf_at;     /* so many-th that is sent: the node is away */
    bool reverts, estimate_reverts, pool_has_one;
    uint64_t limit;
    uint32_t confirm;
    enum emac_status want;
    const char *text;
    size_t attempts; /* different transactions, at least */
};

static const struct story STORIES[] = {
    {.name = "at once", .base_fee = 10, .confirm = 1, .attempts = 1},
    {.name = "three deep", .base_fee = 10, .confirm = 3, .attempts = 1},
    {.name = "dropped", .base_fee = 10, .drop_at = 2, .mines_from = 5, .confirm = 1, .attempts = 1},
    {.name = "fees rise",
     .base_fee = 10,
     .rises_to = UINT64_C(3000000000),
     .mines_from = 3,
     .confirm = 1,
     .attempts = 2},
    {.name = "fees pass the limit",
     .base_fee = 10,
     .rises_to = UINT64_C(1) << 40,
     .mines_from = 3,
     .limit = UINT64_C(2000000000),
     .confirm = 1,
     .want = EMAC_TIMEOUT,
     .text = "may still be",
     .attempts = 1},
    {.name = "the first answer is lost", .base_fee = 10, .lost_at = 1, .confirm = 1, .attempts = 1},
    {.name = "the answer to a replacement is lost",
     .base_fee = 10,
     .rises_to = UINT64_C(3000000000),
     .mines_from = 3,
     .lost_at = 2,
     .confirm = 1,
     .attempts = 2},
    {.name = "away when it is sent", .base_fee = 10, .deaf_at = 1, .confirm = 1, .attempts = 1},
    {.name = "away when it is sent again",
     .base_fee = 10,
     .drop_at = 2,
     .mines_from = 5,
     .deaf_at = 2,
     .confirm = 1,
     .attempts = 1},
    {.name = "too dear at once",
     .base_fee = UINT64_C(1) << 40,
     .limit = 1000,
     .confirm = 1,
     .want = EMAC_PAYMENT,
     .text = "limit"},
    {.name = "a stranger",
     .base_fee = 10,
     .stranger_at = 3,
     .mines_from = 9,
     .confirm = 1,
     .want = EMAC_CONFLICT,
     .text = "took the place",
     .attempts = 1},
    {.name = "reorganised", .base_fee = 10, .reorg_at = 4, .confirm = 6, .attempts = 1},
    {.name = "reverts",
     .base_fee = 10,
     .reverts = true,
     .confirm = 1,
     .want = EMAC_FAILED,
     .text = "refused it in block",
     .attempts = 1},
    {.name = "would revert",
     .base_fee = 10,
     .estimate_reverts = true,
     .confirm = 1,
     .want = EMAC_FAILED,
     .text = "NothingToClaim"},
    {.name = "one of an earlier run waits",
     .base_fee = 10,
     .pool_has_one = true,
     .mines_from = 3,
     .confirm = 1,
     .attempts = 1},
};

struct fake {
    struct chain_node node;
    struct os os;
    const struct story *story;
    uint64_t now_ms, height;
    struct sent pool[POOL_MAX];
    size_t count;
    uint64_t nonce, stranger_nonce, sends;
    bool reorged;
};

static uint64_t fee_now(const struct fake *f)
{
    return f->story->rises_to && f->height >= 2 ? f->story->rises_to : f->story->base_fee;
}

static bool pays(const struct fake *f, const struct sent *s)
{
    struct u256 fee = u256_from_u64(fee_now(f));
    return u256_compare(&s->tx.max_fee, &fee) >= 0;
}

/* The waiting one with the highest tip gets in. */
static void mine(struct fake *f)
{
    const struct story *y = f->story;
    struct sent *best = NULL;
    f->height++;
    if (f->height == y->stranger_at)
        f->nonce++;
    if (f->height == y->drop_at) {
        for (size_t i = 0; i < f->count; i++)
            f->pool[i].dropped = f->pool[i].dropped || f->pool[i].mined_at == 0;
    }
    if (y->reorg_at && f->height == y->reorg_at && !f->reorged) {
        f->reorged = true;
        f->height = 2;
        for (size_t i = 0; i < f->count; i++) {
            f->nonce -= f->pool[i].mined_at > 2;
            f->pool[i].mined_at = f->pool[i].mined_at > 2 ? 0 : f->pool[i].mined_at;
        }
    }
    if (f->height < y->mines_from || (y->reorg_at && f->height < 3))
        return;
    for (size_t i = 0; i < f->count; i++) {
        struct sent *s = &f->pool[i];
        if (s->mined_at == 0 && !s->dropped && s->tx.nonce == f->nonce && pays(f, s) &&
            (best == NULL || u256_compare(&s->tx.tip, &best->tx.tip) > 0))
            best = s;
    }
    if (best != NULL) {
        best->mined_at = f->height;
        f->nonce++;
    }
}

static uint64_t fake_mono(struct os *os)
{
    return ((struct fake *)os->ctx)->now_ms * 1000000;
}

static void fake_sleep(struct os *os, uint32_t ms)
{
    struct fake *f = os->ctx;
    uint64_t before = f->now_ms / BLOCK_MS;
    f->now_ms += ms;
    if (f->now_ms / BLOCK_MS != before)
        mine(f);
}

static struct sent *find(struct fake *f, json_t *hash)
{
    uint8_t want[CHAIN_HASH_BYTES];
    assert_true(chain_json_to_bytes(hash, want, sizeof(want)));
    for (size_t i = 0; i < f->count; i++) {
        if (memcmp(f->pool[i].hash, want, sizeof(want)) == 0)
            return &f->pool[i];
    }
    return NULL;
}

static enum emac_status take_raw(struct fake *f, json_t *text, json_t **result,
                                 struct emac_err *err)
{
    static uint8_t raw[4096]; /* chain_tx.data points into it */
    size_t n = (strlen(json_string_value(text)) - 2) / 2;
    struct sent s = {0};
    uint8_t sender[EVM_ADDRESS_BYTES];
    assert_true(n <= sizeof(raw) && chain_json_to_bytes(text, raw, n));
    assert_int_equal(chain_tx_read(EMAC_SLICE(raw, n), &s.tx, sender, NULL), EMAC_OK);
    crypto_keccak256(s.hash, raw, n);
    for (size_t i = 0; i < f->count; i++) {
        struct sent *other = &f->pool[i];
        struct u256 least = other->tx.max_fee, part;
        u256_div_u64(&least, 10, &part);
        assert_true(u256_add(&least, &part, &least));
        if (memcmp(other->hash, s.hash, sizeof(s.hash)) == 0) {
            other->dropped = false;
            *result = chain_json_bytes(s.hash, sizeof(s.hash));
            return EMAC_OK;
        }
        if (!other->dropped && other->mined_at == 0 && other->tx.nonce == s.tx.nonce &&
            u256_compare(&s.tx.max_fee, &least) < 0)
            return emac_fail(err, EMAC_FAILED, "replacement transaction underpriced");
    }
    assert_true(f->count < POOL_MAX);
    f->pool[f->count++] = s;
    *result = chain_json_bytes(s.hash, sizeof(s.hash));
    return EMAC_OK;
}

static enum emac_status take_sent(struct fake *f, json_t *text, json_t **result,
                                  struct emac_err *err)
{
    enum emac_status st = EMAC_OK;
    f->sends++;
    if (f->sends != f->story->deaf_at)
        st = take_raw(f, text, result, err);
    if (st != EMAC_OK || (f->sends != f->story->deaf_at && f->sends != f->story->lost_at))
        return st;
    json_decref(*result);
    *result = NULL;
    return emac_fail(err, EMAC_UNAVAILABLE, "node 'script' does not answer");
}

static json_t *receipt_of(const struct fake *f, const struct sent *s)
{
    uint8_t block[CHAIN_HASH_BYTES] = {(uint8_t)s->mined_at};
    return json_pack("{s:o, s:s, s:o, s:s, s:o}", "transactionHash",
                     chain_json_bytes(s->hash, CHAIN_HASH_BYTES), "status",
                     f->story->reverts ? "0x0" : "0x1", "blockNumber",
                     chain_json_quantity(s->mined_at), "gasUsed", "0x5208", "blockHash",
                     chain_json_bytes(block, sizeof(block)));
}

static enum emac_status fake_call(struct chain_node *node, const char *method, json_t *params,
                                  json_t **result, struct emac_err *err)
{
    struct fake *f = (struct fake *)(void *)node;
    enum emac_status st = EMAC_OK;
    json_t *first = json_array_get(params, 0);
    const char *tag = json_string_value(json_array_get(params, 1));
    uint8_t zero[CHAIN_HASH_BYTES] = {0};
    *result = NULL;
    if (strcmp(method, "eth_getTransactionCount") == 0) {
        *result = chain_json_quantity(f->nonce + (strcmp(tag, "pending") == 0 && f->count > 0));
    } else if (strcmp(method, "eth_estimateGas") == 0) {
        *result = json_string("0x5208");
        if (f->story->estimate_reverts)
            st = emac_fail(err, EMAC_FAILED, "the contract refuses: NothingToClaim");
    } else if (strcmp(method, "eth_getBlockByNumber") == 0) {
        *result =
            json_pack("{s:o, s:o, s:o, s:s, s:o}", "number", chain_json_quantity(f->height), "hash",
                      chain_json_bytes(zero, 32), "parentHash", chain_json_bytes(zero, 32),
                      "timestamp", "0x1", "baseFeePerGas", chain_json_quantity(fee_now(f)));
    } else if (strcmp(method, "eth_maxPriorityFeePerGas") == 0) {
        st = emac_fail(err, EMAC_FAILED, "no such method");
    } else if (strcmp(method, "eth_sendRawTransaction") == 0) {
        st = take_sent(f, first, result, err);
    } else if (strcmp(method, "eth_getTransactionReceipt") == 0) {
        struct sent *s = find(f, first);
        *result = s && s->mined_at ? receipt_of(f, s) : json_null();
    } else {
        assert_string_equal(method, "eth_getTransactionByHash");
        struct sent *s = find(f, first);
        *result = s && !s->dropped ? json_object() : json_null();
    }
    json_decref(params);
    return st;
}

static size_t mined(const struct fake *f)
{
    size_t n = 0;
    for (size_t i = 0; i < f->count; i++)
        n += f->pool[i].mined_at > 0;
    return n;
}

static void fake_init(struct fake *f, const struct story *y, struct chain_sender *s)
{
    memset(f, 0, sizeof(*f));
    f->node = (struct chain_node){.name = "script", .call = fake_call};
    f->os = (struct os){.ctx = f, .mono_ns = fake_mono, .sleep_ms = fake_sleep};
    f->story = y;
    f->nonce = 5;
    *s = (struct chain_sender){
        .os = &f->os, .node = &f->node, .chain_id = 7, .secret = {[31] = 3}, .confirm = y->confirm};
    s->fee_limit = u256_from_u64(y->limit);
    crypto_evm_address(s->address, s->secret);
    if (y->pool_has_one) {
        struct sent *old = &f->pool[f->count++];
        old->hash[0] = 0xee;
        old->tx.nonce = 5;
        old->tx.max_fee = u256_from_u64(UINT64_C(1200000000));
        old->tx.tip = u256_from_u64(1);
    }
}

static void stories(void **state)
{
    for (size_t i = 0; i < EMAC_COUNT(STORIES); i++) {
        const struct story *y = &STORIES[i];
        struct fake *f = calloc(1, sizeof(*f));
        struct chain_sender s;
        struct chain_receipt r;
        struct emac_err err = {0};
        uint8_t to[EVM_ADDRESS_BYTES] = {1};
        struct chain_action a = {.what = y->name, .to = to};
        fake_init(f, y, &s);
        enum emac_status st = chain_send(&s, &a, &r, &err);
        if (st != y->want || (y->text && strstr(err.text, y->text) == NULL))
            fail_msg("%s: %s: %s", y->name, emac_status_text(st), err.text);
        assert_true(mined(f) <= 1); /* SEND-1 */
        assert_int_equal(mined(f), st == EMAC_OK || y->reverts);
        assert_true(f->count >= y->attempts);
        for (size_t k = 0; k < f->count; k++)
            assert_int_equal(f->pool[k].tx.nonce, 5);
        free(f);
    }
}

/* The rule, whole. */
static void rule(void **state)
{
    for (unsigned bits = 0; bits < 8; bits++) {
        for (uint64_t n = 0; n < 10; n++) {
            struct chain_seen seen = {.mined = bits & 1,
                                      .known = bits & 2,
                                      .nonce_used = bits & 4,
                                      .depth = n,
                                      .blocks_waited = n};
            enum chain_next next = chain_send_next(&seen, 3);
            if (seen.mined)
                assert_int_equal(next, n >= 3 ? CHAIN_NEXT_DONE : CHAIN_NEXT_WAIT);
            else if (seen.nonce_used)
                assert_int_equal(next, CHAIN_NEXT_LOST);
            else if (!seen.known)
                assert_int_equal(next, CHAIN_NEXT_RESEND);
            else
                assert_int_equal(next, n >= CHAIN_BUMP_BLOCKS ? CHAIN_NEXT_BUMP : CHAIN_NEXT_WAIT);
        }
    }
}

static void fees(void **state)
{
    struct chain_tx tx = {.tip = u256_from_u64(80), .max_fee = u256_from_u64(800)};
    struct u256 base = u256_from_u64(10), none = u256_from_u64(0), limit = u256_from_u64(1014);
    assert_true(chain_fees_raise(&tx, &base, &none));
    assert_true(tx.tip.limb[0] == 91 && tx.max_fee.limb[0] == 901);
    base = u256_from_u64(1000); /* twice the base fee and the tip are more than an eighth */
    assert_true(chain_fees_raise(&tx, &base, &none));
    assert_true(tx.tip.limb[0] == 103 && tx.max_fee.limb[0] == 2103);
    assert_false(chain_fees_raise(&tx, &base, &limit));
    assert_true(tx.max_fee.limb[0] == 2103);
    tx.max_fee = (struct u256){{0, 0, 0, UINT64_MAX}};
    assert_false(chain_fees_raise(&tx, &base, &none)); /* no number is that high */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stories),
        cmocka_unit_test(rule),
        cmocka_unit_test(fees),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
