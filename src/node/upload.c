/* The uploader: bundles that the coordinator asked for, one after the other, to its depot. */
#include <string.h>

#include "base/assert.h"
#include "base/log.h"
#include "node/agent_internal.h"

#define RETRY_PAUSE_MS 500

/* The wish is repeated with each heartbeat until the depot has the bundle; one that is queued or
 * under way is not queued again, and one that came after all costs one question to the depot. */
static bool is_asked(const struct node *n, const struct cid *cid)
{
    bool asked = cid_equal(&n->uploading, cid);
    for (uint32_t i = 0; i < n->upload_count; i++)
        asked = asked || cid_equal(&n->upload[i].cid, cid);
    return asked;
}

void agent_upload_ask(struct node *n, const struct cid *cid)
{
    const struct store_value *v = NULL;
    os_mutex_lock(&n->lock);
    bool wanted = !is_asked(n, cid) && n->upload_count < NODE_UPLOADS_MAX;
    os_mutex_unlock(&n->lock);
    if (!wanted)
        return;
    /* Held from now on, so that the rounds may go on meanwhile. */
    if (store_value_get(n->store, cid, n->file_max, &v, NULL) != EMAC_OK) {
        char text[CID_TEXT_MAX];
        cid_text(text, cid);
        LOG_D("node", "asked to deposit '%s', which is not here any more", text);
        return;
    }
    /* Only the heartbeat thread adds: there is room still. */
    os_mutex_lock(&n->lock);
    EMAC_ASSERT(n->upload_count < NODE_UPLOADS_MAX);
    n->upload[n->upload_count++] = (struct upload){*cid, v};
    os_cond_broadcast(&n->wake);
    os_mutex_unlock(&n->lock);
}

/* Waits for the next; false when the agent ends. */
static bool take(struct node *n, struct upload *out)
{
    os_mutex_lock(&n->lock);
    while (n->upload_count == 0 && !atomic_load(&n->stop) && n->final.status == EMAC_OK)
        os_cond_wait(&n->wake, &n->lock);
    bool go = !atomic_load(&n->stop) && n->final.status == EMAC_OK;
    if (go) {
        *out = n->upload[0];
        n->upload_count--;
        memmove(&n->upload[0], &n->upload[1], n->upload_count * sizeof n->upload[0]);
        n->uploading = out->cid;
    }
    os_mutex_unlock(&n->lock);
    return go;
}

static void push(struct node *n, const struct upload *u)
{
    struct emac_err err = {.status = EMAC_OK};
    uint64_t bytes = 0, began = n->os->mono_ns(n->os);
    enum emac_status st =
        exchange_push(n->store, n->bulk, &u->cid, n->cfg.coordinator, &n->id.signer, &bytes, &err);
    double s = (double)(n->os->mono_ns(n->os) - began) * 1e-9;
    if (st == EMAC_OK) {
        LOG_D("node", "deposited %zu bytes in %.2f s (%llu were sent)", u->value->size, s,
              (unsigned long long)bytes);
        return;
    }
    if (!agent_over(n))
        LOG_W("node", "a deposit failed, it is tried again when asked for: %s", err.text);
    agent_pause(n, RETRY_PAUSE_MS);
}

void *agent_upload_thread(void *node)
{
    struct node *n = node;
    struct upload u;
    while (take(n, &u)) {
        push(n, &u);
        store_value_drop(n->store, u.value);
        os_mutex_lock(&n->lock);
        n->uploading = (struct cid){0};
        os_mutex_unlock(&n->lock);
    }
    return NULL;
}

void agent_upload_release(struct node *n)
{
    for (uint32_t i = 0; i < n->upload_count; i++)
        store_value_drop(n->store, n->upload[i].value);
    n->upload_count = 0;
}
