/* The admission challenge: a small random program whose outputs the rig must get bit for bit, timed
 * on our clock. It goes through the same objects as any task, so what is proved is the whole path.
 * The program is a function of its seed; we compute the answer ourselves, on one CPU thread, only
 * once somebody claims to have it, so asking costs us nothing and does not slow the rig that
 * shares our machine. */
#include "coordinator/internal.h"

#include <stdlib.h>
#include <string.h>

#include "base/hex.h"
#include "compute/device.h"
#include "graph/graph.h"
#include "work/bundle.h"

#define CHALLENGE_SIZE    512 /* side of the matrices */
#define CHALLENGE_MATMULS 5   /* 2 * 512^3 * 5 = 1.3 Gflop */
#define CHALLENGE_MS      60000
#define CHALLENGE_WAITING 16 /* answers that may wait for their turn to be computed */
#define CHALLENGE_OUTPUT  "out"

struct challenge {
    char id[LEASE_ID_MAX];
    uint64_t seed, flops, opened_ms;
    struct emac_buf graph, program, task;
};

void challenge_free(struct challenge *ch)
{
    if (ch == NULL)
        return;
    emac_buf_release(&ch->graph);
    emac_buf_release(&ch->program);
    emac_buf_release(&ch->task);
    free(ch);
}

bool challenge_expired(const struct challenge *ch, uint64_t now)
{
    return now - ch->opened_ms > CHALLENGE_MS;
}

/* out/c = a b b ... b with a, b drawn from the seed; their deviation keeps the product's near 1. */
static enum emac_status program_graph(uint64_t seed, struct graph **out, struct emac_err *err)
{
    struct graph *g = graph_new();
    struct op_attrs randn = {0}, matmul = {0};
    randn.at[0].i = randn.at[1].i = CHALLENGE_SIZE;
    randn.at[2].i = (int64_t)seed;
    randn.at[4].f = 0.044194174f; /* 1 / sqrt(512) */
    value_id a = graph_op(g, OP_RANDN, &randn, 0, NULL);
    randn.at[3].i = 1;
    value_id b = graph_op(g, OP_RANDN, &randn, 0, NULL);
    for (int i = 0; i < CHALLENGE_MATMULS; i++)
        a = graph_op(g, OP_MATMUL, &matmul, 2, (value_id[]){a, b});
    graph_output(g, CHALLENGE_OUTPUT "/c", a);
    enum emac_status st = graph_status(g, err);
    if (st != EMAC_OK) {
        graph_free(g);
        return st;
    }
    *out = g;
    return EMAC_OK;
}

static enum emac_status objects_make(struct challenge *ch, struct emac_err *err)
{
    struct graph *g = NULL;
    struct program p = {.kind = PROGRAM_APPLY};
    struct task t = {0};
    enum emac_status st;
    EMAC_TRY(st, program_graph(ch->seed, &g, err));
    ch->flops = graph_flops(g);
    EMAC_TRY(st, graph_encode(g, &ch->graph, err));
    p.graph = cid_of(CID_DAG_CBOR, ch->graph.data, ch->graph.len);
    EMAC_TRY(st, program_encode(&p, &ch->program, &t.program, err));
    st = task_encode(&t, &ch->task, NULL, err);
out:
    graph_free(g);
    return st;
}

enum emac_status challenge_open(struct coordinator *c, struct node *n, struct emac_err *err)
{
    struct challenge *ch;
    uint8_t id[LEASE_ID_BYTES];
    enum emac_status st = emac_alloc(&ch, 1, sizeof(*ch), err);
    if (st != EMAC_OK)
        return st;
    emac_buf_init(&ch->graph, GRAPH_ENCODED_MAX);
    emac_buf_init(&ch->program, PROGRAM_BYTES_MAX);
    emac_buf_init(&ch->task, TASK_BYTES_MAX);
    c->os->entropy(c->os, id, sizeof(id));
    emac_hex(ch->id, id, sizeof(id));
    c->os->entropy(c->os, &ch->seed, sizeof(ch->seed));
    ch->seed &= INT64_MAX;
    st = objects_make(ch, err);
    if (st != EMAC_OK) {
        challenge_free(ch);
        return st;
    }
    ch->opened_ms = now_ms(c);
    challenge_free(n->challenge);
    n->challenge = ch;
    return EMAC_OK;
}

json_t *challenge_json(const struct challenge *ch)
{
    return json_pack("{s:s, s:o, s:o, s:o}", "id", ch->id, "program",
                     api_base64(ch->program.data, ch->program.len), "graph",
                     api_base64(ch->graph.data, ch->graph.len), "task",
                     api_base64(ch->task.data, ch->task.len));
}

/* ---- our own answer ---- */

static enum emac_status block_ignore(void *ctx, const struct cid *cid, const void *data, size_t n,
                                     struct emac_err *err)
{
    return EMAC_OK;
}

static enum emac_status file_cid(const void *data, size_t n, struct cid *cid, struct emac_err *err)
{
    uint64_t tree;
    return unixfs_file(EMAC_SLICE(data, n), block_ignore, NULL, cid, &tree, err);
}

static enum emac_status answer_run(const struct graph *g, struct device *dev, struct cid *cid,
                                   struct emac_err *err)
{
    struct graph_plan *plan = NULL;
    struct bundle b = {0};
    uint8_t *file = NULL;
    enum emac_status st;
    EMAC_TRY(st, bundle_layout(g, true, CHALLENGE_OUTPUT, &b, err));
    EMAC_TRY(st, emac_alloc_aligned(&file, b.size, err));
    memcpy(file, b.header.data, b.header.len);
    EMAC_TRY(st, graph_plan_new(g, &plan, err));
    for (uint32_t i = 0; i < b.count; i++)
        graph_bind_output(plan, b.port[i].port, file + b.port[i].offset);
    EMAC_TRY(st, graph_run(plan, dev, err));
    st = file_cid(file, b.size, cid, err);
out:
    if (plan)
        graph_plan_free(plan);
    bundle_release(&b);
    free(file);
    return st;
}

static enum emac_status answer_compute(uint64_t seed, struct cid *cid, struct emac_err *err)
{
    struct graph *g = NULL;
    struct device *dev = NULL;
    enum emac_status st;
    EMAC_TRY(st, program_graph(seed, &g, err));
    EMAC_TRY(st, device_cpu_open(ISA_BEST, 1, &dev, err));
    st = answer_run(g, dev, cid, err);
out:
    if (dev)
        device_close(dev);
    graph_free(g);
    return st;
}

/* ---- the rig's answer ---- */

struct attempt {
    char did[DID_KEY_MAX];
    const char *id;
    struct cid out;
    uint64_t seed, flops, elapsed_ms;
};

static enum emac_status attempt_parse(json_t *root, struct attempt *a, struct emac_err *err)
{
    const char *out;
    enum emac_status st;
    EMAC_TRY(st, api_str(root, "id", LEASE_ID_MAX, &a->id, err));
    json_t *outputs = json_object_get(root, "outputs");
    if (!json_is_object(outputs)) {
        st = emac_fail(err, EMAC_INVALID, "field 'outputs' must be an object");
        goto out;
    }
    EMAC_TRY(st, api_str(outputs, CHALLENGE_OUTPUT, CID_TEXT_MAX, &out, err));
    st = cid_parse(&a->out, out, err);
out:
    return st;
}

/* The rig's open challenge, if this answers it. */
static enum emac_status attempt_node(struct coordinator *c, const struct attempt *a,
                                     struct node **out, struct emac_err *err)
{
    struct node *n = *out = node_find(c, a->did);
    if (n && n->state == NODE_QUARANTINED)
        return emac_fail(err, EMAC_FORBIDDEN, "this rig is quarantined: %s", n->reason);
    if (n == NULL || n->challenge == NULL || strcmp(n->challenge->id, a->id) != 0 ||
        challenge_expired(n->challenge, now_ms(c)))
        return emac_fail(err, EMAC_CONFLICT,
                         "challenge '%s' is not open for this rig: say hello again", a->id);
    return EMAC_OK;
}

static enum emac_status attempt_begin(struct coordinator *c, struct attempt *a,
                                      struct emac_err *err)
{
    struct node *n;
    enum emac_status st = attempt_node(c, a, &n, err);
    if (st != EMAC_OK)
        return st;
    if (c->challenges_waiting >= CHALLENGE_WAITING)
        return emac_fail(err, EMAC_BUSY, "too many rigs ask to be admitted: say hello again soon");
    c->challenges_waiting++;
    a->elapsed_ms = now_ms(c) - n->challenge->opened_ms;
    a->seed = n->challenge->seed;
    a->flops = n->challenge->flops;
    return EMAC_OK;
}

static enum emac_status attempt_end(struct coordinator *c, const struct attempt *a,
                                    const struct cid *right, double *gflops, struct emac_err *err)
{
    struct node *n;
    enum emac_status st = attempt_node(c, a, &n, err);
    if (st != EMAC_OK)
        return st;
    challenge_free(n->challenge);
    n->challenge = NULL;
    if (!cid_equal(right, &a->out)) {
        n->present = false;
        return emac_fail(err, EMAC_FORBIDDEN,
                         "the challenge's result is wrong: this device does not compute the same "
                         "bits and cannot be admitted");
    }
    double ms = a->elapsed_ms > 0 ? (double)a->elapsed_ms : 1;
    *gflops = n->gflops = (double)a->flops / ms / 1e6;
    st = node_admit(c, n, err);
    if (st == EMAC_OK)
        LOG_I("coordinator", "rig '%s' (%s, %s) is admitted at %.1f GFLOP/s", n->did, n->name,
              n->isa, n->gflops);
    return st;
}

static enum emac_status attempt_judge(struct coordinator *c, struct attempt *a, double *gflops,
                                      struct emac_err *err)
{
    struct cid right = {0};
    os_mutex_lock(&c->lock);
    enum emac_status st = attempt_begin(c, a, err);
    os_mutex_unlock(&c->lock);
    if (st != EMAC_OK)
        return st;
    os_mutex_lock(&c->challenge_lock);
    st = answer_compute(a->seed, &right, err);
    os_mutex_unlock(&c->challenge_lock);
    os_mutex_lock(&c->lock);
    c->challenges_waiting--;
    if (st == EMAC_OK)
        st = attempt_end(c, a, &right, gflops, err);
    os_mutex_unlock(&c->lock);
    return st;
}

enum emac_status challenge_post(void *ctx, const struct http_request *req,
                                struct http_response *res, struct emac_err *err)
{
    struct coordinator *c = ctx;
    struct attempt a = {0};
    json_t *root = NULL;
    double gflops = 0;
    enum emac_status st;
    EMAC_TRY(st, api_signer(c, req, a.did, err));
    EMAC_TRY(st, api_body(req, &root, err));
    EMAC_TRY(st, attempt_parse(root, &a, err));
    EMAC_TRY(st, attempt_judge(c, &a, &gflops, err));
    st = api_reply(res, 200, json_pack("{s:s, s:f}", "state", "admitted", "gflops", gflops), err);
out:
    json_decref(root);
    return st;
}
