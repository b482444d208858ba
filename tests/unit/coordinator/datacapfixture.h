/* A ledger with the tables of data of value, and people, for tests without a coordinator. In memory
 * where there is some: what is tested here is not durability. */
#ifndef EMAC_TEST_COORDINATOR_DATACAPFIXTURE_H
#define EMAC_TEST_COORDINATOR_DATACAPFIXTURE_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/assert.h"
#include "coordinator/storage/datacap_book.h"
#include "coordinator/internal.h"

#define OK(call) assert_int_equal(call, EMAC_OK)
#define PEOPLE   24

struct person {
    char did[DID_KEY_MAX], user[LEDGER_ACCOUNT_MAX], rig[LEDGER_ACCOUNT_MAX];
    uint8_t secret[ED25519_SECRET_BYTES];
};

struct datacap_fixture {
    char dir[64], path[96];
    struct db *db;
    struct datacap_rules rules;
    struct datacap_book book;
    struct person who[PEOPLE];
    uint64_t keys;
};

static inline void datacap_fixture_init(struct datacap_fixture *f)
{
    *f = (struct datacap_fixture){.keys = 0};
    snprintf(f->dir, sizeof f->dir, "%s/emac-test-datacap-XXXXXX",
             access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    assert_non_null(mkdtemp(f->dir));
    snprintf(f->path, sizeof f->path, "%s/x.db", f->dir);
    OK(db_open(f->path, &f->db, NULL));
    OK(coordinator_migrate(f->db, NULL));
    f->book = (struct datacap_book){f->db, &f->rules};
    for (uint8_t i = 0; i < PEOPLE; i++) {
        struct person *p = &f->who[i];
        uint8_t key[ED25519_PUBLIC_BYTES], seed[ED25519_SEED_BYTES] = {i, 9};
        crypto_ed25519_keypair(key, p->secret, seed);
        crypto_did_key(p->did, key);
        snprintf(p->user, sizeof p->user, "user:%s", p->did);
        snprintf(p->rig, sizeof p->rig, "rig:%s", p->did);
    }
    f->rules = (struct datacap_rules){.network = "n",
                                      .notary_count = 3,
                                      .quorum = 2,
                                      .lifetime_ms = 1000000,
                                      .term_epochs = 4,
                                      .fee_ppm = 20000,
                                      .owners = 3,
                                      .window_epochs = 3,
                                      .pool_units = 10 * LEDGER_UNITS_PER_EMAC,
                                      .rate_units = 1000000};
    for (int i = 0; i < 3; i++)
        emac_strcpy(f->rules.notary[i], DID_KEY_MAX, f->who[i].did);
    emac_strcpy(f->rules.funder, DID_KEY_MAX, f->who[3].did);
}

static inline void datacap_fixture_release(struct datacap_fixture *f)
{
    static const char *const SUFFIX[] = {"", "-wal", "-shm", ".lock"};
    db_close(f->db);
    for (size_t i = 0; i < EMAC_COUNT(SUFFIX); i++) {
        char path[128];
        snprintf(path, sizeof path, "%s%s", f->path, SUFFIX[i]);
        unlink(path);
    }
    assert_int_equal(rmdir(f->dir), 0);
}

static inline int64_t units_of(struct datacap_fixture *f, const char *account)
{
    int64_t v = -1;
    OK(ledger_balance(f->db, account, &v, NULL));
    return v;
}

/* In the caller's transaction. */
static inline void money(struct datacap_fixture *f, const char *from, const char *to, int64_t units)
{
    char key[32];
    struct ledger_posting p = {.key = key, .cause = "pay", .job = "", .detail = ""};
    snprintf(key, sizeof key, "money:%llu", (unsigned long long)++f->keys);
    ledger_entry_add(&p, -units, "%s", from);
    ledger_entry_add(&p, units, "%s", to);
    OK(ledger_post(f->db, &p, NULL, NULL));
}

/* Ledger and allowances are sound. */
static inline bool datacap_sound(struct datacap_fixture *f)
{
    struct ledger_audit a;
    OK(ledger_audit(f->db, &a, NULL));
    OK(allowance_audit(f->db, &a.report, &a.broken, NULL));
    if (a.broken > 0)
        print_message("%s", emac_buf_str(&a.report));
    emac_buf_release(&a.report);
    return a.broken == 0;
}

#endif
