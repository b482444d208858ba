#include "os/library.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

enum emac_status os_library_load(const char *name, struct os_library **out, struct emac_err *err)
{
    *out = dlopen(name, RTLD_NOW | RTLD_LOCAL);
    return *out != NULL ? EMAC_OK
                        : emac_fail(err, EMAC_NOT_FOUND, "no library '%s': %s", name, dlerror());
}

void *os_library_symbol(struct os_library *library, const char *name)
{
    return dlsym(library, name);
}

void os_environment_default(const char *name, const char *value)
{
    setenv(name, value, 0);
}

enum emac_status os_range_reserve(size_t bytes, void **out, struct emac_err *err)
{
    void *p = mmap(NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED)
        return emac_fail_errno(err, errno, "reserve addresses for", "the memory of a device");
    *out = p;
    return EMAC_OK;
}

void os_range_release(void *range, size_t bytes)
{
    munmap(range, bytes);
}
