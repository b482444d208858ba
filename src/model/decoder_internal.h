/* What decoder.c and session.c share. Nothing else includes this. */
#ifndef EMAC_MODEL_DECODER_INTERNAL_H
#define EMAC_MODEL_DECODER_INTERNAL_H

#include "model/decoder.h"
#include "model/session.h"
#include "model/weights.h"

struct scratch {
    float *block;
    uint32_t rows; /* what it is laid out for */
    float *x, *h, *q, *o, *max, *sum, *gate, *up, *rstd;
};

struct decoder {
    struct device *dev;
    struct llama_config c;
    struct weights weights;
    uint32_t table_rows;
    float *cos, *sin; /* [table_rows, E/2] */
    struct scratch s;
    uint32_t logits_rows;
    float *logits; /* [logits_rows, vocab] */
    /* In host memory, where the device's is another: rows of the embedding on their way, and logits
     * that came. NULL, and the same sizes. */
    float *embedded, *told;
};

struct session {
    struct decoder *d;
    bool own_decoder;
    uint32_t length, cache_rows;
    float **k, **v; /* per layer: [cache_rows, G*E], the device's memory */
};

/* A larger block of the device's memory with the first `used` floats of the old one. */
enum emac_status decoder_grow(struct decoder *d, float **block, size_t used, size_t floats,
                              struct emac_err *err);
/* Rotary tables of so many positions. After a failure they are those that were, which other
 * sequences go on with. */
enum emac_status decoder_tables(struct decoder *d, uint32_t rows, struct emac_err *err);
/* The parts' tokens, one part's rows after another's, through all layers: keys and values into the
 * caches, which have room; the logits of those that want them. Lengths are not changed. A part that
 * has failed (err) is passed over; one whose logits are not finite fails. What fails all:
 * NO_MEMORY.
 */
enum emac_status decoder_run(struct decoder *d, struct session_part *part, uint32_t count,
                             struct emac_err *err);

#endif
