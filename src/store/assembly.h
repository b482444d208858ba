/* Putting a file together in memory from verified blocks that come in any
 * order and from anywhere: the store itself, a CAR stream, single fetches.
 * Leaves go straight to their place in the value's bytes; nothing is hashed
 * again at the end.
 *
 * The root comes first (nothing else is wanted before it); it tells the size,
 * which is checked against the maximum before memory is taken. Used by store/
 * and exchange/. Not thread-safe. */
#ifndef EMAC_STORE_ASSEMBLY_H
#define EMAC_STORE_ASSEMBLY_H

#include "store/store.h"

struct store_assembly;
enum emac_status store_assembly_new(struct store *s, const struct cid *root, uint64_t max_size,
                                    struct store_assembly **out, struct emac_err *err);
void store_assembly_free(struct store_assembly *a);

/* Take a block whose bytes were checked against cid. *used = false: not (or no longer) wanted.
 * CORRUPT: the tree contradicts itself; TOO_LARGE: over max_size; INVALID: the root is no file. */
enum emac_status store_assembly_offer(struct store_assembly *a, const struct cid *cid,
                                      const void *data, size_t n, bool *used, struct emac_err *err);
/* Take all that the store holds itself. */
enum emac_status store_assembly_fill(struct store_assembly *a, struct emac_err *err);

bool store_assembly_complete(const struct store_assembly *a);
/* Wanted blocks in order of their place in the file, at most cap; returns how many. */
size_t store_assembly_missing(const struct store_assembly *a, struct cid *out, size_t cap);
/* The first run of bytes [*from, *to) whose blocks are all missing; false while the root is. */
bool store_assembly_gap(const struct store_assembly *a, uint64_t *from, uint64_t *to);

/* Register the complete file as a value (held). Frees a, on failure too. */
enum emac_status store_assembly_end(struct store_assembly *a, const struct store_value **out,
                                    struct emac_err *err);

#endif
