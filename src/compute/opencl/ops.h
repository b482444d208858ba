/* The operators' host sides. Each queues kernels of kernels/ and returns; shapes were checked.
 *
 * Two layouts of work (kernels/prelude.cl): wide, where a work-item is a core and runs vectors over
 * neighbouring elements (CPUs); and teams, work-groups whose items run over them side by side. */
#ifndef EMAC_COMPUTE_OPENCL_OPS_H
#define EMAC_COMPUTE_OPENCL_OPS_H

#include "compute/opencl/cl.h"

cl_op_fn cl_op_add, cl_op_mul, cl_op_scale, cl_op_fill, cl_op_swiglu, cl_op_swiglu_grad,
    cl_op_adamw, cl_op_rope, cl_op_clip_coef, cl_op_square_root, cl_op_randn, cl_op_copy,
    cl_op_embed, cl_op_embed_grad, cl_op_rmsnorm, cl_op_rmsnorm_grad, cl_op_xent, cl_op_xent_grad,
    cl_op_sum, cl_op_sumsq, cl_op_matmul, cl_op_attention, cl_op_attention_grad, cl_op_bias,
    cl_op_sum_rows, cl_op_relu, cl_op_relu_grad, cl_op_conv2d, cl_op_conv2d_grad_x,
    cl_op_conv2d_grad_w, cl_op_maxpool2d, cl_op_maxpool2d_grad, cl_op_avgpool2d,
    cl_op_avgpool2d_grad, cl_op_correct, cl_op_quantise, cl_op_dequantise, cl_op_qmatmul,
    cl_op_layernorm, cl_op_layernorm_grad, cl_op_gelu, cl_op_gelu_grad, cl_op_gelu_tanh,
    cl_op_gelu_tanh_grad, cl_op_position_add, cl_op_dropout, cl_op_pack, cl_op_unpack;

bool cl_is_wide(const struct cl *cl);
size_t cl_vec(const struct cl *cl);  /* floats of a vector where wide; else 1 */
size_t cl_team(const struct cl *cl); /* items of a team, a power of 2; 1 where wide */
size_t cl_count(const struct tensor *t);
size_t cl_min(size_t a, size_t b);
size_t cl_div_up(size_t a, size_t b);

/* A call under construction: begin, add arguments in the kernel's order, then one of the runs.
 * Arguments are f32, 64-bit numbers, or addresses. */
#define LAUNCH_DEFINES_MAX 160
struct launch {
    struct cl *cl;
    struct cl_call call;
    struct cl_arg arg[CL_ARGS_MAX];
    char defines[LAUNCH_DEFINES_MAX];
};
void launch_begin(struct launch *l, struct cl *cl, const char *program, const char *kernel);
void launch_define(struct launch *l, const char *name, size_t value); /* "-Dname=value" */
void launch_memory(struct launch *l, const void *ptr);
void launch_number(struct launch *l, size_t n); /* ulong */
void launch_word(struct launch *l, uint32_t n); /* uint */
void launch_float(struct launch *l, float v);
void launch_fault(struct launch *l); /* MEMORY(uint, fault) */
/* `ulong n, ulong chunk` of EACH, and as many items as that takes; a chunk is a multiple of
 * `whole`. Other arguments may follow. */
void launch_each(struct launch *l, size_t n, size_t whole);
void launch_local(struct launch *l, size_t bytes);
void launch_team(struct launch *l); /* `__local float *team` */
/* As many items as launch_each said. */
enum emac_status launch_items(struct launch *l, struct emac_err *err);
/* A team for each (x, y). */
enum emac_status launch_rows(struct launch *l, size_t x, size_t y, struct emac_err *err);
/* Groups of local[0] x local[1] items for each (x, y, z). */
enum emac_status launch_groups(struct launch *l, const size_t local[2], size_t x, size_t y,
                               size_t z, struct emac_err *err);
/* A kernel of pointwise.cl over n elements, with `count` addresses. */
enum emac_status launch_pointwise(struct cl *cl, const char *kernel, const void *const *ptr,
                                  uint32_t count, size_t n, struct emac_err *err);
enum emac_status cl_fill(struct cl *cl, float *y, size_t n, float value, struct emac_err *err);
/* out[n] = +0 + row 0 + row 1 ... of block[blocks, n] */
enum emac_status cl_add_rows(struct cl *cl, float *out, const float *block, size_t blocks, size_t n,
                             struct emac_err *err);

/* Products by rule 3: for z = (o, i), o < outer, i < inner,
 *     C_z[m,n] (+)= op(A_z)[m,k] op(B_z)[k,n]
 * A_z at a + o * a_outer + i * a_inner, B_z at b + o * b_outer + (i / b_group) * b_inner, C_z like
 * A; rows are lda, ldb, ldc apart. trans_a: A is stored [k,m]; trans_b: B is [n,k]. All in
 * elements. With `accumulate` the totals start from what C holds instead of +0. */
struct cl_matmul {
    const float *a, *b;
    float *c;
    size_t m, n, k;
    bool trans_a, trans_b, accumulate;
    size_t lda, ldb, ldc;
    size_t outer, inner, b_group; /* >= 1 */
    size_t a_outer, a_inner, b_outer, b_inner, c_outer, c_inner;
    size_t k_step; /* inside: product o has the k's from o * k_step, this many or what is left */
};
/* By the tile that suits the shape. No scratch is used. */
enum emac_status cl_matmul(struct cl *cl, const struct cl_matmul *mm, struct emac_err *err);

/* How products are cut. wide: m rows by n vectors, all in the registers of an item. Else m x n
 * elements a group, item_m x item_n of them an item's, `step` k's in local memory at a time. */
struct cl_tile {
    bool wide;
    uint32_t m, n, item_m, item_n, step;
};
extern const struct cl_tile CL_TILES[];
extern const size_t CL_TILES_COUNT;
bool cl_tile_fits(const struct cl *cl, const struct cl_tile *tile);
/* What a product costs with a tile, in no unit, before the tuner's weight. */
double cl_tile_cost(const struct cl *cl, const struct cl_tile *tile, const struct cl_matmul *mm);
/* cl_matmul with a tile that fits, for tuning and tests. */
enum emac_status cl_matmul_tiled(struct cl *cl, const struct cl_tile *tile,
                                 const struct cl_matmul *mm, struct emac_err *err);

#endif
