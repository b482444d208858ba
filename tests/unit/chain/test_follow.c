#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

/* Following a scripted chain (FOLLOW-1 to 5) and keeping its book (BOOK-1 to 3, 8): whatever is
 * reorganised, lost, repeated or lied about, each final deposit, grant and spend counts once. */
#include "bookfixture.h"
#include "fakenode.h"
#include "base/hex.h"
#include "ledger/allowance.h"
#include "stumble.h"
#include "../property.h"

static const int CAUGHT[] = {
#define X(name, caught) caught,
    FAKE_LIES(X)
#undef X
};

struct world {
    struct fake_chain chain;
    struct fake_node node[2];
    struct chain_source src;
    struct chain_cursor cursor;
};

static void world_init(struct world *w, size_t nodes)
{
    static const char *const NAMES[] = {"one", "two"};
    memset(w, 0, sizeof(*w));
    fake_chain_init(&w->chain);
    w->src.nodes = nodes;
    w->src.chain_id = FAKE_CHAIN_ID;
    memcpy(w->src.address, w->chain.address, sizeof(w->src.address));
    for (size_t i = 0; i < nodes; i++) {
        fake_node_init(&w->node[i], &w->chain, NAMES[i]);
        w->src.node[i] = &w->node[i].node;
    }
    w->cursor.number = w->chain.block[0].number;
    memcpy(w->cursor.hash, w->chain.block[0].hash, CHAIN_HASH_BYTES);
}

static struct world *world_new(size_t nodes)
{
    struct world *w = calloc(1, sizeof(*w));
    assert_non_null(w);
    world_init(w, nodes);
    return w;
}

static void mine(struct world *w, uint32_t account, uint64_t units)
{
    struct fake_block *b = fake_mine(&w->chain, 1);
    if (units > 0)
        fake_deposit(b, account, units);
}

/* ---- one thing at a time ---- */

static void only_final_blocks(void **state)
{
    struct world *w = world_new(1);
    struct chain_batch b;
    for (uint32_t i = 0; i < 5; i++)
        mine(w, i % FAKE_ACCOUNTS, 100 + i);
    OK(chain_follow(&w->src, &w->cursor, &b, NULL));
    assert_int_equal(b.count, 0);
    assert_int_equal(b.next.number, 0);
    chain_batch_release(&b);
    w->chain.final = 3;
    OK(chain_follow(&w->src, &w->cursor, &b, NULL));
    assert_int_equal(b.count, 3);
    assert_int_equal(b.next.number, 3);
    assert_int_equal(b.next.seq[CHAIN_VAULT], 3);
    for (size_t i = 0; i < b.count; i++) {
        assert_int_equal(b.event[i].kind, CHAIN_EVENT_Deposited);
        assert_int_equal(b.event[i].units, 100 + i);
        assert_int_equal(b.event[i].seq, i + 1);
        assert_int_equal(b.event[i].account[5], 0x40 + i);
    }
    w->cursor = b.next;
    chain_batch_release(&b);
    /* A chain without finality: two blocks below the top. */
    w->src.confirmations = 2;
    mine(w, 0, 0);
    OK(chain_follow(&w->src, &w->cursor, &b, NULL));
    assert_int_equal(b.next.number, 4);
    assert_int_equal(b.count, 1);
    chain_batch_release(&b);
    free(w);
}

/* Filecoin has heights without a block. */
static void empty_heights(void **state)
{
    struct world *w = world_new(1);
    struct chain_batch b;
    for (uint64_t step = 1; step <= 40; step += 13)
        fake_deposit(fake_mine(&w->chain, step), 1, step);
    w->chain.final = w->chain.count - 1;
    OK(chain_follow(&w->src, &w->cursor, &b, NULL));
    assert_int_equal(b.count, 4);
    assert_int_equal(b.next.number, fake_top(&w->chain)->number);
    chain_batch_release(&b);
    free(w);
}

/* More than can be read at once, and a gap that is wider than is looked past. */
static void in_pieces(void **state)
{
    struct world *w = world_new(1);
    struct chain_batch b;
    size_t events = 0;
    for (int i = 0; i < 3 * CHAIN_BLOCKS_A_GO; i++)
        mine(w, 0, i % 7 == 0 ? 5 : 0);
    w->chain.final = w->chain.count - 1;
    for (int go = 0; go < 3; go++) {
        OK(chain_follow(&w->src, &w->cursor, &b, NULL));
        assert_int_equal(b.next.number, (uint64_t)(go + 1) * CHAIN_BLOCKS_A_GO);
        events += b.count;
        w->cursor = b.next;
        chain_batch_release(&b);
    }
    assert_int_equal(events, (3 * CHAIN_BLOCKS_A_GO + 6) / 7);
    free(w);
}

static void each_lie(void **state)
{
    for (int lie = 1; lie < FAKE_LIE_COUNT; lie++) {
        for (size_t nodes = 1; nodes <= 2; nodes++) {
            struct world *w = world_new(nodes);
            struct emac_err err = {0};
            struct chain_batch b;
            for (uint32_t i = 0; i < 6; i++)
                mine(w, i % FAKE_ACCOUNTS, 10 + i);
            w->chain.final = 4;
            w->node[nodes - 1].lie = (enum fake_lie)lie;
            enum emac_status st = chain_follow(&w->src, &w->cursor, &b, &err);
            bool taken = st == EMAC_OK && lie != FAKE_FINAL_TOO_HIGH;
            if ((size_t)CAUGHT[lie] <= nodes && lie != FAKE_FINAL_TOO_HIGH) {
                if (nodes == 2 && lie == FAKE_PARENTS_ELSEWHERE)
                    assert_int_equal(st, EMAC_OK); /* parents are asked of the first node */
                else
                    assert_false(taken);
            }
            if (st != EMAC_OK) {
                assert_true(strlen(err.text) > 20);
                assert_int_equal(b.count > 0 && b.next.number != w->cursor.number, 0);
            } else if (lie == FAKE_FINAL_TOO_HIGH && nodes == 2) {
                assert_int_equal(b.next.number, 4); /* the lower of the two counts */
            }
            chain_batch_release(&b);
            free(w);
        }
    }
}

/* Whatever question fails, of whichever node: nothing is taken, or all. */
static void stumbling(void **state)
{
    for (unsigned after = 0;; after++) {
        struct world *w = world_new(2);
        struct stumble node;
        struct chain_batch b;
        struct emac_err err = {0};
        for (uint32_t i = 0; i < 5; i++)
            mine(w, 0, 1);
        w->chain.final = 4;
        stumble_init(&node, w->src.node[after / 2 % 2], after / 4, after % 2);
        w->src.node[after / 2 % 2] = &node.node;
        enum emac_status st = chain_follow(&w->src, &w->cursor, &b, &err);
        bool through = !node.stumbled;
        if (st == EMAC_OK) /* a null for the top looks like an empty height */
            assert_true(b.next.number == 4 ? b.count == 4 : b.count == b.next.number);
        else
            assert_true(strlen(err.text) > 10 && b.next.number == 0);
        assert_true(!through || (st == EMAC_OK && b.count == 4));
        chain_batch_release(&b);
        free(w);
        if (through && after % 4 == 3)
            return;
        assert_true(after < 400);
    }
}

/* A rewrite below the final height ends it: FOLLOW-2. */
static void rewritten_below_the_cursor(void **state)
{
    struct world *w = world_new(2);
    struct emac_err err;
    struct chain_batch b;
    for (uint32_t i = 0; i < 20; i++)
        mine(w, 0, 1);
    w->chain.final = 15;
    OK(chain_follow(&w->src, &w->cursor, &b, NULL));
    w->cursor = b.next;
    chain_batch_release(&b);
    w->chain.count = 12;
    for (uint32_t i = 0; i < 30; i++)
        mine(w, 1, 1000);
    w->chain.final = 30;
    assert_int_equal(chain_follow(&w->src, &w->cursor, &b, &err), EMAC_CONFLICT);
    assert_non_null(strstr(err.text, "rewritten"));
    chain_batch_release(&b);
    free(w);
}

/* ---- the book ---- */

struct ledger_world {
    struct book_fixture f;
    struct world *w;
};

static void ledger_world_init(struct ledger_world *l, size_t nodes)
{
    memset(l, 0, sizeof(*l));
    l->w = world_new(nodes);
    l->f.start = l->w->cursor;
    memcpy(l->f.book.address, l->w->src.address, sizeof(l->f.book.address));
    book_fixture_init(&l->f, FAKE_CHAIN_ID);
}

static void ledger_world_release(struct ledger_world *l)
{
    book_fixture_release(&l->f);
    free(l->w);
}

/* Read and take once; `crash` loses the transaction before it is durable. */
static enum emac_status step(struct ledger_world *l, bool crash, struct emac_err *err)
{
    struct chain_cursor from;
    struct chain_batch b = {0};
    enum emac_status st;
    EMAC_TRY(st, chain_book_cursor(&l->f.book, &from, err));
    EMAC_TRY(st, chain_follow(&l->w->src, &from, &b, err));
    EMAC_TRY(st, db_begin(l->f.book.db, err));
    st = chain_book_apply(&l->f.book, &from, &b, 1, err);
    if (st == EMAC_OK && !crash)
        st = db_commit(l->f.book.db, err);
    else
        db_rollback(l->f.book.db);
out:
    chain_batch_release(&b);
    return st;
}

/* Is each allowance on the ledger what the registry had at this block, and what it has spent there?
 * Of what is not granted at the block the ledger knows nothing. */
static bool registry_is_exact(struct ledger_world *l, const struct fake_registry *r)
{
    for (uint32_t i = 0; i < FAKE_CAPS; i++) {
        uint8_t word[CHAIN_HASH_BYTES], key[CHAIN_ACCOUNT_BYTES];
        char id[CHAIN_ALLOWANCE_MAX] = "0x", did[DID_KEY_MAX];
        struct allowance a;
        fake_cap_id(word, i);
        emac_hex(id + 2, word, sizeof(word));
        fake_account(key, i % FAKE_ACCOUNTS);
        crypto_did_key(did, key);
        enum emac_status st = allowance_get(l->f.book.db, id, &a, NULL);
        if (r->granted[i] == 0
                ? st != EMAC_NOT_FOUND
                : st != EMAC_OK || a.granted != (int64_t)r->granted[i] ||
                      a.left != (int64_t)r->left[i] || a.bound != a.granted - a.left - a.burnt ||
                      strcmp(a.client, did) != 0)
            return false;
    }
    return true;
}

/* Is the ledger exactly the honest chain's deposits, and its registry, up to the cursor? */
static bool ledger_is_exact(struct ledger_world *l)
{
    struct chain_cursor c;
    const struct fake_chain *chain = &l->w->chain;
    int64_t due[FAKE_ACCOUNTS] = {0}, all = 0, bound = 0, removed = 0;
    const struct fake_registry *registry = NULL;
    bool held = false;
    OK(chain_book_cursor(&l->f.book, &c, NULL));
    for (size_t i = 0; i < chain->count && chain->block[i].number <= c.number; i++) {
        const struct fake_block *b = &chain->block[i];
        held = b->number == c.number && memcmp(b->hash, c.hash, CHAIN_HASH_BYTES) == 0;
        registry = &b->registry;
        for (size_t k = 0; k < b->events; k++) {
            const struct fake_event *e = &b->event[k];
            due[e->account] += e->kind == CHAIN_EVENT_Deposited ? (int64_t)e->units : 0;
            bound += e->kind == CHAIN_EVENT_Spent ? (int64_t)e->units : 0;
            removed += e->kind == CHAIN_EVENT_Removed ? (int64_t)e->units : 0;
        }
    }
    int64_t granted = -book_balance(&l->f, "bytes:granted"), left = 0;
    for (uint32_t i = 0; i < FAKE_CAPS; i++)
        left += registry == NULL ? 0 : (int64_t)registry->left[i];
    if (registry == NULL || !registry_is_exact(l, registry) ||
        book_balance(&l->f, "bytes:burnt") != removed || granted != left + bound + removed)
        return false;
    for (uint32_t i = 0; i < FAKE_ACCOUNTS; i++) {
        char account[LEDGER_ACCOUNT_MAX], did[DID_KEY_MAX];
        uint8_t key[CHAIN_ACCOUNT_BYTES];
        fake_account(key, i);
        crypto_did_key(did, key);
        snprintf(account, sizeof(account), "user:%s", did);
        int64_t units = book_balance(&l->f, account);
        all += units;
        if (units != due[i])
            return false;
    }
    return held && book_balance(&l->f, "chain") == -all;
}

/* Blocks come, with deposits; up to 100 of those that are not final go again, their deposits with
 * them or moved to other blocks; nodes fall behind, lie, come back; the process dies. One of two
 * nodes stays honest. */
static void happen(struct ledger_world *l, struct choices *c)
{
    struct fake_chain *chain = &l->w->chain;
    size_t depth = chain->count - 1 - chain->final;
    if (choose(c, 4) == 0 && depth > 0)
        chain->count -= 1 + choose(c, depth < 100 ? depth : 100);
    uint64_t blocks = choose(c, 12);
    for (uint64_t i = 0; i < blocks && chain->count < FAKE_BLOCKS_MAX; i++) {
        struct fake_block *b = fake_mine(chain, choose(c, 5) == 0 ? 2 : 1);
        for (uint64_t k = choose(c, FAKE_EVENTS_MAX + 1); k > 0; k--) {
            uint32_t cap = (uint32_t)choose(c, FAKE_CAPS);
            uint64_t grants = b->registry.granted[cap] == 0 ? 100 : 1; /* room for many spends */
            if (choose(c, 3) == 0)
                fake_registry_act(b, cap, grants * (1 + choose(c, 1000)), choose(c, 20) == 0);
            else
                fake_deposit(b, (uint32_t)choose(c, FAKE_ACCOUNTS), 1 + choose(c, 1000));
        }
    }
    depth = chain->count - 1 - chain->final;
    if (choose(c, 2) == 0)
        chain->final += choose(c, depth + 1);
    size_t liar = choose(c, 2);
    l->w->node[liar].lie = choose(c, 2) ? (enum fake_lie)choose(c, FAKE_LIE_COUNT) : FAKE_NONE;
    l->w->node[!liar].lie = FAKE_NONE;
    for (size_t i = 0; i < 2; i++)
        l->w->node[i].behind = choose(c, 3) == 0 ? choose(c, 30) : 0;
}

static bool each_final_event_counts_once(struct choices *c)
{
    struct ledger_world l;
    bool ok = true;
    ledger_world_init(&l, 2);
    for (int i = 0; ok && i < 60; i++) {
        happen(&l, c);
        step(&l, choose(c, 5) == 0, NULL);
        ok = ledger_is_exact(&l);
        if (choose(c, 10) == 0) {
            db_close(l.f.book.db);
            book_fixture_open(&l.f);
        }
    }
    /* Then all is well again: everything final is credited. */
    for (size_t i = 0; i < 2; i++) {
        l.w->node[i].lie = FAKE_NONE;
        l.w->node[i].behind = 0;
    }
    l.w->chain.final = l.w->chain.count - 1;
    for (int i = 0; ok && i < 20; i++)
        ok = step(&l, false, NULL) == EMAC_OK;
    struct chain_cursor at;
    OK(chain_book_cursor(&l.f.book, &at, NULL));
    ok =
        ok && at.number == fake_top(&l.w->chain)->number && ledger_is_exact(&l) && book_sound(&l.f);
    ledger_world_release(&l);
    return ok;
}

static void schedules(void **state)
{
    const char *more = getenv("EMAC_TEST_SEEDS"); /* soak asks for more */
    ASSERT_PROPERTY(more ? strtoull(more, NULL, 10) : 60, each_final_event_counts_once);
}

/* A grant and a spend that a reorganisation takes away before they are final are nothing on the
 * ledger; what comes in their place counts, once. */
static void grants_reorganised(void **state)
{
    struct ledger_world l;
    char deal[CHAIN_ALLOWANCE_MAX];
    int64_t bytes = -1;
    ledger_world_init(&l, 2);
    fake_registry_act(fake_mine(&l.w->chain, 1), 1, 700, false);
    fake_registry_act(fake_mine(&l.w->chain, 1), 1, 300, false);
    OK(step(&l, false, NULL)); /* nothing is final */
    assert_true(ledger_is_exact(&l));
    assert_int_equal(book_balance(&l.f, "bytes:granted"), 0);
    l.w->chain.count = 1; /* both go */
    fake_registry_act(fake_mine(&l.w->chain, 1), 1, 500, false);
    mine(l.w, 0, 0);
    fake_registry_act(fake_mine(&l.w->chain, 1), 1, 200, false);
    l.w->chain.final = 2;
    OK(step(&l, true, NULL)); /* lost before it was durable */
    OK(step(&l, false, NULL));
    OK(step(&l, false, NULL));
    assert_true(ledger_is_exact(&l));
    assert_int_equal(book_balance(&l.f, "bytes:granted"), -500);
    l.w->chain.final = 3;
    OK(step(&l, false, NULL));
    assert_true(ledger_is_exact(&l));
    struct u256 first = u256_from_u64(1);
    uint8_t word[CHAIN_HASH_BYTES];
    u256_to_bytes(word, &first);
    memcpy(deal, "0x", 2);
    emac_hex(deal + 2, word, sizeof(word));
    OK(allowance_of_deal(l.f.book.db, deal, &bytes, NULL));
    assert_int_equal(bytes, 200);
    fake_registry_act(fake_mine(&l.w->chain, 1), 1, 1, true);
    l.w->chain.final = 4;
    OK(step(&l, false, NULL));
    assert_true(ledger_is_exact(&l) && book_sound(&l.f));
    assert_int_equal(book_balance(&l.f, "bytes:burnt"), 300);
    ledger_world_release(&l);
}

/* BOOK-1: a batch that was taken cannot be taken again, nor one from elsewhere. */
static void taken_once(void **state)
{
    struct ledger_world l;
    struct chain_batch b;
    struct chain_cursor from;
    struct emac_err err;
    ledger_world_init(&l, 1);
    mine(l.w, 2, 500);
    l.w->chain.final = 1;
    OK(chain_book_cursor(&l.f.book, &from, NULL));
    OK(chain_follow(&l.w->src, &from, &b, NULL));
    for (int i = 0; i < 2; i++) {
        OK(db_begin(l.f.book.db, NULL));
        assert_int_equal(chain_book_apply(&l.f.book, &from, &b, 1, &err),
                         i == 0 ? EMAC_OK : EMAC_CONFLICT);
        if (i == 0)
            OK(db_commit(l.f.book.db, NULL));
        else
            db_rollback(l.f.book.db);
    }
    assert_non_null(strstr(err.text, "taken already"));
    assert_true(ledger_is_exact(&l));
    chain_batch_release(&b);
    ledger_world_release(&l);
}

/* The ledger belongs to one set of contracts; play money cannot become theirs. */
static void book_refuses(void **state)
{
    struct ledger_world l;
    struct emac_err err;
    ledger_world_init(&l, 1);
    l.f.book.address[CHAIN_PAYOUTS][0] ^= 1;
    assert_int_equal(chain_book_open(&l.f.book, &l.w->cursor, &err), EMAC_CONFLICT);
    assert_non_null(strstr(err.text, "other contracts"));
    l.f.book.address[CHAIN_PAYOUTS][0] ^= 1;
    l.f.book.chain_id++;
    assert_int_equal(chain_book_open(&l.f.book, &l.w->cursor, &err), EMAC_CONFLICT);
    l.f.book.chain_id--;
    OK(db_begin(l.f.book.db, NULL));
    OK(db_exec(l.f.book.db, NULL, "DELETE FROM chain_cursor", ""));
    struct ledger_posting p = {.key = "f", .cause = "faucet", .job = "", .detail = ""};
    ledger_entry_add(&p, -5, "faucet");
    ledger_entry_add(&p, 5, "user:x");
    OK(ledger_post(l.f.book.db, &p, NULL, NULL));
    OK(db_commit(l.f.book.db, NULL));
    assert_int_equal(chain_book_open(&l.f.book, &l.w->cursor, &err), EMAC_CONFLICT);
    assert_non_null(strstr(err.text, "play money"));
    ledger_world_release(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_final_blocks), cmocka_unit_test(empty_heights),
        cmocka_unit_test(in_pieces),         cmocka_unit_test(each_lie),
        cmocka_unit_test(stumbling),         cmocka_unit_test(rewritten_below_the_cursor),
        cmocka_unit_test(schedules),         cmocka_unit_test(grants_reorganised),
        cmocka_unit_test(taken_once),        cmocka_unit_test(book_refuses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
