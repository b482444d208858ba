/* Between commp.c and commp_proof.c; nobody else includes it. */
#ifndef EMAC_CODEC_COMMP_TREE_H
#define EMAC_CODEC_COMMP_TREE_H

#include "codec/commp.h"

#define COMMP_QUAD 127 /* bytes of payload that make four leaves */

/* out = the node above left and right; may be one of them. */
void commp_above(uint8_t out[COMMP_NODE], const uint8_t left[COMMP_NODE],
                 const uint8_t right[COMMP_NODE]);
/* 127 bytes -> 4 leaves. */
void commp_fr32(uint8_t out[4 * COMMP_NODE], const uint8_t in[COMMP_QUAD]);
/* Roots of trees of zeros, one for each height. */
struct commp_zeros {
    uint8_t at[COMMP_HEIGHT_MAX + 1][COMMP_NODE];
};
void commp_zeros(struct commp_zeros *z);

#endif
