/* Tasks on private data: the same bits with the key, nothing without it, and no plaintext in the
 * store. */
#include "exec_tasks.h"

#include "work/sealed.h"

static const uint8_t KEY[SEAL_KEY_BYTES] = {9};

/* The corpus of the rig once more, sealed. */
static struct cid corpus_seal(struct rig *r)
{
    const struct sealed_source from = {.bytes = EMAC_SLICE(r->corpus->data, r->corpus->size)};
    uint8_t key[ED25519_PUBLIC_BYTES], secret[ED25519_SECRET_BYTES], seed[ED25519_SEED_BYTES] = {1};
    char did[DID_KEY_MAX];
    struct cid cid;
    uint64_t size;
    crypto_ed25519_keypair(key, secret, seed);
    crypto_did_key(did, key);
    assert_ok(sealed_add(r->store, &from, did, KEY, &cid, &size, err));
    return cid;
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
    assert_ok(exec_key_add(r.exec, &sealed, wrong, err));
    assert_fails(exec_run(r.exec, &closed, &out, err), EMAC_FORBIDDEN, "not that of the data");
    exec_keys_clear(r.exec);
    assert_ok(exec_key_add(r.exec, &sealed, KEY, err));
    struct cid got = grad_of(&r, &closed);
    assert_true(cid_equal(&got, &want));
    assert_false(store_block_has(r.store, &plain, NULL));
    assert_false(store_value_has(r.store, &plain));
    exec_keys_clear(r.exec); /* the lease is over: what was opened is gone with the key */
    assert_fails(exec_run(r.exec, &closed, &out, err), EMAC_FORBIDDEN, "its key is not here");
    for (int i = 0; i < EXEC_KEYS_MAX; i++)
        assert_ok(exec_key_add(r.exec, &sealed, KEY, err));
    assert_fails(exec_key_add(r.exec, &sealed, KEY, err), EMAC_INVALID, "at most");
    exec_result_release(r.exec, &s.init);
    rig_close(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_bits_are_those_of_the_plaintext),
    };
    return cmocka_run_group_tests_name("private", tests, NULL, NULL);
}
