#include "base/assert.h"

#include <stdio.h>
#include <stdlib.h>

/* The one place of the library that prints: a broken invariant leaves no caller who could. */
void emac_assert_failed(const char *expr, const char *file, int line, const char *func)
{
    fprintf(stderr, "emac: %s:%d: %s: invariant broken: %s\n", file, line, func, expr);
    fflush(stderr);
    abort();
}
