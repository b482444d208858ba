/* The heartbeat: says that our leases are alive, hears what is not wanted any more and what
 * shall go to the depot. */
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/log.h"
#include "node/agent_internal.h"

#define BEAT_LEAST_MS  2000 /* a slow answer is waited for at least so long */
#define DUTY_BYTES_MAX 64

static json_t *beat_json(struct node *n)
{
    uint64_t sent, received;
    agent_traffic(n, &sent, &received);
    json_t *leases = json_array();
    os_mutex_lock(&n->lock);
    for (uint32_t i = 0; i < NODE_LEASES_MAX; i++)
        if (n->lease[i].id[0] != '\0')
            json_array_append_new(leases, json_string(n->lease[i].id));
    os_mutex_unlock(&n->lock);
    return json_pack("{s:o,s:{s:I,s:I}}", "leases", leases, "traffic", "sent", (json_int_t)sent,
                     "received", (json_int_t)received);
}

static void take_cancelled(struct node *n, const json_t *list)
{
    os_mutex_lock(&n->lock);
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *id = json_string_value(json_array_get(list, i));
        for (uint32_t k = 0; k < NODE_LEASES_MAX && id != NULL && id[0] != '\0'; k++)
            n->lease[k].cancelled = n->lease[k].cancelled || strcmp(id, n->lease[k].id) == 0;
    }
    os_cond_broadcast(&n->wake);
    os_mutex_unlock(&n->lock);
}

/* The keeper looks when another number is told. */
static void take_deals(struct node *n, const json_t *version)
{
    os_mutex_lock(&n->lock);
    if (json_is_integer(version) && (uint64_t)json_integer_value(version) != n->deals_told) {
        n->deals_told = (uint64_t)json_integer_value(version);
        os_cond_broadcast(&n->wake);
    }
    os_mutex_unlock(&n->lock);
}

/* A coordinator that was started again knows no rig: say hello, or the lease under way would lapse.
 * If it wants a challenge too, the worker sees that at its next poll. */
static void beat(struct node *n)
{
    struct emac_err err = {.status = EMAC_OK};
    json_t *reply = NULL;
    uint32_t limit = 2 * atomic_load(&n->heartbeat_ms);
    enum emac_status st = agent_post(n, "/v1/heartbeat", beat_json(n),
                                     limit > BEAT_LEAST_MS ? limit : BEAT_LEAST_MS, &reply, &err);
    if (st == EMAC_OK) {
        take_cancelled(n, json_object_get(reply, "cancel"));
        agent_upload_ask_all(n, json_object_get(reply, "deposit"));
        take_deals(n, json_object_get(reply, "deals"));
    }
    if (st == EMAC_CONFLICT || (st == EMAC_OK && agent_session_over(n)))
        st = agent_hello(n, &err);
    if (st == EMAC_FORBIDDEN)
        agent_refused(n, &err);
    else if (st != EMAC_OK)
        LOG_D("node", "heartbeat: %s", err.text);
    json_decref(reply);
}

void agent_duty_read(struct node *n)
{
    struct emac_buf text;
    uint32_t duty = n->cfg.duty;
    char *path = emac_asprintf("%s/duty", n->cfg.dir);
    emac_buf_init(&text, DUTY_BYTES_MAX);
    enum emac_status st = n->os->file_read(n->os, path, &text, NULL);
    bool sound = st == EMAC_OK ? duty_parse(emac_buf_str(&text), &duty) : st == EMAC_NOT_FOUND;
    uint32_t before = sound ? atomic_exchange(&n->duty, duty) : duty;
    if (!sound && !n->duty_refused)
        LOG_W("node", "'%s' must hold one number from 0.001 to 1: it is not followed", path);
    else if (sound && before != duty)
        LOG_I("node", "computing %.1f %% of the time", duty * (100.0 / DUTY_WHOLE));
    n->duty_refused = !sound;
    emac_buf_release(&text);
    free(path);
}

bool agent_joined_wait(struct node *n)
{
    os_mutex_lock(&n->lock);
    while (!n->joined && !atomic_load(&n->stop) && n->final.status == EMAC_OK)
        os_cond_wait(&n->wake, &n->lock);
    os_mutex_unlock(&n->lock);
    return !agent_over(n);
}

void *agent_heartbeat_thread(void *node)
{
    struct node *n = node;
    while (agent_joined_wait(n)) {
        uint64_t began = n->os->mono_ns(n->os);
        agent_duty_read(n);
        beat(n);
        uint64_t took = (n->os->mono_ns(n->os) - began) / NS_PER_MS;
        uint32_t every = atomic_load(&n->heartbeat_ms);
        if (took < every)
            agent_pause(n, every - (uint32_t)took);
    }
    return NULL;
}
