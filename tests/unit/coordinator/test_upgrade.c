/* A database of before migrations 116 and 117 goes on: its rows say, and may say, what they did,
 * and receipts are of the step of their task. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>
#include <stdlib.h>
#include <unistd.h>

#include "chain/book.h"
#include "coordinator/internal.h"

static struct emac_err err;

#define assert_ok(call)                                                                            \
    do {                                                                                           \
        if ((call) != EMAC_OK)                                                                     \
            fail_msg("%s", err.text);                                                              \
    } while (0)

static char dir[] = "/tmp/emac-test-upgrade-XXXXXX", path[64];

static struct db *opened(void)
{
    struct db *db;
    snprintf(path, sizeof path, "%s/coordinator.db", dir);
    assert_ok(db_open(path, &db, &err));
    return db;
}

/* All that there were before the one of that name. */
static void migrate_before(struct db *db, const char *name)
{
    struct db_migration all[MIGRATIONS_MAX];
    size_t n = 0;
    for (size_t i = 0; i < LEDGER_MIGRATION_COUNT; i++)
        all[n++] = LEDGER_MIGRATIONS[i];
    for (size_t i = 0; i < CHAIN_MIGRATION_COUNT; i++)
        all[n++] = CHAIN_MIGRATIONS[i];
    for (size_t i = 0; strcmp(COORDINATOR_MIGRATIONS[i].name, name) != 0; i++)
        all[n++] = COORDINATOR_MIGRATIONS[i];
    assert_ok(db_migrate(db, all, n, &err));
}

static const char *const TASK[] = {"open", "accepted", "disputed", "withdrawn"};
static const char *const LEASE[] = {"open", "done", "expired", "failed", "cancelled"};
static const char *const ROLE[] = {"work", "check", "referee", "work", "check"};
static const char *const RECEIPT[] = {"unpaid", "held", "settled", "void"};

static enum emac_status task_insert(struct db *db, const char *cid, const char *state)
{
    return db_exec(db, &err,
                   "INSERT INTO tasks (job, cid, slot, kind, step, first, count, base, flops,"
                   " units, object, state, outputs, need, loss, created_ms, accepted_ms)"
                   " VALUES ('job', ?, 'slot', 1, 7, 0, 1, '', 1, 1, 'x', ?, '', 1, -1, 1, 0)",
                   "tt", cid, state);
}

static enum emac_status lease_insert(struct db *db, const char *id, const char *role,
                                     const char *state)
{
    return db_exec(db, &err,
                   "INSERT INTO leases (id, job, task, node, role, units, state, granted_ms,"
                   " deadline_ms, expected_ms, ended_ms)"
                   " VALUES (?, 'job', 'open', 'rig', ?, 1, ?, 1, 1, 1, 0)",
                   "ttt", id, role, state);
}

static enum emac_status receipt_insert(struct db *db, const char *node, const char *state)
{
    return db_exec(db, &err,
                   "INSERT INTO receipts (job, task, node, lease, outputs, object, signature,"
                   " units, state, at_ms) VALUES ('job', 'open', ?, 'l', '', 'x', 'x', 1, ?, 1)",
                   "tt", node, state);
}

static enum emac_status stepped_insert(struct db *db, const char *node, const char *state)
{
    return db_exec(db, &err,
                   "INSERT INTO receipts (job, step, task, node, lease, outputs, object, signature,"
                   " units, at_ms, loss, accuracy, cid, state)"
                   " VALUES ('job', 7, 'open', ?, 'l', '', 'x', 'x', 1, 1, -1, -1, '', ?)",
                   "tt", node, state);
}

static void rows_insert(struct db *db)
{
    assert_ok(db_exec(db, &err,
                      "INSERT INTO jobs (id, cid, seq, owner, name, object, state, reason,"
                      " created_ms, ended_ms, escrow_units, step, steps, loss, score, params,"
                      " model, tasks, checked, mismatches, retries, lapsed, busy_us, bytes_moved)"
                      " VALUES ('job', 'c', 1, 'o', 'n', 'x', 'running', '', 1, 0, 1, 0, 1, -1,"
                      " -1, '', '', 0, 0, 0, 0, 0, 0, 0)",
                      ""));
    for (size_t i = 0; i < EMAC_COUNT(TASK); i++)
        assert_ok(task_insert(db, TASK[i], TASK[i]));
    for (size_t i = 0; i < EMAC_COUNT(LEASE); i++)
        assert_ok(lease_insert(db, LEASE[i], ROLE[i], LEASE[i]));
    for (size_t i = 0; i < EMAC_COUNT(RECEIPT); i++)
        assert_ok(receipt_insert(db, RECEIPT[i], RECEIPT[i]));
}

static int64_t counted(struct db *db, const char *sql)
{
    int64_t n;
    assert_ok(db_one_i64(db, &n, &err, sql, ""));
    return n;
}

static void test_rows_say_what_they_said(void **state)
{
    struct db *db = opened();
    migrate_before(db, "116_plain_checks");
    rows_insert(db);
    db_close(db);
    db = opened();
    assert_ok(coordinator_migrate(db, &err));
    assert_int_equal(counted(db, "SELECT COUNT(*) FROM tasks WHERE state = cid"), 4);
    assert_int_equal(counted(db, "SELECT COUNT(*) FROM leases WHERE state = id"), 5);
    assert_int_equal(counted(db, "SELECT COUNT(*) FROM receipts WHERE state = node AND step = 7"),
                     4);
    for (size_t i = 0; i < EMAC_COUNT(LEASE); i++) {
        int64_t same;
        assert_ok(db_one_i64(db, &same, &err,
                             "SELECT COUNT(*) FROM leases WHERE id = ? AND role = ?", "tt",
                             LEASE[i], ROLE[i]));
        assert_int_equal(same, 1);
    }
    assert_int_equal(counted(db, "SELECT COUNT(*) FROM leases INDEXED BY leases_open"
                                 " WHERE job = 'job' AND state = 'open'"),
                     1);
    db_close(db);
}

static void test_no_other_word_is_taken(void **state)
{
    struct db *db = opened();
    for (size_t i = 0; i < EMAC_COUNT(LEASE); i++) {
        char id[32];
        snprintf(id, sizeof id, "new %s", LEASE[i]);
        assert_ok(lease_insert(db, id, ROLE[i], LEASE[i]));
    }
    assert_int_equal(task_insert(db, "a", "done"), EMAC_CONFLICT);
    assert_int_equal(lease_insert(db, "a", "work", "accepted"), EMAC_CONFLICT);
    assert_int_equal(lease_insert(db, "a", "judge", "open"), EMAC_CONFLICT);
    assert_int_equal(stepped_insert(db, "a", "paid"), EMAC_CONFLICT);
    assert_ok(stepped_insert(db, "a", "held"));
    assert_int_equal(stepped_insert(db, "a", "held"), EMAC_CONFLICT); /* COORD-3 */
    assert_int_equal(db_exec(db, &err, "UPDATE tasks SET state = ''", ""), EMAC_CONFLICT);
    assert_int_equal(db_exec(db, &err, "UPDATE leases SET state = NULL", ""), EMAC_CONFLICT);
    assert_int_equal(db_exec(db, &err, "UPDATE receipts SET state = 'HELD'", ""), EMAC_CONFLICT);
    db_close(db);
}

static int setup(void **state)
{
    return mkdtemp(dir) == NULL;
}

static int teardown(void **state)
{
    static const char *const SUFFIX[] = {"", "-wal", "-shm", ".lock"};
    for (size_t i = 0; i < EMAC_COUNT(SUFFIX); i++) {
        char name[80];
        snprintf(name, sizeof name, "%s%s", path, SUFFIX[i]);
        unlink(name);
    }
    return rmdir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_rows_say_what_they_said),
                                       cmocka_unit_test(test_no_other_word_is_taken)};
    return cmocka_run_group_tests(tests, setup, teardown);
}
