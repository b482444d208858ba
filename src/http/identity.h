/* A key that signs: who a user or a rig is. Kept as a file of one line, the
 * 32-byte seed in hex, mode 0600; the name is the did:key of the public half. */
#ifndef EMAC_HTTP_IDENTITY_H
#define EMAC_HTTP_IDENTITY_H

#include "http/signature.h"

struct identity {
    char did[DID_KEY_MAX];
    uint8_t public_key[ED25519_PUBLIC_BYTES];
    uint8_t secret_key[ED25519_SECRET_BYTES];
    struct http_signer signer; /* points into this struct: do not copy it */
};

/* NOT_FOUND when the file is missing; CORRUPT when it is not a key. */
enum emac_status identity_load(struct os *os, const char *path, struct identity *out,
                               struct emac_err *err);
/* A new key; CONFLICT when the file exists. */
enum emac_status identity_create(struct os *os, const char *path, struct identity *out,
                                 struct emac_err *err);
enum emac_status identity_load_or_create(struct os *os, const char *path, struct identity *out,
                                         struct emac_err *err);
void identity_release(struct identity *id); /* wipes the secret */

#endif
