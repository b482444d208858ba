#include <stdlib.h>
#include <string.h>

#include "cli/model_dir.h"
#include "model/session.h"
#include "os/process.h"

#define PROMPT_MAX (1u << 20)

struct generate_args {
    const char *prompt, *isa;
    uint64_t tokens, seed, threads, top_k;
    double temperature, top_p;
};

/* The last bytes of the prompt that leave room for at least one new token. */
static enum emac_status feed_prompt(struct cli *c, struct session *s, const char *prompt,
                                    uint32_t positions, const float **logits)
{
    size_t n = strlen(prompt), room = positions > 1 ? positions - 1 : 1;
    if (n == 0)
        return emac_fail(&c->err, EMAC_INVALID, "the prompt is empty: give -p TEXT");
    if (n > PROMPT_MAX)
        return emac_fail(&c->err, EMAC_TOO_LARGE, "the prompt has %zu bytes, at most %u", n,
                         PROMPT_MAX);
    const char *tail = n > room ? prompt + (n - room) : prompt;
    uint32_t count = (uint32_t)strlen(tail);
    int32_t *tokens = NULL;
    enum emac_status st = emac_alloc(&tokens, count, sizeof(*tokens), &c->err);
    for (uint32_t i = 0; st == EMAC_OK && i < count; i++)
        tokens[i] = (uint8_t)tail[i];
    if (st == EMAC_OK)
        st = session_feed(s, tokens, count, logits, &c->err);
    free(tokens);
    return st;
}

/* When the window is full, go on from its second half. */
static enum emac_status slide(struct cli *c, struct session *s, const struct emac_buf *text,
                              uint32_t positions, const float **logits)
{
    uint32_t keep = positions / 2 ? positions / 2 : 1;
    if (keep > text->len)
        keep = (uint32_t)text->len;
    int32_t *tokens = NULL;
    enum emac_status st = emac_alloc(&tokens, keep, sizeof(*tokens), &c->err);
    if (st != EMAC_OK)
        return st;
    for (uint32_t i = 0; i < keep; i++)
        tokens[i] = text->data[text->len - keep + i];
    session_reset(s);
    st = session_feed(s, tokens, keep, logits, &c->err);
    free(tokens);
    return st;
}

static enum emac_status generate(struct cli *c, const struct generate_args *a,
                                 const struct llama_config *cfg, struct session *s,
                                 struct emac_buf *text)
{
    const float *logits = NULL;
    const struct sample_params params = {.temperature = a->temperature,
                                         .top_p = a->top_p,
                                         .top_k = (uint32_t)a->top_k,
                                         .seed = a->seed};
    enum emac_status st = emac_buf_append(text, a->prompt, strlen(a->prompt), &c->err);
    if (st == EMAC_OK)
        st = feed_prompt(c, s, a->prompt, cfg->max_positions, &logits);
    bool show = !c->json && !c->quiet;
    if (st == EMAC_OK && show)
        fputs(a->prompt, stdout);
    for (uint32_t i = 0; st == EMAC_OK && i < a->tokens && !os_stop_requested(); i++) {
        int32_t token = sample_token(logits, cfg->vocab_size, &params, i);
        uint8_t byte = (uint8_t)token;
        st = emac_buf_append(text, &byte, 1, &c->err);
        if (show && st == EMAC_OK) {
            putchar(byte);
            fflush(stdout);
        }
        if (st == EMAC_OK && session_length(s) >= cfg->max_positions)
            st = slide(c, s, text, cfg->max_positions, &logits);
        else if (st == EMAC_OK)
            st = session_feed(s, &token, 1, &logits, &c->err);
    }
    if (show)
        putchar('\n');
    return st;
}

/* The text as JSON needs UTF-8: a byte that is not part of a valid sequence becomes '?'. */
static json_t *text_json(const struct emac_buf *text)
{
    json_t *s = json_stringn(emac_buf_str(text), text->len);
    if (s)
        return s;
    char *copy = emac_strndup(emac_buf_str(text), text->len);
    for (size_t i = 0; i < text->len; i++)
        if ((unsigned char)copy[i] >= 0x80 || copy[i] == 0)
            copy[i] = '?';
    s = json_stringn(copy, text->len);
    free(copy);
    return s;
}

static enum emac_status run(struct cli *c, const struct generate_args *a, enum isa isa,
                            const char *name)
{
    struct model_files m;
    struct device *dev = NULL;
    struct session *s = NULL;
    struct emac_buf text;
    emac_buf_init(&text, (size_t)1 << 26);
    enum emac_status st = model_files_load(c, name, &m);
    if (st != EMAC_OK)
        return st;
    uint32_t threads = a->threads ? (uint32_t)a->threads : os_cpu_count();
    EMAC_TRY(st, device_cpu_open(isa, threads, &dev, &c->err));
    if (m.config.vocab_size != 256) {
        st = emac_fail(&c->err, EMAC_UNSUPPORTED,
                       "the model has a vocabulary of %u; only byte models (256) can be "
                       "generated from",
                       m.config.vocab_size);
        goto out;
    }
    EMAC_TRY(st, session_open(dev, &m.config, m.weights.data, m.weights.len, &s, &c->err));
    EMAC_TRY(st, generate(c, a, &m.config, s, &text));
    cli_result(c, json_pack("{s:o,s:s,s:I}", "text", text_json(&text), "model", name, "seed",
                            (json_int_t)a->seed));
out:
    session_close(s);
    device_close(dev);
    model_files_release(&m);
    emac_buf_release(&text);
    return st;
}

enum emac_status cmd_generate(struct cli *c, int argc, char **argv)
{
    struct generate_args a = {
        .prompt = "", .isa = "best", .tokens = 256, .temperature = 0.8, .top_p = 1};
    const struct cli_option options[] = {
        {"prompt", 'p', OPT_TEXT, &a.prompt},       {"seed", 0, OPT_U64, &a.seed},
        {"tokens", 'n', OPT_U64, &a.tokens},        {"temperature", 't', OPT_F64, &a.temperature},
        {"top-p", 0, OPT_F64, &a.top_p},            {"top-k", 0, OPT_U64, &a.top_k},
        {"threads", 0, OPT_U64, &a.threads},        {"isa", 0, OPT_TEXT, &a.isa},
    };
    const char *pos[CLI_POSITIONALS_MAX];
    enum emac_status st = cli_parse(c, argc, argv, options, EMAC_COUNT(options), pos, 1, 1);
    if (st != EMAC_OK)
        return st;
    enum isa isa = isa_find(a.isa);
    if (isa == ISA_COUNT)
        return emac_fail(&c->err, EMAC_INVALID,
                         "unknown instruction set '%s': best, ref, portable, avx2, avx512", a.isa);
    if (a.tokens > 1000000 || a.threads > 1024 || a.top_k > 1000000)
        return emac_fail(&c->err, EMAC_INVALID,
                         "tokens and top-k go up to 1000000, threads to 1024");
    if (!(a.temperature >= 0 && a.temperature <= 100) || !(a.top_p > 0 && a.top_p <= 1))
        return emac_fail(&c->err, EMAC_INVALID,
                         "temperature must be within 0..100 and top-p within (0,1]");
    return run(c, &a, isa, pos[0]);
}
