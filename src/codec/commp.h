/* Filecoin's piece commitment (CommP) and its CIDs: what a storage deal is made
 * about, here and there. The payload is padded with zeros to 127 * 2^n bytes (at
 * least 127); each 254 bits of it become a leaf of 32 bytes, two zero bits on
 * top (Fr32); over the leaves stands a binary tree whose nodes are
 * SHA-256(left ‖ right) with the two highest bits of the last byte cleared.
 *
 * Text forms:
 *   v2  FRC-0069: CIDv1, raw, multihash 0x1011 with the digest
 *       uvarint(padding) ‖ height ‖ root. Tells the payload's size.
 *   v1  CIDv1, codec fil-commitment-unsealed, multihash 0x1012 with the root.
 *
 * A proof of one leaf is the leaf and the `height` nodes beside its way up, from
 * below: 32 * (1 + height) bytes. Who can give it for leaves that he could not
 * know before has them. So that a proof costs one piece of the payload to be read
 * and not all of it, the builder can hand out the nodes over COMMP_CHUNK bytes
 * each; they and the payload of one chunk make the proof.
 *
 * COMMP-1  The root is that of the whole padded tree: trees of different sizes
 *          have different commitments, since the v2 form has the height.
 * COMMP-2  A proof that is accepted for (root, leaf number) has that leaf, unless
 *          SHA-256 cut to 254 bits has a collision: the height is fixed. */
#ifndef EMAC_CODEC_COMMP_H
#define EMAC_CODEC_COMMP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

#define COMMP_NODE        32
#define COMMP_HEIGHT_MAX  46                    /* 2^51 bytes of leaves */
#define COMMP_SIZE_MAX    (UINT64_C(127) << 44) /* of a payload */
#define COMMP_TEXT_MAX    96
#define COMMP_CHUNK_LEVEL 11                                /* of the tree */
#define COMMP_CHUNK       (127u << (COMMP_CHUNK_LEVEL - 2)) /* 65,024 bytes of payload */
#define COMMP_PROOF_MAX   (COMMP_NODE * (1 + COMMP_HEIGHT_MAX))

struct commp {
    uint64_t size; /* of the payload, at most COMMP_SIZE_MAX */
    uint8_t root[COMMP_NODE];
};

uint32_t commp_height(uint64_t size);  /* of the tree: 2^height leaves */
uint64_t commp_padding(uint64_t size); /* zero bytes after the payload */
/* Leaves that hold some of the payload; at least 1. Those after them are zero and prove nothing. */
uint64_t commp_leaves(uint64_t size);
size_t commp_proof_bytes(uint64_t size);
uint64_t commp_chunks(uint64_t size); /* with some of the payload; at least 1 */

/* ---- streaming ---- */

/* `chunks`: keep the nodes over chunks (32 bytes for each 65,024 of payload). */
struct commp_builder;
enum emac_status commp_builder_new(bool chunks, struct commp_builder **out, struct emac_err *err);
/* TOO_LARGE past COMMP_SIZE_MAX. */
enum emac_status commp_builder_write(struct commp_builder *b, const void *data, size_t n,
                                     struct emac_err *err);
/* *chunk (NULL unless asked for) = commp_chunks(size) nodes, the caller's to free. Frees b, on
 * failure too. */
enum emac_status commp_builder_end(struct commp_builder *b, struct commp *out, uint8_t **chunk,
                                   struct emac_err *err);
void commp_builder_free(struct commp_builder *b);

/* ---- proofs (commp_proof.c) ---- */

/* Where the payload of leaf `leaf`'s chunk is: bytes [*from, *from + *n). */
void commp_chunk_of(uint64_t size, uint64_t leaf, uint64_t *from, size_t *n);
/* The proof of leaf < commp_leaves: `chunk` from the builder, `data` the payload that
 * commp_chunk_of names. CORRUPT when they do not belong to p: then nothing of it is of use. */
enum emac_status commp_prove(const struct commp *p, const uint8_t *chunk, uint64_t leaf,
                             const void *data, uint8_t out[COMMP_PROOF_MAX], struct emac_err *err);
/* Is proof[0..n) that of leaf < 2^height? */
bool commp_proof_check(const struct commp *p, uint64_t leaf, const uint8_t *proof, size_t n);

/* ---- text ---- */

void commp_text(char out[COMMP_TEXT_MAX], const struct commp *p);    /* v2 */
void commp_text_v1(char out[COMMP_TEXT_MAX], const struct commp *p); /* "baga..." */
/* The v2 form only, padded as little as can be. */
enum emac_status commp_parse(struct commp *out, const char *text, struct emac_err *err);

#endif
