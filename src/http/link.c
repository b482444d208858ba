/* INV-1  A connection belongs to the relay thread from link_adopt on; its descriptors are closed by
 *        that thread alone, or by link_close after the thread has ended.
 * INV-2  A flow whose reader or writer is not ready is not asked for in poll, so that the relay
 *        sleeps whenever no byte can move and no chunk is due. */
#include "http/link.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/buf.h"
#include "http/listen.h"
#include "os/thread.h"

#define NS_PER_S        UINT64_C(1000000000)
#define CANCEL_POLL_MS  250
#define ACCEPT_PAUSE_NS (NS_PER_S / 10) /* after a connection that could not be taken */
/* Of our own ends, so that our libraries see how slow the link is. */
#define NEAR_BUFFER     (64 << 10)

enum side { NEAR, FAR, SIDES }; /* our own library, the network */

/* Out of one side into the other. */
struct flow {
    struct link_pipe *pipe;
    struct link_line line;
    bool ready;   /* poll said that there is something to read */
    bool blocked; /* the other side takes no more for now */
    bool ended;   /* the end of the stream was read */
    bool done;    /* and delivered */
};

struct conn {
    int fd[SIDES];
    struct flow flow[SIDES]; /* [NEAR] reads fd[NEAR] and writes fd[FAR] */
    uint64_t opens_ns;       /* carries nothing before */
    bool cut;                /* was reset */
};

struct link {
    struct os *os;
    struct link_shape shape;
    struct os_mutex dialling; /* held while a pair is made */
    int inner_fd;             /* listens on loopback, for pairs */
    uint16_t inner_port;
    struct os_thread thread;
    atomic_bool closing;
    int wake[2]; /* a pipe: a byte wakes the thread */
    uint16_t target;

    struct os_mutex lock; /* guards what follows */
    int listen_fd;
    struct conn *fresh[LINK_CONNECTIONS_MAX]; /* not yet seen by the thread */
    size_t fresh_count, total;                /* total: those of the thread too */

    /* the thread's own */
    struct link_pipe pipe[SIDES];
    struct conn *conn[LINK_CONNECTIONS_MAX];
    size_t count, turn;
    uint64_t accept_ns; /* not to be tried before */
    int accept_fd;
    struct pollfd poll[2 + 2 * LINK_CONNECTIONS_MAX];
};

static uint64_t now_ns(struct link *l)
{
    return l->os->mono_ns(l->os);
}

/* ---- connections come and go ---- */

static void conn_free(struct conn *c)
{
    for (int i = 0; i < SIDES; i++) {
        link_line_release(&c->flow[i].line);
        close(c->fd[i]);
    }
    free(c);
}

static void prompt(int fd)
{
    int on = 1;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    (void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
}

static void wake(struct link *l)
{
    ssize_t n = write(l->wake[1], "", 1); /* a full pipe wakes just as well */
    (void)n;
}

/* Takes both descriptors, which are closed when it fails (errno says why). */
static bool link_adopt(struct link *l, int near, int far)
{
    struct conn *c = calloc(1, sizeof *c);
    bool room = false;
    os_mutex_lock(&l->lock);
    if (c != NULL && l->total < LINK_CONNECTIONS_MAX) {
        *c = (struct conn){.fd = {near, far},
                           .opens_ns = now_ns(l) + 2 * l->shape.latency_ns,
                           .flow = {{.pipe = &l->pipe[NEAR]}, {.pipe = &l->pipe[FAR]}}};
        l->fresh[l->fresh_count++] = c;
        l->total++;
        room = true;
    }
    os_mutex_unlock(&l->lock);
    if (room) {
        wake(l);
        return true;
    }
    free(c);
    close(near);
    close(far);
    errno = c == NULL ? ENOMEM : EMFILE;
    return false;
}

static void take_fresh(struct link *l)
{
    os_mutex_lock(&l->lock);
    for (size_t i = 0; i < l->fresh_count; i++)
        l->conn[l->count++] = l->fresh[i];
    l->fresh_count = 0;
    l->accept_fd = l->total < LINK_CONNECTIONS_MAX ? l->listen_fd : -1;
    os_mutex_unlock(&l->lock);
}

static void drop_finished(struct link *l)
{
    size_t kept = 0;
    for (size_t i = 0; i < l->count; i++) {
        if (l->conn[i]->cut || l->conn[i]->flow[NEAR].done)
            conn_free(l->conn[i]);
        else
            l->conn[kept++] = l->conn[i];
    }
    os_mutex_lock(&l->lock);
    l->total -= l->count - kept;
    os_mutex_unlock(&l->lock);
    l->count = kept;
}

static struct sockaddr_in loopback(uint16_t port)
{
    return (struct sockaddr_in){
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

static void buffers_set(int fd)
{
    int n = NEAR_BUFFER;
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &n, sizeof n);
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &n, sizeof n);
}

static void accept_one(struct link *l)
{
    struct sockaddr_in to = loopback(l->target);
    int near = -1, far = accept4(l->accept_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (far >= 0)
        near = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (near >= 0)
        buffers_set(near);
    if (near >= 0 &&
        (connect(near, (struct sockaddr *)&to, sizeof to) == 0 || errno == EINPROGRESS)) {
        prompt(near);
        prompt(far);
        link_adopt(l, near, far);
        return;
    }
    if (far >= 0 || (errno != EAGAIN && errno != ECONNABORTED))
        l->accept_ns = now_ns(l) + ACCEPT_PAUSE_NS;
    if (near >= 0)
        close(near);
    if (far >= 0)
        close(far);
}

/* ---- bytes ---- */

static void deliver(struct conn *c, enum side from, uint64_t now)
{
    struct flow *f = &c->flow[from];
    int to = c->fd[1 - from];
    while (!c->cut && !f->blocked && link_line_due(&f->line) <= now) {
        size_t n;
        const uint8_t *data = link_line_peek(&f->line, &n);
        if (n == 0) {
            f->done = true;
            (void)shutdown(to, SHUT_WR);
            link_line_drop(&f->line, 0);
            continue;
        }
        ssize_t sent = send(to, data, n, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent > 0)
            link_line_drop(&f->line, (size_t)sent);
        else if (errno == EAGAIN)
            f->blocked = true;
        else if (errno != EINTR)
            c->cut = true;
    }
}

static bool may_read(const struct conn *c, const struct flow *f, uint64_t now)
{
    return !c->cut && !f->ended && now >= c->opens_ns &&
           f->line.bytes < link_pipe_window(f->pipe) && link_pipe_opens(f->pipe) <= now;
}

static void read_chunk(struct conn *c, enum side from, uint64_t now)
{
    struct flow *f = &c->flow[from];
    uint8_t data[LINK_CHUNK_MAX];
    size_t most = link_pipe_chunk(f->pipe);
    ssize_t n = recv(c->fd[from], data, most, MSG_DONTWAIT);
    if (n < 0) {
        f->ready = errno == EINTR;
        c->cut = c->cut || (errno != EAGAIN && errno != EINTR);
        return;
    }
    uint64_t due = n > 0 ? link_pipe_take(f->pipe, now, (size_t)n) : now + f->pipe->latency_ns;
    f->ended = n == 0;
    f->ready = (size_t)n == most;
    c->cut = !link_line_put(&f->line, data, (size_t)n, due);
}

/* Each flow that has something and may, a chunk at a time, in turns that begin elsewhere each
 * time. */
static void read_all(struct link *l, uint64_t now)
{
    bool more = l->count > 0;
    while (more) {
        more = false;
        l->turn = (l->turn + 1) % l->count;
        for (size_t i = 0; i < l->count; i++) {
            struct conn *c = l->conn[(l->turn + i) % l->count];
            for (int from = 0; from < SIDES; from++) {
                if (c->flow[from].ready && may_read(c, &c->flow[from], now)) {
                    read_chunk(c, (enum side)from, now);
                    more = true;
                }
            }
        }
    }
}

/* ---- waiting ---- */

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* When something may be done for the connection though no descriptor says so. */
static uint64_t conn_due(const struct conn *c, uint64_t now)
{
    uint64_t due = now < c->opens_ns ? c->opens_ns : UINT64_MAX;
    for (int i = 0; i < SIDES; i++) {
        const struct flow *f = &c->flow[i];
        if (!f->blocked)
            due = earlier(due, link_line_due(&f->line));
        if (!f->ended && link_pipe_opens(f->pipe) > now)
            due = earlier(due, link_pipe_opens(f->pipe));
    }
    return due;
}

/* INV-2: a descriptor that nothing is wanted of is left out, or its POLLHUP would keep us awake. */
static void conn_ask(const struct conn *c, struct pollfd *p, uint64_t now)
{
    for (int i = 0; i < SIDES; i++) {
        short events = may_read(c, &c->flow[i], now) ? POLLIN : 0;
        if (c->flow[1 - i].blocked)
            events |= POLLOUT;
        p[i] = (struct pollfd){.fd = events != 0 ? c->fd[i] : -1, .events = events};
    }
}

static void conn_answer(struct conn *c, const struct pollfd *p)
{
    for (int i = 0; i < SIDES; i++) {
        short beyond = (short)(p[i].revents & ~(POLLIN | POLLOUT)); /* the next call says what */
        if ((p[i].events & POLLIN) && (p[i].revents & POLLIN || beyond))
            c->flow[i].ready = true;
        if (p[i].revents & POLLOUT || beyond)
            c->flow[1 - i].blocked = false;
    }
}

static void wait_ready(struct link *l)
{
    uint64_t now = now_ns(l), due = UINT64_MAX;
    bool accepts = l->accept_fd >= 0 && now >= l->accept_ns;
    l->poll[0] = (struct pollfd){.fd = l->wake[0], .events = POLLIN};
    l->poll[1] = (struct pollfd){.fd = accepts ? l->accept_fd : -1, .events = POLLIN};
    if (l->accept_fd >= 0 && !accepts)
        due = l->accept_ns;
    for (size_t i = 0; i < l->count; i++) {
        due = earlier(due, conn_due(l->conn[i], now));
        conn_ask(l->conn[i], &l->poll[2 + 2 * i], now);
    }
    uint64_t ns = due > now ? due - now : 0;
    struct timespec limit = {(time_t)(ns / NS_PER_S), (long)(ns % NS_PER_S)};
    int n = ppoll(l->poll, 2 + 2 * l->count, due != UINT64_MAX ? &limit : NULL, NULL);
    if (n <= 0)
        return;
    char bytes[64];
    while (l->poll[0].revents != 0 && read(l->wake[0], bytes, sizeof bytes) > 0)
        ;
    for (size_t i = 0; i < l->count; i++)
        conn_answer(l->conn[i], &l->poll[2 + 2 * i]);
    if (l->poll[1].revents != 0)
        accept_one(l);
}

static void *relay(void *arg)
{
    struct link *l = arg;
    while (!atomic_load(&l->closing)) {
        take_fresh(l);
        uint64_t now = now_ns(l);
        read_all(l, now);
        for (size_t i = 0; i < l->count; i++) {
            deliver(l->conn[i], NEAR, now);
            deliver(l->conn[i], FAR, now);
        }
        drop_finished(l);
        wait_ready(l);
    }
    return NULL;
}

/* ---- life cycle ---- */

static enum emac_status sockets_open(struct link *l, struct emac_err *err)
{
    enum emac_status st = http_listen("127.0.0.1", 0, &l->inner_fd, &l->inner_port, err);
    if (st != EMAC_OK)
        return st;
    (void)fcntl(l->inner_fd, F_SETFL, O_NONBLOCK);
    if (pipe2(l->wake, O_CLOEXEC | O_NONBLOCK) == 0)
        return EMAC_OK;
    close(l->inner_fd);
    return emac_fail_errno(err, errno, "open", "a pipe for the shaped link");
}

enum emac_status link_open(struct os *os, const struct link_shape *shape, struct link **out,
                           struct emac_err *err)
{
    struct link *l;
    *out = NULL;
    enum emac_status st = emac_alloc(&l, 1, sizeof *l, err);
    if (st != EMAC_OK)
        return st;
    st = sockets_open(l, err);
    if (st != EMAC_OK) {
        free(l);
        return st;
    }
    l->os = os;
    l->shape = *shape;
    l->listen_fd = l->accept_fd = -1;
    l->pipe[NEAR] = (struct link_pipe){.bps = shape->up_bps, .latency_ns = shape->latency_ns};
    l->pipe[FAR] = (struct link_pipe){.bps = shape->down_bps, .latency_ns = shape->latency_ns};
    os_mutex_init(&l->lock);
    os_mutex_init(&l->dialling);
    os_thread_start(&l->thread, relay, l);
    *out = l;
    return EMAC_OK;
}

void link_close(struct link *l)
{
    if (l == NULL)
        return;
    atomic_store(&l->closing, true);
    wake(l);
    os_thread_join(&l->thread);
    take_fresh(l);
    for (size_t i = 0; i < l->count; i++)
        conn_free(l->conn[i]);
    if (l->listen_fd >= 0)
        close(l->listen_fd);
    close(l->inner_fd);
    close(l->wake[0]);
    close(l->wake[1]);
    os_mutex_release(&l->dialling);
    os_mutex_release(&l->lock);
    free(l);
}

enum emac_status link_listen(struct link *l, const char *address, uint16_t port, uint16_t target,
                             uint16_t *bound, struct emac_err *err)
{
    int fd = -1;
    EMAC_ASSERT(l->listen_fd < 0);
    enum emac_status st = http_listen(address, port, &fd, bound, err);
    if (st != EMAC_OK)
        return st;
    (void)fcntl(fd, F_SETFL, O_NONBLOCK);
    os_mutex_lock(&l->lock);
    l->target = target;
    l->listen_fd = fd;
    os_mutex_unlock(&l->lock);
    wake(l);
    return EMAC_OK;
}

/* ---- dialling ---- */

/* 0, or errno */
static int wait_connected(int fd, uint32_t limit_ms, bool (*cancelled)(void *ctx), void *ctx)
{
    for (uint32_t waited = 0; waited < limit_ms; waited += CANCEL_POLL_MS) {
        struct pollfd p = {.fd = fd, .events = POLLOUT};
        int code = 0;
        socklen_t n = sizeof code;
        if (cancelled != NULL && cancelled(ctx))
            return ECANCELED;
        if (poll(&p, 1, CANCEL_POLL_MS) <= 0)
            continue;
        return getsockopt(fd, SOL_SOCKET, SO_ERROR, &code, &n) == 0 ? code : errno;
    }
    return ETIMEDOUT;
}

static int port_of(int fd, int (*name)(int, struct sockaddr *, socklen_t *))
{
    struct sockaddr_in a = {0};
    socklen_t n = sizeof a;
    return name(fd, (struct sockaddr *)&a, &n) == 0 ? a.sin_port : -1;
}

/* The inner listener's end of `fd`; anybody else who came there is turned away. */
static int accept_own(struct link *l, int fd)
{
    struct pollfd p = {.fd = l->inner_fd, .events = POLLIN};
    int port = port_of(fd, getsockname);
    errno = ETIMEDOUT;
    while (poll(&p, 1, CANCEL_POLL_MS) > 0) {
        int other = accept4(l->inner_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (other < 0)
            return -1;
        if (port >= 0 && port_of(other, getpeername) == port)
            return other;
        close(other);
    }
    return -1;
}

/* Two ends of a loopback connection; *near is the relay's. Not a socketpair, because libcurl 7.88
 * connects a socket even if told that it is connected already. Linux answers the first connect()
 * after one that had to wait with success, whatever the address; so the pair is made by such a
 * one. The lock keeps the ends of one dial together. -1 with errno. */
static int pair_open(struct link *l, int *near)
{
    struct sockaddr_in to = loopback(l->inner_port);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), code;
    if (fd < 0)
        return -1;
    buffers_set(fd);
    os_mutex_lock(&l->dialling);
    code = connect(fd, (struct sockaddr *)&to, sizeof to) == 0 ? EISCONN : errno;
    if (code == EINPROGRESS)
        code = wait_connected(fd, CANCEL_POLL_MS, NULL, NULL);
    *near = code == 0 ? accept_own(l, fd) : -1;
    if (code == 0 && *near < 0)
        code = errno;
    os_mutex_unlock(&l->dialling);
    if (code == 0) {
        buffers_set(*near);
        prompt(*near);
        return fd;
    }
    close(fd);
    errno = code;
    return -1;
}

static int tcp_connect(const struct sockaddr *to, socklen_t n, uint32_t limit_ms,
                       bool (*cancelled)(void *ctx), void *ctx)
{
    int fd = socket(to->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -1;
    int code = connect(fd, to, n) == 0 ? 0 : errno;
    if (code == EINPROGRESS)
        code = wait_connected(fd, limit_ms, cancelled, ctx);
    if (code == 0)
        return fd;
    close(fd);
    errno = code;
    return -1;
}

int link_dial(struct link *l, const struct sockaddr *to, socklen_t n, uint32_t limit_ms,
              bool (*cancelled)(void *ctx), void *ctx)
{
    int near, code, far = tcp_connect(to, n, limit_ms, cancelled, ctx);
    if (far < 0)
        return -1;
    int fd = pair_open(l, &near);
    if (fd < 0) {
        code = errno;
        close(far);
        errno = code;
        return -1;
    }
    prompt(far);
    if (link_adopt(l, near, far))
        return fd;
    code = errno;
    close(fd);
    errno = code;
    return -1;
}
