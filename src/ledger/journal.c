#include <string.h>

#include "base/checked.h"
#include "base/hex.h"
#include "ledger/ledger_impl.h"

enum emac_status ledger_balances(struct db *db, const char *prefix,
                                 void (*each)(void *ctx, const char *account, int64_t units),
                                 void *ctx, struct emac_err *err)
{
    struct db_stmt *q;
    bool row;
    size_t n = strlen(prefix);
    enum emac_status st = ledger_group_write(db, err);
    if (st == EMAC_OK)
        st = db_query(db, &q, err,
                      "SELECT account, units FROM accounts WHERE account >= ? ORDER BY account",
                      "t", prefix);
    while (st == EMAC_OK && (st = db_next(q, &row, err)) == EMAC_OK && row) {
        if (strncmp(db_text(q, 0), prefix, n) != 0) {
            db_done(q);
            break;
        }
        each(ctx, db_text(q, 0), db_i64(q, 1));
    }
    return st;
}

enum emac_status ledger_account_name(struct db *db, int64_t id, char out[LEDGER_ACCOUNT_MAX],
                                     struct emac_err *err)
{
    struct db_stmt *q;
    bool there = false;
    enum emac_status st =
        db_first(db, &q, err, "SELECT account FROM accounts WHERE id = ?", "i", id);
    if (q != NULL) {
        there = emac_strcpy(out, LEDGER_ACCOUNT_MAX, db_text(q, 0));
        db_done(q);
    }
    if (st == EMAC_OK && !there)
        st = emac_fail(err, EMAC_NOT_FOUND, "no account has the number %lld", (long long)id);
    return st;
}

/* The lines of the posting that `texts` is of. */
static enum emac_status posting_lines(struct db *db, const struct ledger_line *texts,
                                      const char *entries,
                                      void (*each)(void *ctx, const struct ledger_line *line),
                                      void *ctx, struct emac_err *err)
{
    char account[LEDGER_ACCOUNT_MAX];
    struct ledger_stored_entry e;
    bool there = true;
    struct ledger_line line = *texts;
    line.account = account;
    for (size_t n = 0; there && ledger_entries_next(&entries, n, &e); n++) {
        enum emac_status st = ledger_account_name(db, e.account, account, err);
        there = st != EMAC_NOT_FOUND;
        if (st != EMAC_OK && there)
            return st;
        line.amount_units = e.units;
        if (there)
            each(ctx, &line);
    }
    if (there && entries == NULL)
        return EMAC_OK;
    return emac_fail(err, EMAC_CORRUPT, "posting %lld is damaged: audit the ledger",
                     (long long)line.posting);
}

enum emac_status ledger_journal(struct db *db, int64_t after, uint32_t limit,
                                void (*each)(void *ctx, const struct ledger_line *line), void *ctx,
                                struct emac_err *err)
{
    struct db_stmt *q;
    bool row;
    int64_t last = INT64_MAX;
    (void)emac_add_i64(after, limit, &last); /* numbers have no holes */
    enum emac_status st = db_query(db, &q, err,
                                   "SELECT id, at_ms, key, cause, job, detail, hash, entries"
                                   " FROM journal WHERE id > ? AND id <= ? ORDER BY id",
                                   "ii", after, last);
    while (st == EMAC_OK && (st = db_next(q, &row, err)) == EMAC_OK && row) {
        char hash[2 * SHA256_BYTES + 1] = "";
        struct emac_slice h = db_blob(q, 6);
        if (h.len == SHA256_BYTES)
            emac_hex(hash, h.data, h.len);
        const struct ledger_line line = {.posting = db_i64(q, 0),
                                         .at_ms = (uint64_t)db_i64(q, 1),
                                         .key = db_text(q, 2),
                                         .cause = db_text(q, 3),
                                         .job = db_text(q, 4),
                                         .detail = db_text(q, 5),
                                         .hash_hex = hash};
        st = posting_lines(db, &line, db_text(q, 7), each, ctx, err);
        if (st != EMAC_OK)
            db_done(q);
    }
    return st;
}
