/* Models as GGUF files and back: the same configuration and the same bytes of weights; other types
 * than the model's; and what such a file cannot say. */
#include "fixture.h"
#include "../property.h"
#include "base/assert.h"
#include "model/convert.h"
#include "model/to_gguf.h"

#define FILE_MAX ((size_t)1 << 24)

/* ---- a model ---- */

/* Sizes that each block fits, or that only some do. */
static struct llama_config config_choose(struct choices *c)
{
    static const uint32_t widths[] = {256, 64, 24};
    struct llama_config m = tiny_config(choose(c, 2) == 0);
    m.hidden_size = widths[choose(c, 3)];
    m.intermediate_size = widths[choose(c, 3)];
    m.layers = 1 + (uint32_t)choose(c, 2);
    m.kv_heads = 1u << choose(c, 3);
    m.head_dim = 2 * (1 + (uint32_t)choose(c, 8));
    m.vocab_size = 1 + (uint32_t)choose(c, 40);
    m.max_positions = 1 + (uint32_t)choose(c, 5000);
    m.rope_theta = choose(c, 2) ? 500000.0 : 10000.5;
    m.norm_eps = choose(c, 2) ? 1e-5 : 1e-6;
    m.qkv_bias = choose(c, 2) == 0;
    if (m.qkv_bias)
        m.hidden_size = m.heads * m.head_dim;
    m.storage = DTYPE_F32;
    m.rope.kind = (enum rope_kind)choose(c, m.qkv_bias ? 2 : 3);
    if (m.rope.kind != ROPE_PLAIN)
        m.rope.factor = choose(c, 2) ? 8 : 2.7;
    if (m.rope.kind == ROPE_LLAMA3) {
        m.rope.low = choose(c, 2) ? 1 : 0.3;
        m.rope.high = choose(c, 2) ? 4 : 6.1;
        m.rope.positions = choose(c, 2) ? 8192 : 100;
    }
    return m;
}

/* Weights of any bits but those of numbers that are none; `storage` as the model says. */
static void bundle_choose(struct choices *c, const struct llama_config *m, struct emac_buf *out)
{
    struct llama_source *source = calloc(llama_param_count(m), sizeof *source);
    bool half = m->storage == DTYPE_BF16;
    emac_buf_init(out, FILE_MAX);
    for (uint32_t i = 0; i < llama_param_count(m); i++) {
        struct model_param p;
        size_t n = 0, bytes;
        llama_param_at(m, NULL, i, &p);
        shape_count(&p.shape, &n);
        bytes = n * (half ? 2 : 4);
        uint8_t *data = malloc(bytes);
        choose_bytes(c, data, bytes);
        for (size_t k = half ? 1 : 3; k < bytes; k += half ? 2 : 4)
            data[k] &= 0xbe; /* small, and finite */
        source[i] = (struct llama_source){.data = data,
                                          .type = half ? LLAMA_SOURCE_BF16 : LLAMA_SOURCE_F32};
    }
    ASSERT_OK(llama_convert(m, source, NULL, out, err));
    for (uint32_t i = 0; i < llama_param_count(m); i++)
        free((void *)(uintptr_t)source[i].data);
    free(source);
}

static enum emac_status from_buf(void *ctx, uint64_t offset, void *out, size_t n,
                                 struct emac_err *err)
{
    const struct emac_buf *b = ctx;
    assert_true(offset <= b->len && n <= b->len - offset);
    memcpy(out, b->data + offset, n);
    return EMAC_OK;
}

static enum emac_status to_buf(void *ctx, const void *data, size_t n, struct emac_err *err)
{
    return emac_buf_append(ctx, data, n, err);
}

static enum emac_status exported(const struct llama_config *m, struct emac_buf *bundle, int type,
                                 struct emac_buf *file, struct emac_err *err)
{
    struct gguf_writer w;
    struct st_index idx = {0};
    enum emac_status st;
    emac_buf_init(file, FILE_MAX);
    gguf_writer_init(&w);
    EMAC_TRY(st, st_index_parse(&idx, bundle->data, bundle->len, bundle->len, err));
    EMAC_TRY(st, llama_to_gguf(&w, m, &idx, type, "a name", err));
    EMAC_TRY(st, gguf_write_begin(&w, (struct gguf_sink){to_buf, file}, err));
    st = llama_to_gguf_data(&w, m, &idx, type, (struct weights_reader){from_buf, bundle}, err);
out:
    st_index_release(&idx);
    gguf_writer_release(&w);
    return st;
}

static bool same_config(const struct llama_config *a, const struct llama_config *b)
{
    return a->vocab_size == b->vocab_size && a->hidden_size == b->hidden_size &&
           a->intermediate_size == b->intermediate_size && a->layers == b->layers &&
           a->heads == b->heads && a->kv_heads == b->kv_heads && a->head_dim == b->head_dim &&
           a->max_positions == b->max_positions && a->rope_theta == b->rope_theta &&
           a->norm_eps == b->norm_eps && a->rope.kind == b->rope.kind &&
           a->rope.factor == b->rope.factor && a->rope.low == b->rope.low &&
           a->rope.high == b->rope.high && a->rope.positions == b->rope.positions &&
           a->tie_embeddings == b->tie_embeddings && a->storage == b->storage &&
           a->qkv_bias == b->qkv_bias;
}

/* Import of the file: its configuration, and what safetensors file it makes. */
static void imported(const struct emac_buf *file, struct llama_config *got, struct emac_buf *bundle)
{
    struct gguf g;
    struct llama_source *source;
    ASSERT_OK(gguf_parse(&g, file->data, file->len, err));
    ASSERT_OK(llama_from_gguf(&g, got, &source, err));
    emac_buf_init(bundle, FILE_MAX);
    ASSERT_OK(llama_convert(got, source, NULL, bundle, err));
    free(source);
    gguf_release(&g);
}

static bool same_bytes(const struct emac_buf *a, const struct emac_buf *b)
{
    return a->len == b->len && memcmp(a->data, b->data, a->len) == 0;
}

/* As it is, with other blocks, in F32 or BF16. */
static bool model_comes_back(struct choices *c)
{
    struct llama_config m = config_choose(c), got;
    static const char *const QUANTS[] = {NULL, "q8_0", "q4_0", "q4_1", "q6_k"};
    const char *quant = QUANTS[choose(c, 5)];
    struct emac_buf plain, bundle, file, back;
    if (choose(c, 3) == 0)
        m.storage = DTYPE_BF16;
    if (quant != NULL)
        m.storage = DTYPE_F32;
    bundle_choose(c, &m, &plain);
    struct st_index idx;
    struct llama_source *source;
    ASSERT_OK(st_index_parse(&idx, plain.data, plain.len, plain.len, err));
    ASSERT_OK(llama_from_bundle(&idx, plain.data + idx.data_offset, &m, &source, err));
    emac_buf_init(&bundle, FILE_MAX);
    ASSERT_OK(llama_convert(&m, source, quant ? quant_find(quant) : NULL, &bundle, err));
    ASSERT_OK(exported(&m, &bundle, GGUF_AS_IT_IS, &file, err));
    imported(&file, &got, &back);
    bool ok = same_config(&m, &got) && same_bytes(&bundle, &back);
    emac_buf_release(&file);
    emac_buf_release(&back);
    /* the same blocks as by quantising first */
    ASSERT_OK(exported(&m, &plain, quant ? gguf_type_find(quant) : GGUF_AS_IT_IS, &file, err));
    imported(&file, &got, &back);
    ok = ok && same_config(&m, &got) && same_bytes(&bundle, &back);
    free(source);
    st_index_release(&idx);
    emac_buf_release(&plain);
    emac_buf_release(&bundle);
    emac_buf_release(&file);
    emac_buf_release(&back);
    return ok;
}

static void test_models_come_back(void **state)
{
    ASSERT_PROPERTY(60, model_comes_back);
}

/* Matrices of BF16 and a norm of F16, which ends the file: mixed, and nothing behind it is read. */
static void test_vectors_of_f16(void **state)
{
    static const uint8_t zeros[64];
    struct choices c = {.seed = 6};
    struct llama_config m = tiny_config(true), got;
    struct emac_buf bundle, file, other, back;
    struct gguf g;
    struct gguf_writer w;
    m.storage = DTYPE_BF16;
    bundle_choose(&c, &m, &bundle);
    ASSERT_OK(exported(&m, &bundle, GGUF_AS_IT_IS, &file, err));
    ASSERT_OK(gguf_parse(&g, file.data, file.len, err));
    const struct gguf_tensor *norm = gguf_tensor_find(&g, "output_norm.weight");
    emac_buf_init(&other, FILE_MAX);
    gguf_writer_init(&w);
    static const char *const SIZES[] = {
        "embedding_length",     "feed_forward_length",     "block_count",         "context_length",
        "attention.head_count", "attention.head_count_kv", "attention.key_length"};
    ASSERT_OK(gguf_add_text(&w, "general.architecture", EMAC_SLICE_STR("llama"), err));
    for (size_t i = 0; i < EMAC_COUNT(SIZES); i++) {
        char key[64];
        uint32_t v;
        snprintf(key, sizeof key, "llama.%s", SIZES[i]);
        ASSERT_OK(gguf_u32(&g, key, NULL, &v, err));
        ASSERT_OK(gguf_add_u32(&w, key, v, err));
    }
    ASSERT_OK(gguf_add_f32(&w, "llama.attention.layer_norm_rms_epsilon", 1e-5f, err));
    for (size_t i = 0; i < g.tensors; i++) {
        char name[GGUF_NAME_MAX] = "";
        memcpy(name, g.tensor[i].name.p, g.tensor[i].name.n);
        if (&g.tensor[i] != norm)
            ASSERT_OK(gguf_add_tensor(&w, name, g.tensor[i].type, g.tensor[i].rank, g.tensor[i].dim,
                                      err));
    }
    ASSERT_OK(gguf_add_tensor(&w, "output_norm.weight", GGUF_F16, 1, norm->dim, err));
    ASSERT_OK(gguf_write_begin(&w, (struct gguf_sink){to_buf, &other}, err));
    for (size_t i = 0; i < g.tensors; i++)
        if (&g.tensor[i] != norm)
            ASSERT_OK(gguf_write_data(&w, g.tensor[i].data, g.tensor[i].bytes, err));
    ASSERT_OK(gguf_write_data(&w, zeros, norm->bytes / 2, err));
    gguf_write_end(&w);
    uint8_t *exact = malloc(other.len); /* memory ends where the file does */
    memcpy(exact, other.data, other.len);
    const struct emac_buf cut = {exact, other.len, other.len, other.len};
    imported(&cut, &got, &back);
    assert_int_equal(got.storage, DTYPE_F32);
    free(exact);
    gguf_writer_release(&w);
    gguf_release(&g);
    emac_buf_release(&bundle);
    emac_buf_release(&file);
    emac_buf_release(&other);
    emac_buf_release(&back);
}

/* ---- types ---- */

static void test_types(void **state)
{
    static const struct {
        const char *name;
        enum gguf_type type;
    } types[] = {{"f32", GGUF_F32}, {"bf16", GGUF_BF16}, {"f16", GGUF_F16}, {"q6_k", GGUF_Q6_K}};
    struct choices c = {.seed = 3};
    struct llama_config m = tiny_config(true);
    struct emac_buf bundle, file;
    m.hidden_size = 256; /* and intermediate_size 24, which no block divides */
    m.storage = DTYPE_BF16;
    bundle_choose(&c, &m, &bundle);
    for (size_t i = 0; i < EMAC_COUNT(types); i++) {
        struct gguf g;
        bool block = types[i].type == GGUF_Q6_K;
        ASSERT_OK(exported(&m, &bundle, gguf_type_find(types[i].name), &file, err));
        ASSERT_OK(gguf_parse(&g, file.data, file.len, err));
        assert_int_equal(gguf_tensor_find(&g, "blk.0.attn_q.weight")->type, types[i].type);
        assert_int_equal(gguf_tensor_find(&g, "blk.0.ffn_down.weight")->type,
                         block ? GGUF_BF16 : types[i].type);
        assert_int_equal(gguf_tensor_find(&g, "blk.0.attn_norm.weight")->type, GGUF_F32);
        assert_null(gguf_tensor_find(&g, "output.weight"));
        gguf_release(&g);
        emac_buf_release(&file);
    }
    assert_int_equal(gguf_type_find("q5_0"), GGUF_AS_IT_IS);
    emac_buf_release(&bundle);
}

/* ---- refusals ---- */

static void number_put(struct emac_buf *bundle, const char *tensor, float x)
{
    struct st_index idx;
    ASSERT_OK(st_index_parse(&idx, bundle->data, bundle->len, bundle->len, err));
    memcpy(bundle->data + idx.data_offset + st_index_find(&idx, tensor)->begin, &x, sizeof x);
    st_index_release(&idx);
}

static void test_refused(void **state)
{
    struct choices c = {.seed = 4};
    struct llama_config m = tiny_config(true), other;
    struct emac_buf bundle, file;
    m.hidden_size = 256;
    m.storage = DTYPE_F32;
    bundle_choose(&c, &m, &bundle);
    other = m;
    other.layers = 1;
    ASSERT_FAILS(exported(&other, &bundle, GGUF_AS_IT_IS, &file, err), EMAC_INVALID, "tensors");
    emac_buf_release(&file);
    other = m;
    other.layers = 3;
    ASSERT_FAILS(exported(&other, &bundle, GGUF_AS_IT_IS, &file, err), EMAC_INVALID,
                 "is missing in the model's weights");
    emac_buf_release(&file);
    number_put(&bundle, "model.embed_tokens.weight", 1e6f);
    ASSERT_FAILS(exported(&m, &bundle, GGUF_F16, &file, err), EMAC_NUMERIC,
                 "'model.embed_tokens.weight' holds 1e+06, which is too large for F16");
    emac_buf_release(&file);
    number_put(&bundle, "model.embed_tokens.weight", __builtin_inff());
    ASSERT_FAILS(exported(&m, &bundle, GGUF_Q8_0, &file, err), EMAC_NUMERIC, "not finite");
    emac_buf_release(&file);
    m.qkv_bias = true;
    ASSERT_FAILS(exported(&m, &bundle, GGUF_AS_IT_IS, &file, err), EMAC_UNSUPPORTED,
                 "4 heads of 6 numbers and a hidden size of 256");
    emac_buf_release(&file);
    emac_buf_release(&bundle);
    m.hidden_size = m.heads * m.head_dim;
    m.rope = (struct rope_scaling){ROPE_LLAMA3, 8, 1, 4, 8192};
    bundle_choose(&c, &m, &bundle);
    ASSERT_FAILS(exported(&m, &bundle, GGUF_AS_IT_IS, &file, err), EMAC_UNSUPPORTED,
                 "scaled by 'llama3', which a GGUF file of the architecture 'qwen2' cannot say");
    emac_buf_release(&file);
    emac_buf_release(&bundle);
}

/* ---- angles of others ---- */

/* Llama 3.1's and 3.2's files have the tensor alone; another's angles are refused. */
static void test_angles_of_others(void **state)
{
    static const char *const OURS[] = {"emac.rope.factor"};
    struct choices c = {.seed = 5};
    for (int way = 0; way < 3; way++) {
        struct llama_config m = tiny_config(true), got;
        struct emac_buf bundle, file;
        struct gguf g;
        struct llama_source *source = NULL;
        m.storage = DTYPE_F32;
        m.head_dim = 64;
        m.rope_theta = 500000;
        m.rope = (struct rope_scaling){ROPE_LLAMA3, 32, way == 1 ? 2 : 1, 4, 8192};
        bundle_choose(&c, &m, &bundle);
        ASSERT_OK(exported(&m, &bundle, GGUF_AS_IT_IS, &file, err));
        for (size_t k = 0; k + strlen(OURS[0]) < file.len; k++)
            if (memcmp(file.data + k, OURS[0], strlen(OURS[0])) == 0)
                file.data[k] = 'x'; /* what is said beside the tensor is somebody else's */
        ASSERT_OK(gguf_parse(&g, file.data, file.len, err));
        if (way == 2)
            ((uint8_t *)(uintptr_t)gguf_tensor_find(&g, "rope_freqs.weight")->data)[4 * 20 + 2] ^=
                1;
        if (way == 0) {
            ASSERT_OK(llama_from_gguf(&g, &got, &source, err));
            assert_true(same_config(&m, &got));
        } else {
            ASSERT_FAILS(llama_from_gguf(&g, &got, &source, err), EMAC_UNSUPPORTED,
                         "the angles of 'rope_freqs.weight'");
        }
        free(source);
        gguf_release(&g);
        emac_buf_release(&file);
        emac_buf_release(&bundle);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_models_come_back),
                                       cmocka_unit_test(test_vectors_of_f16),
                                       cmocka_unit_test(test_types), cmocka_unit_test(test_refused),
                                       cmocka_unit_test(test_angles_of_others)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
