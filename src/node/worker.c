/* The worker: what is ready, run on the device. */
#include <string.h>

#include "base/assert.h"
#include "base/log.h"
#include "node/agent_internal.h"
#include "work/planner.h"

/* ---- the device ---- */

bool agent_device_take(struct node *n)
{
    bool waited = false;
    os_mutex_lock(&n->lock);
    for (; n->device_taken; waited = true)
        os_cond_wait(&n->wake, &n->lock);
    n->device_taken = true;
    os_mutex_unlock(&n->lock);
    return waited;
}

void agent_device_give(struct node *n)
{
    os_mutex_lock(&n->lock);
    EMAC_ASSERT(n->device_taken);
    n->device_taken = false;
    os_cond_broadcast(&n->wake);
    os_mutex_unlock(&n->lock);
}

/* ---- keys to what is private ---- */

static enum emac_status key_take(struct node *n, const char *lease, const json_t *keys,
                                 const char *name, struct sealed_ring *out, struct emac_err *err)
{
    struct cid asset;
    struct emac_buf bytes;
    struct sealed_key k = {0};
    enum emac_status st;
    emac_buf_init(&bytes, SEALED_BOX_MAX);
    EMAC_TRY(st, cid_parse(&asset, name, err));
    EMAC_TRY(st, agent_field_bytes(keys, name, &bytes, err));
    EMAC_TRY(st, sealed_key_open(&k, bytes.data, bytes.len, n->id.secret_key, &asset, lease, err));
    st = sealed_ring_add(out, &asset, k.key, err);
out:
    crypto_wipe(&k, sizeof k);
    emac_buf_release(&bytes);
    return st;
}

enum emac_status agent_keys_take(struct node *n, const json_t *reply, const char *lease,
                                 struct sealed_ring *out, struct emac_err *err)
{
    enum emac_status st = EMAC_OK;
    json_t *keys = json_object_get(reply, "keys"), *box;
    const char *name;
    *out = (struct sealed_ring){0};
    json_object_foreach(keys, name, box)
    {
        if (st == EMAC_OK)
            st = key_take(n, lease, keys, name, out, err);
    }
    return st;
}

static enum emac_status task_keys_take(struct node *n, const struct leased *l, struct emac_err *err)
{
    struct sealed_ring keys;
    enum emac_status st = agent_keys_take(n, l->reply, l->lease, &keys, err);
    if (st == EMAC_OK)
        st = exec_keys_add(n->exec, &keys, err);
    sealed_ring_wipe(&keys);
    return st;
}

/* ---- a task ---- */

static enum emac_status outputs_retain(struct node *n, const struct leased *l,
                                       const struct exec_result *r, struct emac_err *err)
{
    enum emac_status st = EMAC_OK;
    for (uint32_t i = 0; i < r->output_count; i++)
        if (plan_name_is_state(r->output[i].name))
            agent_retain_supersede(n, r->value[i], l->job, r->output[i].name);
    for (uint32_t i = 0; i < r->output_count && st == EMAC_OK; i++)
        st = agent_retain_add(n, r->value[i], l->job, l->round, r->output[i].name, false, err);
    return st;
}

static void say_done(struct node *n, const struct leased *l, const struct exec_result *r)
{
    double s = (double)r->total_ns * 1e-9, compute_s = (double)r->compute_ns * 1e-9;
    LOG_I("node", "%s of %s: done in %.3f s (inputs %.3f s, computing %.3f s), %.1f GFLOP/s",
          l->slot, l->job, s + (double)l->fetch_ns * 1e-9, (double)l->fetch_ns * 1e-9, compute_s,
          s > 0 ? (double)r->flops * 1e-9 / s : 0.0);
    uint64_t asked = n->bus_asked;
    agent_bus_note(n);
    if (!device_is_host(n->dev))
        LOG_I("node", "%s: %.3f MB to the device, %.3f MB back, %.3f MB for others since the last",
              l->slot, (double)r->bus_written * 1e-6, (double)r->bus_read * 1e-6,
              (double)(n->bus_asked - asked) * 1e-6);
    os_mutex_lock(&n->lock);
    n->figures.bus_written += r->bus_written;
    n->figures.bus_read += r->bus_read;
    os_mutex_unlock(&n->lock);
}

static enum emac_status receipt_keep(struct node *n, const struct leased *l,
                                     const struct exec_result *result, uint64_t started_ms,
                                     struct emac_err *err)
{
    struct receipt r = {.task = l->cid,
                        .started_ms = started_ms,
                        .ended_ms = n->os->wall_ms(n->os),
                        .output_count = result->output_count};
    emac_strcpy(r.lease, sizeof r.lease, l->lease);
    emac_strcpy(r.node, sizeof r.node, n->id.did);
    memcpy(r.output, result->output, sizeof r.output);
    return agent_outbox_put(n, &r, l->slot, result, err);
}

static enum emac_status compute(struct node *n, struct leased *l, struct exec_result *result,
                                struct emac_err *err)
{
    if (n->cfg.tamper != NULL)
        n->cfg.tamper(n->cfg.tamper_ctx, NULL, NULL, 0);
    enum emac_status st = exec_run(n->exec, &l->task, result, err);
    while (st == EMAC_NO_MEMORY &&
           (agent_models_yield(n) || agent_ahead_give_up(n, l) || agent_retain_spare(n))) {
        LOG_W("node", "%s: %s; trying again with less kept for others", l->slot, err->text);
        st = exec_run(n->exec, &l->task, result, err);
    }
    return st;
}

/* A local failure is told to the coordinator; after success the receipt waits in the outbox. */
static void task_work(struct node *n, struct leased *l)
{
    struct emac_err err = {.status = EMAC_OK};
    struct exec_result result = {0};
    uint64_t started_ms = n->os->wall_ms(n->os);
    enum emac_status st = EMAC_OK;
    if (agent_lease_cancelled(n, l->lease))
        st = emac_fail(&err, EMAC_CANCELLED, "the lease was taken back");
    if (st == EMAC_OK && !l->fetched)
        st = agent_fetch_inputs(n, l, &err);
    if (st == EMAC_OK)
        st = task_keys_take(n, l, &err);
    if (st == EMAC_OK)
        st = compute(n, l, &result, &err);
    exec_keys_clear(n->exec);
    if (st == EMAC_OK)
        st = outputs_retain(n, l, &result, &err);
    if (st == EMAC_OK)
        st = receipt_keep(n, l, &result, started_ms, &err);
    l->answered = st == EMAC_OK;
    l->suspect = result.suspect;
    if (st == EMAC_OK)
        say_done(n, l, &result);
    else
        agent_leased_failed(n, l, &err);
    exec_result_release(n->exec, &result);
}

/* Takes the lease. */
static void work(struct node *n, struct leased *l)
{
    switch (l->kind) {
    case LEASED_TASK:
        n->running = l;
        agent_models_yield_for_task(n);
        task_work(n, l);
        n->running = NULL;
        break;
    case LEASED_SERVE:
        agent_serve(n, l);
        return;
    case LEASED_DISPUTE:
        n->running = l;
        agent_dispute(n, l);
        n->running = NULL;
        break;
    }
    agent_leased_free(n, l);
}

/* ---- the thread ---- */

void *agent_worker_thread(void *node)
{
    struct node *n = node;
    const struct emac_err over = {EMAC_CANCELLED, "the rig is stopping"};
    struct leased *l;
    bool there = true;
    while ((l = agent_ahead_next(n)) != NULL) {
        agent_device_take(n);
        bool begins = there && !agent_over(n);
        if (begins)
            work(n, l);
        there = there && agent_device_check(n);
        agent_device_give(n);
        if (!begins) {
            agent_leased_failed(n, l, &over);
            agent_leased_free(n, l);
        }
        agent_ahead_done(n);
    }
    return NULL;
}
