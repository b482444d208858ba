/* What people do on the chain, and what they look up there: calls of the
 * contracts (contracts/interfaces), sent and waited for by chain/send.h. Amounts
 * are ledger units. Each is harmless when done twice but deposit: a second call
 * is refused by the contract, or finds nothing to do. */
#ifndef EMAC_CHAIN_ACTIONS_H
#define EMAC_CHAIN_ACTIONS_H

#include "chain/config.h"
#include "chain/send.h"

#define CHAIN_SIGNED_FOR_S 3600 /* a signature that was not used by then is void */
#define CHAIN_NOTARIES_MAX 16   /* and the largest quorum of the registry */

/* ---- making a network ---- */

struct chain_terms {
    const char *token_name, *token_symbol;
    int64_t supply_units; /* of a new token, all of it the deployer's */
    bool has_token;       /* use this one instead */
    uint8_t token[EVM_ADDRESS_BYTES];
    uint64_t withdraw_delay_s, unbond_delay_s, slash_delay_s, change_delay_s;
    uint64_t window_s, resolve_window_s;
    uint64_t challenge_stake_units, epoch_cap_units;
    uint64_t notaries_quorum, datacap_lifetime_s;
    /* who else than the deployer has a role; NULL: nobody, or for the first three the deployer */
    const uint8_t *proposer, *guardian, *ledger, *arbiter;
    const uint8_t (*notary)[EVM_ADDRESS_BYTES]; /* of the data cap registry */
    size_t notary_count;
};
/* Deploys all contracts, wires them and grants the roles. Fills the addresses, chain id and start
 * of `out`; `said` (may be NULL) hears of each step. */
enum emac_status chain_deploy(const struct chain_sender *s, const struct chain_terms *terms,
                              struct chain_config *out,
                              void (*said)(void *ctx, const char *what,
                                           const struct chain_receipt *r),
                              void *ctx, struct emac_err *err);

/* ---- doing ---- */

/* With a permit of the sender: one transaction. */
enum emac_status chain_deposit(const struct chain_sender *s, const struct chain_config *c,
                               const uint8_t account[CHAIN_ACCOUNT_BYTES], int64_t units,
                               struct chain_receipt *r, struct emac_err *err);
/* Binds the sender's wallet to the key's account. */
enum emac_status chain_bind(const struct chain_sender *s, const struct chain_config *c,
                            const uint8_t account[CHAIN_ACCOUNT_BYTES],
                            const uint8_t key[ED25519_SECRET_BYTES], struct chain_receipt *r,
                            struct emac_err *err);
enum emac_status chain_request_withdrawal(const struct chain_sender *s,
                                          const struct chain_config *c,
                                          const uint8_t account[CHAIN_ACCOUNT_BYTES], int64_t units,
                                          struct chain_receipt *r, struct emac_err *err);
/* From readyAt on. */
enum emac_status chain_withdraw(const struct chain_sender *s, const struct chain_config *c,
                                const uint8_t account[CHAIN_ACCOUNT_BYTES], struct chain_receipt *r,
                                struct emac_err *err);
enum emac_status chain_reduce_withdrawal(const struct chain_sender *s, const struct chain_config *c,
                                         const uint8_t account[CHAIN_ACCOUNT_BYTES],
                                         const uint8_t wallet[EVM_ADDRESS_BYTES], int64_t units,
                                         struct chain_receipt *r, struct emac_err *err);
enum emac_status chain_propose(const struct chain_sender *s, const struct chain_config *c,
                               const struct chain_epoch *e, struct chain_receipt *r,
                               struct emac_err *err);
enum emac_status chain_finalize(const struct chain_sender *s, const struct chain_config *c,
                                uint64_t epoch, struct chain_receipt *r, struct emac_err *err);
enum emac_status chain_claim(const struct chain_sender *s, const struct chain_config *c,
                             const struct chain_leaf *leaf,
                             const uint8_t proof[CHAIN_PROOF_MAX][CHAIN_HASH_BYTES], size_t count,
                             struct chain_receipt *r, struct emac_err *err);

/* ---- looking up ---- */

struct chain_pool {
    uint64_t funded, paid, withdrawn, reserved, bonded;
};
struct chain_active {
    uint64_t epoch, total;
    uint8_t root[CHAIN_HASH_BYTES];
};
struct chain_proposal {
    uint64_t epoch, total, ready_s, resolve_by_s; /* epoch 0: none is pending */
    uint8_t root[CHAIN_HASH_BYTES];
};
enum emac_status chain_read_pool(struct chain_node *n, const struct chain_config *c,
                                 struct chain_pool *out, struct emac_err *err);
enum emac_status chain_read_active(struct chain_node *n, const struct chain_config *c,
                                   struct chain_active *out, struct emac_err *err);
enum emac_status chain_read_pending(struct chain_node *n, const struct chain_config *c,
                                    struct chain_proposal *out, struct emac_err *err);
enum emac_status chain_read_claimed(struct chain_node *n, const struct chain_config *c,
                                    const uint8_t account[CHAIN_ACCOUNT_BYTES], uint64_t *units,
                                    struct emac_err *err);
/* The withdrawal under way of this account and wallet; 0 when there is none. */
enum emac_status chain_read_withdrawal(struct chain_node *n, const struct chain_config *c,
                                       const uint8_t account[CHAIN_ACCOUNT_BYTES],
                                       const uint8_t wallet[EVM_ADDRESS_BYTES], uint64_t *units,
                                       struct emac_err *err);
/* Of the token, in wei. */
enum emac_status chain_read_token(struct chain_node *n, const struct chain_config *c,
                                  const uint8_t wallet[EVM_ADDRESS_BYTES], struct u256 *wei,
                                  struct emac_err *err);

#endif
