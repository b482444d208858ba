#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/hex.h"
#include "crypto/crypto.h"
#include "db/db_impl.h"

/* ---- transactions ---- */

enum emac_status db_control_prepare(struct db *db, struct emac_err *err)
{
    static const char *const SQL[DB_CONTROL_COUNT] = {"BEGIN IMMEDIATE", "COMMIT", "ROLLBACK"};
    for (size_t i = 0; i < DB_CONTROL_COUNT; i++) {
        int rc = sqlite3_prepare_v3(db->handle, SQL[i], -1, SQLITE_PREPARE_PERSISTENT,
                                    &db->control[i], NULL);
        if (rc != SQLITE_OK)
            return db_fail(db, rc, err);
    }
    return EMAC_OK;
}

static int control_run(struct db *db, enum db_control which)
{
    int rc = sqlite3_step(db->control[which]);
    sqlite3_reset(db->control[which]); /* its result repeats the step's */
    return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

enum emac_status db_settle(struct db *db, struct emac_err *err)
{
    if (!db->owes_rollback)
        return EMAC_OK;
    int rc = control_run(db, DB_ROLLBACK);
    db->owes_rollback = sqlite3_get_autocommit(db->handle) == 0;
    return db->owes_rollback ? db_fail(db, rc, err) : EMAC_OK;
}

static void transaction_end(struct db *db)
{
    EMAC_ASSERT(sqlite3_get_autocommit(db->handle) != 0 || db->owes_rollback);
    db->in_transaction = false;
    db->broken.status = EMAC_OK;
    db_unlock(db);
}

enum emac_status db_begin(struct db *db, struct emac_err *err)
{
    db_lock(db);
    EMAC_ASSERT(!db->in_transaction);
    enum emac_status st = db_settle(db, err);
    int rc = st == EMAC_OK ? control_run(db, DB_BEGIN) : SQLITE_OK;
    if (rc != SQLITE_OK)
        st = db_fail(db, rc, err);
    if (st != EMAC_OK) {
        db_unlock(db);
        return st;
    }
    db->in_transaction = true;
    db->broken.status = EMAC_OK;
    return EMAC_OK;
}

/* A ROLLBACK may report the disk's failure; the transaction is over all the same. After a migration
 * that renamed a table SQLite compiles it anew, for which memory may lack: then it is owed, nothing
 * is read or written before it was made good, and closing the database undoes as well. */
static void undo(struct db *db)
{
    int rc = SQLITE_OK;
    if (sqlite3_get_autocommit(db->handle) == 0)
        rc = control_run(db, DB_ROLLBACK);
    db->owes_rollback = sqlite3_get_autocommit(db->handle) == 0;
    EMAC_ASSERT(!db->owes_rollback || rc == SQLITE_NOMEM);
}

/* ---- durability ---- */

void db_committed(struct db *db)
{
    os_mutex_lock(&db->sync_guard);
    db->committed++;
    os_mutex_unlock(&db->sync_guard);
}

void db_sync(struct db *db)
{
    os_mutex_lock(&db->sync_guard);
    uint64_t want = db->committed;
    while (db->durable < want) {
        if (db->syncing) {
            os_cond_wait(&db->sync_done, &db->sync_guard);
            continue;
        }
        uint64_t now = db->committed;
        db->syncing = true;
        os_mutex_unlock(&db->sync_guard);
        int rc = db->wal->pMethods->xSync(db->wal, SQLITE_SYNC_NORMAL);
        EMAC_ASSERT(rc == SQLITE_OK); /* as db_fail: the kernel may have dropped the pages */
        os_mutex_lock(&db->sync_guard);
        db->syncing = false;
        db->durable = now;
        os_cond_broadcast(&db->sync_done);
    }
    os_mutex_unlock(&db->sync_guard);
}

enum emac_status db_commit(struct db *db, struct emac_err *err)
{
    enum emac_status st = db_commit_soon(db, err);
    if (st == EMAC_OK)
        db_sync(db);
    return st;
}

enum emac_status db_commit_soon(struct db *db, struct emac_err *err)
{
    EMAC_ASSERT(db_in_transaction(db));
    enum emac_status st = db->broken.status;
    if (st != EMAC_OK) {
        if (err != NULL)
            *err = db->broken;
    } else {
        int rc = control_run(db, DB_COMMIT);
        if (rc != SQLITE_OK)
            st = db_fail(db, rc, err);
        else
            db_committed(db);
    }
    undo(db);
    transaction_end(db);
    return st;
}

void db_rollback(struct db *db)
{
    EMAC_ASSERT(db_in_transaction(db));
    undo(db);
    transaction_end(db);
}

enum emac_status db_end(struct db *db, enum emac_status st, struct emac_err *err)
{
    if (st == EMAC_OK)
        return db_commit(db, err);
    db_rollback(db);
    return st;
}

/* ---- migrations ---- */

static void digest_text(const char *sql, char out[2 * SHA256_BYTES + 1])
{
    uint8_t digest[SHA256_BYTES];
    crypto_sha256(digest, sql, strlen(sql));
    emac_hex(out, digest, sizeof digest);
}

static const struct db_migration *migration_find(const struct db_migration *m, size_t count,
                                                 const char *name)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(m[i].name, name) == 0)
            return &m[i];
    }
    return NULL;
}

/* Each applied migration must be one of ours, with our text. */
static enum emac_status applied_check(struct db *db, const struct db_migration *m, size_t count,
                                      struct emac_err *err)
{
    struct db_stmt *q;
    bool row = false;
    char digest[2 * SHA256_BYTES + 1];
    enum emac_status st =
        db_query(db, &q, err, "SELECT name, sha256 FROM schema_migrations ORDER BY name", NULL);
    while (st == EMAC_OK && (st = db_next(q, &row, err)) == EMAC_OK && row) {
        const struct db_migration *ours = migration_find(m, count, db_text(q, 0));
        if (ours == NULL) {
            st = emac_fail(err, EMAC_CONFLICT,
                           "database '%s' is newer than this program (it has migration '%s'): "
                           "run the newer program",
                           db->path, db_text(q, 0));
        } else {
            digest_text(ours->sql, digest);
            if (strcmp(digest, db_text(q, 1)) != 0)
                st = emac_fail(err, EMAC_CORRUPT,
                               "migration '%s' of database '%s' differs from this program's: the "
                               "two were not made by one line of versions",
                               ours->name, db->path);
        }
        if (st != EMAC_OK)
            db_done(q);
    }
    return st;
}

/* Every statement of a script. */
static enum emac_status script_run(struct db *db, const char *sql, struct emac_err *err)
{
    int rc = SQLITE_OK;
    while (*sql != '\0' && rc == SQLITE_OK) {
        sqlite3_stmt *st = NULL;
        rc = sqlite3_prepare_v2(db->handle, sql, -1, &st, &sql);
        while (rc == SQLITE_OK && st != NULL && (rc = sqlite3_step(st)) == SQLITE_ROW)
            rc = SQLITE_OK;
        if (rc == SQLITE_DONE)
            rc = SQLITE_OK;
        enum emac_status status = rc != SQLITE_OK ? db_fail(db, rc, err) : EMAC_OK;
        sqlite3_finalize(st);
        if (status != EMAC_OK)
            return status;
    }
    return EMAC_OK;
}

static enum emac_status migration_apply(struct db *db, const struct db_migration *m,
                                        struct emac_err *err)
{
    int64_t known = 0;
    char digest[2 * SHA256_BYTES + 1];
    enum emac_status st = db_begin(db, err);
    if (st != EMAC_OK)
        return st;
    EMAC_TRY(st, db_one_i64(db, &known, err,
                            "SELECT COUNT(*) FROM schema_migrations WHERE name = ?", "t", m->name));
    if (known == 0) {
        digest_text(m->sql, digest);
        EMAC_TRY(st, script_run(db, m->sql, err));
        EMAC_TRY(st, db_exec(db, err,
                             "INSERT INTO schema_migrations (name, sha256, applied_ms) "
                             "VALUES (?, ?, ?)",
                             "tti", m->name, digest, (int64_t)os_real()->wall_ms(os_real())));
    }
    return db_commit(db, err);
out:
    db_rollback(db);
    if (err != NULL)
        emac_wrap(err, "migration '%s'", m->name);
    return st;
}

enum emac_status db_migrate(struct db *db, const struct db_migration *m, size_t count,
                            struct emac_err *err)
{
    enum emac_status st = db_exec(db, err,
                                  "CREATE TABLE IF NOT EXISTS schema_migrations ("
                                  "name TEXT PRIMARY KEY, sha256 TEXT NOT NULL, "
                                  "applied_ms BIGINT NOT NULL)",
                                  NULL);
    if (st == EMAC_OK)
        st = applied_check(db, m, count, err);
    for (size_t i = 0; i < count && st == EMAC_OK; i++)
        st = migration_apply(db, &m[i], err);
    return st;
}
