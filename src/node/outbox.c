/* Receipts on their way (INV-2 of agent.h): the worker puts them here, the courier delivers them in
 * this order, so that the device does not wait for an answer. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/checked.h"
#include "base/log.h"
#include "node/agent_internal.h"

#define CONFLICTS_MAX  2   /* hellos said for one receipt */
#define AGAIN_FIRST_MS 200 /* between attempts to deliver */
#define AGAIN_MOST_MS  5000

static void outbox_free(struct node *n, struct outbox *b)
{
    for (uint32_t i = 0; i < b->output_count; i++)
        store_value_drop(n->store, b->output[i]);
    json_decref(b->message);
    free(b);
}

/* The oldest has been answered, or will not be. */
static void pop(struct node *n)
{
    os_mutex_lock(&n->lock);
    struct outbox *b = n->outbox;
    n->outbox = b->next;
    n->outbox_count--;
    os_cond_broadcast(&n->wake);
    os_mutex_unlock(&n->lock);
    agent_lease_leave(n, b->lease);
    outbox_free(n, b);
}

void agent_outbox_clear(struct node *n)
{
    while (n->outbox != NULL)
        pop(n);
}

static json_t *inline_json(const struct exec_result *r)
{
    json_t *o = json_object();
    for (uint32_t i = 0; i < r->output_count; i++) {
        const struct store_value *v = r->value[i];
        if (v->size <= EXEC_INLINE_MAX)
            json_object_set_new(o, r->output[i].name, agent_json_bytes(v->data, v->size));
    }
    return o;
}

/* What the task took, and the traffic since the receipt before. */
static json_t *work_json(struct node *n, const struct exec_result *r)
{
    uint64_t sent, received, sent_before = n->told_sent, received_before = n->told_received;
    agent_traffic(n, &sent, &received);
    n->told_sent = sent;
    n->told_received = received;
    return json_pack("{s:I,s:I,s:I}", "computed_us", (json_int_t)(r->compute_ns / 1000), "sent",
                     (json_int_t)(sent - sent_before), "received",
                     (json_int_t)(received - received_before));
}

static enum emac_status message_make(struct node *n, const struct receipt *r,
                                     const struct exec_result *result, json_t **out,
                                     struct emac_err *err)
{
    struct emac_buf bytes;
    uint8_t sig[ED25519_SIGNATURE_BYTES];
    emac_buf_init(&bytes, RECEIPT_BYTES_MAX);
    enum emac_status st = receipt_encode(r, &bytes, NULL, err);
    if (st == EMAC_OK) {
        crypto_ed25519_sign(sig, bytes.data, bytes.len, n->id.secret_key);
        *out = json_pack("{s:o,s:o,s:o,s:o}", "receipt", agent_json_bytes(bytes.data, bytes.len),
                         "signature", agent_json_bytes(sig, sizeof sig), "inline",
                         inline_json(result), "work", work_json(n, result));
        if (*out == NULL)
            st = emac_fail(err, EMAC_NO_MEMORY, "out of memory for a receipt");
    }
    emac_buf_release(&bytes);
    return st;
}

enum emac_status agent_outbox_put(struct node *n, const struct receipt *r, const char *slot,
                                  const struct exec_result *result, struct emac_err *err)
{
    struct outbox *b;
    enum emac_status st = emac_alloc(&b, 1, sizeof *b, err);
    if (st != EMAC_OK)
        return st;
    *b = (struct outbox){.deposited = atomic_load(&n->reachable)};
    st = message_make(n, r, result, &b->message, err);
    if (st != EMAC_OK) {
        free(b);
        return st;
    }
    emac_strcpy(b->slot, sizeof b->slot, slot);
    emac_strcpy(b->lease, sizeof b->lease, r->lease);
    b->output_count = r->output_count;
    for (uint32_t i = 0; i < r->output_count; i++)
        b->output[i] = store_value_hold(n->store, result->value[i]);
    os_mutex_lock(&n->lock);
    EMAC_ASSERT(n->outbox_count < NODE_OUTBOX_MAX);
    struct outbox **last = &n->outbox;
    while (*last != NULL)
        last = &(*last)->next;
    *last = b;
    n->outbox_count++;
    os_cond_broadcast(&n->wake);
    os_mutex_unlock(&n->lock);
    return EMAC_OK;
}

/* Nobody can fetch from us: the outputs go before the receipt. */
static enum emac_status deposit(struct node *n, struct outbox *b, struct emac_err *err)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < b->output_count && !b->deposited; i++) {
        enum emac_status st = exchange_push(n->store, n->bulk, &b->output[i]->cid,
                                            n->cfg.coordinator, &n->id.signer, &bytes, err);
        if (st != EMAC_OK)
            return st;
    }
    b->deposited = true;
    return EMAC_OK;
}

/* "123" -> 123; anything else is 0: it is only shown. */
static int64_t units(const json_t *v)
{
    const char *text = json_string_value(v);
    char *end;
    if (text == NULL || text[0] < '0' || text[0] > '9')
        return 0;
    long long u = strtoll(text, &end, 10);
    return *end == '\0' ? u : 0;
}

static void answered(struct node *n, const struct outbox *b, const json_t *reply)
{
    bool accepted = json_is_true(json_object_get(reply, "accepted"));
    const char *reason = json_string_value(json_object_get(reply, "reason"));
    int64_t paid = units(json_object_get(reply, "paid_units"));
    /* At once, while the outputs are surely here: heartbeats would ask too. */
    agent_upload_ask_all(n, json_object_get(reply, "deposit"));
    os_mutex_lock(&n->lock);
    n->figures.tasks_done += accepted;
    n->figures.tasks_failed += !accepted;
    if (!emac_add_i64(n->figures.paid_units, paid, &n->figures.paid_units))
        n->figures.paid_units = INT64_MAX;
    os_mutex_unlock(&n->lock);
    if (paid > 0)
        LOG_I("node", "%s: paid %" PRId64 ".%09" PRId64 " EMAC", b->slot, paid / 1000000000,
              paid % 1000000000);
    if (!accepted)
        LOG_W("node", "%s: the result was not accepted: %s", b->slot,
              reason != NULL ? reason : "no reason given");
}

/* Failures after which the receipt is worth sending again. */
static bool again(struct outbox *b, enum emac_status st)
{
    if (st == EMAC_CONFLICT)
        return ++b->conflicts < CONFLICTS_MAX;
    return emac_status_retryable(st) || st == EMAC_UNAUTHORIZED || st == EMAC_INTERNAL ||
           st == EMAC_CANCELLED || st == EMAC_IO;
}

/* False: it is to be tried again. */
static bool deliver(struct node *n, struct outbox *b, struct emac_err *err)
{
    json_t *reply = NULL;
    enum emac_status st = deposit(n, b, err);
    if (st == EMAC_OK)
        st = agent_post(n, "/v1/receipts", json_incref(b->message), NODE_CALL_MS, &reply, err);
    if (st == EMAC_OK)
        answered(n, b, reply);
    json_decref(reply);
    if (st == EMAC_OK)
        return true;
    if (st == EMAC_FORBIDDEN) {
        agent_refused(n, err);
        return true;
    }
    if (again(b, st))
        return false;
    LOG_W("node", "%s: the coordinator does not take the result: %s", b->slot, err->text);
    if (!b->deposited)
        agent_lease_fail(n, b->lease, NULL, err);
    return true;
}

/* ---- the courier ---- */

/* The oldest receipt; NULL when there will be none. */
static struct outbox *first(struct node *n)
{
    os_mutex_lock(&n->lock);
    while (n->outbox == NULL && !n->worker_over)
        os_cond_wait(&n->wake, &n->lock);
    struct outbox *b = n->outbox;
    os_mutex_unlock(&n->lock);
    return b;
}

/* Before the next attempt: a rig that must say hello first does; others wait, longer each time and
 * at random, so that a fleet does not come back all at once. */
static void wait_again(struct node *n, enum emac_status st, uint32_t *pause_ms)
{
    uint32_t r = 0;
    if (st == EMAC_CONFLICT) {
        agent_joined_set(n, false);
        agent_joined_wait(n);
        return;
    }
    *pause_ms = *pause_ms == 0 ? AGAIN_FIRST_MS : *pause_ms * 2;
    if (*pause_ms > AGAIN_MOST_MS)
        *pause_ms = AGAIN_MOST_MS;
    n->os->entropy(n->os, &r, sizeof r);
    agent_pause(n, *pause_ms / 2 + r % (*pause_ms / 2 + 1));
}

void *agent_courier_thread(void *node)
{
    struct node *n = node;
    struct outbox *b;
    uint32_t pause_ms = 0;
    while ((b = first(n)) != NULL) {
        struct emac_err err = {.status = EMAC_OK};
        bool done = deliver(n, b, &err);
        if (!done && !agent_over(n)) {
            LOG_D("node", "%s: the receipt waits: %s", b->slot, err.text);
            wait_again(n, err.status, &pause_ms);
            continue;
        }
        if (!done)
            LOG_W("node", "a receipt could not be delivered before the end: its task is lost");
        pause_ms = 0;
        pop(n);
    }
    return NULL;
}
