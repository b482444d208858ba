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
    bool borrows; /* what is bound is its caller's, who may have returned: not stepped again */
};

enum db_control {
    DB_BEGIN,
    DB_COMMIT,
    DB_ROLLBACK,
    DB_MEMBER_BEGIN,
    DB_MEMBER_END,
    DB_MEMBER_UNDO,
    DB_CONTROL_COUNT
};

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

    /* `sync_guard` guards these. One thread at a time commits the group and syncs, for all before.
     * INV: durable <= logged <= committed; they differ by what is in the log and in the group. */
    struct os_mutex sync_guard;
    struct os_cond sync_done[2];         /* for those of an even and of an odd turn */
    uint64_t committed, logged, durable; /* transactions so far */
    uint64_t turn;                       /* turns begun */
    uint64_t serves;                     /* the last transaction that the running one is for */
    bool syncing;
    uint64_t group_number, lost_number; /* of the group that is open or was last; the last lost */
    struct emac_err lost_why;
    bool lost;         /* one was, and nobody asked yet */
    sqlite3_file *wal; /* open as long as the connection is */

    /* The owner's from here. */
    bool in_transaction;
    bool group, member; /* SQLite is in a group's transaction; the owner's is a member of it */
    struct db_beside beside;
    bool owes_rows;     /* beside.write is to be called: in a group alone */
    bool owes_rollback; /* a transaction is over that SQLite had no memory to undo: see undo() */
    struct emac_err broken; /* the error that ended the transaction under its owner; OK: none */
    struct db_stmt *bucket[DB_BUCKETS];
    size_t cached;
    uint64_t tick;
};

/* The page cache for SQLITE_CONFIG_PCACHE2 (pages.c), before SQLite is used at all; NULL when it is
 * in use already. */
const sqlite3_pcache_methods2 *db_pages_methods(void);

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
enum emac_status db_control_run(struct db *db, enum db_control which, struct emac_err *err);
void db_undo(struct db *db); /* whatever transaction SQLite is in */

/* Groups; the lock is held. db_group_open: SQLite's transaction is a group's now, or was already.
 * db_group_add counts one more member that has ended. db_group_close commits the open one, if there
 * is one: a failure is that of a lost group. db_group_gone notes that SQLite has undone it, because
 * of `why`. */
void db_group_open(struct db *db);
uint64_t db_group_add(struct db *db);
enum emac_status db_group_close(struct db *db, struct emac_err *err);
void db_group_gone(struct db *db, const struct emac_err *why);
/* Write what its members keep beside the rows (DB-4). */
enum emac_status db_group_settle(struct db *db, struct emac_err *err);
/* What is kept beside the rows is not so any more. */
void db_group_forget(struct db *db);
/* The calling thread sees what the open group wrote. */
void db_group_touch(struct db *db);
/* OK, or why nothing may be written until db_lost was asked. */
enum emac_status db_writable(struct db *db, struct emac_err *err);

/* One more transaction is in the log; its number. */
uint64_t db_committed(struct db *db);
void db_sync_to(struct db *db, uint64_t number);

#endif
