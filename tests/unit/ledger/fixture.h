/* A ledger in a folder of its own, for the tests of this module. */
#ifndef EMAC_TEST_LEDGER_FIXTURE_H
#define EMAC_TEST_LEDGER_FIXTURE_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ledger/ledger.h"

#define OK(call) assert_int_equal(call, EMAC_OK)

struct fixture {
    char dir[64], path[96];
    struct db *db;
};

static inline void fixture_open(struct fixture *f)
{
    struct emac_err err = {0};
    enum emac_status st = db_open(f->path, &f->db, &err);
    if (st == EMAC_OK)
        st = db_migrate(f->db, LEDGER_MIGRATIONS, LEDGER_MIGRATION_COUNT, &err);
    if (st != EMAC_OK)
        print_message("%s\n", err.text);
    assert_int_equal(st, EMAC_OK);
}

static inline int setup_in(const char *parent, void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    snprintf(f->dir, sizeof f->dir, "%s/emac-test-ledger-XXXXXX", parent);
    assert_non_null(mkdtemp(f->dir));
    snprintf(f->path, sizeof f->path, "%s/x.db", f->dir);
    fixture_open(f);
    *state = f;
    return 0;
}

static inline int setup(void **state)
{
    return setup_in("/tmp", state);
}

static inline int teardown(void **state)
{
    struct fixture *f = *state;
    static const char *const SUFFIX[] = {"", "-wal", "-shm", ".lock"};
    db_close(f->db);
    for (size_t i = 0; i < 4; i++) {
        char path[128];
        snprintf(path, sizeof path, "%s%s", f->path, SUFFIX[i]);
        unlink(path);
    }
    assert_int_equal(rmdir(f->dir), 0);
    free(f);
    return 0;
}

/* Leaves the entries as they are: there are none yet. */
static inline void posting_init(struct ledger_posting *p, const char *key, const char *cause)
{
    p->key = key;
    p->cause = cause;
    p->job = p->detail = "";
    p->at_ms = 1700000000000;
    p->count = 0;
}

static inline struct ledger_posting posting(const char *key, const char *cause)
{
    return (struct ledger_posting){
        .key = key, .cause = cause, .job = "", .detail = "", .at_ms = 1700000000000};
}

/* from -> to in a transaction of its own */
static inline enum emac_status move(struct db *db, const char *key, const char *from,
                                    const char *to, int64_t units, struct emac_err *err)
{
    bool posted;
    struct ledger_posting p = posting(key, "pay");
    ledger_entry_add(&p, -units, "%s", from);
    ledger_entry_add(&p, units, "%s", to);
    OK(db_begin(db, NULL));
    enum emac_status st = ledger_post(db, &p, &posted, err);
    if (st == EMAC_OK)
        OK(db_commit(db, NULL));
    else
        db_rollback(db);
    return st;
}

static inline int64_t balance(struct db *db, const char *account)
{
    int64_t v = -1;
    OK(ledger_balance(db, account, &v, NULL));
    return v;
}

static inline void audit_is_sound(struct db *db, int64_t postings)
{
    struct ledger_audit a;
    OK(ledger_audit(db, &a, NULL));
    if (a.broken != 0)
        print_message("%s", emac_buf_str(&a.report));
    assert_int_equal(a.broken, 0);
    assert_true(a.total_units == 0);
    if (postings >= 0)
        assert_true(a.postings == postings);
    emac_buf_release(&a.report);
}

#endif
