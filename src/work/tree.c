#include "work/tree.h"

#include "base/assert.h"

/* How fine shares are cut: a unit <= total / (TREE_FINENESS * workers). */
#define TREE_FINENESS 32

static bool is_power_of_two(uint64_t x)
{
    return x != 0 && (x & (x - 1)) == 0;
}

static uint64_t power_of_two_from(uint64_t least)
{
    uint64_t p = 1;
    while (p < least)
        p *= 2;
    return p;
}

bool tree_is_node(struct tree_range r, uint32_t total)
{
    if (r.count == 0 || r.first >= total || r.count > total - r.first)
        return false;
    if (is_power_of_two(r.count) && r.first % r.count == 0)
        return true;
    return r.count == total - r.first && r.first % power_of_two_from(r.count) == 0;
}

bool tree_is_cover(const struct tree_range *range, uint32_t count, uint32_t total)
{
    uint32_t at = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (range[i].first != at || !tree_is_node(range[i], total))
            return false;
        at += range[i].count;
    }
    return at == total && total > 0;
}

uint32_t tree_decompose(uint32_t first, uint32_t count, uint32_t total, struct tree_range out[64])
{
    uint64_t at = first, end = (uint64_t)first + count;
    if (end > total)
        end = total;
    uint32_t n = 0;
    while (at < end) {
        /* The largest node that starts here is bounded by the alignment of `at` and by what is
         * left. */
        uint64_t size = at == 0 ? (uint64_t)1 << 31 : at & -at;
        while (size > end - at)
            size /= 2;
        EMAC_ASSERT(n < 64);
        out[n++] = (struct tree_range){(uint32_t)at, (uint32_t)size};
        at += size;
    }
    return n;
}

/* ---- shares ---- */

static double speed_of(const struct tree_crew *crew, uint32_t w)
{
    double speed = crew->speed[w];
    return speed > 1e-9 && speed < 1e30 ? speed : 1e-9;
}

static double busy_of(const struct tree_crew *crew, uint32_t w)
{
    double busy = crew->busy != NULL ? crew->busy[w] : 0;
    return busy > 0 && busy < 1e30 ? busy : 0;
}

/* When the worker is done with a share of so much work. */
static double done_at(const struct tree_crew *crew, uint32_t w, double work)
{
    return (busy_of(crew, w) + work) / speed_of(crew, w);
}

/* When all would be done if work could be split at will: those who are busy until later have no
 * part in it. Each turn of the loop leaves one out at least. */
static double level(const struct tree_crew *crew, double work)
{
    double at = 1e300;
    for (bool again = true; again;) {
        double sum = work, speed = 0;
        again = false;
        for (uint32_t w = 0; w < crew->count; w++) {
            if (done_at(crew, w, 0) < at) {
                sum += busy_of(crew, w);
                speed += speed_of(crew, w);
            }
        }
        double now = speed > 0 ? sum / speed : at;
        for (uint32_t w = 0; w < crew->count; w++) {
            double begins = done_at(crew, w, 0);
            again = again || (begins < at && begins > now);
        }
        at = now;
    }
    return at;
}

/* Jefferson's apportionment: each unit in turn goes to the worker that would be done with it first,
 * which makes the last one finish as early as whole units allow. The floor of what the worker can
 * do until all would be done is what it gets at least, so only the rest is handed out one by one.
 */
static void apportion(uint32_t units, double unit, const struct tree_crew *crew, uint32_t *share)
{
    double at = level(crew, units * unit);
    uint32_t left = units;
    for (uint32_t w = 0; w < crew->count; w++) {
        double exact = (at * speed_of(crew, w) - busy_of(crew, w)) / unit;
        share[w] = exact >= (double)left ? left : exact > 0 ? (uint32_t)exact : 0;
        left -= share[w];
    }
    for (; left > 0; left--) {
        uint32_t best = 0;
        for (uint32_t w = 1; w < crew->count; w++) {
            if (done_at(crew, w, (share[w] + 1) * unit) <
                done_at(crew, best, (share[best] + 1) * unit))
                best = w;
        }
        share[best]++;
    }
}

/* From units to indices. The last unit may be short of some: that is for who is done last. */
static void to_indices(uint32_t rest, uint32_t g, double one, const struct tree_crew *crew,
                       uint32_t *share)
{
    uint32_t last = 0, units = 0;
    for (uint32_t w = 0; w < crew->count; w++) {
        units += share[w];
        share[w] *= g;
        if (share[w] > 0 && (share[last] == 0 || done_at(crew, w, share[w] * one) >
                                                     done_at(crew, last, share[last] * one)))
            last = w;
    }
    share[last] -= units * g - rest;
}

static bool is_free(const bool *taken, struct tree_range r)
{
    for (uint32_t i = r.first; i < r.first + r.count; i++)
        if (taken[i])
            return false;
    return true;
}

/* Nodes of one size, from the left, to whoever's share has room for one. Whatever a share is, in an
 * empty tree the next node of that size is free: what was handed out is a multiple of it. */
static uint32_t nodes_give(uint32_t total, uint32_t size, bool *taken, uint32_t *share,
                           uint32_t workers, struct tree_range *out, uint32_t *owner, uint32_t cap)
{
    uint32_t n = 0, w = 0;
    for (uint32_t at = 0; total - at >= size; at += size) {
        while (w < workers && share[w] < size)
            w++;
        if (w == workers || n == cap)
            break;
        struct tree_range r = {at, size};
        if (!is_free(taken, r))
            continue;
        for (uint32_t i = 0; i < size; i++)
            taken[at + i] = true;
        share[w] -= size;
        owner[n] = w;
        out[n++] = r;
    }
    return n;
}

uint32_t tree_shares(uint32_t total, bool *taken, double one, const struct tree_crew *crew,
                     struct tree_range *out, uint32_t *owner, uint32_t cap)
{
    struct tree_crew able = *crew;
    uint32_t share[TREE_WORKERS_MAX], rest = 0, g = 1, n = 0;
    EMAC_ASSERT(one > 0);
    if (able.count > TREE_WORKERS_MAX)
        able.count = TREE_WORKERS_MAX;
    for (uint32_t i = 0; i < total; i++)
        rest += !taken[i];
    if (rest == 0 || able.count == 0)
        return 0;
    while ((uint64_t)g * 2 * TREE_FINENESS * able.count <= rest)
        g *= 2;
    apportion((rest + g - 1) / g, g * one, &able, share);
    to_indices(rest, g, one, &able, share);
    for (uint32_t size = (uint32_t)1 << 31; size > 0; size /= 2)
        if (size <= total)
            n += nodes_give(total, size, taken, share, able.count, &out[n], &owner[n], cap - n);
    return n;
}

/* ---- covers ---- */

/* Nodes are nested or apart. So if some choice covers all, the pieces of it that start inside the
 * largest node starting at `at` tile that node, and taking the node instead keeps a full choice. */
uint32_t tree_cover(const struct tree_range *done, uint32_t count, uint32_t total, uint32_t *pick,
                    uint32_t cap)
{
    uint32_t n = 0;
    for (uint32_t at = 0; at < total;) {
        uint32_t best = count;
        for (uint32_t i = 0; i < count; i++) {
            if (done[i].first == at && tree_is_node(done[i], total) &&
                (best == count || done[i].count > done[best].count))
                best = i;
        }
        if (best == count || n == cap)
            return 0;
        pick[n++] = best;
        at += done[best].count;
    }
    return n;
}

struct reduction {
    const struct tree_range *range;
    uint32_t count, total, next; /* next: first piece not yet part of a value */
    void (*add)(void *ctx, uint32_t into, uint32_t from);
    void *ctx;
};

/* The piece that holds the value of node [lo, lo + size) once everything inside has been added. */
static uint32_t reduce_node(struct reduction *r, uint64_t lo, uint64_t size)
{
    uint64_t end = lo + size < r->total ? lo + size : r->total;
    EMAC_ASSERT(r->next < r->count && r->range[r->next].first == lo);
    if (r->range[r->next].count == end - lo)
        return r->next++;
    EMAC_ASSERT(size > 1);
    uint32_t left = reduce_node(r, lo, size / 2);
    if (lo + size / 2 >= r->total)
        return left;
    uint32_t right = reduce_node(r, lo + size / 2, size / 2);
    r->add(r->ctx, left, right);
    return left;
}

void tree_reduce(const struct tree_range *range, uint32_t count, uint32_t total,
                 void (*add)(void *ctx, uint32_t into, uint32_t from), void *ctx)
{
    EMAC_ASSERT(tree_is_cover(range, count, total));
    struct reduction r = {range, count, total, 0, add, ctx};
    uint32_t whole = reduce_node(&r, 0, power_of_two_from(total));
    EMAC_ASSERT(whole == 0 && r.next == count);
}
