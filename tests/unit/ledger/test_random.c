/* Random transfers against a model that is as simple as can be. The model decides first what must
 * happen; the ledger must agree in status and in every balance, and its journal, replayed, must
 * give the balances. A posting of n entries counts as n - 1 transfers.
 *
 * A campaign is ledgers of up to 500,000 transfers each, two side by side, each with its own seed
 * (printed when it disagrees): 10^6 transfers here, 10^8 in tests/soak.sh by EMAC_LEDGER_TRANSFERS.
 * EMAC_TEST_SEED=n replays one ledger alone. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <sys/wait.h>

#include "../sanitized.h"
#include "base/philox.h"
#include "fixture.h"

#define LEDGER_TRANSFERS 500000
#define POSTINGS_MAX     LEDGER_TRANSFERS /* of one ledger; most make more than one transfer */
#define PHASE            40000 /* postings without money, then at the end of the range, ... */
#define BATCH_MAX        4000
#define ACCOUNTS         48
#define SIDE_BY_SIDE     2
#define TRANSFERS        (SANITIZED ? 100000 : 1000000)

struct model {
    int64_t units[ACCOUNTS]; /* 0 is the faucet */
    int64_t posted;
};

/* One ledger and its model. */
struct trial {
    uint64_t seed, next; /* number of the next posting */
    uint64_t transfers;  /* tried so far */
    uint64_t members;    /* of groups, so far */
    struct db *db;
    struct model model, saved;
    /* What key k stands for once posted: the number of the draw that made its entries, plus 1; keys
     * are told of in `undo` as long as their transaction may still be rolled back. */
    uint32_t *meaning;
    uint32_t undo[BATCH_MAX], undo_count;
    int64_t count[EMAC_STATUS_COUNT];
};

/* In a process of its own: says what is wrong and how to see it again. */
#define AGREE(t, truth, ...)                                                                       \
    do {                                                                                           \
        if (truth)                                                                                 \
            break;                                                                                 \
        fprintf(stderr, "posting %llu: ", (unsigned long long)(t)->next);                          \
        fprintf(stderr, __VA_ARGS__);                                                              \
        fprintf(stderr, "\nreplay with EMAC_TEST_SEED=%llu\n", (unsigned long long)(t)->seed);     \
        _exit(1);                                                                                  \
    } while (0)

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

static uint64_t draw(const struct trial *t, uint64_t n, uint32_t what, uint64_t bound)
{
    return philox_below(t->seed, PHILOX_TEST, what, n, bound);
}

/* Every other phase of the run is about being short of money: what the faucet gives is small beside
 * what is moved. The others are about the end of the range. */
static int64_t amount(const struct trial *t, uint64_t n, uint32_t what, bool from_faucet)
{
    bool rich = n / PHASE % 2 == 1;
    if (rich && draw(t, n, what, 500) == 0)
        return INT64_MAX - (int64_t)draw(t, n, what + 1, 3);
    uint64_t bits = rich ? 60 : from_faucet ? 16 : 24;
    return 1 + (int64_t)draw(t, n, what + 2, UINT64_C(1) << (1 + draw(t, n, what + 3, bits)));
}

struct drawn {
    uint32_t account[LEDGER_ENTRIES_MAX];
    int64_t amount[LEDGER_ENTRIES_MAX];
    size_t count;
};

/* 2 to 6 entries; the last balances the rest (but rarely does not). Credits and debits each fit
 * into int64, so no order of adding them overflows; what a balance comes to may. */
static void draw_entries(const struct trial *t, uint64_t n, struct drawn *d)
{
    int64_t sum = 0, side[2] = {0, 0};
    size_t others = 1 + (size_t)draw(t, n, 10, 5);
    bool from_faucet = draw(t, n, 11, 6) == 0;
    d->count = 0;
    for (size_t i = 0; i < others; i++) {
        int64_t v = amount(t, n, (uint32_t)(20 + 8 * i), from_faucet);
        if (!from_faucet && draw(t, n, (uint32_t)(25 + 8 * i), 2) == 0)
            v = -v;
        int64_t next;
        if (__builtin_add_overflow(side[v < 0], v, &next) || next == INT64_MIN)
            continue;
        side[v < 0] = next;
        sum += v;
        d->account[d->count] = 1 + (uint32_t)draw(t, n, (uint32_t)(26 + 8 * i), ACCOUNTS - 1);
        d->amount[d->count++] = v;
    }
    if (draw(t, n, 12, 200) == 0)
        sum--;
    if (sum == 0 || sum == INT64_MIN)
        return;
    d->account[d->count] = from_faucet ? 0 : 1 + (uint32_t)draw(t, n, 13, ACCOUNTS - 1);
    d->amount[d->count++] = -sum;
}

/* Zero in all, and each side within int64 (INV-1). */
static bool is_sound(const struct drawn *d)
{
    __int128 credits = 0, debits = 0;
    for (size_t i = 0; i < d->count; i++)
        *(d->amount[i] > 0 ? &credits : &debits) += d->amount[i];
    return d->count > 0 && credits + debits == 0 && credits <= INT64_MAX;
}

static bool same_entries(const struct trial *t, uint64_t a, const struct drawn *b)
{
    struct drawn d;
    draw_entries(t, a, &d);
    return d.count == b->count &&
           memcmp(d.account, b->account, d.count * sizeof d.account[0]) == 0 &&
           memcmp(d.amount, b->amount, d.count * sizeof d.amount[0]) == 0;
}

/* What must happen; *both when PAYMENT and INVALID are right alike: the order decides then. */
static enum emac_status model_post(struct trial *t, uint32_t key, uint64_t n, const struct drawn *d,
                                   bool *both)
{
    __int128 after[ACCOUNTS];
    bool overflow = false;
    *both = false;
    if (!is_sound(d))
        return EMAC_INVALID;
    if (t->meaning[key] != 0)
        return same_entries(t, t->meaning[key] - 1, d) ? EMAC_OK : EMAC_CONFLICT;
    for (size_t i = 0; i < ACCOUNTS; i++)
        after[i] = t->model.units[i];
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
        t->model.units[i] = (int64_t)after[i];
    t->meaning[key] = (uint32_t)n + 1;
    t->undo[t->undo_count++] = key;
    t->model.posted++;
    return EMAC_OK;
}

static enum emac_status ledger_post_drawn(struct trial *t, struct ledger_batch *b, uint32_t key,
                                          const struct drawn *d, bool *posted, struct emac_err *err)
{
    char key_text[32], account[32];
    snprintf(key_text, sizeof key_text, "key-%u", key);
    struct ledger_posting p;
    posting_init(&p, key_text, "pay");
    for (size_t i = 0; i < d->count; i++) {
        account_name(account, d->account[i]);
        ledger_entry_add(&p, d->amount[i], "%s", account);
    }
    return b ? ledger_batch_post(b, &p, posted, err) : ledger_post(t->db, &p, posted, err);
}

/* The batch (NULL: the database) has what the model has. */
static void compare(struct trial *t, struct ledger_batch *b)
{
    for (uint32_t i = 0; i < ACCOUNTS; i++) {
        char account[32];
        int64_t units = 0;
        account_name(account, i);
        enum emac_status st = b ? ledger_batch_balance(b, account, &units, NULL)
                                : ledger_balance(t->db, account, &units, NULL);
        AGREE(t, st == EMAC_OK && units == t->model.units[i], "%s has %lld, in the model %lld",
              account, (long long)units, (long long)t->model.units[i]);
    }
}

static void one_posting(struct trial *t, struct ledger_batch *b)
{
    struct drawn d;
    struct emac_err err = {0};
    bool posted, both;
    uint64_t n = t->next, from = n;
    uint32_t key = (uint32_t)n + 1;
    if (n > 0 && draw(t, n, 1, 10) == 0) { /* an old key again, half of them with its old entries */
        key = 1 + (uint32_t)draw(t, n, 2, n);
        if (draw(t, n, 3, 2) == 0)
            from = key - 1;
    }
    draw_entries(t, from, &d);
    int64_t before = t->model.posted;
    enum emac_status want = model_post(t, key, from, &d, &both);
    enum emac_status got = ledger_post_drawn(t, b, key, &d, &posted, &err);
    AGREE(t, got == want || (both && got == EMAC_PAYMENT), "wanted %s, got %s (%s)",
          emac_status_text(want), emac_status_text(got), err.text);
    AGREE(t, posted == (t->model.posted > before), "posted: %d", posted);
    t->count[got]++;
    t->transfers += d.count > 1 ? d.count - 1 : 1;
    t->next++;
}

static void undo(struct trial *t)
{
    db_rollback(t->db);
    t->model = t->saved;
    for (uint32_t i = 0; i < t->undo_count; i++)
        t->meaning[t->undo[i]] = 0;
}

/* Members of groups, a few postings each; one in ten is undone, and the group goes on without it.
 * Balances are asked within members and outside, and now and then the group ends. */
static void some_members(struct trial *t)
{
    uint64_t n = t->next, count = 1 + draw(t, n, 40, 100);
    for (uint64_t i = 0; i < count && t->next < POSTINGS_MAX; i++) {
        uint64_t at = t->members++, posts = draw(t, at, 41, 4);
        t->saved = t->model;
        t->undo_count = 0;
        AGREE(t, db_begin_soon(t->db, NULL) == EMAC_OK, "begin");
        for (uint64_t k = 0; k < posts && t->next < POSTINGS_MAX; k++)
            one_posting(t, NULL);
        if (draw(t, at, 42, 8) == 0)
            compare(t, NULL);
        bool undone = draw(t, at, 43, 10) == 0;
        if (undone)
            undo(t);
        else
            AGREE(t, db_commit_soon(t->db, NULL) == EMAC_OK, "commit");
        if (draw(t, at, 44, 16) == 0)
            compare(t, NULL);
        if (draw(t, at, 45, 8) == 0)
            AGREE(t, db_sync(t->db, NULL) == EMAC_OK, "sync");
    }
}

/* One transaction: a batch or, every eighth time, a few single postings. One in ten is rolled back:
 * the change of state that went with it failed. */
static void one_transaction(struct trial *t)
{
    uint64_t n = t->next;
    bool single = draw(t, n, 5, 8) == 0;
    uint64_t count = 1 + draw(t, n, 6, single ? 100 : BATCH_MAX);
    struct ledger_batch *b = NULL;
    t->saved = t->model;
    t->undo_count = 0;
    AGREE(t, db_begin(t->db, NULL) == EMAC_OK, "begin");
    if (!single)
        AGREE(t, ledger_batch_start(t->db, &b, NULL) == EMAC_OK, "start");
    for (uint64_t i = 0; i < count && t->next < POSTINGS_MAX; i++)
        one_posting(t, b);
    bool undone = draw(t, n, 4, 10) == 0;
    if (!single)
        compare(t, b);
    if (!single && !(undone && n % 2 == 0)) /* given up before or after its end */
        AGREE(t, ledger_batch_end(b, NULL) == EMAC_OK, "end");
    ledger_batch_free(b);
    if (!undone) {
        AGREE(t, db_commit(t->db, NULL) == EMAC_OK, "commit");
        return;
    }
    undo(t);
}

/* Every entry of the journal added up, by SQL alone. */
static void replay(struct trial *t)
{
    static const char ENTRIES[] =
        "CREATE TABLE entries AS SELECT json_extract(e.value, '$[0]') AS account,"
        " json_extract(e.value, '$[1]') AS amount FROM journal, json_each(journal.entries) e";
    AGREE(t, db_exec(t->db, NULL, ENTRIES, NULL) == EMAC_OK, "no entries");
    for (uint32_t i = 0; i < ACCOUNTS; i++) {
        char account[32];
        int64_t units = 0, stored = 0;
        account_name(account, i);
        enum emac_status st = db_one_i64(t->db, &units, NULL,
                                         "SELECT COALESCE(SUM(amount / 1048576), 0) * 1048576 + "
                                         "COALESCE(SUM(amount % 1048576), 0)"
                                         " FROM entries WHERE account ="
                                         " (SELECT id FROM accounts WHERE account = ?)",
                                         "t", account);
        if (st == EMAC_OK)
            st = ledger_balance(t->db, account, &stored, NULL);
        AGREE(t, st == EMAC_OK && units == t->model.units[i] && stored == units,
              "the entries of %s sum to %lld, stored %lld, in the model %lld", account,
              (long long)units, (long long)stored, (long long)t->model.units[i]);
    }
}

static void audit(struct trial *t)
{
    struct ledger_audit a;
    AGREE(t, ledger_audit(t->db, &a, NULL) == EMAC_OK, "no audit");
    AGREE(t, a.broken == 0 && a.postings == t->model.posted, "%lld postings, %s",
          (long long)a.postings, emac_buf_str(&a.report));
    emac_buf_release(&a.report);
}

/* In a process of its own; it ends here. */
static void trial_run(uint64_t seed, uint64_t transfers)
{
    static struct trial t;
    static uint32_t meaning[POSTINGS_MAX + 2];
    void *state;
    setup_in(access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp", &state);
    struct fixture *f = state;
    t = (struct trial){.seed = seed, .db = f->db, .meaning = meaning};
    while (t.transfers < transfers && t.next < POSTINGS_MAX) {
        one_transaction(&t);
        some_members(&t);
    }
    compare(&t, NULL);
    replay(&t);
    audit(&t);
    const int64_t *n = t.count, all = (int64_t)t.next;
    AGREE(&t,
          all < 2 * PHASE || (n[EMAC_OK] > all / 4 && n[EMAC_PAYMENT] > all / 40 &&
                              n[EMAC_CONFLICT] > all / 200 && n[EMAC_INVALID] > all / 200),
          "too little of one kind: %lld fine, %lld without money, %lld conflicts, %lld invalid",
          (long long)n[EMAC_OK], (long long)n[EMAC_PAYMENT], (long long)n[EMAC_CONFLICT],
          (long long)n[EMAC_INVALID]);
    teardown(&state);
    _exit(0);
}

static pid_t trial_start(uint64_t seed, uint64_t transfers)
{
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0)
        trial_run(seed, transfers);
    assert_true(pid > 0);
    return pid;
}

static uint64_t number(const char *name, uint64_t otherwise)
{
    const char *s = getenv(name);
    return s != NULL ? strtoull(s, NULL, 10) : otherwise;
}

static void test_against_model(void **state)
{
    uint64_t transfers = number("EMAC_LEDGER_TRANSFERS", TRANSFERS);
    bool one = getenv("EMAC_TEST_SEED") != NULL;
    uint64_t each =
        transfers / SIDE_BY_SIDE < LEDGER_TRANSFERS ? transfers / SIDE_BY_SIDE : LEDGER_TRANSFERS;
    uint64_t ledgers = one ? 1 : transfers / each, running = 0, failed = 0;
    uint64_t first = number("EMAC_TEST_SEED", number("EMAC_LEDGER_SEED", 20260131));
    print_message("%llu ledgers of %llu transfers, seeds from %llu\n", (unsigned long long)ledgers,
                  (unsigned long long)each, (unsigned long long)first);
    for (uint64_t i = 0; i < ledgers || running > 0;) {
        int status;
        if (i < ledgers && running < SIDE_BY_SIDE && failed == 0) {
            trial_start(first + i++, each);
            running++;
            continue;
        }
        if (running == 0)
            break;
        assert_true(wait(&status) > 0);
        failed += !WIFEXITED(status) || WEXITSTATUS(status) != 0;
        running--;
    }
    assert_int_equal(failed, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_against_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
