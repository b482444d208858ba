/* Files that take their name at once. */
#include <stdio.h>
#include <string.h>

#include "os/os.h"

enum emac_status os_beside(struct os *os, const char *path, char out[OS_PATH_MAX],
                           struct emac_err *err)
{
    const char *slash = strrchr(path, '/');
    int dir = slash != NULL ? (int)(slash - path) + 1 : 0;
    uint64_t r;
    os->entropy(os, &r, sizeof r);
    int n = snprintf(out, OS_PATH_MAX, "%.*s%s%016llx", dir, path, OS_TMP_PREFIX,
                     (unsigned long long)r);
    if (n < 0 || n >= OS_PATH_MAX)
        return emac_fail(err, EMAC_INVALID, "the path '%s' is too long", path);
    return EMAC_OK;
}

enum emac_status os_beside_end(struct os *os, enum emac_status st, const char *beside,
                               const char *path, struct emac_err *err)
{
    if (st == EMAC_OK)
        st = os->file_sync(os, beside, err);
    if (st == EMAC_OK)
        st = os->file_rename(os, beside, path, err);
    if (st == EMAC_OK)
        return os->file_sync(os, path, err);
    (void)os->file_remove(os, beside, NULL);
    return st;
}
