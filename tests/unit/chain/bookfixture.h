/* A ledger that follows a chain, for tests: in memory where there is some, since thousands of
 * durable commits take long on a disk. */
#ifndef EMAC_TEST_CHAIN_BOOKFIXTURE_H
#define EMAC_TEST_CHAIN_BOOKFIXTURE_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/assert.h"
#include "chain/book.h"

#define OK(call) assert_int_equal(call, EMAC_OK)

struct book_fixture {
    struct chain_book book;
    struct chain_cursor start;
    char dir[64], path[96];
};

static inline void book_fixture_open(struct book_fixture *f)
{
    struct db_migration all[16];
    size_t n = 0;
    for (size_t i = 0; i < LEDGER_MIGRATION_COUNT; i++)
        all[n++] = LEDGER_MIGRATIONS[i];
    for (size_t i = 0; i < CHAIN_MIGRATION_COUNT; i++)
        all[n++] = CHAIN_MIGRATIONS[i];
    OK(db_open(f->path, &f->book.db, NULL));
    OK(db_migrate(f->book.db, all, n, NULL));
    OK(chain_book_open(&f->book, &f->start, NULL));
}

/* f->start and f->book.address are the caller's. */
static inline void book_fixture_init(struct book_fixture *f, uint64_t chain_id)
{
    snprintf(f->dir, sizeof(f->dir), "%s/emac-test-chain-XXXXXX",
             access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    assert_non_null(mkdtemp(f->dir));
    snprintf(f->path, sizeof(f->path), "%s/x.db", f->dir);
    f->book.chain_id = chain_id;
    book_fixture_open(f);
}

static inline void book_fixture_release(struct book_fixture *f)
{
    static const char *const SUFFIX[] = {"", "-wal", "-shm", ".lock"};
    db_close(f->book.db);
    for (size_t i = 0; i < EMAC_COUNT(SUFFIX); i++) {
        char path[128];
        snprintf(path, sizeof(path), "%s%s", f->path, SUFFIX[i]);
        unlink(path);
    }
    assert_int_equal(rmdir(f->dir), 0);
}

static inline int64_t book_balance(struct book_fixture *f, const char *account)
{
    int64_t units = -1;
    OK(ledger_balance(f->book.db, account, &units, NULL));
    return units;
}

static inline bool book_sound(struct book_fixture *f)
{
    struct ledger_audit a;
    OK(ledger_audit(f->book.db, &a, NULL));
    bool sound = a.broken == 0;
    emac_buf_release(&a.report);
    return sound;
}

#endif
