/* Leases for the agent under test, and what it made of them. */
#ifndef EMAC_TESTS_NODE_AGENT_TASKS_H
#define EMAC_TESTS_NODE_AGENT_TASKS_H

#include "agent_fixture.h"

#define ROUND 5

/* ---- a coordinator for each test ---- */

static struct fake fake;

static inline int setup(void **state)
{
    fake_open(&fake);
    return 0;
}

static inline int teardown(void **state)
{
    fake_close(&fake);
    return 0;
}

/* ---- leases ---- */

static inline json_t *task_lease(const char *id, const char *slot, uint64_t round,
                                 const struct task *t, json_t *sources, struct cid *cid)
{
    return json_pack("{s:s,s:s,s:s,s:s,s:I,s:o,s:I,s:o,s:s}", "kind", "task", "lease", id, "job",
                     "job-test", "slot", slot, "round", (json_int_t)round, "task",
                     task_json(t, cid), "deadline_ms", (json_int_t)0, "sources",
                     sources != NULL ? sources : json_object(), "units", "1500000000");
}

/* The parameters and optimiser state that training begins with, kept by the oracle. */
struct start {
    struct exec_result init;
    struct cid params, opt;
};

static inline void start_make(struct fake *f, struct start *s)
{
    struct task t = {.program = plan_program(f->rig.plan, TASK_INIT)->cid};
    assert_ok(exec_run(f->rig.exec, &t, &s->init, err));
    s->opt = output(&s->init, "opt")->cid;
    s->params = output(&s->init, "params")->cid;
}

static inline struct task grad_task(const struct fake *f, const struct cid *params, uint32_t first,
                                    uint32_t count)
{
    struct task t = {.program = plan_program(f->rig.plan, TASK_GRAD)->cid,
                     .first = first,
                     .count = count,
                     .step = 1};
    task_input_add(&t, "data", &f->rig.job.data);
    task_input_add(&t, "params", params);
    task_input_add(&t, "tables", &f->rig.plan->tables);
    return t;
}

/* x times s, for small and large bundles. */
static inline struct task scale_task(const struct cid *program, const struct cid *x, float s)
{
    struct task t = {.program = *program};
    task_input_add(&t, "in", x);
    task_arg_add(&t, "s", s);
    return t;
}

/* ---- what came back ---- */

static inline void receipt_read(struct fake *f, struct receipt *out)
{
    uint8_t bytes[RECEIPT_BYTES_MAX], sig[128], key[ED25519_PUBLIC_BYTES];
    size_t n = sizeof bytes, sig_n = sizeof sig;
    os_mutex_lock(&f->lock);
    const char *text = json_string_value(json_object_get(f->last_receipt, "receipt"));
    const char *sig_text = json_string_value(json_object_get(f->last_receipt, "signature"));
    assert_true(emac_unbase64(bytes, &n, text, strlen(text)));
    assert_true(emac_unbase64(sig, &sig_n, sig_text, strlen(sig_text)));
    os_mutex_unlock(&f->lock);
    assert_int_equal(sig_n, ED25519_SIGNATURE_BYTES);
    assert_ok(receipt_decode(out, bytes, n, err));
    assert_true(crypto_did_key_parse(key, out->node));
    assert_true(crypto_ed25519_verify(sig, bytes, n, key));
    os_mutex_lock(&f->lock);
    bool own = strcmp(out->node, f->did) == 0;
    os_mutex_unlock(&f->lock);
    assert_true(own);
}

static inline const struct cid *receipt_output(const struct receipt *r, const char *name)
{
    for (uint32_t i = 0; i < r->output_count; i++) {
        if (strcmp(r->output[i].name, name) == 0)
            return &r->output[i].cid;
    }
    fail_msg("the receipt has no output '%s'", name);
    return NULL;
}

/* Same outputs as the oracle's? */
static inline void check_outputs(struct fake *f, const struct receipt *r, const struct task *t)
{
    struct exec_result want;
    assert_ok(exec_run(f->rig.exec, t, &want, err));
    assert_int_equal(r->output_count, want.output_count);
    for (uint32_t i = 0; i < want.output_count; i++) {
        assert_string_equal(r->output[i].name, want.output[i].name);
        assert_true(cid_equal(&r->output[i].cid, &want.output[i].cid));
    }
    exec_result_release(f->rig.exec, &want);
}

/* Does the agent serve this CID? */
static inline bool serves(const struct agent *a, const struct cid *cid)
{
    struct store *s = memory_store();
    struct http_client *http;
    char url[64];
    uint64_t bytes = 0;
    const struct exchange_source source = {url};
    snprintf(url, sizeof url, "http://127.0.0.1:%u", node_port(a->node));
    assert_ok(http_client_new(&http, err));
    enum emac_status st = exchange_fetch(s, http, cid, &source, 1, true, 64 << 20, &bytes, NULL);
    http_client_free(http);
    store_close(s);
    return st == EMAC_OK;
}

/* The last of a JSON document that was kept, as text. */
static inline void text_of(struct fake *f, json_t *const *doc, const char *key, char *out,
                           size_t cap)
{
    os_mutex_lock(&f->lock);
    const char *s = json_string_value(json_object_get(*doc, key));
    assert_true(emac_strcpy(out, cap, s != NULL ? s : ""));
    os_mutex_unlock(&f->lock);
}

/* A large vector, so that it is several blocks. */
#define LARGE 700000

static inline struct cid large_put(struct fake *f, float first)
{
    float *x = calloc(LARGE, sizeof *x);
    for (uint32_t i = 0; i < LARGE; i++)
        x[i] = first + (float)i;
    struct cid cid = vector_put(f->rig.store, "x", x, LARGE);
    free(x);
    return cid;
}

#endif
