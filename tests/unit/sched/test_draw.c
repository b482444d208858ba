/* Lots, their secrets, and who checks (DRAW-1 to DRAW-3). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "../property.h"
#include "base/assert.h"
#include "base/hex.h"
#include "sched/draw.h"
#include "sched/trust.h"

static void a_chain_binds_all_its_secrets(void **state)
{
    uint8_t last[DRAW_SECRET] = {1, 2, 3}, anchor[DRAW_SECRET], secret[DRAW_SECRET];
    static const uint32_t EPOCHS[] = {1, 2, 1000, DRAW_EPOCHS};
    (void)state;
    draw_secret(anchor, last, 0);
    for (size_t i = 0; i < EMAC_COUNT(EPOCHS); i++) {
        draw_secret(secret, last, EPOCHS[i]);
        assert_true(draw_secret_holds(secret, EPOCHS[i], anchor));
        assert_false(draw_secret_holds(secret, EPOCHS[i] - 1, anchor));
        secret[5] ^= 1;
        assert_false(draw_secret_holds(secret, EPOCHS[i], anchor));
    }
    assert_memory_equal(secret + 6, last + 6, DRAW_SECRET - 6); /* the last is what it began with */
    assert_false(draw_secret_holds(last, DRAW_EPOCHS + 1, anchor));
}

static void epochs_begin_at_one_and_end(void **state)
{
    (void)state;
    assert_int_equal(draw_epoch(1000, 0), 1);
    assert_int_equal(draw_epoch(1000, 1000), 1);
    assert_int_equal(draw_epoch(1000, 999 + DRAW_EPOCH_MS), 1);
    assert_int_equal(draw_epoch(1000, 1000 + DRAW_EPOCH_MS), 2);
    assert_int_equal(draw_epoch(0, UINT64_MAX), DRAW_EPOCHS);
}

/* Anybody must be able to draw again: these are the bytes. */
static void seeds_are_what_they_were(void **state)
{
    const uint8_t secret[DRAW_SECRET] = {7};
    struct cid task = cid_of(CID_DAG_CBOR, "task", 4), receipt = cid_of(CID_DAG_CBOR, "r", 1);
    uint8_t seed[SHA256_BYTES];
    char hex[2 * SHA256_BYTES + 1];
    (void)state;
    draw_seed(seed, secret, &task, &receipt);
    emac_hex(hex, seed, sizeof(seed));
    assert_string_equal(hex, "79dc344a77ea0898abea83c30cd9d8d5227fc1f53a6010e708acc45505728560");
    assert_true(draw_point("did:key:z6MkA") == UINT64_C(0x900a7a587e3f5f06));
    assert_true(draw_rank(seed, draw_point("did:key:z6MkA")) == UINT64_C(0x12159be4ccc61d1d));
}

static void the_lot_is_fair(void **state)
{
    static const uint32_t SHARES[] = {0, 1000, 50000, 500000, TRUST_PPM};
    const uint8_t secret[DRAW_SECRET] = {9};
    struct cid task = cid_of(CID_DAG_CBOR, "task", 4);
    (void)state;
    for (size_t i = 0; i < EMAC_COUNT(SHARES); i++) {
        uint32_t checked = 0, planted = 0, n = 20000;
        for (uint32_t k = 0; k < n; k++) {
            struct cid receipt = cid_of(CID_DAG_CBOR, &k, sizeof(k));
            uint8_t seed[SHA256_BYTES];
            draw_seed(seed, secret, &task, &receipt);
            checked += draw_checked(seed, SHARES[i]);
            planted += draw_planted(seed);
        }
        double expected = (double)SHARES[i] * n / TRUST_PPM;
        double off = (double)checked - expected, var = expected * (1 - SHARES[i] * 1e-6);
        assert_true(off * off <= 25 * var); /* five deviations; the seeds are fixed */
        assert_true(planted > n / 25 - 150 && planted < n / 25 + 150);
    }
}

/* DRAW-1: which bits decide, and where the share ends. Planted (the second 64) and ranks (the
 * third) are other bits of the same seed, so that one tells nothing of the other. */
static void the_first_bits_decide(void **state)
{
    uint8_t seed[SHA256_BYTES];
    (void)state;
    memset(seed, 0xff, sizeof(seed));
    assert_false(draw_checked(seed, TRUST_PPM - 1));
    assert_true(draw_checked(seed, TRUST_PPM));
    assert_false(draw_planted(seed));
    memset(seed, 0, 8);
    assert_true(draw_checked(seed, 1));
    assert_false(draw_checked(seed, 0));
    assert_false(draw_planted(seed));
    memset(seed, 0xff, 8);
    memset(seed + 8, 0, 8);
    assert_false(draw_checked(seed, TRUST_PPM - 1));
    assert_true(draw_planted(seed));
    memset(seed, 0, 8);
    seed[0] = 0x80; /* a half */
    assert_false(draw_checked(seed, TRUST_PPM / 2));
    assert_true(draw_checked(seed, TRUST_PPM / 2 + 1));
}

static void subnets_are_a_quarter_of_the_name(void **state)
{
    static const struct {
        const char *address, *subnet;
    } CASES[] = {
        {"203.0.113.7", "203.0.113.0/24"},
        {"127.0.0.1", "127.0.0.0/24"},
        {"2001:db8:1:2::5", "2001:db8:1::/48"},
        {"::1", "::/48"},
        {"", ""},
        {"host", ""},
        {"1.2.3", ""},
        {"1.2.3.4.5", ""},
    };
    char out[DRAW_SUBNET_MAX];
    (void)state;
    for (size_t i = 0; i < EMAC_COUNT(CASES); i++) {
        draw_subnet(out, CASES[i].address);
        assert_string_equal(out, CASES[i].subnet);
    }
}

static void classes_tell_who_stands_behind(void **state)
{
    const struct draw_party worker = {"did:w", "did:o", "0xaa", "10.0.0.0/24"};
    static const struct {
        struct draw_party who;
        bool shown;
        enum draw_class class;
    } CASES[] = {
        {{"did:a", "did:p", "0xbb", "10.0.1.0/24"}, false, DRAW_APART},
        {{"did:a", "did:p", "0xbb", "10.0.1.0/24"}, true, DRAW_SHOWN},
        {{"did:a", "did:p", "0xbb", "10.0.0.0/24"}, false, DRAW_SAME_SUBNET},
        {{"did:a", "did:p", "0xbb", "10.0.0.0/24"}, true, DRAW_SAME_SUBNET},
        {{"did:a", "did:o", "0xbb", "10.0.1.0/24"}, false, DRAW_SAME_OWNER},
        {{"did:a", "did:p", "0xaa", "10.0.1.0/24"}, false, DRAW_SAME_OWNER},
        {{"did:a", "did:w", "", ""}, false, DRAW_SAME_OWNER}, /* its owner is the worker itself */
        {{"did:o", "", "", ""}, false, DRAW_SAME_OWNER},
        {{"did:a", "", "", ""}, false, DRAW_APART}, /* what is not known is nobody's */
    };
    (void)state;
    for (size_t i = 0; i < EMAC_COUNT(CASES); i++)
        assert_int_equal(draw_class_of(&CASES[i].who, CASES[i].shown, &worker, 1), CASES[i].class);
    for (int k = DRAW_SAME_OWNER; k <= DRAW_APART; k++)
        assert_int_equal(draw_class_find(draw_class_name((enum draw_class)k)), k);
    assert_int_equal(draw_class_find("?"), DRAW_SAME_OWNER);
}

/* DRAW-2, DRAW-3 against the obvious search. */
static bool the_checker_is_the_lowest_of_the_best(struct choices *c)
{
    static const char *const SUBNET[] = {"", "a/24", "b/24"}, *const OWNER[] = {"", "o", "p"};
    struct draw_candidate list[8];
    char did[8][8];
    uint8_t seed[SHA256_BYTES];
    size_t count = choose(c, 9), answered_count = choose(c, 3), best = count;
    struct draw_party answered[2];
    enum draw_class k, best_class = DRAW_SAME_OWNER;
    choose_bytes(c, seed, sizeof(seed));
    for (size_t i = 0; i < count; i++) {
        snprintf(did[i], sizeof(did[i]), "r%zu", i);
        list[i] = (struct draw_candidate){{did[i], OWNER[choose(c, 3)], "", SUBNET[choose(c, 3)]},
                                          draw_point(did[i]),
                                          choose(c, 2)};
    }
    for (size_t i = 0; i < answered_count; i++)
        answered[i] = (struct draw_party){i < count && choose(c, 2) ? did[i] : "other",
                                          OWNER[choose(c, 3)], "", SUBNET[choose(c, 3)]};
    for (size_t i = 0; i < count; i++) {
        bool has = false;
        for (size_t a = 0; a < answered_count; a++)
            has = has || strcmp(answered[a].did, list[i].party.did) == 0;
        enum draw_class mine =
            draw_class_of(&list[i].party, list[i].shown, answered, answered_count);
        if (!has && (best == count || mine > best_class ||
                     (mine == best_class &&
                      draw_rank(seed, list[i].point) < draw_rank(seed, list[best].point)))) {
            best = i;
            best_class = mine;
        }
    }
    size_t got = draw_checker(seed, list, count, answered, answered_count, &k);
    return got == best && (got == count || k == best_class);
}

static void checkers_are_chosen_by_rank(void **state)
{
    (void)state;
    ASSERT_PROPERTY(5000, the_checker_is_the_lowest_of_the_best);
}

/* Nobody is chosen much more often than others. */
static void everybody_has_his_turn(void **state)
{
    struct draw_candidate list[10];
    char did[10][8];
    uint32_t times[10] = {0};
    const struct draw_party worker = {"w", "", "", ""};
    (void)state;
    for (size_t i = 0; i < 10; i++) {
        snprintf(did[i], sizeof(did[i]), "r%zu", i);
        list[i] = (struct draw_candidate){{did[i], "", "", ""}, draw_point(did[i]), false};
    }
    for (uint32_t k = 0; k < 10000; k++) {
        struct choices c = {.seed = k + 1};
        uint8_t seed[SHA256_BYTES];
        enum draw_class class;
        choose_bytes(&c, seed, sizeof(seed));
        times[draw_checker(seed, list, 10, &worker, 1, &class)]++;
    }
    for (size_t i = 0; i < 10; i++)
        assert_in_range(times[i], 850, 1150);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_chain_binds_all_its_secrets),
        cmocka_unit_test(epochs_begin_at_one_and_end),
        cmocka_unit_test(seeds_are_what_they_were),
        cmocka_unit_test(the_lot_is_fair),
        cmocka_unit_test(the_first_bits_decide),
        cmocka_unit_test(subnets_are_a_quarter_of_the_name),
        cmocka_unit_test(classes_tell_who_stands_behind),
        cmocka_unit_test(checkers_are_chosen_by_rank),
        cmocka_unit_test(everybody_has_his_turn),
    };
    return cmocka_run_group_tests_name("draw", tests, NULL, NULL);
}
