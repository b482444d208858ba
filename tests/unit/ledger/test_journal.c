/* A ledger of before migration 127, where entries were rows of their own, goes on as it was: the
 * same lines, hashes, balances, and keys that are known. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "base/assert.h"
#include "base/hex.h"
#include "base/philox.h"
#include "fixture.h"

#define POSTINGS 300
#define ACCOUNTS 20

static struct ledger_posting nth(uint32_t n, char key[32])
{
    static const char *const TEXT[] = {"", "j-1", "bafy'\"; --", "Müller"};
    snprintf(key, 32, "key %u", n);
    struct ledger_posting p = posting(key, n % 3 ? "pay" : "faucet");
    p.job = TEXT[n % 4];
    p.detail = TEXT[n / 4 % 4];
    p.at_ms += n * 7;
    for (uint32_t i = 0; i < 1 + n % (LEDGER_ENTRIES_MAX / 2); i++) {
        uint64_t who = philox_below(127, PHILOX_TEST, n, i, ACCOUNTS);
        int64_t units = 1 + (int64_t)philox_below(127, PHILOX_TEST, n, 100 + i, 1000000);
        ledger_entry_add(&p, -units, "faucet");
        ledger_entry_add(&p, units, "%s:did%u", n % 2 ? "user" : "rig", (unsigned)who);
    }
    return p;
}

static void all_post(struct db *db, bool fresh)
{
    OK(db_begin(db, NULL));
    for (uint32_t n = 0; n < POSTINGS; n++) {
        char key[32];
        bool posted;
        struct ledger_posting p = nth(n, key);
        OK(ledger_post(db, &p, &posted, NULL));
        assert_int_equal(posted, fresh);
    }
    OK(db_commit(db, NULL));
}

/* ---- the old tables, filled from the new ---- */

struct copy {
    struct db *db;
    int64_t posting, line;
};

static void copy_line(void *ctx, const struct ledger_line *l)
{
    struct copy *c = ctx;
    if (l->posting != c->posting) {
        c->posting = l->posting;
        c->line = 0;
        uint8_t hash[SHA256_BYTES];
        assert_true(emac_unhex(hash, sizeof hash, l->hash_hex));
        OK(db_exec(c->db, NULL,
                   "INSERT INTO postings (id, key, cause, job, detail, at_ms, hash)"
                   " VALUES (?, ?, ?, ?, ?, ?, ?)",
                   "ittttib", l->posting, l->key, l->cause, l->job, l->detail, (int64_t)l->at_ms,
                   (const void *)hash, sizeof hash));
    }
    OK(db_exec(c->db, NULL,
               "INSERT INTO entries (posting, line, account, amount) VALUES (?, ?, ?, ?)", "iiti",
               l->posting, ++c->line, l->account, l->amount_units));
}

static void copy_balance(void *ctx, const char *account, int64_t units)
{
    struct copy *c = ctx;
    OK(db_exec(c->db, NULL, "INSERT INTO balances (account, units) VALUES (?, ?)", "ti", account,
               units));
}

static void old_make(struct db *new, struct db *old)
{
    struct copy c = {.db = old};
    uint8_t hash[SHA256_BYTES];
    int64_t head;
    OK(db_migrate(old, LEDGER_MIGRATIONS, LEDGER_MIGRATION_COUNT - 1, NULL));
    OK(ledger_head(new, &head, hash, NULL));
    OK(db_begin(old, NULL));
    OK(ledger_journal(new, 0, POSTINGS, copy_line, &c, NULL));
    OK(ledger_balances(new, "", copy_balance, &c, NULL));
    OK(db_exec(old, NULL, "INSERT INTO ledger_head (one, posting, hash) VALUES (1, ?, ?)", "ib",
               head, (const void *)hash, sizeof hash));
    OK(db_commit(old, NULL));
}

/* ---- equal? ---- */

static void line_add(void *ctx, const struct ledger_line *l)
{
    OK(emac_buf_printf(ctx, NULL, "%lld %llu '%s' '%s' '%s' '%s' %s %lld %s\n",
                       (long long)l->posting, (unsigned long long)l->at_ms, l->key, l->cause,
                       l->job, l->detail, l->account, (long long)l->amount_units, l->hash_hex));
}

static void balance_add(void *ctx, const char *account, int64_t units)
{
    OK(emac_buf_printf(ctx, NULL, "%s %lld\n", account, (long long)units));
}

static void all_print(struct db *db, struct emac_buf *out)
{
    emac_buf_init(out, 16u << 20);
    OK(ledger_journal(db, 0, POSTINGS + 1, line_add, out, NULL));
    OK(ledger_balances(db, "", balance_add, out, NULL));
}

static void test_old_ledger(void **state)
{
    struct db *new = ((struct fixture *)*state)->db;
    struct fixture *f;
    void *other;
    struct emac_buf was, is;
    all_post(new, true);
    setup(&other);
    f = other;
    db_close(f->db);
    assert_int_equal(unlink(f->path), 0);
    OK(db_open(f->path, &f->db, NULL));
    old_make(new, f->db);
    OK(db_migrate(f->db, LEDGER_MIGRATIONS, LEDGER_MIGRATION_COUNT, NULL));
    audit_is_sound(f->db, POSTINGS);
    all_print(new, &was);
    all_print(f->db, &is);
    assert_string_equal(emac_buf_str(&is), emac_buf_str(&was));
    assert_true(was.len > POSTINGS * 100);
    all_post(f->db, false); /* INV-3 */
    OK(move(f->db, "new", "faucet", "user:new", 5, NULL));
    audit_is_sound(f->db, POSTINGS + 1);
    emac_buf_release(&was);
    emac_buf_release(&is);
    teardown(&other);
}

/* Damage that was there before is there afterwards: the migration mends nothing and hides nothing.
 */
static void test_old_damage(void **state)
{
    static const struct {
        const char *sql, *found;
    } DAMAGE[] = {
        {"UPDATE entries SET amount = amount + 1 WHERE posting = 5 AND line = 1", "INV-1"},
        {"UPDATE entries SET account = 'user:thief' WHERE posting = 5 AND line = 2", "INV-5"},
        {"DELETE FROM entries WHERE posting = 7", "INV-1"},
        {"DELETE FROM balances WHERE account = 'faucet'", "INV-5: the entries of posting 1"},
        {"UPDATE postings SET cause = 'fee' WHERE id = 9", "INV-5"},
        {"UPDATE balances SET units = units + 1 WHERE account = 'faucet'", "INV-4"},
    };
    struct db *new = ((struct fixture *)*state)->db;
    all_post(new, true);
    for (size_t i = 0; i < EMAC_COUNT(DAMAGE); i++) {
        struct ledger_audit a;
        void *other;
        setup(&other);
        struct fixture *f = other;
        db_close(f->db);
        assert_int_equal(unlink(f->path), 0);
        OK(db_open(f->path, &f->db, NULL));
        old_make(new, f->db);
        OK(db_exec(f->db, NULL, DAMAGE[i].sql, NULL));
        OK(db_migrate(f->db, LEDGER_MIGRATIONS, LEDGER_MIGRATION_COUNT, NULL));
        OK(ledger_audit(f->db, &a, NULL));
        if (strstr(emac_buf_str(&a.report), DAMAGE[i].found) == NULL)
            fail_msg("%s: %s", DAMAGE[i].sql, emac_buf_str(&a.report));
        emac_buf_release(&a.report);
        teardown(&other);
    }
}

static void each_never(void *ctx, const struct ledger_line *l)
{
    (void)l;
    ++*(int *)ctx;
}

/* A page of the journal with a damaged row says so. */
static void test_damaged_page(void **state)
{
    static const char *const ENTRIES[] = {"", "[[1,-5],[99,5]]", "[[1,-5],[2,5]"};
    struct db *db = ((struct fixture *)*state)->db;
    struct emac_err err;
    OK(move(db, "a", "faucet", "user:a", 5, &err));
    for (size_t i = 0; i < EMAC_COUNT(ENTRIES); i++) {
        int lines = 0;
        OK(db_exec(db, NULL, "UPDATE journal SET entries = ?", "t", ENTRIES[i]));
        assert_int_equal(ledger_journal(db, 0, 9, each_never, &lines, &err), EMAC_CORRUPT);
        assert_string_equal(err.text, "posting 1 is damaged: audit the ledger");
        assert_int_equal(lines, i);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_old_ledger, setup, teardown),
        cmocka_unit_test_setup_teardown(test_old_damage, setup, teardown),
        cmocka_unit_test_setup_teardown(test_damaged_page, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
