/* The SQL facade: values, transactions, statements, failures of the disk. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "db/db.h"
#include "vfs_shim.h"

struct fixture {
    char dir[64], path[96];
    struct db *db;
};

static void path_of(const struct fixture *f, const char *suffix, char out[128])
{
    snprintf(out, 128, "%s%s", f->path, suffix);
}

static int setup(void **state)
{
    struct emac_err err = {0};
    struct fixture *f = calloc(1, sizeof *f);
    snprintf(f->dir, sizeof f->dir, "/tmp/emac-test-db-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    snprintf(f->path, sizeof f->path, "%s/x.db", f->dir);
    enum emac_status st = db_open(f->path, &f->db, &err);
    if (st != EMAC_OK)
        print_message("%s\n", err.text);
    assert_int_equal(st, EMAC_OK);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    static const char *const SUFFIX[] = {"", "-wal", "-shm", ".lock"};
    char path[128];
    db_close(f->db);
    for (size_t i = 0; i < 4; i++) {
        path_of(f, SUFFIX[i], path);
        unlink(path);
    }
    assert_int_equal(rmdir(f->dir), 0);
    free(f);
    return 0;
}

#define OK(call) assert_int_equal(call, EMAC_OK)

static int64_t one(struct db *db, const char *sql)
{
    int64_t v = -1;
    OK(db_one_i64(db, &v, NULL, sql, NULL));
    return v;
}

static void make_table(struct db *db)
{
    OK(db_exec(db, NULL,
               "CREATE TABLE t (k BIGINT PRIMARY KEY, v TEXT, b BLOB, d DOUBLE PRECISION)", NULL));
}

static void put(struct db *db, int64_t k, const char *v)
{
    OK(db_exec(db, NULL, "INSERT INTO t (k, v) VALUES (?, ?)", "it", k, v));
}

static void test_open(void **state)
{
    struct fixture *f = *state;
    struct stat s;
    struct emac_err err;
    struct db *second;
    char want[32];
    assert_int_equal(stat(f->path, &s), 0);
    assert_int_equal(s.st_mode & 0777, 0600);
    assert_int_equal(db_open(f->path, &second, &err), EMAC_CONFLICT);
    assert_null(second);
    assert_non_null(strstr(err.text, "another coordinator"));
    snprintf(want, sizeof want, "%ld", (long)getpid());
    assert_non_null(strstr(err.text, want));
    assert_int_equal(db_open("/nonexistent/x.db", &second, &err), EMAC_NOT_FOUND);
    assert_int_equal(one(f->db, "PRAGMA synchronous"), 1);
    make_table(f->db);
    put(f->db, 1, "kept");
    db_close(f->db);
    OK(db_open(f->path, &f->db, &err));
    assert_int_equal(one(f->db, "SELECT COUNT(*) FROM t"), 1);
}

static void test_values(void **state)
{
    struct db *db = ((struct fixture *)*state)->db;
    struct db_stmt *q;
    bool row;
    make_table(db);
    OK(db_exec(db, NULL, "INSERT INTO t VALUES (?, ?, ?, ?)", "itbd", INT64_MIN, "\xc3\xa4'\";--",
               "a\0b", (size_t)3, 0.1));
    OK(db_exec(db, NULL, "INSERT INTO t VALUES (?, ?, ?, ?)", "itbd", INT64_MAX, NULL, NULL,
               (size_t)0, -0.0));
    OK(db_query(db, &q, NULL, "SELECT k, v, b, d FROM t ORDER BY k", NULL));
    OK(db_next(q, &row, NULL));
    assert_true(row);
    assert_true(db_i64(q, 0) == INT64_MIN);
    assert_string_equal(db_text(q, 1), "\xc3\xa4'\";--");
    assert_int_equal(db_blob(q, 2).len, 3);
    assert_memory_equal(db_blob(q, 2).data, "a\0b", 3);
    assert_true(db_f64(q, 3) == 0.1);
    OK(db_next(q, &row, NULL));
    assert_true(row);
    assert_true(db_i64(q, 0) == INT64_MAX);
    assert_null(db_text(q, 1));
    assert_int_equal(db_blob(q, 2).len, 0);
    OK(db_next(q, &row, NULL));
    assert_false(row);
    assert_int_equal(one(db, "SELECT COUNT(*) FROM t WHERE b IS NULL"), 0);
    int64_t n;
    OK(db_change(db, &n, NULL, "UPDATE t SET v = ?", "t", "x"));
    assert_int_equal(n, 2);
    assert_int_equal(db_one_i64(db, &n, NULL, "SELECT k FROM t WHERE v = ?", "t", "y"),
                     EMAC_NOT_FOUND);
    /* Values of a query outlive the variables they came from. */
    char *text = strdup("x");
    OK(db_query(db, &q, NULL, "SELECT k FROM t WHERE v = ?", "t", text));
    memset(text, 'z', 1);
    free(text);
    OK(db_next(q, &row, NULL));
    assert_true(row);
    db_done(q);
    db_done(NULL);
}

/* Of a child that is to die of an assertion. */
static void abort_quietly(void)
{
    struct rlimit no_core = {0, 0};
    setrlimit(RLIMIT_CORE, &no_core);
    dup2(open("/dev/null", O_WRONLY), 2);
    signal(SIGABRT, SIG_DFL);
}

static void *counts(void *arg)
{
    return one(arg, "SELECT COUNT(*) FROM t") == 2 ? NULL : arg;
}

/* Whoever has no row holds no lock; whoever has one may be asked once. */
static void test_first(void **state)
{
    struct db *db = ((struct fixture *)*state)->db;
    struct emac_err err;
    struct db_stmt *q = NULL;
    pthread_t t;
    void *bad;
    make_table(db);
    put(db, 1, "a");
    put(db, 2, "b");
    OK(db_first(db, &q, NULL, "SELECT k, v FROM t WHERE k >= ? ORDER BY k", "i", INT64_C(2)));
    assert_int_equal(db_i64(q, 0), 2);
    assert_string_equal(db_text(q, 1), "b");
    db_done(q);
    OK(db_first(db, &q, NULL, "SELECT v FROM t ORDER BY k", NULL)); /* of several the first */
    assert_string_equal(db_text(q, 0), "a");
    db_done(q);
    OK(db_first(db, &q, NULL, "SELECT v FROM t WHERE v = ?", "t", "c"));
    assert_null(q);
    q = (struct db_stmt *)db; /* anything but NULL */
    assert_int_equal(db_first(db, &q, &err, "SELECT nothing FROM t", NULL), EMAC_INTERNAL);
    assert_null(q);
    q = (struct db_stmt *)db; /* a row that fails to come */
    assert_int_equal(db_first(db, &q, &err, "SELECT ABS(?) FROM t", "i", INT64_MIN), EMAC_INTERNAL);
    assert_null(q);
    pthread_create(&t, NULL, counts, db);
    pthread_join(t, &bad);
    assert_null(bad);
    pid_t child = fork();
    if (child == 0) {
        bool row;
        abort_quietly();
        (void)!db_first(db, &q, NULL, "SELECT v FROM t", NULL);
        (void)!db_next(q, &row, NULL);
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

static void test_errors(void **state)
{
    struct db *db = ((struct fixture *)*state)->db;
    struct emac_err err;
    struct db_stmt *q;
    make_table(db);
    put(db, 1, "a");
    assert_int_equal(db_exec(db, &err, "INSERT INTO t (k) VALUES (?)", "i", INT64_C(1)),
                     EMAC_CONFLICT);
    assert_int_equal(db_exec(db, &err, "SELEKT", NULL), EMAC_INTERNAL);
    assert_int_equal(db_query(db, &q, &err, "SELECT nothing FROM t", NULL), EMAC_INTERNAL);
    assert_null(q);
    /* Double quotes are never strings. */
    assert_int_equal(db_exec(db, &err, "SELECT \"abc\"", NULL), EMAC_INTERNAL);
    int64_t n;
    OK(db_change(db, &n, NULL, "INSERT INTO t (k) VALUES (?) ON CONFLICT DO NOTHING", "i",
                 INT64_C(1)));
    assert_int_equal(n, 0);
}

/* Queries inside queries, with other and with the same text; more texts than the cache holds. */
static void test_statements(void **state)
{
    struct db *db = ((struct fixture *)*state)->db;
    struct db_stmt *a, *b;
    bool row;
    int pairs = 0;
    make_table(db);
    for (int64_t i = 0; i < 5; i++)
        put(db, i, "x");
    OK(db_query(db, &a, NULL, "SELECT k FROM t", NULL));
    for (OK(db_next(a, &row, NULL)); row; OK(db_next(a, &row, NULL))) {
        bool inner;
        OK(db_query(db, &b, NULL, "SELECT k FROM t", NULL));
        for (OK(db_next(b, &inner, NULL)); inner; OK(db_next(b, &inner, NULL)))
            pairs++;
        assert_int_equal(one(db, "SELECT COUNT(*) FROM t"), 5);
    }
    assert_int_equal(pairs, 25);
    struct db_stmt *open[300];
    for (int i = 0; i < 300; i++) {
        char sql[64];
        snprintf(sql, sizeof sql, "SELECT %d FROM t", i);
        OK(db_query(db, &open[i], NULL, sql, NULL));
        OK(db_next(open[i], &row, NULL));
    }
    for (int i = 0; i < 300; i++) {
        assert_int_equal(db_i64(open[i], 0), i);
        db_done(open[i]);
    }
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 600; i++) {
            char sql[64];
            snprintf(sql, sizeof sql, "SELECT %d", i);
            assert_int_equal(one(db, sql), i);
        }
    }
}

static void *sees_no_transaction(void *arg)
{
    return db_in_transaction(arg) ? arg : NULL;
}

static void test_transactions(void **state)
{
    struct db *db = ((struct fixture *)*state)->db;
    pthread_t t;
    void *bad;
    make_table(db);
    assert_false(db_in_transaction(db));
    OK(db_begin(db, NULL));
    assert_true(db_in_transaction(db));
    pthread_create(&t, NULL, sees_no_transaction, db);
    pthread_join(t, &bad);
    assert_null(bad);
    put(db, 1, "a");
    db_rollback(db);
    assert_int_equal(one(db, "SELECT COUNT(*) FROM t"), 0);
    OK(db_begin(db, NULL));
    put(db, 1, "a");
    /* A violated constraint undoes its statement alone. */
    assert_int_equal(db_exec(db, NULL, "INSERT INTO t (k) VALUES (?)", "i", INT64_C(1)),
                     EMAC_CONFLICT);
    put(db, 2, "b");
    OK(db_commit(db, NULL));
    assert_false(db_in_transaction(db));
    assert_int_equal(one(db, "SELECT COUNT(*) FROM t"), 2);
}

#define THREADS 6
#define ROUNDS  30

/* Read-modify-write in a transaction by many threads: nothing is lost, nothing interleaves. */
static void *add_many(void *arg)
{
    struct db *db = arg;
    for (int i = 0; i < ROUNDS; i++) {
        int64_t v = 0;
        if (db_begin(db, NULL) != EMAC_OK ||
            db_one_i64(db, &v, NULL, "SELECT k FROM t", NULL) != EMAC_OK ||
            db_exec(db, NULL, "UPDATE t SET k = ?", "i", v + 1) != EMAC_OK)
            return arg;
        if (i % 7 == 3)
            db_rollback(db);
        else if (db_commit(db, NULL) != EMAC_OK)
            return arg;
        if (db_exec(db, NULL, "UPDATE t SET d = d + 1", NULL) != EMAC_OK)
            return arg;
    }
    return NULL;
}

static void test_threads(void **state)
{
    struct db *db = ((struct fixture *)*state)->db;
    pthread_t t[THREADS];
    void *bad;
    int rolled_back = 0;
    make_table(db);
    OK(db_exec(db, NULL, "INSERT INTO t (k, d) VALUES (0, 0)", NULL));
    for (int i = 0; i < THREADS; i++)
        pthread_create(&t[i], NULL, add_many, db);
    for (int i = 0; i < THREADS; i++) {
        pthread_join(t[i], &bad);
        assert_null(bad);
    }
    for (int i = 0; i < ROUNDS; i++)
        rolled_back += i % 7 == 3;
    assert_int_equal(one(db, "SELECT k FROM t"), THREADS * (ROUNDS - rolled_back));
    assert_int_equal(one(db, "SELECT CAST(d AS BIGINT) FROM t"), THREADS * ROUNDS);
}

/* ---- a disk that fills ---- */

static void test_full(void **state)
{
    struct db *db = ((struct fixture *)*state)->db;
    struct emac_err err;
    static char big[3000];
    memset(big, 'x', sizeof big - 1);
    make_table(db);
    put(db, -1, "before");
    OK(db_exec(db, NULL, "PRAGMA max_page_count = 40", NULL));
    OK(db_begin(db, NULL));
    enum emac_status st = EMAC_OK;
    int64_t i = 0;
    while (st == EMAC_OK && i < 1000)
        st = db_exec(db, &err, "INSERT INTO t (k, v) VALUES (?, ?)", "it", i++, big);
    assert_int_equal(st, EMAC_NO_SPACE);
    assert_non_null(strstr(err.text, "disk full while writing database"));
    assert_non_null(strstr(err.text, "free space"));
    /* Whether SQLite ended the transaction or only the statement: all or nothing is kept. */
    int64_t changed;
    bool ended =
        db_change(db, &changed, &err, "DELETE FROM t WHERE k = ?", "i", INT64_C(0)) != EMAC_OK;
    st = db_commit(db, &err);
    assert_int_equal(st, ended ? EMAC_NO_SPACE : EMAC_OK);
    assert_false(db_in_transaction(db));
    assert_int_equal(one(db, "SELECT COUNT(*) FROM t"), ended ? 1 : i - 1);
    OK(db_exec(db, NULL, "PRAGMA max_page_count = 4000", NULL));
    put(db, 5000, big);
}

/* A real file-size limit: the write itself fails. In a child, since the limit stays. */
static void test_full_write(void **state)
{
    struct fixture *f = *state;
    make_table(f->db);
    put(f->db, -1, "before");
    db_close(f->db);
    f->db = NULL;
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        struct db *db;
        static char big[3000];
        memset(big, 'x', sizeof big - 1);
        signal(SIGXFSZ, SIG_IGN);
        struct rlimit limit = {64 << 10, 64 << 10};
        if (setrlimit(RLIMIT_FSIZE, &limit) != 0 || db_open(f->path, &db, NULL) != EMAC_OK)
            _exit(1);
        enum emac_status st = EMAC_OK;
        for (int64_t i = 0; st == EMAC_OK && i < 1000; i++)
            st = db_exec(db, NULL, "INSERT INTO t (k, v) VALUES (?, ?)", "it", i, big);
        _exit(st == EMAC_NO_SPACE || st == EMAC_IO ? 0 : 2);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    OK(db_open(f->path, &f->db, NULL)); /* with the check after an unclean end */
    assert_int_equal(one(f->db, "SELECT COUNT(*) FROM t WHERE v = 'before'"), 1);
    assert_true(one(f->db, "SELECT MAX(k) + 2 = COUNT(*) FROM t") == 1);
}

/* ---- a disk whose fsync fails ---- */

static int syncs_left = INT32_MAX;

static int failing_sync(sqlite3_file *f, int flags)
{
    return syncs_left-- > 0 ? vfs_sync(f, flags) : SQLITE_IOERR_FSYNC;
}

/* An insert whose fsync fails ends the process; what was acknowledged before is there. */
static void test_failed_fsync(void **state)
{
    struct fixture *f = *state;
    make_table(f->db);
    db_close(f->db);
    f->db = NULL;
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        struct db *db;
        abort_quietly();
        vfs_install();
        vfs_methods.xSync = failing_sync;
        if (db_open(f->path, &db, NULL) != EMAC_OK)
            _exit(1);
        if (db_exec(db, NULL, "INSERT INTO t (k) VALUES (1)", NULL) != EMAC_OK)
            _exit(2);
        syncs_left = 0;
        (void)db_exec(db, NULL, "INSERT INTO t (k) VALUES (2)", NULL);
        _exit(3);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    OK(db_open(f->path, &f->db, NULL));
    assert_int_equal(one(f->db, "SELECT COUNT(*) FROM t WHERE k = 1"), 1);
}

/* ---- damaged files ---- */

static void test_damaged(void **state)
{
    struct fixture *f = *state;
    struct emac_err err;
    make_table(f->db);
    for (int64_t i = 0; i < 500; i++)
        put(f->db, i, "some text to fill pages with");
    db_close(f->db);
    f->db = NULL;
    int fd = open(f->path, O_RDWR);
    char junk[4096];
    memset(junk, 0x5a, sizeof junk);
    for (off_t at = 4096; at < 4096 * 6; at += 4096)
        assert_int_equal(pwrite(fd, junk, sizeof junk, at), sizeof junk);
    OK(db_open(f->path, &f->db, &err));
    int64_t v;
    assert_int_equal(db_one_i64(f->db, &v, &err, "SELECT COUNT(v) FROM t", NULL), EMAC_CORRUPT);
    assert_non_null(strstr(err.text, "restore a backup"));
    db_close(f->db);
    f->db = NULL;
    /* The same after an unclean end (a -wal file stands there): found at the door. */
    char wal[128];
    path_of(f, "-wal", wal);
    int w = open(wal, O_WRONLY | O_CREAT, 0600);
    assert_int_equal(write(w, junk, 100), 100);
    close(w);
    assert_int_equal(db_open(f->path, &f->db, &err), EMAC_CORRUPT);
    assert_null(f->db);
    unlink(wal);
    assert_int_equal(pwrite(fd, junk, 100, 0), 100);
    assert_int_equal(db_open(f->path, &f->db, &err), EMAC_CORRUPT);
    close(fd);
    unlink(f->path);
    OK(db_open(f->path, &f->db, &err));
}

/* ---- migrations ---- */

static void test_migrations(void **state)
{
    struct fixture *f = *state;
    struct emac_err err = {0};
    struct db_migration m[] = {
        {"001_a", "CREATE TABLE a (x BIGINT); INSERT INTO a VALUES (1);\n-- end\n"},
        {"002_b", "ALTER TABLE a ADD COLUMN y BIGINT;"},
        {"003_c", "INSERT INTO a VALUES (2, 3); INSERT INTO nowhere VALUES (1);"},
    };
    OK(db_migrate(f->db, m, 1, &err));
    OK(db_migrate(f->db, m, 1, &err));
    assert_int_equal(one(f->db, "SELECT COUNT(*) FROM a"), 1);
    OK(db_migrate(f->db, m, 2, &err));
    assert_int_equal(one(f->db, "SELECT COUNT(*) FROM schema_migrations"), 2);
    /* One that fails leaves nothing behind. */
    assert_int_equal(db_migrate(f->db, m, 3, &err), EMAC_INTERNAL);
    assert_non_null(strstr(err.text, "003_c"));
    assert_int_equal(one(f->db, "SELECT COUNT(*) FROM a"), 1);
    assert_int_equal(one(f->db, "SELECT COUNT(*) FROM schema_migrations"), 2);
    m[2].sql = "DELETE FROM a;";
    OK(db_migrate(f->db, m, 3, &err));
    assert_int_equal(db_migrate(f->db, m, 2, &err), EMAC_CONFLICT);
    assert_non_null(strstr(err.text, "newer than this program"));
    m[0].sql = "CREATE TABLE a (x BIGINT);";
    assert_int_equal(db_migrate(f->db, m, 3, &err), EMAC_CORRUPT);
    assert_non_null(strstr(err.text, "001_a"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_open, setup, teardown),
        cmocka_unit_test_setup_teardown(test_values, setup, teardown),
        cmocka_unit_test_setup_teardown(test_first, setup, teardown),
        cmocka_unit_test_setup_teardown(test_errors, setup, teardown),
        cmocka_unit_test_setup_teardown(test_statements, setup, teardown),
        cmocka_unit_test_setup_teardown(test_transactions, setup, teardown),
        cmocka_unit_test_setup_teardown(test_threads, setup, teardown),
        cmocka_unit_test_setup_teardown(test_full, setup, teardown),
        cmocka_unit_test_setup_teardown(test_full_write, setup, teardown),
        cmocka_unit_test_setup_teardown(test_failed_fsync, setup, teardown),
        cmocka_unit_test_setup_teardown(test_damaged, setup, teardown),
        cmocka_unit_test_setup_teardown(test_migrations, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
