#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/buf.h"
#include "os/os.h"
#include "os/process.h"

#define MACHINE_CPUS_MAX 65536
#define MACHINE_TEXT_MAX (1u << 20) /* /proc/cpuinfo of a large machine */
#define CGROUP_ROOT      "/sys/fs/cgroup"
#define LEVEL2_GUESS     ((size_t)512 << 10)

uint32_t os_cpu_count(void)
{
    for (int cpus = 1024; cpus <= MACHINE_CPUS_MAX; cpus *= 2) {
        size_t bytes = CPU_ALLOC_SIZE(cpus);
        cpu_set_t *set = CPU_ALLOC(cpus);
        EMAC_ASSERT(set != NULL);
        CPU_ZERO_S(bytes, set);
        int rc = sched_getaffinity(0, bytes, set);
        int count = rc == 0 ? CPU_COUNT_S(bytes, set) : 0;
        CPU_FREE(set);
        if (count > 0)
            return (uint32_t)count;
    }
    return 1;
}

/* The number after `key` in a text of "key value" lines; false when there is none ("max" too). */
static bool line_number(const char *text, const char *key, uint64_t *out)
{
    size_t n = strlen(key);
    for (const char *p = text; p != NULL && *p != '\0';) {
        if (strncmp(p, key, n) == 0) {
            char *end;
            errno = 0;
            unsigned long long v = strtoull(p + n, &end, 10);
            if (end != p + n && errno == 0) {
                *out = v;
                return true;
            }
        }
        p = strchr(p, '\n');
        p = p != NULL ? p + 1 : NULL;
    }
    return false;
}

static bool file_number(const char *path, const char *key, uint64_t *out)
{
    struct emac_buf text;
    emac_buf_init(&text, MACHINE_TEXT_MAX);
    struct os *os = os_real();
    bool ok = os->file_read(os, path, &text, NULL) == EMAC_OK &&
              line_number(emac_buf_str(&text), key, out);
    emac_buf_release(&text);
    return ok;
}

/* Path of this process in the controller's tree: the third field of the line of /proc/self/cgroup
 * that begins with `prefix` or holds it as its controller. "" is the root. */
static void cgroup_path(char *out, size_t cap, const char *controllers)
{
    struct emac_buf text;
    emac_buf_init(&text, MACHINE_TEXT_MAX);
    struct os *os = os_real();
    out[0] = '\0';
    if (os->file_read(os, "/proc/self/cgroup", &text, NULL) == EMAC_OK) {
        const char *at = strstr(emac_buf_str(&text), controllers);
        const char *path = at != NULL ? at + strlen(controllers) : "";
        size_t n = strcspn(path, "\n");
        if (n < cap && path[0] == '/' && n > 1) {
            memcpy(out, path, n);
            out[n] = '\0';
        }
    }
    emac_buf_release(&text);
}

struct cgroup_names {
    const char *root, *controllers, *limit, *usage, *inactive;
};

static const struct cgroup_names CGROUPS[] = {
    {CGROUP_ROOT, "0::", "memory.max", "memory.current", "inactive_file "},
    {CGROUP_ROOT "/memory", ":memory:", "memory.limit_in_bytes", "memory.usage_in_bytes",
     "total_inactive_file "},
};

static bool group_number(const struct cgroup_names *g, const char *path, const char *file,
                         const char *key, uint64_t *out)
{
    char full[OS_PATH_MAX];
    int n = snprintf(full, sizeof full, "%s%s/%s", g->root, path, file);
    return n > 0 && (size_t)n < sizeof full && file_number(full, key, out);
}

/* Lower *total and *available to what one group of the tree allows. Cached file pages count as
 * used there but the kernel drops them under pressure. */
static void group_apply(const struct cgroup_names *g, const char *path, uint64_t *total,
                        uint64_t *available)
{
    uint64_t limit, usage, inactive = 0;
    if (!group_number(g, path, g->limit, "", &limit))
        return;
    if (limit < *total)
        *total = limit;
    if (!group_number(g, path, g->usage, "", &usage))
        return;
    group_number(g, path, "memory.stat", g->inactive, &inactive);
    uint64_t firm = usage > inactive ? usage - inactive : 0;
    uint64_t left = limit > firm ? limit - firm : 0;
    if (left < *available)
        *available = left;
}

static void memory_limits(uint64_t *total, uint64_t *available)
{
    long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    EMAC_ASSERT(pages > 0 && page > 0);
    *total = (uint64_t)pages * (uint64_t)page;
    uint64_t kib;
    *available = file_number("/proc/meminfo", "MemAvailable:", &kib) ? kib * 1024 : *total;
    for (size_t i = 0; i < EMAC_COUNT(CGROUPS); i++) {
        char path[OS_PATH_MAX];
        cgroup_path(path, sizeof path, CGROUPS[i].controllers);
        /* Every ancestor limits too; inside a container the path may not exist, the root does. */
        for (;;) {
            group_apply(&CGROUPS[i], path, total, available);
            char *slash = strrchr(path, '/');
            if (slash == NULL)
                break;
            *slash = '\0';
        }
    }
    if (*available > *total)
        *available = *total;
}

uint64_t os_memory_bytes(void)
{
    uint64_t total, available;
    memory_limits(&total, &available);
    return total;
}

size_t os_level2_bytes(void)
{
    long bytes = -1;
#ifdef _SC_LEVEL2_CACHE_SIZE
    bytes = sysconf(_SC_LEVEL2_CACHE_SIZE);
#endif
    return bytes > 0 ? (size_t)bytes : LEVEL2_GUESS;
}

uint64_t os_memory_available(void)
{
    uint64_t total, available;
    memory_limits(&total, &available);
    return available;
}

void os_host_name(char *out, size_t cap)
{
    struct utsname u;
    int rc = uname(&u);
    EMAC_ASSERT(rc == 0);
    emac_strcpy(out, cap, u.nodename);
}

void os_cpu_model(char *out, size_t cap)
{
    struct emac_buf text;
    emac_buf_init(&text, MACHINE_TEXT_MAX);
    struct os *os = os_real();
    struct utsname u;
    int rc = uname(&u);
    EMAC_ASSERT(rc == 0 && cap > 0);
    emac_strcpy(out, cap, u.machine);
    /* A machine of very many processors has a longer text; its first lines are in the buffer. */
    os->file_read(os, "/proc/cpuinfo", &text, NULL);
    const char *at = strstr(emac_buf_str(&text), "model name");
    const char *colon = at != NULL ? strchr(at, ':') : NULL;
    if (colon != NULL) {
        const char *name = colon + 1 + strspn(colon + 1, " \t");
        size_t n = strcspn(name, "\n");
        if (n >= cap)
            n = cap - 1;
        if (n > 0) {
            memcpy(out, name, n);
            out[n] = '\0';
        }
    }
    emac_buf_release(&text);
}
