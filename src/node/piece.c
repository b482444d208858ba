/* INV-1  raw is a proper beginning of a character; held is a proper beginning of some stop string,
 *        or empty. So held never grows past PIECE_STOP_BYTES and one character. */
#include "node/piece.h"

#include <string.h>

#include "base/assert.h"
#include "base/utf8.h"

static const char REPLACEMENT[] = "\xef\xbf\xbd"; /* U+FFFD */

void piece_init(struct piece_filter *f)
{
    memset(f, 0, sizeof *f);
}

enum emac_status piece_stop_add(struct piece_filter *f, const char *stop, size_t n,
                                struct emac_err *err)
{
    if (f->stop_count == PIECE_STOPS_MAX)
        return emac_fail(err, EMAC_INVALID, "at most %d stop strings may be given",
                         PIECE_STOPS_MAX);
    if (n == 0 || n > PIECE_STOP_BYTES || memchr(stop, '\0', n) != NULL ||
        !emac_utf8_valid(stop, n))
        return emac_fail(err, EMAC_INVALID, "a stop string is UTF-8 of 1 to %d bytes",
                         PIECE_STOP_BYTES);
    memcpy(f->stop[f->stop_count], stop, n);
    f->stop[f->stop_count++][n] = '\0';
    return EMAC_OK;
}

/* ---- stop strings ---- */

enum match { MATCH_NONE, MATCH_BEGINS, MATCH_WHOLE };

static enum match match_at(const struct piece_filter *f, const char *text, size_t n)
{
    enum match found = MATCH_NONE;
    for (uint32_t i = 0; i < f->stop_count; i++) {
        size_t len = strlen(f->stop[i]);
        if (memcmp(text, f->stop[i], n < len ? n : len) != 0)
            continue;
        if (n >= len)
            return MATCH_WHOLE;
        found = MATCH_BEGINS;
    }
    return found;
}

/* A stop string begins with the first byte of a character, so a match never begins inside one, and
 * what is let go ends with a whole character. */
static enum emac_status settle(struct piece_filter *f, struct emac_buf *out, struct emac_err *err)
{
    size_t at = 0;
    enum match m = MATCH_NONE;
    while (at < f->held_len) {
        m = match_at(f, f->held + at, f->held_len - at);
        if (m != MATCH_NONE)
            break;
        at++;
    }
    enum emac_status st = emac_buf_append(out, f->held, at, err);
    f->stopped = m == MATCH_WHOLE && at < f->held_len;
    f->held_len = f->stopped ? 0 : f->held_len - at;
    memmove(f->held, f->held + at, f->held_len);
    return st;
}

static enum emac_status character(struct piece_filter *f, const void *text, size_t n,
                                  struct emac_buf *out, struct emac_err *err)
{
    EMAC_ASSERT(f->held_len + n <= sizeof f->held);
    memcpy(f->held + f->held_len, text, n);
    f->held_len += n;
    return settle(f, out, err);
}

/* ---- UTF-8 ---- */

/* May more bytes make a character of these? */
static bool may_grow(const uint8_t *raw, size_t n)
{
    size_t whole = raw[0] >= 0xf0 ? 4 : raw[0] >= 0xe0 ? 3 : 2;
    if (raw[0] < 0xc2 || raw[0] > 0xf4 || n >= whole)
        return false;
    for (size_t i = 1; i < n; i++) {
        if ((raw[i] & 0xc0) != 0x80)
            return false;
    }
    return true;
}

enum emac_status piece_push(struct piece_filter *f, uint8_t byte, struct emac_buf *out,
                            struct emac_err *err)
{
    enum emac_status st = EMAC_OK;
    EMAC_ASSERT(f->raw_len < sizeof f->raw);
    f->raw[f->raw_len++] = byte;
    while (st == EMAC_OK && f->raw_len > 0 && !f->stopped) {
        size_t n = emac_utf8_next(f->raw, f->raw_len, NULL);
        if (n == 0 && may_grow(f->raw, f->raw_len))
            return EMAC_OK;
        if (n == 0 || f->raw[0] == 0) {
            n = 1;
            st = character(f, REPLACEMENT, sizeof REPLACEMENT - 1, out, err);
        } else {
            st = character(f, f->raw, n, out, err);
        }
        f->raw_len -= n;
        memmove(f->raw, f->raw + n, f->raw_len);
    }
    return st;
}

enum emac_status piece_end(struct piece_filter *f, struct emac_buf *out, struct emac_err *err)
{
    enum emac_status st = EMAC_OK;
    while (f->raw_len > 0 && !f->stopped && st == EMAC_OK) {
        f->raw_len--;
        st = character(f, REPLACEMENT, sizeof REPLACEMENT - 1, out, err);
    }
    if (st == EMAC_OK && !f->stopped)
        st = emac_buf_append(out, f->held, f->held_len, err);
    f->held_len = 0;
    return st;
}
