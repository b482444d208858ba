/* Files embedded in the program at build time by tools/embed. */
#ifndef EMAC_BASE_EMBED_H
#define EMAC_BASE_EMBED_H

struct embedded {
    const char *name; /* base name without its ending; NULL ends the list */
    const char *text;
};

extern const struct embedded EMBEDDED_MANUALS[]; /* docs/cli */
extern const struct embedded EMBEDDED_KERNELS[]; /* kernels, and compute/fn*.h */

#endif
