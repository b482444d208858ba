/* The open connections of a server, and the thread that ends those which bring no request in time.
 *
 * INV-1  A connection is in its server's list from MHD's STARTED to its CLOSED; MHD closes the
 *        socket after CLOSED, so an fd read from the list under the lock is open. */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "base/assert.h"
#include "http/server_impl.h"

#define NS_PER_MS      UINT64_C(1000000)
#define WATCH_EVERY_MS 1000 /* at most; more often when the limit itself is short */

static uint64_t deadline(const struct http_server *s)
{
    return os_real()->mono_ns(os_real()) + s->cfg.idle_ms * NS_PER_MS;
}

static struct connection *connection_of(struct MHD_Connection *connection)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    return info != NULL ? info->socket_context : NULL;
}

bool http_request_gone(const struct http_request *req)
{
    char byte;
    if (!req->has_socket)
        return false;
    ssize_t n = recv(req->socket, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    return n == 0 || (n < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR);
}

static void opened(struct http_server *s, struct MHD_Connection *connection, void **ctx)
{
    int on = 1;
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    EMAC_ASSERT(info != NULL);
    (void)setsockopt(info->connect_fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    struct connection *c = calloc(1, sizeof *c);
    *ctx = c;
    if (c == NULL) { /* it could not be watched */
        (void)shutdown(info->connect_fd, SHUT_RDWR);
        return;
    }
    c->fd = info->connect_fd;
    atomic_init(&c->deadline_ns, deadline(s));
    os_mutex_lock(&s->lock);
    c->next = s->connections;
    if (c->next != NULL)
        c->next->prev = c;
    s->connections = c;
    os_mutex_unlock(&s->lock);
}

static void closed(struct http_server *s, struct connection *c)
{
    if (c == NULL)
        return;
    os_mutex_lock(&s->lock);
    if (c->prev != NULL)
        c->prev->next = c->next;
    else
        s->connections = c->next;
    if (c->next != NULL)
        c->next->prev = c->prev;
    os_mutex_unlock(&s->lock);
    free(c);
}

void connection_changed(void *cls, struct MHD_Connection *connection, void **ctx,
                        enum MHD_ConnectionNotificationCode what)
{
    if (what == MHD_CONNECTION_NOTIFY_STARTED)
        opened(cls, connection, ctx);
    else
        closed(cls, *ctx);
}

void connection_waits(struct http_server *s, struct MHD_Connection *connection)
{
    struct connection *c = connection_of(connection);
    if (c != NULL)
        atomic_store(&c->deadline_ns, deadline(s));
}

void connection_works(struct MHD_Connection *connection)
{
    struct connection *c = connection_of(connection);
    if (c != NULL)
        atomic_store(&c->deadline_ns, 0);
}

/* MHD sees a socket that was shut as one that the peer closed, and cleans up. */
static void end_late_ones(struct http_server *s)
{
    uint64_t now = os_real()->mono_ns(os_real());
    for (struct connection *c = s->connections; c != NULL; c = c->next) {
        uint64_t limit = atomic_load(&c->deadline_ns);
        if (limit != 0 && now > limit)
            (void)shutdown(c->fd, SHUT_RDWR);
    }
}

static void *watch(void *arg)
{
    struct http_server *s = arg;
    uint32_t every = s->cfg.idle_ms / 4 + 1;
    os_mutex_lock(&s->lock);
    while (!s->watcher_ends) {
        os_cond_wait_ms(&s->watcher_wakes, &s->lock,
                        every < WATCH_EVERY_MS ? every : WATCH_EVERY_MS);
        end_late_ones(s);
    }
    os_mutex_unlock(&s->lock);
    return NULL;
}

void connection_watch_start(struct http_server *s)
{
    os_thread_start(&s->watcher, watch, s);
}

void connection_watch_stop(struct http_server *s)
{
    os_mutex_lock(&s->lock);
    s->watcher_ends = true;
    os_cond_signal(&s->watcher_wakes);
    os_mutex_unlock(&s->lock);
    os_thread_join(&s->watcher);
    EMAC_ASSERT(s->connections == NULL);
}
