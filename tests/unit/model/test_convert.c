/* Models through GGUF, F16 and quantised forms: weights arrive bit for bit, and sessions run. */
#include "../codec/gguf_test.h"
#include "base/assert.h"
#include "base/philox.h"
#include "compute/half.h"
#include "fixture.h"
#include "model/convert.h"
#include "model/session.h"

#define FILE_MAX   ((size_t)1 << 24)
#define TOKENS     40
#define PARAMS_MAX 32

/* Wide enough for each format. */
static struct llama_config wide_config(bool tie)
{
    struct llama_config c = tiny_config(tie);
    c.hidden_size = 256;
    c.intermediate_size = 256;
    c.head_dim = 64;
    c.max_positions = TOKENS;
    c.storage = DTYPE_F32;
    return c;
}

/* Parameters as F32, in memory of their own. */
struct params {
    struct llama_source source[PARAMS_MAX];
    size_t bytes[PARAMS_MAX];
};

static void params_init(struct params *p, const struct llama_config *c)
{
    assert_true(llama_param_count(c) <= PARAMS_MAX);
    for (uint32_t i = 0; i < llama_param_count(c); i++) {
        struct model_param param;
        size_t n = 0;
        float *x;
        llama_param_at(c, NULL, i, &param);
        shape_count(&param.shape, &n);
        x = malloc(n * sizeof(*x));
        for (size_t k = 0; k < n; k++)
            x[k] = param.shape.rank == 1 && strstr(param.name, "bias") == NULL
                       ? 1.0f
                       : ((float)philox_below(9, PHILOX_TEST, i, k, 1 << 16) - 32768.0f) * 0x1p-19f;
        p->source[i] = (struct llama_source){(uint8_t *)x, LLAMA_SOURCE_F32, NULL, false};
        p->bytes[i] = n * sizeof(*x);
    }
}

static void params_release(struct params *p, const struct llama_config *c)
{
    for (uint32_t i = 0; i < llama_param_count(c); i++)
        free((void *)(uintptr_t)p->source[i].data);
}

static void converted(const struct llama_config *c, const struct llama_source *source,
                      const struct quant_info *to, struct emac_buf *out)
{
    emac_buf_init(out, FILE_MAX);
    ASSERT_OK(llama_convert(c, source, to, out, err));
}

/* -- GGUF ---------------------------------------------------------------------------------- */

static const char *const names[][2] = {
    {"lm_head.weight", "output.weight"},
    {"model.embed_tokens.weight", "token_embd.weight"},
    {"model.norm.weight", "output_norm.weight"},
    {"input_layernorm.weight", "attn_norm.weight"},
    {"post_attention_layernorm.weight", "ffn_norm.weight"},
    {"mlp.down_proj.weight", "ffn_down.weight"},
    {"mlp.gate_proj.weight", "ffn_gate.weight"},
    {"mlp.up_proj.weight", "ffn_up.weight"},
    {"self_attn.k_proj.weight", "attn_k.weight"},
    {"self_attn.o_proj.weight", "attn_output.weight"},
    {"self_attn.q_proj.weight", "attn_q.weight"},
    {"self_attn.v_proj.weight", "attn_v.weight"},
    {"self_attn.k_proj.bias", "attn_k.bias"},
    {"self_attn.q_proj.bias", "attn_q.bias"},
    {"self_attn.v_proj.bias", "attn_v.bias"},
};

static void gguf_name(const char *ours, char *out, size_t cap)
{
    for (size_t i = 0; i < EMAC_COUNT(names); i++) {
        const char *tail = strstr(ours, names[i][0]);
        if (tail == NULL)
            continue;
        if (i < 3)
            snprintf(out, cap, "%s", names[i][1]);
        else
            snprintf(out, cap, "blk.%c.%s", ours[strlen("model.layers.")], names[i][1]);
        return;
    }
    fail_msg("no name for %s", ours);
}

static void put_metadata(struct emac_buf *b, const struct llama_config *c)
{
    const char *arch = c->qkv_bias ? "qwen2" : "llama";
    const struct {
        const char *name;
        uint32_t value;
    } sizes[] = {
        {"embedding_length", c->hidden_size}, {"feed_forward_length", c->intermediate_size},
        {"block_count", c->layers},           {"context_length", c->max_positions},
        {"attention.head_count", c->heads},   {"attention.head_count_kv", c->kv_heads}};
    char key[64];

    gguf_put_string(b, "general.architecture", arch);
    for (size_t i = 0; i < EMAC_COUNT(sizes); i++) {
        snprintf(key, sizeof(key), "%s.%s", arch, sizes[i].name);
        gguf_put_u32(b, key, sizes[i].value);
    }
    snprintf(key, sizeof(key), "%s.attention.layer_norm_rms_epsilon", arch);
    gguf_put_f32(b, key, (float)c->norm_eps);
}
#define METADATA 8

/* Rows of each head: 0, E/2, 1, E/2 + 1, ... */
static void put_paired(struct emac_buf *b, const uint8_t *data, size_t rows, size_t row_bytes,
                       size_t head)
{
    for (size_t r = 0; r < rows; r++) {
        size_t at = r % head, from = r - at + at % 2 * (head / 2) + at / 2;
        ASSERT_OK(emac_buf_append(b, data + from * row_bytes, row_bytes, err));
    }
}

/* The tensors; head and values have been put. */
static void put_model(struct emac_buf *b, const struct llama_config *c, const struct params *p)
{
    struct model_param param;
    char name[80];
    uint64_t offset = 0;
    for (uint32_t i = 0; i < llama_param_count(c); i++) {
        llama_param_at(c, NULL, i, &param);
        gguf_name(param.name, name, sizeof(name));
        if (param.shape.rank == 1)
            gguf_put_tensor(b, name, param.shape.dim[0], 0, GGUF_F32, offset);
        else
            gguf_put_tensor(b, name, param.shape.dim[1], param.shape.dim[0], GGUF_F32, offset);
        offset += p->bytes[i];
    }
    gguf_pad(b, 32);
    for (uint32_t i = 0; i < llama_param_count(c); i++) {
        llama_param_at(c, NULL, i, &param);
        if (!c->qkv_bias && (strstr(param.name, "q_proj") || strstr(param.name, "k_proj")))
            put_paired(b, p->source[i].data, param.shape.dim[0], param.shape.dim[1] * 4,
                       c->head_dim);
        else
            ASSERT_OK(emac_buf_append(b, p->source[i].data, p->bytes[i], err));
    }
}

static void test_gguf_gives_the_same_bundle(void **state)
{
    for (int tie = 0; tie < 2; tie++) {
        struct llama_config c = wide_config(tie != 0), got;
        struct params p;
        struct emac_buf file, want, bundle;
        struct gguf g;
        struct llama_source *source;
        c.qkv_bias = tie != 0;
        params_init(&p, &c);
        emac_buf_init(&file, FILE_MAX);
        gguf_put_head(&file, llama_param_count(&c), METADATA);
        put_metadata(&file, &c);
        put_model(&file, &c, &p);
        ASSERT_OK(gguf_parse(&g, file.data, file.len, err));
        ASSERT_OK(llama_from_gguf(&g, &got, &source, err));
        assert_true(got.head_dim == c.head_dim && got.vocab_size == c.vocab_size &&
                    got.tie_embeddings == c.tie_embeddings && got.rope_theta == 10000.0 &&
                    got.norm_eps == c.norm_eps && got.max_positions == c.max_positions &&
                    got.qkv_bias == c.qkv_bias);
        converted(&c, p.source, NULL, &want);
        converted(&got, source, NULL, &bundle);
        assert_int_equal(bundle.len, want.len);
        assert_memory_equal(bundle.data, want.data, want.len);
        free(source);
        gguf_release(&g);
        emac_buf_release(&file);
        emac_buf_release(&want);
        emac_buf_release(&bundle);
        params_release(&p, &c);
    }
}

/* One tensor less than the model has, and all but one with names it does not know. */
static void put_strangers(struct emac_buf *b, const struct llama_config *c)
{
    for (uint32_t t = 0; t + 1 < llama_param_count(c); t++) {
        char name[32];
        snprintf(name, sizeof(name), t ? "some.%u" : "token_embd.weight", t);
        gguf_put_tensor(b, name, c->hidden_size, c->vocab_size, GGUF_F32, 0);
    }
    gguf_pad(b, 32);
    for (size_t k = 0; k < (size_t)c->hidden_size * c->vocab_size; k++)
        gguf_put(b, 0, 4);
}

/* A value too many, or wrong tensors. */
static void test_what_gguf_may_not_say(void **state)
{
    static const struct {
        const char *key;
        uint32_t value; /* 0: the key is a string, "yarn" */
        const char *says;
    } bad[] = {{"llama.rope.scaling.type", 0, "must be \"none\""},
               {"llama.expert_count", 8, "experts"},
               {"llama.rope.dimension_count", 32, "rotated"},
               {"llama.attention.value_length", 32, "values 32"}};
    struct llama_config c = wide_config(true), got;
    struct llama_source *source;
    struct params p;
    params_init(&p, &c);
    for (size_t i = 0; i <= EMAC_COUNT(bad); i++) {
        bool less = i == EMAC_COUNT(bad);
        struct emac_buf file;
        struct gguf g;
        emac_buf_init(&file, FILE_MAX);
        gguf_put_head(&file, llama_param_count(&c) - less, METADATA + !less);
        put_metadata(&file, &c);
        if (!less && bad[i].value)
            gguf_put_u32(&file, bad[i].key, bad[i].value);
        else if (!less)
            gguf_put_string(&file, bad[i].key, "yarn");
        if (less)
            put_strangers(&file, &c);
        else
            put_model(&file, &c, &p);
        ASSERT_OK(gguf_parse(&g, file.data, file.len, err));
        ASSERT_FAILS(llama_from_gguf(&g, &got, &source, err),
                     less ? EMAC_INVALID : EMAC_UNSUPPORTED,
                     less ? "is missing in the GGUF file" : bad[i].says);
        assert_null(source);
        gguf_release(&g);
        emac_buf_release(&file);
    }
    params_release(&p, &c);
}

/* -- other forms --------------------------------------------------------------------------- */

static void test_f16_becomes_f32(void **state)
{
    struct llama_config c = wide_config(true);
    struct params p;
    struct emac_buf bundle;
    struct st_index idx;
    const struct st_tensor *t;
    uint16_t *half = malloc((size_t)c.vocab_size * c.hidden_size * sizeof(*half));
    const float *got;
    params_init(&p, &c);
    for (size_t k = 0; k < (size_t)c.vocab_size * c.hidden_size; k++)
        half[k] = (uint16_t)half_from_float(((const float *)(const void *)p.source[0].data)[k]);
    struct llama_source first = p.source[0];
    p.source[0] = (struct llama_source){(uint8_t *)half, LLAMA_SOURCE_F16, NULL, false};
    converted(&c, p.source, NULL, &bundle);
    ASSERT_OK(st_index_parse(&idx, bundle.data, bundle.len, bundle.len, err));
    t = st_index_find(&idx, "model.embed_tokens.weight");
    assert_true(t != NULL && t->dtype == ST_F32);
    got = (const float *)(const void *)(bundle.data + idx.data_offset + t->begin);
    for (size_t k = 0; k < (size_t)c.vocab_size * c.hidden_size; k++)
        assert_int_equal(fn_bits(got[k]), fn_bits(half_to_float(half[k])));
    st_index_release(&idx);
    emac_buf_release(&bundle);
    p.source[0] = first;
    params_release(&p, &c);
    free(half);
}

/* Feed in one piece, then one by one, then on the reference device: logits are the same bits. */
static void speaks(const struct llama_config *c, const struct emac_buf *bundle, float *logits)
{
    int32_t tokens[TOKENS];
    const float *got;
    for (uint32_t i = 0; i < TOKENS; i++)
        tokens[i] = (int32_t)philox_below(4, PHILOX_TEST, 0, i, c->vocab_size);
    for (int way = 0; way < 3; way++) {
        struct device *dev = way == 2 ? ref_device() : best_device();
        struct session *s;
        ASSERT_OK(session_open(dev, c, bundle->data, bundle->len, &s, err));
        for (uint32_t i = 0; way != 0 && i < TOKENS; i++)
            ASSERT_OK(session_feed(s, tokens + i, 1, &got, err));
        if (way == 0)
            ASSERT_OK(session_feed(s, tokens, TOKENS, &got, err));
        if (way == 0)
            memcpy(logits, got, c->vocab_size * sizeof(*got));
        assert_memory_equal(logits, got, c->vocab_size * sizeof(*got));
        session_close(s);
        device_close(dev);
    }
}

static void test_quantised_models_speak(void **state)
{
    static const struct {
        const char *format;
        float near; /* of the largest logit */
    } forms[] = {{"q8_0", 0.03f}, {"q6_k", 0.08f}, {"q4_1", 0.3f}, {"q4_0", 0.3f}};
    struct llama_config c = wide_config(false);
    struct params p;
    struct emac_buf plain;
    float want[32], got[32], most = 0;
    params_init(&p, &c);
    converted(&c, p.source, NULL, &plain);
    speaks(&c, &plain, want);
    for (uint32_t v = 0; v < c.vocab_size; v++)
        most = want[v] > most ? want[v] : -want[v] > most ? -want[v] : most;
    for (size_t f = 0; f < EMAC_COUNT(forms); f++) {
        struct emac_buf bundle, again;
        struct st_index idx;
        struct llama_source *source;
        converted(&c, p.source, quant_find(forms[f].format), &bundle);
        assert_true(bundle.len < plain.len / 3);
        speaks(&c, &bundle, got);
        for (uint32_t v = 0; v < c.vocab_size; v++) {
            float off = got[v] - want[v];
            if (off > most * forms[f].near || -off > most * forms[f].near)
                fail_msg("%s: logit %u is %g, plain %g", forms[f].format, v, (double)got[v],
                         (double)want[v]);
        }
        ASSERT_OK(st_index_parse(&idx, bundle.data, bundle.len, bundle.len, err));
        ASSERT_OK(llama_from_bundle(&idx, bundle.data + idx.data_offset, &c, &source, err));
        converted(&c, source, quant_find(forms[f].format), &again); /* stays as it is */
        assert_memory_equal(again.data, bundle.data, bundle.len);
        free(source);
        st_index_release(&idx);
        emac_buf_release(&again);
        emac_buf_release(&bundle);
    }
    emac_buf_release(&plain);
    params_release(&p, &c);
}

static void test_no_numbers_are_refused(void **state)
{
    struct llama_config c = wide_config(true);
    struct params p;
    struct emac_buf out;
    params_init(&p, &c);
    ((float *)(uintptr_t)p.source[0].data)[700] = fn_float(FN_NAN);
    emac_buf_init(&out, FILE_MAX);
    ASSERT_FAILS(llama_convert(&c, p.source, quant_find("q8_0"), &out, err), EMAC_NUMERIC,
                 "model.embed_tokens.weight");
    emac_buf_release(&out);
    params_release(&p, &c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gguf_gives_the_same_bundle),
        cmocka_unit_test(test_what_gguf_may_not_say),
        cmocka_unit_test(test_f16_becomes_f32),
        cmocka_unit_test(test_quantised_models_speak),
        cmocka_unit_test(test_no_numbers_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
