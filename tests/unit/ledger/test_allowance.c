/* Allowances: each rule of ledger/allowance.h by itself, damage that the audit must find, and
 * random calls against a model that is as simple as can be. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "../property.h"
#include "base/assert.h"
#include "fixture.h"
#include "ledger/allowance.h"

#define CLIENTS 3
#define DAY     UINT64_C(86400000)

static char CLIENT[CLIENTS][DID_KEY_MAX];

static void clients_make(void)
{
    for (uint8_t i = 0; i < CLIENTS; i++) {
        uint8_t key[ED25519_PUBLIC_BYTES], secret[ED25519_SECRET_BYTES];
        uint8_t seed[ED25519_SEED_BYTES] = {i};
        crypto_ed25519_keypair(key, secret, seed);
        crypto_did_key(CLIENT[i], key);
    }
}

static struct allowance terms(const char *id, int client, int64_t bytes, uint64_t expires_ms)
{
    struct allowance a = {.granted = bytes, .granted_ms = 1, .expires_ms = expires_ms};
    emac_strcpy(a.id, sizeof a.id, id);
    emac_strcpy(a.client, sizeof a.client, CLIENT[client]);
    return a;
}

/* `call` in a transaction that is kept when it succeeds. */
#define IN_TX(db, call)                                                                            \
    ({                                                                                             \
        OK(db_begin(db, NULL));                                                                    \
        enum emac_status st_ = (call);                                                             \
        if (st_ == EMAC_OK)                                                                        \
            OK(db_commit(db, NULL));                                                               \
        else                                                                                       \
            db_rollback(db);                                                                       \
        st_;                                                                                       \
    })

static uint32_t findings(struct db *db)
{
    uint32_t broken = 0;
    struct emac_buf report;
    emac_buf_init(&report, 1u << 16);
    OK(allowance_audit(db, &report, &broken, NULL));
    emac_buf_release(&report);
    return broken;
}

static void expect(struct db *db, const char *id, int64_t left, int64_t bound, int64_t burnt)
{
    struct allowance a;
    OK(allowance_get(db, id, &a, NULL));
    assert_int_equal(a.left, left);
    assert_int_equal(a.bound, bound);
    assert_int_equal(a.burnt, burnt);
}

static enum emac_status grant(struct db *db, struct allowance a, bool *fresh, struct emac_err *err)
{
    return IN_TX(db, allowance_grant(db, &a, fresh, err));
}

/* CAP-1, CAP-2, CAP-3, CAP-4: once around. */
static void test_life(void **state)
{
    struct db *db = ((struct fixture *)*state)->db;
    struct emac_err err;
    bool fresh = false;
    int64_t bytes = 0;
    OK(grant(db, terms("g1", 0, 1000, 10 * DAY), &fresh, &err));
    assert_true(fresh);
    OK(grant(db, terms("g1", 0, 1000, 10 * DAY), &fresh, &err)); /* replayed */
    assert_false(fresh);
    assert_int_equal(grant(db, terms("g1", 0, 2000, 10 * DAY), NULL, &err), EMAC_CONFLICT);
    assert_int_equal(grant(db, terms("g1", 1, 1000, 10 * DAY), NULL, &err), EMAC_CONFLICT);
    OK(grant(db, terms("g2", 0, 500, 5 * DAY), NULL, &err));
    OK(IN_TX(db, allowance_bind(db, CLIENT[0], "d1", 700, 2, &err)));
    expect(db, "g2", 0, 500, 0); /* soonest expiry first */
    expect(db, "g1", 800, 200, 0);
    assert_int_equal(IN_TX(db, allowance_bind(db, CLIENT[0], "d1", 1, 2, &err)), EMAC_CONFLICT);
    assert_int_equal(IN_TX(db, allowance_bind(db, CLIENT[0], "d2", 801, 2, &err)), EMAC_PAYMENT);
    assert_non_null(strstr(err.text, "has 800 bytes of allowance left and the deal needs 801"));
    assert_int_equal(IN_TX(db, allowance_bind(db, CLIENT[1], "d2", 1, 2, &err)), EMAC_PAYMENT);
    OK(allowance_of_deal(db, "d1", &bytes, &err));
    assert_int_equal(bytes, 700);
    OK(IN_TX(db, allowance_end(db, "d1", true, 3, &err)));
    OK(IN_TX(db, allowance_end(db, "d1", false, 3, &err))); /* ended is ended */
    expect(db, "g1", 800, 0, 200);
    expect(db, "g2", 0, 0, 500);
    assert_int_equal(IN_TX(db, allowance_bind(db, CLIENT[0], "d1", 1, 4, &err)), EMAC_CONFLICT);
    assert_int_equal(balance(db, "bytes:granted"), -1500);
    assert_int_equal(balance(db, "bytes:burnt"), 700);
    assert_int_equal(findings(db), 0);
    audit_is_sound(db, -1);
}

/* A deal that never counted gives back, but not to the dead. */
static void test_return(void **state)
{
    struct db *db = ((struct fixture *)*state)->db;
    struct emac_err err;
    int64_t bytes;
    OK(grant(db, terms("g1", 0, 100, DAY), NULL, &err));
    OK(grant(db, terms("g2", 0, 100, 9 * DAY), NULL, &err));
    OK(grant(db, terms("g3", 0, 100, 9 * DAY), NULL, &err));
    OK(IN_TX(db, allowance_bind(db, CLIENT[0], "d1", 300, 2, &err)));
    OK(IN_TX(db, allowance_remove(db, "g3", 3, &bytes, &err)));
    assert_int_equal(bytes, 0);
    OK(IN_TX(db, allowance_end(db, "d1", false, 2 * DAY, &err)));
    expect(db, "g1", 0, 0, 100);
    expect(db, "g2", 100, 0, 0);
    expect(db, "g3", 0, 0, 100);
    OK(IN_TX(db, allowance_remove(db, "g2", 3, &bytes, &err)));
    assert_int_equal(bytes, 100);
    OK(IN_TX(db, allowance_remove(db, "g2", 3, &bytes, &err)));
    assert_int_equal(bytes, 0);
    assert_int_equal(IN_TX(db, allowance_remove(db, "g9", 3, &bytes, &err)), EMAC_NOT_FOUND);
    assert_int_equal(findings(db), 0);
}

/* CAP-6 */
static void test_expiry(void **state)
{
    struct db *db = ((struct fixture *)*state)->db;
    struct emac_err err;
    struct allowance c = terms("c", 1, 70, DAY);
    c.origin = ALLOWANCE_CHAIN;
    OK(grant(db, terms("a", 0, 100, DAY), NULL, &err));
    OK(grant(db, terms("b", 0, 100, DAY + 1), NULL, &err));
    OK(grant(db, c, NULL, &err));
    assert_int_equal(IN_TX(db, allowance_bind(db, CLIENT[0], "d", 101, DAY, &err)), EMAC_PAYMENT);
    OK(IN_TX(db, allowance_expire(db, DAY, &err)));
    expect(db, "a", 0, 0, 100);
    expect(db, "b", 100, 0, 0);
    OK(IN_TX(db, allowance_expire(db, 2 * DAY, &err)));
    expect(db, "b", 0, 0, 100);
    /* A chain's: only its registry's word counts, and the word may come late. */
    expect(db, "c", 70, 0, 0);
    assert_int_equal(IN_TX(db, allowance_bind(db, CLIENT[1], "d", 1, 2, &err)), EMAC_PAYMENT);
    OK(IN_TX(db, allowance_bind_one(db, "c", "d", 60, 2 * DAY, &err)));
    assert_int_equal(IN_TX(db, allowance_bind_one(db, "c", "e", 11, 2, &err)), EMAC_PAYMENT);
    assert_int_equal(IN_TX(db, allowance_bind_one(db, "c", "d", 1, 2, &err)), EMAC_CONFLICT);
    OK(IN_TX(db, allowance_end(db, "d", false, 3, &err)));
    expect(db, "c", 10, 0, 60); /* the contract gives nothing back */
    OK(IN_TX(db, allowance_bind_one(db, "c", "e", 10, 2 * DAY, &err))); /* to the last byte */
    expect(db, "c", 0, 10, 60);
    assert_int_equal(findings(db), 0);
}

static void test_malformed(void **state)
{
    struct db *db = ((struct fixture *)*state)->db;
    struct emac_err err;
    struct allowance bad[] = {
        terms("", 0, 1, 9),           terms("a b", 0, 1, 9),
        terms("g", 0, 0, 9),          terms("g", 0, -5, 9),
        terms("g", 0, 1, 1),          terms("g", 0, 1, 0),
        terms("g", 0, INT64_MAX, 9),  terms("g", 0, ALLOWANCE_BYTES_MAX + 1, 9),
        terms("g", 0, 1, UINT64_MAX), terms("g", 0, 1, 9),
    };
    emac_strcpy(bad[9].client, DID_KEY_MAX, "did:key:zNobody");
    for (size_t i = 0; i < EMAC_COUNT(bad); i++)
        assert_int_equal(grant(db, bad[i], NULL, &err), EMAC_INVALID);
    OK(grant(db, terms("g", 0, ALLOWANCE_BYTES_MAX, 9), NULL, &err));
    static const int64_t SIZES[] = {0, -1, INT64_MIN, INT64_MAX, ALLOWANCE_BYTES_MAX + 1};
    for (size_t i = 0; i < EMAC_COUNT(SIZES); i++)
        assert_int_equal(IN_TX(db, allowance_bind(db, CLIENT[0], "d", SIZES[i], 2, &err)),
                         EMAC_INVALID);
    assert_int_equal(IN_TX(db, allowance_bind(db, CLIENT[0], "a b", 1, 2, &err)), EMAC_INVALID);
    assert_int_equal(IN_TX(db, allowance_bind_one(db, "none", "d", 1, 2, &err)), EMAC_NOT_FOUND);
    int64_t bytes;
    assert_int_equal(allowance_of_deal(db, "", &bytes, &err), EMAC_INVALID);
    assert_int_equal(balance(db, "bytes:granted"), -ALLOWANCE_BYTES_MAX);
}

/* All grants together end where the numbers end. */
static void test_most(void **state)
{
    struct db *db = ((struct fixture *)*state)->db;
    struct emac_err err;
    enum emac_status st = EMAC_OK;
    char id[16];
    int i = 0;
    OK(db_begin(db, NULL));
    for (; i < 9000 && st == EMAC_OK; i++) {
        snprintf(id, sizeof id, "g%d", i);
        struct allowance a = terms(id, 0, ALLOWANCE_BYTES_MAX, 9);
        st = allowance_grant(db, &a, NULL, &err);
    }
    db_rollback(db);
    assert_int_equal(st, EMAC_TOO_LARGE);
    assert_int_equal(i, 8192);
}

/* INV-8 */
static void test_two_assets(void **state)
{
    struct db *db = ((struct fixture *)*state)->db;
    struct emac_err err;
    OK(grant(db, terms("g", 0, 5, 9), NULL, &err));
    OK(move(db, "a", "faucet", "user:ann", 5, &err));
    assert_int_equal(move(db, "b", "bytes:left:g", "user:ann", 5, &err), EMAC_INVALID);
    assert_non_null(strstr(err.text, "mixes money and bytes"));
    assert_int_equal(move(db, "b", "user:ann", "bytes:burnt", 5, &err), EMAC_INVALID);
    assert_int_equal(move(db, "b", "bytes:left:g", "bytes:burnt", 6, &err), EMAC_PAYMENT);
    assert_string_equal(err.text, "'bytes:left:g' has 5 bytes but needs 6");
    assert_int_equal(move(db, "b", "bytes:left:g", "bytes:mine:g", 5, &err), EMAC_INVALID);
    audit_is_sound(db, 2);
}

/* What no code of ours does, done by hand: the audit names it. */
static void test_damage(void **state)
{
    static const char *const DAMAGE[] = {
        "UPDATE allowances SET granted = granted + 1 WHERE id = 'g'",
        "UPDATE allowances SET burnt = 1 WHERE id = 'g'",
        "UPDATE allowance_spends SET bytes = bytes + 1",
        "UPDATE allowance_spends SET state = 'returned'",
        "UPDATE allowances SET removed = 1 WHERE id = 'g'",
        "UPDATE allowances SET expires_ms = 2 WHERE id = 'g'",
        "UPDATE accounts SET units = units + 7 WHERE account IN ('bytes:left:g', 'bytes:burnt')",
        "UPDATE accounts SET units = 0 WHERE account = 'bytes:granted'",
        "INSERT INTO accounts (account, units) VALUES ('bytes:left:x', 7)",
        "INSERT INTO accounts (account, units) VALUES ('bytes:deal:x', 7)",
    };
    struct db *db = ((struct fixture *)*state)->db;
    struct emac_err err;
    OK(grant(db, terms("g", 0, 50, 9), NULL, &err));
    OK(IN_TX(db, allowance_bind(db, CLIENT[0], "d", 20, 2, &err)));
    assert_int_equal(findings(db), 0);
    for (size_t i = 0; i < EMAC_COUNT(DAMAGE); i++) {
        OK(db_begin(db, NULL));
        OK(db_exec(db, NULL, DAMAGE[i], ""));
        if (findings(db) == 0)
            fail_msg("the audit finds nothing of: %s", DAMAGE[i]);
        db_rollback(db);
    }
}

static void each_count(void *ctx, const struct allowance *a)
{
    assert_true(a->granted > 0);
    ++*(uint32_t *)ctx;
}

static void test_reading(void **state)
{
    struct db *db = ((struct fixture *)*state)->db;
    struct emac_err err;
    uint32_t n = 0;
    OK(grant(db, terms("a", 0, 1, 9), NULL, &err));
    OK(grant(db, terms("b", 1, 1, 9), NULL, &err));
    OK(grant(db, terms("c", 0, 1, 9), NULL, &err));
    OK(allowance_each(db, NULL, "", 100, each_count, &n, &err));
    assert_int_equal(n, 3);
    n = 0;
    OK(allowance_each(db, CLIENT[0], "a", 100, each_count, &n, &err));
    assert_int_equal(n, 1);
    n = 0;
    OK(allowance_each(db, NULL, "", 2, each_count, &n, &err));
    assert_int_equal(n, 2);
}

/* ---- random calls against a model ---- */

#define GRANTS 12
#define DEALS  20

struct model {
    struct {
        int client;
        int64_t left, bound, burnt;
        uint64_t expires;
        bool there, removed;
    } g[GRANTS];
    struct {
        bool used;
        int64_t of[GRANTS];
    } d[DEALS];
};

static struct db *random_db;

static void model_end(struct model *m, size_t deal, bool counted, uint64_t now)
{
    for (size_t i = 0; i < GRANTS; i++) {
        int64_t n = m->d[deal].of[i];
        m->d[deal].of[i] = 0;
        m->g[i].bound -= n;
        bool back = !counted && !m->g[i].removed && m->g[i].expires > now;
        *(back ? &m->g[i].left : &m->g[i].burnt) += n;
    }
}

static enum emac_status model_bind(struct model *m, int client, size_t deal, int64_t bytes,
                                   uint64_t now)
{
    int64_t has = 0;
    for (size_t i = 0; i < GRANTS; i++)
        has += m->g[i].client == client && m->g[i].expires > now && !m->g[i].removed ? m->g[i].left
                                                                                     : 0;
    if (m->d[deal].used)
        return EMAC_CONFLICT;
    if (has < bytes)
        return EMAC_PAYMENT;
    m->d[deal].used = true;
    while (bytes > 0) {
        size_t best = GRANTS;
        for (size_t i = 0; i < GRANTS; i++)
            if (m->g[i].client == client && m->g[i].expires > now && !m->g[i].removed &&
                m->g[i].left > 0 && (best == GRANTS || m->g[i].expires < m->g[best].expires))
                best = i;
        int64_t take = m->g[best].left < bytes ? m->g[best].left : bytes;
        m->g[best].left -= take;
        m->g[best].bound += take;
        m->d[deal].of[best] = take;
        bytes -= take;
    }
    return EMAC_OK;
}

static bool model_agrees(const struct model *m, const char *prefix)
{
    for (size_t i = 0; i < GRANTS; i++) {
        char id[40];
        struct allowance a = {0};
        snprintf(id, sizeof id, "%s-g%02zu", prefix, i);
        if (!m->g[i].there)
            continue;
        OK(allowance_get(random_db, id, &a, NULL));
        if (a.left != m->g[i].left || a.bound != m->g[i].bound || a.burnt != m->g[i].burnt)
            return false;
    }
    return true;
}

static bool one_call(struct choices *c, struct model *m, const char *prefix, uint64_t now)
{
    char id[40], deal[40];
    size_t g = (size_t)choose(c, GRANTS), d = (size_t)choose(c, DEALS);
    int client = (int)choose(c, CLIENTS);
    int64_t bytes = 1 + (int64_t)choose(c, 300), left;
    snprintf(id, sizeof id, "%s-g%02zu", prefix, g);
    snprintf(deal, sizeof deal, "%s-d%02zu", prefix, d);
    switch (choose(c, 8)) {
    case 0: {
        struct allowance a = terms(id, client, bytes, now + 1 + choose(c, 40));
        a.granted_ms = now;
        a.expires_ms = a.expires_ms * GRANTS + g; /* no two alike: the order is certain */
        bool was = m->g[g].there, fresh = false;
        enum emac_status st = allowance_grant(random_db, &a, &fresh, NULL);
        if (!was) {
            m->g[g].there = true;
            m->g[g].client = client;
            m->g[g].left = bytes;
            m->g[g].expires = a.expires_ms;
        }
        return was ? st == EMAC_CONFLICT || !fresh : st == EMAC_OK && fresh;
    }
    case 1:
        model_end(m, d, true, now * GRANTS);
        return allowance_end(random_db, deal, true, now * GRANTS, NULL) == EMAC_OK;
    case 2:
        model_end(m, d, false, now * GRANTS);
        return allowance_end(random_db, deal, false, now * GRANTS, NULL) == EMAC_OK;
    case 3:
        for (size_t i = 0; i < GRANTS; i++)
            if (m->g[i].there && !m->g[i].removed && m->g[i].expires <= now * GRANTS) {
                m->g[i].burnt += m->g[i].left;
                m->g[i].left = 0;
                m->g[i].removed = true;
            }
        return allowance_expire(random_db, now * GRANTS, NULL) == EMAC_OK;
    case 4:
        if (choose(c, 4) != 0 || !m->g[g].there)
            return true;
        m->g[g].burnt += m->g[g].left;
        m->g[g].left = 0;
        m->g[g].removed = true;
        return allowance_remove(random_db, id, now * GRANTS, &left, NULL) == EMAC_OK;
    default:
        return allowance_bind(random_db, CLIENT[client], deal, bytes, now * GRANTS, NULL) ==
               model_bind(m, client, d, bytes, now * GRANTS);
    }
}

static bool random_calls(struct choices *c)
{
    struct model m = {0};
    char prefix[24];
    bool fine = true;
    for (size_t i = 0; i < GRANTS; i++)
        m.g[i].client = -1;
    snprintf(prefix, sizeof prefix, "s%llu", (unsigned long long)c->seed);
    OK(db_begin(random_db, NULL));
    for (uint64_t now = 2; now < 62 && fine; now++)
        fine = one_call(c, &m, prefix, now) && model_agrees(&m, prefix);
    fine = fine && findings(random_db) == 0;
    db_rollback(random_db);
    return fine;
}

static void test_random(void **state)
{
    random_db = ((struct fixture *)*state)->db;
    ASSERT_PROPERTY(60, random_calls);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_life, setup, teardown),
        cmocka_unit_test_setup_teardown(test_return, setup, teardown),
        cmocka_unit_test_setup_teardown(test_expiry, setup, teardown),
        cmocka_unit_test_setup_teardown(test_malformed, setup, teardown),
        cmocka_unit_test_setup_teardown(test_most, setup, teardown),
        cmocka_unit_test_setup_teardown(test_two_assets, setup, teardown),
        cmocka_unit_test_setup_teardown(test_damage, setup, teardown),
        cmocka_unit_test_setup_teardown(test_reading, setup, teardown),
        cmocka_unit_test_setup_teardown(test_random, setup, teardown),
    };
    clients_make();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
