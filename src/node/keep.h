/* What a rig keeps for storage deals (work/deal.h): keep.c asks what is wanted
 * and answers, keep_piece.c has the data.
 *
 * For each deal there is a file deals/<id> in the rig's directory: the CID (36
 * bytes), then, once all of it is here and was found to be the right piece, the
 * nodes over its chunks (codec/commp.h). A proof reads these and, for each
 * challenge, one chunk of the data out of the store: so it can only be given by
 * who has the blocks.
 *
 * KEEP-1  The file and the pin "deal:<id>" are there before the first block is
 *         fetched, and go together when the deal is no duty any more: nothing is
 *         kept for nobody, however the process ended.
 * KEEP-2  "kept" is said only after all blocks are durable and the piece was
 *         computed from them. So no bond is put up for what cannot be proven.
 * KEEP-3  A proof that cannot be given is said to be lost before the data are
 *         fetched again: the epoch is unpaid, the next one need not be. */
#ifndef EMAC_NODE_KEEP_H
#define EMAC_NODE_KEEP_H

#include "node/agent_internal.h"
#include "work/deal.h"

/* ---- keep_piece.c ---- */

/* Fetch what is missing, and compute the piece. `received` gets {node, bytes} of each rig that sent
 * something. INVALID: the data are another piece than the deal says. UNAVAILABLE: not all could be
 * had now. */
enum emac_status keep_take(struct node *n, const struct deal_duty *d, json_t *received,
                           struct emac_err *err);
/* Was all of it here when the rig last looked? */
bool keep_ready(struct node *n, const struct deal_duty *d);
/* Appends the proof of the epoch. NOT_FOUND, CORRUPT: some of the data are not here. */
enum emac_status keep_prove(struct node *n, const struct deal_duty *d, uint64_t epoch,
                            const uint8_t seed[SHA256_BYTES], struct emac_buf *proof,
                            struct emac_err *err);
/* Let go of all deals that are not among duty[0..count). */
void keep_only(struct node *n, const struct deal_duty *duty, size_t count);
/* Is anything kept? */
bool keep_any(struct node *n);

/* ---- keep.c ---- */
void *agent_keep_thread(void *node);

#endif
