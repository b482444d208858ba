/* The money of storage deals (deals.h). All of it runs inside the caller's transaction. */
#include "coordinator/storage/deals.h"

#include <stdio.h>
#include <string.h>

#define KEY_MAX 256

static enum emac_status post(struct coordinator *c, struct ledger_posting *p, struct emac_err *err)
{
    EMAC_ASSERT(db_in_transaction(c->db));
    p->at_ms = wall_ms(c);
    return p->count > 0 ? ledger_post(c->db, p, NULL, err) : EMAC_OK;
}

/* "deal-pay:<deal>:<replica>:<epoch>": what a key is about is in it, so none comes twice. */
static void key_print(char key[KEY_MAX], const char *what, const char *deal, uint32_t replica,
                      uint64_t epoch)
{
    int n = snprintf(key, KEY_MAX, "deal-%s:%s:%u:%llu", what, deal, replica,
                     (unsigned long long)epoch);
    EMAC_ASSERT(n > 0 && n < KEY_MAX);
}

static enum emac_status balance_of(struct coordinator *c, const char *kind, const char *name,
                                   int64_t *units, struct emac_err *err)
{
    char account[LEDGER_ACCOUNT_MAX];
    int n = snprintf(account, sizeof(account), "%s:%s", kind, name);
    EMAC_ASSERT(n > 0 && (size_t)n < sizeof(account));
    return ledger_balance(c->db, account, units, err);
}

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* Of what the rig has earned first, then of what its owner put on its key; what is still missing is
 * kept back from the first epochs' pay. */
enum emac_status deal_money_bond(struct coordinator *c, const struct deal *d,
                                 struct deal_holding *h, struct emac_err *err)
{
    char key[KEY_MAX];
    int64_t earned = 0, own = 0;
    enum emac_status st;
    EMAC_ASSERT(h->r.bond_units == 0);
    EMAC_TRY(st, balance_of(c, "rig", h->r.node, &earned, err));
    EMAC_TRY(st, balance_of(c, "user", h->r.node, &own, err));
    earned = least(earned, d->amounts.bond_units);
    own = least(own, d->amounts.bond_units - earned);
    key_print(key, "bond", d->id, h->r.number, 0);
    struct ledger_posting p = {.key = key, .cause = "bond", .job = d->id, .detail = ""};
    ledger_entry_add(&p, -earned, "rig:%s", h->r.node);
    ledger_entry_add(&p, -own, "user:%s", h->r.node);
    ledger_entry_add(&p, earned + own, "stake:%s:%s", h->r.node, d->id);
    h->r.bond_units = earned + own;
    h->rig_units -= earned;
    st = post(c, &p, err);
out:
    return st;
}

enum emac_status deal_money_pay(struct coordinator *c, const struct deal *d, struct deal_holding *h,
                                uint64_t epoch, struct emac_err *err)
{
    char key[KEY_MAX];
    int64_t to_bond, to_rig;
    deal_replica_prove(&h->r, &d->amounts, &to_bond, &to_rig);
    EMAC_ASSERT(to_bond >= 0 && to_rig >= 0 && to_bond + to_rig == d->amounts.epoch_units);
    key_print(key, "pay", d->id, h->r.number, epoch);
    struct ledger_posting p = {.key = key, .cause = "storage", .job = d->id, .detail = ""};
    ledger_entry_add(&p, -d->amounts.epoch_units, "escrow:%s", d->id);
    ledger_entry_add(&p, to_bond, "stake:%s:%s", h->r.node, d->id);
    ledger_entry_add(&p, to_rig, "rig:%s", h->r.node);
    h->rig_units += to_rig;
    return post(c, &p, err);
}

/* ---- traffic ---- */

enum emac_status deal_money_owed(struct coordinator *c, const struct deal *d, uint64_t epoch,
                                 int64_t *units, struct emac_err *err)
{
    int64_t paid = 0;
    uint64_t from = epoch > d->made_epoch ? epoch : d->made_epoch + 1;
    enum emac_status st = db_one_i64(c->db, &paid, err,
                                     "SELECT COUNT(*) FROM deal_proofs WHERE deal = ? AND epoch = ?"
                                     " AND state = 'paid'",
                                     "ti", d->id, (int64_t)from);
    if (st != EMAC_OK)
        return st;
    int64_t epochs = from > d->last_epoch ? 0 : (int64_t)(d->last_epoch - from + 1);
    EMAC_ASSERT(paid <= (int64_t)d->terms.replicas); /* DEAL-6 */
    *units = epochs > 0 ? d->amounts.epoch_units * (epochs * d->terms.replicas - paid) : 0;
    return EMAC_OK;
}

struct sender {
    char did[DID_KEY_MAX];
    int64_t units;
};

static enum emac_status senders_due(struct coordinator *c, const char *deal, uint32_t replica,
                                    struct sender out[DEAL_SOURCES_MAX], size_t *count,
                                    struct emac_err *err)
{
    struct db_stmt *q;
    bool row = false;
    *count = 0;
    enum emac_status st = db_query(c->db, &q, err,
                                   "SELECT source, units FROM deal_traffic WHERE deal = ?"
                                   " AND replica = ? AND state = 'due' ORDER BY source",
                                   "ti", deal, (int64_t)replica);
    while (st == EMAC_OK && (st = db_next(q, &row, err)) == EMAC_OK && row) {
        EMAC_ASSERT(*count < DEAL_SOURCES_MAX);
        emac_strcpy(out[*count].did, DID_KEY_MAX, db_text(q, 0));
        out[(*count)++].units = db_i64(q, 1);
    }
    return st;
}

static enum emac_status sender_pay(struct coordinator *c, const char *deal, uint32_t replica,
                                   const struct sender *s, bool afford, struct emac_err *err)
{
    char key[KEY_MAX];
    enum emac_status st =
        db_exec(c->db, err,
                "UPDATE deal_traffic SET state = ? WHERE deal = ?"
                " AND replica = ? AND source = ?",
                "ttit", afford ? "paid" : "unpaid", deal, (int64_t)replica, s->did);
    if (st != EMAC_OK || !afford)
        return st;
    int n = snprintf(key, sizeof(key), "deal-traffic:%s:%u:%s", deal, replica, s->did);
    EMAC_ASSERT(n > 0 && (size_t)n < sizeof(key));
    struct ledger_posting p = {.key = key, .cause = "traffic", .job = deal, .detail = ""};
    ledger_entry_add(&p, -s->units, "escrow:%s", deal);
    ledger_entry_add(&p, s->units, "rig:%s", s->did);
    return post(c, &p, err);
}

enum emac_status deal_money_traffic(struct coordinator *c, const struct deal *d, uint32_t replica,
                                    uint64_t epoch, struct emac_err *err)
{
    struct sender sender[DEAL_SOURCES_MAX];
    size_t count;
    int64_t escrow = 0, owed = 0;
    enum emac_status st;
    EMAC_TRY(st, senders_due(c, d->id, replica, sender, &count, err));
    EMAC_TRY(st, balance_of(c, "escrow", d->id, &escrow, err));
    EMAC_TRY(st, deal_money_owed(c, d, epoch, &owed, err));
    EMAC_ASSERT(escrow >= owed); /* DEAL-5 */
    for (size_t i = 0; i < count; i++) {
        bool afford = escrow - owed >= sender[i].units;
        EMAC_TRY(st, sender_pay(c, d->id, replica, &sender[i], afford, err));
        escrow -= afford ? sender[i].units : 0;
    }
out:
    return st;
}

/* ---- the end of a replica, of a deal ---- */

static enum emac_status bond_move(struct coordinator *c, struct deal_holding *h, const char *what,
                                  const char *to_kind, const char *to, struct emac_err *err)
{
    char key[KEY_MAX];
    key_print(key, what, h->deal, h->r.number, 0);
    struct ledger_posting p = {.key = key, .cause = what, .job = h->deal, .detail = ""};
    ledger_entry_add(&p, -h->r.bond_units, "stake:%s:%s", h->r.node, h->deal);
    ledger_entry_add(&p, h->r.bond_units, "%s:%s", to_kind, to);
    h->r.bond_units = 0;
    return post(c, &p, err);
}

enum emac_status deal_money_lost(struct coordinator *c, struct deal_holding *h,
                                 struct emac_err *err)
{
    h->lost_units += h->r.bond_units;
    return bond_move(c, h, "slash", "escrow", h->deal, err);
}

enum emac_status deal_money_back(struct coordinator *c, struct deal_holding *h,
                                 struct emac_err *err)
{
    h->rig_units += h->r.bond_units;
    return bond_move(c, h, "unbond", "rig", h->r.node, err);
}

enum emac_status deal_money_refund(struct coordinator *c, const struct deal *d,
                                   struct emac_err *err)
{
    char key[KEY_MAX];
    int64_t units = 0;
    enum emac_status st = balance_of(c, "escrow", d->id, &units, err);
    if (st != EMAC_OK)
        return st;
    key_print(key, "refund", d->id, 0, 0);
    struct ledger_posting p = {.key = key, .cause = "refund", .job = d->id, .detail = ""};
    ledger_entry_add(&p, -units, "escrow:%s", d->id);
    ledger_entry_add(&p, units, "user:%s", d->client);
    return post(c, &p, err);
}
