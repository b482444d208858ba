#include "coordinator/rigs/session.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "crypto/seal.h"

#define DIGITS_MAX 15

static void key_make(const struct coordinator *c, const char *id, uint8_t key[HTTP_MAC_KEY_BYTES])
{
    char text[HTTP_MAC_ID_MAX + 16];
    int n = snprintf(text, sizeof text, "emac session %s", id);
    EMAC_ASSERT(n > 0 && (size_t)n < sizeof text);
    crypto_hmac_sha256(key, c->secret, sizeof c->secret, text, (size_t)n);
}

/* Only texts that session_json writes: a key follows from any other as well, and nobody has it. */
static bool id_parse(const char *id, char did[DID_KEY_MAX], uint64_t *over_ms)
{
    const char *hash = strchr(id, '#');
    size_t n = hash != NULL ? (size_t)(hash - id) : DID_KEY_MAX;
    if (n >= DID_KEY_MAX || strlen(id) >= HTTP_MAC_ID_MAX)
        return false;
    memcpy(did, id, n);
    did[n] = '\0';
    const char *digits = hash + 1;
    size_t count = strspn(digits, "0123456789");
    *over_ms = 0;
    for (size_t i = 0; i < count && i < DIGITS_MAX; i++)
        *over_ms = *over_ms * 10 + (uint64_t)(digits[i] - '0');
    return count > 0 && count <= DIGITS_MAX && digits[count] == '\0';
}

static bool key_find(void *ctx, const char *id, uint64_t now_ms, uint8_t key[HTTP_MAC_KEY_BYTES],
                     char did[DID_KEY_MAX])
{
    uint64_t over_ms;
    if (!id_parse(id, did, &over_ms) || now_ms >= over_ms)
        return false;
    key_make(ctx, id, key);
    return true;
}

json_t *session_json(struct coordinator *c, const char *did)
{
    char id[HTTP_MAC_ID_MAX];
    uint8_t key[HTTP_MAC_KEY_BYTES], box[HTTP_MAC_KEY_BYTES + SEAL_BOX_BYTES];
    uint8_t to[ED25519_PUBLIC_BYTES];
    if (!crypto_did_key_parse(to, did))
        return json_null();
    int n = snprintf(id, sizeof id, "%s#%" PRIu64, did, wall_ms(c) + SESSION_LIFE_MS);
    EMAC_ASSERT(n > 0 && (size_t)n < sizeof id);
    key_make(c, id, key);
    bool sealed = crypto_seal_to(box, key, sizeof key, to);
    crypto_wipe(key, sizeof key);
    if (!sealed)
        return json_null();
    return json_pack("{s:s, s:o, s:I}", "id", id, "key", api_base64(box, sizeof box), "life_ms",
                     (json_int_t)SESSION_LIFE_MS);
}

enum emac_status api_rig(struct coordinator *c, const struct http_request *req,
                         char did[DID_KEY_MAX], struct emac_err *err)
{
    const struct http_mac_keys keys = {key_find, c};
    enum emac_status st = http_verify_shared(req, wall_ms(c), c->nonces, &keys, did, err);
    return st == EMAC_OK ? api_rate(c, did, err) : st;
}
