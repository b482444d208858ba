/* A share of a device's time: how an owner keeps a rig cool or quiet. After a piece of work that
 * kept the device busy for b, the next may begin b / share after this one began. Time that went by
 * without work (waiting for a lease, for a busy machine) is not lost at once: up to
 * DUTY_CATCH_UP_NS of it may be worked off, so that a rig with the share 0.25 does get a quarter.
 *
 * Pure: the caller has the clock and does the resting. All times are ns on one monotonic clock. */
#ifndef EMAC_NODE_DUTY_H
#define EMAC_NODE_DUTY_H

#include <stdbool.h>
#include <stdint.h>

#define DUTY_WHOLE       1000 /* the share is given in thousandths */
#define DUTY_CATCH_UP_NS (100 * UINT64_C(1000000))

/* "0.25", with spaces around it or a line end behind: 250. False for anything but a number from
 * 0.001 to 1. */
bool duty_parse(const char *text, uint32_t *per_mille);

struct duty {
    uint64_t next_ns; /* when the next piece may begin */
};

/* A piece began at began_ns and kept the device busy for busy_ns. per_mille: 1 to DUTY_WHOLE. */
void duty_worked(struct duty *d, uint32_t per_mille, uint64_t began_ns, uint64_t busy_ns);
/* How long to rest before the next piece. */
uint64_t duty_rest_ns(const struct duty *d, uint64_t now_ns);

#endif
