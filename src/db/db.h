/* SQL facade. One connection writes (SQLite before 3.51.3 can corrupt its WAL
 * when several do), so a `struct db` is one connection guarded by a recursive
 * lock: db_begin takes it, db_commit or db_rollback gives it back; statements
 * outside a transaction take it for themselves.
 *
 * SQL is portable (SQLite and PostgreSQL): placeholders are `?`, INSERT ... ON
 * CONFLICT DO NOTHING, no rowid, BIGINT/TEXT/BYTEA-as-BLOB types. SQL text is
 * always a literal; values are always bound. */
#ifndef EMAC_DB_DB_H
#define EMAC_DB_DB_H

#include <stdint.h>

#include "base/buf.h"
#include "base/status.h"

struct db;
struct db_stmt;

/* path of the SQLite file (created, mode 0600); takes an exclusive lock on "<path>.lock": CONFLICT
 * "another coordinator (pid N) uses database '...'" when held. WAL, synchronous=FULL,
 * foreign_keys=on. A failed fsync stops the process (assert) rather than lose an acknowledged
 * write. */
enum emac_status db_open(const char *path, struct db **out, struct emac_err *err);
void db_close(struct db *db);

/* Apply migrations[0..count) that were not applied yet, each in its own transaction; CONFLICT when
 * the database is newer than the program, CORRUPT when an applied one has other text than ours. */
struct db_migration {
    const char *name; /* "001_ledger" */
    const char *sql;
};
enum emac_status db_migrate(struct db *db, const struct db_migration *m, size_t count,
                            struct emac_err *err);

enum emac_status db_begin(struct db *db, struct emac_err *err);
enum emac_status db_commit(struct db *db, struct emac_err *err); /* on failure rolled back */
void db_rollback(struct db *db);
bool db_in_transaction(const struct db *db);

/* Values by type letter: i int64_t, d double, t const char * (NULL is SQL NULL), b (const void *,
 * size_t). Prepared statements are cached by the SQL literal's text. */
enum emac_status db_exec(struct db *db, struct emac_err *err, const char *sql, const char *types,
                         ...);
/* As db_exec; *changed = rows changed. */
enum emac_status db_change(struct db *db, int64_t *changed, struct emac_err *err, const char *sql,
                           const char *types, ...);
/* Query: db_query, then db_next until *row is false or a failure (which ends it); db_done ends it
 * early. Columns count from 0; text and blob live until the next db_next. The lock is held from
 * db_query to the end of the rows. */
enum emac_status db_query(struct db *db, struct db_stmt **out, struct emac_err *err,
                          const char *sql, const char *types, ...);
enum emac_status db_next(struct db_stmt *st, bool *row, struct emac_err *err);
void db_done(struct db_stmt *st);
int64_t db_i64(struct db_stmt *st, int col);
double db_f64(struct db_stmt *st, int col);
const char *db_text(struct db_stmt *st, int col); /* NULL for SQL NULL */
struct emac_slice db_blob(struct db_stmt *st, int col);
/* One integer of one row; NOT_FOUND without a row. */
enum emac_status db_one_i64(struct db *db, int64_t *out, struct emac_err *err, const char *sql,
                            const char *types, ...);

#endif
