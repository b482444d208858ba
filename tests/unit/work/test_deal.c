/* Storage deals without a database: money, states, places, challenges, proofs, what comes in. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "work/deal.h"
#include "../property.h"

static struct deal_terms terms(uint64_t bytes, uint32_t replicas, uint32_t epochs, int64_t price)
{
    return (struct deal_terms){.piece.size = bytes,
                               .replicas = replicas,
                               .epochs = epochs,
                               .price_units = price,
                               .traffic_units = price};
}

/* ---- money ---- */

static void amounts(void **state)
{
    static const struct {
        uint64_t bytes, epoch_ms;
        uint32_t replicas, epochs;
        int64_t price, epoch, bond, escrow;
    } CASES[] = {
        /* a GiB for a day at 24 units: an hour is one */
        {DEAL_GIB, DEAL_DAY_MS / 24, 1, 24, 24, 1, 2, 24 + 24},
        {DEAL_GIB, DEAL_DAY_MS, 3, 100, 1000, 1000, 10000, 3 * (100000 + 1000)},
        /* rounded down, against the rig */
        {DEAL_GIB + DEAL_GIB / 2, DEAL_DAY_MS, 1, 1, 3, 4, 4, 4 + 3},
        {DEAL_BYTES_MAX, DEAL_EPOCH_MS_MAX, 1, 2, 1000, 16384 * 7000, 2 * 16384 * 7000,
         2 * 16384 * 7000 + 16384 * 1000},
    };
    for (size_t i = 0; i < EMAC_COUNT(CASES); i++) {
        struct deal_terms t =
            terms(CASES[i].bytes, CASES[i].replicas, CASES[i].epochs, CASES[i].price);
        struct deal_amounts a;
        struct emac_err err = {0};
        if (i == 2)
            t.traffic_units = 2;
        assert_int_equal(deal_amounts(&t, CASES[i].epoch_ms, &a, &err), EMAC_OK);
        assert_int_equal(a.epoch_units, CASES[i].epoch);
        assert_int_equal(a.bond_units, CASES[i].bond);
        assert_int_equal(a.escrow_units, CASES[i].escrow); /* DEAL-4 */
    }
}

static void amounts_refused(void **state)
{
    struct deal_amounts a;
    struct emac_err err;
    struct deal_terms dust = terms(1000, 1, 1, 5), huge = terms(DEAL_BYTES_MAX, 16, 200000, 0);
    assert_int_equal(deal_amounts(&dust, 1000, &a, &err), EMAC_INVALID);
    assert_non_null(strstr(err.text, "less than one unit"));
    huge.price_units = huge.traffic_units = DEAL_PRICE_MAX;
    assert_int_equal(deal_amounts(&huge, DEAL_EPOCH_MS_MAX, &a, &err), EMAC_TOO_LARGE);
}

static void traffic(void **state)
{
    struct deal_terms t = terms(3 * DEAL_GIB, 1, 1, 10);
    assert_int_equal(deal_traffic_units(&t, 0), 0);
    assert_int_equal(deal_traffic_units(&t, DEAL_GIB / 2), 5);
    assert_int_equal(deal_traffic_units(&t, DEAL_GIB - 1), 9);
    assert_int_equal(deal_traffic_units(&t, UINT64_MAX), 30); /* one whole transfer at most */
}

/* ---- states ---- */

/* A life in words: p placed, k kept, + proven, - missed; what it is after each epoch. */
static void lives(void **state)
{
    static const struct {
        const char *life;
        enum deal_replica_state end;
        uint32_t proven;
    } CASES[] = {
        {"...", DEAL_LAPSED, 0},  {".", DEAL_PLACED, 0},       {"k", DEAL_ACTIVE, 0},
        {"k+++", DEAL_ACTIVE, 3}, {"k-+-+-+", DEAL_ACTIVE, 3}, {"k+--", DEAL_LOST, 1},
        {"k+--++", DEAL_LOST, 1}, {"k--", DEAL_LOST, 0},       {"...k+", DEAL_LAPSED, 0},
        {"..k+", DEAL_ACTIVE, 1}, {".k-+-+--", DEAL_LOST, 2},
    };
    for (size_t i = 0; i < EMAC_COUNT(CASES); i++) {
        struct deal_replica r = {.state = DEAL_PLACED, .placed_epoch = 10};
        struct deal_amounts a = {.epoch_units = 3, .bond_units = 7};
        uint64_t epoch = 10;
        for (const char *p = CASES[i].life; *p != '\0'; p++, epoch++) {
            int64_t bond, rig;
            bool due = deal_replica_due(&r, epoch), proven = *p == '+' && due;
            if (*p == 'k' && r.state == DEAL_PLACED)
                deal_replica_keep(&r, epoch);
            if (proven)
                deal_replica_prove(&r, &a, &bond, &rig);
            bool before = deal_replica_lives(r.state);
            bool changed = deal_replica_epoch_end(&r, epoch, proven);
            assert_true(changed == (before && !deal_replica_lives(r.state)));
            assert_true(r.misses <= DEAL_MISSES_MAX);
        }
        if (r.state != CASES[i].end || r.proven != CASES[i].proven)
            fail_msg("'%s' ends %s with %u proven", CASES[i].life, deal_replica_state_name(r.state),
                     r.proven);
    }
}

/* The epoch in which it became active is not asked for; the next is. */
static void first_epoch(void **state)
{
    struct deal_replica r = {.state = DEAL_PLACED, .placed_epoch = 4};
    assert_false(deal_replica_due(&r, 4));
    deal_replica_keep(&r, 5);
    assert_false(deal_replica_due(&r, 5));
    assert_false(deal_replica_epoch_end(&r, 5, false));
    assert_int_equal(r.misses, 0);
    assert_true(deal_replica_due(&r, 6));
}

/* What is not put up at the start is kept back from the pay, to the unit. */
static bool bond_fills(struct choices *c)
{
    struct deal_amounts a = {.epoch_units = 1 + (int64_t)choose(c, 50),
                             .bond_units = 1 + (int64_t)choose(c, 200)};
    struct deal_replica r = {.state = DEAL_ACTIVE, .bond_units = (int64_t)choose(c, 200)};
    int64_t start, paid = 0, to_rig = 0;
    if (r.bond_units > a.bond_units)
        r.bond_units = a.bond_units;
    start = r.bond_units;
    for (int i = 0; i < 300; i++) {
        int64_t bond, rig;
        deal_replica_prove(&r, &a, &bond, &rig);
        if (bond < 0 || rig < 0 || bond + rig != a.epoch_units || r.bond_units > a.bond_units)
            return false;
        if (rig > 0 && r.bond_units != a.bond_units)
            return false; /* the bond comes first */
        paid += a.epoch_units;
        to_rig += rig;
    }
    return r.bond_units == a.bond_units && r.bond_units - start + to_rig == paid;
}

static void bonds(void **state)
{
    ASSERT_PROPERTY(200, bond_fills);
}

static void names(void **state)
{
    for (int s = 0; s < DEAL_REPLICA_STATES; s++) {
        enum deal_replica_state back;
        const char *name = deal_replica_state_name((enum deal_replica_state)s);
        assert_true(deal_replica_state_find(name, &back) && (int)back == s);
    }
    enum deal_replica_state none;
    assert_false(deal_replica_state_find("kept", &none));
}

/* ---- places ---- */

static void places(void **state)
{
    struct deal_terms t = terms(1000, 3, 5, 10);
    struct deal_amounts a = {.epoch_units = 5, .bond_units = 50};
    const struct deal_candidate holder[] = {{.did = "h", .owner = "o1", .subnet = "n1"}};
    static const struct {
        const char *why;
        struct deal_candidate one;
        bool may;
    } CASES[] = {
        {"fit", {"a", "", "", 1000, 10, 0, false}, true},
        {"no room", {"a", "", "", 999, 0, 0, false}, false},
        {"asks more", {"a", "", "", 1000, 11, 0, false}, false},
        {"had it before", {"a", "", "", 1000, 0, 0, true}, false},
        {"has it", {"h", "", "", 1000, 0, 0, false}, false},
        {"of the same owner", {"a", "o1", "", 1000, 0, 0, false}, false},
        {"of another owner in the same subnet", {"a", "o2", "n1", 1000, 0, 0, false}, true},
    };
    for (size_t i = 0; i < EMAC_COUNT(CASES); i++)
        if ((deal_place("deal-1", &t, &a, &CASES[i].one, 1, holder, 1) == 0) != CASES[i].may)
            fail_msg("a rig that is: %s", CASES[i].why);
    const struct deal_candidate three[] = {
        {"a", "", "n1", 5000, 0, 100, false}, /* near */
        {"b", "", "n2", 5000, 0, 49, false},  /* apart, but poor */
        {"c", "", "n3", 5000, 0, 50, false},
    };
    assert_int_equal(deal_place("deal-1", &t, &a, three, 3, holder, 1), 2);
    assert_int_equal(deal_place("deal-1", &t, &a, three, 2, holder, 1), 1);
    assert_int_equal(deal_place("deal-1", &t, &a, three, 1, holder, 1), 0);
    assert_int_equal(deal_place("deal-1", &t, &a, three, 0, holder, 1), 0);
}

/* Rigs that are alike get alike much: which deal goes where is a matter of its id. */
static void spread(void **state)
{
    enum { RIGS = 8, DEALS = 4000 };
    struct deal_terms t = terms(1000, 1, 5, 10);
    struct deal_amounts a = {.epoch_units = 5, .bond_units = 50};
    struct deal_candidate rig[RIGS];
    char did[RIGS][8];
    int got[RIGS] = {0};
    for (int i = 0; i < RIGS; i++) {
        snprintf(did[i], sizeof did[i], "rig%d", i);
        rig[i] =
            (struct deal_candidate){.did = did[i], .owner = "", .subnet = "", .room_bytes = 1000};
    }
    for (int i = 0; i < DEALS; i++) {
        char id[DEAL_ID_MAX];
        snprintf(id, sizeof id, "deal-%d", i);
        got[deal_place(id, &t, &a, rig, RIGS, NULL, 0)]++;
    }
    for (int i = 0; i < RIGS; i++) /* 500 each, deviation 21 */
        if (got[i] < 400 || got[i] > 600)
            fail_msg("rig %d got %d of %d deals", i, got[i], DEALS);
}

/* ---- challenges and proofs ---- */

/* DEAL-2: each leaf alike, and no other. */
static void challenges(void **state)
{
    enum { LEAVES = 10, EPOCHS = 2000 };
    uint8_t seed[SHA256_BYTES] = {1};
    int got[LEAVES] = {0};
    for (uint64_t e = 1; e <= EPOCHS; e++)
        for (uint32_t k = 0; k < DEAL_CHALLENGES; k++) {
            uint64_t leaf = deal_challenge(seed, "deal-1", 0, e, k, LEAVES);
            assert_true(leaf < LEAVES);
            got[leaf]++;
        }
    for (int i = 0; i < LEAVES; i++) /* 1600 each, deviation 38 */
        if (got[i] < 1400 || got[i] > 1800)
            fail_msg("leaf %d was asked for %d times of %d", i, got[i], EPOCHS * DEAL_CHALLENGES);
    assert_int_equal(deal_challenge(seed, "deal-1", 0, 1, 0, 1), 0);
}

/* DEAL-1: another seed, deal, replica, epoch or number is another challenge. */
static void challenges_differ(void **state)
{
    uint8_t seed[SHA256_BYTES] = {1}, other[SHA256_BYTES] = {2}, head[SHA256_BYTES] = {3};
    const uint64_t many = UINT64_C(1) << 60;
    uint64_t base = deal_challenge(seed, "deal-1", 1, 1, 1, many);
    assert_int_equal(base, deal_challenge(seed, "deal-1", 1, 1, 1, many));
    assert_int_not_equal(base, deal_challenge(other, "deal-1", 1, 1, 1, many));
    assert_int_not_equal(base, deal_challenge(seed, "deal-2", 1, 1, 1, many));
    assert_int_not_equal(base, deal_challenge(seed, "deal-1", 2, 1, 1, many));
    assert_int_not_equal(base, deal_challenge(seed, "deal-1", 1, 2, 1, many));
    assert_int_not_equal(base, deal_challenge(seed, "deal-1", 1, 1, 2, many));
    uint8_t a[SHA256_BYTES], b[SHA256_BYTES];
    deal_seed(a, seed, head);
    deal_seed(b, other, head);
    assert_memory_not_equal(a, b, sizeof a);
    deal_seed(b, seed, other);
    assert_memory_not_equal(a, b, sizeof a);
}

static uint8_t *prove(const uint8_t *data, size_t n, const struct commp *p, const uint8_t *chunk,
                      const uint8_t *seed, uint32_t replica, uint64_t epoch)
{
    size_t each = commp_proof_bytes(n);
    uint8_t *proof = malloc(deal_proof_bytes(p));
    for (uint32_t k = 0; k < DEAL_CHALLENGES; k++) {
        uint8_t one[COMMP_PROOF_MAX];
        uint64_t leaf = deal_challenge(seed, "deal-1", replica, epoch, k, commp_leaves(n)), from;
        size_t len;
        commp_chunk_of(n, leaf, &from, &len);
        assert_int_equal(commp_prove(p, chunk, leaf, data + from, one, NULL), EMAC_OK);
        memcpy(proof + k * each, one, each);
    }
    return proof;
}

/* DEAL-3: only the proof of this epoch, deal and replica passes, whole. */
static bool only_this_passes(struct choices *c)
{
    size_t n = 20000 + (size_t)choose(c, 200000);
    uint8_t *data = malloc(n), *chunk, seed[SHA256_BYTES];
    struct commp_builder *b;
    struct commp p;
    for (size_t i = 0; i < n; i++)
        data[i] = (uint8_t)((i + c->seed) * UINT64_C(0x9e3779b97f4a7c15) >> 40);
    choose_bytes(c, seed, sizeof seed);
    bool ok = commp_builder_new(true, &b, NULL) == EMAC_OK &&
              commp_builder_write(b, data, n, NULL) == EMAC_OK &&
              commp_builder_end(b, &p, &chunk, NULL) == EMAC_OK;
    uint8_t *proof = prove(data, n, &p, chunk, seed, 3, 9);
    size_t len = deal_proof_bytes(&p), each = commp_proof_bytes(n);
    ok = ok && deal_proof_check(&p, seed, "deal-1", 3, 9, proof, len, NULL) == EMAC_OK;
    ok = ok && deal_proof_check(&p, seed, "deal-1", 3, 10, proof, len, NULL) == EMAC_INVALID;
    ok = ok && deal_proof_check(&p, seed, "deal-1", 4, 9, proof, len, NULL) == EMAC_INVALID;
    ok = ok && deal_proof_check(&p, seed, "deal-2", 3, 9, proof, len, NULL) == EMAC_INVALID;
    ok = ok && deal_proof_check(&p, seed, "deal-1", 3, 9, proof, len - each, NULL) == EMAC_INVALID;
    ok = ok && deal_proof_check(&p, seed, "deal-1", 3, 9, proof, 0, NULL) == EMAC_INVALID;
    /* the first answer again in the place of the last */
    uint8_t *forged = malloc(len);
    memcpy(forged, proof, len);
    memcpy(forged + len - each, proof, each);
    ok = ok && deal_proof_check(&p, seed, "deal-1", 3, 9, forged, len, NULL) == EMAC_INVALID;
    memcpy(forged, proof, len);
    forged[choose(c, len)] ^= (uint8_t)(1u << choose(c, 8));
    ok = ok && deal_proof_check(&p, seed, "deal-1", 3, 9, forged, len, NULL) == EMAC_INVALID;
    seed[0] ^= 1;
    ok = ok && deal_proof_check(&p, seed, "deal-1", 3, 9, proof, len, NULL) == EMAC_INVALID;
    free(forged);
    free(proof);
    free(chunk);
    free(data);
    return ok;
}

static void proofs(void **state)
{
    ASSERT_PROPERTY(12, only_this_passes);
}

/* Who lacks a tenth of the data passes with 0.9^8 = 0.43: the odds that docs/storage.md gives. */
static void odds(void **state)
{
    enum { EPOCHS = 4000, LEAVES = 1000, GONE = 100 };
    uint8_t seed[SHA256_BYTES] = {9};
    int passed = 0;
    for (uint64_t e = 1; e <= EPOCHS; e++) {
        bool has = true;
        for (uint32_t k = 0; k < DEAL_CHALLENGES; k++)
            has = has && deal_challenge(seed, "deal-1", 0, e, k, LEAVES) >= GONE;
        passed += has;
    }
    assert_in_range(passed, 1600, 1850); /* 1722, deviation 31 */
}

/* ---- what comes in ---- */

#define PIECE "bafkzcibcpybwiktap34inmaex4wbs6cghlq5i2j2yd2bb2zndn5ep7ralzphkdy"
#define CID   "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku"

static json_t *ask(void)
{
    return json_pack("{s:s,s:s,s:i,s:i,s:s,s:s}", "cid", CID, "piece", PIECE, "replicas", 2,
                     "epochs", 10, "price_units", "1000", "traffic_units", "0");
}

static void asks(void **state)
{
    static const struct {
        const char *key, *json, *say;
    } BAD[] = {
        {"cid", "7", "'cid' must be text"},
        {"cid", "\"bafy\"", "is not a CID"},
        {"piece", "\"" CID "\"", "is not a piece CID"},
        {"piece", "\"bafkzcibcp4bdomn3tgwgrh3g532zopskstnbrd2n3sxfqbze7rxt7vqn7veigmy\"",
         "a deal is about 1 to"},
        {"replicas", "0", "'replicas' must be a whole number from 1 to 16"},
        {"replicas", "17", "'replicas' must be"},
        {"replicas", "2.5", "'replicas' must be"},
        {"epochs", "-1", "'epochs' must be"},
        {"epochs", "200001", "'epochs' must be"},
        {"price_units", "12", "'price_units' must be text"},
        {"price_units", "\"-1\"", "'price_units' must be an amount"},
        {"price_units", "\"1e3\"", "'price_units' must be an amount"},
        {"price_units", "\"100000000000001\"", "'price_units' must be an amount"},
        {"traffic_units", "\"\"", "'traffic_units' must be an amount"},
        {"traffic_units", "\"9999999999999999999\"", "'traffic_units' must be"},
    };
    struct deal_terms t;
    struct emac_err err;
    json_t *o = ask();
    assert_int_equal(deal_terms_from_json(&t, o, &err), EMAC_OK);
    assert_int_equal(t.replicas, 2);
    assert_int_equal(t.piece.size, 128);
    assert_int_equal(t.price_units, 1000);
    for (size_t i = 0; i < EMAC_COUNT(BAD); i++) {
        json_t *bad = json_deep_copy(o);
        json_object_set_new(bad, BAD[i].key, json_loads(BAD[i].json, JSON_DECODE_ANY, NULL));
        if (deal_terms_from_json(&t, bad, &err) != EMAC_INVALID || !strstr(err.text, BAD[i].say))
            fail_msg("%s = %s: %s", BAD[i].key, BAD[i].json, err.text);
        json_decref(bad);
    }
    json_decref(o);
}

static void duties(void **state)
{
    struct deal_duty d;
    struct emac_err err;
    json_t *o =
        json_pack("{s:s,s:i,s:s,s:s,s:b,s:b,s:[{s:s,s:s},{s:s,s:s}]}", "id", "deal-00ff", "replica",
                  3, "cid", CID, "piece", PIECE, "active", 1, "due", 0, "sources", "node",
                  "did:key:z6Mk", "url", "http://a", "node", "", "url", "http://b");
    assert_int_equal(deal_duty_from_json(&d, o, &err), EMAC_OK);
    assert_true(d.active && !d.due && d.replica == 3 && d.source_count == 2);
    assert_string_equal(d.source[1].url, "http://b");
    static const char *const IDS[] = {
        "", "../x", "a/b", "deal.", "DEAL", "deal-0\n", "deal-000000000000000000000000000"};
    for (size_t i = 0; i < EMAC_COUNT(IDS); i++) { /* an id becomes the name of a file */
        json_object_set_new(o, "id", json_string(IDS[i]));
        assert_int_equal(deal_duty_from_json(&d, o, &err), EMAC_INVALID);
    }
    json_decref(o);
}

static void ids(void **state)
{
    char a[DEAL_ID_MAX], b[DEAL_ID_MAX];
    deal_id(a, "did:key:zA", "1");
    deal_id(b, "did:key:zA", "1");
    assert_string_equal(a, b);
    assert_int_equal(strlen(a), 21);
    deal_id(b, "did:key:zB", "1");
    assert_string_not_equal(a, b);
    deal_id(b, "did:key:zA", "2");
    assert_string_not_equal(a, b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(amounts),
        cmocka_unit_test(amounts_refused),
        cmocka_unit_test(traffic),
        cmocka_unit_test(lives),
        cmocka_unit_test(first_epoch),
        cmocka_unit_test(bonds),
        cmocka_unit_test(names),
        cmocka_unit_test(places),
        cmocka_unit_test(spread),
        cmocka_unit_test(challenges),
        cmocka_unit_test(challenges_differ),
        cmocka_unit_test(proofs),
        cmocka_unit_test(odds),
        cmocka_unit_test(asks),
        cmocka_unit_test(duties),
        cmocka_unit_test(ids),
    };
    return cmocka_run_group_tests_name("deal", tests, NULL, NULL);
}
