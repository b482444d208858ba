/* Traces of tasks in the tests of the task runner: roots, and leaves that are judged one by one. */
#ifndef EMAC_TESTS_NODE_TRACE_CHECK_H
#define EMAC_TESTS_NODE_TRACE_CHECK_H

#include "node/exec_trace.h"

/* Run the task for its trace; its root. The result is the caller's. */
static inline uint64_t trace_root(struct exec *x, const struct task *t, struct exec_result *out,
                                  uint8_t root[SHA256_BYTES])
{
    struct trace trace;
    uint64_t leaves = 0;
    trace_init(&trace);
    assert_ok(exec_trace(x, t, &trace, out, err));
    assert_ok(exec_trace_leaves(x, t, &leaves, err)); /* TRACE-1 */
    assert_int_equal(leaves, trace_count(&trace));
    trace_hash(&trace, 0, leaves, root);
    trace_release(&trace);
    return leaves;
}

struct captured {
    uint32_t count;
    uint8_t *data[EXEC_REFS_MAX];
    uint8_t digest[EXEC_REFS_MAX][SHA256_BYTES];
};

static inline enum emac_status capture_keep(void *ctx, uint32_t ref, const struct trace_leaf *leaf,
                                            const uint8_t *data, size_t bytes, struct emac_err *e)
{
    struct captured *c = ctx;
    (void)leaf;
    enum emac_status st = emac_alloc_aligned(&c->data[ref], bytes, e);
    if (st != EMAC_OK)
        return st;
    memcpy(c->data[ref], data, bytes);
    crypto_sha256(c->digest[ref], data, bytes);
    c->count++;
    return EMAC_OK;
}

static inline enum emac_status capture_give(void *ctx, uint32_t ref, uint8_t *data, size_t bytes,
                                            struct emac_err *e)
{
    const struct captured *c = ctx;
    (void)e;
    memcpy(data, c->data[ref], bytes);
    return EMAC_OK;
}

/* The leaf computed from what those before it gave, and from that alone, is the trace's; `judge`
 * runs it, which may be of another device than `x`. */
static inline void trace_judged(struct exec *x, struct exec *judge, const struct task *t,
                                uint64_t leaf)
{
    static struct captured c;
    struct exec_ref *ref;
    struct exec_result out;
    struct trace trace;
    struct trace_leaf right;
    uint8_t want[SHA256_BYTES], got[SHA256_BYTES];
    uint32_t count;
    c = (struct captured){0};
    trace_init(&trace);
    assert_ok(exec_trace_refs(judge, t, leaf, &ref, &count, err));
    assert_ok(exec_trace_capture(x, t, ref, count, capture_keep, &c, &trace, &out, err));
    assert_int_equal(c.count, count);
    assert_ok(exec_trace_judge(judge, t, leaf, capture_give, &c, &right, err));
    trace_leaf_hash(got, &right);
    trace_hash(&trace, leaf, 1, want);
    if (memcmp(want, got, sizeof want) != 0)
        fail_msg("leaf %llu (kind %d, node %u) is judged wrong", (unsigned long long)leaf,
                 right.kind, right.node);
    for (uint32_t i = 0; i < count; i++)
        free(c.data[i]);
    free(ref);
    exec_result_release(x, &out);
    trace_release(&trace);
}

#endif
