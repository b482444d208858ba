/* Curves as they come: named rows of (step, value), bounded in memory.
 *
 * A series holds at most SERIES_POINTS_MAX points. When it is full every second one goes, and from
 * then on only steps that are multiples of its stride stay, and the newest. A step that is not
 * beyond the last one means that a job went back: the points from there on are dropped. */
#ifndef EMAC_CLI_SERIES_H
#define EMAC_CLI_SERIES_H

#include "codec/plot.h"

#define SERIES_MAX        32
#define SERIES_NAME_MAX   32
#define SERIES_POINTS_MAX 4096

struct series {
    char name[SERIES_NAME_MAX];
    struct plot_point *point;
    size_t count;
    uint64_t stride;
};
struct series_set {
    size_t count;
    struct series at[SERIES_MAX];
};

/* Starts as {0}. More than SERIES_MAX names: the new one is left out. */
enum emac_status series_add(struct series_set *set, const char *name, uint64_t step, double value,
                            struct emac_err *err);
const struct series *series_find(const struct series_set *set, const char *name); /* NULL */
/* The newest value; false when there is none. */
bool series_last(const struct series_set *set, const char *name, double *value);
void series_release(struct series_set *set);

#endif
