#include "http/signature.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/assert.h"
#include "base/hex.h"

#define LABEL           "sig1"
#define NONCE_BYTES     16
#define NONCE_TEXT_MIN  8
#define NONCE_TEXT_MAX  64
#define BASE_MAX        (64u << 10)
#define HEADER_TEXT_MAX 1024
#define MS_PER_S        1000

static const char ALG_KEY[] = "ed25519", ALG_MAC[] = "hmac-sha256";
static const char COVERED[] = "\"@method\" \"@target-uri\" \"@authority\"";
static const char COVERED_BODY[] =
    "\"@method\" \"@target-uri\" \"@authority\" \"content-digest\" \"content-length\"";

/* ---- signing ---- */

static enum emac_status header_put(struct arena *a, struct http_headers *h, const char *name,
                                   const char *value, struct emac_err *err)
{
    const char *copy = arena_strndup(a, value, strlen(value));
    if (copy == NULL)
        return emac_fail(err, EMAC_NO_MEMORY, "out of memory for header '%s'", name);
    if (!http_header_add(h, name, copy))
        return emac_fail(err, EMAC_INVALID, "a request takes at most %d headers", HTTP_HEADERS_MAX);
    return EMAC_OK;
}

static enum emac_status digest_put(struct emac_slice body, struct arena *a, struct http_headers *h,
                                   struct emac_err *err)
{
    uint8_t digest[SHA256_BYTES];
    char b64[EMAC_BASE64_LEN(SHA256_BYTES) + 1], text[80];
    crypto_sha256(digest, body.data, body.len);
    emac_base64(b64, digest, sizeof digest);
    snprintf(text, sizeof text, "sha-256=:%s:", b64);
    return header_put(a, h, "Content-Digest", text, err);
}

/* "sig1=(...);created=...;expires=...;nonce="...";keyid="...";alg="ed25519"" */
static void input_compose(const struct http_signer *signer, bool body, char *out, size_t cap)
{
    uint8_t nonce[NONCE_BYTES];
    char b64[EMAC_BASE64_LEN(NONCE_BYTES) + 1];
    signer->os->entropy(signer->os, nonce, sizeof nonce);
    emac_base64(b64, nonce, sizeof nonce);
    uint64_t created = signer->os->wall_ms(signer->os) / MS_PER_S;
    int n = snprintf(out, cap,
                     LABEL "=(%s);created=%llu;expires=%llu;nonce=\"%s\";keyid=\"%s\";"
                           "alg=\"%s\"",
                     body ? COVERED_BODY : COVERED, (unsigned long long)created,
                     (unsigned long long)(created + HTTP_SIGNATURE_LIFE_S), b64,
                     signer->mac != NULL ? signer->mac->id : signer->did,
                     signer->mac != NULL ? ALG_MAC : ALG_KEY);
    EMAC_ASSERT(n > 0 && (size_t)n < cap);
}

enum emac_status http_sign(const struct http_signer *signer, const char *method, const char *url,
                           const char *authority, struct emac_slice body, struct arena *arena,
                           struct http_headers *headers, struct emac_err *err)
{
    enum emac_status st;
    struct http_signature_input in;
    char text[HEADER_TEXT_MAX], length[24], b64[EMAC_BASE64_LEN(ED25519_SIGNATURE_BYTES) + 1];
    uint8_t sig[ED25519_SIGNATURE_BYTES];
    struct emac_buf base;
    emac_buf_init(&base, BASE_MAX);
    if (body.len > 0)
        EMAC_TRY(st, digest_put(body, arena, headers, err));
    input_compose(signer, body.len > 0, text, sizeof text);
    EMAC_TRY(st, http_signature_input_parse(arena, text, &in, err));
    EMAC_TRY(st, header_put(arena, headers, "Signature-Input", text, err));
    /* Content-Length is written by whoever sends; it is signed as it will be. */
    struct http_headers signed_headers = {0};
    snprintf(length, sizeof length, "%zu", body.len);
    http_header_add(&signed_headers, "content-length", length);
    if (body.len > 0)
        http_header_add(&signed_headers, "content-digest",
                        http_header_get(headers, "content-digest"));
    const struct http_signed_message m = {method, url, authority, "/", &signed_headers};
    EMAC_TRY(st, http_signature_base(&m, &in, &base, err));
    size_t n = signer->mac != NULL ? SHA256_BYTES : ED25519_SIGNATURE_BYTES;
    if (signer->mac != NULL)
        crypto_hmac_sha256(sig, signer->mac->key, HTTP_MAC_KEY_BYTES, base.data, base.len);
    else
        crypto_ed25519_sign(sig, base.data, base.len, signer->secret_key);
    emac_base64(b64, sig, n);
    snprintf(text, sizeof text, LABEL "=:%s:", b64);
    st = header_put(arena, headers, "Signature", text, err);
out:
    emac_buf_release(&base);
    return st;
}

/* ---- verifying ---- */

/* Every failure of a signature is UNAUTHORIZED, but lack of memory and a full cache. */
static enum emac_status unauthorized(struct emac_err *err, enum emac_status st)
{
    if (st == EMAC_OK || st == EMAC_NO_MEMORY || st == EMAC_BUSY)
        return st;
    if (err != NULL)
        err->status = EMAC_UNAUTHORIZED;
    return EMAC_UNAUTHORIZED;
}

/* The value of a header that must be there once. */
static enum emac_status header_once(const struct http_headers *h, const char *name,
                                    const char **out, struct emac_err *err)
{
    size_t n = 0;
    for (size_t i = 0; i < h->count; i++)
        n += strcasecmp(h->at[i].name, name) == 0;
    if (n == 0)
        return emac_fail(err, EMAC_INVALID, "the request is not signed: it has no %s header", name);
    if (n > 1)
        return emac_fail(err, EMAC_INVALID, "the request has more than one %s header", name);
    *out = http_header_get(h, name);
    return EMAC_OK;
}

static bool covers(const struct http_signature_input *in, const char *name)
{
    for (size_t i = 0; i < in->count; i++) {
        if (strcmp(in->component[i], name) == 0)
            return true;
    }
    return false;
}

static enum emac_status check_covered(const struct http_signature_input *in, bool body,
                                      struct emac_err *err)
{
    static const char *const MUST[] = {"@method", "@target-uri", "@authority", "content-digest",
                                       "content-length"};
    for (size_t i = 0; i < (body ? 5 : 3); i++) {
        if (!covers(in, MUST[i]))
            return emac_fail(err, EMAC_INVALID, "the signature does not cover '%s'", MUST[i]);
    }
    return EMAC_OK;
}

static enum emac_status check_times(const struct http_signature_input *in, uint64_t now_ms,
                                    struct emac_err *err)
{
    int64_t now_s = (int64_t)(now_ms / MS_PER_S);
    if (in->created < 0 || in->expires < 0)
        return emac_fail(err, EMAC_INVALID, "the signature says no created or no expires");
    if (in->created > now_s + HTTP_SIGNATURE_AHEAD_S)
        return emac_fail(err, EMAC_INVALID,
                         "the signature was created %lld s in the future: set your clock",
                         (long long)(in->created - now_s));
    if (in->expires <= now_s)
        return emac_fail(err, EMAC_INVALID,
                         "the signature expired %lld s ago: sign again, or set your clock",
                         (long long)(now_s - in->expires));
    if (in->expires <= in->created || in->expires - in->created > HTTP_SIGNATURE_LIFE_S)
        return emac_fail(err, EMAC_INVALID, "the signature's life is not between 1 and %d s",
                         HTTP_SIGNATURE_LIFE_S);
    return EMAC_OK;
}

/* By what a request is authenticated, and who that is. */
struct sender {
    bool mac;        /* a shared key, no public one */
    uint8_t key[32]; /* either has as many bytes */
    char did[DID_KEY_MAX];
};
_Static_assert(ED25519_PUBLIC_BYTES == 32 && HTTP_MAC_KEY_BYTES == 32, "struct sender");

static enum emac_status check_keyid(const struct http_signature_input *in, uint64_t now_ms,
                                    const struct http_mac_keys *keys, struct sender *out,
                                    struct emac_err *err)
{
    if (out->mac && in->keyid != NULL &&
        keys->find(keys->ctx, in->keyid, now_ms, out->key, out->did))
        return EMAC_OK;
    if (out->mac)
        return emac_fail(err, EMAC_INVALID,
                         "the signature's keyid is no shared key, or is one no longer: sign with "
                         "ed25519, or say hello again");
    if (in->keyid == NULL || !crypto_did_key_parse(out->key, in->keyid))
        return emac_fail(err, EMAC_INVALID, "the signature's keyid must be a did:key of ed25519");
    crypto_did_key(out->did, out->key);
    return EMAC_OK;
}

static enum emac_status check_params(const struct http_signature_input *in, uint64_t now_ms,
                                     const struct http_mac_keys *keys, struct sender *out,
                                     struct emac_err *err)
{
    out->mac = keys != NULL && in->alg != NULL && strcmp(in->alg, ALG_MAC) == 0;
    if (!out->mac && (in->alg == NULL || strcmp(in->alg, ALG_KEY) != 0))
        return emac_fail(err, EMAC_INVALID, "the signature's alg must be '%s'", ALG_KEY);
    size_t n = in->nonce == NULL ? 0 : strlen(in->nonce);
    if (n < NONCE_TEXT_MIN || n > NONCE_TEXT_MAX)
        return emac_fail(err, EMAC_INVALID, "the signature needs a nonce of %d to %d characters",
                         NONCE_TEXT_MIN, NONCE_TEXT_MAX);
    return check_keyid(in, now_ms, keys, out, err);
}

static enum emac_status check_body(const struct http_request *req, struct emac_err *err)
{
    const char *text = NULL;
    uint8_t said[SHA256_BYTES], is[SHA256_BYTES];
    char length[24];
    enum emac_status st = header_once(&req->headers, "content-digest", &text, err);
    if (st == EMAC_OK)
        st = http_content_digest_parse(text, said, err);
    if (st != EMAC_OK)
        return st;
    crypto_sha256(is, req->body.data, req->body.len);
    if (!crypto_equal(said, is, sizeof is))
        return emac_fail(err, EMAC_INVALID, "content-digest differs from the sha-256 of the body");
    st = header_once(&req->headers, "content-length", &text, err);
    if (st != EMAC_OK)
        return st;
    snprintf(length, sizeof length, "%zu", req->body.len);
    if (strcmp(length, text) != 0)
        return emac_fail(err, EMAC_INVALID, "content-length '%.24s' differs from the body's %s",
                         text, length);
    return EMAC_OK;
}

/* The URL as the signer saw it, from the Host it sent. */
static enum emac_status request_url(const struct http_request *req, struct http_url *out,
                                    struct emac_err *err)
{
    const char *proto = http_header_get(&req->headers, "x-forwarded-proto");
    const char *scheme = proto != NULL && strcmp(proto, "https") == 0 ? "https" : "http";
    size_t cap = strlen(scheme) + strlen(req->authority) + strlen(req->target) + 4;
    char *text = arena_alloc(req->arena, cap);
    if (text == NULL)
        return emac_fail(err, EMAC_NO_MEMORY, "out of memory for the address of a request");
    snprintf(text, cap, "%s://%s%s", scheme, req->authority, req->target);
    enum emac_status st = http_url_parse(req->arena, text, out, err);
    if (st == EMAC_OK && strcmp(out->target, req->target) != 0)
        st = emac_fail(err, EMAC_INVALID, "the Host header '%.100s' is not a host", req->authority);
    return st;
}

static bool holds(const struct sender *by, const uint8_t sig[ED25519_SIGNATURE_BYTES],
                  const struct emac_buf *base)
{
    uint8_t want[SHA256_BYTES];
    if (!by->mac)
        return crypto_ed25519_verify(sig, base->data, base->len, by->key);
    crypto_hmac_sha256(want, by->key, HTTP_MAC_KEY_BYTES, base->data, base->len);
    return crypto_equal(want, sig, sizeof want);
}

static enum emac_status check_signature(const struct http_request *req,
                                        const struct http_signature_input *in,
                                        const struct sender *by, struct emac_err *err)
{
    enum emac_status st;
    struct http_url url;
    const char *text = NULL;
    uint8_t sig[ED25519_SIGNATURE_BYTES];
    struct emac_buf base;
    emac_buf_init(&base, BASE_MAX);
    EMAC_TRY(st, header_once(&req->headers, "signature", &text, err));
    EMAC_TRY(st, http_signature_parse(text, in->label,
                                      by->mac ? SHA256_BYTES : ED25519_SIGNATURE_BYTES, sig, err));
    EMAC_TRY(st, request_url(req, &url, err));
    const struct http_signed_message m = {req->method, url.text, url.authority, url.target,
                                          &req->headers};
    EMAC_TRY(st, http_signature_base(&m, in, &base, err));
    if (!holds(by, sig, &base))
        st = emac_fail(err, EMAC_INVALID, "the signature does not fit this request and '%s'",
                       in->keyid);
out:
    emac_buf_release(&base);
    return st;
}

/* Who signed, what for, and is the signature his? Not: is the body the one that was meant? */
static enum emac_status verify_signer(const struct http_request *req, uint64_t now_ms, bool body,
                                      const struct http_mac_keys *keys,
                                      struct http_signature_input *in, char did[DID_KEY_MAX],
                                      struct emac_err *err)
{
    enum emac_status st;
    const char *text = NULL;
    struct sender by = {0};
    EMAC_TRY(st, header_once(&req->headers, "signature-input", &text, err));
    EMAC_TRY(st, http_signature_input_parse(req->arena, text, in, err));
    EMAC_TRY(st, check_covered(in, body, err));
    EMAC_TRY(st, check_times(in, now_ms, err));
    EMAC_TRY(st, check_params(in, now_ms, keys, &by, err));
    EMAC_TRY(st, check_signature(req, in, &by, err));
    memcpy(did, by.did, DID_KEY_MAX);
out:
    crypto_wipe(by.key, sizeof by.key);
    return st;
}

static enum emac_status verify(const struct http_request *req, uint64_t now_ms,
                               struct nonce_cache *cache, const struct http_mac_keys *keys,
                               char did[DID_KEY_MAX], struct emac_err *err)
{
    enum emac_status st;
    struct http_signature_input in;
    bool body = req->body.len > 0 || http_header_get(&req->headers, "content-digest") != NULL;
    EMAC_TRY(st, verify_signer(req, now_ms, body, keys, &in, did, err));
    if (body)
        EMAC_TRY(st, check_body(req, err));
    /* Last, so that only the key's owner can use up a nonce. */
    if (cache != NULL)
        st = nonce_cache_add(cache, did, in.nonce, (uint64_t)in.created * MS_PER_S,
                             (uint64_t)in.expires * MS_PER_S, now_ms, err);
out:
    if (st != EMAC_OK)
        did[0] = '\0';
    return st;
}

enum emac_status http_verify(const struct http_request *req, uint64_t now_ms,
                             struct nonce_cache *cache, char did[DID_KEY_MAX], struct emac_err *err)
{
    return unauthorized(err, verify(req, now_ms, cache, NULL, did, err));
}

enum emac_status http_verify_shared(const struct http_request *req, uint64_t now_ms,
                                    struct nonce_cache *cache, const struct http_mac_keys *keys,
                                    char did[DID_KEY_MAX], struct emac_err *err)
{
    return unauthorized(err, verify(req, now_ms, cache, keys, did, err));
}

enum emac_status http_verify_head(const struct http_request *req, uint64_t now_ms,
                                  char did[DID_KEY_MAX], struct emac_err *err)
{
    struct http_signature_input in;
    enum emac_status st = verify_signer(req, now_ms, true, NULL, &in, did, err);
    if (st != EMAC_OK)
        did[0] = '\0';
    return unauthorized(err, st);
}
