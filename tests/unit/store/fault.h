/* An operating system whose disk fails: at a chosen call, when full, or by a loss of power that
 * leaves unsynced files torn. Nothing here is slow: the real fsync is left out, what it promises is
 * kept in a list. */
#ifndef EMAC_TESTS_STORE_FAULT_H
#define EMAC_TESTS_STORE_FAULT_H

#include "fixture.h"
#include "os/thread.h"

#define UNSYNCED_MAX 4096

struct fault {
    struct os os;
    struct os_mutex lock; /* one call at a time */
    uint64_t seed;
    long calls;    /* so far, of those that change the disk */
    long crash_at; /* this call and all later ones fail; 0: never */
    long fail_at;  /* this one alone fails with fail_with */
    enum emac_status fail_with;
    bool reads_fail; /* every read gives IO */
    uint64_t room;   /* bytes that can still be written; NO_SPACE beyond */
    bool dead;
    size_t unsynced_count;
    char unsynced[UNSYNCED_MAX][160]; /* files and directories */
};

static inline struct fault *fault_of(struct os *os)
{
    return (struct fault *)os; /* os is the first member */
}

static inline void unsynced_add(struct fault *f, const char *path)
{
    assert_true(f->unsynced_count < UNSYNCED_MAX && strlen(path) < sizeof f->unsynced[0]);
    strcpy(f->unsynced[f->unsynced_count++], path);
}

static inline size_t parent_length(const char *path)
{
    return (size_t)(strrchr(path, '/') - path);
}

/* What a sync of path promises: its bytes, and the names beside it. */
static inline void unsynced_drop(struct fault *f, const char *path)
{
    size_t n = parent_length(path), kept = 0;
    for (size_t i = 0; i < f->unsynced_count; i++) {
        const char *u = f->unsynced[i];
        struct stat s;
        bool beside = parent_length(u) == n && strncmp(u, path, n) == 0;
        bool dir = stat(u, &s) == 0 && S_ISDIR(s.st_mode);
        if (strcmp(u, path) != 0 && !(beside && dir))
            memmove(f->unsynced[kept++], u, strlen(u) + 1);
    }
    f->unsynced_count = kept;
}

/* The power goes: every unsynced thing is whole, cut, or gone. */
static inline void fault_crash(struct fault *f)
{
    f->dead = true;
    for (size_t i = 0; i < f->unsynced_count; i++) {
        const char *u = f->unsynced[i];
        uint32_t r[4];
        struct stat s;
        philox_at(f->seed, PHILOX_TEST, 1, i + (uint64_t)f->calls * 1000, r);
        if (stat(u, &s) != 0 || r[0] % 3 == 0)
            continue;
        if (S_ISDIR(s.st_mode))
            remove_tree(u);
        else if (r[0] % 3 == 1)
            unlink(u);
        else
            assert_int_equal(truncate(u, r[1] % (s.st_size + 1)), 0);
    }
}

/* Is this call to fail? A crash may also leave the call half done, which the caller mimics. */
static inline enum emac_status fault_step(struct fault *f, struct emac_err *err)
{
    f->calls++;
    if (!f->dead && f->crash_at != 0 && f->calls >= f->crash_at)
        fault_crash(f);
    if (f->dead)
        return emac_fail(err, EMAC_IO, "the power is gone");
    if (f->calls == f->fail_at)
        return emac_fail(err, f->fail_with, "the disk failed on purpose");
    return EMAC_OK;
}

static inline enum emac_status fault_room(struct fault *f, size_t n, struct emac_err *err)
{
    if (n > f->room)
        return emac_fail(err, EMAC_NO_SPACE, "cannot write: No space left on device");
    f->room -= n;
    return EMAC_OK;
}

static inline enum emac_status fault_put_now(struct os *os, const char *path, const void *data,
                                             size_t n, int mode, bool durable, struct emac_err *err)
{
    struct fault *f = fault_of(os);
    bool alive = !f->dead;
    enum emac_status st = fault_step(f, err);
    if (st != EMAC_OK && f->dead && alive) {
        /* Half done: a temporary is left, cut. */
        char tmp[OS_PATH_MAX];
        snprintf(tmp, sizeof tmp, "%.*s/%s1-1", (int)parent_length(path), path, OS_TMP_PREFIX);
        os_real()->file_write_fast(os_real(), tmp, data, n / 2, mode, NULL);
    }
    if (st == EMAC_OK)
        st = fault_room(f, n, err);
    if (st == EMAC_OK)
        st = os_real()->file_write_fast(os_real(), path, data, n, mode, err);
    if (st == EMAC_OK && !durable)
        unsynced_add(f, path);
    if (st == EMAC_OK && durable)
        unsynced_drop(f, path);
    return st;
}

static inline enum emac_status fault_put(struct os *os, const char *path, const void *data,
                                         size_t n, int mode, bool durable, struct emac_err *err)
{
    os_mutex_lock(&fault_of(os)->lock);
    enum emac_status st = fault_put_now(os, path, data, n, mode, durable, err);
    os_mutex_unlock(&fault_of(os)->lock);
    return st;
}

static inline enum emac_status fault_write(struct os *os, const char *path, const void *data,
                                           size_t n, int mode, struct emac_err *err)
{
    return fault_put(os, path, data, n, mode, true, err);
}

static inline enum emac_status fault_write_fast(struct os *os, const char *path, const void *data,
                                                size_t n, int mode, struct emac_err *err)
{
    return fault_put(os, path, data, n, mode, false, err);
}

static inline enum emac_status fault_append_now(struct os *os, const char *path, const void *data,
                                                size_t n, int mode, struct emac_err *err)
{
    struct fault *f = fault_of(os);
    enum emac_status st = fault_step(f, err);
    if (st == EMAC_OK)
        st = fault_room(f, n, err);
    return st == EMAC_OK ? os_real()->file_append(os_real(), path, data, n, mode, err) : st;
}

static inline enum emac_status fault_append(struct os *os, const char *path, const void *data,
                                            size_t n, int mode, struct emac_err *err)
{
    os_mutex_lock(&fault_of(os)->lock);
    enum emac_status st = fault_append_now(os, path, data, n, mode, err);
    os_mutex_unlock(&fault_of(os)->lock);
    return st;
}

static inline enum emac_status fault_sync_now(struct os *os, const char *path, struct emac_err *err)
{
    enum emac_status st = fault_step(fault_of(os), err);
    if (st == EMAC_OK)
        unsynced_drop(fault_of(os), path);
    return st;
}

static inline enum emac_status fault_sync(struct os *os, const char *path, struct emac_err *err)
{
    os_mutex_lock(&fault_of(os)->lock);
    enum emac_status st = fault_sync_now(os, path, err);
    os_mutex_unlock(&fault_of(os)->lock);
    return st;
}

static inline enum emac_status fault_rename_now(struct os *os, const char *from, const char *to,
                                                struct emac_err *err)
{
    enum emac_status st = fault_step(fault_of(os), err);
    return st == EMAC_OK ? os_real()->file_rename(os_real(), from, to, err) : st;
}

static inline enum emac_status fault_rename(struct os *os, const char *from, const char *to,
                                            struct emac_err *err)
{
    os_mutex_lock(&fault_of(os)->lock);
    enum emac_status st = fault_rename_now(os, from, to, err);
    os_mutex_unlock(&fault_of(os)->lock);
    return st;
}

static inline enum emac_status fault_remove_now(struct os *os, const char *path,
                                                struct emac_err *err)
{
    struct stat s;
    enum emac_status st = fault_step(fault_of(os), err);
    if (st != EMAC_OK)
        return st;
    if (stat(path, &s) == 0)
        fault_of(os)->room += (uint64_t)s.st_size;
    return os_real()->file_remove(os_real(), path, err);
}

static inline enum emac_status fault_remove(struct os *os, const char *path, struct emac_err *err)
{
    os_mutex_lock(&fault_of(os)->lock);
    enum emac_status st = fault_remove_now(os, path, err);
    os_mutex_unlock(&fault_of(os)->lock);
    return st;
}

static inline enum emac_status fault_dir_make_now(struct os *os, const char *path,
                                                  struct emac_err *err)
{
    struct stat s;
    bool is_new = stat(path, &s) != 0;
    enum emac_status st = fault_step(fault_of(os), err);
    if (st == EMAC_OK)
        st = os_real()->dir_make(os_real(), path, err);
    if (st == EMAC_OK && is_new)
        unsynced_add(fault_of(os), path);
    return st;
}

static inline enum emac_status fault_dir_make(struct os *os, const char *path, struct emac_err *err)
{
    os_mutex_lock(&fault_of(os)->lock);
    enum emac_status st = fault_dir_make_now(os, path, err);
    os_mutex_unlock(&fault_of(os)->lock);
    return st;
}

static inline enum emac_status fault_pread(struct os *os, const char *path, uint64_t offset,
                                           void *out, size_t n, struct emac_err *err)
{
    if (fault_of(os)->dead || fault_of(os)->reads_fail)
        return emac_fail(err, EMAC_IO, "cannot read '%s': Input/output error", path);
    return os_real()->file_pread(os_real(), path, offset, out, n, err);
}

/* Waiting takes no time here. */
static inline void fault_sleep(struct os *os, uint32_t ms)
{
}

static inline struct fault *fault_new(uint64_t seed)
{
    struct fault *f = calloc(1, sizeof *f);
    assert_non_null(f);
    f->os = *os_real();
    os_mutex_init(&f->lock);
    f->seed = seed;
    f->room = UINT64_MAX;
    f->os.file_write = fault_write;
    f->os.file_write_fast = fault_write_fast;
    f->os.file_append = fault_append;
    f->os.file_sync = fault_sync;
    f->os.file_rename = fault_rename;
    f->os.file_remove = fault_remove;
    f->os.dir_make = fault_dir_make;
    f->os.file_pread = fault_pread;
    f->os.sleep_ms = fault_sleep;
    return f;
}

#endif
