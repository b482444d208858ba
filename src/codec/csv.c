#include "codec/csv.h"

#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/utf8.h"

static const uint8_t BYTE_ORDER_MARK[3] = {0xef, 0xbb, 0xbf};

void csv_init(struct csv *c, struct emac_slice text)
{
    *c = (struct csv){.left = text, .line = 1};
    emac_buf_init(&c->cells, CSV_ROW_BYTES_MAX);
    if (text.len >= sizeof BYTE_ORDER_MARK &&
        memcmp(text.data, BYTE_ORDER_MARK, sizeof BYTE_ORDER_MARK) == 0)
        c->left = EMAC_SLICE(text.data + sizeof BYTE_ORDER_MARK, text.len - sizeof BYTE_ORDER_MARK);
}

void csv_release(struct csv *c)
{
    free(c->at);
    emac_buf_release(&c->cells);
}

const char *csv_cell(const struct csv *c, uint32_t i)
{
    EMAC_ASSERT(i < c->count);
    return (const char *)c->cells.data + c->at[i];
}

/* ---- bytes ---- */

#define END (-1)

static int peek(const struct csv *c)
{
    return c->left.len == 0 ? END : c->left.data[0];
}

static void skip(struct csv *c)
{
    if (c->left.data[0] == '\n')
        c->line++;
    c->left.data++;
    c->left.len--;
}

/* Take the end of a line, or of the text; false when there is something else. */
static bool line_end(struct csv *c)
{
    if (c->left.len >= 2 && c->left.data[0] == '\r' && c->left.data[1] == '\n')
        skip(c);
    if (peek(c) == '\n')
        skip(c);
    else if (peek(c) != END)
        return false;
    return true;
}

/* ---- cells ---- */

static enum emac_status cell_add(struct csv *c, const uint8_t *from, size_t n, struct emac_err *err)
{
    enum emac_status st = emac_buf_append(&c->cells, from, n, err);
    return st == EMAC_TOO_LARGE ? emac_fail(err, st, "line %zu: the row is longer than %u bytes",
                                            c->row_line, CSV_ROW_BYTES_MAX)
                                : st;
}

static enum emac_status quoted(struct csv *c, struct emac_err *err)
{
    size_t begin = c->line;
    skip(c);
    for (;;) {
        const uint8_t *from = c->left.data;
        size_t n = 0;
        while (peek(c) != END && peek(c) != '"') {
            skip(c);
            n++;
        }
        enum emac_status st = cell_add(c, from, n, err);
        if (st != EMAC_OK)
            return st;
        if (peek(c) == END)
            return emac_fail(err, EMAC_INVALID, "line %zu: a quoted cell is never closed", begin);
        skip(c);
        if (peek(c) != '"')
            return EMAC_OK;
        st = cell_add(c, c->left.data, 1, err);
        if (st != EMAC_OK)
            return st;
        skip(c);
    }
}

static bool ends_cell(const struct csv *c, size_t n)
{
    if (n == c->left.len || c->left.data[n] == ',' || c->left.data[n] == '\n')
        return true;
    return c->left.data[n] == '\r' && n + 1 < c->left.len && c->left.data[n + 1] == '\n';
}

static enum emac_status plain(struct csv *c, struct emac_err *err)
{
    size_t n = 0;
    while (!ends_cell(c, n))
        n++;
    enum emac_status st = cell_add(c, c->left.data, n, err);
    c->left.data += n;
    c->left.len -= n;
    return st;
}

static enum emac_status cell(struct csv *c, struct emac_err *err)
{
    size_t begin = c->cells.len;
    enum emac_status st;
    if (c->count == CSV_CELLS_MAX)
        return emac_fail(err, EMAC_TOO_LARGE, "line %zu: more than %d cells", c->row_line,
                         CSV_CELLS_MAX);
    c->at[c->count++] = begin;
    st = peek(c) == '"' ? quoted(c, err) : plain(c, err);
    if (st != EMAC_OK)
        return st;
    const char *text = (const char *)c->cells.data + begin;
    size_t n = c->cells.len - begin;
    if (n > 0 && (memchr(text, 0, n) != NULL || !emac_utf8_valid(text, n)))
        return emac_fail(err, EMAC_INVALID, "line %zu: a cell is not UTF-8 text", c->row_line);
    return cell_add(c, (const uint8_t *)"", 1, err);
}

enum emac_status csv_next(struct csv *c, bool *row, struct emac_err *err)
{
    enum emac_status st;
    *row = false;
    c->count = 0;
    emac_buf_clear(&c->cells);
    if (c->at == NULL) {
        st = emac_alloc(&c->at, CSV_CELLS_MAX, sizeof *c->at, err);
        if (st != EMAC_OK)
            return st;
    }
    while (peek(c) != END && line_end(c))
        ;
    if (peek(c) == END)
        return EMAC_OK;
    c->row_line = c->line;
    for (;;) {
        st = cell(c, err);
        if (st != EMAC_OK)
            return st;
        if (line_end(c))
            break;
        if (peek(c) != ',')
            return emac_fail(err, EMAC_INVALID, "line %zu: text follows a closing quote", c->line);
        skip(c);
    }
    *row = true;
    return EMAC_OK;
}
