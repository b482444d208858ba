/* Transfers through the ledger, each batch durable before the next begins, or with --ahead before
 * the next is durable: it is prepared while the disk works.
 *
 *   bench_ledger [--dir DIR] [--single] [--ahead] TRANSFERS BATCH
 *
 * Prints one line: transfers a second on the wall, transfers a second of this program's own
 * processor time (what a machine does that nobody else uses), and bytes of database a transfer. A
 * transfer is a posting of two entries between accounts that follow no order, with a key of a
 * payment's length. --single posts one by one (ledger_post) instead of by ledger_batch. */
#include <semaphore.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/philox.h"
#include "bench.h"
#include "ledger/ledger.h"
#include "os/thread.h"

#define ACCOUNTS 1000
#define START    INT64_C(1000000000000)

static void must(enum emac_status st, const struct emac_err *err)
{
    if (st == EMAC_OK)
        return;
    fprintf(stderr, "%s\n", err->text);
    exit(1);
}

static uint64_t draw(uint32_t what, uint64_t n, uint64_t bound)
{
    return philox_below(1, PHILOX_TEST, what, n, bound);
}

static void posting_make(struct ledger_posting *p, char key[LEDGER_TEXT_MAX], uint64_t n)
{
    unsigned from = (unsigned)draw(0, n, ACCOUNTS);
    unsigned to = (from + 1 + (unsigned)draw(1, n, ACCOUNTS - 1)) % ACCOUNTS;
    int64_t units = 1 + (int64_t)draw(2, n, 1000);
    snprintf(key, LEDGER_TEXT_MAX, "pay:j-0001:bafyrei%016llx%016llx%016llx:did%u",
             (unsigned long long)(n * UINT64_C(0x9e3779b97f4a7c15)), (unsigned long long)n,
             (unsigned long long)(n * UINT64_C(0xc2b2ae3d27d4eb4f)), from);
    *p = (struct ledger_posting){.key = key, .cause = "pay", .job = "j-0001", .detail = ""};
    p->at_ms = UINT64_C(1700000000000) + n;
    ledger_entry_add(p, -units, "user:did:key:z6Mk%040u", from);
    ledger_entry_add(p, units, "user:did:key:z6Mk%040u", to);
}

/* Everybody has enough. */
static void open_accounts(struct db *db)
{
    struct emac_err err;
    must(db_begin(db, &err), &err);
    for (unsigned i = 0; i < ACCOUNTS; i++) {
        char key[32];
        snprintf(key, sizeof key, "start:%u", i);
        struct ledger_posting p = {.key = key, .cause = "faucet", .job = "", .detail = ""};
        ledger_entry_add(&p, -START, "faucet");
        ledger_entry_add(&p, START, "user:did:key:z6Mk%040u", i);
        must(ledger_post(db, &p, NULL, &err), &err);
    }
    must(db_commit(db, &err), &err);
}

/* ---- ahead: one batch waits for the disk, one is prepared ---- */

static struct {
    struct db *db;
    sem_t committed, durable;
    bool over;
} ahead;

static void *ahead_main(void *arg)
{
    struct emac_err err;
    (void)arg;
    for (;;) {
        sem_wait(&ahead.committed);
        if (ahead.over)
            return NULL;
        must(db_sync(ahead.db, &err), &err);
        sem_post(&ahead.durable);
    }
}

static void ahead_commit(struct db *db)
{
    struct emac_err err;
    must(db_commit_soon(db, &err), &err);
    sem_wait(&ahead.durable); /* the one before */
    sem_post(&ahead.committed);
}

static void ahead_start(struct db *db, struct os_thread *thread)
{
    ahead.db = db;
    EMAC_ASSERT(sem_init(&ahead.committed, 0, 0) == 0 && sem_init(&ahead.durable, 0, 1) == 0);
    os_thread_start(thread, ahead_main, NULL);
}

static void ahead_end(struct os_thread *thread)
{
    sem_wait(&ahead.durable); /* the last one */
    ahead.over = true;
    sem_post(&ahead.committed);
    os_thread_join(thread);
}

static void one_batch(struct db *db, uint64_t first, uint64_t count, bool single)
{
    struct emac_err err;
    struct ledger_batch *b = NULL;
    must(db_begin(db, &err), &err);
    if (!single)
        must(ledger_batch_start(db, &b, &err), &err);
    for (uint64_t n = first; n < first + count; n++) {
        char key[LEDGER_TEXT_MAX];
        struct ledger_posting p;
        bool posted;
        posting_make(&p, key, n);
        must(single ? ledger_post(db, &p, &posted, &err) : ledger_batch_post(b, &p, &posted, &err),
             &err);
        EMAC_ASSERT(posted);
    }
    if (!single)
        must(ledger_batch_end(b, &err), &err);
    ledger_batch_free(b);
    if (ahead.db != NULL)
        ahead_commit(db);
    else
        must(db_commit(db, &err), &err);
}

static double own_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

int main(int argc, char **argv)
{
    const char *parent = "/tmp";
    bool single = false, early = false;
    struct db *db;
    struct os_thread thread;
    struct emac_err err;
    char dir[200], path[220], cmd[260];
    for (; argc > 1 && argv[1][0] == '-'; argc--, argv++) {
        if (strcmp(argv[1], "--single") == 0) {
            single = true;
        } else if (strcmp(argv[1], "--ahead") == 0) {
            early = true;
        } else if (argc > 2) {
            parent = argv[2];
            argc--, argv++;
        }
    }
    if (argc != 3) {
        fprintf(stderr, "usage: bench_ledger [--dir DIR] [--single] [--ahead] TRANSFERS BATCH\n");
        return 2;
    }
    uint64_t total = strtoull(argv[1], NULL, 10), batch = strtoull(argv[2], NULL, 10);
    snprintf(dir, sizeof dir, "%s/emac-bench-ledger-XXXXXX", parent);
    EMAC_ASSERT(mkdtemp(dir) != NULL && batch > 0);
    snprintf(path, sizeof path, "%s/x.db", dir);
    must(db_open(path, &db, &err), &err);
    must(db_migrate(db, LEDGER_MIGRATIONS, LEDGER_MIGRATION_COUNT, &err), &err);
    open_accounts(db);
    double wall = bench_seconds(), own = own_seconds();
    if (early)
        ahead_start(db, &thread);
    for (uint64_t n = 0; n < total; n += batch)
        one_batch(db, n, n + batch < total ? batch : total - n, single);
    if (early)
        ahead_end(&thread);
    wall = bench_seconds() - wall;
    own = own_seconds() - own;
    db_close(db);
    uint64_t bytes = 0;
    must(os_real()->file_size(os_real(), path, &bytes, &err), &err);
    printf("%.0f %.0f %.0f\n", (double)total / wall, (double)total / own,
           (double)bytes / (double)total);
    snprintf(cmd, sizeof cmd, "rm -r '%s'", dir);
    return system(cmd) == 0 ? 0 : 1;
}
