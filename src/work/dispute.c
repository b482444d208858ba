#include "work/dispute.h"

#include <string.h>

#include "base/assert.h"

const char *dispute_stage_name(enum dispute_stage s)
{
    static const char *const NAMES[DISPUTE_STAGES] = {"commit", "split", "open", "done"};
    EMAC_ASSERT(s < DISPUTE_STAGES);
    return NAMES[s];
}

const char *dispute_fate_name(enum dispute_fate f)
{
    static const char *const NAMES[FATES] = {"stands", "faulty", "silent", "liar"};
    EMAC_ASSERT(f < FATES);
    return NAMES[f];
}

void dispute_begin(struct dispute *d, uint32_t count, const struct task_output *a,
                   const struct task_output *b)
{
    bool differ = false;
    EMAC_ASSERT(count > 0 && count <= TASK_OUTPUTS_MAX);
    *d = (struct dispute){0};
    for (uint32_t i = 0; i < count; i++) {
        EMAC_ASSERT(strcmp(a[i].name, b[i].name) == 0);
        d->side[0].output[i] = a[i].cid;
        d->side[1].output[i] = b[i].cid;
        differ = differ || !cid_equal(&a[i].cid, &b[i].cid);
    }
    EMAC_ASSERT(differ);
    d->side[0].output_count = d->side[1].output_count = count;
}

bool dispute_asks(const struct dispute *d, uint32_t side)
{
    bool counting = d->stage == DISPUTE_OPEN && d->count == 0;
    return d->stage != DISPUTE_DONE && !counting && !d->side[side].answered;
}

/* ---- stages ---- */

static void stage_begin(struct dispute *d, enum dispute_stage stage)
{
    d->stage = stage;
    d->side[0].answered = d->side[1].answered = false;
}

static bool same(const uint8_t *a, const uint8_t *b)
{
    return memcmp(a, b, SHA256_BYTES) == 0;
}

static void range_take(struct dispute *d, uint64_t first, uint64_t count)
{
    d->first = first;
    d->count = count;
    EMAC_ASSERT(count > 0 && !same(d->side[0].hash, d->side[1].hash));
    stage_begin(d, count == 1 ? DISPUTE_OPEN : DISPUTE_SPLIT);
}

/* Both have committed, to outputs that differ: so do the roots (TRACE-2). */
static void commits_compare(struct dispute *d)
{
    const struct dispute_side *a = &d->side[0], *b = &d->side[1];
    if (a->leaves != b->leaves) {
        stage_begin(d, DISPUTE_OPEN);
        d->first = d->count = 0;
        return;
    }
    memcpy(d->side[0].hash, a->root, SHA256_BYTES);
    memcpy(d->side[1].hash, b->root, SHA256_BYTES);
    range_take(d, 0, a->leaves);
}

static void splits_compare(struct dispute *d)
{
    uint64_t half = trace_left(d->count);
    bool left = !same(d->side[0].left, d->side[1].left);
    for (uint32_t i = 0; i < 2; i++) {
        struct dispute_side *s = &d->side[i];
        memcpy(s->hash, left ? s->left : s->right, SHA256_BYTES);
    }
    d->splits++;
    range_take(d, left ? d->first : d->first + half, left ? half : d->count - half);
}

/* ---- answers ---- */

/* The trace's last leaves are its outputs: do they lead to its root? */
static enum emac_status outputs_proven(const struct dispute_side *s, const struct dispute_answer *a,
                                       struct emac_err *err)
{
    if (a->leaves < s->output_count || a->leaves > TRACE_LEAVES_MAX ||
        a->proof_count != s->output_count)
        return emac_fail(err, EMAC_INVALID,
                         "a trace of %llu leaves with %u outputs cannot be of this task",
                         (unsigned long long)a->leaves, a->proof_count);
    for (uint32_t i = 0; i < a->proof_count; i++) {
        const struct dispute_proof *p = &a->proof[i];
        if (p->leaf.kind != TRACE_OUTPUT || p->leaf.node != i || p->leaf.count != 1 ||
            p->leaf.index != a->leaves - a->proof_count + i ||
            !trace_path_holds(&p->leaf, a->leaves, a->root, p->path, p->path_length))
            return emac_fail(err, EMAC_INVALID, "output %u of the trace does not lead to its root",
                             i);
    }
    return EMAC_OK;
}

static enum emac_status commit_take(struct dispute *d, struct dispute_side *s,
                                    const struct dispute_answer *a, struct emac_err *err)
{
    enum emac_status st = outputs_proven(s, a, err);
    if (st != EMAC_OK)
        return st;
    s->leaves = a->leaves;
    memcpy(s->root, a->root, SHA256_BYTES);
    for (uint32_t i = 0; i < s->output_count; i++) {
        if (memcmp(a->proof[i].leaf.value[0].digest, s->output[i].digest, SHA256_BYTES) != 0)
            s->fate = FATE_FAULTY;
    }
    s->answered = true;
    if (s->fate == FATE_FAULTY)
        stage_begin(d, DISPUTE_DONE);
    else if (d->side[0].answered && d->side[1].answered)
        commits_compare(d);
    return EMAC_OK;
}

static enum emac_status split_take(struct dispute *d, struct dispute_side *s,
                                   const struct dispute_answer *a, struct emac_err *err)
{
    uint8_t hash[SHA256_BYTES];
    if (a->first != d->first || a->count != d->count)
        return emac_fail(err, EMAC_INVALID, "leaves %llu+%llu are asked about, not %llu+%llu",
                         (unsigned long long)d->first, (unsigned long long)d->count,
                         (unsigned long long)a->first, (unsigned long long)a->count);
    trace_node_hash(hash, a->left, a->right);
    if (!same(hash, s->hash))
        return emac_fail(err, EMAC_INVALID,
                         "these halves of leaves %llu+%llu are not those of the root that was "
                         "signed",
                         (unsigned long long)d->first, (unsigned long long)d->count);
    memcpy(s->left, a->left, SHA256_BYTES);
    memcpy(s->right, a->right, SHA256_BYTES);
    s->answered = true;
    if (d->side[0].answered && d->side[1].answered)
        splits_compare(d);
    return EMAC_OK;
}

static enum emac_status open_take(const struct dispute *d, struct dispute_side *s,
                                  const struct dispute_answer *a, struct emac_err *err)
{
    for (uint32_t i = 0; i < a->proof_count; i++) {
        const struct dispute_proof *p = &a->proof[i];
        if (p->leaf.index >= d->first || p->slot >= p->leaf.count || cid_is_none(&p->value) ||
            !trace_path_holds(&p->leaf, s->leaves, s->root, p->path, p->path_length))
            return emac_fail(err, EMAC_INVALID,
                             "value %u of the open is not of a leaf before %llu of the root that "
                             "was signed",
                             i, (unsigned long long)d->first);
    }
    s->answered = true;
    return EMAC_OK;
}

enum emac_status dispute_take(struct dispute *d, uint32_t side, const struct dispute_answer *a,
                              struct emac_err *err)
{
    struct dispute_side *s = &d->side[side];
    EMAC_ASSERT(side < 2);
    if (!dispute_asks(d, side) || a->kind != d->stage)
        return emac_fail(err, EMAC_INVALID,
                         "the dispute is at stage '%s' and wants no '%s' of this side",
                         dispute_stage_name(d->stage), dispute_stage_name(a->kind));
    switch (d->stage) {
    case DISPUTE_COMMIT:
        return commit_take(d, s, a, err);
    case DISPUTE_SPLIT:
        return split_take(d, s, a, err);
    default:
        return open_take(d, s, a, err);
    }
}

/* ---- ends ---- */

void dispute_counted(struct dispute *d, uint64_t leaves)
{
    EMAC_ASSERT(d->stage == DISPUTE_OPEN && d->count == 0);
    for (uint32_t i = 0; i < 2; i++) {
        if (d->side[i].leaves != leaves) /* another version of the program, rather than a lie */
            d->side[i].fate = FATE_FAULTY;
    }
    stage_begin(d, DISPUTE_DONE);
    EMAC_ASSERT(d->side[0].fate != FATE_STANDS || d->side[1].fate != FATE_STANDS);
}

void dispute_judged(struct dispute *d, const struct trace_leaf *leaf)
{
    uint8_t hash[SHA256_BYTES];
    EMAC_ASSERT(d->stage == DISPUTE_OPEN && d->count == 1 && leaf->index == d->first);
    trace_leaf_hash(hash, leaf);
    for (uint32_t i = 0; i < 2; i++) {
        if (!same(hash, d->side[i].hash))
            d->side[i].fate = FATE_LIAR;
    }
    stage_begin(d, DISPUTE_DONE);
    EMAC_ASSERT(d->side[0].fate == FATE_LIAR || d->side[1].fate == FATE_LIAR); /* DIS-2 */
}

void dispute_unusable(struct dispute *d, uint32_t side)
{
    EMAC_ASSERT(d->stage == DISPUTE_OPEN && d->count == 1);
    d->side[side].answered = false;
}

void dispute_expire(struct dispute *d)
{
    bool judging =
        d->stage == DISPUTE_OPEN && (d->count == 0 || d->side[0].answered || d->side[1].answered);
    if (d->stage == DISPUTE_DONE || judging)
        return;
    for (uint32_t i = 0; i < 2; i++) {
        if (!d->side[i].answered)
            d->side[i].fate = FATE_SILENT;
    }
    stage_begin(d, DISPUTE_DONE);
}
