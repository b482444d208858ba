/* The generator: the window slides, and the text is that of plain feeding and sampling. */
#include "fixture.h"
#include "model/generate.h"

static struct device *dev;

struct subject {
    struct llama_config c;
    struct pool pool;
    uint8_t *bundle;
    size_t bundle_n;
    struct session *s;
};

static void subject_init(struct subject *s, uint32_t positions)
{
    s->c = tiny_config(true);
    s->c.vocab_size = 256;
    s->c.max_positions = positions;
    pool_init(&s->pool, &s->c, positions, dev);
    s->bundle = bundle_of(&s->pool, &s->c, 0, &s->bundle_n);
    ASSERT_OK(session_open(dev, &s->c, s->bundle, s->bundle_n, &s->s, err));
}

static void subject_release(struct subject *s)
{
    session_close(s->s);
    pool_free(&s->pool);
    free(s->bundle);
}

/* The definition, word by word: feed the prompt's tail; after each byte either feed it, or, when
 * the window is full, begin anew with the last half window of the text. */
static void plainly(struct subject *s, const char *prompt, const struct sample_params *p,
                    uint8_t *out, uint32_t count)
{
    uint32_t positions = s->c.max_positions, room = positions > 1 ? positions - 1 : 1;
    uint8_t text[1024];
    int32_t tokens[512];
    const float *logits;
    size_t len = strlen(prompt), from = len > room ? len - room : 0;

    memcpy(text, prompt, len);
    for (size_t i = from; i < len; i++)
        tokens[i - from] = text[i];
    session_reset(s->s);
    ASSERT_OK(session_feed(s->s, tokens, (uint32_t)(len - from), &logits, err));
    for (uint32_t i = 0; i < count; i++) {
        out[i] = text[len++] = (uint8_t)sample_token(logits, 256, p, i);
        uint32_t n = session_length(s->s) < positions ? 1 : positions > 1 ? positions / 2 : 1;
        if (session_length(s->s) >= positions)
            session_reset(s->s);
        for (uint32_t k = 0; k < n; k++)
            tokens[k] = text[len - n + k];
        ASSERT_OK(session_feed(s->s, tokens, n, &logits, err));
    }
}

static void test_as_defined(void **state)
{
    const char *const prompts[] = {"a", "some words", "a prompt that is longer than the window"};
    const uint32_t windows[] = {1, 2, 3, 16, 100};

    for (size_t w = 0; w < sizeof(windows) / sizeof(windows[0]); w++) {
        static struct subject s;

        subject_init(&s, windows[w]);
        for (size_t i = 0; i < sizeof(prompts) / sizeof(prompts[0]); i++) {
            const struct sample_params p = {.temperature = 0.9, .top_p = 0.95, .seed = i + 1};
            struct generator *g;
            int32_t prompt[64], token;
            uint8_t want[60], got[60];
            size_t len = strlen(prompts[i]), room = windows[w] > 1 ? windows[w] - 1 : 1;

            plainly(&s, prompts[i], &p, want, sizeof(want));
            for (size_t k = 0; k < len; k++)
                prompt[k] = prompts[i][k];
            ASSERT_OK(generator_open(s.s, &s.c, prompt, len, &p, &g, err));
            assert_int_equal(generator_prompt_tokens(g), len < room ? len : room);
            for (size_t k = 0; k < sizeof(got); k++) {
                ASSERT_OK(generator_next(g, &token, err));
                got[k] = (uint8_t)token;
            }
            if (memcmp(want, got, sizeof(got)) != 0)
                fail_msg("window %u, prompt %zu: another text", windows[w], i);
            generator_close(g);
        }
        subject_release(&s);
    }
}

static void test_refusals(void **state)
{
    const struct sample_params p = {.temperature = 0, .top_p = 1};
    static struct subject s;
    struct generator *g;

    subject_init(&s, 16);
    const int32_t past = 256;
    ASSERT_FAILS(generator_open(s.s, &s.c, &past, 0, &p, &g, err), EMAC_INVALID, "prompt is empty");
    assert_null(g);
    ASSERT_FAILS(generator_open(s.s, &s.c, &past, 1, &p, &g, err), EMAC_INVALID,
                 "token 256 is not in the vocabulary of 256");
    subject_release(&s);
}

static int setup(void **state)
{
    dev = best_device();
    return 0;
}

static int teardown(void **state)
{
    device_close(dev);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_as_defined),
        cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
