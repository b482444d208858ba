/* The ledger over HTTP: anybody may read it; that is the point of it. */
#include "coordinator/internal.h"

#include <stdio.h>
#include <string.h>

static void balance_each(void *ctx, const char *account, int64_t units)
{
    json_array_append_new(ctx,
                          json_pack("{s:s, s:o}", "account", account, "units", api_units(units)));
}

enum emac_status ledger_balances_get(void *ctx, const struct http_request *req,
                                     struct http_response *res, struct emac_err *err)
{
    struct coordinator *c = ctx;
    const char *prefix = http_query_get(req, "prefix");
    json_t *list = json_array();
    enum emac_status st = ledger_balances(c->db, prefix ? prefix : "", balance_each, list, err);
    if (st == EMAC_OK)
        return api_reply(res, 200, json_pack("{s:o}", "balances", list), err);
    json_decref(list);
    return st;
}

static void journal_each(void *ctx, const struct ledger_line *l)
{
    json_array_append_new(ctx, json_pack("{s:I, s:I, s:s, s:s, s:s, s:s, s:s, s:o, s:s}", "posting",
                                         (json_int_t)l->posting, "at_ms", (json_int_t)l->at_ms,
                                         "key", l->key, "cause", l->cause, "job", l->job, "detail",
                                         l->detail, "account", l->account, "units",
                                         api_units(l->amount_units), "hash", l->hash_hex));
}

enum emac_status ledger_journal_get(void *ctx, const struct http_request *req,
                                    struct http_response *res, struct emac_err *err)
{
    struct coordinator *c = ctx;
    uint64_t after, limit;
    enum emac_status st = api_query_u64(req, "after", 0, INT64_MAX, &after, err);
    if (st == EMAC_OK)
        st = api_query_u64(req, "limit", 100, API_LIST_MAX, &limit, err);
    if (st != EMAC_OK)
        return st;
    json_t *list = json_array();
    st = ledger_journal(c->db, (int64_t)after, (uint32_t)limit, journal_each, list, err);
    if (st == EMAC_OK)
        return api_reply(res, 200, json_pack("{s:o}", "journal", list), err);
    json_decref(list);
    return st;
}

enum emac_status faucet_post(void *ctx, const struct http_request *req, struct http_response *res,
                             struct emac_err *err)
{
    struct coordinator *c = ctx;
    char did[DID_KEY_MAX], account[LEDGER_ACCOUNT_MAX];
    bool given = false;
    int64_t balance = 0;
    enum emac_status st = api_signer(c, req, did, err);
    if (st != EMAC_OK)
        return st;
    if (c->chain != NULL)
        return emac_fail(err, EMAC_FORBIDDEN,
                         "the money of this network comes from a chain: deposit some with "
                         "`emac chain deposit`");
    if (!c->cfg.dev)
        return emac_fail(err, EMAC_FORBIDDEN,
                         "this is not a development network: there is no faucet");
    snprintf(account, sizeof(account), "user:%s", did);
    EMAC_TRY(st, db_begin(c->db, err));
    st = money_faucet(c, did, &given, err);
    if (st == EMAC_OK)
        st = ledger_balance(c->db, account, &balance, err);
    st = db_end(c->db, st, err);
    if (st == EMAC_OK)
        st = api_reply(res, 200,
                       json_pack("{s:b, s:o}", "given", given, "balance_units", api_units(balance)),
                       err);
out:
    return st;
}
