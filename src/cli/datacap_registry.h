/* `emac datacap --registry`: the same actions in the chain's registry, as transactions of a wallet
 * instead of votes over HTTP (chain/registry.h). */
#ifndef EMAC_CLI_DATACAP_REGISTRY_H
#define EMAC_CLI_DATACAP_REGISTRY_H

#include "cli/chain_tool.h"

struct registry_tool {
    struct chain_tool chain;
    /* as given, or NULL */
    const char *application, *wallet, *allowance;
    bool refuse;
};

/* A vote on the grant of `bytes` to the client's did:key, to be spent by --wallet. */
enum emac_status registry_tool_grant(struct registry_tool *t, const char *client, int64_t bytes);
/* A vote on the removal of an allowance, because of --application (default: no reason is given). */
enum emac_status registry_tool_remove(struct registry_tool *t, const char *allowance);
/* Spends on all replicas of a deal: from --allowance, or from the client's that expires first. */
enum emac_status registry_tool_use(struct registry_tool *t, const char *deal);
/* The admin names a notary, or dismisses one (--refuse). */
enum emac_status registry_tool_notary(struct registry_tool *t, const char *wallet);

#endif
