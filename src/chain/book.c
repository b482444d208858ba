#include "chain/book_impl.h"

#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/hex.h"

#define HASH_MAX (2 * CHAIN_HASH_BYTES + 1)
#define KEY_MAX  256

static void hash_text(char out[HASH_MAX], const uint8_t hash[CHAIN_HASH_BYTES])
{
    emac_hex(out, hash, CHAIN_HASH_BYTES);
}

/* ---- the cursor ---- */

static enum emac_status cursor_read(const struct chain_book *b, struct chain_cursor *out,
                                    bool *found, struct emac_err *err)
{
    struct db_stmt *q;
    enum emac_status st = db_first(b->db, &q, err,
                                   "SELECT number, hash, vault_seq, bindings_seq, payouts_seq,"
                                   " datacap_seq"
                                   " FROM chain_cursor WHERE one = 1",
                                   "");
    *found = q != NULL;
    if (q == NULL)
        return st;
    out->number = (uint64_t)db_i64(q, 0);
    if (!emac_unhex(out->hash, CHAIN_HASH_BYTES, db_text(q, 1)))
        st = emac_fail(err, EMAC_CORRUPT,
                       "the stored block of the chain is no hash: restore a "
                       "backup of the database");
    for (int i = 0; i < CHAIN_CONTRACTS; i++)
        out->seq[i] = (uint64_t)db_i64(q, 2 + i);
    db_done(q);
    return st;
}

enum emac_status chain_book_cursor(const struct chain_book *b, struct chain_cursor *out,
                                   struct emac_err *err)
{
    bool found;
    enum emac_status st = cursor_read(b, out, &found, err);
    EMAC_ASSERT(st != EMAC_OK || found); /* chain_book_open made it */
    return st;
}

static enum emac_status cursor_create(const struct chain_book *b, const struct chain_cursor *start,
                                      char address[CHAIN_CONTRACTS][EVM_ADDRESS_MAX],
                                      struct emac_err *err)
{
    char hash[HASH_MAX];
    int64_t faucet = 0;
    hash_text(hash, start->hash);
    enum emac_status st = ledger_balance(b->db, "faucet", &faucet, err);
    if (st == EMAC_OK && faucet != 0)
        st = emac_fail(err, EMAC_CONFLICT,
                       "this ledger holds play money of a faucet, which no chain backs: start a "
                       "new directory for a network with a chain");
    if (st != EMAC_OK)
        return st;
    return db_exec(
        b->db, err,
        "INSERT INTO chain_cursor (one, chain_id, vault, bindings, payouts, datacap, number, hash,"
        " vault_seq, bindings_seq, payouts_seq, datacap_seq)"
        " VALUES (1, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        "ittttitiiii", (int64_t)b->chain_id, address[CHAIN_VAULT], address[CHAIN_BINDINGS],
        address[CHAIN_PAYOUTS], address[CHAIN_DATACAP], (int64_t)start->number, hash,
        (int64_t)start->seq[CHAIN_VAULT], (int64_t)start->seq[CHAIN_BINDINGS],
        (int64_t)start->seq[CHAIN_PAYOUTS], (int64_t)start->seq[CHAIN_DATACAP]);
}

/* Is it the chain that the ledger has followed so far? */
static enum emac_status same_chain(const struct chain_book *b,
                                   char address[CHAIN_CONTRACTS][EVM_ADDRESS_MAX],
                                   struct emac_err *err)
{
    int64_t same = 0;
    enum emac_status st =
        db_exec(b->db, err, "UPDATE chain_cursor SET datacap = ? WHERE datacap = ''", "t",
                address[CHAIN_DATACAP]);
    if (st == EMAC_OK)
        st = db_one_i64(b->db, &same, err,
                        "SELECT COUNT(*) FROM chain_cursor WHERE chain_id = ? AND vault = ? AND"
                        " bindings = ? AND payouts = ? AND datacap = ?",
                        "itttt", (int64_t)b->chain_id, address[CHAIN_VAULT],
                        address[CHAIN_BINDINGS], address[CHAIN_PAYOUTS], address[CHAIN_DATACAP]);
    if (st == EMAC_OK && same != 1)
        st = emac_fail(err, EMAC_CONFLICT,
                       "this ledger has followed other contracts or another chain so far: it "
                       "cannot be moved; give the old chain.json, or start a new directory");
    return st;
}

enum emac_status chain_book_open(const struct chain_book *b, const struct chain_cursor *start,
                                 struct emac_err *err)
{
    char address[CHAIN_CONTRACTS][EVM_ADDRESS_MAX];
    struct chain_cursor stored;
    bool found;
    for (int i = 0; i < CHAIN_CONTRACTS; i++)
        crypto_evm_address_text(address[i], b->address[i]);
    if (b->chain_id > INT64_MAX)
        return emac_fail(err, EMAC_INVALID, "chain ids above 2^63 are not known here");
    enum emac_status st = db_begin(b->db, err);
    if (st != EMAC_OK)
        return st;
    st = cursor_read(b, &stored, &found, err);
    if (st == EMAC_OK)
        st = found ? same_chain(b, address, err) : cursor_create(b, start, address, err);
    if (st == EMAC_OK)
        return db_commit(b->db, err);
    db_rollback(b->db);
    return st;
}

/* BOOK-1 */
static enum emac_status cursor_move(const struct chain_book *b, const struct chain_cursor *from,
                                    const struct chain_cursor *to, struct emac_err *err)
{
    char old[HASH_MAX], new[HASH_MAX];
    int64_t changed = 0;
    hash_text(old, from->hash);
    hash_text(new, to->hash);
    EMAC_ASSERT(to->number >= from->number);
    enum emac_status st =
        db_change(b->db, &changed, err,
                  "UPDATE chain_cursor SET number = ?, hash = ?, vault_seq = ?, bindings_seq = ?,"
                  " payouts_seq = ?, datacap_seq = ? WHERE one = 1 AND number = ? AND hash = ?",
                  "itiiiiit", (int64_t)to->number, new, (int64_t)to->seq[CHAIN_VAULT],
                  (int64_t)to->seq[CHAIN_BINDINGS], (int64_t)to->seq[CHAIN_PAYOUTS],
                  (int64_t)to->seq[CHAIN_DATACAP], (int64_t)from->number, old);
    if (st == EMAC_OK && changed != 1)
        st = emac_fail(err, EMAC_CONFLICT,
                       "these blocks of the chain were taken already, or others before them are "
                       "missing");
    return st;
}

/* ---- one event ---- */

struct entry_of_event {
    const struct chain_book *b;
    const struct chain_event *e;
    uint64_t at_ms;
    char did[DID_KEY_MAX], wallet[EVM_ADDRESS_MAX], to[EVM_ADDRESS_MAX];
    char key[KEY_MAX]; /* BOOK-2 */
};

static enum emac_status row_add(const struct entry_of_event *x, struct emac_err *err)
{
    char block[HASH_MAX], tx[HASH_MAX];
    hash_text(block, x->e->block_hash);
    hash_text(tx, x->e->tx_hash);
    return db_exec(x->b->db, err,
                   "INSERT INTO chain_events (chain_id, block_hash, tx_hash, log_index,"
                   " block_number, kind) VALUES (?, ?, ?, ?, ?, ?)",
                   "ittiit", (int64_t)x->b->chain_id, block, tx, (int64_t)x->e->log_index,
                   (int64_t)x->e->block_number, chain_event_name(x->e->kind));
}

static void entry_init(struct entry_of_event *x, const struct chain_book *b,
                       const struct chain_event *e, uint64_t at_ms)
{
    char block[HASH_MAX], tx[HASH_MAX];
    *x = (struct entry_of_event){.b = b, .e = e, .at_ms = at_ms};
    crypto_did_key(x->did, e->account);
    crypto_evm_address_text(x->wallet, e->wallet);
    crypto_evm_address_text(x->to, e->to);
    hash_text(block, e->block_hash);
    hash_text(tx, e->tx_hash);
    int n = snprintf(x->key, KEY_MAX, "chain:%llu:%s:%s:%llu", (unsigned long long)b->chain_id,
                     block, tx, (unsigned long long)e->log_index);
    EMAC_ASSERT(n > 0 && n < KEY_MAX);
}

/* Money that comes from (units > 0) or goes to the chain. */
static enum emac_status move(const struct entry_of_event *x, const char *cause, int64_t units,
                             const char *kind, const char *did, struct emac_err *err)
{
    bool posted = false;
    struct ledger_posting p = {
        .key = x->key, .cause = cause, .job = "", .detail = x->wallet, .at_ms = x->at_ms};
    if (units == 0)
        return EMAC_OK;
    ledger_entry_add(&p, -units, "chain");
    ledger_entry_add(&p, units, "%s%s", kind, did);
    enum emac_status st = ledger_post(x->b->db, &p, &posted, err);
    if (st == EMAC_OK && !posted)
        st = emac_fail(err, EMAC_CONFLICT, "the event '%s' is on the ledger already", x->key);
    return st;
}

static enum emac_status units_of(uint64_t units, int64_t *out, struct emac_err *err)
{
    if (units > INT64_MAX)
        return emac_fail(err, EMAC_CORRUPT, "the chain names %llu units, more than can exist",
                         (unsigned long long)units);
    *out = (int64_t)units;
    return EMAC_OK;
}

/* ---- withdrawals (BOOK-6) ---- */

static enum emac_status withdrawal_open(const struct entry_of_event *x, int64_t units,
                                        struct emac_err *err)
{
    char account[LEDGER_ACCOUNT_MAX];
    int64_t has = 0;
    snprintf(account, sizeof(account), "user:%s", x->did);
    enum emac_status st = ledger_balance(x->b->db, account, &has, err);
    if (st != EMAC_OK)
        return st;
    int64_t debit = has < units ? has : units;
    st = move(x, "withdraw", -debit, "user:", x->did, err);
    if (st == EMAC_OK)
        st = db_exec(x->b->db, err,
                     "INSERT INTO chain_withdrawals (did, wallet, asked, debited, ready_s)"
                     " VALUES (?, ?, ?, ?, ?)",
                     "ttiii", x->did, x->wallet, units, debit, (int64_t)x->e->time_s);
    return st;
}

/* The withdrawal stands at `units` now: what was debited beyond that comes back. */
static enum emac_status withdrawal_lower(const struct entry_of_event *x, int64_t units,
                                         const char *cause, struct emac_err *err)
{
    int64_t debited = 0;
    enum emac_status st = db_one_i64(x->b->db, &debited, err,
                                     "SELECT debited FROM chain_withdrawals"
                                     " WHERE did = ? AND wallet = ?",
                                     "tt", x->did, x->wallet);
    if (st == EMAC_NOT_FOUND)
        return emac_fail(err, EMAC_CORRUPT,
                         "the chain changes a withdrawal of '%s' that it never announced", x->did);
    if (st != EMAC_OK)
        return st;
    int64_t keep = debited < units ? debited : units;
    st = move(x, cause, debited - keep, "user:", x->did, err);
    if (st != EMAC_OK)
        return st;
    if (units == 0)
        return db_exec(x->b->db, err, "DELETE FROM chain_withdrawals WHERE did = ? AND wallet = ?",
                       "tt", x->did, x->wallet);
    return db_exec(x->b->db, err,
                   "UPDATE chain_withdrawals SET asked = ?, debited = ?"
                   " WHERE did = ? AND wallet = ?",
                   "iitt", units, keep, x->did, x->wallet);
}

/* It left the vault. Where less was debited the ledger's own reduction came too late: that hole is
 * filled from the fee account, or the batch is refused and a person must act. */
static enum emac_status withdrawal_paid(const struct entry_of_event *x, int64_t units,
                                        struct emac_err *err)
{
    int64_t debited = 0;
    enum emac_status st = db_one_i64(x->b->db, &debited, err,
                                     "SELECT debited FROM chain_withdrawals"
                                     " WHERE did = ? AND wallet = ?",
                                     "tt", x->did, x->wallet);
    if (st == EMAC_NOT_FOUND || (st == EMAC_OK && units < debited))
        return emac_fail(err, EMAC_CORRUPT,
                         "the chain pays a withdrawal of '%s' that it never announced so", x->did);
    if (st == EMAC_OK)
        st = move(x, "shortfall", debited - units, "fee", "", err);
    if (st == EMAC_OK)
        st = db_exec(x->b->db, err, "DELETE FROM chain_withdrawals WHERE did = ? AND wallet = ?",
                     "tt", x->did, x->wallet);
    return st;
}

/* ---- wallets (BOOK-5) ---- */

static bool key_signed(const struct chain_event *e)
{
    return e->key_signature.len == ED25519_SIGNATURE_BYTES &&
           crypto_ed25519_verify(e->key_signature.data, e->digest, CHAIN_HASH_BYTES, e->account);
}

static enum emac_status bound(const struct entry_of_event *x, struct emac_err *err)
{
    if (!key_signed(x->e))
        return EMAC_OK; /* anyone can write one of a key that is not his */
    return db_exec(x->b->db, err,
                   "INSERT INTO chain_wallets (did, wallet) VALUES (?, ?) ON CONFLICT DO NOTHING",
                   "tt", x->did, x->wallet);
}

static enum emac_status change_requested(const struct entry_of_event *x, struct emac_err *err)
{
    enum emac_status st =
        db_exec(x->b->db, err, "DELETE FROM chain_changes WHERE did = ? AND wallet_from = ?", "tt",
                x->did, x->wallet);
    if (st != EMAC_OK || !key_signed(x->e))
        return st;
    return db_exec(x->b->db, err,
                   "INSERT INTO chain_changes (did, wallet_from, wallet_to) SELECT did, wallet, ?"
                   " FROM chain_wallets WHERE did = ? AND wallet = ?",
                   "ttt", x->to, x->did, x->wallet);
}

static enum emac_status change_cancelled(const struct entry_of_event *x, struct emac_err *err)
{
    return db_exec(x->b->db, err, "DELETE FROM chain_changes WHERE did = ? AND wallet_from = ?",
                   "tt", x->did, x->wallet);
}

static enum emac_status changed(const struct entry_of_event *x, struct emac_err *err)
{
    enum emac_status st =
        db_exec(x->b->db, err,
                "UPDATE chain_wallets SET wallet = ? WHERE did = ? AND wallet = ? AND EXISTS"
                " (SELECT 1 FROM chain_changes c WHERE c.did = chain_wallets.did"
                " AND c.wallet_from = chain_wallets.wallet AND c.wallet_to = ?)",
                "tttt", x->to, x->did, x->wallet, x->to);
    return st == EMAC_OK ? change_cancelled(x, err) : st;
}

/* ---- bonds, epochs, claims ---- */

static enum emac_status bond_set(const struct entry_of_event *x, int64_t bonded_delta,
                                 int64_t unbonding_delta, struct emac_err *err)
{
    return db_exec(x->b->db, err,
                   "INSERT INTO chain_bonds (did, wallet, bonded, unbonding) VALUES (?, ?, ?, ?)"
                   " ON CONFLICT (did, wallet) DO UPDATE SET bonded = chain_bonds.bonded +"
                   " excluded.bonded, unbonding = chain_bonds.unbonding + excluded.unbonding",
                   "ttii", x->did, x->wallet, bonded_delta, unbonding_delta);
}

/* The contract takes first from what is unbonding. */
static enum emac_status slashed(const struct entry_of_event *x, int64_t units, struct emac_err *err)
{
    int64_t unbonding = 0;
    enum emac_status st = db_one_i64(
        x->b->db, &unbonding, err, "SELECT unbonding FROM chain_bonds WHERE did = ? AND wallet = ?",
        "tt", x->did, x->wallet);
    if (st == EMAC_NOT_FOUND)
        return emac_fail(err, EMAC_CORRUPT, "the chain slashes a bond of '%s' that never was",
                         x->did);
    int64_t first = unbonding < units ? unbonding : units;
    if (st == EMAC_OK)
        st = bond_set(x, first - units, -first, err);
    return st == EMAC_OK ? move(x, "slash", units, "fee", "", err) : st;
}

static enum emac_status epoch_state(const struct entry_of_event *x, const char *state,
                                    struct emac_err *err)
{
    char root[HASH_MAX];
    int64_t changed_rows = 0;
    hash_text(root, x->e->root);
    enum emac_status st =
        db_change(x->b->db, &changed_rows, err,
                  "UPDATE chain_epochs SET state = ? WHERE epoch = ? AND root = ?", "tit", state,
                  (int64_t)x->e->epoch, root);
    if (st == EMAC_OK && changed_rows != 1 && strcmp(state, "final") == 0)
        st = emac_fail(err, EMAC_CONFLICT,
                       "the chain made a root of epoch %llu final that this ledger did not close: "
                       "somebody else proposes; challenge, pause, and look",
                       (unsigned long long)x->e->epoch);
    return st;
}

static enum emac_status claimed(const struct entry_of_event *x, int64_t units, struct emac_err *err)
{
    int64_t rows = 0;
    enum emac_status st =
        db_change(x->b->db, &rows, err,
                  "UPDATE chain_payouts SET claimed = claimed + ?"
                  " WHERE did = ? AND claimed + ? = ? AND ? <= cumulative",
                  "itiii", units, x->did, units, (int64_t)x->e->total, (int64_t)x->e->total);
    if (st == EMAC_OK && rows != 1)
        return emac_fail(err, EMAC_CONFLICT,
                         "the chain paid '%s' %lld units that this ledger did not promise", x->did,
                         (long long)units);
    return st == EMAC_OK ? move(x, "claim", -units, "payout:", x->did, err) : st;
}

static enum emac_status cap_set(const struct entry_of_event *x, int64_t units, struct emac_err *err)
{
    return db_exec(x->b->db, err,
                   "INSERT INTO chain_cap (one, units) VALUES (1, ?)"
                   " ON CONFLICT (one) DO UPDATE SET units = excluded.units",
                   "i", units);
}

static enum emac_status take_vault(const struct entry_of_event *x, int64_t units,
                                   struct emac_err *err)
{
    switch (x->e->kind) {
    case CHAIN_EVENT_Deposited:
        return move(x, "deposit", units, "user:", x->did, err);
    case CHAIN_EVENT_Donated:
        return move(x, "donate", units, "fee", "", err);
    case CHAIN_EVENT_WithdrawalRequested:
        return withdrawal_open(x, units, err);
    case CHAIN_EVENT_WithdrawalReduced:
        return withdrawal_lower(x, units, "reduce", err);
    case CHAIN_EVENT_WithdrawalCancelled:
        return withdrawal_lower(x, 0, "cancel", err);
    case CHAIN_EVENT_Withdrawn:
        return withdrawal_paid(x, units, err);
    case CHAIN_EVENT_Bonded:
        return bond_set(x, units, 0, err);
    case CHAIN_EVENT_UnbondRequested:
        return bond_set(x, -units, units, err);
    case CHAIN_EVENT_Unbonded:
        return bond_set(x, 0, -units, err);
    case CHAIN_EVENT_Slashed:
        return slashed(x, units, err);
    default:
        return EMAC_OK;
    }
}

static enum emac_status take_event(const struct entry_of_event *x, struct emac_err *err)
{
    int64_t units = 0;
    enum emac_status st = row_add(x, err);
    if (st == EMAC_OK && x->e->contract == CHAIN_DATACAP)
        return chain_take_datacap(x->b->db, x->e, x->at_ms, err);
    if (st == EMAC_OK)
        st = units_of(x->e->units, &units, err);
    if (st != EMAC_OK)
        return st;
    switch (x->e->kind) {
    case CHAIN_EVENT_Bound:
        return bound(x, err);
    case CHAIN_EVENT_ChangeRequested:
        return change_requested(x, err);
    case CHAIN_EVENT_ChangeCancelled:
        return change_cancelled(x, err);
    case CHAIN_EVENT_Changed:
        return changed(x, err);
    case CHAIN_EVENT_Proposed:
        return epoch_state(x, "proposed", err);
    case CHAIN_EVENT_Dropped:
        return epoch_state(x, "dropped", err);
    case CHAIN_EVENT_Finalized:
        return epoch_state(x, "final", err);
    case CHAIN_EVENT_Claimed:
        return claimed(x, units, err);
    case CHAIN_EVENT_EpochCapSet:
        return cap_set(x, units, err);
    default:
        return take_vault(x, units, err);
    }
}

enum emac_status chain_book_apply(const struct chain_book *b, const struct chain_cursor *from,
                                  const struct chain_batch *batch, uint64_t at_ms,
                                  struct emac_err *err)
{
    struct entry_of_event x;
    EMAC_ASSERT(db_in_transaction(b->db));
    enum emac_status st = cursor_move(b, from, &batch->next, err);
    for (size_t i = 0; st == EMAC_OK && i < batch->count; i++) {
        entry_init(&x, b, &batch->event[i], at_ms);
        st = take_event(&x, err);
    }
    return st;
}

/* ---- questions ---- */

enum emac_status chain_book_wallet(const struct chain_book *b, const char *did,
                                   char wallet[EVM_ADDRESS_MAX], struct emac_err *err)
{
    struct db_stmt *q;
    wallet[0] = '\0';
    enum emac_status st =
        db_first(b->db, &q, err, "SELECT wallet FROM chain_wallets WHERE did = ?", "t", did);
    if (q != NULL) {
        bool fits = emac_strcpy(wallet, EVM_ADDRESS_MAX, db_text(q, 0));
        EMAC_ASSERT(fits);
        db_done(q);
    }
    return st;
}

enum emac_status chain_book_shorts(const struct chain_book *b,
                                   void (*each)(void *ctx, const struct chain_short *s), void *ctx,
                                   struct emac_err *err)
{
    struct db_stmt *q;
    bool row = false;
    enum emac_status st =
        db_query(b->db, &q, err,
                 "SELECT did, wallet, asked, debited, ready_s FROM chain_withdrawals"
                 " WHERE debited < asked ORDER BY ready_s, did",
                 "");
    while (st == EMAC_OK && (st = db_next(q, &row, err)) == EMAC_OK && row) {
        struct chain_short s = {.asked_units = db_i64(q, 2),
                                .debited_units = db_i64(q, 3),
                                .ready_s = (uint64_t)db_i64(q, 4)};
        bool fits = emac_strcpy(s.did, sizeof(s.did), db_text(q, 0)) &&
                    emac_strcpy(s.wallet, sizeof(s.wallet), db_text(q, 1));
        EMAC_ASSERT(fits);
        each(ctx, &s);
    }
    return st;
}
