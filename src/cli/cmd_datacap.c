/* Data of value: notaries' votes, allowances, deals under them, rewards; over HTTP, and with
 * --registry on the chain. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hex.h"
#include "cli/datacap_registry.h"
#include "work/datacap.h"

struct datacap_args {
    struct registry_tool tool; /* application and refuse are both's */
    bool registry;
};

static json_t *bytes_json(const void *data, size_t n)
{
    char text[EMAC_BASE64_LEN(DATACAP_VOTE_MAX) + 1];
    EMAC_ASSERT(n <= DATACAP_VOTE_MAX);
    emac_base64(text, data, n);
    return json_string(text);
}

/* "1099511627776", or with K, M, G, T, P for powers of 1024. */
static enum emac_status bytes_parse(struct cli *c, const char *text, int64_t *out)
{
    static const char UNITS[] = "KMGTP";
    size_t digits = strspn(text, "0123456789");
    const char *unit = text[digits] != '\0' ? strchr(UNITS, text[digits]) : NULL;
    unsigned shift = unit != NULL ? 10 * (unsigned)(unit - UNITS + 1) : 0;
    bool fine = digits > 0 && digits < 17 &&
                (text[digits] == '\0' || (unit != NULL && text[digits + 1] == '\0'));
    unsigned long long n = fine ? strtoull(text, NULL, 10) : 0;
    if (!fine || n == 0 || n > ((unsigned long long)ALLOWANCE_BYTES_MAX >> shift))
        return emac_fail(&c->err, EMAC_INVALID,
                         "'%.40s' must be bytes from 1 to 1P, like 34359738368 or 32G", text);
    *out = (int64_t)(n << shift);
    return EMAC_OK;
}

static void motion_say(struct cli *c, json_t *m)
{
    cli_say(c, "%-8s %-7s %14.0f bytes, %.0f votes: %s", cli_str(m, "kind"), cli_str(m, "outcome"),
            cli_num(m, "bytes"), cli_num(m, "votes"), cli_str(m, "application"));
    cli_say(c, "    for %s", cli_str(m, "client"));
}

/* The network's name comes from the coordinator and is part of what is signed. */
static enum emac_status vote_send(struct cli *c, struct datacap_vote *v)
{
    struct emac_buf object;
    uint8_t sig[ED25519_SIGNATURE_BYTES];
    json_t *rules = NULL, *reply = NULL;
    enum emac_status st;
    emac_buf_init(&object, DATACAP_VOTE_MAX);
    EMAC_TRY(st, cli_identity(c));
    EMAC_TRY(st, cli_call(c, "GET", "/v1/datacap", NULL, false, &rules));
    if (!emac_strcpy(v->network, sizeof(v->network), cli_str(rules, "network"))) {
        st = emac_fail(&c->err, EMAC_CORRUPT, "the coordinator's network has too long a name");
        goto out;
    }
    emac_strcpy(v->notary, sizeof(v->notary), c->identity.did);
    v->issued_ms = c->os->wall_ms(c->os);
    EMAC_TRY(st, datacap_vote_encode(v, &object, &c->err));
    crypto_ed25519_sign(sig, object.data, object.len, c->identity.secret_key);
    EMAC_TRY(st, cli_call(c, "POST", "/v1/datacap/votes",
                          json_pack("{s:o,s:o}", "vote", bytes_json(object.data, object.len),
                                    "signature", bytes_json(sig, sizeof(sig))),
                          true, &reply));
    motion_say(c, reply);
    cli_result(c, reply);
out:
    json_decref(rules);
    emac_buf_release(&object);
    return st;
}

static enum emac_status text_take(struct cli *c, char *out, size_t cap, const char *what,
                                  const char *text)
{
    if (text != NULL && emac_strcpy(out, cap, text))
        return EMAC_OK;
    return emac_fail(&c->err, EMAC_INVALID, "%s must be given, in fewer than %zu bytes", what, cap);
}

static enum emac_status grant(struct cli *c, struct datacap_args *a, const char *client,
                              const char *bytes)
{
    struct datacap_vote v = {.kind = DATACAP_GRANT, .approve = !a->tool.refuse};
    enum emac_status st;
    EMAC_TRY(st, text_take(c, v.client, sizeof(v.client), "the client's did:key", client));
    EMAC_TRY(st, text_take(c, v.application, sizeof(v.application), "--application",
                           a->tool.application));
    if (a->tool.refuse && !a->registry && bytes != NULL)
        return emac_fail(&c->err, EMAC_INVALID, "who refuses names no bytes");
    if ((a->registry || !a->tool.refuse) && bytes == NULL)
        return emac_fail(&c->err, EMAC_INVALID, "datacap grant takes a client and bytes");
    if (bytes != NULL)
        EMAC_TRY(st, bytes_parse(c, bytes, &v.bytes));
    st = a->registry ? registry_tool_grant(&a->tool, client, v.bytes) : vote_send(c, &v);
out:
    return st;
}

static enum emac_status removal(struct cli *c, struct datacap_args *a, const char *client,
                                const char *allowance)
{
    struct datacap_vote v = {.kind = DATACAP_REMOVAL, .approve = !a->tool.refuse};
    enum emac_status st;
    EMAC_TRY(st, text_take(c, v.client, sizeof(v.client), "the client's did:key", client));
    EMAC_TRY(st,
             text_take(c, v.application, sizeof(v.application), "the allowance's id", allowance));
    st = a->registry ? registry_tool_remove(&a->tool, allowance) : vote_send(c, &v);
out:
    return st;
}

static void allowance_say(struct cli *c, json_t *a)
{
    cli_say(c, "%s, by %s%s", cli_str(a, "allowance"), cli_str(a, "origin"),
            json_is_true(json_object_get(a, "removed")) ? ", over" : "");
    cli_say(c, "    %.0f bytes: %.0f left, %.0f in deals, %.0f burnt", cli_num(a, "granted_bytes"),
            cli_num(a, "left_bytes"), cli_num(a, "bound_bytes"), cli_num(a, "burnt_bytes"));
}

static enum emac_status show(struct cli *c, const char *client)
{
    char path[256], empty[DID_KEY_MAX + 32];
    enum emac_status st = client == NULL ? cli_identity(c) : EMAC_OK;
    if (st != EMAC_OK)
        return st;
    uint8_t key[ED25519_PUBLIC_BYTES];
    client = client != NULL ? client : c->identity.did;
    if (!crypto_did_key_parse(key, client))
        return emac_fail(&c->err, EMAC_INVALID, "'%.80s' is no did:key of a client", client);
    snprintf(path, sizeof(path), "/v1/datacap/allowances?limit=1000&client=%s", client);
    snprintf(empty, sizeof(empty), "'%s' has no allowance", client);
    return cli_list(c, path, false, "allowances", empty, allowance_say);
}

static enum emac_status use(struct cli *c, struct datacap_args *a, const char *deal)
{
    char path[256];
    json_t *reply = NULL;
    enum emac_status st = cli_id_check(c, "deal", deal);
    if (st != EMAC_OK)
        return st;
    if (a->registry)
        return registry_tool_use(&a->tool, deal);
    snprintf(path, sizeof(path), "/v1/deals/%s/datacap", deal);
    st = cli_call(c, "POST", path, json_object(), true, &reply);
    if (st != EMAC_OK)
        return st;
    cli_say(c, "deal '%s' has %.0f bytes of your allowance", deal, cli_num(reply, "bound_bytes"));
    cli_result(c, reply);
    return EMAC_OK;
}

static enum emac_status epoch(struct cli *c, const char *number)
{
    char path[64], units[32];
    json_t *reply = NULL, *r;
    size_t i;
    if (number[0] == '\0' || strspn(number, "0123456789") != strlen(number) || strlen(number) > 18)
        return emac_fail(&c->err, EMAC_INVALID, "'%.24s' is no number of an epoch", number);
    snprintf(path, sizeof(path), "/v1/datacap/epochs/%s", number);
    enum emac_status st = cli_call(c, "GET", path, NULL, false, &reply);
    if (st != EMAC_OK)
        return st;
    ledger_amount_text(units, (int64_t)strtoll(cli_str(reply, "units"), NULL, 10));
    cli_say(c, "epoch %s: %s EMAC for %.0f weighted bytes", number, units,
            cli_num(reply, "weighted_bytes"));
    json_array_foreach(json_object_get(reply, "rewards"), i, r)
    {
        ledger_amount_text(units, (int64_t)strtoll(cli_str(r, "units"), NULL, 10));
        cli_say(c, "%-22s %3.0f %14.0f bytes count %15.0f  %16s  %s", cli_str(r, "deal"),
                cli_num(r, "replica"), cli_num(r, "bytes"), cli_num(r, "weighted_bytes"), units,
                cli_str(r, "node"));
    }
    cli_result(c, reply);
    return EMAC_OK;
}

static enum emac_status dispatch(struct cli *c, struct datacap_args *a, const char **pos)
{
    const char *action = pos[0] != NULL ? pos[0] : "list";
    if (strcmp(action, "list") == 0)
        return cli_list(c, "/v1/datacap/motions?limit=1000", false, "motions",
                        "no notary has voted yet", motion_say);
    if (strcmp(action, "grant") == 0)
        return grant(c, a, pos[1], pos[1] ? pos[2] : NULL);
    if (strcmp(action, "remove") == 0)
        return removal(c, a, pos[1], pos[1] ? pos[2] : NULL);
    if (strcmp(action, "show") == 0)
        return show(c, pos[1]);
    if (strcmp(action, "use") == 0 && pos[1])
        return use(c, a, pos[1]);
    if (strcmp(action, "epoch") == 0 && pos[1])
        return epoch(c, pos[1]);
    if (strcmp(action, "notary") == 0 && pos[1] && a->registry)
        return registry_tool_notary(&a->tool, pos[1]);
    if (strcmp(action, "notary") == 0)
        return emac_fail(&c->err, EMAC_INVALID,
                         "datacap notary takes a wallet, and --registry: other notaries are in the "
                         "rules of the coordinator");
    return emac_fail(&c->err, EMAC_INVALID,
                     "unknown action '%s': datacap knows list, grant CLIENT BYTES, remove CLIENT "
                     "ALLOWANCE, show [CLIENT], use DEAL, epoch N and notary WALLET",
                     action);
}

enum emac_status cmd_datacap(struct cli *c, int argc, char **argv)
{
    struct datacap_args a = {.tool = {.chain = {.c = c, .confirm = 1}}};
    struct chain_tool *t = &a.tool.chain;
    const struct cli_option options[] = {
        {"application", 0, OPT_TEXT, &a.tool.application},
        {"refuse", 0, OPT_FLAG, &a.tool.refuse},
        {"registry", 0, OPT_FLAG, &a.registry},
        {"wallet", 0, OPT_TEXT, &a.tool.wallet},
        {"allowance", 0, OPT_TEXT, &a.tool.allowance},
        {"chain", 0, OPT_TEXT, &t->chain_path},
        {"evm-key", 0, OPT_TEXT, &t->key_path},
        {"confirm", 0, OPT_U64, &t->confirm},
    };
    const char *pos[CLI_POSITIONALS_MAX];
    enum emac_status st = cli_parse(c, argc, argv, options, EMAC_COUNT(options), pos, 0, 3);
    if (st == EMAC_OK && !a.registry && (a.tool.wallet || a.tool.allowance || t->chain_path))
        st = emac_fail(&c->err, EMAC_INVALID,
                       "--wallet, --allowance and --chain go with --registry");
    if (st == EMAC_OK)
        st = dispatch(c, &a, pos);
    chain_tool_release(t);
    return st;
}
