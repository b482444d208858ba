#include "node/judge.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "node/exec_trace.h"

#define JUDGE_THREADS 1 /* a dispute does not hurry, and the coordinator has other things to do */

struct judge {
    struct os *os;
    struct device *dev;
    struct dispute_judge face;
};

/* What a leaf takes, and who says what it is. */
struct bench {
    struct store *store;
    const struct exec_ref *ref;
    const struct dispute_proof *proof;
    uint32_t proofs;
};

static const struct dispute_proof *proof_of(const struct bench *b, uint32_t ref)
{
    for (uint32_t i = 0; i < b->proofs; i++) {
        if (b->proof[i].leaf.index == b->ref[ref].leaf && b->proof[i].slot == b->ref[ref].slot)
            return &b->proof[i];
    }
    return NULL;
}

/* The bytes must be those that both sides' traces have there. */
static enum emac_status give(void *ctx, uint32_t ref, uint8_t *data, size_t bytes,
                             struct emac_err *err)
{
    const struct bench *b = ctx;
    const struct dispute_proof *p = proof_of(b, ref);
    uint8_t digest[SHA256_BYTES];
    uint64_t size = 0;
    enum emac_status st;
    if (p == NULL)
        return emac_fail(err, EMAC_INVALID, "the open lacks value %u of leaf %llu",
                         b->ref[ref].slot, (unsigned long long)b->ref[ref].leaf);
    EMAC_TRY(st, store_file_size(b->store, &p->value, &size, err));
    if (size != bytes)
        return emac_fail(err, EMAC_INVALID, "value %u of leaf %llu has %llu bytes and not %zu",
                         p->slot, (unsigned long long)p->leaf.index, (unsigned long long)size,
                         bytes);
    EMAC_TRY(st, store_file_read(b->store, &p->value, 0, data, bytes, err));
    crypto_sha256(digest, data, bytes);
    if (memcmp(digest, p->leaf.value[p->slot].digest, sizeof digest) != 0)
        st = emac_fail(err, EMAC_INVALID, "value %u of leaf %llu is not what the traces have there",
                       p->slot, (unsigned long long)p->leaf.index);
out:
    return st;
}

static enum emac_status exec_begin(struct judge *j, struct store *depot, struct exec **out,
                                   struct emac_err *err)
{
    const struct exec_config cfg = {.os = j->os, .store = depot, .dev = j->dev};
    return exec_new(&cfg, out, err);
}

static enum emac_status judge_leaf(void *ctx, struct store *depot, const struct task *t,
                                   uint64_t leaf, const struct dispute_proof *proof, uint32_t count,
                                   struct trace_leaf *out, struct emac_err *err)
{
    struct judge *j = ctx;
    struct bench b = {.store = depot, .proof = proof, .proofs = count};
    struct exec_ref *ref = NULL;
    struct exec *x = NULL;
    uint32_t refs;
    enum emac_status st;
    EMAC_TRY(st, exec_begin(j, depot, &x, err));
    EMAC_TRY(st, exec_trace_refs(x, t, leaf, &ref, &refs, err));
    b.ref = ref;
    st = exec_trace_judge(x, t, leaf, give, &b, out, err);
out:
    free(ref);
    exec_free(x);
    return st;
}

static enum emac_status judge_leaves(void *ctx, struct store *depot, const struct task *t,
                                     uint64_t *out, struct emac_err *err)
{
    struct exec *x = NULL;
    enum emac_status st = exec_begin(ctx, depot, &x, err);
    if (st == EMAC_OK)
        st = exec_trace_leaves(x, t, out, err);
    exec_free(x);
    return st;
}

enum emac_status judge_open(struct os *os, struct judge **out, struct emac_err *err)
{
    struct judge *j;
    enum emac_status st = emac_alloc(&j, 1, sizeof *j, err);
    if (st != EMAC_OK)
        return st;
    j->os = os;
    j->face = (struct dispute_judge){judge_leaf, judge_leaves, j};
    st = device_cpu_open(ISA_BEST, JUDGE_THREADS, &j->dev, err);
    if (st != EMAC_OK) {
        free(j);
        return st;
    }
    *out = j;
    return EMAC_OK;
}

void judge_close(struct judge *j)
{
    if (j == NULL)
        return;
    device_close(j->dev);
    free(j);
}

const struct dispute_judge *judge_of(struct judge *j)
{
    return &j->face;
}
