#include "http/client.h"

#include <curl/curl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/checked.h"
#include "http/client_impl.h"
#include "http/link.h"
#include "http/signature.h"
#include "os/thread.h"

#define CONNECT_LIMIT_MS  5000L
#define STALL_BYTES_S     1024L
#define STALL_S           20L
#define KEEP_OPEN_S       45L /* below the server's 60 s, so that we close first */
#define IDLE_HANDLES_MAX  64
#define CANCEL_POLL_MS    250
#define REPLY_MAX_DEFAULT (16u << 20)
#define ERROR_BODY_MAX    (64u << 10)
#define CALL_ARENA_MAX    (1u << 20)
#define HEADER_LINE_MAX   (8u << 10)
#define ORIGIN_MAX        300

/* What runs one call at a time: an easy handle with a multi of its own, which keeps the connection
 * and lets us ask about cancellation more often than curl alone would. */
struct line {
    CURL *curl;
    CURLM *multi;
};

/* A line goes back to the pool under the origin it spoke to last, so that the next call there finds
 * the connection open. */
struct handle {
    struct line line;
    char origin[ORIGIN_MAX];
};

struct http_client {
    atomic_bool stopped;
    struct link *link;                    /* may be NULL */
    struct os_mutex lock;                 /* guards what follows */
    struct handle idle[IDLE_HANDLES_MAX]; /* oldest first */
    size_t idle_count;
    struct transfer *under_way;
    uint64_t sent, received;
};

struct transfer {
    struct http_client *client;
    const struct http_call *call;
    struct http_reply *reply;
    CURL *curl;
    CURLM *multi;
    struct transfer *next; /* of those under way */
    struct emac_err err;   /* of a callback; OK: none */
    size_t received, max;
    struct arena arena;
    struct http_url url;
    struct http_headers headers;
    struct curl_slist *lines;
    char curl_text[CURL_ERROR_SIZE];
};

static void curl_global_once(void)
{
    CURLcode rc = curl_global_init(CURL_GLOBAL_DEFAULT);
    EMAC_ASSERT(rc == CURLE_OK);
}

enum emac_status http_client_new(struct http_client **out, struct emac_err *err)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, curl_global_once);
    enum emac_status st = emac_alloc(out, 1, sizeof **out, err);
    if (st == EMAC_OK)
        os_mutex_init(&(*out)->lock);
    return st;
}

static void line_close(struct line l)
{
    if (l.curl != NULL)
        curl_easy_cleanup(l.curl);
    if (l.multi != NULL)
        curl_multi_cleanup(l.multi);
}

void http_client_free(struct http_client *c)
{
    if (c == NULL)
        return;
    for (size_t i = 0; i < c->idle_count; i++)
        line_close(c->idle[i].line);
    os_mutex_release(&c->lock);
    free(c);
}

void http_client_link(struct http_client *c, struct link *l)
{
    c->link = l;
}

void http_client_stop(struct http_client *c)
{
    atomic_store(&c->stopped, true);
    os_mutex_lock(&c->lock);
    for (struct transfer *t = c->under_way; t != NULL; t = t->next)
        curl_multi_wakeup(t->multi);
    os_mutex_unlock(&c->lock);
}

void http_reply_release(struct http_reply *r)
{
    emac_buf_release(&r->body);
}

void http_client_traffic(struct http_client *c, uint64_t *sent, uint64_t *received)
{
    os_mutex_lock(&c->lock);
    *sent = c->sent;
    *received = c->received;
    os_mutex_unlock(&c->lock);
}

/* ---- the pool ---- */

static struct line pool_remove(struct http_client *c, size_t i)
{
    struct line line = c->idle[i].line;
    c->idle_count--;
    memmove(&c->idle[i], &c->idle[i + 1], (c->idle_count - i) * sizeof c->idle[0]);
    return line;
}

/* The line that spoke to this origin last, or a new one; without a handle when memory is short. */
static struct line pool_take(struct http_client *c, const char *origin)
{
    struct line line = {NULL, NULL};
    os_mutex_lock(&c->lock);
    for (size_t i = c->idle_count; i-- > 0 && line.curl == NULL;) {
        if (strcmp(c->idle[i].origin, origin) == 0)
            line = pool_remove(c, i);
    }
    os_mutex_unlock(&c->lock);
    if (line.curl != NULL) {
        curl_easy_reset(line.curl); /* options only; connections stay */
        return line;
    }
    line = (struct line){curl_easy_init(), curl_multi_init()};
    if (line.curl != NULL && line.multi != NULL &&
        curl_multi_setopt(line.multi, CURLMOPT_MAXCONNECTS, 1L) == CURLM_OK)
        return line;
    line_close(line);
    return (struct line){NULL, NULL};
}

static void pool_give(struct http_client *c, struct line line, const char *origin)
{
    struct line oldest = {NULL, NULL};
    struct handle h = {.line = line};
    emac_strcpy(h.origin, sizeof h.origin, origin);
    os_mutex_lock(&c->lock);
    if (c->idle_count == IDLE_HANDLES_MAX)
        oldest = pool_remove(c, 0);
    c->idle[c->idle_count++] = h;
    os_mutex_unlock(&c->lock);
    line_close(oldest);
}

static void under_way_add(struct http_client *c, struct transfer *t)
{
    os_mutex_lock(&c->lock);
    t->next = c->under_way;
    c->under_way = t;
    os_mutex_unlock(&c->lock);
}

static void under_way_remove(struct http_client *c, struct transfer *t)
{
    os_mutex_lock(&c->lock);
    struct transfer **at = &c->under_way;
    while (*at != t)
        at = &(*at)->next;
    *at = t->next;
    os_mutex_unlock(&c->lock);
}

static void traffic_add(struct http_client *c, CURL *curl)
{
    curl_off_t up = 0, down = 0;
    long request = 0, header = 0;
    curl_easy_getinfo(curl, CURLINFO_SIZE_UPLOAD_T, &up);
    curl_easy_getinfo(curl, CURLINFO_SIZE_DOWNLOAD_T, &down);
    curl_easy_getinfo(curl, CURLINFO_REQUEST_SIZE, &request);
    curl_easy_getinfo(curl, CURLINFO_HEADER_SIZE, &header);
    os_mutex_lock(&c->lock);
    c->sent += (uint64_t)up + (uint64_t)request;
    c->received += (uint64_t)down + (uint64_t)header;
    os_mutex_unlock(&c->lock);
}

/* ---- what curl calls ---- */

static size_t on_data(char *data, size_t size, size_t count, void *ctx)
{
    struct transfer *t = ctx;
    size_t n = size * count; /* size is 1 by curl's contract */
    long status = 0;
    curl_easy_getinfo(t->curl, CURLINFO_RESPONSE_CODE, &status);
    if (status >= 400) { /* an error's text: what does not fit is not needed */
        size_t room = ERROR_BODY_MAX - t->reply->body.len;
        emac_buf_append(&t->reply->body, data, n < room ? n : room, &t->err);
        return t->err.status == EMAC_OK ? n : 0;
    }
    if (n > t->max - t->received) {
        emac_fail(&t->err, EMAC_TOO_LARGE, "the reply of '%.200s' is larger than %zu bytes",
                  t->url.text, t->max);
        return 0;
    }
    t->received += n;
    if (t->call->receive != NULL)
        t->err.status = t->call->receive(t->call->receive_ctx, data, n, &t->err);
    else
        emac_buf_append(&t->reply->body, data, n, &t->err);
    return t->err.status == EMAC_OK ? n : 0;
}

static bool is_cancelled(void *ctx)
{
    const struct transfer *t = ctx;
    return atomic_load(&t->client->stopped) ||
           (t->call->cancelled != NULL && t->call->cancelled(t->call->cancelled_ctx));
}

static int on_progress(void *ctx, curl_off_t dl_total, curl_off_t dl, curl_off_t ul_total,
                       curl_off_t ul)
{
    return is_cancelled(ctx);
}

/* A socket by way of the link, connected. */
static curl_socket_t on_open(void *ctx, curlsocktype purpose, struct curl_sockaddr *to)
{
    struct transfer *t = ctx;
    int fd = link_dial(t->client->link, &to->addr, to->addrlen, CONNECT_LIMIT_MS, is_cancelled, t);
    return fd >= 0 ? fd : CURL_SOCKET_BAD;
}

/* ---- setting up ---- */

static enum emac_status no_memory(struct transfer *t, struct emac_err *err)
{
    return emac_fail(err, EMAC_NO_MEMORY, "out of memory for a call of '%.200s'", t->url.text);
}

static bool line_add(struct transfer *t, const char *name, const char *value)
{
    char line[HEADER_LINE_MAX];
    /* "Name;" is how curl is told to send an empty value. */
    int n = value[0] == '\0' ? snprintf(line, sizeof line, "%s;", name)
                             : snprintf(line, sizeof line, "%s: %s", name, value);
    if (n < 0 || (size_t)n >= sizeof line || strpbrk(line, "\r\n") != NULL)
        return false;
    struct curl_slist *more = curl_slist_append(t->lines, line);
    if (more == NULL)
        return false;
    t->lines = more;
    return true;
}

static enum emac_status headers_set(struct transfer *t, struct emac_err *err)
{
    const struct http_call *call = t->call;
    t->headers = call->headers;
    if (call->body.len > 0 && http_header_get(&t->headers, "content-type") == NULL &&
        !http_header_add(&t->headers, "Content-Type",
                         call->content_type != NULL ? call->content_type : "application/json"))
        return emac_fail(err, EMAC_INVALID, "a call takes at most %d headers", HTTP_HEADERS_MAX);
    if (call->signer != NULL) {
        enum emac_status st = http_sign(call->signer, call->method, t->url.text, t->url.authority,
                                        call->body, &t->arena, &t->headers, err);
        if (st != EMAC_OK)
            return st;
    }
    for (size_t i = 0; i < t->headers.count; i++) {
        if (!line_add(t, t->headers.at[i].name, t->headers.at[i].value))
            return emac_fail(err, EMAC_INVALID, "header '%.60s' is too long or holds a line break",
                             t->headers.at[i].name);
    }
    /* No waiting for "100 Continue". */
    struct curl_slist *more = curl_slist_append(t->lines, "Expect:");
    if (more == NULL)
        return no_memory(t, err);
    t->lines = more;
    return EMAC_OK;
}

#define SET(option, value) ok = ok && curl_easy_setopt(t->curl, option, value) == CURLE_OK

static bool method_set(struct transfer *t)
{
    const struct http_call *call = t->call;
    bool ok = true;
    if (strcmp(call->method, "HEAD") == 0) {
        SET(CURLOPT_NOBODY, 1L);
        return ok;
    }
    if (call->body.len > 0 || strcmp(call->method, "GET") != 0) {
        SET(CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)call->body.len);
        SET(CURLOPT_POSTFIELDS, call->body.len > 0 ? (const char *)call->body.data : "");
    }
    SET(CURLOPT_CUSTOMREQUEST, call->method);
    return ok;
}

static bool link_set(struct transfer *t)
{
    bool ok = true;
    if (t->client->link == NULL)
        return true;
    SET(CURLOPT_OPENSOCKETFUNCTION, on_open);
    SET(CURLOPT_OPENSOCKETDATA, t);
    return ok;
}

static bool options_set(struct transfer *t)
{
    bool ok = true;
    SET(CURLOPT_URL, t->url.text);
    SET(CURLOPT_PATH_AS_IS, 1L); /* what is signed is what is sent */
    SET(CURLOPT_PROTOCOLS_STR, "http,https");
    SET(CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    SET(CURLOPT_FOLLOWLOCATION, 0L);
    SET(CURLOPT_NOSIGNAL, 1L);
    SET(CURLOPT_TCP_NODELAY, 1L);
    SET(CURLOPT_TCP_KEEPALIVE, 1L);
    SET(CURLOPT_MAXAGE_CONN, KEEP_OPEN_S);
    SET(CURLOPT_CONNECTTIMEOUT_MS, CONNECT_LIMIT_MS);
    SET(CURLOPT_USERAGENT, "emac");
    SET(CURLOPT_HTTPHEADER, t->lines);
    SET(CURLOPT_ERRORBUFFER, t->curl_text);
    SET(CURLOPT_WRITEFUNCTION, on_data);
    SET(CURLOPT_WRITEDATA, t);
    SET(CURLOPT_XFERINFOFUNCTION, on_progress);
    SET(CURLOPT_XFERINFODATA, t);
    SET(CURLOPT_NOPROGRESS, 0L);
    if (http_host_is_private(t->url.host))
        SET(CURLOPT_NOPROXY, "*");
    if (t->call->timeout_ms > 0) {
        SET(CURLOPT_TIMEOUT_MS, (long)t->call->timeout_ms);
    } else {
        SET(CURLOPT_LOW_SPEED_LIMIT, STALL_BYTES_S);
        SET(CURLOPT_LOW_SPEED_TIME, STALL_S);
    }
    return ok && link_set(t) && method_set(t);
}

/* ---- what came of it ---- */

static enum emac_status transport_error(struct transfer *t, CURLcode rc, struct emac_err *err)
{
    curl_off_t connected_us = 0;
    const char *text = t->curl_text[0] != '\0' ? t->curl_text : curl_easy_strerror(rc);
    switch (rc) {
    case CURLE_ABORTED_BY_CALLBACK:
        return emac_fail(err, EMAC_CANCELLED, "the call of '%.200s' was cancelled", t->url.text);
    case CURLE_OUT_OF_MEMORY:
        return no_memory(t, err);
    case CURLE_OPERATION_TIMEDOUT:
        curl_easy_getinfo(t->curl, CURLINFO_CONNECT_TIME_T, &connected_us);
        if (connected_us > 0)
            return emac_fail(err, EMAC_TIMEOUT, "'%.200s' did not finish in time: %s", t->url.text,
                             text);
        return emac_fail(err, EMAC_UNAVAILABLE,
                         "nobody answers at '%.200s' (%s): check the address and that it runs",
                         t->url.text, text);
    default:
        return emac_fail(err, EMAC_UNAVAILABLE,
                         "cannot reach '%.200s' (%s): check the address and that it runs",
                         t->url.text, text);
    }
}

static enum emac_status transfer_result(struct transfer *t, CURLcode rc, struct emac_err *err)
{
    long status = 0;
    char *type = NULL;
    if (t->err.status != EMAC_OK) { /* a callback refused; curl's own code only says so */
        if (err != NULL)
            *err = t->err;
        return t->err.status;
    }
    if (rc != CURLE_OK)
        return transport_error(t, rc, err);
    curl_easy_getinfo(t->curl, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_getinfo(t->curl, CURLINFO_CONTENT_TYPE, &type);
    t->reply->status = (int)status;
    if (type != NULL)
        emac_strcpy(t->reply->content_type, sizeof t->reply->content_type, type);
    if (status == 301 || status == 302 || status == 303 || status == 307 || status == 308) {
        char *where = NULL;
        curl_easy_getinfo(t->curl, CURLINFO_REDIRECT_URL, &where);
        return emac_fail(err, EMAC_UNSUPPORTED,
                         "'%.150s' sends us on to '%.150s': use that address, redirects are not "
                         "followed",
                         t->url.text, where != NULL ? where : "nowhere");
    }
    if (status >= 400)
        return http_error_parse((int)status, &t->reply->body, t->url.text, err);
    return EMAC_OK;
}

static bool method_ok(const char *m)
{
    size_t n = strspn(m, "ABCDEFGHIJKLMNOPQRSTUVWXYZ");
    return n > 0 && n < 16 && m[n] == '\0';
}

/* As curl_easy_perform, but the progress callback is asked every CANCEL_POLL_MS at least. */
static CURLcode perform(CURLM *multi, CURL *curl)
{
    CURLcode result = CURLE_OUT_OF_MEMORY;
    int running = 1, left;
    CURLMcode rc = curl_multi_add_handle(multi, curl);
    while (rc == CURLM_OK && running > 0) {
        rc = curl_multi_perform(multi, &running);
        if (rc == CURLM_OK && running > 0)
            rc = curl_multi_poll(multi, NULL, 0, CANCEL_POLL_MS, NULL);
    }
    for (CURLMsg *m; (m = curl_multi_info_read(multi, &left)) != NULL;) {
        if (m->msg == CURLMSG_DONE)
            result = m->data.result;
    }
    curl_multi_remove_handle(multi, curl);
    return result;
}

static enum emac_status transfer_run(struct http_client *c, struct transfer *t,
                                     struct emac_err *err)
{
    enum emac_status st;
    char origin[ORIGIN_MAX];
    EMAC_ASSERT(method_ok(t->call->method));
    EMAC_TRY(st, http_url_parse(&t->arena, t->call->url, &t->url, err));
    if (atomic_load(&c->stopped))
        return emac_fail(err, EMAC_CANCELLED, "the call of '%.200s' was cancelled", t->url.text);
    EMAC_TRY(st, headers_set(t, err));
    snprintf(origin, sizeof origin, "%s%s", t->url.https ? "s:" : "", t->url.authority);
    struct line line = pool_take(c, origin);
    t->curl = line.curl;
    t->multi = line.multi;
    if (t->curl == NULL || !options_set(t)) {
        line_close(line);
        return no_memory(t, err);
    }
    under_way_add(c, t);
    CURLcode rc = perform(t->multi, t->curl);
    under_way_remove(c, t);
    traffic_add(c, t->curl);
    st = transfer_result(t, rc, err);
    pool_give(c, line, origin);
out:
    return st;
}

enum emac_status http_client_call(struct http_client *c, const struct http_call *call,
                                  struct http_reply *reply, struct emac_err *err)
{
    struct transfer t = {.client = c, .call = call, .reply = reply};
    *reply = (struct http_reply){0};
    t.max = call->reply_max > 0 ? call->reply_max : REPLY_MAX_DEFAULT;
    emac_buf_init(&reply->body, t.max > ERROR_BODY_MAX ? t.max : ERROR_BODY_MAX);
    arena_init(&t.arena, CALL_ARENA_MAX);
    enum emac_status st = transfer_run(c, &t, err);
    curl_slist_free_all(t.lines);
    arena_release(&t.arena);
    return st;
}
