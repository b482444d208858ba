#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "os/os.h"

static struct os *os;
static char dir[64]; /* of one test */

static int make_dir(void **state)
{
    os = os_real();
    snprintf(dir, sizeof dir, "/tmp/emac-test-XXXXXX");
    return mkdtemp(dir) != NULL ? 0 : -1;
}

static enum emac_status remove_entry(void *ctx, const char *name)
{
    char path[OS_PATH_MAX];
    snprintf(path, sizeof path, "%s/%s", (const char *)ctx, name);
    return unlink(path) == 0 || rmdir(path) == 0 ? EMAC_OK : EMAC_IO;
}

static int drop_dir(void **state)
{
    return os->dir_list(os, dir, remove_entry, dir, NULL) == EMAC_OK && rmdir(dir) == 0 ? 0 : -1;
}

/* One of a few path buffers, so that a line can use two. */
static const char *at(const char *name)
{
    static char path[4][128];
    static unsigned next;
    char *p = path[next++ % 4];
    snprintf(p, sizeof path[0], "%s/%s", dir, name);
    return p;
}

static void assert_content(const char *path, const char *want)
{
    struct emac_buf b;
    struct emac_err err = {0};
    emac_buf_init(&b, 1 << 20);
    assert_int_equal(os->file_read(os, path, &b, &err), EMAC_OK);
    assert_string_equal(emac_buf_str(&b), want);
    emac_buf_release(&b);
}

struct count {
    int n, stop_at;
    char names[256];
};

static enum emac_status count_entry(void *ctx, const char *name)
{
    struct count *c = ctx;
    size_t used = strlen(c->names);
    snprintf(c->names + used, sizeof c->names - used, "%s ", name);
    return ++c->n == c->stop_at ? EMAC_CANCELLED : EMAC_OK;
}

static void assert_entries(const char *want)
{
    struct count c = {0};
    assert_int_equal(os->dir_list(os, dir, count_entry, &c, NULL), EMAC_OK);
    assert_string_equal(c.names, want);
}

static void write_replaces(void **state)
{
    struct emac_err err = {0};
    struct stat s;
    assert_int_equal(os->file_write(os, at("f"), "one", 3, 0600, &err), EMAC_OK);
    assert_content(at("f"), "one");
    assert_int_equal(os->file_write(os, at("f"), "second", 6, 0600, &err), EMAC_OK);
    assert_content(at("f"), "second");
    assert_int_equal(os->file_write_fast(os, at("f"), NULL, 0, 0600, &err), EMAC_OK);
    assert_content(at("f"), "");
    assert_int_equal(stat(at("f"), &s), 0);
    assert_int_equal(s.st_mode & 0777, 0600);
    assert_entries("f ");
}

/* A write that fails half way keeps the old file and leaves no temporary. The limit on file sizes
 * stands for a full disk. */
static void failed_write_keeps_the_old(void **state)
{
    static char big[100000];
    struct emac_err err = {0};
    struct rlimit old, small;
    assert_int_equal(os->file_write(os, at("f"), "old", 3, 0600, &err), EMAC_OK);
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    small = old;
    small.rlim_cur = 5000;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    enum emac_status st = os->file_write(os, at("f"), big, sizeof big, 0600, &err);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    signal(SIGXFSZ, SIG_DFL);
    assert_int_equal(st, EMAC_NO_SPACE);
    assert_non_null(strstr(err.text, "cannot write '"));
    assert_content(at("f"), "old");
    assert_entries("f ");
}

static void write_to_bad_places(void **state)
{
    struct emac_err err = {0};
    assert_int_equal(os->file_write(os, at("no/f"), "x", 1, 0600, &err), EMAC_NOT_FOUND);
    assert_int_equal(os->dir_make(os, at("d"), &err), EMAC_OK);
    assert_int_not_equal(os->file_write(os, at("d"), "x", 1, 0600, &err), EMAC_OK);
    assert_int_equal(os->file_write(os, "", "x", 1, 0600, &err), EMAC_INVALID);
    char *long_path = malloc(5000);
    memset(long_path, 'a', 4999);
    long_path[4999] = '\0';
    assert_int_equal(os->file_write(os, long_path, "x", 1, 0600, &err), EMAC_INVALID);
    free(long_path);
    assert_entries("d ");
}

static void read_is_bounded(void **state)
{
    struct emac_err err = {0};
    struct emac_buf b;
    emac_buf_init(&b, 5);
    assert_int_equal(os->file_write(os, at("f"), "12345", 5, 0600, &err), EMAC_OK);
    assert_int_equal(os->file_read(os, at("f"), &b, &err), EMAC_OK);
    assert_string_equal(emac_buf_str(&b), "12345");
    assert_int_equal(os->file_write(os, at("f"), "123456", 6, 0600, &err), EMAC_OK);
    assert_int_equal(os->file_read(os, at("f"), &b, &err), EMAC_TOO_LARGE);
    assert_int_equal(os->file_read(os, at("missing"), &b, &err), EMAC_NOT_FOUND);
    assert_int_not_equal(os->file_read(os, dir, &b, &err), EMAC_OK);
    emac_buf_release(&b);
}

static void large_read(void **state)
{
    struct emac_buf b;
    size_t n = 300000;
    char *data = malloc(n);
    for (size_t i = 0; i < n; i++)
        data[i] = (char)(i % 251);
    assert_int_equal(os->file_write_fast(os, at("f"), data, n, 0600, NULL), EMAC_OK);
    emac_buf_init(&b, 1 << 20);
    assert_int_equal(os->file_read(os, at("f"), &b, NULL), EMAC_OK);
    assert_int_equal(b.len, n);
    assert_memory_equal(b.data, data, n);
    emac_buf_release(&b);
    free(data);
}

static void pread_is_exact(void **state)
{
    struct emac_err err = {0};
    char out[4] = "";
    uint64_t size = 0;
    assert_int_equal(os->file_write(os, at("f"), "abcdef", 6, 0600, &err), EMAC_OK);
    assert_int_equal(os->file_pread(os, at("f"), 2, out, 3, &err), EMAC_OK);
    assert_string_equal(out, "cde");
    assert_int_equal(os->file_pread(os, at("f"), 4, out, 3, &err), EMAC_CORRUPT);
    assert_int_equal(os->file_pread(os, at("f"), UINT64_MAX, out, 3, &err), EMAC_INVALID);
    assert_int_equal(os->file_size(os, at("f"), &size, &err), EMAC_OK);
    assert_int_equal(size, 6);
    assert_int_equal(os->file_size(os, dir, &size, &err), EMAC_INVALID);
    assert_int_equal(os->file_remove(os, at("f"), &err), EMAC_OK);
    assert_int_equal(os->file_remove(os, at("f"), &err), EMAC_NOT_FOUND);
    assert_int_equal(os->file_size(os, at("f"), &size, &err), EMAC_NOT_FOUND);
}

static void append_sync_rename(void **state)
{
    struct emac_err err = {0};
    assert_int_equal(os->file_append(os, at("t"), "ab", 2, 0600, &err), EMAC_OK);
    assert_int_equal(os->file_append(os, at("t"), "cd", 2, 0600, &err), EMAC_OK);
    assert_int_equal(os->file_sync(os, at("t"), &err), EMAC_OK);
    assert_int_equal(os->file_rename(os, at("t"), at("f"), &err), EMAC_OK);
    assert_content(at("f"), "abcd");
    assert_entries("f ");
}

/* It has its name when it is whole; when it fails what was there stays, and nothing is left over.
 */
static void beside(void **state)
{
    struct emac_err err = {0};
    char tmp[OS_PATH_MAX], other[OS_PATH_MAX], longest[OS_PATH_MAX];
    assert_int_equal(os_beside(os, at("f"), tmp, &err), EMAC_OK);
    assert_int_equal(os_beside(os, at("f"), other, &err), EMAC_OK);
    assert_string_not_equal(tmp, other);
    assert_memory_equal(tmp, at(OS_TMP_PREFIX), strlen(at(OS_TMP_PREFIX)));
    assert_int_equal(os->file_append(os, tmp, "one", 3, 0600, &err), EMAC_OK);
    assert_int_equal(os_beside_end(os, EMAC_OK, tmp, at("f"), &err), EMAC_OK);
    assert_entries("f ");
    assert_int_equal(os->file_append(os, other, "tw", 2, 0600, &err), EMAC_OK);
    (void)emac_fail(&err, EMAC_NO_SPACE, "full");
    assert_int_equal(os_beside_end(os, EMAC_NO_SPACE, other, at("f"), &err), EMAC_NO_SPACE);
    assert_string_equal(err.text, "full");
    assert_entries("f ");
    assert_content(at("f"), "one");
    assert_int_equal(os->dir_make(os, at("d"), &err), EMAC_OK); /* a name that it cannot take */
    assert_int_equal(os->file_append(os, tmp, "two", 3, 0600, &err), EMAC_OK);
    assert_int_not_equal(os_beside_end(os, EMAC_OK, tmp, at("d"), &err), EMAC_OK);
    assert_entries("d f ");
    assert_int_equal(os_beside(os, "f", tmp, &err), EMAC_OK); /* in the current directory */
    assert_memory_equal(tmp, OS_TMP_PREFIX, strlen(OS_TMP_PREFIX));
    memset(longest, 'x', sizeof longest - 1);
    longest[sizeof longest - 1] = '\0';
    longest[sizeof longest - 10] = '/';
    assert_int_equal(os_beside(os, longest, tmp, &err), EMAC_INVALID);
}

static void directories(void **state)
{
    struct emac_err err = {0};
    assert_int_equal(os->dir_make(os, at("a"), &err), EMAC_OK);
    assert_int_equal(os->dir_make(os, at("a/"), &err), EMAC_OK);
    assert_int_equal(os->dir_make(os, at("c"), &err), EMAC_OK);
    assert_int_equal(os->file_write(os, at("b"), "", 0, 0600, &err), EMAC_OK);
    assert_int_not_equal(os->dir_make(os, at("b/x"), &err), EMAC_OK);
    assert_entries("a b c ");
    struct count c = {.stop_at = 2};
    assert_int_equal(os->dir_list(os, dir, count_entry, &c, NULL), EMAC_CANCELLED);
    assert_string_equal(c.names, "a b ");
    assert_int_equal(os->dir_list(os, at("none"), count_entry, &c, &err), EMAC_NOT_FOUND);
}

static void nested_directories(void **state)
{
    char path[128];
    struct stat s;
    snprintf(path, sizeof path, "%s/x//y/z", dir);
    assert_int_equal(os->dir_make(os, path, NULL), EMAC_OK);
    assert_int_equal(stat(path, &s), 0);
    assert_int_equal(s.st_mode & 0777, 0700);
    assert_int_equal(rmdir(path), 0);
    assert_int_equal(rmdir(at("x/y")), 0);
}

static void disk_has_space(void **state)
{
    uint64_t n = 0;
    assert_int_equal(os->disk_free(os, dir, &n, NULL), EMAC_OK);
    assert_true(n > 0);
    assert_int_equal(os->disk_free(os, at("none"), &n, NULL), EMAC_NOT_FOUND);
}

static void lock_excludes(void **state)
{
    struct os_lock *a, *b;
    struct emac_err err = {0};
    char want[64];
    assert_int_equal(os_lock_take(at("lock"), &a, &err), EMAC_OK);
    assert_int_equal(os_lock_take(at("lock"), &b, &err), EMAC_CONFLICT);
    assert_null(b);
    snprintf(want, sizeof want, "process %ld holds '", (long)getpid());
    assert_non_null(strstr(err.text, want));
    os_lock_release(a);
    assert_int_equal(os_lock_take(at("lock"), &b, &err), EMAC_OK);
    os_lock_release(b);
    os_lock_release(NULL);
    assert_int_equal(os_lock_take(at("no/lock"), &b, &err), EMAC_NOT_FOUND);
}

/* The lock of a process that died without releasing is free. */
static void lock_dies_with_its_holder(void **state)
{
    struct os_lock *lock;
    struct emac_err err = {0};
    const char *path = at("lock");
    int ready[2], status;
    char byte = 0;
    assert_int_equal(pipe(ready), 0);
    pid_t pid = fork();
    if (pid == 0) {
        if (os_lock_take(path, &lock, NULL) != EMAC_OK || write(ready[1], "x", 1) != 1)
            _exit(1);
        for (;;)
            pause();
    }
    assert_int_equal(read(ready[0], &byte, 1), 1);
    assert_int_equal(os_lock_take(path, &lock, &err), EMAC_CONFLICT);
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(os_lock_take(path, &lock, &err), EMAC_OK);
    os_lock_release(lock);
    close(ready[0]);
    close(ready[1]);
}

static void clocks_and_entropy(void **state)
{
    uint64_t before = os->mono_ns(os);
    os->sleep_ms(os, 5);
    assert_true(os->mono_ns(os) - before >= 5000000);
    assert_true(os->wall_ms(os) > UINT64_C(1700000000000));
    uint8_t a[1000] = {0}, b[1000] = {0};
    os->entropy(os, a, sizeof a);
    os->entropy(os, b, sizeof b);
    assert_memory_not_equal(a, b, sizeof a);
}

#define T(name) cmocka_unit_test_setup_teardown(name, make_dir, drop_dir)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(write_replaces),
        T(failed_write_keeps_the_old),
        T(write_to_bad_places),
        T(read_is_bounded),
        T(large_read),
        T(pread_is_exact),
        T(append_sync_rename),
        T(beside),
        T(directories),
        T(nested_directories),
        T(disk_has_space),
        T(lock_excludes),
        T(lock_dies_with_its_holder),
        T(clocks_and_entropy),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
