#include <string.h>

#include "base/assert.h"
#include "work/deal.h"

static const char SEED_DOMAIN[] = "emac deal seed 1";
static const char CHALLENGE_DOMAIN[] = "emac deal challenge 1";

void deal_seed(uint8_t seed[SHA256_BYTES], const uint8_t secret[SHA256_BYTES],
               const uint8_t head[SHA256_BYTES])
{
    uint8_t text[sizeof SEED_DOMAIN - 1 + 2 * SHA256_BYTES], *p = text;
    memcpy(p, SEED_DOMAIN, sizeof SEED_DOMAIN - 1);
    p += sizeof SEED_DOMAIN - 1;
    memcpy(p, secret, SHA256_BYTES);
    memcpy(p + SHA256_BYTES, head, SHA256_BYTES);
    crypto_sha256(seed, text, sizeof text);
}

static uint8_t *put_u64(uint8_t *p, uint64_t v)
{
    for (int i = 7; i >= 0; i--)
        *p++ = (uint8_t)(v >> (8 * i));
    return p;
}

uint64_t deal_challenge(const uint8_t seed[SHA256_BYTES], const char *id, uint32_t replica,
                        uint64_t epoch, uint32_t k, uint64_t leaves)
{
    uint8_t text[sizeof CHALLENGE_DOMAIN - 1 + SHA256_BYTES + 3 * 8 + DEAL_ID_MAX], *p = text;
    uint8_t hash[SHA256_BYTES];
    uint64_t draw = 0;
    size_t id_len = strnlen(id, DEAL_ID_MAX);
    EMAC_ASSERT(leaves > 0 && k < DEAL_CHALLENGES && id_len < DEAL_ID_MAX);
    memcpy(p, CHALLENGE_DOMAIN, sizeof CHALLENGE_DOMAIN - 1);
    p += sizeof CHALLENGE_DOMAIN - 1;
    memcpy(p, seed, SHA256_BYTES);
    p = put_u64(p + SHA256_BYTES, replica);
    p = put_u64(p, epoch);
    p = put_u64(p, k);
    memcpy(p, id, id_len);
    crypto_sha256(hash, text, (size_t)(p - text) + id_len);
    for (int i = 0; i < 8; i++)
        draw = draw << 8 | hash[i];
    /* The high word of a product: each leaf alike, but for a share of leaves / 2^64. */
    return (uint64_t)((unsigned __int128)draw * leaves >> 64);
}

size_t deal_proof_bytes(const struct commp *piece)
{
    return DEAL_CHALLENGES * commp_proof_bytes(piece->size);
}

enum emac_status deal_proof_check(const struct commp *piece, const uint8_t seed[SHA256_BYTES],
                                  const char *id, uint32_t replica, uint64_t epoch,
                                  const uint8_t *proof, size_t n, struct emac_err *err)
{
    size_t each = commp_proof_bytes(piece->size);
    if (n != deal_proof_bytes(piece))
        return emac_fail(err, EMAC_INVALID, "a proof for this piece has %zu bytes, not %zu",
                         deal_proof_bytes(piece), n);
    for (uint32_t k = 0; k < DEAL_CHALLENGES; k++) {
        uint64_t leaf = deal_challenge(seed, id, replica, epoch, k, commp_leaves(piece->size));
        if (!commp_proof_check(piece, leaf, proof + k * each, each))
            return emac_fail(err, EMAC_INVALID, "answer %u does not prove leaf %llu of the piece",
                             k, (unsigned long long)leaf);
    }
    return EMAC_OK;
}
