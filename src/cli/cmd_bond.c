#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "ledger/ledger.h"

#define KEY_BYTES 16

struct bond_args {
    const char *did, *node_dir;
};

/* A rig signs with its own key and stakes what it earned; else the wallet does. */
static enum emac_status signer(struct cli *c, const struct bond_args *a)
{
    if (a->node_dir == NULL)
        return cli_identity(c);
    char *path = emac_asprintf("%s/node.key", a->node_dir);
    enum emac_status st = identity_load(c->os, path, &c->identity, &c->err);
    c->has_identity = st == EMAC_OK;
    free(path);
    return st;
}

static json_t *body_of(const struct bond_args *a)
{
    json_t *body = json_pack("{s:s}", "from", a->node_dir ? "rig" : "user");
    if (a->did != NULL)
        json_object_set_new(body, "did", json_string(a->did));
    return body;
}

static void amount(char out[32], json_t *row, const char *key)
{
    ledger_amount_text(out, (int64_t)strtoll(cli_str(row, key), NULL, 10));
}

static enum emac_status show(struct cli *c, json_t *reply)
{
    json_t *row;
    size_t i;
    char text[32];
    json_array_foreach(json_object_get(reply, "bonds"), i, row)
    {
        amount(text, row, "units");
        bool going = cli_num(row, "return_ms") > 0;
        cli_say(c, "%20s  %s, from %s%s", text, cli_str(row, "did"), cli_str(row, "source"),
                going ? ", going back" : "");
    }
    json_array_foreach(json_object_get(reply, "slashes"), i, row)
    {
        amount(text, row, "units");
        cli_say(c, "%20s  slashed from %s: %s (%s)", text, cli_str(row, "did"), cli_str(row, "why"),
                cli_str(row, "proof"));
    }
    json_array_foreach(json_object_get(reply, "costs"), i, row)
    {
        char bond[32];
        amount(text, row, "held_units");
        amount(bond, row, "bond_units");
        cli_say(c, "%20s  and %s of its bond are what an error of %s in '%s' cost", text, bond,
                cli_str(row, "did"), cli_str(row, "job"));
    }
    cli_result(c, reply);
    return EMAC_OK;
}

static enum emac_status list(struct cli *c, const struct bond_args *a)
{
    json_t *reply = NULL;
    char *path = emac_asprintf("/v1/bonds%s%s", a->did ? "?did=" : "", a->did ? a->did : "");
    enum emac_status st = cli_call(c, "GET", path, NULL, false, &reply);
    free(path);
    return st == EMAC_OK ? show(c, reply) : st;
}

static enum emac_status put(struct cli *c, const struct bond_args *a, const char *text)
{
    int64_t units = 0;
    char key[2 * KEY_BYTES + 1], number[32];
    json_t *reply = NULL;
    enum emac_status st = ledger_amount_parse(text, &units, &c->err);
    if (st == EMAC_OK && units == 0)
        st = emac_fail(&c->err, EMAC_INVALID, "a bond of nothing is none: name an amount");
    if (st == EMAC_OK)
        st = signer(c, a);
    if (st != EMAC_OK)
        return st;
    cli_random_hex(c, key, KEY_BYTES);
    snprintf(number, sizeof(number), "%lld", (long long)units);
    json_t *body = body_of(a);
    json_object_set_new(body, "units", json_string(number));
    json_object_set_new(body, "key", json_string(key));
    st = cli_post(c, "/v1/bonds", body, &reply);
    return st == EMAC_OK ? show(c, reply) : st;
}

static enum emac_status give_back(struct cli *c, const struct bond_args *a)
{
    json_t *reply = NULL;
    enum emac_status st = signer(c, a);
    if (st == EMAC_OK)
        st = cli_post(c, "/v1/bonds/return", body_of(a), &reply);
    return st == EMAC_OK ? show(c, reply) : st;
}

enum emac_status cmd_bond(struct cli *c, int argc, char **argv)
{
    struct bond_args a = {0};
    const struct cli_option options[] = {
        {"did", 0, OPT_TEXT, &a.did},
        {"node-dir", 0, OPT_TEXT, &a.node_dir},
    };
    const char *pos[CLI_POSITIONALS_MAX];
    enum emac_status st = cli_parse(c, argc, argv, options, EMAC_COUNT(options), pos, 0, 2);
    if (st != EMAC_OK)
        return st;
    uint8_t key[ED25519_PUBLIC_BYTES];
    if (a.did != NULL && !crypto_did_key_parse(key, a.did))
        return emac_fail(&c->err, EMAC_INVALID, "'--did %s' is no did:key of a rig", a.did);
    const char *action = pos[0] != NULL ? pos[0] : "list";
    bool puts = strcmp(action, "put") == 0, returns = strcmp(action, "return") == 0;
    if (!puts && !returns && strcmp(action, "list") != 0)
        return emac_fail(&c->err, EMAC_INVALID,
                         "unknown action '%s': bond knows list, put and return", action);
    if (puts != (pos[1] != NULL))
        return emac_fail(&c->err, EMAC_INVALID,
                         puts ? "put takes an amount: emac bond put 10"
                              : "'%s' takes no amount: a bond is returned and listed whole",
                         action);
    return puts ? put(c, &a, pos[1]) : returns ? give_back(c, &a) : list(c, &a);
}
