/* The data cap registry on the chain: what notaries and clients do there, and what it says of a
 * motion or an allowance. Who may do what is the contract's to judge (contracts/interfaces); what
 * the ledger knows of it comes by events alone (chain/follow.h, BOOK-8).
 *
 * A motion is named by what it would do: to vote for it is to say the same client, wallet, bytes
 * and evidence. The id of an allowance is its motion. Evidence is the SHA-256 of a text, what the
 * client applied by; a deal is the SHA-256 of its name (chain_deal_name). Each action is one
 * transaction, and refused by the contract when it was done before. */
#ifndef EMAC_CHAIN_REGISTRY_H
#define EMAC_CHAIN_REGISTRY_H

#include "chain/config.h"
#include "chain/send.h"

struct registry_grant {
    uint8_t client[CHAIN_ACCOUNT_BYTES]; /* the ed25519 key of its did:key */
    uint8_t wallet[EVM_ADDRESS_BYTES];   /* who spends it */
    uint64_t bytes;
    uint8_t evidence[CHAIN_HASH_BYTES];
};

/* The motion, which is also the allowance's id: keccak256 of what grantMotion encodes. */
enum emac_status registry_grant_id(const struct registry_grant *g, uint8_t id[CHAIN_HASH_BYTES],
                                   struct emac_err *err);
enum emac_status registry_removal_id(const uint8_t allowance[CHAIN_HASH_BYTES],
                                     const uint8_t evidence[CHAIN_HASH_BYTES],
                                     uint8_t id[CHAIN_HASH_BYTES], struct emac_err *err);

/* The admin: the wallet votes from now on, or no more. */
enum emac_status registry_notary(const struct chain_sender *s, const struct chain_config *c,
                                 const uint8_t wallet[EVM_ADDRESS_BYTES], bool votes,
                                 struct chain_receipt *r, struct emac_err *err);
/* A notary, once a motion. */
enum emac_status registry_vote_grant(const struct chain_sender *s, const struct chain_config *c,
                                     const struct registry_grant *g, bool approve,
                                     struct chain_receipt *r, struct emac_err *err);
enum emac_status registry_vote_removal(const struct chain_sender *s, const struct chain_config *c,
                                       const uint8_t allowance[CHAIN_HASH_BYTES],
                                       const uint8_t evidence[CHAIN_HASH_BYTES], bool approve,
                                       struct chain_receipt *r, struct emac_err *err);
/* The allowance's wallet, once a deal. */
enum emac_status registry_spend(const struct chain_sender *s, const struct chain_config *c,
                                const uint8_t allowance[CHAIN_HASH_BYTES], uint64_t bytes,
                                const uint8_t deal[CHAIN_HASH_BYTES], struct chain_receipt *r,
                                struct emac_err *err);

enum registry_outcome { REGISTRY_OPEN, REGISTRY_PASSED, REGISTRY_FAILED, REGISTRY_OUTCOMES };
const char *registry_outcome_name(enum registry_outcome o);
/* Also REGISTRY_OPEN of a motion that nobody has voted on. */
enum emac_status registry_outcome(struct chain_node *n, const struct chain_config *c,
                                  const uint8_t motion[CHAIN_HASH_BYTES],
                                  enum registry_outcome *out, struct emac_err *err);

struct registry_allowance {
    uint8_t client[CHAIN_ACCOUNT_BYTES], wallet[EVM_ADDRESS_BYTES];
    uint64_t granted, left, expires_s;
};
/* NOT_FOUND when there is none of that id. */
enum emac_status registry_allowance(struct chain_node *n, const struct chain_config *c,
                                    const uint8_t id[CHAIN_HASH_BYTES],
                                    struct registry_allowance *out, struct emac_err *err);

#endif
