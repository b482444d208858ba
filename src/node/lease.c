/* The intake: a lease from the poll until it waits in the queue (ahead.c). */
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/log.h"
#include "node/agent_internal.h"

#define EMPTY_POLL_LEAST_NS (50 * NS_PER_MS) /* an empty answer before this is no long poll */
#define EMPTY_POLL_PAUSE_MS 200

/* ---- which leases are ours ---- */

static struct lease_mark *mark_of(struct node *n, const char *lease)
{
    for (uint32_t i = 0; i < NODE_LEASES_MAX; i++)
        if (strcmp(n->lease[i].id, lease) == 0)
            return &n->lease[i];
    return NULL;
}

void agent_lease_enter(struct node *n, const char *lease)
{
    os_mutex_lock(&n->lock);
    struct lease_mark *m = mark_of(n, "");
    EMAC_ASSERT(m != NULL && lease[0] != '\0');
    *m = (struct lease_mark){.cancelled = false};
    emac_strcpy(m->id, sizeof m->id, lease);
    os_mutex_unlock(&n->lock);
}

void agent_lease_leave(struct node *n, const char *lease)
{
    os_mutex_lock(&n->lock);
    struct lease_mark *m = mark_of(n, lease);
    EMAC_ASSERT(m != NULL);
    m->id[0] = '\0';
    os_mutex_unlock(&n->lock);
}

bool agent_lease_is_cancelled(struct node *n, const char *lease)
{
    const struct lease_mark *m = mark_of(n, lease);
    return m != NULL && m->cancelled;
}

bool agent_lease_cancelled(struct node *n, const char *lease)
{
    os_mutex_lock(&n->lock);
    bool cancelled = agent_lease_is_cancelled(n, lease);
    os_mutex_unlock(&n->lock);
    return cancelled;
}

/* ---- telling of failures ---- */

static json_t *missing_json(struct node *n, const struct leased *l)
{
    json_t *list = json_array();
    os_mutex_lock(&n->lock);
    for (uint32_t i = 0; i < l->missing_count; i++)
        json_array_append_new(list, agent_json_cid(&l->missing[i]));
    os_mutex_unlock(&n->lock);
    return list;
}

void agent_lease_fail(struct node *n, const char *lease, const struct leased *l,
                      const struct emac_err *why)
{
    struct emac_err err = {.status = EMAC_OK};
    json_t *body =
        json_pack("{s:s,s:s,s:o}", "lease", lease, "status", emac_status_text(why->status),
                  "message", agent_json_sentence(why->text));
    if (why->status == EMAC_UNAVAILABLE && l != NULL)
        json_object_set_new(body, "missing", missing_json(n, l));
    if (l != NULL && !cid_is_none(&l->suspect))
        json_object_set_new(body, "suspect", agent_json_cid(&l->suspect));
    enum emac_status st = agent_post(n, "/v1/failures", body, NODE_CALL_MS, NULL, &err);
    if (st == EMAC_FORBIDDEN)
        agent_refused(n, &err);
    else if (st != EMAC_OK)
        LOG_D("node", "the failure of lease %s was not told: %s", lease, err.text);
}

/* The coordinator knows of a cancellation that it asked for itself. */
void agent_leased_failed(struct node *n, struct leased *l, const struct emac_err *why)
{
    bool taken_back = agent_lease_cancelled(n, l->lease);
    if (l->kind == LEASED_DISPUTE)
        return; /* its time runs out */
    os_mutex_lock(&n->lock);
    n->figures.tasks_failed += why->status != EMAC_CANCELLED;
    os_mutex_unlock(&n->lock);
    if (why->status == EMAC_CANCELLED && taken_back && !agent_over(n)) {
        LOG_I("node", "%s of %s: cancelled by the coordinator", l->slot, l->job);
        return;
    }
    if (why->status == EMAC_CANCELLED)
        LOG_I("node", "%s of %s: given back", l->slot, l->job);
    else
        LOG_W("node", "%s of %s failed: %s", l->slot, l->job, why->text);
    agent_lease_fail(n, l->lease, l, why);
}

/* ---- a lease comes ---- */

enum emac_status agent_task_parse(struct leased *l, struct emac_err *err)
{
    struct emac_buf bytes;
    enum emac_status st;
    emac_buf_init(&bytes, TASK_BYTES_MAX);
    EMAC_TRY(st, agent_field_str(l->reply, "job", NODE_JOB_MAX - 1, &l->job, err));
    EMAC_TRY(st, agent_field_str(l->reply, "slot", NODE_SLOT_MAX - 1, &l->slot, err));
    EMAC_TRY(st, agent_field_u64(l->reply, "round", INT64_MAX, &l->round, err));
    EMAC_TRY(st, agent_field_bytes(l->reply, "task", &bytes, err));
    EMAC_TRY(st, task_decode(&l->task, bytes.data, bytes.len, err));
    l->cid = cid_of(CID_DAG_CBOR, bytes.data, bytes.len);
    if (agent_field_u64(l->reply, "keep", INT64_MAX, &l->keep, NULL) != EMAC_OK)
        l->keep = l->round;
out:
    emac_buf_release(&bytes);
    return st;
}

static enum emac_status work_parse(struct leased *l, struct emac_err *err)
{
    enum emac_status st = agent_task_parse(l, err);
    if (agent_field_u64(l->reply, "fetch_bytes", INT64_MAX, &l->bytes, NULL) != EMAC_OK)
        l->bytes = 0;
    return st;
}

/* What the coordinator says, up to the kind of lease; takes the reply. */
static enum emac_status leased_new(struct node *n, json_t *reply, struct leased **out,
                                   struct emac_err *err)
{
    static const char *const KINDS[] = {"task", "serve", "dispute"}; /* enum leased_kind */
    const char *kind;
    struct leased *l;
    enum emac_status st = emac_alloc(&l, 1, sizeof *l, err);
    if (st != EMAC_OK) {
        json_decref(reply);
        return st;
    }
    *l = (struct leased){.reply = reply, .job = "?", .slot = "?"};
    EMAC_TRY(st, agent_field_str(reply, "kind", 16, &kind, err));
    EMAC_TRY(st, agent_field_str(reply, "lease", NODE_LEASE_MAX - 1, &l->lease, err));
    while (l->kind < EMAC_COUNT(KINDS) && strcmp(kind, KINDS[l->kind]) != 0)
        l->kind++;
    if (l->kind == EMAC_COUNT(KINDS))
        st = emac_fail(err, EMAC_UNSUPPORTED, "the coordinator leases a '%s': update this rig",
                       kind);
    else if (l->lease[0] == '\0')
        st = emac_fail(err, EMAC_CORRUPT, "the coordinator's answer: a lease without a name");
out:
    if (st != EMAC_OK) {
        json_decref(reply);
        free(l);
        return st;
    }
    if (l->kind != LEASED_DISPUTE)
        agent_lease_enter(n, l->lease);
    *out = l;
    return EMAC_OK;
}

void agent_leased_free(struct node *n, struct leased *l)
{
    agent_inputs_drop(n, l);
    task_release(&l->task);
    if (!l->answered && l->kind != LEASED_DISPUTE)
        agent_lease_leave(n, l->lease);
    json_decref(l->reply);
    free(l);
}

/* ---- taking it in ---- */

static void take_in(struct node *n, struct leased *l)
{
    struct emac_err err = {.status = EMAC_OK};
    enum emac_status st = EMAC_OK;
    /* A question that waits for its answer is asked again. */
    if (l->kind == LEASED_DISPUTE && agent_ahead_has(n, l->lease)) {
        agent_leased_free(n, l);
        return;
    }
    if (l->kind == LEASED_TASK)
        st = work_parse(l, &err);
    if (st == EMAC_OK && agent_lease_cancelled(n, l->lease))
        st = emac_fail(&err, EMAC_CANCELLED, "the lease was taken back");
    if (st == EMAC_OK) {
        agent_ahead_put(n, l);
        return;
    }
    agent_leased_failed(n, l, &err);
    agent_leased_free(n, l);
}

/* What the rig could do: how many requests for text at once, of which models soonest. */
static json_t *poll_json(struct node *n)
{
    json_t *models = json_array();
    os_mutex_lock(&n->lock);
    for (uint32_t i = 0; i < n->loaded_count; i++)
        json_array_append_new(models, agent_json_cid(&n->loaded[i]));
    os_mutex_unlock(&n->lock);
    return json_pack("{s:i,s:o,s:i,s:o}", "wait_ms", NODE_LEASE_WAIT_MS, "holds",
                     agent_retain_holds(n), "slots", (int)n->slots, "models", models);
}

enum emac_status agent_work(struct node *n, struct emac_err *err)
{
    json_t *reply = NULL;
    struct leased *l;
    if (!agent_ahead_wait(n))
        return EMAC_OK;
    json_t *body = poll_json(n);
    uint64_t began = n->os->mono_ns(n->os);
    enum emac_status st =
        agent_poll(n, "/v1/lease", body, NODE_LEASE_WAIT_MS + NODE_CALL_MS, &reply, err);
    if (st == EMAC_OK && reply != NULL) {
        st = leased_new(n, reply, &l, err);
        if (st == EMAC_OK)
            take_in(n, l);
    } else if (st == EMAC_OK && n->os->mono_ns(n->os) - began < EMPTY_POLL_LEAST_NS) {
        agent_pause(n, EMPTY_POLL_PAUSE_MS);
    }
    return st;
}
