/* Leases: handing them out (the long poll), losing them, failing them. */
#include "coordinator/checks/behind.h"
#include "coordinator/checks/disputes.h"
#include "coordinator/internal.h"
#include "coordinator/assets/private.h"
#include "coordinator/rigs/poll.h"
#include "coordinator/rigs/session.h"
#include "coordinator/jobs/suspects.h"
#include "coordinator/serving/serve.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HOLD_BACK_FIRST_MS 250 /* a rig that failed waits before it gets the task again */
#define HOLD_BACK_MAX_MS   10000
#define WAKE_MAX_MS        1000

/* ---- memory ---- */

struct lease *lease_find(const struct node *n, const char *id)
{
    for (uint32_t i = 0; i < NODE_LEASES_MAX; i++)
        if (n->lease[i] && strcmp(n->lease[i]->id, id) == 0)
            return n->lease[i];
    return NULL;
}

void lease_detach(struct lease *l)
{
    struct ctask *t = l->task;
    node_lease_remove(l->node, l);
    for (uint32_t i = 0; i < t->lease_count; i++)
        if (t->lease[i] == l) {
            t->lease[i] = t->lease[--t->lease_count];
            free(l);
            return;
        }
    EMAC_ASSERT(!"the lease is not its task's");
}

enum emac_status lease_close_row(struct coordinator *c, const char *id, const char *state,
                                 struct emac_err *err)
{
    return db_exec(c->db, err, "UPDATE leases SET state = ?, ended_ms = ? WHERE id = ?", "tit",
                   state, (int64_t)wall_ms(c), id);
}

enum emac_status lease_recall_row(struct coordinator *c, const char *id, struct emac_err *err)
{
    return db_exec(c->db, err,
                   "UPDATE leases SET state = 'expired', recalled = 1, ended_ms = ? WHERE id = ?",
                   "it", (int64_t)wall_ms(c), id);
}

void lease_begin_next(struct coordinator *c, struct node *n)
{
    struct lease *l = n->lease[0];
    uint64_t now = now_ms(c);
    if (l == NULL || l->begin_ms != 0)
        return;
    const struct ctask *t = l->task;
    l->begin_ms = now;
    l->fetch_bytes = sched_fetch_left(&n->speed, l->fetch_bytes, now - l->granted_ms);
    l->expected_ms = sched_expected_ms(&n->speed, work_of(t->kind), t->flops, l->fetch_bytes);
    l->deadline_ms = now + sched_deadline_ms(l->expected_ms);
}

bool lease_may_answer(struct coordinator *c, const char *id)
{
    int64_t count = 0;
    enum emac_status st = db_one_i64(c->db, &count, NULL,
                                     "SELECT COUNT(*) FROM leases l"
                                     " JOIN tasks t ON t.job = l.job AND t.cid = l.task"
                                     " JOIN jobs j ON j.id = l.job"
                                     " WHERE l.id = ? AND l.state = 'expired' AND l.recalled = 0"
                                     " AND t.state <> 'accepted'"
                                     " AND j.state IN ('running', 'paused')",
                                     "t", id);
    return st == EMAC_OK && count > 0;
}

/* ---- from the database ---- */

struct lease_row {
    char id[LEASE_ID_MAX], task[CID_TEXT_MAX], node[DID_KEY_MAX];
    enum lease_role role;
    int64_t units, granted_at, deadline_at, expected_ms;
};

static enum emac_status rows_read(struct coordinator *c, const char *job, struct emac_buf *rows,
                                  struct emac_err *err)
{
    struct db_stmt *q;
    bool row = false;
    enum emac_status st = db_query(c->db, &q, err,
                                   "SELECT id, task, node, role, units, granted_ms, deadline_ms,"
                                   " expected_ms FROM leases WHERE job = ? AND state = 'open'"
                                   " ORDER BY granted_ms",
                                   "t", job);
    while (st == EMAC_OK && (st = db_next(q, &row, err)) == EMAC_OK && row) {
        struct lease_row r = {.role = lease_role_find(db_text(q, 3)),
                              .units = db_i64(q, 4),
                              .granted_at = db_i64(q, 5),
                              .deadline_at = db_i64(q, 6),
                              .expected_ms = db_i64(q, 7)};
        emac_strcpy(r.id, sizeof(r.id), db_text(q, 0));
        emac_strcpy(r.task, sizeof(r.task), db_text(q, 1));
        emac_strcpy(r.node, sizeof(r.node), db_text(q, 2));
        st = emac_buf_append(rows, &r, sizeof(r), err);
        if (st != EMAC_OK)
            db_done(q);
    }
    return st;
}

/* The task of an open lease if it is wanted still: of the round, or waiting for votes. */
static enum emac_status task_of_lease(struct coordinator *c, struct cjob *j,
                                      const struct lease_row *r, struct ctask **out,
                                      struct emac_err *err)
{
    struct cid cid = cid_from_text(r->task);
    *out = ctask_find(j, &cid);
    if (*out)
        return EMAC_OK;
    struct ctask *t;
    enum emac_status st = ctask_load(c, j, &cid, &t, err);
    if (st != EMAC_OK)
        return st;
    bool wanted = t->state != RESULT_ACCEPTED && round_fits(j, t);
    t->current = wanted;
    if (wanted && (st = ctask_add(j, t, err)) == EMAC_OK) {
        *out = t;
        return EMAC_OK;
    }
    ctask_free(t);
    return st;
}

static enum emac_status attach(struct coordinator *c, struct cjob *j, struct ctask *t,
                               struct node *n, const struct lease_row *r, struct emac_err *err)
{
    EMAC_ASSERT(node_leases(n) < NODE_LEASES_MAX && t->lease_count < EMAC_COUNT(t->lease));
    struct lease *l;
    enum emac_status st = emac_alloc(&l, 1, sizeof(*l), err);
    if (st != EMAC_OK)
        return st;
    int64_t left = r->deadline_at - (int64_t)wall_ms(c);
    int64_t age = (int64_t)wall_ms(c) - r->granted_at;
    *l = (struct lease){.job = j, .task = t, .node = n, .role = r->role, .units = r->units};
    emac_strcpy(l->id, sizeof(l->id), r->id);
    l->beat_ms = now_ms(c);
    l->granted_ms = age > 0 && (uint64_t)age < l->beat_ms ? l->beat_ms - (uint64_t)age : 0;
    l->expected_ms = (uint64_t)r->expected_ms;
    l->deadline_ms = l->beat_ms + (uint64_t)(left > 0 ? left : 0);
    l->deadline_at = (uint64_t)r->deadline_at;
    node_lease_add(n, l);
    if (n->lease[0] == l)
        l->begin_ms = l->granted_ms;
    t->lease[t->lease_count++] = l;
    return EMAC_OK;
}

enum emac_status leases_load(struct coordinator *c, struct cjob *j, struct emac_err *err)
{
    struct emac_buf rows;
    emac_buf_init(&rows, (size_t)NODES_MAX * NODE_LEASES_MAX * sizeof(struct lease_row));
    enum emac_status st = rows_read(c, j->id, &rows, err);
    const struct lease_row *r = (const struct lease_row *)(const void *)rows.data;
    for (size_t i = 0; st == EMAC_OK && i < rows.len / sizeof(*r); i++) {
        struct ctask *t;
        struct node *n = node_find(c, r[i].node);
        st = task_of_lease(c, j, &r[i], &t, err);
        if (st == EMAC_OK)
            st = t && n && n->state != NODE_QUARANTINED
                     ? attach(c, j, t, n, &r[i], err)
                     : lease_close_row(c, r[i].id, "cancelled", err);
    }
    emac_buf_release(&rows);
    return st;
}

/* ---- losing ---- */

/* Close the row and forget the lease; its task may be had again. False when the database would not:
 * then nothing changed and the next tick tries again. */
static bool lease_end(struct coordinator *c, struct lease *l, const char *state)
{
    struct emac_err err = {0};
    struct cjob *j = l->job;
    struct ctask *t = l->task;
    struct node *n = l->node;
    struct figures f = j->figures;
    f.retries++;
    enum emac_status st = db_begin(c->db, &err);
    if (st == EMAC_OK) {
        st = lease_close_row(c, l->id, state, &err);
        if (st == EMAC_OK)
            st = job_figures_write(c, j, &f, &err);
        st = db_end(c->db, st, &err);
    }
    if (st != EMAC_OK) {
        LOG_W("coordinator", "cannot end lease '%s', will retry: %s", l->id, err.text);
        return false;
    }
    j->figures = f;
    j->owed_units -= l->units;
    t->born_ms = now_ms(c);
    t->owner = NULL;
    lease_detach(l);
    lease_begin_next(c, n);
    if (!t->current && t->lease_count == 0 &&
        !(t->state == RESULT_ACCEPTED && t->vote_count < t->need))
        ctask_remove(j, t);
    coordinator_changed(c);
    return true;
}

/* It was late: so its rig's next share is smaller. */
static void outrun_note(struct coordinator *c, struct lease *l)
{
    if (l->begin_ms)
        sched_speed_late(&l->node->speed, work_of(l->task->kind), l->task->flops, l->expected_ms,
                         now_ms(c) - l->begin_ms);
}

enum emac_status lease_take_back(struct coordinator *c, struct lease *l, struct emac_err *err)
{
    struct node *n = l->node;
    enum emac_status st = lease_close_row(c, l->id, "cancelled", err);
    if (st != EMAC_OK)
        return st;
    l->job->owed_units -= l->units;
    outrun_note(c, l);
    lease_detach(l);
    lease_begin_next(c, n);
    return EMAC_OK;
}

static bool other_rig_is_live(struct coordinator *c, const struct node *but)
{
    struct map_entry e;
    uint64_t now = now_ms(c);
    for (size_t at = 0; map_next(&c->nodes, &at, &e);)
        if (e.value != but && node_is_live(c, e.value, now))
            return true;
    return false;
}

/* true when the lease was ended */
static bool lease_check(struct coordinator *c, struct lease *l, uint64_t now)
{
    struct cjob *j = l->job;
    lease_begin_next(c, l->node);
    if (l->beat_ms == 0) {
        job_log(c, j->id, LOG_WARN, "rig %s started anew: '%s' is open again",
                did_short(l->node->did), l->task->slot);
        return lease_end(c, l, "expired");
    }
    if (now - l->beat_ms > c->cfg.lease_ttl_ms && now > l->beat_ms) {
        job_log(c, j->id, LOG_WARN, "rig %s has not been heard of for %u ms: '%s' goes to another",
                did_short(l->node->did), c->cfg.lease_ttl_ms, l->task->slot);
        return lease_end(c, l, "expired");
    }
    if (l->begin_ms == 0 || now <= l->deadline_ms)
        return false;
    if (!other_rig_is_live(c, l->node)) {
        l->deadline_ms = now + sched_deadline_ms(l->expected_ms); /* nobody else could do it */
        return false;
    }
    job_log(c, j->id, LOG_WARN,
            "rig %s works on '%s' for longer than four times the expected %llu ms: it goes to "
            "another rig too",
            did_short(l->node->did), l->task->slot, (unsigned long long)l->expected_ms);
    outrun_note(c, l); /* so its next share is smaller */
    return lease_end(c, l, "expired");
}

void leases_tick(struct coordinator *c, struct cjob *j)
{
    uint64_t now = now_ms(c);
    for (uint32_t i = j->task_count; i-- > 0;) {
        /* Ending the last lease of a task may remove the task: look no further at it then. */
        for (uint32_t k = j->task[i]->lease_count; k-- > 0;) {
            uint32_t tasks = j->task_count;
            lease_check(c, j->task[i]->lease[k], now);
            if (j->task_count != tasks)
                break;
        }
    }
}

/* ---- the long poll ---- */

static enum emac_status serving_read(json_t *o, struct node_serving *s, struct emac_err *err)
{
    json_t *models;
    enum emac_status st;
    EMAC_TRY(st, api_u64_opt(o, "slots", UINT32_MAX, &s->slots, err));
    EMAC_TRY(st, api_list_opt(o, "models", NODE_MODELS_MAX, &models, err));
    for (size_t i = 0; i < json_array_size(models); i++)
        EMAC_TRY(st, api_cid_at(models, i, "models", &s->model[s->model_count++], err));
out:
    return st;
}

enum emac_status poll_read(json_t *o, struct poll *p, struct emac_err *err)
{
    json_t *holds;
    enum emac_status st = EMAC_OK;
    *p = (struct poll){.asked = json_is_object(o), .wait_ms = 10000};
    if (o == NULL || json_is_null(o))
        return EMAC_OK;
    if (!p->asked)
        return emac_fail(err, EMAC_INVALID, "field 'next' must be an object");
    EMAC_TRY(st, api_u64_opt(o, "wait_ms", UINT32_MAX, &p->wait_ms, err));
    EMAC_TRY(st, api_list_opt(o, "holds", NODE_HOLDS_MAX, &holds, err));
    for (size_t i = 0; i < json_array_size(holds); i++)
        EMAC_TRY(st, api_cid_at(holds, i, "holds", &p->hold[p->hold_count++], err));
    EMAC_TRY(st, serving_read(o, &p->serving, err));
    if (p->wait_ms > POLL_MAX_MS)
        p->wait_ms = POLL_MAX_MS;
out:
    return st;
}

static enum emac_status poll_parse(const struct http_request *req, struct poll *p,
                                   struct emac_err *err)
{
    json_t *root;
    enum emac_status st = api_body(req, &root, err);
    if (st == EMAC_OK)
        st = poll_read(root, p, err);
    json_decref(root);
    return st;
}

static enum emac_status lease_reply(struct coordinator *c, const struct lease *l,
                                    const char *base_url, struct emac_buf *out,
                                    struct emac_err *err)
{
    const struct ctask *t = l->task;
    struct reply r = {.to = out};
    json_t *keys;
    enum emac_status st = private_lease_keys(c, l, &keys, err);
    if (st != EMAC_OK)
        return st;
    reply_raw(&r, "{\"kind\":\"task\",\"lease\":");
    reply_text(&r, l->id);
    reply_raw(&r, ",\"job\":");
    reply_text(&r, l->job->id);
    reply_raw(&r, ",\"slot\":");
    reply_text(&r, t->slot);
    reply_raw(&r, ",\"round\":");
    reply_int(&r, t->step);
    reply_raw(&r, ",\"keep\":");
    reply_int(&r, behind_keep(l->job));
    reply_raw(&r, ",\"task\":");
    reply_base64(&r, t->object, t->object_len);
    reply_raw(&r, ",\"deadline_ms\":");
    reply_int(&r, (int64_t)l->deadline_at);
    reply_raw(&r, ",\"fetch_bytes\":");
    reply_int(&r, (int64_t)l->fetch_bytes);
    reply_raw(&r, ",\"sources\":");
    sources_reply(c, &t->task, l->node, base_url, &r);
    reply_raw(&r, ",\"units\":");
    reply_units(&r, l->units);
    if (keys != NULL) {
        reply_raw(&r, ",\"keys\":");
        reply_json(&r, keys);
    }
    reply_raw(&r, "}");
    return reply_end(&r, err);
}

/* What is no task of a job. */
static json_t *other_work(struct coordinator *c, struct node *n, const char *base_url,
                          uint64_t *wake_ms)
{
    json_t *found = disputes_take(c, n, base_url);
    return found != NULL ? found : serve_take(c, n, base_url, wake_ms);
}

/* One look for work. *answer stays empty when there is none; *wake_ms: when to look again. */
static enum emac_status poll_once(struct coordinator *c, struct node *n, const char *base_url,
                                  struct emac_buf *answer, uint64_t *wake_ms, struct emac_err *err)
{
    uint64_t began = mono_us(c);
    *wake_ms = now_ms(c) + WAKE_MAX_MS;
    if (!node_is_live(c, n, now_ms(c)))
        return EMAC_OK; /* it asked and went silent: what it would be given is lost */
    json_t *other = other_work(c, n, base_url, wake_ms);
    if (other != NULL) {
        struct reply r = {.to = answer};
        reply_json(&r, other);
        return reply_end(&r, err);
    }
    struct lease *l;
    enum emac_status st = grant_try(c, n, &l, wake_ms, err);
    if (st != EMAC_OK || l == NULL)
        return st;
    l->job->figures.busy_us += (int64_t)(mono_us(c) - began);
    l->job->figures_dirty = true;
    return lease_reply(c, l, base_url, answer, err);
}

void poll_at_once(struct coordinator *c, struct node *n, const struct poll *p, const char *base_url,
                  struct emac_buf *answer)
{
    uint64_t wake;
    struct emac_err why = {0};
    n->asked_ms = now_ms(c);
    node_holds_say(c, n, p->hold, p->hold_count);
    n->serving = p->serving;
    if (!c->stopping && poll_once(c, n, base_url, answer, &wake, &why) != EMAC_OK)
        LOG_W("coordinator", "no work for rig '%s': %s", did_short(n->did), why.text);
}

/* A rig's long poll: it waits among the coordinator's errands. */
struct errand_poll {
    struct errand errand; /* first */
    struct poll poll;
    char did[DID_KEY_MAX];
    const char *base_url;
    struct node *node; /* NULL: it was not looked for yet */
    bool waits;        /* and node->waiting counts it */
    uint64_t end_ms, seq;
    struct emac_buf *answer;
    enum emac_status st; /* with `err` */
    struct emac_err err;
};

static enum emac_status poll_begin(struct coordinator *c, struct errand_poll *e)
{
    enum emac_status st = node_working(c, e->did, &e->node, &e->err);
    if (st != EMAC_OK)
        return st;
    node_seen(c, e->node);
    node_holds_say(c, e->node, e->poll.hold, e->poll.hold_count);
    e->node->serving = e->poll.serving;
    e->seq = ++e->node->poll_seq;
    return EMAC_OK;
}

/* True when it is over, with an answer or without. */
static bool poll_look(struct coordinator *c, struct errand_poll *e)
{
    struct node *n = e->node;
    uint64_t wake, now;
    /* A later poll of the same rig means that nobody listens to this one any more. */
    if (c->stopping || n->poll_seq != e->seq)
        return true;
    if (n->state == NODE_QUARANTINED) {
        e->st = emac_fail(&e->err, EMAC_FORBIDDEN, "this rig is quarantined: %s", n->reason);
        return true;
    }
    n->asked_ms = now_ms(c);
    e->st = poll_once(c, n, e->base_url, e->answer, &wake, &e->err);
    now = now_ms(c);
    if (e->st != EMAC_OK || e->answer->len > 0 || now >= e->end_ms)
        return true;
    wake = wake < e->end_ms ? wake : e->end_ms;
    e->errand.wake_ms = wake > now ? wake : now + 1;
    return false;
}

static bool poll_run(void *ctx, struct errand *errand)
{
    struct errand_poll *e = (struct errand_poll *)errand;
    if (e->waits)
        e->node->waiting--;
    e->waits = false;
    if (e->node == NULL && (e->st = poll_begin(ctx, e)) != EMAC_OK)
        return true;
    e->waits = !poll_look(ctx, e);
    if (e->waits)
        e->node->waiting++;
    return !e->waits;
}

enum emac_status lease_post(void *ctx, const struct http_request *req, struct http_response *res,
                            struct emac_err *err)
{
    struct coordinator *c = ctx;
    struct errand_poll e = {.errand = {.run = poll_run}, .answer = &res->body};
    enum emac_status st = api_rig(c, req, e.did, err);
    if (st == EMAC_OK)
        st = poll_parse(req, &e.poll, err);
    /* Room at once, and not under the lock. */
    if (st == EMAC_OK)
        st = emac_buf_reserve(&res->body, POLL_ANSWER_USUAL, err);
    if (st != EMAC_OK)
        return st;
    e.base_url = request_base_url(req);
    e.end_ms = now_ms(c) + e.poll.wait_ms;
    uint64_t hint = e.poll.wait_ms < WAKE_MAX_MS ? e.poll.wait_ms : WAKE_MAX_MS;
    e.errand.wake_ms = e.end_ms - e.poll.wait_ms + hint;
    st = errand_do(&c->errands, &e.errand, err);
    res->settled = true;
    if (st == EMAC_OK && e.st != EMAC_OK) {
        st = e.st;
        *err = e.err;
    }
    if (st == EMAC_OK && res->body.len == 0)
        api_no_content(res);
    return st;
}

/* ---- failing ---- */

static struct refusal *refusal_of(struct ctask *t, struct node *n)
{
    for (uint32_t i = 0; i < t->refusal_count; i++)
        if (t->refusal[i].node == n)
            return &t->refusal[i];
    if (t->refusal_count == REFUSALS_MAX) {
        memmove(&t->refusal[0], &t->refusal[1], (REFUSALS_MAX - 1) * sizeof(t->refusal[0]));
        t->refusal_count--;
    }
    struct refusal *r = &t->refusal[t->refusal_count++];
    *r = (struct refusal){.node = n};
    return r;
}

/* A failure that the task itself causes, on any rig. */
static bool is_the_tasks_fault(enum emac_status status)
{
    return status == EMAC_NUMERIC || status == EMAC_INVALID || status == EMAC_UNSUPPORTED;
}

/* Two rigs say the same of the task, or the only one does twice. */
static bool is_hopeless(struct coordinator *c, const struct ctask *t, const struct refusal *mine)
{
    uint32_t rigs = 0;
    if (!is_the_tasks_fault(mine->status) || t->state == RESULT_ACCEPTED || t->vote_count > 0)
        return false;
    for (uint32_t i = 0; i < t->refusal_count; i++)
        rigs += t->refusal[i].status == mine->status;
    return rigs >= 2 || (mine->times >= 2 && !other_rig_is_live(c, mine->node));
}

struct failure {
    const char *lease, *message;
    enum emac_status status;
    json_t *missing;    /* borrowed from the body */
    struct cid suspect; /* the input that it failed because of; none */
};

static enum emac_status failure_parse(json_t *root, struct failure *f, struct emac_err *err)
{
    const char *status = NULL, *suspect = NULL;
    enum emac_status st;
    *f = (struct failure){.message = ""};
    EMAC_TRY(st, api_str(root, "lease", LEASE_ID_MAX, &f->lease, err));
    EMAC_TRY(st, api_str(root, "status", 40, &status, err));
    EMAC_TRY(st, api_str_opt(root, "message", EMAC_ERR_TEXT_MAX, &f->message, err));
    EMAC_TRY(st, api_list_opt(root, "missing", 64, &f->missing, err));
    EMAC_TRY(st, api_str_opt(root, "suspect", CID_TEXT_MAX, &suspect, err));
    if (suspect != NULL && cid_parse(&f->suspect, suspect, err) != EMAC_OK)
        EMAC_TRY(st, emac_wrap(err, "field 'suspect'"));
    f->status = emac_status_from_text(status);
    if (!text_printable(f->message))
        st = emac_fail(err, EMAC_INVALID, "field 'message' holds control characters");
out:
    return st;
}

static enum emac_status report_missing(struct coordinator *c, struct lease *l,
                                       const struct failure *f, struct emac_err *err)
{
    for (size_t i = 0; i < json_array_size(f->missing); i++) {
        struct cid cid;
        enum emac_status st = api_cid_at(f->missing, i, "missing", &cid, err);
        if (st != EMAC_OK)
            return st;
        missing_report(c, l->job, l->node, l->task, &cid);
    }
    return EMAC_OK;
}

/* The job goes down when the task cannot succeed. */
static void give_up(struct coordinator *c, struct cjob *j, const char *slot, enum suspicion found,
                    const char *maker, const struct failure *f)
{
    struct emac_err err = {0};
    char reason[REASON_MAX];
    if (found == SUSPECT_OWNED)
        snprintf(reason, sizeof(reason), "the delta of rig '%s' is refused: '%s' says %s", maker,
                 slot, f->message);
    else if (found == SUSPECT_SOUND || f->status == EMAC_NUMERIC)
        snprintf(
            reason, sizeof(reason),
            "training diverged, a smaller recipe.lr may help: task '%s' fails on every rig: %s",
            slot, f->message);
    else
        snprintf(reason, sizeof(reason), "task '%s' fails on every rig: %s", slot, f->message);
    if (found == SUSPECT_OWNED && suspect_expel(c, maker, f->message, &err) != EMAC_OK)
        LOG_W("coordinator", "cannot quarantine rig '%s': %s", maker, err.text);
    if (job_end(c, j, JOB_FAILED, reason, &err) != EMAC_OK)
        LOG_W("coordinator", "cannot end job: %s", err.text);
}

static enum emac_status fail_lease(struct coordinator *c, struct node *n, const struct failure *f,
                                   struct emac_err *err)
{
    struct lease *l = lease_find(n, f->lease);
    if (l == NULL) { /* a request for text, or ended already: saying so again changes nothing */
        serve_fail(c, n, f->lease, f->message[0] ? f->message : "the rig gave the request back");
        return EMAC_OK;
    }
    struct cjob *j = l->job;
    struct ctask *t = l->task;
    char slot[SLOT_MAX], maker[DID_KEY_MAX];
    enum suspicion found = SUSPECT_NONE;
    emac_strcpy(slot, sizeof(slot), t->slot);
    if (f->status == EMAC_UNAVAILABLE) {
        enum emac_status st = report_missing(c, l, f, err);
        if (st != EMAC_OK)
            return st;
    }
    struct refusal *r = refusal_of(t, n);
    uint64_t hold = HOLD_BACK_FIRST_MS << (r->times < 6 ? r->times : 6);
    r->times++;
    r->status = f->status;
    r->until_ms = now_ms(c) + (hold < HOLD_BACK_MAX_MS ? hold : HOLD_BACK_MAX_MS);
    bool hopeless = is_hopeless(c, t, r);
    job_log(c, j->id, LOG_WARN, "rig %s could not do '%s': %s (%s)", did_short(n->did), slot,
            f->message, emac_status_text(f->status));
    if (!lease_end(c, l, "failed"))
        return emac_fail(err, EMAC_UNAVAILABLE, "the failure could not be noted: send it again");
    if (!cid_is_none(&f->suspect) && is_the_tasks_fault(f->status)) {
        enum emac_status st = suspect_hear(c, j, n, &f->suspect, f->message, &found, maker, err);
        if (st != EMAC_OK)
            return st;
    }
    if (hopeless && found != SUSPECT_DISPUTED)
        give_up(c, j, slot, found, maker, f);
    return EMAC_OK;
}

enum emac_status failures_post(void *ctx, const struct http_request *req, struct http_response *res,
                               struct emac_err *err)
{
    struct coordinator *c = ctx;
    char did[DID_KEY_MAX];
    struct failure f;
    struct node *n;
    json_t *root = NULL;
    enum emac_status st;
    EMAC_TRY(st, api_rig(c, req, did, err));
    EMAC_TRY(st, api_body(req, &root, err));
    EMAC_TRY(st, failure_parse(root, &f, err));
    os_mutex_lock(&c->lock);
    st = node_working(c, did, &n, err);
    if (st == EMAC_OK) {
        node_seen(c, n);
        st = fail_lease(c, n, &f, err);
    }
    os_mutex_unlock(&c->lock);
    if (st == EMAC_OK)
        st = api_reply(res, 200, json_object(), err);
out:
    json_decref(root);
    return st;
}
