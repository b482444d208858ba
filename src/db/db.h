/* SQL facade over SQLite. One connection writes (SQLite before 3.51.3 can corrupt its WAL
 * when several do), so a `struct db` is one connection guarded by a recursive
 * lock: db_begin takes it, db_commit or db_rollback gives it back; statements
 * outside a transaction take it for themselves.
 *
 * SQL is portable (SQLite and PostgreSQL): placeholders are `?`, INSERT ... ON
 * CONFLICT DO NOTHING, no rowid, BIGINT/TEXT/BYTEA-as-BLOB types. SQL text is
 * always a literal; values are always bound. Of our own there is sha256(x), the blob of 32
 * bytes, for migrations; schemas must not name it.
 *
 * Failures: NO_SPACE disk full, CORRUPT damaged file, CONFLICT a constraint is
 * violated, BUSY another program writes the file, IO, NO_MEMORY; INTERNAL for
 * SQL that does not compile. A full disk, an I/O error or lack of memory may
 * end the whole transaction; then every later statement in it and db_commit
 * fail with that same error, so nothing of it is kept.
 *
 * Durable: db_commit, and db_exec outside a transaction, return when what they
 * wrote outlives a power failure. Threads that do so at once share one fsync
 * (group commit): the log is written under the lock, and synced outside it.
 *
 * Transactions between db_begin_soon and db_commit_soon are members of a group: savepoints of one
 * shared transaction, which is committed when the first of those who wait in db_sync has the lock.
 * So the pages and the frames of the log that they have in common are written once. All others
 * commit the group before they begin. When a group cannot be committed it is lost as a whole: each
 * thread that read or wrote while it was open gets its failure from db_sync, and every transaction
 * and write is refused with it until db_lost was asked, so that nobody goes on from rows that are
 * no more.
 *
 * DB-1  What is durable is a prefix of what was committed, in its order.
 * DB-2  When db_sync returns OK, all that was committed before its call is durable.
 * DB-3  A failing member leaves the other members as they are; when it takes the whole group with
 *       it, db_sync tells each of them (DB-2).
 * DB-4  What members keep beside the rows (struct db_beside) is written into the group's
 *       transaction before the group is committed and before anybody reads or writes who is no
 *       member; of what was undone nothing is kept. */
#ifndef EMAC_DB_DB_H
#define EMAC_DB_DB_H

#include <stdint.h>

#include "base/buf.h"
#include "base/status.h"

#define DB_STATEMENTS_MAX 256 /* prepared statements kept; the one unused longest goes first */

struct db;
struct db_stmt;

/* path of the SQLite file (created, mode 0600); takes an exclusive lock on "<path>.lock": CONFLICT
 * "another coordinator uses database '...': process N holds ..." when held. After an unclean end
 * a database of up to 256 MiB is checked, CORRUPT when damaged. WAL, foreign_keys=on. A failed
 * fsync stops the process (assert) rather than lose an acknowledged write. */
enum emac_status db_open(const char *path, struct db **out, struct emac_err *err);
void db_close(struct db *db);

/* Apply m[0..count) that were not applied yet, in this order, each in its own transaction (its
 * statements end with ';'). One call takes all migrations of the program: CONFLICT when the
 * database has one that is not among them (it is newer than the program), CORRUPT when an applied
 * one has other text than ours. The table schema_migrations(name, sha256, applied_ms) remembers
 * them. */
struct db_migration {
    const char *name; /* "001_ledger" */
    const char *sql;
};
enum emac_status db_migrate(struct db *db, const struct db_migration *m, size_t count,
                            struct emac_err *err);

/* Transactions do not nest (asserted). */
enum emac_status db_begin(struct db *db, struct emac_err *err);
enum emac_status db_commit(struct db *db, struct emac_err *err); /* on failure rolled back */
/* As db_begin and db_commit, but a member of a group: durable, and there at all after a crash, only
 * with a later db_sync. Others see it at once; so whoever tells the world what he wrote or read
 * calls db_sync first. db_commit_soon may also end what db_begin began: that is in the log then. */
enum emac_status db_begin_soon(struct db *db, struct emac_err *err);
enum emac_status db_commit_soon(struct db *db, struct emac_err *err);
/* Called without a transaction. Fails when a group was lost that this thread read from or wrote to
 * since its last db_sync: what it has is not so. */
enum emac_status db_sync(struct db *db, struct emac_err *err);
/* Was a group lost since the last time this was asked? Then memory is to be built from the rows. */
bool db_lost(struct db *db);
void db_rollback(struct db *db);
/* The end of a transaction whose work came to `st`: committed when that is OK, rolled back when
 * not. What it comes to. */
enum emac_status db_end(struct db *db, enum emac_status st, struct emac_err *err);
bool db_in_transaction(const struct db *db); /* of the calling thread */
bool db_in_member(const struct db *db);      /* is it a member of a group? */

/* What the members of a group change again and again, kept in memory until the group ends. Each
 * function is called with the lock held. */
struct db_beside {
    void *ctx;
    /* Write what is owed, as a member. A failure loses the group. */
    enum emac_status (*write)(void *ctx, struct emac_err *err);
    /* A member was undone, or the group is over: the rows are what is known. */
    void (*forget)(void *ctx);
    void (*free)(void *ctx); /* the database is being closed */
};
/* One for a database; ctx is NULL as long as none is set. The caller is in a member. */
struct db_beside *db_beside(struct db *db);
/* From now on something is owed. The caller is in a member. */
void db_beside_owe(struct db *db);

/* Values by type letter: i int64_t (cast literals), d double, t const char * (NULL is SQL NULL),
 * b (const void *, size_t) (nothing is the empty blob). `types` has one letter for each `?`
 * (asserted; NULL for none). Prepared statements are cached by the SQL literal's text. */
enum emac_status db_exec(struct db *db, struct emac_err *err, const char *sql, const char *types,
                         ...);
/* As db_exec; *changed = rows changed. */
enum emac_status db_change(struct db *db, int64_t *changed, struct emac_err *err, const char *sql,
                           const char *types, ...);
/* Query: db_query, then db_next until *row is false or a failure (which ends it); db_done ends it
 * early, and only then (a statement that has ended must not be touched; NULL is ignored). Other
 * statements may run between. *out is NULL on failure. Columns count from 0; text and blob live
 * until the next db_next. The lock is held from db_query to the end of the rows. */
enum emac_status db_query(struct db *db, struct db_stmt **out, struct emac_err *err,
                          const char *sql, const char *types, ...);
enum emac_status db_next(struct db_stmt *st, bool *row, struct emac_err *err);
void db_done(struct db_stmt *st);
int64_t db_i64(struct db_stmt *st, int col); /* 0 for SQL NULL */
double db_f64(struct db_stmt *st, int col);
const char *db_text(struct db_stmt *st, int col); /* NULL for SQL NULL */
struct emac_slice db_blob(struct db_stmt *st, int col);
/* The first row of a query, or *out = NULL without one and on failure. Read it, then db_done; there
 * is no next (db_next asserts). Texts and blobs among the values must live until then. */
enum emac_status db_first(struct db *db, struct db_stmt **out, struct emac_err *err,
                          const char *sql, const char *types, ...);
/* One integer of one row; NOT_FOUND without a row. */
enum emac_status db_one_i64(struct db *db, int64_t *out, struct emac_err *err, const char *sql,
                            const char *types, ...);

#endif
