/* What the files of the exchange share. */
#ifndef EMAC_EXCHANGE_INTERNAL_H
#define EMAC_EXCHANGE_INTERNAL_H

#include "exchange/exchange.h"

#define CAR_TYPE          "application/vnd.ipld.car"
#define RAW_TYPE          "application/vnd.ipld.raw"
#define CAR_UPLOAD_MAX    (16u << 20)
#define DEPOT_MISSING_MAX 1000

struct exchange_name {
    char text[CID_TEXT_MAX];
};
struct exchange_name exchange_name_of(const struct cid *cid);
/* printf into an arena; NULL without memory. */
char *exchange_printf(struct arena *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* ---- negotiate.c: what a request asks for ---- */

enum exchange_format { EXCHANGE_RAW, EXCHANGE_CAR };

struct exchange_ask {
    enum exchange_format format;
    bool format_in_query;
    bool duplicates;
    uint8_t scope; /* enum store_scope */
    bool scope_given;
    const char *range; /* entity-bytes as sent; NULL: none */
};
/* INVALID says what is wrong or not supported. */
enum emac_status exchange_ask_parse(const struct http_request *req, struct exchange_ask *out,
                                    struct emac_err *err);
/* entity-bytes of a file of `size` bytes: [*from, *to). An empty range is from == to. */
enum emac_status exchange_range_parse(const char *text, uint64_t size, uint64_t *from, uint64_t *to,
                                      struct emac_err *err);

#endif
