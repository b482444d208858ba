/* Property tests: a property is a function of a stream of random choices, tried for a fixed list of
 * seeds. A failure prints the seed; EMAC_TEST_SEED=n replays that one alone. */
#ifndef EMAC_TESTS_PROPERTY_H
#define EMAC_TESTS_PROPERTY_H

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

#include "base/philox.h"

struct choices {
    uint64_t seed, next;
};

/* Uniform in [0, bound). */
static inline uint64_t choose(struct choices *c, uint64_t bound)
{
    return philox_below(c->seed, PHILOX_TEST, 0, c->next++, bound);
}

static inline void choose_bytes(struct choices *c, void *out, size_t n)
{
    uint8_t *p = out;
    for (size_t i = 0; i < n; i++)
        p[i] = (uint8_t)choose(c, 256);
}

/* False, with the sentence printed, when the property fails for some seed. */
static inline bool property_holds(const char *name, uint64_t seeds, bool (*holds)(struct choices *))
{
    const char *one = getenv("EMAC_TEST_SEED");
    uint64_t first = one != NULL ? strtoull(one, NULL, 10) : 1;
    uint64_t last = one != NULL ? first : seeds;
    for (uint64_t seed = first; seed <= last; seed++) {
        struct choices c = {.seed = seed};
        if (!holds(&c)) {
            print_error("%s fails: replay with EMAC_TEST_SEED=%llu\n", name,
                        (unsigned long long)seed);
            return false;
        }
    }
    return true;
}

#define ASSERT_PROPERTY(seeds, holds) assert_true(property_holds(#holds, (seeds), (holds)))

#endif
