#include "coordinator/storage/datacap_book.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "chain/book.h"

#define KEY_MAX         LEDGER_TEXT_MAX
#define USE_BYTES_MAX   (64u << 20)
#define REWARDS_AT_ONCE 14 /* entries beside the pool's */

const char DATACAP_SCHEMA[] =
    "CREATE TABLE datacap_motions ("
    " id TEXT PRIMARY KEY, kind TEXT NOT NULL CHECK (kind IN ('grant', 'removal')),"
    " client TEXT NOT NULL, application TEXT NOT NULL,"
    " outcome TEXT NOT NULL CHECK (outcome IN ('open', 'passed', 'failed', 'closed')),"
    " first_ms BIGINT NOT NULL, bytes BIGINT NOT NULL);"
    "CREATE INDEX datacap_motions_by_time ON datacap_motions (first_ms);"
    "CREATE TABLE datacap_votes ("
    " motion TEXT NOT NULL REFERENCES datacap_motions (id), notary TEXT NOT NULL,"
    " approve BIGINT NOT NULL, bytes BIGINT NOT NULL, issued_ms BIGINT NOT NULL,"
    " object BLOB NOT NULL, signature BLOB NOT NULL, PRIMARY KEY (motion, notary));"
    "CREATE TABLE datacap_use (" /* DCB-3 */
    " job TEXT PRIMARY KEY, asset TEXT NOT NULL, client TEXT NOT NULL, owner TEXT NOT NULL,"
    " fee_units BIGINT NOT NULL CHECK (fee_units > 0), epoch BIGINT NOT NULL,"
    " state TEXT NOT NULL CHECK (state IN ('open', 'counted', 'lapsed')),"
    " allowance TEXT NOT NULL DEFAULT '', at_ms BIGINT NOT NULL, CHECK (client <> owner));"
    "CREATE INDEX datacap_use_by_state ON datacap_use (state, client, owner);"
    "CREATE TABLE network_fees (job TEXT PRIMARY KEY, units BIGINT NOT NULL);" /* DCB-4 */
    "CREATE TABLE datacap_deals (deal TEXT PRIMARY KEY, first_epoch BIGINT NOT NULL);"
    "CREATE TABLE datacap_epochs (" /* DCB-1 */
    " epoch BIGINT PRIMARY KEY, weighted BIGINT NOT NULL, taken BIGINT NOT NULL,"
    " dust BIGINT NOT NULL CHECK (dust BETWEEN 0 AND taken), funder TEXT NOT NULL,"
    " at_ms BIGINT NOT NULL);"
    "CREATE TABLE datacap_rewards ("
    " epoch BIGINT NOT NULL REFERENCES datacap_epochs (epoch), deal TEXT NOT NULL,"
    " replica BIGINT NOT NULL, node TEXT NOT NULL, bytes BIGINT NOT NULL,"
    " weighted BIGINT NOT NULL, units BIGINT NOT NULL, PRIMARY KEY (epoch, deal, replica));";

/* ---- deals ---- */

enum emac_status datacap_book_end(const struct datacap_book *b, const char *deal, uint64_t at_ms,
                                  struct emac_err *err)
{
    int64_t rows = 0;
    char registered[CHAIN_ALLOWANCE_MAX];
    enum emac_status st = db_one_i64(
        b->db, &rows, err, "SELECT COUNT(*) FROM datacap_deals WHERE deal = ?", "t", deal);
    if (st == EMAC_OK)
        st = allowance_end(b->db, deal, rows > 0, at_ms, err);
    chain_deal_name(registered, deal);
    return st == EMAC_OK ? allowance_end(b->db, registered, true, at_ms, err) : st;
}

/* What of the deal counts more in this epoch (DCB-2); the first one is noted. */
static enum emac_status covered(const struct datacap_book *b, const char *deal, const char *client,
                                uint64_t epoch, uint64_t *out, struct emac_err *err)
{
    int64_t bytes = 0, more = 0, first = 0;
    char registered[CHAIN_ALLOWANCE_MAX];
    enum emac_status st = allowance_of_deal(b->db, deal, &bytes, err);
    *out = 0;
    chain_deal_name(registered, deal);
    if (st == EMAC_OK)
        st = allowance_of_deal_by(b->db, registered, client, &more, err);
    bytes += more; /* two of at most 2^50 */
    if (st != EMAC_OK || bytes == 0)
        return st;
    EMAC_TRY(st, db_exec(b->db, err,
                         "INSERT INTO datacap_deals (deal, first_epoch) VALUES (?, ?)"
                         " ON CONFLICT DO NOTHING",
                         "ti", deal, (int64_t)epoch));
    EMAC_TRY(st, db_one_i64(b->db, &first, err,
                            "SELECT first_epoch FROM datacap_deals WHERE deal = ?", "t", deal));
    EMAC_ASSERT(first >= 0 && (uint64_t)first <= epoch);
    if (epoch - (uint64_t)first < b->rules->term_epochs)
        *out = (uint64_t)bytes;
out:
    return st;
}

/* ---- use ---- */

static enum emac_status next_epoch(const struct datacap_book *b, int64_t *out, struct emac_err *err)
{
    return db_one_i64(b->db, out, err, "SELECT COALESCE(MAX(epoch), -1) + 1 FROM datacap_epochs",
                      "");
}

enum emac_status datacap_book_use(const struct datacap_book *b, const struct datacap_job *j,
                                  uint64_t at_ms, struct emac_err *err)
{
    int64_t epoch = 0, fee = datacap_fee_counted(b->rules, j->checked_units);
    EMAC_ASSERT(db_in_transaction(b->db));
    if (fee == 0 || strcmp(j->client, j->owner) == 0) /* DCB-3 */
        return EMAC_OK;
    enum emac_status st = next_epoch(b, &epoch, err);
    if (st == EMAC_OK)
        st = db_exec(b->db, err,
                     "INSERT INTO datacap_use (job, asset, client, owner, fee_units, epoch, state,"
                     " at_ms) VALUES (?, ?, ?, ?, ?, ?, 'open', ?)",
                     "ttttiii", j->job, j->asset, j->client, j->owner, fee, epoch, (int64_t)at_ms);
    return st;
}

enum emac_status datacap_book_fees(const struct datacap_book *b, const char *job, int64_t units,
                                   struct emac_err *err)
{
    EMAC_ASSERT(db_in_transaction(b->db) && units >= 0);
    if (units == 0)
        return EMAC_OK;
    return db_exec(b->db, err, "INSERT INTO network_fees (job, units) VALUES (?, ?)", "ti", job,
                   units);
}

/* ---- rewards ---- */

static int proof_compare(const void *a, const void *b)
{
    const struct datacap_proof *x = a, *y = b;
    int c = strcmp(x->deal, y->deal);
    return c != 0 ? c : (x->replica > y->replica) - (x->replica < y->replica);
}

/* Weights in the order of proofs: a deal's cover is used up replica by replica. */
static enum emac_status weigh(const struct datacap_book *b, uint64_t epoch,
                              const struct datacap_proof *proof, size_t count,
                              struct datacap_share *share, struct emac_err *err)
{
    uint64_t cover = 0;
    for (size_t i = 0; i < count; i++) {
        bool same = i > 0 && strcmp(proof[i].deal, proof[i - 1].deal) == 0;
        uint8_t key[ED25519_PUBLIC_BYTES];
        if (same && proof[i].replica == proof[i - 1].replica)
            return emac_fail(err, EMAC_INVALID, "replica %u of deal '%s' is proven twice",
                             proof[i].replica, proof[i].deal);
        if (proof[i].bytes > (uint64_t)ALLOWANCE_BYTES_MAX ||
            !crypto_did_key_parse(key, proof[i].node))
            return emac_fail(err, EMAC_INVALID, "a proof of deal '%s' names no rig or no size",
                             proof[i].deal);
        enum emac_status st =
            same ? EMAC_OK : covered(b, proof[i].deal, proof[i].client, epoch, &cover, err);
        if (st != EMAC_OK)
            return st;
        share[i].weighted = datacap_weigh(proof[i].bytes, cover);
        cover -= cover < proof[i].bytes ? cover : proof[i].bytes;
    }
    return EMAC_OK;
}

static enum emac_status post(const struct datacap_book *b, struct ledger_posting *p,
                             const char *cause, const char *key, uint64_t at_ms,
                             struct emac_err *err)
{
    bool posted = false;
    p->key = key;
    p->cause = cause;
    p->job = "";
    p->detail = "";
    p->at_ms = at_ms;
    enum emac_status st = p->count == 0 ? EMAC_OK : ledger_post(b->db, p, &posted, err);
    EMAC_ASSERT(st != EMAC_OK || posted || p->count == 0); /* DCB-1 */
    return st;
}

/* From the funder into the pool, from there to the rigs, the rest to the fee account. */
static enum emac_status rewards_post(const struct datacap_book *b, uint64_t epoch,
                                     const struct datacap_proof *proof,
                                     const struct datacap_share *share, size_t count,
                                     const struct datacap_sum *sum, uint64_t at_ms,
                                     struct emac_err *err)
{
    char key[KEY_MAX];
    unsigned long long e = epoch;
    struct ledger_posting p = {.count = 0};
    ledger_entry_add(&p, -sum->taken, "user:%s", b->rules->funder);
    ledger_entry_add(&p, sum->taken, "reward:%llu", e);
    snprintf(key, sizeof key, "reward:%llu", e);
    enum emac_status st = post(b, &p, "pool", key, at_ms, err);
    for (size_t i = 0; i < count && st == EMAC_OK; i += REWARDS_AT_ONCE) {
        int64_t paid = 0;
        p = (struct ledger_posting){.count = 0};
        for (size_t k = i; k < count && k < i + REWARDS_AT_ONCE; k++) {
            ledger_entry_add(&p, share[k].units, "rig:%s", proof[k].node);
            paid += share[k].units;
        }
        ledger_entry_add(&p, -paid, "reward:%llu", e);
        snprintf(key, sizeof key, "reward:%llu:%zu", e, i);
        st = post(b, &p, "reward", key, at_ms, err);
    }
    p = (struct ledger_posting){.count = 0};
    ledger_entry_add(&p, -sum->dust, "reward:%llu", e);
    ledger_entry_add(&p, sum->dust, "fee");
    snprintf(key, sizeof key, "reward:%llu:dust", e);
    return st == EMAC_OK ? post(b, &p, "reward", key, at_ms, err) : st;
}

static enum emac_status rewards_write(const struct datacap_book *b, uint64_t epoch,
                                      const struct datacap_proof *proof,
                                      const struct datacap_share *share, size_t count,
                                      const struct datacap_sum *sum, uint64_t at_ms,
                                      struct emac_err *err)
{
    enum emac_status st =
        db_exec(b->db, err,
                "INSERT INTO datacap_epochs (epoch, weighted, taken, dust, funder, at_ms)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                "iiiiti", (int64_t)epoch, (int64_t)sum->weighted, sum->taken, sum->dust,
                b->rules->funder, (int64_t)at_ms);
    for (size_t i = 0; i < count && st == EMAC_OK; i++)
        st = db_exec(b->db, err,
                     "INSERT INTO datacap_rewards (epoch, deal, replica, node, bytes, weighted,"
                     " units) VALUES (?, ?, ?, ?, ?, ?, ?)",
                     "ititiii", (int64_t)epoch, proof[i].deal, (int64_t)proof[i].replica,
                     proof[i].node, (int64_t)proof[i].bytes, (int64_t)share[i].weighted,
                     share[i].units);
    return st;
}

static enum emac_status reward(const struct datacap_book *b, struct datacap_epoch *e,
                               struct datacap_proof *proof, size_t count, uint64_t at_ms,
                               struct emac_err *err)
{
    struct datacap_share *share = NULL;
    struct datacap_sum sum = {0};
    char account[LEDGER_ACCOUNT_MAX];
    int64_t funds = 0, pool = 0;
    enum emac_status st;
    EMAC_TRY(st, emac_alloc(&share, count + 1, sizeof *share, err));
    if (count > 0)
        qsort(proof, count, sizeof *proof, proof_compare);
    EMAC_TRY(st, weigh(b, e->epoch, proof, count, share, err));
    snprintf(account, sizeof account, "user:%s", b->rules->funder);
    EMAC_TRY(st, ledger_balance(b->db, account, &funds, err));
    EMAC_TRY(st, datacap_divide(b->rules, funds, share, count, &sum, err));
    EMAC_TRY(st, rewards_post(b, e->epoch, proof, share, count, &sum, at_ms, err));
    EMAC_TRY(st, rewards_write(b, e->epoch, proof, share, count, &sum, at_ms, err));
    snprintf(account, sizeof account, "reward:%llu", (unsigned long long)e->epoch);
    EMAC_TRY(st, ledger_balance(b->db, account, &pool, err));
    EMAC_ASSERT(pool == 0); /* DCB-1 */
    e->weighted = sum.weighted;
    e->taken_units = sum.taken;
    e->dust_units = sum.dust;
out:
    free(share);
    return st;
}

/* ---- growth ---- */

struct user {
    char client[DID_KEY_MAX];
    struct datacap_use use;
};

/* Open use by client and owner; the caller frees *out. */
static enum emac_status uses_read(const struct datacap_book *b, struct user **out, size_t *count,
                                  struct emac_err *err)
{
    struct db_stmt *q;
    struct emac_buf buf;
    bool row = false;
    emac_buf_init(&buf, USE_BYTES_MAX);
    enum emac_status st = db_query(b->db, &q, err,
                                   "SELECT client, owner, SUM(fee_units) FROM datacap_use"
                                   " WHERE state = 'open' GROUP BY client, owner"
                                   " ORDER BY client, owner",
                                   "");
    while (st == EMAC_OK && (st = db_next(q, &row, err)) == EMAC_OK && row) {
        struct user u = {.use.fee_units = db_i64(q, 2)};
        bool fits = emac_strcpy(u.client, sizeof u.client, db_text(q, 0)) &&
                    emac_strcpy(u.use.owner, sizeof u.use.owner, db_text(q, 1));
        EMAC_ASSERT(fits);
        st = emac_buf_append(&buf, &u, sizeof u, err);
        if (st != EMAC_OK)
            db_done(q);
    }
    *count = buf.len / sizeof(struct user);
    *out = (struct user *)(void *)emac_buf_steal(&buf, NULL);
    return st;
}

/* The `count` rows are one client's. */
static enum emac_status grow(const struct datacap_book *b, struct datacap_epoch *e,
                             const struct user *u, size_t count, uint64_t at_ms,
                             struct emac_err *err)
{
    struct datacap_use *use = NULL;
    enum emac_status st = emac_alloc(&use, count, sizeof *use, err);
    for (size_t i = 0; i < count && st == EMAC_OK; i++)
        use[i] = u[i].use;
    int64_t bytes = st == EMAC_OK ? datacap_growth(b->rules, use, count) : 0;
    free(use);
    if (st != EMAC_OK || bytes == 0)
        return st;
    struct allowance a = {.origin = ALLOWANCE_USE,
                          .granted = bytes,
                          .granted_ms = at_ms,
                          .expires_ms = at_ms + b->rules->lifetime_ms};
    snprintf(a.id, sizeof a.id, "use:%llu:%s", (unsigned long long)e->epoch, u->client);
    emac_strcpy(a.client, sizeof a.client, u->client);
    e->grown_bytes += bytes;
    st = allowance_grant(b->db, &a, NULL, err);
    if (st == EMAC_OK)
        st = db_exec(b->db, err,
                     "UPDATE datacap_use SET state = 'counted', allowance = ?"
                     " WHERE client = ? AND state = 'open'",
                     "tt", a.id, u->client);
    return st;
}

static enum emac_status growth(const struct datacap_book *b, struct datacap_epoch *e,
                               uint64_t at_ms, struct emac_err *err)
{
    struct user *u = NULL;
    size_t count = 0;
    enum emac_status st = uses_read(b, &u, &count, err);
    for (size_t i = 0, n; i < count && st == EMAC_OK; i += n) {
        for (n = 1; i + n < count && strcmp(u[i].client, u[i + n].client) == 0;)
            n++;
        st = grow(b, e, &u[i], n, at_ms, err);
    }
    free(u);
    if (st != EMAC_OK)
        return st;
    int64_t oldest = (int64_t)e->epoch - (int64_t)b->rules->window_epochs + 1;
    return db_exec(b->db, err,
                   "UPDATE datacap_use SET state = 'lapsed' WHERE state = 'open' AND epoch < ?",
                   "i", oldest);
}

enum emac_status datacap_book_epoch(const struct datacap_book *b, uint64_t epoch,
                                    struct datacap_proof *proof, size_t count, uint64_t at_ms,
                                    struct datacap_epoch *out, struct emac_err *err)
{
    int64_t due = 0;
    enum emac_status st;
    EMAC_ASSERT(db_in_transaction(b->db));
    *out = (struct datacap_epoch){.epoch = epoch, .fresh = true};
    if (epoch >= INT64_MAX)
        return emac_fail(err, EMAC_INVALID, "there is no epoch of that number");
    EMAC_TRY(st, next_epoch(b, &due, err));
    if (epoch < (uint64_t)due) {
        out->fresh = false;
        st = db_one_i64(b->db, &out->taken_units, err,
                        "SELECT taken FROM datacap_epochs WHERE epoch = ?", "i", (int64_t)epoch);
        if (st == EMAC_NOT_FOUND)
            st = emac_fail(err, EMAC_CONFLICT, "epoch %llu was passed over: later ones are done",
                           (unsigned long long)epoch);
        goto out;
    }
    EMAC_TRY(st, reward(b, out, proof, count, at_ms, err));
    EMAC_TRY(st, growth(b, out, at_ms, err));
    st = allowance_expire(b->db, at_ms, err);
out:
    return st;
}
