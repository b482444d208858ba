#include "model/language.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"

#define PROMPT_IDS                                                                                 \
    ((size_t)1 << 24) /* tokens of a prompt, before it is cut to what the model sees */

/* ---- the files ---- */

static void end_add(struct language *l, int64_t id)
{
    if (id < 0 || id >= l->vocab || l->end_count == LANGUAGE_ENDS_MAX)
        return;
    l->end[l->end_count++] = (int32_t)id;
}

/* "eos_token_id" of a file, a number or a list of them. */
static void ends_of_numbers(struct language *l, struct emac_slice file)
{
    json_t *root = json_loadb((const char *)file.data, file.len, 0, NULL), *one;
    const json_t *ids = json_object_get(root, "eos_token_id");
    size_t i;
    if (json_is_integer(ids))
        end_add(l, json_integer_value(ids));
    json_array_foreach(ids, i, one)
    {
        if (json_is_integer(one))
            end_add(l, json_integer_value(one));
    }
    json_decref(root);
}

/* "eos_token" of tokenizer_config.json: a text, or an object that has it as "content". */
static void end_of_name(struct language *l, struct emac_slice file)
{
    json_t *root = json_loadb((const char *)file.data, file.len, 0, NULL);
    const json_t *eos = json_object_get(root, "eos_token");
    const char *name =
        json_string_value(json_is_object(eos) ? json_object_get(eos, "content") : eos);
    int32_t id;
    if (name != NULL && tokenizer_find(l->tokenizer, name, &id))
        end_add(l, id);
    json_decref(root);
}

enum emac_status language_read(struct language *out, const struct language_files *files,
                               uint32_t vocab, struct emac_err *err)
{
    enum emac_status st;
    *out = (struct language){.vocab = vocab};
    if (files->tokenizer.len > 0)
        st = tokenizer_read(files->tokenizer, &out->tokenizer, err);
    else if (vocab == TOKENIZER_BYTES)
        st = tokenizer_bytes(&out->tokenizer, err);
    else
        st = emac_fail(err, EMAC_UNSUPPORTED,
                       "the model has a vocabulary of %u and no tokenizer.json that says what its "
                       "tokens are",
                       vocab);
    if (st != EMAC_OK)
        return st;
    if (tokenizer_vocab(out->tokenizer) > vocab)
        return emac_fail(err, EMAC_INVALID, "tokenizer.json has %u tokens and the model %u",
                         tokenizer_vocab(out->tokenizer), vocab);
    ends_of_numbers(out, files->generation);
    if (out->end_count == 0)
        ends_of_numbers(out, files->config);
    if (out->end_count == 0)
        end_of_name(out, files->tokenizer_config);
    return EMAC_OK;
}

void language_release(struct language *l)
{
    tokenizer_free(l->tokenizer);
    *l = (struct language){0};
}

/* ---- a completion ---- */

struct completion {
    const struct language *language;
    struct generator *generator;
};

enum emac_status completion_open(struct session *s, const struct llama_config *c,
                                 const struct language *l, struct emac_slice prompt,
                                 const struct sample_params *params, struct completion **out,
                                 struct emac_err *err)
{
    struct completion *made = NULL;
    struct emac_buf ids;
    enum emac_status st;
    *out = NULL;
    emac_buf_init(&ids, PROMPT_IDS * sizeof(int32_t));
    EMAC_TRY(st, emac_alloc(&made, 1, sizeof *made, err));
    made->language = l;
    EMAC_TRY(st, tokenizer_encode(l->tokenizer, prompt, true, &ids, err));
    EMAC_TRY(st, generator_open(s, c, (const int32_t *)(const void *)ids.data,
                                ids.len / sizeof(int32_t), params, &made->generator, err));
    *out = made;
    made = NULL;
out:
    completion_close(made);
    emac_buf_release(&ids);
    return st;
}

void completion_close(struct completion *c)
{
    if (c == NULL)
        return;
    generator_close(c->generator);
    free(c);
}

static bool is_end(const struct language *l, int32_t id)
{
    for (uint32_t i = 0; i < l->end_count; i++)
        if (l->end[i] == id)
            return true;
    return false;
}

/* What a token is to who reads. */
static void token_read(const struct completion *c, int32_t id, struct emac_slice *bytes,
                       bool *ended)
{
    *bytes = (struct emac_slice){0};
    *ended = is_end(c->language, id);
    if (!*ended && (uint32_t)id < tokenizer_vocab(c->language->tokenizer))
        *bytes = tokenizer_piece(c->language->tokenizer, id, false);
}

enum emac_status completion_next(struct completion *c, struct emac_slice *bytes, bool *ended,
                                 struct emac_err *err)
{
    int32_t id = 0;
    enum emac_status st = generator_next(c->generator, &id, err);
    if (st == EMAC_OK)
        token_read(c, id, bytes, ended);
    return st;
}

enum emac_status completions_step(struct completion_turn *turn, uint32_t count,
                                  uint32_t prompt_rows, struct emac_err *err)
{
    struct generator_turn of[COMPLETIONS_MAX];
    EMAC_ASSERT(count <= COMPLETIONS_MAX);
    for (uint32_t i = 0; i < count; i++)
        of[i] = (struct generator_turn){.g = turn[i].c->generator};
    enum emac_status st = generators_step(of, count, prompt_rows, err);
    for (uint32_t i = 0; i < count && st == EMAC_OK; i++) {
        turn[i].came = of[i].drawn;
        turn[i].err = of[i].err;
        if (of[i].drawn)
            token_read(turn[i].c, of[i].token, &turn[i].bytes, &turn[i].ended);
    }
    return st;
}

bool completion_is_reading(const struct completion *c)
{
    return generator_is_reading(c->generator);
}

uint32_t completion_prompt_tokens(const struct completion *c)
{
    return generator_prompt_tokens(c->generator);
}
