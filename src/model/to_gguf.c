#include "model/to_gguf.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "compute/fn.h"
#include "compute/quant.h"
#include "model/gguf_names.h"
#include "model/rows.h"
#include "model/weights.h"

#define BLOCK_BYTES ((size_t)1 << 20)

/* ---- types ---- */

/* What llama.cpp calls a file by most of its matrices (enum llama_ftype of its llama.h). */
static const struct {
    const char *name;
    enum gguf_type type;
    uint32_t file_type;
} TYPES[] = {{"f32", GGUF_F32, 0},   {"f16", GGUF_F16, 1},   {"q4_0", GGUF_Q4_0, 2},
             {"q4_1", GGUF_Q4_1, 3}, {"q8_0", GGUF_Q8_0, 7}, {"q6_k", GGUF_Q6_K, 18},
             {"bf16", GGUF_BF16, 32}};

int gguf_type_find(const char *name)
{
    for (size_t i = 0; i < EMAC_COUNT(TYPES); i++)
        if (strcmp(TYPES[i].name, name) == 0)
            return (int)TYPES[i].type;
    return GGUF_AS_IT_IS;
}

/* ---- a parameter ---- */

struct param {
    struct model_param p;
    const struct st_tensor *from;
    enum gguf_type have, want;
    uint64_t rows, k;
    uint64_t have_bytes, want_bytes; /* of a row */
    uint64_t head_rows;              /* rows of a head where they are paired, else 0 */
};

static const struct gguf_arch *arch_of(const struct llama_config *c)
{
    return &GGUF_ARCHS[c->qkv_bias ? 1 : 0];
}

static enum gguf_type type_of(const struct st_tensor *t, const struct quant_info *quant)
{
    if (quant != NULL)
        return (enum gguf_type)quant->format;
    return t->dtype == ST_BF16 ? GGUF_BF16 : GGUF_F32;
}

static enum emac_status param_find(const struct llama_config *c, const struct st_index *idx,
                                   uint32_t i, int type, struct param *out, struct emac_err *err)
{
    const struct quant_info *quant;
    enum llama_kind kind;
    uint32_t layer;

    *out = (struct param){.rows = 1};
    llama_param_at(c, NULL, i, &out->p);
    llama_param_place(c, i, &kind, &layer);
    enum emac_status st = weights_find(idx, &out->p, &out->from, &quant, err);
    if (st != EMAC_OK)
        return st;
    out->k = out->p.shape.dim[out->p.shape.rank - 1];
    out->have = type_of(out->from, quant);
    out->want = GGUF_F32;
    if (out->p.shape.rank == 2) {
        out->rows = out->p.shape.dim[0];
        out->want = out->have;
        if (type >= 0 && gguf_row_bytes((enum gguf_type)type, out->k, &out->want_bytes))
            out->want = (enum gguf_type)type;
    }
    if (arch_of(c)->paired && (kind == LLAMA_Q || kind == LLAMA_K))
        out->head_rows = c->head_dim;
    bool ok = gguf_row_bytes(out->have, out->k, &out->have_bytes) &&
              gguf_row_bytes(out->want, out->k, &out->want_bytes);
    EMAC_ASSERT(ok);
    return EMAC_OK;
}

/* ---- what is said of it ---- */

struct telling {
    struct gguf_writer *w;
    const struct llama_config *c;
    struct emac_err *err;
    char key[64];
};

static const char *key_of(struct telling *t, const char *key)
{
    snprintf(t->key, sizeof(t->key), "%s.%s", arch_of(t->c)->name, key);
    return t->key;
}

static enum emac_status sizes_tell(struct telling *t)
{
    const struct llama_config *c = t->c;
    const struct {
        const char *key;
        uint32_t v;
    } SIZES[] = {{"vocab_size", c->vocab_size},
                 {"context_length", c->max_positions},
                 {"embedding_length", c->hidden_size},
                 {"block_count", c->layers},
                 {"feed_forward_length", c->intermediate_size},
                 {"attention.head_count", c->heads},
                 {"attention.head_count_kv", c->kv_heads},
                 {"attention.key_length", c->head_dim},
                 {"attention.value_length", c->head_dim},
                 {"rope.dimension_count", c->head_dim}};
    enum emac_status st = EMAC_OK;

    for (size_t i = 0; i < EMAC_COUNT(SIZES) && st == EMAC_OK; i++)
        st = gguf_add_u32(t->w, key_of(t, SIZES[i].key), SIZES[i].v, t->err);
    return st;
}

static enum emac_status rope_tell(struct telling *t)
{
    const struct rope_scaling *r = &t->c->rope;
    enum emac_status st;

    EMAC_TRY(st, gguf_add_f32(t->w, key_of(t, "rope.freq_base"), (float)t->c->rope_theta, t->err));
    if (r->kind == ROPE_LINEAR) {
        EMAC_TRY(st, gguf_add_text(t->w, key_of(t, "rope.scaling.type"), EMAC_SLICE_STR("linear"),
                                   t->err));
        EMAC_TRY(st,
                 gguf_add_f32(t->w, key_of(t, "rope.scaling.factor"), (float)r->factor, t->err));
    }
    if (r->kind != ROPE_LLAMA3)
        return EMAC_OK;
    if (!arch_of(t->c)->rope_freqs)
        return emac_fail(t->err, EMAC_UNSUPPORTED,
                         "the rotary positions are scaled by 'llama3', which a GGUF file of the "
                         "architecture '%s' cannot say",
                         arch_of(t->c)->name);
    EMAC_TRY(st, gguf_add_f32(t->w, GGUF_ROPE_FACTOR, (float)r->factor, t->err));
    EMAC_TRY(st, gguf_add_f32(t->w, GGUF_ROPE_LOW, (float)r->low, t->err));
    EMAC_TRY(st, gguf_add_f32(t->w, GGUF_ROPE_HIGH, (float)r->high, t->err));
    st = gguf_add_u32(t->w, GGUF_ROPE_POSITIONS, r->positions, t->err);
out:
    return st;
}

static enum emac_status general_tell(struct telling *t, enum gguf_type most, const char *name)
{
    uint32_t file_type = 0;
    enum emac_status st;

    for (size_t i = 0; i < EMAC_COUNT(TYPES); i++)
        if (TYPES[i].type == most)
            file_type = TYPES[i].file_type;
    EMAC_TRY(st, gguf_add_text(t->w, "general.architecture", EMAC_SLICE_STR(arch_of(t->c)->name),
                               t->err));
    EMAC_TRY(st, gguf_add_text(t->w, "general.type", EMAC_SLICE_STR("model"), t->err));
    EMAC_TRY(st, gguf_add_text(t->w, "general.name", EMAC_SLICE_STR(name), t->err));
    EMAC_TRY(st, gguf_add_u32(t->w, "general.file_type", file_type, t->err));
    st = gguf_add_u32(t->w, "general.quantization_version", 2, t->err);
out:
    return st;
}

static enum emac_status tensor_tell(struct telling *t, uint32_t i, const struct param *p)
{
    uint64_t dim[2] = {p->k, p->rows};
    char name[GGUF_NAME_MAX];

    gguf_param_name(t->c, i, name);
    return gguf_add_tensor(t->w, name, p->want, p->p.shape.rank, dim, t->err);
}

enum emac_status llama_to_gguf(struct gguf_writer *w, const struct llama_config *c,
                               const struct st_index *idx, int type, const char *name,
                               struct emac_err *err)
{
    struct telling t = {.w = w, .c = c, .err = err};
    enum gguf_type most = GGUF_F32;
    uint64_t angles = c->head_dim / 2;
    enum emac_status st;

    if (c->qkv_bias && (uint64_t)c->heads * c->head_dim != c->hidden_size)
        return emac_fail(err, EMAC_UNSUPPORTED,
                         "the model has %u heads of %u numbers and a hidden size of %u, and "
                         "llama.cpp wants the former to make up the latter in 'qwen2'",
                         c->heads, c->head_dim, c->hidden_size);
    if (idx->count > llama_param_count(c))
        return emac_fail(err, EMAC_INVALID,
                         "the weights hold %zu tensors, and a model of the sizes in config.json "
                         "has %u",
                         idx->count, llama_param_count(c));
    for (uint32_t i = 0; i < llama_param_count(c); i++) {
        struct param p;

        EMAC_TRY(st, param_find(c, idx, i, type, &p, err));
        EMAC_TRY(st, tensor_tell(&t, i, &p));
        if (p.head_rows > 0 || p.p.hidden)
            most = p.want;
    }
    if (c->rope.kind == ROPE_LLAMA3)
        EMAC_TRY(st, gguf_add_tensor(w, GGUF_ROPE_FREQS, GGUF_F32, 1, &angles, err));
    EMAC_TRY(st, general_tell(&t, most, name));
    EMAC_TRY(st, sizes_tell(&t));
    EMAC_TRY(st, gguf_add_f32(w, key_of(&t, "attention.layer_norm_rms_epsilon"), (float)c->norm_eps,
                              err));
    st = rope_tell(&t);
out:
    return st;
}

/* ---- data ---- */

struct copying {
    struct gguf_writer *w;
    struct weights_reader from;
    uint64_t data_offset;
    uint8_t *in, *out; /* of a block of rows */
    size_t in_room, out_room;
    float *row;
    size_t row_room;
    struct emac_err *err;
};

static enum emac_status room_make(void *at, size_t *have, uint64_t want, size_t each,
                                  struct emac_err *err)
{
    uint8_t **p = at;

    if (want <= *have)
        return EMAC_OK;
    free(*p);
    *p = NULL;
    *have = 0;
    enum emac_status st = emac_alloc(p, (size_t)want, each, err);
    if (st == EMAC_OK)
        *have = (size_t)want;
    return st;
}

/* Which row of a block comes at place `at` of the file: of a head's first and second half in turn.
 */
static uint64_t row_at(const struct param *p, uint64_t at)
{
    return p->head_rows > 0 ? at % 2 * (p->head_rows / 2) + at / 2 : at;
}

static enum emac_status block_copy(struct copying *y, const struct param *p, uint64_t first,
                                   uint64_t rows)
{
    uint64_t at = y->data_offset + p->from->begin + first * p->have_bytes;
    enum emac_status st;

    EMAC_TRY(st, y->from.read(y->from.ctx, at, y->in, (size_t)(rows * p->have_bytes), y->err));
    for (uint64_t r = 0; r < rows; r++)
        EMAC_TRY(st,
                 row_convert(p->have, p->want, (size_t)p->k, y->in + row_at(p, r) * p->have_bytes,
                             y->out + r * p->want_bytes, y->row, p->p.name, y->err));
    st = gguf_write_data(y->w, y->out, (size_t)(rows * p->want_bytes), y->err);
out:
    return st;
}

static enum emac_status param_copy(struct copying *y, const struct param *p)
{
    uint64_t most = p->have_bytes > p->want_bytes ? p->have_bytes : p->want_bytes;
    uint64_t block = most < BLOCK_BYTES ? BLOCK_BYTES / most : 1;
    enum emac_status st;

    if (p->head_rows > 0)
        block = p->head_rows;
    if (block > p->rows)
        block = p->rows;
    EMAC_TRY(st, room_make(&y->in, &y->in_room, block * p->have_bytes, 1, y->err));
    EMAC_TRY(st, room_make(&y->out, &y->out_room, block * p->want_bytes, 1, y->err));
    EMAC_TRY(st, room_make(&y->row, &y->row_room, p->k, sizeof(*y->row), y->err));
    for (uint64_t r = 0; r < p->rows; r += block)
        EMAC_TRY(st, block_copy(y, p, r, p->rows - r < block ? p->rows - r : block));
out:
    return st;
}

static enum emac_status angles_write(struct gguf_writer *w, const struct llama_config *c,
                                     struct emac_err *err)
{
    enum emac_status st = EMAC_OK;

    for (uint32_t j = 0; j < c->head_dim / 2 && st == EMAC_OK; j++) {
        uint32_t bits = fn_bits(gguf_rope_freq(c, j));
        uint8_t b[4] = {(uint8_t)bits, (uint8_t)(bits >> 8), (uint8_t)(bits >> 16),
                        (uint8_t)(bits >> 24)};

        st = gguf_write_data(w, b, sizeof b, err);
    }
    return st;
}

enum emac_status llama_to_gguf_data(struct gguf_writer *w, const struct llama_config *c,
                                    const struct st_index *idx, int type,
                                    struct weights_reader from, struct emac_err *err)
{
    struct copying y = {.w = w, .from = from, .data_offset = idx->data_offset, .err = err};
    enum emac_status st;

    for (uint32_t i = 0; i < llama_param_count(c); i++) {
        struct param p;

        EMAC_TRY(st, param_find(c, idx, i, type, &p, err));
        EMAC_TRY(st, param_copy(&y, &p));
    }
    if (c->rope.kind == ROPE_LLAMA3)
        EMAC_TRY(st, angles_write(w, c, err));
    gguf_write_end(w);
out:
    free(y.in);
    free(y.out);
    free(y.row);
    return st;
}
