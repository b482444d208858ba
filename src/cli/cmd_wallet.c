#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "ledger/ledger.h"

static enum emac_status wallet_new(struct cli *c)
{
    char path[OS_PATH_MAX];
    enum emac_status st = cli_home_path(c, "wallet.key", path, sizeof(path));
    if (st == EMAC_OK)
        st = identity_create(c->os, path, &c->identity, &c->err);
    if (st != EMAC_OK)
        return st;
    cli_say(c, "%s", c->identity.did);
    cli_say(c, "kept in %s; whoever has that file has your money: keep a copy offline", path);
    cli_result(c, json_pack("{s:s,s:s}", "did", c->identity.did, "path", path));
    return EMAC_OK;
}

/* Balance by the coordinator: units as text; "" when it cannot be asked. */
static enum emac_status ask_balance(struct cli *c, char *out, size_t cap)
{
    char path[256], account[LEDGER_ACCOUNT_MAX];
    snprintf(account, sizeof(account), "user:%s", c->identity.did);
    snprintf(path, sizeof(path), "/v1/ledger/balances?prefix=%s", account);
    json_t *reply = NULL, *item;
    size_t i;
    enum emac_status st = cli_call(c, "GET", path, NULL, false, &reply);
    emac_strcpy(out, cap, st == EMAC_OK ? "0" : "");
    json_array_foreach(json_object_get(reply, "balances"), i, item)
    {
        if (strcmp(cli_str(item, "account"), account) == 0)
            emac_strcpy(out, cap, cli_str(item, "units"));
    }
    json_decref(reply);
    return st;
}

static enum emac_status wallet_show(struct cli *c)
{
    enum emac_status st = cli_identity(c);
    if (st != EMAC_OK)
        return st;
    char units[32], amount[32] = "?";
    st = ask_balance(c, units, sizeof(units));
    cli_say(c, "%s", c->identity.did);
    if (st == EMAC_OK) {
        ledger_amount_text(amount, (int64_t)strtoll(units, NULL, 10));
        cli_say(c, "balance %s EMAC at %s", amount, c->url);
    } else {
        cli_say(c, "balance unknown: %s", c->err.text);
    }
    cli_result(
        c, json_pack("{s:s,s:s?}", "did", c->identity.did, "units", st == EMAC_OK ? units : NULL));
    return EMAC_OK; /* the key is shown; an absent coordinator is no failure of that */
}

static enum emac_status wallet_faucet(struct cli *c)
{
    json_t *reply = NULL;
    enum emac_status st = cli_call(c, "POST", "/v1/faucet", json_object(), true, &reply);
    if (st != EMAC_OK)
        return st;
    cli_say(c, "the faucet of this development network filled %s", c->identity.did);
    cli_result(c, reply);
    return EMAC_OK;
}

enum emac_status cmd_wallet(struct cli *c, int argc, char **argv)
{
    const char *pos[CLI_POSITIONALS_MAX];
    enum emac_status st = cli_parse(c, argc, argv, NULL, 0, pos, 0, 1);
    if (st != EMAC_OK)
        return st;
    if (!pos[0] || strcmp(pos[0], "show") == 0)
        return wallet_show(c);
    if (strcmp(pos[0], "new") == 0)
        return wallet_new(c);
    if (strcmp(pos[0], "faucet") == 0)
        return wallet_faucet(c);
    return emac_fail(&c->err, EMAC_INVALID,
                     "unknown action '%s': wallet knows new, show and faucet", pos[0]);
}
