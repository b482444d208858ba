/* What many threads want done under one lock, done by few of them.
 *
 * A thread that wants something done and made durable gets in line and sleeps. The first in line
 * waits for the lock; once it has it, it does what is in line by then, one after another, lets go
 * of the lock, waits for the disk once for all of them, and wakes each. So a thread sleeps once and
 * is woken once for an errand, however many share the lock and the disk, and the next in line work
 * while the disk does. Everybody else goes on using the lock as such.
 *
 * An errand that finds nothing to do yet waits, without a thread having to look: it is run again by
 * whoever has the lock when something changed (errands_changed), and at the time it asked for.
 *
 * ERRAND-1  An errand is run under the lock, and by one thread at a time.
 * ERRAND-2  errand_do returns when the errand said it is done and all that was written under the
 *           lock by then is settled; a failure to settle is told to each whose errand was in it.
 * ERRAND-3  As long as an errand is in line there is a thread that is about to lead; as long as
 *           `changed` is set and one waits, too. */
#ifndef EMAC_COORDINATOR_ERRANDS_H
#define EMAC_COORDINATOR_ERRANDS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "os/os.h"
#include "os/thread.h"

#define ERRANDS_AT_ONCE 64 /* of the line under one hold of the lock */

struct errand {
    /* Under the lock, on any thread. True: done. False: it waits until something changed, but not
     * beyond wake_ms (monotonic clock), which it may set. */
    bool (*run)(void *ctx, struct errand *e);
    /* At first: when it is likely to ask to be run again; UINT64_MAX: it never does. */
    uint64_t wake_ms;
    /* The rest is errands.c's. */
    struct errand *next;
    struct os_mutex guard; /* of what follows */
    struct os_cond told;
    bool over, leads;
    uint64_t look_ms;
    enum emac_status st;
    struct emac_err why;
};

struct errands {
    struct os *os;
    struct os_mutex *lock;
    enum emac_status (*settle)(void *ctx, struct emac_err *err); /* called without the lock */
    void *ctx;                                                   /* of run and settle */
    struct os_mutex guard;                                       /* of the line */
    struct errand *first, **end;
    struct errand *waits, **waits_end; /* by the lock, as are the two below */
    bool running, changed;
};

void errands_init(struct errands *all, struct os *os, struct os_mutex *lock,
                  enum emac_status (*settle)(void *ctx, struct emac_err *err), void *ctx);
void errands_release(struct errands *all); /* nobody is in line, nobody waits */
/* Called without the lock; e->run and e->wake_ms are set. OK: done, and durable. */
enum emac_status errand_do(struct errands *all, struct errand *e, struct emac_err *err);
/* Under the lock: what errands that wait look for may be there. They are run before the lock is
 * next let go of by a thread that does errands, or soon. */
void errands_changed(struct errands *all);

#endif
