/* What a thin link does to bytes, as numbers and queues alone: no clock, no
 * socket (link.h has those). All times are nanoseconds of one monotonic clock,
 * handed in by the caller.
 *
 * The model, each way on its own:
 *   rate     All connections of a link share one server of bytes. A chunk of n
 *            bytes taken at t begins at max(t, end of the chunk before) and ends
 *            n * 8 / rate later, rounded up: a token bucket that is one chunk
 *            deep. So within any w seconds the chunks that end hold at most
 *            w * rate / 8 bytes and one chunk more. A chunk is what the link
 *            carries in 2 ms, at least 1448 bytes, at most 64 KiB.
 *   latency  A chunk is delivered `latency` after its end. Those behind it do
 *            not wait for that: bytes in flight are late, not stalled, so that
 *            latency alone bounds no throughput.
 *   opening  Until one round trip (2 * latency) after it was opened a connection
 *            carries nothing, as with TCP's handshake.
 * Connections take turns, a chunk each. Nothing is lost and nothing comes out of
 * order. A line holds at most what is in flight at the full rate, and 64 KiB
 * more; a receiver that does not read holds up its own connection alone. */
#ifndef EMAC_HTTP_SHAPE_H
#define EMAC_HTTP_SHAPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

#define LINK_RATE_MIN    UINT64_C(1000)        /* bits a second */
#define LINK_RATE_MAX    UINT64_C(10000000000) /* bits a second */
#define LINK_LATENCY_MAX UINT64_C(10000000000) /* nanoseconds */
#define LINK_CHUNK_MAX   (64u << 10)

struct link_shape {
    uint64_t up_bps, down_bps; /* bits a second; what the rig sends, what it receives */
    uint64_t latency_ns;       /* one way */
};

/* "UP,DOWN,LATENCY": rates in bits a second, "10M" (k, M, G are powers of 1000), from 1k to 10G;
 * latency in "ms" or "s", 0 to 10 s. INVALID says what is wrong. */
enum emac_status link_shape_parse(struct link_shape *out, const char *text, struct emac_err *err);

/* One direction of a link: when the bytes given to it come out. */
struct link_pipe {
    uint64_t bps, latency_ns;
    uint64_t free_ns; /* end of the chunk taken last */
};
size_t link_pipe_chunk(const struct link_pipe *p);
/* When it takes the next chunk: somewhat before it has sent the last, so that a thread that wakes
 * late leaves no gap. */
uint64_t link_pipe_opens(const struct link_pipe *p);
/* It takes n bytes (1 to LINK_CHUNK_MAX) at `now`; when they are delivered. */
uint64_t link_pipe_take(struct link_pipe *p, uint64_t now, size_t n);
/* Bytes that one line on it may hold. */
size_t link_pipe_window(const struct link_pipe *p);

/* Bytes of one connection in flight one way: a queue in the order of delivery. Zeroed is empty. */
struct link_chunk;
struct link_line {
    struct link_chunk *head, *tail;
    size_t bytes;
};
/* Adds a copy of n bytes, delivered at due_ns or when those before it are, if that is later; n 0
 * marks the end of the stream. False without memory. */
bool link_line_put(struct link_line *l, const void *data, size_t n, uint64_t due_ns);
/* When its first bytes are due; UINT64_MAX when it is empty. */
uint64_t link_line_due(const struct link_line *l);
/* The first bytes not yet delivered; *n is 0 at the end of the stream. The line is not empty. */
const uint8_t *link_line_peek(const struct link_line *l, size_t *n);
/* n of them were delivered (0 for the end of the stream). */
void link_line_drop(struct link_line *l, size_t n);
void link_line_release(struct link_line *l);

#endif
