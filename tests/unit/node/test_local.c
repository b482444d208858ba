/* Local training: the same model whatever the threads, instruction set and interruptions. */
#include "exec_fixture.h"
#include "../remove_tree.h"

#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "node/local.h"
#include "node/local_state.h"

#define STEPS 6 /* checkpoints after 2, 4, 6 */

struct session {
    char dir[64];
    struct store *store;
    struct device *dev;
    struct job job;
    const struct store_value *corpus;
    int calls, stop_after; /* of the cancelled callback; stop_after < 0: never */
    bool collect;          /* at the first report */
    int reports, checkpoints, resumed;
    uint32_t step;
    double loss[STEPS + 1];
    uint64_t most_memory;
    char state_copy[128]; /* where the state file of step 2 is copied to; "" for nowhere */
};

static enum emac_status no_sync(struct os *os, const char *path, struct emac_err *err)
{
    return EMAC_OK;
}

/* The real files without waiting for the disk: these tests cut no power. */
static struct os *quick_os(void)
{
    static struct os os;
    os = *os_real();
    os.file_write = os.file_write_fast;
    os.file_sync = no_sync;
    return &os;
}

static void session_open(struct session *s, enum isa isa, uint32_t threads)
{
    *s = (struct session){.stop_after = -1};
    set_text(s->dir, "/tmp/emac-test-local-XXXXXX");
    assert_non_null(mkdtemp(s->dir));
    char dir[80];
    snprintf(dir, sizeof dir, "%s/store", s->dir);
    const struct store_config cfg = {.os = quick_os(), .dir = dir, .hash_threads = 1};
    assert_ok(store_open(&cfg, &s->store, err));
    assert_ok(device_cpu_open(isa, threads, &s->dev, err));
    s->corpus = corpus_add(s->store, 3);
    s->job = small_job(STEPS, 6);
    s->job.data = s->corpus->cid;
}

static void session_close(struct session *s)
{
    store_value_drop(s->store, s->corpus);
    store_close(s->store);
    device_close(s->dev);
    remove_tree(s->dir);
}

static void state_path(const struct session *s, const struct cid *job, char out[128])
{
    char id[JOB_ID_MAX];
    job_id(id, job);
    snprintf(out, 128, "%s/state/%s.state", s->dir, id);
}

static void copy_file(const char *from, const char *to)
{
    struct emac_buf buf;
    emac_buf_init(&buf, 1 << 20);
    assert_ok(os_real()->file_read(os_real(), from, &buf, err));
    assert_ok(os_real()->file_write(os_real(), to, buf.data, buf.len, 0600, err));
    emac_buf_release(&buf);
}

static struct cid job_cid(const struct job *j)
{
    struct emac_buf buf;
    struct cid cid;
    emac_buf_init(&buf, JOB_BYTES_MAX);
    assert_ok(job_encode(j, &buf, &cid, err));
    emac_buf_release(&buf);
    return cid;
}

static void progress(void *ctx, const struct local_progress *p)
{
    struct session *s = ctx;
    struct store_stats st;
    s->reports++;
    s->checkpoints += p->checkpoint;
    s->resumed += p->resumed;
    assert_int_equal(p->steps, STEPS);
    assert_true(p->step >= s->step);
    s->step = p->step;
    s->loss[p->step] = p->loss;
    if (p->step > 0 && p->units_per_second > 0)
        assert_true(p->lr > 0 && p->grad_norm > 0 && p->loss > 0);
    store_stats(s->store, &st);
    s->most_memory = st.memory_bytes > s->most_memory ? st.memory_bytes : s->most_memory;
    uint64_t freed;
    if (s->collect && p->step == 0)
        assert_ok(store_gc(s->store, 0, &freed, err));
    if (p->step == 2 && s->state_copy[0] != '\0') {
        char from[128];
        struct cid cid = job_cid(&s->job);
        state_path(s, &cid, from);
        copy_file(from, s->state_copy);
    }
}

static bool cancelled(void *ctx)
{
    struct session *s = ctx;
    return s->stop_after >= 0 && s->calls++ >= s->stop_after;
}

static enum emac_status train(struct session *s, struct local_result *out, struct emac_err *err)
{
    char dir[80];
    snprintf(dir, sizeof dir, "%s/state", s->dir);
    const struct local_config cfg = {.os = quick_os(),
                                     .store = s->store,
                                     .dev = s->dev,
                                     .job = &s->job,
                                     .dir = dir,
                                     .progress = progress,
                                     .cancelled = cancelled,
                                     .ctx = s};
    s->calls = 0;
    s->step = 0;
    return local_train(&cfg, out, err);
}

/* What a run without any trouble gives; filled by the first test. */
static struct local_result reference;

static void check_result(const struct local_result *r)
{
    assert_int_equal(r->checkpoint_count, 3);
    for (uint32_t i = 0; i < 3; i++) {
        const struct local_checkpoint *a = &reference.checkpoint[i], *b = &r->checkpoint[i];
        assert_int_equal(b->step, 2 * (i + 1));
        if (!cid_equal(&a->params, &b->params) || !cid_equal(&a->opt, &b->opt) ||
            !cid_equal(&a->model, &b->model))
            fail_msg("the checkpoint after step %u differs", b->step);
    }
    assert_true(cid_equal(&r->model, &reference.model));
    assert_true(cid_equal(&r->params, &reference.params));
    assert_true(cid_equal(&r->opt, &reference.opt));
    assert_true(r->has_heldout && r->heldout_loss == reference.heldout_loss);
}

static void test_a_run(void **state)
{
    struct session s;
    struct cid missing;
    size_t count;
    session_open(&s, ISA_BEST, 1);
    assert_ok(train(&s, &reference, err));
    assert_int_equal(s.reports, 1 + STEPS + 1); /* init, steps, score */
    assert_int_equal(s.checkpoints, 3);
    assert_int_equal(reference.checkpoint_count, 3);
    assert_int_equal(reference.units, STEPS * 6 * 2 * 16);
    assert_true(reference.has_heldout && reference.heldout_loss > 0);
    assert_true(reference.heldout_bits_per_byte > reference.heldout_loss * 1.44 &&
                reference.heldout_bits_per_byte < reference.heldout_loss * 1.45);
    assert_true(s.loss[STEPS] < s.loss[1]); /* it learns */
    assert_true(reference.exec_ns >= reference.compute_ns &&
                reference.wall_ns >= reference.exec_ns);
    /* The model and the last state are whole, on disk, and stay through a collection. */
    store_value_drop(s.store, s.corpus);
    store_close(s.store);
    char dir[80];
    snprintf(dir, sizeof dir, "%s/store", s.dir);
    const struct store_config cfg = {.os = os_real(), .dir = dir, .hash_threads = 1};
    assert_ok(store_open(&cfg, &s.store, err));
    uint64_t freed;
    assert_ok(store_gc(s.store, 0, &freed, err));
    for (uint32_t i = 0; i < 3; i++) {
        assert_ok(
            store_dag_missing(s.store, &reference.checkpoint[i].model, &missing, 1, &count, err));
        assert_int_equal(count, 0);
    }
    assert_ok(store_dag_missing(s.store, &reference.opt, &missing, 1, &count, err));
    assert_int_equal(count, 0);
    assert_ok(store_dag_missing(s.store, &reference.checkpoint[0].opt, &missing, 1, &count, err));
    assert_int_equal(count, 1); /* old optimiser states are not kept */
    s.corpus = NULL;
    session_close(&s);
}

/* A run with evaluations beside training that is stopped anywhere knows what they found. */
static void test_evaluations_survive_stops(void **state)
{
    struct local_result want = {0};
    for (int stop_after = -1; stop_after < 120; stop_after += 13) {
        struct session s;
        struct local_result r = {0};
        struct cid missing;
        size_t count;
        session_open(&s, ISA_BEST, 1);
        s.job.eval_every = 1;
        s.job.patience = 1;
        s.job.keep = KEEP_BEST;
        s.job.optimiser.lr = s.job.optimiser.min_lr = 0.5; /* so that it soon gets worse */
        s.job.optimiser.clip_norm = 0;
        s.stop_after = stop_after;
        enum emac_status st = train(&s, &r, NULL);
        s.stop_after = -1;
        if (st == EMAC_CANCELLED)
            st = train(&s, &r, NULL);
        assert_ok(st);
        if (want.steps == 0)
            want = r;
        assert_true(r.steps == want.steps && r.steps < STEPS);
        assert_true(cid_equal(&r.model, &want.model) && cid_equal(&r.params, &want.params));
        assert_true(r.heldout_loss == want.heldout_loss && r.has_heldout);
        assert_true(r.checkpoint_count == want.checkpoint_count);
        assert_ok(store_dag_missing(s.store, &r.model, &missing, 1, &count, err));
        assert_int_equal(count, 0);
        if (r.checkpoint != want.checkpoint)
            local_result_release(&r);
        session_close(&s);
    }
    local_result_release(&want);
}

static void test_devices_and_threads_agree(void **state)
{
    for (int isa = ISA_REF; isa < ISA_COUNT; isa++) {
        for (uint32_t threads = 1; threads <= 3; threads++) {
            struct session s;
            struct local_result r;
            if (!isa_supported((enum isa)isa) || (isa == ISA_REF && threads > 1))
                continue;
            session_open(&s, (enum isa)isa, threads);
            assert_ok(train(&s, &r, err));
            check_result(&r);
            local_result_release(&r);
            session_close(&s);
        }
    }
}

/* Stop after k questions, again and again, until it is done. */
static void test_interrupted_anywhere(void **state)
{
    static const int PATIENCE[] = {1, 5, 11, 17, 29};
    for (size_t i = 0; i < sizeof PATIENCE / sizeof *PATIENCE; i++) {
        struct session s;
        struct local_result r;
        struct emac_err why;
        int runs = 0;
        session_open(&s, ISA_BEST, 2);
        s.stop_after = PATIENCE[i];
        enum emac_status st = train(&s, &r, &why);
        while (st == EMAC_CANCELLED) {
            assert_non_null(strstr(why.text, "stopped"));
            if (++runs > 100)
                fail_msg("no end");
            uint32_t before = s.step;
            s.stop_after++; /* a run that is stopped within its first step gets nowhere */
            st = train(&s, &r, &why);
            assert_true(s.step >= before);
        }
        assert_int_equal(st, EMAC_OK);
        assert_true(runs > 0 && s.resumed > 0);
        check_result(&r);
        local_result_release(&r);
        session_close(&s);
    }
}

static void test_goes_on_from_the_last_checkpoint_after_a_crash(void **state)
{
    struct session s;
    struct local_result r;
    char path[128];
    session_open(&s, ISA_BEST, 1);
    snprintf(s.state_copy, sizeof s.state_copy, "%s/copy", s.dir);
    assert_ok(train(&s, &r, err));
    check_result(&r);
    struct cid cid = r.job;
    local_result_release(&r);
    /* As if the process had died after the checkpoint of step 2. */
    state_path(&s, &cid, path);
    copy_file(s.state_copy, path);
    s.state_copy[0] = '\0';
    assert_ok(train(&s, &r, err));
    assert_int_equal(r.resumed_at, 2);
    assert_int_equal(r.units, (STEPS - 2) * 6 * 2 * 16);
    check_result(&r);
    local_result_release(&r);
    /* And once more when all is done: nothing is left but the held-out part. */
    assert_ok(train(&s, &r, err));
    assert_int_equal(r.resumed_at, STEPS);
    assert_int_equal(r.units, 0);
    check_result(&r);
    local_result_release(&r);
    session_close(&s);
}

static void write_state(const char *path, const void *data, size_t n)
{
    assert_ok(os_real()->file_write(os_real(), path, data, n, 0600, err));
}

static void test_a_bad_state_file_is_a_fresh_start(void **state)
{
    struct session s;
    struct local_result r;
    struct local_state st = {0};
    char path[128];
    session_open(&s, ISA_BEST, 1);
    assert_ok(train(&s, &r, err));
    struct cid job = r.job;
    local_result_release(&r);
    state_path(&s, &job, path);
    write_state(path, "\xa5garbage", 8);
    assert_ok(train(&s, &r, err));
    assert_int_equal(r.resumed_at, 0);
    check_result(&r);
    local_result_release(&r);
    /* of another job */
    assert_ok(local_state_read(os_real(), path, &st, err));
    st.job = cid_of(CID_DAG_CBOR, "other", 5);
    assert_ok(local_state_write(os_real(), path, &st, err));
    assert_ok(train(&s, &r, err));
    assert_int_equal(r.resumed_at, 0);
    check_result(&r);
    local_result_release(&r);
    /* naming what is gone */
    st.job = job;
    st.value[0].cid = cid_for("gone");
    assert_ok(local_state_write(os_real(), path, &st, err));
    assert_ok(train(&s, &r, err));
    assert_int_equal(r.resumed_at, 0);
    check_result(&r);
    local_result_release(&r);
    local_state_release(&st);
    session_close(&s);
}

static void test_memory_stays_flat(void **state)
{
    struct session s;
    struct local_result r;
    struct job_plan *p;
    session_open(&s, ISA_BEST, 1);
    assert_ok(job_plan_new(&s.job, NULL, &p, err));
    assert_ok(train(&s, &r, err));
    /* At a report: the state, the new state, this step's sums, tables, corpus. */
    uint64_t sum = plan_program(p, TASK_GRAD)->output[0].bytes;
    assert_true(s.most_memory < 2 * (p->params_bytes + p->opt_bytes) + 2 * sum + 65536);
    job_plan_free(p);
    local_result_release(&r);
    session_close(&s);
}

static void test_lost_programs_are_put_back(void **state)
{
    struct session s;
    struct local_result r;
    session_open(&s, ISA_BEST, 1);
    s.collect = true;
    assert_ok(train(&s, &r, err));
    check_result(&r);
    local_result_release(&r);
    session_close(&s);
}

static void test_runs_without_a_directory(void **state)
{
    struct session s;
    struct local_result r;
    session_open(&s, ISA_BEST, 2);
    struct local_config cfg = {.os = os_real(), .store = s.store, .dev = s.dev, .job = &s.job};
    assert_ok(local_train(&cfg, &r, err));
    check_result(&r);
    local_result_release(&r);
    session_close(&s);
}

static void test_no_heldout_part(void **state)
{
    struct session s;
    struct local_result r;
    session_open(&s, ISA_BEST, 1);
    s.job.heldout = 0;
    assert_ok(train(&s, &r, err));
    assert_false(r.has_heldout);
    assert_int_equal(r.checkpoint_count, 3);
    local_result_release(&r);
    session_close(&s);
}

static void test_what_cannot_be_trained(void **state)
{
    struct session s;
    struct local_result r;
    session_open(&s, ISA_BEST, 1);
    s.job.data = cid_for("not here");
    assert_fails(train(&s, &r, err), EMAC_NOT_FOUND, "grad/000000/0+4");
    s.job.data = s.corpus->cid;
    s.job.data_size = CORPUS_BYTES * 2;
    assert_fails(train(&s, &r, err), EMAC_INVALID, "the corpus has 4096 tokens");
    s.job.data_size = CORPUS_BYTES;
    s.job.optimiser.lr = 1; /* a recipe that blows up does so with the operator's name */
    s.job.optimiser.min_lr = 1;
    s.job.init.embed_std = 1;
    s.job.optimiser.eps = 1e-20;
    struct emac_err why = {0};
    enum emac_status st = train(&s, &r, &why);
    assert_true(st == EMAC_OK || (st == EMAC_NUMERIC && strstr(why.text, "task ") != NULL));
    if (st == EMAC_OK)
        local_result_release(&r);
    s.job = small_job(STEPS, 0);
    s.job.data = s.corpus->cid;
    assert_fails(train(&s, &r, err), EMAC_INVALID, "recipe.micro_batches");
    session_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_run),
        cmocka_unit_test(test_evaluations_survive_stops),
        cmocka_unit_test(test_devices_and_threads_agree),
        cmocka_unit_test(test_interrupted_anywhere),
        cmocka_unit_test(test_goes_on_from_the_last_checkpoint_after_a_crash),
        cmocka_unit_test(test_a_bad_state_file_is_a_fresh_start),
        cmocka_unit_test(test_memory_stays_flat),
        cmocka_unit_test(test_lost_programs_are_put_back),
        cmocka_unit_test(test_runs_without_a_directory),
        cmocka_unit_test(test_no_heldout_part),
        cmocka_unit_test(test_what_cannot_be_trained),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    local_result_release(&reference);
    return failed;
}
