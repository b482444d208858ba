/* The same short life of a ledger again and again, each time with another call failing: every read,
 * write and other file operation of the database once (a full disk, then an I/O error), every piece
 * of memory it asks for once, every fsync once. Afterwards, without faults: the audit is sound,
 * what was acknowledged is there, and doing everything again ends in the same balances. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "../db/vfs_shim.h"
#include "fixture.h"
#include "ledger/allowance.h"

/* ---- the fault ---- */

enum fault { NONE, FILE_FULL, FILE_ERROR, MEMORY, SYNC };

static struct {
    enum fault kind;
    int left;     /* calls of that kind until the one that fails */
    bool lasting; /* all later ones fail too */
    bool hit;
} fault;

static bool fails(enum fault kind)
{
    bool same = fault.kind == kind || (kind == FILE_ERROR && fault.kind == FILE_FULL);
    if (!same)
        return false;
    if (fault.left > 0) {
        fault.left--;
        return false;
    }
    bool now = fault.lasting || !fault.hit;
    fault.hit = true;
    return now;
}

/* ---- memory ---- */

static sqlite3_mem_methods real_memory;

static void *faulty_malloc(int n)
{
    return fails(MEMORY) ? NULL : real_memory.xMalloc(n);
}

static void *faulty_realloc(void *p, int n)
{
    return fails(MEMORY) ? NULL : real_memory.xRealloc(p, n);
}

/* ---- files ---- */

#define FULL_OR(code) (fault.kind == FILE_FULL ? SQLITE_FULL : (code))

/* What a full disk does not hinder. */
static bool file_fails(void)
{
    return fault.kind == FILE_ERROR && fails(FILE_ERROR);
}

static int faulty_read(sqlite3_file *f, void *p, int n, sqlite3_int64 at)
{
    return file_fails() ? SQLITE_IOERR_READ : vfs_read(f, p, n, at);
}

/* The failing write has written half. */
static int faulty_write(sqlite3_file *f, const void *p, int n, sqlite3_int64 at)
{
    if (!fails(FILE_ERROR))
        return vfs_write(f, p, n, at);
    (void)vfs_write(f, p, n / 2, at);
    return FULL_OR(SQLITE_IOERR_WRITE);
}

static int faulty_truncate(sqlite3_file *f, sqlite3_int64 n)
{
    return fails(FILE_ERROR) ? FULL_OR(SQLITE_IOERR_TRUNCATE) : vfs_truncate(f, n);
}

static int faulty_sync(sqlite3_file *f, int flags)
{
    return fails(SYNC) ? SQLITE_IOERR_FSYNC : vfs_sync(f, flags);
}

static int faulty_size(sqlite3_file *f, sqlite3_int64 *n)
{
    return file_fails() ? SQLITE_IOERR_FSTAT : vfs_size(f, n);
}

static int faulty_lock(sqlite3_file *f, int level)
{
    return file_fails() ? SQLITE_IOERR_LOCK : vfs_lock(f, level);
}

static int faulty_map(sqlite3_file *f, int page, int size, int extend, void volatile **out)
{
    return fails(FILE_ERROR) ? FULL_OR(SQLITE_IOERR_SHMMAP) : vfs_map(f, page, size, extend, out);
}

static int faulty_shm_lock(sqlite3_file *f, int at, int n, int flags)
{
    bool locks = (flags & SQLITE_SHM_LOCK) != 0;
    return locks && file_fails() ? SQLITE_IOERR_SHMLOCK : vfs_shm_lock(f, at, n, flags);
}

static int faulty_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *f, int flags, int *out)
{
    f->pMethods = NULL;
    return file_fails() ? SQLITE_CANTOPEN : vfs_open(vfs, name, f, flags, out);
}

static char client[DID_KEY_MAX]; /* somebody with an allowance */

static int install(void **state)
{
    sqlite3_config(SQLITE_CONFIG_GETMALLOC, &real_memory);
    sqlite3_mem_methods memory = real_memory;
    memory.xMalloc = faulty_malloc;
    memory.xRealloc = faulty_realloc;
    sqlite3_config(SQLITE_CONFIG_MALLOC, &memory);
    /* Without its own small-piece pool every allocation comes by here. */
    sqlite3_config(SQLITE_CONFIG_LOOKASIDE, 0, 0);
    const uint8_t key[ED25519_PUBLIC_BYTES] = {1};
    crypto_did_key(client, key);
    vfs_install();
    vfs_methods.xRead = faulty_read;
    vfs_methods.xWrite = faulty_write;
    vfs_methods.xTruncate = faulty_truncate;
    vfs_methods.xSync = faulty_sync;
    vfs_methods.xFileSize = faulty_size;
    vfs_methods.xLock = faulty_lock;
    vfs_methods.xShmMap = faulty_map;
    vfs_methods.xShmLock = faulty_shm_lock;
    vfs_shim.xOpen = faulty_open;
    return 0;
}

/* ---- the life ---- */

#define TRANSACTIONS 8
#define EACH         3

struct life {
    const char *path;
    int *acknowledged; /* transactions whose commit said OK; shared with a child */
};

/* Posting j of transaction i; every third one only fits after those before it. */
static enum emac_status post_one(struct db *db, int i, int j, struct emac_err *err)
{
    char key[32];
    snprintf(key, sizeof key, "t%d-%d", i, j);
    struct ledger_posting p = posting(key, "pay");
    if (j == 2) {
        ledger_entry_add(&p, -150, "user:a%d", i);
        ledger_entry_add(&p, 150, "fee");
    } else {
        ledger_entry_add(&p, -100, "faucet");
        ledger_entry_add(&p, 100, "user:a%d", i);
    }
    return ledger_post(db, &p, NULL, err);
}

static enum emac_status transact(struct db *db, int i, struct emac_err *err)
{
    enum emac_status st = db_begin(db, err);
    if (st != EMAC_OK)
        return st;
    for (int j = 0; j < EACH && st == EMAC_OK; j++)
        st = post_one(db, i, j, err);
    if (st == EMAC_OK)
        return db_commit(db, err);
    db_rollback(db);
    return st;
}

static void see_units(void *ctx, const char *account, int64_t units)
{
}

static void see_line(void *ctx, const struct ledger_line *line)
{
}

/* Batches that are given up, allowances, all that reads: a failure is told, and changes nothing. */
static enum emac_status look(struct db *db, struct emac_err *err)
{
    struct ledger_batch *b;
    struct ledger_audit a = {.broken = 0};
    struct emac_buf found;
    uint32_t broken = 0;
    int64_t units;
    enum emac_status st = db_begin(db, err);
    if (st != EMAC_OK)
        return st;
    st = ledger_batch_start(db, &b, err);
    for (int i = 0; i < 40 && st == EMAC_OK; i++) {
        char account[32];
        snprintf(account, sizeof account, "user:look%d", i);
        st = ledger_batch_balance(b, account, &units, err);
    }
    ledger_batch_free(b);
    struct allowance grant = {.id = "a1",
                              .origin = ALLOWANCE_NOTARIES,
                              .granted = 100,
                              .granted_ms = 1,
                              .expires_ms = 1000};
    emac_strcpy(grant.client, sizeof grant.client, client);
    if (st == EMAC_OK)
        st = allowance_grant(db, &grant, NULL, err);
    if (st == EMAC_OK)
        st = allowance_bind(db, client, "deal1", 40, 2, err);
    if (st == EMAC_OK)
        st = allowance_end(db, "deal1", false, 3, err);
    if (st == EMAC_OK)
        st = ledger_balances(db, "", see_units, NULL, err);
    if (st == EMAC_OK)
        st = ledger_journal(db, 0, 100, see_line, NULL, err);
    if (st == EMAC_OK) {
        st = ledger_audit(db, &a, err);
        emac_buf_release(&a.report);
    }
    emac_buf_init(&found, 4096);
    if (st == EMAC_OK)
        st = allowance_audit(db, &found, &broken, err);
    emac_buf_release(&found);
    db_rollback(db);
    assert_int_equal(broken, 0);
    assert_true(st != EMAC_OK || a.broken == 0);
    return st;
}

static enum emac_status live(const struct life *l, struct emac_err *err)
{
    struct db *db;
    enum emac_status st = db_open(l->path, &db, err);
    if (st != EMAC_OK)
        return st;
    st = db_migrate(db, LEDGER_MIGRATIONS, LEDGER_MIGRATION_COUNT, err);
    for (int i = 0; i < TRANSACTIONS && st == EMAC_OK; i++) {
        st = transact(db, i, err);
        *l->acknowledged += st == EMAC_OK;
    }
    if (st == EMAC_OK)
        st = look(db, err);
    db_close(db);
    return st;
}

static int64_t count_postings(struct db *db)
{
    struct ledger_audit a;
    OK(ledger_audit(db, &a, NULL));
    if (a.broken != 0)
        print_message("kind %d: %s", fault.kind, emac_buf_str(&a.report));
    assert_int_equal(a.broken, 0);
    int64_t n = a.postings;
    emac_buf_release(&a.report);
    return n;
}

/* Without faults from here: all that was acknowledged, at most one transaction more, whole ones. */
static void check_and_finish(struct fixture *f, int acknowledged)
{
    struct emac_err err;
    fault.kind = NONE;
    fixture_open(f);
    int64_t n = count_postings(f->db);
    assert_int_equal(n % EACH, 0);
    assert_in_range(n / EACH, (uintmax_t)acknowledged, (uintmax_t)acknowledged + 1);
    for (int i = 0; i < TRANSACTIONS; i++)
        OK(transact(f->db, i, &err));
    assert_int_equal(count_postings(f->db), TRANSACTIONS * EACH);
    assert_int_equal(balance(f->db, "fee"), 150 * TRANSACTIONS);
    assert_int_equal(balance(f->db, "user:a3"), 50);
    assert_int_equal(balance(f->db, "faucet"), -200 * TRANSACTIONS);
}

static void start_anew(struct fixture *f)
{
    static const char *const SUFFIX[] = {"", "-wal", "-shm"};
    db_close(f->db);
    f->db = NULL;
    for (size_t i = 0; i < 3; i++) {
        char path[128];
        snprintf(path, sizeof path, "%s%s", f->path, SUFFIX[i]);
        unlink(path);
    }
}

/* One life with the nth call of a kind failing; false when there were not that many. */
static bool one_life(struct fixture *f, enum fault kind, int n, bool lasting)
{
    struct emac_err err = {.status = EMAC_OK};
    int acknowledged = 0;
    const struct life l = {f->path, &acknowledged};
    start_anew(f);
    fault.kind = kind;
    fault.left = n;
    fault.lasting = lasting;
    fault.hit = false;
    enum emac_status st = live(&l, &err);
    bool hit = fault.hit;
    if (!hit)
        assert_int_equal(st, EMAC_OK);
    if (st != EMAC_OK)
        assert_true(err.text[0] != '\0');
    check_and_finish(f, acknowledged);
    return hit;
}

static void run(struct fixture *f, const char *name, enum fault kind, int step)
{
    for (int lasting = 0; lasting < 2; lasting++) {
        int n = 0;
        while (one_life(f, kind, n, lasting != 0))
            n += step;
        print_message("%s%s: %d places\n", name, lasting ? ", lasting" : "", n / step);
        assert_true(n > 10);
    }
}

static void test_disk_full(void **state)
{
    run(*state, "disk full", FILE_FULL, 1);
}

static void test_file_error(void **state)
{
    run(*state, "I/O error", FILE_ERROR, 1);
}

static void test_memory(void **state)
{
    run(*state, "no memory", MEMORY, 17); /* a prime: all kinds of place come up over time */
}

/* A failed fsync stops the process. */
static void test_sync(void **state)
{
    struct fixture *f = *state;
    int *acknowledged =
        mmap(NULL, sizeof *acknowledged, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    const struct life l = {f->path, acknowledged};
    int n = 0, stopped = 0;
    for (bool hit = true; hit; n++) {
        start_anew(f);
        *acknowledged = 0;
        fflush(NULL);
        pid_t pid = fork();
        if (pid == 0) {
            struct rlimit no_core = {0, 0};
            setrlimit(RLIMIT_CORE, &no_core);
            dup2(open("/dev/null", O_WRONLY), 2);
            signal(SIGABRT, SIG_DFL);
            fault.kind = SYNC;
            fault.left = n;
            fault.lasting = true;
            enum emac_status st = live(&l, NULL);
            _exit(fault.hit ? 1 : st == EMAC_OK ? 0 : 2);
        }
        int status;
        assert_int_equal(waitpid(pid, &status, 0), pid);
        stopped += WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT;
        /* 1: the last fsync of all, of the checkpoint while closing, is not missed: the log stays.
         */
        assert_true(WIFSIGNALED(status) || WEXITSTATUS(status) < 2);
        hit = WIFSIGNALED(status) || WEXITSTATUS(status) == 1;
        check_and_finish(f, *acknowledged);
    }
    print_message("fsync: %d places, %d stopped the process\n", n - 1, stopped);
    assert_true(stopped >= TRANSACTIONS);
    munmap(acknowledged, sizeof *acknowledged);
}

/* Some 900 lives with 15 fsyncs each: in memory where that can be had. */
static int setup_fast(void **state)
{
    return setup_in(access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp", state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_disk_full, setup_fast, teardown),
        cmocka_unit_test_setup_teardown(test_file_error, setup_fast, teardown),
        cmocka_unit_test_setup_teardown(test_memory, setup_fast, teardown),
        cmocka_unit_test_setup_teardown(test_sync, setup_fast, teardown),
    };
    return cmocka_run_group_tests(tests, install, NULL);
}
