#include "os/os.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/checked.h"
#include "os/process.h"

#define REAL_READ_STEP   (64u << 10)
#define REAL_ENTRIES_MAX (16u << 20) /* names in one directory */
#define REAL_TMP_TRIES   1000

static uint64_t real_wall_ms(struct os *os)
{
    struct timespec t;
    int rc = clock_gettime(CLOCK_REALTIME, &t);
    EMAC_ASSERT(rc == 0 && t.tv_sec >= 0);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static uint64_t real_mono_ns(struct os *os)
{
    struct timespec t;
    int rc = clock_gettime(CLOCK_MONOTONIC, &t);
    EMAC_ASSERT(rc == 0);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static uint64_t real_busy_ns(struct os *os)
{
    struct timespec t;
    int rc = clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    EMAC_ASSERT(rc == 0);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

/* A signal that asks to stop ends the sleep early; others do not shorten it. */
static void real_sleep_ms(struct os *os, uint32_t ms)
{
    struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};
    while (clock_nanosleep(CLOCK_MONOTONIC, 0, &t, &t) == EINTR) {
        if (os_stop_requested())
            return;
    }
}

static void real_entropy(struct os *os, void *out, size_t n)
{
    uint8_t *p = out;
    while (n > 0) {
        ssize_t got = getrandom(p, n, 0);
        EMAC_ASSERT(got > 0 || errno == EINTR);
        if (got > 0) {
            p += got;
            n -= (size_t)got;
        }
    }
}

static enum emac_status open_read(int *fd, const char *path, struct emac_err *err)
{
    do
        *fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    while (*fd < 0 && errno == EINTR);
    return *fd < 0 ? emac_fail_errno(err, errno, "open", path) : EMAC_OK;
}

/* read/pread of at most n bytes, whole unless the file ends; *got says how many. */
static enum emac_status read_upto(int fd, const char *path, void *out, size_t n, size_t *got,
                                  struct emac_err *err)
{
    *got = 0;
    while (*got < n) {
        ssize_t r = read(fd, (uint8_t *)out + *got, n - *got);
        if (r < 0 && errno == EINTR)
            continue;
        if (r < 0)
            return emac_fail_errno(err, errno, "read", path);
        if (r == 0)
            break;
        *got += (size_t)r;
    }
    return EMAC_OK;
}

static enum emac_status real_file_read(struct os *os, const char *path, struct emac_buf *out,
                                       struct emac_err *err)
{
    int fd;
    enum emac_status st = open_read(&fd, path, err);
    if (st != EMAC_OK)
        return st;
    emac_buf_clear(out);
    size_t got = 0;
    do {
        /* One byte is asked for past the maximum, to tell a full buffer from too long a file. */
        size_t room = out->max - out->len;
        size_t step = room < REAL_READ_STEP ? room : REAL_READ_STEP;
        uint8_t extra;
        if (step == 0) {
            EMAC_TRY(st, read_upto(fd, path, &extra, 1, &got, err));
            if (got > 0)
                st =
                    emac_fail(err, EMAC_TOO_LARGE, "'%s' is larger than %zu bytes", path, out->max);
            goto out;
        }
        EMAC_TRY(st, emac_buf_reserve(out, step, err));
        EMAC_TRY(st, read_upto(fd, path, out->data + out->len, step, &got, err));
        out->len += got;
        out->data[out->len] = 0;
    } while (got > 0);
out:
    close(fd);
    return st;
}

static enum emac_status real_file_pread(struct os *os, const char *path, uint64_t offset, void *out,
                                        size_t n, struct emac_err *err)
{
    int fd;
    enum emac_status st = open_read(&fd, path, err);
    if (st != EMAC_OK)
        return st;
    size_t got = 0;
    if (offset > INT64_MAX || lseek(fd, (off_t)offset, SEEK_SET) < 0)
        st = emac_fail(err, EMAC_INVALID, "cannot seek to byte %llu of '%s'",
                       (unsigned long long)offset, path);
    else
        st = read_upto(fd, path, out, n, &got, err);
    if (st == EMAC_OK && got < n)
        st = emac_fail(err, EMAC_CORRUPT, "'%s' ends before byte %llu: it was cut; fetch it again",
                       path, (unsigned long long)offset + n);
    close(fd);
    return st;
}

static enum emac_status real_file_size(struct os *os, const char *path, uint64_t *out,
                                       struct emac_err *err)
{
    struct stat s;
    if (stat(path, &s) != 0)
        return emac_fail_errno(err, errno, "look at", path);
    if (!S_ISREG(s.st_mode))
        return emac_fail(err, EMAC_INVALID, "'%s' is not a regular file", path);
    *out = (uint64_t)s.st_size;
    return EMAC_OK;
}

static enum emac_status real_file_remove(struct os *os, const char *path, struct emac_err *err)
{
    return unlink(path) != 0 ? emac_fail_errno(err, errno, "remove", path) : EMAC_OK;
}

/* Length of the part of `path` before the last name: "a/b" -> 1, "b" -> 0, "/b" -> 1. */
static size_t dir_length(const char *path)
{
    const char *slash = strrchr(path, '/');
    if (slash == NULL)
        return 0;
    return slash == path ? 1 : (size_t)(slash - path);
}

static enum emac_status sync_dir_of(const char *path, struct emac_err *err)
{
    char dir[OS_PATH_MAX] = ".";
    size_t n = dir_length(path);
    if (n > 0) {
        memcpy(dir, path, n);
        dir[n] = '\0';
    }
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return emac_fail_errno(err, errno, "open", dir);
    enum emac_status st = EMAC_OK;
    if (fsync(fd) != 0)
        st = emac_fail_errno(err, errno, "sync", dir);
    close(fd);
    return st;
}

/* Create a temporary beside `path`, so that the rename stays within one file system. The name is
 * short and does not depend on that of the file, which may be as long as a name can be. */
static enum emac_status tmp_create(char tmp[OS_PATH_MAX], int *fd, const char *path, int mode,
                                   struct emac_err *err)
{
    static atomic_uint counter;
    size_t n = dir_length(path);
    for (int i = 0; i < REAL_TMP_TRIES; i++) {
        int len = snprintf(tmp, OS_PATH_MAX, "%.*s%s" OS_TMP_PREFIX "%ld-%u", (int)n, path,
                           n > 1 ? "/" : "", (long)getpid(), atomic_fetch_add(&counter, 1));
        if (len < 0 || len >= OS_PATH_MAX)
            return emac_fail(err, EMAC_INVALID, "the path '%s' is too long", path);
        *fd = open(tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, (mode_t)mode);
        if (*fd >= 0)
            return EMAC_OK;
        if (errno != EEXIST && errno != EINTR)
            return emac_fail_errno(err, errno, "create a file for", path);
    }
    return emac_fail(err, EMAC_IO, "cannot find a free temporary name beside '%s'", path);
}

static enum emac_status write_all(int fd, const char *path, const void *data, size_t n,
                                  struct emac_err *err)
{
    const uint8_t *p = data;
    while (n > 0) {
        ssize_t r = write(fd, p, n);
        if (r < 0 && errno == EINTR)
            continue;
        if (r < 0)
            return emac_fail_errno(err, errno, "write", path);
        p += r;
        n -= (size_t)r;
    }
    return EMAC_OK;
}

static enum emac_status replace_file(const char *path, const void *data, size_t n, int mode,
                                     bool durable, struct emac_err *err)
{
    char tmp[OS_PATH_MAX];
    int fd = -1;
    size_t len = strlen(path);
    if (len == 0 || len >= OS_PATH_MAX)
        return emac_fail(err, EMAC_INVALID, "a path of %zu bytes cannot be written", len);
    enum emac_status st = tmp_create(tmp, &fd, path, mode, err);
    if (st != EMAC_OK)
        return st;
    st = write_all(fd, path, data, n, err);
    if (st == EMAC_OK && durable && fsync(fd) != 0)
        st = emac_fail_errno(err, errno, "sync", path);
    /* Some file systems report a full disk at close only. */
    if (close(fd) != 0 && st == EMAC_OK)
        st = emac_fail_errno(err, errno, "write", path);
    if (st == EMAC_OK && rename(tmp, path) != 0)
        st = emac_fail_errno(err, errno, "replace", path);
    if (st != EMAC_OK) {
        unlink(tmp);
        return st;
    }
    return durable ? sync_dir_of(path, err) : EMAC_OK;
}

static enum emac_status real_file_write(struct os *os, const char *path, const void *data, size_t n,
                                        int mode, struct emac_err *err)
{
    return replace_file(path, data, n, mode, true, err);
}

static enum emac_status real_file_write_fast(struct os *os, const char *path, const void *data,
                                             size_t n, int mode, struct emac_err *err)
{
    return replace_file(path, data, n, mode, false, err);
}

static enum emac_status real_file_append(struct os *os, const char *path, const void *data,
                                         size_t n, int mode, struct emac_err *err)
{
    int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY, (mode_t)mode);
    if (fd < 0)
        return emac_fail_errno(err, errno, "open", path);
    enum emac_status st = write_all(fd, path, data, n, err);
    if (close(fd) != 0 && st == EMAC_OK)
        st = emac_fail_errno(err, errno, "write", path);
    return st;
}

static enum emac_status real_file_sync(struct os *os, const char *path, struct emac_err *err)
{
    int fd;
    enum emac_status st = open_read(&fd, path, err);
    if (st != EMAC_OK)
        return st;
    if (fsync(fd) != 0)
        st = emac_fail_errno(err, errno, "sync", path);
    close(fd);
    return st == EMAC_OK ? sync_dir_of(path, err) : st;
}

static enum emac_status real_file_rename(struct os *os, const char *from, const char *to,
                                         struct emac_err *err)
{
    return rename(from, to) != 0 ? emac_fail_errno(err, errno, "replace", to) : EMAC_OK;
}

static enum emac_status make_one(const char *path, struct emac_err *err)
{
    struct stat s;
    if (mkdir(path, 0700) == 0)
        return EMAC_OK;
    int code = errno;
    if (code == EEXIST && stat(path, &s) == 0)
        code = S_ISDIR(s.st_mode) ? 0 : ENOTDIR;
    return code == 0 ? EMAC_OK : emac_fail_errno(err, code, "make the directory", path);
}

static enum emac_status real_dir_make(struct os *os, const char *path, struct emac_err *err)
{
    char part[OS_PATH_MAX];
    if (path[0] == '\0' || !emac_strcpy(part, sizeof part, path))
        return emac_fail(err, EMAC_INVALID, "a path of %zu bytes cannot be made", strlen(path));
    for (char *p = part + 1; *p != '\0'; p++) {
        if (*p != '/')
            continue;
        *p = '\0';
        enum emac_status st = make_one(part, err);
        if (st != EMAC_OK)
            return st;
        *p = '/';
    }
    return make_one(part, err);
}

struct names {
    char **name;
    size_t count, cap;
};

static enum emac_status names_add(struct names *l, const char *name, struct emac_err *err)
{
    if (l->count == REAL_ENTRIES_MAX)
        return emac_fail(err, EMAC_TOO_LARGE, "a directory holds more than %u names",
                         REAL_ENTRIES_MAX);
    enum emac_status st = emac_grow(&l->name, l->count, &l->cap, sizeof *l->name, err);
    if (st != EMAC_OK)
        return st;
    l->name[l->count++] = emac_strdup(name);
    return EMAC_OK;
}

static int name_order(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static enum emac_status names_read(struct names *l, const char *path, struct emac_err *err)
{
    DIR *dir = opendir(path); /* glibc opens it close-on-exec */
    if (dir == NULL)
        return emac_fail_errno(err, errno, "list", path);
    enum emac_status st = EMAC_OK;
    for (;;) {
        errno = 0;
        const struct dirent *e = readdir(dir);
        if (e == NULL) {
            if (errno != 0)
                st = emac_fail_errno(err, errno, "list", path);
            break;
        }
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        EMAC_TRY(st, names_add(l, e->d_name, err));
    }
out:
    closedir(dir);
    return st;
}

static enum emac_status real_dir_list(struct os *os, const char *path,
                                      enum emac_status (*each)(void *ctx, const char *name),
                                      void *ctx, struct emac_err *err)
{
    struct names l = {0};
    enum emac_status st = names_read(&l, path, err);
    if (st == EMAC_OK && l.count > 0)
        qsort(l.name, l.count, sizeof *l.name, name_order);
    for (size_t i = 0; i < l.count && st == EMAC_OK; i++)
        st = each(ctx, l.name[i]);
    for (size_t i = 0; i < l.count; i++)
        free(l.name[i]);
    free(l.name);
    return st;
}

static enum emac_status real_disk_free(struct os *os, const char *path, uint64_t *bytes,
                                       struct emac_err *err)
{
    struct statvfs v;
    if (statvfs(path, &v) != 0)
        return emac_fail_errno(err, errno, "ask for the free space of", path);
    uint64_t free_bytes;
    if (__builtin_mul_overflow((uint64_t)v.f_bavail, (uint64_t)v.f_frsize, &free_bytes))
        free_bytes = UINT64_MAX;
    *bytes = free_bytes;
    return EMAC_OK;
}

static struct os REAL = {
    .wall_ms = real_wall_ms,
    .mono_ns = real_mono_ns,
    .busy_ns = real_busy_ns,
    .sleep_ms = real_sleep_ms,
    .entropy = real_entropy,
    .file_read = real_file_read,
    .file_write = real_file_write,
    .file_write_fast = real_file_write_fast,
    .file_append = real_file_append,
    .file_sync = real_file_sync,
    .file_rename = real_file_rename,
    .file_pread = real_file_pread,
    .file_size = real_file_size,
    .file_remove = real_file_remove,
    .dir_make = real_dir_make,
    .dir_list = real_dir_list,
    .disk_free = real_disk_free,
};

struct os *os_real(void)
{
    return &REAL;
}
