/* Listening sockets: what the server and a shaped link open. */
#ifndef EMAC_HTTP_LISTEN_H
#define EMAC_HTTP_LISTEN_H

#include <stdint.h>

#include "base/status.h"

/* Listen at a numeric address ("127.0.0.1", "::", which takes IPv4 too) and port (0: any free one).
 * *fd is the caller's to close, *bound the port it has. CONFLICT naming the address when the port
 * is taken, INVALID for what is no address. */
enum emac_status http_listen(const char *address, uint16_t port, int *fd, uint16_t *bound,
                             struct emac_err *err);

#endif
