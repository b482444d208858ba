#include "work/deal.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/buf.h"
#include "base/checked.h"
#include "base/hex.h"

/* ---- fields ---- */

static enum emac_status text_field(json_t *o, const char *key, size_t max, const char **out,
                                   struct emac_err *err)
{
    json_t *v = json_object_get(o, key);
    if (!json_is_string(v) || strlen(json_string_value(v)) != json_string_length(v) ||
        json_string_length(v) >= max)
        return emac_fail(err, EMAC_INVALID, "field '%s' must be text of less than %zu bytes", key,
                         max);
    *out = json_string_value(v);
    return EMAC_OK;
}

static enum emac_status number_field(json_t *o, const char *key, uint64_t least, uint64_t most,
                                     uint64_t *out, struct emac_err *err)
{
    json_t *v = json_object_get(o, key);
    json_int_t n = json_integer_value(v);
    if (!json_is_integer(v) || n < 0 || (uint64_t)n < least || (uint64_t)n > most)
        return emac_fail(err, EMAC_INVALID, "field '%s' must be a whole number from %llu to %llu",
                         key, (unsigned long long)least, (unsigned long long)most);
    *out = (uint64_t)n;
    return EMAC_OK;
}

/* Units as decimal text, 0 to DEAL_PRICE_MAX. */
static enum emac_status units_field(json_t *o, const char *key, int64_t *out, struct emac_err *err)
{
    const char *text = "";
    int64_t v = 0;
    size_t n = 0;
    enum emac_status st = text_field(o, key, 20, &text, err);
    if (st != EMAC_OK)
        return st;
    for (; text[n] >= '0' && text[n] <= '9' && v <= DEAL_PRICE_MAX; n++)
        v = v * 10 + (text[n] - '0');
    if (n == 0 || text[n] != '\0' || v > DEAL_PRICE_MAX)
        return emac_fail(err, EMAC_INVALID, "field '%s' must be an amount of units up to %lld", key,
                         (long long)DEAL_PRICE_MAX);
    *out = v;
    return EMAC_OK;
}

static enum emac_status content_fields(json_t *o, struct cid *cid, struct commp *piece,
                                       struct emac_err *err)
{
    const char *text = "";
    enum emac_status st;
    EMAC_TRY(st, text_field(o, "cid", CID_TEXT_MAX, &text, err));
    EMAC_TRY(st, cid_parse(cid, text, err));
    EMAC_TRY(st, text_field(o, "piece", COMMP_TEXT_MAX, &text, err));
    EMAC_TRY(st, commp_parse(piece, text, err));
    if (piece->size == 0 || piece->size > DEAL_BYTES_MAX)
        st = emac_fail(err, EMAC_INVALID, "a deal is about 1 to %llu bytes, not %llu",
                       (unsigned long long)DEAL_BYTES_MAX, (unsigned long long)piece->size);
out:
    return st;
}

/* ---- terms ---- */

enum emac_status deal_terms_from_json(struct deal_terms *out, json_t *o, struct emac_err *err)
{
    uint64_t replicas = 0, epochs = 0;
    enum emac_status st;
    *out = (struct deal_terms){0};
    EMAC_TRY(st, content_fields(o, &out->cid, &out->piece, err));
    EMAC_TRY(st, number_field(o, "replicas", 1, DEAL_REPLICAS_MAX, &replicas, err));
    EMAC_TRY(st, number_field(o, "epochs", 1, DEAL_EPOCHS_MAX, &epochs, err));
    EMAC_TRY(st, units_field(o, "price_units", &out->price_units, err));
    EMAC_TRY(st, units_field(o, "traffic_units", &out->traffic_units, err));
    out->replicas = (uint32_t)replicas;
    out->epochs = (uint32_t)epochs;
out:
    return st;
}

int64_t deal_traffic_units(const struct deal_terms *t, uint64_t bytes)
{
    uint64_t most = bytes < t->piece.size ? bytes : t->piece.size;
    unsigned __int128 units = (unsigned __int128)most * (uint64_t)t->traffic_units / DEAL_GIB;
    EMAC_ASSERT(units <= INT64_MAX); /* 2^44 * 10^14 / 2^30 */
    return (int64_t)units;
}

enum emac_status deal_amounts(const struct deal_terms *t, uint64_t epoch_ms,
                              struct deal_amounts *out, struct emac_err *err)
{
    EMAC_ASSERT(epoch_ms > 0 && epoch_ms <= DEAL_EPOCH_MS_MAX && t->piece.size <= DEAL_BYTES_MAX &&
                t->price_units <= DEAL_PRICE_MAX);
    unsigned __int128 pay = (unsigned __int128)t->piece.size * (uint64_t)t->price_units * epoch_ms /
                            ((unsigned __int128)DEAL_GIB * DEAL_DAY_MS);
    int64_t whole = 0, escrow = 0;
    *out = (struct deal_amounts){.traffic_units = deal_traffic_units(t, t->piece.size)};
    if (pay == 0)
        return emac_fail(err, EMAC_INVALID,
                         "at this price an epoch of %llu ms pays less than one unit for %llu "
                         "bytes: raise it",
                         (unsigned long long)epoch_ms, (unsigned long long)t->piece.size);
    if (pay > INT64_MAX || !emac_mul_i64((int64_t)pay, t->epochs, &whole) ||
        !emac_add_i64(whole, out->traffic_units, &escrow) ||
        !emac_mul_i64(escrow, t->replicas, &escrow))
        return emac_fail(err, EMAC_TOO_LARGE, "the deal costs more than there can be");
    out->epoch_units = (int64_t)pay;
    out->escrow_units = escrow;
    int64_t least = t->epochs < 2 ? out->epoch_units : 2 * out->epoch_units;
    out->bond_units = whole / DEAL_BOND_PART > least ? whole / DEAL_BOND_PART : least;
    EMAC_ASSERT(out->bond_units > 0 && out->bond_units <= whole);
    return EMAC_OK;
}

void deal_id(char out[DEAL_ID_MAX], const char *client, const char *nonce)
{
    uint8_t hash[SHA256_BYTES];
    char *text = emac_asprintf("emac deal id 1 %s %s", client, nonce);
    crypto_sha256(hash, text, strlen(text));
    free(text);
    memcpy(out, "deal-", 5);
    emac_hex(out + 5, hash, 8);
}

/* ---- replicas ---- */

static const char *const STATE_NAMES[DEAL_REPLICA_STATES] = {
    [DEAL_PLACED] = "placed", [DEAL_ACTIVE] = "active", [DEAL_DECLINED] = "declined",
    [DEAL_LAPSED] = "lapsed", [DEAL_LOST] = "lost",     [DEAL_ENDED] = "ended"};

const char *deal_replica_state_name(enum deal_replica_state s)
{
    EMAC_ASSERT(s < DEAL_REPLICA_STATES);
    return STATE_NAMES[s];
}

bool deal_replica_state_find(const char *name, enum deal_replica_state *out)
{
    for (int i = 0; i < DEAL_REPLICA_STATES; i++) {
        if (strcmp(name, STATE_NAMES[i]) == 0) {
            *out = (enum deal_replica_state)i;
            return true;
        }
    }
    return false;
}

bool deal_replica_lives(enum deal_replica_state s)
{
    return s == DEAL_PLACED || s == DEAL_ACTIVE;
}

bool deal_replica_due(const struct deal_replica *r, uint64_t epoch)
{
    return r->state == DEAL_ACTIVE && epoch >= r->first_epoch;
}

void deal_replica_keep(struct deal_replica *r, uint64_t epoch)
{
    EMAC_ASSERT(r->state == DEAL_PLACED && r->bond_units == 0);
    r->state = DEAL_ACTIVE;
    r->first_epoch = epoch + 1;
    r->misses = 0;
}

void deal_replica_prove(struct deal_replica *r, const struct deal_amounts *a, int64_t *to_bond,
                        int64_t *to_rig)
{
    EMAC_ASSERT(r->state == DEAL_ACTIVE && r->bond_units <= a->bond_units);
    int64_t lacks = a->bond_units - r->bond_units;
    *to_bond = lacks < a->epoch_units ? lacks : a->epoch_units;
    *to_rig = a->epoch_units - *to_bond;
    r->bond_units += *to_bond;
    r->misses = 0;
    r->proven++;
}

bool deal_replica_epoch_end(struct deal_replica *r, uint64_t epoch, bool proven)
{
    if (r->state == DEAL_PLACED && epoch >= r->placed_epoch + DEAL_PATIENCE) {
        r->state = DEAL_LAPSED;
        return true;
    }
    if (!deal_replica_due(r, epoch) || proven)
        return false;
    if (++r->misses < DEAL_MISSES_MAX)
        return false;
    r->state = DEAL_LOST;
    return true;
}

/* ---- where ---- */

static bool same(const char *a, const char *b)
{
    return a[0] != '\0' && strcmp(a, b) == 0;
}

struct fitness {
    bool apart, bonded;
    uint8_t rank[SHA256_BYTES];
};

/* false: it may not have it. */
static bool judge(const char *id, const struct deal_terms *t, const struct deal_amounts *a,
                  const struct deal_candidate *c, const struct deal_candidate *holder,
                  size_t holders, struct fitness *out)
{
    char *text;
    if (c->barred || c->room_bytes < t->piece.size || c->ask_units > t->price_units)
        return false;
    out->apart = true;
    for (size_t i = 0; i < holders; i++) {
        if (same(c->did, holder[i].did) || same(c->owner, holder[i].owner))
            return false;
        if (same(c->subnet, holder[i].subnet))
            out->apart = false;
    }
    out->bonded = c->balance_units >= a->bond_units;
    text = emac_asprintf("%s %s", id, c->did);
    crypto_sha256(out->rank, text, strlen(text));
    free(text);
    return true;
}

static bool better(const struct fitness *a, const struct fitness *b)
{
    if (a->apart != b->apart)
        return a->apart;
    if (a->bonded != b->bonded)
        return a->bonded;
    return memcmp(a->rank, b->rank, sizeof a->rank) < 0;
}

size_t deal_place(const char *id, const struct deal_terms *t, const struct deal_amounts *a,
                  const struct deal_candidate *candidate, size_t count,
                  const struct deal_candidate *holder, size_t holders)
{
    struct fitness best, one;
    size_t chosen = count;
    for (size_t i = 0; i < count; i++) {
        if (!judge(id, t, a, &candidate[i], holder, holders, &one))
            continue;
        if (chosen == count || better(&one, &best)) {
            best = one;
            chosen = i;
        }
    }
    return chosen;
}

/* ---- what a rig is told ---- */

static enum emac_status source_read(struct deal_duty *out, json_t *s, struct emac_err *err)
{
    const char *node = "", *url = "";
    enum emac_status st;
    EMAC_TRY(st, text_field(s, "node", DID_KEY_MAX, &node, err));
    EMAC_TRY(st, text_field(s, "url", DEAL_URL_MAX, &url, err));
    emac_strcpy(out->source[out->source_count].node, DID_KEY_MAX, node);
    emac_strcpy(out->source[out->source_count].url, DEAL_URL_MAX, url);
    out->source_count++;
out:
    return st;
}

enum emac_status deal_duty_from_json(struct deal_duty *out, json_t *o, struct emac_err *err)
{
    const char *text = "";
    uint64_t replica = 0;
    json_t *list = json_object_get(o, "sources");
    enum emac_status st;
    *out = (struct deal_duty){0};
    EMAC_TRY(st, text_field(o, "id", DEAL_ID_MAX, &text, err));
    if (strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789-") != strlen(text) || text[0] == '\0') {
        st = emac_fail(err, EMAC_INVALID, "'%s' is not the id of a deal", text);
        goto out;
    }
    emac_strcpy(out->id, sizeof out->id, text);
    EMAC_TRY(st, number_field(o, "replica", 0, UINT32_MAX, &replica, err));
    out->replica = (uint32_t)replica;
    EMAC_TRY(st, content_fields(o, &out->cid, &out->piece, err));
    out->active = json_is_true(json_object_get(o, "active"));
    out->due = json_is_true(json_object_get(o, "due"));
    for (size_t i = 0; i < json_array_size(list) && i < DEAL_SOURCES_MAX; i++)
        EMAC_TRY(st, source_read(out, json_array_get(list, i), err));
out:
    return st;
}
