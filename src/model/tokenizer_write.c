/* Writing a tokenizer.json that Hugging Face's package reads. */
#include <string.h>

#include "base/utf8.h"
#include "model/tokenizer_internal.h"

static enum emac_status put(struct emac_buf *out, const char *text, struct emac_err *err)
{
    return emac_buf_append(out, text, strlen(text), err);
}

enum emac_status tok_string_write(struct emac_slice text, struct emac_buf *out,
                                  struct emac_err *err)
{
    enum emac_status st = put(out, "\"", err);

    for (size_t i = 0, n; i < text.len && st == EMAC_OK; i += n) {
        uint8_t c = text.data[i];

        n = emac_utf8_next(text.data + i, text.len - i, NULL);
        if (n == 0)
            return emac_fail(err, EMAC_INVALID, "the token '%.*s' is not UTF-8",
                             (int)(text.len < 40 ? text.len : 40), (const char *)text.data);
        if (c < 0x20 || c == 0x7f)
            st = emac_buf_printf(out, err, "\\u%04x", c);
        else if (c == '"' || c == '\\')
            st = emac_buf_printf(out, err, "\\%c", c);
        else
            st = emac_buf_append(out, text.data + i, n, err);
    }
    return st == EMAC_OK ? put(out, "\"", err) : st;
}

static enum emac_status added_write(const struct tok_parts *p, struct emac_buf *out,
                                    struct emac_err *err)
{
    enum emac_status st = EMAC_OK;

    for (size_t i = 0; i < p->added_count; i++) {
        const struct tok_parts_added *a = &p->added[i];

        EMAC_TRY(st, emac_buf_printf(out, err, "%s    {\"id\": %d, \"content\": ",
                                     i > 0 ? ",\n" : "\n", a->id));
        EMAC_TRY(st, tok_string_write(tok_vocab_form(p->vocab, (uint32_t)a->id), out, err));
        EMAC_TRY(st, emac_buf_printf(out, err,
                                     ", \"single_word\": false, \"lstrip\": false, \"rstrip\": "
                                     "false, \"normalized\": false, \"special\": %s}",
                                     a->special ? "true" : "false"));
    }
    st = put(out, p->added_count > 0 ? "\n  ],\n" : "],\n", err);
out:
    return st;
}

static enum emac_status vocab_write(const struct tok_vocab *v, struct emac_buf *out,
                                    struct emac_err *err)
{
    bool any = false;
    enum emac_status st = EMAC_OK;

    for (uint32_t id = 0; id < v->count; id++) {
        if (v->written[id].at == UINT32_MAX)
            continue;
        EMAC_TRY(st, put(out, any ? ",\n      " : "\n      ", err));
        EMAC_TRY(st, tok_string_write(tok_vocab_form(v, id), out, err));
        EMAC_TRY(st, emac_buf_printf(out, err, ": %u", id));
        any = true;
    }
out:
    return st;
}

static enum emac_status merges_write(const struct tok_parts *p, struct emac_buf *out,
                                     struct emac_err *err)
{
    enum emac_status st = EMAC_OK;

    for (size_t i = 0; i < p->merges; i++) {
        EMAC_TRY(st, put(out, i > 0 ? ",\n      [" : "\n      [", err));
        EMAC_TRY(st,
                 tok_string_write(tok_vocab_form(p->vocab, (uint32_t)p->merge[i][0]), out, err));
        EMAC_TRY(st, put(out, ", ", err));
        EMAC_TRY(st,
                 tok_string_write(tok_vocab_form(p->vocab, (uint32_t)p->merge[i][1]), out, err));
        EMAC_TRY(st, put(out, "]", err));
    }
out:
    return st;
}

static const char *word_of(bool v)
{
    return v ? "true" : "false";
}

static const char *or_null(const char *text)
{
    return text != NULL ? text : "null";
}

enum emac_status tok_json_write(const struct tok_parts *p, struct emac_buf *out,
                                struct emac_err *err)
{
    enum emac_status st;

    EMAC_TRY(st, put(out,
                     "{\n  \"version\": \"1.0\",\n  \"truncation\": null,\n  \"padding\": null,\n"
                     "  \"added_tokens\": [",
                     err));
    EMAC_TRY(st, added_write(p, out, err));
    EMAC_TRY(st, emac_buf_printf(out, err,
                                 "  \"normalizer\": %s,\n  \"pre_tokenizer\": %s,\n"
                                 "  \"post_processor\": %s,\n  \"decoder\": %s,\n"
                                 "  \"model\": {\n    \"type\": \"BPE\",\n    \"dropout\": null,\n"
                                 "    \"unk_token\": ",
                                 or_null(p->normalizer), or_null(p->pre), or_null(p->post),
                                 or_null(p->decoder)));
    if (p->unk != NULL)
        EMAC_TRY(st, tok_string_write(EMAC_SLICE_STR(p->unk), out, err));
    else
        EMAC_TRY(st, put(out, "null", err));
    EMAC_TRY(st, emac_buf_printf(out, err,
                                 ",\n    \"continuing_subword_prefix\": null,\n"
                                 "    \"end_of_word_suffix\": null,\n    \"fuse_unk\": %s,\n"
                                 "    \"byte_fallback\": %s,\n    \"ignore_merges\": %s,\n"
                                 "    \"vocab\": {",
                                 word_of(p->fuse_unk), word_of(p->byte_fallback),
                                 word_of(p->ignore_merges)));
    EMAC_TRY(st, vocab_write(p->vocab, out, err));
    EMAC_TRY(st, put(out, "\n    },\n    \"merges\": [", err));
    EMAC_TRY(st, merges_write(p, out, err));
    st = put(out, "\n    ]\n  }\n}\n", err);
out:
    return st;
}
