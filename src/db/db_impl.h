/* Between the files of db/; nobody else includes it. */
#ifndef EMAC_DB_IMPL_H
#define EMAC_DB_IMPL_H

#include <sqlite3.h>
#include <stdarg.h>

#include "db/db.h"
#include "os/os.h"
#include "os/thread.h"

#define DB_BUCKETS 128

/* A prepared statement. INV: busy from its start to its end; only the lock's owner touches it. */
struct db_stmt {
    struct db *db;
    sqlite3_stmt *handle;
    struct db_stmt *next; /* in its bucket */
    uint64_t hash, last_used;
    bool busy, cached;
};

enum db_control { DB_BEGIN, DB_COMMIT, DB_ROLLBACK, DB_CONTROL_COUNT };

struct db {
    char *path;
    struct os_lock *file_lock;
    sqlite3 *handle;
    sqlite3_stmt *control[DB_CONTROL_COUNT]; /* made at the start: undoing must not need memory */

    /* A recursive lock: `guard` protects owner and depth only and is held briefly. */
    struct os_mutex guard;
    struct os_cond free;
    pthread_t owner;
    uint32_t depth;

    /* Group commit: `sync_guard` guards these. One thread syncs for all that committed before. */
    struct os_mutex sync_guard;
    struct os_cond sync_done;
    uint64_t committed, durable; /* transactions so far */
    bool syncing;
    sqlite3_file *wal; /* open as long as the connection is */

    /* The owner's from here. */
    bool in_transaction;
    bool owes_rollback; /* a transaction is over that SQLite had no memory to undo: see undo() */
    struct emac_err broken; /* the error that ended the transaction under its owner; OK: none */
    struct db_stmt *bucket[DB_BUCKETS];
    size_t cached;
    uint64_t tick;
};

void db_lock(struct db *db);
void db_unlock(struct db *db);

/* Status and sentence of SQLite's result code `rc`. Stops the process when a sync failed: the
 * kernel may have dropped the pages, so neither the file nor the page cache can be trusted any
 * more. */
enum emac_status db_fail(struct db *db, int rc, struct emac_err *err);

/* Statements; the lock is held. stmt_take prepares or finds one, marks it busy. */
enum emac_status db_stmt_take(struct db *db, const char *sql, struct db_stmt **out,
                              struct emac_err *err);
void db_stmt_give(struct db_stmt *st);
void db_stmt_free_all(struct db *db);
/* Make good what undo() owes, before anything else is done; the lock is held. NO_MEMORY. */
enum emac_status db_settle(struct db *db, struct emac_err *err);

enum emac_status db_control_prepare(struct db *db, struct emac_err *err);
void db_committed(struct db *db); /* one more transaction is in the log */

#endif
