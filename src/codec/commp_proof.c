#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/buf.h"
#include "codec/commp_tree.h"

#define CHUNK_LEAVES (UINT64_C(1) << COMMP_CHUNK_LEVEL)

void commp_chunk_of(uint64_t size, uint64_t leaf, uint64_t *from, size_t *n)
{
    EMAC_ASSERT(leaf < commp_leaves(size));
    *from = leaf / CHUNK_LEAVES * COMMP_CHUNK;
    uint64_t left = size - *from;
    *n = left < COMMP_CHUNK ? (size_t)left : COMMP_CHUNK;
}

/* One level up: node[0..count) become (count + 1) / 2, what is missing being `zero`. The node
 * beside number `at` goes to `beside`. */
static uint64_t level_up(uint8_t *node, uint64_t count, uint64_t at, const uint8_t *zero,
                         uint8_t beside[COMMP_NODE])
{
    uint64_t other = at ^ 1;
    EMAC_ASSERT(at < count);
    memcpy(beside, other < count ? node + other * COMMP_NODE : zero, COMMP_NODE);
    for (uint64_t i = 0; i < count; i += 2) {
        const uint8_t *right = i + 1 < count ? node + (i + 1) * COMMP_NODE : zero;
        commp_above(node + i / 2 * COMMP_NODE, node + i * COMMP_NODE, right);
    }
    return (count + 1) / 2;
}

/* The leaves of a chunk's payload. */
static uint64_t leaves_fill(uint8_t *node, const uint8_t *data, size_t n)
{
    uint8_t quad[COMMP_QUAD];
    uint64_t count = 0;
    size_t at = 0;
    do {
        size_t take = n - at < COMMP_QUAD ? n - at : COMMP_QUAD;
        memset(quad, 0, sizeof quad);
        memcpy(quad, data + at, take);
        commp_fr32(node + count * COMMP_NODE, quad);
        count += 4;
        at += take;
    } while (at < n);
    return count;
}

enum emac_status commp_prove(const struct commp *p, const uint8_t *chunk, uint64_t leaf,
                             const void *data, uint8_t out[COMMP_PROOF_MAX], struct emac_err *err)
{
    struct commp_zeros zeros;
    uint64_t from, at = leaf % CHUNK_LEAVES, chunks = commp_chunks(p->size);
    uint64_t room = chunks > CHUNK_LEAVES ? chunks : CHUNK_LEAVES, count;
    size_t n;
    uint8_t *node = NULL;
    uint32_t height = commp_height(p->size), level = 0;
    commp_chunk_of(p->size, leaf, &from, &n);
    enum emac_status st = emac_alloc(&node, (size_t)room, COMMP_NODE, err);
    if (st != EMAC_OK)
        return st;
    commp_zeros(&zeros);
    count = leaves_fill(node, data, n);
    memcpy(out, node + at * COMMP_NODE, COMMP_NODE);
    for (; level < height && level < COMMP_CHUNK_LEVEL; level++, at /= 2)
        count = level_up(node, count, at, zeros.at[level], out + (1 + level) * COMMP_NODE);
    memcpy(node, chunk, (size_t)chunks * COMMP_NODE);
    for (at = leaf / CHUNK_LEAVES, count = chunks; level < height; level++, at /= 2)
        count = level_up(node, count, at, zeros.at[level], out + (1 + level) * COMMP_NODE);
    free(node);
    if (commp_proof_check(p, leaf, out, commp_proof_bytes(p->size)))
        return EMAC_OK;
    return emac_fail(err, EMAC_CORRUPT, "what is kept of the piece is not what it was made from");
}

bool commp_proof_check(const struct commp *p, uint64_t leaf, const uint8_t *proof, size_t n)
{
    uint8_t node[COMMP_NODE];
    uint32_t height = commp_height(p->size);
    if (n != commp_proof_bytes(p->size) || leaf >> height != 0)
        return false;
    memcpy(node, proof, COMMP_NODE);
    for (uint32_t i = 0; i < height; i++) {
        const uint8_t *beside = proof + (1 + i) * COMMP_NODE;
        if (leaf >> i & 1)
            commp_above(node, beside, node);
        else
            commp_above(node, node, beside);
    }
    return memcmp(node, p->root, COMMP_NODE) == 0;
}
