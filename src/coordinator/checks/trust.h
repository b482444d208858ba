/* The standing of rigs: how they are punished, what they have at stake, what is known of them.
 * What follows from it for checks is sched/trust.h; the rows are trust, bonds, slashes, nodes.
 *
 * STAND-1  Money of a rig is held until its job has ended and the dispute window after it closed
 *          (coordinator_config.window_ms). Until then it can be void; afterwards never.
 * STAND-2  balance(stake:<did>) = the units of its rows of bonds: put in - given back - slashed -
 *          costs of a fault.
 * STAND-3  A bond is slashed by punish_liar alone, which takes a proof, and once for a proof. Half
 *          of it goes to the owner of the job that was lied to, the rest to "fee".
 * STAND-4  A bond is given back no earlier than the dispute window after its notice, or after its
 *          rig went out if that was later, and never while the rig is in a dispute; until then it
 *          can be slashed, but counts for nothing.
 * STAND-5  Of a liar every receipt that is not settled is void. Of a faulty rig those are void
 *          that no other rig confirmed which is not out itself.
 * STAND-6  A rig that goes out for an error bears what it cost the job's owner, trust_cost_units of
 *          the task, once in its life: out of what is still held for it in that job, then out of
 *          its bond. Nothing else of a bond is lost without a proof. So it does not pay to lie and
 *          then to blame the card.
 *
 * All functions are called under c->lock. Those "in tx" run inside the caller's transaction; if
 * that fails in the end the caller calls verify_after all the same, which reads memory again. */
#ifndef EMAC_COORDINATOR_TRUST_H
#define EMAC_COORDINATOR_TRUST_H

#include "coordinator/internal.h"
#include "sched/draw.h"
#include "sched/trust.h"

#define PROOF_MAX 128

/* ---- punishment (verify.c, costs.c, bonds.c): in tx; then the caller calls verify_after ---- */

/* The task that it is about, in an open job. */
struct error_at {
    const char *job;
    const struct cid *task;
};
/* It erred, and nobody can say that it meant to: a card that flips bits, a driver. Quarantined:
 * 403 from now on, its leases taken back, what nobody confirmed void and open again; what others
 * confirmed is paid, less what the error cost (STAND-6; at NULL: nothing). No slash. */
enum emac_status punish_faulty(struct coordinator *c, const char *did, const struct error_at *at,
                               const char *why, struct emac_err *err);

struct lie {
    const char *did;
    const char *job;   /* where it lied; "" when that has no owner to be made good */
    const char *proof; /* names what anybody can check, the CID of the dispute's record: shorter
                          than PROOF_MAX; the same proof again is OK and changes nothing */
    const char *why;   /* a sentence: "it signed ..." */
};
/* A lie that is proven. Quarantined, every receipt that is not settled void, in open jobs and in
 * those whose window is open; its bond slashed. */
enum emac_status punish_liar(struct coordinator *c, const struct lie *lie, struct emac_err *err);

#endif
