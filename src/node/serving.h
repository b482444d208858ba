/* Answering requests for text, several at once (agent.h has the threads). Nothing outside src/node
 * includes this.
 *
 * A run (serve.c) begins with the first request and ends when nobody is left; the worker has the
 * device for all of it. Each turn of it takes in whoever waits and has room, makes one step of all
 * answers (generate.h), and gives what came to their posters, a thread for each, which talk to the
 * coordinator. So an answer's bits are what they are alone (BATCH-1), requests come and go between
 * steps, and the network costs no compute.
 *
 * SLOT-1  At most node.slots answers are made at once, and what their caches can grow to, all
 *         together, is at most node.cache_bytes: a request says at its beginning the most tokens
 *         that it can come to. One that does not fit yet waits, and those behind it do; one that
 *         never fits is refused with the figures. On a card it is also at most three quarters of
 *         what the weights leave there.
 *
 * SLOT-2  A model is loaded only while nobody is answered, so that nobody waits for it in the
 *         middle of a sentence. A request of another model than those that are loaded waits for
 *         that, and those behind it do: it is never overtaken.
 *
 * SLOT-3  What ends one answer (its end, its client, what it asks for, its numbers) ends that one.
 *
 * SLOT-4  While a question of a dispute waits, or a task has waited for SERVE_RUN_MS of a run, the
 *         run takes nobody out of the queue, and what waits comes before the next run. One that it
 *         took before and that waits for room is its own still.
 *
 * SLOT-5  A model is answered on the card if that has room for it, else on the processor. It stays
 *         on the card until a task finds less than half of the card's memory free, or too little.
 */
#ifndef EMAC_NODE_SERVING_H
#define EMAC_NODE_SERVING_H

#include "model/language.h"
#include "node/agent_internal.h"
#include "node/piece.h"

#define SERVE_RUN_MS      30000
#define SERVE_PROMPT_ROWS 64 /* tokens of prompts in a step that somebody's next word waits for */
#define POST_TEXT_MAX     (4u << 20)

/* ---- serve_request.c ---- */

struct request {
    const char *prompt; /* of the lease's JSON */
    size_t prompt_len;
    uint32_t max_tokens;
    struct sample_params params;
    struct piece_filter filter;
    struct cid model;
};
/* From a lease; CORRUPT or INVALID naming the field. */
enum emac_status request_parse(const json_t *lease, struct request *out, struct emac_err *err);

/* ---- serve_post.c ---- */

/* Between the worker, who makes bytes, and the poster, who sends what has come together since its
 * last call, at most every 20 ms or 16 bytes. Under the lock:
 *
 *   worker: adds text and counts, sets done at the end
 *
 *   poster: takes them; sets cancel when the client is gone or the coordinator does not take pieces
 *   any more; ends after it has sent `done`, and says so by `over`
 *
 * Pieces are numbered: one whose answer was lost is sent again, and counts once. */
struct post {
    struct node *n;
    const char *lease;
    struct os_thread thread;
    struct os_mutex lock;
    struct os_cond changed;
    /* guarded by lock */
    struct emac_buf text;
    uint32_t tokens, prompt_tokens; /* tokens: not sent yet */
    bool done, cancel, over;
    const char *finish;    /* "stop", "length", NULL */
    struct emac_err error; /* OK: none */
    uint64_t sent;         /* pieces taken: the number of the next one */
};
/* Starts the poster; `lease` is borrowed. */
void post_open(struct post *p, struct node *n, const char *lease);
/* Does anybody want more? */
bool post_wanted(struct post *p);
/* A token's text; prompt_tokens as the model counts them. False when nobody wants more. */
bool post_add(struct post *p, const struct emac_buf *text, uint32_t prompt_tokens);
/* The end: the rest of the text and why it ends, or the error. */
void post_done(struct post *p, const struct emac_buf *text, const char *finish,
               const struct emac_err *error);
/* The end is sent, or cannot be. */
bool post_over(struct post *p);
/* Waits for that, after post_done. */
void post_close(struct post *p);

/* ---- serve_model.c ---- */

struct agent_model {
    struct cid cid;
    struct llama_config config;
    struct language language;
    const struct store_value
        *whole;                /* held; NULL when the model is private, or merged out of two */
    struct emac_buf merged;    /* else empty */
    struct emac_slice weights; /* whichever it is */
    bool is_private;           /* it was opened by keys, and goes with the last who brought them */
    uint32_t users;            /* answers under way */
    struct decoder *decoder;   /* NULL: not needed yet, or not any more */
    struct device *dev;        /* the decoder's */
    uint64_t room; /* bytes that caches may take there; UINT64_MAX: as many as the rig's */
};
/* A model with its decoder, until agent_model_leave. One that is not loaded is, fetched if need be,
 * if `may_load`, while no model has users; else *out is NULL. What is private is opened by `keys`,
 * and is there for those alone who bring some. */
enum emac_status agent_model_get(struct node *n, const struct cid *cid,
                                 const struct sealed_ring *keys, bool may_load,
                                 struct agent_model **out, struct emac_err *err);
/* Done with it; NULL is nothing. */
void agent_model_leave(struct node *n, struct agent_model *m);
/* At the end of a run: models stay, and so do decoders on a card, whose weights crossed the bus.
 * The others go. */
void agent_models_rest(struct node *n);
/* Memory of the card for answers, by letting go of what waits there for tasks, or of a decoder that
 * nobody uses. False when there is nothing more. */
bool agent_models_spare(struct node *n);

#endif
