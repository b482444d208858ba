/* Piece CIDs as text, and proofs from strangers: what is read is written back the same; a proof of
 * the right length is walked to the root and no further. */
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/buf.h"
#include "codec/commp.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void check_text(const uint8_t *data, size_t n)
{
    struct commp p;
    char *text = emac_strndup((const char *)data, n), out[COMMP_TEXT_MAX];
    if (commp_parse(&p, text, NULL) == EMAC_OK) {
        EMAC_ASSERT(p.size <= COMMP_SIZE_MAX);
        commp_text(out, &p);
        EMAC_ASSERT(strcmp(out, text) == 0);
    }
    free(text);
}

/* The first bytes choose size and leaf; the rest is the proof. Its own first node as the root: only
 * a tree of one leaf would fit that, and there is none. */
static void check_proof(const uint8_t *data, size_t n)
{
    struct commp p;
    uint64_t leaf;
    if (n < 16 + COMMP_NODE)
        return;
    memcpy(&p.size, data, 8);
    memcpy(&leaf, data + 8, 8);
    p.size %= COMMP_SIZE_MAX + 1;
    memcpy(p.root, data + 16, COMMP_NODE);
    bool ok = commp_proof_check(&p, leaf, data + 16, n - 16);
    EMAC_ASSERT(!ok || n - 16 == commp_proof_bytes(p.size));
    EMAC_ASSERT(!ok || leaf < UINT64_C(1) << commp_height(p.size));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    if (n > 0)
        check_text(data, n);
    check_proof(data, n);
    return 0;
}
