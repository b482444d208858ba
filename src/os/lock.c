#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

#include "os/os.h"

struct os_lock {
    int fd;
};

/* The pid is written for people; the lock itself is flock, which the kernel drops with the last
 * descriptor, so a stale file never locks anybody out. */
static void pid_write(int fd)
{
    char text[32];
    int n = snprintf(text, sizeof text, "%ld\n", (long)getpid());
    if (ftruncate(fd, 0) != 0 || pwrite(fd, text, (size_t)n, 0) != n)
        return; /* a full disk only costs the holder's name */
}

static long pid_read(int fd)
{
    char text[32];
    ssize_t n = pread(fd, text, sizeof text - 1, 0);
    if (n <= 0)
        return 0;
    text[n] = '\0';
    return strtol(text, NULL, 10);
}

static enum emac_status fail_held(int fd, const char *path, struct emac_err *err)
{
    long pid = pid_read(fd);
    if (pid <= 0)
        return emac_fail(err, EMAC_CONFLICT,
                         "another process holds '%s': stop it or use another directory", path);
    return emac_fail(err, EMAC_CONFLICT, "process %ld holds '%s': stop it or use another directory",
                     pid, path);
}

enum emac_status os_lock_take(const char *path, struct os_lock **out, struct emac_err *err)
{
    *out = NULL;
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return emac_fail_errno(err, errno, "open", path);
    int rc;
    do
        rc = flock(fd, LOCK_EX | LOCK_NB);
    while (rc != 0 && errno == EINTR);
    enum emac_status st = EMAC_OK;
    if (rc != 0 && errno == EWOULDBLOCK)
        st = fail_held(fd, path, err);
    else if (rc != 0)
        st = emac_fail_errno(err, errno, "lock", path);
    if (st == EMAC_OK)
        st = emac_alloc(out, 1, sizeof **out, err);
    if (st != EMAC_OK) {
        close(fd);
        return st;
    }
    pid_write(fd);
    (*out)->fd = fd;
    return EMAC_OK;
}

/* The file stays: removing it would let two processes lock two files of one name. */
void os_lock_release(struct os_lock *lock)
{
    if (lock == NULL)
        return;
    close(lock->fd);
    free(lock);
}
