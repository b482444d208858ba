/* The coordinator's tables. Accounts and postings are the ledger's. */
#include "chain/book.h"
#include "coordinator/checks/checks.h"
#include "coordinator/checks/disputes.h"
#include "coordinator/storage/datacap_book.h"
#include "coordinator/storage/deals.h"

static const char CREATE[] =
    "CREATE TABLE nodes ("
    " did TEXT PRIMARY KEY, name TEXT NOT NULL, url TEXT NOT NULL, version TEXT NOT NULL,"
    " isa TEXT NOT NULL, threads BIGINT NOT NULL, memory_bytes BIGINT NOT NULL,"
    " disk_bytes BIGINT NOT NULL, gflops DOUBLE PRECISION NOT NULL,"
    " state TEXT NOT NULL CHECK (state IN ('admitted', 'quarantined')), reason TEXT NOT NULL,"
    " created_ms BIGINT NOT NULL, seen_ms BIGINT NOT NULL);"

    "CREATE TABLE jobs ("
    " id TEXT PRIMARY KEY, cid TEXT NOT NULL UNIQUE, seq BIGINT NOT NULL UNIQUE,"
    " owner TEXT NOT NULL, name TEXT NOT NULL, object BLOB NOT NULL,"
    " state TEXT NOT NULL"
    "  CHECK (state IN ('running', 'paused', 'succeeded', 'failed', 'cancelled')),"
    " reason TEXT NOT NULL, created_ms BIGINT NOT NULL, ended_ms BIGINT NOT NULL,"
    " escrow_units BIGINT NOT NULL, step BIGINT NOT NULL, steps BIGINT NOT NULL,"
    " loss DOUBLE PRECISION NOT NULL, score DOUBLE PRECISION NOT NULL," /* < 0: none */
    " params TEXT NOT NULL, model TEXT NOT NULL,"                       /* '': none */
    " tasks BIGINT NOT NULL, checked BIGINT NOT NULL, mismatches BIGINT NOT NULL,"
    " retries BIGINT NOT NULL, lapsed BIGINT NOT NULL, busy_us BIGINT NOT NULL,"
    " bytes_moved BIGINT NOT NULL);"
    "CREATE INDEX jobs_by_name ON jobs (name, seq);"

    /* base: the parameters a task starts from ('' for init); lineage (COORD-5) is (step, base). */
    "CREATE TABLE tasks ("
    " job TEXT NOT NULL REFERENCES jobs (id), cid TEXT NOT NULL, slot TEXT NOT NULL,"
    " kind BIGINT NOT NULL, step BIGINT NOT NULL, first BIGINT NOT NULL, count BIGINT NOT NULL,"
    " base TEXT NOT NULL, flops BIGINT NOT NULL, units BIGINT NOT NULL, object BLOB NOT NULL,"
    " state TEXT NOT NULL CHECK (state IN ('open', 'accepted', 'disputed', 'withdrawn')),"
    " outputs TEXT NOT NULL, need BIGINT NOT NULL,"
    " loss DOUBLE PRECISION NOT NULL, created_ms BIGINT NOT NULL, accepted_ms BIGINT NOT NULL,"
    " PRIMARY KEY (job, cid));"
    "CREATE INDEX tasks_by_lineage ON tasks (job, step, base);"

    "CREATE TABLE leases ("
    " id TEXT PRIMARY KEY, job TEXT NOT NULL, task TEXT NOT NULL, node TEXT NOT NULL,"
    " role TEXT NOT NULL CHECK (role IN ('work', 'check', 'referee')), units BIGINT NOT NULL,"
    " state TEXT NOT NULL"
    "  CHECK (state IN ('open', 'done', 'expired', 'failed', 'cancelled')),"
    " granted_ms BIGINT NOT NULL, deadline_ms BIGINT NOT NULL, expected_ms BIGINT NOT NULL,"
    " ended_ms BIGINT NOT NULL,"
    " FOREIGN KEY (job, task) REFERENCES tasks (job, cid));"
    "CREATE INDEX leases_open ON leases (job) WHERE state = 'open';"

    /* One receipt a (task, rig): what is paid is paid once (COORD-3). */
    "CREATE TABLE receipts ("
    " job TEXT NOT NULL, task TEXT NOT NULL, node TEXT NOT NULL, lease TEXT NOT NULL,"
    " outputs TEXT NOT NULL, object BLOB NOT NULL, signature BLOB NOT NULL,"
    " units BIGINT NOT NULL,"
    " state TEXT NOT NULL CHECK (state IN ('unpaid', 'held', 'settled', 'void')),"
    " at_ms BIGINT NOT NULL,"
    " PRIMARY KEY (job, task, node),"
    " FOREIGN KEY (job, task) REFERENCES tasks (job, cid));"
    "CREATE INDEX receipts_by_node ON receipts (job, node);"

    "CREATE TABLE checkpoints ("
    " job TEXT NOT NULL REFERENCES jobs (id), step BIGINT NOT NULL, params TEXT NOT NULL,"
    " opt TEXT NOT NULL, model TEXT NOT NULL,"
    " state TEXT NOT NULL CHECK (state IN ('wanted', 'complete', 'old', 'stale')),"
    " PRIMARY KEY (job, step));"

    "CREATE TABLE logs ("
    " id BIGINT PRIMARY KEY, job TEXT NOT NULL, at_ms BIGINT NOT NULL, level TEXT NOT NULL,"
    " text TEXT NOT NULL);"
    "CREATE INDEX logs_by_job ON logs (job, id);";

/* Jobs on data sets are scored by accuracy beside the loss. */
static const char ACCURACY[] =
    "ALTER TABLE jobs ADD COLUMN accuracy DOUBLE PRECISION NOT NULL DEFAULT -1;" /* < 0: none */
    "ALTER TABLE tasks ADD COLUMN accuracy DOUBLE PRECISION NOT NULL DEFAULT -1;";

/* metrics.c; the second index is busy.c's. */
static const char METRICS[] =
    "CREATE TABLE metrics ("
    " id BIGINT PRIMARY KEY, job TEXT NOT NULL REFERENCES jobs (id), name TEXT NOT NULL,"
    " step BIGINT NOT NULL, value DOUBLE PRECISION NOT NULL, at_ms BIGINT NOT NULL,"
    " UNIQUE (job, name, step));"
    "CREATE INDEX metrics_by_job ON metrics (job, id);"
    "CREATE INDEX leases_by_end ON leases (job, ended_ms);";

/* A state is named values, of which there may be more than parameters and one optimiser state:
 * "name=cid name=cid". The columns params and opt are no longer used. */
static const char VALUES[] = "ALTER TABLE checkpoints ADD COLUMN kept TEXT NOT NULL DEFAULT '';"
                             "UPDATE checkpoints SET kept = 'opt=' || opt || ' params=' || params;";

/* assets.h */
static const char ASSETS[] =
    "CREATE TABLE assets ("
    " cid TEXT PRIMARY KEY, kind TEXT NOT NULL, name TEXT NOT NULL, owner TEXT NOT NULL,"
    " licence TEXT NOT NULL, object BLOB NOT NULL, signature BLOB NOT NULL,"
    " state TEXT NOT NULL CHECK (state IN ('active', 'revoked')), created_ms BIGINT NOT NULL,"
    " income BIGINT NOT NULL);"
    "CREATE TABLE asset_sales ("
    " asset TEXT NOT NULL REFERENCES assets (cid), buyer TEXT NOT NULL, licence TEXT NOT NULL,"
    " units BIGINT NOT NULL, at_ms BIGINT NOT NULL, PRIMARY KEY (asset, buyer));"
    "CREATE TABLE job_assets ("
    " job TEXT NOT NULL REFERENCES jobs (id), asset TEXT NOT NULL REFERENCES assets (cid),"
    " licence TEXT NOT NULL, train_units BIGINT NOT NULL, share_ppm BIGINT NOT NULL,"
    " reserve_units BIGINT NOT NULL, PRIMARY KEY (job, asset));"
    "CREATE INDEX jobs_by_model ON jobs (model, seq);";

/* What each receipt's metrics tell: a dispute may be decided for another than the last. */
static const char VOTES[] =
    "ALTER TABLE receipts ADD COLUMN loss DOUBLE PRECISION NOT NULL DEFAULT -1;" /* < 0: none */
    "ALTER TABLE receipts ADD COLUMN accuracy DOUBLE PRECISION NOT NULL DEFAULT -1;";

/* shares.c. */
static const char SHARES[] =
    "CREATE TABLE shares ("
    " job TEXT NOT NULL REFERENCES jobs (id), node TEXT NOT NULL, tasks BIGINT NOT NULL,"
    " computed_us BIGINT NOT NULL, sent BIGINT NOT NULL, received BIGINT NOT NULL,"
    " first_ms BIGINT NOT NULL, last_ms BIGINT NOT NULL, PRIMARY KEY (job, node));";

/* sweeps.h. A trial's `stopped` is the rung after which it did not go on, -1 as long as it does. */
static const char SWEEPS[] =
    "CREATE TABLE sweeps ("
    " id TEXT PRIMARY KEY, cid TEXT NOT NULL UNIQUE, seq BIGINT NOT NULL UNIQUE,"
    " owner TEXT NOT NULL, name TEXT NOT NULL, keep DOUBLE PRECISION NOT NULL,"
    " state TEXT NOT NULL CHECK (state IN ('running', 'succeeded', 'failed', 'cancelled')),"
    " rung BIGINT NOT NULL, winner TEXT NOT NULL, created_ms BIGINT NOT NULL,"
    " ended_ms BIGINT NOT NULL);"
    "CREATE TABLE sweep_rungs ("
    " sweep TEXT NOT NULL REFERENCES sweeps (id), rung BIGINT NOT NULL, step BIGINT NOT NULL,"
    " PRIMARY KEY (sweep, rung));"
    "CREATE TABLE trials ("
    " sweep TEXT NOT NULL REFERENCES sweeps (id), trial BIGINT NOT NULL,"
    " job TEXT NOT NULL UNIQUE REFERENCES jobs (id), label TEXT NOT NULL,"
    " stopped BIGINT NOT NULL, PRIMARY KEY (sweep, trial));"
    "CREATE TABLE sweep_scores ("
    " sweep TEXT NOT NULL REFERENCES sweeps (id), trial BIGINT NOT NULL, rung BIGINT NOT NULL,"
    " step BIGINT NOT NULL, loss DOUBLE PRECISION NOT NULL," /* step < 0: its last */
    " PRIMARY KEY (sweep, trial, rung));";

/* trust.h, bonds.h. A bond's `source` is the account it came from and goes back to; return_ms:
 * when, 0 as long as no notice is given. A job's settle_ms: when its dispute window closes, 0: it
 * is settled or not over. Who was quarantined before had lost to a majority. */
static const char STANDING[] =
    "ALTER TABLE nodes ADD COLUMN fault TEXT NOT NULL DEFAULT '';"
    "UPDATE nodes SET fault = 'outvoted' WHERE state = 'quarantined';"
    "ALTER TABLE jobs ADD COLUMN settle_ms BIGINT NOT NULL DEFAULT 0;"
    "CREATE INDEX jobs_to_settle ON jobs (settle_ms) WHERE settle_ms > 0;"
    "CREATE TABLE bonds ("
    " did TEXT NOT NULL, source TEXT NOT NULL, units BIGINT NOT NULL CHECK (units >= 0),"
    " put BIGINT NOT NULL, returned BIGINT NOT NULL, slashed BIGINT NOT NULL,"
    " return_ms BIGINT NOT NULL, PRIMARY KEY (did, source),"
    " CHECK (units = put - returned - slashed));"
    "CREATE INDEX bonds_to_return ON bonds (return_ms) WHERE return_ms > 0;"
    "CREATE TABLE slashes ("
    " proof TEXT NOT NULL, did TEXT NOT NULL, job TEXT NOT NULL, units BIGINT NOT NULL,"
    " why TEXT NOT NULL, at_ms BIGINT NOT NULL, PRIMARY KEY (proof, did));";

/* serving.h. `body` is the hash of the request's; `idem` is '' without an Idempotency-Key. */
static const char SERVING[] =
    "CREATE TABLE api_keys ("
    " id TEXT PRIMARY KEY, hash BLOB NOT NULL UNIQUE, did TEXT NOT NULL, name TEXT NOT NULL,"
    " purpose TEXT NOT NULL CHECK (purpose IN ('commercial', 'research')),"
    " state TEXT NOT NULL CHECK (state IN ('active', 'revoked')), limit_units BIGINT NOT NULL,"
    " spent_units BIGINT NOT NULL, requests BIGINT NOT NULL, prompt_tokens BIGINT NOT NULL,"
    " completion_tokens BIGINT NOT NULL, created_ms BIGINT NOT NULL, used_ms BIGINT NOT NULL,"
    " CHECK (spent_units >= 0 AND spent_units <= limit_units));"
    "CREATE INDEX api_keys_by_did ON api_keys (did, created_ms);"
    "CREATE TABLE serving ("
    " id TEXT PRIMARY KEY, key TEXT NOT NULL, did TEXT NOT NULL, model TEXT NOT NULL,"
    " idem TEXT NOT NULL, body BLOB NOT NULL,"
    " state TEXT NOT NULL CHECK (state IN ('open', 'settled', 'released')),"
    " reserved_units BIGINT NOT NULL, prompt_tokens BIGINT NOT NULL,"
    " completion_tokens BIGINT NOT NULL, rig TEXT NOT NULL, rig_units BIGINT NOT NULL,"
    " fee_units BIGINT NOT NULL, royalty_units BIGINT NOT NULL, at_ms BIGINT NOT NULL,"
    " ended_ms BIGINT NOT NULL);"
    "CREATE INDEX serving_open ON serving (key) WHERE state = 'open';"
    "CREATE INDEX serving_by_key ON serving (key, at_ms);"
    "CREATE UNIQUE INDEX serving_by_idem ON serving (did, idem) WHERE idem <> '';"
    "CREATE TABLE serving_answers ("
    " id TEXT PRIMARY KEY REFERENCES serving (id), text BLOB NOT NULL, finish TEXT NOT NULL,"
    " at_ms BIGINT NOT NULL);"
    "CREATE INDEX serving_answers_by_age ON serving_answers (at_ms);";

/* private.h */
static const char PRIVATE[] =
    "CREATE TABLE private_keys ("
    " asset TEXT PRIMARY KEY, owner TEXT NOT NULL, box BLOB NOT NULL,"
    " state TEXT NOT NULL CHECK (state IN ('granted', 'revoked')), at_ms BIGINT NOT NULL);"
    "CREATE INDEX private_keys_by_owner ON private_keys (owner);"
    "CREATE TABLE job_private ("
    " job TEXT NOT NULL REFERENCES jobs (id), asset TEXT NOT NULL, PRIMARY KEY (job, asset));";

/* private.h: data are read by the name of a task's input, weights by their own. */
static const char PRIVATE_MODELS[] =
    "ALTER TABLE job_private ADD COLUMN reads TEXT NOT NULL DEFAULT 'data'"
    " CHECK (reads IN ('data', 'model'));";

/* Expired because an idle rig began it first: its holder is told to drop it. */
static const char RECALLS[] = "ALTER TABLE leases ADD COLUMN recalled BIGINT NOT NULL DEFAULT 0;";

/* A receipt is asked for by its name; of those that are older than this it is made up from `object`
 * when it is shown. */
static const char RECEIPT_NAMES[] =
    "ALTER TABLE receipts ADD COLUMN cid TEXT NOT NULL DEFAULT '';"
    "CREATE INDEX receipts_by_cid ON receipts (cid) WHERE cid <> '';";

/* evaluations.c: '' of jobs that train, and until it is over. */
static const char EVALUATION[] = "ALTER TABLE jobs ADD COLUMN evaluation TEXT NOT NULL DEFAULT '';";

/* trust.h, costs.c: a bond may be less by what a fault of its rig cost, once for a rig. */
static const char FAULT_COSTS[] =
    "CREATE TABLE fault_costs ("
    " did TEXT PRIMARY KEY, job TEXT NOT NULL, task TEXT NOT NULL, cost_units BIGINT NOT NULL,"
    " held_units BIGINT NOT NULL, bond_units BIGINT NOT NULL, at_ms BIGINT NOT NULL);"
    "ALTER TABLE bonds RENAME TO bonds_before;"
    "DROP INDEX bonds_to_return;"
    "CREATE TABLE bonds ("
    " did TEXT NOT NULL, source TEXT NOT NULL, units BIGINT NOT NULL CHECK (units >= 0),"
    " put BIGINT NOT NULL, returned BIGINT NOT NULL, slashed BIGINT NOT NULL,"
    " costs BIGINT NOT NULL DEFAULT 0, return_ms BIGINT NOT NULL, PRIMARY KEY (did, source),"
    " CHECK (units = put - returned - slashed - costs));"
    "INSERT INTO bonds (did, source, units, put, returned, slashed, return_ms)"
    " SELECT did, source, units, put, returned, slashed, return_ms FROM bonds_before;"
    "DROP TABLE bonds_before;"
    "CREATE INDEX bonds_to_return ON bonds (return_ms) WHERE return_ms > 0;";

/* A lease comes into busy.c's index when it ends, not before; the open ones have their own. */
static const char LEASES_ENDED[] =
    "DROP INDEX leases_by_end;"
    "CREATE INDEX leases_by_end ON leases (job, ended_ms) WHERE ended_ms > 0;";

/* What IN says of more than two words, said by OR: for IN, SQLite makes a table of the words each
 * time it writes a row, and these rows are written for each task. */
static const char PLAIN_CHECKS[] =
    "ALTER TABLE tasks ADD COLUMN now TEXT NOT NULL DEFAULT 'open' CHECK (now = 'open'"
    "  OR now = 'accepted' OR now = 'disputed' OR now = 'withdrawn');"
    "UPDATE tasks SET now = state;"
    "ALTER TABLE tasks DROP COLUMN state;"
    "ALTER TABLE tasks RENAME COLUMN now TO state;"
    "DROP INDEX leases_open;"
    "ALTER TABLE leases ADD COLUMN part TEXT NOT NULL DEFAULT 'work'"
    "  CHECK (part = 'work' OR part = 'check' OR part = 'referee');"
    "ALTER TABLE leases ADD COLUMN now TEXT NOT NULL DEFAULT 'open' CHECK (now = 'open'"
    "  OR now = 'done' OR now = 'expired' OR now = 'failed' OR now = 'cancelled');"
    "UPDATE leases SET part = role, now = state;"
    "ALTER TABLE leases DROP COLUMN role;"
    "ALTER TABLE leases DROP COLUMN state;"
    "ALTER TABLE leases RENAME COLUMN part TO role;"
    "ALTER TABLE leases RENAME COLUMN now TO state;"
    "CREATE INDEX leases_open ON leases (job) WHERE state = 'open';"
    "ALTER TABLE receipts ADD COLUMN now TEXT NOT NULL DEFAULT 'unpaid' CHECK (now = 'unpaid'"
    "  OR now = 'held' OR now = 'settled' OR now = 'void');"
    "UPDATE receipts SET now = state;"
    "ALTER TABLE receipts DROP COLUMN state;"
    "ALTER TABLE receipts RENAME COLUMN now TO state;";

/* A receipt of a (task, rig) is found by its task's step first: names of tasks and rigs are random,
 * and what is written for a step then lies on few pages, not each row on one of its own. What a
 * rig has in a job is asked for when it is put out, which reads the job's tasks as well. */
static const char RECEIPTS_BY_STEP[] =
    "CREATE TABLE receipts_117 ("
    " id INTEGER PRIMARY KEY, job TEXT NOT NULL, step BIGINT NOT NULL, task TEXT NOT NULL,"
    " node TEXT NOT NULL, lease TEXT NOT NULL, outputs TEXT NOT NULL, object BLOB NOT NULL,"
    " signature BLOB NOT NULL, units BIGINT NOT NULL, at_ms BIGINT NOT NULL,"
    " loss DOUBLE PRECISION NOT NULL, accuracy DOUBLE PRECISION NOT NULL, cid TEXT NOT NULL,"
    " state TEXT NOT NULL CHECK (state = 'unpaid'"
    "  OR state = 'held' OR state = 'settled' OR state = 'void'),"
    " UNIQUE (job, step, task, node),"
    " FOREIGN KEY (job, task) REFERENCES tasks (job, cid));"
    "INSERT INTO receipts_117 (job, step, task, node, lease, outputs, object, signature, units,"
    "  at_ms, loss, accuracy, cid, state)"
    " SELECT r.job, t.step, r.task, r.node, r.lease, r.outputs, r.object, r.signature, r.units,"
    "  r.at_ms, r.loss, r.accuracy, r.cid, r.state"
    " FROM receipts r JOIN tasks t ON t.job = r.job AND t.cid = r.task ORDER BY r.at_ms;"
    "DROP TABLE receipts;"
    "ALTER TABLE receipts_117 RENAME TO receipts;";

const struct db_migration COORDINATOR_MIGRATIONS[] = {{"101_coordinator", CREATE},
                                                      {"102_accuracy", ACCURACY},
                                                      {"103_metrics", METRICS},
                                                      {"104_values", VALUES},
                                                      {"105_assets", ASSETS},
                                                      {"106_votes", VOTES},
                                                      {"107_shares", SHARES},
                                                      {"108_sweeps", SWEEPS},
                                                      {"109_standing", STANDING},
                                                      {"110_draws", DRAWS_SCHEMA},
                                                      {"122_serving", SERVING},
                                                      {"115_deals", DEALS_SCHEMA},
                                                      {"120_datacap", DATACAP_SCHEMA},
                                                      {"113_disputes", DISPUTES_SCHEMA},
                                                      {"123_private", PRIVATE},
                                                      {"126_recalls", RECALLS},
                                                      {"114_receipt_names", RECEIPT_NAMES},
                                                      {"130_evaluation", EVALUATION},
                                                      {"132_fault_costs", FAULT_COSTS},
                                                      {"128_leases_ended", LEASES_ENDED},
                                                      {"137_private_models", PRIVATE_MODELS},
                                                      {"133_draws_in_time", DRAWS_IN_TIME},
                                                      {"116_plain_checks", PLAIN_CHECKS},
                                                      {"117_receipts_by_step", RECEIPTS_BY_STEP},
                                                      {"118_receipts_filed", RECEIPTS_FILED}};
const size_t COORDINATOR_MIGRATION_COUNT = EMAC_COUNT(COORDINATOR_MIGRATIONS);

enum emac_status coordinator_migrate(struct db *db, struct emac_err *err)
{
    struct db_migration all[MIGRATIONS_MAX];
    size_t n = 0;
    EMAC_ASSERT(LEDGER_MIGRATION_COUNT + CHAIN_MIGRATION_COUNT + COORDINATOR_MIGRATION_COUNT <=
                MIGRATIONS_MAX);
    for (size_t i = 0; i < LEDGER_MIGRATION_COUNT; i++)
        all[n++] = LEDGER_MIGRATIONS[i];
    for (size_t i = 0; i < CHAIN_MIGRATION_COUNT; i++)
        all[n++] = CHAIN_MIGRATIONS[i];
    for (size_t i = 0; i < COORDINATOR_MIGRATION_COUNT; i++)
        all[n++] = COORDINATOR_MIGRATIONS[i];
    return db_migrate(db, all, n, err);
}
