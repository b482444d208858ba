/* A lease from the poll to the receipt. */
#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/log.h"
#include "node/agent_internal.h"
#include "work/planner.h"

#define EMPTY_POLL_LEAST_NS (50 * NS_PER_MS) /* an empty answer before this is no long poll */
#define EMPTY_POLL_PAUSE_MS 200

struct leased {
    const char *lease, *job, *slot; /* borrowed from the answer */
    uint64_t round;
    struct cid cid;
    struct task task;
};

/* ---- telling of failures ---- */

static json_t *missing_json(struct node *n)
{
    json_t *list = json_array();
    os_mutex_lock(&n->lock);
    for (uint32_t i = 0; i < n->missing_count; i++)
        json_array_append_new(list, agent_json_cid(&n->missing[i]));
    os_mutex_unlock(&n->lock);
    return list;
}

void agent_lease_fail(struct node *n, const char *lease, const struct emac_err *why,
                      const struct cid *suspect)
{
    struct emac_err err = {.status = EMAC_OK};
    json_t *body =
        json_pack("{s:s,s:s,s:o}", "lease", lease, "status", emac_status_text(why->status),
                  "message", agent_json_sentence(why->text));
    if (why->status == EMAC_UNAVAILABLE)
        json_object_set_new(body, "missing", missing_json(n));
    if (suspect != NULL && !cid_is_none(suspect))
        json_object_set_new(body, "suspect", agent_json_cid(suspect));
    enum emac_status st = agent_post(n, "/v1/failures", body, NODE_CALL_MS, NULL, &err);
    if (st == EMAC_FORBIDDEN)
        agent_refused(n, &err);
    else if (st != EMAC_OK)
        LOG_D("node", "the failure of lease %s was not told: %s", lease, err.text);
}

/* The coordinator knows of a cancellation that it asked for itself. */
static void task_failed(struct node *n, const struct leased *l, const struct emac_err *why,
                        const struct cid *suspect)
{
    os_mutex_lock(&n->lock);
    n->figures.tasks_failed += why->status != EMAC_CANCELLED;
    os_mutex_unlock(&n->lock);
    if (why->status == EMAC_CANCELLED && atomic_load(&n->cancel) && !agent_over(n)) {
        LOG_I("node", "%s of %s: cancelled by the coordinator", l->slot, l->job);
        return;
    }
    if (why->status == EMAC_CANCELLED)
        LOG_I("node", "%s of %s: given back", l->slot, l->job);
    else
        LOG_W("node", "%s of %s failed: %s", l->slot, l->job, why->text);
    agent_lease_fail(n, l->lease, why, suspect);
}

/* ---- a task ---- */

static enum emac_status task_parse(const json_t *reply, struct leased *out, struct emac_err *err)
{
    struct emac_buf bytes;
    enum emac_status st;
    emac_buf_init(&bytes, TASK_BYTES_MAX);
    EMAC_TRY(st, agent_field_str(reply, "job", NODE_JOB_MAX - 1, &out->job, err));
    EMAC_TRY(st, agent_field_str(reply, "slot", NODE_SLOT_MAX - 1, &out->slot, err));
    EMAC_TRY(st, agent_field_u64(reply, "round", INT64_MAX, &out->round, err));
    EMAC_TRY(st, agent_field_bytes(reply, "task", &bytes, err));
    EMAC_TRY(st, task_decode(&out->task, bytes.data, bytes.len, err));
    out->cid = cid_of(CID_DAG_CBOR, bytes.data, bytes.len);
out:
    emac_buf_release(&bytes);
    return st;
}

static enum emac_status outputs_retain(struct node *n, const struct leased *l,
                                       const struct exec_result *r, struct emac_err *err)
{
    enum emac_status st = EMAC_OK;
    for (uint32_t i = 0; i < r->output_count && st == EMAC_OK; i++)
        st = agent_retain_add(n, r->value[i], l->job, l->round, r->output[i].name, err);
    for (uint32_t i = 0; i < r->output_count && st == EMAC_OK; i++)
        if (plan_name_is_state(r->output[i].name))
            agent_retain_supersede(n, r->value[i], l->job, r->output[i].name);
    return st;
}

static void say_done(struct node *n, const struct leased *l, const struct exec_result *r,
                     uint64_t fetch_ns)
{
    double s = (double)r->total_ns * 1e-9, compute_s = (double)r->compute_ns * 1e-9;
    LOG_I("node", "%s of %s: done in %.3f s (inputs %.3f s, computing %.3f s), %.1f GFLOP/s",
          l->slot, l->job, s + (double)fetch_ns * 1e-9, (double)fetch_ns * 1e-9, compute_s,
          s > 0 ? (double)r->flops * 1e-9 / s : 0.0);
    if (!device_is_host(n->dev))
        LOG_I("node", "%s: %.3f MB to the device, %.3f MB back", l->slot,
              (double)r->bus_written * 1e-6, (double)r->bus_read * 1e-6);
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

/* A local failure is told to the coordinator and is OK here; after success the receipt waits in the
 * outbox. */
static void task_work(struct node *n, struct leased *l)
{
    struct emac_err err = {.status = EMAC_OK};
    struct exec_result result = {0};
    uint64_t started_ms = n->os->wall_ms(n->os), began = n->os->mono_ns(n->os), fetched;
    enum emac_status st;
    agent_retain_begin(n);
    if (n->cfg.tamper != NULL)
        n->cfg.tamper(n->cfg.tamper_ctx, NULL, NULL, 0);
    EMAC_TRY(st, agent_fetch_inputs(n, &l->task, l->job, l->round, &err));
    fetched = n->os->mono_ns(n->os);
    st = exec_run(n->exec, &l->task, &result, &err);
    while (st == EMAC_NO_MEMORY && agent_retain_spare(n)) {
        LOG_W("node", "%s: %s; trying again with less kept for others", l->slot, err.text);
        st = exec_run(n->exec, &l->task, &result, &err);
    }
    EMAC_TRY(st, st);
    EMAC_TRY(st, outputs_retain(n, l, &result, &err));
    EMAC_TRY(st, receipt_keep(n, l, &result, started_ms, &err));
    say_done(n, l, &result, fetched - began);
out:
    if (st != EMAC_OK)
        task_failed(n, l, &err, &result.suspect);
    exec_result_release(n->exec, &result);
}

/* ---- keys to private data ---- */

static enum emac_status key_take(struct node *n, const char *lease, const json_t *keys,
                                 const char *name, struct emac_err *err)
{
    struct cid asset;
    struct emac_buf bytes;
    struct sealed_key k = {0};
    enum emac_status st;
    emac_buf_init(&bytes, SEALED_BOX_MAX);
    EMAC_TRY(st, cid_parse(&asset, name, err));
    EMAC_TRY(st, agent_field_bytes(keys, name, &bytes, err));
    EMAC_TRY(st, sealed_key_open(&k, bytes.data, bytes.len, n->id.secret_key, &asset, lease, err));
    st = exec_key_add(n->exec, &asset, k.key, err);
out:
    crypto_wipe(&k, sizeof k);
    emac_buf_release(&bytes);
    return st;
}

/* What the lease brings: sealed to this rig, for this lease. */
static enum emac_status keys_take(struct node *n, const json_t *reply, const char *lease,
                                  struct emac_err *err)
{
    enum emac_status st = EMAC_OK;
    json_t *keys = json_object_get(reply, "keys"), *box;
    const char *name;
    json_object_foreach(keys, name, box)
    {
        if (st == EMAC_OK)
            st = key_take(n, lease, keys, name, err);
    }
    return st;
}

static void missing_clear(struct node *n)
{
    os_mutex_lock(&n->lock);
    n->missing_count = 0;
    os_mutex_unlock(&n->lock);
}

static enum emac_status task_lease(struct node *n, const json_t *reply, const char *lease,
                                   struct emac_err *err)
{
    struct leased l = {.lease = lease, .job = "?", .slot = "?"};
    struct emac_err bad = {.status = EMAC_OK};
    if (task_parse(reply, &l, &bad) == EMAC_OK && keys_take(n, reply, lease, &bad) == EMAC_OK)
        task_work(n, &l);
    else
        task_failed(n, &l, &bad, NULL);
    if (n->exec != NULL) /* the device may be lost */
        exec_keys_clear(n->exec);
    task_release(&l.task);
    return n->outbox.message != NULL ? agent_outbox_flush(n, err) : EMAC_OK;
}

static enum emac_status work(struct node *n, const json_t *reply, struct emac_err *err)
{
    const char *kind, *lease;
    enum emac_status st = agent_field_str(reply, "kind", 16, &kind, err);
    if (st == EMAC_OK)
        st = agent_field_str(reply, "lease", NODE_LEASE_MAX - 1, &lease, err);
    if (st != EMAC_OK)
        return st;
    n->sources = json_object_get(reply, "sources");
    missing_clear(n);
    if (strcmp(kind, "dispute") == 0) { /* no lease: nothing to keep alive, or to cancel */
        agent_dispute(n, reply, lease);
        n->sources = NULL;
        return EMAC_OK;
    }
    agent_lease_set(n, lease);
    if (strcmp(kind, "task") == 0)
        st = task_lease(n, reply, lease, err);
    else if (strcmp(kind, "serve") == 0)
        agent_serve(n, reply, lease);
    else
        st = emac_fail(err, EMAC_UNSUPPORTED, "the coordinator leases a '%s': update this rig",
                       kind);
    if (n->outbox.message == NULL)
        agent_lease_set(n, "");
    n->sources = NULL;
    return st;
}

/* The receipt's answer brought it. */
static enum emac_status next_work(struct node *n, struct emac_err *err)
{
    json_t *next = n->next;
    n->next = NULL;
    enum emac_status st = work(n, next, err);
    json_decref(next);
    return st;
}

enum emac_status agent_work(struct node *n, struct emac_err *err)
{
    json_t *reply = NULL;
    if (n->next != NULL)
        return next_work(n, err);
    json_t *body =
        json_pack("{s:i,s:o}", "wait_ms", NODE_LEASE_WAIT_MS, "holds", agent_retain_holds(n));
    uint64_t began = n->os->mono_ns(n->os);
    enum emac_status st =
        agent_poll(n, "/v1/lease", body, NODE_LEASE_WAIT_MS + NODE_CALL_MS, &reply, err);
    if (st == EMAC_OK && reply != NULL)
        st = work(n, reply, err);
    else if (st == EMAC_OK && n->os->mono_ns(n->os) - began < EMPTY_POLL_LEAST_NS)
        agent_pause(n, EMPTY_POLL_PAUSE_MS);
    json_decref(reply);
    return st;
}
