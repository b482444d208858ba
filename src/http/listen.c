#include "http/listen.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define LISTEN_BACKLOG 512

static enum emac_status listen_error(int code, const char *address, uint16_t port,
                                     struct emac_err *err)
{
    if (code == EADDRINUSE)
        return emac_fail(err, EMAC_CONFLICT,
                         "another program listens on '%s' port %u: stop it or choose another port",
                         address, port);
    char text[128];
    return emac_fail(err, code == EACCES ? EMAC_FORBIDDEN : EMAC_IO,
                     "cannot listen on '%s' port %u: %s", address, port,
                     strerror_r(code, text, sizeof text));
}

static int socket_listen(const struct addrinfo *ai, int *out)
{
    int on = 1, off = 0;
    int fd = socket(ai->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return errno;
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (ai->ai_family == AF_INET6) /* "::" serves IPv4 too */
        (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
    if (bind(fd, ai->ai_addr, ai->ai_addrlen) != 0 || listen(fd, LISTEN_BACKLOG) != 0) {
        int code = errno;
        close(fd);
        return code;
    }
    *out = fd;
    return 0;
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

enum emac_status http_listen(const char *address, uint16_t port, int *fd, uint16_t *bound,
                             struct emac_err *err)
{
    const struct addrinfo hints = {.ai_family = AF_UNSPEC,
                                   .ai_socktype = SOCK_STREAM,
                                   .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE};
    struct addrinfo *ai = NULL;
    char text[8];
    snprintf(text, sizeof text, "%u", port);
    if (getaddrinfo(address, text, &hints, &ai) != 0)
        return emac_fail(
            err, EMAC_INVALID,
            "'%s' is not an address to listen on: write one like 127.0.0.1 or ::", address);
    int code = socket_listen(ai, fd);
    freeaddrinfo(ai);
    if (code != 0)
        return listen_error(code, address, port, err);
    *bound = socket_port(*fd);
    return EMAC_OK;
}
