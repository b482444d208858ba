/* The coordinator's own functions, file by file. Unless a comment says
 * otherwise they are called under c->lock; those that write say whether they
 * run inside the caller's transaction ("in tx") or open their own. */
#ifndef EMAC_COORDINATOR_INTERNAL_H
#define EMAC_COORDINATOR_INTERNAL_H

#include <jansson.h>

#include "base/assert.h"
#include "base/log.h"
#include "coordinator/api.h"
#include "coordinator/money/money.h"
#include "coordinator/state.h"

/* ---- coordinator.c ---- */
void coordinator_changed(struct coordinator *c); /* something that somebody may wait for */

/* ---- migrations.c ---- */
#define MIGRATIONS_MAX 64
extern const struct db_migration COORDINATOR_MIGRATIONS[];
extern const size_t COORDINATOR_MIGRATION_COUNT;
enum emac_status coordinator_migrate(struct db *db, struct emac_err *err);

/* ---- names.c: text forms of states and outputs ---- */
#define OUTPUTS_TEXT_MAX 1024
const char *job_state_name(enum job_state s);
bool job_state_find(const char *name, enum job_state *out);
const char *result_state_name(enum result_state s);
enum result_state result_state_find(const char *name);
const char *lease_role_name(enum lease_role r);
enum lease_role lease_role_find(const char *name);
const char *node_state_name(enum node_state s);
/* "name=cid name=cid" */
void outputs_text(char out[OUTPUTS_TEXT_MAX], const struct outputs *o);
bool outputs_parse(struct outputs *out, const char *text);
bool outputs_equal(const struct outputs *a, const struct outputs *b);
const struct cid *outputs_find(const struct outputs *o, const char *name); /* NULL when absent */
/* Exactly the outputs that the task's program has? */
enum emac_status outputs_fit(const struct outputs *o, const struct job_plan *p,
                             const struct ctask *t, struct emac_err *err);
/* Text of a CID, "" for none; and back. */
const char *cid_or_empty(char out[CID_TEXT_MAX], const struct cid *cid);
struct cid cid_from_text(const char *text);
/* The last 8 characters of a DID: enough to tell rigs apart in a sentence. */
const char *did_short(const char *did);
bool text_printable(const char *s); /* no control characters */

/* ---- logs.c ---- */
/* In tx when one is open, else on its own; a failure is only logged to the program's log: a
 * sentence is not worth a task. */
void job_log(struct coordinator *c, const char *job, enum log_level level, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
http_handler logs_get;

/* ---- follow.c: needs no lock ---- */
/* Append the rows of the job with numbers above *after, in order, at most limit; moves *after on.
 */
typedef enum emac_status follow_reader(struct coordinator *c, const char *job, int64_t *after,
                                       int64_t limit, json_t *list, struct emac_err *err);
/* Does the client want a stream of events? */
bool follow_asked(const struct http_request *req);
/* Make `res` the stream of all rows above `after`, until the job has ended. */
enum emac_status follow_start(struct coordinator *c, follow_reader *read, const char *job,
                              int64_t after, struct http_response *res, struct emac_err *err);

/* ---- metrics.c, busy.c ---- */
#define METRIC_NAME_MAX 32
/* In tx: `t` is accepted with the outputs that `bundle` (its "metrics"; data NULL: none) belongs
 * to. NUMERIC when a number in it is infinite or none. */
enum emac_status metrics_write(struct coordinator *c, const struct cjob *j, const struct ctask *t,
                               struct emac_slice bundle, struct emac_err *err);
/* In tx: other outputs of `t` are accepted now than those whose metrics were written. */
enum emac_status metrics_forget(struct coordinator *c, const struct cjob *j, const struct ctask *t,
                                struct emac_err *err);
http_handler metrics_get, job_rigs_get;

/* ---- chain.c ---- */
struct chain_config;
enum emac_status chain_side_start(struct coordinator *c, const struct chain_config *cfg,
                                  struct emac_err *err);
void chain_side_stop(struct coordinator *c); /* without the lock; c->stopping is set */
void chain_side_free(struct coordinator *c);
/* The wallet that is bound to the DID; "" when none is, or there is no chain. */
void chain_wallet_of(struct coordinator *c, const char *did, char out[EVM_ADDRESS_MAX]);
http_handler chain_get, chain_epoch_get_one, chain_settle_post, chain_payables_post;

/* ---- nodes.c ---- */
struct node *node_find(struct coordinator *c, const char *did); /* NULL */
bool node_is_live(struct coordinator *c, const struct node *n, uint64_t now);
void node_seen(struct coordinator *c, struct node *n);
uint32_t nodes_live(struct coordinator *c);
/* The signer as a rig that may work: CONFLICT "say hello first", FORBIDDEN quarantined. */
enum emac_status node_working(struct coordinator *c, const char *did, struct node **out,
                              struct emac_err *err);
enum emac_status nodes_load(struct coordinator *c, struct emac_err *err);
/* Write its row and let it work. */
enum emac_status node_admit(struct coordinator *c, struct node *n, struct emac_err *err);
void node_free(void *node);
void node_lease_remove(struct node *n, const struct lease *l);
void node_lease_add(struct node *n, struct lease *l); /* there is room */
uint32_t node_leases(const struct node *n);
/* What it does before it comes to the lease `until`; NULL: with all its leases. */
struct sched_busy node_busy(const struct node *n, const struct lease *until);
http_handler nodes_post, heartbeat_post, status_get;

/* ---- admission.c ---- */
enum emac_status challenge_open(struct coordinator *c, struct node *n, struct emac_err *err);
json_t *challenge_json(const struct challenge *ch);
bool challenge_expired(const struct challenge *ch, uint64_t now);
void challenge_free(struct challenge *ch);
http_handler challenge_post;

/* ---- tasks.c: tasks in memory and their rows ---- */
struct ctask *ctask_find(const struct cjob *j, const struct cid *cid);
void ctask_free(struct ctask *t);
enum emac_status ctask_add(struct cjob *j, struct ctask *t, struct emac_err *err);
void ctask_remove(struct cjob *j, struct ctask *t); /* and frees it */
/* From a want of the planner; takes the want's task. */
enum emac_status ctask_from_want(struct coordinator *c, struct cjob *j, struct plan_want *w,
                                 struct ctask **out, struct emac_err *err);
/* The row and its votes; NOT_FOUND. Not added to the job. */
enum emac_status ctask_load(struct coordinator *c, struct cjob *j, const struct cid *cid,
                            struct ctask **out, struct emac_err *err);
/* All rows of (step, base); task.object is decoded. Caller frees the array and what it keeps not.
 */
enum emac_status ctasks_load_round(struct coordinator *c, struct cjob *j, uint32_t step,
                                   const struct cid *base, struct ctask ***out, uint32_t *count,
                                   struct emac_err *err);
enum emac_status ctask_insert(struct coordinator *c, struct cjob *j, struct ctask *t,
                              struct emac_err *err); /* in tx */
/* Write state, outputs, need, loss of `t` as given (in tx). */
enum emac_status ctask_update(struct coordinator *c, struct cjob *j, const struct ctask *t,
                              struct emac_err *err);
const struct vote *ctask_vote(const struct ctask *t, const char *did);
enum emac_status ctask_vote_add(struct ctask *t, const struct vote *v, struct emac_err *err);
/* What that vote says becomes the result. */
void ctask_result_set(struct ctask *t, const struct vote *v);
uint32_t ctask_need(struct coordinator *c, const struct cjob *j, const struct ctask *t);
/* Executions that should be under way now beyond votes and open leases. */
bool ctask_wants_lease(const struct ctask *t);
bool ctask_finished(const struct ctask *t); /* accepted, no vote due, no lease open */

/* ---- round.c: the planner's state ---- */
/* Build everything of the job in memory from its rows. */
enum emac_status job_load(struct coordinator *c, struct cjob *j, struct emac_err *err);
void job_unload(struct coordinator *c, struct cjob *j);
/* Does the task belong to the round that the state is at, with all it starts from accepted? */
bool round_fits(const struct cjob *j, const struct ctask *t);
/* After the commit: `t` was accepted. */
void round_accept(struct coordinator *c, struct cjob *j, struct ctask *t);
/* See to it that the tasks of the round are in memory. */
enum emac_status round_lay(struct coordinator *c, struct cjob *j, struct emac_err *err);
/* Load again the jobs whose memory is stale. */
void jobs_refresh(struct coordinator *c);

/* ---- jobs.c ---- */
struct cjob *job_find(struct coordinator *c, const char *id); /* running or paused; NULL */
enum emac_status jobs_open(struct coordinator *c, struct emac_err *err); /* at start */
void jobs_close(struct coordinator *c);
/* running -> paused (own transaction) */
void job_pause(struct coordinator *c, struct cjob *j, const struct ctask *t);
/* Leave running/paused for good; own transaction; on success j is gone. */
enum emac_status job_end(struct coordinator *c, struct cjob *j, enum job_state state,
                         const char *reason, struct emac_err *err);
/* Write step, loss, figures (in tx). */
enum emac_status job_figures_write(struct coordinator *c, const struct cjob *j,
                                   const struct figures *f, struct emac_err *err);
/* Write figures that changed, of all jobs: at the end. */
void jobs_flush(struct coordinator *c);
/* `flush`: write figures that changed. May end the job. */
void job_tick(struct coordinator *c, struct cjob *j, bool flush);
/* A job that enters or comes back takes its turn among those that run, it does not catch up with
 * their past. */
void vtime_enter(const struct coordinator *c, struct cjob *j);
http_handler jobs_post, job_cancel_post, job_fund_post;
/* sweeps.c */
enum emac_status sweeps_open(struct coordinator *c, struct emac_err *err); /* after jobs_open */
void sweeps_close(struct coordinator *c);
void sweeps_tick(struct coordinator *c);
http_handler sweeps_post, sweeps_get, sweep_get, sweep_cancel_post;
/* views.c */
http_handler jobs_get, job_get;

/* ---- leases.c ---- */
enum emac_status leases_load(struct coordinator *c, struct cjob *j, struct emac_err *err);
void lease_detach(struct lease *l); /* from node and task; frees */
/* After a lease of the rig has ended: its next one begins (AHEAD-3). */
void lease_begin_next(struct coordinator *c, struct node *n);
/* In tx: an idle rig gets it; its holder should drop it, but may answer (AHEAD-2). */
enum emac_status lease_recall_row(struct coordinator *c, const char *id, struct emac_err *err);
struct lease *lease_find(const struct node *n, const char *id);
/* A lease that is no longer open, but whose answer would still be taken? */
bool lease_may_answer(struct coordinator *c, const char *id);
/* in tx: close the row */
enum emac_status lease_close_row(struct coordinator *c, const char *id, const char *state,
                                 struct emac_err *err);
/* In tx: nobody would be paid for it any more. */
enum emac_status lease_take_back(struct coordinator *c, struct lease *l, struct emac_err *err);
void leases_tick(struct coordinator *c, struct cjob *j);
http_handler lease_post, failures_post;
/* grant.c */
enum sched_work work_of(enum task_kind kind);
/* May this rig answer this task at all? Until *wait_ms (0: at once) it is held back after a
 * failure. */
bool grant_eligible(const struct cjob *j, const struct ctask *t, const struct node *n,
                    uint64_t *wait_ms);
/* How long until the rig would be done with it. State stays where it was fetched to: only a share
 * of that counts. */
uint64_t grant_takes_ms(struct coordinator *c, struct cjob *j, const struct ctask *t,
                        const struct node *n, uint64_t now);
/* The best lease for a rig now, or none (*out NULL) and when to ask again. */
enum emac_status grant_try(struct coordinator *c, struct node *n, struct lease **out,
                           uint64_t *wake_ms, struct emac_err *err);

/* ---- receipts.c, verify.c ---- */
http_handler receipts_post;
/* receipts_api.c: GET /v1/jobs/{id}/receipts, /v1/receipts/{cid}, /v1/jobs/{id}/makers/{cid} */
http_handler job_receipts_get, receipt_get, maker_get;
enum verdict { VERDICT_OPEN, VERDICT_AGREED, VERDICT_DISPUTED };
/* Of the votes for a task: which outputs hold? *winner = index of a vote for them. AGREED: all
 * votes alike, or a majority of at least two; then the votes that differ are the losers'. */
enum verdict verify_votes(const struct vote *vote, uint32_t count, uint32_t *winner);
struct error_at; /* checks/trust.h */
/* In tx: quarantine the rig as outvoted, void its receipts that are not settled, withdraw what only
 * it supports, settle the disputes that thereby end (which may quarantine more); `at` as in
 * punish_faulty. Memory is stale afterwards: the caller commits and calls verify_after. */
enum emac_status verify_quarantine(struct coordinator *c, const char *did,
                                   const struct error_at *at, const char *why,
                                   struct emac_err *err);
/* In tx: votes differ from the accepted outputs of `t`, whose row must say accepted by now: a
 * dispute (disputes.h) if there is a judge, else the minority goes. */
enum emac_status verify_losers(struct coordinator *c, const struct cjob *j, const struct ctask *t,
                               struct emac_err *err);
/* Live rigs that have not voted for the task yet, and may. */
uint32_t verify_others(struct coordinator *c, const struct ctask *t);
/* In tx: quarantine those who voted for other outputs than the accepted ones. */
enum emac_status verify_minority(struct coordinator *c, const struct cjob *j, const struct ctask *t,
                                 struct emac_err *err);
void verify_after(struct coordinator *c);
/* Lapse checks that nobody can make; say why disputes wait. */
void verify_tick(struct coordinator *c, struct cjob *j);
/* In tx: pay the unpaid votes for the accepted outputs, as far as COORD-3 and the escrow allow;
 * *paid is what `did` got. Marks them in t->vote. */
enum emac_status verify_pay(struct coordinator *c, struct cjob *j, struct ctask *t, const char *did,
                            int64_t *paid, struct emac_err *err);

/* ---- checkpoints.c, depot.c, lost.c ---- */
/* Of the state after `step` rounds, which the list in memory has; own transaction. */
enum emac_status checkpoint_write(struct coordinator *c, struct cjob *j, uint32_t step,
                                  struct emac_err *err);
void checkpoint_note(struct cjob *j, const struct plan_state *st); /* memory */
enum emac_status checkpoints_load(struct coordinator *c, struct cjob *j, struct emac_err *err);
/* Called without the lock: depot work of one job's checkpoints. */
void checkpoints_work(struct coordinator *c);
#define DEPOSITS_ASKED_MAX 8
/* Bundles that this rig should push now; how many. */
uint32_t deposits_for(struct coordinator *c, struct node *n, struct cid out[DEPOSITS_ASKED_MAX]);
bool deposit_wanted(struct coordinator *c, const struct cid *cid, char job[JOB_ID_MAX]);
/* Let the ticker take a pin away, or all that the job's plan put into the depot. */
void unpin_later(struct coordinator *c, const char *name, const struct cid *cid);
/* Put the plan's blocks into the depot and pin them and the corpus. Needs no lock. */
enum emac_status plan_deposit(struct coordinator *c, const char *job, const struct job_plan *p,
                              struct emac_err *err);
void plan_known(struct coordinator *c, const struct job_plan *p); /* that it was */
void plan_unpin(struct coordinator *c, const char *job, const struct job_plan *p);
const struct kept *checkpoint_kept(const struct checkpoint *k, const char *name); /* NULL: none */
/* The values that column `kept` of a row names. */
void checkpoint_parse(struct checkpoint *k, const char *text);
/* The model's parameters (plan_model_params). */
const struct kept *checkpoint_params(const struct checkpoint *k);
/* Of the state that training ended with; NULL while it goes on. */
struct checkpoint *checkpoint_final(struct cjob *j);
/* Is every input of the task with a live rig or in the depot? *gone = the first that is not. */
bool inputs_present(struct coordinator *c, const struct ctask *t, struct cid *gone);
/* "http://host" as the client dialled us; in the request's arena */
const char *request_base_url(const struct http_request *req);
http_handler depot_post, depot_missing_get, providers_get, block_get;
/* Rigs that said to hold it did not bring it when asked: such words are passed over until somebody
 * makes it again. */
bool is_unheld(const struct coordinator *c, const struct cid *cid);
void held_again(struct coordinator *c, const struct cid *cid);
void missing_resolve(struct cjob *j, const struct ctask *t);
void missing_report(struct coordinator *c, struct cjob *j, struct node *n, struct ctask *t,
                    const struct cid *cid);
/* Called without the lock: roll back what is lost. */
void lost_work(struct coordinator *c);

/* ---- serve.c ---- */
struct serve_queue *serve_queue_new(void);
void serve_queue_free(struct serve_queue *q);
/* A request for this rig: the answer of its poll, or NULL. */
json_t *serve_take(struct coordinator *c, struct node *n, const char *base_url, uint64_t *wake_ms);
void serve_beat(struct coordinator *c, struct node *n, const char *lease, bool *cancel);
void serve_tick(struct coordinator *c);
http_handler serve_post;

#endif
