#include <string.h>

#include "cli/cli.h"
#include "exchange/exchange.h"

static enum emac_status push(struct cli *c, struct store *s, const struct cid *cid)
{
    struct http_client *http;
    uint64_t bytes = 0;
    enum emac_status st = cli_identity(c);
    if (st == EMAC_OK)
        st = cli_http(c, &http);
    if (st == EMAC_OK)
        st = exchange_push(s, http, cid, c->url, &c->identity.signer, &bytes, &c->err);
    return st;
}

static enum emac_status data_add(struct cli *c, struct store *s, const char *path)
{
    struct cid cid;
    uint64_t size = 0;
    char text[CID_TEXT_MAX];
    enum emac_status st = store_file_add(s, path, &cid, &size, &c->err);
    if (st == EMAC_OK)
        st = store_pin(s, "data", &cid, &c->err);
    if (st == EMAC_OK && c->url_given)
        st = push(c, s, &cid);
    if (st != EMAC_OK)
        return st;
    cid_text(text, &cid);
    cli_say(c, "%s", text);
    cli_result(c, json_pack("{s:s,s:I,s:b}", "cid", text, "size", (json_int_t)size, "pushed",
                            c->url_given));
    return EMAC_OK;
}

static enum emac_status data_get(struct cli *c, struct store *s, const char *name, const char *path)
{
    struct cid cid;
    uint64_t size = 0;
    enum emac_status st = cid_parse(&cid, name, &c->err);
    if (st == EMAC_OK && !path)
        st = emac_fail(&c->err, EMAC_INVALID, "where to? add -o FILE");
    if (st == EMAC_OK)
        st = cli_fetch(c, s, &cid);
    if (st == EMAC_OK)
        st = store_file_size(s, &cid, &size, &c->err);
    if (st == EMAC_OK)
        st = store_file_export(s, &cid, path, &c->err);
    if (st != EMAC_OK)
        return st;
    cli_say(c, "wrote %llu bytes to %s", (unsigned long long)size, path);
    cli_result(c, json_pack("{s:s,s:I,s:s}", "cid", name, "size", (json_int_t)size, "path", path));
    return EMAC_OK;
}

enum emac_status cmd_data(struct cli *c, int argc, char **argv)
{
    const char *out = NULL;
    const struct cli_option options[] = {{"output", 'o', OPT_TEXT, &out}};
    const char *pos[CLI_POSITIONALS_MAX];
    enum emac_status st = cli_parse(c, argc, argv, options, EMAC_COUNT(options), pos, 2, 2);
    if (st != EMAC_OK)
        return st;
    bool add = strcmp(pos[0], "add") == 0;
    if (!add && strcmp(pos[0], "get") != 0)
        return emac_fail(&c->err, EMAC_INVALID, "unknown action '%s': data knows add and get",
                         pos[0]);
    struct store *s = NULL;
    st = cli_store(c, &s);
    if (st != EMAC_OK)
        return st;
    st = add ? data_add(c, s, pos[1]) : data_get(c, s, pos[1], out);
    store_close(s);
    return st;
}
