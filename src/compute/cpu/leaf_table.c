#include "compute/cpu/leaf.h"


const struct cpu_kernels LEAF_CAT(cpu_kernels, CPU_ISA) = {
    .mr = CPU_TILE_ROWS,
    .nr = CPU_TILE_COLS,
    .panel = LEAF(panel),
    .pack_b = LEAF(pack_b),
    .pack_a = LEAF(pack_a),
    .add = LEAF(add),
    .mul = LEAF(mul),
    .scale = LEAF(scale),
    .swiglu = LEAF(swiglu),
    .swiglu_grad = LEAF(swiglu_grad),
    .adamw = LEAF(adamw),
    .rope = LEAF(rope),
    .check_finite = LEAF(check_finite),
    .block_sums = LEAF(block_sums),
    .rmsnorm = LEAF(rmsnorm),
    .rmsnorm_grad = LEAF(rmsnorm_grad),
    .xent = LEAF(xent),
    .xent_grad = LEAF(xent_grad),
    .softmax = LEAF(softmax),
    .softmax_grad = LEAF(softmax_grad),
    .dot = LEAF(dot),
};
