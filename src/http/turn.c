/* One request and its response.
 *
 * MHD calls, always on the connection's thread: turn_open at the request line, turn_advance once
 * when the headers are whole, then once for each piece of body, then once more at the end of the
 * body; turn_completed when the response has gone out or the connection broke.
 *
 * INV-1  A response is queued at most once a turn.
 * INV-2  server->active counts the turns with `running` set.
 * INV-3  The turn is freed by whoever drops the last of `refs` (completion, and the stream). */
#include <arpa/inet.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

#include "base/assert.h"
#include "base/hex.h"
#include "base/log.h"
#include "http/server_impl.h"

#define BODY_RATE_LEAST   16000u     /* bytes a second that a slow sender is granted */
#define BODY_DISCARD_MAX  (1u << 20) /* of a refused body, read so that the answer arrives */
#define BODY_RESERVE_MOST (1u << 20)
#define REQUEST_ID_MAX    64
#define STREAM_BLOCK      (64u << 10)
#define STREAM_CHUNK_MAX  (16u << 20)
#define LINGER_MS         2000 /* for a peer still sending when it was refused */
#define NS_PER_MS         UINT64_C(1000000)

struct turn {
    struct http_server *server;
    struct MHD_Connection *connection;
    struct arena arena;
    struct http_request req;
    struct http_path_params params;
    const struct http_route *route;
    struct emac_buf body;
    struct emac_err refusal; /* why the handler will not run; OK: it will */
    int refusal_http;        /* status of the refusal where it is not refusal.status's own */
    char allow[64], peer[INET6_ADDRSTRLEN + 8], request_id[REQUEST_ID_MAX + 1];
    uint64_t started_ns, body_seen, discarded;
    int status;                 /* of the queued response; 0: none yet */
    bool begun, running, early; /* early: answered before the body came */
    atomic_int refs;
};

static uint64_t now_ns(void)
{
    return os_real()->mono_ns(os_real());
}

static void turn_unref(struct turn *t)
{
    if (atomic_fetch_sub(&t->refs, 1) > 1)
        return;
    emac_buf_release(&t->body);
    arena_release(&t->arena);
    free(t);
}

void *turn_open(void *cls, const char *target, struct MHD_Connection *connection)
{
    struct turn *t = calloc(1, sizeof *t);
    if (t == NULL)
        return NULL;
    t->server = cls;
    t->connection = connection;
    arena_init(&t->arena, HTTP_ARENA_MAX);
    t->req.arena = &t->arena;
    t->started_ns = now_ns();
    atomic_init(&t->refs, 1);
    if (http_request_target_set(&t->req, target, &t->refusal) != EMAC_OK)
        t->req.target = t->req.path = t->req.query = "";
    return t;
}

static void peer_set(struct turn *t)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(t->connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    const union MHD_ConnectionInfo *fd =
        MHD_get_connection_info(t->connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    t->req.has_socket = fd != NULL;
    t->req.socket = fd != NULL ? fd->connect_fd : -1;
    t->req.peer = t->peer;
    if (info == NULL || info->client_addr == NULL)
        return;
    socklen_t n = info->client_addr->sa_family == AF_INET6 ? sizeof(struct sockaddr_in6)
                                                           : sizeof(struct sockaddr_in);
    char text[NI_MAXHOST];
    if (getnameinfo(info->client_addr, n, text, sizeof text, NULL, 0, NI_NUMERICHOST) != 0)
        return;
    bool mapped = strncmp(text, "::ffff:", 7) == 0; /* IPv4 that came to a dual socket */
    emac_strcpy(t->peer, sizeof t->peer, mapped ? text + 7 : text);
}

static bool request_id_ok(const char *id)
{
    size_t n = id == NULL ? 0
                          : strspn(id, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                                       "0123456789._-");
    return n > 0 && n <= REQUEST_ID_MAX && id[n] == '\0';
}

static void request_id_set(struct turn *t)
{
    const char *sent = http_header_get(&t->req.headers, "x-request-id");
    if (request_id_ok(sent))
        emac_strcpy(t->request_id, sizeof t->request_id, sent);
    else
        snprintf(t->request_id, sizeof t->request_id, "req-%s-%llu", t->server->id_prefix,
                 (unsigned long long)atomic_fetch_add(&t->server->next_id, 1));
}

static enum MHD_Result header_each(void *cls, enum MHD_ValueKind kind, const char *name,
                                   const char *value)
{
    struct turn *t = cls;
    if (http_header_add(&t->req.headers, name, value != NULL ? value : ""))
        return MHD_YES;
    emac_fail(&t->refusal, EMAC_TOO_LARGE, "the request has more than %d headers",
              HTTP_HEADERS_MAX);
    t->refusal_http = 431;
    return MHD_NO;
}

static size_t header_count(const struct http_headers *h, const char *name)
{
    size_t n = 0;
    for (size_t i = 0; i < h->count; i++)
        n += strcasecmp(h->at[i].name, name) == 0;
    return n;
}

static bool decimal_u64(const char *s, uint64_t *out)
{
    uint64_t v = 0;
    size_t n = strlen(s);
    if (n == 0 || n > 18)
        return false;
    for (size_t i = 0; i < n; i++) {
        if (s[i] < '0' || s[i] > '9')
            return false;
        v = v * 10 + (uint64_t)(s[i] - '0');
    }
    *out = v;
    return true;
}

/* Length of the declared body; *chunked when it is not said beforehand. Two lengths, or a length
 * and chunks, are how requests get smuggled past a proxy: refused. */
static enum emac_status body_declared(const struct http_headers *h, uint64_t *length, bool *chunked,
                                      struct emac_err *err)
{
    const char *text = http_header_get(h, "content-length");
    *length = 0;
    *chunked = http_header_get(h, "transfer-encoding") != NULL;
    if (header_count(h, "host") > 1 || header_count(h, "content-length") > 1 ||
        (text != NULL && *chunked))
        return emac_fail(err, EMAC_INVALID,
                         "the request says host or content-length twice, or a length and chunks");
    if (text != NULL && !decimal_u64(text, length))
        return emac_fail(err, EMAC_INVALID, "content-length '%.40s' is not a number", text);
    return EMAC_OK;
}

static void route_set(struct turn *t)
{
    const struct http_server_config *cfg = &t->server->cfg;
    t->route = http_route_find(cfg->routes, cfg->route_count, &t->req, &t->params, t->allow,
                               sizeof t->allow, &t->refusal);
    t->req.params = &t->params;
    if (t->route == NULL && t->allow[0] != '\0')
        t->refusal_http = 405;
}

static void refuse_too_large(struct turn *t)
{
    emac_fail(&t->refusal, EMAC_TOO_LARGE, "the body is larger than the %zu bytes that '%s' takes",
              t->route->body_max, t->route->path);
}

static void head_check(struct turn *t)
{
    const struct http_server_config *cfg = &t->server->cfg;
    struct emac_err err = {.status = EMAC_OK};
    enum emac_status st = cfg->head(cfg->ctx, t->route, &t->req, &err);
    if (st == EMAC_OK)
        return;
    t->refusal = err;
    t->refusal.status = st;
}

static enum MHD_Result turn_answer(struct turn *t, struct http_response *res);

static enum MHD_Result turn_refuse(struct turn *t)
{
    struct http_response res;
    http_response_init(&res);
    http_response_error(&res, &t->refusal);
    if (t->refusal_http != 0)
        res.status = t->refusal_http;
    if (t->allow[0] != '\0')
        http_header_add(&res.headers, "Allow", t->allow);
    return turn_answer(t, &res);
}

/* Headers are whole. Refused requests with a short body are still read to the end, so that the
 * connection can stay open and the answer is not lost to a reset; others are answered right now. */
static enum MHD_Result turn_begin(struct turn *t, const char *method)
{
    uint64_t length = 0;
    bool chunked = false;
    t->req.method = method;
    connection_works(t->connection);
    peer_set(t);
    MHD_get_connection_values(t->connection, MHD_HEADER_KIND, header_each, t);
    request_id_set(t);
    t->req.authority = http_header_get(&t->req.headers, "host");
    if (t->req.authority == NULL)
        t->req.authority = "";
    emac_buf_init(&t->body, 0);
    if (t->refusal.status == EMAC_OK)
        body_declared(&t->req.headers, &length, &chunked, &t->refusal);
    if (t->refusal.status == EMAC_OK)
        route_set(t);
    if (t->refusal.status == EMAC_OK && length > t->route->body_max)
        refuse_too_large(t);
    if (t->refusal.status == EMAC_OK && t->server->cfg.head != NULL)
        head_check(t);
    t->early = t->refusal.status != EMAC_OK && length > BODY_DISCARD_MAX;
    if (t->refusal.status != EMAC_OK)
        return t->early ? turn_refuse(t) : MHD_YES;
    emac_buf_init(&t->body, t->route->body_max);
    size_t first = length < BODY_RESERVE_MOST ? (size_t)length : BODY_RESERVE_MOST;
    if (first > 0)
        emac_buf_reserve(&t->body, first, &t->refusal);
    return MHD_YES;
}

/* MHD_NO cuts the connection. */
static enum MHD_Result turn_body(struct turn *t, const char *data, size_t n)
{
    t->body_seen += n;
    uint64_t limit_ms = t->server->cfg.idle_ms + t->body_seen / (BODY_RATE_LEAST / 1000);
    if (now_ns() - t->started_ns > limit_ms * NS_PER_MS) {
        LOG_I("http", "cut %s: its request body is slower than %u bytes/s", t->peer,
              BODY_RATE_LEAST);
        return MHD_NO;
    }
    if (t->refusal.status == EMAC_OK && n > t->route->body_max - t->body.len)
        refuse_too_large(t);
    if (t->refusal.status == EMAC_OK)
        emac_buf_append(&t->body, data, n, &t->refusal);
    if (t->refusal.status == EMAC_OK)
        return MHD_YES;
    emac_buf_release(&t->body);
    t->discarded += n;
    return t->discarded > BODY_DISCARD_MAX ? MHD_NO : MHD_YES;
}

static void running_set(struct turn *t, bool running)
{
    struct http_server *s = t->server;
    os_mutex_lock(&s->lock);
    if (running != t->running) {
        EMAC_ASSERT(running || s->active > 0);
        s->active += running ? 1 : -1u;
        t->running = running;
        if (s->active == 0)
            os_cond_broadcast(&s->idle);
    }
    os_mutex_unlock(&s->lock);
}

/* The request is whole: authenticate, handle, answer. */
static enum MHD_Result turn_handle(struct turn *t)
{
    const struct http_server_config *cfg = &t->server->cfg;
    struct http_response res;
    struct emac_err err = {.status = EMAC_OK};
    if (t->refusal.status != EMAC_OK)
        return turn_refuse(t);
    t->req.body = emac_buf_slice(&t->body);
    running_set(t, true);
    http_response_init(&res);
    enum emac_status st = EMAC_OK;
    if (cfg->before != NULL)
        st = cfg->before(cfg->ctx, t->route, &t->req, &err);
    if (st == EMAC_OK)
        st = t->route->handler(cfg->ctx, &t->req, &res, &err);
    struct emac_err lost = {.status = EMAC_OK};
    if (!res.settled && cfg->settle != NULL && cfg->settle(cfg->ctx, &lost) != EMAC_OK) {
        st = lost.status;
        err = lost;
    }
    if (st != EMAC_OK) {
        err.status = st;
        http_response_error(&res, &err);
    }
    return turn_answer(t, &res);
}

/* ---- responses ---- */

struct stream {
    struct turn *turn;
    struct http_response res; /* its stream members */
    struct emac_buf chunk;
    size_t sent; /* of chunk */
    bool ended;
};

/* MHD asks for at most `max` bytes; the handler appends as many as it likes. While the handler
 * makes the next chunk the connection has no time limit; setting one again starts it anew. */
static ssize_t stream_read(void *cls, uint64_t pos, char *out, size_t max)
{
    struct stream *s = cls;
    if (s->sent == s->chunk.len && !s->ended) {
        emac_buf_clear(&s->chunk);
        s->sent = 0;
        MHD_set_connection_option(s->turn->connection, MHD_CONNECTION_OPTION_TIMEOUT, 0u);
        while (s->chunk.len == 0 && !s->ended)
            s->ended = !s->res.stream(s->res.stream_ctx, &s->chunk);
        MHD_set_connection_option(s->turn->connection, MHD_CONNECTION_OPTION_TIMEOUT,
                                  s->turn->server->cfg.idle_ms / 1000 + 1);
    }
    size_t n = s->chunk.len - s->sent;
    if (n == 0)
        return s->res.content_length < 0 ? MHD_CONTENT_READER_END_OF_STREAM
                                         : MHD_CONTENT_READER_END_WITH_ERROR;
    if (n > max)
        n = max;
    memcpy(out, s->chunk.data + s->sent, n);
    s->sent += n;
    return (ssize_t)n;
}

static void stream_free(void *cls)
{
    struct stream *s = cls;
    struct turn *t = s->turn;
    http_response_release(&s->res);
    emac_buf_release(&s->chunk);
    free(s);
    turn_unref(t);
}

static struct MHD_Response *stream_response(struct turn *t, struct http_response *res)
{
    struct stream *s = calloc(1, sizeof *s);
    if (s == NULL)
        return NULL;
    s->turn = t;
    s->res = *res;
    emac_buf_init(&s->res.body, 0); /* the body, if any, stays with res */
    emac_buf_init(&s->chunk, STREAM_CHUNK_MAX);
    atomic_fetch_add(&t->refs, 1);
    res->stream = NULL;
    uint64_t size = res->content_length < 0 ? MHD_SIZE_UNKNOWN : (uint64_t)res->content_length;
    struct MHD_Response *r =
        MHD_create_response_from_callback(size, STREAM_BLOCK, stream_read, s, stream_free);
    if (r == NULL)
        stream_free(s);
    return r;
}

/* For a HEAD that knows the length without the bytes; MHD never reads it. */
static ssize_t nothing_read(void *cls, uint64_t pos, char *out, size_t max)
{
    return MHD_CONTENT_READER_END_WITH_ERROR;
}

static struct MHD_Response *response_make(struct turn *t, struct http_response *res)
{
    if (res->stream != NULL)
        return stream_response(t, res);
    if (res->content_length >= 0 && res->body.len == 0 && strcmp(t->req.method, "HEAD") == 0)
        return MHD_create_response_from_callback((uint64_t)res->content_length, STREAM_BLOCK,
                                                 nothing_read, NULL, NULL);
    size_t n;
    uint8_t *data = emac_buf_steal(&res->body, &n);
    struct MHD_Response *r = MHD_create_response_from_buffer(n, data, MHD_RESPMEM_MUST_FREE);
    if (r == NULL)
        free(data);
    return r;
}

/* False when a header is not one (a line break in a value). */
static bool response_headers(struct turn *t, const struct http_response *res, bool has_body,
                             struct MHD_Response *r)
{
    bool ok = MHD_add_response_header(r, "x-request-id", t->request_id) == MHD_YES;
    const char *type = res->content_type;
    if (type == NULL && has_body)
        type = "application/json";
    if (type != NULL)
        ok = ok && MHD_add_response_header(r, "Content-Type", type) == MHD_YES;
    for (size_t i = 0; i < res->headers.count; i++)
        ok = ok && MHD_add_response_header(r, res->headers.at[i].name, res->headers.at[i].value) ==
                       MHD_YES;
    if (atomic_load(&t->server->stopping))
        ok = ok && MHD_add_response_header(r, "Connection", "close") == MHD_YES;
    return ok;
}

/* Queues the response and releases res. */
static enum MHD_Result turn_answer(struct turn *t, struct http_response *res)
{
    EMAC_ASSERT(t->status == 0);
    int status = res->status;
    bool has_body = res->stream != NULL || res->body.len > 0 || res->content_length > 0;
    struct MHD_Response *r = response_make(t, res);
    enum MHD_Result done = MHD_NO;
    if (r != NULL && response_headers(t, res, has_body, r)) {
        done = MHD_queue_response(t->connection, (unsigned)status, r);
    } else {
        LOG_E("http", "cannot answer %s '%s': out of memory or a malformed header", t->req.method,
              t->req.target);
    }
    if (done == MHD_YES)
        t->status = status;
    if (r != NULL)
        MHD_destroy_response(r); /* MHD keeps its own reference while it sends */
    http_response_release(res);
    return done;
}

/* ---- what MHD calls ---- */

enum MHD_Result turn_advance(void *cls, struct MHD_Connection *connection, const char *url,
                             const char *method, const char *version, const char *data,
                             size_t *data_n, void **turn)
{
    struct turn *t = *turn;
    if (t == NULL) /* out of memory in turn_open */
        return MHD_NO;
    if (!t->begun) {
        t->begun = true;
        return turn_begin(t, method);
    }
    if (*data_n > 0) {
        size_t n = *data_n;
        *data_n = 0;
        return turn_body(t, data, n);
    }
    return turn_handle(t);
}

/* MHD is about to close a socket on which a refused body still arrives; the kernel would answer
 * that with a reset, which can overtake our response. So read it away, for a short while. */
static void linger(struct turn *t)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(t->connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    if (info == NULL || shutdown(info->connect_fd, SHUT_WR) != 0)
        return;
    char waste[16 << 10];
    struct pollfd p = {.fd = info->connect_fd, .events = POLLIN};
    uint64_t end = now_ns() + LINGER_MS * NS_PER_MS;
    for (uint64_t now = now_ns(); now < end; now = now_ns()) {
        if (poll(&p, 1, (int)((end - now) / NS_PER_MS) + 1) <= 0 ||
            recv(p.fd, waste, sizeof waste, MSG_DONTWAIT) <= 0)
            return;
    }
}

void turn_completed(void *cls, struct MHD_Connection *connection, void **turn,
                    enum MHD_RequestTerminationCode why)
{
    struct turn *t = *turn;
    const struct http_server_config *cfg = &((struct http_server *)cls)->cfg;
    if (t == NULL)
        return;
    *turn = NULL;
    if (t->begun && cfg->after != NULL)
        cfg->after(cfg->ctx, t->route, &t->req, t->status, (now_ns() - t->started_ns) / 1000);
    running_set(t, false);
    connection_waits(t->server, t->connection);
    if (t->early)
        linger(t);
    turn_unref(t);
}
