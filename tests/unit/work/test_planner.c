/* Plans: what is derived from a job, and that no fleet changes what comes out. */
#include "fixture.h"

#include <stdio.h>

#include "base/hex.h"
#include "codec/safetensors.h"
#include "codec/unixfs.h"
#include "model/tokenizer.h"
#include "work/bundle.h"

#define WANTS_MAX 64

/* ---- what is derived ---- */

static const struct job_block *block_of(const struct job_plan *p, const struct cid *cid)
{
    for (size_t i = 0; i < p->block_count; i++) {
        if (cid_equal(&p->block[i].cid, cid))
            return &p->block[i];
    }
    fail_msg("a block of the plan is missing");
    return NULL;
}

/* Every block hashes to its CID; programs and graphs decode; returns the graph. */
static struct graph *program_open(const struct job_plan *p, const struct cid *cid,
                                  struct program *prog)
{
    const struct job_block *b = block_of(p, cid);
    struct graph *g;
    assert_ok(program_decode(prog, b->data, b->len, err));
    b = block_of(p, &prog->graph);
    assert_true(b->len <= UNIXFS_BLOCK_MAX);
    assert_ok(graph_decode(&g, b->data, b->len, err));
    return g;
}

static void test_a_plan_holds_all_blocks(void **state)
{
    struct job j = small_job(4, 6);
    struct job_plan *p, *q;
    struct program prog;
    assert_ok(job_plan_new(&j, NULL, &p, err));
    for (size_t i = 0; i < p->block_count; i++) {
        struct cid c = cid_of(p->block[i].cid.codec, p->block[i].data, p->block[i].len);
        assert_true(cid_equal(&c, &p->block[i].cid));
    }
    for (enum task_kind kind = 0; kind < TASK_KINDS; kind++) {
        const struct plan_program *row = plan_program(p, kind);
        if (row == NULL)
            continue; /* of other planners */
        struct graph *g = program_open(p, &row->cid, &prog);
        assert_int_equal(prog.has_sampler, kind == TASK_GRAD || kind == TASK_EVAL);
        assert_int_equal(graph_flops(g), row->flops);
        assert_ptr_equal(plan_program_find(p, &row->cid), row);
        graph_free(g);
    }
    struct graph *g = program_open(p, &plan_program(p, TASK_GRAD)->cid, &prog);
    assert_int_equal(prog.sampler.kind, SAMPLER_RANDOM);
    assert_int_equal(prog.sampler.end, job_train_end(&j));
    struct bundle sum;
    assert_ok(bundle_layout(g, true, "sum", &sum, err));
    assert_int_equal(sum.size, plan_program(p, TASK_GRAD)->output[0].bytes);
    bundle_release(&sum);
    graph_free(g);
    g = program_open(p, &plan_program(p, TASK_EVAL)->cid, &prog);
    assert_int_equal(prog.sampler.kind, SAMPLER_ORDERED);
    assert_int_equal(prog.sampler.begin, job_train_end(&j));
    graph_free(g);
    assert_true(plan_program(p, TASK_GRAD)->flops > plan_program(p, TASK_EVAL)->flops);
    assert_true(p->opt_bytes > 2 * p->params_bytes - 65536);
    /* the same job, the same plan; another seed, another one */
    assert_ok(job_plan_new(&j, NULL, &q, err));
    assert_true(cid_equal(&plan_program(p, TASK_INIT)->cid, &plan_program(q, TASK_INIT)->cid));
    job_plan_free(q);
    j.seed++;
    assert_ok(job_plan_new(&j, NULL, &q, err));
    assert_false(cid_equal(&plan_program(p, TASK_INIT)->cid, &plan_program(q, TASK_INIT)->cid));
    assert_true(cid_equal(&plan_program(p, TASK_STEP)->cid, &plan_program(q, TASK_STEP)->cid));
    job_plan_free(q);
    job_plan_free(p);
}

static void test_tables_are_a_bundle(void **state)
{
    struct job j = small_job(4, 6);
    struct job_plan *p;
    assert_ok(job_plan_new(&j, NULL, &p, err));
    const struct job_block *b = block_of(p, &p->tables);
    struct st_index idx;
    assert_ok(st_index_parse(&idx, b->data, b->len, b->len, err));
    const struct st_tensor *cos = st_index_find(&idx, "cos"), *sin = st_index_find(&idx, "sin");
    assert_true(idx.count == 2 && cos != NULL && sin != NULL && cos->dim[0] == 16 &&
                cos->dim[1] == 4);
    float first;
    memcpy(&first, b->data + idx.data_offset + cos->begin, sizeof first);
    assert_true(first == 1.0f);
    memcpy(&first, b->data + idx.data_offset + sin->begin, sizeof first);
    assert_true(first == 0.0f);
    st_index_release(&idx);
    job_plan_free(p);
}

static void test_long_tables_are_a_tree(void **state)
{
    struct job j = small_job(4, 1);
    j.seq_len = j.model.max_positions = 32768;
    j.model.hidden_size = 32;
    j.model.head_dim = 16;
    j.micro_batch = 1;
    j.data_size = 1 << 20;
    struct job_plan *p;
    assert_ok(job_plan_new(&j, NULL, &p, err));
    assert_int_equal(p->tables.codec, CID_DAG_PB);
    block_of(p, &p->tables);
    job_plan_free(p);
}

static void test_no_heldout_no_evaluation(void **state)
{
    struct job j = small_job(4, 2);
    struct job_plan *p;
    j.heldout = 0;
    assert_ok(job_plan_new(&j, NULL, &p, err));
    assert_null(plan_program(p, TASK_EVAL));
    assert_null(plan_program(p, TASK_SCORE));
    struct plan_state st = {.value_count = 1, .step = 4};
    assert_int_equal(plan_phase_of(p, &st), PLAN_DONE);
    job_plan_free(p);
}

static struct job deep_job(uint32_t layers)
{
    struct job j = small_job(4, 1);
    j.model.layers = layers;
    return j;
}

static void test_depth_that_fits_a_block(void **state)
{
    struct job j = deep_job(32);
    struct job_plan *p;
    size_t largest = 0;
    assert_ok(job_plan_new(&j, NULL, &p, err));
    for (size_t i = 0; i < p->block_count; i++)
        largest = p->block[i].len > largest ? p->block[i].len : largest;
    print_message("# largest block of a 32-layer plan: %zu bytes\n", largest);
    assert_true(largest < UNIXFS_BLOCK_MAX / 2);
    job_plan_free(p);
    j = deep_job(1024);
    assert_fails(job_plan_new(&j, NULL, &p, err), EMAC_TOO_LARGE, "take fewer layers");
    assert_null(p);
}

static void test_bad_jobs_have_no_plan(void **state)
{
    struct job j = small_job(4, 1);
    struct job_plan *p;
    j.data_size = 10;
    j.heldout = 0;
    assert_fails(job_plan_new(&j, NULL, &p, err), EMAC_INVALID, "training");
    j = small_job(4, 1);
    j.optimiser.lr = 0.0 / 0.0;
    assert_fails(job_plan_new(&j, NULL, &p, err), EMAC_INVALID, "recipe.lr");
}

/* ---- the model directory ---- */

static enum emac_status drop_block(void *ctx, const struct cid *cid, const void *data, size_t n,
                                   struct emac_err *err)
{
    return EMAC_OK;
}

static void check_model_link(uint32_t intermediate)
{
    struct job j = small_job(4, 1);
    j.model.intermediate_size = intermediate;
    struct job_plan *p;
    assert_ok(job_plan_new(&j, NULL, &p, err));
    /* Any file of the params bundle's size has the same tree size. */
    struct unixfs_builder *b;
    uint8_t *zero = calloc(1, p->params_bytes);
    struct cid params, model, again;
    uint64_t size, tree;
    assert_ok(unixfs_builder_new(&b, drop_block, NULL, err));
    assert_ok(unixfs_builder_write(b, zero, p->params_bytes, err));
    assert_ok(unixfs_builder_end(b, &params, &size, &tree, err));
    free(zero);
    struct job_block *block;
    size_t count;
    assert_ok(plan_model(p, &params, &model, &block, &count, err));
    assert_int_equal(count, 6); /* five texts and the directory */
    const struct job_block *dir = &block[count - 1];
    assert_true(cid_equal(&dir->cid, &model));
    struct unixfs_node node;
    assert_ok(unixfs_node_parse(&node, model.codec, dir->data, dir->len, err));
    assert_int_equal(node.kind, UNIXFS_DIRECTORY);
    static const char *const NAMES[] = {"config.json",       "generation_config.json",
                                        "model.safetensors", "special_tokens_map.json",
                                        "tokenizer.json",    "tokenizer_config.json"};
    assert_int_equal(node.count, 6);
    for (size_t i = 0; i < 6; i++)
        assert_string_equal(node.link[i].name, NAMES[i]);
    assert_true(cid_equal(&node.link[2].cid, &params));
    assert_int_equal(node.link[2].tsize, tree);
    unixfs_node_release(&node);
    job_blocks_free(block, count);
    params.digest[0] ^= 1;
    assert_ok(plan_model(p, &params, &again, &block, &count, err));
    assert_false(cid_equal(&model, &again));
    job_blocks_free(block, count);
    job_plan_free(p);
}

static void test_model_directory(void **state)
{
    check_model_link(24);
    check_model_link(40000); /* several chunks */
}

/* ---- prices and checks ---- */

static void test_prices(void **state)
{
    struct job j = small_job(4, 6);
    struct job_plan *p;
    int64_t units;
    uint64_t flops;
    assert_ok(plan_price(&j, 0, &units, err));
    assert_int_equal(units, 1);
    assert_ok(plan_price(&j, 10000000, &units, err));
    assert_int_equal(units, 1);
    assert_ok(plan_price(&j, 10000001, &units, err));
    assert_int_equal(units, 2);
    assert_ok(plan_price(&j, 1000000000000, &units, err));
    assert_int_equal(units, 100000);
    j.price_units_per_tflop = INT64_MAX;
    assert_fails(plan_price(&j, UINT64_MAX, &units, err), EMAC_TOO_LARGE, "price");
    j = small_job(4, 6);
    assert_ok(job_plan_new(&j, NULL, &p, err));
    assert_ok(plan_total(p, &flops, &units, err));
    assert_int_equal(
        flops, plan_program(p, TASK_INIT)->flops +
                   4 * (6 * plan_program(p, TASK_GRAD)->flops + plan_program(p, TASK_STEP)->flops) +
                   6 * plan_program(p, TASK_EVAL)->flops + plan_program(p, TASK_SCORE)->flops);
    int64_t grad;
    assert_ok(plan_price(&j, plan_program(p, TASK_GRAD)->flops, &grad, err));
    assert_true(units >= 24 * grad);
    int64_t budget;
    assert_ok(plan_budget_default(p, &budget, err));
    assert_true(budget >= 3 * units && budget < 3 * units + 10000000 && budget % 10000000 == 0);
    p->job.price_units_per_tflop = INT64_MAX;
    p->job.optimiser.steps = JOB_STEPS_MAX;
    assert_fails(plan_total(p, &flops, &units, err), EMAC_TOO_LARGE, "too large to be priced");
    job_plan_free(p);
}

static void test_checks_are_a_fair_secret_coin(void **state)
{
    struct job j = small_job(4, 1);
    uint8_t secret[32] = {1}, other[32] = {2};
    uint32_t hits = 0, both = 0;
    j.check = 0.1;
    for (uint32_t i = 0; i < 20000; i++) {
        struct cid c = cid_of(CID_DAG_CBOR, &i, sizeof i);
        bool a = plan_is_checked(&j, secret, &c);
        assert_int_equal(a, plan_is_checked(&j, secret, &c));
        hits += a;
        both += a && plan_is_checked(&j, other, &c);
    }
    assert_true(hits > 1800 && hits < 2200);
    assert_true(both > 120 && both < 280); /* another secret, other tasks */
    struct cid c = cid_for("x");
    j.check = 0;
    assert_false(plan_is_checked(&j, secret, &c));
    j.check = 1;
    assert_true(plan_is_checked(&j, secret, &c));
}

static void test_checkpoints(void **state)
{
    struct job j = small_job(7, 1);
    j.checkpoint_every = 3;
    const bool want[] = {false, false, false, true, false, false, true, true};
    struct job_plan *p;
    struct plan_state st = {.value_count = 1, .best = PLAN_NO_SCORE};
    assert_ok(job_plan_new(&j, NULL, &p, err));
    for (st.step = 0; st.step < 8; st.step++)
        assert_int_equal(plan_is_checkpoint(p, &st), want[st.step]);
    job_plan_free(p);
}

static void test_metrics(void **state)
{
    struct st_index idx = {0};
    struct emac_buf buf;
    const uint64_t one = 1;
    const float loss[] = {1.5f, 2.5f};
    double v;
    emac_buf_init(&buf, 8192);
    assert_ok(st_index_add(&idx, "loss", ST_F32, 1, &one, err));
    assert_ok(st_index_add(&idx, "grad_norm", ST_F32, 1, &one, err));
    assert_ok(st_bundle_layout(&idx, &buf, err));
    assert_ok(emac_buf_append(&buf, loss, sizeof loss, err));
    assert_ok(metrics_read(buf.data, buf.len, "loss", &v, err));
    assert_true(v == 2.5);
    assert_ok(metrics_read(buf.data, buf.len, "grad_norm", &v, err));
    assert_true(v == 1.5);
    assert_fails(metrics_read(buf.data, buf.len, "los", &v, err), EMAC_INVALID,
                 "no f32 number 'los'");
    assert_int_not_equal(metrics_read(buf.data, buf.len - 1, "loss", &v, NULL), EMAC_OK);
    assert_fails(metrics_read(buf.data, 5000, "loss", &v, err), EMAC_TOO_LARGE, "4096");
    st_index_release(&idx);
    emac_buf_release(&buf);
}

/* ---- a fleet ---- */

/* A made-up executor: a value's CID holds a float and a hash of what it was made from, so that the
 * tree, the chain and the arguments all show in the end. */
struct fake {
    const struct job_plan *p;
    struct draw d;
    struct cid params, opt; /* what the next tasks must take */
    struct plan_state st;
    float value[4096]; /* of the round's results */
    struct plan_open open[4096];
    uint32_t open_count;
    struct cid metrics;
    uint32_t grads, steps, scores; /* done */
    uint32_t end;                  /* this and what follows: when all is done */
    struct cid model;
    struct plan_score score, best;
};

static float leaf_value(const struct task *t, uint32_t index)
{
    uint32_t w[4], seed;
    memcpy(&seed, task_input_find(t, "params")->digest, sizeof seed);
    philox_at(seed, PHILOX_TEST, t->step, index, w);
    return (float)w[0] / 1e6f;
}

static float range_value(const struct task *t, uint32_t first, uint32_t count)
{
    if (count == 1)
        return leaf_value(t, first);
    return range_value(t, first, count / 2) + range_value(t, first + count / 2, count / 2);
}

static struct cid derived(const struct cid *from, const void *data, size_t n)
{
    uint8_t bytes[256];
    memcpy(bytes, from->digest, 32);
    memcpy(bytes + 32, data, n);
    return cid_of(CID_RAW, bytes, 32 + n);
}

static void sum_add(void *ctx, uint32_t into, uint32_t from)
{
    ((float *)ctx)[into] += ((float *)ctx)[from];
}

/* The sum over the parts of a step or score task, which must be known values that cover exactly. */
static float whole_sum(struct fake *f, const struct task *t)
{
    struct tree_range range[4096];
    float v[4096];
    for (uint32_t i = 0; i < t->part_count; i++) {
        range[i] = (struct tree_range){t->part[i].first, t->part[i].count};
        bool found = false;
        for (uint32_t k = 0; k < f->st.result_count && !found; k++) {
            found = cid_equal(&f->st.result[k].output[0].cid, &t->part[i].cid);
            v[i] = f->value[k];
        }
        assert_true(found);
    }
    assert_true(tree_is_cover(range, t->part_count, t->total));
    tree_reduce(range, t->part_count, t->total, sum_add, v);
    return v[0];
}

/* What a rig's receipt of the want would tell, and the turn that it may lead to. */
static void result_take(struct fake *f, const struct plan_want *w, const char *name, struct cid cid,
                        const struct cid *opt)
{
    struct plan_result r = {
        .kind = w->kind, .range = w->range, .loss = -1, .accuracy = -1, .output_count = 1};
    if (w->kind == TASK_SCORE)
        r.loss = cid.digest[0];                          /* now better, now worse */
    assert_true(plan_task_fits(f->p, &f->st, &w->task)); /* PLAN-1 */
    strcpy(r.slot, w->slot);
    strcpy(r.output[0].name, name);
    r.output[0].cid = cid;
    if (opt != NULL) {
        strcpy(r.output[1].name, "opt");
        r.output[r.output_count++].cid = *opt;
    }
    assert_ok(plan_take(&f->st, &r, err));
    plan_turn(f->p, &f->st);
}

static void fake_map(struct fake *f, const struct plan_want *w)
{
    const struct task *t = &w->task;
    bool eval = w->kind == TASK_EVAL;
    assert_true(cid_equal(&t->program, eval ? &plan_program(f->p, TASK_EVAL)->cid
                                            : &plan_program(f->p, TASK_GRAD)->cid));
    struct cid params = *plan_value(&f->st, "params");
    assert_true(cid_equal(task_input_find(t, "params"), &params));
    assert_true(cid_equal(task_input_find(t, "data"), &f->p->job.data));
    assert_true(cid_equal(task_input_find(t, "tables"), &f->p->tables));
    bool beside = plan_phase_of(f->p, &f->st) == PLAN_TRAIN;
    assert_int_equal(t->step, beside ? f->st.step : 0);
    assert_int_equal(w->flops, t->count * (eval ? plan_program(f->p, TASK_EVAL)->flops
                                                : plan_program(f->p, TASK_GRAD)->flops));
    float v = range_value(t, t->first, t->count);
    assert_true(f->st.result_count < 4096);
    f->value[f->st.result_count] = v;
    const uint32_t what[] = {w->range.first, w->range.count, w->kind};
    result_take(f, w, "sum", derived(&params, what, sizeof what), NULL);
    f->grads++;
}

/* The sum is taken: no range of it is out any more. */
static void open_clear(struct fake *f, enum task_kind kind)
{
    for (uint32_t i = 0; i < f->open_count; i++) {
        if (f->open[i].kind == kind)
            f->open[i--] = f->open[--f->open_count];
    }
}

static void fake_sum(struct fake *f, const struct plan_want *w)
{
    const struct task *t = &w->task;
    float sum = whole_sum(f, t);
    struct cid params = *plan_value(&f->st, "params");
    if (w->kind == TASK_SCORE) {
        f->metrics = derived(&params, &sum, sizeof sum);
        result_take(f, w, "metrics", f->metrics, NULL);
        f->scores++;
    } else {
        assert_true(cid_equal(task_input_find(t, "params"), &params));
        assert_true(cid_equal(task_input_find(t, "opt"), &f->opt));
        assert_int_equal(t->step, f->st.step);
        float hyper[2] = {sum, task_arg_find(t, "hyper")->value[0]};
        f->params = derived(&params, hyper, sizeof hyper);
        f->opt = derived(&f->opt, hyper, sizeof hyper);
        result_take(f, w, "params", f->params, &f->opt);
        f->steps++;
    }
    open_clear(f, w->kind == TASK_SCORE ? TASK_EVAL : TASK_GRAD);
}

static void fake_run(struct fake *f, const struct plan_want *w)
{
    struct emac_buf buf;
    emac_buf_init(&buf, TASK_BYTES_MAX);
    assert_ok(task_encode(&w->task, &buf, NULL, err)); /* every task is sound */
    emac_buf_release(&buf);
    switch (w->kind) {
    case TASK_INIT:
        f->params = cid_for("params");
        f->opt = cid_for("opt");
        result_take(f, w, "params", f->params, &f->opt);
        break;
    case TASK_GRAD:
    case TASK_EVAL:
        fake_map(f, w);
        break;
    case TASK_STEP:
    case TASK_SCORE:
        fake_sum(f, w);
        break;
    default:
        fail_msg("a task '%s' is none of this planner's", w->slot);
    }
}

static bool is_that(const struct plan_open *o, const struct plan_want *w)
{
    return o->kind == w->kind && o->range.first == w->range.first &&
           o->range.count == w->range.count;
}

static bool is_open(const struct fake *f, const struct plan_want *w)
{
    for (uint32_t i = 0; i < f->open_count; i++) {
        if (is_that(&f->open[i], w))
            return true;
    }
    return false;
}

static void open_drop(struct fake *f, const struct plan_want *w)
{
    for (uint32_t i = 0; i < f->open_count; i++) {
        if (is_that(&f->open[i], w))
            f->open[i--] = f->open[--f->open_count];
    }
}

/* One round: plan, hand out some, finish some, lose some. */
static void fleet_round(struct fake *f, uint32_t loss_percent)
{
    double speed[7], busy[7];
    uint32_t workers = 1 + draw_below(&f->d, 7), count;
    struct plan_want want[WANTS_MAX];
    for (uint32_t i = 0; i < workers; i++) {
        speed[i] = 0.1 + draw_unit(&f->d) * 10;
        busy[i] = draw_unit(&f->d) * 1e9;
    }
    const struct tree_crew crew = {workers, speed, f->d.at % 2 ? busy : NULL};
    assert_ok(plan_next(f->p, &f->st, f->open, f->open_count, &crew, want,
                        1 + draw_below(&f->d, WANTS_MAX), &count, err));
    assert_true(count > 0);
    uint32_t step = f->st.step;
    bool scored = f->st.scored, had = f->st.value_count > 0;
    for (uint32_t i = 0; i < count; i++) {
        const struct plan_want *w = &want[i];
        assert_true(w->owner < workers);
        bool map = w->kind == TASK_GRAD || w->kind == TASK_EVAL;
        uint32_t luck = draw_below(&f->d, 100);
        if (step != f->st.step || scored != f->st.scored || had != (f->st.value_count > 0))
            break; /* what follows was for the state before */
        if (luck < loss_percent) {
            open_drop(f, w); /* its rig is gone */
        } else if (luck < 70) {
            fake_run(f, w);
            if (map && luck % 10 == 0)
                fake_run(f, w); /* two rigs did the same */
            if (map)
                open_drop(f, w);
        } else if (map && !is_open(f, w)) {
            f->open[f->open_count++] = (struct plan_open){w->kind, w->range};
        }
    }
    plan_wants_release(want, count);
}

static void run_fleet(const struct job_plan *p, uint64_t seed, uint32_t loss_percent,
                      struct fake *f)
{
    *f = (struct fake){.p = p, .d = {.seed = seed}};
    plan_state_init(&f->st);
    for (int round = 0; plan_phase_of(p, &f->st) != PLAN_DONE; round++) {
        if (round > 20000)
            fail_msg("seed %llu: no end", (unsigned long long)seed);
        fleet_round(f, loss_percent);
    }
    f->end = f->st.step;
    assert_int_equal(f->steps, f->end);
    f->model = *plan_model_params(&f->st);
    f->score = *plan_model_score(p, &f->st);
    f->best = f->st.best;
    plan_state_release(&f->st);
}

static void test_no_fleet_changes_the_result(void **state)
{
    static const uint32_t BATCHES[] = {1, 2, 3, 6, 12, 16, 37, 100, 333};
    struct fake *f = malloc(sizeof *f);
    for (size_t m = 0; m < sizeof BATCHES / sizeof *BATCHES; m++) {
        struct job j = small_job(4, BATCHES[m]);
        struct job_plan *p;
        struct cid params = {0}, metrics = {0};
        assert_ok(job_plan_new(&j, NULL, &p, err));
        for (uint64_t seed = 0; seed < 12; seed++) {
            run_fleet(p, 1000 * m + seed, seed % 4 * 15, f);
            assert_int_equal(f->end, 4);
            assert_int_equal(f->scores, 1);
            assert_true(cid_equal(&f->model, &f->params));
            if (seed == 0) {
                params = f->params;
                metrics = f->metrics;
            } else if (!cid_equal(&params, &f->params) || !cid_equal(&metrics, &f->metrics)) {
                fail_msg("seed %llu, %u micro-batches: another result",
                         (unsigned long long)(1000 * m + seed), BATCHES[m]);
            }
        }
        job_plan_free(p);
    }
    free(f);
}

/* Evaluations beside training: where it stops and what the model is do not depend on the fleet. */
static void check_evaluations(uint32_t every, uint32_t patience, enum job_keep keep)
{
    struct fake *f = malloc(sizeof *f);
    struct job j = small_job(40, 6);
    struct job_plan *p;
    struct cid model = {0};
    uint32_t end = 0;
    j.eval_every = every;
    j.patience = patience;
    j.keep = keep;
    assert_ok(job_plan_new(&j, NULL, &p, err));
    for (uint64_t seed = 0; seed < 12; seed++) {
        run_fleet(p, 77000 + seed, seed % 4 * 15, f);
        assert_int_equal(f->scores, 1 + (f->end - 1) / every);
        assert_true(f->score.loss == (keep == KEEP_BEST ? f->best.loss : f->score.loss));
        assert_true(cid_equal(&f->model, &f->params) ==
                    (keep == KEEP_LAST || f->best.step == f->end));
        if (seed == 0) {
            model = f->model;
            end = f->end;
        } else if (f->end != end || !cid_equal(&f->model, &model)) {
            fail_msg("seed %llu: ends after %u, not %u, or with another model",
                     (unsigned long long)(77000 + seed), f->end, end);
        }
    }
    assert_true(patience == 0 ? end == 40 : end < 40 && (end - 1) % every == 0);
    job_plan_free(p);
    free(f);
}

static void test_no_fleet_changes_when_it_stops(void **state)
{
    check_evaluations(1, 0, KEEP_LAST);
    check_evaluations(7, 0, KEEP_BEST);
    check_evaluations(3, 2, KEEP_LAST);
    check_evaluations(2, 3, KEEP_BEST);
}

static struct plan_state scored_state(const struct job_plan *p)
{
    struct plan_state st;
    const struct cid a = cid_for("a");
    plan_state_init(&st);
    plan_value_set(&st, "params", &a);
    plan_value_set(&st, "opt", &a);
    return st;
}

/* A round at `st`: the step, and the score if `loss` >= 0. */
static bool round_run(const struct job_plan *p, struct plan_state *st, double loss)
{
    char text[32];
    struct plan_result step = {.kind = TASK_STEP, .loss = 1, .output_count = 2};
    struct plan_result score = {.kind = TASK_SCORE, .loss = loss, .accuracy = -1};
    snprintf(text, sizeof text, "after %u", st->step + 1);
    strcpy(step.output[0].name, "opt");
    strcpy(step.output[1].name, "params");
    step.output[0].cid = step.output[1].cid = cid_for(text);
    if (loss >= 0)
        assert_ok(plan_take(st, &score, err));
    assert_ok(plan_take(st, &step, err));
    return plan_turn(p, st);
}

static void test_patience_and_best(void **state)
{
    struct job j = small_job(10, 2);
    struct job_plan *p;
    j.eval_every = 2;
    j.patience = 2;
    j.keep = KEEP_BEST;
    j.checkpoint_every = 10;
    assert_ok(job_plan_new(&j, NULL, &p, err));
    struct plan_state st = scored_state(p);
    assert_true(round_run(p, &st, -1) && round_run(p, &st, -1));
    assert_false(plan_is_checkpoint(p, &st));
    assert_false(round_run(p, &st, -1)); /* the state after 2 steps is to be evaluated first */
    st.result_count = 0;
    assert_true(round_run(p, &st, 0.5));
    const struct cid after2 = cid_for("after 2"), after4 = cid_for("after 4");
    assert_true(cid_equal(plan_model_params(&st), &after2));
    assert_true(plan_is_checkpoint(p, &st)); /* so that the best is not lost */
    assert_true(round_run(p, &st, -1) && round_run(p, &st, 0.25) && round_run(p, &st, -1));
    assert_true(cid_equal(plan_model_params(&st), &after4) && st.best.step == 4);
    assert_true(round_run(p, &st, 0.25)); /* as good is not better */
    assert_true(st.worse == 1 && !plan_stopped(p, &st) && st.step == 7);
    assert_true(round_run(p, &st, -1) && round_run(p, &st, 0.75));
    assert_true(plan_stopped(p, &st) && plan_phase_of(p, &st) == PLAN_EVAL && st.step == 9);
    assert_true(plan_is_checkpoint(p, &st));
    struct plan_result last = {.kind = TASK_SCORE, .slot = "score", .loss = 0.125, .accuracy = -1};
    assert_ok(plan_take(&st, &last, err));
    assert_true(plan_turn(p, &st));
    assert_true(plan_phase_of(p, &st) == PLAN_DONE && plan_model_score(p, &st)->step == 9);
    assert_true(cid_equal(plan_model_params(&st), plan_value(&st, "params")));
    plan_state_release(&st);
    job_plan_free(p);
}

static void test_evaluations_need_data(void **state)
{
    struct job j = small_job(10, 2);
    struct job_plan *p;
    uint64_t flops, more;
    int64_t units;
    assert_ok(job_plan_new(&j, NULL, &p, err));
    assert_ok(plan_total(p, &flops, &units, err));
    const uint64_t once = plan_program(p, TASK_EVAL)->flops * job_eval_batches(&j) +
                          plan_program(p, TASK_SCORE)->flops;
    job_plan_free(p);
    j.eval_every = 3; /* after 3, 6 and 9 steps */
    assert_ok(job_plan_new(&j, NULL, &p, err));
    assert_ok(plan_total(p, &more, &units, err));
    assert_int_equal(more, flops + 3 * once);
    job_plan_free(p);
    j.heldout = 0;
    assert_fails(job_plan_new(&j, NULL, &p, err), EMAC_INVALID,
                 "recipe.eval_every needs something to evaluate on: data.heldout");
}

static void test_open_ranges_are_honoured(void **state)
{
    struct job j = small_job(4, 16);
    struct job_plan *p;
    const double speed[2] = {1, 1};
    const struct tree_crew crew = {.count = 2, .speed = speed};
    const struct plan_open open[] = {
        {TASK_GRAD, {0, 8}}, {TASK_GRAD, {8, 4}}, {TASK_GRAD, {3, 2}}, {TASK_EVAL, {12, 4}}};
    struct plan_result done = {
        .kind = TASK_GRAD, .range = {8, 4}, .output_count = 1, .output = {{"sum", cid_for("sum")}}};
    struct plan_state st = {.value_count = 2,
                            .value = {{"opt", cid_for("o")}, {"params", cid_for("p")}},
                            .result = &done,
                            .result_count = 1};
    struct plan_want want[WANTS_MAX];
    uint32_t count;
    assert_ok(job_plan_new(&j, NULL, &p, err));
    /* 0+8 is out, 8+4 is done, 3+2 is no node: what is left is shared by two */
    assert_ok(plan_next(p, &st, open, 4, &crew, want, WANTS_MAX, &count, err));
    assert_int_equal(count, 3);
    assert_string_equal(want[0].slot, "grad/000000/0+8");
    assert_string_equal(want[1].slot, "grad/000000/12+2");
    assert_string_equal(want[2].slot, "grad/000000/14+2");
    assert_int_equal(want[2].owner, 1);
    plan_wants_release(want, count);
    assert_ok(plan_next(p, &st, open, 4, &crew, want, 1, &count, err));
    assert_int_equal(count, 1);
    plan_wants_release(want, count);
    job_plan_free(p);
}

static void test_the_first_and_last_tasks(void **state)
{
    struct job j = small_job(2, 2);
    struct job_plan *p;
    const double speed[3] = {1, 9, 2};
    const struct tree_crew crew = {.count = 3, .speed = speed};
    struct plan_state st = {0};
    struct plan_want want[4];
    uint32_t count;
    assert_ok(job_plan_new(&j, NULL, &p, err));
    assert_ok(plan_next(p, &st, NULL, 0, &crew, want, 4, &count, err));
    assert_int_equal(count, 1);
    assert_string_equal(want[0].slot, "init");
    assert_int_equal(want[0].owner, 1);
    assert_int_equal(want[0].task.input_count, 0);
    plan_wants_release(want, count);
    st = (struct plan_state){.value_count = 1, .step = 2, .scored = true};
    assert_ok(plan_next(p, &st, NULL, 0, &crew, want, 4, &count, err));
    assert_int_equal(count, 0);
    assert_string_equal(task_kind_name(TASK_SCORE), "score");
    job_plan_free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_plan_holds_all_blocks),
        cmocka_unit_test(test_tables_are_a_bundle),
        cmocka_unit_test(test_long_tables_are_a_tree),
        cmocka_unit_test(test_no_heldout_no_evaluation),
        cmocka_unit_test(test_depth_that_fits_a_block),
        cmocka_unit_test(test_bad_jobs_have_no_plan),
        cmocka_unit_test(test_model_directory),
        cmocka_unit_test(test_prices),
        cmocka_unit_test(test_checks_are_a_fair_secret_coin),
        cmocka_unit_test(test_checkpoints),
        cmocka_unit_test(test_metrics),
        cmocka_unit_test(test_no_fleet_changes_the_result),
        cmocka_unit_test(test_no_fleet_changes_when_it_stops),
        cmocka_unit_test(test_patience_and_best),
        cmocka_unit_test(test_evaluations_need_data),
        cmocka_unit_test(test_open_ranges_are_honoured),
        cmocka_unit_test(test_the_first_and_last_tasks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
