/* Tasks on private data and weights: the same bits with the key, nothing without it, and no
 * plaintext in the store. */
#include "exec_tasks.h"
#include "../remove_tree.h"

#include "node/private.h"

#include "../work/seal_model.h"

static const uint8_t KEY[SEAL_KEY_BYTES] = {9};

static const char *owner_did(void)
{
    static char did[DID_KEY_MAX];
    uint8_t key[ED25519_PUBLIC_BYTES], secret[ED25519_SECRET_BYTES], seed[ED25519_SEED_BYTES] = {1};
    crypto_ed25519_keypair(key, secret, seed);
    crypto_did_key(did, key);
    return did;
}

/* The corpus of the rig once more, sealed. */
static struct cid corpus_seal(struct rig *r)
{
    const struct sealed_source from = {.bytes = EMAC_SLICE(r->corpus->data, r->corpus->size)};
    struct cid cid;
    uint64_t size;
    assert_ok(sealed_add(r->store, &from, owner_did(), KEY, &cid, &size, err));
    return cid;
}

static void keys_set(struct rig *r, const struct cid *asset, const uint8_t key[SEAL_KEY_BYTES])
{
    struct sealed_ring ring = {0};
    assert_ok(sealed_ring_add(&ring, asset, key, err));
    exec_keys_clear(r->exec);
    assert_ok(exec_keys_add(r->exec, &ring, err));
}

static struct cid grad_of(struct rig *r, const struct task *t)
{
    struct exec_result out;
    assert_ok(exec_run(r->exec, t, &out, err));
    struct cid cid = out.output[0].cid;
    exec_result_release(r->exec, &out);
    return cid;
}

static void test_the_bits_are_those_of_the_plaintext(void **state)
{
    struct rig r;
    struct state s;
    struct exec_result out;
    rig_open(&r, ISA_BEST, 1, 2);
    run_init(&r, &s);
    struct task open = grad_task(&r, &s, 0, 2), closed = open;
    struct cid want = grad_of(&r, &open), sealed = corpus_seal(&r), plain = r.corpus->cid;
    for (uint32_t i = 0; i < closed.input_count; i++)
        if (cid_equal(&closed.input[i].cid, &plain))
            closed.input[i].cid = sealed;
    store_value_forget(r.store, r.corpus); /* the plaintext is not there any more */
    r.corpus = NULL;
    assert_fails(exec_run(r.exec, &closed, &out, err), EMAC_FORBIDDEN, "its key is not here");
    uint8_t wrong[SEAL_KEY_BYTES] = {8};
    keys_set(&r, &sealed, wrong);
    assert_fails(exec_run(r.exec, &closed, &out, err), EMAC_FORBIDDEN, "not that of the data");
    keys_set(&r, &sealed, KEY);
    struct cid got = grad_of(&r, &closed);
    assert_true(cid_equal(&got, &want));
    assert_false(store_block_has(r.store, &plain, NULL));
    assert_false(store_value_has(r.store, &plain));
    exec_keys_clear(r.exec); /* the lease is over: what was opened is gone with the key */
    assert_fails(exec_run(r.exec, &closed, &out, err), EMAC_FORBIDDEN, "its key is not here");
    exec_result_release(r.exec, &s.init);
    rig_close(&r);
}

/* ---- weights ---- */

/* The directory of the model that the rig's first weights are. */
static struct cid model_put(struct rig *r, const struct cid *params)
{
    struct job_block *block;
    size_t count;
    struct cid dir;
    assert_ok(plan_model(r->plan, params, &dir, &block, &count, err));
    for (size_t i = 0; i < count; i++)
        assert_ok(store_block_put_as(r->store, &block[i].cid, block[i].data, block[i].len, err));
    job_blocks_free(block, count);
    return dir;
}

/* A gradient of adapters on the model in `dir`; the plan is the caller's to free. */
static struct task adapter_task(struct rig *r, const struct cid *dir, struct exec_result *init,
                                struct job_plan **plan)
{
    struct job job = r->job;
    job.base = *dir;
    job.tune = (struct tune){.kind = TUNE_LORA, .rank = 2, .alpha = 4, .targets = 1u << TUNE_Q};
    assert_ok(job_plan_new(&job, r->store, plan, err));
    plan_put(r->store, *plan);
    struct task first = {.program = plan_program(*plan, TASK_INIT)->cid};
    assert_ok(exec_run(r->exec, &first, init, err));
    struct task t = {
        .program = plan_program(*plan, TASK_GRAD)->cid, .first = 0, .count = 2, .step = 1};
    task_input_add(&t, "base", &(*plan)->base.file[MODEL_WEIGHTS]);
    task_input_add(&t, "data", &job.data);
    task_input_add(&t, "params", &output(init, "params")->cid);
    task_input_add(&t, "tables", &(*plan)->tables);
    return t;
}

static void test_private_weights_give_the_bits_of_open_ones(void **state)
{
    struct rig r;
    struct state s;
    struct exec_result out, init[2];
    struct job_plan *plan[2];
    struct cid block;
    uint8_t wrong[SEAL_KEY_BYTES] = {8};
    rig_open(&r, ISA_BEST, 1, 2);
    run_init(&r, &s);
    const struct cid dir = model_put(&r, &s.params), weights = s.params;
    const struct cid closed_dir = model_seal(r.store, &dir, owner_did(), KEY, &block);
    struct task open = adapter_task(&r, &dir, &init[0], &plan[0]);
    struct cid want = grad_of(&r, &open);
    struct task closed = adapter_task(&r, &closed_dir, &init[1], &plan[1]);
    assert_true(cid_equal(task_input_find(&closed, "base"), &block));
    /* Adapters begin without a look at the base: nothing of it is in what is public. */
    assert_true(cid_equal(&init[0].output[1].cid, &init[1].output[1].cid));
    for (uint32_t i = 0; i < s.init.output_count; i++)
        store_value_forget(r.store, s.init.value[i]);
    assert_false(store_value_has(r.store, &weights)); /* the plain weights are gone */
    assert_fails(exec_run(r.exec, &closed, &out, err), EMAC_FORBIDDEN, "its key is not here");
    keys_set(&r, &block, wrong);
    assert_fails(exec_run(r.exec, &closed, &out, err), EMAC_FORBIDDEN, "input 'base': the key");
    keys_set(&r, &block, KEY);
    for (int i = 0; i < 2; i++) {
        struct cid got = grad_of(&r, &closed);
        assert_true(cid_equal(&got, &want));
    }
    assert_false(store_value_has(r.store, &weights)); /* opening them did not bring them back */
    assert_false(store_block_has(r.store, &weights, NULL));
    exec_keys_clear(r.exec);
    assert_fails(exec_run(r.exec, &closed, &out, err), EMAC_FORBIDDEN, "its key is not here");
    for (int i = 0; i < 2; i++) {
        exec_result_release(r.exec, &init[i]);
        job_plan_free(plan[i]);
    }
    rig_close(&r);
}

/* Its owner says another shape than he sealed, or the bytes are not his: nobody computes on it. */
static void test_private_weights_that_are_others(void **state)
{
    struct rig r;
    struct state s;
    struct exec_result out, init;
    struct job_plan *plan;
    struct cid block;
    struct sealed f;
    struct emac_buf bytes;
    rig_open(&r, ISA_BEST, 1, 2);
    run_init(&r, &s);
    const struct cid dir = model_put(&r, &s.params);
    const struct cid closed_dir = model_seal(r.store, &dir, owner_did(), KEY, &block);
    struct task t = adapter_task(&r, &closed_dir, &init, &plan);
    assert_ok(sealed_load(r.store, &block, &f, err));
    for (int i = 0; i < 2; i++) {
        static const char *const SAYS[] = {"is not what its owner sealed", "does not begin with"};
        struct sealed bad = f;
        struct cid cid;
        uint64_t size;
        if (i == 0) { /* a text of the same length under the same key */
            uint8_t *text = calloc(1, f.size);
            const struct sealed_source from = {.bytes = EMAC_SLICE(text, f.size)};
            struct sealed other;
            uint8_t key[SEAL_KEY_BYTES] = {77};
            assert_ok(sealed_add(r.store, &from, owner_did(), key, &cid, &size, err));
            assert_ok(sealed_load(r.store, &cid, &other, err));
            bad.file = other.file;
            free(text);
        } else {
            struct unixfs_link head = {0};
            assert_ok(store_bytes_add(r.store, EMAC_SLICE_STR("other tensors"), &head, err));
            bad.head = head.cid;
        }
        emac_buf_init(&bytes, 4096);
        assert_ok(sealed_encode(&bad, &bytes, &cid, err));
        assert_ok(store_block_put_as(r.store, &cid, bytes.data, bytes.len, err));
        emac_buf_release(&bytes);
        keys_set(&r, &cid, KEY);
        for (uint32_t k = 0; k < t.input_count; k++)
            if (strcmp(t.input[k].name, "base") == 0)
                t.input[k].cid = cid;
        assert_fails(exec_run(r.exec, &t, &out, err), EMAC_INVALID, SAYS[i]);
        assert_true(cid_is_none(&out.suspect)); /* no rig made it: none is to blame */
    }
    exec_keys_clear(r.exec);
    exec_result_release(r.exec, &init);
    exec_result_release(r.exec, &s.init);
    job_plan_free(plan);
    rig_close(&r);
}

/* A directory that nobody can walk to its end is not handed out where some of it is private. */
static void test_what_cannot_be_walked_is_held_back(void **state)
{
    char dir[] = "/tmp/emac-test-private-XXXXXX", path[64];
    struct rig r;
    struct private_data p;
    struct unixfs_link link[2] = {{.name = "a", .size = 7, .tsize = 7},
                                  {.name = "b", .size = 6, .tsize = 6}};
    struct emac_buf block;
    struct cid root;
    uint64_t tree;
    rig_open(&r, ISA_BEST, 1, 2);
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/text", dir);
    assert_ok(os_real()->file_write(os_real(), path, "secret", 6, 0600, err));
    assert_ok(private_keep(os_real(), dir, r.store, path, &link[1].cid, &tree, err));
    assert_ok(store_block_put(r.store, CID_DAG_PB, "garbage", 7, &link[0].cid, err));
    emac_buf_init(&block, UNIXFS_DIR_MAX);
    assert_ok(unixfs_directory(link, 2, &block, &root, &tree, err));
    assert_ok(store_block_put_as(r.store, &root, block.data, block.len, err));
    assert_ok(private_open(&p, os_real(), dir, r.store, err));
    assert_true(private_holds(&p, r.store, &link[1].cid));
    assert_true(private_holds(&p, r.store, &root));
    assert_false(private_holds(&p, r.store, &r.corpus->cid));
    private_release(&p);
    emac_buf_release(&block);
    remove_tree(dir);
    rig_close(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_bits_are_those_of_the_plaintext),
        cmocka_unit_test(test_private_weights_give_the_bits_of_open_ones),
        cmocka_unit_test(test_private_weights_that_are_others),
        cmocka_unit_test(test_what_cannot_be_walked_is_held_back),
    };
    return cmocka_run_group_tests_name("private", tests, NULL, NULL);
}
