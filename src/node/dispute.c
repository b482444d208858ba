/* A rig in a dispute: it runs the task again for its trace, and answers what it is asked about it
 * (work/dispute.h). The trace of the dispute that was asked about last is kept, so that bisection
 * costs one run. */
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/log.h"
#include "node/agent_internal.h"
#include "node/exec_trace.h"
#include "work/dispute.h"

struct agent_dispute {
    char id[DISPUTE_ID_MAX];
    struct trace trace;
    uint32_t output_count;
    struct trace_leaf output[TASK_OUTPUTS_MAX];
};

/* What the coordinator asks. */
struct asked {
    struct leased *l;  /* the task, and its inputs as they are needed */
    const char *stage; /* borrowed */
    uint64_t first, count;
};

static enum emac_status asked_parse(struct leased *l, struct asked *a, struct emac_err *err)
{
    enum emac_status st;
    *a = (struct asked){.l = l};
    EMAC_TRY(st, agent_task_parse(l, err));
    EMAC_TRY(st, agent_field_str(l->reply, "stage", 16, &a->stage, err));
    EMAC_TRY(st, agent_field_u64(l->reply, "first", TRACE_LEAVES_MAX, &a->first, err));
    st = agent_field_u64(l->reply, "count", TRACE_LEAVES_MAX, &a->count, err);
out:
    return st;
}

void agent_dispute_release(struct node *n)
{
    if (n->dispute != NULL)
        trace_release(&n->dispute->trace);
    free(n->dispute);
    n->dispute = NULL;
}

/* ---- the trace ---- */

static enum emac_status inputs_have(struct node *n, const struct asked *a, struct emac_err *err)
{
    if (n->cfg.tamper != NULL)
        n->cfg.tamper(n->cfg.tamper_ctx, NULL, NULL, 0);
    return a->l->fetched ? EMAC_OK : agent_fetch_inputs(n, a->l, err);
}

static void outputs_note(struct agent_dispute *d, const struct exec_result *r)
{
    d->output_count = r->output_count;
    for (uint32_t i = 0; i < r->output_count; i++)
        exec_trace_output_leaf(&d->output[i], trace_count(&d->trace) - r->output_count + i, i,
                               r->value[i]);
}

static enum emac_status trace_have(struct node *n, const struct asked *a, struct emac_err *err)
{
    struct exec_result result = {0};
    enum emac_status st;
    if (n->dispute != NULL && strcmp(n->dispute->id, a->l->lease) == 0)
        return EMAC_OK;
    agent_dispute_release(n);
    EMAC_TRY(st, emac_alloc(&n->dispute, 1, sizeof *n->dispute, err));
    trace_init(&n->dispute->trace);
    EMAC_TRY(st, inputs_have(n, a, err));
    EMAC_TRY(st, exec_trace(n->exec, &a->l->task, &n->dispute->trace, &result, err));
    outputs_note(n->dispute, &result);
    if (!emac_strcpy(n->dispute->id, sizeof n->dispute->id, a->l->lease))
        st = emac_fail(err, EMAC_CORRUPT, "the name of a dispute is too long");
out:
    exec_result_release(n->exec, &result);
    if (st != EMAC_OK)
        agent_dispute_release(n);
    return st;
}

/* ---- answers ---- */

static enum emac_status commit_make(const struct agent_dispute *d, struct dispute_answer *out,
                                    struct emac_err *err)
{
    out->leaves = trace_count(&d->trace);
    trace_hash(&d->trace, 0, out->leaves, out->root);
    enum emac_status st = emac_alloc(&out->proof, d->output_count, sizeof *out->proof, err);
    if (st != EMAC_OK)
        return st;
    out->proof_count = d->output_count;
    for (uint32_t i = 0; i < d->output_count; i++) {
        struct dispute_proof *p = &out->proof[i];
        p->leaf = d->output[i];
        p->path_length = trace_path(&d->trace, p->leaf.index, p->path);
    }
    return EMAC_OK;
}

static enum emac_status split_make(const struct agent_dispute *d, const struct asked *a,
                                   struct dispute_answer *out, struct emac_err *err)
{
    if (a->count < 2 || a->first + a->count > trace_count(&d->trace))
        return emac_fail(err, EMAC_INVALID, "the trace has no leaves %llu+%llu to be split",
                         (unsigned long long)a->first, (unsigned long long)a->count);
    uint64_t half = trace_left(a->count);
    out->first = a->first;
    out->count = a->count;
    trace_hash(&d->trace, a->first, half, out->left);
    trace_hash(&d->trace, a->first + half, a->count - half, out->right);
    return EMAC_OK;
}

struct opening {
    struct node *n;
    struct dispute_answer *out;
    const struct exec_ref *ref;
};

/* A value becomes a file of the depot. */
static enum emac_status value_publish(void *ctx, uint32_t ref, const struct trace_leaf *leaf,
                                      const uint8_t *data, size_t bytes, struct emac_err *err)
{
    struct opening *o = ctx;
    struct dispute_proof *p = &o->out->proof[ref];
    const struct store_value *v;
    uint8_t *copy;
    uint64_t sent = 0;
    enum emac_status st = emac_alloc_aligned(&copy, bytes, err);
    if (st != EMAC_OK)
        return st;
    memcpy(copy, data, bytes);
    st = store_value_adopt(o->n->store, copy, bytes, &v, err);
    if (st != EMAC_OK)
        return st;
    p->leaf = *leaf;
    p->slot = o->ref[ref].slot;
    p->value = v->cid;
    st = exchange_push(o->n->store, o->n->bulk, &v->cid, o->n->cfg.coordinator, &o->n->id.signer,
                       &sent, err);
    store_value_drop(o->n->store, v);
    return st;
}

/* The judge looks for the task's inputs in the depot. */
static enum emac_status inputs_publish(struct node *n, const struct task *t, struct emac_err *err)
{
    uint64_t sent = 0;
    enum emac_status st = EMAC_OK;
    for (uint32_t i = 0; i < t->input_count && st == EMAC_OK; i++) {
        if (!task_input_on_disk(t->input[i].name))
            st = exchange_push(n->store, n->bulk, &t->input[i].cid, n->cfg.coordinator,
                               &n->id.signer, &sent, err);
    }
    for (uint32_t i = 0; i < t->part_count && st == EMAC_OK; i++)
        st = exchange_push(n->store, n->bulk, &t->part[i].cid, n->cfg.coordinator, &n->id.signer,
                           &sent, err);
    return st;
}

/* The second run must be the first one: a device that does not repeat itself says nothing. */
static enum emac_status same_trace(const struct trace *a, const struct trace *b,
                                   struct emac_err *err)
{
    if (a->hashes.len == b->hashes.len &&
        memcmp(a->hashes.data, b->hashes.data, a->hashes.len) == 0)
        return EMAC_OK;
    return emac_fail(err, EMAC_INTERNAL,
                     "the device does not repeat itself: two runs of a task have different traces");
}

static enum emac_status open_make(struct node *n, const struct asked *a, struct dispute_answer *out,
                                  struct emac_err *err)
{
    struct opening o = {.n = n, .out = out};
    struct exec_ref *ref = NULL;
    struct exec_result result = {0};
    struct trace again;
    uint32_t count;
    enum emac_status st;
    trace_init(&again);
    EMAC_TRY(st, inputs_have(n, a, err));
    EMAC_TRY(st, exec_trace_refs(n->exec, &a->l->task, a->first, &ref, &count, err));
    EMAC_TRY(st, emac_alloc(&out->proof, (size_t)count + 1, sizeof *out->proof, err));
    out->proof_count = count;
    o.ref = ref;
    EMAC_TRY(st, exec_trace_capture(n->exec, &a->l->task, ref, count, value_publish, &o, &again,
                                    &result, err));
    EMAC_TRY(st, same_trace(&again, &n->dispute->trace, err));
    for (uint32_t i = 0; i < count; i++)
        out->proof[i].path_length = trace_path(&again, ref[i].leaf, out->proof[i].path);
    st = inputs_publish(n, &a->l->task, err);
out:
    exec_result_release(n->exec, &result);
    trace_release(&again);
    free(ref);
    return st;
}

static enum emac_status answer_make(struct node *n, const struct asked *a,
                                    struct dispute_answer *out, struct emac_err *err)
{
    enum emac_status st = trace_have(n, a, err);
    if (st != EMAC_OK)
        return st;
    emac_strcpy(out->dispute, sizeof out->dispute, a->l->lease);
    if (strcmp(a->stage, "commit") == 0) {
        out->kind = DISPUTE_COMMIT;
        return commit_make(n->dispute, out, err);
    }
    if (strcmp(a->stage, "split") == 0) {
        out->kind = DISPUTE_SPLIT;
        return split_make(n->dispute, a, out, err);
    }
    if (strcmp(a->stage, "open") == 0) {
        out->kind = DISPUTE_OPEN;
        return open_make(n, a, out, err);
    }
    return emac_fail(err, EMAC_UNSUPPORTED, "the coordinator asks for a '%s': update this rig",
                     a->stage);
}

/* ---- the whole ---- */

static enum emac_status body_make(struct node *n, const struct dispute_answer *a, json_t **out,
                                  struct emac_err *err)
{
    struct emac_buf bytes;
    uint8_t sig[ED25519_SIGNATURE_BYTES];
    emac_buf_init(&bytes, DISPUTE_BYTES_MAX);
    enum emac_status st = dispute_answer_encode(a, &bytes, err);
    if (st == EMAC_OK) {
        crypto_ed25519_sign(sig, bytes.data, bytes.len, n->id.secret_key);
        *out = json_pack("{s:o,s:o}", "answer", agent_json_bytes(bytes.data, bytes.len),
                         "signature", agent_json_bytes(sig, sizeof sig));
    }
    emac_buf_release(&bytes);
    return st;
}

void agent_dispute(struct node *n, struct leased *l)
{
    struct emac_err err = {.status = EMAC_OK};
    struct dispute_answer answer = {0};
    struct asked a;
    json_t *body = NULL;
    char path[sizeof "/v1/disputes/" + DISPUTE_ID_MAX] = "/v1/disputes/";
    enum emac_status st = asked_parse(l, &a, &err);
    strncat(path, l->lease, DISPUTE_ID_MAX);
    if (st == EMAC_OK) {
        LOG_I("node", "dispute about %s of %s: asked for a %s", l->slot, l->job, a.stage);
        st = answer_make(n, &a, &answer, &err);
    }
    if (st == EMAC_OK)
        st = body_make(n, &answer, &body, &err);
    if (st != EMAC_OK) {
        LOG_W("node", "no answer in a dispute: %s", err.text);
        body = json_pack("{s:o}", "failed", agent_json_sentence(err.text));
    }
    st = agent_post(n, path, body, NODE_CALL_MS, NULL, &err);
    if (st != EMAC_OK)
        LOG_W("node", "the answer in a dispute was not taken: %s", err.text);
    dispute_answer_release(&answer);
}
