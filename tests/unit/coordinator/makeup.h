/* Made-up results and the receipts for them. See net.h. */
#ifndef EMAC_TESTS_COORDINATOR_MAKEUP_H
#define EMAC_TESTS_COORDINATOR_MAKEUP_H

#include "rigbot.h"

/* ---- made-up results ---- */

static inline struct cid bytes_keep(struct net *n, const void *data, size_t len)
{
    struct cid cid = cid_of(CID_RAW, data, len);
    if (!n->bytes_dropped)
        assert_ok(store_block_put(n->bytes, CID_RAW, data, len, &cid, err));
    return cid;
}

static inline struct cid named_output(struct net *n, const char *name, const struct cid *task,
                                      bool lie)
{
    char text[256], cid[CID_TEXT_MAX];
    cid_text(cid, task);
    snprintf(text, sizeof(text), "%s of %s%s", name, cid, lie ? ", a lie" : "");
    return bytes_keep(n, text, strlen(text));
}

/* A real bundle: {grad_norm, loss}, each of one number. */
static inline void metrics_make(float loss, struct emac_buf *out)
{
    struct st_index idx = {0};
    const uint64_t one = 1;
    float value[2] = {1, loss}; /* grad_norm, loss: by name */
    emac_buf_init(out, 4096);
    assert_ok(st_index_add(&idx, "loss", ST_F32, 1, &one, err));
    assert_ok(st_index_add(&idx, "grad_norm", ST_F32, 1, &one, err));
    assert_ok(st_bundle_layout(&idx, out, err));
    assert_ok(emac_buf_append(out, value, sizeof(value), err));
    st_index_release(&idx);
}

struct made_up {
    struct receipt receipt;
    struct emac_buf metrics;
    bool has_metrics;
    json_t *beside; /* more fields of the message; borrowed, NULL: none */
};

static inline void output_add(struct made_up *m, const char *name, struct cid cid)
{
    struct task_output *o = &m->receipt.output[m->receipt.output_count++];
    set_text(o->name, name);
    o->cid = cid;
}

/* What a rig would answer for this lease. */
static inline void make_up(struct net *n, struct rigbot *r, json_t *lease, bool lie,
                           struct made_up *m)
{
    struct emac_buf task;
    const char *slot = str_of(lease, "slot");
    *m = (struct made_up){0};
    bytes_of(lease, "task", &task);
    m->receipt.task = cid_of(CID_DAG_CBOR, task.data, task.len);
    emac_buf_release(&task);
    set_text(m->receipt.lease, str_of(lease, "lease"));
    set_text(m->receipt.node, r->id.did);
    m->receipt.started_ms = m->receipt.ended_ms = os_real()->wall_ms(os_real());
    const struct cid *t = &m->receipt.task;
    bool score = strncmp(slot, "score", 5) == 0;
    if (score || strncmp(slot, "step", 4) == 0) {
        float loss = 5.0f - 0.01f * (float)int_of(lease, "round");
        m->has_metrics = true;
        metrics_make(lie ? 9.0f : score && n->score ? n->score(n, lease) : loss, &m->metrics);
        output_add(m, "metrics", bytes_keep(n, m->metrics.data, m->metrics.len));
    }
    if (strncmp(slot, "step", 4) == 0 || strcmp(slot, "init") == 0) {
        output_add(m, "opt", named_output(n, "opt", t, lie));
        output_add(m, "params", named_output(n, "params", t, lie));
    }
    if (strncmp(slot, "grad", 4) == 0 || strncmp(slot, "eval", 4) == 0)
        output_add(m, "sum", named_output(n, "sum", t, lie));
}

static inline json_t *text64(const void *data, size_t len)
{
    char *text = malloc(EMAC_BASE64_LEN(len) + 1);
    emac_base64(text, data, len);
    json_t *v = json_string(text);
    free(text);
    return v;
}

/* Sign with r's key whatever the receipt says, and send it as r. */
static inline int send_receipt(struct net *n, struct rigbot *r, struct made_up *m, json_t **reply)
{
    struct emac_buf bytes;
    uint8_t sig[ED25519_SIGNATURE_BYTES];
    emac_buf_init(&bytes, RECEIPT_BYTES_MAX);
    assert_ok(receipt_encode(&m->receipt, &bytes, NULL, err));
    crypto_ed25519_sign(sig, bytes.data, bytes.len, r->id.secret_key);
    json_t *body = json_pack("{s:o, s:o}", "receipt", text64(bytes.data, bytes.len), "signature",
                             text64(sig, sizeof(sig)));
    if (m->has_metrics)
        json_object_set_new(body, "inline",
                            json_pack("{s:o}", "metrics", text64(m->metrics.data, m->metrics.len)));
    if (m->beside != NULL)
        json_object_update(body, m->beside);
    emac_buf_release(&bytes);
    return call(n, &r->id, "POST", "/v1/receipts", body, reply);
}

static inline void made_up_release(struct made_up *m)
{
    if (m->has_metrics)
        emac_buf_release(&m->metrics);
}

static inline void list_push(struct cid *list, uint32_t *count, uint32_t max, struct cid cid)
{
    if (*count == max)
        memmove(&list[0], &list[1], --*count * sizeof(list[0]));
    list[(*count)++] = cid;
}

static inline void holds_note(const struct net *n, struct rigbot *r, const struct made_up *m)
{
    uint32_t jobs = n->jobs ? n->jobs : 1, rounds = n->keep ? n->keep : 2 * jobs;
    for (uint32_t i = 0; i < m->receipt.output_count; i++) {
        const struct task_output *o = &m->receipt.output[i];
        if (strcmp(o->name, "params") == 0 || strcmp(o->name, "opt") == 0)
            list_push(r->holds, &r->hold_count, 2 * rounds, o->cid);
        else
            list_push(r->sums, &r->sum_count, 8 * rounds, o->cid);
    }
}

static inline bool rig_has(const struct rigbot *r, const struct cid *cid)
{
    for (uint32_t i = 0; i < r->hold_count; i++)
        if (cid_equal(&r->holds[i], cid))
            return true;
    for (uint32_t i = 0; i < r->sum_count; i++)
        if (cid_equal(&r->sums[i], cid))
            return true;
    return false;
}

/* Could it be fetched: from a rig that is there, or from the depot? */
static inline bool is_there(struct net *n, const struct cid *cid)
{
    char path[128], text[CID_TEXT_MAX];
    for (uint32_t i = 0; i < n->rigs; i++)
        if (!n->rig[i].unplugged && rig_has(&n->rig[i], cid))
            return true;
    cid_text(text, cid);
    snprintf(path, sizeof(path), "/ipfs/%s?format=raw", text);
    return call(n, NULL, "GET", path, NULL, NULL) == 200;
}

/* Inputs that cannot be fetched, as a rig would find out. */
static inline json_t *inputs_missing(struct net *n, json_t *lease)
{
    struct emac_buf bytes;
    struct task t;
    json_t *missing = json_array();
    char text[CID_TEXT_MAX];
    bytes_of(lease, "task", &bytes);
    assert_ok(task_decode(&t, bytes.data, bytes.len, err));
    for (uint32_t i = 0; i < t.input_count + t.part_count; i++) {
        bool part = i >= t.input_count;
        const struct cid *cid = part ? &t.part[i - t.input_count].cid : &t.input[i].cid;
        bool made =
            part || strcmp(t.input[i].name, "params") == 0 || strcmp(t.input[i].name, "opt") == 0;
        cid_text(text, cid);
        if (made && !is_there(n, cid))
            json_array_append_new(missing, json_string(text));
    }
    task_release(&t);
    emac_buf_release(&bytes);
    return missing;
}

/* Answer a lease; the status of the receipt's call. *reply may be NULL. */
static inline int answer(struct net *n, struct rigbot *r, json_t *lease, bool lie, json_t **out)
{
    struct made_up m;
    json_t *reply;
    make_up(n, r, lease, lie, &m);
    int status = send_receipt(n, r, &m, &reply);
    if (status == 200) {
        r->done += json_is_true(json_object_get(reply, "accepted"));
        holds_note(n, r, &m);
        deposits_take(r, reply);
    }
    r->lease[0] = 0;
    made_up_release(&m);
    if (out)
        *out = reply;
    else
        json_decref(reply);
    return status;
}

#endif
