/* Generation on its way between gateway and rigs; serve.h tells the life of a ticket. Nothing of it
 * but its price (serving.h) is in the database: a client of a coordinator that dies sees its
 * connection break and asks again. */
#include "coordinator/serving/serve.h"
#include "coordinator/rigs/poll.h"

#include <stdlib.h>
#include <string.h>

#include "base/hex.h"
#include "coordinator/assets/private.h"
#include "coordinator/internal.h"
#include "coordinator/serving/serve_share.h"
#include "coordinator/serving/serving.h"

#define SERVE_PIECE_MAX (64u << 10)

enum ticket_state { TICKET_QUEUED, TICKET_LEASED, TICKET_DONE, TICKET_FAILED };

struct serve_ticket {
    struct serve_request req;
    char *prompt; /* req.prompt */
    enum ticket_state state;
    char lease[LEASE_ID_MAX];
    struct node *node, *failed; /* who has it; who failed at it last */
    uint64_t queued_ms, beat_ms;
    uint32_t tries;
    bool spoke;           /* a piece came: it cannot be done again elsewhere */
    uint64_t pieces;      /* that came of this lease */
    struct emac_buf text; /* not yet read by the client */
    char finish_reason[16];
    uint32_t prompt_tokens, completion_tokens;
    size_t came;         /* bytes of text in all */
    struct emac_err err; /* when failed */
    struct serving_meter meter;
    bool is_private; /* the model, or its base */
};

struct serve_queue {
    struct serve_ticket *ticket[SERVE_TICKETS_MAX]; /* in order of arrival */
    uint32_t count;
};

struct serve_queue *serve_queue_new(void)
{
    struct serve_queue *q;
    enum emac_status st = emac_alloc(&q, 1, sizeof(*q), NULL);
    EMAC_ASSERT(st == EMAC_OK);
    return q;
}

static void ticket_free(struct serve_ticket *t)
{
    emac_buf_release(&t->meter.answer);
    emac_buf_release(&t->text);
    free(t->prompt);
    free(t);
}

void serve_queue_free(struct serve_queue *q)
{
    if (q == NULL)
        return;
    for (uint32_t i = 0; i < q->count; i++)
        ticket_free(q->ticket[i]);
    free(q);
}

struct os *serve_os(struct coordinator *c)
{
    return c->os;
}

bool serve_stopping(struct coordinator *c)
{
    os_mutex_lock(&c->lock);
    bool stopping = c->stopping;
    os_mutex_unlock(&c->lock);
    return stopping;
}

/* ---- the gateway's side ---- */

static uint32_t waiting(const struct serve_queue *q)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < q->count; i++)
        n += q->ticket[i]->state == TICKET_QUEUED;
    return n;
}

/* It was answered before: the ticket has it all. */
static enum emac_status replay_take(struct serve_ticket *t, const struct serving_replay *r,
                                    struct emac_err *err)
{
    t->state = TICKET_DONE;
    t->prompt_tokens = r->prompt_tokens;
    t->completion_tokens = r->completion_tokens;
    emac_strcpy(t->req.id, sizeof(t->req.id), r->id);
    emac_strcpy(t->finish_reason, sizeof(t->finish_reason), r->finish_reason);
    return emac_buf_append(&t->text, r->text.data, r->text.len, err);
}

static enum emac_status ticket_enter(struct coordinator *c, struct serve_ticket *t,
                                     struct emac_err *err)
{
    struct serving_replay replay;
    if (waiting(c->serve) >= SERVE_QUEUE_MAX || c->serve->count == SERVE_TICKETS_MAX)
        return emac_fail(err, EMAC_BUSY, "%u requests wait already: try again in a moment",
                         SERVE_QUEUE_MAX);
    enum emac_status st = serving_reserve(c, &t->req, &t->meter, &replay, err);
    if (st == EMAC_OK && replay.found) {
        st = replay_take(t, &replay, err);
    } else if (st == EMAC_OK) {
        c->serve->ticket[c->serve->count++] = t;
        coordinator_changed(c);
    }
    emac_buf_release(&replay.text);
    return st;
}

enum emac_status serve_submit(struct coordinator *c, const struct serve_request *req,
                              struct serve_ticket **out, struct emac_err *err)
{
    struct serve_ticket *t;
    enum emac_status st = emac_alloc(&t, 1, sizeof(*t), err);
    if (st != EMAC_OK)
        return st;
    t->req = *req;
    t->req.prompt = t->prompt = emac_strdup(req->prompt);
    t->queued_ms = now_ms(c);
    emac_buf_init(&t->text, SERVE_TEXT_MAX);
    st = private_model_check(c, &t->req.model.model, t->req.payer.did, &t->is_private, err);
    os_mutex_lock(&c->lock);
    if (st == EMAC_OK)
        st = ticket_enter(c, t, err);
    os_mutex_unlock(&c->lock);
    if (st != EMAC_OK) {
        ticket_free(t);
        return st;
    }
    *out = t;
    return EMAC_OK;
}

const char *serve_id(const struct serve_ticket *t)
{
    return t->req.id;
}

/* SERVE-5: what is counted is what text can have shown. */
static void ticket_settle(struct coordinator *c, struct serve_ticket *t)
{
    uint64_t prompt = strlen(t->prompt) + 1, most = t->came + SERVING_HIDDEN_BYTES, stop = 0;
    for (uint32_t i = 0; i < t->req.stop_count; i++)
        stop = strlen(t->req.stop[i]) > stop ? strlen(t->req.stop[i]) : stop;
    most = most + stop < t->req.max_tokens ? most + stop : t->req.max_tokens;
    bool done = t->state == TICKET_DONE;
    struct serving_made made = {
        .rig = t->node ? t->node->did : "",
        .prompt_tokens = t->prompt_tokens < prompt ? t->prompt_tokens : prompt,
        .completion_tokens = t->completion_tokens < most ? t->completion_tokens : most,
        .finish_reason = done && t->came <= SERVING_ANSWER_MAX ? t->finish_reason : NULL};
    if (!t->meter.open)
        return;
    bool paid = t->node && t->node->state == NODE_ADMITTED &&
                (done || (t->state == TICKET_LEASED && t->completion_tokens > 0 && !c->stopping));
    serving_settle(c, &t->meter, paid ? &made : NULL);
    t->prompt_tokens = (uint32_t)made.prompt_tokens;
    t->completion_tokens = (uint32_t)made.completion_tokens;
}

static enum emac_status piece_take(struct serve_ticket *t, struct serve_piece *p,
                                   struct emac_err *err)
{
    enum emac_status st = emac_buf_append(&p->text, t->text.data, t->text.len, err);
    emac_buf_clear(&t->text);
    p->done = t->state == TICKET_DONE;
    p->prompt_tokens = t->prompt_tokens;
    p->completion_tokens = t->completion_tokens;
    memcpy(p->finish_reason, t->finish_reason, sizeof(p->finish_reason));
    return st;
}

enum emac_status serve_next(struct coordinator *c, struct serve_ticket *t, uint32_t wait_ms,
                            struct serve_piece *piece, struct emac_err *err)
{
    uint64_t end = now_ms(c) + wait_ms, now;
    enum emac_status st = EMAC_OK;
    os_mutex_lock(&c->lock);
    while (t->text.len == 0 && (t->state == TICKET_QUEUED || t->state == TICKET_LEASED) &&
           !c->stopping && (now = now_ms(c)) < end)
        os_cond_wait_ms(&c->changed, &c->lock, (uint32_t)(end - now));
    if (t->state == TICKET_DONE)
        ticket_settle(c, t);
    if (t->text.len > 0 || t->state == TICKET_DONE)
        st = piece_take(t, piece, err);
    else if (t->state == TICKET_FAILED)
        st = emac_fail(err, t->err.status, "%s", t->err.text);
    else if (c->stopping)
        st = emac_fail(err, EMAC_UNAVAILABLE, "the coordinator is stopping: ask again soon");
    os_mutex_unlock(&c->lock);
    return st;
}

void serve_close(struct coordinator *c, struct serve_ticket *t)
{
    struct serve_queue *q = c->serve;
    os_mutex_lock(&c->lock);
    for (uint32_t i = 0; i < q->count; i++)
        if (q->ticket[i] == t) {
            memmove(&q->ticket[i], &q->ticket[i + 1], (q->count - i - 1) * sizeof(q->ticket[0]));
            q->count--;
            break;
        }
    ticket_settle(c, t);
    if (t->state == TICKET_LEASED)
        coordinator_changed(c); /* its slot is free */
    os_mutex_unlock(&c->lock);
    ticket_free(t);
}

/* ---- the rig's side ---- */

static json_t *request_json(const struct serve_request *r)
{
    json_t *stop = json_array();
    for (uint32_t i = 0; i < r->stop_count; i++)
        json_array_append_new(stop, json_string(r->stop[i]));
    return json_pack("{s:s, s:I, s:f, s:f, s:I, s:I, s:o}", "prompt", r->prompt, "max_tokens",
                     (json_int_t)r->max_tokens, "temperature", r->temperature, "top_p", r->top_p,
                     "top_k", (json_int_t)r->top_k, "seed", (json_int_t)(r->seed & INT64_MAX),
                     "stop", stop);
}

static void ticket_fail(struct coordinator *c, struct serve_ticket *t, const struct emac_err *why)
{
    t->state = TICKET_FAILED;
    emac_fail(&t->err, why->status, "%s", why->text);
    coordinator_changed(c);
}

/* The lease; NULL when a key to what the model has of private is not to be had any more. */
static json_t *lease_of(struct coordinator *c, struct serve_ticket *t, struct node *n,
                        const char *base_url, struct emac_err *err)
{
    json_t *sources = json_object(), *keys = NULL;
    if (t->is_private &&
        private_model_keys(c, &t->req.model.model, n->did, t->lease, &keys, err) != EMAC_OK) {
        json_decref(sources);
        json_decref(keys);
        return NULL;
    }
    sources_add(c, sources, &t->req.model.model, n, base_url);
    sources_add(c, sources, &t->req.model.params, n, base_url);
    json_t *o =
        json_pack("{s:s, s:s, s:o, s:o, s:o, s:o}", "kind", "serve", "lease", t->lease, "model",
                  api_cid(&t->req.model.model), "params", api_cid(&t->req.model.params), "request",
                  request_json(&t->req), "sources", sources);
    if (keys != NULL)
        json_object_set_new(o, "keys", keys);
    return o;
}

/* What each rig has under way. */
static void answers_count(struct coordinator *c)
{
    struct map_entry e;
    for (size_t at = 0; map_next(&c->nodes, &at, &e);)
        ((struct node *)e.value)->serving.answers = 0;
    for (uint32_t i = 0; i < c->serve->count; i++)
        if (c->serve->ticket[i]->state == TICKET_LEASED)
            c->serve->ticket[i]->node->serving.answers++;
}

json_t *serve_take(struct coordinator *c, struct node *n, const char *base_url, uint64_t *wake_ms)
{
    struct emac_err err = {0};
    if (waiting(c->serve) == 0)
        return NULL;
    answers_count(c);
    for (uint32_t i = 0; i < c->serve->count; i++) {
        struct serve_ticket *t = c->serve->ticket[i];
        const struct serve_wish wish = {&t->req.model.model, &t->req.model.params, t->failed,
                                        t->queued_ms};
        if (t->state != TICKET_QUEUED || !serve_suits(c, &wish, n, wake_ms))
            continue;
        uint8_t id[LEASE_ID_BYTES];
        c->os->entropy(c->os, id, sizeof(id));
        emac_hex(t->lease, id, sizeof(id));
        t->state = TICKET_LEASED;
        t->node = n;
        t->tries++;
        t->beat_ms = now_ms(c);
        json_t *lease = lease_of(c, t, n, base_url, &err);
        if (lease != NULL)
            return lease;
        t->node = NULL;
        ticket_fail(c, t, &err);
    }
    return NULL;
}

static struct serve_ticket *ticket_of(struct coordinator *c, const struct node *n,
                                      const char *lease)
{
    for (uint32_t i = 0; i < c->serve->count; i++) {
        struct serve_ticket *t = c->serve->ticket[i];
        if (t->state == TICKET_LEASED && t->node == n && strcmp(t->lease, lease) == 0)
            return t;
    }
    return NULL;
}

void serve_beat(struct coordinator *c, struct node *n, const char *lease, bool *cancel)
{
    struct serve_ticket *t = ticket_of(c, n, lease);
    *cancel = t == NULL;
    if (t)
        t->beat_ms = now_ms(c);
}

/* The rig is gone or failed: to another one if the client has seen nothing yet. That one's tokens
 * are counted from the first one on: what was counted here has no text. */
static void ticket_lost(struct coordinator *c, struct serve_ticket *t, const char *why)
{
    t->failed = t->node;
    t->node = NULL;
    t->lease[0] = 0;
    if (!t->spoke && t->tries < SERVE_TRIES_MAX) {
        t->state = TICKET_QUEUED;
        t->queued_ms = now_ms(c);
        t->pieces = 0;
        t->prompt_tokens = t->completion_tokens = 0;
    } else {
        t->state = TICKET_FAILED;
        emac_fail(&t->err, EMAC_UNAVAILABLE, "%s", why);
    }
    coordinator_changed(c);
}

void serve_fail(struct coordinator *c, struct node *n, const char *lease, const char *why)
{
    struct serve_ticket *t = ticket_of(c, n, lease);
    if (t != NULL)
        ticket_lost(c, t, why);
}

void serve_tick(struct coordinator *c)
{
    uint64_t now = now_ms(c);
    for (uint32_t i = 0; i < c->serve->count; i++) {
        struct serve_ticket *t = c->serve->ticket[i];
        if (t->state == TICKET_LEASED && now - t->beat_ms > c->cfg.lease_ttl_ms)
            ticket_lost(c, t, "the rig that was answering is gone: ask again");
        if (t->state == TICKET_QUEUED && now - t->queued_ms > SERVE_WAIT_MS) {
            t->state = TICKET_FAILED;
            emac_fail(&t->err, EMAC_UNAVAILABLE, "no rig was free for %u s: try again later",
                      SERVE_WAIT_MS / 1000);
            coordinator_changed(c);
        }
    }
}

struct piece {
    const char *text, *finish_reason, *error;
    uint64_t tokens, prompt_tokens, seq;
    bool done, has_seq;
};

static enum emac_status piece_parse(json_t *root, struct piece *p, struct emac_err *err)
{
    enum emac_status st;
    *p = (struct piece){.text = ""};
    EMAC_TRY(st, api_str_opt(root, "text", SERVE_PIECE_MAX, &p->text, err));
    EMAC_TRY(st, api_u64_opt(root, "tokens", UINT32_MAX, &p->tokens, err));
    EMAC_TRY(st, api_bool_opt(root, "done", &p->done, err));
    EMAC_TRY(st, api_str_opt(root, "finish_reason", 15, &p->finish_reason, err));
    if (p->finish_reason != NULL && strcmp(p->finish_reason, "stop") != 0 &&
        strcmp(p->finish_reason, "length") != 0) /* clients get it as it is */
        return emac_fail(err, EMAC_INVALID, "field 'finish_reason' must be 'stop' or 'length'");
    EMAC_TRY(st, api_u64_opt(root, "prompt_tokens", UINT32_MAX, &p->prompt_tokens, err));
    p->has_seq = json_is_integer(json_object_get(root, "seq"));
    EMAC_TRY(st, api_u64_opt(root, "seq", INT64_MAX, &p->seq, err));
    st = api_str_opt(root, "error", EMAC_ERR_TEXT_MAX, &p->error, err);
out:
    return st;
}

/* true when the rig should stop */
static bool piece_add(struct coordinator *c, struct serve_ticket *t, const struct piece *p)
{
    t->beat_ms = now_ms(c);
    if (p->has_seq && p->seq < t->pieces)
        return false; /* it is here: our answer to it was lost, and the rig sends it again */
    if (p->has_seq && p->seq > t->pieces) {
        ticket_lost(c, t, "the rig that was answering lost a part of the text: ask again");
        return true;
    }
    t->pieces++;
    if (p->error && p->error[0]) {
        ticket_lost(c, t, p->error);
        return true;
    }
    if (p->prompt_tokens)
        t->prompt_tokens = (uint32_t)p->prompt_tokens;
    t->completion_tokens += (uint32_t)p->tokens;
    t->came += strlen(p->text);
    t->spoke = t->spoke || p->text[0];
    if (t->meter.keep) /* too long a one is not kept: ticket_settle looks at t->came */
        (void)emac_buf_append(&t->meter.answer, p->text, strlen(p->text), NULL);
    if (emac_buf_append(&t->text, p->text, strlen(p->text), NULL) != EMAC_OK) {
        t->spoke = true;
        ticket_settle(c, t); /* the client's doing: what was made is paid */
        ticket_lost(c, t, "the client reads too slowly");
        return true;
    }
    if (p->done) {
        t->state = TICKET_DONE;
        emac_strcpy(t->finish_reason, sizeof(t->finish_reason),
                    p->finish_reason ? p->finish_reason : "stop");
    }
    coordinator_changed(c);
    return false;
}

enum emac_status serve_post(void *ctx, const struct http_request *req, struct http_response *res,
                            struct emac_err *err)
{
    struct coordinator *c = ctx;
    char did[DID_KEY_MAX];
    struct piece p;
    struct node *n;
    json_t *root = NULL;
    bool cancel = true;
    enum emac_status st;
    EMAC_TRY(st, api_signer(c, req, did, err));
    EMAC_TRY(st, api_body(req, &root, err));
    EMAC_TRY(st, piece_parse(root, &p, err));
    os_mutex_lock(&c->lock);
    st = node_working(c, did, &n, err);
    if (st == EMAC_OK) {
        node_seen(c, n);
        struct serve_ticket *t = ticket_of(c, n, http_path_param(req, "lease"));
        if (t)
            cancel = piece_add(c, t, &p);
    }
    os_mutex_unlock(&c->lock);
    if (st == EMAC_OK)
        st = api_reply(res, 200, json_pack("{s:b}", "cancel", cancel), err);
out:
    json_decref(root);
    return st;
}

/* ---- models ---- */

#define MODEL_COLUMNS "id, name, owner, model, params, ended_ms, object"

/* False when the model generates no text. */
enum emac_status serve_model_text(struct coordinator *c, const struct serve_model *m,
                                  enum model_file file, struct emac_buf *out, struct emac_err *err)
{
    struct model_tree tree;
    enum emac_status st = model_texts_find(c->depot, &m->model, &tree, err);
    if (st != EMAC_OK || !model_tree_has(&tree, file))
        return st;
    return model_tree_file(c->depot, &tree, file, out, err);
}

static bool model_read(struct db_stmt *q, struct serve_model *m)
{
    struct emac_slice object = db_blob(q, 6);
    struct job job;
    if (job_decode(&job, object.data, object.len, NULL) != EMAC_OK || job_on_records(&job))
        return false;
    *m = (struct serve_model){.model = cid_from_text(db_text(q, 3)),
                              .params = cid_from_text(db_text(q, 4)),
                              .created_ms = (uint64_t)db_i64(q, 5)};
    emac_strcpy(m->job, sizeof(m->job), db_text(q, 0));
    emac_strcpy(m->name, sizeof(m->name), db_text(q, 1));
    emac_strcpy(m->owner, sizeof(m->owner), db_text(q, 2));
    m->weights = llama_param_elements(&job.model);
    if (job.tune.kind == TUNE_HEAD || job.tune.kind == TUNE_LORA)
        m->base = job.base;
    return true;
}

enum emac_status serve_model_find(struct coordinator *c, const char *name, struct serve_model *out,
                                  struct emac_err *err)
{
    struct db_stmt *q;
    enum emac_status st = db_first(c->db, &q, err,
                                   "SELECT " MODEL_COLUMNS " FROM jobs WHERE state = 'succeeded'"
                                   " AND model <> '' AND (model = ? OR id = ? OR name = ?)"
                                   " ORDER BY seq DESC LIMIT 1",
                                   "ttt", name, name, name);
    if (st != EMAC_OK)
        return st;
    if (q == NULL) {
        st = serve_asset_find(c, name, out, err);
        return st != EMAC_NOT_FOUND
                   ? st
                   : emac_fail(err, EMAC_NOT_FOUND,
                               "there is no model '%.100s': name a job that succeeded, or the CID "
                               "of its model or of one of the catalogue",
                               name);
    }
    if (!model_read(q, out))
        st = emac_fail(err, EMAC_INVALID,
                       "model '%.100s' is a classifier and generates no text: use 'emac classify'",
                       name);
    db_done(q);
    return st;
}

enum emac_status serve_models_each(struct coordinator *c, uint32_t limit,
                                   void (*each)(void *ctx, const struct serve_model *m), void *ctx,
                                   struct emac_err *err)
{
    struct db_stmt *q;
    bool row = false;
    enum emac_status st = db_query(c->db, &q, err,
                                   "SELECT " MODEL_COLUMNS " FROM jobs WHERE state = 'succeeded'"
                                   " AND model <> '' ORDER BY seq DESC LIMIT ?",
                                   "i", (int64_t)limit);
    while (st == EMAC_OK && (st = db_next(q, &row, err)) == EMAC_OK && row) {
        struct serve_model m;
        if (model_read(q, &m))
            each(ctx, &m);
    }
    return st == EMAC_OK ? serve_assets_each(c, limit, each, ctx, err) : st;
}
