#include "work/tree.h"

#include "base/assert.h"

/* How fine shares are cut: g <= total / (TREE_FINENESS * workers). */
#define TREE_FINENESS 8

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

/* Nonsense (zero, NaN, infinity) counts as very slow. */
static double usable_speed(double speed)
{
    return speed > 1e-9 && speed < 1e30 ? speed : 1e-9;
}

static double share_done_at(uint32_t units, double speed)
{
    return (double)units / usable_speed(speed);
}

/* Jefferson's apportionment: each unit in turn goes to the worker that would be done with it first,
 * which makes the last one finish as early as whole units allow. The floor of the exact share is
 * what everybody gets at least, so only the rest is handed out one by one. */
static void apportion(uint32_t units, const double *speed, uint32_t workers, uint32_t *share)
{
    double sum = 0;
    for (uint32_t w = 0; w < workers; w++)
        sum += usable_speed(speed[w]);
    uint32_t left = units;
    for (uint32_t w = 0; w < workers; w++) {
        double exact = (double)units * (usable_speed(speed[w]) / sum);
        share[w] = exact >= (double)left ? left : (uint32_t)exact;
        left -= share[w];
    }
    for (; left > 0; left--) {
        uint32_t best = 0;
        for (uint32_t w = 1; w < workers; w++) {
            if (share_done_at(share[w] + 1, speed[w]) < share_done_at(share[best] + 1, speed[best]))
                best = w;
        }
        share[best]++;
    }
}

struct share_walk {
    const bool *taken; /* NULL: nothing is */
    uint32_t total, at;
    struct tree_range *out;
    uint32_t *owner, count, cap;
};

static bool walk_is_taken(const struct share_walk *k, uint32_t i)
{
    return k->taken != NULL && k->taken[i];
}

/* Give `quota` free indices from where the walk stands to worker w. */
static void walk_give(struct share_walk *k, uint32_t w, uint64_t quota)
{
    while (quota > 0 && k->count < k->cap) {
        while (k->at < k->total && walk_is_taken(k, k->at))
            k->at++;
        uint32_t begin = k->at;
        while (k->at < k->total && quota > 0 && !walk_is_taken(k, k->at)) {
            k->at++;
            quota--;
        }
        if (begin == k->at)
            return;
        struct tree_range node[64];
        uint32_t n = tree_decompose(begin, k->at - begin, k->total, node);
        for (uint32_t i = 0; i < n && k->count < k->cap; i++) {
            k->owner[k->count] = w;
            k->out[k->count++] = node[i];
        }
    }
}

uint32_t tree_shares_of_rest(uint32_t total, const bool *taken, const double *speed,
                             uint32_t workers, struct tree_range *out, uint32_t *owner,
                             uint32_t cap)
{
    struct share_walk k = {.taken = taken, .total = total, .out = out, .owner = owner, .cap = cap};
    uint32_t share[TREE_WORKERS_MAX];
    if (workers > TREE_WORKERS_MAX)
        workers = TREE_WORKERS_MAX;
    uint32_t rest = 0;
    for (uint32_t i = 0; i < total; i++)
        rest += !walk_is_taken(&k, i);
    if (rest == 0 || workers == 0)
        return 0;
    uint32_t g = 1;
    while ((uint64_t)g * 2 * TREE_FINENESS * workers <= rest)
        g *= 2;
    apportion((rest + g - 1) / g, speed, workers, share);
    for (uint32_t w = 0; w < workers; w++)
        walk_give(&k, w, (uint64_t)share[w] * g);
    return k.count;
}

uint32_t tree_shares(uint32_t total, const double *speed, uint32_t workers, struct tree_range *out,
                     uint32_t *owner, uint32_t cap)
{
    return tree_shares_of_rest(total, NULL, speed, workers, out, owner, cap);
}

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
