#include <stdlib.h>
#include <string.h>

#include "cli/model_dir.h"
#include "cli/model_gguf.h"
#include "model/convert.h"
#include "model/to_gguf.h"
#include "model/tokenizer_gguf.h"

#define WEIGHTS_MAX ((size_t)1 << 36)

static void say_how_to_use(struct cli *c, const char *dir)
{
    char *path = emac_asprintf("%s/config.json", dir);
    json_t *config = json_load_file(path, 0, NULL);
    const char *type = json_string_value(json_object_get(config, "model_type"));
    if (config == NULL)
        cli_say(c,
                "wrote the adapter to %s and its base to %s/base; load it with "
                "PeftModel.from_pretrained(base, \"%s\")",
                dir, dir, dir);
    else if (type != NULL && strcmp(type, "emac_classifier") == 0)
        cli_say(c,
                "wrote the model to %s; use it by 'emac classify %s FILE', or in PyTorch as "
                "docs/data.md shows",
                dir, dir);
    else
        cli_say(c,
                "wrote the model to %s; load it with transformers' "
                "AutoModelForCausalLM.from_pretrained(\"%s\")",
                dir, dir);
    json_decref(config);
    free(path);
}

static enum emac_status write_out(struct cli *c, const char *name, const char *dir,
                                  uint64_t part_bytes)
{
    struct cid cid;
    struct store *s = NULL;
    enum emac_status st;
    EMAC_TRY(st, cid_parse(&cid, name, &c->err));
    EMAC_TRY(st, cli_store(c, &s));
    EMAC_TRY(st, model_dir_export(c, s, &cid, dir, part_bytes));
    say_how_to_use(c, dir);
    cli_result(c, json_pack("{s:s,s:s}", "cid", name, "path", dir));
out:
    store_close(s);
    return st;
}

/* Convert the weights and write the directory; `texts` may be NULL. */
static enum emac_status convert(struct cli *c, const struct llama_config *config,
                                const struct llama_source *source, const char *format,
                                struct model_texts *texts, const char *dir)
{
    const struct quant_info *to = format ? quant_find(format) : NULL;
    struct emac_buf weights;
    emac_buf_init(&weights, WEIGHTS_MAX);
    enum emac_status st = llama_convert(config, source, to, &weights, &c->err);
    if (st == EMAC_OK)
        st = model_dir_write(c, config, &weights, texts, dir);
    if (st == EMAC_OK) {
        cli_say(c, "wrote the model to %s: %zu bytes of weights", dir, weights.len);
        cli_result(c, json_pack("{s:s,s:I}", "path", dir, "bytes", (json_int_t)weights.len));
    }
    emac_buf_release(&weights);
    return st;
}

/* The model is of use without its tokenizer: one that is not known is only said. */
static enum emac_status tokenizer_import(struct cli *c, const struct gguf *g, const char *dir)
{
    struct emac_buf json, config;
    struct emac_err err = {0};
    emac_buf_init(&json, TOKENIZER_JSON_MAX);
    emac_buf_init(&config, TOKENIZER_JSON_MAX);
    enum emac_status st = tokenizer_from_gguf(g, &json, &config, &err);
    if (st != EMAC_OK) {
        if (st != EMAC_NOT_FOUND)
            fprintf(stderr, "emac model: no tokenizer is written: %s\n", err.text);
        st = EMAC_OK;
        goto out;
    }
    EMAC_TRY(st, cli_file_put(c, dir, "tokenizer.json", &json));
    st = cli_file_put(c, dir, "tokenizer_config.json", &config);
out:
    emac_buf_release(&json);
    emac_buf_release(&config);
    return st;
}

static enum emac_status ends_import(struct cli *c, const struct gguf *g, const char *dir)
{
    struct emac_buf text;
    emac_buf_init(&text, TOKENIZER_JSON_MAX);
    enum emac_status st = generation_from_gguf(g, &text, &c->err);
    if (st == EMAC_OK && text.len > 0)
        st = cli_file_put(c, dir, "generation_config.json", &text);
    emac_buf_release(&text);
    return st;
}

static enum emac_status import_gguf(struct cli *c, const char *path, const char *format,
                                    const char *dir)
{
    struct emac_buf file;
    struct gguf g = {0};
    struct llama_config config;
    struct llama_source *source = NULL;
    emac_buf_init(&file, WEIGHTS_MAX);
    enum emac_status st;
    EMAC_TRY(st, c->os->file_read(c->os, path, &file, &c->err));
    st = gguf_parse(&g, file.data, file.len, &c->err);
    if (st == EMAC_OK)
        st = llama_from_gguf(&g, &config, &source, &c->err);
    if (st != EMAC_OK) {
        emac_wrap(&c->err, "'%s'", path);
        goto out;
    }
    EMAC_TRY(st, convert(c, &config, source, format, NULL, dir));
    EMAC_TRY(st, ends_import(c, &g, dir));
    st = tokenizer_import(c, &g, dir);
out:
    free(source);
    gguf_release(&g);
    emac_buf_release(&file);
    return st;
}

static enum emac_status quantise(struct cli *c, const char *name, const char *format,
                                 const char *dir)
{
    struct model_files m;
    struct llama_config config;
    struct st_index idx = {0};
    struct llama_source *source = NULL;
    if (!format)
        return emac_fail(&c->err, EMAC_INVALID, "to what? add --format q8_0");
    enum emac_status st = model_files_load(c, name, &m);
    if (st != EMAC_OK)
        return st;
    EMAC_TRY(st, llama_config_read(&config, emac_buf_str(&m.config), m.config.len, &c->err));
    EMAC_TRY(st, st_index_parse(&idx, m.weights.data, m.weights.len, m.weights.len, &c->err));
    EMAC_TRY(st,
             llama_from_bundle(&idx, m.weights.data + idx.data_offset, &config, &source, &c->err));
    st = convert(c, &config, source, format, &m.texts, dir);
out:
    free(source);
    st_index_release(&idx);
    model_files_release(&m);
    return st;
}

/* A directory into the store; pushed when a coordinator is named. */
static enum emac_status import_dir(struct cli *c, const char *dir, const char *base_name,
                                   bool is_private)
{
    struct cid cid, base = {0};
    struct store *s = NULL;
    char text[CID_TEXT_MAX];
    enum emac_status st;
    if (base_name)
        EMAC_TRY(st, cid_parse(&base, base_name, &c->err));
    EMAC_TRY(st, cli_store(c, &s));
    EMAC_TRY(st, model_dir_import(c, s, dir, base_name ? &base : NULL, is_private, &cid));
    if (c->url_given)
        EMAC_TRY(st, cli_push(c, s, &cid));
    cid_text(text, &cid);
    cli_say(c, "%s", text);
    cli_result(c, json_pack("{s:s,s:b}", "cid", text, "pushed", c->url_given));
out:
    store_close(s);
    return st;
}

/* The whole model that an adapter or a head stands for, as a directory and in the store. */
static enum emac_status merge(struct cli *c, const char *base, const char *name, const char *dir)
{
    struct model_files m;
    struct cid cid;
    struct store *s = NULL;
    char text[CID_TEXT_MAX];
    if (!dir)
        return emac_fail(&c->err, EMAC_INVALID, "where to? add -o DIR");
    enum emac_status st = model_files_load_on(c, name, base, &m);
    if (st != EMAC_OK)
        return st;
    EMAC_TRY(st, model_dir_write_whole(c, &m, dir));
    EMAC_TRY(st, cli_store(c, &s));
    EMAC_TRY(st, model_dir_import(c, s, dir, NULL, false, &cid));
    cid_text(text, &cid);
    cli_say(c, "wrote the model to %s; its CID is %s", dir, text);
    cli_result(c, json_pack("{s:s,s:s}", "cid", text, "path", dir));
out:
    store_close(s);
    model_files_release(&m);
    return st;
}

struct model_args {
    const char *format, *base, *out, *part_size;
    const char *name[CLI_POSITIONALS_MAX]; /* after the action */
    int names;
    bool is_private;
};

static enum emac_status act_export(struct cli *c, const struct model_args *a)
{
    uint64_t bytes = 0;
    enum emac_status st = EMAC_OK;
    if (model_gguf_named(a->name[1])) {
        if (a->part_size)
            return emac_fail(&c->err, EMAC_INVALID, "a GGUF file is one: leave out --part-size");
        return model_gguf_export(c, a->name[0], a->format, a->name[1]);
    }
    if (a->format)
        return emac_fail(&c->err, EMAC_INVALID,
                         "--format goes with export to a file that ends in .gguf; for a directory "
                         "there is 'emac model quantise'");
    if (a->part_size)
        st = cli_bytes(c, "--part-size", a->part_size, &bytes);
    return st == EMAC_OK ? write_out(c, a->name[0], a->name[1], bytes) : st;
}

static enum emac_status act_import(struct cli *c, const struct model_args *a)
{
    uint64_t size;
    if (a->names == 1 && c->os->file_size(c->os, a->name[0], &size, NULL) == EMAC_OK)
        return emac_fail(&c->err, EMAC_INVALID,
                         "'%s' is a file: say where its model goes, 'emac model import %s DIR'",
                         a->name[0], a->name[0]);
    if (a->names == 1 && a->format)
        return emac_fail(&c->err, EMAC_INVALID, "--format goes with import of a file");
    if (a->names == 2 && a->base)
        return emac_fail(&c->err, EMAC_INVALID,
                         "--base goes with import of an adapter's directory");
    if (a->is_private && a->names == 2)
        return emac_fail(&c->err, EMAC_INVALID,
                         "--private goes with import of a directory: import the file first");
    return a->names == 1 ? import_dir(c, a->name[0], a->base, a->is_private)
                         : import_gguf(c, a->name[0], a->format, a->name[1]);
}

/* Two names of one directory, as far as their texts show. */
static bool same_dir(const char *a, const char *b)
{
    size_t n = strlen(a), m = strlen(b);
    while (n > 1 && a[n - 1] == '/')
        n--;
    while (m > 1 && b[m - 1] == '/')
        m--;
    return n == m && memcmp(a, b, n) == 0;
}

static enum emac_status act_quantise(struct cli *c, const struct model_args *a)
{
    if (same_dir(a->name[0], a->name[1]))
        return emac_fail(&c->err, EMAC_INVALID,
                         "'%s' is the model itself, whose weights would be lost: name another "
                         "directory",
                         a->name[1]);
    return quantise(c, a->name[0], a->format, a->name[1]);
}

static enum emac_status act_merge(struct cli *c, const struct model_args *a)
{
    if (a->format)
        return emac_fail(&c->err, EMAC_INVALID,
                         "--format does not go with merge: quantise what it writes");
    return merge(c, a->names == 2 ? a->name[0] : NULL, a->name[a->names - 1], a->out);
}

static const struct {
    const char *name;
    int least, most; /* names after it */
    const char *takes;
    enum emac_status (*act)(struct cli *c, const struct model_args *a);
} ACTIONS[] = {
    {"export", 2, 2, "CID DIR, or MODEL FILE.gguf", act_export},
    {"import", 1, 2, "FILE.gguf DIR, or DIR", act_import},
    {"quantise", 2, 2, "MODEL DIR", act_quantise},
    {"merge", 1, 2, "MODEL, or BASE ADAPTER", act_merge},
};

static enum emac_status format_check(struct cli *c, const char *format, bool exports)
{
    if (format == NULL || (exports ? gguf_type_find(format) >= 0 : quant_find(format) != NULL))
        return EMAC_OK;
    return emac_fail(&c->err, EMAC_INVALID, "unknown format '%s': q4_0, q4_1, q8_0, q6_k%s", format,
                     exports ? ", f32, f16, bf16" : "");
}

/* An option that the action would pass over says what was not meant. */
static enum emac_status options_check(struct cli *c, const char *action, const struct model_args *a)
{
    const struct {
        bool given;
        const char *name, *of;
    } OF[] = {{a->is_private, "--private", "import"},
              {a->base != NULL, "--base", "import"},
              {a->out != NULL, "-o", "merge"},
              {a->part_size != NULL, "--part-size", "export"}};
    for (size_t i = 0; i < EMAC_COUNT(OF); i++)
        if (OF[i].given && strcmp(action, OF[i].of) != 0)
            return emac_fail(&c->err, EMAC_INVALID, "%s goes with %s", OF[i].name, OF[i].of);
    return EMAC_OK;
}

enum emac_status cmd_model(struct cli *c, int argc, char **argv)
{
    const char *pos[CLI_POSITIONALS_MAX] = {0};
    struct model_args a = {0};
    const struct cli_option options[] = {{"format", 0, OPT_TEXT, &a.format},
                                         {"base", 0, OPT_TEXT, &a.base},
                                         {"output", 'o', OPT_TEXT, &a.out},
                                         {"part-size", 0, OPT_TEXT, &a.part_size},
                                         {"private", 0, OPT_FLAG, &a.is_private}};
    enum emac_status st = cli_parse(c, argc, argv, options, EMAC_COUNT(options), pos, 2, 3);
    if (st != EMAC_OK)
        return st;
    st = format_check(c, a.format, strcmp(pos[0], "export") == 0);
    if (st != EMAC_OK)
        return st;
    st = options_check(c, pos[0], &a);
    if (st != EMAC_OK)
        return st;
    a.names = pos[2] ? 2 : 1;
    for (int i = 0; i < a.names; i++)
        a.name[i] = pos[i + 1];
    for (size_t i = 0; i < EMAC_COUNT(ACTIONS); i++) {
        if (strcmp(pos[0], ACTIONS[i].name) != 0)
            continue;
        if (a.names >= ACTIONS[i].least && a.names <= ACTIONS[i].most)
            return ACTIONS[i].act(c, &a);
        return emac_fail(&c->err, EMAC_INVALID, "'emac model %s' takes %s", pos[0],
                         ACTIONS[i].takes);
    }
    return emac_fail(&c->err, EMAC_INVALID,
                     "unknown action '%s': model knows export, import, quantise, merge", pos[0]);
}
