#include "base/assert.h"
#include "ledger/ledger.h"

/* The CHECK repeats INV-2 where no code of ours can pass it by. */
const struct db_migration LEDGER_MIGRATIONS[] = {
    {"001_ledger", "CREATE TABLE postings ("
                   " id BIGINT PRIMARY KEY,"
                   " key TEXT NOT NULL UNIQUE,"
                   " cause TEXT NOT NULL,"
                   " job TEXT NOT NULL,"
                   " detail TEXT NOT NULL,"
                   " at_ms BIGINT NOT NULL,"
                   " hash BLOB NOT NULL);"
                   "CREATE TABLE entries ("
                   " posting BIGINT NOT NULL REFERENCES postings (id),"
                   " line BIGINT NOT NULL,"
                   " account TEXT NOT NULL,"
                   " amount BIGINT NOT NULL CHECK (amount <> 0),"
                   " PRIMARY KEY (posting, line));"
                   "CREATE TABLE balances ("
                   " account TEXT PRIMARY KEY,"
                   " units BIGINT NOT NULL CHECK (units >= 0 OR account = 'faucet'));"
                   "CREATE TABLE ledger_head ("
                   " one BIGINT PRIMARY KEY CHECK (one = 1),"
                   " posting BIGINT NOT NULL,"
                   " hash BLOB NOT NULL);"},
    {"002_ledger_chain",
     "CREATE TABLE balances_002 ("
     " account TEXT PRIMARY KEY,"
     " units BIGINT NOT NULL CHECK (units >= 0 OR account IN ('faucet', 'chain')));"
     "INSERT INTO balances_002 (account, units) SELECT account, units FROM balances;"
     "DROP TABLE balances;"
     "ALTER TABLE balances_002 RENAME TO balances;"},
};
const size_t LEDGER_MIGRATION_COUNT = EMAC_COUNT(LEDGER_MIGRATIONS);
