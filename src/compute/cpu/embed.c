/* The gradient of an embedding table, added to a table that is there: of a large table a batch
 * touches few rows. Tokens are sorted by id, so that rows are independent units of work and each
 * adds its tokens in their order. */
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "compute/cpu/cpu.h"

#define PARALLEL_FLOATS 65536

struct embed_add {
    const struct cpu_kernels *k;
    const uint64_t *token; /* id * 2^32 + position, sorted */
    size_t tokens, d;
    const float *dy;
    float *table, *sums; /* sums: d for each part */
    atomic_bool not_finite;
};

static int token_compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static size_t id_of(const struct embed_add *e, size_t i)
{
    return (size_t)(e->token[i] >> 32);
}

/* The first token at or after i that has another id than the one before it. */
static size_t row_begin(const struct embed_add *e, size_t i)
{
    while (i > 0 && i < e->tokens && id_of(e, i) == id_of(e, i - 1))
        i++;
    return i;
}

static void embed_add_part(void *ctx, uint32_t part, uint32_t parts)
{
    struct embed_add *e = ctx;
    float *sum = e->sums + part * e->d;
    size_t i = row_begin(e, e->tokens * part / parts);
    size_t end = row_begin(e, e->tokens * (part + 1) / parts), id;
    while (i < end) {
        float *row = e->table + (id = id_of(e, i)) * e->d;
        memset(sum, 0, e->d * sizeof *sum);
        for (; i < end && id_of(e, i) == id; i++)
            e->k->add(sum, sum, e->dy + (size_t)(uint32_t)e->token[i] * e->d, e->d);
        e->k->add(row, row, sum, e->d);
        if (e->k->check_finite(row, e->d) != e->d)
            atomic_store(&e->not_finite, true);
    }
}

enum emac_status cpu_embed_grad_add(struct cpu *cpu, const struct tensor *ids,
                                    const struct tensor *dy, struct tensor *table,
                                    struct emac_err *err)
{
    struct embed_add e = {.k = cpu->k,
                          .tokens = dy->shape.dim[0],
                          .d = dy->shape.dim[1],
                          .dy = dy->data,
                          .table = table->data};
    const int32_t *id = ids->data;
    uint64_t *token;
    enum emac_status st =
        cpu_scratch(cpu, 2 * e.tokens + cpu->threads * e.d, sizeof(float), &token, err);
    if (st != EMAC_OK)
        return st;
    for (size_t i = 0; i < e.tokens; i++)
        token[i] = (uint64_t)(uint32_t)id[i] << 32 | (uint32_t)i;
    qsort(token, e.tokens, sizeof *token, token_compare);
    e.token = token;
    e.sums = (float *)(token + e.tokens);
    atomic_init(&e.not_finite, false);
    cpu_parallel(cpu, e.tokens * e.d >= PARALLEL_FLOATS, embed_add_part, &e);
    cpu->ran_finite = !atomic_load(&e.not_finite);
    return EMAC_OK;
}
