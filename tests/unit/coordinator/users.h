/* Users: money, data, jobs. See net.h. */
#ifndef EMAC_TESTS_COORDINATOR_USERS_H
#define EMAC_TESTS_COORDINATOR_USERS_H

#include "net.h"

/* ---- users ---- */

static inline void faucet(struct net *n)
{
    json_t *reply;
    assert_int_equal(call(n, &n->user, "POST", "/v1/faucet", json_object(), &reply), 200);
    json_decref(reply);
}

static inline void push(struct net *n, const struct identity *who, const struct cid *cid)
{
    uint64_t bytes = 0;
    assert_ok(exchange_push(n->bytes, n->http, cid, n->url, &who->signer, &bytes, err));
}

/* steps, micro-batches, and what the caller changes in *job before net_submit. */
static inline struct job net_job(struct net *n, uint32_t steps, uint32_t micro_batches)
{
    struct job job = small_job(steps, micro_batches);
    job.data = n->corpus->cid;
    job.check = 0;
    job.state_copies = 1;
    job.checkpoint_every = steps;
    job.price_units_per_tflop = 1000000000;
    job.budget_units = 1000000000;
    job.nonce = 1;
    return job;
}

static inline int submit_status(struct net *n, const struct job *job, json_t **reply)
{
    return call(n, &n->user, "POST", "/v1/jobs", job_to_json(job), reply);
}

static inline void net_submit(struct net *n, const struct job *job)
{
    json_t *reply;
    faucet(n);
    push(n, &n->user, &n->corpus->cid);
    int status = submit_status(n, job, &reply);
    if (status != 201)
        fail_msg("POST /v1/jobs: %d %s", status, str_of(reply, "error"));
    set_text(n->job, str_of(reply, "id"));
    json_decref(reply);
}

#endif
