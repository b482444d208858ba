#include "compute/tensor.h"

#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/checked.h"

static const struct {
    const char *name;
    size_t bytes;
} dtypes[DTYPE_COUNT] = {
#define X(E, name, bytes) {name, bytes},
    DTYPE_TABLE(X)
#undef X
};

const char *dtype_name(enum dtype dtype)
{
    EMAC_ASSERT((unsigned)dtype < DTYPE_COUNT);
    return dtypes[dtype].name;
}

size_t dtype_bytes(enum dtype dtype)
{
    EMAC_ASSERT((unsigned)dtype < DTYPE_COUNT);
    return dtypes[dtype].bytes;
}

enum dtype dtype_find(const char *name)
{
    int i = 0;
    while (i < DTYPE_COUNT && strcmp(dtypes[i].name, name) != 0)
        i++;
    return (enum dtype)i;
}

bool shape_equal(const struct shape *a, const struct shape *b)
{
    if (a->rank != b->rank)
        return false;
    for (uint32_t i = 0; i < a->rank; i++)
        if (a->dim[i] != b->dim[i])
            return false;
    return true;
}

bool shape_count(const struct shape *s, size_t *count)
{
    size_t n = 1;
    if (s->rank < 1 || s->rank > TENSOR_RANK_MAX)
        return false;
    for (uint32_t i = 0; i < s->rank; i++)
        if (s->dim[i] == 0 || !emac_mul_size(n, s->dim[i], &n))
            return false;
    *count = n;
    return true;
}

bool shape_bytes(enum dtype dtype, const struct shape *s, size_t *bytes)
{
    size_t n;
    return shape_count(s, &n) && emac_mul_size(n, dtype_bytes(dtype), bytes);
}

void shape_text(char *out, size_t cap, enum dtype dtype, const struct shape *s)
{
    uint32_t rank = s->rank <= TENSOR_RANK_MAX ? s->rank : TENSOR_RANK_MAX;
    int n = snprintf(out, cap, "%s[", dtype_name(dtype));
    for (uint32_t i = 0; i < rank && n > 0 && (size_t)n < cap; i++)
        n += snprintf(out + n, cap - (size_t)n, i ? ",%zu" : "%zu", s->dim[i]);
    if (n > 0 && (size_t)n < cap)
        snprintf(out + n, cap - (size_t)n, "]");
}
