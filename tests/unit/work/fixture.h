/* What the tests of work share: a seeded stream of numbers, and a small job. */
#ifndef EMAC_TESTS_WORK_FIXTURE_H
#define EMAC_TESTS_WORK_FIXTURE_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/philox.h"
#include "work/planner.h"

/* Numbers that a failure can be replayed with: (seed, how many were drawn). */
struct draw {
    uint64_t seed, at;
};

static inline uint32_t draw_below(struct draw *d, uint32_t bound)
{
    return (uint32_t)philox_below(d->seed, PHILOX_TEST, 0, d->at++, bound);
}

static inline double draw_unit(struct draw *d)
{
    return (double)draw_below(d, 1u << 30) / (double)(1u << 30);
}

/* Text into an array. */
#define set_text(array, text) assert_true(emac_strcpy((array), sizeof(array), (text)))

#define assert_ok(expr)                                                                            \
    do {                                                                                           \
        struct emac_err err_ = {0}, *err = &err_;                                                  \
        if ((expr) != EMAC_OK)                                                                     \
            fail_msg("%s: %s", #expr, err->text);                                                  \
    } while (0)

/* expr uses `err`; the sentence must hold `part`. */
#define assert_fails(expr, want, part)                                                             \
    do {                                                                                           \
        struct emac_err err_ = {0}, *err = &err_;                                                  \
        enum emac_status got_ = (expr);                                                            \
        if (got_ != (want) || strstr(err->text, (part)) == NULL)                                   \
            fail_msg("%s: status %s, '%s' (wanted '%s')", #expr, emac_status_text(got_),           \
                     err->text, (part));                                                           \
    } while (0)

static inline struct cid cid_for(const char *text)
{
    return cid_of(CID_RAW, text, strlen(text));
}

/* 2 layers of width 16; steps, micro-batches and held-out part to taste. */
static inline struct job small_job(uint32_t steps, uint32_t micro_batches)
{
    struct job j = {.name = "small", .seed = 7};
    j.model = (struct llama_config){.vocab_size = 256,
                                    .hidden_size = 16,
                                    .intermediate_size = 24,
                                    .layers = 2,
                                    .heads = 2,
                                    .kv_heads = 1,
                                    .head_dim = 8,
                                    .max_positions = 16,
                                    .rope_theta = 10000,
                                    .norm_eps = 1e-5,
                                    .tie_embeddings = true};
    j.init = (struct llama_init){.embed_std = 0.02, .linear_std = 0.02};
    j.data = cid_for("corpus");
    j.data_size = 4096;
    j.heldout = 0.1;
    j.seq_len = 16;
    j.micro_batch = 2;
    j.micro_batches = micro_batches;
    j.optimiser = (struct optimiser_recipe){.lr = 0.01,
                                            .min_lr = 0.001,
                                            .warmup_steps = 1,
                                            .steps = steps,
                                            .beta1 = 0.9,
                                            .beta2 = 0.95,
                                            .eps = 1e-8,
                                            .weight_decay = 0.1,
                                            .clip_norm = 1};
    j.checkpoint_every = 2;
    j.eval_batches = 6;
    j.check = 0.1;
    j.state_copies = 2;
    j.price_units_per_tflop = 100000;
    return j;
}

/* A job on a data set of 8 x 8 images in 3 classes, as after job_take_dataset. */
static inline struct job records_job(uint32_t steps, uint32_t micro_batches)
{
    struct job j = small_job(steps, micro_batches);
    j.architecture = JOB_CNN;
    j.model = (struct llama_config){0};
    j.init = (struct llama_init){0};
    j.heldout = 0;
    j.seq_len = 0;
    j.classifier = (struct classifier_config){.height = 8,
                                              .width = 8,
                                              .channels = 1,
                                              .classes = 3,
                                              .stages = 2,
                                              .filters = 3,
                                              .kernel = 3,
                                              .layers = 1,
                                              .hidden_size = 6};
    j.data.codec = CID_DAG_CBOR;
    j.records = 50;
    j.test_records = 20;
    j.data_size = 70 * 66;
    return j;
}

/* What a made-up executor gives: an output's CID is a hash of its task and its name. */
static inline void outputs_make_up(const struct plan_program *program, const struct cid *task,
                                   struct plan_result *r)
{
    for (; r->output_count < program->output_count; r->output_count++) {
        struct task_output *o = &r->output[r->output_count];
        uint8_t bytes[SHA256_BYTES + TASK_NAME_MAX] = {0};
        memcpy(o->name, program->output[r->output_count].name, sizeof o->name);
        memcpy(bytes, task->digest, SHA256_BYTES);
        memcpy(bytes + SHA256_BYTES, o->name, sizeof o->name);
        o->cid = cid_of(CID_RAW, bytes, sizeof bytes);
    }
}

/* ---- files and directories of a store ---- */

static inline struct cid unixfs_put(struct store *s, const void *bytes, size_t n)
{
    struct unixfs_link link;
    assert_ok(store_bytes_add(s, EMAC_SLICE(bytes, n), &link, err));
    return link.cid;
}

/* A directory of one file. */
static inline struct cid directory_put(struct store *s, const char *name, const char *text)
{
    struct unixfs_link link = {.name = name};
    struct emac_buf block;
    struct cid cid;
    uint64_t tree;
    assert_ok(store_bytes_add(s, EMAC_SLICE_STR(text), &link, err));
    emac_buf_init(&block, UNIXFS_DIR_MAX);
    assert_ok(unixfs_directory(&link, 1, &block, &cid, &tree, err));
    assert_ok(store_block_put_as(s, &cid, block.data, block.len, err));
    emac_buf_release(&block);
    return cid;
}

#endif
