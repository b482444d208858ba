/* Votes of notaries on the book (DC-1), and epochs (DCB-1 to DCB-3). Rings: test_datacap_ring.c. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "chain/book.h"
#include "datacapfixture.h"

#define GIB (INT64_C(1) << 30)
#define NOW UINT64_C(1800000000000)

/* Persons 0 to 2 are notaries, 3 funds, 4 is a client, from 5 on others. */
enum { NOTARY = 0, FUNDER = 3, CLIENT, STRANGER, RIG, USER };

static int setup(void **state)
{
    struct datacap_fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    datacap_fixture_init(f);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct datacap_fixture *f = *state;
    assert_true(datacap_sound(f));
    datacap_fixture_release(f);
    free(f);
    return 0;
}

struct said {
    int who;
    int64_t bytes; /* 0: against */
    const char *application;
    uint64_t at_ms;
    bool removal;
};

static struct datacap_vote vote_of(struct datacap_fixture *f, const struct said *s)
{
    struct datacap_vote v = {.kind = s->removal ? DATACAP_REMOVAL : DATACAP_GRANT,
                             .approve = s->bytes != 0,
                             .bytes = s->removal ? 0 : s->bytes,
                             .issued_ms = s->at_ms};
    emac_strcpy(v.client, sizeof v.client, f->who[CLIENT].did);
    emac_strcpy(v.notary, sizeof v.notary, f->who[s->who].did);
    emac_strcpy(v.network, sizeof v.network, "n");
    emac_strcpy(v.application, sizeof v.application, s->application);
    return v;
}

static enum emac_status vote_raw(struct datacap_fixture *f, const struct datacap_vote *v,
                                 int signer, uint64_t at_ms, struct datacap_motion_row *m,
                                 struct emac_err *err)
{
    struct emac_buf object;
    uint8_t sig[ED25519_SIGNATURE_BYTES];
    emac_buf_init(&object, DATACAP_VOTE_MAX);
    OK(datacap_vote_encode(v, &object, NULL));
    crypto_ed25519_sign(sig, object.data, object.len, f->who[signer].secret);
    OK(db_begin(f->db, NULL));
    enum emac_status st = datacap_book_vote(&f->book, emac_buf_slice(&object),
                                            EMAC_SLICE(sig, sizeof sig), at_ms, m, err);
    if (st == EMAC_OK)
        OK(db_commit(f->db, NULL));
    else
        db_rollback(f->db);
    emac_buf_release(&object);
    return st;
}

static enum emac_status say(struct datacap_fixture *f, struct said s, struct datacap_motion_row *m,
                            struct emac_err *err)
{
    const struct datacap_vote v = vote_of(f, &s);
    return vote_raw(f, &v, s.who, s.at_ms, m, err);
}

static void test_quorum(void **state)
{
    struct datacap_fixture *f = *state;
    struct datacap_motion_row m;
    struct allowance a;
    struct emac_err err;
    OK(say(f, (struct said){0, 5 * GIB, "a", NOW, false}, &m, &err));
    assert_int_equal(m.outcome, DATACAP_OPEN);
    OK(say(f, (struct said){0, 5 * GIB, "a", NOW, false}, &m, &err)); /* replayed: no second vote */
    assert_int_equal(m.votes, 1);
    OK(say(f, (struct said){1, 6 * GIB, "a", NOW + 1, false}, &m, &err)); /* they disagree */
    assert_int_equal(m.outcome, DATACAP_OPEN);
    OK(say(f, (struct said){0, 0, "a", NOW + 2, false}, &m, &err)); /* one takes his word back */
    OK(say(f, (struct said){0, 7 * GIB, "a", NOW + 3, false}, &m, &err));
    assert_int_equal(say(f, (struct said){0, 0, "a", NOW + 2, false}, &m, &err), EMAC_CONFLICT);
    assert_non_null(strstr(err.text, "voted later"));
    OK(say(f, (struct said){2, 6 * GIB, "a", NOW + 4, false}, &m, &err));
    assert_int_equal(m.outcome, DATACAP_PASSED);
    assert_true(m.bytes == 6 * GIB);
    OK(allowance_get(f->db, m.id, &a, &err));
    assert_true(a.granted == 6 * GIB && a.left == 6 * GIB);
    assert_string_equal(a.client, f->who[CLIENT].did);
    /* Decided is decided; the vote that decided may come again. */
    assert_int_equal(say(f, (struct said){0, 6 * GIB, "a", NOW + 5, false}, &m, &err),
                     EMAC_CONFLICT);
    OK(say(f, (struct said){2, 6 * GIB, "a", NOW + 4, false}, &m, &err));
    assert_true(units_of(f, "bytes:granted") == -6 * GIB);
    /* Two against end another application. */
    OK(say(f, (struct said){0, 0, "b", NOW, false}, &m, &err));
    OK(say(f, (struct said){1, 0, "b", NOW, false}, &m, &err));
    assert_int_equal(m.outcome, DATACAP_FAILED);
    assert_int_equal(say(f, (struct said){2, GIB, "b", NOW, false}, &m, &err), EMAC_CONFLICT);
}

static void test_refused(void **state)
{
    struct datacap_fixture *f = *state;
    struct datacap_motion_row m;
    struct emac_err err;
    const struct said plain = {0, GIB, "a", NOW, false};
    struct datacap_vote v = vote_of(f, &plain);
    assert_int_equal(vote_raw(f, &v, 1, NOW, &m, &err), EMAC_UNAUTHORIZED); /* forged */
    assert_int_equal(vote_raw(f, &v, STRANGER, NOW, &m, &err), EMAC_UNAUTHORIZED);
    assert_int_equal(say(f, (struct said){STRANGER, GIB, "a", NOW, false}, &m, &err),
                     EMAC_FORBIDDEN);
    emac_strcpy(v.network, sizeof v.network, "other");
    assert_int_equal(vote_raw(f, &v, 0, NOW, &m, &err), EMAC_FORBIDDEN);
    v = vote_of(f, &plain);
    assert_int_equal(vote_raw(f, &v, 0, NOW + DATACAP_MOTION_MS, &m, &err), EMAC_INVALID);
    /* A motion closes 30 days after its first vote, whatever comes then. */
    OK(say(f, plain, &m, &err));
    struct said late = {1, GIB, "a", NOW + DATACAP_MOTION_MS, false};
    assert_int_equal(say(f, late, &m, &err), EMAC_CONFLICT);
    assert_non_null(strstr(err.text, "closed"));
    /* A notary who lost his office no longer counts. */
    OK(say(f, (struct said){0, GIB, "c", NOW, false}, &m, &err));
    emac_strcpy(f->rules.notary[0], DID_KEY_MAX, f->who[STRANGER].did);
    OK(say(f, (struct said){1, GIB, "c", NOW, false}, &m, &err));
    assert_int_equal(m.outcome, DATACAP_OPEN);
    OK(say(f, (struct said){2, GIB, "c", NOW, false}, &m, &err));
    assert_int_equal(m.outcome, DATACAP_PASSED);
}

static void test_removal(void **state)
{
    struct datacap_fixture *f = *state;
    struct datacap_motion_row m;
    struct emac_err err;
    char id[CID_TEXT_MAX];
    OK(say(f, (struct said){0, GIB, "a", NOW, false}, &m, &err));
    OK(say(f, (struct said){1, GIB, "a", NOW, false}, &m, &err));
    memcpy(id, m.id, sizeof id);
    assert_int_equal(say(f, (struct said){0, 1, "nothing", NOW, true}, &m, &err), EMAC_NOT_FOUND);
    OK(say(f, (struct said){0, 1, id, NOW, true}, &m, &err));
    assert_int_equal(m.outcome, DATACAP_OPEN); /* one notary alone takes nothing */
    OK(say(f, (struct said){2, 1, id, NOW, true}, &m, &err));
    assert_int_equal(m.outcome, DATACAP_PASSED);
    assert_true(m.bytes == GIB && units_of(f, "bytes:burnt") == GIB);
    struct datacap_vote v = vote_of(f, &(struct said){1, 1, id, NOW, true});
    emac_strcpy(v.client, sizeof v.client, f->who[STRANGER].did);
    assert_int_equal(vote_raw(f, &v, 1, NOW, &m, &err), EMAC_CONFLICT);
}

static void each_motion(void *ctx, const struct datacap_motion_row *m)
{
    assert_true(m->votes > 0);
    ++*(int *)ctx;
}

static void test_motions(void **state)
{
    struct datacap_fixture *f = *state;
    struct datacap_motion_row m;
    int n = 0;
    OK(say(f, (struct said){0, GIB, "a", NOW, false}, &m, NULL));
    OK(say(f, (struct said){0, GIB, "b", NOW + 1, false}, &m, NULL));
    OK(datacap_book_motions(&f->book, 10, NOW, each_motion, &n, NULL));
    assert_int_equal(n, 2);
}

/* ---- epochs ---- */

static struct datacap_proof proof(struct datacap_fixture *f, const char *deal, uint32_t replica,
                                  int rig, uint64_t bytes)
{
    struct datacap_proof p = {.replica = replica, .bytes = bytes};
    emac_strcpy(p.deal, sizeof p.deal, deal);
    emac_strcpy(p.client, sizeof p.client, f->who[CLIENT].did);
    emac_strcpy(p.node, sizeof p.node, f->who[rig].did);
    return p;
}

static enum emac_status close_epoch(struct datacap_fixture *f, uint64_t number,
                                    struct datacap_proof *p, size_t n, struct datacap_epoch *e,
                                    struct emac_err *err)
{
    OK(db_begin(f->db, NULL));
    enum emac_status st = datacap_book_epoch(&f->book, number, p, n, NOW + number, e, err);
    if (st == EMAC_OK)
        OK(db_commit(f->db, NULL));
    else
        db_rollback(f->db);
    return st;
}

static void fund(struct datacap_fixture *f, int64_t units)
{
    OK(db_begin(f->db, NULL));
    money(f, "faucet", f->who[FUNDER].user, units);
    OK(db_commit(f->db, NULL));
}

static void allow(struct datacap_fixture *f, const char *deal, int64_t bytes)
{
    struct allowance a = {.granted = 100 * GIB, .granted_ms = 1, .expires_ms = NOW + 1000000};
    emac_strcpy(a.id, sizeof a.id, "g");
    emac_strcpy(a.client, sizeof a.client, f->who[CLIENT].did);
    OK(db_begin(f->db, NULL));
    OK(allowance_grant(f->db, &a, NULL, NULL));
    OK(allowance_bind(f->db, a.client, deal, bytes, NOW, NULL));
    OK(db_commit(f->db, NULL));
}

/* DCB-1, DCB-2: 0.001 EMAC a weighted GiB; ten times for 3 of a deal's 4 GiB, for 4 epochs. */
static void test_epochs(void **state)
{
    struct datacap_fixture *f = *state;
    struct datacap_epoch e;
    struct emac_err err;
    fund(f, 10 * LEDGER_UNITS_PER_EMAC);
    allow(f, "d1", 3 * GIB);
    struct datacap_proof p[] = {proof(f, "d2", 0, RIG + 1, GIB), proof(f, "d1", 1, RIG, 2 * GIB),
                                proof(f, "d1", 0, RIG, 2 * GIB)};
    OK(close_epoch(f, 5, p, 3, &e, &err));
    assert_true(e.fresh && e.weighted == (uint64_t)(32 * GIB)); /* 4 + 9 * 3 + 1 */
    assert_int_equal(e.taken_units, 32 * 1000000);
    assert_int_equal(units_of(f, f->who[RIG].rig), 31 * 1000000);
    assert_int_equal(units_of(f, f->who[RIG + 1].rig), 1000000);
    OK(close_epoch(f, 5, p, 3, &e, &err));
    assert_false(e.fresh);
    assert_int_equal(units_of(f, f->who[RIG].rig), 31 * 1000000);
    assert_int_equal(close_epoch(f, 4, p, 3, &e, &err), EMAC_CONFLICT);
    for (uint64_t n = 6; n < 9; n++)
        OK(close_epoch(f, n, p, 3, &e, &err));
    assert_true(e.weighted == (uint64_t)(32 * GIB));
    OK(close_epoch(f, 9, p, 3, &e, &err)); /* the term is over */
    assert_true(e.weighted == (uint64_t)(5 * GIB));
    OK(close_epoch(f, 10, NULL, 0, &e, &err));
    assert_int_equal(e.taken_units, 0);
    OK(db_begin(f->db, NULL));
    OK(datacap_book_end(&f->book, "d1", NOW, NULL));
    OK(datacap_book_end(&f->book, "d2", NOW, NULL));
    OK(db_commit(f->db, NULL));
    assert_true(units_of(f, "bytes:burnt") == 3 * GIB); /* it counted: nothing comes back */
}

static void test_bad_proofs(void **state)
{
    struct datacap_fixture *f = *state;
    struct datacap_epoch e;
    struct emac_err err;
    fund(f, 1000);
    struct datacap_proof twice[] = {proof(f, "d", 0, RIG, 1), proof(f, "d", 0, RIG, 1)};
    assert_int_equal(close_epoch(f, 1, twice, 2, &e, &err), EMAC_INVALID);
    struct datacap_proof large = proof(f, "d", 0, RIG, UINT64_MAX);
    assert_int_equal(close_epoch(f, 1, &large, 1, &e, &err), EMAC_INVALID);
    struct datacap_proof nobody = proof(f, "d", 0, RIG, 1);
    nobody.node[0] = 'x';
    assert_int_equal(close_epoch(f, 1, &nobody, 1, &e, &err), EMAC_INVALID);
    assert_int_equal(close_epoch(f, UINT64_MAX, NULL, 0, &e, &err), EMAC_INVALID);
    assert_int_equal(units_of(f, f->who[FUNDER].user), 1000);
    /* More replicas than a posting has entries, and less money than they are worth. */
    struct datacap_proof many[40];
    for (uint32_t i = 0; i < 40; i++)
        many[i] = proof(f, "d", i, RIG, (uint64_t)GIB * (i + 1));
    OK(close_epoch(f, 1, many, 40, &e, &err));
    assert_int_equal(e.taken_units, 1000);
    assert_int_equal(units_of(f, f->who[RIG].rig) + units_of(f, "fee"), 1000);
    assert_true(units_of(f, "fee") < 40);
    OK(close_epoch(f, 2, many, 40, &e, &err)); /* nothing is left */
    assert_int_equal(e.taken_units, 0);
}

/* A deal that its client's wallet named to the chain's registry. */
static void test_registered_deal(void **state)
{
    struct datacap_fixture *f = *state;
    struct datacap_epoch e;
    char name[CHAIN_ALLOWANCE_MAX];
    struct allowance a = {
        .id = "0x01", .origin = ALLOWANCE_CHAIN, .granted = GIB, .granted_ms = 1, .expires_ms = 2};
    emac_strcpy(a.client, sizeof a.client, f->who[CLIENT].did);
    chain_deal_name(name, "d1");
    OK(db_begin(f->db, NULL));
    OK(allowance_grant(f->db, &a, NULL, NULL));
    OK(allowance_bind_one(f->db, "0x01", name, GIB, NOW, NULL));
    OK(db_commit(f->db, NULL));
    struct datacap_proof p = proof(f, "d1", 0, RIG, 2 * GIB);
    emac_strcpy(p.client, sizeof p.client, f->who[STRANGER].did);
    OK(close_epoch(f, 0, &p, 1, &e, NULL));
    assert_true(e.weighted == (uint64_t)(2 * GIB)); /* an allowance cannot be moved (CAP-2) */
    emac_strcpy(p.client, sizeof p.client, f->who[CLIENT].did);
    OK(close_epoch(f, 1, &p, 1, &e, NULL));
    assert_true(e.weighted == (uint64_t)(11 * GIB));
    OK(db_begin(f->db, NULL));
    OK(datacap_book_end(&f->book, "d1", NOW, NULL));
    OK(db_commit(f->db, NULL));
    assert_true(units_of(f, "bytes:burnt") == GIB);
}

/* A deal that was never proven gives its bytes back. */
static void test_unused_deal(void **state)
{
    struct datacap_fixture *f = *state;
    struct allowance a;
    allow(f, "d1", 3 * GIB);
    OK(db_begin(f->db, NULL));
    OK(datacap_book_end(&f->book, "d1", NOW, NULL));
    OK(db_commit(f->db, NULL));
    OK(allowance_get(f->db, "g", &a, NULL));
    assert_true(a.left == 100 * GIB && a.burnt == 0);
}

/* DCB-3, DC-5 */
static void use(struct datacap_fixture *f, const char *job, int owner, int64_t checked)
{
    struct datacap_job j = {job, "asset", f->who[CLIENT].did, f->who[owner].did, checked};
    OK(db_begin(f->db, NULL));
    OK(datacap_book_use(&f->book, &j, NOW, NULL));
    OK(db_commit(f->db, NULL));
}

static void test_growth(void **state)
{
    struct datacap_fixture *f = *state;
    struct datacap_epoch e;
    struct emac_err err;
    char id[ALLOWANCE_ID_MAX];
    struct allowance a;
    /* A GiB costs 5/4 * 9 * 0.001 * 4 = 0.045 EMAC of fees: 2.25 of payments at 2 %. */
    use(f, "own", CLIENT, 100 * LEDGER_UNITS_PER_EMAC); /* the owner's use is none */
    use(f, "dust", USER, 49);                           /* nor what leaves no fee */
    use(f, "j1", USER, 750000000);
    use(f, "j2", USER + 1, 750000000);
    OK(close_epoch(f, 0, NULL, 0, &e, &err));
    assert_int_equal(e.grown_bytes, 0); /* two owners */
    use(f, "j3", USER + 2, 750000000);
    OK(close_epoch(f, 1, NULL, 0, &e, &err));
    assert_true(e.grown_bytes == GIB);
    snprintf(id, sizeof id, "use:1:%s", f->who[CLIENT].did);
    OK(allowance_get(f->db, id, &a, &err));
    assert_int_equal(a.origin, ALLOWANCE_USE);
    OK(close_epoch(f, 2, NULL, 0, &e, &err));
    assert_int_equal(e.grown_bytes, 0); /* counted once */
    /* What waits longer than the window lapses. */
    use(f, "j4", USER, 750000000);
    for (uint64_t n = 3; n < 7; n++)
        OK(close_epoch(f, n, NULL, 0, &e, &err));
    use(f, "j5", USER + 1, 750000000);
    use(f, "j6", USER + 2, 750000000);
    OK(close_epoch(f, 7, NULL, 0, &e, &err));
    assert_int_equal(e.grown_bytes, 0);
    /* A job is noted once. */
    struct datacap_job j = {"j5", "asset", f->who[CLIENT].did, f->who[USER].did, 1000};
    OK(db_begin(f->db, NULL));
    assert_int_equal(datacap_book_use(&f->book, &j, NOW, &err), EMAC_CONFLICT);
    db_rollback(f->db);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_quorum, setup, teardown),
        cmocka_unit_test_setup_teardown(test_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(test_removal, setup, teardown),
        cmocka_unit_test_setup_teardown(test_motions, setup, teardown),
        cmocka_unit_test_setup_teardown(test_epochs, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bad_proofs, setup, teardown),
        cmocka_unit_test_setup_teardown(test_registered_deal, setup, teardown),
        cmocka_unit_test_setup_teardown(test_unused_deal, setup, teardown),
        cmocka_unit_test_setup_teardown(test_growth, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
