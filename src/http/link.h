/* A rig's thin link in user space: everything that one process sends and
 * receives over HTTP passes a relay (one thread) that delays it by the model of
 * http/shape.h, connections it dials and those it accepts alike.
 *
 *   client ── loopback ── relay ── TCP ── the network      (link_dial)
 *   server ── loopback ── relay ── TCP ── the network      (link_listen)
 *
 * The libraries above see ordinary sockets. Half of a connection may end before
 * the other; the whole ends when the near half (ours) has ended and what it sent
 * is delivered, or at once when either side is reset.
 *
 * Life cycle: open, any number of dials from any thread, at most one listen,
 * close after everybody who dialled is gone. */
#ifndef EMAC_HTTP_LINK_H
#define EMAC_HTTP_LINK_H

#include <sys/socket.h>

#include "http/shape.h"
#include "os/os.h"

#define LINK_CONNECTIONS_MAX 1024 /* more wait to be accepted; a dial fails */

struct link;

/* Times are told by `os`. IO when there are no file descriptors left. */
enum emac_status link_open(struct os *os, const struct link_shape *shape, struct link **out,
                           struct emac_err *err);
/* Cuts what is still connected. NULL is fine. */
void link_close(struct link *l);
/* A non-blocking socket that is connected to the TCP address by way of the link; the caller closes
 * it. One connect() more on it succeeds and does nothing: libraries will make it. -1 with errno
 * when nobody is there within limit_ms, or once `cancelled` (asked four times a second; may be
 * NULL) says so. */
int link_dial(struct link *l, const struct sockaddr *to, socklen_t n, uint32_t limit_ms,
              bool (*cancelled)(void *ctx), void *ctx);
/* Listen as http_listen does; what comes is connected to 127.0.0.1:target by way of the link. */
enum emac_status link_listen(struct link *l, const char *address, uint16_t port, uint16_t target,
                             uint16_t *bound, struct emac_err *err);

#endif
