/* Rows of a job as a stream of events: what is there, then what comes, until the job has ended. */
#include "coordinator/internal.h"

#include <stdlib.h>
#include <string.h>

#define FOLLOW_PAGE       200
#define FOLLOW_WAIT_MS    500
#define FOLLOW_COMMENT_MS 15000

struct follow {
    struct coordinator *c;
    follow_reader *read;
    char job[JOB_ID_MAX];
    int64_t after;
    uint64_t said_ms;
};

static bool events_write(struct follow *f, struct emac_buf *chunk, size_t *count)
{
    json_t *list = json_array();
    enum emac_status st = f->read(f->c, f->job, &f->after, FOLLOW_PAGE, list, NULL);
    *count = json_array_size(list);
    if (*count > 0 && db_sync(f->c->db, NULL) != EMAC_OK)
        st = EMAC_IO; /* no row is told of that could be lost */
    for (size_t i = 0; i < *count && st == EMAC_OK; i++) {
        char *text = json_dumps(json_array_get(list, i), JSON_COMPACT);
        st = text ? http_sse_event(chunk, text, NULL) : EMAC_NO_MEMORY;
        free(text);
    }
    json_decref(list);
    return st == EMAC_OK;
}

static bool follow_stream(void *ctx, struct emac_buf *chunk)
{
    struct follow *f = ctx;
    struct coordinator *c = f->c;
    for (;;) {
        /* Asked before the rows are read, so that the last row of an ended job is not missed. */
        os_mutex_lock(&c->lock);
        bool open = job_find(c, f->job) != NULL && !c->stopping;
        os_mutex_unlock(&c->lock);
        size_t count;
        if (!events_write(f, chunk, &count))
            return false;
        if (count == FOLLOW_PAGE)
            return true;
        if (!open)
            return false;
        if (count > 0) {
            f->said_ms = now_ms(c);
            return true;
        }
        if (now_ms(c) - f->said_ms > FOLLOW_COMMENT_MS) {
            f->said_ms = now_ms(c);
            return emac_buf_printf(chunk, NULL, ": still here\n\n") == EMAC_OK;
        }
        os_mutex_lock(&c->lock);
        if (!c->stopping)
            os_cond_wait_ms(&c->changed, &c->lock, FOLLOW_WAIT_MS);
        os_mutex_unlock(&c->lock);
    }
}

bool follow_asked(const struct http_request *req)
{
    const char *accept = http_header_get(&req->headers, "Accept");
    return accept && strstr(accept, "text/event-stream");
}

enum emac_status follow_start(struct coordinator *c, follow_reader *read, const char *job,
                              int64_t after, struct http_response *res, struct emac_err *err)
{
    struct follow *f;
    enum emac_status st = emac_alloc(&f, 1, sizeof(*f), err);
    if (st != EMAC_OK)
        return st;
    f->c = c;
    f->read = read;
    f->after = after;
    f->said_ms = now_ms(c);
    emac_strcpy(f->job, sizeof(f->job), job);
    res->content_type = "text/event-stream";
    http_header_add(&res->headers, "Cache-Control", "no-cache");
    res->stream = follow_stream;
    res->stream_free = free;
    res->stream_ctx = f;
    return EMAC_OK;
}
