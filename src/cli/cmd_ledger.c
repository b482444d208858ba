#include <stdlib.h>
#include <string.h>

#include "base/hex.h"
#include "cli/cli.h"
#include "ledger/ledger.h"
#include "sched/draw.h"
#include "sched/trust.h"

struct ledger_args {
    const char *prefix;
    uint64_t after, limit, epoch;
};

static void amount_column(char out[32], json_t *item)
{
    long long units = strtoll(cli_str(item, "units"), NULL, 10);
    if (ledger_asset_of(cli_str(item, "account")) == LEDGER_BYTES)
        snprintf(out, 32, "%lld B", units);
    else
        ledger_amount_text(out, units);
}

static void balance_say(struct cli *c, json_t *item)
{
    char amount[32];
    amount_column(amount, item);
    cli_say(c, "%20s  %s", amount, cli_str(item, "account"));
}

static enum emac_status show_balances(struct cli *c, const struct ledger_args *a)
{
    char *prefix = cli_encoded(a->prefix);
    char *path = emac_asprintf("/v1/ledger/balances?prefix=%s", prefix);
    enum emac_status st = cli_list(c, path, false, "balances", NULL, balance_say);
    free(path);
    free(prefix);
    return st;
}

static void entry_say(struct cli *c, json_t *item)
{
    char amount[32];
    amount_column(amount, item);
    cli_say(c, "%6.0f %-8s %-18s %20s  %s", cli_num(item, "posting"), cli_str(item, "cause"),
            cli_str(item, "job"), amount, cli_str(item, "account"));
}

static enum emac_status show_journal(struct cli *c, const struct ledger_args *a)
{
    char path[512];
    snprintf(path, sizeof(path), "/v1/ledger/journal?after=%llu&limit=%llu",
             (unsigned long long)a->after, (unsigned long long)a->limit);
    return cli_list(c, path, false, "journal", NULL, entry_say);
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

/* ---- the lots, drawn again ---- */

struct redraw {
    uint8_t secret[DRAW_SECRET];
    uint64_t drawn, picked, checked, wrong;
    double expected;             /* picks, by the shares */
    char last[CID_TEXT_MAX * 2]; /* "job/task" */
};

static bool redraw_one(struct redraw *r, json_t *d)
{
    struct cid task, receipt;
    uint8_t seed[SHA256_BYTES];
    double share = cli_num(d, "share_ppm");
    bool checked = json_is_true(json_object_get(d, "checked"));
    size_t answered = json_array_size(json_object_get(d, "answered"));
    r->drawn++;
    r->picked += checked;
    r->checked += checked && answered > 1;
    r->expected += share / TRUST_PPM;
    snprintf(r->last, sizeof(r->last), "%s/%s", cli_str(d, "job"), cli_str(d, "task"));
    if (!(share >= 0 && share <= TRUST_PPM) ||
        cid_parse(&task, cli_str(d, "task"), NULL) != EMAC_OK ||
        cid_parse(&receipt, cli_str(d, "receipt"), NULL) != EMAC_OK)
        return false;
    draw_seed(seed, r->secret, &task, &receipt);
    return draw_checked(seed, (uint32_t)share) == checked;
}

static enum emac_status redraw_page(struct cli *c, struct redraw *r, uint64_t epoch, size_t *count)
{
    json_t *page = NULL, *d;
    size_t i;
    char *path = emac_asprintf("/v1/checks/%llu?after=%s", (unsigned long long)epoch, r->last);
    enum emac_status st = cli_call(c, "GET", path, NULL, false, &page);
    free(path);
    *count = json_array_size(json_object_get(page, "draws"));
    json_array_foreach(json_object_get(page, "draws"), i, d)
    {
        if (redraw_one(r, d))
            continue;
        r->wrong++;
        cli_say(c, "not as drawn: task %s of job %s, rig %s", cli_str(d, "task"), cli_str(d, "job"),
                cli_str(d, "of"));
    }
    json_decref(page);
    return st;
}

/* The secret of the epoch, proven against the anchor. */
static enum emac_status secret_get(struct cli *c, uint64_t *epoch, uint8_t secret[DRAW_SECRET])
{
    json_t *head = NULL, *page = NULL;
    uint8_t anchor[DRAW_SECRET];
    enum emac_status st = cli_call(c, "GET", "/v1/checks", NULL, false, &head);
    if (st != EMAC_OK)
        return st;
    if (*epoch == 0)
        *epoch = (uint64_t)cli_num(head, "revealed");
    bool sound = emac_unhex(anchor, sizeof(anchor), cli_str(head, "anchor"));
    json_decref(head);
    if (*epoch == 0)
        return emac_fail(
            &c->err, EMAC_UNAVAILABLE,
            "no epoch's secret is told yet: that takes one to two epochs of %llu hours",
            (unsigned long long)(DRAW_EPOCH_MS / 3600000));
    char *path = emac_asprintf("/v1/checks/%llu?limit=1", (unsigned long long)*epoch);
    st = cli_call(c, "GET", path, NULL, false, &page);
    free(path);
    if (st == EMAC_OK && json_is_null(json_object_get(page, "secret")))
        st = emac_fail(&c->err, EMAC_UNAVAILABLE, "the secret of epoch %llu is not told yet",
                       (unsigned long long)*epoch);
    else if (st == EMAC_OK &&
             (!sound || !emac_unhex(secret, DRAW_SECRET, cli_str(page, "secret")) ||
              !draw_secret_holds(secret, (uint32_t)*epoch, anchor)))
        st = emac_fail(&c->err, EMAC_CORRUPT,
                       "the secret of epoch %llu does not lead to the anchor: the coordinator did "
                       "not keep to the secrets it was bound to",
                       (unsigned long long)*epoch);
    json_decref(page);
    return st;
}

static enum emac_status show_checks(struct cli *c, const struct ledger_args *a)
{
    struct redraw r = {.drawn = 0};
    uint64_t epoch = a->epoch;
    size_t count;
    enum emac_status st = secret_get(c, &epoch, r.secret);
    if (st != EMAC_OK)
        return st;
    do
        st = redraw_page(c, &r, epoch, &count);
    while (st == EMAC_OK && count > 0);
    if (st != EMAC_OK)
        return st;
    cli_say(c,
            "epoch %llu: %llu results, %llu picked (%.1f were to be expected), %llu of those "
            "computed again%s",
            (unsigned long long)epoch, (unsigned long long)r.drawn, (unsigned long long)r.picked,
            r.expected, (unsigned long long)r.checked, r.wrong ? "" : "; all as drawn");
    cli_result(c, json_pack("{s:I,s:I,s:I,s:I,s:I,s:f}", "epoch", (json_int_t)epoch, "drawn",
                            (json_int_t)r.drawn, "picked", (json_int_t)r.picked, "checked",
                            (json_int_t)r.checked, "wrong", (json_int_t)r.wrong, "expected",
                            r.expected));
    if (r.wrong > 0)
        return emac_fail(&c->err, EMAC_CORRUPT,
                         "%llu results of epoch %llu were not checked as the lot says",
                         (unsigned long long)r.wrong, (unsigned long long)epoch);
    return EMAC_OK;
}

enum emac_status cmd_ledger(struct cli *c, int argc, char **argv)
{
    struct ledger_args a = {.prefix = "", .limit = 1000};
    const struct cli_option options[] = {
        {"prefix", 0, OPT_TEXT, &a.prefix},
        {"after", 0, OPT_U64, &a.after},
        {"limit", 0, OPT_U64, &a.limit},
        {"epoch", 0, OPT_U64, &a.epoch},
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
    if (strcmp(pos[0], "checks") == 0)
        return show_checks(c, &a);
    return emac_fail(&c->err, EMAC_INVALID,
                     "unknown action '%s': ledger knows balances, journal, audit and checks",
                     pos[0]);
}
