/* Comma-separated values (RFC 4180): rows of cells, lines ended by LF or CRLF. A cell in double
 * quotes may hold commas, line ends and doubled quotes. Lines without anything are skipped. Text is
 * UTF-8 without NUL; a byte order mark at the start is skipped.
 *
 *     csv_init(&c, text);
 *     while ((st = csv_next(&c, &row, err)) == EMAC_OK && row)
 *         use csv_cell(&c, i) for i < c.count, which end with the next call
 *     csv_release(&c); */
#ifndef EMAC_CODEC_CSV_H
#define EMAC_CODEC_CSV_H

#include "base/buf.h"

#define CSV_CELLS_MAX     8192
#define CSV_ROW_BYTES_MAX (1u << 20)

struct csv {
    struct emac_slice left; /* of the text */
    size_t line;            /* number of the next line, from 1 */
    size_t row_line;        /* of the row read last: where it begins */
    uint32_t count;         /* cells of that row */
    size_t *at;             /* of each cell in `cells` */
    struct emac_buf cells;  /* each ends with NUL */
};

void csv_init(struct csv *c, struct emac_slice text);
void csv_release(struct csv *c);
/* *row = false at the end. INVALID naming the line: an open quote, text after a closing one, NUL or
 * bytes that are not UTF-8; TOO_LARGE over the limits. */
enum emac_status csv_next(struct csv *c, bool *row, struct emac_err *err);
const char *csv_cell(const struct csv *c, uint32_t i);

#endif
