/* Epochs of storage deals: one ends, the next begins, and with it the challenges. */
#include "coordinator/storage/datacap.h"

#include <stdlib.h>
#include <string.h>

/* ---- rows ---- */

static enum emac_status next_insert(struct coordinator *c, uint64_t epoch, struct emac_err *err)
{
    uint8_t secret[SHA256_BYTES], commitment[SHA256_BYTES];
    c->os->entropy(c->os, secret, sizeof(secret));
    crypto_sha256(commitment, secret, sizeof(secret));
    return db_exec(c->db, err,
                   "INSERT INTO deal_epochs (epoch, commitment, secret, head_id, head, length_ms,"
                   " began_ms, ended_ms, state) VALUES (?, ?, ?, 0, ?, 0, 0, 0, 'next')",
                   "ibbb", (int64_t)epoch, commitment, sizeof(commitment), secret, sizeof(secret),
                   "", (size_t)0);
}

/* The next epoch begins: its secret is bound to what the ledger says now (DEAL-1). */
static enum emac_status next_open(struct coordinator *c, struct emac_err *err)
{
    int64_t head_id;
    uint8_t head[SHA256_BYTES];
    enum emac_status st = ledger_head(c->db, &head_id, head, err);
    if (st == EMAC_OK)
        st = db_exec(c->db, err,
                     "UPDATE deal_epochs SET state = 'open', head_id = ?, head = ?, length_ms = ?,"
                     " began_ms = ? WHERE state = 'next'",
                     "ibii", head_id, head, sizeof(head), (int64_t)c->deals->epoch_ms,
                     (int64_t)wall_ms(c));
    return st;
}

static enum emac_status seed_read(struct db_stmt *q, uint8_t seed[SHA256_BYTES],
                                  struct emac_err *err)
{
    struct emac_slice secret = db_blob(q, 0), head = db_blob(q, 1), commitment = db_blob(q, 2);
    uint8_t hash[SHA256_BYTES];
    if (secret.len != SHA256_BYTES || head.len != SHA256_BYTES || commitment.len != SHA256_BYTES)
        return emac_fail(err, EMAC_CORRUPT, "an epoch of deals has a secret of another length");
    crypto_sha256(hash, secret.data, secret.len);
    EMAC_ASSERT(memcmp(hash, commitment.data, SHA256_BYTES) == 0); /* DEAL-1 */
    deal_seed(seed, secret.data, head.data);
    return EMAC_OK;
}

enum emac_status deal_epoch_seed(struct coordinator *c, uint64_t epoch, uint8_t seed[SHA256_BYTES],
                                 struct emac_err *err)
{
    struct db_stmt *q;
    enum emac_status st = db_first(c->db, &q, err,
                                   "SELECT secret, head, commitment FROM deal_epochs"
                                   " WHERE epoch = ? AND state <> 'next'",
                                   "i", (int64_t)epoch);
    if (st != EMAC_OK)
        return st;
    if (q == NULL)
        return emac_fail(err, EMAC_NOT_FOUND, "epoch %llu has not begun",
                         (unsigned long long)epoch);
    st = seed_read(q, seed, err);
    db_done(q);
    return st;
}

/* ---- memory follows ---- */

static enum emac_status epoch_load(struct coordinator *c, uint64_t ends_ms, struct emac_err *err)
{
    int64_t epoch = 0;
    struct deals_side *s = c->deals;
    enum emac_status st;
    EMAC_TRY(st, db_one_i64(c->db, &epoch, err,
                            "SELECT epoch FROM deal_epochs WHERE state = 'open'", ""));
    EMAC_TRY(st, deal_epoch_seed(c, (uint64_t)epoch, s->seed, err));
    s->epoch = (uint64_t)epoch;
    s->ends_ms = ends_ms;
    s->ends_at = wall_ms(c) + (ends_ms - now_ms(c));
    deals_changed(c);
out:
    return st;
}

void deals_changed(struct coordinator *c)
{
    c->deals->version++;
    c->deals->dirty = true;
}

/* ---- the end of an epoch ---- */

static enum emac_status missed_write(struct coordinator *c, const struct deal_holding *h,
                                     uint64_t epoch, struct emac_err *err)
{
    return db_exec(
        c->db, err,
        "INSERT INTO deal_proofs (deal, replica, epoch, state, units, proof, note, at_ms)"
        " VALUES (?, ?, ?, 'missed', 0, ?, 'no proof came', ?)"
        " ON CONFLICT DO NOTHING",
        "tiibi", h->deal, (int64_t)h->r.number, (int64_t)epoch, "", (size_t)0, (int64_t)wall_ms(c));
}

static enum emac_status holding_end_epoch(struct coordinator *c, struct deal_holding *h,
                                          uint64_t epoch, struct emac_err *err)
{
    int64_t proven = 0;
    bool due = deal_replica_due(&h->r, epoch);
    uint32_t misses = h->r.misses;
    enum emac_status st;
    EMAC_TRY(st, db_one_i64(c->db, &proven, err,
                            "SELECT COUNT(*) FROM deal_proofs WHERE deal = ? AND replica = ?"
                            " AND epoch = ? AND state = 'paid'",
                            "tii", h->deal, (int64_t)h->r.number, (int64_t)epoch));
    bool changed = deal_replica_epoch_end(&h->r, epoch, proven > 0);
    if (!changed && h->r.misses == misses)
        return EMAC_OK;
    if (due)
        EMAC_TRY(st, missed_write(c, h, epoch, err));
    if (h->r.state == DEAL_LOST) {
        EMAC_ASSERT(h->r.misses == DEAL_MISSES_MAX); /* DEAL-9 */
        EMAC_TRY(st, deal_money_lost(c, h, err));
        emac_strcpy(h->note, sizeof(h->note), "it missed two epochs in a row");
    } else if (h->r.state == DEAL_LAPSED) {
        emac_strcpy(h->note, sizeof(h->note), "it did not fetch the data in time");
    }
    st = deal_holding_update(c, h, err);
out:
    return st;
}

static enum emac_status holdings_end_epoch(struct coordinator *c, uint64_t epoch,
                                           struct emac_err *err)
{
    struct deal_holding *list = NULL;
    size_t count = 0;
    enum emac_status st = deal_holdings(c, NULL, NULL, true, &list, &count, err);
    for (size_t i = 0; i < count && st == EMAC_OK; i++)
        st = holding_end_epoch(c, &list[i], epoch, err);
    free(list);
    return st;
}

/* Ids of the open deals whose last epoch this is, one after the other in `out`. */
static enum emac_status ending(struct coordinator *c, uint64_t epoch, struct emac_buf *out,
                               struct emac_err *err)
{
    struct db_stmt *q;
    bool row = false;
    enum emac_status st = db_query(
        c->db, &q, err, "SELECT id FROM deals WHERE state = 'open' AND last_epoch <= ? ORDER BY id",
        "i", (int64_t)epoch);
    while (st == EMAC_OK && (st = db_next(q, &row, err)) == EMAC_OK && row) {
        char id[DEAL_ID_MAX] = {0};
        emac_strcpy(id, sizeof(id), db_text(q, 0));
        st = emac_buf_append(out, id, sizeof(id), err);
        if (st != EMAC_OK)
            db_done(q);
    }
    return st;
}

static enum emac_status deals_end_epoch(struct coordinator *c, uint64_t epoch, struct emac_err *err)
{
    struct emac_buf ids;
    struct deal d;
    emac_buf_init(&ids, 1u << 28);
    enum emac_status st = ending(c, epoch, &ids, err);
    for (size_t at = 0; at < ids.len && st == EMAC_OK; at += DEAL_ID_MAX) {
        st = deal_find(c, (const char *)ids.data + at, &d, err);
        if (st == EMAC_OK) /* one that was cancelled has a last epoch before its time */
            st = deal_end(
                c, &d,
                d.last_epoch == d.made_epoch + d.terms.epochs ? DEALS_ENDED : DEALS_CANCELLED, err);
    }
    emac_buf_release(&ids);
    return st;
}

/* All of it in one transaction (DEAL-10). */
static enum emac_status epoch_close(struct coordinator *c, struct emac_err *err)
{
    uint64_t epoch = c->deals->epoch;
    enum emac_status st;
    EMAC_TRY(st, holdings_end_epoch(c, epoch, err));
    EMAC_TRY(st, datacap_epoch_end(c, epoch, err));
    EMAC_TRY(st, deals_end_epoch(c, epoch, err));
    EMAC_TRY(st, db_exec(c->db, err,
                         "UPDATE deal_epochs SET state = 'closed', ended_ms = ?"
                         " WHERE state = 'open'",
                         "i", (int64_t)wall_ms(c)));
    EMAC_TRY(st, next_open(c, err));
    EMAC_TRY(st, next_insert(c, epoch + 2, err));
    if (epoch > DEALS_PROOFS_KEPT)
        EMAC_TRY(st, db_exec(c->db, err, "UPDATE deal_proofs SET proof = ? WHERE epoch = ?", "bi",
                             "", (size_t)0, (int64_t)(epoch - DEALS_PROOFS_KEPT)));
out:
    return st;
}

void deals_tick(struct coordinator *c)
{
    struct emac_err err = {0};
    if (now_ms(c) >= c->deals->ends_ms) {
        enum emac_status st = db_begin(c->db, &err);
        if (st == EMAC_OK) {
            st = epoch_close(c, &err);
            st = db_end(c->db, st, &err);
        }
        if (st == EMAC_OK)
            st = epoch_load(c, now_ms(c) + c->deals->epoch_ms, &err);
        if (st != EMAC_OK) {
            c->deals->ends_ms = now_ms(c) + DEALS_RETRY_MS;
            LOG_W("coordinator", "an epoch of deals could not be closed: %s", err.text);
        }
    }
    if (c->deals->dirty || (c->deals->wanting && now_ms(c) >= c->deals->retry_ms)) {
        c->deals->dirty = false;
        c->deals->wanting = deals_place(c);
        c->deals->retry_ms = now_ms(c) + DEALS_RETRY_MS;
    }
}

/* ---- start ---- */

static enum emac_status first_epoch(struct coordinator *c, struct emac_err *err)
{
    enum emac_status st;
    EMAC_TRY(st, next_insert(c, 1, err));
    EMAC_TRY(st, next_open(c, err));
    st = next_insert(c, 2, err);
out:
    return st;
}

/* What is agreed on is so much for an epoch of a given length. */
static enum emac_status length_check(struct coordinator *c, struct emac_err *err)
{
    int64_t length = 0, open = 0;
    enum emac_status st;
    EMAC_TRY(st, db_one_i64(c->db, &length, err,
                            "SELECT length_ms FROM deal_epochs WHERE state = 'open'", ""));
    EMAC_TRY(st,
             db_one_i64(c->db, &open, err, "SELECT COUNT(*) FROM deals WHERE state = 'open'", ""));
    if (open > 0 && (uint64_t)length != c->deals->epoch_ms)
        return emac_fail(err, EMAC_CONFLICT,
                         "%lld deals are open that were made for epochs of %lld ms, not %llu: keep "
                         "that length until they have ended",
                         (long long)open, (long long)length,
                         (unsigned long long)c->deals->epoch_ms);
    st = db_exec(c->db, err, "UPDATE deal_epochs SET length_ms = ? WHERE state = 'open'", "i",
                 (int64_t)c->deals->epoch_ms);
out:
    return st;
}

enum emac_status deals_open(struct coordinator *c, struct emac_err *err)
{
    int64_t epochs = 0;
    enum emac_status st;
    EMAC_TRY(st, emac_alloc(&c->deals, 1, sizeof(*c->deals), err));
    c->deals->epoch_ms = c->cfg.deal_epoch_ms;
    c->deals->version = c->start_at; /* another than any before, so that rigs look anew */
    EMAC_TRY(st, db_one_i64(c->db, &epochs, err, "SELECT COUNT(*) FROM deal_epochs", ""));
    EMAC_TRY(st, db_begin(c->db, err));
    st = epochs == 0 ? first_epoch(c, err) : length_check(c, err);
    st = db_end(c->db, st, err);
    if (st == EMAC_OK)
        st = epoch_load(c, now_ms(c) + c->deals->epoch_ms, err); /* DEAL-9 */
out:
    return st;
}

void deals_close(struct coordinator *c)
{
    free(c->deals);
}
