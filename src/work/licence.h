/* Licences: the terms under which the owner of an asset lets others work with it. An asset is a
 * model directory (an adapter's, too) or the data of a job, named by its CID.
 *
 * A licence is a dag-cbor map, signed by the owner's ed25519 key (the signature goes beside it):
 *   {adapters: true (or left out), allow: [did], asset: CID, attribution: text, commercial: bool,
 *    expires: ms (0: never), inference: units (left out at 0), issued: ms, kind: "model" | "data",
 *    name: text, once: units, owner: did, share: ppm, train: units}
 * As a file (YAML, or JSON; docs/licences.md):
 *   asset: bafy...
 *   kind: model
 *   name: kjv-base
 *   price: {once: "2", train: "0.5",  # EMAC; train: a million tokens (samples) trained on
 *           inference: "0.1"}         # a million tokens that the model reads and writes
 *   share: 0.05                       # of what a model made from it earns, 0 to 0.5
 *   commercial: true                  # false: for jobs whose policy.purpose is research alone
 *   expires: 2027-01-01               # UTC; jobs submitted before may end
 *   allow: [did:key:...]              # none: everybody
 *   attribution: text
 *   adapters: true                # of a private model: others may train adapters, which are public
 *
 * Pure: amounts are units, times Unix milliseconds, shares millionths. */
#ifndef EMAC_WORK_LICENCE_H
#define EMAC_WORK_LICENCE_H

#include <jansson.h>

#include "base/buf.h"
#include "codec/cid.h"
#include "crypto/crypto.h"

#define LICENCE_NAME_MAX  64
#define LICENCE_TEXT_MAX  256
#define LICENCE_ALLOW_MAX 64
#define LICENCE_BYTES_MAX 16384
#define LICENCE_SHARE_MAX 500000 /* ppm */
#define LICENCE_PRICE_MAX INT64_C(1000000000000000)
#define LICENCE_SHARE_ONE 1000000
#define LICENCE_TRAIN_UNIT                                                                         \
    1000000 /* tokens or samples that `train`, `inference` are the price of */

enum asset_kind { ASSET_MODEL, ASSET_DATA };
const char *asset_kind_name(enum asset_kind kind);

struct licence {
    struct cid asset;
    enum asset_kind kind;
    char name[LICENCE_NAME_MAX];
    char owner[DID_KEY_MAX];
    uint64_t issued_ms, expires_ms;
    int64_t once_units, train_units, inference_units;
    uint32_t share_ppm;
    bool commercial;
    char attribution[LICENCE_TEXT_MAX];
    uint32_t allow_count;
    char allow[LICENCE_ALLOW_MAX][DID_KEY_MAX];
    bool adapters;
};

/* From a licence file; owner and issued are the caller's to fill. INVALID names the field. */
enum emac_status licence_from_json(struct licence *out, json_t *root, struct emac_err *err);
json_t *licence_to_json(const struct licence *l); /* every field, as API and CLI show it */
/* Appended to out; cid may be NULL. INVALID when a field is not what the above says. */
enum emac_status licence_encode(const struct licence *l, struct emac_buf *out, struct cid *cid,
                                struct emac_err *err);
enum emac_status licence_decode(struct licence *out, const void *data, size_t n,
                                struct emac_err *err);

/* Who wants to work with the asset, and when. */
struct licence_use {
    const char *did;
    bool commercial;
    bool bought; /* this asset, by `did` */
    uint64_t at_ms;
};
/* FORBIDDEN or PAYMENT with the term that stands against it. The owner may do everything. */
enum emac_status licence_permits(const struct licence *l, const struct licence_use *use,
                                 struct emac_err *err);
/* `amount` tokens at `price_units` a million of them, rounded up; false, and the largest number,
 * when that passes int64. */
bool licence_million(int64_t price_units, uint64_t amount, int64_t *units);
/* What training on `amount` tokens (samples) costs: rounded up, checked (TOO_LARGE). */
enum emac_status licence_cost(const struct licence *l, uint64_t amount, int64_t *units,
                              struct emac_err *err);

/* How income is split between an asset's owner and the owners of what it was made from. Parent i
 * gets floor(income * share_i / 10^6), shares above LICENCE_SHARE_MAX together being scaled down to
 * it; the owner floor(income * (10^6 - sum of shares) / 10^6); *dust, less than count + 1 units,
 * is what rounding leaves. So own + sum of parent + dust = income exactly. */
void licence_split(int64_t income, const uint32_t *share_ppm, uint32_t count, int64_t *parent,
                   int64_t *own, int64_t *dust);

#endif
