/* Votes, rewards and growth; the rules' file is datacap_rules.c. */
#include "work/datacap.h"

#include <string.h>

#include "base/assert.h"
#include "base/utf8.h"
#include "codec/dagcbor.h"

#define ARENA_MAX (1u << 18)

static const char *const KINDS[] = {[DATACAP_GRANT] = "grant", [DATACAP_REMOVAL] = "removal"};
static const char *const OUTCOMES[] = {"open", "passed", "failed", "closed"};

const char *datacap_kind_name(enum datacap_kind kind)
{
    EMAC_ASSERT((unsigned)kind < EMAC_COUNT(KINDS));
    return KINDS[kind];
}

const char *datacap_outcome_name(enum datacap_outcome outcome)
{
    EMAC_ASSERT((unsigned)outcome < EMAC_COUNT(OUTCOMES));
    return OUTCOMES[outcome];
}

/* ---- votes ---- */

static bool line_ok(const char *text)
{
    size_t n = strlen(text);
    bool fine = n > 0 && emac_utf8_valid(text, n);
    for (size_t i = 0; fine && i < n; i++)
        fine = (unsigned char)text[i] >= ' ' && text[i] != 0x7f;
    return fine;
}

static enum emac_status vote_check(const struct datacap_vote *v, struct emac_err *err)
{
    uint8_t key[ED25519_PUBLIC_BYTES];
    int64_t least = v->kind == DATACAP_GRANT && v->approve ? 1 : 0;
    int64_t most = least == 1 ? ALLOWANCE_BYTES_MAX : 0;
    if (!line_ok(v->network) || !line_ok(v->application))
        return emac_fail(err, EMAC_INVALID,
                         "network and application of a vote must be lines of text");
    if (!crypto_did_key_parse(key, v->client) || !crypto_did_key_parse(key, v->notary))
        return emac_fail(err, EMAC_INVALID,
                         "client and notary of a vote must be did:keys of ed25519 keys");
    if (v->bytes < least || v->bytes > most)
        return emac_fail(err, EMAC_INVALID,
                         "'bytes' of a vote for a grant is from 1 to 2^50, of any other 0");
    if (v->issued_ms > INT64_MAX)
        return emac_fail(err, EMAC_INVALID, "'issued' of a vote is in Unix milliseconds");
    return EMAC_OK;
}

enum emac_status datacap_vote_encode(const struct datacap_vote *v, struct emac_buf *out,
                                     struct emac_err *err)
{
    struct dagcbor_writer w;
    enum emac_status st = vote_check(v, err);
    if (st != EMAC_OK)
        return st;
    dagcbor_writer_init(&w, out);
    dagcbor_map(&w, 8);
    dagcbor_key(&w, "kind");
    dagcbor_str(&w, KINDS[v->kind]);
    dagcbor_key(&w, "bytes");
    dagcbor_u64(&w, (uint64_t)v->bytes);
    dagcbor_key(&w, "client");
    dagcbor_str(&w, v->client);
    dagcbor_key(&w, "issued");
    dagcbor_u64(&w, v->issued_ms);
    dagcbor_key(&w, "notary");
    dagcbor_str(&w, v->notary);
    dagcbor_key(&w, "approve");
    dagcbor_bool(&w, v->approve);
    dagcbor_key(&w, "network");
    dagcbor_str(&w, v->network);
    dagcbor_key(&w, "application");
    dagcbor_str(&w, v->application);
    return dagcbor_writer_end(&w, err);
}

static enum emac_status fields_read(struct datacap_vote *v, const struct dagcbor_node *map,
                                    struct emac_err *err)
{
    static const char *const KEYS[] = {"kind",    "bytes",   "client",      "issued", "notary",
                                       "approve", "network", "application", NULL};
    const struct dagcbor_node *approve;
    const char *kind;
    uint64_t bytes = 0;
    enum emac_status st;
    EMAC_TRY(st, dagcbor_only(map, KEYS, err));
    EMAC_TRY(st, dagcbor_get_str(map, "kind", &kind, err));
    if (strcmp(kind, KINDS[DATACAP_GRANT]) != 0 && strcmp(kind, KINDS[DATACAP_REMOVAL]) != 0)
        return emac_fail(err, EMAC_INVALID, "'kind' of a vote is 'grant' or 'removal'");
    v->kind = strcmp(kind, KINDS[DATACAP_GRANT]) == 0 ? DATACAP_GRANT : DATACAP_REMOVAL;
    EMAC_TRY(st, dagcbor_get_u64(map, "bytes", INT64_MAX, &bytes, err));
    EMAC_TRY(st, dagcbor_get_u64(map, "issued", INT64_MAX, &v->issued_ms, err));
    EMAC_TRY(st, dagcbor_get(map, "approve", DAGCBOR_BOOL, &approve, err));
    EMAC_TRY(st, dagcbor_get_text(map, "client", v->client, sizeof v->client, err));
    EMAC_TRY(st, dagcbor_get_text(map, "notary", v->notary, sizeof v->notary, err));
    EMAC_TRY(st, dagcbor_get_text(map, "network", v->network, sizeof v->network, err));
    EMAC_TRY(st, dagcbor_get_text(map, "application", v->application, sizeof v->application, err));
    v->approve = approve->boolean;
    v->bytes = (int64_t)bytes;
out:
    return st;
}

enum emac_status datacap_vote_decode(struct datacap_vote *out, const void *data, size_t n,
                                     struct emac_err *err)
{
    const struct dagcbor_node *root;
    struct arena a;
    *out = (struct datacap_vote){0};
    arena_init(&a, ARENA_MAX);
    enum emac_status st = dagcbor_parse_map(&a, data, n, DATACAP_VOTE_MAX, "a vote", &root, err);
    if (st == EMAC_OK)
        st = fields_read(out, root, err);
    arena_release(&a);
    return st == EMAC_OK ? vote_check(out, err) : st;
}

enum emac_status datacap_motion(const struct datacap_vote *v, struct cid *out, struct emac_err *err)
{
    struct emac_buf buf;
    struct dagcbor_writer w;
    emac_buf_init(&buf, DATACAP_VOTE_MAX);
    dagcbor_writer_init(&w, &buf);
    dagcbor_map(&w, 4);
    dagcbor_key(&w, "kind");
    dagcbor_str(&w, KINDS[v->kind]);
    dagcbor_key(&w, "client");
    dagcbor_str(&w, v->client);
    dagcbor_key(&w, "network");
    dagcbor_str(&w, v->network);
    dagcbor_key(&w, "application");
    dagcbor_str(&w, v->application);
    enum emac_status st = dagcbor_writer_end(&w, err);
    if (st == EMAC_OK)
        *out = cid_of(CID_DAG_CBOR, buf.data, buf.len);
    emac_buf_release(&buf);
    return st;
}

static bool is_notary(const struct datacap_rules *r, const char *did)
{
    for (uint32_t i = 0; i < r->notary_count; i++) {
        if (strcmp(r->notary[i], did) == 0)
            return true;
    }
    return false;
}

enum emac_status datacap_vote_admit(const struct datacap_rules *r, const struct datacap_vote *v,
                                    uint64_t now_ms, struct emac_err *err)
{
    if (r->notary_count == 0)
        return emac_fail(err, EMAC_FORBIDDEN,
                         "allowances of this network are granted by the chain's registry");
    if (!is_notary(r, v->notary))
        return emac_fail(err, EMAC_FORBIDDEN, "'%s' is no notary of this network", v->notary);
    if (strcmp(r->network, v->network) != 0)
        return emac_fail(err, EMAC_FORBIDDEN, "the vote is for network '%s', this is '%s'",
                         v->network, r->network);
    if (v->issued_ms > now_ms + DATACAP_SKEW_MS)
        return emac_fail(err, EMAC_INVALID, "the vote is from the future: set the clock right");
    if (v->issued_ms + DATACAP_MOTION_MS <= now_ms)
        return emac_fail(err, EMAC_INVALID, "the vote has expired: it is older than 30 days");
    return EMAC_OK;
}

/* Ballots of notaries that say the same as ballot i. */
static uint32_t with(const struct datacap_rules *r, const struct datacap_ballot *b, size_t count,
                     size_t i)
{
    uint32_t n = 0;
    for (size_t k = 0; k < count; k++)
        n += is_notary(r, b[k].notary) && b[k].approve == b[i].approve && b[k].bytes == b[i].bytes;
    return n;
}

enum datacap_outcome datacap_decide(const struct datacap_rules *r, const struct datacap_ballot *b,
                                    size_t count, uint64_t first_ms, uint64_t now_ms,
                                    int64_t *bytes)
{
    bool passed = false;
    EMAC_ASSERT(r->quorum > 0);
    *bytes = 0;
    if (now_ms >= first_ms + DATACAP_MOTION_MS)
        return DATACAP_CLOSED;
    for (size_t i = 0; i < count; i++) {
        if (!is_notary(r, b[i].notary) || with(r, b, count, i) < r->quorum)
            continue;
        if (!b[i].approve)
            return DATACAP_FAILED;
        /* Votes come one at a time, so two amounts cannot get there at once; were it so, the
         * smaller is what all of them would grant at least. */
        *bytes = passed && *bytes < b[i].bytes ? *bytes : b[i].bytes;
        passed = true;
    }
    return passed ? DATACAP_PASSED : DATACAP_OPEN;
}

/* ---- rewards ---- */

uint64_t datacap_weigh(uint64_t bytes, uint64_t covered)
{
    uint64_t more = covered < bytes ? covered : bytes;
    EMAC_ASSERT(bytes <= (uint64_t)ALLOWANCE_BYTES_MAX);
    return bytes + (DATACAP_WEIGHT - 1) * more;
}

enum emac_status datacap_divide(const struct datacap_rules *r, int64_t funds,
                                struct datacap_share *s, size_t count, struct datacap_sum *out,
                                struct emac_err *err)
{
    unsigned __int128 sum = 0;
    EMAC_ASSERT(funds >= 0 && r->pool_units >= 0 && r->rate_units > 0);
    *out = (struct datacap_sum){0};
    for (size_t i = 0; i < count; i++)
        sum += s[i].weighted;
    if (sum > INT64_MAX)
        return emac_fail(err, EMAC_TOO_LARGE, "more is stored than a reward can be divided by");
    out->weighted = (uint64_t)sum;
    unsigned __int128 worth = sum * (uint64_t)r->rate_units / (uint64_t)DATACAP_GIB;
    int64_t most = funds < r->pool_units ? funds : r->pool_units;
    out->taken = worth < (uint64_t)most ? (int64_t)worth : most;
    out->dust = out->taken;
    for (size_t i = 0; i < count; i++) {
        s[i].units =
            sum == 0 ? 0 : (int64_t)((unsigned __int128)s[i].weighted * (uint64_t)out->taken / sum);
        out->dust -= s[i].units;
        /* DC-3 */
        EMAC_ASSERT((unsigned __int128)(uint64_t)s[i].units * (uint64_t)DATACAP_GIB <=
                    (unsigned __int128)s[i].weighted * (uint64_t)r->rate_units);
    }
    EMAC_ASSERT(out->dust >= 0 && (uint64_t)out->dust <= count); /* DC-2 */
    return EMAC_OK;
}

/* ---- growth ---- */

int64_t datacap_fee(const struct datacap_rules *r, int64_t units)
{
    EMAC_ASSERT(units >= 0 && r->fee_ppm <= DATACAP_PPM);
    return (int64_t)(((unsigned __int128)(uint64_t)units * r->fee_ppm + DATACAP_PPM - 1) /
                     DATACAP_PPM);
}

int64_t datacap_fee_counted(const struct datacap_rules *r, int64_t units)
{
    EMAC_ASSERT(units >= 0 && r->fee_ppm <= DATACAP_PPM);
    return (int64_t)((unsigned __int128)(uint64_t)units * r->fee_ppm / DATACAP_PPM);
}

int64_t datacap_growth(const struct datacap_rules *r, const struct datacap_use *use, size_t count)
{
    unsigned __int128 all = 0, counted = 0;
    if (count < r->owners)
        return 0;
    for (size_t i = 0; i < count; i++) {
        EMAC_ASSERT(use[i].fee_units >= 0);
        all += (uint64_t)use[i].fee_units;
    }
    for (size_t i = 0; i < count; i++) {
        unsigned __int128 own = (uint64_t)use[i].fee_units, others = all - own;
        counted += own < others ? own : others;
    }
    EMAC_ASSERT(counted <= all);
    if (counted > INT64_MAX)
        counted = INT64_MAX;
    /* One divisor at a time: rounding down twice is rounding down. */
    unsigned __int128 per_gib =
        (unsigned __int128)5 * (DATACAP_WEIGHT - 1) * (uint64_t)r->rate_units * r->term_epochs;
    unsigned __int128 bytes = counted * 4 * (uint64_t)DATACAP_GIB / per_gib;
    return bytes > ALLOWANCE_BYTES_MAX ? ALLOWANCE_BYTES_MAX : (int64_t)bytes;
}
