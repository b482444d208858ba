#include "http/shape.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"

#define NS_PER_S   UINT64_C(1000000000)
#define CHUNK_NS   (2 * UINT64_C(1000000))
#define CHUNK_MIN  1448u
/* How far ahead of its own end a pipe takes chunks. */
#define AHEAD_NS   (20 * UINT64_C(1000000))
#define WINDOW_MIN (64u << 10)
#define WINDOW_MAX (64u << 20)

/* ---- text ---- */

struct unit {
    const char *name;
    double scale;
};
static const struct unit RATES[] = {{"k", 1e3}, {"M", 1e6}, {"G", 1e9}, {"", 1}, {NULL, 0}};
static const struct unit TIMES[] = {{"ms", 1e6}, {"s", 1e9}, {NULL, 0}};

/* A number with one of the units, up to the comma or the end; *text moves past the comma. */
static bool take_number(const char **text, const struct unit *units, double low, double high,
                        uint64_t *out)
{
    char *end;
    errno = 0;
    double v = strtod(*text, &end);
    size_t n = strcspn(end, ",");
    if (errno != 0 || end == *text || **text < '0' || **text > '9')
        return false;
    while (units->name != NULL && (strlen(units->name) != n || strncmp(end, units->name, n) != 0))
        units++;
    v *= units->scale;
    if (units->name == NULL || !(v >= low && v <= high))
        return false;
    *out = (uint64_t)v;
    *text = end[n] == ',' ? end + n + 1 : end + n;
    return true;
}

enum emac_status link_shape_parse(struct link_shape *out, const char *text, struct emac_err *err)
{
    const char *at = text;
    struct link_shape s;
    if (!take_number(&at, RATES, (double)LINK_RATE_MIN, (double)LINK_RATE_MAX, &s.up_bps) ||
        !take_number(&at, RATES, (double)LINK_RATE_MIN, (double)LINK_RATE_MAX, &s.down_bps) ||
        !take_number(&at, TIMES, 0, (double)LINK_LATENCY_MAX, &s.latency_ns) || *at != '\0' ||
        at[-1] == ',')
        return emac_fail(err, EMAC_INVALID,
                         "'%.60s' is no link: write UP,DOWN,LATENCY like 10M,50M,60ms (bits a "
                         "second from 1k to 10G, ms or s up to 10s)",
                         text);
    *out = s;
    return EMAC_OK;
}

/* ---- one direction ---- */

/* Rounded up; n * 8 * 10^9 fits for n <= LINK_CHUNK_MAX. */
static uint64_t duration_ns(const struct link_pipe *p, size_t n)
{
    return ((uint64_t)n * 8 * NS_PER_S + p->bps - 1) / p->bps;
}

static size_t bytes_in(const struct link_pipe *p, uint64_t ns)
{
    return (size_t)((double)p->bps / 8 * ((double)ns / (double)NS_PER_S));
}

size_t link_pipe_chunk(const struct link_pipe *p)
{
    size_t n = bytes_in(p, CHUNK_NS);
    return n < CHUNK_MIN ? CHUNK_MIN : n > LINK_CHUNK_MAX ? LINK_CHUNK_MAX : n;
}

uint64_t link_pipe_opens(const struct link_pipe *p)
{
    return p->free_ns > AHEAD_NS ? p->free_ns - AHEAD_NS : 0;
}

uint64_t link_pipe_take(struct link_pipe *p, uint64_t now, size_t n)
{
    EMAC_ASSERT(n > 0 && n <= LINK_CHUNK_MAX);
    p->free_ns = (now > p->free_ns ? now : p->free_ns) + duration_ns(p, n);
    return p->free_ns + p->latency_ns;
}

size_t link_pipe_window(const struct link_pipe *p)
{
    size_t n = bytes_in(p, p->latency_ns + AHEAD_NS);
    return n < WINDOW_MAX ? n + WINDOW_MIN : WINDOW_MAX;
}

/* ---- bytes in flight ---- */

struct link_chunk {
    struct link_chunk *next;
    uint64_t due_ns;
    size_t len, at; /* at: bytes of it that were delivered */
    uint8_t data[];
};

bool link_line_put(struct link_line *l, const void *data, size_t n, uint64_t due_ns)
{
    EMAC_ASSERT(n <= LINK_CHUNK_MAX);
    struct link_chunk *c = malloc(sizeof *c + n);
    if (c == NULL)
        return false;
    *c = (struct link_chunk){.due_ns = due_ns, .len = n};
    if (n > 0)
        memcpy(c->data, data, n);
    if (l->tail != NULL) {
        c->due_ns = due_ns > l->tail->due_ns ? due_ns : l->tail->due_ns;
        l->tail->next = c;
    } else {
        l->head = c;
    }
    l->tail = c;
    l->bytes += n;
    return true;
}

uint64_t link_line_due(const struct link_line *l)
{
    return l->head != NULL ? l->head->due_ns : UINT64_MAX;
}

const uint8_t *link_line_peek(const struct link_line *l, size_t *n)
{
    EMAC_ASSERT(l->head != NULL);
    *n = l->head->len - l->head->at;
    return l->head->data + l->head->at;
}

void link_line_drop(struct link_line *l, size_t n)
{
    struct link_chunk *c = l->head;
    EMAC_ASSERT(c != NULL && n <= c->len - c->at);
    c->at += n;
    l->bytes -= n;
    if (c->at < c->len)
        return;
    l->head = c->next;
    if (l->head == NULL)
        l->tail = NULL;
    free(c);
}

void link_line_release(struct link_line *l)
{
    while (l->head != NULL)
        link_line_drop(l, l->head->len - l->head->at);
}
