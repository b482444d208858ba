/* JSON to and from the coordinator. */
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/hex.h"
#include "base/utf8.h"
#include "node/agent_internal.h"

/* A receipt under way when node_stop is called is still delivered, if that does not take long. */
static bool past_grace(void *ctx)
{
    struct node *n = ctx;
    if (!atomic_load(&n->stop))
        return false;
    os_mutex_lock(&n->lock);
    uint64_t since = n->stop_ns;
    os_mutex_unlock(&n->lock);
    return n->os->mono_ns(n->os) - since > NODE_STOP_GRACE_MS * NS_PER_MS;
}

static enum emac_status reply_parse(const struct http_reply *r, const char *path, json_t **out,
                                    struct emac_err *err)
{
    json_error_t je;
    if (r->body.len == 0)
        return EMAC_OK;
    *out = json_loadb((const char *)r->body.data, r->body.len,
                      JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &je);
    if (json_is_object(*out))
        return EMAC_OK;
    json_decref(*out);
    *out = NULL;
    return emac_fail(err, EMAC_CORRUPT, "the coordinator's answer to '%.100s' is no JSON object",
                     path);
}

static enum emac_status call(struct node *n, struct http_client *client, struct http_call *c,
                             const char *path, json_t **reply, struct emac_err *err)
{
    struct http_reply r;
    char *url = emac_asprintf("%s%s", n->cfg.coordinator, path);
    json_t *answer = NULL;
    c->url = url;
    enum emac_status st = http_client_call(client, c, &r, err);
    if (st == EMAC_OK)
        st = reply_parse(&r, path, &answer, err);
    http_reply_release(&r);
    free(url);
    if (reply != NULL)
        *reply = answer;
    else
        json_decref(answer);
    return st;
}

/* A key that the coordinator no longer shares is a reason to sign, not to fail. */
static enum emac_status call_authenticated(struct node *n, struct http_client *client,
                                           struct http_call *c, const char *path, json_t **reply,
                                           struct emac_err *err)
{
    struct http_mac mac;
    struct http_signer signer = n->id.signer;
    c->signer = &signer;
    if (agent_session_get(n, path, &mac))
        signer.mac = &mac;
    enum emac_status st = call(n, client, c, path, reply, err);
    if (st == EMAC_UNAUTHORIZED && signer.mac != NULL) {
        agent_session_drop(n);
        signer.mac = NULL;
        st = call(n, client, c, path, reply, err);
    }
    if (signer.mac != NULL)
        crypto_wipe(&mac, sizeof mac);
    return st;
}

static enum emac_status post(struct node *n, bool poll, const char *path, json_t *body,
                             uint32_t limit_ms, json_t **reply, struct emac_err *err)
{
    char *text = body != NULL ? json_dumps(body, JSON_COMPACT) : NULL;
    json_decref(body);
    if (reply != NULL)
        *reply = NULL;
    if (text == NULL)
        return emac_fail(err, EMAC_NO_MEMORY, "out of memory for a call of '%.100s'", path);
    struct http_call c = {.method = "POST",
                          .body = EMAC_SLICE_STR(text),
                          .timeout_ms = limit_ms,
                          .cancelled = poll ? agent_over_cb : past_grace,
                          .cancelled_ctx = n};
    enum emac_status st = call_authenticated(n, poll ? n->bulk : n->api, &c, path, reply, err);
    free(text);
    return st;
}

enum emac_status agent_post(struct node *n, const char *path, json_t *body, uint32_t limit_ms,
                            json_t **reply, struct emac_err *err)
{
    return post(n, false, path, body, limit_ms, reply, err);
}

enum emac_status agent_poll(struct node *n, const char *path, json_t *body, uint32_t limit_ms,
                            json_t **reply, struct emac_err *err)
{
    return post(n, true, path, body, limit_ms, reply, err);
}

enum emac_status agent_get(struct node *n, const char *path, json_t **reply, struct emac_err *err)
{
    struct http_call c = {.method = "GET",
                          .timeout_ms = NODE_CALL_MS,
                          .cancelled = agent_over_cb,
                          .cancelled_ctx = n};
    if (reply != NULL)
        *reply = NULL;
    return call(n, n->bulk, &c, path, reply, err);
}

enum emac_status agent_probe(struct node *n, struct emac_err *err)
{
    struct http_reply r;
    char *url = emac_asprintf("%s/healthz", n->cfg.coordinator);
    const struct http_call c = {.method = "GET",
                                .url = url,
                                .timeout_ms = NODE_CALL_MS,
                                .cancelled = agent_over_cb,
                                .cancelled_ctx = n};
    enum emac_status st = http_client_call(n->bulk, &c, &r, err);
    http_reply_release(&r);
    free(url);
    return st;
}

/* ---- values ---- */

json_t *agent_json_bytes(const void *data, size_t n)
{
    char *text = NULL;
    if (emac_alloc(&text, EMAC_BASE64_LEN(n) + 1, 1, NULL) != EMAC_OK)
        return NULL;
    emac_base64(text, data, n);
    json_t *v = json_string(text);
    free(text);
    return v;
}

json_t *agent_json_sentence(const char *text)
{
    char plain[EMAC_ERR_TEXT_MAX];
    emac_strcpy(plain, sizeof plain, text);
    emac_utf8_plain(plain);
    return json_string(plain);
}

json_t *agent_json_cid(const struct cid *cid)
{
    char text[CID_TEXT_MAX];
    cid_text(text, cid);
    return json_string(text);
}

static enum emac_status field_bad(const char *key, const char *what, struct emac_err *err)
{
    return emac_fail(err, EMAC_CORRUPT, "the coordinator's answer: field '%s' %s", key, what);
}

enum emac_status agent_field_str(const json_t *o, const char *key, size_t max, const char **out,
                                 struct emac_err *err)
{
    const json_t *v = json_object_get(o, key);
    if (!json_is_string(v))
        return field_bad(key, "must be text", err);
    if (json_string_length(v) > max || strlen(json_string_value(v)) != json_string_length(v))
        return field_bad(key, "is too long or holds a zero byte", err);
    *out = json_string_value(v);
    return EMAC_OK;
}

enum emac_status agent_field_u64(const json_t *o, const char *key, uint64_t max, uint64_t *out,
                                 struct emac_err *err)
{
    const json_t *v = json_object_get(o, key);
    if (!json_is_integer(v) || json_integer_value(v) < 0 || (uint64_t)json_integer_value(v) > max)
        return field_bad(key, "must be an integer within its range", err);
    *out = (uint64_t)json_integer_value(v);
    return EMAC_OK;
}

enum emac_status agent_field_bytes(const json_t *o, const char *key, struct emac_buf *out,
                                   struct emac_err *err)
{
    const json_t *v = json_object_get(o, key);
    if (!json_is_string(v))
        return field_bad(key, "must be base64 text", err);
    size_t len = json_string_length(v), n = len / 4 * 3;
    enum emac_status st = emac_buf_reserve(out, n, err);
    if (st != EMAC_OK)
        return st;
    if (n > 0 && !emac_unbase64(out->data + out->len, &n, json_string_value(v), len))
        return field_bad(key, "is not base64", err);
    if (n == 0)
        return field_bad(key, "is empty", err);
    out->len += n;
    out->data[out->len] = 0;
    return EMAC_OK;
}
