/* The economy against cheats, simulated with the code that decides: sched/trust.h and sched/draw.h
 * say what is checked and by whom, work/dispute.h who lied, and all money is postings of a ledger.
 *
 * A trial: RIGS rigs deliver a result each, round after round; honest work costs COST of the PRICE.
 * Some rigs are cheats who deliver something else, for nothing, in a share of their tasks; alone
 * each lies his own lie, colluding ones lie alike, confirm each other's lies when they check, and
 * belong to owners that nobody can tell apart from strangers. Recanting ones collude likewise, and
 * blame a bit flip when they are asked again; leaving ones are alone, recant, and are gone before
 * they have delivered `stay` results, to get their bond back. Pay is held for WINDOW periods. Who
 * is proven a liar loses what is held and his bond; who does not repeat himself is faulty, loses
 * what is held and nobody confirmed that is not out himself, and bears the costs (STAND-6).
 *
 * What cheats gain: what lies were paid, less voided pay for honest work, less bonds and costs. It
 * must be below nothing in every cell. Honest rigs are never slashed, whatever bits flip.
 *
 * EMAC_ADVERSARY_SEEDS: trials a cell (1; tests/soak.sh: 100, then all cells);
 * EMAC_ADVERSARY_FLIPS: honest results; EMAC_TEST_SEED: the first seed; EMAC_TEST_ONLY: test_alone,
 * ... */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "base/assert.h"
#include "base/philox.h"
#include "../ledger/fixture.h"
#include "sched/draw.h"
#include "sched/trust.h"
#include "work/dispute.h"

#define RIGS          20
#define PERIOD        250 /* results of a rig between two settlements */
#define WINDOW        24  /* periods: the dispute window */
#define PERIODS       40
#define LEAVING_SEEDS 20 /* a trial of them is short */
#define PRICE         1000
#define COST          700
#define BOND          (20 * PRICE)
#define LEAVES        4
#define ROUND_MS      2000
#define TRUTH         0
#define LIE_ALIKE     1
#define OWN_LIE       100   /* + number of the rig */
#define FLIP          10000 /* + number of the result */

enum kind { HONEST, ALONE, COLLUDING, RECANTING, LEAVING };
static const char *const KIND[] = {"honest", "alone", "colluding", "recanting", "leaving"};

struct cell {
    enum kind kind;
    uint32_t cheats_ppm, lies_ppm, flips_ppm; /* of rigs; of a cheat's tasks; of all results */
    uint32_t periods, stay;                   /* stay: results of a cheat, 0: he never leaves */
};

struct rig {
    char did[24];
    bool cheat, out, liar;
    int64_t bond;
    struct trust trust;
    int64_t work[WINDOW + 1], lies[WINDOW + 1]; /* held of each period: pay for either */
    int64_t work_by[RIGS][WINDOW + 1], lies_by[RIGS][WINDOW + 1]; /* of it: this rig agreed */
    uint64_t delivered;
};

struct sums {
    int64_t results, lies, checks;
    int64_t paid, lies_paid;             /* results whose pay was settled */
    int64_t voided_work, slashed, costs; /* units, of cheats */
    int64_t honest_costs;                /* units that faults of honest rigs cost */
    int64_t caught, quarantined, honest_slashes, honest_out;
};

struct sim {
    const struct cell *cell;
    uint64_t seed, n, period;
    struct db *db;
    struct rig rig[RIGS];
    uint8_t secret[DRAW_SECRET];
    struct sums sum;
};

static uint64_t chance(struct sim *s, uint32_t what, uint64_t bound)
{
    return philox_below(s->seed, PHILOX_TEST, what, s->n++, bound);
}

static bool happens(struct sim *s, uint32_t what, uint32_t ppm)
{
    return ppm > 0 && chance(s, what, TRUST_PPM) < ppm;
}

/* ---- money ---- */

static void pay(struct sim *s, const char *what, const struct rig *r, uint64_t period,
                int64_t units, const char *from, const char *to)
{
    char key[96];
    struct emac_err err;
    if (units == 0)
        return;
    snprintf(key, sizeof key, "%s:%s:%llu:%llu", what, r->did, (unsigned long long)period,
             (unsigned long long)s->n++);
    struct ledger_posting p = posting(key, what);
    ledger_entry_add(&p, -units, "%s", from);
    ledger_entry_add(&p, units, "%s", to);
    OK(ledger_post(s->db, &p, NULL, &err));
}

static void names(const struct rig *r, uint64_t period, char held[64], char own[64])
{
    snprintf(held, 64, "held:%s:%llu", r->did, (unsigned long long)period);
    snprintf(own, 64, "rig:%s", r->did);
}

static void bonds_put(struct sim *s)
{
    for (int i = 0; i < RIGS; i++) {
        char stake[64];
        snprintf(stake, sizeof stake, "stake:%s", s->rig[i].did);
        s->rig[i].bond = BOND;
        pay(s, "bond", &s->rig[i], 0, BOND, "faucet", stake);
    }
}

/* What the rig earned in a period goes into its held account; what is older than the window is its
 * own for good. */
static void period_settle(struct sim *s, struct rig *r, uint64_t period)
{
    char held[64], own[64];
    size_t at = period % (WINDOW + 1);
    names(r, period, held, own);
    pay(s, "settle", r, period, r->work[at] + r->lies[at], held, own);
    s->sum.paid += (r->work[at] + r->lies[at]) / PRICE;
    s->sum.lies_paid += r->lies[at] / PRICE;
    r->work[at] = r->lies[at] = 0;
    for (int i = 0; i < RIGS; i++)
        r->work_by[i][at] = r->lies_by[i][at] = 0;
}

static void period_end(struct sim *s)
{
    OK(db_begin(s->db, NULL));
    for (int i = 0; i < RIGS; i++) {
        struct rig *r = &s->rig[i];
        char held[64], own[64];
        size_t at = s->period % (WINDOW + 1);
        names(r, s->period, held, own);
        pay(s, "pay", r, s->period, r->work[at] + r->lies[at], "faucet", held);
        if (s->period >= WINDOW)
            period_settle(s, r, s->period - WINDOW);
    }
    OK(db_commit(s->db, NULL));
    s->period++;
}

static int64_t held_units(const struct rig *r)
{
    int64_t units = 0;
    for (size_t i = 0; i <= WINDOW; i++)
        units += r->work[i] + r->lies[i];
    return units;
}

/* What is held of period k shrinks to these. The pay of the running period is not posted yet. */
static void period_void(struct sim *s, struct rig *r, uint64_t k, int64_t work, int64_t lies)
{
    char held[64], own[64];
    size_t at = k % (WINDOW + 1);
    names(r, k, held, own);
    if (k < s->period)
        pay(s, "void", r, k, r->work[at] + r->lies[at] - work - lies, held, "faucet");
    s->sum.voided_work += r->cheat ? r->work[at] - work : 0;
    r->work[at] = work;
    r->lies[at] = lies;
}

/* Of a liar all of it; else what others confirmed who are not out themselves stays. */
static void held_void(struct sim *s, struct rig *r, bool liar)
{
    for (uint64_t k = s->period > WINDOW ? s->period - WINDOW : 0; k <= s->period; k++) {
        size_t at = k % (WINDOW + 1);
        int64_t work = 0, lies = 0;
        for (int i = 0; i < RIGS && !liar; i++) {
            work += s->rig[i].out ? 0 : r->work_by[i][at];
            lies += s->rig[i].out ? 0 : r->lies_by[i][at];
        }
        period_void(s, r, k, work, lies);
    }
}

static int64_t stake_take(struct sim *s, struct rig *r, const char *what, int64_t units,
                          const char *to)
{
    char stake[64];
    int64_t taken = units < r->bond ? units : r->bond;
    snprintf(stake, sizeof stake, "stake:%s", r->did);
    pay(s, what, r, 0, taken, stake, to);
    r->bond -= taken;
    return taken;
}

static void rig_out(struct sim *s, struct rig *r, bool liar)
{
    OK(db_begin(s->db, NULL));
    held_void(s, r, liar);
    int64_t units = liar ? stake_take(s, r, "slash", BOND, "fee")
                         : stake_take(s, r, "costs", trust_cost_units(PRICE), "faucet");
    if (r->cheat)
        *(liar ? &s->sum.slashed : &s->sum.costs) += units;
    s->sum.honest_slashes += !r->cheat && liar;
    s->sum.honest_costs += r->cheat ? 0 : units;
    r->out = s->cell->kind != HONEST; /* there a card that was found faulty is changed */
    for (int i = 0; i < RIGS && r->out; i++)
        if (s->rig[i].out && &s->rig[i] != r && !s->rig[i].liar)
            held_void(s, &s->rig[i], false); /* what rested on its word */
    r->liar = liar;
    OK(db_commit(s->db, NULL));
    s->sum.caught += r->cheat;
    s->sum.quarantined++;
    s->sum.honest_out += !r->cheat;
}

/* ---- disputes: the real state machine over short traces ---- */

struct side {
    struct trace trace;
    struct trace_leaf leaf[LEAVES];
};

/* The trace of a rig that gets `value`: from leaf 1 on it differs from the truth. */
static void side_init(struct side *x, uint64_t value)
{
    trace_init(&x->trace);
    for (uint32_t i = 0; i < LEAVES; i++) {
        bool output = i + 1 == LEAVES;
        x->leaf[i] = (struct trace_leaf){.kind = output ? TRACE_OUTPUT : TRACE_OPERATOR,
                                         .index = i,
                                         .node = output ? 0 : i,
                                         .count = 1};
        x->leaf[i].value[0] =
            (struct trace_value){.dtype = output ? DTYPE_U8 : DTYPE_F32, .shape = SHAPE1(8)};
        memcpy(x->leaf[i].value[0].digest, &i, sizeof i);
        if (i > 0)
            memcpy(x->leaf[i].value[0].digest + 8, &value, sizeof value);
        OK(trace_add(&x->trace, &x->leaf[i], NULL));
    }
}

static void proof_of(const struct side *x, uint64_t leaf, struct dispute_proof *out)
{
    *out = (struct dispute_proof){.leaf = x->leaf[leaf]};
    out->path_length = trace_path(&x->trace, leaf, out->path);
    out->value = cid_of(CID_RAW, "v", 1);
}

static void answer(struct dispute *d, uint32_t number, const struct side *x)
{
    struct dispute_proof proof;
    struct dispute_answer a = {.dispute = "d", .kind = d->stage};
    if (d->stage == DISPUTE_COMMIT) {
        a.leaves = LEAVES;
        trace_hash(&x->trace, 0, LEAVES, a.root);
    } else if (d->stage == DISPUTE_SPLIT) {
        uint64_t half = trace_left(d->count);
        a.first = d->first;
        a.count = d->count;
        trace_hash(&x->trace, d->first, half, a.left);
        trace_hash(&x->trace, d->first + half, d->count - half, a.right);
    }
    if (d->stage == DISPUTE_COMMIT || (d->stage == DISPUTE_OPEN && d->first > 0)) {
        proof_of(x, d->stage == DISPUTE_COMMIT ? LEAVES - 1 : d->first - 1, &proof);
        a.proof_count = 1;
        a.proof = &proof;
    }
    OK(dispute_take(d, number, &a, NULL));
}

static struct task_output output_of(uint64_t value)
{
    struct side x;
    struct task_output out = {.name = "out"};
    side_init(&x, value);
    out.cid.codec = CID_DAG_PB;
    memcpy(out.cid.digest, x.leaf[LEAVES - 1].value[0].digest, SHA256_BYTES);
    trace_release(&x.trace);
    return out;
}

/* Signed results and what each side gets when it computes the task again. */
static void dispute_play(const uint64_t signed_value[2], const uint64_t again[2],
                         enum dispute_fate fate[2])
{
    struct dispute d;
    struct side x[2], truth;
    struct task_output a = output_of(signed_value[0]), b = output_of(signed_value[1]);
    dispute_begin(&d, 1, &a, &b);
    side_init(&x[0], again[0]);
    side_init(&x[1], again[1]);
    side_init(&truth, TRUTH);
    while (d.stage != DISPUTE_DONE) {
        bool asked = false;
        for (uint32_t i = 0; i < 2; i++) {
            if (!dispute_asks(&d, i))
                continue;
            asked = true;
            answer(&d, i, &x[i]);
        }
        if (d.stage == DISPUTE_OPEN && !(dispute_asks(&d, 0) && dispute_asks(&d, 1)))
            dispute_judged(&d, &truth.leaf[d.first]);
        EMAC_ASSERT(asked || d.stage == DISPUTE_DONE);
    }
    for (int i = 0; i < 2; i++) {
        fate[i] = d.side[i].fate;
        trace_release(&x[i].trace);
    }
    trace_release(&truth.trace);
}

/* ---- results and checks ---- */

static bool is_ring(const struct sim *s)
{
    return s->cell->kind == COLLUDING || s->cell->kind == RECANTING;
}

static uint64_t compute(struct sim *s, const struct rig *r, bool lie)
{
    if (lie)
        return is_ring(s) ? LIE_ALIKE : OWN_LIE + (uint64_t)(r - s->rig);
    return happens(s, 1, s->cell->flips_ppm) ? FLIP + s->n : TRUTH;
}

/* Who signed a value that he does not stand by blames his card. */
static uint64_t again(struct sim *s, const struct rig *r, uint64_t value)
{
    bool lie = r->cheat && value != TRUTH && value < FLIP;
    bool blames = s->cell->kind == RECANTING || s->cell->kind == LEAVING;
    return lie && !blames ? value : compute(s, r, false);
}

static void rigs_differ(struct sim *s, struct rig *a, uint64_t va, struct rig *b, uint64_t vb)
{
    struct rig *r[2] = {a, b};
    uint64_t value[2] = {va, vb};
    uint64_t once_more[2] = {again(s, a, va), again(s, b, vb)};
    enum dispute_fate fate[2];
    dispute_play(value, once_more, fate);
    for (int i = 0; i < 2; i++) {
        assert_true(value[i] != TRUTH || once_more[i] != TRUTH || fate[i] == FATE_STANDS);
        if (fate[i] == FATE_STANDS || r[i]->out)
            continue;
        trust_bad(&r[i]->trust, true, s->period * PERIOD * ROUND_MS);
        rig_out(s, r[i], fate[i] == FATE_LIAR);
    }
}

static struct cid cid_numbered(uint64_t a, uint64_t b)
{
    struct cid c = {.codec = CID_DAG_CBOR};
    memcpy(c.digest, &a, sizeof a);
    memcpy(c.digest + 8, &b, sizeof b);
    return c;
}

static struct draw_party party_of(const struct rig *r)
{
    return (struct draw_party){.did = r->did, .owner = "", .wallet = "", .subnet = ""};
}

static bool is_here(const struct sim *s, const struct rig *r)
{
    return !r->out && !(r->cheat && s->cell->stay > 0 && r->delivered >= s->cell->stay);
}

/* A rig that the lot names computes it again; NULL when there is none. */
static struct rig *checker(struct sim *s, const uint8_t seed[SHA256_BYTES],
                           struct rig *const *answered, size_t count)
{
    struct draw_candidate candidate[RIGS];
    struct draw_party party[2];
    struct rig *who[RIGS];
    enum draw_class k;
    size_t n = 0;
    for (size_t i = 0; i < count; i++)
        party[i] = party_of(answered[i]);
    for (int i = 0; i < RIGS; i++) {
        if (!is_here(s, &s->rig[i]))
            continue;
        who[n] = &s->rig[i];
        candidate[n++] = (struct draw_candidate){.party = party_of(&s->rig[i]),
                                                 .point = draw_point(s->rig[i].did)};
    }
    size_t at = draw_checker(seed, candidate, n, party, count, &k);
    return at < n ? who[at] : NULL;
}

static void earned(struct sim *s, struct rig *r, bool lie)
{
    (lie ? r->lies : r->work)[s->period % (WINDOW + 1)] += PRICE;
    r->delivered++;
    s->sum.results++;
    s->sum.lies += lie;
}

static void confirmed(struct sim *s, struct rig *r, bool lie, const struct rig *by)
{
    (lie ? r->lies_by : r->work_by)[by - s->rig][s->period % (WINDOW + 1)] += PRICE;
}

/* `c` computes what `r` gave; true when both agree. */
static bool check(struct sim *s, struct rig *r, uint64_t value, struct rig *c, uint64_t now)
{
    bool ring = c->cheat && is_ring(s) && value == LIE_ALIKE;
    bool lie = ring || (c->cheat && happens(s, 2, s->cell->lies_ppm));
    uint64_t mine = compute(s, c, lie);
    s->sum.checks++;
    earned(s, c, lie);
    if (mine != value) {
        rigs_differ(s, r, value, c, mine);
        return false;
    }
    confirmed(s, c, lie, r);
    trust_good(&r->trust, now);
    return true;
}

static void one_result(struct sim *s, struct rig *r, uint64_t round)
{
    uint8_t seed[SHA256_BYTES];
    uint64_t now = round * ROUND_MS;
    bool lie = r->cheat && happens(s, 3, s->cell->lies_ppm);
    uint64_t value = compute(s, r, lie);
    struct trust_case tc = {.job_ppm = TRUST_FLOOR_PPM,
                            .rig = &r->trust,
                            .held_units = held_units(r),
                            .bond_units = r->bond,
                            .price_units = PRICE,
                            .now_ms = now};
    struct cid task = cid_numbered(round, (uint64_t)(r - s->rig)), receipt = cid_numbered(s->n, 1);
    earned(s, r, lie);
    draw_seed(seed, s->secret, &task, &receipt);
    if (!draw_checked(seed, trust_share_ppm(&tc)))
        return;
    struct rig *answered[2] = {r, NULL};
    struct rig *c = checker(s, seed, answered, 1);
    if (c == NULL || !check(s, r, value, c, now))
        return;
    confirmed(s, r, lie, c);
    answered[1] = c;
    struct rig *third = draw_planted(seed) ? checker(s, seed, answered, 2) : NULL;
    if (third != NULL && !check(s, r, value, third, now) && !c->out && value != TRUTH && c->cheat)
        rig_out(s, c, s->cell->kind != RECANTING); /* it had signed the same */
}

static void trial(const struct cell *cell, uint64_t seed, struct sums *sum)
{
    void *state;
    struct sim *s = calloc(1, sizeof *s);
    assert_non_null(s);
    assert_int_equal(setup_in(access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp", &state), 0);
    *s = (struct sim){.cell = cell, .seed = seed, .db = ((struct fixture *)state)->db, .sum = *sum};
    memcpy(s->secret, &seed, sizeof seed);
    for (uint32_t i = 0; i < RIGS; i++) {
        snprintf(s->rig[i].did, sizeof s->rig[i].did, "did:key:rig%02u", i);
        s->rig[i].cheat = cell->kind != HONEST && i < RIGS * cell->cheats_ppm / TRUST_PPM;
    }
    OK(db_begin(s->db, NULL));
    bonds_put(s);
    OK(db_commit(s->db, NULL));
    for (uint64_t round = 0; round < (uint64_t)cell->periods * PERIOD; round++) {
        for (int i = 0; i < RIGS; i++)
            if (is_here(s, &s->rig[i]))
                one_result(s, &s->rig[i], round);
        if (round % PERIOD == PERIOD - 1)
            period_end(s);
    }
    for (uint32_t k = 0; k < WINDOW; k++)
        period_end(s); /* nobody works any more: the windows pass */
    audit_is_sound(s->db, -1);
    *sum = s->sum;
    free(s);
    teardown(&state);
}

/* ---- the matrix ---- */

static uint64_t number(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);
    return text != NULL ? strtoull(text, NULL, 10) : otherwise;
}

static void cell_run(const struct cell *cell)
{
    struct sums sum = {0};
    uint64_t first = number("EMAC_TEST_SEED", 1);
    uint64_t seeds = number("EMAC_ADVERSARY_SEEDS", cell->stay > 0 ? LEAVING_SEEDS : 1);
    for (uint64_t i = 0; i < seeds; i++)
        trial(cell, first + i, &sum);
    int64_t gain = sum.lies_paid * PRICE - sum.voided_work - sum.slashed - sum.costs;
    int64_t cheats = (int64_t)(RIGS * cell->cheats_ppm / TRUST_PPM * seeds);
    double wrong = (double)sum.lies_paid / (double)sum.paid;
    print_message(
        "%-9s %3u %2u %% cheats, %3u %% of tasks: gain %8.1f prices a cheat, %5.1f %% caught, "
        "wrong results paid %.1e of %lld (told %lld), checks %.2f %%\n",
        KIND[cell->kind], cell->stay, cell->cheats_ppm / 10000, cell->lies_ppm / 10000,
        (double)gain / PRICE / (double)cheats, 100.0 * (double)sum.caught / (double)cheats, wrong,
        (long long)sum.paid, (long long)sum.lies, 100.0 * (double)sum.checks / (double)sum.results);
    assert_int_equal(sum.honest_slashes, 0);
    assert_true(gain < 0);
    assert_true(cell->kind == LEAVING || wrong <= 1e-4); /* who is gone is not found any more */
}

/* Short: the corners of the matrix. */
static void matrix(enum kind kind)
{
    static const uint32_t CHEATS[] = {100000, 200000, 300000}, LIES[] = {10000, 100000, 1000000};
    size_t step = getenv("EMAC_ADVERSARY_SEEDS") != NULL ? 1 : 2;
    for (size_t c = 0; c < 3; c += step)
        for (size_t l = 0; l < 3; l += step)
            cell_run(&(struct cell){kind, CHEATS[c], LIES[l], 0, PERIODS, 0});
}

static void test_alone(void **state)
{
    matrix(ALONE);
}

static void test_colluding(void **state)
{
    matrix(COLLUDING);
}

static void test_recanting(void **state)
{
    matrix(RECANTING);
}

/* Lie while little is known of one, and be gone: each lie must lose by itself. */
static void test_leaving(void **state)
{
    static const uint32_t STAY[] = {1, 10, 100}, LIES[] = {100000, 1000000};
    for (size_t i = 0; i < 3; i++)
        for (size_t l = 0; l < 2; l++)
            if (STAY[i] * (uint64_t)LIES[l] >= TRUST_PPM)
                cell_run(&(struct cell){LEAVING, 300000, LIES[l], 0, 1, STAY[i]});
}

/* One result in a thousand has a flipped bit: who computes rightly loses nothing, whose card it was
 * is found faulty, and nobody is slashed. */
static void test_flips(void **state)
{
    struct sums sum = {0};
    int64_t want = (int64_t)number("EMAC_ADVERSARY_FLIPS", 100000);
    const struct cell cell = {HONEST, 0, 0, 1000, 20, 0};
    for (uint64_t seed = number("EMAC_TEST_SEED", 1); sum.results < want; seed++)
        trial(&cell, seed, &sum);
    print_message("%lld honest results, one in 1000 with a flipped bit: %lld rigs faulty, "
                  "%lld slashed, %.2f prices a fault; %.2f %% of the executions are checks\n",
                  (long long)sum.results, (long long)sum.quarantined, (long long)sum.honest_slashes,
                  (double)sum.honest_costs / PRICE / (double)sum.quarantined,
                  100.0 * (double)sum.checks / (double)sum.results);
    assert_int_equal(sum.honest_slashes, 0);
    assert_true(sum.quarantined > sum.results / 100000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_alone),     cmocka_unit_test(test_colluding),
        cmocka_unit_test(test_recanting), cmocka_unit_test(test_leaving),
        cmocka_unit_test(test_flips),
    };
    cmocka_set_test_filter(getenv("EMAC_TEST_ONLY"));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
