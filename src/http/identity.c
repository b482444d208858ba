#include "http/identity.h"

#include <string.h>

#include "base/hex.h"

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
    struct emac_buf text;
    emac_buf_init(&text, 1024);
    enum emac_status st = os->file_read(os, path, &text, err);
    if (st == EMAC_OK) {
        size_t n = text.len;
        while (n > 0 && (text.data[n - 1] == '\n' || text.data[n - 1] == '\r'))
            n--;
        if (n > 0)
            text.data[n] = 0;
        if (n == 2 * sizeof(seed) && emac_unhex(seed, sizeof(seed), (const char *)text.data))
            identity_fill(out, os, seed);
        else
            st = emac_fail(err, EMAC_CORRUPT,
                           "'%s' is not a key file: it must hold 64 hex digits; restore it from "
                           "your copy, or move it away to get a new identity",
                           path);
        if (text.len > 0)
            crypto_wipe(text.data, text.len);
    }
    crypto_wipe(seed, sizeof(seed));
    emac_buf_release(&text);
    return st;
}

enum emac_status identity_create(struct os *os, const char *path, struct identity *out,
                                 struct emac_err *err)
{
    uint64_t size;
    if (os->file_size(os, path, &size, NULL) == EMAC_OK)
        return emac_fail(err, EMAC_CONFLICT,
                         "a key is there already in '%s': move it away first to make a new one",
                         path);
    uint8_t seed[ED25519_SEED_BYTES];
    char text[2 * ED25519_SEED_BYTES + 2];
    os->entropy(os, seed, sizeof(seed));
    emac_hex(text, seed, sizeof(seed));
    text[2 * ED25519_SEED_BYTES] = '\n';
    enum emac_status st = os->file_write(os, path, text, 2 * ED25519_SEED_BYTES + 1, 0600, err);
    if (st == EMAC_OK)
        identity_fill(out, os, seed);
    crypto_wipe(seed, sizeof(seed));
    crypto_wipe(text, sizeof(text));
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
