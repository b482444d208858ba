/* 200,000 random postings against a model that is as simple as can be. The model decides first what
 * must happen; the ledger must agree in status and in every balance. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "base/philox.h"
#include "fixture.h"

#define POSTINGS 200000
#define BATCH    1000
#define ACCOUNTS 48
#define KEYS     (POSTINGS + 1)

static const uint64_t SEED = 20260131;

struct model {
    int64_t units[ACCOUNTS]; /* 0 is the faucet */
    int64_t posted;
};

/* What key k stands for once posted: the number of the draw that made its entries, plus 1. */
static uint32_t meaning[KEYS], meaning_saved[KEYS];

static void account_name(char out[32], uint32_t i)
{
    static const char *const KIND[] = {"user", "rig", "held", "escrow", "royalty"};
    if (i == 0)
        snprintf(out, 32, "faucet");
    else if (i == 1)
        snprintf(out, 32, "fee");
    else
        snprintf(out, 32, "%s:%u", KIND[i % 5], i);
}

static uint64_t draw(uint64_t n, uint32_t what, uint64_t bound)
{
    return philox_below(SEED, PHILOX_TEST, what, n, bound);
}

/* The first half of the run is about being short of money: what the faucet gives is small beside
 * what is moved. The second half is about the end of the range. */
static int64_t amount(uint64_t n, uint32_t what, bool from_faucet)
{
    bool rich = n >= POSTINGS / 2;
    if (rich && draw(n, what, 500) == 0)
        return INT64_MAX - (int64_t)draw(n, what + 1, 3);
    uint64_t bits = rich ? 60 : from_faucet ? 16 : 24;
    return 1 + (int64_t)draw(n, what + 2, UINT64_C(1) << (1 + draw(n, what + 3, bits)));
}

struct drawn {
    uint32_t account[LEDGER_ENTRIES_MAX];
    int64_t amount[LEDGER_ENTRIES_MAX];
    size_t count;
};

/* 2 to 6 entries; the last balances the rest (but rarely does not). Credits and debits each fit
 * into int64, so no order of adding them overflows; what a balance comes to may. */
static void draw_entries(uint64_t n, struct drawn *d)
{
    int64_t sum = 0, side[2] = {0, 0};
    size_t others = 1 + (size_t)draw(n, 10, 5);
    bool from_faucet = draw(n, 11, 6) == 0;
    d->count = 0;
    for (size_t i = 0; i < others; i++) {
        int64_t v = amount(n, (uint32_t)(20 + 8 * i), from_faucet);
        if (!from_faucet && draw(n, (uint32_t)(25 + 8 * i), 2) == 0)
            v = -v;
        int64_t next;
        if (__builtin_add_overflow(side[v < 0], v, &next) || next == INT64_MIN)
            continue;
        side[v < 0] = next;
        sum += v;
        d->account[d->count] = 1 + (uint32_t)draw(n, (uint32_t)(26 + 8 * i), ACCOUNTS - 1);
        d->amount[d->count++] = v;
    }
    if (draw(n, 12, 200) == 0)
        sum--;
    if (sum == 0 || sum == INT64_MIN)
        return;
    d->account[d->count] = from_faucet ? 0 : 1 + (uint32_t)draw(n, 13, ACCOUNTS - 1);
    d->amount[d->count++] = -sum;
}

static bool sums_to_zero(const struct drawn *d)
{
    __int128 sum = 0;
    for (size_t i = 0; i < d->count; i++)
        sum += d->amount[i];
    return d->count > 0 && sum == 0;
}

static bool same_entries(uint64_t a, const struct drawn *b)
{
    struct drawn d;
    draw_entries(a, &d);
    return d.count == b->count &&
           memcmp(d.account, b->account, d.count * sizeof d.account[0]) == 0 &&
           memcmp(d.amount, b->amount, d.count * sizeof d.amount[0]) == 0;
}

/* What must happen; *both when PAYMENT and INVALID are right alike: the order decides then. */
static enum emac_status model_post(struct model *m, uint32_t key, uint64_t n, const struct drawn *d,
                                   bool *both)
{
    __int128 after[ACCOUNTS];
    bool overflow = false;
    *both = false;
    if (!sums_to_zero(d))
        return EMAC_INVALID;
    if (meaning[key] != 0)
        return same_entries(meaning[key] - 1, d) ? EMAC_OK : EMAC_CONFLICT;
    for (size_t i = 0; i < ACCOUNTS; i++)
        after[i] = m->units[i];
    for (size_t i = 0; i < d->count; i++)
        after[d->account[i]] += d->amount[i];
    enum emac_status st = EMAC_OK;
    for (size_t i = 0; i < ACCOUNTS; i++) {
        if (after[i] > INT64_MAX || after[i] < INT64_MIN)
            overflow = true;
        else if (after[i] < (i == 0 ? -INT64_MAX : 0))
            st = EMAC_PAYMENT;
    }
    *both = overflow && st == EMAC_PAYMENT;
    if (overflow || st != EMAC_OK)
        return overflow ? EMAC_INVALID : st;
    for (size_t i = 0; i < ACCOUNTS; i++)
        m->units[i] = (int64_t)after[i];
    meaning[key] = (uint32_t)n + 1;
    m->posted++;
    return EMAC_OK;
}

static enum emac_status ledger_post_drawn(struct db *db, uint32_t key, const struct drawn *d,
                                          bool *posted, struct emac_err *err)
{
    char key_text[32], account[32];
    snprintf(key_text, sizeof key_text, "key-%u", key);
    struct ledger_posting p = posting(key_text, "pay");
    for (size_t i = 0; i < d->count; i++) {
        account_name(account, d->account[i]);
        ledger_entry_add(&p, d->amount[i], "%s", account);
    }
    return ledger_post(db, &p, posted, err);
}

static void compare(struct db *db, const struct model *m)
{
    for (uint32_t i = 0; i < ACCOUNTS; i++) {
        char account[32];
        account_name(account, i);
        assert_true(balance(db, account) == m->units[i]);
    }
}

static void one_posting(struct db *db, struct model *m, uint64_t n,
                        int64_t count[EMAC_STATUS_COUNT])
{
    struct drawn d;
    struct emac_err err = {0};
    bool posted, both;
    uint64_t from = n;
    uint32_t key = (uint32_t)n + 1;
    if (n > 0 && draw(n, 1, 10) == 0) { /* an old key again, half of them with its old entries */
        key = 1 + (uint32_t)draw(n, 2, n);
        if (draw(n, 3, 2) == 0)
            from = key - 1;
    }
    draw_entries(from, &d);
    int64_t before = m->posted;
    enum emac_status want = model_post(m, key, from, &d, &both);
    enum emac_status got = ledger_post_drawn(db, key, &d, &posted, &err);
    bool agree = got == want || (both && got == EMAC_PAYMENT);
    if (!agree || posted != (m->posted > before))
        print_message("seed %llu, posting %llu: wanted %s, got %s (%s)\n", (unsigned long long)SEED,
                      (unsigned long long)n, emac_status_text(want), emac_status_text(got),
                      err.text);
    assert_true(agree);
    assert_int_equal(posted, m->posted > before);
    count[got]++;
}

static void test_against_model(void **state)
{
    struct db *db = ((struct fixture *)*state)->db;
    static struct model m, saved;
    int64_t count[EMAC_STATUS_COUNT] = {0};
    print_message("seed %llu\n", (unsigned long long)SEED);
    for (uint64_t n = 0; n < POSTINGS;) {
        OK(db_begin(db, NULL));
        saved = m;
        memcpy(meaning_saved, meaning, sizeof meaning);
        for (int i = 0; i < BATCH; i++, n++)
            one_posting(db, &m, n, count);
        if (draw(n, 4, 10) == 0) { /* the job that went with it failed */
            db_rollback(db);
            m = saved;
            memcpy(meaning, meaning_saved, sizeof meaning);
        } else {
            OK(db_commit(db, NULL));
        }
        if (n % (10 * BATCH) == 0)
            compare(db, &m);
    }
    compare(db, &m);
    audit_is_sound(db, m.posted);
    print_message("%lld posted or repeated, %lld without money, %lld conflicts, %lld invalid\n",
                  (long long)count[EMAC_OK], (long long)count[EMAC_PAYMENT],
                  (long long)count[EMAC_CONFLICT], (long long)count[EMAC_INVALID]);
    assert_true(count[EMAC_OK] > POSTINGS / 4 && count[EMAC_PAYMENT] > POSTINGS / 20);
    assert_true(count[EMAC_CONFLICT] > 1000 && count[EMAC_INVALID] > 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_against_model, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
