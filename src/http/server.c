#include "http/server.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/hex.h"
#include "base/log.h"
#include "http/listen.h"
#include "http/server_impl.h"

#define STOP_LIMIT_MS    10000 /* after that, connections are cut under their handlers */
#define IDLE_DEFAULT_MS  60000
#define THREAD_STACK     (2u << 20)
#define CONNECTION_BYTES HEADER_BYTES_MAX

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
    EMAC_TRY(st, http_listen(cfg->address, cfg->port, &s->listen_fd, &s->port, err));
    EMAC_TRY(st, daemon_start(s, err));
    connection_watch_start(s);
    *out = s;
    return EMAC_OK;
out:
    server_free(s);
    return st;
}

char *http_server_url(const char *address, uint16_t port)
{
    bool v6 = strchr(address, ':') != NULL;
    return emac_asprintf("http://%s%s%s:%u", v6 ? "[" : "", address, v6 ? "]" : "", port);
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
