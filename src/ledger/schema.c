#include "base/assert.h"
#include "ledger/ledger.h"

/* The CHECK repeats INV-2 where no code of ours can pass it by. sha256() is db.h's. */
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
    /* allowance.h. The renaming comes last: after it SQLite needs memory to roll back. */
    {"119_allowances",
     "CREATE TABLE allowances ("
     " id TEXT PRIMARY KEY, client TEXT NOT NULL,"
     " origin TEXT NOT NULL CHECK (origin IN ('notaries', 'chain', 'use')),"
     " granted BIGINT NOT NULL CHECK (granted > 0),"
     " burnt BIGINT NOT NULL CHECK (burnt BETWEEN 0 AND granted),"
     " granted_ms BIGINT NOT NULL, expires_ms BIGINT NOT NULL, removed BIGINT NOT NULL);"
     "CREATE INDEX allowances_by_client ON allowances (client);"
     "CREATE INDEX allowances_by_expiry ON allowances (removed, expires_ms);"
     "CREATE TABLE allowance_spends (" /* CAP-3 */
     " deal TEXT NOT NULL, allowance TEXT NOT NULL REFERENCES allowances (id),"
     " bytes BIGINT NOT NULL CHECK (bytes > 0),"
     " state TEXT NOT NULL CHECK (state IN ('bound', 'burnt', 'returned')),"
     " at_ms BIGINT NOT NULL, PRIMARY KEY (deal, allowance));"
     "CREATE INDEX allowance_spends_by_allowance ON allowance_spends (allowance, state);"
     "CREATE TABLE balances_119 ("
     " account TEXT PRIMARY KEY,"
     " units BIGINT NOT NULL"
     "  CHECK (units >= 0 OR account IN ('faucet', 'chain', 'bytes:granted')));"
     "INSERT INTO balances_119 (account, units) SELECT account, units FROM balances;"
     "DROP TABLE balances;"
     "ALTER TABLE balances_119 RENAME TO balances;"},
    /* A posting is one row, its entries name accounts by number (entries.c), and its key is found
     * by its hash: half of the bytes, a third of the trees. What is hashed stays the same. INTEGER
     * is how SQLite spells a key of 64 bits that is the row's place. */
    {"127_journal",
     "CREATE TABLE accounts ("
     " id INTEGER PRIMARY KEY,"
     " account TEXT NOT NULL UNIQUE,"
     " units BIGINT NOT NULL"
     "  CHECK (units >= 0 OR account IN ('faucet', 'chain', 'bytes:granted')));"
     "INSERT INTO accounts (account, units) SELECT account, units FROM balances ORDER BY account;"
     "CREATE TABLE journal ("
     " id INTEGER PRIMARY KEY,"
     " at_ms BIGINT NOT NULL,"
     " key TEXT NOT NULL,"
     " key_hash BLOB NOT NULL UNIQUE,"
     " cause TEXT NOT NULL,"
     " job TEXT NOT NULL,"
     " detail TEXT NOT NULL,"
     " entries TEXT NOT NULL,"
     " hash BLOB NOT NULL);"
     "INSERT INTO journal (id, at_ms, key, key_hash, cause, job, detail, entries, hash)"
     " SELECT p.id, p.at_ms, p.key, substr(sha256(p.key), 1, 16), p.cause, p.job, p.detail,"
     " (SELECT json_group_array(json_array(x.id, x.amount)) FROM"
     "  (SELECT (SELECT a.id FROM accounts a WHERE a.account = e.account) AS id, e.amount"
     "   FROM entries e WHERE e.posting = p.id ORDER BY e.line) x),"
     " p.hash FROM postings p ORDER BY p.id;"
     "DROP TABLE entries;"
     "DROP TABLE postings;"
     "DROP TABLE balances;"},
};
const size_t LEDGER_MIGRATION_COUNT = EMAC_COUNT(LEDGER_MIGRATIONS);
