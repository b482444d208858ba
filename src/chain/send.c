#include "chain/send.h"

#include <string.h>

#include "base/assert.h"
#include "base/hex.h"
#include "base/log.h"

#define TIP_USUAL  UINT64_C(1000000000) /* where a node has no opinion */
#define LOST_LOOKS 5                    /* a receipt may come a moment after the count */

struct attempt {
    uint8_t hash[CHAIN_HASH_BYTES];
};

struct sending {
    const struct chain_sender *s;
    const struct chain_action *a;
    struct chain_tx tx;
    struct emac_buf raw; /* of the last attempt */
    struct attempt attempt[CHAIN_ATTEMPTS_MAX];
    size_t attempts;
    uint64_t sent_at; /* height at the last attempt */
    uint64_t until_ms;
    unsigned lost_looks;
};

/* ---- the rule ---- */

enum chain_next chain_send_next(const struct chain_seen *seen, uint32_t confirm)
{
    if (seen->mined)
        return seen->depth >= confirm ? CHAIN_NEXT_DONE : CHAIN_NEXT_WAIT;
    if (seen->nonce_used)
        return CHAIN_NEXT_LOST;
    if (!seen->known)
        return CHAIN_NEXT_RESEND;
    return seen->blocks_waited >= CHAIN_BUMP_BLOCKS ? CHAIN_NEXT_BUMP : CHAIN_NEXT_WAIT;
}

/* v + v/8 + 1 */
static bool eighth_more(struct u256 *v)
{
    struct u256 part, one = u256_from_u64(1);
    u256_div_u64(v, 8, &part);
    return u256_add(v, &part, v) && u256_add(v, &one, v);
}

/* The usual: twice the base fee, and the tip. */
static bool fee_of(const struct u256 *base_fee, const struct u256 *tip, struct u256 *out)
{
    return u256_mul_u64(base_fee, 2, out) && u256_add(out, tip, out);
}

bool chain_fees_raise(struct chain_tx *tx, const struct u256 *base_fee, const struct u256 *limit)
{
    struct u256 tip = tx->tip, fee = tx->max_fee, usual;
    if (!eighth_more(&tip) || !eighth_more(&fee) || !fee_of(base_fee, &tip, &usual))
        return false;
    if (u256_compare(&usual, &fee) > 0)
        fee = usual;
    if (!u256_is_zero(limit) && u256_compare(&fee, limit) > 0)
        return false;
    tx->tip = tip;
    tx->max_fee = fee;
    return true;
}

/* ---- making and sending ---- */

static enum emac_status fees_first(struct sending *x, struct emac_err *err)
{
    struct chain_block latest;
    enum emac_status st = chain_node_block(x->s->node, "latest", &latest, err);
    if (st != EMAC_OK)
        return st;
    st = chain_node_tip(x->s->node, &x->tx.tip, err);
    if (st == EMAC_FAILED) { /* not every node knows the question */
        x->tx.tip = u256_from_u64(TIP_USUAL);
        st = EMAC_OK;
    }
    if (st == EMAC_OK && !fee_of(&latest.base_fee, &x->tx.tip, &x->tx.max_fee))
        st = emac_fail(err, EMAC_CORRUPT, "node '%s' names a fee beyond all numbers",
                       x->s->node->name);
    if (st == EMAC_OK && !u256_is_zero(&x->s->fee_limit) &&
        u256_compare(&x->tx.max_fee, &x->s->fee_limit) > 0)
        st = emac_fail(err, EMAC_PAYMENT,
                       "a unit of gas costs more now than your limit: wait, or raise it");
    x->sent_at = latest.number;
    return st;
}

static enum emac_status prepare(struct sending *x, struct emac_err *err)
{
    const struct chain_sender *s = x->s;
    const struct chain_action *a = x->a;
    uint64_t gas = 0;
    enum emac_status st;
    x->tx.chain_id = s->chain_id;
    x->tx.value = a->value;
    x->tx.data = a->data;
    x->tx.creates = a->to == NULL;
    if (a->to != NULL)
        memcpy(x->tx.to, a->to, EVM_ADDRESS_BYTES);
    EMAC_TRY(st, chain_node_nonce(s->node, s->address, "latest", &x->tx.nonce, err));
    EMAC_TRY(st, chain_node_estimate(s->node, s->address, a->to, &a->value, a->data, &gas, err));
    if (gas > UINT64_MAX / 2)
        return emac_fail(err, EMAC_CORRUPT, "node '%s' estimates %llu gas", s->node->name,
                         (unsigned long long)gas);
    x->tx.gas = gas + gas / 4; /* the state may be another when it runs */
    st = fees_first(x, err);
out:
    return st;
}

/* The node comes back, or the time is up. */
static bool is_away(enum emac_status st)
{
    return st == EMAC_UNAVAILABLE || st == EMAC_TIMEOUT;
}

/* Sign what tx says now and hand it to the node. What the node did not refuse it may have taken,
 * though its answer was lost: SEND-6. */
static enum emac_status submit(struct sending *x, struct emac_err *err)
{
    struct attempt *at = &x->attempt[x->attempts];
    EMAC_ASSERT(x->attempts < CHAIN_ATTEMPTS_MAX);
    emac_buf_clear(&x->raw);
    enum emac_status st = chain_tx_sign(&x->tx, x->s->secret, &x->raw, at->hash, err);
    if (st != EMAC_OK)
        return st;
    st = chain_node_send(x->s->node, emac_buf_slice(&x->raw), err);
    if (st == EMAC_OK || is_away(st))
        x->attempts++;
    return is_away(st) ? EMAC_OK : st;
}

static enum emac_status raise_and_submit(struct sending *x, struct emac_err *err)
{
    struct chain_block latest;
    enum emac_status st = chain_node_block(x->s->node, "latest", &latest, err);
    if (st != EMAC_OK)
        return st;
    if (x->attempts == CHAIN_ATTEMPTS_MAX ||
        !chain_fees_raise(&x->tx, &latest.base_fee, &x->s->fee_limit))
        return EMAC_OK; /* at the limit: it waits at the fee it has */
    x->sent_at = latest.number;
    LOG_I("chain", "%s: no block took it so far, sent again with a higher fee", x->a->what);
    return submit(x, err);
}

/* The first time. What a run before left waiting under the nonce is replaced. */
static enum emac_status submit_first(struct sending *x, struct emac_err *err)
{
    uint64_t waiting = 0;
    enum emac_status st = submit(x, err);
    for (int i = 0; st == EMAC_FAILED && i < CHAIN_ATTEMPTS_MAX; i++) {
        if (chain_node_nonce(x->s->node, x->s->address, "pending", &waiting, NULL) != EMAC_OK ||
            waiting <= x->tx.nonce)
            return st;
        st = raise_and_submit(x, err);
        if (st == EMAC_OK && x->attempts == 0)
            return emac_fail(err, EMAC_PAYMENT,
                             "an earlier transaction waits in its place, and to replace it costs "
                             "more than your limit");
    }
    return st;
}

/* ---- looking ---- */

static enum emac_status look(struct sending *x, struct chain_seen *seen, struct chain_receipt *r,
                             struct emac_err *err)
{
    struct chain_node *n = x->s->node;
    struct chain_block latest;
    uint64_t nonce = 0;
    enum emac_status st;
    *seen = (struct chain_seen){0};
    EMAC_TRY(st, chain_node_block(n, "latest", &latest, err));
    for (size_t i = 0; i < x->attempts && !seen->mined; i++)
        EMAC_TRY(st, chain_node_receipt(n, x->attempt[i].hash, &seen->mined, r, err));
    if (seen->mined && latest.number >= r->block_number)
        seen->depth = latest.number - r->block_number + 1;
    EMAC_TRY(st, chain_node_nonce(n, x->s->address, "latest", &nonce, err));
    seen->nonce_used = nonce > x->tx.nonce;
    seen->blocks_waited = latest.number > x->sent_at ? latest.number - x->sent_at : 0;
    st = chain_node_knows(n, x->attempt[x->attempts - 1].hash, &seen->known, err);
out:
    return st;
}

static enum emac_status lost(struct sending *x, struct emac_err *err)
{
    if (++x->lost_looks < LOST_LOOKS)
        return EMAC_OK;
    return emac_fail(err, EMAC_CONFLICT,
                     "%s: another transaction of this key took the place (nonce %llu) of ours; "
                     "look what it did, then try again",
                     x->a->what, (unsigned long long)x->tx.nonce);
}

/* One look and what follows; *done ends it. */
static enum emac_status advance(struct sending *x, struct chain_receipt *r, bool *done,
                                struct emac_err *err)
{
    struct chain_seen seen;
    enum emac_status st = look(x, &seen, r, err);
    if (st != EMAC_OK)
        return is_away(st) ? EMAC_OK : st;
    switch (chain_send_next(&seen, x->s->confirm)) {
    case CHAIN_NEXT_DONE:
        *done = true;
        return r->ok ? EMAC_OK
                     : emac_fail(err, EMAC_FAILED, "%s: the contract refused it in block %llu",
                                 x->a->what, (unsigned long long)r->block_number);
    case CHAIN_NEXT_LOST:
        return lost(x, err);
    case CHAIN_NEXT_RESEND:
        st = chain_node_send(x->s->node, emac_buf_slice(&x->raw), err);
        return st == EMAC_FAILED || is_away(st) ? EMAC_OK : st; /* FAILED: the nonce may have been
                                                                 * used meanwhile */
    case CHAIN_NEXT_BUMP:
        st = raise_and_submit(x, err);
        return st == EMAC_FAILED || is_away(st) ? EMAC_OK : st;
    case CHAIN_NEXT_WAIT:
        break;
    }
    return EMAC_OK;
}

static enum emac_status wait_for_it(struct sending *x, struct chain_receipt *out,
                                    struct emac_err *err)
{
    struct os *os = x->s->os;
    char hash[2 * CHAIN_HASH_BYTES + 1];
    bool done = false;
    for (;;) {
        enum emac_status st = advance(x, out, &done, err);
        if (st != EMAC_OK || done)
            return st;
        emac_hex(hash, x->attempt[x->attempts - 1].hash, CHAIN_HASH_BYTES);
        if (x->s->cancelled != NULL && x->s->cancelled())
            return emac_fail(err, EMAC_CANCELLED, "%s: stopped while 0x%s waits", x->a->what, hash);
        if (os->mono_ns(os) / 1000000 >= x->until_ms)
            return emac_fail(err, EMAC_TIMEOUT, "%s: no block took 0x%s in time; it may still be",
                             x->a->what, hash);
        os->sleep_ms(os, CHAIN_POLL_MS);
    }
}

enum emac_status chain_send(const struct chain_sender *s, const struct chain_action *a,
                            struct chain_receipt *out, struct emac_err *err)
{
    struct sending x = {.s = s, .a = a};
    enum emac_status st;
    emac_buf_init(&x.raw, CHAIN_TX_MAX);
    x.until_ms = s->os->mono_ns(s->os) / 1000000 + CHAIN_SEND_MS;
    EMAC_TRY(st, prepare(&x, err));
    EMAC_TRY(st, submit_first(&x, err));
    st = wait_for_it(&x, out, err);
out:
    emac_buf_release(&x.raw);
    return st;
}
