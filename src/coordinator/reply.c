#include "coordinator/reply.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/hex.h"

static void put(struct reply *r, const void *data, size_t n)
{
    if (r->st == EMAC_OK)
        r->st = emac_buf_append(r->to, data, n, NULL);
}

void reply_raw(struct reply *r, const char *json)
{
    put(r, json, strlen(json));
}

/* RFC 8259: quotes, backslashes and control characters alone must be escaped. */
static bool is_plain(unsigned char c)
{
    return c >= 0x20 && c != '"' && c != '\\';
}

void reply_text(struct reply *r, const char *text)
{
    put(r, "\"", 1);
    while (*text != '\0') {
        size_t n = 0;
        while (text[n] != '\0' && is_plain((unsigned char)text[n]))
            n++;
        put(r, text, n);
        text += n;
        if (*text != '\0') {
            char escaped[8];
            int len = snprintf(escaped, sizeof escaped, "\\u%04x", (unsigned char)*text++);
            put(r, escaped, (size_t)len);
        }
    }
    put(r, "\"", 1);
}

void reply_int(struct reply *r, int64_t value)
{
    char text[24];
    int n = snprintf(text, sizeof text, "%" PRId64, value);
    put(r, text, (size_t)n);
}

void reply_units(struct reply *r, int64_t units)
{
    put(r, "\"", 1);
    reply_int(r, units);
    put(r, "\"", 1);
}

void reply_cid(struct reply *r, const struct cid *cid)
{
    char text[CID_TEXT_MAX + 2];
    EMAC_ASSERT(!cid_is_none(cid));
    text[0] = '"';
    cid_text(text + 1, cid);
    size_t n = strlen(text);
    text[n] = '"';
    put(r, text, n + 1);
}

void reply_base64(struct reply *r, const void *data, size_t n)
{
    size_t len = EMAC_BASE64_LEN(n);
    put(r, "\"", 1);
    if (r->st == EMAC_OK)
        r->st = emac_buf_reserve(r->to, len, NULL);
    if (r->st == EMAC_OK) {
        emac_base64((char *)r->to->data + r->to->len, data, n);
        r->to->len += len;
    }
    put(r, "\"", 1);
}

static int dump(const char *data, size_t n, void *ctx)
{
    struct reply *r = ctx;
    put(r, data, n);
    return r->st == EMAC_OK ? 0 : -1;
}

void reply_json(struct reply *r, json_t *tree)
{
    bool written = tree != NULL && json_dump_callback(tree, dump, r, JSON_COMPACT) == 0;
    if (!written && r->st == EMAC_OK)
        r->st = EMAC_NO_MEMORY;
    json_decref(tree);
}

enum emac_status reply_end(struct reply *r, struct emac_err *err)
{
    if (r->st == EMAC_OK)
        return EMAC_OK;
    emac_buf_clear(r->to);
    if (r->st == EMAC_TOO_LARGE)
        return emac_fail(err, EMAC_TOO_LARGE, "the answer is too large: ask for less at once");
    return emac_fail(err, r->st, "no memory for the answer");
}
