/* BATCH-1, BATCH-2: generators that share their steps, join and leave at random, with prompts of
 * which as many tokens are fed at once as chance says, give token for token what each gives alone;
 * for every kind of weights, on every kind of processor. EMAC_TEST_SEED=N runs one seed. */
#include "base/assert.h"
#include "compute/fn.h"
#include "fixture.h"
#include "model/convert.h"
#include "model/generate.h"

#define REQUESTS   10
#define SLOTS      5
#define TOKENS     30
#define WINDOW     28 /* shorter than some prompts and than most texts: it slides */
#define PROMPT     40
#define SEEDS      1
#define SEEDS_SOAK 40
#define BUNDLE     ((size_t)1 << 26)
#define POISON     7 /* a token that makes logits NaN, where the model has one */

static struct {
    uint64_t seed, drawn;
} chance;

static uint32_t below(uint32_t n)
{
    return (uint32_t)philox_below(chance.seed, PHILOX_TEST, 1, chance.drawn++, n);
}

/* ---- models ---- */

enum poison { SOUND, POISONED };

static const struct kind {
    const char *name;
    bool tie, bias;
    enum dtype storage;
    const char *format; /* NULL: plain weights */
    enum poison poison;
    uint32_t kv_heads; /* 0: tiny_config's */
} kinds[] = {
    {"llama", true, false, DTYPE_F32, NULL, SOUND},
    {"qwen2 with biases", false, true, DTYPE_F32, NULL, SOUND},
    {"bf16", false, true, DTYPE_BF16, NULL, SOUND},
    {"q8_0", false, true, DTYPE_F32, "q8_0", SOUND},
    {"q6_k", true, false, DTYPE_F32, "q6_k", SOUND},
    {"q4_1", false, false, DTYPE_F32, "q4_1", SOUND},
    {"q4_0", true, true, DTYPE_F32, "q4_0", SOUND},
    {"a token that breaks", false, false, DTYPE_F32, NULL, POISONED},
    {"one head of keys", true, false, DTYPE_F32, NULL, SOUND, 1},
};
#define ONE_KEY_HEAD (&kinds[EMAC_COUNT(kinds) - 1])

struct model {
    struct llama_config c;
    struct emac_buf file;
};

static void to_bf16(struct pool *p)
{
    for (uint32_t i = 0; i < p->count; i++) {
        struct pool_item *item = &p->item[i];
        const float *from = item->data;
        uint16_t *to = item->data;
        if (strncmp(item->name, "params/", 7) != 0)
            continue;
        for (size_t k = 0; k < item->bytes / 4; k++)
            to[k] = (uint16_t)fn_to_bf16(from[k]);
        item->bytes /= 2;
    }
}

static void model_init(struct model *m, const struct kind *k, struct device *dev)
{
    static struct pool p;
    struct st_index idx;
    struct llama_source *source;
    size_t n;
    m->c = tiny_config(k->tie);
    m->c.hidden_size = m->c.intermediate_size = 256; /* a block of q6_k, and of rule 3 */
    m->c.head_dim = 32;
    m->c.vocab_size = 67;
    m->c.max_positions = WINDOW;
    m->c.qkv_bias = k->bias;
    m->c.kv_heads = k->kv_heads != 0 ? k->kv_heads : m->c.kv_heads;
    pool_init(&p, &m->c, WINDOW, dev);
    if (k->poison == POISONED)
        ((uint32_t *)pool_get(&p, "params/model.embed_tokens.weight", 67 * 256 * 4))[POISON * 256] =
            0x7fc00000;
    m->c.storage = k->storage;
    if (k->storage == DTYPE_BF16)
        to_bf16(&p);
    uint8_t *plain = bundle_of(&p, &m->c, 0, &n);
    emac_buf_init(&m->file, BUNDLE);
    ASSERT_OK(st_index_parse(&idx, plain, n, n, err));
    ASSERT_OK(llama_from_bundle(&idx, plain + idx.data_offset, &m->c, &source, err));
    ASSERT_OK(
        llama_convert(&m->c, source, k->format ? quant_find(k->format) : NULL, &m->file, err));
    free(source);
    st_index_release(&idx);
    free(plain);
    pool_free(&p);
}

/* ---- requests ---- */

struct request {
    int32_t prompt[PROMPT], want[TOKENS], got[TOKENS];
    uint32_t prompt_len, tokens, wants, gots; /* wants: how many come alone */
    uint32_t leaves;                          /* after so many its client goes; 0: at once */
    struct sample_params params;
    bool fails; /* it ends with NUMERIC */
    struct session *s;
    struct generator *g;
};

static void request_make(struct request *r, const struct model *m)
{
    *r = (struct request){.params = {.temperature = below(4) == 0 ? 0 : 0.7,
                                     .top_p = below(2) == 0 ? 1 : 0.9,
                                     .top_k = below(3) * 10,
                                     .seed = below(1000)}};
    r->prompt_len = 1 + below(below(2) == 0 ? 5 : PROMPT);
    r->tokens = 1 + below(TOKENS);
    r->leaves = below(4) == 0 ? below(r->tokens) : r->tokens;
    for (uint32_t i = 0; i < r->prompt_len; i++)
        r->prompt[i] = (int32_t)below(m->c.vocab_size);
}

static void alone(struct request *r, const struct model *m, struct device *dev)
{
    struct emac_err why = {0};
    struct session *s;
    struct generator *g;
    ASSERT_OK(session_open(dev, &m->c, m->file.data, m->file.len, &s, err));
    ASSERT_OK(generator_open(s, &m->c, r->prompt, r->prompt_len, &r->params, &g, err));
    while (r->wants < r->tokens && generator_next(g, &r->want[r->wants], &why) == EMAC_OK)
        r->wants++;
    r->fails = r->wants < r->tokens;
    assert_true(!r->fails || why.status == EMAC_NUMERIC);
    generator_close(g);
    session_close(s);
}

static void join(struct request *r, const struct model *m, struct decoder *d)
{
    ASSERT_OK(session_join(d, &r->s, err));
    ASSERT_OK(generator_open(r->s, &m->c, r->prompt, r->prompt_len, &r->params, &r->g, err));
}

static void leave(struct request *r)
{
    generator_close(r->g);
    session_close(r->s);
    r->g = NULL;
}

/* ---- together ---- */

static void came(struct request *r, const struct generator_turn *t, const char *model)
{
    if (t->err.status != EMAC_OK) {
        if (!r->fails || r->gots != r->wants || t->err.status != EMAC_NUMERIC)
            fail_msg("%s: EMAC_TEST_SEED=%d: a request fails after %u of %u: %s", model,
                     (int)chance.seed, r->gots, r->wants, t->err.text);
        leave(r);
        return;
    }
    if (!t->drawn) {
        if (r->leaves == 0)
            leave(r);
        return;
    }
    if (r->gots >= r->wants || t->token != r->want[r->gots])
        fail_msg("%s: EMAC_TEST_SEED=%d: token %u of a request differs from what comes alone",
                 model, (int)chance.seed, r->gots);
    if (++r->gots >= r->leaves)
        leave(r);
}

/* Those that live, in an order by chance. */
static uint32_t turns(struct request *r, struct generator_turn *turn, struct request **of)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < REQUESTS; i++)
        if (r[i].g != NULL) {
            uint32_t at = below(n + 1);
            of[n] = of[at];
            of[at] = &r[i];
            n++;
        }
    for (uint32_t i = 0; i < n; i++)
        turn[i] = (struct generator_turn){.g = of[i]->g};
    return n;
}

static void together(struct request *r, const struct model *m, const char *name, struct device *dev)
{
    struct generator_turn turn[REQUESTS];
    struct request *of[REQUESTS];
    struct decoder *d;
    uint32_t joined = 0, n;
    ASSERT_OK(decoder_open(dev, &m->c, m->file.data, m->file.len, &d, err));
    while ((n = turns(r, turn, of)) > 0 || joined < REQUESTS) {
        if (joined < REQUESTS && n < SLOTS && (n == 0 || below(3) == 0)) {
            join(&r[joined++], m, d);
            continue;
        }
        bool reads[REQUESTS];
        for (uint32_t i = 0; i < n; i++)
            reads[i] = generator_is_reading(of[i]->g);
        ASSERT_OK(generators_step(turn, n, 1 + below(below(2) == 0 ? 4 : 70), err));
        for (uint32_t i = 0; i < n; i++) {
            /* nobody waits for another's prompt, but for a window of his own that slides */
            assert_true(turn[i].drawn || reads[i] || turn[i].err.status != EMAC_OK ||
                        session_length(of[i]->s) <= WINDOW / 2);
            came(of[i], &turn[i], name);
        }
    }
    decoder_close(d);
}

/* Together on `card`, where there is one, else on the processor. */
static void run_seed(const struct kind *k, enum isa isa, uint32_t threads, uint64_t seed,
                     struct device *card)
{
    static struct request r[REQUESTS];
    struct device *dev;
    struct model m;
    ASSERT_OK(device_cpu_open(isa, threads, &dev, err));
    chance.seed = seed;
    chance.drawn = 0;
    model_init(&m, k, dev);
    for (uint32_t i = 0; i < REQUESTS; i++) {
        request_make(&r[i], &m);
        alone(&r[i], &m, dev);
    }
    together(r, &m, k->name, card != NULL ? card : dev);
    for (uint32_t i = 0; i < REQUESTS; i++)
        assert_true(r[i].gots == (r[i].leaves < r[i].wants ? r[i].leaves : r[i].wants) ||
                    (r[i].leaves == 0 && r[i].gots <= 1));
    emac_buf_release(&m.file);
    device_close(dev);
}

static void test_together_as_alone(void **state)
{
    const char *one = getenv("EMAC_TEST_SEED");
    uint64_t first = one ? strtoull(one, NULL, 10) : 1;
    uint64_t seeds = one ? 1 : getenv("EMAC_SOAK") ? SEEDS_SOAK : SEEDS;
    for (uint64_t seed = first; seed < first + seeds; seed++)
        for (size_t k = 0; k < EMAC_COUNT(kinds); k++)
            run_seed(&kinds[k], ISA_BEST, 1 + (uint32_t)(seed + k) % 2, seed, NULL);
}

/* Which instruction set is the same to the bits, and so is how many rows it takes at once. */
static void test_on_every_processor(void **state)
{
    for (int isa = ISA_PORTABLE; isa < ISA_COUNT; isa++)
        for (size_t k = 0; k < EMAC_COUNT(kinds) && isa_supported((enum isa)isa); k += 3)
            run_seed(&kinds[k], (enum isa)isa, 1, 100 + (uint64_t)isa, NULL);
}

static uint64_t used(struct device *dev)
{
    struct device_memory m;
    device_memory(dev, &m);
    return m.used;
}

/* What the weights take there. */
static uint64_t opened(const struct kind *k, struct device *card)
{
    struct device *dev = best_device();
    struct decoder *d;
    struct model m;
    uint64_t before = used(card);
    model_init(&m, k, dev);
    ASSERT_OK(decoder_open(card, &m.c, m.file.data, m.file.len, &d, err));
    uint64_t bytes = used(card) - before;
    decoder_wipe(d);
    decoder_close(d);
    assert_int_equal(used(card), before);
    emac_buf_release(&m.file);
    device_close(dev);
    return bytes;
}

/* The same on a device with memory of its own: what comes is what a processor gives alone, and what
 * was taken there is given back. */
static void test_on_a_card(void **state)
{
    const struct kind *bf16 = &kinds[2];
    struct emac_err why;
    struct device *card;
    if (device_opencl_open("0", &card, &why) != EMAC_OK) {
        print_message("# opencl: not tested, %s\n", why.text);
        skip();
    }
    for (size_t k = 0; k < EMAC_COUNT(kinds); k++)
        run_seed(&kinds[k], ISA_BEST, 1, 200 + k, card);
    uint64_t scratch = used(card);
    run_seed(&kinds[0], ISA_BEST, 1, 200, card);
    assert_int_equal(used(card), scratch);

    /* where widened ones would leave too little, bf16 weights stay what they are */
    assert_int_equal(bf16->storage, DTYPE_BF16);
    uint64_t wide = opened(bf16, card);
    device_memory_limit(card, scratch + wide + wide / 4);
    uint64_t narrow = opened(bf16, card);
    assert_true(narrow > wide * 2 / 5 && narrow < wide * 3 / 5);
    device_memory_limit(card, scratch + wide);
    run_seed(bf16, ISA_BEST, 1, 300, card);
    device_close(card);
}

/* What a cache takes is what is counted for it. */
static void test_bytes(void **state)
{
    struct llama_config c = tiny_config(true);
    c.max_positions = 300;
    uint64_t row = 2 * 2 * 2 * 6 * 4;
    assert_int_equal(session_bytes(&c, 1), 64 * row);
    assert_int_equal(session_bytes(&c, 64), 64 * row);
    assert_int_equal(session_bytes(&c, 65), 128 * row);
    assert_int_equal(session_bytes(&c, 257), 300 * row);
    assert_int_equal(session_bytes(&c, UINT32_MAX), 300 * row);
    c.max_positions = 10;
    assert_int_equal(session_bytes(&c, 1), 10 * row);
}

/* Two sequences of one decoder; the second grows while the device has `room` bytes left. False when
 * they were too few. The first gives what it gave. */
static bool grows(const struct model *m, const int32_t *tokens, uint64_t room)
{
    static float want[67];
    struct device *dev = best_device();
    struct session *s[2];
    struct decoder *d;
    struct emac_err why;
    const float *logits;
    ASSERT_OK(decoder_open(dev, &m->c, m->file.data, m->file.len, &d, err));
    for (int i = 0; i < 2; i++) {
        ASSERT_OK(session_join(d, &s[i], err));
        ASSERT_OK(session_feed(s[i], tokens, 40, &logits, err));
    }
    memcpy(want, logits, sizeof want);
    device_memory_limit(dev, used(dev) + room);
    enum emac_status st = session_feed(s[1], tokens, 40, &logits, &why);
    assert_true(st == EMAC_OK || st == EMAC_NO_MEMORY);
    session_reset(s[0]);
    ASSERT_OK(session_feed(s[0], tokens, 40, &logits, err));
    assert_memory_equal(logits, want, sizeof want);
    for (int i = 0; i < 2; i++)
        session_close(s[i]);
    decoder_close(d);
    device_close(dev);
    return st == EMAC_OK;
}

/* BATCH-2: wherever it is that memory runs out. With one head of keys that may be at the tables of
 * positions, which all sequences share. */
static void test_memory_runs_out(void **state)
{
    struct device *dev = best_device();
    struct model m;
    int32_t tokens[40];
    uint64_t room = 0;
    chance.seed = 1;
    chance.drawn = 0;
    model_init(&m, ONE_KEY_HEAD, dev);
    m.c.max_positions = 256;
    for (size_t i = 0; i < EMAC_COUNT(tokens); i++)
        tokens[i] = (int32_t)below(m.c.vocab_size);
    while (!grows(&m, tokens, room))
        room += 2048;
    assert_true(room > 0);
    emac_buf_release(&m.file);
    device_close(dev);
}

/* Parts of a step fail by themselves; the others' bits are those of a step without them. */
static void test_parts_fail_alone(void **state)
{
    struct device *dev = best_device();
    struct model m;
    struct decoder *d;
    struct session *s[3], *single;
    const int32_t good[] = {1, 2, 3}, bad[] = {1, 67};
    const float *logits;
    model_init(&m, &kinds[1], dev);
    ASSERT_OK(decoder_open(dev, &m.c, m.file.data, m.file.len, &d, err));
    for (int i = 0; i < 3; i++)
        ASSERT_OK(session_join(d, &s[i], err));
    struct session_part part[] = {
        {.s = s[0], .tokens = bad, .n = 2, .wants = true},
        {.s = s[1], .tokens = good, .n = 3, .wants = true},
        {.s = s[2], .tokens = good, .n = 0, .wants = true},
    };
    ASSERT_OK(sessions_feed(part, 3, err));
    assert_int_equal(part[0].err.status, EMAC_INVALID);
    assert_non_null(strstr(part[0].err.text, "token 67"));
    assert_int_equal(part[2].err.status, EMAC_INVALID);
    assert_true(part[0].logits == NULL && part[2].logits == NULL);
    assert_true(session_length(s[0]) == 0 && session_length(s[1]) == 3);
    ASSERT_OK(session_open(dev, &m.c, m.file.data, m.file.len, &single, err));
    ASSERT_OK(session_feed(single, good, 3, &logits, err));
    assert_memory_equal(part[1].logits, logits, 67 * sizeof(float));
    session_close(single);
    for (int i = 0; i < 3; i++)
        session_close(s[i]);
    decoder_close(d);
    emac_buf_release(&m.file);
    device_close(dev);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_together_as_alone), cmocka_unit_test(test_on_every_processor),
        cmocka_unit_test(test_on_a_card),         cmocka_unit_test(test_bytes),
        cmocka_unit_test(test_memory_runs_out),   cmocka_unit_test(test_parts_fail_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
