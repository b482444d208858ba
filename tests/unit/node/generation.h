/* Generation by a rig, against a coordinator by script: a model, requests, what it says. */
#ifndef EMAC_TESTS_NODE_GENERATION_H
#define EMAC_TESTS_NODE_GENERATION_H

#include "agent_fixture.h"

#include "../work/seal_model.h"

#include "base/hex.h"
#include "model/language.h"
#include "node/piece.h"

struct model {
    struct exec_result init;
    struct cid cid, params;
};

static struct fake fake;
static struct model model;

static inline int setup(void **state)
{
    struct fake *f = &fake;
    struct task t = {0};
    struct job_block *block;
    size_t count;
    fake_open(f);
    t.program = plan_program(f->rig.plan, TASK_INIT)->cid;
    assert_ok(exec_run(f->rig.exec, &t, &model.init, err));
    model.params = output(&model.init, "params")->cid;
    assert_ok(plan_model(f->rig.plan, &model.params, &model.cid, &block, &count, err));
    for (size_t i = 0; i < count; i++)
        assert_ok(
            store_block_put_as(f->rig.store, &block[i].cid, block[i].data, block[i].len, err));
    job_blocks_free(block, count);
    return 0;
}

static inline int teardown(void **state)
{
    exec_result_release(fake.rig.exec, &model.init);
    fake_close(&fake);
    return 0;
}

static inline json_t *serve_lease(const char *prompt, int tokens, int seed, const char *stop)
{
    char text[CID_TEXT_MAX];
    cid_text(text, &model.cid);
    json_t *stops = stop != NULL ? json_pack("[s]", stop) : json_array();
    json_t *request =
        json_pack("{s:s,s:i,s:f,s:f,s:i,s:i,s:o}", "prompt", prompt, "max_tokens", tokens,
                  "temperature", 0.9, "top_p", 1.0, "top_k", 60, "seed", seed, "stop", stops);
    return json_pack("{s:s,s:s,s:s,s:o,s:{}}", "kind", "serve", "lease", "lease-s", "model", text,
                     "request", request, "sources");
}

/* What the model says, computed here. */
static inline void say(const char *prompt, int tokens, int seed, struct emac_buf *out)
{
    const struct store_value *w = output(&model.init, "params");
    const struct llama_config *c = &fake.rig.job.model;
    const struct sample_params params = {0.9, 1.0, 60, (uint64_t)seed};
    struct piece_filter filter;
    struct session *s;
    const struct language_files files = {.tokenizer = {0}};
    struct language language;
    struct completion *g;
    struct emac_slice bytes;
    bool ended;
    piece_init(&filter);
    assert_ok(language_read(&language, &files, c->vocab_size, err));
    assert_ok(session_open(fake.rig.dev, c, w->data, w->size, &s, err));
    assert_ok(completion_open(s, c, &language, EMAC_SLICE_STR(prompt), &params, &g, err));
    for (int i = 0; i < tokens; i++) {
        assert_ok(completion_next(g, &bytes, &ended, err));
        assert_true(!ended && bytes.len == 1);
        assert_ok(piece_push(&filter, bytes.data[0], out, err));
    }
    assert_ok(piece_end(&filter, out, err));
    completion_close(g);
    language_release(&language);
    session_close(s);
}

/* ---- private models ---- */

static const uint8_t KEY[SEAL_KEY_BYTES] = {6};

static inline struct cid model_sealed(struct cid *block)
{
    uint8_t key[ED25519_PUBLIC_BYTES], secret[ED25519_SECRET_BYTES], seed[ED25519_SEED_BYTES] = {1};
    char did[DID_KEY_MAX];
    crypto_ed25519_keypair(key, secret, seed);
    crypto_did_key(did, key);
    return model_seal(fake.rig.store, &model.cid, did, KEY, block);
}

/* A lease on the model `dir` with a key to `block` for the rig `did` and the lease `purpose`. */
static inline json_t *sealed_lease(const struct cid *dir, const struct cid *block, const char *did,
                                   const char *purpose)
{
    json_t *lease = serve_lease("in the beginning", 20, 5, NULL);
    struct sealed_key k = {.asset = *block};
    struct emac_buf box;
    char text[CID_TEXT_MAX], box64[EMAC_BASE64_LEN(SEALED_BOX_MAX) + 1];
    memcpy(k.key, KEY, sizeof KEY);
    set_text(k.purpose, purpose);
    emac_buf_init(&box, SEALED_BOX_MAX);
    assert_ok(sealed_key_box(&k, did, &box, err));
    emac_base64(box64, box.data, box.len);
    emac_buf_release(&box);
    cid_text(text, dir);
    json_object_set_new(lease, "model", json_string(text));
    cid_text(text, block);
    json_object_set_new(lease, "keys", json_pack("{s:s}", text, box64));
    return lease;
}

#endif
