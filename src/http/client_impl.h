/* Parts of client.c that stand alone (and are tested alone). */
#ifndef EMAC_HTTP_CLIENT_IMPL_H
#define EMAC_HTTP_CLIENT_IMPL_H

#include "base/buf.h"

/* Loopback, private (RFC 1918, RFC 4193) and link-local addresses, "localhost": never by a proxy.
 * host as in struct http_url. */
bool http_host_is_private(const char *host);
/* The failure told by a reply with an HTTP status >= 400: the server's error.message and the status
 * of its error.code when the body holds them, else what the HTTP status says. Never OK. */
enum emac_status http_error_parse(int http, const struct emac_buf *body, const char *url,
                                  struct emac_err *err);

#endif
