/* Receipts by name. Names are random: in an index that is written with each receipt every entry has
 * a page of its own, which cost a tenth of all that is written for a paid assignment. So receipts
 * are filed by name many at once, in order of the names, and the few that came since are looked
 * through. */
#include "coordinator/checks/checks.h"

#include <string.h>

#define NAME_TAIL 16 /* letters: 80 bits */

/* `id`: of the last receipt that is filed. */
const char RECEIPTS_FILED[] =
    "CREATE TABLE receipt_names ("
    " tail TEXT NOT NULL, receipt BIGINT NOT NULL, PRIMARY KEY (tail, receipt));"
    "CREATE TABLE receipts_filed (one BIGINT PRIMARY KEY CHECK (one = 1), id BIGINT NOT NULL);"
    "INSERT INTO receipts_filed (one, id) VALUES (1, 0);";

static const char *tail_of(const char *name)
{
    size_t n = strlen(name);
    return n > NAME_TAIL ? name + n - NAME_TAIL : name;
}

enum emac_status receipt_find(struct coordinator *c, const char *name, int64_t *id,
                              struct emac_err *err)
{
    return db_one_i64(c->db, id, err,
                      "SELECT r.id FROM receipt_names n JOIN receipts r ON r.id = n.receipt"
                      " WHERE n.tail = ? AND r.cid = ? UNION ALL SELECT r.id FROM receipts r"
                      " WHERE r.id > (SELECT id FROM receipts_filed) AND r.cid = ? LIMIT 1",
                      "ttt", tail_of(name), name, name);
}

enum emac_status receipt_renamed(struct coordinator *c, const char *job, const struct ctask *t,
                                 const char *did, const char *name, struct emac_err *err)
{
    char task[CID_TEXT_MAX];
    cid_text(task, &t->cid);
    return db_exec(c->db, err,
                   "INSERT INTO receipt_names (tail, receipt) SELECT ?, id FROM receipts"
                   " WHERE job = ? AND step = ? AND task = ? AND node = ?"
                   " ON CONFLICT DO NOTHING",
                   "ttitt", tail_of(name), job, (int64_t)t->step, task, did);
}

static enum emac_status file_more(struct coordinator *c, uint32_t least, struct emac_err *err)
{
    int64_t first, last;
    enum emac_status st;
    EMAC_TRY(st, db_one_i64(c->db, &first, err, "SELECT id FROM receipts_filed", ""));
    EMAC_TRY(st, db_one_i64(c->db, &last, err, "SELECT COALESCE(MAX(id), 0) FROM receipts", ""));
    if (last - first < least)
        goto out;
    last = last - first > NAMES_AT_ONCE ? first + NAMES_AT_ONCE : last;
    EMAC_TRY(st, db_exec(c->db, err,
                         "INSERT INTO receipt_names (tail, receipt)"
                         " SELECT substr(cid, length(cid) - ? + 1), id FROM receipts"
                         " WHERE id > ? AND id <= ? AND cid <> '' ORDER BY 1"
                         " ON CONFLICT DO NOTHING",
                         "iii", (int64_t)NAME_TAIL, first, last));
    st = db_exec(c->db, err, "UPDATE receipts_filed SET id = ?", "i", last);
out:
    return st;
}

void receipt_names_file(struct coordinator *c, uint32_t least)
{
    struct emac_err err = {0};
    enum emac_status st = db_begin(c->db, &err);
    if (st == EMAC_OK)
        st = db_end(c->db, file_more(c, least, &err), &err);
    if (st != EMAC_OK)
        LOG_W("coordinator", "cannot file receipts by name, will retry: %s", err.text);
}
