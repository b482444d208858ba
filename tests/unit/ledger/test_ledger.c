/* Single rules of the ledger, the audit against planted damage, full disks and sudden death. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "base/philox.h"
#include "fixture.h"
#include "os/os.h"

static void test_money_moves(void **state)
{
    struct db *db = ((struct fixture *)*state)->db;
    struct emac_err err;
    OK(move(db, "a", "faucet", "user:ann", 5000000000, &err));
    OK(move(db, "b", "user:ann", "escrow:j1", 3000000000, &err));
    assert_int_equal(balance(db, "faucet"), -5000000000);
    assert_int_equal(balance(db, "user:ann"), 2000000000);
    assert_int_equal(balance(db, "escrow:j1"), 3000000000);
    assert_int_equal(balance(db, "user:nobody"), 0);
    assert_int_equal(move(db, "c", "user:ann", "escrow:j1", 2000000001, &err), EMAC_PAYMENT);
    assert_string_equal(err.text, "'user:ann' has 2 EMAC but needs 2.000000001: add to it first");
    OK(move(db, "c", "user:ann", "escrow:j1", 2000000000, &err));
    assert_int_equal(balance(db, "user:ann"), 0);
    assert_int_equal(move(db, "d", "user:bob", "user:ann", 1, &err), EMAC_PAYMENT);
    audit_is_sound(db, 3);
}

static void test_idempotency(void **state)
{
    struct db *db = ((struct fixture *)*state)->db;
    struct emac_err err;
    bool posted;
    OK(move(db, "a", "faucet", "user:ann", 100, &err));
    OK(move(db, "a", "faucet", "user:ann", 100, &err));
    assert_int_equal(balance(db, "user:ann"), 100);
    assert_int_equal(move(db, "a", "faucet", "user:ann", 101, &err), EMAC_CONFLICT);
    assert_int_equal(move(db, "a", "faucet", "user:bob", 100, &err), EMAC_CONFLICT);
    /* Even when the account could not pay a second time. */
    OK(move(db, "b", "user:ann", "fee", 100, &err));
    OK(move(db, "b", "user:ann", "fee", 100, &err));
    /* Other cause, job, detail: another posting. Another time or order of entries: the same. */
    struct ledger_posting p = posting("a", "pay");
    ledger_entry_add(&p, 100, "user:ann");
    ledger_entry_add(&p, -100, "faucet");
    ledger_entry_add(&p, 0, "user:%s", "zero is left out");
    assert_int_equal(p.count, 2);
    p.at_ms = 5;
    OK(db_begin(db, NULL));
    OK(ledger_post(db, &p, &posted, &err));
    assert_false(posted);
    p.cause = "escrow";
    assert_int_equal(ledger_post(db, &p, &posted, &err), EMAC_CONFLICT);
    p.cause = "pay";
    p.job = "j";
    assert_int_equal(ledger_post(db, &p, &posted, &err), EMAC_CONFLICT);
    p.job = "";
    p.detail = "d";
    assert_int_equal(ledger_post(db, &p, NULL, &err), EMAC_CONFLICT);
    p.key = "new";
    OK(ledger_post(db, &p, &posted, &err));
    assert_true(posted);
    OK(ledger_post(db, &p, &posted, &err));
    assert_false(posted);
    OK(db_commit(db, NULL));
    audit_is_sound(db, 3);
}

/* What counts is the set of entries, all of it. */
static void test_same_entries(void **state)
{
    struct db *db = ((struct fixture *)*state)->db;
    struct emac_err err;
    bool posted;
    struct ledger_posting p = posting("k", "pay");
    ledger_entry_add(&p, 7, "user:a");
    ledger_entry_add(&p, -10, "faucet");
    ledger_entry_add(&p, 3, "user:a");
    OK(db_begin(db, NULL));
    OK(ledger_post(db, &p, &posted, &err));
    assert_true(posted);
    p.entry[0].amount_units = 3;
    p.entry[2].amount_units = 7;
    OK(ledger_post(db, &p, &posted, &err));
    assert_false(posted);
    p.entry[0].amount_units = 10; /* the same net */
    p.count = 2;
    assert_int_equal(ledger_post(db, &p, &posted, &err), EMAC_CONFLICT);
    p.count = 3;
    p.entry[0].amount_units = 3;
    ledger_entry_add(&p, -1, "user:b"); /* more behind it */
    ledger_entry_add(&p, 1, "user:c");
    assert_int_equal(ledger_post(db, &p, &posted, &err), EMAC_CONFLICT);
    OK(db_commit(db, NULL));
    audit_is_sound(db, 1);
}

/* A batch goes on after a refusal, sees its own postings, and is nothing without its end. */
static void test_batch(void **state)
{
    struct db *db = ((struct fixture *)*state)->db;
    struct emac_err err;
    struct ledger_batch *b;
    int64_t units = -1;
    bool posted;
    for (int round = 0; round < 2; round++) {
        OK(db_begin(db, NULL));
        OK(ledger_batch_start(db, &b, &err));
        for (int i = 0; i < 300; i++) { /* more accounts than there is room for at first */
            char key[16];
            snprintf(key, sizeof key, "k%d", i);
            struct ledger_posting p = posting(key, "pay");
            ledger_entry_add(&p, -5, "%s", i % 2 ? "faucet" : "chain");
            ledger_entry_add(&p, 5, "user:u%d", i);
            OK(ledger_batch_post(b, &p, &posted, &err));
            assert_true(posted);
        }
        struct ledger_posting p = posting("more", "pay");
        ledger_entry_add(&p, -6, "user:u7");
        ledger_entry_add(&p, 6, "fee");
        assert_int_equal(ledger_batch_post(b, &p, &posted, &err), EMAC_PAYMENT);
        assert_false(posted);
        p.key = "\xff";
        p.entry[0].amount_units = -5;
        p.entry[1].amount_units = 5;
        assert_int_equal(ledger_batch_post(b, &p, &posted, &err), EMAC_INVALID);
        p.key = "k7";
        assert_int_equal(ledger_batch_post(b, &p, NULL, NULL), EMAC_CONFLICT);
        p.key = "less";
        OK(ledger_batch_post(b, &p, NULL, &err));
        OK(ledger_batch_balance(b, "user:u7", &units, &err));
        assert_int_equal(units, 0);
        OK(ledger_batch_balance(b, "user:nobody", &units, &err));
        assert_int_equal(units, 0);
        assert_int_equal(balance(db, "user:u8"), 0); /* not yet in the database */
        if (round == 0) {
            ledger_batch_free(b);
            db_rollback(db);
            audit_is_sound(db, 0);
        }
    }
    OK(ledger_batch_end(b, &err));
    OK(ledger_batch_end(b, &err)); /* there is nothing more */
    ledger_batch_free(b);
    OK(db_commit(db, NULL));
    assert_int_equal(balance(db, "user:u8"), 5);
    assert_int_equal(balance(db, "fee"), 5);
    audit_is_sound(db, 301);
    OK(db_begin(db, NULL));
    OK(ledger_batch_start(db, &b, &err));
    for (int i = 0; i < 300; i++) { /* looking needs room as well */
        char account[32];
        snprintf(account, sizeof account, "user:u%d", i);
        OK(ledger_batch_balance(b, account, &units, &err));
        assert_int_equal(units, i == 7 ? 0 : 5);
    }
    OK(ledger_batch_end(b, &err));
    ledger_batch_free(b);
    ledger_batch_free(NULL);
    OK(db_commit(db, NULL));
}

static void refuse(struct db *db, const struct ledger_posting *p)
{
    struct emac_err err;
    bool posted;
    OK(db_begin(db, NULL));
    assert_int_equal(ledger_post(db, p, &posted, &err), EMAC_INVALID);
    assert_false(posted);
    OK(db_commit(db, NULL));
}

static struct ledger_posting pair(const char *from, int64_t out, const char *to, int64_t in)
{
    struct ledger_posting p = posting("k", "pay");
    ledger_entry_add(&p, out, "%s", from);
    ledger_entry_add(&p, in, "%s", to);
    return p;
}

static void test_malformed(void **state)
{
    struct db *db = ((struct fixture *)*state)->db;
    static char longer[LEDGER_TEXT_MAX + 2];
    memset(longer, 'x', LEDGER_TEXT_MAX + 1);
    struct ledger_posting p = posting("k", "pay");
    refuse(db, &p); /* no entries */
    ledger_entry_add(&p, 1, "fee");
    refuse(db, &p);
    p = pair("faucet", -2, "user:a", 1);
    refuse(db, &p);
    p = pair("faucet", -1, "user:a", 1);
    p.entry[0].amount_units = 0;
    p.entry[1].amount_units = 0;
    refuse(db, &p);
    p = pair("faucet", -1, "user:a", 1);
    p.count = LEDGER_ENTRIES_MAX + 1;
    refuse(db, &p);
    static const char *const ACCOUNTS[] = {
        "user:",         "user",     "Fee",   "fee ",   "users:a", "user:a\x7f", "user:a b",
        "user:\xc3\xa4", "user:a\n", "fee:x", "chain:", "chains",  "payout:"};
    for (size_t i = 0; i < sizeof ACCOUNTS / sizeof ACCOUNTS[0]; i++) {
        p = pair("faucet", -1, ACCOUNTS[i], 1);
        refuse(db, &p);
    }
    p = pair("faucet", -1, "user:a", 1);
    memset(p.entry[1].account, 'u', LEDGER_ACCOUNT_MAX); /* no end */
    refuse(db, &p);
    p = pair("faucet", -1, "user:a", 1);
    const char **texts[] = {&p.key, &p.cause, &p.job, &p.detail};
    for (size_t i = 0; i < 4; i++) {
        const char *was = *texts[i];
        *texts[i] = longer;
        refuse(db, &p);
        *texts[i] = NULL;
        refuse(db, &p);
        *texts[i] = "\xff";
        refuse(db, &p);
        *texts[i] = i < 2 ? "" : was;
        if (i < 2)
            refuse(db, &p);
        *texts[i] = was;
    }
    p.at_ms = UINT64_MAX;
    refuse(db, &p);
    audit_is_sound(db, 0);
}

/* What the contracts hold for the ledger is the debt of "chain". */
static void test_chain_is_a_source(void **state)
{
    struct db *db = ((struct fixture *)*state)->db;
    struct emac_err err;
    OK(move(db, "deposit", "chain", "user:ann", 50, &err));
    OK(move(db, "payout", "user:ann", "payout:ann", 20, &err));
    OK(move(db, "claim", "payout:ann", "chain", 20, &err));
    assert_int_equal(balance(db, "chain"), -30);
    assert_int_equal(move(db, "more", "payout:ann", "chain", 1, &err), EMAC_PAYMENT);
    audit_is_sound(db, 3);
}

static void test_extremes(void **state)
{
    struct db *db = ((struct fixture *)*state)->db;
    struct emac_err err;
    struct ledger_posting p = pair("faucet", INT64_MIN, "user:a", INT64_MAX);
    ledger_entry_add(&p, 1, "user:a");
    refuse(db, &p);
    p = pair("faucet", -INT64_MAX, "user:a", INT64_MAX);
    ledger_entry_add(&p, -1, "chain"); /* the debits alone come to INT64_MIN */
    ledger_entry_add(&p, 1, "user:b");
    refuse(db, &p);
    OK(move(db, "all", "faucet", "user:a", INT64_MAX, &err));
    assert_true(balance(db, "user:a") == INT64_MAX);
    /* The faucet is at its end, and nobody can hold more than there is. */
    assert_int_equal(move(db, "one", "faucet", "user:b", 1, &err), EMAC_PAYMENT);
    assert_int_equal(move(db, "one", "user:z", "user:a", 1, &err), EMAC_INVALID);
    assert_non_null(strstr(err.text, "largest number"));
    p = pair("user:a", -INT64_MAX, "user:b", INT64_MAX);
    ledger_entry_add(&p, -INT64_MAX, "user:a");
    ledger_entry_add(&p, INT64_MAX, "user:b");
    refuse(db, &p);
    /* In this order it could be added up, sorted by account it could not (INV-1). */
    p = pair("chain", -INT64_MAX, "user:c", INT64_MAX);
    ledger_entry_add(&p, -INT64_MAX, "user:a");
    ledger_entry_add(&p, INT64_MAX, "user:d");
    refuse(db, &p);
    OK(move(db, "back", "user:a", "user:b", INT64_MAX, &err));
    OK(move(db, "home", "user:b", "faucet", INT64_MAX, &err));
    assert_int_equal(balance(db, "faucet"), 0);
    audit_is_sound(db, 3);
}

/* One account in several entries counts by its net. */
static void test_net(void **state)
{
    struct db *db = ((struct fixture *)*state)->db;
    struct emac_err err;
    OK(move(db, "a", "faucet", "user:a", 10, &err));
    struct ledger_posting p = pair("user:a", -30, "user:a", 25);
    ledger_entry_add(&p, 5, "fee");
    OK(db_begin(db, NULL));
    OK(ledger_post(db, &p, NULL, &err));
    OK(db_commit(db, NULL));
    assert_int_equal(balance(db, "user:a"), 5);
    audit_is_sound(db, 2);
}

struct seen {
    char text[2048];
    int lines;
};

static void see_balance(void *ctx, const char *account, int64_t units)
{
    struct seen *s = ctx;
    size_t n = strlen(s->text);
    snprintf(s->text + n, sizeof s->text - n, "%s=%lld ", account, (long long)units);
    s->lines++;
}

static void see_line(void *ctx, const struct ledger_line *l)
{
    struct seen *s = ctx;
    size_t n = strlen(s->text);
    assert_int_equal(strlen(l->hash_hex), 64);
    snprintf(s->text + n, sizeof s->text - n, "%lld:%s:%s:%lld ", (long long)l->posting, l->key,
             l->account, (long long)l->amount_units);
    s->lines++;
}

static void test_reading(void **state)
{
    struct db *db = ((struct fixture *)*state)->db;
    struct emac_err err;
    struct seen s = {0};
    OK(move(db, "a", "faucet", "user:b", 10, &err));
    OK(move(db, "b", "faucet", "user:a", 20, &err));
    OK(move(db, "c", "user:a", "escrow:x", 5, &err));
    OK(ledger_balances(db, "user:", see_balance, &s, &err));
    assert_string_equal(s.text, "user:a=15 user:b=10 ");
    s = (struct seen){0};
    OK(ledger_balances(db, "", see_balance, &s, &err));
    assert_string_equal(s.text, "escrow:x=5 faucet=-30 user:a=15 user:b=10 ");
    s = (struct seen){0};
    OK(ledger_journal(db, 1, 1, see_line, &s, &err));
    assert_string_equal(s.text, "2:b:faucet:-20 2:b:user:a:20 ");
    s = (struct seen){0};
    OK(ledger_journal(db, INT64_MAX, UINT32_MAX, see_line, &s, &err));
    OK(ledger_journal(db, 0, 0, see_line, &s, &err));
    assert_int_equal(s.lines, 0);
    OK(ledger_journal(db, -5, UINT32_MAX, see_line, &s, &err));
    assert_int_equal(s.lines, 6);
}

/* The numbers in the header's format do not drift: one hash, checked by hand with Python's hashlib
 * over 32 zero bytes and the dag-cbor of posting 1. */
static void test_hash_format(void **state)
{
    struct db *db = ((struct fixture *)*state)->db;
    struct db_stmt *q;
    bool row;
    uint8_t hash[32], bytes[256] = {0};
    struct emac_err err;
    OK(move(db, "a", "faucet", "user:b", 10, &err));
    static const char cbor[] = "\xa7"
                               "bat\x1b\x00\x00\x01\x8b\xcf\xe5\x68\x00"
                               "bid\x01"
                               "cjob`"
                               "ckeyaa"
                               "ecausecpay"
                               "fdetail`"
                               "gentries\x82\x82"
                               "ffaucet\x29\x82"
                               "fuser:b\x0a";
    memcpy(bytes + 32, cbor, sizeof cbor - 1);
    crypto_sha256(hash, bytes, 32 + sizeof cbor - 1);
    OK(db_query(db, &q, NULL, "SELECT hash FROM journal", NULL));
    OK(db_next(q, &row, NULL));
    assert_memory_equal(db_blob(q, 0).data, hash, 32);
    db_done(q);
}

/* ---- planted damage ---- */

/* The faucet is account 1, user:u0 to user:u3 are 2 to 5; posting n brings 999 + n units. */
#define E(posting, entries) "UPDATE journal SET entries = '" entries "' WHERE id = " #posting

static const struct {
    const char *name, *sql, *found;
} DAMAGE[] = {
    {"amount raised", E(5, "[[1,-1004],[2,1005]]"), "INV-1"},
    {"two amounts shifted", E(5, "[[1,-2008],[2,2008]]"), "INV-5"},
    {"account swapped", E(5, "[[1,-1004],[5,1004]]"), "INV-5"},
    {"entries exchanged", E(5, "[[2,1004],[1,-1004]]"), "INV-5"},
    {"entry deleted", E(7, "[[1,-1006]]"), "INV-1"},
    {"both entries deleted", E(7, "[]"), "INV-1"},
    {"entry added", E(7, "[[1,-1006],[4,1006],[3,1]]"), "INV-1"},
    {"entries NULL",
     "CREATE TABLE copy AS SELECT * FROM journal; DROP TABLE journal; "
     "ALTER TABLE copy RENAME TO journal; UPDATE journal SET entries = NULL WHERE id = 7",
     "INV-5: the entries of posting 7"},
    {"entries cut", E(7, "[[1,-1006],[4,1006"), "damaged at ''"},
    {"entries without their end", E(7, "[[1,-1006],[4,1006]"), "damaged at ''"},
    {"more behind the entries", E(7, "[[1,-1006],[4,1006]] "), "damaged at '] '"},
    {"entries with a space", E(7, "[[1,-1006], [4,1006]]"), "damaged at ' [4,1006]]'"},
    {"entries without a comma", E(7, "[[1,-1006][4,1006]]"), "damaged at '[4,1006]]'"},
    {"a pair of three", E(7, "[[1,-1006],[4,1006,1]]"), "damaged at ',1]]'"},
    {"a pair of one", E(7, "[[1,-1006],[4]]"), "damaged at ']]'"},
    {"an amount with a sign", E(7, "[[1,-1006],[4,+1006]]"), "damaged at '+1006]]'"},
    {"an amount with a zero in front", E(7, "[[1,-1006],[4,01006]]"), "damaged at '01006]]'"},
    {"an amount of minus zero", E(7, "[[1,-0],[4,0]]"), "damaged at '-0],[4,0]]'"},
    {"an amount that is text", E(7, "[[1,-1006],[4,x]]"), "damaged at 'x]]'"},
    {"an amount beyond int64", E(7, "[[1,-1006],[4,9223372036854775808]]"),
     "damaged at '9223372036854775808]'"},
    {"an amount of another digit beyond", E(7, "[[1,-1006],[4,92233720368547758070]]"),
     "damaged at '92233720368547758070'"},
    {"an amount below int64", E(7, "[[1,-9223372036854775809],[4,1006]]"),
     "damaged at '-9223372036854775809'"},
    {"amounts beyond int64",
     E(7, "[[1,9223372036854770000],[4,9223372036854770000],[3,9223372036854770000]]"), "INV-1"},
    {"an account's entries beyond int64",
     E(7, "[[1,-1006],[4,1006],[3,9223372036854775807],[3,9223372036854775807]]"),
     "zero or too large"},
    {"a balance beyond int64",
     E(1, "[[1,-1000],[2,9223372036854775807]]") "; " E(5, "[[1,-1004],[2,9223372036854775807]]"),
     "zero or too large"},
    {"too many entries",
     "UPDATE journal SET entries = (WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n "
     "WHERE i < 17) SELECT json_group_array(json_array(3, 1)) FROM n) WHERE id = 7",
     "more than 16 entries"},
    {"account of no number", E(7, "[[0,-1006],[4,1006]]"), "no balance"},
    {"account without a row", E(7, "[[1,-1006],[77,1006]]"), "no balance"},
    {"bytes out of nothing", "INSERT INTO accounts VALUES (9, 'bytes:left:x', 5)", "INV-8"},
    {"name without end", "UPDATE accounts SET account = 'user:' || hex(zeroblob(200)) WHERE id = 2",
     "not an account"},
    {"account is NULL",
     "CREATE TABLE copy AS SELECT * FROM accounts; DROP TABLE accounts; "
     "ALTER TABLE copy RENAME TO accounts; INSERT INTO accounts VALUES (9, NULL, 1)",
     "no entries"},
    {"two balances of one account",
     "CREATE TABLE copy AS SELECT * FROM accounts; DROP TABLE accounts; "
     "ALTER TABLE copy RENAME TO accounts; INSERT INTO accounts VALUES (9, 'user:u1', 0)",
     "INV-4: 1 accounts have more than one balance"},
    {"account renamed", "UPDATE accounts SET account = 'user:thief' WHERE id = 2", "INV-5"},
    {"account renumbered", "UPDATE accounts SET id = 9 WHERE id = 2", "no balance"},
    {"head of another length", "UPDATE ledger_head SET hash = zeroblob(31)", "head says"},
    {"amount zeroed", E(7, "[[1,0],[4,0]]"), "INV-1"},
    {"key changed", "UPDATE journal SET key = 'other' WHERE id = 4", "INV-5"},
    {"key changed, seen by its hash", "UPDATE journal SET key = 'other' WHERE id = 4", "INV-3"},
    {"hash of a key changed", "UPDATE journal SET key_hash = zeroblob(16) WHERE id = 4", "INV-3"},
    {"end of a key's hash",
     "UPDATE journal SET key_hash = CAST(substr(key_hash, 1, 15) || x'2a' AS BLOB) WHERE id = 4",
     "INV-3"},
    {"hash of a key cut", "UPDATE journal SET key_hash = substr(key_hash, 1, 15) WHERE id = 4",
     "INV-3"},
    {"cause changed", "UPDATE journal SET cause = 'fee' WHERE id = 4", "INV-5"},
    {"job changed", "UPDATE journal SET job = 'j' WHERE id = 4", "INV-5"},
    {"detail changed", "UPDATE journal SET detail = 'd' WHERE id = 4", "INV-5"},
    {"time changed", "UPDATE journal SET at_ms = at_ms - 1 WHERE id = 4", "INV-5"},
    {"hash changed", "UPDATE journal SET hash = zeroblob(32) WHERE id = 4", "INV-5"},
    {"money for bytes", "UPDATE accounts SET account = 'bytes:left:x' WHERE id = 2", "mixes money"},
    {"end of the last hash",
     "UPDATE journal SET hash = CAST(substr(hash, 1, 31) || x'2a' AS BLOB) WHERE id = 12; "
     "UPDATE ledger_head SET hash = (SELECT hash FROM journal WHERE id = 12)",
     "INV-5"},
    {"hash cut", "UPDATE journal SET hash = zeroblob(5) WHERE id = 4", "INV-5"},
    {"posting deleted", "DELETE FROM journal WHERE id = 4", "missing"},
    {"last posting deleted", "DELETE FROM journal WHERE id = 12", "head says"},
    {"first posting deleted", "DELETE FROM journal WHERE id = 1", "missing"},
    {"posting renumbered",
     "UPDATE journal SET id = 40 WHERE id = 12; UPDATE ledger_head SET posting = 40", "missing"},
    {"posting before all", "UPDATE journal SET id = -3 WHERE id = 4", "missing"},
    {"two postings exchanged",
     "UPDATE journal SET id = -1 WHERE id = 4; UPDATE journal SET id = 4 WHERE id = 5; "
     "UPDATE journal SET id = 5 WHERE id = -1",
     "INV-5"},
    {"key doubled",
     "CREATE TABLE copy AS SELECT * FROM journal; DROP TABLE journal; "
     "ALTER TABLE copy RENAME TO journal; UPDATE journal SET key = 'p3', key_hash = "
     "(SELECT key_hash FROM journal WHERE id = 3) WHERE id = 4",
     "INV-3: 1 keys were posted more than once"},
    {"balance raised", "UPDATE accounts SET units = units + 1 WHERE account = 'user:u1'", "INV-4"},
    {"money moved between balances",
     "UPDATE accounts SET units = units + 1 WHERE account = 'user:u1'; "
     "UPDATE accounts SET units = units - 1 WHERE account = 'user:u2'",
     "INV-4"},
    {"balance negative", "UPDATE accounts SET units = -5 WHERE account = 'user:u1'", "INV-2"},
    {"balance deleted", "DELETE FROM accounts WHERE account = 'user:u1'", "no balance"},
    {"balance invented", "INSERT INTO accounts VALUES (9, 'user:x', 5)", "no entries"},
    {"balances at both ends",
     "INSERT INTO accounts VALUES (9, 'user:y', 9223372036854775807); "
     "INSERT INTO accounts VALUES (10, 'user:z', 9223372036854775807)",
     "too large to add"},
    {"head deleted", "DELETE FROM ledger_head", "0 heads"},
    {"head moved", "UPDATE ledger_head SET posting = posting + 1", "head says"},
    {"head hash", "UPDATE ledger_head SET hash = zeroblob(32)", "head says"},
    {"account unnamed", "UPDATE accounts SET account = 'x' WHERE id = 2", "not an account"},
    {"text not text", "UPDATE journal SET cause = CAST(x'ff' AS TEXT) WHERE id = 4", "INV-5"},
};

static void twelve_postings(struct db *db)
{
    struct emac_err err;
    for (int i = 0; i < 12; i++) {
        char key[16], to[32];
        snprintf(key, sizeof key, "p%d", i + 1);
        snprintf(to, sizeof to, "user:u%d", i % 4);
        OK(move(db, key, "faucet", to, 1000 + i, &err));
    }
}

/* Each kind on a copy (a transaction rolled back afterwards); the report names it. */
static void test_damage_is_found(void **state)
{
    struct db *db = ((struct fixture *)*state)->db;
    twelve_postings(db);
    OK(db_exec(db, NULL, "PRAGMA foreign_keys = OFF", NULL));
    OK(db_exec(db, NULL, "PRAGMA ignore_check_constraints = ON", NULL));
    for (size_t i = 0; i < sizeof DAMAGE / sizeof DAMAGE[0]; i++) {
        struct ledger_audit a;
        char sql[1024];
        assert_true(emac_strcpy(sql, sizeof sql, DAMAGE[i].sql));
        OK(db_begin(db, NULL));
        for (char *p = sql, *next; p != NULL; p = next) {
            int64_t changed;
            next = strstr(p, "; ");
            if (next != NULL) {
                *next = '\0';
                next += 2;
            }
            OK(db_change(db, &changed, NULL, p, NULL));
        }
        OK(ledger_audit(db, &a, NULL));
        if (a.broken == 0 || strstr(emac_buf_str(&a.report), DAMAGE[i].found) == NULL)
            print_message("%s: %s\n", DAMAGE[i].name, emac_buf_str(&a.report));
        assert_true(a.broken > 0);
        assert_non_null(strstr(emac_buf_str(&a.report), DAMAGE[i].found));
        emac_buf_release(&a.report);
        db_rollback(db);
        audit_is_sound(db, 12);
    }
}

/* A head that is damaged stops the next posting. */
static void test_damaged_head(void **state)
{
    static const char *const SQL[] = {"UPDATE ledger_head SET hash = zeroblob(5)",
                                      "UPDATE ledger_head SET hash = zeroblob(32), posting = 0"};
    struct db *db = ((struct fixture *)*state)->db;
    struct ledger_batch *b;
    struct emac_err err;
    twelve_postings(db);
    for (size_t i = 0; i < 2; i++) {
        OK(db_exec(db, NULL, SQL[i], NULL));
        assert_int_equal(move(db, "new", "faucet", "user:a", 1, &err), EMAC_CORRUPT);
        OK(db_begin(db, NULL));
        assert_int_equal(ledger_batch_start(db, &b, &err), EMAC_CORRUPT);
        assert_null(b);
        db_rollback(db);
    }
}

/* History below a floor that was made good later. */
static void test_floor_in_history(void **state)
{
    struct db *db = ((struct fixture *)*state)->db;
    struct ledger_audit a;
    struct emac_err err;
    OK(move(db, "1", "faucet", "user:a", 100, &err));
    OK(move(db, "2", "user:a", "user:b", 60, &err));
    OK(move(db, "3", "faucet", "user:a", 100, &err));
    OK(db_exec(db, NULL, E(2, "[[2,-120],[3,120]]"), NULL));
    OK(ledger_audit(db, &a, &err));
    assert_non_null(strstr(emac_buf_str(&a.report), "INV-2: posting 2 takes 'user:a' to -20"));
    emac_buf_release(&a.report);
}

/* A report has an end; the count goes on. */
static void test_many_findings(void **state)
{
    struct db *db = ((struct fixture *)*state)->db;
    struct ledger_audit a;
    OK(db_exec(db, NULL,
               "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 500) "
               "INSERT INTO accounts SELECT i, 'user:' || i, 7 FROM n",
               NULL));
    OK(ledger_audit(db, &a, NULL));
    assert_int_equal(a.accounts, 500);
    assert_int_equal(a.total_units, 3500);
    assert_int_equal(a.broken, 501);
    int lines = 0;
    for (const char *p = emac_buf_str(&a.report); (p = strchr(p, '\n')) != NULL; p++)
        lines++;
    assert_int_equal(lines, LEDGER_FINDINGS_MAX);
    emac_buf_release(&a.report);
}

/* ---- full disk, sudden death ---- */

static void test_disk_full(void **state)
{
    struct db *db = ((struct fixture *)*state)->db;
    struct emac_err err;
    enum emac_status st = EMAC_OK;
    int64_t done = 0;
    OK(db_exec(db, NULL, "PRAGMA max_page_count = 60", NULL));
    while (st == EMAC_OK) {
        char key[32], to[64];
        snprintf(key, sizeof key, "k%lld", (long long)done);
        snprintf(to, sizeof to, "user:did%lld", (long long)done);
        st = move(db, key, "faucet", to, 1000, &err);
        done += st == EMAC_OK;
    }
    assert_int_equal(st, EMAC_NO_SPACE);
    assert_non_null(strstr(err.text, "disk full"));
    assert_true(done > 10);
    audit_is_sound(db, done);
    OK(db_exec(db, NULL, "PRAGMA max_page_count = 100000", NULL));
    OK(move(db, "after", "faucet", "user:a", 1, &err));
    audit_is_sound(db, done + 1);
}

#define KILLS 20

/* Posts in transactions of 1 to 8 until it is killed; *done counts acknowledged postings. */
static void post_forever(const char *path, atomic_llong *done, uint32_t round)
{
    struct db *db;
    if (db_open(path, &db, NULL) != EMAC_OK)
        _exit(1);
    for (long long n = atomic_load(done);;) {
        uint64_t batch = 1 + philox_below(99, PHILOX_TEST, round, (uint64_t)n, 8);
        if (db_begin(db, NULL) != EMAC_OK)
            _exit(2);
        for (uint64_t i = 0; i < batch; i++) {
            char key[32];
            bool posted;
            snprintf(key, sizeof key, "r%u-%lld", round, n++);
            struct ledger_posting p = posting(key, "pay");
            ledger_entry_add(&p, -3, "faucet");
            ledger_entry_add(&p, 1, "fee");
            ledger_entry_add(&p, 2, "user:u%lld", n % 50);
            if (ledger_post(db, &p, &posted, NULL) != EMAC_OK || !posted)
                _exit(3);
        }
        if (db_commit(db, NULL) != EMAC_OK)
            _exit(4);
        atomic_store(done, n);
    }
}

static void test_kill_9(void **state)
{
    struct fixture *f = *state;
    atomic_llong *done =
        mmap(NULL, sizeof *done, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(done != MAP_FAILED);
    int64_t in_doubt = 0;
    for (uint32_t round = 0; round < KILLS; round++) {
        db_close(f->db);
        f->db = NULL;
        fflush(NULL);
        pid_t pid = fork();
        if (pid == 0)
            post_forever(f->path, done, round);
        long long before = atomic_load(done);
        while (atomic_load(done) == before) /* it works: let it run on for a while */
            os_real()->sleep_ms(os_real(), 1);
        os_real()->sleep_ms(os_real(), (uint32_t)philox_below(7, PHILOX_TEST, 1, round, 40));
        kill(pid, SIGKILL);
        int status;
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
        fixture_open(f);
        struct ledger_audit a;
        OK(ledger_audit(f->db, &a, NULL));
        assert_int_equal(a.broken, 0);
        /* Every acknowledged posting is there, and at most the one batch in doubt besides. */
        assert_true(a.postings >= atomic_load(done) && a.postings <= atomic_load(done) + 8);
        in_doubt += a.postings > atomic_load(done);
        atomic_store(done, a.postings);
        emac_buf_release(&a.report);
    }
    print_message("%lld postings, %d kills, %lld in doubt\n", atomic_load(done), KILLS,
                  (long long)in_doubt);
    munmap(done, sizeof *done);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_money_moves, setup, teardown),
        cmocka_unit_test_setup_teardown(test_idempotency, setup, teardown),
        cmocka_unit_test_setup_teardown(test_same_entries, setup, teardown),
        cmocka_unit_test_setup_teardown(test_batch, setup, teardown),
        cmocka_unit_test_setup_teardown(test_malformed, setup, teardown),
        cmocka_unit_test_setup_teardown(test_extremes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_chain_is_a_source, setup, teardown),
        cmocka_unit_test_setup_teardown(test_net, setup, teardown),
        cmocka_unit_test_setup_teardown(test_reading, setup, teardown),
        cmocka_unit_test_setup_teardown(test_hash_format, setup, teardown),
        cmocka_unit_test_setup_teardown(test_damage_is_found, setup, teardown),
        cmocka_unit_test_setup_teardown(test_damaged_head, setup, teardown),
        cmocka_unit_test_setup_teardown(test_floor_in_history, setup, teardown),
        cmocka_unit_test_setup_teardown(test_many_findings, setup, teardown),
        cmocka_unit_test_setup_teardown(test_disk_full, setup, teardown),
        cmocka_unit_test_setup_teardown(test_kill_9, setup, teardown),
    };
    /* tests/mutants: a planted bug can make the child of test_kill_9 stop, and its parent wait. */
    cmocka_set_skip_filter(getenv("EMAC_TEST_SKIP"));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
