/* The receipt on its way (INV-2 of agent.h). */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/checked.h"
#include "base/log.h"
#include "node/agent_internal.h"

#define CONFLICTS_MAX 2 /* hellos said for one receipt */

void agent_outbox_clear(struct node *n)
{
    json_decref(n->outbox.message);
    n->outbox = (struct outbox){0};
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

enum emac_status agent_outbox_put(struct node *n, const struct receipt *r, const char *slot,
                                  const struct exec_result *result, struct emac_err *err)
{
    struct outbox *b = &n->outbox;
    struct emac_buf bytes;
    uint8_t sig[ED25519_SIGNATURE_BYTES];
    EMAC_ASSERT(b->message == NULL);
    emac_buf_init(&bytes, RECEIPT_BYTES_MAX);
    enum emac_status st = receipt_encode(r, &bytes, NULL, err);
    if (st == EMAC_OK) {
        crypto_ed25519_sign(sig, bytes.data, bytes.len, n->id.secret_key);
        *b = (struct outbox){.output_count = r->output_count,
                             .deposited = atomic_load(&n->reachable)};
        emac_strcpy(b->slot, sizeof b->slot, slot);
        for (uint32_t i = 0; i < r->output_count; i++)
            b->output[i] = r->output[i].cid;
        b->message = json_pack(
            "{s:o,s:o,s:o,s:o,s:{s:o}}", "receipt", agent_json_bytes(bytes.data, bytes.len),
            "signature", agent_json_bytes(sig, sizeof sig), "inline", inline_json(result), "work",
            work_json(n, result), "next", "holds", agent_retain_holds(n));
        if (b->message == NULL)
            st = emac_fail(err, EMAC_NO_MEMORY, "out of memory for a receipt");
    }
    emac_buf_release(&bytes);
    return st;
}

/* Nobody can fetch from us: the outputs go before the receipt. */
static enum emac_status deposit(struct node *n, struct emac_err *err)
{
    struct outbox *b = &n->outbox;
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < b->output_count && !b->deposited; i++) {
        enum emac_status st = exchange_push(n->store, n->bulk, &b->output[i], n->cfg.coordinator,
                                            &n->id.signer, &bytes, err);
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

static void answered(struct node *n, const json_t *reply)
{
    bool accepted = json_is_true(json_object_get(reply, "accepted"));
    const char *reason = json_string_value(json_object_get(reply, "reason"));
    int64_t paid = units(json_object_get(reply, "paid_units"));
    /* At once, while the outputs are surely here: heartbeats would ask too. */
    agent_upload_ask_all(n, json_object_get(reply, "deposit"));
    json_decref(n->next);
    n->next = json_incref(json_object_get(reply, "next"));
    os_mutex_lock(&n->lock);
    n->figures.tasks_done += accepted;
    n->figures.tasks_failed += !accepted;
    if (!emac_add_i64(n->figures.paid_units, paid, &n->figures.paid_units))
        n->figures.paid_units = INT64_MAX;
    os_mutex_unlock(&n->lock);
    if (paid > 0)
        LOG_I("node", "%s: paid %" PRId64 ".%09" PRId64 " EMAC", n->outbox.slot, paid / 1000000000,
              paid % 1000000000);
    if (!accepted)
        LOG_W("node", "%s: the result was not accepted: %s", n->outbox.slot,
              reason != NULL ? reason : "no reason given");
}

/* Failures after which the receipt is worth sending again. */
static bool again(struct node *n, enum emac_status st)
{
    if (st == EMAC_CONFLICT)
        return ++n->outbox.conflicts < CONFLICTS_MAX;
    return emac_status_retryable(st) || st == EMAC_UNAUTHORIZED || st == EMAC_INTERNAL ||
           st == EMAC_CANCELLED || st == EMAC_IO;
}

enum emac_status agent_outbox_flush(struct node *n, struct emac_err *err)
{
    json_t *reply = NULL;
    enum emac_status st = deposit(n, err);
    if (st == EMAC_OK)
        st = agent_post(n, "/v1/receipts", json_incref(n->outbox.message), NODE_CALL_MS, &reply,
                        err);
    if (st == EMAC_OK)
        answered(n, reply);
    json_decref(reply);
    if (st != EMAC_OK && st != EMAC_FORBIDDEN && again(n, st))
        return st;
    if (st != EMAC_OK && st != EMAC_FORBIDDEN) {
        LOG_W("node", "%s: the coordinator does not take the result: %s", n->outbox.slot,
              err->text);
        if (!n->outbox.deposited)
            agent_lease_fail(n, n->lease, err, NULL);
        st = EMAC_OK;
    }
    agent_outbox_clear(n);
    agent_lease_set(n, "");
    return st;
}
