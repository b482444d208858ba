#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/buf.h"
#include "base/hex.h"
#include "codec/commp.h"
#include "crypto/crypto.h"
#include "../property.h"

static struct commp commit(const void *data, size_t n, size_t step, uint8_t **chunk)
{
    struct commp_builder *b;
    struct commp p;
    assert_int_equal(commp_builder_new(chunk != NULL, &b, NULL), EMAC_OK);
    for (size_t at = 0; at < n; at += step) {
        size_t take = n - at < step ? n - at : step;
        assert_int_equal(commp_builder_write(b, (const uint8_t *)data + at, take, NULL), EMAC_OK);
    }
    assert_int_equal(commp_builder_end(b, &p, chunk, NULL), EMAC_OK);
    assert_int_equal(p.size, n);
    return p;
}

/* The vectors of FRC-0069. */
static void vectors(void **state)
{
    static const struct {
        size_t n;
        const char *v2;
    } CASES[] = {
        {0, "bafkzcibcp4bdomn3tgwgrh3g532zopskstnbrd2n3sxfqbze7rxt7vqn7veigmy"},
        {127, "bafkzcibcaabdomn3tgwgrh3g532zopskstnbrd2n3sxfqbze7rxt7vqn7veigmy"},
        {128, "bafkzcibcpybwiktap34inmaex4wbs6cghlq5i2j2yd2bb2zndn5ep7ralzphkdy"},
    };
    static const uint8_t zeros[128];
    for (size_t i = 0; i < EMAC_COUNT(CASES); i++) {
        struct commp p = commit(zeros, CASES[i].n, 50, NULL), back;
        char text[COMMP_TEXT_MAX];
        commp_text(text, &p);
        assert_string_equal(text, CASES[i].v2);
        assert_int_equal(commp_parse(&back, text, NULL), EMAC_OK);
        assert_int_equal(back.size, p.size);
        assert_memory_equal(back.root, p.root, sizeof p.root);
    }
    struct commp p = commit(zeros, 127, 1, NULL);
    char text[COMMP_TEXT_MAX];
    commp_text_v1(text, &p);
    assert_string_equal(text, "baga6ea4seaqdomn3tgwgrh3g532zopskstnbrd2n3sxfqbze7rxt7vqn7veigmy");
}

static void sizes(void **state)
{
    static const struct {
        uint64_t size, leaves;
        uint32_t height;
    } CASES[] = {{0, 1, 2},         {1, 1, 2},
                 {31, 1, 2},        {32, 2, 2},
                 {127, 4, 2},       {128, 5, 3},
                 {254, 8, 3},       {65024, 2048, 11},
                 {65025, 2049, 12}, {UINT64_C(127) << 44, UINT64_C(1) << 46, 46}};
    for (size_t i = 0; i < EMAC_COUNT(CASES); i++) {
        assert_int_equal(commp_height(CASES[i].size), CASES[i].height);
        assert_int_equal(commp_leaves(CASES[i].size), CASES[i].leaves);
        assert_int_equal(commp_proof_bytes(CASES[i].size), 32 * (1 + CASES[i].height));
        assert_true(commp_leaves(CASES[i].size) <= UINT64_C(1) << CASES[i].height);
    }
    assert_int_equal(commp_padding(128), 126);
}

/* ---- against the definition, bit by bit and level by level ---- */

static void naive(const uint8_t *data, size_t n, uint8_t root[32])
{
    size_t room = 127;
    while (room < n)
        room *= 2;
    size_t leaves = room / 127 * 4;
    uint8_t *node = calloc(leaves, 32);
    for (size_t bit = 0; bit < 8 * n; bit++) {
        size_t leaf = bit / 254, at = bit % 254;
        if (data[bit / 8] >> bit % 8 & 1)
            node[leaf * 32 + at / 8] |= (uint8_t)(1u << at % 8);
    }
    for (; leaves > 1; leaves /= 2) {
        for (size_t i = 0; i < leaves / 2; i++) {
            uint8_t hash[32];
            crypto_sha256(hash, node + 2 * i * 32, 64);
            hash[31] &= 0x3f;
            memcpy(node + i * 32, hash, 32);
        }
    }
    memcpy(root, node, 32);
    free(node);
}

static uint8_t *some_bytes(struct choices *c, size_t n)
{
    uint8_t *data = malloc(n + 1);
    uint64_t key = choose(c, UINT64_MAX);
    for (size_t i = 0; i < n; i++)
        data[i] = (uint8_t)((key ^ i * UINT64_C(0x9e3779b97f4a7c15)) >> 29);
    return data;
}

static size_t some_size(struct choices *c)
{
    static const size_t EDGE[] = {0, 1, 126, 127, 128, 253, 254, 255, 65023, 65024, 65025, 130048};
    if (choose(c, 3) == 0)
        return EDGE[choose(c, EMAC_COUNT(EDGE))];
    return (size_t)choose(c, (uint64_t)1 << (3 + choose(c, 16)));
}

static bool follows_the_definition(struct choices *c)
{
    size_t n = some_size(c);
    uint8_t *data = some_bytes(c, n), root[32];
    struct commp p = commit(data, n, 1 + (size_t)choose(c, 1000), NULL);
    naive(data, n, root);
    bool ok = memcmp(p.root, root, 32) == 0;
    free(data);
    return ok;
}

static void definition(void **state)
{
    ASSERT_PROPERTY(60, follows_the_definition);
}

/* COMMP-2: each leaf with payload can be proven; no other number, no changed byte, no other piece
 * passes. */
static bool only_true_proofs_pass(struct choices *c)
{
    size_t n = some_size(c), bytes;
    uint8_t *data = some_bytes(c, n), *chunk = NULL, proof[COMMP_PROOF_MAX];
    struct commp p = commit(data, n, 4096, &chunk), other = p;
    uint64_t leaf = choose(c, commp_leaves(n)), from;
    commp_chunk_of(n, leaf, &from, &bytes);
    bool ok =
        from + bytes <= n && commp_prove(&p, chunk, leaf, data + from, proof, NULL) == EMAC_OK;
    size_t len = commp_proof_bytes(n);
    ok = ok && commp_proof_check(&p, leaf, proof, len);
    uint64_t wrong = leaf ^ (UINT64_C(1) << choose(c, commp_height(n)));
    /* Two leaves of like content beside like content have one proof: only zeros have here. */
    if (n > 127 && wrong < commp_leaves(n))
        ok = ok && !commp_proof_check(&p, wrong, proof, len);
    ok = ok && !commp_proof_check(&p, leaf + (UINT64_C(1) << commp_height(n)), proof, len);
    ok = ok && !commp_proof_check(&p, leaf, proof, len - 32);
    size_t at = (size_t)choose(c, len);
    proof[at] ^= (uint8_t)(1u << choose(c, 8));
    ok = ok && !commp_proof_check(&p, leaf, proof, len);
    other.root[choose(c, 31)] ^= 1;
    ok = ok && commp_prove(&other, chunk, leaf, data + from, proof, NULL) == EMAC_CORRUPT;
    free(chunk);
    free(data);
    return ok;
}

static void proofs(void **state)
{
    ASSERT_PROPERTY(60, only_true_proofs_pass);
}

/* A byte of the payload that is lost or changed is seen by the proof of its leaf, and by all of its
 * chunk. */
static void lost_bytes(void **state)
{
    struct choices c = {.seed = 7};
    size_t n = 200000, bytes;
    uint8_t *data = some_bytes(&c, n), *chunk = NULL, proof[COMMP_PROOF_MAX];
    struct commp p = commit(data, n, 1 << 16, &chunk);
    uint64_t from;
    data[70000] ^= 1; /* in chunk 1 */
    for (uint64_t leaf = 0; leaf < commp_leaves(n); leaf += 311) {
        commp_chunk_of(n, leaf, &from, &bytes);
        enum emac_status st = commp_prove(&p, chunk, leaf, data + from, proof, NULL);
        assert_int_equal(st, leaf / 2048 == 1 ? EMAC_CORRUPT : EMAC_OK);
    }
    free(chunk);
    free(data);
}

static void texts_refused(void **state)
{
    static const char *const BAD[] = {
        "",
        "b",
        "bafkzcibcp4bdomn3tgwgrh3g532zopskstnbrd2n3sxfqbze7rxt7vqn7veigm",   /* one short */
        "bafkzcibcp4bdomn3tgwgrh3g532zopskstnbrd2n3sxfqbze7rxt7vqn7veigmya", /* one long */
        "cafkzcibcp4bdomn3tgwgrh3g532zopskstnbrd2n3sxfqbze7rxt7vqn7veigmy",
        "BAFKZCIBCP4BDOMN3TGWGRH3G532ZOPSKSTNBRD2N3SXFQBZE7RXT7VQN7VEIGMY",
        "baga6ea4seaqdomn3tgwgrh3g532zopskstnbrd2n3sxfqbze7rxt7vqn7veigmy", /* version 1 */
        "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku",      /* a plain CID */
    };
    for (size_t i = 0; i < EMAC_COUNT(BAD); i++) {
        struct commp p;
        struct emac_err err = {0};
        assert_int_equal(commp_parse(&p, BAD[i], &err), EMAC_INVALID);
        assert_non_null(strstr(err.text, "is not a piece CID"));
    }
}

/* Digests that spell no size, or a second name of one. */
static void digests_refused(void **state)
{
    static const struct {
        uint8_t bytes[8];
        size_t n;
        const char *why;
    } CASES[] = {
        {{0x01, 0x55, 0x91, 0x20, 34, 0, 1}, 7, "a tree lower than its least"},
        {{0x01, 0x55, 0x91, 0x20, 34, 0, 47}, 7, "a tree too high"},
        {{0x01, 0x55, 0x91, 0x20, 34, 0x7f, 3}, 7, "127 bytes padded to 254"},
        {{0x01, 0x55, 0x91, 0x20, 35, 0x80, 0x01, 2}, 8, "more padding than room"},
        {{0x01, 0x55, 0x91, 0x20, 35, 0x80, 0x00, 2}, 8, "a varint with a zero too many"},
        {{0x01, 0x55, 0x91, 0x20, 33, 0, 2}, 7, "a length that is not the digest's"},
    };
    for (size_t i = 0; i < EMAC_COUNT(CASES); i++) {
        uint8_t bytes[64] = {0};
        char text[COMMP_TEXT_MAX] = "b";
        struct commp p;
        memcpy(bytes, CASES[i].bytes, CASES[i].n);
        emac_base32(text + 1, bytes, CASES[i].n + 32);
        if (commp_parse(&p, text, NULL) != EMAC_INVALID)
            fail_msg("taken: %s", CASES[i].why);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(vectors),         cmocka_unit_test(sizes),
        cmocka_unit_test(definition),      cmocka_unit_test(proofs),
        cmocka_unit_test(lost_bytes),      cmocka_unit_test(texts_refused),
        cmocka_unit_test(digests_refused),
    };
    return cmocka_run_group_tests_name("commp", tests, NULL, NULL);
}
