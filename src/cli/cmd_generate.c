#include <stdlib.h>
#include <string.h>

#include "cli/model_dir.h"
#include "model/language.h"
#include "node/piece.h"
#include "os/process.h"

#define PROMPT_MAX (1u << 20)

struct generate_args {
    const char *prompt;
    uint64_t tokens, seed, top_k;
    struct cli_device device;
    double temperature, top_p;
};

static enum emac_status generate(struct cli *c, const struct generate_args *a, struct completion *g,
                                 struct emac_buf *text)
{
    bool ended = false;
    uint64_t made = 0;
    bool show = !c->json && !c->quiet;
    enum emac_status st;
    EMAC_TRY(st, emac_buf_append(text, a->prompt, strlen(a->prompt), &c->err));
    if (show)
        fputs(a->prompt, stdout);
    for (; made < a->tokens && !ended && !os_stop_requested(); made++) {
        struct emac_slice bytes;
        EMAC_TRY(st, completion_next(g, &bytes, &ended, &c->err));
        EMAC_TRY(st, emac_buf_append(text, bytes.data, bytes.len, &c->err));
        if (show) {
            fwrite(bytes.data, 1, bytes.len, stdout);
            fflush(stdout);
        }
    }
    if (!ended && made < a->tokens)
        st = emac_fail(&c->err, EMAC_CANCELLED, "stopped after %llu of %llu tokens",
                       (unsigned long long)made, (unsigned long long)a->tokens);
out:
    if (show)
        putchar('\n');
    return st;
}

/* As a rig sends it: whole UTF-8 characters, U+FFFD for bytes that are none. */
static enum emac_status text_json(struct cli *c, const struct emac_buf *text, json_t **out)
{
    struct piece_filter filter;
    struct emac_buf shown;
    emac_buf_init(&shown, 4 * text->len + 16);
    piece_init(&filter);
    enum emac_status st = EMAC_OK;
    for (size_t i = 0; st == EMAC_OK && i < text->len; i++)
        st = piece_push(&filter, text->data[i], &shown, &c->err);
    if (st == EMAC_OK)
        st = piece_end(&filter, &shown, &c->err);
    *out = st == EMAC_OK ? json_stringn(emac_buf_str(&shown), shown.len) : NULL;
    emac_buf_release(&shown);
    return st;
}

static enum emac_status run(struct cli *c, const struct generate_args *a, const char *name)
{
    struct model_files m;
    struct llama_config config;
    struct device *dev = NULL;
    struct session *s = NULL;
    struct completion *g = NULL;
    struct language language = {0};
    struct emac_buf text;
    const struct sample_params params = {.temperature = a->temperature,
                                         .top_p = a->top_p,
                                         .top_k = (uint32_t)a->top_k,
                                         .seed = a->seed};
    emac_buf_init(&text, (size_t)1 << 26);
    if (a->prompt[0] == 0)
        return emac_fail(&c->err, EMAC_INVALID, "the prompt is empty: give -p TEXT");
    if (strlen(a->prompt) > PROMPT_MAX)
        return emac_fail(&c->err, EMAC_TOO_LARGE, "the prompt has %zu bytes, at most %u",
                         strlen(a->prompt), PROMPT_MAX);
    enum emac_status st = model_files_load(c, name, &m);
    if (st != EMAC_OK)
        return st;
    EMAC_TRY(st, llama_config_read(&config, emac_buf_str(&m.config), m.config.len, &c->err));
    EMAC_TRY(st, cli_device_open(c, &a->device, &dev));
    EMAC_TRY(st, session_open(dev, &config, m.weights.data, m.weights.len, &s, &c->err));
    EMAC_TRY(st, model_texts_language(&m.texts, emac_buf_slice(&m.config), config.vocab_size,
                                      &language, &c->err));
    EMAC_TRY(st, completion_open(s, &config, &language, EMAC_SLICE(a->prompt, strlen(a->prompt)),
                                 &params, &g, &c->err));
    EMAC_TRY(st, generate(c, a, g, &text));
    json_t *shown = NULL;
    EMAC_TRY(st, text_json(c, &text, &shown));
    cli_result(
        c, json_pack("{s:o,s:s,s:I}", "text", shown, "model", name, "seed", (json_int_t)a->seed));
out:
    completion_close(g);
    language_release(&language);
    session_close(s);
    device_close(dev);
    model_files_release(&m);
    emac_buf_release(&text);
    return st;
}

enum emac_status cmd_generate(struct cli *c, int argc, char **argv)
{
    struct generate_args a = {.prompt = "", .tokens = 256, .temperature = 0.8, .top_p = 1};
    const struct cli_option options[] = {
        {"prompt", 'p', OPT_TEXT, &a.prompt}, {"seed", 0, OPT_U64, &a.seed},
        {"tokens", 'n', OPT_U64, &a.tokens},  {"temperature", 't', OPT_F64, &a.temperature},
        {"top-p", 0, OPT_F64, &a.top_p},      {"top-k", 0, OPT_U64, &a.top_k},
        CLI_DEVICE_OPTIONS(&a.device)};
    const char *pos[CLI_POSITIONALS_MAX];
    enum emac_status st = cli_parse(c, argc, argv, options, EMAC_COUNT(options), pos, 1, 1);
    if (st != EMAC_OK)
        return st;
    if (a.tokens > 1000000 || a.top_k > 1000000)
        return emac_fail(&c->err, EMAC_INVALID, "tokens and top-k go up to 1000000");
    if (!(a.temperature >= 0 && a.temperature <= 100) || !(a.top_p > 0 && a.top_p <= 1))
        return emac_fail(&c->err, EMAC_INVALID,
                         "temperature must be within 0..100 and top-p within (0,1]");
    st = cli_device_check(c, &a.device);
    return st == EMAC_OK ? run(c, &a, pos[0]) : st;
}
