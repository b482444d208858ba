/* The uploader: bundles that the coordinator asked for, one after the other, to its depot. */
#include <string.h>

#include "base/assert.h"
#include "base/log.h"
#include "node/agent_internal.h"

#define RETRY_PAUSE_MS 1000

/* The wish is repeated with each heartbeat until the depot has the bundle; one that is queued or
 * under way is not queued again, and one that came after all costs one question to the depot. */
static bool is_asked(const struct node *n, const struct cid *cid)
{
    bool asked = cid_equal(&n->uploading, cid);
    for (uint32_t i = 0; i < n->upload_count; i++)
        asked = asked || cid_equal(&n->upload[i].cid, cid);
    return asked;
}

/* Takes over the hold; false when there is no room or no need. */
static bool add(struct node *n, const struct cid *cid, const struct store_value *v)
{
    os_mutex_lock(&n->lock);
    bool wanted = !is_asked(n, cid) && n->upload_count < NODE_UPLOADS_MAX;
    if (wanted && v != NULL) {
        n->upload[n->upload_count++] = (struct upload){*cid, v};
        os_cond_broadcast(&n->wake);
    }
    os_mutex_unlock(&n->lock);
    return wanted;
}

void agent_upload_ask(struct node *n, const struct cid *cid)
{
    const struct store_value *v = NULL;
    if (private_holds(&n->private, n->store, cid)) {
        LOG_W("node", "asked to deposit data that stay here: refused");
        return;
    }
    if (!add(n, cid, NULL)) /* cheap to know before looking for it */
        return;
    /* Held from now on, so that the rounds may go on meanwhile. */
    if (store_value_get(n->store, cid, n->file_max, &v, NULL) != EMAC_OK) {
        char text[CID_TEXT_MAX];
        cid_text(text, cid);
        LOG_D("node", "asked to deposit '%s', which is not here any more", text);
        return;
    }
    if (!add(n, cid, v))
        store_value_drop(n->store, v);
}

void agent_upload_ask_all(struct node *n, const json_t *list)
{
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *text = json_string_value(json_array_get(list, i));
        struct cid cid;
        if (text != NULL && cid_parse(&cid, text, NULL) == EMAC_OK)
            agent_upload_ask(n, &cid);
    }
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

/* A checkpoint must not be lost to an outage: what failed is held and tried again, unless the depot
 * will never have it. */
static bool push(struct node *n, const struct upload *u)
{
    struct emac_err err = {.status = EMAC_OK};
    uint64_t bytes = 0, began = n->os->mono_ns(n->os);
    enum emac_status st =
        exchange_push(n->store, n->bulk, &u->cid, n->cfg.coordinator, &n->id.signer, &bytes, &err);
    double s = (double)(n->os->mono_ns(n->os) - began) * 1e-9;
    if (st == EMAC_OK) {
        LOG_D("node", "deposited %zu bytes in %.2f s (%llu were sent)", u->value->size, s,
              (unsigned long long)bytes);
        return true;
    }
    if (!agent_over(n))
        LOG_W("node", "a deposit failed: %s", err.text);
    return st == EMAC_INVALID || st == EMAC_FORBIDDEN || st == EMAC_NOT_FOUND ||
           st == EMAC_TOO_LARGE;
}

void *agent_upload_thread(void *node)
{
    struct node *n = node;
    struct upload u;
    while (take(n, &u)) {
        bool done = push(n, &u);
        os_mutex_lock(&n->lock);
        n->uploading = (struct cid){0};
        os_mutex_unlock(&n->lock);
        if (done || !add(n, &u.cid, u.value))
            store_value_drop(n->store, u.value);
        if (!done)
            agent_pause(n, RETRY_PAUSE_MS);
    }
    return NULL;
}

void agent_upload_release(struct node *n)
{
    for (uint32_t i = 0; i < n->upload_count; i++)
        store_value_drop(n->store, n->upload[i].value);
    n->upload_count = 0;
}
