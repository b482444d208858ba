#include <stdlib.h>
#include <string.h>

#include "chain/amount.h"
#include "cli/chain_tool.h"

#define HOUR_S UINT64_C(3600)
#define DAY_S  (24 * HOUR_S)

#define CONFIRMATIONS_MAX 100000

struct chain_args {
    struct chain_tool tool;
    const char *out, *token, *name, *symbol, *supply, *cap, *stake, *least;
    const char *operator_did, *identity;
    const char *proposer, *guardian, *ledger, *arbiter, *notaries;
    uint64_t window, delay, confirmations, quorum, datacap_days;
    uint8_t role[4][EVM_ADDRESS_BYTES], notary[CHAIN_NOTARIES_MAX][EVM_ADDRESS_BYTES];
};

/* ---- deploy ---- */

struct deploy_log {
    struct cli *c;
    uint64_t gas;
    uint32_t steps;
};

static void deploy_said(void *ctx, const char *what, const struct chain_receipt *r)
{
    struct deploy_log *log = ctx;
    log->gas += r->gas_used;
    log->steps++;
    cli_say(log->c, "%-14s block %llu, %llu gas", what, (unsigned long long)r->block_number,
            (unsigned long long)r->gas_used);
}

static enum emac_status roles_of(struct chain_args *a, struct chain_terms *t)
{
    const char *const text[] = {a->proposer, a->guardian, a->ledger, a->arbiter};
    const uint8_t **const place[] = {&t->proposer, &t->guardian, &t->ledger, &t->arbiter};
    enum emac_status st = EMAC_OK;
    for (size_t i = 0; i < EMAC_COUNT(text) && st == EMAC_OK; i++) {
        if (text[i] == NULL)
            continue;
        st = chain_tool_address(a->tool.c, text[i], a->role[i]);
        *place[i] = a->role[i];
    }
    return st;
}

/* Who votes on data of value, and how many must agree. */
static enum emac_status notaries_of(struct chain_args *a, struct chain_terms *t)
{
    struct cli *c = a->tool.c;
    enum emac_status st = EMAC_OK;
    uint32_t count = a->notaries != NULL ? cli_items(a->notaries, ',') : 0;
    if (count > CHAIN_NOTARIES_MAX)
        return emac_fail(&c->err, EMAC_INVALID, "at most %d notaries can be named",
                         CHAIN_NOTARIES_MAX);
    if (a->quorum < 1 || a->quorum > CHAIN_NOTARIES_MAX || (count > 0 && a->quorum > count))
        return emac_fail(&c->err, EMAC_INVALID,
                         "quorum goes from 1 to %d, and not beyond the notaries named",
                         CHAIN_NOTARIES_MAX);
    if (a->datacap_days < 1 || a->datacap_days > 1825)
        return emac_fail(&c->err, EMAC_INVALID, "datacap-days goes from 1 to 1825");
    for (uint32_t i = 0; i < count && st == EMAC_OK; i++) {
        char *item = cli_item(a->notaries, ',', i);
        st = chain_tool_address(c, item, a->notary[i]);
        free(item);
    }
    t->notary = a->notary;
    t->notary_count = count;
    t->notaries_quorum = a->quorum;
    t->datacap_lifetime_s = a->datacap_days * DAY_S;
    return st;
}

static enum emac_status terms_of(struct chain_args *a, struct chain_terms *t)
{
    struct cli *c = a->tool.c;
    int64_t cap = 0, stake = 0;
    enum emac_status st;
    *t = (struct chain_terms){.token_name = a->name,
                              .token_symbol = a->symbol,
                              .has_token = a->token != NULL,
                              .withdraw_delay_s = a->delay,
                              .change_delay_s = a->delay,
                              .slash_delay_s = a->delay,
                              .unbond_delay_s = 2 * a->delay,
                              .window_s = a->window,
                              .resolve_window_s = a->delay};
    if (a->delay < HOUR_S || a->delay > 30 * DAY_S || a->window < HOUR_S || a->window > 60 * DAY_S)
        return emac_fail(&c->err, EMAC_INVALID,
                         "delay goes from 3600 to 2592000 s, window from 3600 to 5184000 s");
    EMAC_TRY(st, ledger_amount_parse(a->supply, &t->supply_units, &c->err));
    EMAC_TRY(st, ledger_amount_parse(a->cap, &cap, &c->err));
    EMAC_TRY(st, ledger_amount_parse(a->stake, &stake, &c->err));
    t->epoch_cap_units = (uint64_t)cap;
    t->challenge_stake_units = (uint64_t)stake;
    if (t->has_token)
        EMAC_TRY(st, chain_tool_address(c, a->token, t->token));
    EMAC_TRY(st, notaries_of(a, t));
    st = roles_of(a, t);
out:
    return st;
}

/* Who closes epochs: --operator, or the user's own key. */
static enum emac_status operator_of(struct chain_args *a)
{
    struct chain_tool *t = &a->tool;
    t->account = a->operator_did;
    enum emac_status st = chain_tool_account(t);
    if (st == EMAC_OK)
        emac_strcpy(t->cfg.operator_did, sizeof(t->cfg.operator_did), t->account_did);
    return st;
}

static void deploy_result(const struct chain_tool *t, const struct deploy_log *log)
{
    char vault[EVM_ADDRESS_MAX], token[EVM_ADDRESS_MAX];
    crypto_evm_address_text(vault, t->cfg.address[CHAIN_VAULT]);
    crypto_evm_address_text(token, t->cfg.token);
    cli_say(t->c, "token %s, vault %s: see '%s'", token, vault, t->path);
    cli_say(t->c, "give that file to the coordinator (--chain) and to users; it holds no secret");
    cli_result(t->c, json_pack("{s:s, s:s, s:s, s:I, s:I}", "chain", t->path, "token", token,
                               "vault", vault, "gas", (json_int_t)log->gas, "transactions",
                               (json_int_t)log->steps));
}

static enum emac_status chain_make(struct chain_args *a)
{
    struct chain_tool *t = &a->tool;
    struct cli *c = t->c;
    struct chain_terms terms;
    struct deploy_log log = {.c = c};
    uint64_t size;
    enum emac_status st;
    if (t->rpc == NULL)
        return emac_fail(&c->err, EMAC_INVALID, "deploy needs the URL of a node: --rpc URL");
    if (a->confirmations > CONFIRMATIONS_MAX)
        return emac_fail(&c->err, EMAC_INVALID, "confirmations goes up to %d blocks",
                         CONFIRMATIONS_MAX);
    t->chain_path = a->out ? a->out : t->chain_path;
    EMAC_TRY(st, chain_tool_path(t));
    if (c->os->file_size(c->os, t->path, &size, NULL) == EMAC_OK)
        return emac_fail(&c->err, EMAC_CONFLICT,
                         "'%s' is there already and may name contracts that hold money: move it "
                         "away first",
                         t->path);
    EMAC_TRY(st, terms_of(a, &terms));
    if (!emac_strcpy(t->cfg.url[0], CHAIN_RPC_URL_MAX, t->rpc))
        return emac_fail(&c->err, EMAC_INVALID, "the URL of the node is too long");
    t->cfg.urls = 1;
    t->cfg.confirmations = a->confirmations;
    EMAC_TRY(st, ledger_amount_parse(a->least, &t->cfg.least_units, &c->err));
    EMAC_TRY(st, operator_of(a));
    EMAC_TRY(st, chain_tool_sender(t));
    EMAC_TRY(st, chain_deploy(&t->sender, &terms, &t->cfg, deploy_said, &log, &c->err));
    EMAC_TRY(st, chain_config_write(c->os, t->path, &t->cfg, &c->err));
    deploy_result(t, &log);
out:
    return st;
}

/* ---- key, status ---- */

static enum emac_status chain_key(struct chain_tool *t)
{
    char address[EVM_ADDRESS_MAX];
    enum emac_status st = chain_tool_key(t);
    if (st != EMAC_OK)
        return st;
    crypto_evm_address_text(address, t->sender.address);
    cli_say(t->c, "%s", address);
    cli_result(t->c, json_pack("{s:s}", "address", address));
    return EMAC_OK;
}

static void say_units(struct cli *c, json_t *o, const char *key, const char *what, int64_t units)
{
    char text[32];
    ledger_amount_text(text, units);
    cli_say(c, "%-12s %s EMAC", what, text);
    json_object_set_new(o, key, json_sprintf("%lld", (long long)units));
}

/* What the wallet has: whole units of the token, and gas. */
static enum emac_status say_wallet(struct chain_tool *t, json_t *o)
{
    struct cli *c = t->c;
    struct u256 wei, units, gas;
    uint64_t whole = 0;
    char address[EVM_ADDRESS_MAX], gas_text[U256_DEC_MAX];
    enum emac_status st =
        chain_read_token(t->sender.node, &t->cfg, t->sender.address, &wei, &c->err);
    if (st == EMAC_OK)
        st = chain_node_balance(t->sender.node, t->sender.address, &gas, &c->err);
    if (st != EMAC_OK)
        return st;
    u256_div_u64(&wei, CHAIN_WEI_PER_UNIT, &units);
    if (!u256_to_u64(&units, &whole) || whole > INT64_MAX)
        whole = INT64_MAX;
    crypto_evm_address_text(address, t->sender.address);
    u256_text(gas_text, &gas);
    cli_say(c, "wallet       %s, %s wei for gas", address, gas_text);
    json_object_set_new(o, "wallet", json_string(address));
    say_units(c, o, "wallet_units", "", (int64_t)whole);
    return EMAC_OK;
}

static enum emac_status say_contracts(struct chain_tool *t, json_t *o)
{
    struct cli *c = t->c;
    struct chain_pool p;
    struct chain_active active;
    struct chain_proposal pending;
    enum emac_status st;
    EMAC_TRY(st, chain_read_pool(t->sender.node, &t->cfg, &p, &c->err));
    EMAC_TRY(st, chain_read_active(t->sender.node, &t->cfg, &active, &c->err));
    EMAC_TRY(st, chain_read_pending(t->sender.node, &t->cfg, &pending, &c->err));
    say_units(c, o, "funded_units", "funded", (int64_t)p.funded);
    say_units(c, o, "paid_units", "paid", (int64_t)p.paid);
    say_units(c, o, "withdrawn_units", "withdrawn", (int64_t)p.withdrawn);
    say_units(c, o, "reserved_units", "reserved", (int64_t)p.reserved);
    say_units(c, o, "bonded_units", "bonded", (int64_t)p.bonded);
    cli_say(c, "epochs       %llu is final, %llu is proposed", (unsigned long long)active.epoch,
            (unsigned long long)pending.epoch);
    json_object_set_new(o, "active_epoch", json_integer((json_int_t)active.epoch));
    json_object_set_new(o, "pending_epoch", json_integer((json_int_t)pending.epoch));
    json_object_set_new(o, "pending_ready_s", json_integer((json_int_t)pending.ready_s));
out:
    return st;
}

/* How the ledger follows; a coordinator that cannot be asked is no failure. */
static void say_ledger(struct chain_tool *t, json_t *o)
{
    struct cli *c = t->c;
    json_t *reply = NULL;
    if (cli_call(c, "GET", "/v1/chain", NULL, false, &reply) != EMAC_OK) {
        cli_say(c, "ledger       not known: %s", c->err.text);
        json_object_set_new(o, "ledger", json_null());
        return;
    }
    const char *problem = cli_str(reply, "problem");
    cli_say(c, "ledger       has events up to block %.0f of %.0f final ones%s%s",
            cli_num(reply, "block"), cli_num(reply, "final_block"), *problem ? "; PROBLEM: " : "",
            problem);
    say_units(c, o, "held_units", "held for it",
              (int64_t)strtoll(cli_str(reply, "held_units"), NULL, 10));
    json_object_set_new(o, "ledger", reply);
}

static enum emac_status chain_status(struct chain_tool *t)
{
    struct cli *c = t->c;
    json_t *o = json_object();
    enum emac_status st;
    EMAC_TRY(st, chain_tool_sender(t));
    cli_say(c, "chain        %llu by %s", (unsigned long long)t->cfg.chain_id, t->cfg.url[0]);
    json_object_set_new(o, "chain_id", json_integer((json_int_t)t->cfg.chain_id));
    EMAC_TRY(st, say_wallet(t, o));
    EMAC_TRY(st, say_contracts(t, o));
    say_ledger(t, o);
    cli_result(c, json_incref(o));
out:
    json_decref(o);
    return st;
}

/* ---- the command ---- */

static enum emac_status dispatch(struct chain_args *a, const char *action, const char *amount)
{
    struct chain_tool *t = &a->tool;
    struct cli *c = t->c;
    if (strcmp(action, "withdraw") == 0)
        return chain_tool_withdraw(t, amount);
    if (strcmp(action, "deposit") == 0)
        return amount ? chain_tool_deposit(t, amount)
                      : emac_fail(&c->err, EMAC_INVALID, "say how much: emac chain deposit 12.5");
    if (strcmp(action, "payout") == 0)
        return amount ? chain_tool_payout(t, amount)
                      : emac_fail(&c->err, EMAC_INVALID, "say how much: emac chain payout 12.5");
    if (amount != NULL)
        return emac_fail(&c->err, EMAC_INVALID, "'%s' takes no amount", action);
    if (strcmp(action, "status") == 0)
        return chain_status(t);
    if (strcmp(action, "key") == 0)
        return chain_key(t);
    if (strcmp(action, "deploy") == 0)
        return chain_make(a);
    if (strcmp(action, "settle") == 0)
        return chain_tool_settle(t);
    if (strcmp(action, "claim") == 0)
        return chain_tool_claim(t);
    if (strcmp(action, "bind") != 0)
        return emac_fail(&c->err, EMAC_INVALID,
                         "unknown action '%s': chain knows key, deploy, status, deposit, bind, "
                         "settle, claim, payout and withdraw",
                         action);
    char path[OS_PATH_MAX];
    enum emac_status st = EMAC_OK;
    if (a->identity == NULL)
        st = cli_home_path(c, "wallet.key", path, sizeof(path));
    return st == EMAC_OK ? chain_tool_bind(t, a->identity ? a->identity : path) : st;
}

enum emac_status cmd_chain(struct cli *c, int argc, char **argv)
{
    struct chain_args a = {.tool = {.c = c, .confirm = 1},
                           .name = "EMAC",
                           .symbol = "EMAC",
                           .supply = "1000000000",
                           .cap = "1000000",
                           .stake = "100",
                           .least = "0.001",
                           .window = DAY_S,
                           .delay = DAY_S,
                           .quorum = 2,
                           .datacap_days = 60};
    const struct cli_option options[] = {
        {"chain", 0, OPT_TEXT, &a.tool.chain_path},
        {"evm-key", 0, OPT_TEXT, &a.tool.key_path},
        {"account", 0, OPT_TEXT, &a.tool.account},
        {"confirm", 0, OPT_U64, &a.tool.confirm},
        {"key-file", 0, OPT_TEXT, &a.identity},
        {"rpc", 0, OPT_TEXT, &a.tool.rpc},
        {"out", 0, OPT_TEXT, &a.out},
        {"token", 0, OPT_TEXT, &a.token},
        {"token-name", 0, OPT_TEXT, &a.name},
        {"token-symbol", 0, OPT_TEXT, &a.symbol},
        {"supply", 0, OPT_TEXT, &a.supply},
        {"window", 0, OPT_U64, &a.window},
        {"delay", 0, OPT_U64, &a.delay},
        {"epoch-cap", 0, OPT_TEXT, &a.cap},
        {"challenge-stake", 0, OPT_TEXT, &a.stake},
        {"least", 0, OPT_TEXT, &a.least},
        {"confirmations", 0, OPT_U64, &a.confirmations},
        {"operator", 0, OPT_TEXT, &a.operator_did},
        {"proposer", 0, OPT_TEXT, &a.proposer},
        {"guardian", 0, OPT_TEXT, &a.guardian},
        {"ledger-role", 0, OPT_TEXT, &a.ledger},
        {"arbiter", 0, OPT_TEXT, &a.arbiter},
        {"notaries", 0, OPT_TEXT, &a.notaries},
        {"quorum", 0, OPT_U64, &a.quorum},
        {"datacap-days", 0, OPT_U64, &a.datacap_days},
    };
    const char *pos[CLI_POSITIONALS_MAX];
    enum emac_status st = cli_parse(c, argc, argv, options, EMAC_COUNT(options), pos, 0, 2);
    if (st == EMAC_OK)
        st = dispatch(&a, pos[0] ? pos[0] : "status", pos[0] ? pos[1] : NULL);
    chain_tool_release(&a.tool);
    return st;
}
