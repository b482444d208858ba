/* Between the files of the book; nobody else includes it. */
#ifndef EMAC_CHAIN_BOOK_IMPL_H
#define EMAC_CHAIN_BOOK_IMPL_H

#include "chain/book.h"

/* An event of the data cap registry (BOOK-8), in tx. */
enum emac_status chain_take_datacap(struct db *db, const struct chain_event *e, uint64_t at_ms,
                                    struct emac_err *err);

#endif
