#include <stdlib.h>
#include <string.h>

#include "cli/model_dir.h"
#include "model/convert.h"

#define WEIGHTS_MAX ((size_t)1 << 36)

static void say_how_to_use(struct cli *c, const char *dir)
{
    char *path = emac_asprintf("%s/config.json", dir);
    json_t *config = json_load_file(path, 0, NULL);
    const char *type = json_string_value(json_object_get(config, "model_type"));
    if (type != NULL && strcmp(type, "emac_classifier") == 0)
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

static enum emac_status export(struct cli *c, const char *name, const char *dir) {
    struct cid cid; struct store *s = NULL; enum emac_status st = cid_parse(&cid, name, &c->err);
    if (st == EMAC_OK) st = cli_store(c, &s);
    if (st != EMAC_OK) return st;
    st = model_dir_export(c, s, &cid, dir);
    store_close(s);
    if (st != EMAC_OK) return st;
    say_how_to_use(c, dir);
    cli_result(c, json_pack("{s:s,s:s}", "cid", name, "path", dir));
    return EMAC_OK;
}

/* Convert the weights and write the directory. */
static enum emac_status convert(struct cli *c, const struct llama_config *config,
                                const struct llama_source *source, const char *format,
                                const char *dir)
{
    const struct quant_info *to = format ? quant_find(format) : NULL;
    struct emac_buf weights;
    emac_buf_init(&weights, WEIGHTS_MAX);
    enum emac_status st = llama_convert(config, source, to, &weights, &c->err);
    if (st == EMAC_OK)
        st = model_dir_write(c, config, &weights, dir);
    if (st == EMAC_OK) {
        cli_say(c, "wrote the model to %s: %zu bytes of weights", dir, weights.len);
        cli_result(c, json_pack("{s:s,s:I}", "path", dir, "bytes", (json_int_t)weights.len));
    }
    emac_buf_release(&weights);
    return st;
}

static enum emac_status import(struct cli *c, const char *path, const char *format, const char *dir)
{
    struct emac_buf file;
    struct gguf g = {0};
    struct llama_config config;
    struct llama_source *source = NULL;
    emac_buf_init(&file, WEIGHTS_MAX);
    enum emac_status st;
    EMAC_TRY(st, c->os->file_read(c->os, path, &file, &c->err));
    EMAC_TRY(st, gguf_parse(&g, file.data, file.len, &c->err));
    EMAC_TRY(st, llama_from_gguf(&g, &config, &source, &c->err));
    st = convert(c, &config, source, format, dir);
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
    st = convert(c, &config, source, format, dir);
out:
    free(source);
    st_index_release(&idx);
    model_files_release(&m);
    return st;
}

enum emac_status cmd_model(struct cli *c, int argc, char **argv)
{
    const char *pos[CLI_POSITIONALS_MAX], *format = NULL;
    const struct cli_option options[] = {{"format", 0, OPT_TEXT, &format}};
    enum emac_status st = cli_parse(c, argc, argv, options, EMAC_COUNT(options), pos, 3, 3);
    if (st != EMAC_OK)
        return st;
    if (format && !quant_find(format))
        return emac_fail(&c->err, EMAC_INVALID, "unknown format '%s': q4_0, q4_1, q8_0, q6_k",
                         format);
    if (strcmp(pos[0], "export") == 0)
        return export(c, pos[1], pos[2]);
    if (strcmp(pos[0], "import") == 0)
        return import(c, pos[1], format, pos[2]);
    if (strcmp(pos[0], "quantise") == 0)
        return quantise(c, pos[1], format, pos[2]);
    return emac_fail(&c->err, EMAC_INVALID,
                     "unknown action '%s': model knows export, import, quantise", pos[0]);
}
