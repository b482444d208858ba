/* What is between a commit and the disk: the group that shares a transaction, the log, the sync. */
#include <string.h>

#include "base/assert.h"
#include "db/db_impl.h"

/* The first group whose rows the thread saw since its last db_sync, 0: none. Of one database: a
 * thread that serves two syncs each before it turns to the other. */
static _Thread_local struct {
    const struct db *db;
    uint64_t first;
} seen;

/* ---- the group: the lock is held ---- */

void db_group_touch(struct db *db)
{
    if (!db->group || (seen.db == db && seen.first != 0))
        return;
    seen.db = db;
    seen.first = db->group_number; /* changes under the lock alone */
}

void db_group_open(struct db *db)
{
    if (!db->group) {
        os_mutex_lock(&db->sync_guard);
        db->group_number++;
        os_mutex_unlock(&db->sync_guard);
        db->group = true;
    }
    db_group_touch(db);
}

uint64_t db_group_add(struct db *db)
{
    os_mutex_lock(&db->sync_guard);
    uint64_t number = ++db->committed;
    os_mutex_unlock(&db->sync_guard);
    return number;
}

/* ---- beside the rows ---- */

struct db_beside *db_beside(struct db *db)
{
    EMAC_ASSERT(db_in_member(db));
    return &db->beside;
}

void db_beside_owe(struct db *db)
{
    EMAC_ASSERT(db_in_member(db) && db->beside.ctx != NULL);
    db->owes_rows = true;
}

void db_group_forget(struct db *db)
{
    db->owes_rows = false;
    if (db->beside.ctx != NULL)
        db->beside.forget(db->beside.ctx);
}

enum emac_status db_group_settle(struct db *db, struct emac_err *err)
{
    if (!db->owes_rows)
        return EMAC_OK;
    EMAC_ASSERT(db->group && !db->in_transaction);
    db->in_transaction = db->member = true; /* of no savepoint: it is all or nothing */
    db->broken.status = EMAC_OK;
    struct emac_err why = {.status = EMAC_OK};
    bool saw = seen.db == db && seen.first != 0;
    enum emac_status st = db->beside.write(db->beside.ctx, &why);
    if (!saw)
        seen.first = 0; /* what it wrote for others is not what this thread tells of */
    db->in_transaction = db->member = false;
    db->owes_rows = false;
    if (st == EMAC_OK)
        return EMAC_OK;
    if (db->group) { /* SQLite has not undone it by itself */
        db_undo(db);
        db_group_gone(db, &why);
    }
    if (err != NULL)
        *err = why;
    return st;
}

void db_group_gone(struct db *db, const struct emac_err *why)
{
    EMAC_ASSERT(db->group);
    db->group = false;
    db_group_forget(db);
    os_mutex_lock(&db->sync_guard);
    db->lost = true;
    db->lost_number = db->group_number;
    db->lost_why = *why;
    db->logged = db->committed; /* there is nothing left to wait for */
    os_mutex_unlock(&db->sync_guard);
}

enum emac_status db_group_close(struct db *db, struct emac_err *err)
{
    struct emac_err why = {.status = EMAC_OK};
    EMAC_ASSERT(!db->member);
    if (!db->group)
        return EMAC_OK;
    enum emac_status st = db_group_settle(db, err);
    if (st != EMAC_OK)
        return st;
    if (db_control_run(db, DB_COMMIT, &why) != EMAC_OK) {
        db_undo(db);
        db_group_gone(db, &why);
        if (err != NULL)
            *err = why;
        return why.status;
    }
    db->group = false;
    db_group_forget(db);
    os_mutex_lock(&db->sync_guard);
    db->logged = db->committed;
    os_mutex_unlock(&db->sync_guard);
    return EMAC_OK;
}

enum emac_status db_writable(struct db *db, struct emac_err *err)
{
    enum emac_status st = EMAC_OK;
    os_mutex_lock(&db->sync_guard);
    if (db->lost) {
        st = db->lost_why.status;
        if (err != NULL)
            *err = db->lost_why;
    }
    os_mutex_unlock(&db->sync_guard);
    return st;
}

bool db_lost(struct db *db)
{
    os_mutex_lock(&db->sync_guard);
    bool lost = db->lost;
    db->lost = false;
    os_mutex_unlock(&db->sync_guard);
    return lost;
}

/* ---- the disk ---- */

uint64_t db_committed(struct db *db)
{
    EMAC_ASSERT(!db->group);
    os_mutex_lock(&db->sync_guard);
    uint64_t number = ++db->committed;
    db->logged = number;
    os_mutex_unlock(&db->sync_guard);
    return number;
}

/* The group into the log and the log to the disk, for all that has ended by then; with the sync
 * guard held, which is let go of meanwhile. Those who come while the disk works are the next group:
 * it is not begun before this one is done, so that it has many members. */
static void turn(struct db *db)
{
    uint64_t mine = db->turn++;
    db->syncing = true;
    db->serves = UINT64_MAX; /* all that came before the group is closed */
    os_mutex_unlock(&db->sync_guard);
    db_lock(db);
    EMAC_ASSERT(!db->in_transaction);
    (void)db_group_close(db, NULL); /* a failure is told by lost_number */
    db_unlock(db);
    os_mutex_lock(&db->sync_guard);
    uint64_t now = db->serves = db->logged;
    os_mutex_unlock(&db->sync_guard);
    int rc = db->wal->pMethods->xSync(db->wal, SQLITE_SYNC_NORMAL);
    EMAC_ASSERT(rc == SQLITE_OK); /* as db_fail: the kernel may have dropped the pages */
    os_mutex_lock(&db->sync_guard);
    db->syncing = false;
    db->durable = now;
    os_cond_broadcast(&db->sync_done[mine % 2]);
    os_cond_signal(&db->sync_done[db->turn % 2]); /* who takes the next turn */
}

/* Who is not served by the turn that runs waits apart from those who are, for the next one, and the
 * first of them to be woken takes it. */
static void sync_locked(struct db *db, uint64_t number)
{
    while (db->durable < number) {
        uint64_t my_turn = number <= db->serves ? db->turn - 1 : db->turn;
        if (!db->syncing)
            turn(db);
        else
            os_cond_wait(&db->sync_done[my_turn % 2], &db->sync_guard);
    }
}

void db_sync_to(struct db *db, uint64_t number)
{
    os_mutex_lock(&db->sync_guard);
    sync_locked(db, number);
    os_mutex_unlock(&db->sync_guard);
}

enum emac_status db_sync(struct db *db, struct emac_err *err)
{
    uint64_t first = seen.db == db ? seen.first : 0;
    enum emac_status st = EMAC_OK;
    seen.first = 0;
    os_mutex_lock(&db->sync_guard);
    sync_locked(db, db->committed);
    if (first != 0 && db->lost_number >= first) {
        st = db->lost_why.status;
        if (err != NULL)
            *err = db->lost_why;
    }
    os_mutex_unlock(&db->sync_guard);
    return st;
}
