/* The one door to the outside: clock, entropy, files. Code that needs them
 * takes a `struct os *`; the program hands in os_real(), tests and the
 * simulator hand in theirs (a disk that fills, a clock that jumps).
 * Sockets are reached through http/ alone; threads through os/thread.h. */
#ifndef EMAC_OS_OS_H
#define EMAC_OS_OS_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/status.h"

#define OS_PATH_MAX   4096
/* Begins the names of temporaries; one that is left over may be removed. */
#define OS_TMP_PREFIX ".emac-tmp-"

struct os {
    void *ctx;
    uint64_t (*wall_ms)(struct os *os); /* Unix time in milliseconds */
    uint64_t (*mono_ns)(struct os *os); /* never goes back */
    uint64_t (*busy_ns)(struct os *os); /* processor time that the calling thread has used */
    void (*sleep_ms)(struct os *os, uint32_t ms);
    void (*entropy)(struct os *os, void *out, size_t n); /* aborts if there is none */

    /* Whole small files; replaces what `out` held. Its `max` bounds what is read: TOO_LARGE. */
    enum emac_status (*file_read)(struct os *os, const char *path, struct emac_buf *out,
                                  struct emac_err *err);
    /* Atomic and durable: temporary file, fsync, rename, fsync of the directory. mode e.g. 0600.
     * Nothing of the old file is lost on any failure, no temporary is left. */
    enum emac_status (*file_write)(struct os *os, const char *path, const void *data, size_t n,
                                   int mode, struct emac_err *err);
    /* As file_write without the two fsyncs: for blocks that can be fetched again. */
    enum emac_status (*file_write_fast)(struct os *os, const char *path, const void *data, size_t n,
                                        int mode, struct emac_err *err);
    /* Add to the end of a file, created when missing; neither atomic nor durable. For large files:
     * append pieces to a temporary, file_sync it, file_rename it, file_sync the new name. */
    enum emac_status (*file_append)(struct os *os, const char *path, const void *data, size_t n,
                                    int mode, struct emac_err *err);
    /* Make the file and its name survive a loss of power (fsync of it and of its directory). */
    enum emac_status (*file_sync)(struct os *os, const char *path, struct emac_err *err);
    /* Replace `to` by `from` atomically. */
    enum emac_status (*file_rename)(struct os *os, const char *from, const char *to,
                                    struct emac_err *err);
    /* Exactly n bytes; CORRUPT when the file ends before. */
    enum emac_status (*file_pread)(struct os *os, const char *path, uint64_t offset, void *out,
                                   size_t n, struct emac_err *err);
    enum emac_status (*file_size)(struct os *os, const char *path, uint64_t *out,
                                  struct emac_err *err);
    enum emac_status (*file_remove)(struct os *os, const char *path, struct emac_err *err);
    /* mkdir -p, mode 0700 */
    enum emac_status (*dir_make)(struct os *os, const char *path, struct emac_err *err);
    /* Calls `each` for each entry but . and .., sorted by name; stops at the first failure. */
    enum emac_status (*dir_list)(struct os *os, const char *path,
                                 enum emac_status (*each)(void *ctx, const char *name), void *ctx,
                                 struct emac_err *err);
    enum emac_status (*disk_free)(struct os *os, const char *path, uint64_t *bytes,
                                  struct emac_err *err);
};

/* The real one; a constant. */
struct os *os_real(void);

/* A file that is written in pieces and takes its name when it is whole. os_beside: a name for it
 * beside `path`, of OS_TMP_PREFIX, so that it says of itself that it is of no use when left over;
 * INVALID when that is too long. os_beside_end: its writing went as `st`. When that is OK it is
 * made durable and becomes `path`; else it is removed and what was there stays. */
enum emac_status os_beside(struct os *os, const char *path, char out[OS_PATH_MAX],
                           struct emac_err *err);
enum emac_status os_beside_end(struct os *os, enum emac_status st, const char *beside,
                               const char *path, struct emac_err *err);

/* Exclusive advisory lock on `path` (created when missing), held until os_lock_release or death of
 * the process. CONFLICT naming the pid of the holder when somebody else holds it. */
struct os_lock;
enum emac_status os_lock_take(const char *path, struct os_lock **out, struct emac_err *err);
void os_lock_release(struct os_lock *lock);

#endif
