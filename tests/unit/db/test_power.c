/* The power fails at any moment (DB-1, DB-2). A VFS keeps beside each file what a disk is bound to
 * have: its bytes at the last sync. What was written since is there or not, write by write, a write
 * cut at any sector. Threads commit rows 1, 2, ... and note each row that db_sync stood for; after
 * a cut the database must open, hold a prefix of the rows, and all that were noted. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/assert.h"
#include "db/db.h"
#include "os/os.h"
#include "os/thread.h"
#include "../property.h"
#include "vfs_shim.h"

#define THREADS 4
#define SECTOR  512
#define PENDING 4096
#define FILES   8
#define ROW_MAX 3000
#define LIVES   25

/* ---- the disk ---- */

struct pending {
    size_t at, len;
    uint8_t *data;
};

struct disk_file {
    char path[200];
    uint8_t *durable;
    size_t len;
    struct pending pending[PENDING];
    size_t count;
};

static struct {
    struct os_mutex lock;
    struct disk_file file[FILES];
    size_t count;
} disk;

static void pending_clear(struct disk_file *d)
{
    for (size_t i = 0; i < d->count; i++)
        free(d->pending[i].data);
    d->count = 0;
}

/* What is there now is what is there for good. Files that need not survive have no disk. */
static void make_durable(sqlite3_file *f)
{
    struct disk_file *d = ((struct vfs_file *)f)->mine;
    sqlite3_int64 n = 0;
    if (d == NULL)
        return;
    EMAC_ASSERT(vfs_size(f, &n) == SQLITE_OK);
    d->durable = realloc(d->durable, (size_t)n + 1);
    d->len = (size_t)n;
    if (n > 0)
        EMAC_ASSERT(vfs_read(f, d->durable, (int)n, 0) == SQLITE_OK);
    pending_clear(d);
}

static int disk_write(sqlite3_file *f, const void *p, int n, sqlite3_int64 at)
{
    struct disk_file *d = ((struct vfs_file *)f)->mine;
    os_mutex_lock(&disk.lock);
    if (d != NULL && d->count == PENDING)
        make_durable(f); /* a disk may write at any time */
    if (d != NULL) {
        struct pending *w = &d->pending[d->count++];
        *w = (struct pending){(size_t)at, (size_t)n, malloc((size_t)n)};
        memcpy(w->data, p, (size_t)n);
    }
    int rc = vfs_write(f, p, n, at);
    os_mutex_unlock(&disk.lock);
    return rc;
}

static int disk_sync(sqlite3_file *f, int flags)
{
    os_mutex_lock(&disk.lock);
    make_durable(f);
    os_mutex_unlock(&disk.lock);
    return SQLITE_OK;
}

static int disk_truncate(sqlite3_file *f, sqlite3_int64 n)
{
    os_mutex_lock(&disk.lock);
    int rc = vfs_truncate(f, n);
    make_durable(f);
    os_mutex_unlock(&disk.lock);
    return rc;
}

static int disk_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *f, int flags, int *out)
{
    int rc = vfs_open(vfs, name, f, flags, out);
    if (rc != SQLITE_OK || (flags & (SQLITE_OPEN_MAIN_DB | SQLITE_OPEN_WAL)) == 0)
        return rc;
    EMAC_ASSERT(disk.count < FILES);
    struct disk_file *d = &disk.file[disk.count++];
    ((struct vfs_file *)f)->mine = d;
    snprintf(d->path, sizeof d->path, "%s", name);
    make_durable(f);
    return rc;
}

static int install(void **state)
{
    os_mutex_init(&disk.lock);
    vfs_install();
    vfs_methods.xWrite = disk_write;
    vfs_methods.xSync = disk_sync;
    vfs_methods.xTruncate = disk_truncate;
    vfs_shim.xOpen = disk_open;
    return 0;
}

/* ---- the cut ---- */

/* The file as the disk may have it: some of what was written since the last sync. */
static void file_cut(struct choices *c, const struct disk_file *d, const char *path)
{
    struct emac_buf bytes;
    emac_buf_init(&bytes, (size_t)1 << 30);
    EMAC_ASSERT(emac_buf_append(&bytes, d->durable, d->len, NULL) == EMAC_OK);
    for (size_t i = 0; i < d->count; i++) {
        const struct pending *w = &d->pending[i];
        uint64_t fate = choose(c, 4); /* half are lost, some are torn */
        size_t n = fate < 2 ? 0 : fate == 2 ? w->len : choose(c, w->len / SECTOR + 1) * SECTOR;
        if (n > w->len || n == 0)
            continue;
        static const uint8_t zeros[8192];
        while (bytes.len < w->at + n)
            EMAC_ASSERT(emac_buf_append(&bytes, zeros,
                                        w->at + n - bytes.len < sizeof zeros ? w->at + n - bytes.len
                                                                             : sizeof zeros,
                                        NULL) == EMAC_OK);
        memcpy(bytes.data + w->at, w->data, n);
    }
    EMAC_ASSERT(os_real()->file_write(os_real(), path, bytes.data, bytes.len, 0600, NULL) ==
                EMAC_OK);
    emac_buf_release(&bytes);
}

/* ---- the life ---- */

struct life {
    struct db *db;
    atomic_llong next, noted; /* rows begun, and known to be durable */
    atomic_bool stop;
};

static void row_commit(struct life *l, uint32_t thread)
{
    static const uint8_t filling[ROW_MAX];
    int64_t k = 0;
    /* Of the four one commits for itself, one without waiting, two as members of groups. */
    EMAC_ASSERT((thread < 2 ? db_begin : db_begin_soon)(l->db, NULL) == EMAC_OK);
    k = atomic_fetch_add(&l->next, 1) + 1; /* the database's lock makes this the commits' order */
    EMAC_ASSERT(db_exec(l->db, NULL, "INSERT INTO t (k, b) VALUES (?, ?)", "ib", k,
                        (const void *)filling, (size_t)(k * 7919 % ROW_MAX)) == EMAC_OK);
    if (thread == 0) {
        EMAC_ASSERT(db_commit(l->db, NULL) == EMAC_OK);
    } else {
        EMAC_ASSERT(db_commit_soon(l->db, NULL) == EMAC_OK);
        if (k % 5 == 0)
            return; /* never told of */
        EMAC_ASSERT(db_sync(l->db, NULL) == EMAC_OK);
    }
    for (long long was = atomic_load(&l->noted); was < k;)
        if (atomic_compare_exchange_weak(&l->noted, &was, k))
            break;
}

struct worker {
    struct life *life;
    uint32_t number;
};

static void *worker_main(void *arg)
{
    struct worker *w = arg;
    while (!atomic_load(&w->life->stop))
        row_commit(w->life, w->number);
    return NULL;
}

static void names(const char *dir, char db[160], char wal[170])
{
    snprintf(db, 160, "%s/x.db", dir);
    snprintf(wal, 170, "%s-wal", db);
}

static void files_remove(const char *dir)
{
    static const char *const NAME[] = {"x.db", "x.db-wal", "x.db-shm", "x.db.lock"};
    char path[200];
    for (size_t i = 0; i < 4; i++) {
        snprintf(path, sizeof path, "%s/%s", dir, NAME[i]);
        unlink(path);
    }
    rmdir(dir);
}

static bool is_whole(const char *dir, int64_t noted)
{
    char path[160], wal[170];
    struct db *db;
    struct emac_err err;
    int64_t rows = -1, last = -1;
    names(dir, path, wal);
    if (db_open(path, &db, &err) != EMAC_OK) {
        print_error("after a cut: %s\n", err.text);
        return false;
    }
    EMAC_ASSERT(db_one_i64(db, &rows, NULL, "SELECT COUNT(*) FROM t", NULL) == EMAC_OK);
    EMAC_ASSERT(db_one_i64(db, &last, NULL, "SELECT COALESCE(MAX(k), 0) FROM t", NULL) == EMAC_OK);
    db_close(db);
    if (rows == last && last >= noted) /* DB-1, DB-2 */
        return true;
    print_error("%lld rows to %lld, but %lld were told of\n", (long long)rows, (long long)last,
                (long long)noted);
    return false;
}

static bool survives(struct choices *c)
{
    char dir[64] = "/tmp/emac-test-power-XXXXXX", cut[64] = "/tmp/emac-test-power-XXXXXX";
    char path[160], wal[170], path_cut[160], wal_cut[170];
    struct life l = {.db = NULL};
    struct os_thread thread[THREADS];
    struct worker worker[THREADS];
    EMAC_ASSERT(mkdtemp(dir) != NULL && mkdtemp(cut) != NULL);
    names(dir, path, wal);
    names(cut, path_cut, wal_cut);
    EMAC_ASSERT(db_open(path, &l.db, NULL) == EMAC_OK);
    EMAC_ASSERT(db_exec(l.db, NULL, "CREATE TABLE t (k BIGINT PRIMARY KEY, b BLOB)", NULL) ==
                EMAC_OK);
    EMAC_ASSERT(db_exec(l.db, NULL, "PRAGMA wal_autocheckpoint = 40", NULL) == EMAC_OK);
    for (uint32_t i = 0; i < THREADS; i++) {
        worker[i] = (struct worker){&l, i};
        os_thread_start(&thread[i], worker_main, &worker[i]);
    }
    long long enough = (long long)choose(c, 300);
    while (atomic_load(&l.noted) < enough)
        os_real()->sleep_ms(os_real(), 1);
    int64_t noted = atomic_load(&l.noted);
    os_mutex_lock(&disk.lock);
    for (size_t i = 0; i < disk.count; i++)
        file_cut(c, &disk.file[i], strcmp(disk.file[i].path, path) == 0 ? path_cut : wal_cut);
    os_mutex_unlock(&disk.lock);
    atomic_store(&l.stop, true);
    for (uint32_t i = 0; i < THREADS; i++)
        os_thread_join(&thread[i]);
    db_close(l.db);
    bool whole = is_whole(cut, noted);
    for (size_t i = 0; i < disk.count; i++) {
        pending_clear(&disk.file[i]);
        free(disk.file[i].durable);
        disk.file[i] = (struct disk_file){.count = 0};
    }
    disk.count = 0;
    files_remove(dir);
    files_remove(cut);
    return whole;
}

static void test_power_cut(void **state)
{
    ASSERT_PROPERTY(LIVES, survives);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_power_cut, install),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
