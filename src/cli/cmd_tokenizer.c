#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "model/tokenizer.h"
#include "model/tokenizer_train.h"
#include "os/process.h"

#define IDS_MAX ((size_t)1 << 34) /* bytes */

struct tokenizer_args {
    uint64_t vocab;
    const char *pattern, *out, *prompt;
    bool special;
    const char *pos[CLI_POSITIONALS_MAX + 1];
};

/* The tokenizer.json of a directory, or the file itself. */
static enum emac_status load(struct cli *c, const char *path, struct tokenizer **out)
{
    char *inside = emac_asprintf("%s/tokenizer.json", path);
    struct emac_buf json;
    enum emac_status st;

    *out = NULL;
    emac_buf_init(&json, TOKENIZER_JSON_MAX);
    st = c->os->file_read(c->os, inside, &json, NULL);
    if (st != EMAC_OK)
        EMAC_TRY(st, c->os->file_read(c->os, path, &json, &c->err));
    st = tokenizer_read(emac_buf_slice(&json), out, &c->err);
    if (st != EMAC_OK)
        emac_wrap(&c->err, "'%s'", path);
out:
    emac_buf_release(&json);
    free(inside);
    return st;
}

/* -- train --------------------------------------------------------------------------------- */

static enum emac_status text_add(struct cli *c, struct tokenizer_trainer *t, const char *path)
{
    struct emac_buf text;
    enum emac_status st;

    emac_buf_init(&text, TOKENIZER_TEXT_MAX);
    st = c->os->file_read(c->os, path, &text, &c->err);
    if (st == EMAC_OK) {
        st = tokenizer_trainer_add(t, emac_buf_slice(&text), &c->err);
        if (st != EMAC_OK)
            emac_wrap(&c->err, "'%s'", path);
    }
    emac_buf_release(&text);
    return st;
}

static enum emac_status trained_write(struct cli *c, const char *dir, const struct emac_buf *json)
{
    static const struct {
        const char *name;
        enum emac_status (*text)(struct emac_buf *out, struct emac_err *err);
    } SMALL[] = {{"tokenizer_config.json", tokenizer_trained_config},
                 {"special_tokens_map.json", tokenizer_trained_special}};
    struct emac_buf text;
    enum emac_status st;

    emac_buf_init(&text, 1 << 16);
    EMAC_TRY(st, c->os->dir_make(c->os, dir, &c->err));
    for (size_t i = 0; i < EMAC_COUNT(SMALL); i++) {
        emac_buf_clear(&text);
        EMAC_TRY(st, SMALL[i].text(&text, &c->err));
        EMAC_TRY(st, cli_file_put(c, dir, SMALL[i].name, &text));
    }
    st = cli_file_put(c, dir, "tokenizer.json", json);
out:
    emac_buf_release(&text);
    return st;
}

static enum emac_status act_train(struct cli *c, const struct tokenizer_args *a)
{
    struct tokenizer_trainer *t = NULL;
    struct emac_buf json;
    uint32_t made = 0;
    enum emac_status st;

    emac_buf_init(&json, TOKENIZER_JSON_MAX);
    if (a->pos[1] == NULL || a->out == NULL || a->vocab == 0)
        return emac_fail(&c->err, EMAC_INVALID,
                         "train takes texts, --vocab N and --out DIR: 'emac tokenizer train "
                         "text.txt --vocab 4096 --out DIR'");
    if (a->vocab > TOKENIZER_VOCAB_MAX)
        return emac_fail(&c->err, EMAC_INVALID, "a vocabulary is at most %u tokens",
                         TOKENIZER_VOCAB_MAX);
    EMAC_TRY(st, tokenizer_trainer_new(a->pattern ? a->pattern : "llama3", &t, &c->err));
    for (int i = 1; a->pos[i] != NULL; i++)
        EMAC_TRY(st, text_add(c, t, a->pos[i]));
    EMAC_TRY(st, tokenizer_trainer_write(t, (uint32_t)a->vocab, &made, &json, &c->err));
    EMAC_TRY(st, trained_write(c, a->out, &json));
    if (made < a->vocab)
        cli_say(c, "only %u tokens: no pair of tokens occurs twice any more", made);
    cli_say(c, "wrote the tokenizer to %s: %u tokens", a->out, made);
    cli_result(c, json_pack("{s:s,s:I}", "path", a->out, "vocab", (json_int_t)made));
out:
    tokenizer_trainer_free(t);
    emac_buf_release(&json);
    return st;
}

/* -- encode -------------------------------------------------------------------------------- */

static enum emac_status encode(struct cli *c, const struct tokenizer *t, struct emac_slice text,
                               bool special)
{
    struct emac_buf ids;
    json_t *list = json_array();
    enum emac_status st;

    emac_buf_init(&ids, IDS_MAX);
    st = tokenizer_encode(t, text, special, &ids, &c->err);
    for (size_t i = 0; st == EMAC_OK && i < ids.len; i += sizeof(int32_t)) {
        int32_t id;

        memcpy(&id, ids.data + i, sizeof(id));
        if (c->json)
            json_array_append_new(list, json_integer(id));
        else if (!c->quiet)
            printf("%d\n", id);
    }
    if (st == EMAC_OK)
        cli_result(c, json_pack("{s:O}", "ids", list));
    json_decref(list);
    emac_buf_release(&ids);
    return st;
}

static enum emac_status act_encode(struct cli *c, const struct tokenizer_args *a)
{
    struct tokenizer *t = NULL;
    struct emac_buf text;
    enum emac_status st;

    emac_buf_init(&text, TOKENIZER_TEXT_MAX);
    if (a->pos[1] == NULL || (a->pos[2] == NULL) == (a->prompt == NULL) || a->pos[3] != NULL)
        return emac_fail(&c->err, EMAC_INVALID,
                         "encode takes a tokenizer and a text: a FILE, or -p TEXT");
    EMAC_TRY(st, load(c, a->pos[1], &t));
    if (a->prompt != NULL)
        EMAC_TRY(st, emac_buf_append(&text, a->prompt, strlen(a->prompt), &c->err));
    else
        EMAC_TRY(st, c->os->file_read(c->os, a->pos[2], &text, &c->err));
    st = encode(c, t, emac_buf_slice(&text), a->special);
out:
    tokenizer_free(t);
    emac_buf_release(&text);
    return st;
}

/* -- decode -------------------------------------------------------------------------------- */

/* The next number of a text of ids; false at its end. */
static enum emac_status id_next(struct cli *c, const struct tokenizer *t, const char **at,
                                bool *there, int32_t *id)
{
    char *end;
    unsigned long v;

    *at += strspn(*at, " ,\t\r\n[]");
    *there = **at != 0;
    if (!*there)
        return EMAC_OK;
    v = strtoul(*at, &end, 10);
    if (**at < '0' || **at > '9' || v >= tokenizer_vocab(t))
        return emac_fail(&c->err, EMAC_INVALID, "'%.20s' is not an id of this tokenizer: 0 to %u",
                         *at, tokenizer_vocab(t) - 1);
    *at = end;
    *id = (int32_t)v;
    return EMAC_OK;
}

static enum emac_status decode(struct cli *c, const struct tokenizer *t, const char *ids,
                               struct emac_buf *out)
{
    bool first = true, there;
    int32_t id = 0;
    enum emac_status st;

    for (;;) {
        struct emac_slice piece;

        EMAC_TRY(st, id_next(c, t, &ids, &there, &id));
        if (!there)
            break;
        piece = tokenizer_piece(t, id, first);
        first = first && tokenizer_is_special(t, id);
        EMAC_TRY(st, emac_buf_append(out, piece.data, piece.len, &c->err));
    }
out:
    return st;
}

static enum emac_status act_decode(struct cli *c, const struct tokenizer_args *a)
{
    struct tokenizer *t = NULL;
    struct emac_buf ids, text;
    enum emac_status st;

    emac_buf_init(&ids, TOKENIZER_TEXT_MAX);
    emac_buf_init(&text, (size_t)TOKENIZER_TEXT_MAX * 4);
    if (a->pos[1] == NULL || (a->pos[2] == NULL) == (a->prompt == NULL) || a->pos[3] != NULL)
        return emac_fail(&c->err, EMAC_INVALID,
                         "decode takes a tokenizer and ids: a FILE of numbers, or -p '1 2 3'");
    EMAC_TRY(st, load(c, a->pos[1], &t));
    if (a->prompt == NULL)
        EMAC_TRY(st, c->os->file_read(c->os, a->pos[2], &ids, &c->err));
    EMAC_TRY(st, decode(c, t, a->prompt != NULL ? a->prompt : emac_buf_str(&ids), &text));
    if (!c->json && !c->quiet)
        fwrite(text.data, 1, text.len, stdout);
    cli_result(c, json_pack("{s:o?}", "text",
                            json_stringn(emac_buf_str(&text), text.len))); /* null: no UTF-8 */
out:
    tokenizer_free(t);
    emac_buf_release(&ids);
    emac_buf_release(&text);
    return st;
}

/* -- show ---------------------------------------------------------------------------------- */

static enum emac_status act_show(struct cli *c, const struct tokenizer_args *a)
{
    struct tokenizer *t = NULL;
    json_t *special = json_array();
    enum emac_status st;

    if (a->pos[1] == NULL || a->pos[2] != NULL) {
        st = emac_fail(&c->err, EMAC_INVALID, "show takes one tokenizer, a directory or a file");
        goto out;
    }
    EMAC_TRY(st, load(c, a->pos[1], &t));
    cli_say(c, "ids        0 to %u", tokenizer_vocab(t) - 1);
    for (uint32_t id = 0; id < tokenizer_vocab(t); id++) {
        struct emac_slice form = tokenizer_written(t, (int32_t)id);

        if (!tokenizer_is_special(t, (int32_t)id))
            continue;
        cli_say(c, "special    %-6u %.*s", id, (int)form.len, (const char *)form.data);
        json_array_append_new(special, json_pack("{s:I,s:s%}", "id", (json_int_t)id, "token",
                                                 (const char *)form.data, form.len));
    }
    cli_result(c,
               json_pack("{s:I,s:O}", "vocab", (json_int_t)tokenizer_vocab(t), "special", special));
out:
    json_decref(special);
    tokenizer_free(t);
    return st;
}

static const struct {
    const char *name;
    enum emac_status (*act)(struct cli *c, const struct tokenizer_args *a);
} ACTIONS[] = {
    {"train", act_train}, {"encode", act_encode}, {"decode", act_decode}, {"show", act_show}};

enum emac_status cmd_tokenizer(struct cli *c, int argc, char **argv)
{
    struct tokenizer_args a = {0};
    const struct cli_option options[] = {
        {"vocab", 0, OPT_U64, &a.vocab},      {"pattern", 0, OPT_TEXT, &a.pattern},
        {"out", 'o', OPT_TEXT, &a.out},       {"prompt", 'p', OPT_TEXT, &a.prompt},
        {"special", 0, OPT_FLAG, &a.special},
    };
    enum emac_status st =
        cli_parse(c, argc, argv, options, EMAC_COUNT(options), a.pos, 1, CLI_POSITIONALS_MAX - 1);

    if (st != EMAC_OK)
        return st;
    for (size_t i = 0; i < EMAC_COUNT(ACTIONS); i++)
        if (strcmp(a.pos[0], ACTIONS[i].name) == 0)
            return ACTIONS[i].act(c, &a);
    return emac_fail(&c->err, EMAC_INVALID,
                     "unknown action '%s': tokenizer knows train, encode, decode and show",
                     a.pos[0]);
}
