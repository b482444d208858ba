/* The chain of secrets, seeds from rows, and what is known of rigs, devices and drivers. */
#include "coordinator/checks/checks.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hex.h"

#define KIND_KEY_MAX (DEVICE_TEXT_MAX + 16)
#define KINDS_MAX    4096 /* more are not told apart: then they are like unknown ones */

/* draw_of: whose result; the lot follows from that receipt and the epoch's secret. */
const char DRAWS_SCHEMA[] =
    "CREATE TABLE draw_chain (one BIGINT PRIMARY KEY CHECK (one = 1), first_ms BIGINT NOT NULL,"
    " anchor TEXT NOT NULL);"
    "CREATE TABLE trust ("
    " kind TEXT NOT NULL CHECK (kind IN ('rig', 'device', 'driver')), name TEXT NOT NULL,"
    " good BIGINT NOT NULL, bad BIGINT NOT NULL, at_ms BIGINT NOT NULL, PRIMARY KEY (kind, name));"
    "ALTER TABLE nodes ADD COLUMN owner TEXT NOT NULL DEFAULT '';"
    "ALTER TABLE nodes ADD COLUMN subnet TEXT NOT NULL DEFAULT '';"
    "ALTER TABLE nodes ADD COLUMN device TEXT NOT NULL DEFAULT '';"
    "ALTER TABLE nodes ADD COLUMN driver TEXT NOT NULL DEFAULT '';"
    "ALTER TABLE tasks ADD COLUMN draw_epoch BIGINT NOT NULL DEFAULT 0;" /* 0: none */
    "ALTER TABLE tasks ADD COLUMN draw_ppm BIGINT NOT NULL DEFAULT 0;"
    "ALTER TABLE tasks ADD COLUMN draw_checked BIGINT NOT NULL DEFAULT 0;"
    "ALTER TABLE tasks ADD COLUMN draw_of TEXT NOT NULL DEFAULT '';"
    "ALTER TABLE tasks ADD COLUMN draw_class TEXT NOT NULL DEFAULT '';"
    "CREATE INDEX tasks_by_draw ON tasks (draw_epoch, job, cid) WHERE draw_epoch > 0;";

/* In order of time new entries come to lie beside each other; by name each was a page of its own.
 */
const char DRAWS_IN_TIME[] =
    "DROP INDEX tasks_by_draw;"
    "CREATE INDEX tasks_by_draw ON tasks (draw_epoch, accepted_ms, job, cid) WHERE draw_epoch > 0;";

/* ---- secrets ---- */

static enum emac_status chain_begin(struct coordinator *c, struct emac_err *err)
{
    char hex[2 * DRAW_SECRET + 1];
    c->draw.first_ms = wall_ms(c);
    draw_secret(c->draw.anchor, c->draw.last, 0);
    emac_hex(hex, c->draw.anchor, DRAW_SECRET);
    enum emac_status st = db_begin(c->db, err);
    if (st != EMAC_OK)
        return st;
    st = db_exec(c->db, err, "INSERT INTO draw_chain (one, first_ms, anchor) VALUES (1, ?, ?)",
                 "it", (int64_t)c->draw.first_ms, hex);
    if (st == EMAC_OK)
        return db_commit(c->db, err);
    db_rollback(c->db);
    return st;
}

enum emac_status draws_start(struct coordinator *c, struct emac_err *err)
{
    static const char TAG[] = "emac draw chain";
    struct db_stmt *q;
    crypto_hmac_sha256(c->draw.last, c->secret, sizeof(c->secret), TAG, sizeof(TAG) - 1);
    enum emac_status st =
        db_first(c->db, &q, err, "SELECT first_ms, anchor FROM draw_chain WHERE one = 1", "");
    if (st != EMAC_OK)
        return st;
    if (q == NULL)
        return chain_begin(c, err);
    c->draw.first_ms = (uint64_t)db_i64(q, 0);
    bool sound = emac_unhex(c->draw.anchor, DRAW_SECRET, db_text(q, 1));
    db_done(q);
    return sound ? EMAC_OK
                 : emac_fail(err, EMAC_CORRUPT,
                             "the anchor of the draws is no hash: restore a backup");
}

uint32_t draws_epoch(struct coordinator *c)
{
    return draw_epoch(c->draw.first_ms, wall_ms(c));
}

const uint8_t *draws_secret(struct coordinator *c, uint32_t epoch)
{
    if (c->draw.epoch != epoch) {
        draw_secret(c->draw.secret, c->draw.last, epoch);
        c->draw.epoch = epoch;
    }
    return c->draw.secret;
}

enum emac_status draws_seed(struct coordinator *c, const struct cjob *j, struct ctask *t,
                            struct emac_err *err)
{
    struct db_stmt *q;
    char task[CID_TEXT_MAX];
    cid_text(task, &t->cid);
    enum emac_status st =
        db_first(c->db, &q, err,
                 "SELECT object FROM receipts WHERE job = ? AND step = ? AND task = ? AND node = ?",
                 "titt", j->id, (int64_t)t->step, task, t->drawn.of);
    if (st != EMAC_OK)
        return st;
    if (q == NULL)
        return emac_fail(err, EMAC_NOT_FOUND, "the receipt that the lot was drawn for is gone");
    struct emac_slice object = db_blob(q, 0);
    struct cid receipt = cid_of(CID_DAG_CBOR, object.data, object.len);
    db_done(q);
    draw_seed(t->drawn.seed, draws_secret(c, t->drawn.epoch), &t->cid, &receipt);
    t->drawn.seeded = true;
    return EMAC_OK;
}

/* ---- trust ---- */

static void kind_key(char key[KIND_KEY_MAX], const char *what, const char *name)
{
    int n = snprintf(key, KIND_KEY_MAX, "%s %s", what, name);
    EMAC_ASSERT(n > 0 && n < KIND_KEY_MAX);
}

struct trust *trust_kind(struct coordinator *c, const char *what, const char *name)
{
    char key[KIND_KEY_MAX];
    if (name[0] == '\0')
        return NULL;
    kind_key(key, what, name);
    return map_get(&c->kinds, key);
}

static struct trust *kind_get(struct coordinator *c, const char *what, const char *name)
{
    char key[KIND_KEY_MAX];
    struct trust *t = trust_kind(c, what, name);
    if (t != NULL || name[0] == '\0' || c->kinds.count >= KINDS_MAX)
        return t;
    if (emac_alloc(&t, 1, sizeof(*t), NULL) != EMAC_OK)
        return NULL;
    kind_key(key, what, name);
    map_put(&c->kinds, key, t);
    return t;
}

enum emac_status trust_rows_read(struct coordinator *c, struct emac_err *err)
{
    struct db_stmt *q;
    bool row = false;
    enum emac_status st =
        db_query(c->db, &q, err, "SELECT kind, name, good, bad, at_ms FROM trust", "");
    while (st == EMAC_OK && (st = db_next(q, &row, err)) == EMAC_OK && row) {
        const char *what = db_text(q, 0), *name = db_text(q, 1);
        const struct trust t = {.good = (uint64_t)db_i64(q, 2),
                                .bad = (uint64_t)db_i64(q, 3),
                                .at_ms = (uint64_t)db_i64(q, 4)};
        struct node *n = strcmp(what, "rig") == 0 ? node_find(c, name) : NULL;
        struct trust *to = n ? &n->trust : NULL;
        if (strcmp(what, "rig") != 0 && strlen(name) < DEVICE_TEXT_MAX)
            to = kind_get(c, what, name);
        if (to != NULL)
            *to = t;
    }
    return st;
}

static enum emac_status row_write(struct coordinator *c, const char *what, const char *name,
                                  const struct trust *t, struct emac_err *err)
{
    return db_exec(c->db, err,
                   "INSERT INTO trust (kind, name, good, bad, at_ms) VALUES (?, ?, ?, ?, ?)"
                   " ON CONFLICT (kind, name) DO UPDATE SET good = excluded.good,"
                   " bad = excluded.bad, at_ms = excluded.at_ms",
                   "ttiii", what, name, (int64_t)t->good, (int64_t)t->bad, (int64_t)t->at_ms);
}

enum emac_status trust_note(struct coordinator *c, struct node *n, bool good, struct emac_err *err)
{
    const struct {
        const char *what, *name;
        struct trust *t;
    } of[] = {{"rig", n->did, &n->trust},
              {"device", n->device, kind_get(c, "device", n->device)},
              {"driver", n->driver, kind_get(c, "driver", n->driver)}};
    enum emac_status st = EMAC_OK;
    for (size_t i = 0; i < EMAC_COUNT(of) && st == EMAC_OK; i++) {
        if (of[i].t == NULL)
            continue;
        if (good)
            trust_good(of[i].t, wall_ms(c));
        else
            trust_bad(of[i].t, i == 0, wall_ms(c));
        st = row_write(c, of[i].what, of[i].name, of[i].t, err);
    }
    return st;
}
