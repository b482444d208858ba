/* config.json and the list of parameters. */
#include "fixture.h"

#define PLAIN                                                                                      \
    "\"model_type\":\"llama\",\"hidden_act\":\"silu\",\"vocab_size\":32000,\"hidden_size\":4096,"  \
    "\"intermediate_size\":11008,\"num_hidden_layers\":32,\"num_attention_heads\":32"
#define MISTRAL                                                                                    \
    "\"model_type\":\"mistral\",\"vocab_size\":32000,\"hidden_size\":4096,"                        \
    "\"intermediate_size\":14336,\"num_hidden_layers\":32,\"num_attention_heads\":32"

static enum emac_status read_text(const char *text, struct llama_config *c, struct emac_err *err)
{
    return llama_config_read(c, text, strlen(text), err);
}

static void check_equal(const struct llama_config *a, const struct llama_config *b)
{
    assert_int_equal(a->vocab_size, b->vocab_size);
    assert_int_equal(a->hidden_size, b->hidden_size);
    assert_int_equal(a->intermediate_size, b->intermediate_size);
    assert_int_equal(a->layers, b->layers);
    assert_int_equal(a->heads, b->heads);
    assert_int_equal(a->kv_heads, b->kv_heads);
    assert_int_equal(a->head_dim, b->head_dim);
    assert_int_equal(a->max_positions, b->max_positions);
    assert_true(a->rope_theta == b->rope_theta);
    assert_true(a->norm_eps == b->norm_eps);
    assert_true(a->tie_embeddings == b->tie_embeddings);
    assert_int_equal(a->storage, b->storage);
    assert_true(a->qkv_bias == b->qkv_bias);
}

static void test_round_trip(void **state)
{
    static const double theta[] = {10000.0, 500000.0, 1.0, 12345.678901234567, 1e12};
    static const double eps[] = {1e-5, 1e-6, 1e-12, 0.1, 1.0};

    for (int i = 0; i < 5; i++) {
        struct llama_config c = tiny_config(i % 2), back;
        struct emac_buf buf;

        c.rope_theta = theta[i];
        c.norm_eps = eps[i];
        c.storage = i == 3 ? DTYPE_BF16 : DTYPE_F32;
        c.qkv_bias = i >= 3;
        emac_buf_init(&buf, LLAMA_CONFIG_BYTES_MAX);
        ASSERT_OK(llama_config_write(&c, &buf, err));
        ASSERT_OK(llama_config_read(&back, emac_buf_str(&buf), buf.len, err));
        check_equal(&c, &back);
        emac_buf_release(&buf);
    }
}

static void test_defaults_are_hugging_faces(void **state)
{
    struct llama_config c;

    ASSERT_OK(read_text("{" PLAIN ",\"unknown\":[1]}", &c, err));
    assert_int_equal(c.kv_heads, 32);
    assert_int_equal(c.head_dim, 128);
    assert_int_equal(c.max_positions, 2048);
    assert_true(c.rope_theta == 10000.0 && c.norm_eps == 1e-6 && !c.tie_embeddings);
    assert_true(llama_param_elements(&c) == 6738415616ull); /* Llama 2 7B */
    ASSERT_OK(read_text("{" PLAIN ",\"rope_scaling\":null,\"head_dim\":null,\"rope_theta\":5e5,"
                        "\"num_key_value_heads\":8,\"max_position_embeddings\":8192}",
                        &c, err));
    assert_int_equal(c.storage, DTYPE_F32);
    assert_int_equal(c.kv_heads, 8);
    assert_true(c.rope_theta == 500000.0);
    ASSERT_OK(read_text("{" PLAIN ",\"rope_parameters\":{\"rope_type\":\"default\","
                        "\"rope_theta\":1000000.0}}",
                        &c, err));
    assert_true(c.rope_theta == 1e6 && c.rope.kind == ROPE_PLAIN);
    ASSERT_OK(read_text("{" MISTRAL ",\"sliding_window\":null}", &c, err));
}

/* Qwen2.5-0.5B's file, but for what only its tokenizer asks for. */
static void test_qwen(void **state)
{
    static const char text[] =
        "{\"architectures\":[\"Qwen2ForCausalLM\"],\"attention_dropout\":0.0,\"hidden_act\":"
        "\"silu\","
        "\"hidden_size\":896,\"initializer_range\":0.02,\"intermediate_size\":4864,"
        "\"max_position_embeddings\":32768,\"max_window_layers\":24,\"model_type\":\"qwen2\","
        "\"num_attention_heads\":14,\"num_hidden_layers\":24,\"num_key_value_heads\":2,"
        "\"rms_norm_eps\":1e-06,\"rope_theta\":1000000.0,\"sliding_window\":32768,"
        "\"tie_word_embeddings\":true,\"torch_dtype\":\"bfloat16\",\"use_cache\":true,"
        "\"use_sliding_window\":false,\"vocab_size\":151936}";
    struct emac_buf out;
    struct llama_config c;

    emac_buf_init(&out, LLAMA_CONFIG_BYTES_MAX);
    ASSERT_OK(read_text(text, &c, err));
    assert_true(c.qkv_bias && c.tie_embeddings && c.rope_theta == 1e6 && c.head_dim == 64);
    assert_int_equal(c.storage, DTYPE_BF16);
    assert_true(llama_param_elements(&c) == 494032768ull);
    ASSERT_OK(llama_config_write(&c, &out, err));
    assert_non_null(strstr(emac_buf_str(&out), "\"Qwen2ForCausalLM\""));
    assert_non_null(strstr(emac_buf_str(&out), "\"model_type\": \"qwen2\""));
    emac_buf_release(&out);
}

/* Llama 3.2's frequencies, computed elsewhere; and what is read is written again. */
static void test_stretched_positions(void **state)
{
    static const struct {
        uint32_t pair;
        double frequency;
    } WANT[] = {{0, 1.0},
                {10, 0.016560440080994446},
                {15, 0.001290547928209264},
                {16, 0.00042955679655936815},
                {17, 9.70828780262767e-05},
                {18, 1.9461638184831125e-05},
                {31, 9.41830672543491e-08}};
    struct emac_buf text;
    struct llama_config c, again;

    emac_buf_init(&text, LLAMA_CONFIG_BYTES_MAX);
    ASSERT_OK(read_text("{" PLAIN ",\"rope_theta\":500000.0,\"rope_scaling\":{\"factor\":32.0,"
                        "\"high_freq_factor\":4.0,\"low_freq_factor\":1.0,"
                        "\"original_max_position_embeddings\":8192,\"rope_type\":\"llama3\"}}",
                        &c, err));
    for (size_t i = 0; i < sizeof(WANT) / sizeof(WANT[0]); i++) {
        double got = rope_frequency(&c.rope, c.rope_theta, 64, WANT[i].pair);
        if (!(got > WANT[i].frequency * (1 - 1e-12) && got < WANT[i].frequency * (1 + 1e-12)))
            fail_msg("pair %u turns at %.17g, not %.17g", WANT[i].pair, got, WANT[i].frequency);
    }
    ASSERT_OK(llama_config_write(&c, &text, err));
    ASSERT_OK(llama_config_read(&again, emac_buf_str(&text), text.len, err));
    assert_true(again.rope.kind == ROPE_LLAMA3 && again.rope.factor == 32 && again.rope.low == 1 &&
                again.rope.high == 4 && again.rope.positions == 8192);
    ASSERT_OK(
        read_text("{" PLAIN ",\"rope_scaling\":{\"type\":\"linear\",\"factor\":4}}", &c, err));
    assert_true(rope_frequency(&c.rope, c.rope_theta, 64, 0) == 0.25);
    emac_buf_release(&text);
}

#define BAD(text, status, part)                                                                    \
    do {                                                                                           \
        struct llama_config c_;                                                                    \
        ASSERT_FAILS(read_text(text, &c_, err), status, part);                                     \
    } while (0)

static void test_refusals_of_other_architectures(void **state)
{
    BAD("{}", EMAC_UNSUPPORTED, "model_type");
    BAD("{\"model_type\":\"gpt2\"}", EMAC_UNSUPPORTED, "must be \"llama\"");
    BAD("{\"model_type\":\"qwen2\",\"use_sliding_window\":true}", EMAC_UNSUPPORTED,
        "'use_sliding_window' in config.json must be false");
    BAD("{\"model_type\":\"qwen2\",\"layer_types\":[\"full_attention\",\"sliding_attention\"]}",
        EMAC_UNSUPPORTED, "layer_types");
    BAD("{\"model_type\":\"llama\",\"hidden_act\":\"gelu\"}", EMAC_UNSUPPORTED, "hidden_act");
    BAD("{" PLAIN ",\"attention_bias\":true}", EMAC_UNSUPPORTED, "attention_bias");
    BAD("{" PLAIN ",\"mlp_bias\":true}", EMAC_UNSUPPORTED, "mlp_bias");
    BAD("{" MISTRAL ",\"sliding_window\":4096}", EMAC_UNSUPPORTED, "sliding_window");
    BAD("{" PLAIN ",\"rope_scaling\":{\"type\":\"yarn\"}}", EMAC_UNSUPPORTED,
        "'rope_type' in config.json is 'yarn'");
    BAD("{" PLAIN ",\"quantization_config\":{}}", EMAC_UNSUPPORTED, "quantization_config");
}

static void test_refusals_of_bad_values(void **state)
{
    BAD("", EMAC_INVALID, "not JSON");
    BAD("[]", EMAC_INVALID, "not an object");
    BAD("{\"model_type\":\"llama\",\"model_type\":\"llama\"}", EMAC_INVALID, "not JSON");
    BAD("{\"model_type\":\"llama\"}", EMAC_INVALID, "'vocab_size' is missing");
    BAD("{" PLAIN ",\"num_key_value_heads\":5}", EMAC_INVALID, "must be a multiple");
    BAD("{" PLAIN ",\"num_key_value_heads\":64}", EMAC_INVALID, "num_key_value_heads");
    BAD("{" PLAIN ",\"num_key_value_heads\":0}", EMAC_INVALID, "positive integer");
    BAD("{" PLAIN ",\"num_key_value_heads\":\"8\"}", EMAC_INVALID, "positive integer");
    BAD("{" PLAIN ",\"head_dim\":3}", EMAC_INVALID, "even");
    BAD("{" PLAIN ",\"head_dim\":4294967296}", EMAC_INVALID, "positive integer");
    BAD("{" PLAIN ",\"head_dim\":4294967294}", EMAC_INVALID, "head_dim");
    BAD("{" PLAIN ",\"rope_scaling\":{\"type\":\"linear\"}}", EMAC_INVALID, "'factor'");
    BAD("{" PLAIN ",\"rope_parameters\":{\"rope_type\":\"llama3\",\"factor\":8,"
        "\"low_freq_factor\":4,\"high_freq_factor\":1}}",
        EMAC_INVALID, "'low_freq_factor'");
    BAD("{" PLAIN ",\"rope_scaling\":{\"type\":\"llama3\",\"factor\":8,\"low_freq_factor\":1,"
        "\"high_freq_factor\":4}}",
        EMAC_INVALID, "'original_max_position_embeddings'");
    BAD("{" PLAIN ",\"rope_scaling\":7}", EMAC_INVALID, "is not an object");
    BAD("{" PLAIN ",\"rope_theta\":0}", EMAC_INVALID, "rope_theta");
    BAD("{" PLAIN ",\"rope_theta\":\"x\"}", EMAC_INVALID, "not a number");
    BAD("{" PLAIN ",\"rms_norm_eps\":0}", EMAC_INVALID, "rms_norm_eps");
    BAD("{" PLAIN ",\"tie_word_embeddings\":1}", EMAC_INVALID, "true or false");
}

static void test_limits(void **state)
{
    struct llama_config c = tiny_config(false), bad = c;
    struct llama_config back;

    bad.layers = LLAMA_LAYERS_MAX + 1;
    ASSERT_FAILS(llama_config_check(&bad, err), EMAC_INVALID, "num_hidden_layers");
    bad = c;
    bad.hidden_size = bad.intermediate_size = 1u << 24;
    ASSERT_FAILS(llama_config_check(&bad, err), EMAC_TOO_LARGE, "weights");
    bad = c;
    bad.norm_eps = __builtin_nan("");
    ASSERT_FAILS(llama_config_check(&bad, err), EMAC_INVALID, "rms_norm_eps");
    ASSERT_FAILS(llama_config_read(&back, "{", LLAMA_CONFIG_BYTES_MAX + 1, err), EMAC_TOO_LARGE,
                 "limit");
}

static void test_parameters_are_in_byte_order(void **state)
{
    static const uint32_t layers[] = {1, 2, 9, 10, 11, 12, 99, 101, 111, 250, 1024};

    for (size_t k = 0; k < sizeof(layers) / sizeof(layers[0]); k++) {
        struct llama_config c = tiny_config(k % 2);
        struct model_param p, before = {{0}};
        uint64_t elements = 0;

        c.qkv_bias = k % 3 == 1;
        c.layers = layers[k];
        for (uint32_t i = 0; i < llama_param_count(&c); i++) {
            size_t n;

            llama_param_at(&c, NULL, i, &p);
            assert_true(strcmp(before.name, p.name) < 0);
            assert_true(shape_count(&p.shape, &n));
            elements += n;
            before = p;
        }
        assert_int_equal(elements, llama_param_elements(&c));
    }
}

static void test_a_parameter(void **state)
{
    const struct llama_init init = {0.02, 0.01, 0}, own = {0.02, 0.01, 0.003};
    struct llama_config c = tiny_config(false);
    struct model_param p;

    llama_param_at(&c, &init, 0, &p);
    assert_string_equal(p.name, "lm_head.weight");
    llama_param_at(&c, &init, 1, &p);
    assert_string_equal(p.name, "model.embed_tokens.weight");
    assert_true(p.decay && p.init_std == 0.02);
    llama_param_at(&c, &init, 3, &p);
    assert_string_equal(p.name, "model.layers.0.mlp.down_proj.weight");
    assert_int_equal(p.shape.dim[0], 16);
    assert_int_equal(p.shape.dim[1], 24);
    assert_true(p.init_std == 0.005); /* 0.01 / sqrt(2 * 2) */
    llama_param_at(&c, &own, 3, &p);
    assert_true(p.init_std == 0.003);
    llama_param_at(&c, &init, 7, &p);
    assert_string_equal(p.name, "model.layers.0.self_attn.k_proj.weight");
    assert_int_equal(p.shape.dim[0], 12);
    llama_param_at(&c, &init, llama_param_count(&c) - 1, &p);
    assert_string_equal(p.name, "model.norm.weight");
    assert_true(!p.decay && p.init_std == 0 && p.init_fill == 1);
    c.qkv_bias = true;
    llama_param_at(&c, &init, 7, &p);
    assert_string_equal(p.name, "model.layers.0.self_attn.k_proj.bias");
    assert_int_equal(p.shape.rank, 1);
    assert_int_equal(p.shape.dim[0], 12);
    assert_true(!p.decay && !p.hidden && p.init_std == 0 && p.init_fill == 0);
    llama_param_at(&c, &init, 10, &p);
    assert_string_equal(p.name, "model.layers.0.self_attn.q_proj.bias");
    assert_int_equal(p.shape.dim[0], 24);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_defaults_are_hugging_faces),
        cmocka_unit_test(test_qwen),
        cmocka_unit_test(test_stretched_positions),
        cmocka_unit_test(test_refusals_of_other_architectures),
        cmocka_unit_test(test_refusals_of_bad_values),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_parameters_are_in_byte_order),
        cmocka_unit_test(test_a_parameter),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
