#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "crypto/crypto.h"
#include "db/db_impl.h"

#define CHECK_BYTES_MAX (UINT64_C(256) << 20) /* larger ones would delay a restart too long */

/* ---- the lock ---- */

static bool lock_is_mine(const struct db *db)
{
    return db->depth > 0 && pthread_equal(db->owner, pthread_self());
}

void db_lock(struct db *db)
{
    os_mutex_lock(&db->guard);
    while (db->depth > 0 && !lock_is_mine(db))
        os_cond_wait(&db->free, &db->guard);
    db->owner = pthread_self();
    db->depth++;
    EMAC_ASSERT(db->depth < UINT32_MAX);
    os_mutex_unlock(&db->guard);
}

void db_unlock(struct db *db)
{
    os_mutex_lock(&db->guard);
    EMAC_ASSERT(lock_is_mine(db));
    if (--db->depth == 0)
        os_cond_signal(&db->free);
    os_mutex_unlock(&db->guard);
}

bool db_in_transaction(const struct db *db)
{
    struct db *m = (struct db *)db; /* the guard changes, what it guards does not */
    os_mutex_lock(&m->guard);
    bool yes = lock_is_mine(db) && db->in_transaction;
    os_mutex_unlock(&m->guard);
    return yes;
}

bool db_in_member(const struct db *db)
{
    return db_in_transaction(db) && db->member;
}

/* ---- errors ---- */

static bool is_full(const struct db *db, int rc)
{
    int code = db->handle != NULL ? sqlite3_system_errno(db->handle) : 0;
    return (rc & 0xff) == SQLITE_FULL ||
           ((rc & 0xff) == SQLITE_IOERR && (code == ENOSPC || code == EDQUOT || code == EFBIG));
}

enum emac_status db_fail(struct db *db, int rc, struct emac_err *err)
{
    const char *text = db->handle != NULL ? sqlite3_errmsg(db->handle) : sqlite3_errstr(rc);
    EMAC_ASSERT(rc != SQLITE_IOERR_FSYNC && rc != SQLITE_IOERR_DIR_FSYNC);
    EMAC_ASSERT(rc != SQLITE_MISUSE);
    if (is_full(db, rc))
        return emac_fail(err, EMAC_NO_SPACE,
                         "disk full while writing database '%s': free space and start again",
                         db->path);
    switch (rc & 0xff) {
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return emac_fail(err, EMAC_CORRUPT,
                         "database '%s' is damaged (%s): put it aside with its -wal file and "
                         "restore a backup",
                         db->path, text);
    case SQLITE_CONSTRAINT:
        return emac_fail(err, EMAC_CONFLICT, "%s in database '%s'", text, db->path);
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return emac_fail(err, EMAC_BUSY, "another program writes to database '%s': close it",
                         db->path);
    case SQLITE_NOMEM:
        return emac_fail(err, EMAC_NO_MEMORY, "out of memory in database '%s'", db->path);
    case SQLITE_TOOBIG:
        return emac_fail(err, EMAC_TOO_LARGE, "a value is too large for database '%s'", db->path);
    case SQLITE_CANTOPEN:
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_IOERR:
        return emac_fail(err, EMAC_IO,
                         "cannot use database '%s' (%s): check the disk, the folder and its owner",
                         db->path, text);
    default:
        return emac_fail(err, EMAC_INTERNAL, "database '%s': %s", db->path, text);
    }
}

/* ---- opening ---- */

/* SQLite counts its memory under one lock for the whole process; nobody asks for the count. Both go
 * on as they were where the library is in use already. */
static void library_configure(void)
{
    (void)sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
    const sqlite3_pcache_methods2 *pages = db_pages_methods();
    if (pages != NULL)
        (void)sqlite3_config(SQLITE_CONFIG_PCACHE2, pages);
}

static void sql_sha256(sqlite3_context *ctx, int count, sqlite3_value **value)
{
    uint8_t hash[SHA256_BYTES];
    const void *data = sqlite3_value_blob(value[0]); /* before its size, says SQLite */
    EMAC_ASSERT(count == 1);
    crypto_sha256(hash, data != NULL ? data : "", (size_t)sqlite3_value_bytes(value[0]));
    sqlite3_result_blob(ctx, hash, sizeof hash, SQLITE_TRANSIENT);
}

static enum emac_status functions_add(struct db *db, struct emac_err *err)
{
    int rc = sqlite3_create_function_v2(db->handle, "sha256", 1,
                                        SQLITE_UTF8 | SQLITE_DETERMINISTIC | SQLITE_DIRECTONLY,
                                        NULL, sql_sha256, NULL, NULL, NULL);
    return rc == SQLITE_OK ? EMAC_OK : db_fail(db, rc, err);
}

/* SQLite would create it readable by all. */
static enum emac_status file_create(const char *path, bool *unclean, uint64_t *bytes,
                                    struct emac_err *err)
{
    struct os *os = os_real();
    uint64_t wal = 0;
    char *wal_path = emac_asprintf("%s-wal", path);
    *bytes = 0;
    *unclean = os->file_size(os, wal_path, &wal, NULL) == EMAC_OK && wal > 0;
    free(wal_path);
    enum emac_status st = os->file_size(os, path, bytes, err);
    return st == EMAC_NOT_FOUND ? os->file_write(os, path, "", 0, 0600, err) : st;
}

/* Run one PRAGMA to its end, where it is committed; when `want` is not NULL its first row must say
 * so. */
static enum emac_status pragma(struct db *db, const char *sql, const char *want,
                               struct emac_err *err)
{
    sqlite3_stmt *st = NULL;
    char got[80] = "nothing";
    int rc = sqlite3_prepare_v2(db->handle, sql, -1, &st, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_step(st);
    if (rc == SQLITE_ROW && sqlite3_column_text(st, 0) != NULL)
        emac_strcpy(got, sizeof got, (const char *)sqlite3_column_text(st, 0));
    while (rc == SQLITE_ROW)
        rc = sqlite3_step(st);
    enum emac_status status = rc == SQLITE_DONE ? EMAC_OK : db_fail(db, rc, err);
    sqlite3_finalize(st);
    if (status == EMAC_OK && want != NULL && strcmp(got, want) != 0)
        status = emac_fail(err, strcmp(want, "ok") == 0 ? EMAC_CORRUPT : EMAC_UNSUPPORTED,
                           "database '%s' answers '%s' to %s: it must lie on a local disk and "
                           "be whole",
                           db->path, got, sql);
    return status;
}

/* Commits do not sync by themselves (synchronous=NORMAL): db_sync does, outside the lock.
 * Checkpoints sync the log before they touch the database and the database before the log is used
 * anew. The log and the page cache have room for what some seconds of payments touch. */
static enum emac_status settings(struct db *db, bool check, struct emac_err *err)
{
    static const struct {
        const char *sql, *want;
    } pragmas[] = {
        {"PRAGMA journal_mode=WAL", "wal"},  {"PRAGMA synchronous=NORMAL", NULL},
        {"PRAGMA foreign_keys=ON", NULL},    {"PRAGMA trusted_schema=OFF", NULL},
        {"PRAGMA cell_size_check=ON", NULL}, {"PRAGMA mmap_size=0", NULL},
        {"PRAGMA cache_size=-65536", NULL},  {"PRAGMA wal_autocheckpoint=16384", NULL},
        {"PRAGMA temp_store=MEMORY", NULL}, /* what undoes a member of a group, too */
        {"PRAGMA synchronous", "1"},         {"PRAGMA foreign_keys", "1"},
        {"PRAGMA schema_version", NULL}, /* a read: the log is open now */
    };
    sqlite3_extended_result_codes(db->handle, 1);
    sqlite3_db_config(db->handle, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    sqlite3_db_config(db->handle, SQLITE_DBCONFIG_DQS_DML, 0, NULL);
    sqlite3_db_config(db->handle, SQLITE_DBCONFIG_DQS_DDL, 0, NULL);
    enum emac_status st = EMAC_OK;
    for (size_t i = 0; i < EMAC_COUNT(pragmas) && st == EMAC_OK; i++)
        st = pragma(db, pragmas[i].sql, pragmas[i].want, err);
    if (st == EMAC_OK && check)
        st = pragma(db, "PRAGMA quick_check(1)", "ok", err);
    if (st != EMAC_OK)
        return st;
    int rc = sqlite3_file_control(db->handle, "main", SQLITE_FCNTL_JOURNAL_POINTER, &db->wal);
    EMAC_ASSERT(rc == SQLITE_OK && db->wal != NULL && db->wal->pMethods != NULL);
    return EMAC_OK;
}

static enum emac_status file_lock(struct db *db, struct emac_err *err)
{
    char *path = emac_asprintf("%s.lock", db->path);
    enum emac_status st = os_lock_take(path, &db->file_lock, err);
    if (st == EMAC_CONFLICT && err != NULL)
        st = emac_wrap(err, "another coordinator uses database '%s'", db->path);
    free(path);
    return st;
}

enum emac_status db_open(const char *path, struct db **out, struct emac_err *err)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    struct db *db;
    bool unclean = false;
    uint64_t bytes = 0;
    *out = NULL;
    pthread_once(&once, library_configure);
    enum emac_status st = emac_alloc(&db, 1, sizeof *db, err);
    if (st != EMAC_OK)
        return st;
    os_mutex_init(&db->guard);
    os_cond_init(&db->free);
    os_mutex_init(&db->sync_guard);
    os_cond_init(&db->sync_done[0]);
    os_cond_init(&db->sync_done[1]);
    db->path = emac_strdup(path);
    EMAC_TRY(st, file_lock(db, err));
    EMAC_TRY(st, file_create(path, &unclean, &bytes, err));
    int rc = sqlite3_open_v2(path, &db->handle, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL);
    if (rc != SQLITE_OK) {
        st = db_fail(db, rc, err);
        goto out;
    }
    EMAC_TRY(st, settings(db, unclean && bytes <= CHECK_BYTES_MAX, err));
    EMAC_TRY(st, functions_add(db, err));
    EMAC_TRY(st, db_control_prepare(db, err));
    *out = db;
    return EMAC_OK;
out:
    db_close(db);
    return st;
}

void db_close(struct db *db)
{
    if (db == NULL)
        return;
    EMAC_ASSERT(db->depth == 0 && !db->in_transaction);
    (void)db_group_close(db, NULL); /* nobody who waited for it is left */
    if (db->beside.ctx != NULL)
        db->beside.free(db->beside.ctx);
    db_stmt_free_all(db);
    for (size_t i = 0; i < DB_CONTROL_COUNT; i++)
        sqlite3_finalize(db->control[i]);
    if (db->handle != NULL) {
        int rc = sqlite3_close(db->handle);
        EMAC_ASSERT(rc == SQLITE_OK);
    }
    os_lock_release(db->file_lock); /* last: the file is closed now */
    os_cond_release(&db->sync_done[1]);
    os_cond_release(&db->sync_done[0]);
    os_mutex_release(&db->sync_guard);
    os_cond_release(&db->free);
    os_mutex_release(&db->guard);
    free(db->path);
    free(db);
}
