/* Bytes on their way between ends that each have a rate up and a rate down: a
 * fluid model. At any time the flows under way share the rates max-min fairly
 * (Bertsekas and Gallager, Data Networks, 6.5.2: raise all flows together, fix
 * those whose link is full, go on with the rest), as connections that take turns
 * do. Pure; times are seconds. */
#ifndef EMAC_SCHED_FLOWS_H
#define EMAC_SCHED_FLOWS_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

struct flow {
    uint32_t from, to;
    double left; /* bytes */
    double rate; /* bytes a second, since the last change */
    uint64_t tag;
};

struct flows {
    uint32_t ends;
    double *up, *down; /* bytes a second of each end */
    struct flow *flow; /* in order of their beginning */
    size_t count, cap;
    double *room; /* of the links while rates are found: up of all ends, then down */
    uint32_t *users;
};

enum emac_status flows_init(struct flows *f, uint32_t ends, struct emac_err *err);
void flows_release(struct flows *f);
enum emac_status flows_begin(struct flows *f, uint32_t from, uint32_t to, double bytes,
                             uint64_t tag, struct emac_err *err);
/* Seconds until the next flow is through; a negative number when there is none. */
double flows_next(const struct flows *f);
/* Let `seconds` pass (not beyond flows_next). */
void flows_pass(struct flows *f, double seconds);
/* Take a flow that is through; false when there is none. */
bool flows_take(struct flows *f, struct flow *out);

#endif
