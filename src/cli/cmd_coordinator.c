#include <stdlib.h>
#include <string.h>

#include "chain/config.h"
#include "cli/cli.h"
#include "coordinator/coordinator.h"
#include "gateway/gateway.h"
#include "ledger/ledger.h"
#include "node/judge.h"
#include "os/process.h"
#include "work/datacap.h"

struct coordinator_args {
    const char *dir, *address, *chain, *serving, *serving_price, *datacap;
    uint64_t port, window_s;
    double deal_epoch_s;
    bool dev, behind_proxy;
};

#define DATACAP_FILE_MAX   (64u << 10)
/* Who tries things out with one rig should not wait for a second one long. */
#define DEV_CHECK_LAPSE_MS 1000
#define LOOK_MS            60000 /* a stop is seen at once */
#define WINDOW_UNSET       UINT64_MAX
#define WINDOW_USUAL_S     86400 /* where the money is real */
#define DEAL_EPOCH_S_MAX   (7u * 86400u)
#define WINDOW_S_MAX       (366u * 86400u)

/* "<dir>/url" tells scripts and `emac up` where the coordinator listens. */
static enum emac_status write_url(struct cli *c, const char *dir, const char *url)
{
    char path[OS_PATH_MAX];
    int n = snprintf(path, sizeof(path), "%s/url", dir);
    if (n < 0 || (size_t)n >= sizeof(path))
        return emac_fail(&c->err, EMAC_INVALID, "the path '%s' is too long", dir);
    return c->os->file_write(c->os, path, url, strlen(url), 0600, &c->err);
}

static enum emac_status serve(struct cli *c, struct coordinator_config *cfg)
{
    struct coordinator *co = NULL;
    struct judge *judge;
    enum emac_status st = judge_open(c->os, &judge, &c->err);
    if (st != EMAC_OK)
        return st;
    cfg->judge = judge_of(judge);
    st = coordinator_start(cfg, &co, &c->err);
    if (st != EMAC_OK) {
        judge_close(judge);
        return st;
    }
    char *url = http_server_url(cfg->address, coordinator_port(co));
    cli_say(c, "EMAC_URL=%s", url);
    st = write_url(c, cfg->dir, url);
    while (st == EMAC_OK && !os_stop_wait(LOOK_MS))
        ;
    coordinator_stop(co);
    judge_close(judge);
    cli_result(c, json_pack("{s:s}", "url", url));
    free(url);
    return st;
}

/* The play money of a development network buys nothing, so its gateway asks nobody for a key. */
static enum emac_status serving_options(struct cli *c, const struct coordinator_args *a,
                                        struct coordinator_config *cfg)
{
    const char *mode = a->serving ? a->serving : a->dev ? "free" : "metered";
    bool metered = strcmp(mode, "metered") == 0;
    if (!metered && strcmp(mode, "free") != 0)
        return emac_fail(&c->err, EMAC_INVALID, "'--serving %s' must be free or metered", mode);
    cfg->serving = metered ? SERVING_METERED : SERVING_FREE;
    if (a->serving_price == NULL)
        return EMAC_OK;
    enum emac_status st = ledger_amount_parse(a->serving_price, &cfg->serving_units, &c->err);
    if (cfg->serving_units == 0)
        cfg->serving_units = -1;
    return st == EMAC_OK ? st : emac_wrap(&c->err, "--serving-price");
}

static enum emac_status datacap_file(struct cli *c, const char *path, struct datacap_rules *out)
{
    json_t *root = NULL;
    enum emac_status st = cli_yaml_file(c, path, DATACAP_FILE_MAX, &root);
    if (st == EMAC_OK)
        st = datacap_rules_from_json(out, root, &c->err);
    json_decref(root);
    return st == EMAC_OK ? st : emac_wrap(&c->err, "rules of data of value '%s'", path);
}

enum emac_status cmd_coordinator(struct cli *c, int argc, char **argv)
{
    struct coordinator_args a = {.address = "127.0.0.1", .port = 7070, .window_s = WINDOW_UNSET};
    const struct cli_option options[] = {
        {"dir", 0, OPT_TEXT, &a.dir},
        {"address", 0, OPT_TEXT, &a.address},
        {"port", 0, OPT_U64, &a.port},
        {"dev", 0, OPT_FLAG, &a.dev},
        {"chain", 0, OPT_TEXT, &a.chain},
        {"window", 0, OPT_U64, &a.window_s},
        {"behind-proxy", 0, OPT_FLAG, &a.behind_proxy},
        {"serving", 0, OPT_TEXT, &a.serving},
        {"serving-price", 0, OPT_TEXT, &a.serving_price},
        {"deal-epoch", 0, OPT_F64, &a.deal_epoch_s},
        {"datacap", 0, OPT_TEXT, &a.datacap},
    };
    const char *pos[CLI_POSITIONALS_MAX];
    char dir[OS_PATH_MAX];
    enum emac_status st = cli_parse(c, argc, argv, options, EMAC_COUNT(options), pos, 0, 0);
    if (st != EMAC_OK)
        return st;
    if (a.port > 65535)
        return emac_fail(&c->err, EMAC_INVALID, "port goes up to 65535");
    if (a.window_s == WINDOW_UNSET)
        a.window_s = a.dev ? 0 : WINDOW_USUAL_S;
    if (a.window_s > WINDOW_S_MAX)
        return emac_fail(&c->err, EMAC_INVALID, "window goes up to %u seconds, a year",
                         WINDOW_S_MAX);
    if (!(a.deal_epoch_s >= 0 && a.deal_epoch_s <= DEAL_EPOCH_S_MAX))
        return emac_fail(&c->err, EMAC_INVALID, "deal-epoch goes up to %u seconds, a week",
                         DEAL_EPOCH_S_MAX);
    struct coordinator_config cfg = {.os = c->os,
                                     .address = a.address,
                                     .port = (uint16_t)a.port,
                                     .dev = a.dev,
                                     .behind_proxy = a.behind_proxy,
                                     .window_ms = a.window_s * 1000,
                                     .check_lapse_ms = a.dev ? DEV_CHECK_LAPSE_MS : 0,
                                     .deal_epoch_ms = (uint64_t)(a.deal_epoch_s * 1000),
                                     .routes = GATEWAY_ROUTES,
                                     .route_count = GATEWAY_ROUTE_COUNT};
    st = serving_options(c, &a, &cfg);
    if (st != EMAC_OK)
        return st;
    if (a.dir) {
        if (!emac_strcpy(dir, sizeof(dir), a.dir))
            return emac_fail(&c->err, EMAC_INVALID, "the path '%s' is too long", a.dir);
        st = c->os->dir_make(c->os, dir, &c->err);
    } else {
        st = cli_home_path(c, "coordinator", dir, sizeof(dir));
        if (st == EMAC_OK)
            st = c->os->dir_make(c->os, dir, &c->err);
    }
    struct chain_config chain;
    if (st == EMAC_OK && a.chain)
        st = chain_config_load(c->os, a.chain, &chain, &c->err);
    if (st != EMAC_OK)
        return st;
    struct datacap_rules rules;
    if (a.datacap) {
        st = datacap_file(c, a.datacap, &rules);
        if (st != EMAC_OK)
            return st;
        cfg.datacap = &rules;
    }
    cfg.dir = dir;
    cfg.chain = a.chain ? &chain : NULL;
    return serve(c, &cfg);
}
