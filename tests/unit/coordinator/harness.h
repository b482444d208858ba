/* The whole: a coordinator, its users, its rigs, and loops that let them work. */
#ifndef EMAC_TESTS_COORDINATOR_HARNESS_H
#define EMAC_TESTS_COORDINATOR_HARNESS_H

#include "makeup.h"

static inline bool lies_now(const struct rigbot *r, json_t *lease)
{
    const char *about = r->about != NULL ? r->about : "grad";
    return r->lies && strncmp(str_of(lease, "slot"), about, strlen(about)) == 0 &&
           int_of(lease, "round") >= r->lie_after;
}

static inline void give_back(struct net *n, struct rigbot *r, json_t *lease, json_t *missing)
{
    r->lease[0] = 0;
    assert_int_equal(
        call(n, &r->id, "POST", "/v1/failures",
             json_pack("{s:s, s:s, s:s, s:o}", "lease", str_of(lease, "lease"), "status",
                       "unavailable", "message", "no source has it", "missing", missing),
             NULL),
        200);
}

/* One poll and, if there is work, its answer. True when something was done. A rig that is refused
 * (quarantined) unplugs itself. */
static inline bool turn(struct net *n, struct rigbot *r)
{
    json_t *lease;
    if (r->unplugged)
        return false;
    int status = poll_status(n, r, 0, &lease);
    if (status == 403)
        r->unplugged = true;
    else if (status != 200 && status != 204)
        fail_msg("lease: %d %s", status, str_of(lease, "error"));
    bool work = status == 200;
    json_t *missing = work ? inputs_missing(n, lease) : NULL;
    if (json_array_size(missing) > 0) {
        give_back(n, r, lease, json_incref(missing));
        work = false;
    } else if (work) {
        bool lie = lies_now(r, lease);
        status = answer(n, r, lease, lie, NULL);
        assert_true(status == 200 || status == 403);
        r->told += lie;
    }
    json_decref(missing);
    json_decref(lease);
    deposits_push(n, r);
    return work;
}

/* Let this rig work alone until it has told a lie: who gets which task among several is a matter of
 * how fast each seems to be. */
static inline void run_to_lie(struct net *n, struct rigbot *r)
{
    for (int i = 0; i < NET_LOOPS && r->told == 0; i++)
        if (!turn(n, r))
            os_real()->sleep_ms(os_real(), 5);
    if (r->told == 0)
        fail_msg("this rig has no occasion to lie");
}

/* Let all rigs work until the job is in this state. */
static inline void run_until(struct net *n, const char *state)
{
    for (int i = 0; i < NET_LOOPS; i++) {
        bool any = false;
        for (uint32_t k = 0; k < n->rigs; k++)
            any = turn(n, &n->rig[k]) || any;
        if (i % 8 == 0 || !any) {
            if (job_is(n, state))
                return;
            if (!any)
                os_real()->sleep_ms(os_real(), 5);
        }
        if (i % 16 == 15)
            for (uint32_t k = 0; k < n->rigs; k++)
                if (!n->rig[k].unplugged)
                    json_decref(beat(n, &n->rig[k]));
    }
    json_t *j = job_now(n);
    fail_msg("the job is not '%s' but '%s' at step %d: %s", state, str_of(j, "state"),
             (int)int_of(j, "step"), str_of(j, "reason"));
}

/* Until the job has done `step` steps. */
static inline void run_to_step(struct net *n, int64_t step)
{
    for (int i = 0; i < NET_LOOPS; i++) {
        json_t *j = job_now(n);
        bool there = int_of(j, "step") >= step;
        json_decref(j);
        if (there)
            return;
        bool any = false;
        for (uint32_t k = 0; k < n->rigs; k++)
            any = turn(n, &n->rig[k]) || any;
        if (!any)
            os_real()->sleep_ms(os_real(), 5);
    }
    fail_msg("the job does not come to step %d", (int)step);
}

static inline void sleep_ms(uint32_t ms)
{
    os_real()->sleep_ms(os_real(), ms);
}

#endif
