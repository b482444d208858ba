/* The fixed tree: nodes, covers, shares, and one sum whatever the pieces. */
#include "fixture.h"

#include "work/tree.h"

#define TOTAL_MAX 300

/* ---- the oracle: rule 6 as written ---- */

static float node_sum(const float *x, uint32_t lo, uint32_t size, uint32_t total)
{
    if (size == 1)
        return x[lo];
    float left = node_sum(x, lo, size / 2, total);
    if (lo + size / 2 >= total)
        return left;
    return left + node_sum(x, lo + size / 2, size / 2, total);
}

static uint32_t root_size(uint32_t total)
{
    uint32_t p = 1;
    while (p < total)
        p *= 2;
    return p;
}

static void add_piece(void *ctx, uint32_t into, uint32_t from)
{
    float *v = ctx;
    v[into] = v[into] + v[from];
}

/* Cut [lo, lo+size) at random into nodes; the ragged edge may stay one piece. */
static void random_cut(struct draw *d, uint32_t lo, uint32_t size, uint32_t total,
                       struct tree_range *out, uint32_t *count)
{
    if (lo >= total)
        return;
    if (size == 1 || draw_below(d, 3) == 0) {
        uint32_t n = lo + size <= total ? size : total - lo;
        out[(*count)++] = (struct tree_range){lo, n};
        return;
    }
    random_cut(d, lo, size / 2, total, out, count);
    random_cut(d, lo + size / 2, size / 2, total, out, count);
}

/* ---- tests ---- */

static void test_nodes(void **state)
{
    static const struct {
        struct tree_range r;
        uint32_t total;
        bool is;
    } CASES[] = {
        {{0, 1}, 1, true},
        {{0, 8}, 8, true},
        {{4, 4}, 8, true},
        {{2, 4}, 8, false},
        {{0, 3}, 8, false},
        {{0, 0}, 8, false},
        {{8, 1}, 8, false},
        {{0, 6}, 6, true},
        {{4, 2}, 6, true},
        {{4, 3}, 7, true},
        {{6, 1}, 7, true},
        {{2, 5}, 7, false},
        {{0, 16}, 8, false},
        {{0, 5}, 6, false},
        {{8, 1}, 9, true},
        {{6, 3}, 9, false},
        {{1u << 31, 1u << 31}, UINT32_MAX, false},
        {{UINT32_MAX, 1}, UINT32_MAX, false},
        {{0, UINT32_MAX}, UINT32_MAX, true},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        if (tree_is_node(CASES[i].r, CASES[i].total) != CASES[i].is)
            fail_msg("case %zu: %u+%u of %u", i, CASES[i].r.first, CASES[i].r.count,
                     CASES[i].total);
    }
}

static void test_decompose_is_the_least_cover(void **state)
{
    for (uint32_t total = 1; total <= 40; total++) {
        for (uint32_t first = 0; first < total; first++) {
            for (uint32_t count = 1; count <= total - first; count++) {
                struct tree_range out[64];
                uint32_t n = tree_decompose(first, count, total, out), at = first;
                for (uint32_t i = 0; i < n; i++) {
                    assert_int_equal(out[i].first, at);
                    assert_true(tree_is_node(out[i], total));
                    assert_int_equal(out[i].count & (out[i].count - 1), 0);
                    at += out[i].count;
                }
                assert_int_equal(at, first + count);
                /* Least: no two neighbours are the halves of one node. */
                for (uint32_t i = 0; i + 1 < n; i++)
                    assert_false(out[i].count == out[i + 1].count &&
                                 out[i].first % (2 * out[i].count) == 0);
            }
        }
    }
    struct tree_range out[64];
    assert_int_equal(tree_decompose(1, UINT32_MAX - 2, UINT32_MAX, out), 31 + 30);
    assert_int_equal(tree_decompose(5, 10, 5, out), 0);
    assert_int_equal(tree_decompose(4, 10, 6, out), 1);
}

#define WORKERS_MAX 12

/* A crew as it may come: some idle, some with work, some of whom nothing sensible is known. */
struct some_crew {
    double speed[WORKERS_MAX], busy[WORKERS_MAX];
    struct tree_crew crew;
};

static void crew_draw(struct draw *d, struct some_crew *s, uint32_t total)
{
    s->crew = (struct tree_crew){1 + draw_below(d, WORKERS_MAX), s->speed,
                                 draw_below(d, 2) == 0 ? s->busy : NULL};
    for (uint32_t w = 0; w < s->crew.count; w++) {
        s->speed[w] = draw_below(d, 5) == 0 ? 0 : 0.1 + 10 * draw_unit(d);
        s->busy[w] = draw_below(d, 2) == 0 ? 0 : draw_unit(d) * total;
    }
    if (draw_below(d, 8) == 0)
        s->busy[0] = 0.0 / 0.0;
}

static double when_done(const struct tree_crew *crew, uint32_t w, double work)
{
    double speed = crew->speed[w] > 1e-9 ? crew->speed[w] : 1e-9;
    double busy = crew->busy != NULL && crew->busy[w] > 0 ? crew->busy[w] : 0;
    return (busy + work) / speed;
}

/* SHARE-1: giving the last unit of anybody to any other would not have made that one earlier. */
static bool is_least(const struct tree_crew *crew, uint32_t total, const uint32_t *share)
{
    uint32_t g = 1;
    while (g * 2 * 32 * crew->count <= total)
        g *= 2;
    double least = 1e300;
    for (uint32_t w = 0; w < crew->count; w++) {
        double t = when_done(crew, w, ((share[w] + g - 1) / g + 1) * g);
        least = t < least ? t : least;
    }
    for (uint32_t w = 0; w < crew->count; w++)
        if (share[w] > 0 && when_done(crew, w, (share[w] + g - 1) / g * g) > least * (1 + 1e-12))
            return false;
    return true;
}

static uint32_t ones(uint32_t x)
{
    uint32_t n = 0;
    for (; x != 0; x &= x - 1)
        n++;
    return n;
}

static void test_shares_cover_and_balance(void **state)
{
    struct draw d = {.seed = 11};
    for (int round = 0; round < 2000; round++) {
        uint64_t at = d.at;
        uint32_t total = 1 + draw_below(&d, TOTAL_MAX), nodes = 0;
        struct some_crew s;
        struct tree_range out[TOTAL_MAX];
        bool taken[TOTAL_MAX] = {false};
        uint32_t owner[TOTAL_MAX], share[WORKERS_MAX] = {0};
        crew_draw(&d, &s, total);
        uint32_t n = tree_shares(total, taken, 1, &s.crew, out, owner, TOTAL_MAX);
        if (!tree_is_cover(out, n, total))
            fail_msg("seed 11 at %llu: no cover", (unsigned long long)at);
        for (uint32_t i = 0; i < n; i++) {
            assert_true(owner[i] < s.crew.count && (i == 0 || out[i].count <= out[i - 1].count));
            share[owner[i]] += out[i].count;
        }
        for (uint32_t w = 0; w < s.crew.count; w++)
            nodes += ones(share[w]);
        if (n != nodes) /* SHARE-2 */
            fail_msg("seed 11 at %llu: %u nodes, %u would do", (unsigned long long)at, n, nodes);
        if (!is_least(&s.crew, total, share))
            fail_msg("seed 11 at %llu: shares of %u are not the least", (unsigned long long)at,
                     total);
    }
}

static uint32_t shares_by(uint32_t total, const struct tree_crew *crew, struct tree_range *out,
                          uint32_t *owner, uint32_t cap)
{
    bool taken[64] = {false};
    return tree_shares(total, taken, 1, crew, out, owner, cap);
}

static void test_shares_are_what_a_person_expects(void **state)
{
    struct tree_range out[64];
    uint32_t owner[64];
    const double same[3] = {1, 1, 1}, two[2] = {3, 1}, odd[2] = {0.0 / 0.0, 5}, late[2] = {0, 4};
    const struct tree_crew pair = {2, same, NULL}, three = {3, same, NULL}, unlike = {2, two, NULL},
                           nonsense = {2, odd, NULL}, behind = {2, same, late};
    assert_int_equal(shares_by(16, &pair, out, owner, 64), 2);
    assert_int_equal(out[0].count, 8);
    assert_int_equal(out[1].count, 8);
    assert_int_equal(shares_by(16, &unlike, out, owner, 64), 3); /* 8+4, 4 */
    assert_int_equal(owner[1], 0);
    assert_int_equal(out[2].count, 4);
    assert_int_equal(owner[2], 1);
    assert_int_equal(shares_by(2, &three, out, owner, 64), 2);
    assert_int_equal(shares_by(4, &nonsense, out, owner, 64), 1);
    assert_int_equal(owner[0], 1);
    /* who has four to do already gets four less of twelve, and nothing of four */
    assert_int_equal(shares_by(12, &behind, out, owner, 64), 2);
    assert_true(out[0].count == 8 && owner[0] == 0 && out[1].count == 4 && owner[1] == 1);
    assert_int_equal(shares_by(4, &behind, out, owner, 64), 1);
    assert_int_equal(owner[0], 0);
    /* a full list ends early and is sound as far as it goes */
    assert_int_equal(shares_by(16, &unlike, out, owner, 2), 2);
    assert_int_equal(shares_by(0, &pair, out, owner, 64), 0);
}

static void test_shares_of_the_rest(void **state)
{
    struct draw d = {.seed = 12};
    for (int round = 0; round < 1000; round++) {
        uint64_t at = d.at;
        uint32_t total = 1 + draw_below(&d, TOTAL_MAX), share[WORKERS_MAX] = {0}, rest = 0;
        bool taken[TOTAL_MAX], before[TOTAL_MAX];
        struct some_crew s;
        for (uint32_t i = 0; i < total; i++) {
            before[i] = taken[i] = draw_below(&d, 3) == 0;
            rest += !taken[i];
        }
        crew_draw(&d, &s, total);
        struct tree_range out[TOTAL_MAX];
        uint32_t owner[TOTAL_MAX];
        uint32_t n = tree_shares(total, taken, 1, &s.crew, out, owner, TOTAL_MAX);
        for (uint32_t i = 0; i < n; i++) {
            assert_true(tree_is_node(out[i], total));
            share[owner[i]] += out[i].count;
            for (uint32_t k = out[i].first; k < out[i].first + out[i].count; k++) {
                if (before[k])
                    fail_msg("seed 12 at %llu: %u twice", (unsigned long long)at, k);
                before[k] = true;
            }
        }
        for (uint32_t i = 0; i < total; i++)
            assert_true(before[i] && taken[i]);
        if (!is_least(&s.crew, rest, share))
            fail_msg("seed 12 at %llu: shares of %u are not the least", (unsigned long long)at,
                     rest);
    }
}

static void test_cover_finds_nodes_or_nothing(void **state)
{
    struct draw d = {.seed = 13};
    for (int round = 0; round < 2000; round++) {
        uint64_t at = d.at;
        uint32_t total = 1 + draw_below(&d, TOTAL_MAX), n = 0, pick[TOTAL_MAX];
        struct tree_range done[3 * TOTAL_MAX + 8];
        random_cut(&d, 0, root_size(total), total, done, &n);
        bool broken = draw_below(&d, 3) == 0;
        uint32_t lost = draw_below(&d, n);
        if (broken)
            done[lost] = done[--n];
        /* junk that covers nothing: ranges that are no nodes */
        for (uint32_t i = 0; i < 4; i++) {
            struct tree_range r = {draw_below(&d, total), 1 + draw_below(&d, total)};
            if (!tree_is_node(r, total))
                done[n++] = r;
        }
        for (uint32_t i = n; i > 1; i--) { /* any order */
            uint32_t k = draw_below(&d, i);
            struct tree_range t = done[k];
            done[k] = done[i - 1];
            done[i - 1] = t;
        }
        uint32_t picked = tree_cover(done, n, total, pick, TOTAL_MAX);
        if (broken != (picked == 0))
            fail_msg("seed 13 at %llu: picked %u", (unsigned long long)at, picked);
        struct tree_range chosen[TOTAL_MAX];
        for (uint32_t i = 0; i < picked; i++)
            chosen[i] = done[pick[i]];
        assert_true(picked == 0 || tree_is_cover(chosen, picked, total));
    }
    const struct tree_range both[] = {{0, 2}, {2, 2}, {0, 4}};
    uint32_t pick[4];
    assert_int_equal(tree_cover(both, 3, 4, pick, 4), 1); /* the larger node */
    assert_int_equal(pick[0], 2);
    assert_int_equal(tree_cover(both, 2, 4, pick, 1), 0); /* no room */
}

static void test_any_pieces_give_the_same_bits(void **state)
{
    struct draw d = {.seed = 14};
    for (int round = 0; round < 3000; round++) {
        uint64_t at = d.at;
        uint32_t total = 1 + draw_below(&d, TOTAL_MAX), n = 0;
        float x[TOTAL_MAX], piece[TOTAL_MAX];
        struct tree_range range[TOTAL_MAX];
        for (uint32_t i = 0; i < total; i++)
            x[i] = (float)((draw_unit(&d) - 0.5) * (draw_below(&d, 8) == 0 ? 1e6 : 1));
        random_cut(&d, 0, root_size(total), total, range, &n);
        for (uint32_t i = 0; i < n; i++)
            piece[i] = node_sum(x + range[i].first, 0, root_size(range[i].count), range[i].count);
        tree_reduce(range, n, total, add_piece, piece);
        float want = node_sum(x, 0, root_size(total), total);
        if (memcmp(&want, &piece[0], sizeof want) != 0)
            fail_msg("seed 14 at %llu: %a, not %a", (unsigned long long)at, (double)piece[0],
                     (double)want);
    }
}

struct touch {
    bool added[TOTAL_MAX], seen[TOTAL_MAX];
    uint32_t live, most, next;
    bool in_order;
};

static void touch_one(struct touch *t, uint32_t i)
{
    if (t->seen[i])
        return;
    t->in_order &= i == t->next;
    t->next = i + 1;
    t->seen[i] = true;
    if (++t->live > t->most)
        t->most = t->live;
}

static void touch_add(void *ctx, uint32_t into, uint32_t from)
{
    struct touch *t = ctx;
    touch_one(t, into);
    touch_one(t, from);
    assert_false(t->added[into] || t->added[from]);
    t->added[from] = true;
    t->live--;
}

static void test_few_pieces_are_alive_at_a_time(void **state)
{
    struct tree_range range[256];
    for (uint32_t i = 0; i < 256; i++)
        range[i] = (struct tree_range){i, 1};
    struct touch t = {.in_order = true};
    tree_reduce(range, 256, 256, touch_add, &t);
    assert_true(t.in_order);
    assert_int_equal(t.live, 1);
    assert_true(t.most <= 9);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nodes),
        cmocka_unit_test(test_decompose_is_the_least_cover),
        cmocka_unit_test(test_shares_cover_and_balance),
        cmocka_unit_test(test_shares_are_what_a_person_expects),
        cmocka_unit_test(test_shares_of_the_rest),
        cmocka_unit_test(test_cover_finds_nodes_or_nothing),
        cmocka_unit_test(test_any_pieces_give_the_same_bits),
        cmocka_unit_test(test_few_pieces_are_alive_at_a_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
