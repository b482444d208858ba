/* HTTP message signatures (RFC 9421) with ed25519, and Content-Digest (RFC
 * 9530, sha-256). Covered components: "@method" "@target-uri" "@authority"
 * "content-digest" "content-length" (the last two when there is a body);
 * parameters created, expires, nonce, keyid (a did:key), alg="ed25519".
 * The verifier refuses: missing or doubled parts, a component left out, a
 * digest that differs from the body, created more than 60 s ahead or expired,
 * a life longer than 300 s, and (through the nonce cache) a replay. */
#ifndef EMAC_HTTP_SIGNATURE_H
#define EMAC_HTTP_SIGNATURE_H

#include "crypto/crypto.h"
#include "http/message.h"
#include "os/os.h"

struct http_signer {
    struct os *os; /* clock and entropy */
    const char *did;
    const uint8_t *secret_key; /* ED25519_SECRET_BYTES */
};

/* Adds Content-Digest, Signature-Input, Signature to headers (values in the arena). */
enum emac_status http_sign(const struct http_signer *signer, const char *method, const char *url,
                           const char *authority, struct emac_slice body, struct arena *arena,
                           struct http_headers *headers, struct emac_err *err);

/* Remembers nonces until they expire; bounded (1,000,000); thread-safe. */
struct nonce_cache;
struct nonce_cache *nonce_cache_new(void);
void nonce_cache_free(struct nonce_cache *c);

/* UNAUTHORIZED with what is wrong. did[] receives the signer's name. The target-uri is rebuilt as
 * http://<Host><target> (or https when X-Forwarded-Proto says so). `cache` may be NULL (tests). */
enum emac_status http_verify(const struct http_request *req, uint64_t now_ms,
                             struct nonce_cache *cache, char did[DID_KEY_MAX],
                             struct emac_err *err);

#endif
