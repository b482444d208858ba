/* Shapes: what op_infer gives, what it refuses, and that no program can make it overflow. */
#include "compute_test.h"

static struct tensor f(struct shape s)
{
    return (struct tensor){DTYPE_F32, s, NULL};
}

static struct tensor ids(size_t n)
{
    return (struct tensor){DTYPE_I32, SHAPE1(n), NULL};
}

#define NO                                                                                         \
    {                                                                                              \
        {                                                                                          \
            {                                                                                      \
                0                                                                                  \
            }                                                                                      \
        }                                                                                          \
    }
#define I1(a)                                                                                      \
    {                                                                                              \
        {                                                                                          \
            {                                                                                      \
                .i = (a)                                                                           \
            }                                                                                      \
        }                                                                                          \
    }
#define I2(a, b)                                                                                   \
    {                                                                                              \
        {                                                                                          \
            {.i = (a)},                                                                            \
            {                                                                                      \
                .i = (b)                                                                           \
            }                                                                                      \
        }                                                                                          \
    }
#define ATTN(b, h, g, s)                                                                           \
    {                                                                                              \
        {                                                                                          \
            {.i = (b)}, {.i = (h)}, {.i = (g)},                                                    \
            {                                                                                      \
                .f = (s)                                                                           \
            }                                                                                      \
        }                                                                                          \
    }
#define I4(a, b, c, d)                                                                             \
    {                                                                                              \
        {                                                                                          \
            {.i = (a)}, {.i = (b)}, {.i = (c)},                                                    \
            {                                                                                      \
                .i = (d)                                                                           \
            }                                                                                      \
        }                                                                                          \
    }
#define HUGE_DIM ((size_t)1 << 40)

struct infer_case {
    enum op op;
    struct op_attrs attrs;
    const char *in[OP_IN_MAX];
    const char *want; /* outputs joined by blanks, or a piece of the refusal after "!" */
};

/* "f32[2,3]" as a tensor */
static struct tensor parse(const char *text)
{
    char name[8] = "", *end;
    memcpy(name, text, strcspn(text, "["));
    struct tensor t = {dtype_find(name), {0}, NULL};
    for (text = strchr(text, '[') + 1; t.shape.rank < TENSOR_RANK_MAX; text = end + 1) {
        t.shape.dim[t.shape.rank++] = strtoull(text, &end, 10);
        if (*end == ']')
            break;
    }
    return t;
}

static const struct infer_case cases[] = {
    {OP_EMBED, NO, {"i32[7]", "f32[5,3]"}, "f32[7,3]"},
    {OP_EMBED, NO, {"f32[7]", "f32[5,3]"}, "!must be i32"},
    {OP_EMBED, NO, {"i32[7]", "f32[5]"}, "!of rank 2"},
    {OP_EMBED_GRAD, I1(9), {"i32[7]", "f32[7,3]"}, "f32[9,3]"},
    {OP_EMBED_GRAD, I1(0), {"i32[7]", "f32[7,3]"}, "!'vocab'"},
    {OP_EMBED_GRAD, I1(9), {"i32[6]", "f32[7,3]"}, "!one id for each row"},
    {OP_MATMUL, I2(0, 0), {"f32[2,3]", "f32[3,5]"}, "f32[2,5]"},
    {OP_MATMUL, I2(0, 1), {"f32[2,3]", "f32[5,3]"}, "f32[2,5]"},
    {OP_MATMUL, I2(1, 0), {"f32[3,2]", "f32[3,5]"}, "f32[2,5]"},
    {OP_MATMUL, I2(1, 1), {"f32[3,2]", "f32[5,3]"}, "f32[2,5]"},
    {OP_MATMUL, I2(0, 0), {"f32[2,3]", "f32[5,3]"}, "!summed dimension"},
    {OP_MATMUL, I2(0, 2), {"f32[2,3]", "f32[5,3]"}, "!0 or 1"},
    {OP_MATMUL, I2(0, 0), {"f32[2,3,1]", "f32[3,5]"}, "!of rank 2"},
    {OP_MATMUL, I2(0, 1), {"f32[4294967296,1]", "f32[4294967296,1]"}, "!too large"},
    {OP_ADD, NO, {"f32[2,3]", "f32[2,3]"}, "f32[2,3]"},
    {OP_ADD, NO, {"f32[2,3]", "f32[6]"}, "!must be f32[2,3]"},
    {OP_MUL, NO, {"f32[0]", "f32[0]"}, "!at least 1"},
    {OP_SCALE, NO, {"f32[2,3,4,5]", "f32[1]"}, "f32[2,3,4,5]"},
    {OP_SCALE, NO, {"f32[2]", "f32[2]"}, "!must be f32[1]"},
    {OP_RMSNORM, {{{.f = 1e-5f}}}, {"f32[4,3]", "f32[3]"}, "f32[4,3] f32[4]"},
    {OP_RMSNORM, {{{.f = -1.0f}}}, {"f32[4,3]", "f32[3]"}, "!'eps'"},
    {OP_RMSNORM_GRAD, NO, {"f32[4,3]", "f32[4,3]", "f32[3]", "f32[4]"}, "f32[4,3] f32[3]"},
    {OP_RMSNORM_GRAD, NO, {"f32[4,3]", "f32[4,3]", "f32[3]", "f32[3]"}, "!f32[4]"},
    {OP_ROPE, I2(2, 0), {"f32[6,12]", "f32[3,3]", "f32[3,3]"}, "f32[6,12]"},
    {OP_ROPE, I2(2, 0), {"f32[6,12]", "f32[3,2]", "f32[3,2]"}, "!tables"},
    {OP_ROPE, I2(0, 0), {"f32[6,12]", "f32[3,3]", "f32[3,3]"}, "!'heads'"},
    {OP_ATTENTION,
     ATTN(2, 4, 2, 1.0f),
     {"f32[6,8]", "f32[6,4]", "f32[6,4]"},
     "f32[6,8] f32[2,4,3] f32[2,4,3]"},
    {OP_ATTENTION, ATTN(2, 4, 3, 1.0f), {"f32[6,8]", "f32[6,6]", "f32[6,6]"}, "!divisor"},
    {OP_ATTENTION, ATTN(4, 4, 2, 1.0f), {"f32[6,8]", "f32[6,4]", "f32[6,4]"}, "!batch * T"},
    {OP_ATTENTION, ATTN(2, 4, 2, 1.0f), {"f32[6,8]", "f32[6,8]", "f32[6,4]"}, "!f32[6,4]"},
    {OP_ATTENTION_GRAD,
     ATTN(2, 4, 2, 1.0f),
     {"f32[6,8]", "f32[6,8]", "f32[6,4]", "f32[6,4]", "f32[6,8]", "f32[2,4,3]", "f32[2,4,3]"},
     "f32[6,8] f32[6,4] f32[6,4]"},
    {OP_ATTENTION_GRAD,
     ATTN(2, 4, 2, 1.0f),
     {"f32[6,8]", "f32[6,8]", "f32[6,4]", "f32[6,4]", "f32[6,8]", "f32[24]", "f32[2,4,3]"},
     "!f32[2,4,3]"},
    {OP_SWIGLU, NO, {"f32[2,3]", "f32[2,3]"}, "f32[2,3]"},
    {OP_SWIGLU_GRAD, NO, {"f32[2,3]", "f32[2,3]", "f32[2,3]"}, "f32[2,3] f32[2,3]"},
    {OP_XENT, NO, {"f32[4,9]", "i32[4]"}, "f32[4] f32[4,2]"},
    {OP_XENT_GRAD, NO, {"f32[1]", "f32[4,9]", "i32[4]", "f32[4,2]"}, "f32[4,9]"},
    {OP_SUM, NO, {"f32[4,9,2]"}, "f32[1]"},
    {OP_SUMSQ, NO, {"i32[4]"}, "!must be f32"},
    {OP_CLIP_COEF, NO, {"f32[1]", "f32[1]"}, "f32[1]"},
    {OP_SQRT, NO, {"f32[2]"}, "!f32[1]"},
    {OP_ADAMW,
     NO,
     {"f32[3,2]", "f32[3,2]", "f32[3,2]", "f32[3,2]", "f32[1]", "f32[8]"},
     "f32[3,2] f32[3,2] f32[3,2]"},
    {OP_ADAMW, NO, {"f32[3,2]", "f32[3,2]", "f32[6]", "f32[3,2]", "f32[1]", "f32[8]"}, "!f32[3,2]"},
    {OP_FILL, {{{.i = 3}, {.i = 4}, {.f = 1}}}, {0}, "f32[3,4]"},
    {OP_FILL, {{{.i = 3}, {.i = 0}, {.f = 1}}}, {0}, "f32[3]"},
    {OP_FILL, {{{.i = -3}, {.i = 0}, {.f = 1}}}, {0}, "!'dim0'"},
    {OP_FILL, {{{.i = INT64_MAX}, {.i = INT64_MAX}, {.f = 1}}}, {0}, "!too large"},
    {OP_RANDN, {{{.i = 5}, {.i = 0}, {.i = -1}, {.i = 3}, {.f = 0.1f}}}, {0}, "f32[5]"},
    {OP_RANDN, {{{.i = 5}, {.i = 0}, {.i = -1}, {.i = -3}, {.f = 0.1f}}}, {0}, "!'tensor'"},
    {OP_RANDN, {{{.i = 5}, {.i = 0}, {.i = 0}, {.i = 3}, {.f = -0.1f}}}, {0}, "!'std'"},
    {OP_RESHAPE, I2(6, 2), {"f32[4,3]"}, "f32[6,2]"},
    {OP_RESHAPE, I2(6, 3), {"f32[4,3]"}, "!as many elements"},
    {OP_VIEW, I4(2, 1, 3, 2), {"f32[4,3]"}, "f32[2,1,3,2]"},
    {OP_VIEW, I4(12, 0, 0, 0), {"f32[4,3]"}, "f32[12]"},
    {OP_VIEW, I4(6, 0, 2, 0), {"f32[4,3]"}, "!'dim2'"},
    {OP_VIEW, I4(6, 2, -1, 0), {"f32[4,3]"}, "!'dim2'"},
    {OP_VIEW, I4(2, 2, 3, 2), {"f32[4,3]"}, "!as many elements"},
    {OP_BIAS, NO, {"f32[4,3]", "f32[3]"}, "f32[4,3]"},
    {OP_BIAS, NO, {"f32[2,2,5,3]", "f32[3]"}, "f32[2,2,5,3]"},
    {OP_BIAS, NO, {"f32[4,3]", "f32[4]"}, "!f32[3]"},
    {OP_SUM_ROWS, NO, {"f32[2,2,5,3]"}, "f32[3]"},
    {OP_RELU, NO, {"f32[2,2,5,3]"}, "f32[2,2,5,3]"},
    {OP_RELU, NO, {"i32[2]"}, "!must be f32"},
    {OP_RELU_GRAD, NO, {"f32[2,3]", "f32[2,4]"}, "!f32[2,3]"},
    {OP_CONV2D, I2(1, 1), {"f32[2,5,6,3]", "f32[7,3,3,3]"}, "f32[2,5,6,7]"},
    {OP_CONV2D, I2(2, 0), {"f32[2,5,6,3]", "f32[7,3,2,3]"}, "f32[2,2,3,7]"},
    {OP_CONV2D, I2(0, 0), {"f32[2,5,6,3]", "f32[7,3,2,3]"}, "!'stride'"},
    {OP_CONV2D, I2(1, -1), {"f32[2,5,6,3]", "f32[7,3,2,3]"}, "!'pad'"},
    {OP_CONV2D, I2(1, 2), {"f32[2,5,6,3]", "f32[7,3,2,3]"}, "!padding"},
    {OP_CONV2D, I2(1, 0), {"f32[2,5,6,3]", "f32[7,3,2,4]"}, "!fits input 0"},
    {OP_CONV2D, I2(1, 0), {"f32[2,5,6,3]", "f32[7,6,2,3]"}, "!fits input 0"},
    {OP_CONV2D, I2(1, 0), {"f32[2,5,6]", "f32[7,3,2,3]"}, "!of rank 4"},
    {OP_CONV2D_GRAD_X, I4(5, 6, 2, 0), {"f32[2,2,3,7]", "f32[7,3,2,3]"}, "f32[2,5,6,3]"},
    {OP_CONV2D_GRAD_X, I4(7, 6, 2, 0), {"f32[2,2,3,7]", "f32[7,3,2,3]"}, "!fits input 0"},
    {OP_CONV2D_GRAD_X, I4(5, 6, 2, 0), {"f32[2,2,3,8]", "f32[7,3,2,3]"}, "!fits input 0"},
    {OP_CONV2D_GRAD_X, I4(0, 6, 2, 0), {"f32[2,2,3,7]", "f32[7,3,2,3]"}, "!'height'"},
    {OP_CONV2D_GRAD_W, I4(3, 2, 2, 0), {"f32[2,2,3,7]", "f32[2,5,6,3]"}, "f32[7,3,2,3]"},
    {OP_CONV2D_GRAD_W, I4(4, 2, 2, 0), {"f32[2,2,3,7]", "f32[2,5,6,3]"}, "!fits input 0"},
    {OP_CONV2D_GRAD_W, I4(3, 2, 2, 0), {"f32[1,2,3,7]", "f32[2,5,6,3]"}, "!fits input 0"},
    {OP_MAXPOOL2D, I2(2, 2), {"f32[2,5,6,3]"}, "f32[2,2,3,3]"},
    {OP_MAXPOOL2D, I2(6, 1), {"f32[2,5,6,3]"}, "!windows"},
    {OP_MAXPOOL2D, I2(2, 0), {"f32[2,5,6,3]"}, "!'stride'"},
    {OP_MAXPOOL2D, I2(4097, 1), {"f32[1,5000,5000,1]"}, "!windows"},
    {OP_MAXPOOL2D_GRAD, I2(2, 2), {"f32[2,2,3,3]", "f32[2,5,6,3]"}, "f32[2,5,6,3]"},
    {OP_MAXPOOL2D_GRAD, I2(2, 2), {"f32[2,2,3,4]", "f32[2,5,6,3]"}, "!windows"},
    {OP_AVGPOOL2D, I2(3, 1), {"f32[2,5,6,3]"}, "f32[2,3,4,3]"},
    {OP_AVGPOOL2D_GRAD, I4(5, 6, 3, 1), {"f32[2,3,4,3]"}, "f32[2,5,6,3]"},
    {OP_AVGPOOL2D_GRAD, I4(6, 6, 3, 1), {"f32[2,3,4,3]"}, "!windows"},
    {OP_CORRECT, NO, {"f32[4,9]", "i32[4]"}, "f32[4]"},
    {OP_CORRECT, NO, {"f32[4,9]", "i32[5]"}, "!one id for each row"},
    {OP_QUANTISE, I1(8), {"f32[3,64]"}, "u8[3,68]"},
    {OP_QUANTISE, I1(2), {"f32[3,64]"}, "u8[3,36]"},
    {OP_QUANTISE, I1(3), {"f32[3,64]"}, "u8[3,40]"},
    {OP_QUANTISE, I1(14), {"f32[3,512]"}, "u8[3,420]"},
    {OP_QUANTISE, I1(14), {"f32[3,64]"}, "!whole blocks"},
    {OP_QUANTISE, I1(0), {"f32[3,64]"}, "!'format'"},
    {OP_QUANTISE, I1(INT64_MIN), {"f32[3,64]"}, "!'format'"},
    {OP_QUANTISE, I1(8), {"u8[3,64]"}, "!must be f32"},
    {OP_DEQUANTISE, I1(8), {"u8[3,68]"}, "f32[3,64]"},
    {OP_DEQUANTISE, I1(14), {"u8[3,420]"}, "f32[3,512]"},
    {OP_DEQUANTISE, I1(8), {"u8[3,67]"}, "!whole blocks"},
    {OP_DEQUANTISE, I1(9), {"u8[3,68]"}, "!'format'"},
    {OP_DEQUANTISE, I1(2), {"u8[1,18446744073709551612]"}, "!whole blocks"},
    {OP_QMATMUL, I1(8), {"f32[5,64]", "u8[3,68]"}, "f32[5,3]"},
    {OP_QMATMUL, I1(14), {"f32[5,256]", "u8[3,210]"}, "f32[5,3]"},
    {OP_QMATMUL, I1(8), {"f32[5,32]", "u8[3,68]"}, "!as many weights"},
    {OP_QMATMUL, I1(2), {"f32[5,64]", "u8[3,68]"}, "!whole blocks"},
    {OP_QMATMUL, I1(8), {"f32[5,64]", "f32[3,68]"}, "!must be u8"},
    {OP_QMATMUL, I1(5), {"f32[5,64]", "u8[3,68]"}, "!'format'"},
    {OP_QMATMUL, I1(8), {"f32[4294967296,32]", "u8[4294967296,34]"}, "!too large"},
    {OP_LAYERNORM, {{{.f = 1e-5f}}}, {"f32[4,3]", "f32[3]", "f32[3]"}, "f32[4,3] f32[4] f32[4]"},
    {OP_LAYERNORM, {{{.f = -1e-5f}}}, {"f32[4,3]", "f32[3]", "f32[3]"}, "!'eps'"},
    {OP_LAYERNORM, {{{.f = 1e-5f}}}, {"f32[4,3]", "f32[3]", "f32[4]"}, "!f32[3]"},
    {OP_LAYERNORM_GRAD,
     NO,
     {"f32[4,3]", "f32[4,3]", "f32[3]", "f32[4]", "f32[4]"},
     "f32[4,3] f32[3] f32[3]"},
    {OP_LAYERNORM_GRAD, NO, {"f32[4,3]", "f32[4,3]", "f32[3]", "f32[3]", "f32[4]"}, "!f32[4]"},
    {OP_GELU, NO, {"f32[4,3,2]"}, "f32[4,3,2]"},
    {OP_GELU_GRAD, NO, {"f32[4,3]", "f32[4,2]"}, "!f32[4,3]"},
    {OP_GELU_TANH, NO, {"f32[4]"}, "f32[4]"},
    {OP_GELU_TANH_GRAD, NO, {"f32[4,3]", "f32[4,3]"}, "f32[4,3]"},
    {OP_POSITION_ADD, NO, {"f32[6,3]", "f32[2,3]"}, "f32[6,3]"},
    {OP_POSITION_ADD, NO, {"f32[6,3]", "f32[4,3]"}, "!multiple of T"},
    {OP_POSITION_ADD, NO, {"f32[6,3]", "f32[2,4]"}, "!multiple of T"},
    {OP_DROPOUT, {{{.f = 0.5f}, {.i = 65535}}}, {"f32[6,3]", "i32[4]"}, "f32[6,3]"},
    {OP_DROPOUT, {{{.f = 1.0f}, {.i = 0}}}, {"f32[6,3]", "i32[4]"}, "!less than 1"},
    {OP_DROPOUT, {{{.f = 0.5f}, {.i = 65536}}}, {"f32[6,3]", "i32[4]"}, "!'site'"},
    {OP_DROPOUT, {{{.f = 0.5f}, {.i = 0}}}, {"f32[6,3]", "i32[3]"}, "!i32[4]"},
    {OP_DROPOUT, {{{.f = 0.5f}, {.i = 0}}}, {"f32[17179869185]", "i32[4]"}, "!2^34"},
    {OP_PACK, I2(1, 0), {"f32[5,13]"}, "u8[2,65]"},
    {OP_PACK, I2(2, 0), {"f32[64]"}, "u8[1,33]"},
    {OP_PACK, I2(3, 64), {"f32[3,1,4096]"}, "u8[3,114]"},
    {OP_PACK, I2(3, 0), {"f32[64]"}, "!'format'"},
    {OP_PACK, I2(3, INT64_MIN), {"f32[64]"}, "!'format'"},
    {OP_PACK, I2(1, 0), {"u8[64]"}, "!must be f32"},
    {OP_UNPACK, {{{.i = 1}, {.i = 0}, {.i = 5}, {.i = 13}}}, {"u8[2,65]"}, "f32[5,13]"},
    {OP_UNPACK, {{{.i = 3}, {.i = 64}, {.i = 1}}}, {"u8[1,114]"}, "f32[1]"},
    {OP_UNPACK, {{{.i = 1}, {.i = 0}, {.i = 5}, {.i = 13}}}, {"u8[3,65]"}, "!as many blocks"},
    {OP_UNPACK, {{{.i = 2}, {.i = 0}, {.i = 5}, {.i = 13}}}, {"u8[2,65]"}, "!as many blocks"},
    {OP_UNPACK, {{{.i = 1}, {.i = 0}, {.i = 0}}}, {"u8[2,65]"}, "!'dim0'"},
    {OP_UNPACK,
     {{{.i = 1}, {.i = 0}, {.i = HUGE_DIM}, {.i = HUGE_DIM}}},
     {"u8[2,65]"},
     "!too large"},
};

static void table(void **state)
{
    for (size_t i = 0; i < EMAC_COUNT(cases); i++) {
        const struct infer_case *c = &cases[i];
        const struct op_info *info = op_info(c->op);
        struct tensor in[OP_IN_MAX], out[OP_OUT_MAX];
        struct emac_err err = {0};
        char got[400] = "";
        for (uint32_t n = 0; n < info->inputs; n++)
            in[n] = parse(c->in[n]);
        enum emac_status st = op_infer(c->op, &c->attrs, in, out, &err);
        if (c->want[0] == '!') {
            if (st != EMAC_INVALID || !strstr(err.text, c->want + 1))
                fail_msg("case %zu: '%s' does not say '%s'", i, err.text, c->want + 1);
            assert_non_null(strstr(err.text, info->name));
            continue;
        }
        if (st != EMAC_OK)
            fail_msg("case %zu: %s", i, err.text);
        for (uint32_t n = 0; n < info->outputs; n++)
            shape_text(got + strlen(got) + (n ? (got[strlen(got)] = ' ', 1) : 0), 60, out[n].dtype,
                       &out[n].shape);
        assert_string_equal(got, c->want);
    }
}

/* Random shapes and attributes, large and small: never a crash, and what is accepted has outputs
 * whose bytes can be counted and flops that can be computed. */
static void hostile(void **state)
{
    static const size_t dims[] = {0, 1, 2, 3, 4, 8, 256, HUGE_DIM, SIZE_MAX, SIZE_MAX / 4};
    size_t accepted = 0;
    for (uint64_t n = 0; n < 100000; n++) {
        enum op op = (enum op)(test_word(300, n) % OP_COUNT);
        struct tensor in[OP_IN_MAX], out[OP_OUT_MAX];
        struct op_attrs attrs;
        size_t bytes;
        for (uint32_t i = 0; i < OP_IN_MAX; i++) {
            uint32_t w = test_word(301 + i, n);
            size_t few = w % 3 ? 4 : EMAC_COUNT(dims);
            in[i] = (struct tensor){w % 16 ? DTYPE_F32 : DTYPE_I32, {0}, NULL};
            in[i].shape.rank = w % 37 == 0 ? w >> 20 : 1 + (w >> 6) % 4;
            for (int d = 0; d < TENSOR_RANK_MAX; d++)
                in[i].shape.dim[d] = dims[(w >> (8 + 5 * d)) % few];
        }
        if (test_word(310, n) % 2)
            for (uint32_t i = 1; i < OP_IN_MAX; i++)
                in[i].shape = in[0].shape;
        for (uint32_t i = 0; i < OP_ATTR_MAX; i++)
            attrs.at[i].i = test_word(311 + i, n) % 5
                                ? (int64_t)(test_word(317 + i, n) % 3)
                                : (int64_t)((uint64_t)test_word(317 + i, n) << 32);
        if (op_infer(op, &attrs, in, out, NULL) != EMAC_OK)
            continue;
        accepted++;
        for (uint32_t i = 0; i < op_info(op)->outputs; i++)
            assert_true(shape_bytes(out[i].dtype, &out[i].shape, &bytes));
        op_flops(op, &attrs, in, out);
    }
    assert_true(accepted > 500);
}

static void flops(void **state)
{
    struct op_attrs mm = I2(1, 0), attn = ATTN(2, 4, 2, 1.0f);
    struct tensor a[2] = {f(SHAPE2(3, 2)), f(SHAPE2(3, 5))}, out[3] = {f(SHAPE2(2, 5))};
    struct tensor qkv[3] = {f(SHAPE2(6, 8)), f(SHAPE2(6, 4)), f(SHAPE2(6, 4))};
    struct tensor huge[2] = {f(SHAPE2(HUGE_DIM, HUGE_DIM)), f(SHAPE2(HUGE_DIM, HUGE_DIM))};
    struct op_attrs no = NO;
    assert_int_equal(op_flops(OP_MATMUL, &mm, a, out), 60);
    assert_int_equal(op_flops(OP_ATTENTION, &attn, qkv, qkv), 2 * 4 * 6 * (4 * 2 + 8));
    struct op_attrs conv = I2(1, 1);
    struct tensor image[2] = {f(SHAPE4(2, 5, 6, 3)), f(SHAPE4(7, 3, 3, 3))};
    assert_int_equal(op_flops(OP_CONV2D, &conv, image, out), 2 * (2 * 5 * 6) * 7 * (3 * 3 * 3));
    assert_true(op_flops(OP_MATMUL, &mm, huge, huge) == UINT64_MAX);
    assert_int_equal(op_flops(OP_EMBED, &no, (struct tensor[]){ids(4), a[0]}, a), 0);
}

static void names(void **state)
{
    for (int i = 0; i < OP_COUNT; i++) {
        const struct op_info *info = op_info((enum op)i);
        assert_int_equal(op_find(info->name), i);
        for (uint32_t a = 0; a < info->attrs; a++) {
            assert_true(info->attr_kind[a] == 'i' || info->attr_kind[a] == 'f');
            assert_true(strlen(info->attr_name[a]) > 0 && !strchr(info->attr_name[a], ' '));
        }
    }
    assert_int_equal(op_find("conv"), OP_COUNT);
    assert_int_equal(op_info(OP_RANDN)->attrs, 5);
    assert_string_equal(op_info(OP_ATTENTION)->attr_name[3], "scale");
    assert_true(op_info(OP_ATTENTION)->attr_kind[3] == 'f');
    assert_true(op_info(OP_ADD)->in_place && !op_info(OP_MATMUL)->in_place);
}

static void shapes(void **state)
{
    struct shape s = SHAPE4(2, 3, 4, 5), big = SHAPE2(SIZE_MAX, 2),
                 quarter = SHAPE1(SIZE_MAX / 4 + 1);
    size_t n = 0;
    char text[12];
    assert_true(shape_count(&s, &n) && n == 120 && shape_bytes(DTYPE_F32, &s, &n) && n == 480);
    assert_false(shape_count(&big, &n) || shape_bytes(DTYPE_F32, &quarter, &n));
    assert_false(shape_count(&(struct shape){0, {1}}, &n) ||
                 shape_count(&(struct shape){5, {1}}, &n));
    assert_true(shape_equal(&s, &SHAPE4(2, 3, 4, 5)) && !shape_equal(&s, &SHAPE3(2, 3, 4)));
    shape_text(text, sizeof text, DTYPE_I32, &s);
    assert_string_equal(text, "i32[2,3,4,5");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(table), cmocka_unit_test(hostile),
                                       cmocka_unit_test(flops), cmocka_unit_test(names),
                                       cmocka_unit_test(shapes)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
