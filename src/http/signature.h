/* HTTP message signatures (RFC 9421) with ed25519, and Content-Digest (RFC
 * 9530, sha-256). Covered components: "@method" "@target-uri" "@authority"
 * "content-digest" "content-length" (the last two when there is a body);
 * parameters created, expires, nonce, keyid (a did:key), alg="ed25519".
 * The verifier refuses: missing or doubled parts, a component left out, a
 * digest that differs from the body, created more than 60 s ahead or expired,
 * a life longer than 300 s, and (through the nonce cache) a replay. More
 * components than these may be covered: header fields, "@path", "@query".
 *
 * One signature a request. Of structured fields (RFC 8941) only the canonical
 * text is read, without optional spaces, escapes or component parameters; so
 * the text that came is the text that was signed.
 *
 * A sender that shares a key with the server may authenticate by alg="hmac-sha256" (RFC 9421,
 * 3.3.3) instead, where the server has such keys: a hundredth of the work on both sides. It proves
 * who sends to the server, and to nobody else. */
#ifndef EMAC_HTTP_SIGNATURE_H
#define EMAC_HTTP_SIGNATURE_H

#include "crypto/crypto.h"
#include "http/message.h"
#include "os/os.h"

#define HTTP_SIGNATURE_LIFE_S         300
#define HTTP_SIGNATURE_AHEAD_S        60
#define HTTP_SIGNATURE_COMPONENTS_MAX 16
#define HTTP_SIGNATURE_TEXT_MAX       2048    /* bytes of each of the three headers */
#define NONCE_CACHE_MAX               2000000 /* 6,600 a second for five minutes: 64 MiB */

#define HTTP_MAC_KEY_BYTES 32
#define HTTP_MAC_ID_MAX    96

/* A key that a sender and a server share; `id` is its keyid. */
struct http_mac {
    char id[HTTP_MAC_ID_MAX];
    uint8_t key[HTTP_MAC_KEY_BYTES];
};

struct http_signer {
    struct os *os; /* clock and entropy */
    const char *did;
    const uint8_t *secret_key;  /* ED25519_SECRET_BYTES */
    const struct http_mac *mac; /* NULL: sign with ed25519 */
};

/* Adds Content-Digest (when there is a body), Signature-Input, Signature to headers (values in the
 * arena). url and authority as in struct http_url. */
enum emac_status http_sign(const struct http_signer *signer, const char *method, const char *url,
                           const char *authority, struct emac_slice body, struct arena *arena,
                           struct http_headers *headers, struct emac_err *err);

/* Remembers (did, nonce) until it expires; bounded (NONCE_CACHE_MAX); thread-safe. */
struct nonce_cache;
struct nonce_cache *nonce_cache_new(void);
void nonce_cache_free(struct nonce_cache *c);
/* Refuse what was signed before `ms`. A cache starts empty: a server that sets this to its start
 * closes the door to requests recorded before a restart. */
void nonce_cache_not_before(struct nonce_cache *c, uint64_t ms);
/* UNAUTHORIZED when it is there already, BUSY when the cache is full. */
enum emac_status nonce_cache_add(struct nonce_cache *c, const char *did, const char *nonce,
                                 uint64_t created_ms, uint64_t expires_ms, uint64_t now_ms,
                                 struct emac_err *err);

/* UNAUTHORIZED with what is wrong. did[] receives the signer's name. The target-uri is rebuilt as
 * http://<Host><target> (or https when X-Forwarded-Proto says so). `cache` may be NULL (tests). */
enum emac_status http_verify(const struct http_request *req, uint64_t now_ms,
                             struct nonce_cache *cache, char did[DID_KEY_MAX],
                             struct emac_err *err);

/* The shared keys that a server knows: which one has this id, and whose it is. False when there is
 * none, or no longer. */
struct http_mac_keys {
    bool (*find)(void *ctx, const char *id, uint64_t now_ms, uint8_t key[HTTP_MAC_KEY_BYTES],
                 char did[DID_KEY_MAX]);
    void *ctx;
};
/* As http_verify, where a shared key will do as well. */
enum emac_status http_verify_shared(const struct http_request *req, uint64_t now_ms,
                                    struct nonce_cache *cache, const struct http_mac_keys *keys,
                                    char did[DID_KEY_MAX], struct emac_err *err);

/* All that can be said of a request with a body before the body is there: everything but that the
 * digest fits, and the nonce, which is not used up. */
enum emac_status http_verify_head(const struct http_request *req, uint64_t now_ms,
                                  char did[DID_KEY_MAX], struct emac_err *err);

/* ---- the parts, for tests and fuzzing ---- */
struct http_signature_input {
    char label[33];
    size_t count;
    const char *component[HTTP_SIGNATURE_COMPONENTS_MAX];
    int64_t created, expires;        /* Unix seconds; -1: absent */
    const char *nonce, *keyid, *alg; /* NULL: absent */
    const char *params;              /* the text after "label=": the value of "@signature-params" */
};
/* INVALID with what is wrong, here and below. Strings lie in the arena. */
enum emac_status http_signature_input_parse(struct arena *a, const char *text,
                                            struct http_signature_input *out, struct emac_err *err);
/* n: how many bytes a signature of its algorithm has. */
enum emac_status http_signature_parse(const char *text, const char *label, size_t n, uint8_t *sig,
                                      struct emac_err *err);
/* Digests by other algorithms than sha-256 may stand beside it and are passed over. */
enum emac_status http_content_digest_parse(const char *text, uint8_t digest[SHA256_BYTES],
                                           struct emac_err *err);

struct http_signed_message {
    const char *method, *target_uri, *authority, *target;
    const struct http_headers *headers;
};
/* The signature base (RFC 9421, 2.5). INVALID naming a component that the message lacks. */
enum emac_status http_signature_base(const struct http_signed_message *m,
                                     const struct http_signature_input *in, struct emac_buf *out,
                                     struct emac_err *err);

#endif
