/* Who pays for generated text, and how. A request names its payer by an API key or by its
 * signature; on a network that serves for free it may come from nobody, as long as no licence of
 * the model asks for anything.
 *
 * An API key is a text that its owner makes, "emac-" and 64 hex digits; the coordinator keeps its
 * SHA-256 alone. It is bound to the owner's account and may spend up to its limit, all in all.
 *
 * Life of a paid request: a row of `serving`, by the id that its answer carries ("cmpl-...").
 *   (none) -> open      the price of the most tokens it can have is moved to "serving:<did>"
 *   open   -> settled   paid: what was made; the rest goes back
 *   open   -> released  all goes back: no rig answered, or failed at it, or the coordinator
 *                       died meanwhile
 *
 * Invariants (tests cite them; the audit checks 1 to 4):
 * SERVE-1  balance(serving:<did>) = what is reserved by the open requests of that account.
 * SERVE-2  Of a request that was settled, reserved = rig + fee + royalty + refund; its row says the
 *          first three, and they change in the transaction of the postings: rig's pay, fee,
 *          royalties (shared out as ASSET-4 says) and refund are one set.
 * SERVE-3  A key's spent units are those of its settled requests; with those of its open ones they
 *          do not pass its limit.
 * SERVE-4  What was paid to rigs for serving, and for receipts, is what they have and were paid
 *          out.
 * SERVE-5  Paid are no more tokens than text can have shown: of the prompt at most its bytes and
 *          one, of the answer at most the bytes that came and what a stop text may have hidden.
 * SERVE-6  One Idempotency-Key of an account is one request: a second one with the same body gets
 *          the first one's answer and costs nothing, also when the coordinator was killed in
 *          between.
 *
 * A failure that the user did not cause costs him nothing, also when text came before. Who reads so
 * slowly that SERVE_TEXT_MAX is not enough has cut his answer himself, and pays as far as it came.
 */
#ifndef EMAC_COORDINATOR_SERVING_H
#define EMAC_COORDINATOR_SERVING_H

#include "coordinator/coordinator.h"
#include "coordinator/serving/serve.h"
#include "crypto/crypto.h"
#include "work/serving.h"

#define SERVING_KEY_PREFIX   "emac-"
#define SERVING_KEYS_MAX     1000         /* of an account */
#define SERVING_ANSWER_MAX   (256u << 10) /* bytes of an answer that is kept for it */
#define SERVING_ANSWER_MS    UINT64_C(86400000)
#define SERVING_HIDDEN_BYTES 4 /* of a character that was not finished */

/* What a ticket (serve.h) owes. All zero: nothing. */
struct serving_meter {
    bool open;
    char id[SERVE_ID_MAX];
    struct serve_payer payer;
    struct serving_price price;
    struct cid model, asset[SERVING_TERMS_MAX], licence[SERVING_TERMS_MAX]; /* price.count */
    int64_t reserved_units;
    bool keep;              /* the answer, for SERVE-6 */
    struct emac_buf answer; /* so far; too long a one is not kept */
};
/* What a request with an Idempotency-Key was answered before. */
struct serving_replay {
    bool found;
    char id[SERVE_ID_MAX];
    struct emac_buf text; /* release it */
    char finish_reason[16];
    uint32_t prompt_tokens, completion_tokens;
};
struct serving_made {
    const char *rig; /* its did */
    uint64_t prompt_tokens, completion_tokens;
    const char *finish_reason; /* NULL: it was cut by the client */
};

/* Check the model's terms for the payer and reserve what the answer may cost: own transaction.
 * FORBIDDEN or PAYMENT naming the term; PAYMENT when the account has too little, BUSY when the
 * key's limit would be passed, CONFLICT for an Idempotency-Key that is under way or of another
 * body. Release the meter's answer and replay->text, whatever happens. Under the lock. */
enum emac_status serving_reserve(struct coordinator *c, const struct serve_request *req,
                                 struct serving_meter *m, struct serving_replay *replay,
                                 struct emac_err *err);
/* Close it: what was made is paid, the rest goes back; `made` NULL: everything. The tokens in *made
 * become those that were paid. A failure is logged, and what stays open is released at the next
 * start. Under the lock. */
void serving_settle(struct coordinator *c, struct serving_meter *m, struct serving_made *made);
/* At start: release what was open when the process before this one ended. */
enum emac_status serving_recover(struct coordinator *c, struct emac_err *err);

/* ---- serving_keys.c ---- */
http_handler keys_post, keys_get, key_usage_get, key_revoke_post;
/* In tx: FORBIDDEN, BUSY when the key cannot spend so much more. */
enum emac_status serving_key_check(struct coordinator *c, const char *key, int64_t units,
                                   struct emac_err *err);

/* ---- serving_terms.c ---- */
/* What the licences of the model, and of an adapter's base, ask of the payer: fills m->price,
 * asset, licence. FORBIDDEN, PAYMENT. */
enum emac_status serving_terms(struct coordinator *c, const struct serve_model *model,
                               struct serving_meter *m, struct emac_err *err);

#endif
