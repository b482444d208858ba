/* The readable oracle: one short function per operator, single-threaded, written
 * like the paper, with shapes beside the pointers. Every other kernel of every
 * device must equal these bit for bit; docs/numerics.md states in prose what
 * they state in C. Shapes and ids were checked by the caller.
 *
 * Reading aid: each C expression below is a sequence of single roundings in the
 * order of C's grammar (no contraction, no excess precision); an fma is written
 * fn_fma. */
#ifndef EMAC_COMPUTE_REF_REF_H
#define EMAC_COMPUTE_REF_REF_H

#include "compute/device_impl.h"

#define RULE_BLOCK 256 /* rules 3 and 4 */
#define RULE_LANES 16  /* rule 4 */

typedef enum emac_status ref_fn(const struct op_attrs *attrs, const struct tensor *in,
                                struct tensor *out, struct emac_err *err);

extern ref_fn *const ref_table[OP_COUNT];

ref_fn ref_embed, ref_embed_grad, ref_matmul, ref_add, ref_mul, ref_scale, ref_rmsnorm,
    ref_rmsnorm_grad, ref_rope, ref_attention, ref_attention_grad, ref_swiglu, ref_swiglu_grad,
    ref_xent, ref_xent_grad, ref_sumall, ref_sumsq, ref_clip_coef, ref_sqrt, ref_adamw, ref_fill,
    ref_randn, ref_reshape, ref_bias, ref_sum_rows, ref_relu, ref_relu_grad, ref_conv2d,
    ref_conv2d_grad_x, ref_conv2d_grad_w, ref_maxpool2d, ref_maxpool2d_grad, ref_avgpool2d,
    ref_avgpool2d_grad, ref_correct, ref_quantise, ref_dequantise, ref_qmatmul, ref_layernorm,
    ref_layernorm_grad, ref_gelu, ref_gelu_grad, ref_gelu_tanh, ref_gelu_tanh_grad,
    ref_position_add, ref_dropout, ref_pack, ref_unpack;

/* Blocks begin..end of pack and unpack. */
void ref_pack_range(const struct op_attrs *attrs, const struct tensor *in, struct tensor *out,
                    size_t begin, size_t end);
void ref_unpack_range(const struct op_attrs *attrs, const struct tensor *in, struct tensor *out,
                      size_t begin, size_t end);

/* Rule 3: init, add every product in index order, end. */
struct ref_chain {
    float acc, total;
    size_t count;
};
void ref_chain_init(struct ref_chain *s);
void ref_chain_add(struct ref_chain *s, float a, float b);
float ref_chain_end(struct ref_chain *s);
enum emac_status ref_device_open(struct device **out, struct emac_err *err);

/* Whether x[0..n), stored as bf16, holds no NaN and no infinity. */
bool ref_bf16_finite(const uint16_t *x, size_t n);

/* Rule 3: sum over k of a[k * as] * b[k * bs]. */
float ref_dot(const float *a, size_t as, const float *b, size_t bs, size_t n);

/* Rule 4: init, add every term in index order, end. */
struct ref_sum {
    float lane[RULE_LANES], total;
    size_t count;
};
void ref_sum_init(struct ref_sum *s);
void ref_sum_add(struct ref_sum *s, float term);
float ref_sum_end(struct ref_sum *s);

/* The largest of x[0..n), n >= 1; never -0. */
float ref_max(const float *x, size_t n);

/* Row of attention (rule 5): q[E] against keys 0..len-1; key j at k + j*stride, value at
 * v + j*stride. p: room for len numbers. -> o[E], and the softmax's max and sum. */
void ref_attention_row(const float *q, const float *k, const float *v, size_t stride, size_t len,
                       size_t head_dim, float scale, float *p, float *o, float *max, float *sum);

#endif
