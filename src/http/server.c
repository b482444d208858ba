#include "http/server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/hex.h"
#include "base/log.h"
#include "http/server_impl.h"

#define STOP_LIMIT_MS    10000 /* after that, connections are cut under their handlers */
#define IDLE_DEFAULT_MS  60000
#define LISTEN_BACKLOG   512
#define THREAD_STACK     (2u << 20)
#define CONNECTION_BYTES HEADER_BYTES_MAX

static enum emac_status listen_error(int code, const struct http_server_config *cfg,
                                     struct emac_err *err)
{
    if (code == EADDRINUSE)
        return emac_fail(err, EMAC_CONFLICT,
                         "another program listens on '%s' port %u: stop it or choose another port",
                         cfg->address, cfg->port);
    char text[128];
    return emac_fail(err, code == EACCES ? EMAC_FORBIDDEN : EMAC_IO,
                     "cannot listen on '%s' port %u: %s", cfg->address, cfg->port,
                     strerror_r(code, text, sizeof text));
}

static enum emac_status socket_listen(const struct http_server_config *cfg,
                                      const struct addrinfo *ai, int *out, struct emac_err *err)
{
    int on = 1, off = 0;
    int fd = socket(ai->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return listen_error(errno, cfg, err);
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (ai->ai_family == AF_INET6) /* "::" serves IPv4 too */
        (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
    if (bind(fd, ai->ai_addr, ai->ai_addrlen) != 0 || listen(fd, LISTEN_BACKLOG) != 0) {
        int code = errno;
        close(fd);
        return listen_error(code, cfg, err);
    }
    *out = fd;
    return EMAC_OK;
}

static uint16_t socket_port(int fd)
{
    struct sockaddr_storage addr = {0};
    socklen_t n = sizeof addr;
    if (getsockname(fd, (struct sockaddr *)&addr, &n) != 0)
        return 0;
    if (addr.ss_family == AF_INET6)
        return ntohs(((struct sockaddr_in6 *)&addr)->sin6_port);
    return ntohs(((struct sockaddr_in *)&addr)->sin_port);
}

static enum emac_status server_listen(struct http_server *s, struct emac_err *err)
{
    const struct addrinfo hints = {.ai_family = AF_UNSPEC,
                                   .ai_socktype = SOCK_STREAM,
                                   .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE};
    struct addrinfo *ai = NULL;
    char port[8];
    snprintf(port, sizeof port, "%u", s->cfg.port);
    if (getaddrinfo(s->cfg.address, port, &hints, &ai) != 0)
        return emac_fail(
            err, EMAC_INVALID,
            "'%s' is not an address to listen on: write one like 127.0.0.1 or ::", s->cfg.address);
    enum emac_status st = socket_listen(&s->cfg, ai, &s->listen_fd, err);
    freeaddrinfo(ai);
    if (st == EMAC_OK)
        s->port = socket_port(s->listen_fd);
    return st;
}

static void mhd_log(void *cls, const char *fmt, va_list ap)
{
    char text[256];
    vsnprintf(text, sizeof text, fmt, ap);
    text[strcspn(text, "\n")] = '\0';
    LOG_D("http", "%s", text);
}

/* Paths are decoded by the router, segment by segment. */
static size_t no_unescape(void *cls, struct MHD_Connection *connection, char *text)
{
    return strlen(text);
}

static enum emac_status daemon_start(struct http_server *s, struct emac_err *err)
{
    unsigned flags = MHD_USE_THREAD_PER_CONNECTION | MHD_USE_INTERNAL_POLLING_THREAD |
                     MHD_USE_POLL | MHD_USE_ITC | MHD_USE_ERROR_LOG;
    unsigned connections = s->cfg.connections_max;
    s->daemon = MHD_start_daemon(
        flags, 0, NULL, NULL, turn_advance, s, MHD_OPTION_EXTERNAL_LOGGER, mhd_log, NULL,
        MHD_OPTION_LISTEN_SOCKET, s->listen_fd, MHD_OPTION_URI_LOG_CALLBACK, turn_open, s,
        MHD_OPTION_NOTIFY_COMPLETED, turn_completed, s, MHD_OPTION_NOTIFY_CONNECTION,
        connection_changed, s, MHD_OPTION_UNESCAPE_CALLBACK, no_unescape, s,
        MHD_OPTION_CONNECTION_LIMIT, connections, MHD_OPTION_CONNECTION_TIMEOUT,
        (s->cfg.idle_ms + 999) / 1000, MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)CONNECTION_BYTES,
        MHD_OPTION_THREAD_STACK_SIZE, (size_t)THREAD_STACK, MHD_OPTION_STRICT_FOR_CLIENT, 1,
        MHD_OPTION_END);
    if (s->daemon == NULL)
        return emac_fail(err, EMAC_IO,
                         "cannot start the HTTP server on '%s' port %u: no threads "
                         "or file descriptors left",
                         s->cfg.address, s->port);
    return EMAC_OK;
}

static void server_free(struct http_server *s)
{
    if (s->listen_fd >= 0)
        close(s->listen_fd);
    os_cond_release(&s->watcher_wakes);
    os_cond_release(&s->idle);
    os_mutex_release(&s->lock);
    free(s);
}

enum emac_status http_server_start(const struct http_server_config *cfg, struct http_server **out,
                                   struct emac_err *err)
{
    struct http_server *s;
    *out = NULL;
    enum emac_status st = emac_alloc(&s, 1, sizeof *s, err);
    if (st != EMAC_OK)
        return st;
    s->cfg = *cfg;
    if (s->cfg.connections_max == 0)
        s->cfg.connections_max = HTTP_CONNECTIONS_DEFAULT;
    if (s->cfg.idle_ms == 0)
        s->cfg.idle_ms = IDLE_DEFAULT_MS;
    s->listen_fd = -1;
    os_mutex_init(&s->lock);
    os_cond_init(&s->idle);
    os_cond_init(&s->watcher_wakes);
    uint8_t id[8];
    os_real()->entropy(os_real(), id, sizeof id);
    emac_hex(s->id_prefix, id, sizeof id);
    EMAC_TRY(st, server_listen(s, err));
    EMAC_TRY(st, daemon_start(s, err));
    connection_watch_start(s);
    *out = s;
    return EMAC_OK;
out:
    server_free(s);
    return st;
}

uint16_t http_server_port(const struct http_server *s)
{
    return s->port;
}

bool http_server_stopping(const struct http_server *s)
{
    return atomic_load(&s->stopping);
}

/* Running handlers and the responses they queued get STOP_LIMIT_MS; then sockets are shut, which
 * ends streams at their next chunk, and MHD waits for its threads. */
void http_server_stop(struct http_server *s)
{
    if (s == NULL)
        return;
    atomic_store(&s->stopping, true);
    MHD_quiesce_daemon(s->daemon);
    close(s->listen_fd); /* new callers are turned away by the kernel from here on */
    s->listen_fd = -1;
    uint64_t end_ns = os_real()->mono_ns(os_real()) + STOP_LIMIT_MS * UINT64_C(1000000);
    os_mutex_lock(&s->lock);
    while (s->active > 0 && os_real()->mono_ns(os_real()) < end_ns)
        os_cond_wait_ms(&s->idle, &s->lock, 100);
    os_mutex_unlock(&s->lock);
    MHD_stop_daemon(s->daemon);
    connection_watch_stop(s);
    server_free(s);
}
