#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "db/db_impl.h"

/* ---- the cache of prepared statements ---- */

/* The same literal lies at the same place; what lies there now is compared. */
static uint64_t place_hash(const char *sql)
{
    return ((uint64_t)(uintptr_t)sql * UINT64_C(0x9e3779b97f4a7c15)) >> 32;
}

static struct db_stmt *cache_find(struct db *db, const char *sql, uint64_t hash)
{
    for (struct db_stmt *st = db->bucket[hash % DB_BUCKETS]; st != NULL; st = st->next) {
        if (st->hash == hash && !st->busy && strcmp(sqlite3_sql(st->handle), sql) == 0)
            return st;
    }
    return NULL;
}

static void stmt_free(struct db_stmt *st)
{
    sqlite3_finalize(st->handle);
    free(st);
}

static void cache_remove(struct db *db, struct db_stmt *st)
{
    struct db_stmt **p = &db->bucket[st->hash % DB_BUCKETS];
    while (*p != st)
        p = &(*p)->next;
    *p = st->next;
    db->cached--;
}

/* Make room by dropping the idle statement that was unused longest; false when all are busy. */
static bool cache_room(struct db *db)
{
    struct db_stmt *oldest = NULL;
    if (db->cached < DB_STATEMENTS_MAX)
        return true;
    for (size_t b = 0; b < DB_BUCKETS; b++) {
        for (struct db_stmt *st = db->bucket[b]; st != NULL; st = st->next) {
            if (!st->busy && (oldest == NULL || st->last_used < oldest->last_used))
                oldest = st;
        }
    }
    if (oldest == NULL)
        return false;
    cache_remove(db, oldest);
    stmt_free(oldest);
    return true;
}

static enum emac_status prepare(struct db *db, const char *sql, struct db_stmt **out,
                                struct emac_err *err)
{
    struct db_stmt *st;
    const char *tail = NULL;
    enum emac_status status = emac_alloc(&st, 1, sizeof *st, err);
    if (status != EMAC_OK)
        return status;
    st->db = db;
    int rc = sqlite3_prepare_v3(db->handle, sql, -1, SQLITE_PREPARE_PERSISTENT, &st->handle, &tail);
    if (rc != SQLITE_OK) {
        status = db_fail(db, rc, err);
        stmt_free(st);
        return status;
    }
    EMAC_ASSERT(st->handle != NULL && *tail == '\0'); /* one statement, the whole literal */
    *out = st;
    return EMAC_OK;
}

enum emac_status db_stmt_take(struct db *db, const char *sql, struct db_stmt **out,
                              struct emac_err *err)
{
    uint64_t hash = place_hash(sql);
    struct db_stmt *st = cache_find(db, sql, hash);
    *out = NULL;
    if (st == NULL) {
        enum emac_status status = prepare(db, sql, &st, err);
        if (status != EMAC_OK)
            return status;
        st->hash = hash;
        st->cached = cache_room(db);
        if (st->cached) {
            st->next = db->bucket[hash % DB_BUCKETS];
            db->bucket[hash % DB_BUCKETS] = st;
            db->cached++;
        }
    }
    st->busy = true;
    st->last_used = ++db->tick;
    *out = st;
    return EMAC_OK;
}

void db_stmt_give(struct db_stmt *st)
{
    EMAC_ASSERT(st->busy);
    sqlite3_reset(st->handle); /* its result repeats the step's, which was looked at */
    sqlite3_clear_bindings(st->handle);
    st->busy = false;
    st->borrows = false;
    if (!st->cached)
        stmt_free(st);
}

void db_stmt_free_all(struct db *db)
{
    for (size_t b = 0; b < DB_BUCKETS; b++) {
        for (struct db_stmt *st = db->bucket[b], *next; st != NULL; st = next) {
            next = st->next;
            EMAC_ASSERT(!st->busy);
            stmt_free(st);
        }
        db->bucket[b] = NULL;
    }
    db->cached = 0;
}

/* ---- running ---- */

/* SQLite rolls back by itself on some errors. A statement that came after would then commit on its
 * own, outside the transaction its caller believes in: refuse it. */
static enum emac_status still_in_transaction(struct db *db, struct emac_err *err)
{
    if (!db->in_transaction || sqlite3_get_autocommit(db->handle) == 0)
        return EMAC_OK;
    EMAC_ASSERT(db->broken.status != EMAC_OK);
    if (err != NULL)
        *err = db->broken;
    return db->broken.status;
}

static enum emac_status step_failed(struct db *db, int rc, struct emac_err *err)
{
    struct emac_err e = {.status = EMAC_OK};
    enum emac_status status = db_fail(db, rc, &e);
    if (db->group && sqlite3_get_autocommit(db->handle) != 0)
        db_group_gone(db, &e);
    if (db->in_transaction && sqlite3_get_autocommit(db->handle) != 0 &&
        db->broken.status == EMAC_OK)
        db->broken = e;
    if (err != NULL)
        *err = e;
    return status;
}

/* `copy`: the values must outlive this call. */
static int bind_one(sqlite3_stmt *st, int at, char type, bool copy, va_list *ap)
{
    sqlite3_destructor_type keep = copy ? SQLITE_TRANSIENT : SQLITE_STATIC;
    const void *data;
    switch (type) {
    case 'i':
        return sqlite3_bind_int64(st, at, va_arg(*ap, int64_t));
    case 'd':
        return sqlite3_bind_double(st, at, va_arg(*ap, double));
    case 't':
        return sqlite3_bind_text(st, at, va_arg(*ap, const char *), -1, keep);
    default:
        EMAC_ASSERT(type == 'b');
        data = va_arg(*ap, const void *);
        return sqlite3_bind_blob64(st, at, data != NULL ? data : "", va_arg(*ap, size_t), keep);
    }
}

/* Takes the lock and leaves it held when OK. */
static enum emac_status start(struct db *db, struct db_stmt **out, bool copy, const char *sql,
                              const char *types, va_list *ap, struct emac_err *err)
{
    db_lock(db);
    enum emac_status st = db_settle(db, err);
    if (st == EMAC_OK)
        st = still_in_transaction(db, err);
    if (st == EMAC_OK && !db->in_transaction)
        st = db_group_settle(db, err);
    *out = NULL;
    db_group_touch(db);
    if (st == EMAC_OK)
        st = db_stmt_take(db, sql, out, err);
    size_t n = types != NULL ? strlen(types) : 0;
    if (st == EMAC_OK)
        EMAC_ASSERT(sqlite3_bind_parameter_count((*out)->handle) == (int)n);
    for (size_t i = 0; i < n && st == EMAC_OK; i++) {
        int rc = bind_one((*out)->handle, (int)i + 1, types[i], copy, ap);
        if (rc != SQLITE_OK)
            st = db_fail(db, rc, err);
    }
    if (st == EMAC_OK)
        return EMAC_OK;
    if (*out != NULL)
        db_stmt_give(*out);
    *out = NULL;
    db_unlock(db);
    return st;
}

static enum emac_status run(struct db *db, int64_t *changed, struct emac_err *err, const char *sql,
                            const char *types, va_list *ap)
{
    struct db_stmt *st;
    enum emac_status status = start(db, &st, false, sql, types, ap, err);
    if (status != EMAC_OK)
        return status;
    bool alone = !db->in_transaction && !sqlite3_stmt_readonly(st->handle);
    int rc = SQLITE_OK;
    uint64_t number = 0;
    if (alone)
        status = db_group_close(db, err);
    if (status == EMAC_OK) {
        do
            rc = sqlite3_step(st->handle);
        while (rc == SQLITE_ROW);
        if (rc != SQLITE_DONE)
            status = step_failed(db, rc, err);
        else if (changed != NULL)
            *changed = sqlite3_changes64(db->handle);
    }
    db_stmt_give(st);
    alone = alone && status == EMAC_OK;
    if (alone)
        number = db_committed(db);
    db_unlock(db);
    if (alone)
        db_sync_to(db, number);
    return status;
}

enum emac_status db_exec(struct db *db, struct emac_err *err, const char *sql, const char *types,
                         ...)
{
    va_list ap;
    va_start(ap, types);
    enum emac_status st = run(db, NULL, err, sql, types, &ap);
    va_end(ap);
    return st;
}

enum emac_status db_change(struct db *db, int64_t *changed, struct emac_err *err, const char *sql,
                           const char *types, ...)
{
    va_list ap;
    *changed = 0;
    va_start(ap, types);
    enum emac_status st = run(db, changed, err, sql, types, &ap);
    va_end(ap);
    return st;
}

enum emac_status db_query(struct db *db, struct db_stmt **out, struct emac_err *err,
                          const char *sql, const char *types, ...)
{
    va_list ap;
    va_start(ap, types);
    enum emac_status st = start(db, out, true, sql, types, &ap, err);
    va_end(ap);
    return st;
}

/* The next row; without one the statement has ended. */
static enum emac_status step(struct db_stmt *st, bool *row, struct emac_err *err)
{
    EMAC_ASSERT(st->busy);
    enum emac_status status = EMAC_OK;
    int rc = sqlite3_step(st->handle);
    *row = rc == SQLITE_ROW;
    if (*row)
        return EMAC_OK;
    if (rc != SQLITE_DONE)
        status = step_failed(st->db, rc, err);
    db_done(st);
    return status;
}

enum emac_status db_next(struct db_stmt *st, bool *row, struct emac_err *err)
{
    EMAC_ASSERT(!st->borrows);
    return step(st, row, err);
}

/* Nothing is copied: it is not stepped again. */
static enum emac_status first(struct db *db, struct db_stmt **out, const char *sql,
                              const char *types, va_list *ap, struct emac_err *err)
{
    bool row = false;
    enum emac_status st = start(db, out, false, sql, types, ap, err);
    if (st == EMAC_OK)
        st = step(*out, &row, err);
    if (row)
        (*out)->borrows = true;
    else
        *out = NULL;
    return st;
}

enum emac_status db_first(struct db *db, struct db_stmt **out, struct emac_err *err,
                          const char *sql, const char *types, ...)
{
    va_list ap;
    va_start(ap, types);
    enum emac_status st = first(db, out, sql, types, &ap, err);
    va_end(ap);
    return st;
}

void db_done(struct db_stmt *st)
{
    if (st == NULL)
        return;
    struct db *db = st->db;
    db_stmt_give(st);
    db_unlock(db);
}

static void column_check(struct db_stmt *st, int col)
{
    EMAC_ASSERT(st->busy && col >= 0 && col < sqlite3_data_count(st->handle));
}

int64_t db_i64(struct db_stmt *st, int col)
{
    column_check(st, col);
    return sqlite3_column_int64(st->handle, col);
}

double db_f64(struct db_stmt *st, int col)
{
    column_check(st, col);
    return sqlite3_column_double(st->handle, col);
}

const char *db_text(struct db_stmt *st, int col)
{
    column_check(st, col);
    return (const char *)sqlite3_column_text(st->handle, col);
}

struct emac_slice db_blob(struct db_stmt *st, int col)
{
    column_check(st, col);
    const void *data = sqlite3_column_blob(st->handle, col); /* before its size, says SQLite */
    return EMAC_SLICE(data, (size_t)sqlite3_column_bytes(st->handle, col));
}

enum emac_status db_one_i64(struct db *db, int64_t *out, struct emac_err *err, const char *sql,
                            const char *types, ...)
{
    struct db_stmt *st;
    va_list ap;
    va_start(ap, types);
    enum emac_status status = first(db, &st, sql, types, &ap, err);
    va_end(ap);
    if (status != EMAC_OK)
        return status;
    if (st == NULL)
        return emac_fail(err, EMAC_NOT_FOUND, "no such row in database '%s'", db->path);
    *out = db_i64(st, 0);
    db_done(st);
    return EMAC_OK;
}
