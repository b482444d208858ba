/* A VFS over the real one, through which a test sees and spoils what SQLite does to its files.
 * After vfs_install everything passes; a test then puts functions of its own into vfs_methods and
 * vfs_shim.xOpen, which call vfs_real_of(file) and vfs_open for what is to be as it was. */
#ifndef EMAC_TESTS_DB_VFS_SHIM_H
#define EMAC_TESTS_DB_VFS_SHIM_H

#include <sqlite3.h>
#include <stdlib.h>

struct vfs_file {
    sqlite3_file base;
    sqlite3_file *real;
    void *mine; /* the test's; NULL at first */
};

static sqlite3_vfs *vfs_real, vfs_shim;
static sqlite3_io_methods vfs_methods;

static inline sqlite3_file *vfs_real_of(sqlite3_file *f)
{
    return ((struct vfs_file *)f)->real;
}

/* The real file's own answer to a method of two arguments or more. */
#define VFS_PASS(f, method, ...) vfs_real_of(f)->pMethods->method(vfs_real_of(f), __VA_ARGS__)

static inline int vfs_close(sqlite3_file *f)
{
    int rc = vfs_real_of(f)->pMethods->xClose(vfs_real_of(f));
    free(vfs_real_of(f));
    return rc;
}

static inline int vfs_read(sqlite3_file *f, void *p, int n, sqlite3_int64 at)
{
    return VFS_PASS(f, xRead, p, n, at);
}

static inline int vfs_write(sqlite3_file *f, const void *p, int n, sqlite3_int64 at)
{
    return VFS_PASS(f, xWrite, p, n, at);
}

static inline int vfs_truncate(sqlite3_file *f, sqlite3_int64 n)
{
    return VFS_PASS(f, xTruncate, n);
}

static inline int vfs_sync(sqlite3_file *f, int flags)
{
    return VFS_PASS(f, xSync, flags);
}

static inline int vfs_size(sqlite3_file *f, sqlite3_int64 *n)
{
    return VFS_PASS(f, xFileSize, n);
}

static inline int vfs_lock(sqlite3_file *f, int level)
{
    return VFS_PASS(f, xLock, level);
}

static inline int vfs_unlock(sqlite3_file *f, int level)
{
    return VFS_PASS(f, xUnlock, level);
}

static inline int vfs_reserved(sqlite3_file *f, int *out)
{
    return VFS_PASS(f, xCheckReservedLock, out);
}

static inline int vfs_control(sqlite3_file *f, int op, void *arg)
{
    return VFS_PASS(f, xFileControl, op, arg);
}

static inline int vfs_sector(sqlite3_file *f)
{
    return vfs_real_of(f)->pMethods->xSectorSize(vfs_real_of(f));
}

static inline int vfs_traits(sqlite3_file *f)
{
    return vfs_real_of(f)->pMethods->xDeviceCharacteristics(vfs_real_of(f));
}

static inline int vfs_map(sqlite3_file *f, int page, int size, int extend, void volatile **out)
{
    return VFS_PASS(f, xShmMap, page, size, extend, out);
}

static inline int vfs_shm_lock(sqlite3_file *f, int at, int n, int flags)
{
    return VFS_PASS(f, xShmLock, at, n, flags);
}

static inline void vfs_barrier(sqlite3_file *f)
{
    vfs_real_of(f)->pMethods->xShmBarrier(vfs_real_of(f));
}

static inline int vfs_unmap(sqlite3_file *f, int remove)
{
    return VFS_PASS(f, xShmUnmap, remove);
}

static inline int vfs_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *file, int flags,
                           int *out)
{
    struct vfs_file *f = (struct vfs_file *)file;
    *f = (struct vfs_file){.real = calloc(1, (size_t)vfs_real->szOsFile)};
    int rc = vfs_real->xOpen(vfs_real, name, f->real, flags, out);
    if (rc == SQLITE_OK)
        f->base.pMethods = &vfs_methods;
    else
        free(f->real);
    return rc;
}

/* Databases that are opened from now on are behind it. */
static inline void vfs_install(void)
{
    vfs_methods = (sqlite3_io_methods){.iVersion = 2,
                                       .xClose = vfs_close,
                                       .xRead = vfs_read,
                                       .xWrite = vfs_write,
                                       .xTruncate = vfs_truncate,
                                       .xSync = vfs_sync,
                                       .xFileSize = vfs_size,
                                       .xLock = vfs_lock,
                                       .xUnlock = vfs_unlock,
                                       .xCheckReservedLock = vfs_reserved,
                                       .xFileControl = vfs_control,
                                       .xSectorSize = vfs_sector,
                                       .xDeviceCharacteristics = vfs_traits,
                                       .xShmMap = vfs_map,
                                       .xShmLock = vfs_shm_lock,
                                       .xShmBarrier = vfs_barrier,
                                       .xShmUnmap = vfs_unmap};
    sqlite3_initialize();
    vfs_real = sqlite3_vfs_find(NULL);
    vfs_shim = *vfs_real;
    vfs_shim.zName = "shim";
    vfs_shim.szOsFile = sizeof(struct vfs_file);
    vfs_shim.xOpen = vfs_open;
    sqlite3_vfs_register(&vfs_shim, 1);
}

#endif
