/* Private data: sealed and opened again, and every way in which they must not open. */
#include "fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "work/sealed.h"

static const uint8_t SEED[ED25519_SEED_BYTES] = {7}, OTHER_SEED[ED25519_SEED_BYTES] = {8};
static const uint8_t KEY[SEAL_KEY_BYTES] = {1, 2, 3}, OTHER_KEY[SEAL_KEY_BYTES] = {1, 2, 4};

struct person {
    char did[DID_KEY_MAX];
    uint8_t public_key[ED25519_PUBLIC_BYTES], secret_key[ED25519_SECRET_BYTES];
};

static struct person person_of(const uint8_t seed[ED25519_SEED_BYTES])
{
    struct person p;
    crypto_ed25519_keypair(p.public_key, p.secret_key, seed);
    crypto_did_key(p.did, p.public_key);
    return p;
}

static struct store *store_new(void)
{
    const struct store_config cfg = {.os = os_real(), .memory_quota = 64 << 20, .hash_threads = 1};
    struct store *s;
    assert_ok(store_open(&cfg, &s, err));
    return s;
}

static uint8_t *text_new(size_t n)
{
    uint8_t *text = malloc(n);
    for (size_t i = 0; i < n; i++)
        text[i] = (uint8_t)("a private text. "[i % 16] + i / 4096 % 3);
    return text;
}

static struct cid seal(struct store *s, const uint8_t *text, size_t n, const char *owner)
{
    const struct sealed_source from = {.bytes = EMAC_SLICE(text, n)};
    struct cid cid;
    uint64_t size;
    assert_ok(sealed_add(s, &from, owner, KEY, &cid, &size, err));
    assert_int_equal(size, n);
    return cid;
}

/* ---- the cipher ---- */

/* SEALED-1 for one chunk: any bit of anything that is another. */
static void test_a_chunk_opens_as_it_was_or_not_at_all(void **state)
{
    uint8_t text[40], sealed[40 + SEAL_TAG_BYTES], out[40], ad[3] = "ad", key[SEAL_KEY_BYTES];
    memcpy(key, KEY, sizeof key);
    for (size_t i = 0; i < sizeof text; i++)
        text[i] = (uint8_t)i;
    crypto_seal(sealed, key, 5, ad, 2, text, sizeof text);
    assert_true(crypto_seal_open(out, key, 5, ad, 2, sealed, sizeof sealed));
    assert_memory_equal(out, text, sizeof text);
    for (size_t bit = 0; bit < 8 * sizeof sealed; bit++) {
        static const uint8_t zero[40];
        sealed[bit / 8] ^= (uint8_t)(1 << bit % 8);
        if (crypto_seal_open(out, key, 5, ad, 2, sealed, sizeof sealed))
            fail_msg("bit %zu of the chunk may be another", bit);
        assert_memory_equal(out, zero, sizeof out);
        sealed[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    for (size_t bit = 0; bit < 8 * sizeof key; bit++) {
        key[bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_false(crypto_seal_open(out, key, 5, ad, 2, sealed, sizeof sealed));
        key[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    assert_false(crypto_seal_open(out, key, 4, ad, 2, sealed, sizeof sealed));
    assert_false(crypto_seal_open(out, key, 5, ad, 1, sealed, sizeof sealed));
    assert_false(crypto_seal_open(out, key, 5, "at", 2, sealed, sizeof sealed));
    assert_false(crypto_seal_open(out, key, 5, ad, 2, sealed, sizeof sealed - 1));
    assert_false(crypto_seal_open(out, key, 5, ad, 2, sealed, SEAL_TAG_BYTES - 1));
}

static void test_a_box_opens_for_its_key_alone(void **state)
{
    struct person one = person_of(SEED), two = person_of(OTHER_SEED);
    uint8_t box[3 + SEAL_BOX_BYTES], out[3];
    assert_true(crypto_seal_to(box, "abc", 3, one.public_key));
    assert_true(crypto_seal_from(out, box, sizeof box, one.secret_key));
    assert_memory_equal(out, "abc", 3);
    assert_false(crypto_seal_from(out, box, sizeof box, two.secret_key));
    assert_false(crypto_seal_from(out, box, SEAL_BOX_BYTES - 1, one.secret_key));
    for (size_t bit = 0; bit < 8 * sizeof box; bit++) {
        box[bit / 8] ^= (uint8_t)(1 << bit % 8);
        /* the top bit of the ephemeral X25519 key is not part of it, but hashed into the nonce */
        if (crypto_seal_from(out, box, sizeof box, one.secret_key))
            fail_msg("bit %zu of the box may be another", bit);
        box[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    static const uint8_t low_order[ED25519_PUBLIC_BYTES] = {1};
    assert_false(crypto_seal_to(box, "abc", 3, low_order));
}

/* ---- whole files ---- */

static void test_files_come_back_from_every_size(void **state)
{
    static const size_t SIZES[] = {1, SEALED_CHUNK - 1, SEALED_CHUNK, SEALED_CHUNK + 1,
                                   2 * (size_t)SEALED_CHUNK + 77};
    struct person owner = person_of(SEED);
    struct store *s = store_new();
    for (size_t i = 0; i < sizeof SIZES / sizeof *SIZES; i++) {
        size_t n = SIZES[i], leaves = (n + SEALED_CHUNK - 1) / SEALED_CHUNK;
        uint8_t *text = text_new(n), *out = malloc(SEALED_CHUNK);
        struct cid cid = seal(s, text, n, owner.did), plain = cid_of(CID_RAW, text, n);
        struct sealed f;
        uint64_t size;
        assert_ok(sealed_load(s, &cid, &f, err));
        assert_string_equal(f.owner, owner.did);
        assert_ok(sealed_file_size(s, &cid, &size, err));
        assert_int_equal(size, n);
        assert_ok(store_file_size(s, &f.file, &size, err));
        assert_int_equal(size, n + leaves * SEAL_TAG_BYTES);
        for (uint64_t k = leaves; k-- > 0;) {
            assert_ok(sealed_chunk_read(s, &f, KEY, k, out, err));
            assert_memory_equal(out, text + k * SEALED_CHUNK, sealed_chunk_bytes(&f, k));
        }
        assert_false(store_block_has(s, &plain, NULL));
        free(text);
        free(out);
    }
    const struct sealed_source nothing = {.bytes = EMAC_SLICE("", 0)};
    struct cid cid;
    uint64_t size;
    assert_fails(sealed_add(s, &nothing, owner.did, KEY, &cid, &size, err), EMAC_INVALID, "empty");
    store_close(s);
}

static void test_a_file_of_the_disk_comes_back(void **state)
{
    struct person owner = person_of(SEED);
    struct store *s = store_new();
    struct os *os = os_real();
    char in[64], out[72];
    struct emac_buf back;
    size_t n = SEALED_CHUNK + 1000;
    uint8_t *text = text_new(n);
    struct cid cid;
    uint64_t size;
    snprintf(in, sizeof in, "/tmp/emac-test-%ld-sealed", (long)getpid());
    snprintf(out, sizeof out, "%s-out", in);
    assert_ok(os->file_write_fast(os, in, text, n, 0600, err));
    const struct sealed_source from = {.os = os, .path = in};
    assert_ok(sealed_add(s, &from, owner.did, KEY, &cid, &size, err));
    assert_ok(sealed_file_export(s, os, &cid, KEY, out, err));
    emac_buf_init(&back, 4u << 20);
    assert_ok(os->file_read(os, out, &back, err));
    assert_int_equal(back.len, n);
    assert_memory_equal(back.data, text, n);
    unlink(out);
    assert_fails(sealed_file_export(s, os, &cid, OTHER_KEY, out, err), EMAC_INVALID, "sealed");
    assert_int_not_equal(access(out, F_OK), 0); /* nothing half-way is left */
    unlink(in);
    emac_buf_release(&back);
    free(text);
    store_close(s);
}

/* SEALED-1 for files: chunks of another place, of another file, changed, or cut off. */
static void test_files_that_were_changed_do_not_open(void **state)
{
    struct person owner = person_of(SEED);
    struct store *s = store_new();
    size_t n = 2 * (size_t)SEALED_CHUNK;
    uint8_t *text = text_new(n), *cipher, *out = malloc(SEALED_CHUNK);
    struct cid cid = seal(s, text, n, owner.did);
    struct sealed good;
    assert_ok(sealed_load(s, &cid, &good, err));
    assert_true(sealed_key_fits(&good, KEY));
    assert_false(sealed_key_fits(&good, OTHER_KEY));
    assert_fails(sealed_chunk_read(s, &good, OTHER_KEY, 0, out, err), EMAC_INVALID, "sealed");
    for (int i = 0; i < 4; i++) {
        const struct store_value *v;
        struct sealed bad = good;
        assert_ok(emac_alloc_aligned(&cipher, 2 * UNIXFS_CHUNK, err));
        assert_ok(store_file_read(s, &good.file, 0, cipher, 2 * UNIXFS_CHUNK, err));
        size_t size = 2 * UNIXFS_CHUNK;
        if (i == 0) /* one bit */
            cipher[1000] ^= 1;
        else if (i == 1) { /* the second chunk in the place of the first */
            memmove(cipher, cipher + UNIXFS_CHUNK, UNIXFS_CHUNK);
        } else if (i == 2) { /* cut off after the first, and the block says so */
            size = UNIXFS_CHUNK;
            bad.size = SEALED_CHUNK;
        } else /* a size that was not sealed */
            bad.size = n - 1;
        assert_ok(store_value_adopt(s, cipher, size, &v, err));
        bad.file = v->cid;
        assert_fails(sealed_chunk_read(s, &bad, KEY, 0, out, err), EMAC_INVALID, "chunk 0");
        store_value_drop(s, v);
    }
    free(text);
    free(out);
    store_close(s);
}

/* All of a file at once, and its public beginning. */
static void test_files_open_whole_with_what_is_public_of_them(void **state)
{
    struct person owner = person_of(SEED);
    struct store *s = store_new();
    size_t n = SEALED_CHUNK + 1000, size, head = 100;
    uint8_t *text = text_new(n), *plain, *out = malloc(n);
    const struct sealed_source from = {.bytes = EMAC_SLICE(text, n), .head = head};
    struct cid cid, liar;
    struct sealed f;
    struct emac_buf b;
    uint64_t bytes;
    emac_buf_init(&b, 4096);
    assert_ok(sealed_add(s, &from, owner.did, KEY, &cid, &bytes, err));
    assert_ok(sealed_load(s, &cid, &f, err));
    assert_ok(store_file_size(s, &f.head, &bytes, err));
    assert_int_equal(bytes, head);
    assert_ok(store_file_read(s, &f.head, 0, out, head, err));
    assert_memory_equal(out, text, head);
    assert_ok(sealed_probe(s, &cid, KEY, err));
    assert_ok(sealed_open(s, &cid, KEY, n, &plain, &size, err));
    assert_int_equal(size, n);
    assert_memory_equal(plain, text, n);
    sealed_wipe(plain, size);
    assert_fails(sealed_open(s, &cid, KEY, n - 1, &plain, &size, err), EMAC_TOO_LARGE, "have room");
    assert_fails(sealed_open(s, &cid, OTHER_KEY, n, &plain, &size, err), EMAC_FORBIDDEN,
                 "not that");
    assert_true(plain == NULL && size == 0);
    assert_fails(sealed_probe(s, &cid, OTHER_KEY, err), EMAC_FORBIDDEN, "not that");
    for (int i = 0; i < 3; i++) { /* another head; another file's ciphertext; one that was cut */
        struct sealed bad = f;
        struct unixfs_link other = {0};
        assert_ok(store_bytes_add(s, EMAC_SLICE(text + 1, head), &other, err));
        if (i == 0)
            bad.head = other.cid;
        else if (i == 1)
            bad.file = f.head;
        else
            bad.size = n - 1;
        emac_buf_clear(&b);
        assert_ok(sealed_encode(&bad, &b, &liar, err));
        assert_ok(store_block_put_as(s, &liar, b.data, b.len, err));
        static const char *const SAYS[] = {"does not begin with", "ciphertext has",
                                           "ciphertext has"};
        assert_fails(sealed_probe(s, &liar, KEY, err), EMAC_INVALID, SAYS[i]);
        memset(out, 1, n);
        assert_int_not_equal(sealed_read(s, &bad, KEY, out, NULL), EMAC_OK);
        assert_true(out[0] == 0 && out[bad.size - 1] == 0); /* zeros, whatever was opened before */
    }
    emac_buf_release(&b);
    free(text);
    free(out);
    store_close(s);
}

static void test_rings_hold_what_a_task_can_need(void **state)
{
    struct sealed_ring r = {0};
    const uint8_t *key;
    const struct cid a = cid_of(CID_DAG_CBOR, "a", 1), none = cid_of(CID_DAG_CBOR, "-", 1);
    assert_ok(sealed_ring_add(&r, &a, OTHER_KEY, err));
    assert_ok(sealed_ring_add(&r, &a, KEY, err)); /* the later one */
    assert_int_equal(r.count, 1);
    assert_ok(sealed_ring_get(&r, &a, &key, err));
    assert_memory_equal(key, KEY, sizeof KEY);
    assert_fails(sealed_ring_get(&r, &none, &key, err), EMAC_FORBIDDEN, "its key is not here");
    assert_fails(sealed_ring_get(NULL, &a, &key, err), EMAC_FORBIDDEN, "its key is not here");
    for (char c = 'b'; r.count < SEALED_RING_MAX; c++) {
        const struct cid more = cid_of(CID_DAG_CBOR, &c, 1);
        assert_ok(sealed_ring_add(&r, &more, KEY, err));
    }
    assert_fails(sealed_ring_add(&r, &none, KEY, err), EMAC_INVALID, "at most");
    assert_ok(sealed_ring_add(&r, &a, OTHER_KEY, err)); /* a change of one that is there */
    sealed_ring_wipe(&r);
    static const struct sealed_ring EMPTY;
    assert_memory_equal(&r, &EMPTY, sizeof r);
}

/* ---- what comes from strangers ---- */

static void test_blocks_are_checked(void **state)
{
    struct person owner = person_of(SEED);
    struct store *s = store_new();
    struct cid cid = seal(s, (const uint8_t *)"text", 4, owner.did), again, other;
    struct sealed good, out;
    struct emac_buf b;
    assert_ok(sealed_load(s, &cid, &good, err));
    emac_buf_init(&b, 4096);
    assert_ok(sealed_encode(&good, &b, &again, err));
    assert_true(cid_equal(&cid, &again));
    for (size_t n = 0; n < b.len; n++)
        assert_int_not_equal(sealed_decode(&out, b.data, n, NULL), EMAC_OK);
    for (int i = 0; i < 5; i++) {
        struct sealed bad = good;
        if (i == 0)
            bad.file = cid; /* a block is no file */
        else if (i == 4)
            bad.head = cid;
        else if (i == 1)
            bad.size = 0;
        else if (i == 2)
            bad.size = SEALED_SIZE_MAX + 1;
        else
            set_text(bad.owner, "me");
        if (sealed_encode(&bad, &b, NULL, NULL) != EMAC_INVALID)
            fail_msg("block %d was taken", i);
    }
    assert_ok(store_block_put(s, CID_RAW, "text", 4, &other, err));
    assert_fails(sealed_load(s, &other, &out, err), EMAC_INVALID, "not a sealed file");
    other = cid_of(CID_DAG_CBOR, "\xa0", 1);
    assert_fails(sealed_load(s, &other, &out, err), EMAC_NOT_FOUND, "");
    assert_ok(store_block_put(s, CID_DAG_CBOR, "\xa0", 1, &other, err));
    assert_int_equal(sealed_load(s, &other, &out, NULL), EMAC_INVALID); /* as a data set is */
    assert_fails(sealed_load(s, &other, &out, err), EMAC_INVALID, "");
    emac_buf_release(&b);
    store_close(s);
}

/* SEALED-2 */
static void test_keys_are_for_one_asset_and_purpose(void **state)
{
    struct person rig = person_of(SEED), other = person_of(OTHER_SEED);
    struct sealed_key k = {.asset = cid_of(CID_DAG_CBOR, "a", 1), .purpose = "lease-1"}, out;
    const struct cid wrong = cid_of(CID_DAG_CBOR, "b", 1);
    struct emac_buf box;
    memcpy(k.key, KEY, sizeof k.key);
    emac_buf_init(&box, SEALED_BOX_MAX);
    assert_ok(sealed_key_box(&k, rig.did, &box, err));
    assert_ok(sealed_key_open(&out, box.data, box.len, rig.secret_key, &k.asset, "lease-1", err));
    assert_memory_equal(out.key, KEY, sizeof KEY);
    assert_fails(sealed_key_open(&out, box.data, box.len, rig.secret_key, &k.asset, "lease-2", err),
                 EMAC_FORBIDDEN, "not meant");
    static const uint8_t zero[SEAL_KEY_BYTES];
    assert_memory_equal(out.key, zero, sizeof zero); /* nothing is left of what did not fit */
    assert_fails(sealed_key_open(&out, box.data, box.len, rig.secret_key, &wrong, "lease-1", err),
                 EMAC_FORBIDDEN, "not meant");
    assert_fails(
        sealed_key_open(&out, box.data, box.len, other.secret_key, &k.asset, "lease-1", err),
        EMAC_FORBIDDEN, "not meant");
    for (size_t n = 0; n < box.len; n++)
        assert_fails(sealed_key_open(&out, box.data, n, rig.secret_key, &k.asset, "lease-1", err),
                     EMAC_FORBIDDEN, "not meant");
    assert_fails(sealed_key_box(&k, "did:key:zNobody", &box, err), EMAC_INVALID, "nothing can be");
    emac_buf_release(&box);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_chunk_opens_as_it_was_or_not_at_all),
        cmocka_unit_test(test_a_box_opens_for_its_key_alone),
        cmocka_unit_test(test_files_come_back_from_every_size),
        cmocka_unit_test(test_a_file_of_the_disk_comes_back),
        cmocka_unit_test(test_files_that_were_changed_do_not_open),
        cmocka_unit_test(test_files_open_whole_with_what_is_public_of_them),
        cmocka_unit_test(test_rings_hold_what_a_task_can_need),
        cmocka_unit_test(test_blocks_are_checked),
        cmocka_unit_test(test_keys_are_for_one_asset_and_purpose),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
