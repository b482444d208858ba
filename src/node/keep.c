/* The keeper: a thread that looks what storage deals want of the rig whenever the heartbeat has
 * heard that there is news, and does it, one deal after the other. */
#include "node/keep.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/hex.h"
#include "base/log.h"

#define DUTIES_MAX     1000
#define RETRY_MS       2000 /* what could not be done now */
#define WAIT_MS        60000
#define EPOCH_LATER_MS 20

struct duties {
    uint64_t epoch, ends_in_ms;
    uint8_t seed[SHA256_BYTES];
    size_t count;
    struct deal_duty *at;
};

/* ---- talking ---- */

static enum emac_status say(struct node *n, const struct deal_duty *d, const char *what,
                            json_t *body, struct emac_err *err)
{
    char *path = emac_asprintf("/v1/deals/%s/%s", d->id, what);
    json_object_set_new(body, "replica", json_integer((json_int_t)d->replica));
    enum emac_status st = agent_post(n, path, body, NODE_CALL_MS, NULL, err);
    free(path);
    return st;
}

static enum emac_status duties_parse(json_t *reply, struct duties *out, struct emac_err *err)
{
    json_t *list = json_object_get(reply, "duties");
    const char *seed;
    enum emac_status st;
    EMAC_TRY(st, agent_field_u64(reply, "epoch", INT64_MAX, &out->epoch, err));
    EMAC_TRY(st, agent_field_u64(reply, "ends_in_ms", INT64_MAX, &out->ends_in_ms, err));
    EMAC_TRY(st, agent_field_str(reply, "seed", 2 * SHA256_BYTES, &seed, err));
    if (!emac_unhex(out->seed, SHA256_BYTES, seed) || json_array_size(list) > DUTIES_MAX) {
        st = emac_fail(err, EMAC_CORRUPT, "the coordinator's answer about deals makes no sense");
        goto out;
    }
    EMAC_TRY(st, emac_alloc(&out->at, json_array_size(list) + 1, sizeof *out->at, err));
    for (size_t i = 0; i < json_array_size(list); i++)
        EMAC_TRY(st, deal_duty_from_json(&out->at[out->count++], json_array_get(list, i), err));
out:
    return st;
}

/* ---- doing ---- */

/* Words for a failure that the coordinator may keep. */
static json_t *sentence(const struct emac_err *why)
{
    char text[120];
    emac_strcpy(text, sizeof text, why->text);
    for (char *c = text; *c != '\0'; c++)
        if ((unsigned char)*c < ' ' || (unsigned char)*c > '~')
            *c = '?';
    return json_string(text);
}

/* Fetch it and say so, or why not. */
static enum emac_status take(struct node *n, const struct deal_duty *d, struct emac_err *err)
{
    struct emac_err why = {.status = EMAC_OK};
    json_t *received = json_array();
    enum emac_status st = keep_take(n, d, received, &why);
    if (st == EMAC_OK) {
        st = say(n, d, "kept", json_pack("{s:O}", "received", received), err);
        if (st == EMAC_OK)
            LOG_I("node", "keeps %llu bytes for deal '%s'", (unsigned long long)d->piece.size,
                  d->id);
    } else if (st == EMAC_INVALID || st == EMAC_NO_SPACE || st == EMAC_TOO_LARGE) {
        LOG_W("node", "declines deal '%s': %s", d->id, why.text);
        st = say(n, d, "declined", json_pack("{s:o}", "reason", sentence(&why)), err);
    } else {
        st = emac_fail(err, st, "%s", why.text);
    }
    json_decref(received);
    return st;
}

/* What was kept and is not all here any more. */
static enum emac_status again(struct node *n, const struct deal_duty *d, struct emac_err *err)
{
    json_t *received = json_array();
    enum emac_status st = keep_take(n, d, received, err);
    json_decref(received);
    return st;
}

/* KEEP-3 */
static enum emac_status lost(struct node *n, const struct deal_duty *d, uint64_t epoch,
                             const struct emac_err *why, struct emac_err *err)
{
    LOG_W("node", "deal '%s' cannot be proven in epoch %llu: %s", d->id, (unsigned long long)epoch,
          why->text);
    enum emac_status st =
        say(n, d, "proofs",
            json_pack("{s:I,s:o}", "epoch", (json_int_t)epoch, "lost", sentence(why)), err);
    return st == EMAC_OK ? again(n, d, err) : st;
}

static enum emac_status prove(struct node *n, const struct deal_duty *d, const struct duties *all,
                              struct emac_err *err)
{
    struct emac_err why = {.status = EMAC_OK};
    struct emac_buf proof;
    emac_buf_init(&proof, DEAL_PROOF_MAX);
    enum emac_status st = keep_prove(n, d, all->epoch, all->seed, &proof, &why);
    if (st == EMAC_OK)
        st = say(n, d, "proofs",
                 json_pack("{s:I,s:o}", "epoch", (json_int_t)all->epoch, "proof",
                           agent_json_bytes(proof.data, proof.len)),
                 err);
    else
        st = lost(n, d, all->epoch, &why, err);
    emac_buf_release(&proof);
    return st;
}

/* Proofs first: they are due. false: some of it is to be tried again. */
static bool duties_do(struct node *n, const struct duties *all)
{
    bool done = true;
    for (int proofs = 1; proofs >= 0; proofs--) {
        for (size_t i = 0; i < all->count && !agent_over(n); i++) {
            const struct deal_duty *d = &all->at[i];
            struct emac_err err = {.status = EMAC_OK};
            enum emac_status st = EMAC_OK;
            if (proofs && d->active && d->due)
                st = prove(n, d, all, &err);
            else if (!proofs && !d->active)
                st = take(n, d, &err);
            else if (!proofs && !keep_ready(n, d)) /* lost, and not all fetched again yet */
                st = again(n, d, &err);
            if (st != EMAC_OK && !agent_over(n))
                LOG_W("node", "deal '%s': %s", d->id, err.text);
            done = done && st == EMAC_OK;
        }
    }
    return done;
}

/* Soon after the next epoch has begun; not all rigs at the same moment. */
static uint32_t next_ms(const struct node *n, const struct duties *all)
{
    uint64_t spread = 1 + all->ends_in_ms / 16;
    uint64_t ms = all->ends_in_ms + EPOCH_LATER_MS + n->id.public_key[0] * spread / 256;
    return ms < WAIT_MS ? (uint32_t)ms : WAIT_MS;
}

/* When to look again if there is no news before. */
static uint32_t look(struct node *n)
{
    struct duties all = {0};
    struct emac_err err = {.status = EMAC_OK};
    json_t *reply = NULL;
    uint32_t again_ms = RETRY_MS;
    enum emac_status st =
        agent_post(n, "/v1/deals/duties", json_object(), NODE_CALL_MS, &reply, &err);
    if (st == EMAC_OK)
        st = duties_parse(reply, &all, &err);
    if (st == EMAC_OK) {
        keep_only(n, all.at, all.count);
        uint32_t next = next_ms(n, &all);
        if (duties_do(n, &all) || next < again_ms)
            again_ms = next;
    } else if (!agent_over(n)) {
        LOG_D("node", "asking for the duties of deals: %s", err.text);
    }
    free(all.at);
    json_decref(reply);
    return again_ms;
}

/* ---- when ---- */

/* Waits until there is news, or for `ms`, though a rig at work wakes all its threads many times a
 * second; false when the agent ends. */
static bool wait_news(struct node *n, uint64_t *seen, uint32_t ms)
{
    uint64_t until = n->os->mono_ns(n->os) + ms * NS_PER_MS;
    os_mutex_lock(&n->lock);
    while (!atomic_load(&n->stop) && n->final.status == EMAC_OK &&
           (!n->joined || n->deals_told == *seen)) {
        uint64_t now = n->os->mono_ns(n->os);
        if (now >= until && n->joined)
            break;
        os_cond_wait_ms(&n->wake, &n->lock,
                        now < until ? (uint32_t)((until - now) / NS_PER_MS) + 1 : WAIT_MS);
    }
    *seen = n->deals_told;
    os_mutex_unlock(&n->lock);
    return !agent_over(n);
}

void *agent_keep_thread(void *node)
{
    struct node *n = node;
    uint64_t seen = 0;
    uint32_t ms = WAIT_MS;
    while (wait_news(n, &seen, ms))
        ms = n->cfg.offer_bytes > 0 || keep_any(n) ? look(n) : WAIT_MS;
    return NULL;
}
