/* Calls to the coordinator, and files from it. */
#include <stdlib.h>
#include <string.h>

#include "base/hex.h"
#include "cli/cli.h"
#include "exchange/exchange.h"
#include "os/process.h"

#define FETCH_MAX       (UINT64_C(1) << 44)
#define PROVIDERS_MAX   16
#define CALL_TIMEOUT_MS 60000
#define RANDOM_MAX      32
#define PATH_BYTES      256
#define PAUSE_SHARE     20
#define PAUSE_LEAST_MS  20
#define PAUSE_MOST_MS   500
#define POST_TRIES      5
#define POST_AGAIN_MS   500 /* doubled each time */

static bool stop_asked(void *ctx)
{
    return os_stop_requested();
}

/* Before asking again for what was asked for first at since_ns: a twentieth of the time gone by, so
 * that the end of something short is told soon. A stop ends it. */
static void pause_since(struct cli *c, uint64_t since_ns)
{
    uint64_t ms = (c->os->mono_ns(c->os) - since_ns) / 1000000 / PAUSE_SHARE;
    if (ms < PAUSE_LEAST_MS)
        ms = PAUSE_LEAST_MS;
    os_stop_wait(ms < PAUSE_MOST_MS ? (uint32_t)ms : PAUSE_MOST_MS);
}

char *cli_encoded(const char *text)
{
    static const char PLAIN[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~:";
    char *out = malloc(3 * strlen(text) + 1), *to = out;
    EMAC_ASSERT(out != NULL);
    for (; *text != '\0'; text++) {
        if (strchr(PLAIN, *text) != NULL)
            *to++ = *text;
        else
            to += snprintf(to, 4, "%%%02X", (unsigned char)*text);
    }
    *to = '\0';
    return out;
}

void cli_random_hex(struct cli *c, char *out, size_t bytes)
{
    uint8_t random[RANDOM_MAX];
    EMAC_ASSERT(bytes <= sizeof random);
    c->os->entropy(c->os, random, bytes);
    emac_hex(out, random, bytes);
    crypto_wipe(random, sizeof random);
}

/* The usual address is one that nobody has named. */
static enum emac_status called(struct cli *c, enum emac_status st)
{
    if (st == EMAC_UNAVAILABLE && !c->url_given)
        emac_wrap(&c->err, "no coordinator at the default address; name one by --url or EMAC_URL, "
                           "or start one by 'emac up'");
    return st;
}

static enum emac_status parse_reply(struct cli *c, const char *url, struct http_reply *r,
                                    json_t **reply)
{
    if (!reply)
        return EMAC_OK;
    json_error_t e;
    *reply = json_loadb((const char *)r->body.data, r->body.len, JSON_REJECT_DUPLICATES, &e);
    if (*reply)
        return EMAC_OK;
    return emac_fail(&c->err, EMAC_CORRUPT,
                     "the answer of '%s' is not JSON (%s): is this an EMAC coordinator?", url,
                     e.text);
}

enum emac_status cli_call(struct cli *c, const char *method, const char *path, json_t *body,
                          bool sign, json_t **reply)
{
    if (reply)
        *reply = NULL;
    struct http_client *http;
    char *url = emac_asprintf("%s%s", c->url, path);
    char *text = body ? json_dumps(body, JSON_COMPACT) : NULL;
    struct http_reply r = {0};
    enum emac_status st;
    EMAC_TRY(st, cli_http(c, &http));
    if (sign)
        EMAC_TRY(st, cli_identity(c));
    struct http_call call = {.method = method,
                             .url = url,
                             .body = EMAC_SLICE(text, text ? strlen(text) : 0),
                             .timeout_ms = CALL_TIMEOUT_MS,
                             .signer = sign ? &c->identity.signer : NULL,
                             .cancelled = stop_asked};
    st = http_client_call(http, &call, &r, &c->err);
    if (st == EMAC_OK)
        st = parse_reply(c, url, &r, reply);
    http_reply_release(&r);
    st = called(c, st);
out:
    json_decref(body);
    free(text);
    free(url);
    return st;
}

enum emac_status cli_list(struct cli *c, const char *path, bool sign, const char *key,
                          const char *empty, void (*say)(struct cli *c, json_t *item))
{
    json_t *reply, *item;
    size_t i;
    enum emac_status st = cli_call(c, "GET", path, NULL, sign, &reply);
    if (st != EMAC_OK)
        return st;
    json_t *list = json_object_get(reply, key);
    if (json_array_size(list) == 0 && empty != NULL)
        cli_say(c, "%s", empty);
    json_array_foreach(list, i, item) say(c, item);
    cli_result(c, reply);
    return EMAC_OK;
}

enum emac_status cli_post(struct cli *c, const char *path, json_t *body, json_t **reply)
{
    enum emac_status st = EMAC_OK;
    for (int attempt = 0; attempt < POST_TRIES; attempt++) {
        st = cli_call(c, "POST", path, json_incref(body), true, reply);
        if (st != EMAC_UNAVAILABLE || os_stop_requested())
            break;
        c->os->sleep_ms(c->os, POST_AGAIN_MS << attempt);
    }
    json_decref(body);
    return st;
}

/* What the depot lacks rigs may have, which are paid to keep it. Keeps the first error if not. */
static enum emac_status fetch_from_rigs(struct cli *c, struct store *s, struct http_client *http,
                                        const struct cid *cid, enum emac_status failed)
{
    struct emac_err first = c->err;
    struct exchange_source source[PROVIDERS_MAX];
    char text[CID_TEXT_MAX];
    json_t *reply = NULL, *p;
    size_t count = 0, i;
    uint64_t bytes = 0;
    cid_text(text, cid);
    char *path = emac_asprintf("/v1/providers/%s", text);
    enum emac_status st = cli_call(c, "GET", path, NULL, false, &reply);
    free(path);
    json_array_foreach(json_object_get(reply, "providers"), i, p)
    {
        if (count < PROVIDERS_MAX && strcmp(cli_str(p, "node"), "depot") != 0)
            source[count++].base_url = cli_str(p, "url");
    }
    if (st == EMAC_OK && count > 0)
        st = exchange_fetch(s, http, cid, source, count, false, FETCH_MAX, &bytes, &c->err);
    json_decref(reply);
    if (st == EMAC_OK && count > 0)
        return EMAC_OK;
    c->err = first;
    return failed;
}

enum emac_status cli_fetch(struct cli *c, struct store *s, const struct cid *cid)
{
    struct cid missing;
    size_t count = 0;
    enum emac_status st = store_dag_missing(s, cid, &missing, 1, &count, &c->err);
    if (st != EMAC_OK || count == 0)
        return st;
    struct http_client *http;
    st = cli_http(c, &http);
    if (st != EMAC_OK)
        return st;
    uint64_t bytes = 0;
    struct exchange_source source = {.base_url = c->url};
    st = exchange_fetch(s, http, cid, &source, 1, false, FETCH_MAX, &bytes, &c->err);
    if (st != EMAC_OK)
        st = fetch_from_rigs(c, s, http, cid, st);
    return called(c, st);
}

enum emac_status cli_push(struct cli *c, struct store *s, const struct cid *cid)
{
    struct http_client *http;
    uint64_t bytes = 0;
    enum emac_status st = cli_identity(c);
    if (st == EMAC_OK)
        st = cli_http(c, &http);
    if (st == EMAC_OK)
        st = exchange_push(s, http, cid, c->url, &c->identity.signer, &bytes, &c->err);
    return called(c, st);
}

bool cli_ended(const char *state)
{
    return strcmp(state, "succeeded") == 0 || strcmp(state, "failed") == 0 ||
           strcmp(state, "cancelled") == 0;
}

enum emac_status cli_await(struct cli *c, const char *what, const char *id,
                           void (*progress)(struct cli *c, json_t *now), json_t **out)
{
    char path[PATH_BYTES];
    uint64_t began = c->os->mono_ns(c->os);
    snprintf(path, sizeof path, "/v1/%ss/%.200s", what, id);
    while (!os_stop_requested()) {
        enum emac_status st = cli_call(c, "GET", path, NULL, false, out);
        if (st == EMAC_OK ? cli_ended(cli_str(*out, "state")) : !emac_status_retryable(st))
            return st;
        if (st == EMAC_OK)
            progress(c, *out);
        else
            cli_progress(c, "waiting for the coordinator: %s", c->err.text);
        json_decref(*out);
        *out = NULL;
        pause_since(c, began);
    }
    return emac_fail(&c->err, EMAC_CANCELLED,
                     "stopped waiting; the %s goes on: see 'emac %s show %s'", what, what, id);
}

enum emac_status cli_cancel(struct cli *c, const char *what, const char *id)
{
    char path[PATH_BYTES];
    json_t *reply;
    snprintf(path, sizeof path, "/v1/%ss/%.200s/cancel", what, id);
    enum emac_status st = cli_call(c, "POST", path, json_object(), true, &reply);
    if (st != EMAC_OK)
        return st;
    cli_say(c, "cancelled %s; what was not earned goes back to you", id);
    cli_result(c, reply);
    return EMAC_OK;
}
