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
 * vocabulary. */
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
    X(COPY, "copy", 1, 1, "")

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
