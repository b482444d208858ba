/* Generation requests on their way from a client to a rig and back; serving.h says who pays. The
 * gateway submits; a rig's lease poll takes; its pieces come back in order.
 *
 * Life of a ticket: queued -> leased -> done | failed. A rig that is lost before
 * its first piece puts the ticket back into the queue; after a piece it fails
 * (what was sent cannot be unsaid). At most SERVE_QUEUE_MAX tickets wait. */
#ifndef EMAC_COORDINATOR_SERVE_H
#define EMAC_COORDINATOR_SERVE_H

#include "codec/cid.h"
#include "coordinator/coordinator.h"
#include "crypto/crypto.h"
#include "work/licence.h"
#include "work/model_tree.h"

#define SERVE_QUEUE_MAX      64
#define SERVE_TICKETS_MAX    512 /* waiting and running */
#define SERVE_STOP_MAX       4
#define SERVE_STOP_BYTES     256
#define SERVE_PROMPT_MAX     (256u << 10)
#define SERVE_TEXT_MAX       (1u << 20) /* text waiting to be read by the client */
#define SERVE_WAIT_MS        60000      /* without a rig: UNAVAILABLE */
#define SERVE_TRIES_MAX      3
#define SERVE_MODEL_NAME_MAX 128
#define SERVE_ID_MAX         40
#define SERVE_KEY_MAX        24

/* Who pays (serving.h). */
struct serve_payer {
    char did[DID_KEY_MAX];   /* "": nobody */
    char key[SERVE_KEY_MAX]; /* the API key's id; "": signed */
    bool commercial;         /* as licences ask */
};
/* By the request's API key or signature. UNAUTHORIZED for a bad one, and for none where serving is
 * metered. */
enum emac_status serve_payer_of(struct coordinator *c, const struct http_request *req,
                                struct serve_payer *out, struct emac_err *err);

/* A model: trained here, by its CID, a job's id or a job's name (the newest that succeeded); or of
 * the catalogue, by its CID. */
struct serve_model {
    struct cid model, params;
    struct cid base; /* of an adapter or head, which runs on it; else none */
    uint64_t weights;
    char job[24], name[LICENCE_NAME_MAX], owner[DID_KEY_MAX]; /* job "": of the catalogue alone */
    uint64_t created_ms;
};

struct serve_request {
    struct serve_model model;
    struct serve_payer payer;
    char id[SERVE_ID_MAX];      /* of the answer */
    const char *idempotency;    /* the client's Idempotency-Key; NULL: none */
    uint8_t body[SHA256_BYTES]; /* hash of the request's */
    const char *prompt;         /* UTF-8 */
    uint32_t max_tokens;
    double temperature, top_p;
    uint32_t top_k;
    uint64_t seed;
    uint32_t stop_count;
    char stop[SERVE_STOP_MAX][SERVE_STOP_BYTES + 1];
};

struct serve_ticket;

/* Pay for it and queue it. BUSY when the queue is full, and serving_reserve's failures. */
enum emac_status serve_submit(struct coordinator *c, const struct serve_request *req,
                              struct serve_ticket **out, struct emac_err *err);

/* What the answer is called: req->id, or that of the answer that is told again. */
const char *serve_id(const struct serve_ticket *t);

struct serve_piece {
    struct emac_buf text; /* new text since the last call; the caller inits and releases it */
    bool done;
    char finish_reason[16]; /* "stop" or "length" when done */
    uint32_t prompt_tokens, completion_tokens;
};
/* Wait up to wait_ms for text or the end; OK with no text and !done means nothing came.
 * UNAVAILABLE: no rig in time, or the rig was lost or failed. */
enum emac_status serve_next(struct coordinator *c, struct serve_ticket *t, uint32_t wait_ms,
                            struct serve_piece *piece, struct emac_err *err);
/* Ends the generation if it goes on still; what was made is paid. */
void serve_close(struct coordinator *c, struct serve_ticket *t);

struct node;
/* The rig gives a lease back: another one gets the request, if no text came. Nothing when it has no
 * such lease. Under the lock. */
void serve_fail(struct coordinator *c, struct node *n, const char *lease, const char *why);

/* NOT_FOUND. */
enum emac_status serve_model_find(struct coordinator *c, const char *name, struct serve_model *out,
                                  struct emac_err *err);
/* One of the tokenizer's texts of the model's directory, or of its base's, which the depot has;
 * nothing when there is none. Needs no lock. */
enum emac_status serve_model_text(struct coordinator *c, const struct serve_model *m,
                                  enum model_file file, struct emac_buf *out, struct emac_err *err);
/* serve_assets.c: such a model of the catalogue. NOT_FOUND; INVALID for one that generates no text.
 */
enum emac_status serve_asset_find(struct coordinator *c, const char *name, struct serve_model *out,
                                  struct emac_err *err);
enum emac_status serve_assets_each(struct coordinator *c, uint32_t limit,
                                   void (*each)(void *ctx, const struct serve_model *m), void *ctx,
                                   struct emac_err *err);
/* What a million tokens of the model cost: units to rigs and network, units by licences. */
enum emac_status serve_price(struct coordinator *c, const struct serve_model *m,
                             int64_t *work_units, int64_t *royalty_units, struct emac_err *err);
/* Newest first. */
enum emac_status serve_models_each(struct coordinator *c, uint32_t limit,
                                   void (*each)(void *ctx, const struct serve_model *m), void *ctx,
                                   struct emac_err *err);
/* Clock and entropy of the coordinator; true once it is stopping. */
struct os *serve_os(struct coordinator *c);
bool serve_stopping(struct coordinator *c);

#endif
