/* The closed set of operators: one table from which shape inference, checks,
 * flop counts, dispatch, the canonical form, docs and tests are driven.
 *
 * Every float result is defined bit for bit by numerics version 1
 * (docs/numerics.md); "rule n" below refers to it. No operator allocates; a
 * kernel may use the device's scratch memory. Inputs and outputs never
 * overlap, but where op_info's `in_place` is true output i may lie exactly on
 * input i.
 *
 * An f32 input may be stored as bf16, and output 0 may be: an operator reads and
 * computes the binary32 (rule 8). Shapes are then inferred as for f32.
 *
 * Letters: N tokens (rows), B sequences, T positions (N = B*T), D model width,
 * H heads, G kv heads (H % G == 0), E head width, F feed-forward width, V
 * vocabulary. Images are [B,H,W,C]: batch, height, width, channels (a pixel's channels lie
 * together); O output channels, KH x KW a kernel's taps, OH x OW the result's pixels. */
#ifndef EMAC_COMPUTE_OP_H
#define EMAC_COMPUTE_OP_H

#include "compute/tensor.h"

#define OP_IN_MAX   8
#define OP_OUT_MAX  4
#define OP_ATTR_MAX 6

/* X(ENUM, "name", inputs, outputs, "i:attr f:attr ..." in positional order) */
#define OP_TABLE(X)                                                                                \
    /* ids i32[N], table[V,D] -> [N,D]: rows copied; id outside 0..V-1 fails the task */           \
    X(EMBED, "embed", 2, 1, "")                                                                    \
    /* ids i32[N], dy[N,D] -> dtable[V,D]: per row the tokens in index order, added from +0 */     \
    X(EMBED_GRAD, "embed_grad", 2, 1, "i:vocab")                                                   \
    /* a, b -> C[M,N] = op(A) op(B), rule 3. trans_a: a is stored [K,M]; trans_b: b is [N,K].      \
     * Higher-rank inputs are not accepted. */                                                     \
    X(MATMUL, "matmul", 2, 1, "i:trans_a i:trans_b")                                               \
    /* a, b same shape -> a + b */                                                                 \
    X(ADD, "add", 2, 1, "")                                                                        \
    /* a, b same shape -> a * b */                                                                 \
    X(MUL, "mul", 2, 1, "")                                                                        \
    /* a, s[1] -> a * s */                                                                         \
    X(SCALE, "scale", 2, 1, "")                                                                    \
    /* x[N,D], w[D] -> y[N,D] = (x * rstd) * w, rstd[N] = rsqrt(sumsq(x)/D + eps) (sum: rule 4,    \
     * division by multiplication with the binary32 of 1/D) */                                     \
    X(RMSNORM, "rmsnorm", 2, 2, "f:eps")                                                           \
    /* dy[N,D], x[N,D], w[D], rstd[N] -> dx[N,D], dw[D] (sum over N: rule 4) */                    \
    X(RMSNORM_GRAD, "rmsnorm_grad", 4, 2, "")                                                      \
    /* x[N,heads*E], cos[T,E/2], sin[T,E/2] -> y: pairs (j, j+E/2) of each head rotated by the     \
     * angle of position n mod T; inverse=1 rotates back (the gradient) */                         \
    X(ROPE, "rope", 3, 1, "i:heads i:inverse")                                                     \
    /* q[B*T,H*E], k[B*T,G*E], v[B*T,G*E] -> o[B*T,H*E], max[B,H,T], sum[B,H,T]: causal, rule 5;   \
     * scores scaled by the binary32 `scale` */                                                    \
    X(ATTENTION, "attention", 3, 3, "i:batch i:heads i:kv_heads f:scale")                          \
    /* do, q, k, v, o, max, sum -> dq, dk, dv */                                                   \
    X(ATTENTION_GRAD, "attention_grad", 7, 3, "i:batch i:heads i:kv_heads f:scale")                \
    /* g[N,F], u[N,F] -> (g * sigmoid(g)) * u */                                                   \
    X(SWIGLU, "swiglu", 2, 1, "")                                                                  \
    /* dy, g, u -> dg, du */                                                                       \
    X(SWIGLU_GRAD, "swiglu_grad", 3, 2, "")                                                        \
    /* logits[N,V], targets i32[N] -> loss[N] = log(sum exp(l - max)) + max - l[target],           \
     * stats[N,2] = {max, sum} */                                                                  \
    X(XENT, "xent", 2, 2, "")                                                                      \
    /* dloss[1] (same for each token), logits, targets, stats -> dlogits[N,V] */                   \
    X(XENT_GRAD, "xent_grad", 4, 1, "")                                                            \
    /* x any shape -> [1], rule 4 over the flattened vector */                                     \
    X(SUM, "sum", 1, 1, "")                                                                        \
    /* x any shape -> [1], rule 4 over squares (each square one rounded product) */                \
    X(SUMSQ, "sumsq", 1, 1, "")                                                                    \
    /* sumsq[1], max_norm[1] -> [1] = min(1, max_norm / (sqrt(sumsq) + 1e-6)) */                   \
    X(CLIP_COEF, "clip_coef", 2, 1, "")                                                            \
    /* x[1] -> sqrt(x)[1] */                                                                       \
    X(SQRT, "sqrt", 1, 1, "")                                                                      \
    /* p, m, v, g (one shape), gscale[1], hyper[8] = {lr, beta1, beta2, eps, weight_decay,         \
     * 1/(1-beta1^t), 1/(1-beta2^t), 0} -> p', m', v'. g' = g*gscale;                              \
     * m' = fma(beta1, m, (1-beta1)*g'); v' = fma(beta2, v, ((1-beta2)*g')*g');                    \
     * p' = p - lr*((m'*c1) / (sqrt(v'*c2) + eps) + wd*p) (AdamW, Loshchilov & Hutter 2019) */     \
    X(ADAMW, "adamw", 6, 3, "")                                                                    \
    /* -> f32 of shape [dim0(,dim1)], every element `value`; dim1 = 0 means rank 1 */              \
    X(FILL, "fill", 0, 1, "i:dim0 i:dim1 f:value")                                                 \
    /* -> f32[dim0(,dim1)] close to N(0, std^2): the exact sum of the 12 16-bit halves of words    \
     * drawn from Philox (seed, PHILOX_INIT, tensor number) per element, centred, times std */     \
    X(RANDN, "randn", 0, 1, "i:dim0 i:dim1 i:seed i:tensor f:std")                                 \
    /* x -> same data, shape [dim0(,dim1)] */                                                      \
    X(RESHAPE, "reshape", 1, 1, "i:dim0 i:dim1")                                                   \
    /* x -> x: a copy, of use where the output is stored in another dtype */                       \
    X(COPY, "copy", 1, 1, "")                                                                      \
    /* x -> same data, shape [dim0(,dim1(,dim2(,dim3)))]; the first 0 ends it */                   \
    X(VIEW, "view", 1, 1, "i:dim0 i:dim1 i:dim2 i:dim3")                                           \
    /* x[...,D], b[D] -> x + b */                                                                  \
    X(BIAS, "bias", 2, 1, "")                                                                      \
    /* x[...,D] -> [D]: rule 4 over all rows (the gradient of a bias) */                           \
    X(SUM_ROWS, "sum_rows", 1, 1, "")                                                              \
    /* x -> x > 0 ? x : +0; a NaN stays */                                                         \
    X(RELU, "relu", 1, 1, "")                                                                      \
    /* dy, x -> x > 0 ? dy : +0 */                                                                 \
    X(RELU_GRAD, "relu_grad", 2, 1, "")                                                            \
    /* x[B,H,W,C], w[O,KH,KW,C] -> y[B,OH,OW,O] = sum over (kh, kw, c), rule 3, of                 \
     * x[b, oh * stride + kh - pad, ow * stride + kw - pad, c] * w[o, kh, kw, c]; +0 outside of    \
     * the image. OH = (H + 2 pad - KH) / stride + 1, rounded down; pad < KH, KW. */               \
    X(CONV2D, "conv2d", 2, 1, "i:stride i:pad")                                                    \
    /* dy[B,OH,OW,O], w[O,KH,KW,C] -> dx[B,height,width,C]: rule 3 over the taps that meet the     \
     * pixel's phase, those with (ih + pad - kh) % stride == 0 and (iw + pad - kw) % stride == 0,  \
     * kh falling, then kw falling, then o rising (so dy is read in order); +0 outside of dy */    \
    X(CONV2D_GRAD_X, "conv2d_grad_x", 2, 1, "i:height i:width i:stride i:pad")                     \
    /* dy[B,OH,OW,O], x[B,H,W,C] -> dw[O,kernel_h,kernel_w,C]: rule 3 over positions (b,oh,ow) */  \
    X(CONV2D_GRAD_W, "conv2d_grad_w", 2, 1, "i:kernel_h i:kernel_w i:stride i:pad")                \
    /* x[B,H,W,C] -> y[B,OH,OW,C]: the largest of each size x size window, never -0; OH =          \
     * (H - size) / stride + 1, rounded down */                                                    \
    X(MAXPOOL2D, "maxpool2d", 1, 1, "i:size i:stride")                                             \
    /* dy[B,OH,OW,C], x[B,H,W,C] -> dx[B,H,W,C]: +0, then dy of each window whose first largest    \
     * element this is, added in order of (oh, ow) */                                              \
    X(MAXPOOL2D_GRAD, "maxpool2d_grad", 2, 1, "i:size i:stride")                                   \
    /* x[B,H,W,C] -> y[B,OH,OW,C]: +0, then the window's elements added in order of (kh, kw),      \
     * times the binary32 of 1/size^2 */                                                           \
    X(AVGPOOL2D, "avgpool2d", 1, 1, "i:size i:stride")                                             \
    /* dy[B,OH,OW,C] -> dx[B,height,width,C]: +0, then dy * (1/size^2) of each window over it,     \
     * added in order of (oh, ow) */                                                               \
    X(AVGPOOL2D_GRAD, "avgpool2d_grad", 1, 1, "i:height i:width i:size i:stride")                  \
    /* logits[N,V], targets i32[N] -> [N]: 1 where the first largest logit is the target's, else   \
     * 0; NaN when a logit is NaN */                                                               \
    X(CORRECT, "correct", 2, 1, "")                                                                \
    /* x[M,K] -> u8[M, bytes of K weights]: blocks of `format`, a number of QUANT_TABLE            \
     * (compute/quant.h); a NaN or infinity fails the task */                                      \
    X(QUANTISE, "quantise", 1, 1, "i:format")                                                      \
    /* q u8[N, bytes of K weights] -> [N,K] */                                                     \
    X(DEQUANTISE, "dequantise", 1, 1, "i:format")                                                  \
    /* x[M,K], w u8[N, bytes of K weights] -> [M,N], rule 7: x is quantised to integers first */   \
    X(QMATMUL, "qmatmul", 2, 1, "i:format")                                                        \
    /* x[N,D], w[D], b[D] -> y[N,D] = (x - mean) * rstd * w + b, mean[N] = sum(x)/D, rstd[N] =     \
     * rsqrt(sumsq(x - mean)/D + eps) (sums: rule 4, divisions as rmsnorm's) */                    \
    X(LAYERNORM, "layernorm", 3, 3, "f:eps")                                                       \
    /* dy[N,D], x[N,D], w[D], mean[N], rstd[N] -> dx[N,D], dw[D], db[D] (sums over N: rule 4) */   \
    X(LAYERNORM_GRAD, "layernorm_grad", 5, 3, "")                                                  \
    /* x -> x * Phi(x), Phi the normal distribution: fn_gelu */                                    \
    X(GELU, "gelu", 1, 1, "")                                                                      \
    /* dy, x -> dy * fn_gelu_slope(x) */                                                           \
    X(GELU_GRAD, "gelu_grad", 2, 1, "")                                                            \
    /* x -> x * (1 + tanh(sqrt(2/pi) * (x + 0.044715 x^3))) / 2: fn_gelu_tanh */                   \
    X(GELU_TANH, "gelu_tanh", 1, 1, "")                                                            \
    /* dy, x -> dy * fn_gelu_tanh_slope(x) */                                                      \
    X(GELU_TANH_GRAD, "gelu_tanh_grad", 2, 1, "")                                                  \
    /* x[N,D], p[T,D] with N % T == 0 -> x + row n mod T of p: learned positions */                \
    X(POSITION_ADD, "position_add", 2, 1, "")                                                      \
    /* x, key i32[4] = {seed low, seed high, step, part} -> x * (1 / (1 - p)) where u >= p, else   \
     * +0. u of element i: the upper 24 bits, times 2^-24, of word i mod 4 of Philox (seed,        \
     * PHILOX_DROPOUT + site * 2^16, step, part * 2^32 + i / 4). Of the dropouts of a program each \
     * has its own site below 2^16, of the micro-batches of a step each its own part. At most      \
     * 2^34 elements. Its own gradient. */                                                         \
    X(DROPOUT, "dropout", 2, 1, "f:p i:site")                                                      \
    /* x -> u8[blocks, bytes of a block]: x as one vector, in a format of PACK_TABLE               \
     * (compute/pack.h) of which `keep` numbers of a block stay; a NaN or infinity fails the       \
     * task */                                                                                     \
    X(PACK, "pack", 1, 1, "i:format i:keep")                                                       \
    /* u8[blocks, bytes of a block] -> f32[dim0(,dim1(,dim2(,dim3)))], the first 0 ends it. Bytes  \
     * that pack never writes may give a NaN, which fails the task. */                             \
    X(UNPACK, "unpack", 1, 1, "i:format i:keep i:dim0 i:dim1 i:dim2 i:dim3")

enum op {
#define X(E, name, in, out, attrs) OP_##E,
    OP_TABLE(X)
#undef X
        OP_COUNT
};

/* Attributes by position of the table's list. i: exact integer (seeds use all 64 bits). */
struct op_attrs {
    union {
        int64_t i;
        float f;
    } at[OP_ATTR_MAX];
};

struct op_info {
    const char *name;
    uint32_t inputs, outputs, attrs;
    char attr_kind[OP_ATTR_MAX]; /* 'i' or 'f' */
    const char *attr_name[OP_ATTR_MAX];
    bool in_place; /* output i may have the data pointer of input i */
    bool alias;    /* the output is the input's data under another shape: nothing to run */
};

const struct op_info *op_info(enum op op);
/* OP_COUNT when unknown. */
enum op op_find(const char *name);

/* Check inputs' dtypes and shapes and the attributes, and fill dtype and shape of each output
 * (data untouched). Every size is checked for overflow: safe on hostile programs. */
enum emac_status op_infer(enum op op, const struct op_attrs *attrs, const struct tensor *in,
                          struct tensor *out, struct emac_err *err);
/* Useful flops (an fma is 2); exp and the like count 8. Saturates. Shapes must be inferred. */
uint64_t op_flops(enum op op, const struct op_attrs *attrs, const struct tensor *in,
                  const struct tensor *out);

#endif
