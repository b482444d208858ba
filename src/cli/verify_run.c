#include "cli/verify_run.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/hex.h"
#include "cli/data_sealed.h"
#include "codec/safetensors.h"
#include "exchange/exchange.h"

#define SOURCES_MAX 16
#define CHAIN_MAX   100000 /* tasks that wait for what others make again */

struct verify {
    struct cli *cli;
    struct store *store;
    struct device *dev;
    struct exec *exec;
    char job[64];            /* of the receipt at hand */
    struct sealed_ring keys; /* those that the runner has */
};

/* A task that is run for its receipt, or for what it makes. */
struct step {
    struct task task;
    struct cid makes;         /* what it is run for; none: the receipt's own */
    struct exec_result *held; /* what was made for its inputs */
    uint32_t held_count;
    struct step *waits; /* the task that needs it; NULL: none */
};

/* ---- getting what there is ---- */

static enum emac_status fetch(void *ctx, const struct cid *cid, bool to_memory,
                              struct emac_err *err)
{
    struct verify *v = ctx;
    struct cli *c = v->cli;
    struct exchange_source source[SOURCES_MAX] = {{.base_url = c->url}};
    struct http_client *http;
    char path[sizeof "/v1/providers/" + CID_TEXT_MAX] = "/v1/providers/";
    json_t *reply = NULL, *item;
    size_t count = 1, i;
    uint64_t bytes = 0;
    cid_text(path + strlen(path), cid);
    if (cli_call(c, "GET", path, NULL, false, &reply) == EMAC_OK) {
        json_array_foreach(json_object_get(reply, "providers"), i, item)
        {
            if (count < SOURCES_MAX)
                source[count++].base_url = cli_str(item, "url");
        }
    }
    enum emac_status st = cli_http(c, &http);
    if (st == EMAC_OK)
        st = exchange_fetch(v->store, http, cid, source, count, to_memory, UINT64_C(1) << 40,
                            &bytes, err);
    json_decref(reply);
    return st;
}

static bool is_here(struct verify *v, const struct cid *cid)
{
    struct cid missing;
    size_t count = 1;
    return store_value_has(v->store, cid) ||
           (store_dag_missing(v->store, cid, &missing, 1, &count, NULL) == EMAC_OK && count == 0);
}

static enum emac_status bytes_of(struct cli *c, json_t *o, const char *key, struct emac_buf *out)
{
    const char *text = cli_str(o, key);
    size_t len = strlen(text), n = len;
    enum emac_status st = emac_buf_reserve(out, len, &c->err);
    if (st != EMAC_OK)
        return st;
    if (*text == 0 || !emac_unbase64(out->data, &n, text, len))
        return emac_fail(&c->err, EMAC_CORRUPT,
                         "field '%s' of the coordinator's answer is missing "
                         "or not base64",
                         key);
    out->len = n;
    return EMAC_OK;
}

/* ---- making what is gone ---- */

static enum emac_status maker_find(struct verify *v, const struct cid *cid, struct task *out)
{
    struct cli *c = v->cli;
    char name[CID_TEXT_MAX];
    json_t *reply = NULL;
    struct emac_buf bytes;
    cid_text(name, cid);
    char *path = emac_asprintf("/v1/jobs/%s/makers/%s", v->job, name);
    emac_buf_init(&bytes, 2 * TASK_BYTES_MAX);
    enum emac_status st = cli_call(c, "GET", path, NULL, false, &reply);
    if (st == EMAC_OK)
        st = bytes_of(c, reply, "task_object", &bytes);
    if (st == EMAC_OK)
        st = task_decode(out, bytes.data, bytes.len, &c->err);
    if (st != EMAC_OK)
        emac_wrap(&c->err, "'%s' can neither be fetched nor be made again", name);
    emac_buf_release(&bytes);
    json_decref(reply);
    free(path);
    return st;
}

/* An input that has to be made, if there is one. */
static enum emac_status gone_find(struct verify *v, const struct task *t, struct cid *gone,
                                  bool *found)
{
    enum emac_status st = EMAC_OK;
    *found = false;
    for (uint32_t i = 0; i < t->input_count + t->part_count && !*found; i++) {
        bool part = i >= t->input_count;
        const struct cid *cid = part ? &t->part[i - t->input_count].cid : &t->input[i].cid;
        bool disk = !part && (task_input_on_disk(t->input[i].name) || sealed_is(cid));
        if (is_here(v, cid))
            continue;
        st = fetch(v, cid, !disk, &v->cli->err);
        if (st == EMAC_NO_SPACE || st == EMAC_NO_MEMORY || st == EMAC_CANCELLED)
            return st;
        *gone = *cid;
        *found = st != EMAC_OK;
    }
    return EMAC_OK;
}

static void step_free(struct verify *v, struct step *s)
{
    if (s == NULL)
        return;
    for (uint32_t i = 0; i < s->held_count; i++)
        exec_result_release(v->exec, &s->held[i]);
    free(s->held);
    task_release(&s->task);
    free(s);
}

static enum emac_status step_push(struct verify *v, const struct cid *gone, struct step **top)
{
    struct step *s;
    enum emac_status st = emac_alloc(&s, 1, sizeof *s, &v->cli->err);
    if (st != EMAC_OK)
        return st;
    st = maker_find(v, gone, &s->task);
    if (st != EMAC_OK) {
        step_free(v, s);
        return st;
    }
    s->makes = *gone;
    s->waits = *top;
    *top = s;
    return EMAC_OK;
}

/* A result that was a lie cannot be made again, nor can what rests on it be checked by itself. */
static enum emac_status makes_it(const struct step *s, const struct exec_result *r,
                                 struct emac_err *err)
{
    char name[CID_TEXT_MAX];
    for (uint32_t i = 0; i < r->output_count; i++) {
        if (cid_equal(&r->output[i].cid, &s->makes))
            return EMAC_OK;
    }
    cid_text(name, &s->makes);
    return emac_fail(err, EMAC_NOT_FOUND,
                     "it rests on '%s', which nobody has and its task does not give: that result "
                     "is wrong itself",
                     name);
}

/* A task on what is private needs the keys; who has them, may. The inputs are here by now. Keys
 * that are there already stay, and with them the chunks that they opened. */
static enum emac_status keys_have(struct verify *v, const struct task *t)
{
    struct sealed_ring keys = {0};
    enum emac_status st = data_task_keys(v->cli, v->store, t, &keys);
    if (st == EMAC_OK && keys.count > 0 && memcmp(&keys, &v->keys, sizeof keys) != 0) {
        exec_keys_clear(v->exec);
        v->keys = keys;
        st = exec_keys_add(v->exec, &keys, &v->cli->err);
    }
    sealed_ring_wipe(&keys);
    return st == EMAC_FORBIDDEN
               ? emac_wrap(&v->cli->err, "only the owner of what it was computed on can check it")
               : st;
}

static enum emac_status task_run(struct verify *v, const struct task *t, struct exec_result *out)
{
    enum emac_status st = keys_have(v, t);
    return st == EMAC_OK ? exec_run(v->exec, t, out, &v->cli->err) : st;
}

/* Run the top one; what it made is held by the one that waits for it. */
static enum emac_status step_run(struct verify *v, struct step **top)
{
    struct step *s = *top, *next = s->waits;
    struct exec_result *grown = realloc(next->held, (next->held_count + 1) * sizeof *next->held);
    if (grown == NULL)
        return emac_fail(&v->cli->err, EMAC_NO_MEMORY, "no memory for what is made again");
    next->held = grown;
    enum emac_status st = task_run(v, &s->task, &next->held[next->held_count]);
    if (st != EMAC_OK)
        return st;
    st = makes_it(s, &next->held[next->held_count++], &v->cli->err);
    if (st != EMAC_OK)
        return st;
    *top = next;
    step_free(v, s);
    return EMAC_OK;
}

/* See to it that the inputs of `last` are here; they are as long as it holds what was made. */
static enum emac_status inputs_have(struct verify *v, struct step *last, uint32_t *made)
{
    struct step *top = last;
    uint32_t pushed = 0;
    enum emac_status st = EMAC_OK;
    for (;;) {
        struct cid gone;
        bool found;
        st = gone_find(v, &top->task, &gone, &found);
        if (st == EMAC_OK && found && pushed == CHAIN_MAX)
            st = emac_fail(&v->cli->err, EMAC_TOO_LARGE,
                           "more than %d tasks would have to be run for the inputs", CHAIN_MAX);
        else if (st == EMAC_OK && found)
            st = step_push(v, &gone, &top), pushed++;
        else if (st == EMAC_OK && top == last)
            break;
        else if (st == EMAC_OK)
            st = step_run(v, &top), (*made)++;
        if (st != EMAC_OK)
            break;
    }
    while (top != last) {
        struct step *next = top->waits;
        step_free(v, top);
        top = next;
    }
    return st;
}

/* ---- the receipt ---- */

static enum emac_status receipt_check(struct verify *v, const char *name, json_t *told,
                                      struct receipt *r, struct task *t)
{
    struct cli *c = v->cli;
    struct emac_buf object, signature, task;
    uint8_t key[ED25519_PUBLIC_BYTES];
    char text[CID_TEXT_MAX];
    enum emac_status st;
    emac_buf_init(&object, 2 * RECEIPT_BYTES_MAX);
    emac_buf_init(&signature, 1024);
    emac_buf_init(&task, 2 * TASK_BYTES_MAX);
    EMAC_TRY(st, bytes_of(c, told, "object", &object));
    EMAC_TRY(st, bytes_of(c, told, "signature", &signature));
    EMAC_TRY(st, bytes_of(c, told, "task_object", &task));
    struct cid cid = cid_of(CID_DAG_CBOR, object.data, object.len);
    cid_text(text, &cid);
    EMAC_TRY(st, receipt_decode(r, object.data, object.len, &c->err));
    cid = cid_of(CID_DAG_CBOR, task.data, task.len);
    if (strcmp(text, name) != 0 || !cid_equal(&cid, &r->task))
        st = emac_fail(&c->err, EMAC_CORRUPT,
                       "the coordinator gave another receipt, or another task, than '%s'", name);
    else if (!crypto_did_key_parse(key, r->node) || signature.len != ED25519_SIGNATURE_BYTES ||
             !crypto_ed25519_verify(signature.data, object.data, object.len, key))
        st = emac_fail(&c->err, EMAC_CORRUPT, "receipt '%s' is not signed by rig '%s'", name,
                       r->node);
    else
        st = task_decode(t, task.data, task.len, &c->err);
out:
    emac_buf_release(&object);
    emac_buf_release(&signature);
    emac_buf_release(&task);
    return st;
}

/* ---- where it differs ---- */

struct locating {
    struct verified *out;
    const struct st_index *index;
    const struct store_value *claimed;
};

static bool has_bytes(const struct locating *l, const uint8_t *data, size_t bytes)
{
    for (uint32_t i = 0; i < l->index->count; i++) {
        const struct st_tensor *t = &l->index->tensor[i];
        if (t->end - t->begin == bytes &&
            memcmp(l->claimed->data + l->index->data_offset + t->begin, data, bytes) == 0)
            return true;
    }
    return false;
}

static enum emac_status locate_one(void *ctx, uint32_t ref, const struct trace_leaf *leaf,
                                   const uint8_t *data, size_t bytes, struct emac_err *err)
{
    struct locating *l = ctx;
    (void)ref;
    (void)err;
    if (!l->out->located && !has_bytes(l, data, bytes)) {
        l->out->located = true;
        l->out->leaf = leaf->index;
        l->out->where = *leaf;
    }
    return EMAC_OK;
}

/* The first value, in the order of execution, that the claimed bundle does not have. It cannot be
 * told when nobody has that bundle any more. */
static void locate(struct verify *v, const struct task *t, uint32_t outputs, uint32_t which,
                   struct verified *out)
{
    struct locating l = {.out = out};
    struct st_index index = {0};
    struct exec_ref *ref = NULL;
    struct exec_result again = {0};
    struct trace trace;
    uint64_t leaves;
    uint32_t refs;
    enum emac_status st;
    trace_init(&trace);
    if (!is_here(v, &out->claimed))
        EMAC_TRY(st, fetch(v, &out->claimed, true, NULL));
    EMAC_TRY(st, store_value_get(v->store, &out->claimed, UINT64_C(1) << 40, &l.claimed, NULL));
    EMAC_TRY(st, st_index_parse(&index, l.claimed->data, l.claimed->size, l.claimed->size, NULL));
    l.index = &index;
    EMAC_TRY(st, exec_trace_leaves(v->exec, t, &leaves, NULL));
    EMAC_TRY(st, exec_trace_refs(v->exec, t, leaves - outputs + which, &ref, &refs, NULL));
    st = exec_trace_capture(v->exec, t, ref, refs, locate_one, &l, &trace, &again, NULL);
out:
    (void)st;
    exec_result_release(v->exec, &again);
    trace_release(&trace);
    free(ref);
    st_index_release(&index);
    if (l.claimed != NULL)
        store_value_drop(v->store, l.claimed);
}

static void compare(struct verify *v, const struct task *t, const struct receipt *r,
                    const struct exec_result *got, struct verified *out)
{
    out->equal = r->output_count == got->output_count;
    for (uint32_t i = 0; i < got->output_count && out->equal; i++) {
        if (cid_equal(&got->output[i].cid, &r->output[i].cid) &&
            strcmp(got->output[i].name, r->output[i].name) == 0)
            continue;
        out->equal = false;
        memcpy(out->output, got->output[i].name, sizeof out->output);
        out->claimed = r->output[i].cid;
        out->right = got->output[i].cid;
        locate(v, t, got->output_count, i, out);
    }
}

enum emac_status verify_receipt(struct verify *v, const char *cid, struct verified *out)
{
    struct cli *c = v->cli;
    char *path = emac_asprintf("/v1/receipts/%.100s", cid);
    struct receipt r;
    struct step *s = NULL;
    struct exec_result got = {0};
    enum emac_status st;
    *out = (struct verified){0};
    EMAC_TRY(st, cli_call(c, "GET", path, NULL, false, &out->receipt));
    EMAC_TRY(st, emac_alloc(&s, 1, sizeof *s, &c->err));
    EMAC_TRY(st, receipt_check(v, cid, out->receipt, &r, &s->task));
    if (!emac_strcpy(v->job, sizeof v->job, cli_str(out->receipt, "job")))
        st = emac_fail(&c->err, EMAC_CORRUPT, "the coordinator's answer names no job");
    EMAC_TRY(st, st);
    EMAC_TRY(st, inputs_have(v, s, &out->made_again));
    EMAC_TRY(st, task_run(v, &s->task, &got));
    compare(v, &s->task, &r, &got, out);
out:
    exec_result_release(v->exec, &got);
    step_free(v, s);
    free(path);
    return st;
}

void verified_release(struct verified *r)
{
    json_decref(r->receipt);
    r->receipt = NULL;
}

/* ---- telling ---- */

json_t *verified_json(const struct verified *r)
{
    char claimed[CID_TEXT_MAX], right[CID_TEXT_MAX];
    json_t *o = json_pack("{s:s, s:s, s:s, s:s, s:b, s:I}", "receipt",
                          cli_str(r->receipt, "receipt"), "task", cli_str(r->receipt, "task"),
                          "slot", cli_str(r->receipt, "slot"), "node", cli_str(r->receipt, "node"),
                          "equal", r->equal, "made_again", (json_int_t)r->made_again);
    if (r->equal)
        return o;
    cid_text(claimed, &r->claimed);
    cid_text(right, &r->right);
    json_object_set_new(o, "output", json_string(r->output));
    json_object_set_new(o, "claimed", json_string(claimed));
    json_object_set_new(o, "right", json_string(right));
    if (r->located) {
        json_object_set_new(o, "leaf", json_integer((json_int_t)r->leaf));
        json_object_set_new(o, "node_of_graph", json_integer((json_int_t)r->where.node));
    }
    return o;
}

void verified_say(struct cli *c, const struct verified *r)
{
    const char *slot = cli_str(r->receipt, "slot"), *node = cli_str(r->receipt, "node");
    char right[CID_TEXT_MAX], claimed[CID_TEXT_MAX];
    if (r->equal) {
        cli_say(c, "equal      %s of %s", slot, node);
        return;
    }
    cid_text(right, &r->right);
    cid_text(claimed, &r->claimed);
    cli_say(c, "DIFFERS    %s of %s: output '%s' is %s, the receipt says %s", slot, node, r->output,
            right, claimed);
    if (r->located)
        cli_say(c, "           first at leaf %llu of the task's trace: %s %u",
                (unsigned long long)r->leaf,
                r->where.kind == TRACE_SUM ? "the sum of tensor" : "node", r->where.node);
}

/* ---- life ---- */

enum emac_status verify_open(struct cli *c, struct cli_device *d, struct verify **out)
{
    struct verify *v;
    enum emac_status st = emac_alloc(&v, 1, sizeof *v, &c->err);
    if (st != EMAC_OK)
        return st;
    v->cli = c;
    EMAC_TRY(st, cli_store(c, &v->store));
    EMAC_TRY(st, cli_device_check(c, d));
    EMAC_TRY(st, cli_device_open(c, d, &v->dev));
    const struct exec_config cfg = {
        .os = c->os, .store = v->store, .dev = v->dev, .fetch = fetch, .fetch_ctx = v};
    EMAC_TRY(st, exec_new(&cfg, &v->exec, &c->err));
    *out = v;
    return EMAC_OK;
out:
    verify_close(v);
    return st;
}

void verify_close(struct verify *v)
{
    if (v == NULL)
        return;
    exec_free(v->exec);
    sealed_ring_wipe(&v->keys);
    if (v->dev != NULL)
        device_close(v->dev);
    if (v->store != NULL)
        store_close(v->store);
    free(v);
}
