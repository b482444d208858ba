/* A run: answers that are made together, until nobody is left (serving.h). */
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/log.h"
#include "node/serving.h"

struct answer {
    struct leased *l; /* ours */
    struct request q;
    struct post post;
    struct sealed_ring keys; /* until the model is there */
    struct agent_model *m;   /* from here on NULL until they are there */
    struct session *s;
    struct completion *c;
    uint64_t bytes; /* that its cache may come to, counted in the run's */
    uint64_t began;
    uint32_t made;        /* tokens, that which ends the text with them */
    struct emac_buf text; /* of a step */
};

/* Nobody comes in while as many leave as there can be slots: so there is always a place among those
 * that leave. */
struct run {
    struct node *n;
    uint64_t began, bytes;
    uint32_t count, leaving_count;
    struct answer *live[NODE_SLOTS_MAX];        /* in order of their coming */
    struct answer *leaving[2 * NODE_SLOTS_MAX]; /* their posters have the rest */
    struct answer *next;                        /* came, and has no room yet */
};

static const struct emac_err CANCELLED = {EMAC_CANCELLED, "the generation was cancelled"};
static const struct emac_err FINE = {.status = EMAC_OK};

/* ---- the end of an answer ---- */

static void say_end(struct node *n, const struct answer *a, const struct emac_err *err)
{
    double s = (double)(n->os->mono_ns(n->os) - a->began) * 1e-9;
    os_mutex_lock(&n->lock);
    n->figures.tokens_served += a->made;
    os_mutex_unlock(&n->lock);
    if (err->status == EMAC_OK)
        LOG_I("node", "generated %u tokens in %.2f s", a->made, s);
    else
        LOG_W("node", "a generation ended after %u tokens: %s", a->made, err->text);
}

static void live_remove(struct run *r, const struct answer *a)
{
    for (uint32_t i = 0; i < r->count; i++)
        if (r->live[i] == a) {
            memmove(&r->live[i], &r->live[i + 1], (--r->count - i) * sizeof r->live[0]);
            return;
        }
}

/* What it took is free again; its poster sends the rest, and the lease is kept alive until then. */
static void finish(struct run *r, struct answer *a, const char *reason, const struct emac_err *why)
{
    struct emac_err err = *why;
    emac_buf_clear(&a->text);
    if (err.status == EMAC_OK && !a->q.filter.stopped)
        (void)piece_end(&a->q.filter, &a->text, &err);
    if (err.status != EMAC_OK)
        emac_buf_clear(&a->text);
    say_end(r->n, a, &err);
    post_done(&a->post, &a->text, err.status == EMAC_OK ? reason : NULL, &err);
    sealed_ring_wipe(&a->keys);
    completion_close(a->c);
    session_close(a->s);
    agent_model_leave(r->n, a->m);
    a->c = NULL;
    a->s = NULL;
    a->m = NULL;
    r->bytes -= a->bytes;
    live_remove(r, a);
    EMAC_ASSERT(r->leaving_count < EMAC_COUNT(r->leaving));
    r->leaving[r->leaving_count++] = a;
}

static void answer_free(struct node *n, struct answer *a)
{
    post_close(&a->post);
    agent_leased_free(n, a->l);
    emac_buf_release(&a->text);
    free(a);
}

/* Those that are sent. */
static void leaving_reap(struct run *r)
{
    for (uint32_t i = r->leaving_count; i-- > 0;) {
        struct answer *a = r->leaving[i];
        if (!post_over(&a->post))
            continue;
        r->leaving[i] = r->leaving[--r->leaving_count];
        answer_free(r->n, a);
    }
}

static void leaving_wait(struct run *r)
{
    while (r->leaving_count > 0)
        answer_free(r->n, r->leaving[--r->leaving_count]);
}

/* ---- the beginning ---- */

/* A lease's answer, not begun; NULL when there is no memory for it, and the lease is given back. */
static struct answer *answer_new(struct node *n, struct leased *l)
{
    struct answer *a = NULL;
    struct emac_err err = {.status = EMAC_OK};
    if (emac_alloc(&a, 1, sizeof *a, &err) != EMAC_OK) {
        agent_leased_failed(n, l, &err);
        agent_leased_free(n, l);
        return NULL;
    }
    a->l = l;
    a->began = n->os->mono_ns(n->os);
    emac_buf_init(&a->text, POST_TEXT_MAX);
    post_open(&a->post, n, l->lease);
    return a;
}

/* What it asks for, and its model with the prompt in tokens; without either if its model has to be
 * loaded and somebody is answered (SLOT-2). */
static enum emac_status answer_prepare(struct run *r, struct answer *a, struct emac_err *err)
{
    enum emac_status st;
    EMAC_TRY(st, request_parse(a->l->reply, &a->q, err));
    EMAC_TRY(st, agent_keys_take(r->n, a->l->reply, a->l->lease, &a->keys, err));
    EMAC_TRY(st, agent_model_get(r->n, &a->q.model, &a->keys, r->count == 0, &a->m, err));
    if (a->m == NULL)
        goto out;
    EMAC_TRY(st, session_join(a->m->decoder, &a->s, err));
    st = completion_open(a->s, &a->m->config, &a->m->language,
                         EMAC_SLICE(a->q.prompt, a->q.prompt_len), &a->q.params, &a->c, err);
out:
    sealed_ring_wipe(&a->keys);
    return st;
}

/* SLOT-1: what it may come to is counted, if there is room. */
static enum emac_status answer_reserve(struct run *r, struct answer *a, bool *room,
                                       struct emac_err *err)
{
    uint64_t positions = (uint64_t)completion_prompt_tokens(a->c) + a->q.max_tokens;
    uint32_t most = positions < UINT32_MAX ? (uint32_t)positions : UINT32_MAX;
    uint64_t bytes = session_bytes(&a->m->config, most);
    uint64_t have = r->n->cache_bytes < a->m->room ? r->n->cache_bytes : a->m->room;
    if (bytes > have)
        return emac_fail(err, EMAC_TOO_LARGE,
                         "an answer of up to %u tokens takes %.1f MiB for keys and values, and "
                         "this rig has %.1f MiB: ask for fewer tokens",
                         a->q.max_tokens, (double)bytes * 0x1p-20, (double)have * 0x1p-20);
    *room = r->bytes <= have && bytes <= have - r->bytes;
    if (*room) {
        a->bytes = bytes;
        r->bytes += bytes;
    }
    return EMAC_OK;
}

/* False when it has to wait. */
static bool answer_enter(struct run *r, struct answer *a)
{
    struct emac_err err = {.status = EMAC_OK};
    enum emac_status st = EMAC_OK;
    bool room = false;
    if (!post_wanted(&a->post))
        st = emac_fail(&err, EMAC_CANCELLED, "%s", CANCELLED.text);
    if (st == EMAC_OK && a->m == NULL)
        st = answer_prepare(r, a, &err);
    if (st == EMAC_OK && a->m != NULL)
        st = answer_reserve(r, a, &room, &err);
    if (st == EMAC_OK && !room)
        return false;
    if (st != EMAC_OK)
        finish(r, a, NULL, &err);
    else if (a->q.max_tokens == 0)
        finish(r, a, "length", &FINE);
    else
        r->live[r->count++] = a;
    return true;
}

static void newcomers_take(struct run *r)
{
    struct leased *l;
    while (r->count < r->n->slots && r->leaving_count < NODE_SLOTS_MAX) {
        if (r->next == NULL && (l = agent_ahead_asked(r->n, r->began)) != NULL)
            r->next = answer_new(r->n, l);
        if (r->next == NULL || !answer_enter(r, r->next))
            return;
        r->next = NULL;
    }
}

/* ---- a step ---- */

static void token_give(struct run *r, struct answer *a, const struct completion_turn *t)
{
    struct piece_filter *f = &a->q.filter;
    struct emac_err err = t->err;
    emac_buf_clear(&a->text);
    for (size_t i = 0; t->came && err.status == EMAC_OK && i < t->bytes.len && !f->stopped; i++)
        (void)piece_push(f, t->bytes.data[i], &a->text, &err);
    if (err.status != EMAC_OK) {
        finish(r, a, NULL, &err);
        return;
    }
    if (!t->came)
        return;
    a->made++;
    if (!post_add(&a->post, &a->text, completion_prompt_tokens(a->c)))
        finish(r, a, NULL, &CANCELLED);
    else if (f->stopped || t->ended)
        finish(r, a, "stop", &FINE);
    else if (a->made == a->q.max_tokens)
        finish(r, a, "length", &FINE);
}

/* A step of those whose model is m. */
static void model_step(struct run *r, struct answer *const *all, uint32_t count,
                       const struct agent_model *m, uint32_t prompt_rows)
{
    struct completion_turn turn[NODE_SLOTS_MAX];
    struct answer *of[NODE_SLOTS_MAX];
    struct emac_err err = {.status = EMAC_OK};
    uint32_t n = 0;
    for (uint32_t i = 0; i < count; i++)
        if (all[i]->m == m) {
            of[n] = all[i];
            turn[n++] = (struct completion_turn){.c = all[i]->c};
        }
    enum emac_status st = completions_step(turn, n, prompt_rows, &err);
    while (st == EMAC_NO_MEMORY && (agent_models_spare(r->n) || agent_retain_spare(r->n)))
        st = completions_step(turn, n, prompt_rows, &err);
    for (uint32_t i = 0; i < n; i++) {
        if (st != EMAC_OK)
            finish(r, of[i], NULL, &err);
        else
            token_give(r, of[i], &turn[i]);
    }
}

/* As many tokens of prompts as do not hold up who draws. */
static uint32_t prompt_rows(const struct run *r)
{
    for (uint32_t i = 0; i < r->count; i++)
        if (!completion_is_reading(r->live[i]->c))
            return SERVE_PROMPT_ROWS;
    return SESSION_ROWS_MAX - NODE_SLOTS_MAX;
}

static void step(struct run *r)
{
    struct answer *all[NODE_SLOTS_MAX];
    const struct agent_model *m[NODE_SLOTS_MAX];
    uint32_t count = r->count, models = 0, rows = prompt_rows(r);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t k = 0;
        all[i] = r->live[i];
        while (k < models && m[k] != all[i]->m)
            k++;
        if (k == models)
            m[models++] = all[i]->m;
    }
    for (uint32_t k = 0; k < models; k++)
        model_step(r, all, count, m[k], rows);
}

/* ---- the run ---- */

/* Those whose clients are gone: also while they wait, or read a long prompt. */
static void unwanted_drop(struct run *r)
{
    for (uint32_t i = r->count; i-- > 0;)
        if (!post_wanted(&r->live[i]->post))
            finish(r, r->live[i], NULL, &CANCELLED);
}

void agent_serve(struct node *n, struct leased *first)
{
    struct run r = {.n = n, .began = n->os->mono_ns(n->os), .next = answer_new(n, first)};
    EMAC_ASSERT(n->slots >= 1 && n->slots <= NODE_SLOTS_MAX);
    do {
        if (r.count == 0 && r.leaving_count >= NODE_SLOTS_MAX)
            leaving_wait(&r);
        leaving_reap(&r);
        newcomers_take(&r);
        unwanted_drop(&r);
        if (r.count > 0)
            step(&r);
    } while (r.count > 0 || r.next != NULL);
    leaving_wait(&r);
    EMAC_ASSERT(r.bytes == 0);
    agent_models_rest(n);
}
