#include "http/identity.h"

#include "crypto/key_file.h"

static void identity_fill(struct identity *id, struct os *os,
                          const uint8_t seed[ED25519_SEED_BYTES])
{
    crypto_ed25519_keypair(id->public_key, id->secret_key, seed);
    crypto_did_key(id->did, id->public_key);
    id->signer = (struct http_signer){.os = os, .did = id->did, .secret_key = id->secret_key};
}

enum emac_status identity_load(struct os *os, const char *path, struct identity *out,
                               struct emac_err *err)
{
    uint8_t seed[ED25519_SEED_BYTES];
    enum emac_status st = key_file_read(os, path, seed, err);
    if (st == EMAC_OK)
        identity_fill(out, os, seed);
    crypto_wipe(seed, sizeof(seed));
    return st;
}

enum emac_status identity_create(struct os *os, const char *path, struct identity *out,
                                 struct emac_err *err)
{
    uint8_t seed[ED25519_SEED_BYTES];
    os->entropy(os, seed, sizeof(seed));
    enum emac_status st = key_file_write(os, path, seed, err);
    if (st == EMAC_OK)
        identity_fill(out, os, seed);
    crypto_wipe(seed, sizeof(seed));
    return st;
}

enum emac_status identity_load_or_create(struct os *os, const char *path, struct identity *out,
                                         struct emac_err *err)
{
    enum emac_status st = identity_load(os, path, out, err);
    return st == EMAC_NOT_FOUND ? identity_create(os, path, out, err) : st;
}

void identity_release(struct identity *id)
{
    crypto_wipe(id, sizeof(*id));
}
