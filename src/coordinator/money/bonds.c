#include "coordinator/money/bonds.h"
#include "coordinator/checks/checks.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"

#define RETURNS_AT_ONCE 64

/* ---- what memory knows ---- */

void stake_held_add(struct coordinator *c, const char *did, int64_t units)
{
    struct node *n = node_find(c, did);
    if (n == NULL || c->stakes_stale)
        return;
    /* A mirror may be wrong only by a transaction that failed, and then it is stale. */
    if (!emac_add_i64(n->held_units, units, &n->held_units) || n->held_units < 0)
        c->stakes_stale = true;
}

/* "held:<did>:<job>"; a job's id has no colon. */
static void held_each(void *ctx, const char *account, int64_t units)
{
    struct coordinator *c = ctx;
    char did[LEDGER_ACCOUNT_MAX];
    bool fits = emac_strcpy(did, sizeof(did), account + strlen("held:"));
    char *end = strrchr(did, ':');
    EMAC_ASSERT(fits && end != NULL);
    *end = '\0';
    struct node *n = node_find(c, did);
    if (n != NULL && !emac_add_i64(n->held_units, units, &n->held_units))
        n->held_units = INT64_MAX;
}

static enum emac_status bonds_read(struct coordinator *c, struct emac_err *err)
{
    struct db_stmt *q;
    bool row = false;
    enum emac_status st = db_query(
        c->db, &q, err,
        "SELECT did, SUM(units) FROM bonds WHERE return_ms = 0 AND units > 0 GROUP BY did", "");
    while (st == EMAC_OK && (st = db_next(q, &row, err)) == EMAC_OK && row) {
        struct node *n = node_find(c, db_text(q, 0));
        if (n != NULL)
            n->bond_units = db_i64(q, 1);
    }
    return st;
}

void stake_bond_read(struct coordinator *c, const char *did)
{
    struct node *n = node_find(c, did);
    int64_t units = 0;
    if (n == NULL)
        return;
    enum emac_status st = db_one_i64(c->db, &units, NULL,
                                     "SELECT COALESCE(SUM(units), 0) FROM bonds"
                                     " WHERE did = ? AND return_ms = 0",
                                     "t", did);
    n->bond_units = st == EMAC_OK ? units : 0;
}

static void stakes_read(struct coordinator *c)
{
    struct map_entry e;
    struct emac_err err = {0};
    for (size_t at = 0; map_next(&c->nodes, &at, &e);) {
        struct node *n = e.value;
        n->bond_units = n->held_units = 0;
    }
    enum emac_status st = ledger_balances(c->db, "held:", held_each, c, &err);
    if (st == EMAC_OK)
        st = bonds_read(c, &err);
    if (st == EMAC_OK)
        st = trust_rows_read(c, &err);
    if (st == EMAC_OK)
        c->stakes_stale = false;
    else
        LOG_W("coordinator", "cannot read what rigs have at stake, will retry: %s", err.text);
}

int64_t stake_units(struct coordinator *c, struct node *n, int64_t *bond)
{
    if (c->stakes_stale)
        stakes_read(c);
    bool known = !c->stakes_stale; /* else it is checked always */
    *bond = known ? n->bond_units : 0;
    return known ? n->held_units : 0;
}

/* ---- slashing: in tx ---- */

static enum emac_status slash_post(struct coordinator *c, const struct lie *lie, const char *owner,
                                   int64_t units, bool *fresh, struct emac_err *err)
{
    char key[LEDGER_TEXT_MAX];
    int64_t half = owner[0] ? units / 2 : 0;
    int n = snprintf(key, sizeof(key), "slash:%s:%s", lie->proof, lie->did);
    EMAC_ASSERT(n > 0 && (size_t)n < sizeof(key));
    struct ledger_posting p = {
        .key = key, .cause = "slash", .job = lie->job, .detail = lie->proof, .at_ms = wall_ms(c)};
    ledger_entry_add(&p, -units, "stake:%s", lie->did);
    ledger_entry_add(&p, half, "user:%s", owner);
    ledger_entry_add(&p, units - half, "fee");
    return ledger_post(c->db, &p, fresh, err);
}

static enum emac_status owner_of(struct coordinator *c, const char *job, char owner[DID_KEY_MAX],
                                 struct emac_err *err)
{
    struct db_stmt *q;
    owner[0] = '\0';
    enum emac_status st = db_first(c->db, &q, err, "SELECT owner FROM jobs WHERE id = ?", "t", job);
    if (q == NULL)
        return st;
    bool fits = emac_strcpy(owner, DID_KEY_MAX, db_text(q, 0));
    EMAC_ASSERT(fits);
    db_done(q);
    return EMAC_OK;
}

enum emac_status bonds_slash(struct coordinator *c, const struct lie *lie, struct emac_err *err)
{
    int64_t units = 0, before = 0;
    char owner[DID_KEY_MAX];
    bool fresh = false;
    enum emac_status st;
    EMAC_ASSERT(db_in_transaction(c->db));
    EMAC_ASSERT(lie->proof[0] != '\0' && strlen(lie->proof) < PROOF_MAX); /* STAND-3 */
    EMAC_TRY(st, db_one_i64(c->db, &before, err,
                            "SELECT COUNT(*) FROM slashes WHERE proof = ? AND did = ?", "tt",
                            lie->proof, lie->did));
    if (before > 0)
        return EMAC_OK;
    EMAC_TRY(st,
             db_one_i64(c->db, &units, err,
                        "SELECT COALESCE(SUM(units), 0) FROM bonds WHERE did = ?", "t", lie->did));
    EMAC_TRY(st, owner_of(c, lie->job, owner, err));
    if (units > 0)
        EMAC_TRY(st, slash_post(c, lie, owner, units, &fresh, err));
    EMAC_ASSERT(units == 0 || fresh);
    EMAC_TRY(st, db_exec(c->db, err,
                         "UPDATE bonds SET slashed = slashed + units, units = 0, return_ms = 0"
                         " WHERE did = ?",
                         "t", lie->did));
    st = db_exec(c->db, err,
                 "INSERT INTO slashes (proof, did, job, units, why, at_ms)"
                 " VALUES (?, ?, ?, ?, ?, ?)",
                 "tttiti", lie->proof, lie->did, lie->job, units, lie->why, (int64_t)wall_ms(c));
    c->stakes_stale = true;
out:
    return st;
}

/* ---- going back ---- */

struct due {
    char did[DID_KEY_MAX], source[LEDGER_ACCOUNT_MAX];
    int64_t units, put;
};

static enum emac_status due_list(struct coordinator *c, struct due *due, uint32_t *count,
                                 struct emac_err *err)
{
    struct db_stmt *q;
    bool row = false;
    *count = 0;
    enum emac_status st = db_query(c->db, &q, err,
                                   "SELECT did, source, units, put FROM bonds WHERE return_ms > 0"
                                   " AND return_ms <= ? AND NOT EXISTS (SELECT 1 FROM"
                                   " disputes x WHERE x.state = 'open' AND (x.a = bonds.did"
                                   " OR x.b = bonds.did))"
                                   " ORDER BY return_ms, did, source LIMIT ?",
                                   "ii", (int64_t)wall_ms(c), (int64_t)RETURNS_AT_ONCE);
    while (st == EMAC_OK && (st = db_next(q, &row, err)) == EMAC_OK && row) {
        struct due *d = &due[(*count)++];
        d->units = db_i64(q, 2);
        d->put = db_i64(q, 3);
        bool fits = emac_strcpy(d->did, sizeof(d->did), db_text(q, 0)) &&
                    emac_strcpy(d->source, sizeof(d->source), db_text(q, 1));
        EMAC_ASSERT(fits && *count <= RETURNS_AT_ONCE);
    }
    return st;
}

/* in tx. All that was ever put names this return: nothing can be put beside it. */
static enum emac_status give_back(struct coordinator *c, const struct due *d, struct emac_err *err)
{
    char key[LEDGER_TEXT_MAX];
    int n = snprintf(key, sizeof(key), "unbond:%s:%s:%lld", d->did, d->source, (long long)d->put);
    EMAC_ASSERT(n > 0 && (size_t)n < sizeof(key));
    struct ledger_posting p = {
        .key = key, .cause = "unbond", .job = "", .detail = "", .at_ms = wall_ms(c)};
    ledger_entry_add(&p, -d->units, "stake:%s", d->did);
    ledger_entry_add(&p, d->units, "%s", d->source);
    enum emac_status st = ledger_post(c->db, &p, NULL, err);
    if (st != EMAC_OK)
        return st;
    return db_exec(c->db, err,
                   "UPDATE bonds SET returned = returned + units, units = 0, return_ms = 0"
                   " WHERE did = ? AND source = ?",
                   "tt", d->did, d->source);
}

void bonds_return_due(struct coordinator *c)
{
    struct due due[RETURNS_AT_ONCE];
    uint32_t count;
    struct emac_err err = {0};
    enum emac_status st = due_list(c, due, &count, &err);
    for (uint32_t i = 0; st == EMAC_OK && i < count; i++) {
        st = db_begin(c->db, &err);
        if (st != EMAC_OK)
            break;
        st = give_back(c, &due[i], &err);
        st = db_end(c->db, st, &err);
    }
    if (st != EMAC_OK)
        LOG_W("coordinator", "cannot give bonds back, will retry: %s", err.text);
}
