/* Members of a group share one transaction (DB-2, DB-3): one that fails leaves the others, a group
 * that is lost is told to everybody who saw it, and nobody writes on before it was noticed. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/assert.h"
#include "db/db.h"
#include "os/thread.h"

#define OK(call) assert_int_equal(call, EMAC_OK)
#define BIG      3000

struct fixture {
    char dir[64], path[96];
    struct db *db;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    strcpy(f->dir, "/tmp/emac-test-group-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    snprintf(f->path, sizeof f->path, "%s/x.db", f->dir);
    OK(db_open(f->path, &f->db, NULL));
    OK(db_exec(f->db, NULL, "CREATE TABLE t (k BIGINT PRIMARY KEY, v TEXT NOT NULL)", NULL));
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    char cmd[96];
    db_close(f->db);
    snprintf(cmd, sizeof cmd, "rm -r '%s'", f->dir);
    assert_int_equal(system(cmd), 0);
    free(f);
    return 0;
}

static enum emac_status row(struct db *db, int64_t k, const char *v)
{
    struct emac_err err;
    return db_exec(db, &err, "INSERT INTO t (k, v) VALUES (?, ?)", "it", k, v);
}

static void member(struct db *db, int64_t k)
{
    OK(db_begin_soon(db, NULL));
    OK(row(db, k, "soon"));
    OK(db_commit_soon(db, NULL));
}

static int64_t rows(struct db *db)
{
    int64_t n = -1;
    OK(db_one_i64(db, &n, NULL, "SELECT COUNT(*) FROM t", NULL));
    return n;
}

/* What a process that is killed now would leave. */
static int64_t rows_after_a_kill(const struct fixture *f)
{
    char cmd[600], path[120];
    struct db *copy;
    snprintf(path, sizeof path, "%s/copy.db", f->dir);
    snprintf(cmd, sizeof cmd, "cp '%s' '%s' && cp '%s-wal' '%s-wal'", f->path, path, f->path, path);
    assert_int_equal(system(cmd), 0);
    OK(db_open(path, &copy, NULL));
    int64_t n = rows(copy);
    db_close(copy);
    return n;
}

static void test_members(void **state)
{
    struct fixture *f = *state;
    struct db *db = f->db;
    member(db, 1);
    member(db, 2);
    OK(db_begin_soon(db, NULL));
    OK(row(db, 3, "undone"));
    assert_int_equal(row(db, 1, "twice"), EMAC_CONFLICT);
    assert_int_equal(rows(db), 3);
    db_rollback(db);
    assert_int_equal(rows(db), 2); /* DB-3 */
    member(db, 4);
    assert_int_equal(rows(db), 3);
    assert_int_equal(rows_after_a_kill(f), 0); /* all or nothing, and nobody was told */
    OK(db_sync(db, NULL));
    assert_int_equal(rows_after_a_kill(f), 3); /* DB-2 */
}

/* Whoever does not join commits the group first. */
static void test_others(void **state)
{
    struct fixture *f = *state;
    struct db *db = f->db;
    member(db, 1);
    OK(db_begin(db, NULL));
    OK(row(db, 2, "own"));
    assert_int_equal(rows_after_a_kill(f), 1);
    db_rollback(db);
    assert_int_equal(rows(db), 1);
    member(db, 3);
    OK(row(db, 4, "by itself"));
    assert_int_equal(rows_after_a_kill(f), 3);
    member(db, 5);
    OK(db_begin(db, NULL));
    OK(row(db, 6, "soon, but not a member"));
    OK(db_commit_soon(db, NULL));
    assert_int_equal(rows_after_a_kill(f), 5);
    member(db, 7);
    db_close(db);
    OK(db_open(f->path, &f->db, NULL));
    assert_int_equal(rows(f->db), 6);
}

/* DB-4: a number that members add to, of which row 0 is told at the end. */
struct tally {
    struct db *db;
    int64_t n;
    uint32_t written, forgotten;
    bool fails;
};

static enum emac_status tally_write(void *ctx, struct emac_err *err)
{
    struct tally *t = ctx;
    char text[24];
    t->written++;
    if (t->fails)
        return emac_fail(err, EMAC_NO_SPACE, "no room for the tally");
    snprintf(text, sizeof text, "%d", (int)t->n);
    return db_exec(
        t->db, err,
        "INSERT INTO t (k, v) VALUES (0, ?) ON CONFLICT (k) DO UPDATE SET v = excluded.v", "t",
        text);
}

static void tally_forget(void *ctx)
{
    ((struct tally *)ctx)->forgotten++;
}

static void tally_free(void *ctx)
{
    ((struct tally *)ctx)->db = NULL;
}

static void tally_member(struct db *db, struct tally *t, int64_t k)
{
    OK(db_begin_soon(db, NULL));
    assert_true(db_in_member(db));
    *db_beside(db) = (struct db_beside){t, tally_write, tally_forget, tally_free};
    t->n++;
    db_beside_owe(db);
    OK(row(db, k, "soon"));
    OK(db_commit_soon(db, NULL));
    assert_false(db_in_member(db));
}

static int64_t told(struct db *db)
{
    int64_t n = -1;
    (void)db_one_i64(db, &n, NULL, "SELECT CAST(v AS BIGINT) FROM t WHERE k = 0", NULL);
    return n;
}

static void test_beside(void **state)
{
    struct fixture *f = *state;
    struct db *db = f->db;
    struct tally t = {.db = db};
    struct emac_err err = {0};
    tally_member(db, &t, 1);
    tally_member(db, &t, 2);
    assert_int_equal(t.written, 0);
    assert_int_equal(told(db), 2); /* who is no member sees it */
    assert_int_equal(told(db), 2);
    assert_int_equal(t.written, 1); /* once, as long as no more is owed */
    tally_member(db, &t, 3);
    OK(db_begin_soon(db, NULL));
    assert_int_equal(told(db), 2); /* members have it beside */
    OK(row(db, 4, "undone"));
    db_rollback(db);
    assert_int_equal(t.forgotten, 1);
    OK(db_sync(db, NULL)); /* what is owed for the third is not undone with the fourth */
    assert_int_equal(t.written, 2);
    assert_int_equal(t.forgotten, 2);
    assert_int_equal(told(db), 3);
    assert_int_equal(rows_after_a_kill(f), 4);
    tally_member(db, &t, 5);
    OK(db_begin(db, NULL));
    assert_int_equal(told(db), 4);
    db_rollback(db);
    /* When it cannot be written the group is lost, and its members hear of it. */
    tally_member(db, &t, 6);
    t.fails = true;
    assert_int_equal(db_sync(db, &err), EMAC_NO_SPACE);
    assert_string_equal(err.text, "no room for the tally");
    assert_int_equal(db_begin_soon(db, NULL), EMAC_NO_SPACE);
    assert_true(db_lost(db));
    assert_int_equal(told(db), 4);
    assert_int_equal(rows(db), 5);
    t.fails = false;
    tally_member(db, &t, 7);
    OK(db_sync(db, NULL));
    assert_int_equal(rows(db), 6);
    db_close(db);
    assert_null(t.db);
    OK(db_open(f->path, &f->db, NULL));
}

/* One that reads what is lost then, or nothing. */
struct reader {
    struct db *db;
    bool looks;
    sem_t *looked, *lost;
    enum emac_status st; /* of its db_sync */
};

static void *reader_main(void *arg)
{
    struct reader *r = arg;
    if (r->looks)
        (void)rows(r->db);
    sem_post(r->looked);
    sem_wait(r->lost);
    r->st = db_sync(r->db, NULL);
    return NULL;
}

/* Members until the disk is full; *failed is what the last of them met. */
static int64_t fill(struct db *db, enum emac_status *failed)
{
    static char big[BIG];
    int64_t k = 100;
    memset(big, 'x', sizeof big - 1);
    for (*failed = EMAC_OK; *failed == EMAC_OK && k < 2000; k++) {
        OK(db_begin_soon(db, NULL));
        *failed = row(db, k, big);
        if (*failed == EMAC_OK)
            *failed = db_commit_soon(db, NULL);
        else
            db_rollback(db);
    }
    return k - 101; /* that were fine */
}

/* A member that does not fit takes itself, or all, with it: then each who saw them is told. */
static void test_full(void **state)
{
    struct db *db = ((struct fixture *)*state)->db;
    struct emac_err err = {0};
    enum emac_status failed;
    OK(row(db, 1, "before"));
    OK(db_exec(db, NULL, "PRAGMA max_page_count = 40", NULL));
    int64_t fine = fill(db, &failed);
    assert_int_equal(failed, EMAC_NO_SPACE);
    assert_true(fine > 10);
    bool all = rows(db) == 1;
    assert_true(all || rows(db) == 1 + fine);
    assert_int_equal(db_sync(db, &err), all ? EMAC_NO_SPACE : EMAC_OK);
    assert_int_equal(db_begin_soon(db, &err), all ? EMAC_NO_SPACE : EMAC_OK);
    if (!all)
        db_rollback(db);
    assert_int_equal(db_lost(db), all);
    assert_false(db_lost(db));
    OK(db_exec(db, NULL, "PRAGMA max_page_count = 4000", NULL));
    member(db, 5000);
    OK(db_sync(db, NULL));
    assert_int_equal(rows(db), all ? 2 : fine + 2);
}

/* The group's own commit fails: a real limit to the size of files, in a child since it stays. */
static void lost_child(const char *path)
{
    struct db *db;
    struct emac_err err = {0};
    struct os_thread thread[2];
    struct rlimit limit = {64 << 10, 64 << 10};
    enum emac_status failed = EMAC_OK;
    signal(SIGXFSZ, SIG_IGN);
    EMAC_ASSERT(setrlimit(RLIMIT_FSIZE, &limit) == 0 && db_open(path, &db, NULL) == EMAC_OK);
    int64_t fine = fill(db, &failed);
    EMAC_ASSERT(failed == EMAC_OK && fine > 100); /* nothing was written yet */
    sem_t looked, lost;
    EMAC_ASSERT(sem_init(&looked, 0, 0) == 0 && sem_init(&lost, 0, 0) == 0);
    struct reader reader[2] = {{db, true, &looked, &lost, EMAC_OK},
                               {db, false, &looked, &lost, EMAC_OK}};
    for (int i = 0; i < 2; i++) {
        os_thread_start(&thread[i], reader_main, &reader[i]);
        sem_wait(&looked);
    }
    enum emac_status st = db_sync(db, &err);
    for (int i = 0; i < 2; i++)
        sem_post(&lost);
    for (int i = 0; i < 2; i++)
        os_thread_join(&thread[i]);
    EMAC_ASSERT(reader[0].st == st && reader[1].st == EMAC_OK);
    EMAC_ASSERT(st == EMAC_NO_SPACE || st == EMAC_IO);
    EMAC_ASSERT(err.text[0] != '\0' && rows(db) == 1);
    EMAC_ASSERT(db_sync(db, NULL) == EMAC_OK); /* told once */
    EMAC_ASSERT(db_begin(db, NULL) == st && db_begin_soon(db, NULL) == st);
    EMAC_ASSERT(db_lost(db) && db_begin(db, NULL) == EMAC_OK);
    db_rollback(db);
    member(db, 1000); /* small enough */
    EMAC_ASSERT(db_sync(db, NULL) == EMAC_OK && rows(db) == 2);
    fill(db, &failed);
    EMAC_ASSERT(db_begin(db, NULL) == st); /* it commits the group first */
    EMAC_ASSERT(db_sync(db, NULL) == st && rows(db) == 2);
    EMAC_ASSERT(row(db, 1001, "by itself") == EMAC_OK && db_lost(db));
    db_close(db);
    _exit(0);
}

static void test_lost(void **state)
{
    struct fixture *f = *state;
    int status;
    OK(row(f->db, 1, "before"));
    db_close(f->db);
    f->db = NULL;
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0)
        lost_child(f->path);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    OK(db_open(f->path, &f->db, NULL));
    assert_int_equal(rows(f->db), 3);
}

/* Threads that commit and wait: each finds its row in the copy that a kill would leave. */
#define THREADS 6
#define EACH    40

struct worker {
    struct db *db;
    int64_t first;
};

static void *worker_main(void *arg)
{
    struct worker *w = arg;
    for (int64_t i = 0; i < EACH; i++) {
        bool undone = i % 5 == 0, own = i % 7 == 0;
        EMAC_ASSERT((own ? db_begin : db_begin_soon)(w->db, NULL) == EMAC_OK);
        EMAC_ASSERT(row(w->db, w->first + i, "x") == EMAC_OK);
        if (undone)
            db_rollback(w->db);
        else
            EMAC_ASSERT((own ? db_commit : db_commit_soon)(w->db, NULL) == EMAC_OK);
        if (!own)
            EMAC_ASSERT(db_sync(w->db, NULL) == EMAC_OK);
    }
    return NULL;
}

static void test_threads(void **state)
{
    struct fixture *f = *state;
    struct os_thread thread[THREADS];
    struct worker worker[THREADS];
    for (int i = 0; i < THREADS; i++) {
        worker[i] = (struct worker){f->db, i * 1000};
        os_thread_start(&thread[i], worker_main, &worker[i]);
    }
    for (int i = 0; i < THREADS; i++)
        os_thread_join(&thread[i]);
    assert_int_equal(rows(f->db), THREADS * EACH * 4 / 5);
    assert_int_equal(rows_after_a_kill(f), THREADS * EACH * 4 / 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_members, setup, teardown),
        cmocka_unit_test_setup_teardown(test_others, setup, teardown),
        cmocka_unit_test_setup_teardown(test_beside, setup, teardown),
        cmocka_unit_test_setup_teardown(test_full, setup, teardown),
        cmocka_unit_test_setup_teardown(test_lost, setup, teardown),
        cmocka_unit_test_setup_teardown(test_threads, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
