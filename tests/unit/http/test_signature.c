/* RFC 9421 against its own published example, then the policy: each single defect is refused. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hex.h"
#include "base/philox.h"
#include "http/signature.h"

#define OK(call) assert_int_equal(call, EMAC_OK)
#define NOW_MS   UINT64_C(1700000000000)

static uint64_t fixed_wall(struct os *os)
{
    return NOW_MS;
}

static void counted_entropy(struct os *os, void *out, size_t n)
{
    uint64_t *calls = os->ctx;
    memset(out, 0, n);
    memcpy(out, calls, n < 8 ? n : 8);
    (*calls)++;
}

/* Appendix B.1.4 (key) and B.2.6 (message, base, signature). */
static void test_rfc9421_b26(void **state)
{
    uint8_t seed[33], key[33], public_key[32], secret[64], want[66], sig[64];
    size_t n = sizeof seed;
    assert_true(emac_unbase64(seed, &n, "n4Ni+HpISpVObnQMW0wOhCKROaIKqKtW/2ZYb2p9KcU=", 44));
    n = sizeof key;
    assert_true(emac_unbase64(key, &n, "JrQLj5P/89iXES9+vFgrIy29clF9CC/oPPsw3c5D0bs=", 44));
    crypto_ed25519_keypair(public_key, secret, seed);
    assert_memory_equal(public_key, key, 32);

    struct http_headers h = {0};
    http_header_add(&h, "Host", "example.com");
    http_header_add(&h, "Date", "Tue, 20 Apr 2021 02:07:55 GMT");
    http_header_add(&h, "Content-Type", "application/json");
    http_header_add(&h, "Content-Length", "18");
    const struct http_signed_message m = {"POST", "http://example.com/foo?param=Value&Pet=dog",
                                          "example.com", "/foo?param=Value&Pet=dog", &h};
    struct arena arena;
    struct http_signature_input in;
    struct emac_buf base;
    struct emac_err err = {0};
    arena_init(&arena, 1 << 20);
    emac_buf_init(&base, 4096);
    assert_int_equal(http_signature_input_parse(
                         &arena,
                         "sig-b26=(\"date\" \"@method\" \"@path\" \"@authority\" \"content-type\" "
                         "\"content-length\");created=1618884473;keyid=\"test-key-ed25519\"",
                         &in, &err),
                     EMAC_OK);
    assert_string_equal(in.label, "sig-b26");
    assert_int_equal(in.created, 1618884473);
    assert_int_equal(in.expires, -1);
    assert_int_equal(http_signature_base(&m, &in, &base, &err), EMAC_OK);
    assert_string_equal(emac_buf_str(&base),
                        "\"date\": Tue, 20 Apr 2021 02:07:55 GMT\n"
                        "\"@method\": POST\n"
                        "\"@path\": /foo\n"
                        "\"@authority\": example.com\n"
                        "\"content-type\": application/json\n"
                        "\"content-length\": 18\n"
                        "\"@signature-params\": (\"date\" \"@method\" \"@path\" \"@authority\" "
                        "\"content-type\" \"content-length\");created=1618884473"
                        ";keyid=\"test-key-ed25519\"");
    assert_int_equal(http_signature_parse("sig-b26=:wqcAqbmYJ2ji2glfAMaRy4gruYYnx2nEFN2HN6jrnDnQCK1"
                                          "u02Gb04v9EDgwUPiu4A0w6vuQv5lIp5WPpBKRCw==:",
                                          "sig-b26", ED25519_SIGNATURE_BYTES, want, &err),
                     EMAC_OK);
    crypto_ed25519_sign(sig, base.data, base.len, secret);
    assert_memory_equal(sig, want, 64);
    assert_true(crypto_ed25519_verify(want, base.data, base.len, key));
    emac_buf_release(&base);
    arena_release(&arena);
}

/* ---- the policy ---- */

struct fixture {
    struct os os;
    uint64_t calls;
    uint8_t secret[64];
    char did[DID_KEY_MAX], did_out[DID_KEY_MAX];
    struct http_signer signer;
    struct arena arena;
    struct http_request req;
    struct emac_err err;
};

static void fixture_init(struct fixture *f)
{
    uint8_t seed[32] = {7}, public_key[32];
    memset(f, 0, sizeof *f);
    f->os = (struct os){.ctx = &f->calls, .wall_ms = fixed_wall, .entropy = counted_entropy};
    crypto_ed25519_keypair(public_key, f->secret, seed);
    crypto_did_key(f->did, public_key);
    f->signer = (struct http_signer){&f->os, f->did, f->secret};
    arena_init(&f->arena, 4 << 20);
}

static void message(struct fixture *f, const char *method, const char *target, const char *body)
{
    char url[256];
    f->req = (struct http_request){.method = method,
                                   .target = target,
                                   .path = target,
                                   .authority = "node.example:8080",
                                   .query = "",
                                   .arena = &f->arena,
                                   .body = EMAC_SLICE(body, strlen(body))};
    snprintf(url, sizeof url, "http://%s%s", f->req.authority, target);
    assert_int_equal(http_sign(&f->signer, method, url, f->req.authority, f->req.body, &f->arena,
                               &f->req.headers, &f->err),
                     EMAC_OK);
    if (f->req.body.len > 0) {
        char n[24];
        snprintf(n, sizeof n, "%zu", f->req.body.len);
        http_header_add(&f->req.headers, "Content-Length", arena_strndup(&f->arena, n, strlen(n)));
    }
}

static enum emac_status check(struct fixture *f, uint64_t now_ms)
{
    return http_verify(&f->req, now_ms, NULL, f->did_out, &f->err);
}

static void refuse(struct fixture *f, const char *why)
{
    f->err = (struct emac_err){0};
    assert_int_equal(check(f, NOW_MS), EMAC_UNAUTHORIZED);
    if (strstr(f->err.text, why) == NULL)
        print_message("wanted '%s', got '%s'\n", why, f->err.text);
    assert_non_null(strstr(f->err.text, why));
    assert_int_equal(f->err.status, EMAC_UNAUTHORIZED);
    assert_string_equal(f->did_out, "");
}

static void header_set(struct fixture *f, const char *name, const char *value)
{
    struct http_headers *h = &f->req.headers;
    for (size_t i = 0; i < h->count; i++) {
        if (strcmp(h->at[i].name, name) == 0) {
            if (value != NULL)
                h->at[i].value = value;
            else
                h->at[i] = h->at[--h->count];
            return;
        }
    }
    http_header_add(h, name, value);
}

static void test_round_trip(void **state)
{
    struct fixture f;
    fixture_init(&f);
    message(&f, "GET", "/v1/x?a=1", "");
    assert_int_equal(f.req.headers.count, 2);
    assert_int_equal(check(&f, NOW_MS), EMAC_OK);
    assert_string_equal(f.did_out, f.did);
    message(&f, "POST", "/v1/x", "{\"a\": 1}");
    assert_int_equal(f.req.headers.count, 4);
    assert_int_equal(check(&f, NOW_MS), EMAC_OK);
    /* The host's letters and the scheme's own port do not matter; a changed body does. */
    f.req.authority = "NODE.example:8080";
    assert_int_equal(check(&f, NOW_MS), EMAC_OK);
    f.req.body = EMAC_SLICE_STR("{\"a\": 2}");
    refuse(&f, "content-digest differs");
    arena_release(&f.arena);
}

static void test_changed(void **state)
{
    struct fixture f;
    fixture_init(&f);
    message(&f, "POST", "/v1/x", "body");
    f.req.method = "PUT";
    refuse(&f, "does not fit");
    message(&f, "POST", "/v1/x", "body");
    f.req.target = "/v1/y";
    refuse(&f, "does not fit");
    message(&f, "POST", "/v1/x", "body");
    f.req.authority = "other.example:8080";
    refuse(&f, "does not fit");
    f.req.authority = "node.example:8080/v1";
    f.req.target = "/x";
    refuse(&f, "is not a host");
    f.req.authority = "";
    refuse(&f, "no host");
    message(&f, "POST", "/v1/x", "body");
    header_set(&f, "X-Forwarded-Proto", "https"); /* signed as http */
    refuse(&f, "does not fit");
    message(&f, "POST", "/v1/x", "body");
    header_set(&f, "Content-Length", "5");
    refuse(&f, "does not fit");
    /* A digest beside the signature but not under it. */
    message(&f, "GET", "/v1/x", "");
    header_set(&f, "Content-Digest", "sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:");
    refuse(&f, "does not cover 'content-digest'");
    message(&f, "GET", "/v1/x", "");
    f.req.body = EMAC_SLICE_STR("slipped in");
    refuse(&f, "does not cover 'content-digest'");
    arena_release(&f.arena);
}

static void test_headers(void **state)
{
    struct fixture f;
    fixture_init(&f);
    const char *names[] = {"Signature", "Signature-Input", "Content-Digest", "Content-Length"};
    for (size_t i = 0; i < 4; i++) {
        message(&f, "POST", "/v1/x", "body");
        header_set(&f, names[i], NULL);
        f.err = (struct emac_err){0};
        assert_int_equal(check(&f, NOW_MS), EMAC_UNAUTHORIZED);
        message(&f, "POST", "/v1/x", "body");
        http_header_add(&f.req.headers, names[i], http_header_get(&f.req.headers, names[i]));
        assert_int_equal(check(&f, NOW_MS), EMAC_UNAUTHORIZED);
    }
    message(&f, "GET", "/v1/x", "");
    header_set(&f, "Signature", "sig2=:AAAA:");
    refuse(&f, "no 'sig1'");
    header_set(&f, "Signature", "sig1=:AAAA:");
    refuse(&f, "64 bytes");
    arena_release(&f.arena);
}

/* Composes, signs with the fixture's key, and puts any signature-input. */
static void sign_as(struct fixture *f, const char *input)
{
    struct http_signature_input in;
    struct emac_buf base;
    uint8_t sig[64];
    char b64[EMAC_BASE64_LEN(64) + 1], text[128];
    message(f, "GET", "/v1/x", "");
    header_set(f, "Signature-Input", input);
    emac_buf_init(&base, 4096);
    assert_int_equal(http_signature_input_parse(&f->arena, input, &in, &f->err), EMAC_OK);
    const struct http_signed_message m = {"GET", "http://node.example:8080/v1/x",
                                          "node.example:8080", "/v1/x", &f->req.headers};
    assert_int_equal(http_signature_base(&m, &in, &base, &f->err), EMAC_OK);
    crypto_ed25519_sign(sig, base.data, base.len, f->secret);
    emac_base64(b64, sig, 64);
    snprintf(text, sizeof text, "%s=:%s:", in.label, b64);
    header_set(f, "Signature", arena_strndup(&f->arena, text, strlen(text)));
    emac_buf_release(&base);
}

static const char *input(struct fixture *f, const char *list, int64_t created, int64_t expires,
                         const char *more)
{
    char text[1024];
    snprintf(text, sizeof text, "s=(%s);created=%lld;expires=%lld;keyid=\"%s\"%s", list,
             (long long)created, (long long)expires, f->did, more);
    return arena_strndup(&f->arena, text, strlen(text));
}

static void test_parameters(void **state)
{
    static const char ALL[] = "\"@target-uri\" \"@method\" \"@authority\"";
    static const char GOOD[] = ";nonce=\"12345678\";alg=\"ed25519\"";
    const int64_t now = (int64_t)(NOW_MS / 1000);
    const struct {
        const char *list, *more;
        int64_t created, expires;
        const char *why; /* NULL: accepted */
    } cases[] = {
        {ALL, GOOD, now, now + 300, NULL},
        {ALL, GOOD, now + 60, now + 70, NULL},
        {ALL, GOOD, now - 299, now + 1, NULL},
        {"\"@method\" \"@target-uri\" \"@authority\" \"@path\" \"@query\"", GOOD, now, now + 9,
         NULL},
        {ALL, GOOD, now + 61, now + 70, "in the future"},
        {ALL, GOOD, now - 300, now, "expired 0 s ago"},
        {ALL, GOOD, now, now + 301, "life"},
        {ALL, GOOD, now + 10, now + 10, "life"},
        {ALL, GOOD, now + 10, now + 5, "life"},
        {"\"@target-uri\" \"@authority\"", GOOD, now, now + 9, "cover '@method'"},
        {"\"@method\" \"@authority\"", GOOD, now, now + 9, "cover '@target-uri'"},
        {"\"@method\" \"@target-uri\"", GOOD, now, now + 9, "cover '@authority'"},
        {"", GOOD, now, now + 9, "cover '@method'"},
        {ALL, ";nonce=\"12345678\"", now, now + 9, "alg"},
        {ALL, ";nonce=\"12345678\";alg=\"hmac-sha256\"", now, now + 9, "alg"},
        {ALL, ";alg=\"ed25519\"", now, now + 9, "nonce"},
        {ALL, ";nonce=\"1234567\";alg=\"ed25519\"", now, now + 9, "nonce"},
    };
    struct fixture f;
    fixture_init(&f);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        sign_as(&f, input(&f, cases[i].list, cases[i].created, cases[i].expires, cases[i].more));
        if (cases[i].why == NULL)
            assert_int_equal(check(&f, NOW_MS), EMAC_OK);
        else
            refuse(&f, cases[i].why);
    }
    sign_as(&f, "s=(\"@method\" \"@target-uri\" \"@authority\");created=1700000000;"
                "expires=1700000100;nonce=\"12345678\";keyid=\"me\";alg=\"ed25519\"");
    refuse(&f, "did:key");
    sign_as(&f, "s=(\"@method\" \"@target-uri\" \"@authority\");created=1700000000");
    refuse(&f, "no expires");
    arena_release(&f.arena);
}

static void test_grammar(void **state)
{
    static const char *const BAD[] = {
        "",
        "=",
        "s",
        "s=",
        "s=(",
        "s=()x",
        "S=()",
        "s=( )",
        "s=(\"a\"  \"b\")",
        "s=(\"a\" )",
        "s=( \"a\")",
        "s=(\"a\"\"b\")",
        "s=(a)",
        "s=(\"A\")",
        "s=(\"a b\")",
        "s=(\"\")",
        "s=(\"@status\")",
        "s=(\"a\" \"a\")",
        "s=(\"a\";req)",
        "s=(\"a\\\"b\")",
        "s=(\"a)",
        "s=();created",
        "s=();created=",
        "s=();created=01",
        "s=();created=-1",
        "s=();created=1;created=1",
        "s=();created=1234567890123456",
        "s=();created=\"1\"",
        "s=();nonce=1",
        "s=();nonce=\"a\\\\\"",
        "s=();nonce=\"a\"; keyid=\"b\"",
        "s=();tag=\"x\"",
        "s=();;",
        "s=() ;created=1",
        "s=(), t=()",
        "s=();created=1,t=()",
        " s=()",
        "s=() ",
        "s=();nonce=\"\x7f\"",
        "s=();nonce=\"\t\"",
        "s=();keyid=\"a\";keyid=\"b\"",
        "s=(\"a\" \"b\" \"c\" \"d\" \"e\" \"f\" \"g\" \"h\" \"i\" \"j\" \"k\" \"l\" \"m\" \"n\""
        " \"o\" \"p\" \"q\")",
    };
    struct arena a;
    struct http_signature_input in;
    struct emac_err err;
    arena_init(&a, 1 << 20);
    for (size_t i = 0; i < sizeof BAD / sizeof BAD[0]; i++) {
        if (http_signature_input_parse(&a, BAD[i], &in, &err) != EMAC_INVALID)
            print_message("accepted: %s\n", BAD[i]);
        assert_int_equal(http_signature_input_parse(&a, BAD[i], &in, &err), EMAC_INVALID);
    }
    assert_int_equal(http_signature_input_parse(&a, "*a-1.b=();created=0", &in, &err), EMAC_OK);
    assert_int_equal(in.created, 0);
    assert_string_equal(in.params, "();created=0");
    char *longer = calloc(1, 5000);
    memset(longer, 'a', 4999);
    assert_int_equal(http_signature_input_parse(&a, longer, &in, &err), EMAC_INVALID);
    free(longer);
    arena_release(&a);
}

static void test_digest(void **state)
{
    static const char EMPTY[] = "sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:";
    uint8_t got[32], want[32];
    char text[256];
    struct emac_err err;
    crypto_sha256(want, "", 0);
    assert_int_equal(http_content_digest_parse(EMPTY, got, &err), EMAC_OK);
    assert_memory_equal(got, want, 32);
    snprintf(text, sizeof text, "sha-512=:AAAA:, %s, x=::", EMPTY);
    assert_int_equal(http_content_digest_parse(text, got, &err), EMAC_OK);
    snprintf(text, sizeof text, "%s, %s", EMPTY, EMPTY);
    assert_int_equal(http_content_digest_parse(text, got, &err), EMAC_INVALID);
    static const char *const BAD[] = {"",
                                      "sha-256",
                                      "sha-256=",
                                      "sha-256=:",
                                      "sha-256=::",
                                      "sha-256=:AAAA:",
                                      "sha-512=:AAAA:",
                                      "a=:AAAA:,",
                                      "sha-256=:A:",
                                      "a=::, a=::, a=::, a=::, a=::, a=::, a=::, a=::, a=::"};
    for (size_t i = 0; i < sizeof BAD / sizeof BAD[0]; i++)
        assert_int_equal(http_content_digest_parse(BAD[i], got, &err), EMAC_INVALID);
    snprintf(text, sizeof text, "%s ", EMPTY);
    assert_int_equal(http_content_digest_parse(text, got, &err), EMAC_INVALID);
}

/* Signed, but said wrong: the length. */
static void test_wrong_length(void **state)
{
    struct fixture f;
    fixture_init(&f);
    message(&f, "POST", "/v1/x", "body");
    struct http_signature_input in;
    struct emac_buf base;
    uint8_t sig[64];
    char b64[EMAC_BASE64_LEN(64) + 1], text[128];
    header_set(&f, "Content-Length", "04");
    OK(http_signature_input_parse(&f.arena, http_header_get(&f.req.headers, "signature-input"), &in,
                                  &f.err));
    emac_buf_init(&base, 4096);
    const struct http_signed_message m = {"POST", "http://node.example:8080/v1/x",
                                          "node.example:8080", "/v1/x", &f.req.headers};
    OK(http_signature_base(&m, &in, &base, &f.err));
    crypto_ed25519_sign(sig, base.data, base.len, f.secret);
    emac_base64(b64, sig, 64);
    snprintf(text, sizeof text, "sig1=:%s:", b64);
    header_set(&f, "Signature", text);
    refuse(&f, "content-length '04' differs");
    emac_buf_release(&base);
    arena_release(&f.arena);
}

/* One bit of any of the three headers flipped: never accepted. Replays with the printed seed. */
static void test_bit_flips(void **state)
{
    const uint64_t seed = 20240607;
    struct fixture f;
    fixture_init(&f);
    print_message("seed %llu\n", (unsigned long long)seed);
    for (uint64_t i = 0; i < 3000; i++) {
        message(&f, "POST", "/v1/x?y=z", "body");
        size_t h = (size_t)philox_below(seed, PHILOX_TEST, 0, i, 4);
        char *value =
            arena_strndup(&f.arena, f.req.headers.at[h].value, strlen(f.req.headers.at[h].value));
        size_t at = (size_t)philox_below(seed, PHILOX_TEST, 1, i, strlen(value));
        value[at] ^= (char)(1 << philox_below(seed, PHILOX_TEST, 2, i, 7));
        f.req.headers.at[h].value = value;
        assert_int_equal(check(&f, NOW_MS), EMAC_UNAUTHORIZED);
        arena_release(&f.arena);
        arena_init(&f.arena, 4 << 20);
    }
    arena_release(&f.arena);
}

/* ---- shared keys ---- */

/* RFC 9421, appendix B.2.5. */
static void test_rfc9421_b25(void **state)
{
    static const char BASE[] = "\"date\": Tue, 20 Apr 2021 02:07:55 GMT\n"
                               "\"@authority\": example.com\n"
                               "\"content-type\": application/json\n"
                               "\"@signature-params\": (\"date\" \"@authority\" \"content-type\")"
                               ";created=1618884473;keyid=\"test-shared-secret\"";
    uint8_t secret[66], want[SHA256_BYTES + 4], mac[SHA256_BYTES];
    size_t n = sizeof secret;
    struct emac_err err = {0};
    assert_true(emac_unbase64(secret, &n,
                              "uzvJfB4u3N0Jy4T7NZ75MDVcr8zSTInedJtkgcu46YW4XByzNJjxBdtjUkdJPBtb"
                              "mHhIDi6pcl8jsasjlTMtDQ==",
                              88));
    OK(http_signature_parse("sig-b25=:pxcQw6G3AjtMBQjwo8XzkZf/bws5LelbaMk5rGIGtE8=:", "sig-b25",
                            SHA256_BYTES, want, &err));
    crypto_hmac_sha256(mac, secret, n, BASE, strlen(BASE));
    assert_memory_equal(mac, want, SHA256_BYTES);
}

static bool key_of(void *ctx, const char *id, uint64_t now_ms, uint8_t key[HTTP_MAC_KEY_BYTES],
                   char did[DID_KEY_MAX])
{
    const struct http_mac *known = ctx;
    if (strcmp(id, known->id) != 0 || now_ms >= NOW_MS + 1000)
        return false;
    memcpy(key, known->key, HTTP_MAC_KEY_BYTES);
    snprintf(did, DID_KEY_MAX, "did:key:somebody");
    return true;
}

static void test_shared_key(void **state)
{
    struct fixture f;
    struct http_mac mac = {.id = "somebody#1", .key = {1, 2, 3}}, known = mac;
    const struct http_mac_keys keys = {key_of, &known};
    struct nonce_cache *c = nonce_cache_new();
    fixture_init(&f);
    f.signer.mac = &mac;
    const struct {
        const char *what;
        uint8_t change; /* of the server's key */
        const char *id; /* that the server knows */
        const char *header, *value;
        uint64_t later_ms;
        const char *why; /* NULL: it is accepted */
    } cases[] = {
        {"as it should be", 0, "somebody#1", NULL, NULL, 0, NULL},
        {"another key", 1, "somebody#1", NULL, NULL, 0, "does not fit"},
        {"nobody's", 0, "somebody#2", NULL, NULL, 0, "no shared key"},
        {"over", 0, "somebody#1", NULL, NULL, 1000, "no shared key"},
        {"another body", 0, "somebody#1", "Content-Length", "5", 0, "does not fit"},
        {"no signature", 0, "somebody#1", "Signature", "sig1=:AAAA:", 0, "32 bytes"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        print_message("%s\n", cases[i].what);
        known.key[5] = cases[i].change;
        snprintf(known.id, sizeof known.id, "%s", cases[i].id);
        message(&f, "POST", "/v1/x", "body");
        if (cases[i].header != NULL)
            header_set(&f, cases[i].header, cases[i].value);
        enum emac_status st =
            http_verify_shared(&f.req, NOW_MS + cases[i].later_ms, c, &keys, f.did_out, &f.err);
        assert_int_equal(st, cases[i].why == NULL ? EMAC_OK : EMAC_UNAUTHORIZED);
        assert_string_equal(f.did_out, cases[i].why == NULL ? "did:key:somebody" : "");
        if (cases[i].why != NULL)
            assert_non_null(strstr(f.err.text, cases[i].why));
    }
    known = mac;
    message(&f, "POST", "/v1/x", "body");
    OK(http_verify_shared(&f.req, NOW_MS, c, &keys, f.did_out, &f.err));
    assert_int_equal(http_verify_shared(&f.req, NOW_MS, c, &keys, f.did_out, &f.err),
                     EMAC_UNAUTHORIZED);
    assert_non_null(strstr(f.err.text, "came before"));
    refuse(&f, "alg must be 'ed25519'"); /* where no keys are shared */
    f.signer.mac = NULL;
    message(&f, "POST", "/v1/x", "body");
    OK(http_verify_shared(&f.req, NOW_MS, c, &keys, f.did_out, &f.err));
    assert_string_equal(f.did_out, f.did);
    nonce_cache_free(c);
    arena_release(&f.arena);
}

/* ---- nonces ---- */

static void test_replay(void **state)
{
    struct fixture f;
    struct nonce_cache *c = nonce_cache_new();
    fixture_init(&f);
    message(&f, "GET", "/v1/x", "");
    assert_int_equal(http_verify(&f.req, NOW_MS, c, f.did_out, &f.err), EMAC_OK);
    assert_int_equal(http_verify(&f.req, NOW_MS + 1000, c, f.did_out, &f.err), EMAC_UNAUTHORIZED);
    assert_non_null(strstr(f.err.text, "came before"));
    assert_int_equal(http_verify(&f.req, NOW_MS + 299000, c, f.did_out, &f.err), EMAC_UNAUTHORIZED);
    assert_int_equal(http_verify(&f.req, NOW_MS + 300000, c, f.did_out, &f.err), EMAC_UNAUTHORIZED);
    assert_non_null(strstr(f.err.text, "expired"));
    /* A bad signature does not use the nonce up. */
    message(&f, "GET", "/v1/x", "");
    f.req.method = "PUT";
    assert_int_equal(http_verify(&f.req, NOW_MS, c, f.did_out, &f.err), EMAC_UNAUTHORIZED);
    f.req.method = "GET";
    assert_int_equal(http_verify(&f.req, NOW_MS, c, f.did_out, &f.err), EMAC_OK);
    nonce_cache_not_before(c, NOW_MS + 1);
    message(&f, "GET", "/v1/x", "");
    assert_int_equal(http_verify(&f.req, NOW_MS, c, f.did_out, &f.err), EMAC_UNAUTHORIZED);
    assert_non_null(strstr(f.err.text, "before this server started"));
    nonce_cache_free(c);
    arena_release(&f.arena);
}

/* A nonce may come again once its first use has expired. */
static void test_cache_forgets(void **state)
{
    struct nonce_cache *c = nonce_cache_new();
    struct emac_err err;
    OK(nonce_cache_add(c, "did", "n", 0, 2000, 1000, &err));
    assert_int_equal(nonce_cache_add(c, "did", "n", 0, 4000, 1999, &err), EMAC_UNAUTHORIZED);
    OK(nonce_cache_add(c, "did", "n", 0, 4000, 2000, &err));
    assert_int_equal(nonce_cache_add(c, "did", "n", 0, 5000, 3999, &err), EMAC_UNAUTHORIZED);
    OK(nonce_cache_add(c, "di", "d n", 0, 5000, 3999, &err)); /* other halves, other nonce */
    nonce_cache_free(c);
    nonce_cache_free(NULL);
}

/* Fills the cache, sees it refuse, and sees room come back as entries expire. */
static void test_cache_bounds(void **state)
{
    struct nonce_cache *c = nonce_cache_new();
    struct emac_err err;
    char nonce[32];
    for (uint32_t i = 0; i < NONCE_CACHE_MAX; i++) {
        snprintf(nonce, sizeof nonce, "nonce-%u", i);
        uint64_t expires = i < 1000 ? 5000 : 9000;
        assert_int_equal(nonce_cache_add(c, "did", nonce, 0, expires, 1000, &err), EMAC_OK);
    }
    assert_int_equal(nonce_cache_add(c, "did", "more", 0, 9000, 1000, &err), EMAC_BUSY);
    assert_int_equal(nonce_cache_add(c, "did", "nonce-77", 0, 9000, 4999, &err), EMAC_UNAUTHORIZED);
    for (uint32_t i = 0; i < 1000; i++) {
        snprintf(nonce, sizeof nonce, "more-%u", i);
        assert_int_equal(nonce_cache_add(c, "did", nonce, 0, 9000, 5000, &err), EMAC_OK);
    }
    assert_int_equal(nonce_cache_add(c, "did", "too many", 0, 9000, 5000, &err), EMAC_BUSY);
    assert_int_equal(nonce_cache_add(c, "did", "nonce-5000", 0, 9000, 5000, &err),
                     EMAC_UNAUTHORIZED);
    assert_int_equal(nonce_cache_add(c, "another", "nonce-5000", 0, 19000, 9000, &err), EMAC_OK);
    assert_int_equal(nonce_cache_add(c, "did", "nonce-5000", 0, 19000, 9000, &err), EMAC_OK);
    nonce_cache_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rfc9421_b26),  cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_changed),      cmocka_unit_test(test_headers),
        cmocka_unit_test(test_parameters),   cmocka_unit_test(test_grammar),
        cmocka_unit_test(test_digest),       cmocka_unit_test(test_bit_flips),
        cmocka_unit_test(test_wrong_length), cmocka_unit_test(test_rfc9421_b25),
        cmocka_unit_test(test_shared_key),   cmocka_unit_test(test_replay),
        cmocka_unit_test(test_cache_bounds), cmocka_unit_test(test_cache_forgets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
