/* Data of value: whose bytes count more in the storage reward, and why. Pure
 * rules; the book of who has what is ledger/allowance.h, the rows between the
 * two coordinator/storage/datacap_book.h, for people docs/datacap.md.
 *
 * A vote is a dag-cbor map, signed by a notary's ed25519 key (the signature goes beside it):
 *   {application: text, approve: bool, bytes: n, client: did, issued: ms,
 *    kind: "grant" | "removal", network: text, notary: did}
 *
 * Of a grant, `application` is what the client asked by; bytes is 0 in a vote against. Of a removal
 * it is the allowance's id, and bytes is 0. All votes on one (kind, network, client, application)
 * are about one motion; its CID is that of the dag-cbor map of these four, and the id of the
 * allowance that a grant makes.
 *
 * DC-1  A motion passes when `quorum` configured notaries approve it, a grant when they
 *       approve the same amount; it falls when `quorum` are against. Either is for good, and
 *       DATACAP_MOTION_MS after its first vote it is closed. Each notary has one vote: his newest.
 *       So notaries that name different amounts decide nothing until enough of them agree, and one
 *       who takes his word back before a decision takes back his own alone.
 * DC-2  Reward of replica i in an epoch: floor(P * w_i / W), where w_i is its proven bytes, those
 *       under an allowance counted ten times, W their sum and P = min(pool, what the funder has,
 *       floor(rate * W / GiB)). What rounding leaves of P, less than one unit a replica, is the fee
 *       account's; P is all that leaves the funder.
 * DC-3  So a weighted GiB earns at most `rate` in an epoch, and more weight never raises what
 *       another weighted byte earns.
 * DC-4  A network's fee is ceil(units * fee_ppm / 10^6) of a settled payment. Fees that count as
 *       use are floor(...) of the payments of checked tasks: never more than was paid.
 * DC-5  Use of a client's data, paid by at least `owners` others, grows its allowance by
 *       floor(F * GiB * 4 / (5 * 9 * rate * term)) bytes, where F is the sum of the owners' fees,
 *       each counted at most as high as all others' together.
 *
 * Why self-dealing cannot pay. A ring that owns the data, the jobs and the rigs gets every payment
 * back but the fee F. For F it gets at most g = 4/5 F GiB / (9 rate term) bytes. A byte of an
 * allowance is bound once (CAP-2, CAP-3) and counts for at most `term` epochs from the first
 * in which its deal is proven, nine times more than it would; by DC-3 that is worth at most
 * 9 g rate term / GiB <= 4/5 F, and in no single epoch more than 4/5 F / term. The pool comes
 * from the funder and never from the fees, so paying fees does not raise it. The ring loses at
 * least F/5, whatever names it goes by and however it spreads jobs, deals and epochs; `owners` and
 * the cap on one owner's fees only make it dearer. Data that others pay to use grow for nothing.
 *
 * Amounts of money are units, of storage bytes; times Unix milliseconds. */
#ifndef EMAC_WORK_DATACAP_H
#define EMAC_WORK_DATACAP_H

#include <jansson.h>

#include "base/buf.h"
#include "codec/cid.h"
#include "crypto/crypto.h"
#include "ledger/allowance.h"

#define DATACAP_WEIGHT       10
#define DATACAP_NOTARIES_MAX 16
#define DATACAP_TEXT_MAX     96 /* of network and application, with the NUL */
#define DATACAP_VOTE_MAX     1024
#define DATACAP_MOTION_MS    (UINT64_C(30) * 86400000)
#define DATACAP_SKEW_MS      UINT64_C(600000) /* a vote may be so much ahead of our clock */
#define DATACAP_TERM_MAX     100000
#define DATACAP_GIB          (INT64_C(1) << 30)
#define DATACAP_PPM          1000000

/* As a file (YAML or JSON), every field required:
 *   network: example        # votes for another network do not count here
 *   notaries: [did:key:...] # 1 to 16; none, and quorum 0, where a chain's registry decides
 *   quorum: 2
 *   lifetime: 365           # days in which an allowance can be bound
 *   term: 180               # epochs for which a bound byte counts more
 *   reward: {from: did:key:..., pool: "10", rate: "0.001"} # EMAC an epoch; a weighted GiB and
 * epoch fee_ppm: 20000          # of what rigs are paid growth: {owners: 3, window: 30} # distinct
 * payers; epochs for which use waits for them */
struct datacap_rules {
    char network[DATACAP_TEXT_MAX];
    uint32_t notary_count, quorum;
    char notary[DATACAP_NOTARIES_MAX][DID_KEY_MAX];
    uint64_t lifetime_ms;
    uint32_t term_epochs, fee_ppm, owners, window_epochs;
    char funder[DID_KEY_MAX];
    int64_t pool_units, rate_units;
};
/* INVALID names the field. */
enum emac_status datacap_rules_from_json(struct datacap_rules *out, json_t *root,
                                         struct emac_err *err);
json_t *datacap_rules_to_json(const struct datacap_rules *r);

/* ---- votes ---- */

enum datacap_kind { DATACAP_GRANT, DATACAP_REMOVAL };
const char *datacap_kind_name(enum datacap_kind kind);

struct datacap_vote {
    enum datacap_kind kind;
    bool approve;
    int64_t bytes;
    uint64_t issued_ms;
    char client[DID_KEY_MAX], notary[DID_KEY_MAX];
    char network[DATACAP_TEXT_MAX], application[ALLOWANCE_ID_MAX];
};
/* Appended to out. INVALID when a field is not what the above says. */
enum emac_status datacap_vote_encode(const struct datacap_vote *v, struct emac_buf *out,
                                     struct emac_err *err);
enum emac_status datacap_vote_decode(struct datacap_vote *out, const void *data, size_t n,
                                     struct emac_err *err);
/* Of the motion that the vote is about. */
enum emac_status datacap_motion(const struct datacap_vote *v, struct cid *out,
                                struct emac_err *err);
/* May it be counted now? FORBIDDEN: who signed is no notary, or it is for another network; INVALID:
 * it is from the future, or older than a motion can be. */
enum emac_status datacap_vote_admit(const struct datacap_rules *r, const struct datacap_vote *v,
                                    uint64_t now_ms, struct emac_err *err);

enum datacap_outcome { DATACAP_OPEN, DATACAP_PASSED, DATACAP_FAILED, DATACAP_CLOSED };
const char *datacap_outcome_name(enum datacap_outcome outcome);
struct datacap_ballot {
    char notary[DID_KEY_MAX];
    bool approve;
    int64_t bytes;
};
/* DC-1 over the newest vote of each notary; those of others do not count. *bytes: what a grant that
 * passed grants. */
enum datacap_outcome datacap_decide(const struct datacap_rules *r, const struct datacap_ballot *b,
                                    size_t count, uint64_t first_ms, uint64_t now_ms,
                                    int64_t *bytes);

/* ---- rewards ---- */

/* `bytes` proven, of which `covered` (or all, if it is more) are under an allowance. */
uint64_t datacap_weigh(uint64_t bytes, uint64_t covered);

struct datacap_share {
    uint64_t weighted;
    int64_t units; /* out */
};
struct datacap_sum {
    uint64_t weighted; /* W */
    int64_t taken, dust;
};
/* DC-2; `funds` is what the funder has. TOO_LARGE when the weights pass 2^63. */
enum emac_status datacap_divide(const struct datacap_rules *r, int64_t funds,
                                struct datacap_share *s, size_t count, struct datacap_sum *out,
                                struct emac_err *err);

/* ---- growth ---- */

int64_t datacap_fee(const struct datacap_rules *r, int64_t units);         /* rounded up */
int64_t datacap_fee_counted(const struct datacap_rules *r, int64_t units); /* rounded down */

struct datacap_use {
    char owner[DID_KEY_MAX];
    int64_t fee_units;
};
/* DC-5 over one row an owner, none of them the client; 0 when it is not enough for a byte. */
int64_t datacap_growth(const struct datacap_rules *r, const struct datacap_use *use, size_t count);

#endif
