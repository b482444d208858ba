/* Reading tokenizer.json: members of its objects, and parts that are steps. Each reader knows the
 * members of its part; a type that it does not know is UNSUPPORTED by name, so that no tokenizer is
 * ever read almost right. */
#ifndef EMAC_MODEL_TOKENIZER_READ_H
#define EMAC_MODEL_TOKENIZER_READ_H

#include <jansson.h>

#include "model/tokenizer_internal.h"

#define TOK_NEST_MAX 8 /* sequences in sequences */

const char *tok_type_of(const json_t *o); /* "" when there is none */
enum emac_status tok_text_get(const json_t *o, const char *key, struct emac_slice *out,
                              struct emac_err *err);
bool tok_flag_get(const json_t *o, const char *key, bool usual);
bool tok_is_absent(const json_t *v);
/* A copy for free(), with a NUL behind it. */
enum emac_status tok_slice_copy(struct emac_slice from, struct emac_slice *out,
                                struct emac_err *err);
enum emac_status tok_unknown(struct emac_err *err, const char *what, const char *type);

/* Where the steps of a part go, and what it is called. */
struct tok_part {
    const char *what;
    struct tok_steps *steps;
    bool fused; /* a decoder that made one text of all tokens was there */
    struct emac_err *err;
};

enum emac_status tok_normalizer_read(struct tok_part *r, const json_t *o, unsigned depth);
enum emac_status tok_pre_read(struct tok_part *r, const json_t *o, unsigned depth);
enum emac_status tok_decoder_read(struct tok_part *r, const json_t *o, unsigned depth);
/* What stands for no decoder. */
enum emac_status tok_join_add(struct tok_part *r);

#endif
