/* Storage deals: make, list, show, cancel, verify. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hex.h"
#include "cli/cli.h"
#include "cli/data_car.h"
#include "ledger/ledger.h"
#include "work/deal.h"

#define NONCE_BYTES 12
#define DAY_MS      86400000.0
#define DAYS_MAX    36500

struct deal_args {
    uint64_t replicas, epochs;
    double days;
    const char *price, *traffic, *nonce;
};

/* ---- saying ---- */

static void units_text(char out[32], json_t *o, const char *key)
{
    ledger_amount_text(out, strtoll(cli_str(o, key), NULL, 10));
}

static void holders_say(struct cli *c, json_t *deal)
{
    json_t *h;
    size_t i;
    json_array_foreach(json_object_get(deal, "holders"), i, h)
    {
        char bond[32];
        units_text(bond, h, "bond_units");
        cli_say(c, "replica %-3.0f  %-8s %.0f epochs proven, %.0f missed in a row, bond %s  %s%s%s",
                cli_num(h, "replica"), cli_str(h, "state"), cli_num(h, "proven"),
                cli_num(h, "misses"), bond, cli_str(h, "node"), cli_str(h, "note")[0] ? ": " : "",
                cli_str(h, "note"));
    }
}

static void deal_say(struct cli *c, json_t *deal)
{
    char epoch[32], traffic[32], bond[32], escrow[32], size[HUMAN_MAX];
    units_text(epoch, deal, "epoch_units");
    units_text(traffic, deal, "traffic_units");
    units_text(bond, deal, "bond_units");
    units_text(escrow, deal, "escrow_units");
    human_bytes(size, (uint64_t)cli_num(deal, "bytes"));
    cli_say(c, "%s %s", cli_str(deal, "id"), cli_str(deal, "state"));
    cli_say(c, "content      %s, %s as a CAR", cli_str(deal, "cid"), size);
    cli_say(c, "piece        %s", cli_str(deal, "piece"));
    cli_say(c, "client       %s", cli_str(deal, "client"));
    cli_say(c, "replicas     %.0f, in epochs %.0f to %.0f; now %.0f", cli_num(deal, "replicas"),
            cli_num(deal, "made_epoch") + 1, cli_num(deal, "last_epoch"), cli_num(deal, "epoch"));
    cli_say(c, "price        %s EMAC an epoch and replica, %s a transfer; a rig's bond %s", epoch,
            traffic, bond);
    cli_say(c, "escrow       %s EMAC when it was made", escrow);
    holders_say(c, deal);
}

/* ---- make ---- */

static enum emac_status amount_text(struct cli *c, const char *name, const char *emac, char out[24])
{
    int64_t units = 0;
    enum emac_status st = ledger_amount_parse(emac, &units, &c->err);
    if (st != EMAC_OK)
        return emac_wrap(&c->err, "--%s", name);
    snprintf(out, 24, "%lld", (long long)units);
    return EMAC_OK;
}

/* What can be said before anything is fetched, read and uploaded for it. */
static enum emac_status make_check(struct cli *c, const struct deal_args *a)
{
    char units[24];
    enum emac_status st;
    if (a->price == NULL)
        return emac_fail(&c->err, EMAC_INVALID, "at what price? add --price EMAC, a GiB and day");
    if (a->replicas > UINT32_MAX || a->epochs > UINT32_MAX)
        return emac_fail(&c->err, EMAC_INVALID, "--replicas and --epochs are small numbers");
    if ((a->epochs == 0) == !(a->days > 0) || a->days > DAYS_MAX)
        return emac_fail(&c->err, EMAC_INVALID,
                         "for how long? add --days N, up to %d, or --epochs N", DAYS_MAX);
    EMAC_TRY(st, amount_text(c, "price", a->price, units));
    st = amount_text(c, "traffic", a->traffic ? a->traffic : a->price, units);
out:
    return st;
}

/* Days are epochs here: as many as it takes. */
static enum emac_status epochs_of(struct cli *c, const struct deal_args *a, uint64_t *out)
{
    json_t *reply = NULL;
    *out = a->epochs;
    if (a->epochs > 0)
        return EMAC_OK;
    enum emac_status st = cli_call(c, "GET", "/v1/deals/epochs?limit=0", NULL, false, &reply);
    if (st != EMAC_OK)
        return st;
    double epoch_ms = cli_num(reply, "epoch_ms");
    json_decref(reply);
    if (!(epoch_ms >= 1))
        return emac_fail(&c->err, EMAC_CORRUPT,
                         "the coordinator does not say how long an epoch is");
    double epochs = a->days * DAY_MS / epoch_ms;
    *out = (uint64_t)epochs;
    *out += (double)*out < epochs;
    return EMAC_OK;
}

static enum emac_status body_make(struct cli *c, const struct deal_args *a, const char *name,
                                  const struct commp *piece, json_t **out)
{
    char price[24], traffic[24], piece_text[COMMP_TEXT_MAX], nonce[2 * NONCE_BYTES + 1];
    uint64_t epochs = 0;
    enum emac_status st;
    EMAC_TRY(st, amount_text(c, "price", a->price, price));
    EMAC_TRY(st, amount_text(c, "traffic", a->traffic ? a->traffic : a->price, traffic));
    EMAC_TRY(st, epochs_of(c, a, &epochs));
    cli_random_hex(c, nonce, NONCE_BYTES);
    commp_text(piece_text, piece);
    *out = json_pack("{s:s,s:s,s:I,s:I,s:s,s:s,s:s}", "cid", name, "piece", piece_text, "replicas",
                     (json_int_t)a->replicas, "epochs", (json_int_t)epochs, "price_units", price,
                     "traffic_units", traffic, "nonce", a->nonce ? a->nonce : nonce);
out:
    return st;
}

static enum emac_status make_in(struct cli *c, struct store *s, const struct deal_args *a,
                                const char *name)
{
    struct cid cid;
    struct commp piece;
    json_t *body = NULL, *reply = NULL;
    enum emac_status st;
    EMAC_TRY(st, cid_parse(&cid, name, &c->err));
    EMAC_TRY(st, cli_fetch(c, s, &cid));
    EMAC_TRY(st, data_piece_of(c, s, &cid, &piece));
    EMAC_TRY(st, body_make(c, a, name, &piece, &body));
    EMAC_TRY(st, cli_push(c, s, &cid));
    EMAC_TRY(st, cli_post(c, "/v1/deals", json_incref(body), &reply));
    deal_say(c, reply);
    cli_result(c, reply);
out:
    json_decref(body);
    return st;
}

static enum emac_status make(struct cli *c, const struct deal_args *a, const char *name)
{
    struct store *s = NULL;
    enum emac_status st = make_check(c, a);
    if (st == EMAC_OK)
        st = cli_store(c, &s);
    if (st != EMAC_OK)
        return st;
    st = make_in(c, s, a, name);
    store_close(s);
    return st;
}

/* ---- list, show, cancel ---- */

static void row_say(struct cli *c, json_t *d)
{
    char size[HUMAN_MAX];
    human_bytes(size, (uint64_t)cli_num(d, "bytes"));
    cli_say(c, "%s  %-9s %2.0f x %-10s to epoch %-7.0f %s", cli_str(d, "id"), cli_str(d, "state"),
            cli_num(d, "replicas"), size, cli_num(d, "last_epoch"), cli_str(d, "cid"));
}

static enum emac_status about(struct cli *c, const char *method, const char *id, const char *action)
{
    json_t *reply = NULL;
    char *path = emac_asprintf("/v1/deals/%s%s", id, action);
    bool sign = strcmp(method, "POST") == 0;
    enum emac_status st = cli_call(c, method, path, sign ? json_object() : NULL, sign, &reply);
    free(path);
    if (st != EMAC_OK)
        return st;
    deal_say(c, reply);
    cli_result(c, reply);
    return EMAC_OK;
}

/* ---- verify ---- */

struct checking {
    struct cli *c;
    const char *id;
    struct commp piece;
    uint64_t seed_epoch; /* whose seed this is; 0: none yet */
    uint8_t seed[SHA256_BYTES];
    uint64_t right, wrong, missed, old;
};

/* The seed of an epoch, out of what the coordinator bound itself to before (DEAL-1). */
static enum emac_status seed_get(struct checking *k, uint64_t epoch)
{
    json_t *reply = NULL;
    uint8_t commitment[SHA256_BYTES], secret[SHA256_BYTES], head[SHA256_BYTES], hash[SHA256_BYTES];
    if (k->seed_epoch == epoch)
        return EMAC_OK;
    char *path =
        emac_asprintf("/v1/deals/epochs?limit=1&after=%llu", (unsigned long long)epoch - 1);
    enum emac_status st = cli_call(k->c, "GET", path, NULL, false, &reply);
    free(path);
    if (st != EMAC_OK)
        return st;
    json_t *e = json_array_get(json_object_get(reply, "epochs"), 0);
    bool ok = (uint64_t)cli_num(e, "epoch") == epoch &&
              emac_unhex(commitment, SHA256_BYTES, cli_str(e, "commitment")) &&
              emac_unhex(secret, SHA256_BYTES, cli_str(e, "secret")) &&
              emac_unhex(head, SHA256_BYTES, cli_str(e, "head"));
    crypto_sha256(hash, secret, ok ? sizeof secret : 0);
    if (!ok || memcmp(hash, commitment, SHA256_BYTES) != 0)
        st = emac_fail(&k->c->err, EMAC_FAILED,
                       "the secret of epoch %llu is not the one that was committed to",
                       (unsigned long long)epoch);
    deal_seed(k->seed, secret, head);
    k->seed_epoch = epoch;
    json_decref(reply);
    return st;
}

static enum emac_status proof_check(struct checking *k, json_t *p)
{
    const char *text = cli_str(p, "proof");
    uint64_t epoch = (uint64_t)cli_num(p, "epoch");
    uint32_t replica = (uint32_t)cli_num(p, "replica");
    uint8_t *proof = NULL;
    struct emac_err why = {.status = EMAC_OK};
    size_t n = strlen(text) / 4 * 3 + 3;
    if (strcmp(cli_str(p, "state"), "paid") != 0) {
        k->missed++;
        return EMAC_OK;
    }
    if (text[0] == '\0') {
        k->old++;
        return EMAC_OK;
    }
    if (epoch == 0) { /* before any deal: there is no seed that it could be a proof for */
        k->wrong++;
        cli_say(k->c, "wrong: replica %u was paid for epoch 0", replica);
        return EMAC_OK;
    }
    enum emac_status st = seed_get(k, epoch);
    if (st == EMAC_OK)
        st = emac_alloc(&proof, n, 1, &k->c->err);
    if (st != EMAC_OK)
        return st;
    if (!emac_unbase64(proof, &n, text, strlen(text)))
        n = 0;
    if (deal_proof_check(&k->piece, k->seed, k->id, replica, epoch, proof, n, &why) == EMAC_OK) {
        k->right++;
    } else {
        k->wrong++;
        cli_say(k->c, "wrong: replica %u in epoch %llu: %s", replica, (unsigned long long)epoch,
                why.text);
    }
    free(proof);
    return EMAC_OK;
}

/* One page; *after moves on, *more is false at the end. */
static enum emac_status page_check(struct checking *k, uint64_t *after, bool *more)
{
    json_t *reply = NULL, *p;
    size_t i;
    char *path = emac_asprintf("/v1/deals/%s/proofs?after=%llu", k->id, (unsigned long long)*after);
    enum emac_status st = cli_call(k->c, "GET", path, NULL, false, &reply);
    free(path);
    *more = false;
    json_array_foreach(json_object_get(reply, "proofs"), i, p)
    {
        if (st == EMAC_OK)
            st = proof_check(k, p);
        *more = (uint64_t)cli_num(p, "epoch") > *after || *more;
        *after = (uint64_t)cli_num(p, "epoch");
    }
    json_decref(reply);
    return st;
}

static enum emac_status verify(struct cli *c, const char *id)
{
    struct checking k = {.c = c, .id = id};
    json_t *deal = NULL;
    uint64_t after = 0;
    bool more = true;
    char *path = emac_asprintf("/v1/deals/%s", id);
    enum emac_status st = cli_call(c, "GET", path, NULL, false, &deal);
    free(path);
    if (st == EMAC_OK)
        st = commp_parse(&k.piece, cli_str(deal, "piece"), &c->err);
    json_decref(deal);
    while (st == EMAC_OK && more)
        st = page_check(&k, &after, &more);
    if (st != EMAC_OK)
        return st;
    cli_say(c,
            "%llu proofs are right, %llu wrong; %llu epochs were missed, %llu are too old to check",
            (unsigned long long)k.right, (unsigned long long)k.wrong, (unsigned long long)k.missed,
            (unsigned long long)k.old);
    cli_result(c, json_pack("{s:s,s:I,s:I,s:I,s:I}", "id", id, "right", (json_int_t)k.right,
                            "wrong", (json_int_t)k.wrong, "missed", (json_int_t)k.missed, "old",
                            (json_int_t)k.old));
    return k.wrong == 0 ? EMAC_OK
                        : emac_fail(&c->err, EMAC_FAILED, "%llu proofs were paid and are wrong",
                                    (unsigned long long)k.wrong);
}

enum emac_status cmd_deal(struct cli *c, int argc, char **argv)
{
    struct deal_args a = {.replicas = 2};
    const struct cli_option options[] = {
        {"replicas", 0, OPT_U64, &a.replicas}, {"days", 0, OPT_F64, &a.days},
        {"epochs", 0, OPT_U64, &a.epochs},     {"price", 0, OPT_TEXT, &a.price},
        {"traffic", 0, OPT_TEXT, &a.traffic},  {"nonce", 0, OPT_TEXT, &a.nonce},
    };
    const char *pos[CLI_POSITIONALS_MAX];
    enum emac_status st = cli_parse(c, argc, argv, options, EMAC_COUNT(options), pos, 0, 2);
    if (st != EMAC_OK)
        return st;
    if (!pos[0] || strcmp(pos[0], "list") == 0)
        return cli_list(c, "/v1/deals?limit=1000", false, "deals", "there are no deals", row_say);
    bool is_make = strcmp(pos[0], "make") == 0;
    if (!is_make && strcmp(pos[0], "show") != 0 && strcmp(pos[0], "cancel") != 0 &&
        strcmp(pos[0], "verify") != 0)
        return emac_fail(&c->err, EMAC_INVALID,
                         "unknown action '%s': deal knows make, list, show, cancel and verify",
                         pos[0]);
    if (!pos[1])
        return emac_fail(&c->err, EMAC_INVALID, "deal %s takes %s", pos[0],
                         is_make ? "the CID of what is to be kept" : "the id of a deal");
    if (is_make)
        return make(c, &a, pos[1]);
    st = cli_id_check(c, "deal", pos[1]);
    if (st != EMAC_OK)
        return st;
    if (strcmp(pos[0], "verify") == 0)
        return verify(c, pos[1]);
    return strcmp(pos[0], "show") == 0 ? about(c, "GET", pos[1], "")
                                       : about(c, "POST", pos[1], "/cancel");
}
