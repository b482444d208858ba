/* The key that the coordinator shares with this rig (coordinator/rigs/session.h): taken from the
 * answer to a hello, used where it is taken, dropped when it is refused. Without one, and
 * everywhere else, requests are signed. */
#include <string.h>

#include "base/assert.h"
#include "crypto/seal.h"
#include "node/agent_internal.h"

#define LIFE_MAX_MS (UINT64_C(365) * 86400 * 1000)
#define BOX_BYTES   (HTTP_MAC_KEY_BYTES + SEAL_BOX_BYTES)

static bool is_for(const char *path)
{
    static const char *const PATHS[] = {"/v1/lease", "/v1/receipts", "/v1/failures",
                                        "/v1/heartbeat"};
    for (size_t i = 0; i < EMAC_COUNT(PATHS); i++) {
        if (strcmp(path, PATHS[i]) == 0)
            return true;
    }
    return false;
}

void agent_session_take(struct node *n, const json_t *reply)
{
    const json_t *o = json_object_get(reply, "session");
    const char *id = "";
    uint64_t life_ms = 0;
    struct http_mac mac;
    struct emac_buf box;
    emac_buf_init(&box, BOX_BYTES + 3); /* base64 comes in threes */
    bool sound = json_is_object(o) &&
                 agent_field_str(o, "id", sizeof mac.id - 1, &id, NULL) == EMAC_OK &&
                 agent_field_u64(o, "life_ms", LIFE_MAX_MS, &life_ms, NULL) == EMAC_OK &&
                 agent_field_bytes(o, "key", &box, NULL) == EMAC_OK && box.len == BOX_BYTES &&
                 crypto_seal_from(mac.key, box.data, box.len, n->id.secret_key) &&
                 emac_strcpy(mac.id, sizeof mac.id, id);
    os_mutex_lock(&n->lock);
    n->session = (struct agent_session){.there = sound};
    if (sound) {
        n->session.mac = mac;
        /* Another before this one is over: clocks run unlike each other. */
        n->session.until_ns = n->os->mono_ns(n->os) + life_ms / 10 * 9 * NS_PER_MS;
    }
    os_mutex_unlock(&n->lock);
    crypto_wipe(&mac, sizeof mac);
    emac_buf_release(&box);
}

bool agent_session_get(struct node *n, const char *path, struct http_mac *out)
{
    if (!is_for(path))
        return false;
    os_mutex_lock(&n->lock);
    bool there = n->session.there && n->os->mono_ns(n->os) < n->session.until_ns;
    if (there)
        *out = n->session.mac;
    os_mutex_unlock(&n->lock);
    return there;
}

bool agent_session_over(struct node *n)
{
    os_mutex_lock(&n->lock);
    bool over = n->session.there && n->os->mono_ns(n->os) >= n->session.until_ns;
    os_mutex_unlock(&n->lock);
    return over;
}

void agent_session_drop(struct node *n)
{
    os_mutex_lock(&n->lock);
    crypto_wipe(&n->session, sizeof n->session);
    os_mutex_unlock(&n->lock);
}
