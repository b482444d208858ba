/* Optimisers and schedules: each step against its formula in binary64, the same bits on every
 * device, and schedules against theirs. */
#include "fixture.h"

#include <math.h>

#include "base/philox.h"

#define PARAMS        5
#define ELEMENTS_MAX  72
#define MICRO_BATCHES 4
#define STEPS         3

/* Every sort of parameter: with and without decay, hidden or not, wide, tall and of rank 4. */
static const struct toy {
    const char *name;
    struct shape shape;
    bool decay, hidden;
} toys[PARAMS] = {
    {"a.bias", {1, {7}}, false, false},        {"b.embed", {2, {9, 4}}, true, false},
    {"c.conv", {4, {4, 3, 3, 2}}, true, true}, {"d.wide", {2, {6, 10}}, true, true},
    {"e.tall", {2, {12, 5}}, true, true},
};

static void toy_at(const void *config, uint32_t i, struct model_param *out)
{
    *out = (struct model_param){
        .shape = toys[i].shape, .init_std = 0.3, .decay = toys[i].decay, .hidden = toys[i].hidden};
    snprintf(out->name, sizeof out->name, "%s", toys[i].name);
}

static size_t toy_count(uint32_t i)
{
    size_t n = 0;
    assert_true(shape_count(&toys[i].shape, &n));
    assert_true(n <= ELEMENTS_MAX);
    return n;
}

static float draw(uint32_t step, uint32_t param, uint32_t element)
{
    uint32_t w[4];
    philox_at(17, PHILOX_TEST, step, (uint64_t)param << 32 | element, w);
    return ((float)(w[0] >> 8) - 0x1p23f) * 0x1p-22f;
}

/* ---- the formulas, in binary64 ---- */

struct oracle {
    double p[PARAMS][ELEMENTS_MAX], m[PARAMS][ELEMENTS_MAX], v[PARAMS][ELEMENTS_MAX];
};

static double square(double x)
{
    return x * x;
}

/* x [rows, columns] by 5 steps of x = a x + (b x x^T + c (x x^T)^2) x on the shorter side. */
static void newton_schulz(double *x, size_t rows, size_t columns)
{
    double y[ELEMENTS_MAX], gram[144], poly[144], norm = 0;
    bool tall = rows > columns;
    size_t r = tall ? columns : rows, c = tall ? rows : columns;
    for (size_t i = 0; i < rows * columns; i++)
        norm += square(x[i]);
    norm = fmax(sqrt(norm), 1e-7);
    for (size_t i = 0; i < r; i++)
        for (size_t j = 0; j < c; j++)
            y[i * c + j] = (tall ? x[j * r + i] : x[i * c + j]) / norm;
    for (int step = 0; step < 5; step++) {
        double next[ELEMENTS_MAX];
        for (size_t i = 0; i < r; i++)
            for (size_t j = 0; j < r; j++) {
                gram[i * r + j] = 0;
                for (size_t k = 0; k < c; k++)
                    gram[i * r + j] += y[i * c + k] * y[j * c + k];
            }
        for (size_t i = 0; i < r; i++)
            for (size_t j = 0; j < r; j++) {
                double squared = 0;
                for (size_t k = 0; k < r; k++)
                    squared += gram[i * r + k] * gram[k * r + j];
                poly[i * r + j] = -4.7750 * gram[i * r + j] + 2.0315 * squared;
            }
        for (size_t i = 0; i < r; i++)
            for (size_t j = 0; j < c; j++) {
                next[i * c + j] = 3.4445 * y[i * c + j];
                for (size_t k = 0; k < r; k++)
                    next[i * c + j] += poly[i * r + k] * y[k * c + j];
            }
        memcpy(y, next, sizeof y);
    }
    for (size_t i = 0; i < r; i++)
        for (size_t j = 0; j < c; j++)
            x[tall ? j * r + i : i * c + j] = y[i * c + j];
}

static void oracle_adamw(struct oracle *o, const struct optimiser_recipe *r, uint32_t t, uint32_t i,
                         const double *g, double decay)
{
    double c1 = 1 - pow(r->beta1, t + 1), c2 = 1 - pow(r->beta2, t + 1), lr = optimiser_lr(r, t);
    for (size_t k = 0; k < toy_count(i); k++) {
        double *p = &o->p[i][k], *m = &o->m[i][k], *v = &o->v[i][k];
        *m = r->beta1 * *m + (1 - r->beta1) * g[k];
        *v = r->beta2 * *v + (1 - r->beta2) * square(g[k]);
        *p -= lr * (*m / c1 / (sqrt(*v / c2) + r->eps) + decay * *p);
    }
}

static void oracle_sgd(struct oracle *o, const struct optimiser_recipe *r, uint32_t t, uint32_t i,
                       const double *g, double decay)
{
    for (size_t k = 0; k < toy_count(i); k++) {
        double d = g[k] + decay * o->p[i][k];
        double m = o->m[i][k] = r->momentum * o->m[i][k] + d;
        o->p[i][k] -= optimiser_lr(r, t) * (r->nesterov ? d + r->momentum * m : m);
    }
}

static void oracle_lion(struct oracle *o, const struct optimiser_recipe *r, uint32_t t, uint32_t i,
                        const double *g, double decay)
{
    for (size_t k = 0; k < toy_count(i); k++) {
        double mean = r->beta1 * o->m[i][k] + (1 - r->beta1) * g[k];
        double sign = mean > 0 ? 1 : mean < 0 ? -1 : 0;
        o->m[i][k] = r->beta2 * o->m[i][k] + (1 - r->beta2) * g[k];
        o->p[i][k] -= optimiser_lr(r, t) * (sign + decay * o->p[i][k]);
    }
}

static void oracle_muon(struct oracle *o, const struct optimiser_recipe *r, uint32_t t, uint32_t i,
                        const double *g, double decay)
{
    double u[ELEMENTS_MAX], lr = optimiser_lr(r, t), mu = r->momentum;
    size_t n = toy_count(i), rows = toys[i].shape.dim[0], columns = n / rows;
    if (!toys[i].hidden) {
        oracle_adamw(o, r, t, i, g, decay);
        return;
    }
    for (size_t k = 0; k < n; k++) {
        o->m[i][k] = mu * o->m[i][k] + (1 - mu) * g[k];
        u[k] = r->nesterov ? mu * o->m[i][k] + (1 - mu) * g[k] : o->m[i][k];
    }
    newton_schulz(u, rows, columns);
    double size = 0.2 * sqrt((double)(rows > columns ? rows : columns));
    for (size_t k = 0; k < n; k++)
        o->p[i][k] -= lr * (size * u[k] + decay * o->p[i][k]);
}

static void oracle_step(struct oracle *o, const struct optimiser_recipe *r, uint32_t t,
                        const struct pool *p)
{
    static void (*const of[OPTIMISER_KINDS])(struct oracle *, const struct optimiser_recipe *,
                                             uint32_t, uint32_t, const double *, double) = {
        oracle_adamw, oracle_sgd, oracle_lion, oracle_muon};
    double norm = 0, g[PARAMS][ELEMENTS_MAX];
    for (uint32_t i = 0; i < PARAMS; i++)
        for (uint32_t k = 0; k < toy_count(i); k++) {
            char name[64];
            snprintf(name, sizeof name, "sum/grad.%s", toys[i].name);
            const float *sum = pool_get((struct pool *)p, name, toy_count(i) * sizeof *sum);
            g[i][k] = sum[k] / (double)MICRO_BATCHES;
            norm += square(g[i][k]);
        }
    double scale = r->clip_norm > 0 ? fmin(1, r->clip_norm / (sqrt(norm) + 1e-6)) : 1;
    for (uint32_t i = 0; i < PARAMS; i++) {
        for (uint32_t k = 0; k < toy_count(i); k++)
            g[i][k] *= scale;
        of[r->kind](o, r, t, i, g[i], toys[i].decay ? r->weight_decay : 0);
    }
}

/* ---- the graphs ---- */

static void gradients_draw(struct pool *p, uint32_t step)
{
    for (uint32_t i = 0; i < PARAMS; i++) {
        char name[64];
        snprintf(name, sizeof name, "sum/grad.%s", toys[i].name);
        float *g = pool_get(p, name, toy_count(i) * sizeof *g);
        for (uint32_t k = 0; k < toy_count(i); k++)
            g[k] = k == 0 ? 0 : draw(step, i, k); /* a zero, whose sign is 0 */
    }
    *(float *)pool_get(p, "sum/loss", sizeof(float)) = 6;
}

static void compare(const char *what, const struct optimiser_recipe *r, struct pool *p,
                    const char *prefix, uint32_t i, const double *want)
{
    char name[64];
    snprintf(name, sizeof name, "%s%s", prefix, toys[i].name);
    const float *got = pool_get(p, name, toy_count(i) * sizeof *got);
    for (size_t k = 0; k < toy_count(i); k++) {
        if (!(fabs(got[k] - want[k]) <= 3e-6 * (1 + fabs(want[k]))))
            fail_msg("%s, nesterov %d: %s[%zu] is %.9g, wanted %.9g", what, r->nesterov, name, k,
                     got[k], want[k]);
    }
}

static bool keeps(const struct optimiser_recipe *r, uint32_t i, const char *state)
{
    struct model_param p;
    toy_at(NULL, i, &p);
    for (const char *const *s = optimiser_state(r, &p); *s != NULL; s++) {
        if (strcmp(*s, state) == 0)
            return true;
    }
    return false;
}

/* The state against the oracle's, parameter by parameter. */
static void check_state(const char *what, const struct optimiser_recipe *r, struct pool *p,
                        const struct oracle *o, enum dtype storage)
{
    for (uint32_t i = 0; i < PARAMS; i++) {
        compare(what, r, p, storage == DTYPE_BF16 ? "opt/w." : "params/", i, o->p[i]);
        assert_true(keeps(r, i, "m"));
        compare(what, r, p, "opt/m.", i, o->m[i]);
        if (keeps(r, i, "v"))
            compare(what, r, p, "opt/v.", i, o->v[i]);
    }
    assert_true(*(float *)pool_get(p, "metrics/loss", sizeof(float)) == 6.0f / MICRO_BATCHES);
}

static void oracle_start(struct oracle *o, struct pool *p, enum dtype storage)
{
    memset(o, 0, sizeof *o);
    for (uint32_t i = 0; i < PARAMS; i++) {
        char name[64];
        snprintf(name, sizeof name, "%s%s", storage == DTYPE_BF16 ? "opt/w." : "params/",
                 toys[i].name);
        const float *w = pool_get(p, name, toy_count(i) * sizeof *w);
        for (size_t k = 0; k < toy_count(i); k++)
            o->p[i][k] = w[k];
    }
}

/* STEPS steps on `dev`, each compared with the oracle's; what is left stays in the pool. */
static void train(const char *what, const struct optimiser_recipe *r, enum dtype storage,
                  struct device *dev, struct pool *p)
{
    const struct model_params params = {NULL, PARAMS, storage, toy_at};
    struct graph *init, *step;
    struct oracle o;
    p->count = 0;
    ASSERT_OK(model_graph_init(&params, 5, r, &init, err));
    ASSERT_OK(optimiser_graph(&params, r, &step, err));
    pool_run(p, init, dev);
    oracle_start(&o, p, storage);
    for (uint32_t t = 0; t < STEPS; t++) {
        gradients_draw(p, t);
        pool_args(p, r, t, MICRO_BATCHES);
        oracle_step(&o, r, t, p);
        pool_run(p, step, dev);
        check_state(what, r, p, &o, storage);
    }
    graph_free(init);
    graph_free(step);
}

static void check_same(const char *what, const char *device, const struct pool *a,
                       const struct pool *b)
{
    assert_int_equal(a->count, b->count);
    for (uint32_t i = 0; i < a->count; i++) {
        assert_string_equal(a->item[i].name, b->item[i].name);
        if (memcmp(a->item[i].data, b->item[i].data, a->item[i].bytes) != 0)
            fail_msg("%s: %s has other bits on %s", what, a->item[i].name, device);
    }
}

static const struct {
    const char *what;
    struct optimiser_recipe r;
} cases[] = {
    {"adamw", {.kind = OPTIMISER_ADAMW, .beta1 = 0.9, .beta2 = 0.95, .eps = 1e-8}},
    {"sgd", {.kind = OPTIMISER_SGD, .momentum = 0.9}},
    {"sgd nesterov", {.kind = OPTIMISER_SGD, .momentum = 0.8, .nesterov = true}},
    {"sgd without momentum", {.kind = OPTIMISER_SGD}},
    {"lion", {.kind = OPTIMISER_LION, .beta1 = 0.9, .beta2 = 0.99}},
    {"muon", {.kind = OPTIMISER_MUON, .beta1 = 0.9, .beta2 = 0.95, .eps = 1e-8, .momentum = 0.95}},
    {"muon nesterov",
     {.kind = OPTIMISER_MUON,
      .beta1 = 0.9,
      .beta2 = 0.95,
      .eps = 1e-8,
      .momentum = 0.9,
      .nesterov = true}},
};

#define DEVICES 4
static struct device *devices[DEVICES]; /* the reference; 1 and 2 threads; OpenCL, or NULL */
static const char *const device_names[DEVICES] = {"ref", "1 thread", "2 threads", "opencl"};

static void check_case(size_t i, enum dtype storage, double clip, double decay)
{
    static struct pool want, got;
    struct optimiser_recipe r = cases[i].r;
    r.lr = 0.02;
    r.min_lr = 0.002;
    r.steps = 10;
    r.warmup_steps = 2;
    r.clip_norm = clip;
    r.weight_decay = decay;
    train(cases[i].what, &r, storage, devices[0], &want);
    for (size_t d = 1; d < DEVICES; d++) {
        if (devices[d] == NULL)
            continue;
        train(cases[i].what, &r, storage, devices[d], &got);
        check_same(cases[i].what, device_names[d], &want, &got);
        pool_free(&got);
    }
    pool_free(&want);
}

static void test_steps_follow_their_formulas(void **state)
{
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        check_case(i, DTYPE_F32, 1, 0.1);
        check_case(i, DTYPE_F32, 0, 0);
        check_case(i, DTYPE_BF16, 1, 0.1);
    }
}

/* The gradients that move most: alike at every step, or growing so that the mean of squares lags.
 */
static double gradient_bold(uint32_t t, uint32_t i, uint32_t k, double growth)
{
    return (draw(0, i, k) >= 0 ? 1 : -1) * pow(growth, (double)t);
}

/* No step of the formulas goes further than optimiser_reach, and some come near. */
static void check_reach(size_t at, double growth, double *nearest)
{
    static void (*const of[OPTIMISER_KINDS])(struct oracle *, const struct optimiser_recipe *,
                                             uint32_t, uint32_t, const double *, double) = {
        oracle_adamw, oracle_sgd, oracle_lion, oracle_muon};
    struct optimiser_recipe r = cases[at].r;
    struct oracle o = {0}, before;
    uint64_t count = 0;
    r.schedule = SCHEDULE_CONSTANT;
    r.lr = 0.02, r.steps = 100, r.weight_decay = 0, r.clip_norm = 1;
    for (uint32_t i = 0; i < PARAMS; i++)
        count += toy_count(i);
    for (uint32_t t = 0; t < 60; t++) {
        double moved = 0, g[ELEMENTS_MAX];
        before = o;
        for (uint32_t i = 0; i < PARAMS; i++) {
            for (uint32_t k = 0; k < toy_count(i); k++)
                g[k] = gradient_bold(t, i, k, growth) /
                       (r.kind == OPTIMISER_SGD ? sqrt((double)count) * pow(growth, t) : 1);
            of[r.kind](&o, &r, t, i, g, 0);
            for (uint32_t k = 0; k < toy_count(i); k++)
                moved += square(o.p[i][k] - before.p[i][k]);
        }
        double share = sqrt(moved) / optimiser_reach(&r, count);
        if (share > 1)
            fail_msg("%s, growth %g: step %u goes %g times as far as it can", cases[at].what,
                     growth, t, share);
        *nearest = fmax(*nearest, share);
    }
}

static void test_how_far_a_step_goes(void **state)
{
    static const double GROWTH[] = {1, 0.9, 1.05, 1.5, 10};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        double nearest = 0;
        for (size_t k = 0; k < sizeof GROWTH / sizeof *GROWTH; k++)
            check_reach(i, GROWTH[k], &nearest);
        if (nearest < 0.2)
            fail_msg("%s: the bound is %g times too wide", cases[i].what, 1 / nearest);
    }
    struct optimiser_recipe free = {.kind = OPTIMISER_SGD, .lr = 0.1, .momentum = 0.9};
    assert_true(isinf(optimiser_reach(&free, 10)));
    free =
        (struct optimiser_recipe){.kind = OPTIMISER_ADAMW, .lr = 0.1, .beta1 = 0.99, .beta2 = 0.9};
    assert_true(isinf(optimiser_reach(&free, 10)));
}

/* A matrix without any gradient stays, and a tiny gradient is no reason for a large step. */
static void test_muon_without_gradient(void **state)
{
    static struct pool p;
    const struct optimiser_recipe r = {.kind = OPTIMISER_MUON,
                                       .schedule = SCHEDULE_CONSTANT,
                                       .lr = 1,
                                       .momentum = 0.5,
                                       .beta2 = 0.5,
                                       .eps = 1,
                                       .steps = 2};
    const struct model_params params = {NULL, PARAMS, DTYPE_F32, toy_at};
    struct graph *init, *step;
    float before[60];
    ASSERT_OK(model_graph_init(&params, 5, &r, &init, err));
    ASSERT_OK(optimiser_graph(&params, &r, &step, err));
    p.count = 0;
    pool_run(&p, init, devices[0]);
    pool_args(&p, &r, 0, 1);
    float *g = pool_get(&p, "sum/grad.d.wide", sizeof before);
    for (int round = 0; round < 2; round++) {
        memcpy(before, pool_get(&p, "params/d.wide", sizeof before), sizeof before);
        pool_run(&p, step, devices[0]);
        const float *after = pool_get(&p, "params/d.wide", sizeof before);
        if (round == 0)
            assert_memory_equal(after, before, sizeof before);
        for (int k = 0; k < 60; k++)
            assert_true(fabsf(after[k] - before[k]) < 1e-2f);
        g[3] = 1e-12f;
    }
    graph_free(init);
    graph_free(step);
    pool_free(&p);
}

/* ---- schedules ---- */

static void test_schedules(void **state)
{
    const struct optimiser_recipe base = {
        .lr = 0.5, .min_lr = 0.125, .warmup_steps = 4, .steps = 24, .decay_steps = 16};
    static const struct {
        enum schedule_kind schedule;
        enum decay_shape shape;
        uint32_t t;
        double want;
    } CASES[] = {
        {SCHEDULE_LINEAR, 0, 0, 0.125},
        {SCHEDULE_LINEAR, 0, 3, 0.5},
        {SCHEDULE_LINEAR, 0, 4, 0.5},
        {SCHEDULE_LINEAR, 0, 14, 0.3125},
        {SCHEDULE_LINEAR, 0, 23, 0.14375},
        {SCHEDULE_LINEAR, 0, 24, 0.125},
        {SCHEDULE_LINEAR, 0, UINT32_MAX, 0.125},
        {SCHEDULE_CONSTANT, 0, 2, 0.375},
        {SCHEDULE_CONSTANT, 0, 4, 0.5},
        {SCHEDULE_CONSTANT, 0, 23, 0.5},
        {SCHEDULE_CONSTANT, 0, 24, 0.5},
        {SCHEDULE_WSD, DECAY_LINEAR, 1, 0.25},
        {SCHEDULE_WSD, DECAY_LINEAR, 7, 0.5},
        {SCHEDULE_WSD, DECAY_LINEAR, 8, 0.5},
        {SCHEDULE_WSD, DECAY_LINEAR, 9, 0.4765625},
        {SCHEDULE_WSD, DECAY_LINEAR, 16, 0.3125},
        {SCHEDULE_WSD, DECAY_LINEAR, 23, 0.1484375},
        {SCHEDULE_WSD, DECAY_LINEAR, 24, 0.125},
        {SCHEDULE_WSD, DECAY_ROOT, 8, 0.5},
        {SCHEDULE_WSD, DECAY_ROOT, 9, 0.40625},
        {SCHEDULE_WSD, DECAY_ROOT, 12, 0.3125},
        {SCHEDULE_WSD, DECAY_ROOT, 17, 0.21875},
        {SCHEDULE_WSD, DECAY_ROOT, 10, 0.5 - 0.375 * 0.35355339059327376},
        {SCHEDULE_COSINE, 0, 14, 0.3125},
        {SCHEDULE_COSINE, 0, 24, 0.125},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        struct optimiser_recipe r = base;
        r.schedule = CASES[i].schedule;
        r.decay_shape = CASES[i].shape;
        double got = optimiser_lr(&r, CASES[i].t);
        if (!(fabs(got - CASES[i].want) < 1e-15))
            fail_msg("case %zu: %.17g, wanted %.17g", i, got, CASES[i].want);
    }
    struct optimiser_recipe r = base;
    r.schedule = SCHEDULE_WSD;
    r.decay_steps = 0;
    assert_true(optimiser_lr(&r, 23) == 0.5 && optimiser_lr(&r, 24) == 0.125);
}

/* The bits that rule 10 gives: another compiler or processor must find the same. */
static void test_schedule_bits(void **state)
{
    struct optimiser_recipe r = {.lr = 0.003, .min_lr = 0.0003, .steps = 700, .warmup_steps = 30};
    static const struct {
        enum schedule_kind schedule;
        uint64_t bits;
    } WANT[] = {{SCHEDULE_COSINE, 0x3f43aac0c67dc844},
                {SCHEDULE_WSD, 0x3f515ad3f2f0b12a},
                {SCHEDULE_LINEAR, 0x3f4cfa48b04fb81a},
                {SCHEDULE_CONSTANT, 0x3f689374bc6a7efa}};
    r.decay_steps = 300;
    for (size_t i = 0; i < sizeof WANT / sizeof *WANT; i++) {
        r.schedule = WANT[i].schedule;
        double lr = optimiser_lr(&r, 555);
        uint64_t bits;
        memcpy(&bits, &lr, sizeof bits);
        if (bits != WANT[i].bits)
            fail_msg("schedule %zu at 555: %016llx", i, (unsigned long long)bits);
    }
}

static int devices_open(void **state)
{
    struct emac_err why;
    ASSERT_OK(device_cpu_open(ISA_REF, 1, &devices[0], err));
    ASSERT_OK(device_cpu_open(ISA_BEST, 1, &devices[1], err));
    ASSERT_OK(device_cpu_open(ISA_BEST, 2, &devices[2], err));
    if (device_opencl_open("0", &devices[3], &why) != EMAC_OK)
        printf("# opencl: not tested, %s\n", why.text);
    return 0;
}

static int devices_shut(void **state)
{
    for (size_t d = 0; d < DEVICES; d++)
        device_close(devices[d]);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_steps_follow_their_formulas),
        cmocka_unit_test(test_how_far_a_step_goes),
        cmocka_unit_test(test_muon_without_gradient),
        cmocka_unit_test(test_schedules),
        cmocka_unit_test(test_schedule_bits),
    };
    return cmocka_run_group_tests(tests, devices_open, devices_shut);
}
