#include <string.h>

#include "base/checked.h"
#include "base/hex.h"
#include "ledger/ledger.h"

enum emac_status ledger_balances(struct db *db, const char *prefix,
                                 void (*each)(void *ctx, const char *account, int64_t units),
                                 void *ctx, struct emac_err *err)
{
    struct db_stmt *q;
    bool row;
    size_t n = strlen(prefix);
    enum emac_status st = db_query(
        db, &q, err, "SELECT account, units FROM balances WHERE account >= ? ORDER BY account", "t",
        prefix);
    while (st == EMAC_OK && (st = db_next(q, &row, err)) == EMAC_OK && row) {
        if (strncmp(db_text(q, 0), prefix, n) != 0) {
            db_done(q);
            break;
        }
        each(ctx, db_text(q, 0), db_i64(q, 1));
    }
    return st;
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
                                   "SELECT p.id, p.at_ms, p.key, p.cause, p.job, p.detail, "
                                   "e.account, e.amount, p.hash FROM postings p "
                                   "JOIN entries e ON e.posting = p.id "
                                   "WHERE p.id > ? AND p.id <= ? ORDER BY p.id, e.line",
                                   "ii", after, last);
    while (st == EMAC_OK && (st = db_next(q, &row, err)) == EMAC_OK && row) {
        char hash[2 * SHA256_BYTES + 1] = "";
        struct emac_slice h = db_blob(q, 8);
        if (h.len == SHA256_BYTES)
            emac_hex(hash, h.data, h.len);
        const struct ledger_line line = {db_i64(q, 0),  (uint64_t)db_i64(q, 1), db_text(q, 2),
                                         db_text(q, 3), db_text(q, 4),          db_text(q, 5),
                                         db_text(q, 6), db_i64(q, 7),           hash};
        each(ctx, &line);
    }
    return st;
}
