/* Programs, tasks, receipts: one encoding each, strict readers. */
#include "fixture.h"

#include "base/assert.h"
#include "codec/dagcbor.h"
#include "work/task.h"

static struct cid block_cid(const char *text)
{
    return cid_of(CID_DAG_CBOR, text, strlen(text));
}

static struct program map_program(void)
{
    return (struct program){.kind = PROGRAM_MAP,
                            .graph = block_cid("graph"),
                            .has_sampler = true,
                            .sampler = {SAMPLER_RANDOM, 4, 128, 0, 1000000, 42}};
}

static struct task_part parts_of_four[] = {{0, 4, {0}}, {4, 4, {0}}};

/* Args are out of canonical order on purpose: "count_inv" < "hyper" by bytes, not by length. */
static struct task step_task(void)
{
    struct task t = {.program = block_cid("step"), .total = 8, .step = 3};
    parts_of_four[0].cid = cid_for("a");
    parts_of_four[1].cid = cid_for("b");
    t.input_count = 2;
    set_text(t.input[0].name, "opt");
    t.input[0].cid = cid_for("opt");
    set_text(t.input[1].name, "params");
    t.input[1].cid = cid_for("params");
    t.part = parts_of_four;
    t.part_count = 2;
    t.arg_count = 3;
    t.arg[0] = (struct task_arg){"clip", 1, {1.0f}};
    t.arg[1] = (struct task_arg){"count_inv", 1, {0.125f}};
    t.arg[2] = (struct task_arg){"hyper", 3, {0.1f, -0.0f, 1e-38f}};
    return t;
}

static struct receipt some_receipt(void)
{
    struct receipt r = {
        .task = block_cid("task"), .started_ms = 1700000000000, .ended_ms = 1700000000500};
    set_text(r.lease, "lease-1");
    set_text(r.node, "did:key:z6MkfakeButPrintable");
    r.output_count = 3;
    static const char *const NAMES[] = {"metrics", "opt", "params"};
    for (uint32_t i = 0; i < 3; i++) {
        set_text(r.output[i].name, NAMES[i]);
        r.output[i].cid = cid_for(NAMES[i]);
    }
    return r;
}

/* ---- programs and samplers ---- */

static void test_program_round_trip(void **state)
{
    struct program p = map_program(), back;
    struct emac_buf buf, again;
    struct cid cid, cid2;
    emac_buf_init(&buf, 4096);
    emac_buf_init(&again, 4096);
    assert_ok(program_encode(&p, &buf, &cid, err));
    assert_ok(program_decode(&back, buf.data, buf.len, err));
    assert_int_equal(back.sampler.kind, SAMPLER_RANDOM);
    assert_int_equal(back.sampler.batch, 4);
    assert_int_equal(back.sampler.seq, 128);
    assert_int_equal(back.sampler.end, 1000000);
    assert_int_equal(back.sampler.seed, 42);
    assert_true(cid_equal(&back.graph, &p.graph));
    assert_ok(program_encode(&back, &again, &cid2, err));
    assert_true(cid_equal(&cid, &cid2));
    p.sampler.seed++;
    emac_buf_clear(&again);
    assert_ok(program_encode(&p, &again, &cid2, err));
    assert_false(cid_equal(&cid, &cid2));
    emac_buf_release(&buf);
    emac_buf_release(&again);
}

static struct program steps_program(void)
{
    return (struct program){.kind = PROGRAM_STEPS,
                            .graph = block_cid("end"),
                            .grad = block_cid("grad"),
                            .step = block_cid("step"),
                            .micro_batches = 5,
                            .recipe = small_job(40, 5).optimiser};
}

static void test_programs_of_several_graphs(void **state)
{
    struct program p = steps_program(), back;
    struct emac_buf buf, again;
    struct cid cid, cid2;
    emac_buf_init(&buf, 4096);
    emac_buf_init(&again, 4096);
    for (int kind = 0; kind < 4; kind++) {
        if (kind == 3) {
            p = steps_program();
            p.has_begin = true;
            p.begin = block_cid("begin");
        } else if (kind > 0)
            p = (struct program){.kind = PROGRAM_APPLY,
                                 .graph = block_cid("graph"),
                                 .has_decode = true,
                                 .decode = block_cid("decode"),
                                 .max_norm = kind == 2 ? 12.5 : 0};
        emac_buf_clear(&buf);
        emac_buf_clear(&again);
        assert_ok(program_encode(&p, &buf, &cid, err));
        assert_ok(program_decode(&back, buf.data, buf.len, err));
        assert_int_equal(back.micro_batches, p.micro_batches);
        assert_memory_equal(&back.recipe, &p.recipe, sizeof p.recipe);
        assert_true(cid_equal(&back.grad, &p.grad) && cid_equal(&back.step, &p.step));
        assert_true(back.has_decode == p.has_decode && cid_equal(&back.decode, &p.decode));
        assert_true(back.has_begin == p.has_begin && cid_equal(&back.begin, &p.begin));
        assert_true(back.max_norm == p.max_norm);
        assert_ok(program_encode(&back, &again, &cid2, err));
        assert_true(cid_equal(&cid, &cid2));
    }
    p = steps_program();
    p.micro_batches = 0;
    assert_fails(program_encode(&p, &buf, NULL, err), EMAC_INVALID, "micro-batches");
    p.micro_batches = STEPS_BATCHES_MAX + 1;
    assert_fails(program_encode(&p, &buf, NULL, err), EMAC_INVALID, "micro-batches");
    p.max_norm = 1;
    assert_fails(program_encode(&p, &buf, NULL, err), EMAC_INVALID, "'max_norm'");
    p = (struct program){.kind = PROGRAM_APPLY, .graph = block_cid("graph"), .max_norm = -1};
    assert_fails(program_encode(&p, &buf, NULL, err), EMAC_INVALID, "'max_norm'");
    p = steps_program();
    p.has_decode = true;
    p.decode = block_cid("decode");
    assert_fails(program_encode(&p, &buf, NULL, err), EMAC_INVALID, "goes with kind 'apply'");
    p = (struct program){.kind = PROGRAM_APPLY, .graph = block_cid("graph"), .has_begin = true};
    p.begin = block_cid("begin");
    assert_fails(program_encode(&p, &buf, NULL, err), EMAC_INVALID, "goes with kind 'steps'");
    p = steps_program();
    p.recipe.beta1 = 2; /* written as it is, refused when read */
    emac_buf_clear(&buf);
    assert_ok(program_encode(&p, &buf, NULL, err));
    assert_fails(program_decode(&back, buf.data, buf.len, err), EMAC_INVALID, "recipe.beta1");
    emac_buf_release(&buf);
    emac_buf_release(&again);
}

static void test_programs_that_make_no_sense(void **state)
{
    struct emac_buf buf;
    struct program p = map_program();
    emac_buf_init(&buf, 4096);
    p.has_sampler = false;
    assert_fails(program_encode(&p, &buf, NULL, err), EMAC_INVALID, "must have a sampler");
    p.kind = PROGRAM_APPLY;
    p.has_sampler = true;
    assert_fails(program_encode(&p, &buf, NULL, err), EMAC_INVALID, "must not have");
    p = map_program();
    p.sampler.end = 128;
    assert_fails(program_encode(&p, &buf, NULL, err), EMAC_INVALID, "do not hold one window");
    p = map_program();
    p.sampler.batch = 0;
    assert_fails(program_encode(&p, &buf, NULL, err), EMAC_INVALID, "sampler");
    p.sampler.batch = UINT32_MAX;
    p.sampler.seq = UINT32_MAX;
    assert_fails(program_encode(&p, &buf, NULL, err), EMAC_INVALID, "sampler");
    p = map_program();
    p.graph = cid_for("raw");
    assert_fails(program_encode(&p, &buf, NULL, err), EMAC_INVALID, "dag-cbor");
    emac_buf_release(&buf);
}

static void test_random_sampler_stays_inside_and_spreads(void **state)
{
    struct sampler s = {SAMPLER_RANDOM, 3, 16, 100, 1100, 5};
    uint64_t low = UINT64_MAX, high = 0, sum = 0;
    for (uint32_t i = 0; i < 3000; i++) {
        uint64_t o = sampler_offset(&s, i % 7, i / 3, i % 3);
        assert_int_equal(o, sampler_offset(&s, i % 7, i / 3, i % 3));
        assert_true(o >= 100 && o + 17 <= 1100);
        low = o < low ? o : low;
        high = o > high ? o : high;
        sum += o;
    }
    assert_true(low < 105 && high > 1075);
    assert_true(sum / 3000 > 560 && sum / 3000 < 625);
    assert_int_equal(sampler_batches(&s), UINT64_MAX);
    /* one possible window only */
    struct sampler one = {SAMPLER_RANDOM, 1, 16, 9, 26, 5};
    assert_int_equal(sampler_offset(&one, 8, 8, 0), 9);
    /* the row, not (index, batch), is what is drawn: another batch size sees the same windows */
    struct sampler wide = s;
    wide.batch = 6;
    assert_int_equal(sampler_offset(&s, 2, 5, 1), sampler_offset(&wide, 2, 2, 4));
}

static void test_ordered_sampler_tiles(void **state)
{
    struct sampler s = {SAMPLER_ORDERED, 4, 10, 1000, 1000 + 10 * 12 + 1, 0};
    assert_int_equal(sampler_batches(&s), 3);
    assert_int_equal(sampler_offset(&s, 9, 0, 0), 1000);
    assert_int_equal(sampler_offset(&s, 9, 2, 3), 1000 + 110);
    s.end--;
    assert_int_equal(sampler_batches(&s), 2);
    s.end = s.begin + 10;
    assert_int_equal(sampler_batches(&s), 0);
}

/* ---- tasks ---- */

static void test_task_round_trip(void **state)
{
    struct task t = step_task(), back, copy;
    struct emac_buf buf, again;
    struct cid cid, cid2;
    emac_buf_init(&buf, TASK_BYTES_MAX);
    emac_buf_init(&again, TASK_BYTES_MAX);
    assert_ok(task_encode(&t, &buf, &cid, err));
    assert_ok(task_decode(&back, buf.data, buf.len, err));
    assert_int_equal(back.part_count, 2);
    assert_int_equal(back.part[1].first, 4);
    assert_string_equal(back.arg[1].name, "count_inv");
    assert_memory_equal(back.arg[2].value, t.arg[2].value, 3 * sizeof(float));
    assert_true(cid_equal(task_input_find(&back, "params"), &t.input[1].cid));
    assert_null(task_input_find(&back, "nothing"));
    assert_int_equal(task_arg_find(&back, "hyper")->width, 3);
    assert_null(task_arg_find(&back, "hype"));
    assert_ok(task_copy(&copy, &back, err));
    task_release(&back);
    assert_ok(task_encode(&copy, &again, &cid2, err));
    assert_true(cid_equal(&cid, &cid2));
    assert_int_equal(buf.len, again.len);
    task_release(&copy);
    emac_buf_release(&buf);
    emac_buf_release(&again);
}

static void test_task_encoding_is_fixed(void **state)
{
    /* A task's CID is its identity on the network: a change here is a change of the protocol. The
     * CID was computed by another program from the description in task.h. */
    struct task t = step_task();
    struct emac_buf buf;
    struct cid cid;
    char text[CID_TEXT_MAX];
    emac_buf_init(&buf, TASK_BYTES_MAX);
    assert_ok(task_encode(&t, &buf, &cid, err));
    cid_text(text, &cid);
    assert_string_equal(text, "bafyreifhzcgaogs5ouomnukcthaw3g5jqju6dqlsz5wha7ulfoxhc7fg54");
    emac_buf_release(&buf);
}

static void test_tasks_that_make_no_sense(void **state)
{
    struct emac_buf buf;
    struct task t = step_task();
    emac_buf_init(&buf, TASK_BYTES_MAX);
    t.arg[2].value[0] = 1e38f * 10;
    assert_fails(task_encode(&t, &buf, NULL, err), EMAC_INVALID, "arg 'hyper' is not finite");
    t = step_task();
    t.arg[0].width = 17;
    assert_fails(task_encode(&t, &buf, NULL, err), EMAC_INVALID, "arg 'clip' has 17");
    t = step_task();
    set_text(t.input[0].name, "zzz");
    assert_fails(task_encode(&t, &buf, NULL, err), EMAC_INVALID,
                 "'zzz' does not come before 'params'");
    t = step_task();
    set_text(t.input[0].name, "params");
    assert_fails(task_encode(&t, &buf, NULL, err), EMAC_INVALID, "does not come before");
    t = step_task();
    set_text(t.input[0].name, "no/slash");
    assert_fails(task_encode(&t, &buf, NULL, err), EMAC_INVALID, "bad name");
    t = step_task();
    t.part[1].first = 3;
    assert_fails(task_encode(&t, &buf, NULL, err), EMAC_INVALID, "part 3+4 overlaps");
    t.part[1] = (struct task_part){4, UINT32_MAX - 3, cid_for("b")};
    assert_fails(task_encode(&t, &buf, NULL, err), EMAC_INVALID, "overlaps");
    t.part[1] = (struct task_part){4, 4, cid_for("b")};
    t = step_task();
    t.first = t.count = 1u << 31;
    assert_fails(task_encode(&t, &buf, NULL, err), EMAC_INVALID, "too large");
    emac_buf_release(&buf);
}

/* A task map with one thing wrong, written by hand. */
static void write_task(struct dagcbor_writer *w, const char *wrong)
{
    struct cid c = block_cid("x");
    bool extra = strcmp(wrong, "extra") == 0, no_step = strcmp(wrong, "no step") == 0;
    dagcbor_map(w, extra ? 9 : no_step ? 7 : 8);
    dagcbor_key(w, "args");
    dagcbor_map(w, 1);
    dagcbor_key(w, "a");
    dagcbor_list(w, 1);
    if (strcmp(wrong, "int arg") == 0)
        dagcbor_u64(w, 1);
    else
        dagcbor_f64(w, strcmp(wrong, "double arg") == 0 ? 0.1 : 0.5);
    if (!no_step) {
        dagcbor_key(w, "step");
        if (strcmp(wrong, "big step") == 0)
            dagcbor_u64(w, 1ull << 32);
        else
            dagcbor_u64(w, 0);
    }
    dagcbor_key(w, "count");
    dagcbor_u64(w, 0);
    if (extra) {
        dagcbor_key(w, "extra");
        dagcbor_null(w);
    }
    dagcbor_key(w, "first");
    dagcbor_u64(w, 0);
    dagcbor_key(w, "parts");
    if (strcmp(wrong, "parts") == 0)
        dagcbor_str(w, "none");
    else
        dagcbor_list(w, 0);
    dagcbor_key(w, "total");
    dagcbor_u64(w, 0);
    dagcbor_key(w, "inputs");
    dagcbor_map(w, 1);
    dagcbor_key(w, strcmp(wrong, "name") == 0 ? "Upper" : "in");
    if (strcmp(wrong, "input") == 0)
        dagcbor_str(w, "bafy");
    else
        dagcbor_cid(w, &c);
    dagcbor_key(w, "program");
    dagcbor_cid(w, &c);
}

static void test_readers_are_strict(void **state)
{
    static const struct {
        const char *wrong, *says;
    } CASES[] = {{"extra", "extra"},     {"no step", "step"},
                 {"int arg", "arg 'a'"}, {"double arg", "binary32"},
                 {"big step", "step"},   {"parts", "parts"},
                 {"name", "name"},       {"input", "'in' must be a CID"}};
    struct emac_buf buf;
    struct dagcbor_writer w;
    struct task t;
    emac_buf_init(&buf, 4096);
    dagcbor_writer_init(&w, &buf);
    write_task(&w, "");
    assert_ok(dagcbor_writer_end(&w, err));
    assert_ok(task_decode(&t, buf.data, buf.len, err));
    task_release(&t);
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        emac_buf_clear(&buf);
        dagcbor_writer_init(&w, &buf);
        write_task(&w, CASES[i].wrong);
        assert_ok(dagcbor_writer_end(&w, err));
        assert_fails(task_decode(&t, buf.data, buf.len, err), EMAC_INVALID, CASES[i].says);
    }
    uint8_t *big = calloc(1, TASK_BYTES_MAX + 1);
    assert_fails(task_decode(&t, big, TASK_BYTES_MAX + 1, err), EMAC_TOO_LARGE, "at most");
    free(big);
    emac_buf_release(&buf);
}

/* ---- receipts ---- */

static void test_receipt_round_trip(void **state)
{
    struct receipt r = some_receipt(), back;
    struct emac_buf buf;
    struct cid cid;
    emac_buf_init(&buf, RECEIPT_BYTES_MAX);
    assert_ok(receipt_encode(&r, &buf, &cid, err));
    assert_ok(receipt_decode(&back, buf.data, buf.len, err));
    assert_string_equal(back.node, r.node);
    assert_string_equal(back.lease, r.lease);
    assert_int_equal(back.ended_ms, r.ended_ms);
    assert_true(receipt_agrees(&r, &back));
    back.output[2].cid = cid_for("other");
    assert_false(receipt_agrees(&r, &back));
    back = r;
    back.output_count = 2;
    assert_false(receipt_agrees(&r, &back));
    emac_buf_release(&buf);
}

static void test_receipts_that_make_no_sense(void **state)
{
    struct emac_buf buf;
    struct receipt r = some_receipt();
    emac_buf_init(&buf, RECEIPT_BYTES_MAX);
    r.lease[0] = '\n';
    assert_fails(receipt_encode(&r, &buf, NULL, err), EMAC_INVALID, "lease");
    r = some_receipt();
    memset(r.node, 'x', sizeof r.node);
    assert_fails(receipt_encode(&r, &buf, NULL, err), EMAC_INVALID, "node");
    r = some_receipt();
    r.output_count = 0;
    assert_fails(receipt_encode(&r, &buf, NULL, err), EMAC_INVALID, "outputs");
    r = some_receipt();
    r.output[1] = r.output[0];
    assert_fails(receipt_encode(&r, &buf, NULL, err), EMAC_INVALID, "out of order");
    emac_buf_release(&buf);
}

/* Damaged bytes are refused or mean something else that encodes to exactly these bytes. */
static void test_damage_is_never_silent(void **state)
{
    struct draw d = {.seed = 21};
    struct task t = step_task();
    struct receipt r = some_receipt();
    struct program p = map_program();
    struct emac_buf clean[3], again;
    for (int k = 0; k < 3; k++)
        emac_buf_init(&clean[k], TASK_BYTES_MAX);
    emac_buf_init(&again, TASK_BYTES_MAX);
    assert_ok(task_encode(&t, &clean[0], NULL, err));
    assert_ok(receipt_encode(&r, &clean[1], NULL, err));
    assert_ok(program_encode(&p, &clean[2], NULL, err));
    for (int round = 0; round < 20000; round++) {
        uint64_t at = d.at;
        int k = round % 3;
        uint8_t bytes[1024];
        size_t n =
            clean[k].len - (draw_below(&d, 4) == 0 ? draw_below(&d, (uint32_t)clean[k].len) : 0);
        assert_true(n <= sizeof bytes);
        memcpy(bytes, clean[k].data, n);
        for (uint32_t i = draw_below(&d, 4); i > 0 && n > 0; i--)
            bytes[draw_below(&d, (uint32_t)n)] ^= (uint8_t)(1u << draw_below(&d, 8));
        struct emac_err why = {0};
        enum emac_status st;
        emac_buf_clear(&again);
        if (k == 0) {
            struct task x;
            st = task_decode(&x, bytes, n, &why);
            if (st == EMAC_OK) {
                assert_ok(task_encode(&x, &again, NULL, err));
                task_release(&x);
            }
        } else if (k == 1) {
            struct receipt x;
            st = receipt_decode(&x, bytes, n, &why);
            if (st == EMAC_OK)
                assert_ok(receipt_encode(&x, &again, NULL, err));
        } else {
            struct program x;
            st = program_decode(&x, bytes, n, &why);
            if (st == EMAC_OK)
                assert_ok(program_encode(&x, &again, NULL, err));
        }
        if (st == EMAC_OK && (again.len != n || memcmp(again.data, bytes, n) != 0))
            fail_msg("seed 21 at %llu: another encoding was accepted", (unsigned long long)at);
        if (st != EMAC_OK && why.text[0] == '\0')
            fail_msg("seed 21 at %llu: no sentence", (unsigned long long)at);
    }
    for (int k = 0; k < 3; k++)
        emac_buf_release(&clean[k]);
    emac_buf_release(&again);
}

/* ---- records ---- */

static struct program record_program(enum sampler_kind kind)
{
    struct program p = map_program();
    p.sampler = (struct sampler){.kind = kind,
                                 .batch = 4,
                                 .end = 10,
                                 .seed = kind == SAMPLER_SHUFFLED ? 9 : 0,
                                 .split = kind == SAMPLER_SHUFFLED ? DATASET_TRAIN : DATASET_TEST,
                                 .rows = kind == SAMPLER_SHUFFLED ? 8 : 0};
    return p;
}

static void test_programs_on_records(void **state)
{
    static const enum sampler_kind KINDS[] = {SAMPLER_SHUFFLED, SAMPLER_LISTED};
    for (int i = 0; i < 2; i++) {
        struct program p = record_program(KINDS[i]), back;
        struct emac_buf buf, again;
        emac_buf_init(&buf, PROGRAM_BYTES_MAX);
        emac_buf_init(&again, PROGRAM_BYTES_MAX);
        assert_ok(program_encode(&p, &buf, NULL, err));
        assert_ok(program_decode(&back, buf.data, buf.len, err));
        assert_ok(program_encode(&back, &again, NULL, err));
        assert_int_equal(buf.len, again.len);
        assert_memory_equal(buf.data, again.data, buf.len);
        assert_memory_equal(&back.sampler, &p.sampler, sizeof p.sampler);
        assert_int_equal(sampler_batches(&p.sampler), 2);
        emac_buf_release(&buf);
        emac_buf_release(&again);
    }
}

static void test_samplers_of_records_are_checked(void **state)
{
    static const struct {
        enum sampler_kind kind;
        uint32_t batch;
        uint64_t begin, end, rows;
        const char *says;
    } CASES[] = {
        {SAMPLER_SHUFFLED, 0, 0, 10, 8, "a sampler of 0 records"},
        {SAMPLER_SHUFFLED, SAMPLER_RECORDS_MAX + 1, 0, 10, 8, "records is not possible"},
        {SAMPLER_SHUFFLED, 4, 10, 10, 8, "hold none"},
        {SAMPLER_SHUFFLED, 4, 0, DATASET_RECORDS_MAX + 1, 8, "hold none"},
        {SAMPLER_SHUFFLED, 4, 0, 10, 0, "a step of 0 records"},
        {SAMPLER_SHUFFLED, 4, 0, 10, 6, "a step of 6 records"},
        {SAMPLER_LISTED, 4, 0, 10, 8, "a step of 8 records"},
    };
    for (size_t i = 0; i < EMAC_COUNT(CASES); i++) {
        struct sampler s = {.kind = CASES[i].kind,
                            .batch = CASES[i].batch,
                            .begin = CASES[i].begin,
                            .end = CASES[i].end,
                            .rows = CASES[i].rows};
        assert_fails(sampler_check(&s, err), EMAC_INVALID, CASES[i].says);
    }
}

/* The rows of one step after the other: each epoch takes every record once. */
static void test_each_epoch_takes_each_record_once(void **state)
{
    const struct sampler s = record_program(SAMPLER_SHUFFLED).sampler;
    for (uint32_t epoch = 0; epoch < 8; epoch++) {
        unsigned seen[10] = {0};
        for (uint64_t place = epoch * 10; place < (epoch + 1) * 10; place++) {
            uint64_t record = sampler_record(&s, (uint32_t)(place / 8), (uint32_t)(place % 8 / 4),
                                             (uint32_t)(place % 4));
            assert_true(record < 10);
            seen[record]++;
        }
        for (int i = 0; i < 10; i++)
            assert_int_equal(seen[i], 1);
    }
    const struct sampler listed = record_program(SAMPLER_LISTED).sampler;
    assert_int_equal(sampler_record(&listed, 5, 1, 3), 7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_program_round_trip),
        cmocka_unit_test(test_programs_of_several_graphs),
        cmocka_unit_test(test_programs_that_make_no_sense),
        cmocka_unit_test(test_random_sampler_stays_inside_and_spreads),
        cmocka_unit_test(test_ordered_sampler_tiles),
        cmocka_unit_test(test_task_round_trip),
        cmocka_unit_test(test_task_encoding_is_fixed),
        cmocka_unit_test(test_tasks_that_make_no_sense),
        cmocka_unit_test(test_readers_are_strict),
        cmocka_unit_test(test_receipt_round_trip),
        cmocka_unit_test(test_receipts_that_make_no_sense),
        cmocka_unit_test(test_damage_is_never_silent),
        cmocka_unit_test(test_programs_on_records),
        cmocka_unit_test(test_samplers_of_records_are_checked),
        cmocka_unit_test(test_each_epoch_takes_each_record_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
