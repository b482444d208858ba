#include "cli/datacap_registry.h"

#include <stdlib.h>
#include <string.h>

#include "base/hex.h"
#include "chain/registry.h"
#include "ledger/allowance.h"

#define NO_REASON "no reason given"

/* ---- words ---- */

static enum emac_status id_of(struct cli *c, const char *text, uint8_t out[CHAIN_HASH_BYTES])
{
    if (strncmp(text, "0x", 2) == 0 && emac_unhex(out, CHAIN_HASH_BYTES, text + 2))
        return EMAC_OK;
    return emac_fail(&c->err, EMAC_INVALID,
                     "'%.80s' is no allowance of a registry: 0x and 64 digits, as `emac datacap "
                     "show` lists them",
                     text);
}

/* ---- votes ---- */

/* What the contract says of the motion now. */
static enum emac_status voted(struct registry_tool *t, const char *kind,
                              const uint8_t motion[CHAIN_HASH_BYTES], const struct chain_receipt *r)
{
    struct chain_tool *ct = &t->chain;
    enum registry_outcome outcome;
    char id[CHAIN_HASH_TEXT_MAX];
    enum emac_status st =
        registry_outcome(ct->sender.node, &ct->cfg, motion, &outcome, &ct->c->err);
    if (st != EMAC_OK)
        return st;
    chain_tool_hash_text(id, motion);
    cli_say(ct->c, "voted in block %llu: the %s is %s; the ledger follows when the block is final",
            (unsigned long long)r->block_number, kind, registry_outcome_name(outcome));
    cli_say(ct->c, "    motion %s", id);
    json_t *o = chain_tool_done("vote", r);
    json_object_set_new(o, "kind", json_string(kind));
    json_object_set_new(o, "motion", json_string(id));
    json_object_set_new(o, "outcome", json_string(registry_outcome_name(outcome)));
    cli_result(ct->c, o);
    return EMAC_OK;
}

enum emac_status registry_tool_grant(struct registry_tool *t, const char *client, int64_t bytes)
{
    struct chain_tool *ct = &t->chain;
    struct cli *c = ct->c;
    struct registry_grant g = {.bytes = (uint64_t)bytes};
    struct chain_receipt r;
    uint8_t motion[CHAIN_HASH_BYTES];
    enum emac_status st;
    if (!crypto_did_key_parse(g.client, client))
        return emac_fail(&c->err, EMAC_INVALID, "'%.80s' is no did:key of a client", client);
    EMAC_TRY(st, chain_tool_address(c, t->wallet, g.wallet));
    crypto_sha256(g.evidence, t->application, strlen(t->application));
    EMAC_TRY(st, registry_grant_id(&g, motion, &c->err));
    EMAC_TRY(st, chain_tool_sender(ct));
    EMAC_TRY(st, registry_vote_grant(&ct->sender, &ct->cfg, &g, !t->refuse, &r, &c->err));
    st = voted(t, "grant", motion, &r);
out:
    return st;
}

enum emac_status registry_tool_remove(struct registry_tool *t, const char *allowance)
{
    struct chain_tool *ct = &t->chain;
    struct cli *c = ct->c;
    struct chain_receipt r;
    uint8_t id[CHAIN_HASH_BYTES], evidence[CHAIN_HASH_BYTES], motion[CHAIN_HASH_BYTES];
    const char *why = t->application != NULL ? t->application : NO_REASON;
    enum emac_status st;
    EMAC_TRY(st, id_of(c, allowance, id));
    crypto_sha256(evidence, why, strlen(why));
    EMAC_TRY(st, registry_removal_id(id, evidence, motion, &c->err));
    EMAC_TRY(st, chain_tool_sender(ct));
    EMAC_TRY(st,
             registry_vote_removal(&ct->sender, &ct->cfg, id, evidence, !t->refuse, &r, &c->err));
    st = voted(t, "removal", motion, &r);
out:
    return st;
}

enum emac_status registry_tool_notary(struct registry_tool *t, const char *wallet)
{
    struct chain_tool *ct = &t->chain;
    struct cli *c = ct->c;
    struct chain_receipt r;
    uint8_t who[EVM_ADDRESS_BYTES];
    enum emac_status st;
    EMAC_TRY(st, chain_tool_address(c, wallet, who));
    EMAC_TRY(st, chain_tool_sender(ct));
    EMAC_TRY(st, registry_notary(&ct->sender, &ct->cfg, who, !t->refuse, &r, &c->err));
    cli_say(c, "%s %s", wallet, t->refuse ? "is no notary any more" : "is a notary");
    json_t *o = chain_tool_done("notary", &r);
    json_object_set_new(o, "wallet", json_string(wallet));
    json_object_set_new(o, "notary", json_boolean(!t->refuse));
    cli_result(c, o);
out:
    return st;
}

/* ---- spending ---- */

struct wanted {
    char client[DID_KEY_MAX], allowance[CHAIN_HASH_TEXT_MAX];
    uint64_t bytes; /* of all replicas */
};

static enum emac_status deal_read(struct cli *c, const char *deal, struct wanted *w)
{
    char path[256];
    json_t *o = NULL;
    snprintf(path, sizeof(path), "/v1/deals/%s", deal);
    enum emac_status st = cli_call(c, "GET", path, NULL, false, &o);
    if (st != EMAC_OK)
        return st;
    double bytes = cli_num(o, "bytes") * cli_num(o, "replicas");
    if (!emac_strcpy(w->client, sizeof(w->client), cli_str(o, "client")) || bytes < 1 ||
        bytes > (double)ALLOWANCE_BYTES_MAX)
        st = emac_fail(&c->err, EMAC_CORRUPT,
                       "the coordinator's deal '%s' is none that fits an "
                       "allowance",
                       deal);
    else
        w->bytes = (uint64_t)bytes;
    json_decref(o);
    return st;
}

/* Of the client's in the registry that have enough, the one that expires first. */
static enum emac_status allowance_choose(struct cli *c, struct wanted *w)
{
    char path[256];
    json_t *reply = NULL, *a;
    size_t i;
    double soonest = 0;
    snprintf(path, sizeof(path), "/v1/datacap/allowances?limit=1000&client=%s", w->client);
    enum emac_status st = cli_call(c, "GET", path, NULL, false, &reply);
    if (st != EMAC_OK)
        return st;
    json_array_foreach(json_object_get(reply, "allowances"), i, a)
    {
        double expires = cli_num(a, "expires_ms");
        if (strcmp(cli_str(a, "origin"), "chain") != 0 ||
            cli_num(a, "left_bytes") < (double)w->bytes || (soonest > 0 && expires >= soonest))
            continue;
        soonest = expires;
        emac_strcpy(w->allowance, sizeof(w->allowance), cli_str(a, "allowance"));
    }
    json_decref(reply);
    if (soonest == 0)
        st = emac_fail(&c->err, EMAC_PAYMENT,
                       "'%s' has no allowance of the registry with %llu bytes left on the ledger, "
                       "which has what is final on the chain",
                       w->client, (unsigned long long)w->bytes);
    return st;
}

/* Said in words before the contract refuses with a code. */
static enum emac_status may_spend(struct chain_tool *t, const struct wanted *w,
                                  const uint8_t id[CHAIN_HASH_BYTES])
{
    struct cli *c = t->c;
    struct registry_allowance a;
    char client[DID_KEY_MAX], wallet[EVM_ADDRESS_MAX];
    enum emac_status st = registry_allowance(t->sender.node, &t->cfg, id, &a, &c->err);
    if (st != EMAC_OK)
        return st;
    crypto_did_key(client, a.client);
    crypto_evm_address_text(wallet, a.wallet);
    if (strcmp(client, w->client) != 0)
        return emac_fail(&c->err, EMAC_FORBIDDEN,
                         "the allowance is of client '%s', the deal of '%s': it would count for "
                         "nothing",
                         client, w->client);
    if (memcmp(a.wallet, t->sender.address, EVM_ADDRESS_BYTES) != 0)
        return emac_fail(&c->err, EMAC_FORBIDDEN, "the allowance is spent by wallet '%s' alone",
                         wallet);
    if (a.left < w->bytes)
        return emac_fail(&c->err, EMAC_PAYMENT,
                         "the allowance has %llu bytes left, the deal needs %llu",
                         (unsigned long long)a.left, (unsigned long long)w->bytes);
    return EMAC_OK;
}

enum emac_status registry_tool_use(struct registry_tool *t, const char *deal)
{
    struct chain_tool *ct = &t->chain;
    struct cli *c = ct->c;
    struct wanted w = {.bytes = 0};
    struct chain_receipt r;
    uint8_t id[CHAIN_HASH_BYTES], name[SHA256_BYTES];
    enum emac_status st;
    EMAC_TRY(st, deal_read(c, deal, &w));
    if (t->allowance == NULL)
        EMAC_TRY(st, allowance_choose(c, &w));
    EMAC_TRY(st, id_of(c, t->allowance != NULL ? t->allowance : w.allowance, id));
    EMAC_TRY(st, chain_tool_sender(ct));
    EMAC_TRY(st, may_spend(ct, &w, id));
    crypto_sha256(name, deal, strlen(deal));
    EMAC_TRY(st, registry_spend(&ct->sender, &ct->cfg, id, w.bytes, name, &r, &c->err));
    chain_tool_hash_text(w.allowance, id);
    cli_say(c, "spent %llu bytes on deal '%s' in block %llu; they count when the block is final",
            (unsigned long long)w.bytes, deal, (unsigned long long)r.block_number);
    json_t *o = chain_tool_done("spend", &r);
    json_object_set_new(o, "deal", json_string(deal));
    json_object_set_new(o, "allowance", json_string(w.allowance));
    json_object_set_new(o, "bound_bytes", json_integer((json_int_t)w.bytes));
    cli_result(c, o);
out:
    return st;
}
