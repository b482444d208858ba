#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

/* What each event does to the ledger (BOOK-2 to 6), and epochs. */
#include "bookfixture.h"
#include "ledger/allowance.h"
#include "../property.h"

#define PEOPLE 3

struct person {
    uint8_t key[ED25519_PUBLIC_BYTES], secret[ED25519_SECRET_BYTES];
    char did[DID_KEY_MAX], user[LEDGER_ACCOUNT_MAX], rig[LEDGER_ACCOUNT_MAX];
    char payout[LEDGER_ACCOUNT_MAX];
    uint8_t wallet[EVM_ADDRESS_BYTES];
};

struct fixture {
    struct book_fixture b;
    struct person who[PEOPLE];
    struct chain_cursor at;
    uint8_t signature[ED25519_SIGNATURE_BYTES];
    uint64_t number, keys;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    assert_non_null(f);
    for (uint8_t i = 0; i < PEOPLE; i++) {
        struct person *p = &f->who[i];
        uint8_t seed[ED25519_SEED_BYTES] = {i};
        crypto_ed25519_keypair(p->key, p->secret, seed);
        crypto_did_key(p->did, p->key);
        snprintf(p->user, sizeof(p->user), "user:%s", p->did);
        snprintf(p->rig, sizeof(p->rig), "rig:%s", p->did);
        snprintf(p->payout, sizeof(p->payout), "payout:%s", p->did);
        memset(p->wallet, 0x10 + i, sizeof(p->wallet));
    }
    book_fixture_init(&f->b, 7);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    assert_true(book_sound(&f->b));
    book_fixture_release(&f->b);
    free(f);
    return 0;
}

static struct chain_event event(const struct fixture *f, enum chain_event_kind kind, int who,
                                uint64_t units)
{
    struct chain_event e = {.kind = kind, .units = units};
    memcpy(e.account, f->who[who].key, sizeof(e.account));
    memcpy(e.wallet, f->who[who].wallet, sizeof(e.wallet));
    return e;
}

/* One event in a block of its own. */
static enum emac_status take(struct fixture *f, struct chain_event e, struct emac_err *err)
{
    struct chain_batch b = {.next = f->at, .event = &e, .count = 1};
    b.next.number = ++f->number;
    b.next.hash[0] = (uint8_t)f->number;
    b.next.hash[1] = (uint8_t)(f->number >> 8);
    memcpy(e.block_hash, b.next.hash, CHAIN_HASH_BYTES);
    OK(db_begin(f->b.book.db, NULL));
    enum emac_status st = chain_book_apply(&f->b.book, &f->at, &b, 5, err);
    if (st != EMAC_OK) {
        db_rollback(f->b.book.db);
        return st;
    }
    OK(db_commit(f->b.book.db, NULL));
    f->at = b.next;
    return EMAC_OK;
}

static enum emac_status happens(struct fixture *f, enum chain_event_kind kind, int who,
                                uint64_t units)
{
    return take(f, event(f, kind, who, units), NULL);
}

/* Money moves on the ledger by itself: a job is paid. */
static void pay(struct fixture *f, const char *from, const char *to, int64_t units)
{
    char key[32];
    snprintf(key, sizeof(key), "pay:%llu", (unsigned long long)++f->keys);
    struct ledger_posting p = {.key = key, .cause = "pay", .job = "", .detail = ""};
    ledger_entry_add(&p, -units, "%s", from);
    ledger_entry_add(&p, units, "%s", to);
    OK(db_begin(f->b.book.db, NULL));
    OK(ledger_post(f->b.book.db, &p, NULL, NULL));
    OK(db_commit(f->b.book.db, NULL));
}

static void assert_units(struct fixture *f, const char *account, int64_t want)
{
    assert_int_equal(book_balance(&f->b, account), want);
}

/* ---- deposits and withdrawals ---- */

static void deposits(void **state)
{
    struct fixture *f = *state;
    OK(happens(f, CHAIN_EVENT_Deposited, 0, 100));
    OK(happens(f, CHAIN_EVENT_Donated, 1, 7));
    OK(happens(f, CHAIN_EVENT_Reserved, 1, 0));
    assert_units(f, f->who[0].user, 100);
    assert_units(f, "fee", 7);
    assert_units(f, "chain", -107);
    assert_int_equal(happens(f, CHAIN_EVENT_Deposited, 0, (uint64_t)INT64_MAX + 1), EMAC_CORRUPT);
    assert_units(f, "chain", -107);
}

static uint32_t shorts_seen;
static struct chain_short short_seen;
static void each_short(void *ctx, const struct chain_short *s)
{
    shorts_seen++;
    short_seen = *s;
}

static uint32_t shorts(struct fixture *f)
{
    shorts_seen = 0;
    OK(chain_book_shorts(&f->b.book, each_short, NULL, NULL));
    return shorts_seen;
}

static void withdrawal(void **state)
{
    struct fixture *f = *state;
    const char *user = f->who[0].user;
    OK(happens(f, CHAIN_EVENT_Deposited, 0, 100));
    OK(happens(f, CHAIN_EVENT_WithdrawalRequested, 0, 60));
    assert_units(f, user, 40);
    assert_units(f, "chain", -40);
    assert_int_equal(shorts(f), 0);
    OK(happens(f, CHAIN_EVENT_WithdrawalCancelled, 0, 60));
    assert_units(f, user, 100);
    OK(happens(f, CHAIN_EVENT_WithdrawalRequested, 0, 60));
    OK(happens(f, CHAIN_EVENT_Withdrawn, 0, 60));
    assert_units(f, user, 40);
    assert_int_equal(happens(f, CHAIN_EVENT_Withdrawn, 0, 60), EMAC_CORRUPT);
    assert_int_equal(happens(f, CHAIN_EVENT_WithdrawalCancelled, 0, 60), EMAC_CORRUPT);
}

/* More is asked back than is left: the ledger's own word makes it less. */
static void spent_meanwhile(void **state)
{
    struct fixture *f = *state;
    const char *user = f->who[0].user;
    struct emac_err err;
    OK(happens(f, CHAIN_EVENT_Deposited, 0, 100));
    pay(f, user, "escrow:j", 70);
    OK(happens(f, CHAIN_EVENT_WithdrawalRequested, 0, 100));
    assert_units(f, user, 0);
    assert_int_equal(shorts(f), 1);
    assert_int_equal(short_seen.asked_units, 100);
    assert_int_equal(short_seen.debited_units, 30);
    assert_string_equal(short_seen.did, f->who[0].did);
    /* Were it paid in full, the fee account would have to fill the hole; it cannot. */
    assert_int_equal(take(f, event(f, CHAIN_EVENT_Withdrawn, 0, 100), &err), EMAC_PAYMENT);
    OK(happens(f, CHAIN_EVENT_WithdrawalReduced, 0, 30));
    assert_int_equal(shorts(f), 0);
    assert_units(f, user, 0);
    OK(happens(f, CHAIN_EVENT_WithdrawalReduced, 0, 20)); /* lower than debited: comes back */
    assert_units(f, user, 10);
    OK(happens(f, CHAIN_EVENT_Withdrawn, 0, 20));
    assert_units(f, "chain", -80);
    /* Cancelled while it stands above what was debited: only that comes back. */
    OK(happens(f, CHAIN_EVENT_WithdrawalRequested, 0, 50));
    OK(happens(f, CHAIN_EVENT_WithdrawalCancelled, 0, 50));
    assert_units(f, user, 10);
    OK(happens(f, CHAIN_EVENT_WithdrawalRequested, 0, 50));
    OK(happens(f, CHAIN_EVENT_WithdrawalReduced, 0, 0)); /* ends it */
    assert_units(f, user, 10);
    pay(f, "escrow:j", "fee", 40);
    OK(happens(f, CHAIN_EVENT_WithdrawalRequested, 0, 50));
    OK(happens(f, CHAIN_EVENT_Withdrawn, 0, 50)); /* the reduction came too late */
    assert_units(f, "fee", 0);
    assert_units(f, "chain", -30);
}

static void bonds(void **state)
{
    struct fixture *f = *state;
    int64_t bonded, unbonding;
    static const char SQL_BONDED[] = "SELECT bonded FROM chain_bonds";
    static const char SQL_UNBONDING[] = "SELECT unbonding FROM chain_bonds";
    OK(happens(f, CHAIN_EVENT_Bonded, 0, 100));
    OK(happens(f, CHAIN_EVENT_UnbondRequested, 0, 30));
    OK(happens(f, CHAIN_EVENT_Slashed, 0, 50));
    OK(db_one_i64(f->b.book.db, &bonded, NULL, SQL_BONDED, ""));
    OK(db_one_i64(f->b.book.db, &unbonding, NULL, SQL_UNBONDING, ""));
    assert_int_equal(bonded, 50);
    assert_int_equal(unbonding, 0);
    assert_units(f, "fee", 50); /* a bond is no money of the ledger until it is slashed */
    assert_units(f, "chain", -50);
    OK(happens(f, CHAIN_EVENT_UnbondRequested, 0, 50));
    OK(happens(f, CHAIN_EVENT_Unbonded, 0, 50));
    OK(db_one_i64(f->b.book.db, &unbonding, NULL, SQL_UNBONDING, ""));
    assert_int_equal(unbonding, 0);
    assert_int_equal(happens(f, CHAIN_EVENT_Slashed, 1, 1), EMAC_CORRUPT);
}

/* ---- wallets ---- */

/* An event that carries the account's signature, sound or not. */
static struct chain_event sign(struct fixture *f, struct chain_event e, int who, bool sound)
{
    e.digest[3] = (uint8_t)f->number;
    crypto_ed25519_sign(f->signature, e.digest, sizeof(e.digest), f->who[who].secret);
    f->signature[10] ^= !sound;
    e.key_signature = EMAC_SLICE(f->signature, sizeof(f->signature));
    return e;
}

static void bind(struct fixture *f, int who)
{
    OK(take(f, sign(f, event(f, CHAIN_EVENT_Bound, who, 0), who, true), NULL));
}

static void assert_wallet(struct fixture *f, int who, const uint8_t *want)
{
    char text[EVM_ADDRESS_MAX], got[EVM_ADDRESS_MAX];
    OK(chain_book_wallet(&f->b.book, f->who[who].did, got, NULL));
    if (want != NULL)
        crypto_evm_address_text(text, want);
    assert_string_equal(got, want ? text : "");
}

static void wallets(void **state)
{
    struct fixture *f = *state;
    struct chain_event e = event(f, CHAIN_EVENT_Bound, 0, 0);
    const uint8_t *first = f->who[0].wallet, *second = f->who[1].wallet, *third = f->who[2].wallet;
    OK(take(f, sign(f, e, 0, false), NULL)); /* forged */
    OK(take(f, sign(f, e, 1, true), NULL));  /* somebody else's key */
    e.key_signature.len = 63;
    OK(take(f, e, NULL));
    assert_wallet(f, 0, NULL);
    bind(f, 0);
    assert_wallet(f, 0, first);
    memcpy(e.wallet, third, sizeof(e.wallet)); /* a thief of the ed25519 key binds his own */
    OK(take(f, sign(f, e, 0, true), NULL));
    assert_wallet(f, 0, first);

    struct chain_event request = event(f, CHAIN_EVENT_ChangeRequested, 0, 0);
    struct chain_event done = event(f, CHAIN_EVENT_Changed, 0, 0);
    memcpy(request.to, second, sizeof(request.to));
    memcpy(done.to, second, sizeof(done.to));
    OK(take(f, done, NULL)); /* never announced */
    assert_wallet(f, 0, first);
    OK(take(f, sign(f, request, 0, false), NULL));
    OK(take(f, done, NULL)); /* announced without the key */
    assert_wallet(f, 0, first);
    OK(take(f, sign(f, request, 0, true), NULL));
    OK(take(f, event(f, CHAIN_EVENT_ChangeCancelled, 0, 0), NULL));
    OK(take(f, done, NULL));
    assert_wallet(f, 0, first);
    OK(take(f, sign(f, request, 0, true), NULL));
    memcpy(done.to, third, sizeof(done.to));
    OK(take(f, done, NULL)); /* to another than announced; it is void then */
    assert_wallet(f, 0, first);
    OK(take(f, sign(f, request, 0, true), NULL));
    memcpy(done.to, second, sizeof(done.to));
    OK(take(f, done, NULL));
    assert_wallet(f, 0, second);
}

/* ---- epochs ---- */

static enum emac_status settle(struct fixture *f, int64_t least, struct chain_epoch *e,
                               struct emac_err *err)
{
    OK(db_begin(f->b.book.db, NULL));
    enum emac_status st = chain_epoch_close(&f->b.book, least, 9, e, err);
    if (st == EMAC_OK)
        OK(db_commit(f->b.book.db, NULL));
    else
        db_rollback(f->b.book.db);
    return st;
}

static enum emac_status on_chain(struct fixture *f, enum chain_event_kind kind,
                                 const struct chain_epoch *e)
{
    struct chain_event x = {.kind = kind, .epoch = e->epoch, .total = e->total};
    memcpy(x.root, e->root, sizeof(x.root));
    return take(f, x, NULL);
}

static enum emac_status claim(struct fixture *f, int who, uint64_t units, uint64_t cumulative)
{
    struct chain_event x = event(f, CHAIN_EVENT_Claimed, who, units);
    x.total = cumulative;
    return take(f, x, NULL);
}

static void assert_state(struct fixture *f, uint64_t epoch, enum chain_epoch_state want)
{
    struct chain_epoch e;
    OK(chain_epoch_get(&f->b.book, epoch, &e, NULL));
    assert_string_equal(chain_epoch_state_name(e.state), chain_epoch_state_name(want));
}

static void epochs(void **state)
{
    struct fixture *f = *state;
    struct chain_epoch one, two;
    struct chain_leaf *leaf;
    size_t count;
    struct emac_err err;
    OK(chain_epoch_last(&f->b.book, &one, NULL));
    assert_int_equal(one.state, CHAIN_EPOCH_NONE);
    OK(happens(f, CHAIN_EVENT_Deposited, 0, 1000));
    pay(f, f->who[0].user, f->who[1].rig, 100);
    pay(f, f->who[0].user, f->who[2].rig, 200);
    assert_int_equal(settle(f, 1, &one, &err), EMAC_PAYMENT); /* no rig has a wallet */
    bind(f, 1);
    assert_int_equal(settle(f, 101, &one, &err), EMAC_PAYMENT);
    assert_units(f, f->who[1].rig, 100); /* nothing moved */
    OK(settle(f, 100, &one, NULL));
    assert_int_equal(one.epoch, 1);
    assert_int_equal(one.total, 100);
    assert_units(f, f->who[1].rig, 0);
    assert_units(f, f->who[1].payout, 100);
    assert_int_equal(settle(f, 1, &two, &err), EMAC_CONFLICT); /* closed */
    OK(on_chain(f, CHAIN_EVENT_Proposed, &one));
    assert_int_equal(settle(f, 1, &two, &err), EMAC_CONFLICT); /* proposed */
    OK(on_chain(f, CHAIN_EVENT_Finalized, &one));
    assert_state(f, 1, CHAIN_EPOCH_FINAL);

    OK(claim(f, 1, 60, 60));
    assert_int_equal(claim(f, 1, 60, 120), EMAC_CONFLICT); /* more than was promised */
    assert_int_equal(claim(f, 1, 10, 60), EMAC_CONFLICT);  /* not what was fetched before */
    assert_int_equal(claim(f, 0, 10, 10), EMAC_CONFLICT);  /* nothing was promised */
    assert_units(f, f->who[1].payout, 40);
    assert_units(f, "chain", -940);

    bind(f, 2);
    pay(f, f->who[0].user, f->who[1].rig, 5);
    OK(settle(f, 1, &two, NULL));
    assert_int_equal(two.total, 305);
    OK(chain_epoch_leaves(&f->b.book, 2, &leaf, &count, NULL));
    assert_int_equal(count, 2);
    uint64_t sum = 0;
    for (size_t i = 0; i < count; i++)
        sum += leaf[i].cumulative;
    assert_int_equal(sum, 305);
    struct chain_tree t;
    OK(chain_tree_build(7, f->b.book.address[CHAIN_PAYOUTS], 2, leaf, count, &t, NULL));
    assert_memory_equal(chain_tree_root(&t), two.root, CHAIN_HASH_BYTES);
    chain_tree_release(&t);
    free(leaf);
    /* Dropped: the same sums come again under the next number. */
    OK(on_chain(f, CHAIN_EVENT_Dropped, &two));
    assert_state(f, 2, CHAIN_EPOCH_DROPPED);
    OK(settle(f, 1, &two, NULL));
    assert_int_equal(two.epoch, 3);
    assert_int_equal(two.total, 305);
    two.root[0] ^= 1; /* a root that is not ours */
    OK(on_chain(f, CHAIN_EVENT_Proposed, &two));
    assert_state(f, 3, CHAIN_EPOCH_CLOSED);
    assert_int_equal(on_chain(f, CHAIN_EVENT_Finalized, &two), EMAC_CONFLICT);
    assert_int_equal(chain_epoch_get(&f->b.book, 4, &one, NULL), EMAC_NOT_FOUND);
}

/* BOOK-7: the cap splits what is due over epochs; one that was dropped still counts. */
/* BOOK-9: what an owner has is paid out where a wallet is bound, once a request, and no more. */
static void owners(void **state)
{
    struct fixture *f = *state;
    struct chain_epoch e;
    struct emac_err err = {0};
    bool fresh = false;
    const char *did = f->who[0].did;
    OK(happens(f, CHAIN_EVENT_Deposited, 0, 50));
    struct db *db = f->b.book.db;
    OK(db_begin(db, NULL));
    assert_int_equal(chain_payable_add(&f->b.book, did, 10, "a", 1, &fresh, &err), EMAC_CONFLICT);
    assert_non_null(strstr(err.text, "no wallet"));
    OK(db_end(db, EMAC_OK, NULL));
    bind(f, 0);
    OK(db_begin(db, NULL));
    OK(chain_payable_add(&f->b.book, did, 10, "a", 1, &fresh, NULL));
    assert_true(fresh);
    OK(chain_payable_add(&f->b.book, did, 10, "a", 1, &fresh, NULL));
    assert_false(fresh);
    OK(chain_payable_add(&f->b.book, did, 5, "b", 1, NULL, NULL));
    OK(db_end(db, EMAC_OK, NULL));
    OK(db_begin(db, NULL));
    assert_int_equal(chain_payable_add(&f->b.book, did, 36, "c", 1, &fresh, &err), EMAC_PAYMENT);
    db_rollback(db);
    assert_units(f, f->who[0].user, 35);
    int64_t moved = 0;
    OK(db_one_i64(db, &moved, NULL, "SELECT units FROM chain_payables WHERE did = ?", "t", did));
    assert_int_equal(moved, 15);
    OK(settle(f, 1, &e, NULL));
    assert_int_equal(e.total, 15);
    assert_units(f, f->who[0].payout, 15);
}

static void capped(void **state)
{
    struct fixture *f = *state;
    struct chain_epoch e;
    struct emac_err err;
    struct chain_event cap = {.kind = CHAIN_EVENT_EpochCapSet, .units = 100};
    OK(happens(f, CHAIN_EVENT_Deposited, 0, 1000));
    OK(take(f, cap, NULL));
    bind(f, 1);
    bind(f, 2);
    pay(f, f->who[0].user, f->who[1].rig, 80);
    pay(f, f->who[0].user, f->who[2].rig, 90);
    OK(settle(f, 1, &e, NULL));
    assert_int_equal(e.total, 100);
    assert_int_equal(book_balance(&f->b, f->who[1].rig) + book_balance(&f->b, f->who[2].rig), 70);
    OK(on_chain(f, CHAIN_EVENT_Proposed, &e));
    OK(on_chain(f, CHAIN_EVENT_Dropped, &e));
    OK(settle(f, 1, &e, NULL)); /* the same again, and no more */
    assert_int_equal(e.total, 100);
    OK(on_chain(f, CHAIN_EVENT_Finalized, &e));
    OK(settle(f, 1, &e, NULL));
    assert_int_equal(e.total, 170);
    OK(on_chain(f, CHAIN_EVENT_Finalized, &e));
    cap.units = 0;
    OK(take(f, cap, NULL));
    pay(f, f->who[0].user, f->who[1].rig, 1);
    assert_int_equal(settle(f, 1, &e, &err), EMAC_PAYMENT);
}

/* ---- the data cap registry (BOOK-8) ---- */

static struct chain_event cap_event(const struct fixture *f, enum chain_event_kind kind, uint8_t id,
                                    uint64_t bytes)
{
    struct chain_event e = event(f, kind, 0, bytes);
    e.contract = CHAIN_DATACAP;
    memset(e.root, id, sizeof(e.root));
    e.time_s = 1000;
    return e;
}

static enum emac_status spends(struct fixture *f, uint8_t id, uint8_t deal, uint64_t bytes,
                               uint64_t left)
{
    struct chain_event e = cap_event(f, CHAIN_EVENT_Spent, id, bytes);
    memset(e.digest, deal, sizeof(e.digest));
    e.total = left;
    return take(f, e, NULL);
}

static void assert_cap(struct fixture *f, const char *id_digits, int64_t left, int64_t bound,
                       int64_t burnt)
{
    char id[CHAIN_ALLOWANCE_MAX] = "0x";
    struct allowance a;
    for (int i = 0; i < CHAIN_HASH_BYTES; i++)
        memcpy(id + 2 + 2 * i, id_digits, 3);
    OK(allowance_get(f->b.book.db, id, &a, NULL));
    assert_int_equal(a.left, left);
    assert_int_equal(a.bound, bound);
    assert_int_equal(a.burnt, burnt);
    assert_string_equal(a.client, f->who[0].did);
}

static void registry(void **state)
{
    struct fixture *f = *state;
    struct emac_err err;
    OK(take(f, cap_event(f, CHAIN_EVENT_Voted, 1, 0), NULL));
    OK(take(f, cap_event(f, CHAIN_EVENT_MotionFailed, 3, 0), NULL));
    OK(take(f, cap_event(f, CHAIN_EVENT_Granted, 1, 500), NULL));
    assert_cap(f, "01", 500, 0, 0);
    OK(spends(f, 1, 0xaa, 200, 300));
    assert_cap(f, "01", 300, 200, 0);
    assert_units(f, "bytes:granted", -500);
    /* What the contract cannot have done: */
    assert_int_equal(spends(f, 1, 0xaa, 1, 299), EMAC_CORRUPT); /* a deal twice */
    assert_int_equal(spends(f, 1, 0xab, 301, 0), EMAC_CORRUPT); /* more than is left */
    assert_int_equal(spends(f, 1, 0xab, 1, 300), EMAC_CORRUPT); /* a sum that is none */
    assert_int_equal(spends(f, 1, 0xab, 0, 300), EMAC_CORRUPT);
    assert_int_equal(spends(f, 1, 0xab, UINT64_MAX, 1), EMAC_CORRUPT);
    assert_int_equal(spends(f, 2, 0xab, 1, 1), EMAC_CORRUPT); /* of nothing */
    struct chain_event other = cap_event(f, CHAIN_EVENT_Spent, 1, 100);
    other.total = 200;
    memcpy(other.account, f->who[1].key, sizeof(other.account));
    assert_int_equal(take(f, other, &err), EMAC_CORRUPT); /* of another client */
    assert_int_equal(take(f, cap_event(f, CHAIN_EVENT_Granted, 1, 501), &err), EMAC_CONFLICT);
    assert_int_equal(take(f, cap_event(f, CHAIN_EVENT_Removed, 1, 299), &err), EMAC_CORRUPT);
    assert_int_equal(take(f, cap_event(f, CHAIN_EVENT_Removed, 9, 1), &err), EMAC_CORRUPT);
    OK(take(f, cap_event(f, CHAIN_EVENT_Removed, 1, 300), NULL));
    assert_cap(f, "01", 0, 200, 300);
    /* More than the ledger counts: it counts for nothing, and following goes on. */
    OK(take(f, cap_event(f, CHAIN_EVENT_Granted, 2, UINT64_MAX), NULL));
    OK(spends(f, 2, 0xac, UINT64_MAX - 5, 5));
    OK(take(f, cap_event(f, CHAIN_EVENT_Removed, 2, 5), NULL));
    struct chain_event forever = cap_event(f, CHAIN_EVENT_Granted, 4, 5);
    forever.time_s = UINT64_MAX;
    OK(take(f, forever, NULL));
    assert_units(f, "bytes:granted", -500);
    uint32_t broken = 0;
    struct emac_buf report;
    emac_buf_init(&report, 4096);
    OK(allowance_audit(f->b.book.db, &report, &broken, NULL));
    assert_int_equal(broken, 0);
    emac_buf_release(&report);
}

/* A book from before the registry was read takes its address; then it is as fixed as the others. */
static void registry_joins(void **state)
{
    struct fixture *f = *state;
    struct emac_err err;
    OK(db_exec(f->b.book.db, NULL, "UPDATE chain_cursor SET datacap = ''", ""));
    OK(chain_book_open(&f->b.book, &f->b.start, NULL));
    f->b.book.address[CHAIN_DATACAP][3] ^= 1;
    assert_int_equal(chain_book_open(&f->b.book, &f->b.start, &err), EMAC_CONFLICT);
    f->b.book.address[CHAIN_DATACAP][3] ^= 1;
}

/* The list that an epoch's digest is of. */
static void list_of_leaves(void **state)
{
    struct emac_buf buf;
    struct chain_leaf leaf = {.account = {1}, .wallet = {2}, .cumulative = 3};
    uint8_t payouts[EVM_ADDRESS_BYTES] = {4};
    emac_buf_init(&buf, 1024);
    OK(chain_leaves_encode(5, payouts, 6, &leaf, 1, &buf, NULL));
    assert_memory_equal(buf.data,
                        "\xa4\x65\x63hain\x05\x65\x65poch\x06\x66leaves\x81\x83\x58\x20\x01", 26);
    emac_buf_release(&buf);
}

/* ---- any order of things ---- */

struct model {
    int64_t free[PEOPLE], debited[PEOPLE], asked[PEOPLE], bond[PEOPLE], owed;
};

static bool random_event(struct fixture *f, struct choices *c, struct model *m)
{
    int who = (int)choose(c, PEOPLE);
    int64_t units = 1 + (int64_t)choose(c, 100);
    switch (choose(c, 6)) {
    case 0:
        m->free[who] += units;
        m->owed += units;
        return happens(f, CHAIN_EVENT_Deposited, who, (uint64_t)units) == EMAC_OK;
    case 1:
        if (m->asked[who] > 0)
            return true;
        m->asked[who] = units;
        m->debited[who] = m->free[who] < units ? m->free[who] : units;
        m->free[who] -= m->debited[who];
        m->owed -= m->debited[who];
        return happens(f, CHAIN_EVENT_WithdrawalRequested, who, (uint64_t)units) == EMAC_OK;
    case 2:
        if (m->asked[who] == 0)
            return happens(f, CHAIN_EVENT_WithdrawalCancelled, who, 1) == EMAC_CORRUPT;
        units = m->asked[who];
        m->free[who] += m->debited[who];
        m->owed += m->debited[who];
        m->asked[who] = m->debited[who] = 0;
        return happens(f, CHAIN_EVENT_WithdrawalCancelled, who, (uint64_t)units) == EMAC_OK;
    case 3: /* our own reduction comes in time */
        if (m->asked[who] == 0)
            return true;
        units = m->debited[who];
        m->asked[who] = units;
        return happens(f, CHAIN_EVENT_WithdrawalReduced, who, (uint64_t)units) == EMAC_OK;
    case 4:
        if (m->asked[who] == 0 || m->asked[who] != m->debited[who])
            return true;
        units = m->asked[who];
        m->asked[who] = m->debited[who] = 0;
        return happens(f, CHAIN_EVENT_Withdrawn, who, (uint64_t)units) == EMAC_OK;
    default:
        if (m->free[who] < units)
            return true;
        m->free[who] -= units;
        pay(f, f->who[who].user, "escrow:j", units);
        return true;
    }
}

static bool book_equals_the_model(struct choices *c)
{
    struct fixture *f;
    struct model m = {0};
    void *state;
    bool ok = true;
    setup(&state);
    f = state;
    for (int i = 0; ok && i < 100; i++) {
        ok = random_event(f, c, &m);
        for (int who = 0; ok && who < PEOPLE; who++)
            ok = book_balance(&f->b, f->who[who].user) == m.free[who];
        ok = ok && book_balance(&f->b, "chain") == -m.owed; /* BOOK-3 */
    }
    teardown(&state);
    return ok;
}

static void any_order(void **state)
{
    ASSERT_PROPERTY(20, book_equals_the_model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(deposits, setup, teardown),
        cmocka_unit_test_setup_teardown(withdrawal, setup, teardown),
        cmocka_unit_test_setup_teardown(spent_meanwhile, setup, teardown),
        cmocka_unit_test_setup_teardown(bonds, setup, teardown),
        cmocka_unit_test_setup_teardown(wallets, setup, teardown),
        cmocka_unit_test_setup_teardown(epochs, setup, teardown),
        cmocka_unit_test_setup_teardown(capped, setup, teardown),
        cmocka_unit_test_setup_teardown(owners, setup, teardown),
        cmocka_unit_test(list_of_leaves),
        cmocka_unit_test(any_order),
        cmocka_unit_test_setup_teardown(registry, setup, teardown),
        cmocka_unit_test_setup_teardown(registry_joins, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
