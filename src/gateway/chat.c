#include "gateway/chat.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "base/assert.h"

#define SYSTEM_OPEN  "<<SYS>>\n"
#define SYSTEM_CLOSE "\n<</SYS>>\n\n"

const char *const CHAT_ROLE_NAMES[CHAT_ROLES] = {
    [CHAT_SYSTEM] = "system", [CHAT_USER] = "user", [CHAT_ASSISTANT] = "assistant"};

struct chat_form {
    const char *mark;                /* in each template of the form */
    const char *open, *role, *close; /* open ROLE role TEXT close; open NULL: inst */
    const char *answer;              /* the assistant's next answer begins with it */
    const char *stop;
    bool trimmed; /* texts lose the space around them */
    bool tagged;  /* inst: what the system says is between tags */
    bool begins;  /* its templates may say what the system says where nobody does */
};

/* A template is of the first form whose mark it holds. */
static const struct chat_form FORMS[] = {
    {.mark = "<|im_start|>",
     .open = "<|im_start|>",
     .role = "\n",
     .close = "<|im_end|>\n",
     .answer = "<|im_start|>assistant\n",
     .stop = "<|im_end|>",
     .begins = true},
    {.mark = "<|start_header_id|>",
     .open = "<|start_header_id|>",
     .role = "<|end_header_id|>\n\n",
     .close = "<|eot_id|>",
     .answer = "<|start_header_id|>assistant<|end_header_id|>\n\n",
     .stop = "<|eot_id|>",
     .trimmed = true},
    {.mark = "<|user|>",
     .open = "<|",
     .role = "|>\n",
     .close = "</s>\n",
     .answer = "<|assistant|>\n",
     .stop = "</s>"},
    {.mark = "<<SYS>>", .stop = "</s>", .trimmed = true, .tagged = true},
    {.mark = "[INST]", .stop = "</s>", .trimmed = true},
};

/* ---- which form ---- */

/* A text, or a list of {name, template} of which "default" counts. */
static const char *template_of(const json_t *root)
{
    const json_t *t = json_object_get(root, "chat_template"), *one;
    size_t i;
    if (json_is_string(t))
        return json_string_value(t);
    json_array_foreach(t, i, one)
    {
        const char *name = json_string_value(json_object_get(one, "name"));
        if (name != NULL && strcmp(name, "default") == 0)
            return json_string_value(json_object_get(one, "template"));
    }
    return NULL;
}

enum emac_status chat_form_of(struct emac_slice tokenizer_config, const struct chat_form **out,
                              struct emac_err *err)
{
    json_t *root = json_loadb((const char *)tokenizer_config.data, tokenizer_config.len, 0, NULL);
    const char *text = template_of(root);
    *out = NULL;
    for (size_t i = 0; text != NULL && i < EMAC_COUNT(FORMS) && *out == NULL; i++)
        if (strstr(text, FORMS[i].mark) != NULL)
            *out = &FORMS[i];
    enum emac_status st = EMAC_OK;
    if (*out == NULL)
        st = emac_fail(err, EMAC_UNSUPPORTED,
                       text == NULL
                           ? "the model was not taught to chat: its tokenizer_config.json has no "
                             "'chat_template'; POST /v1/completions continues a text"
                           : "the model's 'chat_template' is of a form that is not known; POST "
                             "/v1/completions continues a text");
    json_decref(root);
    return st;
}

const char *chat_stop(const struct chat_form *f)
{
    return f->stop;
}

/* ---- rendering ---- */

static bool is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static enum emac_status text_add(const struct chat_form *f, const char *text, struct emac_buf *out,
                                 struct emac_err *err)
{
    size_t n = strlen(text);
    while (f->trimmed && n > 0 && is_space(text[n - 1]))
        n--;
    while (f->trimmed && n > 0 && is_space(*text)) {
        text++;
        n--;
    }
    return emac_buf_append(out, text, n, err);
}

static enum emac_status add(const char *text, struct emac_buf *out, struct emac_err *err)
{
    return emac_buf_append(out, text, strlen(text), err);
}

/* The text of a system message that stands in the template as such: none that it puts together. */
static struct emac_slice usual_system(const struct chat_form *f, const char *at)
{
    char begin[32];
    snprintf(begin, sizeof begin, "%s%s", f->open, CHAT_ROLE_NAMES[CHAT_SYSTEM]);
    while ((at = strstr(at, begin)) != NULL) {
        at += strlen(begin);
        size_t line = strncmp(at, "\\n", 2) == 0 ? 2 : *at == '\n';
        size_t n = strcspn(at + line, "'\"{}\\<");
        if (line > 0 && n > 0 && strncmp(at + line + n, f->stop, strlen(f->stop)) == 0)
            return EMAC_SLICE(at + line, n);
    }
    return (struct emac_slice){0};
}

enum emac_status chat_begin(const struct chat_form *f, struct emac_slice tokenizer_config,
                            const struct chat_message *m, struct emac_buf *out,
                            struct emac_err *err)
{
    if (!f->begins || m[0].role == CHAT_SYSTEM)
        return EMAC_OK;
    json_t *root = json_loadb((const char *)tokenizer_config.data, tokenizer_config.len, 0, NULL);
    const char *template_text = template_of(root);
    struct emac_slice text = {0};
    enum emac_status st = EMAC_OK;
    if (template_text != NULL)
        text = usual_system(f, template_text);
    if (text.len > 0)
        st = emac_buf_printf(out, err, "%s%s%s%.*s%s", f->open, CHAT_ROLE_NAMES[CHAT_SYSTEM],
                             f->role, (int)text.len, (const char *)text.data, f->close);
    json_decref(root);
    return st;
}

static enum emac_status turns_render(const struct chat_form *f, const struct chat_message *m,
                                     size_t count, struct emac_buf *out, struct emac_err *err)
{
    enum emac_status st = EMAC_OK;
    for (size_t i = 0; i < count; i++) {
        EMAC_TRY(st, add(f->open, out, err));
        EMAC_TRY(st, add(CHAT_ROLE_NAMES[m[i].role], out, err));
        EMAC_TRY(st, add(f->role, out, err));
        EMAC_TRY(st, text_add(f, m[i].text, out, err));
        EMAC_TRY(st, add(f->close, out, err));
    }
    st = add(f->answer, out, err);
out:
    return st;
}

static enum emac_status question_add(const struct chat_form *f, bool first, const char *system,
                                     const char *text, struct emac_buf *out, struct emac_err *err)
{
    enum emac_status st;
    EMAC_TRY(st, add(f->tagged && !first ? "<s>[INST] " : "[INST] ", out, err));
    if (system != NULL) {
        EMAC_TRY(st, f->tagged ? add(SYSTEM_OPEN, out, err) : EMAC_OK);
        EMAC_TRY(st, text_add(f, system, out, err));
        EMAC_TRY(st, add(f->tagged ? SYSTEM_CLOSE : "\n\n", out, err));
    }
    EMAC_TRY(st, text_add(f, text, out, err));
    st = add(" [/INST]", out, err);
out:
    return st;
}

/* Questions and answers in turns, what the system says in the first question. */
static enum emac_status inst_render(const struct chat_form *f, const struct chat_message *m,
                                    size_t count, struct emac_buf *out, struct emac_err *err)
{
    size_t first = count > 0 && m[0].role == CHAT_SYSTEM ? 1 : 0;
    const char *system = first > 0 ? m[0].text : NULL;
    enum emac_status st = EMAC_OK;
    for (size_t i = first; i < count; i++) {
        enum chat_role due = (i - first) % 2 == 0 ? CHAT_USER : CHAT_ASSISTANT;
        if (m[i].role != due)
            return emac_fail(err, EMAC_INVALID,
                             "message %zu is of '%s': this model takes those of 'user' and "
                             "'assistant' in turns, after at most one of 'system'",
                             i, CHAT_ROLE_NAMES[m[i].role]);
        if (due == CHAT_USER) {
            EMAC_TRY(st,
                     question_add(f, i == first, i == first ? system : NULL, m[i].text, out, err));
            continue;
        }
        EMAC_TRY(st, add(" ", out, err));
        EMAC_TRY(st, text_add(f, m[i].text, out, err));
        EMAC_TRY(st, add(f->tagged ? " </s>" : "</s>", out, err));
    }
    if (count == first || m[count - 1].role != CHAT_USER)
        st = emac_fail(err, EMAC_INVALID, "the last message must be of 'user'");
out:
    return st;
}

enum emac_status chat_render(const struct chat_form *f, const struct chat_message *m, size_t count,
                             struct emac_buf *out, struct emac_err *err)
{
    return f->open == NULL ? inst_render(f, m, count, out, err)
                           : turns_render(f, m, count, out, err);
}
