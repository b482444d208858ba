/* API keys: make, list, revoke, and what was paid by one. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hex.h"
#include "cli/cli.h"
#include "ledger/ledger.h"

#define TOKEN_BYTES   32
#define TOKEN_PREFIX  "emac-" /* coordinator/serving/serving.h */
#define LIMIT_DEFAULT "10"

struct key_args {
    const char *name, *limit, *purpose;
};

static void amount_of(char out[32], json_t *o, const char *field)
{
    ledger_amount_text(out, (int64_t)strtoll(cli_str(o, field), NULL, 10));
}

/* The coordinator learns the key's hash alone, so a call that is sent again makes no second key. */
static enum emac_status key_new(struct cli *c, const struct key_args *a)
{
    uint8_t hash[SHA256_BYTES];
    char hex[2 * TOKEN_BYTES + 1], token[sizeof(TOKEN_PREFIX) + 2 * TOKEN_BYTES];
    char hash64[EMAC_BASE64_LEN(SHA256_BYTES) + 1], units_text[24], limit[32];
    json_t *reply = NULL;
    int64_t units;
    enum emac_status st = ledger_amount_parse(a->limit, &units, &c->err);
    if (st != EMAC_OK)
        return emac_wrap(&c->err, "--limit");
    cli_random_hex(c, hex, TOKEN_BYTES);
    snprintf(token, sizeof(token), TOKEN_PREFIX "%s", hex);
    crypto_sha256(hash, token, strlen(token));
    emac_base64(hash64, hash, sizeof(hash));
    snprintf(units_text, sizeof(units_text), "%lld", (long long)units);
    st = cli_post(c, "/v1/keys",
                  json_pack("{s:s,s:s,s:s,s:s}", "hash", hash64, "name", a->name, "limit_units",
                            units_text, "purpose", a->purpose),
                  &reply);
    if (st == EMAC_OK) {
        amount_of(limit, reply, "limit_units");
        if (!c->json)
            printf("%s\n", token);
        cli_say(c, "key %s may spend %s EMAC of %s; it is shown this once", cli_str(reply, "id"),
                limit, c->identity.did);
        json_object_set_new(reply, "key", json_string(token));
        cli_result(c, reply);
    }
    crypto_wipe(hex, sizeof(hex));
    crypto_wipe(token, sizeof(token));
    return st;
}

static void key_say(struct cli *c, json_t *k)
{
    char spent[32], limit[32];
    amount_of(spent, k, "spent_units");
    amount_of(limit, k, "limit_units");
    cli_say(c, "%s %-8s %-10s %6.0f requests %9.0f tokens, %s of %s EMAC  %s", cli_str(k, "id"),
            cli_str(k, "state"), cli_str(k, "purpose"), cli_num(k, "requests"),
            cli_num(k, "prompt_tokens") + cli_num(k, "completion_tokens"), spent, limit,
            cli_str(k, "name"));
}

static enum emac_status id_check(struct cli *c, const char *id)
{
    if (strlen(id) == 16 && strspn(id, "0123456789abcdef") == 16)
        return EMAC_OK;
    return emac_fail(&c->err, EMAC_INVALID,
                     "'%.80s' is not the id of an API key: 'emac key list' shows them", id);
}

static enum emac_status revoke(struct cli *c, const char *id)
{
    char path[64];
    json_t *reply = NULL;
    snprintf(path, sizeof(path), "/v1/keys/%s/revoke", id);
    enum emac_status st = cli_call(c, "POST", path, json_object(), true, &reply);
    if (st != EMAC_OK)
        return st;
    key_say(c, reply);
    cli_result(c, reply);
    return EMAC_OK;
}

static enum emac_status usage(struct cli *c, const char *id)
{
    char path[64];
    json_t *reply = NULL, *u;
    size_t i;
    snprintf(path, sizeof(path), "/v1/keys/%s/usage?limit=1000", id);
    enum emac_status st = cli_call(c, "GET", path, NULL, true, &reply);
    if (st != EMAC_OK)
        return st;
    key_say(c, json_object_get(reply, "key"));
    json_array_foreach(json_object_get(reply, "usage"), i, u)
    {
        char units[32];
        amount_of(units, u, "units");
        cli_say(c, "%s %-8s %6.0f read %6.0f written %14s EMAC  %s", cli_str(u, "id"),
                cli_str(u, "state"), cli_num(u, "prompt_tokens"), cli_num(u, "completion_tokens"),
                units, cli_str(u, "model"));
    }
    cli_result(c, reply);
    return EMAC_OK;
}

enum emac_status cmd_key(struct cli *c, int argc, char **argv)
{
    struct key_args a = {.name = "", .limit = LIMIT_DEFAULT, .purpose = "commercial"};
    const struct cli_option options[] = {
        {"name", 0, OPT_TEXT, &a.name},
        {"limit", 0, OPT_TEXT, &a.limit},
        {"purpose", 0, OPT_TEXT, &a.purpose},
    };
    const char *pos[CLI_POSITIONALS_MAX];
    enum emac_status st = cli_parse(c, argc, argv, options, EMAC_COUNT(options), pos, 0, 2);
    if (st != EMAC_OK)
        return st;
    if (!pos[0] || strcmp(pos[0], "list") == 0)
        return cli_list(c, "/v1/keys", true, "keys",
                        "you have no API keys: 'emac key new' makes one", key_say);
    if (strcmp(pos[0], "new") == 0)
        return key_new(c, &a);
    bool is_revoke = strcmp(pos[0], "revoke") == 0;
    if (!is_revoke && strcmp(pos[0], "usage") != 0)
        return emac_fail(&c->err, EMAC_INVALID,
                         "unknown action '%s': key knows new, list, revoke and usage", pos[0]);
    if (!pos[1])
        return emac_fail(&c->err, EMAC_INVALID, "key %s takes the id of a key", pos[0]);
    st = id_check(c, pos[1]);
    if (st != EMAC_OK)
        return st;
    return is_revoke ? revoke(c, pos[1]) : usage(c, pos[1]);
}
