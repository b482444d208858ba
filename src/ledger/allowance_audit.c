/* The invariants of allowances, from the rows and balances alone. */
#include "base/assert.h"
#include "ledger/allowance.h"

struct rule {
    const char *sql;  /* -> one number: how many break it */
    const char *text; /* the finding, after the number */
};

static const struct rule RULES[] = {
    {"SELECT COUNT(*) FROM allowances a WHERE a.burnt < 0 OR a.granted - a.burnt <>"
     " COALESCE((SELECT b.units FROM accounts b WHERE b.account = 'bytes:left:' || a.id), 0) +"
     " COALESCE((SELECT SUM(s.bytes) FROM allowance_spends s WHERE s.allowance = a.id"
     " AND s.state = 'bound'), 0)",
     "allowances differ from what is left, bound and burnt of them (CAP-1)"},
    {"SELECT CASE WHEN (SELECT COALESCE(SUM(granted), 0) FROM allowances) <>"
     " -COALESCE((SELECT units FROM accounts WHERE account = 'bytes:granted'), 0)"
     " THEN 1 ELSE 0 END",
     "the source of bytes differs from all that was granted (CAP-2)"},
    {"SELECT CASE WHEN (SELECT COALESCE(SUM(burnt), 0) FROM allowances) <>"
     " COALESCE((SELECT units FROM accounts WHERE account = 'bytes:burnt'), 0)"
     " THEN 1 ELSE 0 END",
     "burnt bytes differ from what allowances lost (CAP-2)"},
    {"SELECT COUNT(*) FROM accounts b WHERE b.account LIKE 'bytes:left:%' AND b.units <> 0"
     " AND NOT EXISTS (SELECT 1 FROM allowances a WHERE 'bytes:left:' || a.id = b.account)",
     "accounts hold bytes of allowances that nobody granted (CAP-4)"},
    {"SELECT COUNT(*) FROM accounts b WHERE b.account LIKE 'bytes:deal:%' AND b.units <>"
     " COALESCE((SELECT SUM(s.bytes) FROM allowance_spends s"
     " WHERE 'bytes:deal:' || s.deal = b.account AND s.state = 'bound'), 0)",
     "deals hold other bytes than they bound (CAP-5)"},
    {"SELECT COUNT(*) FROM allowances a WHERE a.removed <> 0 AND EXISTS (SELECT 1"
     " FROM accounts b WHERE b.account = 'bytes:left:' || a.id AND b.units <> 0)",
     "removed or expired allowances have bytes left (CAP-6)"},
    {"SELECT COUNT(*) FROM allowance_spends s JOIN allowances a ON a.id = s.allowance"
     " WHERE a.origin <> 'chain' AND s.at_ms >= a.expires_ms",
     "bytes were bound after their allowance had expired (CAP-6)"},
};

enum emac_status allowance_audit(struct db *db, struct emac_buf *report, uint32_t *broken,
                                 struct emac_err *err)
{
    for (size_t i = 0; i < EMAC_COUNT(RULES); i++) {
        int64_t count = 0;
        enum emac_status st = db_one_i64(db, &count, err, RULES[i].sql, "");
        if (st == EMAC_OK && count > 0) {
            ++*broken;
            st = emac_buf_printf(report, err, "%lld %s\n", (long long)count, RULES[i].text);
        }
        if (st != EMAC_OK)
            return st;
    }
    return EMAC_OK;
}
