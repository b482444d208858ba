/* Text on its way to the coordinator. */
#include <string.h>

#include "base/assert.h"
#include "base/log.h"
#include "node/serving.h"

#define POST_EVERY_MS   20
#define POST_BYTES      16
#define POST_BYTES_MOST (32u << 10)
#define POST_TRIES      3

/* ---- the poster ---- */

/* Where to cut what has come together over a slow network: after a whole character. */
static size_t piece_cut(const struct emac_buf *text)
{
    size_t n = text->len < POST_BYTES_MOST ? text->len : POST_BYTES_MOST;
    while (n > 0 && n < text->len && (text->data[n] & 0xc0) == 0x80)
        n--;
    return n;
}

static json_t *piece_json(struct post *p, bool *last)
{
    bool failed = p->error.status != EMAC_OK;
    size_t n = piece_cut(&p->text);
    *last = p->done && n == p->text.len;
    json_t *o = json_pack("{s:I,s:o,s:I,s:b,s:s?,s:I,s:o}", "seq", (json_int_t)p->sent++, "text",
                          json_stringn(emac_buf_str(&p->text), n), "tokens", (json_int_t)p->tokens,
                          "done", (int)*last, "finish_reason", p->finish, "prompt_tokens",
                          (json_int_t)p->prompt_tokens, "error",
                          failed ? agent_json_sentence(p->error.text) : json_null());
    p->tokens = 0;
    p->text.len -= n;
    if (n > 0)
        memmove(p->text.data, p->text.data + n, p->text.len + 1); /* and the zero behind it */
    return o;
}

/* Waits until there is something to send; NULL when nothing will come any more. */
static json_t *piece_take(struct post *p, uint64_t *sent_ns, bool *last)
{
    struct os *os = p->n->os;
    os_mutex_lock(&p->lock);
    while (!p->done && !p->cancel) {
        uint64_t since = (os->mono_ns(os) - *sent_ns) / NS_PER_MS;
        if (p->text.len >= POST_BYTES || (p->text.len > 0 && since >= POST_EVERY_MS))
            break;
        if (p->text.len > 0)
            os_cond_wait_ms(&p->changed, &p->lock, (uint32_t)(POST_EVERY_MS - since));
        else
            os_cond_wait(&p->changed, &p->lock);
    }
    json_t *o = p->cancel ? NULL : piece_json(p, last);
    os_mutex_unlock(&p->lock);
    *sent_ns = os->mono_ns(os);
    return o;
}

/* true when the client wants more */
static bool piece_send(struct post *p, const char *path, json_t *piece)
{
    struct emac_err err = {.status = EMAC_OK};
    enum emac_status st = EMAC_UNAVAILABLE;
    json_t *reply = NULL;
    for (int i = 0; i < POST_TRIES && emac_status_retryable(st); i++) {
        if (i > 0)
            agent_pause(p->n, 100u << i);
        if (i > 0 && agent_over(p->n))
            break;
        st = agent_post(p->n, path, json_incref(piece), NODE_CALL_MS, &reply, &err);
    }
    bool more = st == EMAC_OK && !json_is_true(json_object_get(reply, "cancel"));
    if (st == EMAC_FORBIDDEN)
        agent_refused(p->n, &err);
    else if (st != EMAC_OK)
        LOG_W("node", "a piece of text cannot be delivered: %s", err.text);
    json_decref(reply);
    return more;
}

static void *poster(void *arg)
{
    struct post *p = arg;
    char path[sizeof "/v1/serve/" + NODE_LEASE_MAX] = "/v1/serve/";
    uint64_t sent_ns = 0;
    bool last = false;
    strncat(path, p->lease, NODE_LEASE_MAX);
    while (!last) {
        json_t *piece = piece_take(p, &sent_ns, &last);
        if (piece == NULL)
            break;
        if (!piece_send(p, path, piece)) {
            os_mutex_lock(&p->lock);
            p->cancel = true;
            os_mutex_unlock(&p->lock);
        }
        json_decref(piece);
    }
    os_mutex_lock(&p->lock);
    p->over = true;
    os_mutex_unlock(&p->lock);
    return NULL;
}

/* ---- the worker ---- */

void post_open(struct post *p, struct node *n, const char *lease)
{
    *p = (struct post){.n = n, .lease = lease};
    emac_buf_init(&p->text, POST_TEXT_MAX);
    os_mutex_init(&p->lock);
    os_cond_init(&p->changed);
    os_thread_start(&p->thread, poster, p);
}

/* The lock is held. */
static bool is_wanted(struct post *p)
{
    return !p->cancel && !agent_lease_cancelled(p->n, p->lease) && !agent_over(p->n);
}

bool post_wanted(struct post *p)
{
    os_mutex_lock(&p->lock);
    bool wanted = is_wanted(p);
    os_mutex_unlock(&p->lock);
    return wanted;
}

bool post_add(struct post *p, const struct emac_buf *text, uint32_t prompt_tokens)
{
    os_mutex_lock(&p->lock);
    bool more = is_wanted(p) && emac_buf_append(&p->text, text->data, text->len, NULL) == EMAC_OK;
    p->tokens++;
    p->prompt_tokens = prompt_tokens;
    os_cond_signal(&p->changed);
    os_mutex_unlock(&p->lock);
    return more;
}

void post_done(struct post *p, const struct emac_buf *text, const char *finish,
               const struct emac_err *error)
{
    os_mutex_lock(&p->lock);
    emac_buf_append(&p->text, text->data, text->len, NULL);
    p->finish = finish;
    p->error = *error;
    p->done = true;
    os_cond_signal(&p->changed);
    os_mutex_unlock(&p->lock);
}

bool post_over(struct post *p)
{
    os_mutex_lock(&p->lock);
    bool over = p->over;
    os_mutex_unlock(&p->lock);
    return over;
}

void post_close(struct post *p)
{
    os_thread_join(&p->thread);
    os_cond_release(&p->changed);
    os_mutex_release(&p->lock);
    emac_buf_release(&p->text);
}
