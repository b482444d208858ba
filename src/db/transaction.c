#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/hex.h"
#include "crypto/crypto.h"
#include "db/db_impl.h"

/* ---- transactions ---- */

enum emac_status db_control_prepare(struct db *db, struct emac_err *err)
{
    static const char *const SQL[DB_CONTROL_COUNT] = {"BEGIN IMMEDIATE", "COMMIT",
                                                      "ROLLBACK",        "SAVEPOINT member",
                                                      "RELEASE member",  "ROLLBACK TO member"};
    for (size_t i = 0; i < DB_CONTROL_COUNT; i++) {
        int rc = sqlite3_prepare_v3(db->handle, SQL[i], -1, SQLITE_PREPARE_PERSISTENT,
                                    &db->control[i], NULL);
        if (rc != SQLITE_OK)
            return db_fail(db, rc, err);
    }
    return EMAC_OK;
}

enum emac_status db_control_run(struct db *db, enum db_control which, struct emac_err *err)
{
    int rc = sqlite3_step(db->control[which]);
    sqlite3_reset(db->control[which]); /* its result repeats the step's */
    return rc == SQLITE_DONE ? EMAC_OK : db_fail(db, rc, err);
}

enum emac_status db_settle(struct db *db, struct emac_err *err)
{
    if (!db->owes_rollback)
        return EMAC_OK;
    enum emac_status st = db_control_run(db, DB_ROLLBACK, err);
    db->owes_rollback = sqlite3_get_autocommit(db->handle) == 0;
    return db->owes_rollback ? st : EMAC_OK;
}

static void transaction_end(struct db *db)
{
    EMAC_ASSERT(db->group || sqlite3_get_autocommit(db->handle) != 0 || db->owes_rollback);
    db->in_transaction = db->member = false;
    db->broken.status = EMAC_OK;
    db_unlock(db);
}

/* Takes the lock, and leaves it held when OK. */
static enum emac_status transaction_begin(struct db *db, bool member, struct emac_err *err)
{
    db_lock(db);
    EMAC_ASSERT(!db->in_transaction);
    enum emac_status st = db_settle(db, err);
    if (st == EMAC_OK && !member)
        st = db_group_close(db, err);
    if (st == EMAC_OK)
        st = db_writable(db, err);
    if (st == EMAC_OK && !db->group)
        st = db_control_run(db, DB_BEGIN, err);
    if (st == EMAC_OK && member) {
        db_group_open(db);
        st = db_control_run(db, DB_MEMBER_BEGIN, err);
    }
    if (st != EMAC_OK) {
        db_unlock(db);
        return st;
    }
    db->in_transaction = true;
    db->member = member;
    db->broken.status = EMAC_OK;
    return EMAC_OK;
}

enum emac_status db_begin(struct db *db, struct emac_err *err)
{
    return transaction_begin(db, false, err);
}

enum emac_status db_begin_soon(struct db *db, struct emac_err *err)
{
    return transaction_begin(db, true, err);
}

/* A ROLLBACK may report the disk's failure; the transaction is over all the same. After a migration
 * that renamed a table SQLite compiles it anew, for which memory may lack: then it is owed, nothing
 * is read or written before it was made good, and closing the database undoes as well. */
void db_undo(struct db *db)
{
    enum emac_status st = EMAC_OK;
    if (sqlite3_get_autocommit(db->handle) == 0)
        st = db_control_run(db, DB_ROLLBACK, NULL);
    db->owes_rollback = sqlite3_get_autocommit(db->handle) == 0;
    EMAC_ASSERT(!db->owes_rollback || st == EMAC_NO_MEMORY);
}

/* The member alone; where SQLite cannot do that, the whole group goes. */
static void member_undo(struct db *db)
{
    struct emac_err why = {.status = EMAC_OK};
    if (!db->group)
        return; /* gone already */
    if (db_control_run(db, DB_MEMBER_UNDO, &why) == EMAC_OK &&
        db_control_run(db, DB_MEMBER_END, &why) == EMAC_OK) {
        bool owes = db->owes_rows; /* for the members before this one */
        db_group_forget(db);
        db->owes_rows = owes;
        return;
    }
    db_undo(db);
    db_group_gone(db, &why);
}

/* ---- durability ---- */

static enum emac_status commit(struct db *db, uint64_t *number, struct emac_err *err)
{
    EMAC_ASSERT(db_in_transaction(db));
    bool member = db->member;
    enum emac_status st = db->broken.status;
    if (st != EMAC_OK && err != NULL)
        *err = db->broken;
    if (st == EMAC_OK)
        st = db_control_run(db, member ? DB_MEMBER_END : DB_COMMIT, err);
    if (st == EMAC_OK)
        *number = member ? db_group_add(db) : db_committed(db);
    else if (member)
        member_undo(db);
    if (!member)
        db_undo(db);
    transaction_end(db);
    return st;
}

enum emac_status db_commit_soon(struct db *db, struct emac_err *err)
{
    uint64_t number = 0;
    return commit(db, &number, err);
}

enum emac_status db_commit(struct db *db, struct emac_err *err)
{
    uint64_t number = 0;
    EMAC_ASSERT(!db->member);
    enum emac_status st = commit(db, &number, err);
    if (st == EMAC_OK)
        db_sync_to(db, number);
    return st;
}

void db_rollback(struct db *db)
{
    EMAC_ASSERT(db_in_transaction(db));
    if (db->member)
        member_undo(db);
    else
        db_undo(db);
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
