#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "ledger/ledger.h"

struct ledger_args {
    const char *prefix;
    uint64_t after, limit;
};

static void amount_column(char out[32], json_t *item)
{
    long long units = strtoll(cli_str(item, "units"), NULL, 10);
    if (ledger_asset_of(cli_str(item, "account")) == LEDGER_BYTES)
        snprintf(out, 32, "%lld B", units);
    else
        ledger_amount_text(out, units);
}

static enum emac_status show_balances(struct cli *c, const struct ledger_args *a)
{
    char path[512], amount[32];
    snprintf(path, sizeof(path), "/v1/ledger/balances?prefix=%s", a->prefix);
    json_t *reply, *item;
    size_t i;
    enum emac_status st = cli_call(c, "GET", path, NULL, false, &reply);
    if (st != EMAC_OK)
        return st;
    json_array_foreach(json_object_get(reply, "balances"), i, item)
    {
        amount_column(amount, item);
        cli_say(c, "%20s  %s", amount, cli_str(item, "account"));
    }
    cli_result(c, reply);
    return EMAC_OK;
}

static enum emac_status show_journal(struct cli *c, const struct ledger_args *a)
{
    char path[512], amount[32];
    snprintf(path, sizeof(path), "/v1/ledger/journal?after=%llu&limit=%llu",
             (unsigned long long)a->after, (unsigned long long)a->limit);
    json_t *reply, *item;
    size_t i;
    enum emac_status st = cli_call(c, "GET", path, NULL, false, &reply);
    if (st != EMAC_OK)
        return st;
    json_array_foreach(json_object_get(reply, "journal"), i, item)
    {
        amount_column(amount, item);
        cli_say(c, "%6.0f %-8s %-18s %20s  %s", cli_num(item, "posting"), cli_str(item, "cause"),
                cli_str(item, "job"), amount, cli_str(item, "account"));
    }
    cli_result(c, reply);
    return EMAC_OK;
}

static enum emac_status show_audit(struct cli *c)
{
    json_t *reply, *item;
    size_t i;
    enum emac_status st = cli_call(c, "GET", "/v1/ledger/audit", NULL, false, &reply);
    if (st != EMAC_OK)
        return st;
    json_array_foreach(json_object_get(reply, "findings"), i, item)
        cli_say(c, "broken: %s", json_string_value(item));
    size_t broken = json_array_size(json_object_get(reply, "findings"));
    bool ok = json_is_true(json_object_get(reply, "ok"));
    cli_say(c, "%s: %.0f postings, %.0f accounts, total %.0f units",
            ok ? "every invariant holds" : "AUDIT FAILED", cli_num(reply, "postings"),
            cli_num(reply, "accounts"), cli_num(reply, "total_units"));
    cli_result(c, reply);
    if (!ok)
        return emac_fail(&c->err, EMAC_CORRUPT,
                         "the ledger breaks %zu invariants: stop the coordinator and keep its "
                         "database for an investigation",
                         broken);
    return EMAC_OK;
}

enum emac_status cmd_ledger(struct cli *c, int argc, char **argv)
{
    struct ledger_args a = {.prefix = "", .limit = 1000};
    const struct cli_option options[] = {
        {"prefix", 0, OPT_TEXT, &a.prefix},
        {"after", 0, OPT_U64, &a.after},
        {"limit", 0, OPT_U64, &a.limit},
    };
    const char *pos[CLI_POSITIONALS_MAX];
    enum emac_status st = cli_parse(c, argc, argv, options, EMAC_COUNT(options), pos, 0, 1);
    if (st != EMAC_OK)
        return st;
    if (!pos[0] || strcmp(pos[0], "balances") == 0)
        return show_balances(c, &a);
    if (strcmp(pos[0], "journal") == 0)
        return show_journal(c, &a);
    if (strcmp(pos[0], "audit") == 0)
        return show_audit(c);
    return emac_fail(&c->err, EMAC_INVALID,
                     "unknown action '%s': ledger knows balances, journal and audit", pos[0]);
}
