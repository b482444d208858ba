/* Allowances of the chain's registry, on the ledger (BOOK-8). */
#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/hex.h"
#include "chain/book_impl.h"
#include "ledger/allowance.h"

#define MS_MAX (UINT64_C(1) << 53)

static void hash_name(char out[CHAIN_ALLOWANCE_MAX], const uint8_t hash[CHAIN_HASH_BYTES])
{
    out[0] = '0';
    out[1] = 'x';
    emac_hex(out + 2, hash, CHAIN_HASH_BYTES);
}

void chain_deal_name(char out[CHAIN_ALLOWANCE_MAX], const char *deal)
{
    uint8_t digest[SHA256_BYTES];
    crypto_sha256(digest, deal, strlen(deal));
    hash_name(out, digest);
}

static enum emac_status ignored(struct db *db, const char *id, bool *out, struct emac_err *err)
{
    int64_t rows = 0;
    enum emac_status st =
        db_one_i64(db, &rows, err, "SELECT COUNT(*) FROM chain_ignored WHERE id = ?", "t", id);
    *out = rows > 0;
    return st;
}

/* What the ledger cannot count is no reason to stop following the chain: it counts for nothing. */
static enum emac_status granted(struct db *db, const struct chain_event *e, const char *id,
                                uint64_t at_ms, struct emac_err *err)
{
    struct allowance a = {.origin = ALLOWANCE_CHAIN, .granted = (int64_t)e->units};
    bool fits = e->units <= (uint64_t)ALLOWANCE_BYTES_MAX && e->units > 0 && e->time_s > 0 &&
                e->time_s < MS_MAX / 1000;
    enum emac_status st = EMAC_TOO_LARGE;
    emac_strcpy(a.id, sizeof a.id, id);
    crypto_did_key(a.client, e->account);
    if (fits) {
        a.expires_ms = e->time_s * 1000;
        a.granted_ms = at_ms < a.expires_ms ? at_ms : a.expires_ms - 1;
        st = allowance_grant(db, &a, NULL, err);
    }
    if (st == EMAC_TOO_LARGE)
        st = db_exec(db, err, "INSERT INTO chain_ignored (id) VALUES (?) ON CONFLICT DO NOTHING",
                     "t", id);
    return st;
}

static enum emac_status disagree(const char *id, struct emac_err *err)
{
    return emac_fail(err, EMAC_CORRUPT,
                     "the chain says of allowance '%s' what the ledger's book does not: the node "
                     "or the contract's address is wrong",
                     id);
}

static enum emac_status removed(struct db *db, const struct chain_event *e, const char *id,
                                uint64_t at_ms, struct emac_err *err)
{
    int64_t bytes = 0;
    enum emac_status st = allowance_remove(db, id, at_ms, &bytes, err);
    if (st == EMAC_NOT_FOUND || (st == EMAC_OK && (uint64_t)bytes != e->units))
        return disagree(id, err);
    return st;
}

static enum emac_status spent(struct db *db, const struct chain_event *e, const char *id,
                              uint64_t at_ms, struct emac_err *err)
{
    char deal[CHAIN_ALLOWANCE_MAX], client[DID_KEY_MAX];
    struct allowance a;
    hash_name(deal, e->digest);
    crypto_did_key(client, e->account);
    if (e->units > INT64_MAX)
        return disagree(id, err);
    enum emac_status st = allowance_bind_one(db, id, deal, (int64_t)e->units, at_ms, err);
    if (st == EMAC_NOT_FOUND || st == EMAC_PAYMENT || st == EMAC_CONFLICT || st == EMAC_INVALID)
        return disagree(id, err);
    if (st == EMAC_OK)
        st = allowance_get(db, id, &a, err);
    if (st == EMAC_OK && ((uint64_t)a.left != e->total || strcmp(a.client, client) != 0))
        return disagree(id, err);
    return st;
}

enum emac_status chain_take_datacap(struct db *db, const struct chain_event *e, uint64_t at_ms,
                                    struct emac_err *err)
{
    char id[CHAIN_ALLOWANCE_MAX];
    bool skip = false;
    hash_name(id, e->root);
    if (e->kind == CHAIN_EVENT_Granted)
        return granted(db, e, id, at_ms, err);
    if (e->kind != CHAIN_EVENT_Removed && e->kind != CHAIN_EVENT_Spent)
        return EMAC_OK; /* votes are the registry's own business */
    enum emac_status st = ignored(db, id, &skip, err);
    if (st != EMAC_OK || skip)
        return st;
    return e->kind == CHAIN_EVENT_Removed ? removed(db, e, id, at_ms, err)
                                          : spent(db, e, id, at_ms, err);
}
