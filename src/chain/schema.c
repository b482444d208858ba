/* Hashes and addresses are text, as people compare them: hex without 0x, addresses with it. */
#include "base/assert.h"
#include "chain/book.h"

const struct db_migration CHAIN_MIGRATIONS[] = {
    {"051_chain",
     "CREATE TABLE chain_cursor ("
     " one BIGINT PRIMARY KEY CHECK (one = 1), chain_id BIGINT NOT NULL,"
     " vault TEXT NOT NULL, bindings TEXT NOT NULL, payouts TEXT NOT NULL,"
     " number BIGINT NOT NULL, hash TEXT NOT NULL,"
     " vault_seq BIGINT NOT NULL, bindings_seq BIGINT NOT NULL, payouts_seq BIGINT NOT NULL);"

     "CREATE TABLE chain_events (" /* BOOK-2 */
     " chain_id BIGINT NOT NULL, block_hash TEXT NOT NULL, tx_hash TEXT NOT NULL,"
     " log_index BIGINT NOT NULL, block_number BIGINT NOT NULL, kind TEXT NOT NULL,"
     " PRIMARY KEY (chain_id, block_hash, tx_hash, log_index));"

     "CREATE TABLE chain_wallets (did TEXT PRIMARY KEY, wallet TEXT NOT NULL);"
     "CREATE TABLE chain_changes (" /* announced, with a valid signature */
     " did TEXT PRIMARY KEY, wallet_from TEXT NOT NULL, wallet_to TEXT NOT NULL);"

     "CREATE TABLE chain_withdrawals ("
     " did TEXT NOT NULL, wallet TEXT NOT NULL, asked BIGINT NOT NULL,"
     " debited BIGINT NOT NULL CHECK (debited BETWEEN 0 AND asked), ready_s BIGINT NOT NULL,"
     " PRIMARY KEY (did, wallet));"

     "CREATE TABLE chain_bonds ("
     " did TEXT NOT NULL, wallet TEXT NOT NULL, bonded BIGINT NOT NULL,"
     " unbonding BIGINT NOT NULL, PRIMARY KEY (did, wallet));"

     "CREATE TABLE chain_payouts ("
     " did TEXT PRIMARY KEY, cumulative BIGINT NOT NULL,"
     " claimed BIGINT NOT NULL CHECK (claimed BETWEEN 0 AND cumulative));"

     "CREATE TABLE chain_epochs ("
     " epoch BIGINT PRIMARY KEY, state TEXT NOT NULL"
     "  CHECK (state IN ('closed', 'proposed', 'final', 'dropped')),"
     " root TEXT NOT NULL, list TEXT NOT NULL, journal TEXT NOT NULL, total BIGINT NOT NULL,"
     " closed_ms BIGINT NOT NULL);"
     "CREATE TABLE chain_leaves ("
     " epoch BIGINT NOT NULL REFERENCES chain_epochs (epoch), did TEXT NOT NULL,"
     " wallet TEXT NOT NULL, cumulative BIGINT NOT NULL, PRIMARY KEY (epoch, did));"},
    {"052_chain_cap", "CREATE TABLE chain_cap ("
                      " one BIGINT PRIMARY KEY CHECK (one = 1), units BIGINT NOT NULL);"},
    {"121_chain_datacap",
     "ALTER TABLE chain_cursor ADD COLUMN datacap TEXT NOT NULL DEFAULT '';"
     "ALTER TABLE chain_cursor ADD COLUMN datacap_seq BIGINT NOT NULL DEFAULT 0;"
     "CREATE TABLE chain_ignored (id TEXT PRIMARY KEY);"}, /* BOOK-8 */
    {"135_chain_payables", "CREATE TABLE chain_payables (" /* BOOK-9 */
                           " did TEXT PRIMARY KEY, units BIGINT NOT NULL CHECK (units > 0));"},
};
const size_t CHAIN_MIGRATION_COUNT = EMAC_COUNT(CHAIN_MIGRATIONS);
