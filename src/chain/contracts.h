/* EMAC's contracts as this program knows them: creation code and the names of
 * their errors come from contracts/abi, embedded at build; the events that the
 * ledger reads are the table below (contracts/interfaces has their meaning).
 *
 * Each contract numbers its events: the first indexed argument is `seq`, 1, 2,
 * ... without holes. Events that are not in the table (roles, pauses, transfers)
 * carry no number and mean nothing to the ledger. */
#ifndef EMAC_CHAIN_CONTRACTS_H
#define EMAC_CHAIN_CONTRACTS_H

#include "chain/node.h"

enum chain_contract { CHAIN_VAULT, CHAIN_BINDINGS, CHAIN_PAYOUTS, CHAIN_DATACAP, CHAIN_CONTRACTS };

/* X(name, contract, argument types after seq, indexed fields after seq, fields of the data). A
 * field is one letter for where it goes in struct chain_event: A account   W wallet   T to      u
 * units    t total     r time_s   e epoch R root      D digest   K key_signature      . a word of
 * no interest */
#define CHAIN_EVENTS(X)                                                                            \
    X(Deposited, VAULT, "bytes32,address,uint64", "AW", "u")                                       \
    X(Donated, VAULT, "address,uint64", "W", "u")                                                  \
    X(WithdrawalRequested, VAULT, "bytes32,address,uint64,uint64", "AW", "ur")                     \
    X(WithdrawalReduced, VAULT, "bytes32,address,uint64,bytes32", "AW", "u.")                      \
    X(WithdrawalCancelled, VAULT, "bytes32,address,uint64", "AW", "u")                             \
    X(Withdrawn, VAULT, "bytes32,address,uint64", "AW", "u")                                       \
    X(Bonded, VAULT, "bytes32,address,uint64,uint64", "AW", "ut")                                  \
    X(UnbondRequested, VAULT, "bytes32,address,uint64,uint64,uint64", "AW", "utr")                 \
    X(Unbonded, VAULT, "bytes32,address,uint64", "AW", "u")                                        \
    X(SlashOpened, VAULT, "bytes32,address,uint64,bytes32,uint64", "AW", "u.r")                    \
    X(SlashCancelled, VAULT, "bytes32,address,bytes32", "AW", ".")                                 \
    X(Slashed, VAULT, "bytes32,address,uint64,bytes32", "AW", "u.")                                \
    X(Reserved, VAULT, "uint64", "", "t")                                                          \
    X(PaidOut, VAULT, "address,uint64", "W", "u")                                                  \
    X(PayoutsSet, VAULT, "address", "", "T")                                                       \
    X(Bound, BINDINGS, "bytes32,address,bytes32,bytes", "AW", "DK")                                \
    X(ChangeRequested, BINDINGS, "bytes32,address,address,uint64,bytes32,bytes", "AW", "TrDK")     \
    X(ChangeCancelled, BINDINGS, "bytes32,address,address", "AW", "T")                             \
    X(Changed, BINDINGS, "bytes32,address,address", "AW", "T")                                     \
    X(Proposed, PAYOUTS, "uint64,bytes32,uint64,bytes32,bytes32,uint64", "eR", "t..r")             \
    X(Challenged, PAYOUTS, "uint64,address,bytes32,uint64", "eW", ".r")                            \
    X(Overruled, PAYOUTS, "uint64,uint64", "e", "r")                                               \
    X(Dropped, PAYOUTS, "uint64,bytes32", "eR", "")                                                \
    X(Finalized, PAYOUTS, "uint64,bytes32,uint64", "eR", "t")                                      \
    X(Claimed, PAYOUTS, "bytes32,address,uint64,uint64,uint64", "AW", "eut")                       \
    X(EpochCapSet, PAYOUTS, "uint64", "", "u")                                                     \
    X(Voted, DATACAP, "bytes32,address,bool", "RW", ".")                                           \
    X(MotionFailed, DATACAP, "bytes32", "R", "")                                                   \
    X(Granted, DATACAP, "bytes32,bytes32,address,uint64,bytes32,uint64", "RA", "Wu.r")             \
    X(Removed, DATACAP, "bytes32,uint64,bytes32", "R", "u.")                                       \
    X(Spent, DATACAP, "bytes32,bytes32,bytes32,uint64,uint64", "RD", "Aut")

enum chain_event_kind {
#define X(name, contract, types, indexed, data) CHAIN_EVENT_##name,
    CHAIN_EVENTS(X)
#undef X
        CHAIN_EVENT_KINDS
};

#define CHAIN_ACCOUNT_BYTES 32 /* the ed25519 key of a did:key */

struct chain_event {
    enum chain_event_kind kind;
    enum chain_contract contract;
    uint64_t seq;
    uint8_t account[CHAIN_ACCOUNT_BYTES], wallet[EVM_ADDRESS_BYTES], to[EVM_ADDRESS_BYTES];
    uint64_t units, total, time_s, epoch;
    uint8_t root[CHAIN_HASH_BYTES], digest[CHAIN_HASH_BYTES];
    struct emac_slice key_signature; /* borrowed from the log */
    uint64_t block_number, log_index;
    uint8_t block_hash[CHAIN_HASH_BYTES], tx_hash[CHAIN_HASH_BYTES];
};

const char *chain_event_name(enum chain_event_kind kind);
/* "Deposited(uint64,bytes32,address,uint64)" */
void chain_event_signature(char out[128], enum chain_event_kind kind);
/* *known is false for an event that is not in the table. CORRUPT when it is, and its topics or data
 * do not fit it. */
enum emac_status chain_event_read(const struct chain_log *log, enum chain_contract contract,
                                  struct chain_event *out, bool *known, struct emac_err *err);

/* Creation code of "EmacVault"; appended. NOT_FOUND. */
enum emac_status chain_contract_code(const char *name, struct emac_buf *out, struct emac_err *err);
/* The name of the contracts' error whose selector begins `data` ("0x..."): "NothingToClaim". */
#define CHAIN_ERROR_NAME_MAX 96
bool chain_error_name(char out[CHAIN_ERROR_NAME_MAX], const char *data);

#endif
