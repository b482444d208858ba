/* Sizes of the operators on images, [B,H,W,C], computed once for inference, flops and every
 * device. Letters as in op.h. */
#ifndef EMAC_COMPUTE_IMAGE_H
#define EMAC_COMPUTE_IMAGE_H

#include "compute/op.h"

#define POOL_SIZE_MAX 4096 /* so that size^2 is exact in binary32 */

/* Of a convolution x[b,h,w,c], w[o,kh,kw,c] -> y[b,oh,ow,o], whichever of the three is an output.
 */
struct conv_dims {
    size_t b, h, w, c, o, kh, kw, oh, ow, stride, pad;
};

/* Of a pooling x[b,h,w,c] -> y[b,oh,ow,c]. */
struct pool_dims {
    size_t b, h, w, c, oh, ow, size, stride;
};

/* op: conv2d or one of its gradients; inputs of rank 4, attributes within 0..INT32_MAX, stride and
 * sizes at least 1. False when inputs and attributes do not go together. */
bool conv_dims(enum op op, const struct op_attrs *attrs, const struct tensor *in,
               struct conv_dims *out);
/* op: a pooling or the gradient of one; likewise. */
bool pool_dims(enum op op, const struct op_attrs *attrs, const struct tensor *in,
               struct pool_dims *out);

#endif
