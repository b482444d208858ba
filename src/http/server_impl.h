/* Between server.c (listening, life cycle) and turn.c (one request and its
 * response); nobody else includes it.
 *
 * A turn lives from the request line to the later of "MHD completed the
 * request" and "the response's stream was freed": MHD frees the response after
 * it reports completion, and a stream may hold on to the request's arena. */
#ifndef EMAC_HTTP_SERVER_IMPL_H
#define EMAC_HTTP_SERVER_IMPL_H

#include <microhttpd.h>
#include <stdatomic.h>

#include "http/server.h"
#include "os/os.h"
#include "os/thread.h"

#define HEADER_BYTES_MAX (32u << 10)

/* A connection that waits for a request has until deadline_ns to bring a whole header; MHD alone
 * would let a byte a minute keep it open for ever. 0: a request is under way, other limits hold. */
struct connection {
    struct connection *next, *prev;
    int fd;
    atomic_uint_fast64_t deadline_ns;
};

struct http_server {
    struct http_server_config cfg;
    struct MHD_Daemon *daemon;
    int listen_fd;
    uint16_t port;
    atomic_bool stopping;
    struct os_mutex lock; /* guards what follows */
    struct os_cond idle;  /* active became 0 */
    uint32_t active;      /* turns whose handler began and that are not complete */
    struct connection *connections;
    struct os_thread watcher; /* ends connections that passed their deadline */
    struct os_cond watcher_wakes;
    bool watcher_ends;
    char id_prefix[17]; /* of request ids: random for each start */
    atomic_uint_fast64_t next_id;
};

/* connection.c. `changed` is MHD's callback, cls the server. */
void connection_changed(void *cls, struct MHD_Connection *connection, void **ctx,
                        enum MHD_ConnectionNotificationCode what);
void connection_waits(struct http_server *s, struct MHD_Connection *connection);
void connection_works(struct MHD_Connection *connection);
void connection_watch_start(struct http_server *s);
void connection_watch_stop(struct http_server *s);

/* turn.c. MHD callbacks; cls is the server. */
void *turn_open(void *cls, const char *target, struct MHD_Connection *connection);
enum MHD_Result turn_advance(void *cls, struct MHD_Connection *connection, const char *url,
                             const char *method, const char *version, const char *data,
                             size_t *data_n, void **turn);
void turn_completed(void *cls, struct MHD_Connection *connection, void **turn,
                    enum MHD_RequestTerminationCode why);

#endif
