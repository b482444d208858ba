/* Speed of generation: bench_generate [--isa NAME] [--threads N] MODEL [FORMAT]
 *
 * A session (model/session.h) over random weights, f32 or block-quantised to FORMAT. MODEL: one of
 * bench/models.h. Commands are read from standard input, one a line, and answered by one line each:
 *
 * save DIR: config.json and model.safetensors, for peers.
 *
 * prefill N: a new sequence of N tokens at once; "SECONDS TOKEN", the likeliest next token.
 *
 * decode N: N more tokens, each the likeliest, one at a time; "SECONDS TOKEN", the last.
 *
 * together M N: M sequences of 64 tokens, then N more of each, a step making one of all; "SECONDS
 * TOKEN" of the steps, the last one's last.
 *
 * sample K P: one token chosen of the last logits, top-k K, top-p P; "SECONDS TOKEN".
 *
 * With one thread the seconds are its own, else the clock's. */
#include "bench.h"
#include "models.h"
#include "base/philox.h"
#include "model/convert.h"
#include "model/session.h"

#define LINE_MAX    4096
#define WEIGHTS_MAX ((size_t)1 << 34)
#define SAMPLES     20
#define PROMPT      64
#define MANY        64

static struct {
    struct device *dev;
    const struct llama_config *c;
    struct emac_buf weights;
    struct session *session;
    const float *logits;
    int32_t token;
} b;

static void must(enum emac_status st, const struct emac_err *err)
{
    if (st == EMAC_OK)
        return;
    fprintf(stderr, "%s\n", err->text);
    exit(1);
}

/* Matrices uniform with the deviation of usual initial weights, norms of ones. */
static void weights_make(struct emac_buf *out)
{
    struct st_index idx = {0};
    struct emac_err err;
    struct model_param p;
    for (uint32_t i = 0; i < llama_param_count(b.c); i++) {
        llama_param_at(b.c, NULL, i, &p);
        const uint64_t dim[2] = {p.shape.dim[0], p.shape.dim[1]};
        must(st_index_add(&idx, p.name, ST_F32, p.shape.rank, dim, &err), &err);
    }
    must(st_bundle_layout(&idx, out, &err), &err);
    must(emac_buf_reserve(out, idx.file_size - idx.data_offset, &err), &err);
    for (size_t t = 0; t < idx.count; t++) {
        float *w = (float *)(void *)(out->data + idx.data_offset + idx.tensor[t].begin);
        uint64_t n = st_tensor_count(&idx.tensor[t]);
        uint32_t x = 2463534242u + (uint32_t)t; /* xorshift: Philox would take a minute */
        for (uint64_t i = 0; i < n; i++) {
            x ^= x << 13;
            x ^= x >> 17;
            x ^= x << 5;
            w[i] = idx.tensor[t].rank == 1 ? 1.0f : ((float)(x >> 8) * 0x1p-24f - 0.5f) * 0.07f;
        }
    }
    out->len = idx.file_size;
    st_index_release(&idx);
}

static void weights_quantise(const char *format)
{
    const struct quant_info *to = quant_find(format);
    struct llama_source *source;
    struct st_index idx;
    struct emac_buf out;
    struct emac_err err;
    if (to == NULL) {
        fprintf(stderr, "unknown format '%s'\n", format);
        exit(2);
    }
    emac_buf_init(&out, WEIGHTS_MAX);
    must(st_index_parse(&idx, b.weights.data, b.weights.len, b.weights.len, &err), &err);
    must(llama_from_bundle(&idx, b.weights.data + idx.data_offset, b.c, &source, &err), &err);
    must(llama_convert(b.c, source, to, &out, &err), &err);
    free(source);
    st_index_release(&idx);
    emac_buf_release(&b.weights);
    b.weights = out;
}

static void file_put(const char *dir, const char *name, const struct emac_buf *content)
{
    struct emac_err err;
    char *path = emac_asprintf("%s/%s", dir, name);
    must(os_real()->file_write_fast(os_real(), path, content->data, content->len, 0644, &err),
         &err);
    free(path);
}

static void save(const char *dir)
{
    struct emac_buf config;
    struct emac_err err;
    emac_buf_init(&config, LLAMA_CONFIG_BYTES_MAX);
    must(llama_config_write(b.c, &config, &err), &err);
    file_put(dir, "config.json", &config);
    file_put(dir, "model.safetensors", &b.weights);
    emac_buf_release(&config);
    printf("saved\n");
}

static int32_t likeliest_of(const float *logits)
{
    const struct sample_params greedy = {.top_p = 1};
    return sample_token(logits, b.c->vocab_size, &greedy, 0);
}

static int32_t likeliest(void)
{
    return likeliest_of(b.logits);
}

static void feed(const int32_t *token, uint32_t n)
{
    struct emac_err err;
    must(session_feed(b.session, token, n, &b.logits, &err), &err);
    b.token = likeliest();
}

static void prefill(uint32_t n)
{
    int32_t *tokens = calloc(n, sizeof *tokens);
    EMAC_ASSERT(tokens != NULL);
    for (uint32_t i = 0; i < n; i++)
        tokens[i] = (int32_t)((i * 7919u + 17u) % b.c->vocab_size);
    session_reset(b.session);
    double start = bench_time(b.dev);
    feed(tokens, n);
    printf("%.9f %d\n", bench_time(b.dev) - start, (int)b.token);
    free(tokens);
}

static void decode(uint32_t n)
{
    double start = bench_time(b.dev);
    for (uint32_t i = 0; i < n; i++)
        feed(&b.token, 1);
    printf("%.9f %d\n", bench_time(b.dev) - start, (int)b.token);
}

/* Sequence i of those that go together begins with these. */
static void prompt_of(uint32_t i, int32_t token[PROMPT])
{
    for (uint32_t k = 0; k < PROMPT; k++)
        token[k] = (int32_t)((k * 7919u + 17u + i * 101u) % b.c->vocab_size);
}

static void together(uint32_t m, uint32_t n)
{
    struct session *s[MANY];
    struct session_part part[MANY];
    int32_t token[MANY], prompt[PROMPT];
    const float *logits;
    struct emac_err err;
    for (uint32_t i = 0; i < m; i++) {
        prompt_of(i, prompt);
        must(session_join(session_decoder(b.session), &s[i], &err), &err);
        must(session_feed(s[i], prompt, PROMPT, &logits, &err), &err);
        token[i] = likeliest_of(logits);
        part[i] = (struct session_part){.s = s[i], .tokens = &token[i], .n = 1, .wants = true};
    }
    double start = bench_time(b.dev);
    for (uint32_t step = 0; step < n; step++) {
        must(sessions_feed(part, m, &err), &err);
        for (uint32_t i = 0; i < m; i++) {
            must(part[i].err.status, &part[i].err);
            token[i] = likeliest_of(part[i].logits);
        }
    }
    printf("%.9f %d\n", bench_time(b.dev) - start, (int)token[m - 1]);
    for (uint32_t i = 0; i < m; i++)
        session_close(s[i]);
}

static void sample(uint32_t k, double share)
{
    const struct sample_params p = {.temperature = 0.8, .top_k = k, .top_p = share, .seed = 1};
    int32_t token = 0;
    double start = bench_time(b.dev);
    for (uint32_t i = 0; i < SAMPLES; i++)
        token = sample_token(b.logits, b.c->vocab_size, &p, i);
    printf("%.9f %d\n", (bench_time(b.dev) - start) / SAMPLES, (int)token);
}

int main(int argc, char **argv)
{
    struct emac_err err;
    char line[LINE_MAX], dir[LINE_MAX];
    unsigned n, m;
    double share;
    b.dev = bench_device(&argc, &argv);
    b.c = argc > 1 ? bench_model(argv[1]) : NULL;
    if (b.c == NULL || argc > 3) {
        fprintf(stderr,
                "usage: bench_generate [--isa NAME] [--threads N] 10m|124m|1b [q8_0|q4_0|...]\n");
        return 2;
    }
    emac_buf_init(&b.weights, WEIGHTS_MAX);
    weights_make(&b.weights);
    if (argc == 3)
        weights_quantise(argv[2]);
    must(session_open(b.dev, b.c, b.weights.data, b.weights.len, &b.session, &err), &err);
    while (fgets(line, sizeof line, stdin)) {
        if (sscanf(line, "save %4000s", dir) == 1)
            save(dir);
        else if (sscanf(line, "prefill %u", &n) == 1 && n > 0)
            prefill(n);
        else if (sscanf(line, "decode %u", &n) == 1 && b.logits != NULL)
            decode(n);
        else if (sscanf(line, "together %u %u", &m, &n) == 2 && m > 0 && m <= MANY)
            together(m, n);
        else if (sscanf(line, "sample %u %lf", &n, &share) == 2 && b.logits != NULL)
            sample(n, share);
        else
            printf("what?\n");
        fflush(stdout);
    }
    session_close(b.session);
    emac_buf_release(&b.weights);
    device_close(b.dev);
    return 0;
}
