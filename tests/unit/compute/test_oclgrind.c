/* Every kernel under Oclgrind, a simulator that reports races between work-items, accesses outside
 * of a buffer, use of what was never written, and wrong calls of the API: any report is a failure.
 * Small shapes, as it interprets; both layouts of work; the bits are ref's here too.
 *
 * Oclgrind is reached as the only driver of the OpenCL library, by environment variables that are
 * set before that is loaded. Its report is whole when the process ends, so what is watched runs as
 * a child: this program with the name of a part. */
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ops_test.h"

#include "crypto/crypto.h"

#define SIMULATOR  "/usr/lib/oclgrind/liboclgrind-rt-icd.so"
#define REPORT_MAX 2048
#define GROUP_MAX  64 /* as small as products allow */

extern char **environ;
static char folder[] = "/tmp/emac-oclgrind-XXXXXX", report[64], driver[64];

static void open_layout(bool wide)
{
    struct emac_err err;
    struct cl *cl;
    memset(&devices, 0, sizeof devices);
    assert_int_equal(device_cpu_open(ISA_REF, 1, &devices.ref, &err), EMAC_OK);
    if (device_opencl_open("oclgrind", &devices.opencl[0], &err) != EMAC_OK)
        fail_msg("%s", err.text);
    cl = (struct cl *)devices.opencl[0];
    cl->limits.is_cpu = wide;
    cl->limits.group_max = GROUP_MAX;
}

/* Runs this program for `part`; its exit status and the beginning of the report. */
static int watch(const char *part, char text[REPORT_MAX])
{
    char *args[] = {"test_oclgrind", (char *)(uintptr_t)part, NULL};
    posix_spawn_file_actions_t actions;
    pid_t child;
    int status = -1;
    unlink(report);
    assert_int_equal(posix_spawn_file_actions_init(&actions), 0);
    assert_int_equal(posix_spawn_file_actions_adddup2(&actions, 2, 1), 0); /* 1 is our own TAP */
    assert_int_equal(posix_spawn(&child, "/proc/self/exe", &actions, NULL, args, environ), 0);
    posix_spawn_file_actions_destroy(&actions);
    assert_int_equal(waitpid(child, &status, 0), child);
    FILE *f = fopen(report, "r");
    assert_non_null(f);
    text[fread(text, 1, REPORT_MAX - 1, f)] = '\0';
    fclose(f);
    return status;
}

/* ---- cases ---- */

struct small {
    enum op op;
    struct op_attrs attrs;
    struct shape in[OP_IN_MAX]; /* of rank 0: ids below `limit`, one for each of dim[0] */
    uint32_t limit;
};

#define A(...)                                                                                     \
    {                                                                                              \
        {                                                                                          \
            __VA_ARGS__                                                                            \
        }                                                                                          \
    }
#define V(n)                                                                                       \
    {                                                                                              \
        1,                                                                                         \
        {                                                                                          \
            n                                                                                      \
        }                                                                                          \
    }
#define M(m, n)                                                                                    \
    {                                                                                              \
        2,                                                                                         \
        {                                                                                          \
            m, n                                                                                   \
        }                                                                                          \
    }
#define T(a, b, c)                                                                                 \
    {                                                                                              \
        3,                                                                                         \
        {                                                                                          \
            a, b, c                                                                                \
        }                                                                                          \
    }
#define I(a, b, c, d)                                                                              \
    {                                                                                              \
        4,                                                                                         \
        {                                                                                          \
            a, b, c, d                                                                             \
        }                                                                                          \
    }
#define IDS(n)                                                                                     \
    {                                                                                              \
        0,                                                                                         \
        {                                                                                          \
            n                                                                                      \
        }                                                                                          \
    }

static const struct small cases[] = {
    {OP_ADD, A({0}), {V(300), V(300)}, 0},
    {OP_MUL, A({0}), {V(17), V(17)}, 0},
    {OP_SCALE, A({0}), {V(17), V(1)}, 0},
    {OP_SWIGLU, A({0}), {V(17), V(17)}, 0},
    {OP_SWIGLU_GRAD, A({0}), {V(17), V(17), V(17)}, 0},
    {OP_ADAMW, A({0}), {V(17), V(17), V(17), V(17), V(1), V(8)}, 0},
    {OP_CLIP_COEF, A({0}), {V(1), V(1)}, 0},
    {OP_SQRT, A({0}), {V(1)}, 0},
    {OP_RELU, A({0}), {V(17)}, 0},
    {OP_RELU_GRAD, A({0}), {V(17), V(17)}, 0},
    {OP_GELU, A({0}), {V(17)}, 0},
    {OP_GELU_GRAD, A({0}), {V(17), V(17)}, 0},
    {OP_GELU_TANH, A({0}), {V(17)}, 0},
    {OP_GELU_TANH_GRAD, A({0}), {V(17), V(17)}, 0},
    {OP_BIAS, A({0}), {M(3, 19), V(19)}, 0},
    {OP_POSITION_ADD, A({0}), {M(6, 19), M(3, 19)}, 0},
    {OP_DROPOUT, A({.f = 0.5f}, {.i = 3}), {V(33), IDS(4)}, 9},
    {OP_FILL, A({.i = 33}, {.i = 0}, {.f = 1.5f}), {{0}}, 0},
    {OP_RANDN, A({.i = 33}, {.i = 0}, {.i = 5}, {.i = 2}, {.f = 1.0f}), {{0}}, 0},
    {OP_VIEW, A({.i = 3}, {.i = 4}), {V(12)}, 0},
    {OP_EMBED, A({0}), {IDS(5), M(7, 19)}, 7},
    {OP_EMBED_GRAD, A({.i = 3}), {IDS(9), M(9, 19)}, 3},
    {OP_ROPE, A({.i = 2}, {.i = 0}), {M(6, 20), M(3, 5), M(3, 5)}, 0},
    {OP_SUM, A({0}), {V(700)}, 0},
    {OP_SUMSQ, A({0}), {V(17)}, 0},
    {OP_SUM_ROWS, A({0}), {M(260, 5)}, 0},
    {OP_RMSNORM, A({.f = 1e-5f}), {M(2, 300), V(300)}, 0},
    {OP_RMSNORM_GRAD, A({0}), {M(3, 19), M(3, 19), V(19), V(3)}, 0},
    {OP_LAYERNORM, A({.f = 1e-5f}), {M(2, 300), V(300), V(300)}, 0},
    {OP_LAYERNORM_GRAD, A({0}), {M(3, 19), M(3, 19), V(19), V(3), V(3)}, 0},
    {OP_XENT, A({0}), {M(3, 300), IDS(3)}, 300},
    {OP_XENT_GRAD, A({0}), {V(1), M(3, 19), IDS(3), M(3, 2)}, 19},
    {OP_CORRECT, A({0}), {M(3, 300), IDS(3)}, 300},
    {OP_MATMUL, A({.i = 0}, {.i = 0}), {M(5, 9), M(9, 7)}, 0},
    {OP_MATMUL, A({.i = 0}, {.i = 1}), {M(18, 300), M(21, 300)}, 0},
    {OP_MATMUL, A({.i = 1}, {.i = 0}), {M(260, 9), M(260, 66)}, 0},
    {OP_MATMUL, A({.i = 1}, {.i = 1}), {M(17, 70), M(5, 17)}, 0},
    {OP_ATTENTION,
     A({.i = 2}, {.i = 4}, {.i = 2}, {.f = 0.5f}),
     {M(10, 12), M(10, 6), M(10, 6)},
     0},
    {OP_ATTENTION_GRAD,
     A({.i = 2}, {.i = 4}, {.i = 2}, {.f = 0.5f}),
     {M(10, 12), M(10, 12), M(10, 6), M(10, 6), M(10, 12), T(2, 4, 5), T(2, 4, 5)},
     0},
    {OP_CONV2D, A({.i = 2}, {.i = 1}), {I(1, 5, 6, 3), I(4, 3, 3, 3)}, 0},
    {OP_CONV2D_GRAD_X,
     A({.i = 5}, {.i = 6}, {.i = 2}, {.i = 1}),
     {I(1, 3, 3, 4), I(4, 3, 3, 3)},
     0},
    {OP_CONV2D_GRAD_W,
     A({.i = 3}, {.i = 3}, {.i = 2}, {.i = 1}),
     {I(1, 3, 3, 4), I(1, 5, 6, 3)},
     0},
    {OP_MAXPOOL2D, A({.i = 2}, {.i = 2}), {I(1, 4, 5, 3)}, 0},
    {OP_MAXPOOL2D_GRAD, A({.i = 2}, {.i = 2}), {I(1, 2, 2, 3), I(1, 4, 5, 3)}, 0},
    {OP_AVGPOOL2D, A({.i = 2}, {.i = 2}), {I(1, 4, 5, 3)}, 0},
    {OP_AVGPOOL2D_GRAD, A({.i = 4}, {.i = 5}, {.i = 2}, {.i = 2}), {I(1, 2, 2, 3)}, 0},
};

static void run_case(const struct small *c)
{
    struct tensor in[OP_IN_MAX];
    const struct op_info *info = op_info(c->op);
    for (uint32_t i = 0; i < info->inputs; i++) {
        in[i] = c->in[i].rank == 0 ? test_ids(c->in[i].dim[0], c->limit, 300 + i)
                                   : test_normal_tensor(c->in[i], 300 + i);
        for (size_t j = 0; in[i].dtype == DTYPE_F32 && j < test_count(&in[i]); j++)
            if (c->op == OP_ADAMW || c->op == OP_SQRT || c->op == OP_ATTENTION_GRAD)
                ((float *)in[i].data)[j] = ((float *)in[i].data)[j] * 0.125f + 1.0f;
    }
    check("", c->op, &c->attrs, in, NULL);
    tensors_free(in, info->inputs);
}

static void quantised(int64_t format)
{
    struct op_attrs attrs = {{{.i = format}}};
    struct tensor w = test_normal_tensor(SHAPE2(3, 512), 320), q;
    check("", OP_QUANTISE, &attrs, &w, &q);
    check("", OP_DEQUANTISE, &attrs, &q, NULL);
    struct tensor in[2] = {test_normal_tensor(SHAPE2(5, 512), 321), q};
    check("", OP_QMATMUL, &attrs, in, NULL);
    tensors_free(in, 2);
    tensors_free(&w, 1);
}

/* n numbers there and back */
static void packed(int64_t format, int64_t keep, size_t n)
{
    struct op_attrs attrs = {{{.i = format}, {.i = keep}, {.i = (int64_t)n}}};
    struct tensor x = test_normal_tensor(SHAPE1(n), 322), q;
    check("", OP_PACK, &attrs, &x, &q);
    check("", OP_UNPACK, &attrs, &q, NULL);
    tensors_free(&q, 1);
    tensors_free(&x, 1);
}

static void decode(void)
{
    float x[4 * 12], want[12], got[12], *at;
    struct device *both[2] = {devices.ref, devices.opencl[0]};
    for (size_t i = 0; i < EMAC_COUNT(x); i++)
        x[i] = test_normal(330, i);
    for (int d = 0; d < 2; d++) {
        float *o = d ? got : want;
        at = test_put(both[d], x, EMAC_COUNT(x));
        assert_int_equal(device_attention_decode(both[d], at, at + 12, at + 24, at + 36, 2, 1, 2, 1,
                                                 6, 0.5f, NULL),
                         EMAC_OK);
        test_get(both[d], o, at + 36, 12);
        device_free(both[d], at);
    }
    assert_int_equal(test_differ(want, got, 12), 12);
}

static void finite_and_add(void)
{
    struct device *dev = devices.opencl[0];
    float x[19] = {1.0f}, *at = test_put(dev, x, 19);
    struct tensor t = {DTYPE_F32, SHAPE1(19), at}, b = {DTYPE_BF16, SHAPE1(19), at};
    struct tensor both[2] = {t, b};
    bool all = false;
    assert_int_equal(device_add(dev, at, at, at, 19, NULL), EMAC_OK);
    assert_int_equal(device_finite(dev, 2, both, &all, NULL), EMAC_OK);
    assert_true(all);
    device_free(dev, at);
}

/* Lengths on both sides of a block, of the last one's room for the length, and of a piece. */
static void hashed(void)
{
    static const size_t length[] = {1, 55, 56, 64, 191, 192, 193, 700};
    struct device *dev = devices.opencl[0];
    float zeros[175] = {0}, *at = test_put(dev, zeros, EMAC_COUNT(zeros));
    for (size_t i = 0; i < EMAC_COUNT(length); i++) {
        uint8_t got[4][32], want[32];
        assert_int_equal(device_sha256(dev, at, length[i], 192, got, NULL), EMAC_OK);
        size_t last = (length[i] - 1) / 192;
        crypto_sha256(want, zeros, length[i] - last * 192);
        assert_memory_equal(got[last], want, sizeof want);
    }
    device_free(dev, at);
}

/* A device of its own for each case: where Oclgrind gives the number of a buffer that is gone to a
 * larger one, it takes what the host writes beyond the old size for never written. */
static void kernels_in(bool wide)
{
    static const int64_t format[] = {2, 3, 8, 14};
    for (size_t i = 0; i < EMAC_COUNT(cases) + EMAC_COUNT(format) + 4; i++) {
        size_t other = i - EMAC_COUNT(cases);
        open_layout(wide);
        if (i < EMAC_COUNT(cases))
            run_case(&cases[i]);
        else if (other < EMAC_COUNT(format))
            quantised(format[other]);
        else if (other == EMAC_COUNT(format))
            decode();
        else if (other == EMAC_COUNT(format) + 1) {
            packed(1, 0, 700);
            packed(2, 0, 67);
            packed(3, 8, 300);
            packed(3, 8, 5);
        } else if (other == EMAC_COUNT(format) + 2)
            hashed();
        else
            finite_and_add();
        test_devices_close(&devices);
    }
}

static void part_wide(void **state)
{
    kernels_in(true);
}

static void part_teams(void **state)
{
    kernels_in(false);
}

static void no_reports(void **state)
{
    static const char *const part[] = {"wide", "teams"};
    char text[REPORT_MAX];
    for (size_t i = 0; i < EMAC_COUNT(part); i++) {
        int status = watch(part[i], text);
        if (status != 0 || text[0] != '\0')
            fail_msg("'%s' ends with %d, Oclgrind reports: %s", part[i], status, text);
    }
}

/* No operator is left out of the table. */
static void all_operators(void **state)
{
    for (int op = 0; op < OP_COUNT; op++) {
        bool found = op == OP_QUANTISE || op == OP_DEQUANTISE || op == OP_QMATMUL ||
                     op == OP_PACK || op == OP_UNPACK;
        for (size_t i = 0; i < EMAC_COUNT(cases); i++)
            found |= cases[i].op == (enum op)op;
        if (!found && cl_op_table[op] != cl_op_table[OP_VIEW])
            fail_msg("operator '%s' has no case under Oclgrind", op_info((enum op)op)->name);
    }
}

/* ---- canaries: the report is not empty when something is wrong ---- */

static const struct canary {
    const char *kernel, *said, *text;
} canaries[] = {
    {"race", "data race", "__kernel void race(__global int *x) { x[0] = get_global_id(0); }"},
    {"outside", "Invalid write", "__kernel void outside(__global int *x) { x[4096] = 1; }"},
    {"unwritten", "ninitialized",
     "__kernel void unwritten(__global int *x) { int y[2]; y[0] = 1; x[1] = y[1 - (x[0] & 1)]; }"},
};

static void run_canary(const struct canary *c)
{
    const size_t items = 2;
    float zero[2] = {0.0f, 0.0f}, *x;
    struct cl *cl;
    size_t at;
    cl_int code;
    open_layout(true);
    cl = (struct cl *)devices.opencl[0];
    x = test_put(devices.opencl[0], zero, 2);
    cl_mem mem = cl_memory_find(cl, x, 0, &at);
    const char *text = c->text;
    cl_program program = cl->api.clCreateProgramWithSource(cl->context, 1, &text, NULL, &code);
    assert_int_equal(cl->api.clBuildProgram(program, 1, &cl->id, "", NULL, NULL), CL_SUCCESS);
    cl_kernel k = cl->api.clCreateKernel(program, c->kernel, &code);
    assert_int_equal(cl->api.clSetKernelArg(k, 0, sizeof mem, &mem), CL_SUCCESS);
    assert_int_equal(
        cl->api.clEnqueueNDRangeKernel(cl->queue, k, 1, NULL, &items, NULL, 0, NULL, NULL),
        CL_SUCCESS);
    device_finish(devices.opencl[0], NULL);
    cl->api.clReleaseKernel(k);
    cl->api.clReleaseProgram(program);
    device_free(devices.opencl[0], x);
    test_devices_close(&devices);
}

static void part_canary(void **state)
{
    run_canary(*state);
}

static void mistakes_are_reported(void **state)
{
    char text[REPORT_MAX];
    for (size_t i = 0; i < EMAC_COUNT(canaries); i++) {
        watch(canaries[i].kernel, text);
        if (strstr(text, canaries[i].said) == NULL)
            fail_msg("kernel '%s' is not reported; Oclgrind says '%s'", canaries[i].kernel, text);
    }
}

/* ---- */

static void write_file(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    assert_int_equal(fclose(f), 0);
}

static int run_part(const char *name)
{
    struct CMUnitTest part[1] = {cmocka_unit_test(part_canary)};
    part[0].name = name;
    if (strcmp(name, "wide") == 0)
        part[0].test_func = part_wide;
    if (strcmp(name, "teams") == 0)
        part[0].test_func = part_teams;
    for (size_t i = 0; i < EMAC_COUNT(canaries); i++)
        if (strcmp(name, canaries[i].kernel) == 0)
            part[0].initial_state = (void *)(uintptr_t)&canaries[i];
    cmocka_set_message_output(CM_OUTPUT_STDOUT);
    return cmocka_run_group_tests(part, NULL, NULL);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(no_reports),
                                       cmocka_unit_test(mistakes_are_reported),
                                       cmocka_unit_test(all_operators)};
    int rc;
    if (argc > 1)
        return run_part(argv[1]);
    if (access(SIMULATOR, R_OK) != 0) {
        printf("1..0 # SKIP Oclgrind is not installed\n");
        return 0;
    }
    if (mkdtemp(folder) == NULL)
        return 1;
    snprintf(report, sizeof report, "%s/report", folder);
    snprintf(driver, sizeof driver, "%s/oclgrind.icd", folder);
    write_file(driver, SIMULATOR "\n");
    setenv("OCL_ICD_VENDORS", folder, 1);
    setenv("OCLGRIND_LOG", report, 1);
    setenv("OCLGRIND_DATA_RACES", "1", 1);
    setenv("OCLGRIND_CHECK_API", "1", 1);
    setenv("OCLGRIND_UNINITIALIZED", "1", 1);
    /* it does not know every instruction that optimised code has */
    setenv("OCLGRIND_BUILD_OPTIONS", "-cl-opt-disable", 1);
    rc = cmocka_run_group_tests(tests, NULL, NULL);
    unlink(driver);
    unlink(report);
    rmdir(folder);
    return rc;
}
