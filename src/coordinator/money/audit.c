/* The whole truth about the money: the ledger's own invariants, and those that need our tables.
 * Every query counts rows that break a rule; one finding a rule. */
#include "coordinator/internal.h"
#include "ledger/allowance.h"

#include <stdlib.h>
#include <string.h>

struct rule {
    const char *sql;  /* -> one number: how many break it */
    const char *text; /* the finding, after the number */
};

/* Balances are compared through a table that the audit fills first: the ledger's tables are the
 * ledger's own business. */
static const struct rule RULES[] = {
    {"SELECT COUNT(*) FROM jobs j WHERE j.state IN ('running', 'paused') AND"
     " COALESCE((SELECT a.units FROM audit_balances a WHERE a.account = 'escrow:' || j.id), 0) <"
     " (SELECT COALESCE(SUM(l.units), 0) FROM leases l WHERE l.job = j.id AND l.state = 'open') +"
     " (SELECT COALESCE(SUM(r.reserve_units), 0) FROM job_assets r WHERE r.job = j.id)",
     "open jobs have less in escrow than their open leases and royalties may cost (INV-6)"},
    {"SELECT COUNT(*) FROM audit_balances WHERE account LIKE 'royalty:%' AND units <> 0",
     "pools of royalties hold money that was not shared out (ASSET-4)"},
    {"SELECT COUNT(*) FROM jobs j WHERE j.state NOT IN ('running', 'paused') AND"
     " COALESCE((SELECT a.units FROM audit_balances a WHERE a.account = 'escrow:' || j.id), 0) <> "
     "0",
     "closed jobs still have money in escrow (INV-6)"},
    {"SELECT COUNT(*) FROM leases l JOIN jobs j ON j.id = l.job WHERE l.state = 'open'"
     " AND j.state NOT IN ('running', 'paused')",
     "leases are open although their job is closed"},
    {"SELECT COUNT(*) FROM (SELECT r.job, r.task, r.node FROM receipts r"
     " GROUP BY r.job, r.task, r.node HAVING COUNT(*) > 1) d",
     "receipts are there more than once for a rig and task (INV-7)"},
    {"SELECT COUNT(*) FROM (SELECT t.job, t.cid FROM tasks t JOIN receipts r"
     " ON r.job = t.job AND r.step = t.step AND r.task = t.cid WHERE r.state IN ('held', 'settled')"
     " GROUP BY t.job, t.cid, t.need HAVING COUNT(*) > t.need) d",
     "tasks were paid more often than they were to be executed (COORD-3)"},
    /* What a liar said within the window of a job that has ended is unpaid, but was delivered. */
    {"SELECT COUNT(*) FROM tasks t JOIN jobs j ON j.id = t.job WHERE t.state = 'accepted'"
     " AND NOT EXISTS (SELECT 1"
     " FROM receipts r WHERE r.job = t.job AND r.step = t.step AND r.task = t.cid"
     " AND r.outputs = t.outputs"
     " AND (r.state <> 'void' OR j.state NOT IN ('running', 'paused')))",
     "accepted results have no receipt"},
    {"SELECT COUNT(*) FROM receipts r LEFT JOIN tasks t ON t.job = r.job AND t.cid = r.task"
     " WHERE t.step IS NULL OR t.step <> r.step",
     "receipts are not of the step of their task: they would not be found (COORD-3)"},
    {"SELECT COUNT(*) FROM receipts r WHERE r.cid <> '' AND r.id <= (SELECT id FROM receipts_filed)"
     " AND NOT EXISTS (SELECT 1 FROM receipt_names n"
     " WHERE n.tail = substr(r.cid, length(r.cid) - 15) AND n.receipt = r.id)",
     "receipts would not be found by their names (NAMES-1)"},
    {"SELECT COUNT(*) FROM receipts r JOIN tasks t ON t.job = r.job AND t.step = r.step AND t.cid "
     "= r.task"
     " WHERE r.state IN ('held', 'settled') AND t.state = 'accepted' AND r.outputs <> t.outputs",
     "paid receipts differ from the accepted result"},
    {"SELECT COUNT(*) FROM receipts r JOIN jobs j ON j.id = r.job WHERE r.state = 'held'"
     " AND j.state NOT IN ('running', 'paused') AND j.settle_ms = 0",
     "receipts of closed jobs are still held (STAND-1)"},
    {"SELECT COUNT(*) FROM jobs j WHERE j.settle_ms > 0 AND (j.state IN ('running', 'paused')"
     " OR EXISTS (SELECT 1 FROM receipts r WHERE r.job = j.id AND r.state = 'settled'))",
     "jobs were settled although they are open, or their dispute window is (STAND-1)"},
    {"SELECT COUNT(*) FROM (SELECT did, SUM(units) AS units FROM bonds GROUP BY did) b"
     " WHERE b.units <> COALESCE((SELECT a.units FROM audit_balances a"
     " WHERE a.account = 'stake:' || b.did), 0)",
     "stakes differ from the bonds that were put there (STAND-2)"},
    {"SELECT COUNT(*) FROM audit_balances a WHERE a.account LIKE 'stake:%' AND a.account NOT LIKE "
     "'stake:%:deal-%' AND a.units <> 0"
     " AND NOT EXISTS (SELECT 1 FROM bonds b WHERE 'stake:' || b.did = a.account)",
     "stakes are nobody's bond (STAND-2)"},
    {"SELECT COUNT(*) FROM (SELECT did, SUM(slashed) AS units FROM bonds GROUP BY did) b"
     " WHERE b.units <> (SELECT COALESCE(SUM(s.units), 0) FROM slashes s WHERE s.did = b.did)",
     "bonds were slashed without a proof (STAND-3)"},
    {"SELECT COUNT(*) FROM (SELECT did, SUM(costs) AS units FROM bonds GROUP BY did) b"
     " WHERE b.units <> COALESCE((SELECT f.bond_units FROM fault_costs f WHERE f.did = b.did), 0)",
     "bonds bore other costs than those of a fault (STAND-6)"},
    {"SELECT COUNT(*) FROM fault_costs f LEFT JOIN nodes n ON n.did = f.did"
     " WHERE n.state IS NULL OR n.state <> 'quarantined'"
     " OR f.held_units < 0 OR f.bond_units < 0 OR f.held_units + f.bond_units > f.cost_units",
     "faults cost more than they may, or a rig that is not out (STAND-6)"},
    {"SELECT COUNT(*) FROM receipts r LEFT JOIN leases l ON l.id = r.lease"
     " AND l.job = r.job AND l.task = r.task AND l.node = r.node"
     " WHERE l.id IS NULL",
     "receipts name a lease that was never granted to them"},
    {"SELECT COUNT(*) FROM (SELECT r.node, r.job, SUM(r.units) AS units FROM receipts r"
     " WHERE r.state = 'held' GROUP BY r.node, r.job) h WHERE h.units <>"
     " COALESCE((SELECT a.units FROM audit_balances a"
     " WHERE a.account = 'held:' || h.node || ':' || h.job), 0)",
     "held balances differ from the receipts that earned them"},
    {"SELECT CASE WHEN (SELECT COALESCE(SUM(units), 0) FROM audit_balances"
     " WHERE account LIKE 'held:%') <>"
     " (SELECT COALESCE(SUM(units), 0) FROM receipts WHERE state = 'held') THEN 1 ELSE 0 END",
     "the sum of all held balances differs from the receipts"},
    {"SELECT CASE WHEN (SELECT COALESCE(SUM(units), 0) FROM audit_balances"
     " WHERE account LIKE 'rig:%') + (SELECT COALESCE(SUM(cumulative), 0) FROM chain_payouts) +"
     " (SELECT COALESCE(SUM(put - returned), 0) FROM bonds WHERE source LIKE 'rig:%') +"
     " (SELECT COALESCE(SUM(units), 0) FROM network_fees) <>"
     " (SELECT COALESCE(SUM(units), 0) FROM receipts WHERE state = 'settled') +"
     " (SELECT COALESCE(SUM(rig_units), 0) FROM serving) +"
     " (SELECT COALESCE(SUM(units), 0) FROM datacap_rewards) +"
     " (SELECT COALESCE(SUM(rig_units), 0) FROM deal_replicas) +"
     " (SELECT COALESCE(SUM(units), 0) FROM deal_traffic WHERE state = 'paid') +"
     " (SELECT COALESCE(SUM(units), 0) FROM chain_payables) THEN 1 ELSE 0 END",
     "what rigs were paid differs from their settled receipts less the network's fees (DCB-4),"
     " answers (SERVE-4), storage, and what users have paid out (BOOK-9)"},
    {"SELECT COUNT(*) FROM audit_balances WHERE account LIKE 'reward:%' AND units <> 0",
     "pools of storage rewards hold money after their epoch (DCB-1)"},
    {"SELECT COUNT(*) FROM datacap_epochs e WHERE e.taken <> e.dust + COALESCE((SELECT SUM(r.units)"
     " FROM datacap_rewards r WHERE r.epoch = e.epoch), 0)",
     "epochs took other units from the funder than they rewarded (DCB-1)"},
    {"SELECT COUNT(*) FROM datacap_use WHERE client = owner OR (state = 'counted') <>"
     " (allowance <> '')",
     "use was counted for nothing, or is of the data's own owner (DCB-3)"},
    {"SELECT COUNT(*) FROM (SELECT did, SUM(reserved_units) AS units FROM serving"
     " WHERE state = 'open' GROUP BY did) s WHERE s.units <>"
     " COALESCE((SELECT a.units FROM audit_balances a WHERE a.account = 'serving:' || s.did), 0)",
     "accounts have other reserves than their open requests for text (SERVE-1)"},
    {"SELECT CASE WHEN (SELECT COALESCE(SUM(units), 0) FROM audit_balances"
     " WHERE account LIKE 'serving:%') <> (SELECT COALESCE(SUM(reserved_units), 0) FROM serving"
     " WHERE state = 'open') THEN 1 ELSE 0 END",
     "the sum of all reserves differs from the open requests for text (SERVE-1)"},
    {"SELECT COUNT(*) FROM serving WHERE rig_units < 0 OR fee_units < 0 OR royalty_units < 0"
     " OR rig_units + fee_units + royalty_units > reserved_units"
     " OR (state <> 'settled' AND rig_units + fee_units + royalty_units <> 0)",
     "requests for text cost more than was reserved, or something without an answer (SERVE-2)"},
    {"SELECT COUNT(*) FROM api_keys k WHERE k.spent_units <> (SELECT"
     " COALESCE(SUM(s.rig_units + s.fee_units + s.royalty_units), 0) FROM serving s"
     " WHERE s.key = k.id) OR k.spent_units + (SELECT COALESCE(SUM(s.reserved_units), 0)"
     " FROM serving s WHERE s.key = k.id AND s.state = 'open') > k.limit_units",
     "API keys spent other units than their requests cost, or more than their limit (SERVE-3)"},
    {"SELECT COUNT(*) FROM deals d WHERE d.state = 'open' AND"
     " COALESCE((SELECT a.units FROM audit_balances a WHERE a.account = 'escrow:' || d.id), 0) <>"
     " d.escrow_units +"
     " (SELECT COALESCE(SUM(r.lost_units), 0) FROM deal_replicas r WHERE r.deal = d.id) -"
     " (SELECT COALESCE(SUM(p.units), 0) FROM deal_proofs p WHERE p.deal = d.id) -"
     " (SELECT COALESCE(SUM(t.units), 0) FROM deal_traffic t WHERE t.deal = d.id"
     " AND t.state = 'paid')",
     "open deals have another escrow than what came in less what was paid (DEAL-5)"},
    {"SELECT COUNT(*) FROM deals d JOIN deal_epochs e ON e.state = 'open' WHERE d.state = 'open' "
     "AND"
     " COALESCE((SELECT a.units FROM audit_balances a WHERE a.account = 'escrow:' || d.id), 0) <"
     " d.epoch_units * (d.replicas * (d.last_epoch -"
     " CASE WHEN e.epoch > d.made_epoch THEN e.epoch - 1 ELSE d.made_epoch END) -"
     " (SELECT COUNT(*) FROM deal_proofs p WHERE p.deal = d.id AND p.epoch = e.epoch"
     " AND p.state = 'paid'))",
     "open deals have less in escrow than their epochs to come cost (DEAL-5)"},
    {"SELECT COUNT(*) FROM (SELECT p.deal, p.epoch FROM deal_proofs p JOIN deals d ON d.id = p.deal"
     " WHERE p.state = 'paid' GROUP BY p.deal, p.epoch, d.replicas HAVING COUNT(*) > d.replicas) x",
     "epochs of deals were paid for more replicas than were agreed on (DEAL-6)"},
    {"SELECT COUNT(*) FROM deal_proofs p JOIN deals d ON d.id = p.deal WHERE"
     " (p.state = 'paid' AND (p.units <> d.epoch_units OR p.epoch <= d.made_epoch"
     " OR p.epoch > d.last_epoch)) OR (p.state = 'missed' AND p.units <> 0)",
     "proofs were paid another amount or outside the deal's epochs (DEAL-6)"},
    {"SELECT COUNT(*) FROM deal_replicas r WHERE r.bond_units <>"
     " COALESCE((SELECT a.units FROM audit_balances a"
     " WHERE a.account = 'stake:' || r.node || ':' || r.deal), 0)"
     " OR (r.state <> 'active' AND r.bond_units <> 0)",
     "bonds of replicas differ from what lies at stake (DEAL-7)"},
    {"SELECT CASE WHEN (SELECT COALESCE(SUM(units), 0) FROM audit_balances"
     " WHERE account LIKE 'stake:%:deal-%') <>"
     " (SELECT COALESCE(SUM(bond_units), 0) FROM deal_replicas) THEN 1 ELSE 0 END",
     "the sum of all that lies at stake for deals differs from the bonds (DEAL-7)"},
    {"SELECT COUNT(*) FROM deals d WHERE d.state <> 'open' AND ("
     "COALESCE((SELECT a.units FROM audit_balances a WHERE a.account = 'escrow:' || d.id), 0) <> 0"
     " OR EXISTS (SELECT 1 FROM deal_replicas r WHERE r.deal = d.id"
     " AND r.state IN ('placed', 'active')))",
     "deals that ended have money or replicas (DEAL-8)"},
    {"SELECT CASE WHEN (SELECT COUNT(*) FROM deal_epochs WHERE state = 'open') <> 1 OR"
     " (SELECT COUNT(*) FROM deal_epochs WHERE state = 'next') <> 1 THEN 1 ELSE 0 END",
     "there is not one open and one next epoch of deals (DEAL-10)"},
    {"SELECT COUNT(*) FROM chain_payouts p WHERE p.cumulative - p.claimed <>"
     " COALESCE((SELECT a.units FROM audit_balances a WHERE a.account = 'payout:' || p.did), 0)",
     "payouts to the chain differ from what was promised less what was claimed (BOOK-4)"},
    {"SELECT COUNT(*) FROM chain_epochs e WHERE e.total <>"
     " (SELECT SUM(l.cumulative) FROM chain_leaves l WHERE l.epoch = e.epoch)",
     "epochs have a total that is not the sum of their leaves"},
    {"SELECT COUNT(*) FROM receipts r JOIN nodes n ON n.did = r.node JOIN jobs j ON j.id = r.job"
     " WHERE n.state = 'quarantined' AND r.state IN ('held', 'unpaid')"
     " AND (j.state IN ('running', 'paused') OR j.settle_ms > 0)"
     " AND (n.fault <> 'faulty' OR NOT EXISTS (SELECT 1 FROM receipts o WHERE o.job = r.job"
     " AND o.step = r.step AND o.task = r.task AND o.node <> r.node AND o.outputs = r.outputs AND "
     "NOT EXISTS"
     " (SELECT 1 FROM nodes x WHERE x.did = o.node AND x.state = 'quarantined')))",
     "receipts of quarantined rigs still count (COORD-7, STAND-5)"},
};

struct filling {
    struct coordinator *c;
    enum emac_status st;
    struct emac_err *err;
};

static void fill_each(void *ctx, const char *account, int64_t units)
{
    struct filling *f = ctx;
    if (f->st == EMAC_OK)
        f->st =
            db_exec(f->c->db, f->err, "INSERT INTO audit_balances (account, units) VALUES (?, ?)",
                    "ti", account, units);
}

/* Ends with a roll-back: the table never outlives the audit. */
static enum emac_status rules_check(struct coordinator *c, json_t *findings, struct emac_err *err)
{
    struct filling f = {c, EMAC_OK, err};
    enum emac_status st;
    EMAC_TRY(st, db_exec(c->db, err,
                         "CREATE TABLE audit_balances (account TEXT PRIMARY KEY,"
                         " units BIGINT NOT NULL)",
                         ""));
    EMAC_TRY(st, ledger_balances(c->db, "", fill_each, &f, err));
    EMAC_TRY(st, f.st);
    for (size_t i = 0; i < EMAC_COUNT(RULES); i++) {
        int64_t broken = 0;
        EMAC_TRY(st, db_one_i64(c->db, &broken, err, RULES[i].sql, ""));
        if (broken > 0)
            json_array_append_new(findings,
                                  json_sprintf("%lld %s", (long long)broken, RULES[i].text));
    }
out:
    return st;
}

/* One finding a sentence. */
static void report_add(json_t *findings, const struct emac_buf *report)
{
    const char *s = emac_buf_str(report);
    while (*s) {
        size_t n = strcspn(s, "\n");
        if (n > 0)
            json_array_append_new(findings, json_stringn(s, n));
        s += n + (s[n] == '\n');
    }
}

enum emac_status ledger_audit_get(void *ctx, const struct http_request *req,
                                  struct http_response *res, struct emac_err *err)
{
    struct coordinator *c = ctx;
    struct ledger_audit a = {0};
    json_t *findings = json_array();
    enum emac_status st;
    /* One transaction: the ledger and our tables are seen at one moment. */
    EMAC_TRY(st, db_begin(c->db, err));
    st = ledger_audit(c->db, &a, err);
    if (st == EMAC_OK)
        st = allowance_audit(c->db, &a.report, &a.broken, err);
    if (st == EMAC_OK)
        st = rules_check(c, findings, err);
    db_rollback(c->db);
    if (st != EMAC_OK)
        goto out;
    report_add(findings, &a.report);
    bool ok = a.broken == 0 && json_array_size(findings) == 0;
    st = api_reply(res, 200,
                   json_pack("{s:b, s:I, s:I, s:I, s:I, s:O}", "ok", ok, "postings",
                             (json_int_t)a.postings, "accounts", (json_int_t)a.accounts,
                             "total_units", (json_int_t)a.total_units, "total_bytes",
                             (json_int_t)a.total_bytes, "findings", findings),
                   err);
out:
    emac_buf_release(&a.report);
    json_decref(findings);
    return st;
}
