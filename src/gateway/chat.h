/* A conversation as the text that a model was taught to go on with.
 *
 * Models say how by "chat_template" of tokenizer_config.json, a program in Jinja. It is not run:
 * the forms that models of the Llama family use are few, and each shows itself by a mark in its
 * template.
 *
 *   chatml  <|im_start|>ROLE\nTEXT<|im_end|>\n                             Qwen, SmolLM, many more
 *   llama3  <|start_header_id|>ROLE<|end_header_id|>\n\nTEXT<|eot_id|>          Llama 3
 *   zephyr  <|ROLE|>\nTEXT</s>\n                                                Zephyr, TinyLlama
 *   inst    [INST] TEXT [/INST] ANSWER</s>, what the system says first inside   Llama 2, Mistral
 *
 * A pure function of texts. What begins the whole text (BOS) is the tokenizer's to add. */
#ifndef EMAC_GATEWAY_CHAT_H
#define EMAC_GATEWAY_CHAT_H

#include "base/buf.h"

#define CHAT_MESSAGES_MAX 256

enum chat_role { CHAT_SYSTEM, CHAT_USER, CHAT_ASSISTANT, CHAT_ROLES };
extern const char *const CHAT_ROLE_NAMES[CHAT_ROLES]; /* "system", "user", "assistant" */

struct chat_message {
    enum chat_role role;
    const char *text;
};
struct chat_form;

/* By the text of tokenizer_config.json. UNSUPPORTED when it has no template, or one of another
 * form. */
enum emac_status chat_form_of(struct emac_slice tokenizer_config, const struct chat_form **out,
                              struct emac_err *err);
/* Appends the conversation, after chat_begin, and what the assistant's next answer begins with.
 * INVALID for an order of roles that the form does not know. */
enum emac_status chat_render(const struct chat_form *f, const struct chat_message *m, size_t count,
                             struct emac_buf *out, struct emac_err *err);
/* Appends the turn of 'system' that a ChatML template says for conversations that begin without
 * one, as Qwen 2's and SmolLM2's do: a text in quotes, "<|im_start|>system\nTEXT<|im_end|>".
 * Nothing where the template has none, or m[0] is of 'system'. */
enum emac_status chat_begin(const struct chat_form *f, struct emac_slice tokenizer_config,
                            const struct chat_message *m, struct emac_buf *out,
                            struct emac_err *err);
/* What ends an answer, where the tokenizer does not take it for a special token. */
const char *chat_stop(const struct chat_form *f);

#endif
