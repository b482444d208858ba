/* The task runner: one sum whatever the pieces, and a sentence for every task that makes no sense.
 */
#include "exec_tasks.h"

#include <stdio.h>

#include "work/bundle.h"

/* Run the given ranges as tasks of their own and the step over them; the step's outputs. */
static void run_step(struct rig *r, const struct state *s, const struct tree_range *range,
                     uint32_t n, struct exec_result *out)
{
    struct exec_result sum[64];
    struct task_part part[64];
    uint8_t before[64][SHA256_BYTES], after[SHA256_BYTES];
    for (uint32_t i = 0; i < n; i++) {
        struct task t = grad_task(r, s, range[i].first, range[i].count);
        assert_ok(exec_run(r->exec, &t, &sum[i], err));
        assert_int_equal(sum[i].value[0]->size, plan_program(r->plan, TASK_GRAD)->output[0].bytes);
        part[i] = (struct task_part){range[i].first, range[i].count, sum[i].output[0].cid};
        crypto_sha256(before[i], sum[i].value[0]->data, sum[i].value[0]->size);
    }
    struct task t = step_task(r, s, part, n);
    assert_ok(exec_run(r->exec, &t, out, err));
    for (uint32_t i = 0; i < n; i++) { /* EXEC-3 */
        crypto_sha256(after, sum[i].value[0]->data, sum[i].value[0]->size);
        assert_memory_equal(before[i], after, sizeof after);
        exec_result_release(r->exec, &sum[i]);
    }
}

static void random_cut(struct draw *d, uint32_t lo, uint32_t size, uint32_t total,
                       struct tree_range *out, uint32_t *n)
{
    if (lo >= total)
        return;
    if (lo + size <= total && (size == 1 || draw_below(d, 3) == 0)) {
        out[(*n)++] = (struct tree_range){lo, size};
        return;
    }
    random_cut(d, lo, size / 2, total, out, n);
    random_cut(d, lo + size / 2, size / 2, total, out, n);
}

static void check_splits(uint32_t micro_batches, int rounds)
{
    struct draw d = {.seed = 40 + micro_batches};
    struct rig r;
    struct state s;
    struct cid want[3];
    rig_open(&r, ISA_BEST, 1, micro_batches);
    run_init(&r, &s);
    for (int round = 0; round < rounds; round++) {
        struct tree_range range[64];
        uint32_t n = 0;
        if (round == 0) {
            n = tree_decompose(0, micro_batches, micro_batches, range);
        } else {
            random_cut(&d, 0, 16, micro_batches, range, &n);
        }
        struct exec_result out;
        run_step(&r, &s, range, n, &out);
        assert_int_equal(out.output_count, 3);
        for (int i = 0; i < 3; i++) {
            if (round == 0)
                want[i] = out.output[i].cid;
            else if (!cid_equal(&want[i], &out.output[i].cid))
                fail_msg("seed %u round %d: output %s differs", 40 + micro_batches, round,
                         out.output[i].name);
        }
        exec_result_release(r.exec, &out);
    }
    exec_result_release(r.exec, &s.init);
    rig_close(&r);
}

static void test_any_split_gives_the_same_step(void **state)
{
    check_splits(1, 2);
    check_splits(7, 5);
    check_splits(16, 6);
}

/* ---- the sum against an oracle that knows no runner ---- */

struct oracle {
    struct rig *r;
    struct graph *g;
    struct graph_plan *plan;
    struct bundle sum;
    struct program prog;
    int32_t tokens[64], targets[64];
};

static void oracle_open(struct oracle *o, struct rig *r, const struct state *s)
{
    struct emac_buf buf;
    o->r = r;
    emac_buf_init(&buf, UNIXFS_BLOCK_MAX);
    assert_ok(store_block_get(r->store, &plan_program(r->plan, TASK_GRAD)->cid, &buf, err));
    assert_ok(program_decode(&o->prog, buf.data, buf.len, err));
    assert_ok(store_block_get(r->store, &o->prog.graph, &buf, err));
    assert_ok(graph_decode(&o->g, buf.data, buf.len, err));
    emac_buf_release(&buf);
    assert_ok(graph_plan_new(o->g, &o->plan, err));
    assert_ok(bundle_layout(o->g, true, "sum", &o->sum, err));
    const struct store_value *v[2] = {output(&s->init, "params"), NULL};
    assert_ok(store_value_get(r->store, &r->plan->tables, 1 << 20, &v[1], err));
    for (uint32_t i = 0; i < graph_input_count(o->g); i++) {
        struct graph_port port = graph_input_at(o->g, i);
        if (strcmp(port.name, "batch/tokens") == 0) {
            graph_bind_input(o->plan, i, o->tokens);
        } else if (strcmp(port.name, "batch/targets") == 0) {
            graph_bind_input(o->plan, i, o->targets);
        } else {
            const struct store_value *b = bundle_of(port.name, "params", NULL) ? v[0] : v[1];
            struct st_index idx;
            assert_ok(st_index_parse(&idx, b->data, b->size, b->size, err));
            const struct st_tensor *t = st_index_find(&idx, strchr(port.name, '/') + 1);
            assert_non_null(t);
            graph_bind_input(o->plan, i, b->data + idx.data_offset + t->begin);
            st_index_release(&idx);
        }
    }
    store_value_drop(r->store, v[1]); /* the memory store keeps it */
}

static float *oracle_node(struct oracle *o, uint32_t first, uint32_t count)
{
    size_t n = (o->sum.size - o->sum.header.len) / sizeof(float);
    if (count > 1) {
        float *a = oracle_node(o, first, count / 2),
              *b = oracle_node(o, first + count / 2, count / 2);
        for (size_t i = 0; i < n; i++)
            a[i] = a[i] + b[i];
        free(b);
        return a;
    }
    float *x = calloc(n, sizeof *x);
    for (uint32_t row = 0; row < 2; row++) {
        uint64_t at = sampler_offset(&o->prog.sampler, 1, first, row);
        for (uint32_t i = 0; i < 16; i++) {
            o->tokens[row * 16 + i] = o->r->corpus->data[at + i];
            o->targets[row * 16 + i] = o->r->corpus->data[at + i + 1];
        }
    }
    for (uint32_t i = 0; i < o->sum.count; i++)
        graph_bind_output(o->plan, o->sum.port[i].port,
                          (uint8_t *)x + (o->sum.port[i].offset - o->sum.header.len));
    assert_ok(graph_run(o->plan, o->r->dev, err));
    return x;
}

static void test_map_equals_the_tree_by_hand(void **state)
{
    struct rig r;
    struct state s;
    struct oracle o = {0};
    rig_open(&r, ISA_BEST, 2, 16);
    run_init(&r, &s);
    oracle_open(&o, &r, &s);
    static const struct tree_range RANGES[] = {{0, 1}, {3, 1}, {2, 2}, {8, 8}, {0, 16}};
    for (int i = 0; i < 5; i++) {
        struct task t = grad_task(&r, &s, RANGES[i].first, RANGES[i].count);
        struct exec_result out;
        assert_ok(exec_run(r.exec, &t, &out, err));
        float *want = oracle_node(&o, RANGES[i].first, RANGES[i].count);
        const struct store_value *v = output(&out, "sum");
        assert_int_equal(v->size, o.sum.size);
        assert_memory_equal(v->data, o.sum.header.data, o.sum.header.len);
        assert_memory_equal(v->data + o.sum.header.len, want, v->size - o.sum.header.len);
        assert_true(out.compute_ns > 0 && out.total_ns >= out.compute_ns);
        free(want);
        exec_result_release(r.exec, &out);
    }
    bundle_release(&o.sum);
    graph_plan_free(o.plan);
    graph_free(o.g);
    exec_result_release(r.exec, &s.init);
    rig_close(&r);
}

static void test_devices_agree(void **state)
{
    struct cid want[3];
    for (int isa = ISA_REF; isa < ISA_COUNT; isa++) {
        if (!isa_supported((enum isa)isa))
            continue;
        struct rig r;
        struct state s;
        struct exec_result out;
        const struct tree_range all[] = {{0, 2}, {2, 1}};
        rig_open(&r, (enum isa)isa, isa == ISA_REF ? 1 : 2, 3);
        run_init(&r, &s);
        run_step(&r, &s, all, 2, &out);
        for (int i = 0; i < 3; i++) {
            if (isa == ISA_REF)
                want[i] = out.output[i].cid;
            assert_true(cid_equal(&want[i], &out.output[i].cid));
        }
        exec_result_release(r.exec, &out);
        exec_result_release(r.exec, &s.init);
        rig_close(&r);
    }
}

static void test_evaluation(void **state)
{
    struct rig r;
    struct state s;
    struct exec_result sum, score;
    double loss;
    rig_open(&r, ISA_BEST, 1, 2);
    run_init(&r, &s);
    struct task t = grad_task(&r, &s, 0, 4);
    t.program = plan_program(r.plan, TASK_EVAL)->cid;
    t.step = 0;
    assert_ok(exec_run(r.exec, &t, &sum, err));
    struct task_part part = {0, 4, sum.output[0].cid};
    struct task m = {.program = plan_program(r.plan, TASK_SCORE)->cid,
                     .total = 4,
                     .part = &part,
                     .part_count = 1};
    task_arg_add(&m, "count_inv", 0.25f);
    assert_ok(exec_run(r.exec, &m, &score, err));
    const struct store_value *v = output(&score, "metrics");
    assert_ok(metrics_read(v->data, v->size, "loss", &loss, err));
    assert_true(loss > 5.3 && loss < 5.8); /* about ln 256: nothing learnt yet */
    exec_result_release(r.exec, &sum);
    exec_result_release(r.exec, &score);
    t.first = 12; /* 25 windows in batches of 2: 12 batches, this would be the 13th */
    t.count = 1;
    assert_fails(exec_run(r.exec, &t, &sum, err), EMAC_INVALID, "passes the end of the sampler");
    exec_result_release(r.exec, &s.init);
    rig_close(&r);
}

/* ---- tasks that make no sense ---- */

static void test_misfits_are_named(void **state)
{
    struct rig r;
    struct state s;
    struct exec_result out;
    rig_open(&r, ISA_BEST, 1, 2);
    run_init(&r, &s);
    struct task t = grad_task(&r, &s, 0, 2);
    t.input_count = 2;
    assert_fails(exec_run(r.exec, &t, &out, err), EMAC_INVALID, "lacks input 'tables'");
    t = grad_task(&r, &s, 0, 2);
    task_input_add(&t, "zebra", &s.params);
    assert_fails(exec_run(r.exec, &t, &out, err), EMAC_INVALID, "takes no input 'zebra'");
    t = grad_task(&r, &s, 0, 2);
    task_arg_add(&t, "lr", 1);
    assert_fails(exec_run(r.exec, &t, &out, err), EMAC_INVALID, "gives 1 args");
    t = grad_task(&r, &s, 1, 2);
    assert_fails(exec_run(r.exec, &t, &out, err), EMAC_INVALID, "1+2 is not aligned");
    t = grad_task(&r, &s, 0, 3);
    assert_fails(exec_run(r.exec, &t, &out, err), EMAC_INVALID, "0+3 is not aligned");
    t = grad_task(&r, &s, 0, 0);
    assert_fails(exec_run(r.exec, &t, &out, err), EMAC_INVALID, "not aligned");
    t = grad_task(&r, &s, 0, 2);
    t.total = 2;
    assert_fails(exec_run(r.exec, &t, &out, err), EMAC_INVALID, "a map takes no parts");
    t = grad_task(&r, &s, 0, 2);
    t.input[1].cid = r.plan->tables; /* params := tables */
    assert_fails(exec_run(r.exec, &t, &out, err), EMAC_INVALID,
                 "input 'params' lacks tensor 'model.");
    t.input[1].cid = s.opt;
    assert_fails(exec_run(r.exec, &t, &out, err), EMAC_INVALID, "input 'params' lacks tensor");
    t.input[1].cid = r.corpus->cid;
    assert_int_not_equal(exec_run(r.exec, &t, &out, NULL), EMAC_OK);
    t = grad_task(&r, &s, 0, 2);
    t.input[0].cid = r.plan->tables; /* a corpus that is too short */
    assert_fails(exec_run(r.exec, &t, &out, err), EMAC_INVALID, "the corpus has");
    struct cid nowhere = cid_for("nowhere");
    t = grad_task(&r, &s, 0, 2);
    t.input[1].cid = nowhere;
    assert_fails(exec_run(r.exec, &t, &out, err), EMAC_NOT_FOUND, "input 'params'");
    t = grad_task(&r, &s, 0, 2);
    t.input[0].cid = nowhere;
    assert_fails(exec_run(r.exec, &t, &out, err), EMAC_NOT_FOUND, "input 'data'");
    t.program = cid_of(CID_DAG_CBOR, "no", 2);
    assert_fails(exec_run(r.exec, &t, &out, err), EMAC_NOT_FOUND, "nowhere to fetch");
    exec_result_release(r.exec, &s.init);
    rig_close(&r);
}

static void test_parts_that_do_not_fit(void **state)
{
    struct rig r;
    struct state s;
    struct exec_result out, sum;
    rig_open(&r, ISA_BEST, 1, 4);
    run_init(&r, &s);
    struct task g = grad_task(&r, &s, 0, 2);
    assert_ok(exec_run(r.exec, &g, &sum, err));
    struct task_part part[3] = {
        {0, 2, sum.output[0].cid}, {2, 1, sum.output[0].cid}, {3, 1, sum.output[0].cid}};
    struct task t = step_task(&r, &s, part, 3);
    assert_ok(exec_run(r.exec, &t, &out, err));
    exec_result_release(r.exec, &out);
    t.part_count = 2;
    assert_fails(exec_run(r.exec, &t, &out, err), EMAC_INVALID,
                 "do not cover micro-batches 0 to 4");
    t.part_count = 0;
    assert_fails(exec_run(r.exec, &t, &out, err), EMAC_INVALID, "do not cover");
    t.part_count = 3;
    t.total = 8;
    assert_fails(exec_run(r.exec, &t, &out, err), EMAC_INVALID, "do not cover");
    t.total = 4;
    assert_true(cid_is_none(&out.suspect)); /* the task itself is wrong */
    part[1].cid = r.plan->tables;
    assert_fails(exec_run(r.exec, &t, &out, err), EMAC_INVALID, "part 2+1 of input 'sum'");
    assert_true(cid_equal(&out.suspect, &part[1].cid));
    part[1].cid = s.opt; /* larger than a sum */
    assert_fails(exec_run(r.exec, &t, &out, err), EMAC_INVALID,
                 "part 2+1 of input 'sum' is larger");
    assert_true(cid_equal(&out.suspect, &s.opt));
    part[1].cid = cid_for("gone");
    assert_fails(exec_run(r.exec, &t, &out, err), EMAC_NOT_FOUND, "input 'sum'");
    part[1].cid = sum.output[0].cid;
    t.arg[1].width = 2;
    assert_fails(exec_run(r.exec, &t, &out, err), EMAC_INVALID, "arg 'count_inv' 1 numbers");
    t = step_task(&r, &s, part, 3);
    t.count = 1;
    assert_fails(exec_run(r.exec, &t, &out, err), EMAC_INVALID, "an apply has no range");
    struct task i = {
        .program = plan_program(r.plan, TASK_INIT)->cid, .part = part, .part_count = 3, .total = 4};
    assert_fails(exec_run(r.exec, &i, &out, err), EMAC_INVALID, "takes no parts");
    exec_result_release(r.exec, &sum);
    exec_result_release(r.exec, &s.init);
    rig_close(&r);
}

static void test_numbers_that_are_none(void **state)
{
    struct rig r;
    struct exec_result out;
    const float bad[4] = {1, 2, (float)(0.0 / 0.0), 4}, big[4] = {3e38f, 0, 0, 0};
    rig_open(&r, ISA_BEST, 1, 2);
    struct cid x = vector_put(r.store, "x", bad, 4), y = vector_put(r.store, "x", big, 4);
    struct task t = {.program = scale_program(r.store, 4)};
    task_input_add(&t, "in", &x);
    task_arg_add(&t, "s", 1);
    assert_fails(exec_run(r.exec, &t, &out, err), EMAC_NUMERIC, "'in/x'");
    assert_true(cid_equal(&out.suspect, &x));
    t.input[0].cid = y;
    assert_ok(exec_run(r.exec, &t, &out, err));
    exec_result_release(r.exec, &out);
    t.arg[0].value[0] = 10;
    assert_fails(exec_run(r.exec, &t, &out, err), EMAC_NUMERIC, "scale");
    assert_true(cid_is_none(&out.suspect));
    /* a sum that overflows is found by whoever uses it */
    struct task_part part[2] = {{0, 1, y}, {1, 1, y}};
    struct task u = {.program = sum_program(r.store, 4), .total = 2, .part = part, .part_count = 2};
    task_arg_add(&u, "s", 1);
    assert_fails(exec_run(r.exec, &u, &out, err), EMAC_NUMERIC, "'sum/x'");
    assert_true(cid_equal(&out.suspect, &y));
    rig_close(&r);
}

/* batch/tokens are looked up in a table: each micro-batch is finite, the sum of two is not. */
static void test_a_sum_that_overflows(void **state)
{
    struct rig r;
    struct exec_result out;
    float *table = calloc(256 * 2, sizeof *table);
    for (int i = 0; i < 512; i++)
        table[i] = 3e38f;
    rig_open(&r, ISA_BEST, 1, 2);
    struct graph *g = graph_new();
    struct sampler smp = {SAMPLER_ORDERED, 1, 4, 0, CORPUS_BYTES, 0};
    const struct op_attrs shape = {.at = {{.i = 256}, {.i = 2}}};
    value_id flat = graph_input(g, "in/x", DTYPE_F32, SHAPE1(512));
    value_id in[2] = {graph_input(g, "batch/tokens", DTYPE_I32, SHAPE1(4)),
                      graph_op(g, OP_RESHAPE, &shape, 1, &flat)};
    graph_output(g, "sum/rows", graph_op(g, OP_EMBED, NULL, 2, in));
    struct cid x = vector_put(r.store, "x", table, 512);
    struct task t = {.program = program_put(r.store, g, &smp), .count = 1};
    task_input_add(&t, "data", &r.job.data);
    task_input_add(&t, "in", &x);
    assert_ok(exec_run(r.exec, &t, &out, err));
    exec_result_release(r.exec, &out);
    t.count = 2;
    assert_fails(exec_run(r.exec, &t, &out, err), EMAC_NUMERIC, "'sum/rows'");
    free(table);
    rig_close(&r);
}

/* ---- bundles of strangers ---- */

static struct cid file_put(struct store *s, const char *json, size_t pad, const void *data,
                           size_t n)
{
    const struct store_value *v;
    uint8_t *file;
    size_t h = strlen(json) + pad;
    assert_ok(emac_alloc_aligned(&file, 8 + h + n, err));
    memset(file, ' ', 8 + h);
    for (int i = 0; i < 8; i++)
        file[i] = (uint8_t)((uint64_t)h >> (8 * i));
    memcpy(file + 8, json, strlen(json));
    memcpy(file + 8 + h, data, n);
    assert_ok(store_value_adopt(s, file, 8 + h + n, &v, err));
    struct cid cid = v->cid;
    store_value_drop(s, v);
    return cid;
}

static void test_bundles_of_other_tools(void **state)
{
    struct rig r;
    struct exec_result out, same;
    const float xy[6] = {9, 9, 1, 2, 3, 4};
    static const char HEAD[] =
        "{\"other\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"
        "\"x\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[8,24]}}";
    rig_open(&r, ISA_BEST, 1, 2);
    struct task t = {.program = scale_program(r.store, 4)};
    task_input_add(&t, "in", &r.job.data);
    task_arg_add(&t, "s", 2);
    size_t pad = (4 - strlen(HEAD) % 4) % 4;
    t.input[0].cid = file_put(r.store, HEAD, pad, xy, sizeof xy);
    assert_ok(exec_run(r.exec, &t, &out, err));
    t.input[0].cid = vector_put(r.store, "x", xy + 2, 4);
    assert_ok(exec_run(r.exec, &t, &same, err));
    assert_true(cid_equal(&out.output[0].cid, &same.output[0].cid));
    exec_result_release(r.exec, &out);
    exec_result_release(r.exec, &same);
    t.input[0].cid = file_put(r.store, HEAD, pad + 1, xy, sizeof xy);
    assert_fails(exec_run(r.exec, &t, &out, err), EMAC_INVALID, "'x' of input 'in' is not aligned");
    static const struct {
        const char *head, *says;
    } CASES[] = {
        {"{\"x\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[0,24]}}",
         "'x' of input 'in' is not"},
        {"{\"x\":{\"dtype\":\"I32\",\"shape\":[6],\"data_offsets\":[0,24]}}",
         "'x' of input 'in' is not"},
        {"{\"x\":{\"dtype\":\"F32\",\"shape\":[6],\"data_offsets\":[0,24]}}", "is not f32[4]"},
        {"{\"y\":{\"dtype\":\"F32\",\"shape\":[6],\"data_offsets\":[0,24]}}", "lacks tensor 'x'"},
        {"{\"x\":{\"dtype\":\"F32\",\"shape\":[7],\"data_offsets\":[0,28]}}", "input 'in'"},
        {"{\"x\":", "input 'in'"},
        {"[]", "input 'in'"},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        struct emac_err why = {0};
        t.input[0].cid =
            file_put(r.store, CASES[i].head, (4 - strlen(CASES[i].head) % 4) % 4, xy, sizeof xy);
        enum emac_status st = exec_run(r.exec, &t, &out, &why);
        if (st == EMAC_OK || strstr(why.text, CASES[i].says) == NULL)
            fail_msg("%s: %s", CASES[i].head, why.text);
    }
    rig_close(&r);
}

/* ---- programs of strangers ---- */

static void refuse(struct rig *r, struct graph *g, const struct sampler *s, const char *says)
{
    struct task t = {.program = program_put(r->store, g, s), .count = s != NULL};
    struct exec_result out;
    task_input_add(&t, "data", &r->job.data);
    assert_fails(exec_run(r->exec, &t, &out, err), EMAC_INVALID, says);
}

static struct graph *one_port(const char *in, enum dtype dtype, size_t n, const char *out)
{
    struct graph *g = graph_new();
    graph_output(g, out, graph_input(g, in, dtype, SHAPE1(n)));
    return g;
}

static void test_programs_with_strange_ports(void **state)
{
    struct rig r;
    struct exec_result out;
    struct sampler s = {SAMPLER_RANDOM, 2, 8, 0, CORPUS_BYTES, 1};
    rig_open(&r, ISA_BEST, 1, 2);
    refuse(&r, one_port("batch/tokens", DTYPE_I32, 15, "sum/x"), &s, "batch/tokens");
    refuse(&r, one_port("batch/tokens", DTYPE_F32, 16, "sum/x"), &s, "batch/tokens");
    refuse(&r, one_port("batch/other", DTYPE_I32, 16, "sum/x"), &s, "batch/other");
    refuse(&r, one_port("batch/tokens", DTYPE_I32, 16, "out/x"), NULL, "batch/tokens");
    refuse(&r, one_port("batch/tokens", DTYPE_I32, 16, "sum/x"), &s, "'sum/x' of a map program");
    refuse(&r, one_port("sum/x", DTYPE_F32, 16, "sum/x"), &s, "'sum/x'");
    refuse(&r, one_port("sum/x", DTYPE_I32, 16, "out/x"), NULL, "'sum/x'");
    refuse(&r, one_port("args/x", DTYPE_F32, 17, "out/x"), NULL, "'args/x'");
    refuse(&r, one_port("data/x", DTYPE_F32, 17, "out/x"), NULL, "'data/x'");
    refuse(&r, one_port("In/x", DTYPE_F32, 17, "out/x"), NULL,
           "'In/x' of a program names no bundle");
    struct graph *g = graph_new();
    for (int i = 0; i < TASK_OUTPUTS_MAX + 1; i++) {
        char name[32];
        snprintf(name, sizeof name, "o%d/x", i);
        graph_output(g, name, graph_input(g, name, DTYPE_F32, SHAPE1(1)));
    }
    refuse(&r, g, NULL, "more than 8 bundles");
    struct cid junk;
    assert_ok(store_block_put(r.store, CID_DAG_CBOR, "\xa0", 1, &junk, err));
    struct task t = {.program = junk};
    assert_int_not_equal(exec_run(r.exec, &t, &out, NULL), EMAC_OK);
    /* a map whose outputs do not depend on the batch is odd but sound */
    g = graph_new();
    const struct op_attrs fill = {.at = {{.i = 3}, {.i = 0}, {.f = 1.5f}}};
    graph_output(g, "sum/x", graph_op(g, OP_FILL, &fill, 0, NULL));
    t = (struct task){.program = program_put(r.store, g, &s), .count = 4};
    task_input_add(&t, "data", &r.job.data);
    assert_ok(exec_run(r.exec, &t, &out, err));
    float v;
    memcpy(&v, out.value[0]->data + out.value[0]->size - 4, 4);
    assert_true(v == 6);
    exec_result_release(r.exec, &out);
    /* one that gives more than a sum runs a micro-batch at a time, and gives it all */
    g = one_port("batch/tokens", DTYPE_I32, 16, "out/x");
    graph_output(g, "sum/x", graph_op(g, OP_FILL, &fill, 0, NULL));
    t = (struct task){.program = program_put(r.store, g, &s), .first = 2, .count = 2};
    task_input_add(&t, "data", &r.job.data);
    assert_fails(exec_run(r.exec, &t, &out, err), EMAC_INVALID,
                 "range 2+2: the program gives more");
    t.first = 3;
    t.count = 1;
    assert_ok(exec_run(r.exec, &t, &out, err));
    assert_int_equal(out.output_count, 2);
    assert_string_equal(out.output[0].name, "out");
    const uint8_t *row = r.corpus->data + sampler_offset(&s, 0, 3, 0);
    for (int i = 0; i < 8; i++) {
        int32_t token;
        memcpy(&token, out.value[0]->data + out.value[0]->size - 64 + 4 * i, 4);
        assert_int_equal(token, row[i]);
    }
    exec_result_release(r.exec, &out);
    rig_close(&r);
}

/* ---- memory ---- */

static void test_memory_is_counted_first(void **state)
{
    struct rig r;
    struct exec_result out;
    rig_open(&r, ISA_BEST, 1, 16);
    exec_free(r.exec);
    struct exec_config cfg = {
        .os = os_real(), .store = r.store, .dev = r.dev, .memory_max = 3 << 20};
    assert_ok(exec_new(&cfg, &r.exec, err));
    struct state s;
    run_init(&r, &s);
    struct task t = grad_task(&r, &s, 0, 1);
    assert_ok(exec_run(r.exec, &t, &out, err));
    exec_result_release(r.exec, &out);
    /* a graph that fills a terabyte */
    struct graph *g = graph_new();
    const struct op_attrs fill = {.at = {{.i = 1 << 18}, {.i = 1 << 19}, {.f = 1}}};
    graph_output(g, "out/x", graph_op(g, OP_FILL, &fill, 0, NULL));
    t = (struct task){.program = program_put(r.store, g, NULL)};
    assert_fails(exec_run(r.exec, &t, &out, err), EMAC_TOO_LARGE, "may use 3 MiB");
    /* and one whose intermediates do */
    g = graph_new();
    value_id big = graph_op(g, OP_FILL, &fill, 0, NULL);
    graph_output(g, "out/x", graph_op(g, OP_SUM, NULL, 1, &big));
    t = (struct task){.program = program_put(r.store, g, NULL)};
    assert_fails(exec_run(r.exec, &t, &out, err), EMAC_TOO_LARGE, "memory");
    /* an input larger than what is left */
    t = (struct task){.program = scale_program(r.store, 4)};
    float *x = calloc(1 << 20, sizeof *x);
    struct cid huge = vector_put(r.store, "x", x, 1 << 20);
    free(x);
    task_input_add(&t, "in", &huge);
    task_arg_add(&t, "s", 1);
    assert_fails(exec_run(r.exec, &t, &out, err), EMAC_TOO_LARGE, "input 'in'");
    exec_result_release(r.exec, &s.init);
    rig_close(&r);
}

static void test_many_programs(void **state)
{
    struct rig r;
    rig_open(&r, ISA_BEST, 1, 2);
    for (int round = 0; round < 2; round++) {
        for (size_t n = 1; n <= EXEC_PROGRAMS_MAX + 9; n++) {
            float x[128] = {3};
            struct cid in = vector_put(r.store, "x", x, n);
            struct task t = {.program = scale_program(r.store, n)};
            struct exec_result out;
            task_input_add(&t, "in", &in);
            task_arg_add(&t, "s", 2);
            assert_ok(exec_run(r.exec, &t, &out, err));
            float y;
            memcpy(&y, out.value[0]->data + out.value[0]->size - 4 * n, 4);
            assert_true(y == 6);
            exec_result_release(r.exec, &out);
        }
    }
    rig_close(&r);
}

/* ---- fetching and stopping ---- */

struct peer {
    struct rig *from;
    struct store *to;
    int values, blocks;
};

static enum emac_status copy_block(void *ctx, const struct cid *cid, bool present)
{
    struct peer *p = ctx;
    struct emac_buf buf;
    assert_true(present);
    emac_buf_init(&buf, UNIXFS_BLOCK_MAX);
    assert_ok(store_block_get(p->from->store, cid, &buf, err));
    assert_ok(store_block_put_as(p->to, cid, buf.data, buf.len, err));
    emac_buf_release(&buf);
    return EMAC_OK;
}

static enum emac_status fetch(void *ctx, const struct cid *cid, bool to_memory,
                              struct emac_err *err)
{
    struct peer *p = ctx;
    if (!to_memory) {
        p->blocks++;
        return copy_block(p, cid, true);
    }
    p->values++;
    return store_dag_walk(p->from->store, cid, copy_block, p, err);
}

static void test_inputs_are_fetched(void **state)
{
    struct rig a;
    struct state s;
    struct exec_result here, there;
    struct exec *exec;
    rig_open(&a, ISA_BEST, 1, 2);
    run_init(&a, &s);
    struct peer p = {.from = &a, .to = memory_store()};
    const struct exec_config cfg = {
        .os = os_real(), .store = p.to, .dev = a.dev, .fetch = fetch, .fetch_ctx = &p};
    assert_ok(exec_new(&cfg, &exec, err));
    struct task t = grad_task(&a, &s, 0, 2);
    assert_ok(exec_run(a.exec, &t, &here, err));
    assert_ok(exec_run(exec, &t, &there, err));
    assert_true(cid_equal(&here.output[0].cid, &there.output[0].cid));
    assert_int_equal(p.values, 2); /* params, tables */
    assert_int_equal(p.blocks, 3); /* program, graph, corpus of one block */
    exec_result_release(a.exec, &here);
    exec_result_release(exec, &there);
    exec_free(exec);
    store_close(p.to);
    exec_result_release(a.exec, &s.init);
    rig_close(&a);
}

static bool stop_at(void *ctx)
{
    int *left = ctx;
    return (*left)-- == 0;
}

static void test_stops_between_micro_batches(void **state)
{
    struct rig r;
    struct state s;
    struct exec_result out;
    int left = 5;
    rig_open(&r, ISA_BEST, 1, 8);
    run_init(&r, &s);
    const struct exec_config cfg = {.os = os_real(),
                                    .store = r.store,
                                    .dev = r.dev,
                                    .cancelled = stop_at,
                                    .cancelled_ctx = &left};
    struct exec *exec;
    assert_ok(exec_new(&cfg, &exec, err));
    struct task t = grad_task(&r, &s, 0, 8);
    assert_fails(exec_run(exec, &t, &out, err), EMAC_CANCELLED, "cancelled");
    assert_int_equal(left, -1);
    assert_ok(exec_run(exec, &t, &out, err)); /* and is as good as new */
    exec_result_release(exec, &out);
    exec_free(exec);
    exec_result_release(r.exec, &s.init);
    rig_close(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_any_split_gives_the_same_step),
        cmocka_unit_test(test_map_equals_the_tree_by_hand),
        cmocka_unit_test(test_devices_agree),
        cmocka_unit_test(test_evaluation),
        cmocka_unit_test(test_misfits_are_named),
        cmocka_unit_test(test_parts_that_do_not_fit),
        cmocka_unit_test(test_numbers_that_are_none),
        cmocka_unit_test(test_a_sum_that_overflows),
        cmocka_unit_test(test_bundles_of_other_tools),
        cmocka_unit_test(test_programs_with_strange_ports),
        cmocka_unit_test(test_memory_is_counted_first),
        cmocka_unit_test(test_many_programs),
        cmocka_unit_test(test_inputs_are_fetched),
        cmocka_unit_test(test_stops_between_micro_batches),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
