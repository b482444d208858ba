/* The rig's device: opened and admitted before the sandbox, opened anew when it was lost. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/log.h"
#include "node/agent_internal.h"

#define DEVICES_LISTED 16

/* Where drivers keep kernels that they have compiled: with the rig's other files. */
static const char *const CACHE_VARIABLES[] = {"POCL_CACHE_DIR", "CUDA_CACHE_PATH"};

static enum emac_status cache_open(struct node *n, struct emac_err *err)
{
    char *path = emac_asprintf("%s/kernels", n->cfg.dir);
    enum emac_status st = n->os->dir_make(n->os, path, err);
    for (size_t i = 0; i < EMAC_COUNT(CACHE_VARIABLES) && st == EMAC_OK; i++)
        os_environment_default(CACHE_VARIABLES[i], path);
    free(path);
    return st;
}

static bool task_cancelled(void *node)
{
    struct node *n = node;
    const struct leased *l = n->running;
    return agent_over(n) || (l != NULL && agent_lease_cancelled(n, l->lease));
}

/* The door for rigs that lie, shut during the challenge. */
static void tamper(void *node, const char *output, uint8_t *bundle, size_t size)
{
    struct node *n = node;
    if (!n->in_challenge)
        n->cfg.tamper(n->cfg.tamper_ctx, output, bundle, size);
}

/* Of a card; "" of a processor. Called before the sandbox: drivers open files when asked. */
static const char *driver_of(struct device *dev, const struct device_found *found, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (strstr(device_name(dev), found[i].name) != NULL)
            return found[i].driver;
    return "";
}

/* What others say of the device, who do not have it. */
static void device_tell(struct node *n)
{
    struct device_found found[DEVICES_LISTED];
    size_t count = device_is_host(n->dev) ? 0 : device_opencl_list(found, DEVICES_LISTED);
    os_mutex_lock(&n->lock);
    emac_strcpy(n->driver, sizeof n->driver, driver_of(n->dev, found, count));
    emac_strcpy(n->device_isa, sizeof n->device_isa, device_kind(n->dev));
    emac_strcpy(n->device_name, sizeof n->device_name, device_name(n->dev));
    n->device_threads = device_threads(n->dev);
    os_mutex_unlock(&n->lock);
}

static enum emac_status open_as(struct node *n, const char *spec, struct emac_err *err)
{
    const struct exec_config cfg = {.os = n->os,
                                    .store = n->store,
                                    .fetch = agent_fetch,
                                    .fetch_ctx = n,
                                    .cancelled = task_cancelled,
                                    .cancelled_ctx = n,
                                    .duty = &n->duty,
                                    .values = n->cfg.values,
                                    .tamper = n->cfg.tamper != NULL ? tamper : NULL,
                                    .tamper_ctx = n};
    struct exec_config with_device = cfg;
    char *tiles = emac_asprintf("%s/kernels/tiles", n->cfg.dir);
    enum emac_status st;
    EMAC_TRY(st, device_open(spec, n->cfg.threads, &n->dev, err));
    if (n->cfg.device_memory != 0)
        device_memory_limit(n->dev, n->cfg.device_memory);
    with_device.dev = n->dev;
    EMAC_TRY(st, device_admit(n->dev, n->conformance, err));
    EMAC_TRY(st, device_tune(n->dev, n->os, tiles, err));
    EMAC_TRY(st, exec_new(&with_device, &n->exec, err));
    atomic_store(&n->task_memory, exec_memory_max(n->exec));
    device_tell(n);
out:
    free(tiles);
    return st;
}

void agent_bus_note(struct node *n)
{
    struct device_memory m;
    device_memory(n->dev, &m);
    os_mutex_lock(&n->lock);
    n->figures.bus_asked += m.viewed - n->bus_asked;
    os_mutex_unlock(&n->lock);
    n->bus_asked = m.viewed;
}

void agent_device_close(struct node *n)
{
    if (n->dev != NULL)
        (void)agent_models_yield(n);
    exec_free(n->exec);
    if (n->dev != NULL)
        agent_bus_note(n);
    n->bus_asked = 0;
    device_close(n->dev);
    device_close(n->generation_dev);
    n->exec = NULL;
    n->dev = n->generation_dev = NULL;
}

enum emac_status agent_device_open(struct node *n, struct emac_err *err)
{
    enum emac_status st = strncmp(n->cfg.device, "cpu", 3) != 0 ? cache_open(n, err) : EMAC_OK;
    return st == EMAC_OK ? open_as(n, n->cfg.device, err) : st;
}

/* Whatever comes out, the coordinator must hear from the device anew. */
static enum emac_status recover(struct node *n, struct emac_err *err)
{
    LOG_W("node", "device '%s' is lost; opening it again", device_name(n->dev));
    agent_device_close(n);
    agent_retain_lost(n);
    agent_joined_set(n, false);
    enum emac_status st = open_as(n, n->cfg.device, err);
    if (st == EMAC_OK)
        return EMAC_OK;
    LOG_W("node", "%s; going on with the CPU", err->text);
    agent_device_close(n);
    return open_as(n, "cpu", err);
}

bool agent_device_check(struct node *n)
{
    struct emac_err err = {.status = EMAC_OK};
    if (device_lost(n->dev) && recover(n, &err) != EMAC_OK && n->exec == NULL) {
        agent_refused(n, &err);
        return false;
    }
    return true;
}

enum emac_status agent_generation_device(struct node *n, struct device **out, struct emac_err *err)
{
    enum emac_status st = EMAC_OK;
    if (!device_is_host(n->dev) && n->generation_dev == NULL)
        st = device_open("cpu", n->cfg.threads, &n->generation_dev, err);
    *out = n->generation_dev != NULL ? n->generation_dev : n->dev;
    return st;
}
