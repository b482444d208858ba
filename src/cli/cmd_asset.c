/* The catalogue of assets: publish, list, show, buy, revoke, lineage. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hex.h"
#include "cli/cli.h"
#include "ledger/ledger.h"
#include "work/licence.h"

#define LICENCE_FILE_MAX (64u << 10)

static json_t *bytes_json(const void *data, size_t n)
{
    char text[EMAC_BASE64_LEN(LICENCE_BYTES_MAX) + 1];
    EMAC_ASSERT(n <= LICENCE_BYTES_MAX);
    emac_base64(text, data, n);
    return json_string(text);
}

static enum emac_status licence_file(struct cli *c, const char *path, struct licence *out)
{
    json_t *root = NULL;
    enum emac_status st = cli_yaml_file(c, path, LICENCE_FILE_MAX, &root);
    if (st == EMAC_OK)
        st = licence_from_json(out, root, &c->err);
    json_decref(root);
    if (st == EMAC_OK)
        st = cli_identity(c);
    if (st != EMAC_OK)
        return emac_wrap(&c->err, "licence file '%s'", path);
    emac_strcpy(out->owner, sizeof(out->owner), c->identity.did);
    out->issued_ms = c->os->wall_ms(c->os);
    return EMAC_OK;
}

static enum emac_status publish(struct cli *c, const char *path)
{
    struct licence l;
    struct emac_buf object;
    uint8_t sig[ED25519_SIGNATURE_BYTES];
    json_t *reply = NULL;
    enum emac_status st;
    emac_buf_init(&object, LICENCE_BYTES_MAX);
    EMAC_TRY(st, licence_file(c, path, &l));
    EMAC_TRY(st, licence_encode(&l, &object, NULL, &c->err));
    crypto_ed25519_sign(sig, object.data, object.len, c->identity.secret_key);
    EMAC_TRY(st, cli_call(c, "POST", "/v1/assets",
                          json_pack("{s:o,s:o}", "licence", bytes_json(object.data, object.len),
                                    "signature", bytes_json(sig, sizeof(sig))),
                          true, &reply));
    cli_say(c, "'%s' is in the catalogue: %s", l.name, cli_str(reply, "asset"));
    cli_result(c, reply);
out:
    emac_buf_release(&object);
    return st;
}

static void terms_say(struct cli *c, json_t *a)
{
    json_t *price = json_object_get(a, "price"), *who;
    char income[32];
    size_t i;
    ledger_amount_text(income, (int64_t)strtoll(cli_str(a, "income_units"), NULL, 10));
    cli_say(c, "%s '%s', %s", cli_str(a, "kind"), cli_str(a, "name"), cli_str(a, "state"));
    cli_say(c, "asset        %s", cli_str(a, "asset"));
    cli_say(c, "licence      %s", cli_str(a, "licence"));
    cli_say(c, "owner        %s", cli_str(a, "owner"));
    cli_say(c, "price        %s EMAC once, %s EMAC a million tokens or samples trained on",
            cli_str(price, "once"), cli_str(price, "train"));
    cli_say(c, "             %s EMAC a million tokens read and written",
            cli_str(price, "inference"));
    cli_say(c, "share        %.4g %% of what a model made from it earns",
            100 * cli_num(a, "share"));
    cli_say(c, "commercial   %s", json_is_true(json_object_get(a, "commercial")) ? "yes" : "no");
    if (cli_str(a, "attribution")[0])
        cli_say(c, "attribution  %s", cli_str(a, "attribution"));
    json_array_foreach(json_object_get(a, "allow"), i, who)
        cli_say(c, "for          %s", json_string_value(who));
    cli_say(c, "income       %s EMAC", income);
}

static void row_say(struct cli *c, json_t *a)
{
    cli_say(c, "%-5s %-8s %-24s %s", cli_str(a, "kind"), cli_str(a, "state"), cli_str(a, "name"),
            cli_str(a, "asset"));
}

static void lineage_say(struct cli *c, json_t *node, int depth)
{
    json_t *parent;
    size_t i;
    const char *name = cli_str(node, "name");
    char share[40] = "";
    if (depth > 0)
        snprintf(share, sizeof(share), ", %.4g %% of the above's income",
                 100 * cli_num(node, "share"));
    cli_say(c, "%*s%s%s", 4 * depth, "", name[0] ? name : "not in the catalogue", share);
    cli_say(c, "%*s%s", 4 * depth, "", cli_str(node, "asset"));
    json_array_foreach(json_object_get(node, "parents"), i, parent)
        lineage_say(c, parent, depth + 1);
}

/* A call about one asset; `say` prints the answer. */
static enum emac_status about(struct cli *c, const char *method, const char *cid,
                              const char *action, json_t *body, bool sign,
                              void (*say)(struct cli *c, json_t *reply))
{
    char path[256];
    json_t *reply = NULL;
    struct cid parsed;
    enum emac_status st = cid_parse(&parsed, cid, &c->err);
    if (st != EMAC_OK) {
        json_decref(body);
        return st;
    }
    snprintf(path, sizeof(path), "/v1/assets/%s%s", cid, action);
    st = cli_call(c, method, path, body, sign, &reply);
    if (st != EMAC_OK)
        return st;
    say(c, reply);
    cli_result(c, reply);
    return EMAC_OK;
}

static void lineage_reply_say(struct cli *c, json_t *reply)
{
    lineage_say(c, json_object_get(reply, "lineage"), 0);
}

/* Buy at the price that is shown now: a higher one is refused. */
static enum emac_status buy(struct cli *c, const char *cid)
{
    char path[256], units_text[24];
    json_t *reply = NULL;
    struct cid parsed;
    int64_t units = 0;
    enum emac_status st = cid_parse(&parsed, cid, &c->err);
    if (st != EMAC_OK)
        return st;
    snprintf(path, sizeof(path), "/v1/assets/%s", cid);
    st = cli_call(c, "GET", path, NULL, false, &reply);
    if (st == EMAC_OK)
        st = ledger_amount_parse(cli_str(json_object_get(reply, "price"), "once"), &units, &c->err);
    json_decref(reply);
    if (st != EMAC_OK)
        return st;
    if (units == 0)
        return emac_fail(&c->err, EMAC_CONFLICT, "'%s' is not for sale: its use needs no purchase",
                         cid);
    snprintf(units_text, sizeof(units_text), "%lld", (long long)units);
    return about(c, "POST", cid, "/buy", json_pack("{s:s}", "units", units_text), true, terms_say);
}

enum emac_status cmd_asset(struct cli *c, int argc, char **argv)
{
    const char *pos[CLI_POSITIONALS_MAX];
    enum emac_status st = cli_parse(c, argc, argv, NULL, 0, pos, 0, 2);
    if (st != EMAC_OK)
        return st;
    if (!pos[0] || strcmp(pos[0], "list") == 0)
        return cli_list(c, "/v1/assets?limit=1000", false, "assets", "the catalogue is empty",
                        row_say);
    bool is_publish = strcmp(pos[0], "publish") == 0;
    bool known = is_publish || strcmp(pos[0], "show") == 0 || strcmp(pos[0], "buy") == 0 ||
                 strcmp(pos[0], "revoke") == 0 || strcmp(pos[0], "lineage") == 0;
    if (!known)
        return emac_fail(&c->err, EMAC_INVALID,
                         "unknown action '%s': asset knows publish, list, show, buy, revoke and "
                         "lineage",
                         pos[0]);
    if (!pos[1])
        return emac_fail(&c->err, EMAC_INVALID, "asset %s takes %s", pos[0],
                         is_publish ? "a licence file" : "the CID of an asset");
    if (is_publish)
        return publish(c, pos[1]);
    if (strcmp(pos[0], "buy") == 0)
        return buy(c, pos[1]);
    if (strcmp(pos[0], "revoke") == 0)
        return about(c, "POST", pos[1], "/revoke", json_object(), true, terms_say);
    return about(c, "GET", pos[1], "", NULL, false,
                 strcmp(pos[0], "show") == 0 ? terms_say : lineage_reply_say);
}
