/* Hello and the challenge. */
#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/log.h"
#include "node/agent_internal.h"
#include "os/process.h"

#define HEARTBEAT_LEAST_MS 50
#define HEARTBEAT_MOST_MS  60000
#define HELLO_MS           30000 /* the coordinator looks whether it can reach us meanwhile */
#define CHALLENGE_ID_MAX   128
#define DEVICE_TEXT        72 /* with the NUL: what the coordinator keeps */

/* What the store may grow to: its quota, or what the disk has. */
static uint64_t disk_bytes(struct node *n)
{
    struct store_stats s;
    uint64_t left = 0;
    store_stats(n->store, &s);
    if (n->os->disk_free(n->os, n->cfg.dir, &left, NULL) != EMAC_OK)
        return n->disk_quota;
    return left + s.disk_bytes < n->disk_quota ? left + s.disk_bytes : n->disk_quota;
}

/* What faults are counted by, and whose rig it is. */
static void who_add(struct node *n, json_t *hello)
{
    char name[DEVICE_TEXT], driver[sizeof n->driver];
    os_mutex_lock(&n->lock);
    snprintf(name, sizeof name, "%.*s", DEVICE_TEXT - 1, n->device_name);
    emac_strcpy(driver, sizeof driver, n->driver);
    os_mutex_unlock(&n->lock);
    json_object_set_new(hello, "device", agent_json_sentence(name));
    json_object_set_new(hello, "driver", agent_json_sentence(driver));
    if (n->cfg.owner != NULL)
        json_object_set_new(hello, "owner", json_string(n->cfg.owner));
}

static json_t *hello_json(struct node *n)
{
    uint64_t memory = atomic_load(&n->task_memory);
    const struct link_shape *shape = &n->cfg.link;
    char isa[NODE_ISA_MAX];
    json_t *link = NULL; /* the owner's limit; what the network has beyond it nobody knows */
    if (shape->up_bps > 0)
        link = json_pack("{s:I,s:I,s:I}", "up_bps", (json_int_t)shape->up_bps, "down_bps",
                         (json_int_t)shape->down_bps, "latency_ns", (json_int_t)shape->latency_ns);
    os_mutex_lock(&n->lock);
    emac_strcpy(isa, sizeof isa, n->device_isa);
    int threads = (int)n->device_threads;
    os_mutex_unlock(&n->lock);
    uint64_t disk = disk_bytes(n), offer = n->cfg.offer_bytes;
    json_t *hello = json_pack(
        "{s:s?,s:s,s:s,s:s,s:s,s:i,s:I,s:I,s:I,s:I,s:I,s:s,s:o?}", "url",
        n->server != NULL ? n->cfg.public_url : NULL, "name", n->cfg.name, "version", NODE_VERSION,
        "boot", n->boot, "isa", isa, "threads", threads, "memory_bytes", (json_int_t)memory,
        "keep_bytes", (json_int_t)n->memory_quota, "disk_bytes", (json_int_t)disk, "offer_bytes",
        (json_int_t)(offer < disk ? offer : disk), "offer_units", (json_int_t)n->cfg.offer_units,
        "conformance", n->conformance, "link", link);
    who_add(n, hello);
    return hello;
}

/* *reply is the caller's. */
static enum emac_status hello(struct node *n, json_t **reply, const char **state,
                              struct emac_err *err)
{
    uint64_t beat = 0;
    enum emac_status st = agent_poll(n, "/v1/nodes", hello_json(n), HELLO_MS, reply, err);
    if (st != EMAC_OK)
        return st;
    agent_session_take(n, *reply);
    st = agent_field_str(*reply, "state", 32, state, err);
    if (st == EMAC_OK && strcmp(*state, "quarantined") == 0)
        st = emac_fail(err, EMAC_FORBIDDEN, "the coordinator has quarantined this rig");
    if (st == EMAC_OK &&
        agent_field_u64(*reply, "heartbeat_ms", HEARTBEAT_MOST_MS, &beat, NULL) == EMAC_OK)
        atomic_store(&n->heartbeat_ms,
                     beat > HEARTBEAT_LEAST_MS ? (unsigned)beat : HEARTBEAT_LEAST_MS);
    atomic_store(&n->reachable,
                 n->server != NULL && json_is_true(json_object_get(*reply, "reachable")));
    return st;
}

enum emac_status agent_hello(struct node *n, struct emac_err *err)
{
    json_t *reply = NULL;
    const char *state;
    enum emac_status st = hello(n, &reply, &state, err);
    json_decref(reply);
    return st;
}

static enum emac_status object_keep(struct node *n, const json_t *challenge, const char *key,
                                    struct emac_buf *bytes, struct emac_err *err)
{
    struct cid cid;
    emac_buf_clear(bytes);
    enum emac_status st = agent_field_bytes(challenge, key, bytes, err);
    if (st == EMAC_OK)
        st = store_block_put(n->store, CID_DAG_CBOR, bytes->data, bytes->len, &cid, err);
    return st;
}

static json_t *outputs_json(const struct exec_result *r)
{
    json_t *o = json_object();
    for (uint32_t i = 0; i < r->output_count; i++)
        json_object_set_new(o, r->output[i].name, agent_json_cid(&r->output[i].cid));
    return o;
}

/* The outputs have done their duty once they are named. */
static void outputs_forget(struct node *n, struct exec_result *r)
{
    for (uint32_t i = 0; i < r->output_count; i++)
        store_value_forget(n->store, store_value_hold(n->store, r->value[i]));
    exec_result_release(n->exec, r);
}

static enum emac_status challenge_run(struct node *n, const json_t *challenge, json_t **outputs,
                                      struct emac_err *err)
{
    struct emac_buf bytes;
    struct task task = {0};
    struct exec_result result = {0};
    enum emac_status st;
    emac_buf_init(&bytes, GRAPH_ENCODED_MAX);
    EMAC_TRY(st, object_keep(n, challenge, "graph", &bytes, err));
    EMAC_TRY(st, object_keep(n, challenge, "program", &bytes, err));
    emac_buf_clear(&bytes);
    EMAC_TRY(st, agent_field_bytes(challenge, "task", &bytes, err));
    EMAC_TRY(st, task_decode(&task, bytes.data, bytes.len, err));
    n->in_challenge = true;
    st = exec_run(n->exec, &task, &result, err);
    n->in_challenge = false;
    if (st == EMAC_OK)
        *outputs = outputs_json(&result);
    outputs_forget(n, &result);
out:
    task_release(&task);
    emac_buf_release(&bytes);
    return st;
}

static enum emac_status challenge_answer(struct node *n, const json_t *challenge,
                                         struct emac_err *err)
{
    const char *id, *state;
    json_t *outputs = NULL, *reply = NULL;
    enum emac_status st = agent_field_str(challenge, "id", CHALLENGE_ID_MAX, &id, err);
    agent_state_set(n, "challenge");
    if (st == EMAC_OK)
        st = challenge_run(n, challenge, &outputs, err);
    if (st != EMAC_OK)
        return st;
    json_t *body = json_pack("{s:s,s:o}", "id", id, "outputs", outputs);
    EMAC_TRY(st, agent_poll(n, "/v1/nodes/challenge", body, HELLO_MS, &reply, err));
    EMAC_TRY(st, agent_field_str(reply, "state", 32, &state, err));
    if (strcmp(state, "admitted") != 0) {
        st = emac_fail(err, EMAC_FORBIDDEN, "the coordinator did not admit this rig: '%s'", state);
        goto out;
    }
    LOG_I("node", "admitted: the coordinator measured %.1f GFLOP/s",
          json_number_value(json_object_get(reply, "gflops")));
out:
    json_decref(reply);
    return st;
}

static enum emac_status join(struct node *n, const json_t *reply, const char *state,
                             struct emac_err *err)
{
    if (strcmp(state, "challenge") == 0)
        return challenge_answer(n, json_object_get(reply, "challenge"), err);
    if (strcmp(state, "admitted") != 0)
        return emac_fail(err, EMAC_CORRUPT, "the coordinator says that this rig is '%s'", state);
    return EMAC_OK;
}

enum emac_status agent_join(struct node *n, struct emac_err *err)
{
    json_t *reply = NULL;
    const char *state;
    char device[NODE_NAME_MAX];
    agent_state_set(n, "hello");
    enum emac_status st = hello(n, &reply, &state, err);
    bool challenged = st == EMAC_OK && strcmp(state, "challenge") == 0;
    /* A challenge is timed: if a task had the device meanwhile, a fresh one is asked for. */
    if (challenged && agent_device_take(n)) {
        json_decref(reply);
        reply = NULL;
        st = hello(n, &reply, &state, err);
    }
    if (st == EMAC_OK)
        st = join(n, reply, state, err);
    if (challenged) {
        agent_device_check(n);
        agent_device_give(n);
    }
    json_decref(reply);
    if (st != EMAC_OK)
        return st;
    n->ever_joined = true;
    agent_joined_set(n, true);
    agent_state_set(n, "admitted");
    os_mutex_lock(&n->lock);
    emac_strcpy(device, sizeof device, n->device_name);
    os_mutex_unlock(&n->lock);
    LOG_I("node", "joined %s as '%s' (%s) with %s; other rigs %s", n->cfg.coordinator, n->cfg.name,
          n->id.did, device,
          atomic_load(&n->reachable) ? "can fetch from it" : "get its results through the depot");
    return EMAC_OK;
}
