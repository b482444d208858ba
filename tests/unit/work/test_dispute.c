/* Disputes between random traces: the right side never loses, a liar always does, in as many
 * answers as the header says. */
#include "fixture.h"

#include "../property.h"
#include "work/dispute.h"

#define LEAVES_MAX 3000
#define OUTPUTS    2

/* A rig with its trace; what is true is the trace of one that computes rightly. */
struct party {
    struct trace trace;
    struct trace_leaf *leaf;
    uint64_t count;
};

static void party_init(struct party *p, uint64_t count)
{
    trace_init(&p->trace);
    p->count = count;
    p->leaf = calloc(count, sizeof *p->leaf);
    assert_non_null(p->leaf);
}

static void party_release(struct party *p)
{
    trace_release(&p->trace);
    free(p->leaf);
}

static void party_truth(struct party *p, struct choices *c)
{
    for (uint64_t i = 0; i < p->count; i++) {
        struct trace_leaf *l = &p->leaf[i];
        bool output = i + OUTPUTS >= p->count;
        *l = (struct trace_leaf){.kind = output ? TRACE_OUTPUT : TRACE_OPERATOR,
                                 .index = i,
                                 .node = (uint32_t)(output ? i + OUTPUTS - p->count : i),
                                 .count = 1};
        l->value[0] =
            (struct trace_value){.dtype = output ? DTYPE_U8 : DTYPE_F32, .shape = SHAPE1(8)};
        choose_bytes(c, l->value[0].digest, 4);
        assert_ok(trace_add(&p->trace, l, err));
    }
}

/* The truth but for leaf `lie`, what follows from it, and the last output. */
static void party_lie(struct party *p, const struct party *truth, uint64_t lie, struct choices *c)
{
    uint64_t odds = 1 + choose(c, 8);
    for (uint64_t i = 0; i < p->count; i++) {
        p->leaf[i] = truth->leaf[i];
        if (i == lie || (i > lie && choose(c, odds) == 0) || i + 1 == p->count)
            choose_bytes(c, p->leaf[i].value[0].digest + 8, 8);
        assert_ok(trace_add(&p->trace, &p->leaf[i], err));
    }
}

static void proof_of(const struct party *p, uint64_t leaf, struct dispute_proof *out)
{
    *out = (struct dispute_proof){.leaf = p->leaf[leaf]};
    out->path_length = trace_path(&p->trace, leaf, out->path);
    out->value = cid_of(CID_RAW, "v", 1);
}

/* What a party that holds to its trace answers. */
static void answer_of(const struct dispute *d, const struct party *p, struct dispute_answer *a)
{
    *a = (struct dispute_answer){.dispute = "d1", .kind = d->stage};
    if (d->stage == DISPUTE_COMMIT) {
        a->leaves = p->count;
        trace_hash(&p->trace, 0, p->count, a->root);
        a->proof_count = OUTPUTS;
        a->proof = calloc(OUTPUTS, sizeof *a->proof);
        for (uint32_t i = 0; i < OUTPUTS; i++)
            proof_of(p, p->count - OUTPUTS + i, &a->proof[i]);
    } else if (d->stage == DISPUTE_SPLIT) {
        uint64_t half = trace_left(d->count);
        a->first = d->first;
        a->count = d->count;
        trace_hash(&p->trace, d->first, half, a->left);
        trace_hash(&p->trace, d->first + half, d->count - half, a->right);
    } else if (d->first > 0) {
        a->proof_count = 1;
        a->proof = calloc(1, sizeof *a->proof);
        proof_of(p, d->first - 1, &a->proof[0]);
    }
}

static void begin(struct dispute *d, const struct party *a, const struct party *b)
{
    struct task_output out[2][OUTPUTS] = {0};
    const struct party *p[2] = {a, b};
    for (int s = 0; s < 2; s++) {
        for (uint32_t i = 0; i < OUTPUTS; i++) {
            const struct trace_leaf *l = &p[s]->leaf[p[s]->count - OUTPUTS + i];
            snprintf(out[s][i].name, sizeof out[s][i].name, "o%u", i);
            out[s][i].cid.codec = CID_DAG_PB;
            memcpy(out[s][i].cid.digest, l->value[0].digest, SHA256_BYTES);
        }
    }
    dispute_begin(d, OUTPUTS, out[0], out[1]);
}

/* As it travels: encoded, decoded, and taken. */
static enum emac_status deliver(struct dispute *d, uint32_t side, const struct dispute_answer *a)
{
    struct dispute_answer got;
    struct emac_buf buf;
    emac_buf_init(&buf, DISPUTE_BYTES_MAX);
    assert_ok(dispute_answer_encode(a, &buf, err));
    assert_ok(dispute_answer_decode(&got, buf.data, buf.len, err));
    enum emac_status st = dispute_take(d, side, &got, NULL);
    dispute_answer_release(&got);
    emac_buf_release(&buf);
    return st;
}

/* An answer with something wrong in it is refused and changes nothing (DIS-3), unless it is another
 * open of the same worth. */
static void spoilt(struct dispute *d, uint32_t side, const struct dispute_answer *right,
                   struct choices *c)
{
    struct dispute_answer bad = *right;
    struct dispute before = *d;
    struct dispute_proof proof;
    switch (right->kind) {
    case DISPUTE_COMMIT:
        bad.root[choose(c, 32)] ^= 1;
        break;
    case DISPUTE_SPLIT:
        bad.right[choose(c, 32)] ^= 0x80;
        break;
    default:
        if (right->proof_count == 0)
            return;
        proof = right->proof[0];
        proof.leaf.value[0].digest[0] ^= 1;
        bad.proof = &proof;
    }
    assert_int_equal(deliver(d, side, &bad), EMAC_INVALID);
    assert_memory_equal(&before, d, sizeof before);
    bad = *right;
    bad.kind = right->kind == DISPUTE_SPLIT ? DISPUTE_OPEN : DISPUTE_SPLIT;
    assert_int_equal(deliver(d, side, &bad), EMAC_INVALID);
    assert_memory_equal(&before, d, sizeof before);
}

/* Play it to the end: answers asked of each side. */
static uint32_t play(struct dispute *d, const struct party *p[2], const struct party *truth,
                     struct choices *c)
{
    uint32_t asked = 0;
    while (d->stage != DISPUTE_DONE && !(d->stage == DISPUTE_OPEN && d->side[0].answered)) {
        uint32_t first = (uint32_t)choose(c, 2);
        enum dispute_stage stage = d->stage;
        asked++;
        for (uint32_t i = 0; i < 2; i++) {
            struct dispute_answer a;
            uint32_t side = i ^ first;
            if (d->stage != stage || !dispute_asks(d, side))
                continue;
            answer_of(d, p[side], &a);
            if (choose(c, 4) == 0)
                spoilt(d, side, &a, c);
            assert_ok(deliver(d, side, &a));
            dispute_answer_release(&a);
        }
    }
    if (d->stage == DISPUTE_OPEN)
        dispute_judged(d, &truth->leaf[d->first]);
    return asked;
}

static uint32_t log2_up(uint64_t n)
{
    uint32_t k = 0;
    while ((UINT64_C(1) << k) < n)
        k++;
    return k;
}

/* DIS-1, DIS-2, DIS-4: the one that lies at any operator loses, wherever it goes on lying. */
static bool a_liar_is_named(struct choices *c)
{
    uint64_t n = OUTPUTS + choose(c, choose(c, 4) == 0 ? LEAVES_MAX : 40);
    uint64_t lie = choose(c, n);
    uint32_t liar = (uint32_t)choose(c, 2);
    struct party truth, other;
    struct dispute d;
    party_init(&truth, n);
    party_init(&other, n);
    party_truth(&truth, c);
    party_lie(&other, &truth, lie, c);
    const struct party *p[2] = {liar == 0 ? &other : &truth, liar == 0 ? &truth : &other};
    begin(&d, p[0], p[1]);
    uint32_t asked = play(&d, p, &truth, c);
    bool ok = d.side[liar].fate == FATE_LIAR && d.side[1 - liar].fate == FATE_STANDS &&
              d.first == lie && asked <= log2_up(n) + 2 && d.splits <= log2_up(n);
    party_release(&truth);
    party_release(&other);
    return ok;
}

/* Of two liars one at least is named, and neither by more than it did. */
static bool of_two_liars_one_is_named(struct choices *c)
{
    uint64_t n = OUTPUTS + choose(c, 200), lie[2] = {choose(c, n), choose(c, n)};
    struct party truth, other[2];
    struct dispute d;
    party_init(&truth, n);
    party_truth(&truth, c);
    for (int i = 0; i < 2; i++) {
        party_init(&other[i], n);
        party_lie(&other[i], &truth, lie[i], c);
    }
    const struct party *p[2] = {&other[0], &other[1]};
    begin(&d, p[0], p[1]);
    play(&d, p, &truth, c);
    bool ok = true;
    for (int i = 0; i < 2; i++) {
        bool wrong = memcmp(&p[i]->leaf[d.first], &truth.leaf[d.first], sizeof truth.leaf[0]) != 0;
        ok = ok && (d.side[i].fate == FATE_LIAR) == wrong;
    }
    ok = ok && (d.side[0].fate == FATE_LIAR || d.side[1].fate == FATE_LIAR);
    party_release(&truth);
    party_release(&other[0]);
    party_release(&other[1]);
    return ok;
}

struct table {
    struct party truth, liar;
    struct dispute d;
    struct choices c;
};

static void table_set(struct table *t, uint64_t n)
{
    *t = (struct table){.c = {.seed = 7}};
    party_init(&t->truth, n);
    party_init(&t->liar, n);
    party_truth(&t->truth, &t->c);
    party_lie(&t->liar, &t->truth, n / 2, &t->c);
    begin(&t->d, &t->liar, &t->truth);
}

static void table_clear(struct table *t)
{
    party_release(&t->truth);
    party_release(&t->liar);
}

static void answer(struct table *t, uint32_t side, const struct party *as)
{
    struct dispute_answer a;
    answer_of(&t->d, as, &a);
    assert_ok(deliver(&t->d, side, &a));
    dispute_answer_release(&a);
}

/* A bit that flipped once: the rig's own second run says so, and it is no liar. */
static void test_a_flip_is_no_lie(void **state)
{
    struct table t;
    table_set(&t, 20);
    answer(&t, 0, &t.truth);
    assert_int_equal(t.d.stage, DISPUTE_DONE);
    assert_int_equal(t.d.side[0].fate, FATE_FAULTY);
    assert_int_equal(t.d.side[1].fate, FATE_STANDS);
    assert_false(dispute_asks(&t.d, 0) || dispute_asks(&t.d, 1));
    table_clear(&t);
}

static void test_silence(void **state)
{
    struct table t;
    table_set(&t, 20);
    answer(&t, 1, &t.truth);
    dispute_expire(&t.d);
    assert_int_equal(t.d.side[0].fate, FATE_SILENT);
    assert_int_equal(t.d.side[1].fate, FATE_STANDS);
    table_clear(&t);
    table_set(&t, 20);
    dispute_expire(&t.d);
    assert_int_equal(t.d.side[0].fate, FATE_SILENT);
    assert_int_equal(t.d.side[1].fate, FATE_SILENT);
    dispute_expire(&t.d); /* once is enough */
    assert_int_equal(t.d.stage, DISPUTE_DONE);
    table_clear(&t);
}

/* One open is enough, and it is judged whatever the time. */
static void test_one_open_is_enough(void **state)
{
    struct table t;
    table_set(&t, 20);
    while (t.d.stage != DISPUTE_OPEN) {
        answer(&t, 0, &t.liar);
        answer(&t, 1, &t.truth);
    }
    answer(&t, 0, &t.liar);
    dispute_expire(&t.d);
    assert_int_equal(t.d.stage, DISPUTE_OPEN);
    dispute_unusable(&t.d, 0); /* its files are not there: the other may open */
    assert_true(dispute_asks(&t.d, 0) && dispute_asks(&t.d, 1));
    answer(&t, 1, &t.truth);
    dispute_judged(&t.d, &t.truth.leaf[10]);
    assert_int_equal(t.d.side[0].fate, FATE_LIAR);
    assert_int_equal(t.d.side[1].fate, FATE_STANDS);
    table_clear(&t);
}

/* Traces of different lengths are not bisected: the task says how long they are. */
static void test_another_number_of_leaves(void **state)
{
    struct table t;
    struct party longer;
    table_set(&t, 20);
    party_init(&longer, 24);
    party_truth(&longer, &t.c);
    begin(&t.d, &longer, &t.truth);
    answer(&t, 0, &longer);
    answer(&t, 1, &t.truth);
    assert_int_equal(t.d.stage, DISPUTE_OPEN);
    assert_int_equal(t.d.count, 0);
    assert_false(dispute_asks(&t.d, 0));
    dispute_expire(&t.d);
    assert_int_equal(t.d.stage, DISPUTE_OPEN);
    dispute_counted(&t.d, 20);
    assert_int_equal(t.d.side[0].fate, FATE_FAULTY);
    assert_int_equal(t.d.side[1].fate, FATE_STANDS);
    party_release(&longer);
    table_clear(&t);
}

static void test_liars(void **state)
{
    ASSERT_PROPERTY(400, a_liar_is_named);
}

static void test_two_liars(void **state)
{
    ASSERT_PROPERTY(200, of_two_liars_one_is_named);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_liars),
        cmocka_unit_test(test_two_liars),
        cmocka_unit_test(test_a_flip_is_no_lie),
        cmocka_unit_test(test_silence),
        cmocka_unit_test(test_one_open_is_enough),
        cmocka_unit_test(test_another_number_of_leaves),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
