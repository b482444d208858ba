/* dump-model DIR: an oracle's homework. Writes a small untrained model in Hugging Face's form
 * (model.safetensors, config.json, the tokenizer's files) and, in expected.safetensors, what EMAC
 * makes of it: tokens and targets [B,T], logits [B*T,V], loss [1], the gradient of every parameter
 * ("grad.<name>"), a prompt and its greedy continuation. hf_check.py compares them with
 * transformers and PyTorch. "dump-model DIR untied" gives the model an output matrix of its own. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/philox.h"
#include "codec/safetensors.h"
#include "model/session.h"
#include "model/optimiser.h"
#include "model/tokenizer.h"
#include "os/os.h"

#define BATCH     3
#define SEQ       40
#define PROMPT    24
#define GENERATED 16
#define FILE_MAX  ((size_t)64 << 20)

static struct llama_config config = {.vocab_size = 256,
                                     .hidden_size = 48,
                                     .intermediate_size = 112,
                                     .layers = 3,
                                     .heads = 6,
                                     .kv_heads = 2,
                                     .head_dim = 16, /* not hidden_size / heads */
                                     .max_positions = 128,
                                     .rope_theta = 5000.0, /* not the default */
                                     .norm_eps = 1e-5,
                                     .tie_embeddings = true};
static const struct optimiser_recipe recipe = {.lr = 0.01};
static const struct llama_init init = {.embed_std = 0.3, .linear_std = 0.15};

#define TENSORS_MAX 256

/* Tensors to write, by name; the data are owned. */
struct bundle {
    struct st_index idx;
    char *name[TENSORS_MAX];
    void *data[TENSORS_MAX];
    size_t count;
};

struct dump {
    struct os *os;
    const char *dir;
    struct device *dev;
    struct bundle params, expected;
    int32_t tokens[BATCH * SEQ], targets[BATCH * SEQ];
    float *cos, *sin;
};

static void *bundle_add(struct bundle *b, const char *name, enum st_dtype dtype,
                        const struct shape *shape)
{
    uint64_t dim[TENSOR_RANK_MAX];
    struct emac_err err;
    size_t bytes = 0;

    for (uint32_t i = 0; i < shape->rank; i++)
        dim[i] = shape->dim[i];
    EMAC_ASSERT(shape_bytes(DTYPE_F32, shape, &bytes) && b->count < EMAC_COUNT(b->name));
    EMAC_ASSERT(st_index_add(&b->idx, name, dtype, shape->rank, dim, &err) == EMAC_OK);
    b->name[b->count] = emac_strdup(name);
    b->data[b->count] = calloc(1, bytes);
    EMAC_ASSERT(b->data[b->count] != NULL);
    return b->data[b->count++];
}

static void *bundle_find(const struct bundle *b, const char *name)
{
    for (size_t i = 0; i < b->count; i++)
        if (strcmp(b->name[i], name) == 0)
            return b->data[i];
    return NULL;
}

static void bundle_release(struct bundle *b)
{
    for (size_t i = 0; i < b->count; i++) {
        free(b->name[i]);
        free(b->data[i]);
    }
    st_index_release(&b->idx);
}

static enum emac_status file_write(const struct dump *d, const char *name,
                                   const struct emac_buf *buf, struct emac_err *err)
{
    char path[OS_PATH_MAX];

    if (snprintf(path, sizeof(path), "%s/%s", d->dir, name) >= (int)sizeof(path))
        return emac_fail(err, EMAC_TOO_LARGE, "the path '%s' is too long", d->dir);
    return d->os->file_write(d->os, path, buf->data, buf->len, 0644, err);
}

/* The whole safetensors file into `file`. */
static enum emac_status bundle_encode(struct bundle *b, struct emac_buf *file, struct emac_err *err)
{
    enum emac_status st;

    EMAC_TRY(st, st_bundle_layout(&b->idx, file, err));
    for (size_t i = 0; i < b->idx.count; i++) {
        const struct st_tensor *t = &b->idx.tensor[i];

        EMAC_TRY(st, emac_buf_append(file, bundle_find(b, t->name), t->end - t->begin, err));
    }
out:
    return st;
}

/* -- running graphs ------------------------------------------------------------------------ */

static const void *input_data(const struct dump *d, const char *name)
{
    if (strncmp(name, "params/", 7) == 0)
        return bundle_find(&d->params, name + 7);
    if (strcmp(name, "tables/cos") == 0)
        return d->cos;
    if (strcmp(name, "tables/sin") == 0)
        return d->sin;
    return strcmp(name, "batch/tokens") == 0 ? d->tokens : d->targets;
}

/* Run g and free it. Output "<prefix>name" goes into `into` as "name"; others are thrown away. */
static enum emac_status run(struct dump *d, struct graph *g, const char *prefix,
                            struct bundle *into, struct emac_err *err)
{
    struct bundle waste = {.count = 0};
    struct graph_plan *p = NULL;
    enum emac_status st;

    EMAC_TRY(st, graph_plan_new(g, &p, err));
    for (uint32_t i = 0; i < graph_input_count(g); i++)
        graph_bind_input(p, i, input_data(d, graph_input_at(g, i).name));
    for (uint32_t i = 0; i < graph_output_count(g); i++) {
        struct graph_port port = graph_output_at(g, i);
        bool wanted = strncmp(port.name, prefix, strlen(prefix)) == 0;
        struct bundle *b = wanted ? into : &waste;

        graph_bind_output(p, i, bundle_add(b, strchr(port.name, '/') + 1, ST_F32, &port.shape));
    }
    st = graph_run(p, d->dev, err);
out:
    graph_plan_free(p);
    graph_free(g);
    bundle_release(&waste);
    return st;
}

static enum emac_status weights_make(struct dump *d, struct emac_buf *file, struct emac_err *err)
{
    struct graph *g;
    enum emac_status st;

    EMAC_TRY(st, llama_graph_init(&config, &init, 2024, &recipe, &g, err));
    EMAC_TRY(st, run(d, g, "params/", &d->params, err));
    /* Norms other than one and biases other than zero, so that their place in the model matters. */
    for (size_t i = 0; i < d->params.count; i++) {
        const struct st_tensor *t = &d->params.idx.tensor[i];
        float *w = d->params.data[i], least = strstr(t->name, "norm") != NULL ? 0.75f : -0.25f;

        for (uint32_t k = 0; t->rank == 1 && k < t->dim[0]; k++)
            w[k] = least + (float)philox_below(5, PHILOX_TEST, (uint32_t)i, k, 64) / 128.0f;
    }
    EMAC_TRY(st, bundle_encode(&d->params, file, err));
    st = file_write(d, "model.safetensors", file, err);
out:
    return st;
}

static enum emac_status texts_write(struct dump *d, struct emac_err *err)
{
    struct emac_buf buf;
    enum emac_status st;

    emac_buf_init(&buf, FILE_MAX);
    EMAC_TRY(st, llama_config_write(&config, &buf, err));
    EMAC_TRY(st, file_write(d, "config.json", &buf, err));
    emac_buf_clear(&buf);
    EMAC_TRY(st, byte_tokenizer_json(&buf, err));
    EMAC_TRY(st, file_write(d, "tokenizer.json", &buf, err));
    emac_buf_clear(&buf);
    EMAC_TRY(st, byte_tokenizer_config_json(&buf, config.max_positions, err));
    EMAC_TRY(st, file_write(d, "tokenizer_config.json", &buf, err));
    emac_buf_clear(&buf);
    EMAC_TRY(st, byte_tokenizer_special_json(&buf, err));
    EMAC_TRY(st, file_write(d, "special_tokens_map.json", &buf, err));
    emac_buf_clear(&buf);
    EMAC_TRY(st, generation_config_json(&buf, err));
    st = file_write(d, "generation_config.json", &buf, err);
out:
    emac_buf_release(&buf);
    return st;
}

/* -- what is expected ---------------------------------------------------------------------- */

static enum emac_status batch_make(struct dump *d, struct emac_err *err)
{
    const struct shape shape = SHAPE2(BATCH, SEQ);
    size_t table = (size_t)SEQ * config.head_dim / 2;
    enum emac_status st;

    for (uint32_t i = 0; i < BATCH * SEQ; i++) {
        d->tokens[i] = (int32_t)philox_below(6, PHILOX_TEST, 0, i, config.vocab_size);
        d->targets[i] = (int32_t)philox_below(6, PHILOX_TEST, 1, i, config.vocab_size);
    }
    memcpy(bundle_add(&d->expected, "tokens", ST_I32, &shape), d->tokens, sizeof(d->tokens));
    memcpy(bundle_add(&d->expected, "targets", ST_I32, &shape), d->targets, sizeof(d->targets));
    EMAC_TRY(st, emac_alloc(&d->cos, table, sizeof(float), err));
    EMAC_TRY(st, emac_alloc(&d->sin, table, sizeof(float), err));
    llama_rope_tables(&config, SEQ, d->cos, d->sin);
out:
    return st;
}

static enum emac_status continuation_make(struct dump *d, const struct emac_buf *file,
                                          struct emac_err *err)
{
    const struct sample_params greedy = {.temperature = 0, .top_p = 1};
    const struct shape prompt = SHAPE2(1, PROMPT), generated = SHAPE2(1, GENERATED);
    struct session *s = NULL;
    const float *logits;
    int32_t *out;
    enum emac_status st;

    memcpy(bundle_add(&d->expected, "prompt", ST_I32, &prompt), d->tokens, PROMPT * 4);
    out = bundle_add(&d->expected, "generated", ST_I32, &generated);
    EMAC_TRY(st, session_open(d->dev, &config, file->data, file->len, &s, err));
    EMAC_TRY(st, session_feed(s, d->tokens, PROMPT, &logits, err));
    for (uint32_t i = 0; i < GENERATED; i++) {
        out[i] = sample_token(logits, config.vocab_size, &greedy, i);
        EMAC_TRY(st, session_feed(s, &out[i], 1, &logits, err));
    }
out:
    session_close(s);
    return st;
}

static enum emac_status expected_write(struct dump *d, const struct emac_buf *model,
                                       struct emac_err *err)
{
    struct emac_buf file;
    struct graph *g;
    enum emac_status st;

    emac_buf_init(&file, FILE_MAX);
    EMAC_TRY(st, batch_make(d, err));
    EMAC_TRY(st, llama_graph_forward(&config, BATCH, SEQ, &g, err));
    EMAC_TRY(st, run(d, g, "out/", &d->expected, err));
    EMAC_TRY(st, llama_graph_train(&config, BATCH, SEQ, &g, err));
    EMAC_TRY(st, run(d, g, "sum/", &d->expected, err));
    EMAC_TRY(st, continuation_make(d, model, err));
    EMAC_TRY(st, bundle_encode(&d->expected, &file, err));
    st = file_write(d, "expected.safetensors", &file, err);
out:
    emac_buf_release(&file);
    return st;
}

int main(int argc, char **argv)
{
    static struct dump d;
    struct emac_buf model;
    struct emac_err err;
    enum emac_status st;

    if (argc < 2 || argc > 3 ||
        (argc == 3 && strcmp(argv[2], "untied") != 0 && strcmp(argv[2], "biased") != 0)) {
        fprintf(stderr, "usage: dump-model DIR [untied|biased]\n");
        return 2;
    }
    d.os = os_real();
    d.dir = argv[1];
    config.tie_embeddings = argc == 2;
    config.qkv_bias = argc == 3 && strcmp(argv[2], "biased") == 0;
    if (config.qkv_bias) /* llama.cpp wants that of a Qwen 2 */
        config.head_dim = config.hidden_size / config.heads;
    emac_buf_init(&model, FILE_MAX);
    EMAC_TRY(st, device_cpu_open(ISA_BEST, 1, &d.dev, &err));
    EMAC_TRY(st, d.os->dir_make(d.os, d.dir, &err));
    EMAC_TRY(st, texts_write(&d, &err));
    EMAC_TRY(st, weights_make(&d, &model, &err));
    EMAC_TRY(st, expected_write(&d, &model, &err));
out:
    if (st != EMAC_OK)
        fprintf(stderr, "dump-model: %s\n", err.text);
    if (d.dev != NULL)
        device_close(d.dev);
    emac_buf_release(&model);
    bundle_release(&d.params);
    bundle_release(&d.expected);
    free(d.cos);
    free(d.sin);
    return emac_status_exit(st);
}
