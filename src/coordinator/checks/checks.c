#include "coordinator/money/bonds.h"
#include "coordinator/checks/checks.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"

#define DAYS_ALL INT64_MAX /* a stake that no price comes near */

/* ---- the lot ---- */

/* Kinds that are not made side by side by several rigs, on data that anybody may have. */
static bool is_drawn(const struct cjob *j, const struct ctask *t)
{
    return j->plan->job.check > 0 && !task_kind_info(t->kind)->copies &&
           plan_task_owner(j->plan, &t->task) == NULL;
}

/* CHECK-3: does the escrow leave more than what the rest of the work may cost? */
static bool has_spare(const struct cjob *j)
{
    uint64_t rounds = plan_rounds(&j->plan->job),
             left = rounds - (j->st.step < rounds ? j->st.step : rounds);
    unsigned __int128 rest =
        rounds == 0 ? 0 : (unsigned __int128)(uint64_t)j->plain_units * left / rounds;
    return cjob_free_units(j) > 0 &&
           (uint64_t)cjob_free_units(j) > rest + rest / 2 + (uint64_t)j->plain_units / 2;
}

static uint32_t share_of(struct coordinator *c, const struct cjob *j, const struct ctask *t,
                         struct node *n)
{
    const struct task_kind_info *kind = task_kind_info(t->kind);
    struct trust_case x = {
        .job_ppm = trust_ppm_of(j->plan->job.check), .price_units = t->units, .now_ms = wall_ms(c)};
    if (kind->always)
        return TRUST_PPM;
    if (!has_spare(j))
        return x.job_ppm;
    if (n != NULL) {
        x.held_units = stake_units(c, n, &x.bond_units);
        x.rig = &n->trust;
        x.device = trust_kind(c, "device", n->device);
        x.driver = trust_kind(c, "driver", n->driver);
    }
    /* To check a stage is to move its weights: there trust alone adds to what the job asks for. */
    if (kind->staged)
        x.held_units = DAYS_ALL;
    return trust_share_ppm(&x);
}

void checks_draw(struct coordinator *c, struct cjob *j, struct ctask *t, const char *did,
                 const struct cid *receipt)
{
    if (!is_drawn(j, t) || t->vote_count > 1)
        return; /* it was computed more than once already */
    struct drawn *d = &t->drawn;
    *d = (struct drawn){.epoch = draws_epoch(c), .class = DRAW_APART, .seeded = true};
    d->share_ppm = share_of(c, j, t, node_find(c, did));
    bool fits = emac_strcpy(d->of, sizeof(d->of), did);
    EMAC_ASSERT(fits);
    draw_seed(d->seed, draws_secret(c, d->epoch), &t->cid, receipt);
    d->checked = draw_checked(d->seed, d->share_ppm);
    if (d->checked && t->need < 2)
        t->need = 2;
}

/* ---- what came of it ---- */

enum emac_status checks_agreed(struct coordinator *c, struct cjob *j, struct ctask *t,
                               const char *did, struct emac_err *err)
{
    struct drawn *d = &t->drawn;
    const struct vote *v = ctask_vote(t, did);
    if (d->epoch == 0 || !d->checked || task_kind_info(t->kind)->always)
        return EMAC_OK;
    if (v == NULL || !outputs_equal(&v->outputs, &t->outputs))
        return EMAC_OK;
    enum emac_status st = EMAC_OK;
    if (!d->seeded)
        st = draws_seed(c, j, t, err);
    struct node *worker = node_find(c, d->of), *planted = node_find(c, did);
    if (st == EMAC_OK && t->vote_count == 2 && worker != NULL)
        st = trust_note(c, worker, true, err);
    else if (st == EMAC_OK && t->vote_count == 3 && planted != NULL)
        st = trust_note(c, planted, true, err);
    if (st == EMAC_OK && t->vote_count == 2 && t->need == 2 && draw_planted(d->seed) &&
        has_spare(j)) {
        t->need = 3;
        d->checker = NULL;
        d->passed_count = 0;
    }
    return st;
}

enum emac_status checks_lost(struct coordinator *c, const char *did, struct emac_err *err)
{
    struct node *n = node_find(c, did);
    return n != NULL ? trust_note(c, n, false, err) : EMAC_OK;
}

/* ---- who checks ---- */

static struct draw_party party_of(const struct node *n)
{
    return (struct draw_party){n->did, n->owner, n->wallet, n->subnet};
}

static bool names(const struct task *t, const struct outputs *o)
{
    for (uint32_t k = 0; k < o->count; k++) {
        for (uint32_t i = 0; i < t->input_count; i++)
            if (cid_equal(&t->input[i].cid, &o->at[k].cid))
                return true;
        for (uint32_t i = 0; i < t->part_count; i++)
            if (cid_equal(&t->part[i].cid, &o->at[k].cid))
                return true;
    }
    return false;
}

bool checks_hide(const struct cjob *j, const struct ctask *t, const struct node *n)
{
    for (uint32_t i = 0; i < NODE_LEASES_MAX; i++) {
        const struct lease *l = n->lease[i];
        if (l != NULL && l->job == j && l->task != t && l->task->vote_count > 0 &&
            names(&t->task, &l->task->outputs))
            return true;
    }
    return false;
}

/* Was the result named to the rig, as far as this process knows? */
static bool was_shown(const struct ctask *t, const struct node *n)
{
    for (uint32_t i = 0; i < t->outputs.count; i++)
        if (node_holds(n, &t->outputs.at[i].cid) || shown_to(n, &t->outputs.at[i].cid))
            return true;
    return false;
}

static bool was_passed(const struct drawn *d, const struct node *n)
{
    for (uint32_t i = 0; i < d->passed_count; i++)
        if (d->passed[i] == n)
            return true;
    return false;
}

/* Rigs that may check it and were not passed over: those that are not slow first, *quick of them.
 */
static uint32_t candidates(struct coordinator *c, struct cjob *j, const struct ctask *t,
                           uint64_t now, struct draw_candidate *out, struct node **who,
                           uint32_t *quick)
{
    struct map_entry e;
    uint64_t wait, fastest = UINT64_MAX;
    uint32_t count = 0;
    *quick = 0;
    for (size_t at = 0; map_next(&c->nodes, &at, &e);) {
        struct node *n = e.value;
        if (!node_is_live(c, n, now) || was_passed(&t->drawn, n) || !grant_eligible(j, t, n, &wait))
            continue;
        uint64_t takes = grant_takes_ms(c, j, t, n, now);
        fastest = takes < fastest ? takes : fastest;
        who[count++] = n;
    }
    for (uint32_t i = 0; i < count; i++) {
        struct node *n = who[i];
        if (grant_takes_ms(c, j, t, n, now) / CHECK_SLOW_TIMES > fastest)
            continue;
        who[i] = who[*quick];
        who[(*quick)++] = n;
    }
    for (uint32_t i = 0; i < count; i++)
        out[i] = (struct draw_candidate){party_of(who[i]), who[i]->point, was_shown(t, who[i])};
    return count;
}

static uint32_t answered(struct coordinator *c, const struct ctask *t, struct draw_party *out,
                         uint32_t most)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < t->vote_count && count < most; i++) {
        const struct node *n = node_find(c, t->vote[i].did);
        out[count++] = n ? party_of(n) : (struct draw_party){t->vote[i].did, "", "", ""};
    }
    return count;
}

static void class_say(struct coordinator *c, struct cjob *j, enum draw_class class)
{
    static const char *const WHY[] = {
        [DRAW_SAME_OWNER] = "rigs of the same owner as those whose work it is",
        [DRAW_SAME_SUBNET] = "rigs in the same subnet as those whose work it is",
        [DRAW_SHOWN] = "rigs that the results were named to",
    };
    if (class == DRAW_APART || (j->class_said & 1u << class))
        return;
    j->class_said |= 1u << class;
    job_log(c, j->id, LOG_WARN, "checks are made by %s: no others are there", WHY[class]);
}

static uint64_t free_at(const struct node *n, uint64_t now)
{
    struct sched_busy b = node_busy(n, NULL);
    uint64_t ms = sched_busy_ms(&b, now);
    return now + (ms < CHECK_BUSY_MAX_MS ? ms : CHECK_BUSY_MAX_MS);
}

static void choose(struct coordinator *c, struct cjob *j, struct ctask *t, uint64_t now)
{
    struct drawn *d = &t->drawn;
    struct draw_candidate *list = NULL;
    struct node **who = NULL;
    struct draw_party party[STATE_COPIES_MAX];
    struct emac_err err = {0};
    enum emac_status st;
    d->checker = NULL;
    if (!d->seeded)
        EMAC_TRY(st, draws_seed(c, j, t, &err));
    EMAC_TRY(st, emac_alloc(&list, c->nodes.count + 1, sizeof(*list), &err));
    EMAC_TRY(st, emac_alloc(&who, c->nodes.count + 1, sizeof(struct node *), &err));
    uint32_t parties = answered(c, t, party, EMAC_COUNT(party));
    uint32_t quick, count = candidates(c, j, t, now, list, who, &quick);
    if (count == 0 && d->passed_count > 0) {
        d->passed_count = 0; /* all were: from the beginning */
        count = candidates(c, j, t, now, list, who, &quick);
    }
    /* A slow rig only where that is more independent. */
    enum draw_class of_all, class;
    size_t of_quick = draw_checker(d->seed, list, quick, party, parties, &class);
    size_t at = draw_checker(d->seed, list, count, party, parties, &of_all);
    if (of_quick < quick && class == of_all)
        at = of_quick;
    if (at < count) {
        d->checker = who[at];
        d->until_ms = free_at(d->checker, now) + CHECK_PATIENCE_MS;
    }
    /* With whom a known answer is planted matters to nobody else's result. */
    if (at < count && t->vote_count == 1) {
        d->class = of_all;
        class_say(c, j, of_all);
    }
out:
    if (st != EMAC_OK)
        LOG_W("coordinator", "cannot choose who checks '%s': %s", t->slot, err.text);
    free(list);
    free(who);
}

bool checks_may(struct coordinator *c, struct cjob *j, struct ctask *t, const struct node *n,
                uint64_t now, uint64_t *wake_ms)
{
    struct drawn *d = &t->drawn;
    if (d->epoch == 0 || t->state != RESULT_ACCEPTED)
        return true; /* copies; in a dispute whoever comes decides */
    bool late = d->checker != NULL && now >= d->until_ms;
    if (d->checker != NULL && (late || !node_is_live(c, d->checker, now))) {
        if (d->passed_count == PASSED_MAX)
            d->passed_count = 0;
        d->passed[d->passed_count++] = d->checker;
        d->checker = NULL;
    }
    if (d->checker == NULL) {
        choose(c, j, t, now);
        if (d->checker != NULL && d->checker != n)
            coordinator_changed(c); /* it may be waiting in a poll */
    }
    if (d->checker == n)
        return true;
    uint64_t wake = d->checker != NULL ? d->until_ms : now + CHECK_PATIENCE_MS;
    *wake_ms = wake < *wake_ms ? wake : *wake_ms;
    return false;
}
