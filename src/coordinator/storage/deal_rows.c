/* Rows of deals, their replicas and what was proven. */
#include "coordinator/storage/deals.h"

#include <stdlib.h>
#include <string.h>

#define HOLDINGS_BYTES_MAX ((size_t)1 << 30)

const char DEALS_SCHEMA[] =
    "CREATE TABLE deal_epochs ("
    " epoch BIGINT PRIMARY KEY, commitment BLOB NOT NULL, secret BLOB NOT NULL,"
    " head_id BIGINT NOT NULL, head BLOB NOT NULL," /* of the ledger, when it began */
    " length_ms BIGINT NOT NULL, began_ms BIGINT NOT NULL, ended_ms BIGINT NOT NULL,"
    " state TEXT NOT NULL CHECK (state IN ('next', 'open', 'closed')));"
    "CREATE UNIQUE INDEX deal_epochs_one ON deal_epochs (state) WHERE state <> 'closed';"

    "CREATE TABLE deals ("
    " id TEXT PRIMARY KEY, seq BIGINT NOT NULL UNIQUE, client TEXT NOT NULL, cid TEXT NOT NULL,"
    " piece TEXT NOT NULL, bytes BIGINT NOT NULL, replicas BIGINT NOT NULL, epochs BIGINT NOT NULL,"
    " price_units BIGINT NOT NULL, traffic_price_units BIGINT NOT NULL,"
    " epoch_units BIGINT NOT NULL, traffic_units BIGINT NOT NULL, bond_units BIGINT NOT NULL,"
    " escrow_units BIGINT NOT NULL,"
    " state TEXT NOT NULL CHECK (state IN ('open', 'ended', 'cancelled')),"
    " made_epoch BIGINT NOT NULL, last_epoch BIGINT NOT NULL, created_ms BIGINT NOT NULL,"
    " ended_ms BIGINT NOT NULL);"
    "CREATE INDEX deals_by_end ON deals (last_epoch) WHERE state = 'open';"
    "CREATE INDEX deals_by_cid ON deals (cid) WHERE state = 'open';"

    "CREATE TABLE deal_replicas ("
    " deal TEXT NOT NULL REFERENCES deals (id), replica BIGINT NOT NULL, node TEXT NOT NULL,"
    " state TEXT NOT NULL"
    "  CHECK (state IN ('placed', 'active', 'declined', 'lapsed', 'lost', 'ended')),"
    " placed_epoch BIGINT NOT NULL, first_epoch BIGINT NOT NULL, misses BIGINT NOT NULL,"
    " proven BIGINT NOT NULL, bond_units BIGINT NOT NULL, rig_units BIGINT NOT NULL,"
    " lost_units BIGINT NOT NULL, note TEXT NOT NULL,"
    " PRIMARY KEY (deal, replica), UNIQUE (deal, node));"
    "CREATE INDEX deal_replicas_living ON deal_replicas (node) WHERE state IN ('placed', 'active');"

    /* What a replica was told to have fetched from whom. */
    "CREATE TABLE deal_traffic ("
    " deal TEXT NOT NULL, replica BIGINT NOT NULL, source TEXT NOT NULL, bytes BIGINT NOT NULL,"
    " units BIGINT NOT NULL, state TEXT NOT NULL CHECK (state IN ('due', 'paid', 'unpaid')),"
    " PRIMARY KEY (deal, replica, source),"
    " FOREIGN KEY (deal, replica) REFERENCES deal_replicas (deal, replica));"

    "CREATE TABLE deal_proofs ("
    " deal TEXT NOT NULL, replica BIGINT NOT NULL, epoch BIGINT NOT NULL,"
    " state TEXT NOT NULL CHECK (state IN ('paid', 'missed')), units BIGINT NOT NULL,"
    " proof BLOB NOT NULL, note TEXT NOT NULL, at_ms BIGINT NOT NULL,"
    " PRIMARY KEY (deal, replica, epoch),"
    " FOREIGN KEY (deal, replica) REFERENCES deal_replicas (deal, replica));"
    "CREATE INDEX deal_proofs_by_epoch ON deal_proofs (epoch);";

/* ---- deals ---- */

static const char *const STATE_NAMES[] = {
    [DEALS_OPEN] = "open", [DEALS_ENDED] = "ended", [DEALS_CANCELLED] = "cancelled"};

const char *deal_state_name(enum deal_state s)
{
    EMAC_ASSERT(s < EMAC_COUNT(STATE_NAMES));
    return STATE_NAMES[s];
}

static enum deal_state state_find(const char *name)
{
    for (size_t i = 0; i < EMAC_COUNT(STATE_NAMES); i++)
        if (strcmp(name, STATE_NAMES[i]) == 0)
            return (enum deal_state)i;
    EMAC_ASSERT(!"the column's check knows these states alone");
    return DEALS_ENDED;
}

static void deal_read(struct db_stmt *q, struct deal *d)
{
    *d = (struct deal){.seq = db_i64(q, 1)};
    emac_strcpy(d->id, sizeof(d->id), db_text(q, 0));
    emac_strcpy(d->client, sizeof(d->client), db_text(q, 2));
    d->terms.cid = cid_from_text(db_text(q, 3));
    enum emac_status st = commp_parse(&d->terms.piece, db_text(q, 4), NULL);
    EMAC_ASSERT(st == EMAC_OK);
    d->terms.replicas = (uint32_t)db_i64(q, 5);
    d->terms.epochs = (uint32_t)db_i64(q, 6);
    d->terms.price_units = db_i64(q, 7);
    d->terms.traffic_units = db_i64(q, 8);
    d->amounts = (struct deal_amounts){.epoch_units = db_i64(q, 9),
                                       .traffic_units = db_i64(q, 10),
                                       .bond_units = db_i64(q, 11),
                                       .escrow_units = db_i64(q, 12)};
    d->state = state_find(db_text(q, 13));
    d->made_epoch = (uint64_t)db_i64(q, 14);
    d->last_epoch = (uint64_t)db_i64(q, 15);
    d->created_ms = (uint64_t)db_i64(q, 16);
    d->ended_ms = (uint64_t)db_i64(q, 17);
}

enum emac_status deals_each(struct coordinator *c, int64_t before, uint32_t limit,
                            void (*each)(void *ctx, const struct deal *d), void *ctx,
                            struct emac_err *err)
{
    struct db_stmt *q;
    struct deal d;
    bool row = false;
    enum emac_status st = db_query(
        c->db, &q, err,
        "SELECT id, seq, client, cid, piece, replicas, epochs, price_units,"
        " traffic_price_units, epoch_units, traffic_units, bond_units, escrow_units, state,"
        " made_epoch, last_epoch, created_ms, ended_ms FROM deals WHERE seq < ?"
        " ORDER BY seq DESC LIMIT ?",
        "ii", before, (int64_t)limit);
    while (st == EMAC_OK && (st = db_next(q, &row, err)) == EMAC_OK && row) {
        deal_read(q, &d);
        each(ctx, &d);
    }
    return st;
}

enum emac_status deal_find(struct coordinator *c, const char *id, struct deal *out,
                           struct emac_err *err)
{
    struct db_stmt *q;
    enum emac_status st = db_first(
        c->db, &q, err,
        "SELECT id, seq, client, cid, piece, replicas, epochs, price_units,"
        " traffic_price_units, epoch_units, traffic_units, bond_units, escrow_units, state,"
        " made_epoch, last_epoch, created_ms, ended_ms FROM deals WHERE id = ?",
        "t", id);
    if (st != EMAC_OK)
        return st;
    if (q == NULL)
        return emac_fail(err, EMAC_NOT_FOUND, "there is no deal '%s'", id);
    deal_read(q, out);
    db_done(q);
    return EMAC_OK;
}

enum emac_status deal_insert(struct coordinator *c, const struct deal *d, struct emac_err *err)
{
    char cid[CID_TEXT_MAX], piece[COMMP_TEXT_MAX];
    cid_text(cid, &d->terms.cid);
    commp_text(piece, &d->terms.piece);
    return db_exec(
        c->db, err,
        "INSERT INTO deals (id, seq, client, cid, piece, bytes, replicas, epochs, price_units,"
        " traffic_price_units, epoch_units, traffic_units, bond_units, escrow_units, state,"
        " made_epoch, last_epoch, created_ms, ended_ms)"
        " VALUES (?, (SELECT COALESCE(MAX(seq), 0) + 1 FROM deals), ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, "
        "?,"
        " ?, 'open', ?, ?, ?, 0)",
        "ttttiiiiiiiiiiii", d->id, d->client, cid, piece, (int64_t)d->terms.piece.size,
        (int64_t)d->terms.replicas, (int64_t)d->terms.epochs, d->terms.price_units,
        d->terms.traffic_units, d->amounts.epoch_units, d->amounts.traffic_units,
        d->amounts.bond_units, d->amounts.escrow_units, (int64_t)d->made_epoch,
        (int64_t)d->last_epoch, (int64_t)d->created_ms);
}

enum emac_status deal_close(struct coordinator *c, const char *id, enum deal_state state,
                            struct emac_err *err)
{
    EMAC_ASSERT(state != DEALS_OPEN);
    return db_exec(c->db, err, "UPDATE deals SET state = ?, ended_ms = ? WHERE id = ?", "tit",
                   deal_state_name(state), (int64_t)wall_ms(c), id);
}

/* ---- replicas ---- */

static void holding_read(struct db_stmt *q, struct deal_holding *h)
{
    *h = (struct deal_holding){.r.number = (uint32_t)db_i64(q, 1)};
    emac_strcpy(h->deal, sizeof(h->deal), db_text(q, 0));
    emac_strcpy(h->r.node, sizeof(h->r.node), db_text(q, 2));
    bool known = deal_replica_state_find(db_text(q, 3), &h->r.state);
    EMAC_ASSERT(known);
    h->r.placed_epoch = (uint64_t)db_i64(q, 4);
    h->r.first_epoch = (uint64_t)db_i64(q, 5);
    h->r.misses = (uint32_t)db_i64(q, 6);
    h->r.proven = (uint32_t)db_i64(q, 7);
    h->r.bond_units = db_i64(q, 8);
    h->rig_units = db_i64(q, 9);
    h->lost_units = db_i64(q, 10);
    emac_strcpy(h->note, sizeof(h->note), db_text(q, 11));
}

enum emac_status deal_holdings(struct coordinator *c, const char *deal, const char *node,
                               bool living, struct deal_holding **out, size_t *count,
                               struct emac_err *err)
{
    struct db_stmt *q;
    struct emac_buf rows;
    struct deal_holding h;
    bool row = false;
    enum emac_status st;
    emac_buf_init(&rows, HOLDINGS_BYTES_MAX);
    if (node != NULL) {
        EMAC_ASSERT(deal == NULL && living);
        st =
            db_query(c->db, &q, err,
                     "SELECT deal, replica, node, state, placed_epoch, first_epoch, misses, proven,"
                     " bond_units, rig_units, lost_units, note FROM deal_replicas"
                     " WHERE node = ? AND state IN ('placed', 'active') ORDER BY deal, replica",
                     "t", node);
    } else if (deal != NULL) {
        st =
            db_query(c->db, &q, err,
                     "SELECT deal, replica, node, state, placed_epoch, first_epoch, misses, proven,"
                     " bond_units, rig_units, lost_units, note FROM deal_replicas"
                     " WHERE deal = ? ORDER BY deal, replica",
                     "t", deal);
    } else {
        EMAC_ASSERT(living);
        st =
            db_query(c->db, &q, err,
                     "SELECT deal, replica, node, state, placed_epoch, first_epoch, misses, proven,"
                     " bond_units, rig_units, lost_units, note FROM deal_replicas"
                     " WHERE state IN ('placed', 'active') ORDER BY deal, replica",
                     "");
    }
    while (st == EMAC_OK && (st = db_next(q, &row, err)) == EMAC_OK && row) {
        holding_read(q, &h);
        if (living && !deal_replica_lives(h.r.state))
            continue;
        st = emac_buf_append(&rows, &h, sizeof(h), err);
        if (st != EMAC_OK)
            db_done(q);
    }
    *count = rows.len / sizeof(struct deal_holding);
    *out = (struct deal_holding *)(void *)emac_buf_steal(&rows, NULL);
    return st;
}

enum emac_status deal_holding_find(struct coordinator *c, const char *deal, uint32_t number,
                                   const char *node, struct deal_holding *out, struct emac_err *err)
{
    struct db_stmt *q;
    enum emac_status st =
        db_first(c->db, &q, err,
                 "SELECT deal, replica, node, state, placed_epoch, first_epoch, misses, proven,"
                 " bond_units, rig_units, lost_units, note FROM deal_replicas"
                 " WHERE deal = ? AND replica = ? AND node = ?",
                 "tit", deal, (int64_t)number, node);
    if (st != EMAC_OK)
        return st;
    if (q == NULL)
        return emac_fail(err, EMAC_NOT_FOUND, "replica %u of deal '%s' is not this rig's", number,
                         deal);
    holding_read(q, out);
    db_done(q);
    return EMAC_OK;
}

enum emac_status deal_holding_insert(struct coordinator *c, const struct deal_holding *h,
                                     struct emac_err *err)
{
    return db_exec(c->db, err,
                   "INSERT INTO deal_replicas (deal, replica, node, state, placed_epoch,"
                   " first_epoch, misses, proven, bond_units, rig_units, lost_units, note)"
                   " VALUES (?, ?, ?, ?, ?, 0, 0, 0, 0, 0, 0, '')",
                   "titti", h->deal, (int64_t)h->r.number, h->r.node,
                   deal_replica_state_name(h->r.state), (int64_t)h->r.placed_epoch);
}

enum emac_status deal_holding_update(struct coordinator *c, const struct deal_holding *h,
                                     struct emac_err *err)
{
    EMAC_ASSERT(h->r.bond_units >= 0);
    EMAC_ASSERT(h->r.state == DEAL_ACTIVE || h->r.bond_units == 0); /* DEAL-7 */
    return db_exec(c->db, err,
                   "UPDATE deal_replicas SET state = ?, first_epoch = ?, misses = ?, proven = ?,"
                   " bond_units = ?, rig_units = ?, lost_units = ?, note = ?"
                   " WHERE deal = ? AND replica = ?",
                   "tiiiiiitti", deal_replica_state_name(h->r.state), (int64_t)h->r.first_epoch,
                   (int64_t)h->r.misses, (int64_t)h->r.proven, h->r.bond_units, h->rig_units,
                   h->lost_units, h->note, h->deal, (int64_t)h->r.number);
}

/* ---- what was proven ---- */

enum emac_status deals_proven_each(struct coordinator *c, uint64_t epoch,
                                   enum emac_status (*each)(void *ctx, const struct deal_proven *p,
                                                            struct emac_err *err),
                                   void *ctx, struct emac_err *err)
{
    struct db_stmt *q;
    bool row = false;
    enum emac_status st =
        db_query(c->db, &q, err,
                 "SELECT p.deal, p.replica, r.node, d.client, d.cid, d.bytes, p.units"
                 " FROM deal_proofs p JOIN deals d ON d.id = p.deal"
                 " JOIN deal_replicas r ON r.deal = p.deal AND r.replica = p.replica"
                 " WHERE p.epoch = ? AND p.state = 'paid' ORDER BY p.deal, p.replica",
                 "i", (int64_t)epoch);
    while (st == EMAC_OK && (st = db_next(q, &row, err)) == EMAC_OK && row) {
        struct deal_proven p = {.replica = (uint32_t)db_i64(q, 1),
                                .epoch = epoch,
                                .cid = cid_from_text(db_text(q, 4)),
                                .bytes = (uint64_t)db_i64(q, 5),
                                .units = db_i64(q, 6)};
        emac_strcpy(p.deal, sizeof(p.deal), db_text(q, 0));
        emac_strcpy(p.node, sizeof(p.node), db_text(q, 2));
        emac_strcpy(p.client, sizeof(p.client), db_text(q, 3));
        st = each(ctx, &p, err);
        if (st != EMAC_OK)
            db_done(q);
    }
    return st;
}
