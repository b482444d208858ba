/* Epochs: from what rigs have free on the ledger to a root that the payouts contract can hold. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/checked.h"
#include "base/hex.h"
#include "chain/book.h"
#include "codec/dagcbor.h"

#define HASH_MAX      (2 * CHAIN_HASH_BYTES + 1)
#define LEAF_CBOR_MAX 80 /* bytes of a leaf in the list */

static const char *const STATES[] = {"none", "closed", "proposed", "final", "dropped"};

const char *chain_epoch_state_name(enum chain_epoch_state state)
{
    EMAC_ASSERT(state < EMAC_COUNT(STATES));
    return STATES[state];
}

/* ---- reading ---- */

static enum emac_status epoch_row(struct db_stmt *q, struct chain_epoch *out, struct emac_err *err)
{
    out->epoch = (uint64_t)db_i64(q, 0);
    out->total = (uint64_t)db_i64(q, 5);
    for (size_t i = 1; i < EMAC_COUNT(STATES); i++) {
        if (strcmp(STATES[i], db_text(q, 1)) == 0)
            out->state = (enum chain_epoch_state)i;
    }
    if (out->state == CHAIN_EPOCH_NONE || !emac_unhex(out->root, CHAIN_HASH_BYTES, db_text(q, 2)) ||
        !emac_unhex(out->list, SHA256_BYTES, db_text(q, 3)) ||
        !emac_unhex(out->journal, SHA256_BYTES, db_text(q, 4)))
        return emac_fail(err, EMAC_CORRUPT, "the row of epoch %llu is damaged: restore a backup",
                         (unsigned long long)out->epoch);
    return EMAC_OK;
}

/* What db_first found; no epoch where that is NULL. */
static enum emac_status epoch_take(struct db_stmt *q, enum emac_status st, struct chain_epoch *out,
                                   struct emac_err *err)
{
    *out = (struct chain_epoch){0};
    if (q != NULL) {
        st = epoch_row(q, out, err);
        db_done(q);
    }
    return st;
}

enum emac_status chain_epoch_last(const struct chain_book *b, struct chain_epoch *out,
                                  struct emac_err *err)
{
    struct db_stmt *q;
    enum emac_status st = db_first(b->db, &q, err,
                                   "SELECT epoch, state, root, list, journal, total"
                                   " FROM chain_epochs ORDER BY epoch DESC LIMIT 1",
                                   "");
    return epoch_take(q, st, out, err);
}

enum emac_status chain_epoch_get(const struct chain_book *b, uint64_t epoch,
                                 struct chain_epoch *out, struct emac_err *err)
{
    struct db_stmt *q;
    enum emac_status st = db_first(b->db, &q, err,
                                   "SELECT epoch, state, root, list, journal, total"
                                   " FROM chain_epochs WHERE epoch = ?",
                                   "i", (int64_t)epoch);
    st = epoch_take(q, st, out, err);
    if (st == EMAC_OK && out->state == CHAIN_EPOCH_NONE)
        st = emac_fail(err, EMAC_NOT_FOUND, "there is no epoch %llu", (unsigned long long)epoch);
    return st;
}

/* Rows (did, wallet, cumulative) into an array that the caller frees; ends the query. */
static enum emac_status leaves_read(struct db_stmt *q, enum emac_status st, struct chain_leaf **out,
                                    size_t *count, struct emac_err *err)
{
    struct emac_buf buf;
    bool row = false;
    emac_buf_init(&buf, (size_t)CHAIN_LEAVES_MAX * sizeof(struct chain_leaf));
    while (st == EMAC_OK && (st = db_next(q, &row, err)) == EMAC_OK && row) {
        struct chain_leaf leaf = {.cumulative = (uint64_t)db_i64(q, 2)};
        bool sound = crypto_did_key_parse(leaf.account, db_text(q, 0)) &&
                     crypto_evm_address_parse(leaf.wallet, db_text(q, 1));
        EMAC_ASSERT(sound); /* we wrote them */
        st = emac_buf_append(&buf, &leaf, sizeof(leaf), err);
        if (st != EMAC_OK)
            db_done(q);
    }
    *count = buf.len / sizeof(struct chain_leaf);
    *out = (struct chain_leaf *)(void *)emac_buf_steal(&buf, NULL);
    return st;
}

enum emac_status chain_epoch_leaves(const struct chain_book *b, uint64_t epoch,
                                    struct chain_leaf **out, size_t *count, struct emac_err *err)
{
    struct db_stmt *q;
    enum emac_status st =
        db_query(b->db, &q, err,
                 "SELECT did, wallet, cumulative FROM chain_leaves WHERE epoch = ? ORDER BY did",
                 "i", (int64_t)epoch);
    return leaves_read(q, st, out, count, err);
}

enum emac_status chain_leaves_encode(uint64_t chain_id, const uint8_t payouts[EVM_ADDRESS_BYTES],
                                     uint64_t epoch, const struct chain_leaf *leaf, size_t count,
                                     struct emac_buf *out, struct emac_err *err)
{
    struct dagcbor_writer w;
    dagcbor_writer_init(&w, out);
    dagcbor_map(&w, 4);
    dagcbor_key(&w, "chain");
    dagcbor_u64(&w, chain_id);
    dagcbor_key(&w, "epoch");
    dagcbor_u64(&w, epoch);
    dagcbor_key(&w, "leaves");
    dagcbor_list(&w, count);
    for (size_t i = 0; i < count; i++) {
        dagcbor_list(&w, 3);
        dagcbor_bytes(&w, leaf[i].account, CHAIN_ACCOUNT_BYTES);
        dagcbor_bytes(&w, leaf[i].wallet, EVM_ADDRESS_BYTES);
        dagcbor_u64(&w, leaf[i].cumulative);
    }
    dagcbor_key(&w, "payouts");
    dagcbor_bytes(&w, payouts, EVM_ADDRESS_BYTES);
    return dagcbor_writer_end(&w, err);
}

/* ---- closing ---- */

enum emac_status chain_payable_add(const struct chain_book *b, const char *did, int64_t units,
                                   const char *request, uint64_t at_ms, bool *fresh,
                                   struct emac_err *err)
{
    char wallet[EVM_ADDRESS_MAX], key[LEDGER_TEXT_MAX];
    bool done = false;
    enum emac_status st = chain_book_wallet(b, did, wallet, err);
    EMAC_ASSERT(units > 0);
    if (st == EMAC_OK && wallet[0] == '\0')
        st = emac_fail(err, EMAC_CONFLICT,
                       "'%s' has no wallet to be paid to: bind one first (emac chain bind)", did);
    if (st != EMAC_OK)
        return st;
    int n = snprintf(key, sizeof(key), "payable:%s:%s", did, request);
    EMAC_ASSERT(n > 0 && (size_t)n < sizeof(key));
    struct ledger_posting p = {
        .key = key, .cause = "payable", .job = "", .detail = "", .at_ms = at_ms};
    ledger_entry_add(&p, -units, "user:%s", did);
    ledger_entry_add(&p, units, "rig:%s", did);
    st = ledger_post(b->db, &p, &done, err);
    if (st == EMAC_OK && done)
        st = db_exec(b->db, err,
                     "INSERT INTO chain_payables (did, units) VALUES (?, ?)"
                     " ON CONFLICT (did) DO UPDATE SET units = units + excluded.units",
                     "ti", did, units);
    if (fresh != NULL)
        *fresh = done;
    return st;
}

/* By how much payouts may grow before the contract's cap on an epoch: what was promised beyond the
 * last final epoch counts (BOOK-7). */
static enum emac_status room_left(const struct chain_book *b, int64_t *out, struct emac_err *err)
{
    int64_t cap = INT64_MAX, promised = 0, final = 0;
    enum emac_status st =
        db_one_i64(b->db, &cap, err, "SELECT units FROM chain_cap WHERE one = 1", "");
    if (st == EMAC_OK || st == EMAC_NOT_FOUND)
        st = db_one_i64(b->db, &promised, err,
                        "SELECT COALESCE(SUM(cumulative), 0) FROM chain_payouts", "");
    if (st == EMAC_OK)
        st = db_one_i64(b->db, &final, err,
                        "SELECT COALESCE(MAX(total), 0) FROM chain_epochs WHERE state = 'final'",
                        "");
    EMAC_ASSERT(st != EMAC_OK || promised >= final);
    *out = cap > promised - final ? cap - (promised - final) : 0;
    return st;
}

/* What the rig has free moves to its payouts, as far as there is room; *moved grows by it. */
static enum emac_status settle_rig(const struct chain_book *b, uint64_t epoch, uint64_t at_ms,
                                   const char *did, int64_t room, int64_t *moved,
                                   struct emac_err *err)
{
    char account[LEDGER_ACCOUNT_MAX], key[LEDGER_TEXT_MAX];
    int64_t units = 0;
    snprintf(account, sizeof(account), "rig:%s", did);
    snprintf(key, sizeof(key), "payout:%llu:%s", (unsigned long long)epoch, did);
    enum emac_status st = ledger_balance(b->db, account, &units, err);
    units = units < room - *moved ? units : room - *moved;
    if (st != EMAC_OK || units == 0)
        return st;
    struct ledger_posting p = {
        .key = key, .cause = "payout", .job = "", .detail = "", .at_ms = at_ms};
    ledger_entry_add(&p, -units, "rig:%s", did);
    ledger_entry_add(&p, units, "payout:%s", did);
    st = ledger_post(b->db, &p, NULL, err);
    if (st == EMAC_OK)
        st = db_exec(b->db, err,
                     "INSERT INTO chain_payouts (did, cumulative, claimed) VALUES (?, ?, 0)"
                     " ON CONFLICT (did) DO UPDATE SET cumulative = chain_payouts.cumulative +"
                     " excluded.cumulative",
                     "ti", did, units);
    if (st == EMAC_OK && !emac_add_i64(*moved, units, moved))
        st = emac_fail(err, EMAC_TOO_LARGE, "the payouts of epoch %llu pass the largest number",
                       (unsigned long long)epoch);
    return st;
}

/* All rigs with a wallet. */
static enum emac_status settle_rigs(const struct chain_book *b, uint64_t epoch, uint64_t at_ms,
                                    int64_t *moved, struct emac_err *err)
{
    struct db_stmt *q;
    struct chain_leaf *rig = NULL;
    size_t count = 0;
    int64_t room = 0;
    char did[DID_KEY_MAX];
    enum emac_status st = room_left(b, &room, err);
    if (st != EMAC_OK)
        return st;
    st = db_query(b->db, &q, err, "SELECT did, wallet, 0 FROM chain_wallets ORDER BY did", "");
    st = leaves_read(q, st, &rig, &count, err);
    for (size_t i = 0; i < count && st == EMAC_OK; i++) {
        crypto_did_key(did, rig[i].account);
        st = settle_rig(b, epoch, at_ms, did, room, moved, err);
    }
    free(rig);
    return st;
}

/* Root, list and total of the cumulative sums. */
static enum emac_status epoch_sum(const struct chain_book *b, struct chain_epoch *e,
                                  const struct chain_leaf *leaf, size_t count, struct emac_err *err)
{
    struct chain_tree tree = {0};
    struct emac_buf list;
    enum emac_status st;
    int64_t total = 0, postings;
    emac_buf_init(&list, 256 + count * LEAF_CBOR_MAX);
    EMAC_TRY(st, chain_tree_build(b->chain_id, b->address[CHAIN_PAYOUTS], e->epoch, leaf, count,
                                  &tree, err));
    memcpy(e->root, chain_tree_root(&tree), CHAIN_HASH_BYTES);
    EMAC_TRY(st, chain_leaves_encode(b->chain_id, b->address[CHAIN_PAYOUTS], e->epoch, leaf, count,
                                     &list, err));
    crypto_sha256(e->list, list.data, list.len);
    for (size_t i = 0; i < count; i++) {
        bool fits = emac_add_i64(total, (int64_t)leaf[i].cumulative, &total);
        EMAC_ASSERT(fits); /* all of it was once in one int64 of debt */
    }
    e->total = (uint64_t)total;
    st = ledger_head(b->db, &postings, e->journal, err);
out:
    chain_tree_release(&tree);
    emac_buf_release(&list);
    return st;
}

static enum emac_status epoch_write(const struct chain_book *b, const struct chain_epoch *e,
                                    uint64_t at_ms, struct emac_err *err)
{
    char root[HASH_MAX], list[HASH_MAX], journal[HASH_MAX];
    emac_hex(root, e->root, CHAIN_HASH_BYTES);
    emac_hex(list, e->list, SHA256_BYTES);
    emac_hex(journal, e->journal, SHA256_BYTES);
    enum emac_status st = db_exec(
        b->db, err,
        "INSERT INTO chain_epochs (epoch, state, root, list, journal, total, closed_ms)"
        " VALUES (?, 'closed', ?, ?, ?, ?, ?)",
        "itttii", (int64_t)e->epoch, root, list, journal, (int64_t)e->total, (int64_t)at_ms);
    if (st == EMAC_OK)
        st = db_exec(b->db, err,
                     "INSERT INTO chain_leaves (epoch, did, wallet, cumulative)"
                     " SELECT ?, p.did, w.wallet, p.cumulative FROM chain_payouts p"
                     " JOIN chain_wallets w ON w.did = p.did",
                     "i", (int64_t)e->epoch);
    return st;
}

/* The leaves that the next epoch will have. */
static enum emac_status leaves_due(const struct chain_book *b, struct chain_leaf **out,
                                   size_t *count, struct emac_err *err)
{
    struct db_stmt *q;
    enum emac_status st = db_query(b->db, &q, err,
                                   "SELECT p.did, w.wallet, p.cumulative FROM chain_payouts p"
                                   " JOIN chain_wallets w ON w.did = p.did ORDER BY p.did",
                                   "");
    return leaves_read(q, st, out, count, err);
}

enum emac_status chain_epoch_close(const struct chain_book *b, int64_t least_units, uint64_t at_ms,
                                   struct chain_epoch *out, struct emac_err *err)
{
    struct chain_epoch last;
    struct chain_leaf *leaf = NULL;
    size_t count = 0;
    int64_t moved = 0;
    enum emac_status st;
    EMAC_ASSERT(db_in_transaction(b->db));
    EMAC_TRY(st, chain_epoch_last(b, &last, err));
    if (last.state == CHAIN_EPOCH_CLOSED || last.state == CHAIN_EPOCH_PROPOSED)
        return emac_fail(err, EMAC_CONFLICT,
                         "epoch %llu is %s: a new one can be closed when it is final",
                         (unsigned long long)last.epoch, chain_epoch_state_name(last.state));
    *out = (struct chain_epoch){.epoch = last.epoch + 1, .state = CHAIN_EPOCH_CLOSED};
    EMAC_TRY(st, settle_rigs(b, out->epoch, at_ms, &moved, err));
    if (last.state != CHAIN_EPOCH_DROPPED && (moved == 0 || moved < least_units)) {
        char have[32];
        ledger_amount_text(have, moved);
        st = emac_fail(err, EMAC_PAYMENT,
                       "rigs with a wallet have %s EMAC to be paid out: too little for an epoch",
                       have);
        goto out;
    }
    EMAC_TRY(st, leaves_due(b, &leaf, &count, err));
    EMAC_TRY(st, epoch_sum(b, out, leaf, count, err));
    st = epoch_write(b, out, at_ms, err);
out:
    free(leaf);
    return st;
}
