#include "model/tokenizer_cuts.h"

#include <stdio.h>
#include <string.h>

#include "base/assert.h"

#define META "\xe2\x96\x81"
#define TO_META                                                                                    \
    "{\"type\": \"Replace\", \"pattern\": {\"String\": \" \"}, \"content\": \"" META "\"}"

const struct tok_cut tok_cuts[TOK_CUTS] = {
    {"llama-bpe", "llama3", true, false}, {"llama3", "llama3", true, false},
    {"llama-v3", "llama3", true, false},  {"smaug-bpe", "llama3", false, false},
    {"qwen2", "qwen2", false, true},      {"deepseek-r1-qwen", "qwen2", false, true},
    {"stablelm2", "qwen2", false, false}, {"gpt-2", "gpt2", false, false},
    {"phi-2", "gpt2", false, false},      {"jina-es", "gpt2", false, false},
    {"smollm", "digits", false, false},   {"starcoder", "digits", false, false},
    {"refact", "digits", false, false},   {"command-r", "digits", false, false},
};

const struct tok_cut *tok_cut_find(struct emac_slice name)
{
    for (size_t i = 0; i < TOK_CUTS; i++)
        if (strlen(tok_cuts[i].name) == name.len &&
            memcmp(tok_cuts[i].name, name.data, name.len) == 0)
            return &tok_cuts[i];
    return NULL;
}

/* -- steps as they are compared ------------------------------------------------------------ */

/* Members that are about offsets, and settings that are as they are when nothing is said. */
static json_t *step_plain(const json_t *step)
{
    json_t *o = json_deep_copy(step);

    json_object_del(o, "trim_offsets");
    if (json_is_true(json_object_get(o, "use_regex")))
        json_object_del(o, "use_regex");
    if (json_is_false(json_object_get(o, "invert")))
        json_object_del(o, "invert");
    return o;
}

/* The steps one after the other; sequences have their list under `list`. */
static void steps_flatten(const json_t *o, const char *list, unsigned depth, json_t *out)
{
    const char *type = json_string_value(json_object_get(o, "type"));
    const json_t *steps = json_object_get(o, list), *one;
    size_t i;

    if (o == NULL || json_is_null(o))
        return;
    if (depth == 8 || type == NULL || strcmp(type, "Sequence") != 0) {
        json_array_append_new(out, step_plain(o));
        return;
    }
    json_array_foreach(steps, i, one) steps_flatten(one, list, depth + 1, out);
}

static bool steps_are(const json_t *o, const char *list, const char *text)
{
    json_t *want = json_loads(text, 0, NULL), *a = json_array(), *b = json_array();

    EMAC_ASSERT(want != NULL);
    steps_flatten(want, list, 0, a);
    steps_flatten(o, list, 0, b);
    bool same = json_equal(a, b) == 1;
    json_decref(want);
    json_decref(a);
    json_decref(b);
    return same;
}

const struct tok_cut *tok_cut_of(const json_t *normalizer, const json_t *pre, bool ignore_merges)
{
    bool composed = steps_are(normalizer, "normalizers", "{\"type\": \"NFC\"}");
    bool plain =
        steps_are(normalizer, "normalizers", "{\"type\": \"Sequence\", \"normalizers\": []}");

    for (size_t i = 0; i < TOK_CUTS; i++)
        if (tok_cuts[i].ignore_merges == ignore_merges &&
            (tok_cuts[i].composed ? composed : plain) &&
            steps_are(pre, "pretokenizers", tok_pre_json(tok_cuts[i].pre)))
            return &tok_cuts[i];
    return NULL;
}

const char *tok_meta_json(bool space)
{
    return space ? "{\"type\": \"Sequence\", \"normalizers\": [{\"type\": \"Prepend\", "
                   "\"prepend\": \"" META "\"}, " TO_META "]}"
                 : TO_META;
}

bool tok_meta_is(const json_t *normalizer, bool space)
{
    return steps_are(normalizer, "normalizers", tok_meta_json(space));
}

struct emac_slice tok_gguf_pad(uint32_t id, char room[TOK_GGUF_PAD_MAX])
{
    int n = snprintf(room, TOK_GGUF_PAD_MAX, "[PAD%u]", id);

    return EMAC_SLICE(room, (size_t)n);
}

struct emac_slice tok_gguf_byte(unsigned byte, char room[TOK_GGUF_BYTE_MAX])
{
    int n = snprintf(room, TOK_GGUF_BYTE_MAX, "\\x%02x", byte & 0xff);

    return EMAC_SLICE(room, (size_t)n);
}
