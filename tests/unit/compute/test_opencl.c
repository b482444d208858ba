/* The OpenCL runtime: memory and its map, wrong builds, failing drivers. (Operators: test_ops.c and
 * its kin run on OpenCL too.) Without an OpenCL device it is skipped, and said. */
#include "compute_test.h"

#include <unistd.h>

#include "../opencl_there.h"
#include "compute/opencl/ops.h"
#include "os/os.h"

static struct device *open_device(void)
{
    struct device *dev = NULL;
    struct emac_err err;
    if (device_open("opencl:0", 1, &dev, &err) != EMAC_OK)
        fail_msg("%s", err.text);
    return dev;
}

static struct cl *cl_of(struct device *dev)
{
    return (struct cl *)dev;
}

static void assert_says(const struct emac_err *err, enum emac_status st, const char *part)
{
    if (err->status != st || strstr(err->text, part) == NULL)
        fail_msg("got '%s' (%s), wanted %s with '%s'", err->text, emac_status_text(err->status),
                 emac_status_text(st), part);
}

static void names(void **state)
{
    static const struct {
        const char *spec;
        enum emac_status st;
        const char *part;
    } table[] = {
        {"gpu", EMAC_INVALID, "opencl:N"},
        {"cpu/sse9", EMAC_INVALID, "cpu/avx2"},
        {"opencl:77", EMAC_NOT_FOUND, "no OpenCL device '77'"},
        {"opencl:no such card", EMAC_NOT_FOUND, "'no such card'"},
    };
    for (size_t i = 0; i < EMAC_COUNT(table); i++) {
        struct device *dev = NULL;
        struct emac_err err = {0};
        assert_int_equal(device_open(table[i].spec, 1, &dev, &err), table[i].st);
        assert_says(&err, table[i].st, table[i].part);
    }
}

static void name_by_part(void **state)
{
    struct device *dev = open_device(), *same = NULL;
    struct device_found found[2];
    if (device_opencl_list(found, 2) == 1) {
        for (char *p = found[0].name; *p != '\0'; p++)
            *p = (char)(*p >= 'a' && *p <= 'z' ? *p - 'a' + 'A' : *p);
        char *spec = emac_asprintf("opencl:%.20s", found[0].name);
        assert_int_equal(device_open(spec, 1, &same, NULL), EMAC_OK);
        assert_string_equal(device_name(same), device_name(dev));
        free(spec);
    }
    device_close(same);
    device_close(dev);
}

static void conformance(void **state)
{
    struct device *dev = open_device();
    struct emac_err err;
    const char *wrong;
    char digest[65];
    if (device_admit(dev, digest, &err) != EMAC_OK)
        fail_msg("%s", err.text);
    assert_string_equal(digest, CONFORMANCE_DIGEST);
    assert_int_equal(device_diagnose(dev, &wrong, NULL), EMAC_OK);
    assert_null(wrong);
    device_close(dev);
}

/* ---- memory ---- */

static void memory(void **state)
{
    static const size_t bytes[] = {1, 4, 4096, 65536, 65537, 3000001};
    struct device *dev = open_device();
    struct device_memory before, after;
    uint64_t moved = 0;
    device_memory(dev, &before);
    for (size_t i = 0; i < EMAC_COUNT(bytes); i++) {
        uint8_t *a, *b, *src = malloc(bytes[i]), *got = malloc(bytes[i]);
        size_t half = bytes[i] / 2;
        for (size_t k = 0; k < bytes[i]; k++)
            src[k] = (uint8_t)test_word(7, k);
        assert_int_equal(device_alloc(dev, bytes[i], &a, NULL), EMAC_OK);
        assert_int_equal(device_alloc(dev, bytes[i], &b, NULL), EMAC_OK);
        assert_int_equal(device_write(dev, a, src, bytes[i], NULL), EMAC_OK);
        assert_int_equal(device_copy(dev, b, a + half, bytes[i] - half, NULL), EMAC_OK);
        assert_int_equal(device_copy(dev, b + (bytes[i] - half), a, half, NULL), EMAC_OK);
        memset(src, 0, 1); /* what was written is ours again */
        assert_int_equal(device_read(dev, got, b, bytes[i], NULL), EMAC_OK);
        for (size_t k = 0; k < bytes[i]; k++)
            assert_int_equal(got[k], (uint8_t)test_word(7, (k + half) % bytes[i]));
        device_free(dev, a);
        device_free(dev, b);
        free(src);
        free(got);
        moved += bytes[i];
    }
    device_memory(dev, &after);
    assert_int_equal(after.used, before.used);
    assert_true(after.peak >= before.used + 2 * 3000001);
    assert_int_equal(after.written - before.written, moved);
    assert_int_equal(after.read - before.read, moved);
    device_close(dev);
}

/* More small writes than there are places to keep them until the device has taken them. */
static void many_writes(void **state)
{
    struct device *dev = open_device();
    uint32_t *there_at, got[200];
    assert_int_equal(device_alloc(dev, sizeof got, &there_at, NULL), EMAC_OK);
    for (uint32_t i = 0; i < EMAC_COUNT(got); i++)
        assert_int_equal(device_write(dev, there_at + i, &i, sizeof i, NULL), EMAC_OK);
    assert_int_equal(device_read(dev, got, there_at, sizeof got, NULL), EMAC_OK);
    for (uint32_t i = 0; i < EMAC_COUNT(got); i++)
        assert_int_equal(got[i], i);
    device_free(dev, there_at);
    device_close(dev);
}

static void limit(void **state)
{
    struct device *dev = open_device();
    struct device_memory m;
    struct emac_err err = {0};
    void *p, *q;
    device_memory_limit(dev, 1 << 20);
    device_memory(dev, &m);
    assert_int_equal(m.total, 1 << 20);
    assert_int_equal(device_alloc(dev, 600 << 10, &p, &err), EMAC_OK);
    assert_int_equal(device_alloc(dev, 600 << 10, &q, &err), EMAC_NO_MEMORY);
    assert_says(&err, EMAC_NO_MEMORY, "of 1048576 bytes are in use");
    assert_false(device_lost(dev));
    device_free(dev, p);
    assert_int_equal(device_alloc(dev, 600 << 10, &q, &err), EMAC_OK);
    device_free(dev, q);
    device_close(dev);
}

static cl_mem fake_create(cl_context c, cl_mem_flags f, size_t bytes, void *host, cl_int *code)
{
    static uintptr_t next = 1000;
    *code = CL_SUCCESS;
    return (cl_mem)next++;
}

static cl_int fake_release(cl_mem m)
{
    return CL_SUCCESS;
}

/* Addresses beyond 4 GiB, with buffers that are not there: the map only counts. */
static void map(void **state)
{
    static const size_t big = (size_t)5 << 30;
    struct device *dev = open_device();
    struct cl *cl = cl_of(dev);
    struct cl_api real = cl->api;
    uint8_t *at[6];
    size_t offset;
    cl->api.clCreateBuffer = fake_create;
    cl->api.clReleaseMemObject = fake_release;
    dev->memory.total = dev->memory.alloc_max = (uint64_t)1 << 40;
    for (size_t i = 0; i < EMAC_COUNT(at); i++)
        assert_int_equal(device_alloc(dev, big, &at[i], NULL), EMAC_OK);
    for (size_t i = 0; i < EMAC_COUNT(at); i++) {
        cl_mem first = cl_memory_find(cl, at[i], 1, &offset);
        assert_int_equal(offset, 0);
        assert_ptr_equal(cl_memory_find(cl, at[i] + big - 4, 4, &offset), first);
        assert_int_equal(offset, big - 4);
        for (size_t j = 0; j < i; j++)
            assert_ptr_not_equal(cl_memory_find(cl, at[j], 1, &offset), first);
    }
    /* what is given back is used again */
    device_free(dev, at[2]);
    uint8_t *again;
    assert_int_equal(device_alloc(dev, big - 8192, &again, NULL), EMAC_OK);
    assert_ptr_equal(again, at[2]);
    at[2] = again;
    for (size_t i = 0; i < EMAC_COUNT(at); i++)
        device_free(dev, at[i]);
    cl->api = real;
    device_close(dev);
}

/* ---- drivers that compute otherwise ---- */

/* Embedded texts changed by `change`, made once each for all of a test. */
#define TEXTS_MAX 64
struct changed {
    const char *name;
    char *text;
};

static const char *changed(struct changed made[TEXTS_MAX], const char *name,
                           char *(*change)(const char *name, const char *text))
{
    size_t i = 0;
    while (i < TEXTS_MAX && made[i].name != NULL && strcmp(made[i].name, name) != 0)
        i++;
    EMAC_ASSERT(i < TEXTS_MAX);
    if (made[i].name == NULL)
        made[i] = (struct changed){name, change(name, cl_text(name))};
    return made[i].text;
}

static char *contract(const char *name, const char *text)
{
    static const char off[] = "FP_CONTRACT OFF", on[] = "FP_CONTRACT ON ";
    char *copy = emac_strdup(text);
    for (char *p = strstr(copy, off); p != NULL; p = strstr(p, off))
        memcpy(p, on, sizeof on - 1);
    return copy;
}

static const char *contracting(const char *name)
{
    static struct changed made[TEXTS_MAX];
    return changed(made, name, contract);
}

static char *unfuse(const char *name, const char *text)
{
    return emac_asprintf(
        "%s%s", text,
        strcmp(name, "fn") == 0 ? "\n#undef fma\n#define fma(a, b, c) ((a) * (b) + (c))\n" : "");
}

static const char *unfused(const char *name)
{
    static struct changed made[TEXTS_MAX];
    return changed(made, name, unfuse);
}

static const char *broken(const char *name)
{
    return strcmp(name, "pointwise") == 0 ? "this is not a program" : cl_text(name);
}

static struct device *open_built(const char *options, const char *(*text)(const char *name))
{
    struct device *dev = open_device();
    cl_of(dev)->options = options;
    cl_of(dev)->text = text;
    return dev;
}

/* Wrong builds of the same kernels. */
static void wrong_builds(void **state)
{
    static const struct {
        const char *options;
        const char *(*text)(const char *name);
        const char *wrong;
    } table[] = {
        {"-cl-denorms-are-zero", cl_text, "takes subnormal inputs for zero"},
        {"", contracting, "contracts a product and a sum"},
        {"", unfused, "rounds the product of an fma"},
    };
    for (size_t i = 0; i < EMAC_COUNT(table); i++) {
        struct device *dev = open_built(table[i].options, table[i].text);
        struct emac_err err = {0};
        const char *wrong;
        if (device_diagnose(dev, &wrong, &err) != EMAC_OK)
            fail_msg("%s", err.text);
        if (wrong == NULL || strcmp(wrong, table[i].wrong) != 0)
            fail_msg("'%s' is not seen: %s", table[i].wrong, wrong ? wrong : "nothing wrong");
        device_close(dev);
    }
}

static void refused(void **state)
{
    struct device *dev = open_built("-cl-denorms-are-zero", cl_text);
    struct emac_err err = {0};
    char digest[65];
    assert_int_equal(device_admit(dev, digest, &err), EMAC_UNSUPPORTED);
    assert_says(&err, EMAC_UNSUPPORTED, "takes subnormal inputs for zero");
    assert_says(&err, EMAC_UNSUPPORTED, "gets no paid work");
    assert_string_not_equal(digest, CONFORMANCE_DIGEST);
    device_close(dev);
}

static void compile_error(void **state)
{
    struct device *dev = open_device();
    struct emac_err err = {0};
    float x[1] = {1};
    struct tensor in[2] = {{DTYPE_F32, SHAPE1(1), x}, {DTYPE_F32, SHAPE1(1), x}}, out = in[0];
    cl_of(dev)->text = broken;
    assert_int_equal(device_run_host(dev, OP_MUL, NULL, in, &out, &err), EMAC_UNSUPPORTED);
    assert_says(&err, EMAC_UNSUPPORTED, device_name(dev));
    assert_says(&err, EMAC_UNSUPPORTED, "error");
    assert_false(device_lost(dev));
    device_close(dev);
}

/* ---- drivers that fail ---- */

static cl_int launch_fails(cl_command_queue q, cl_kernel k, cl_uint dims, const size_t *offset,
                           const size_t *global, const size_t *local, cl_uint n,
                           const cl_event *wait, cl_event *event)
{
    return CL_OUT_OF_RESOURCES;
}

static cl_int read_fails(cl_command_queue q, cl_mem m, cl_bool blocking, size_t at, size_t n,
                         void *out, cl_uint events, const cl_event *wait, cl_event *event)
{
    return CL_INVALID_COMMAND_QUEUE;
}

static cl_mem create_fails(cl_context c, cl_mem_flags f, size_t n, void *host, cl_int *code)
{
    *code = CL_MEM_OBJECT_ALLOCATION_FAILURE;
    return NULL;
}

static enum emac_status add_once(struct device *dev, struct emac_err *err)
{
    float x[1] = {1};
    struct tensor in[2] = {{DTYPE_F32, SHAPE1(1), x}, {DTYPE_F32, SHAPE1(1), x}}, out = in[0];
    return device_run_host(dev, OP_ADD, NULL, in, &out, err);
}

static void lost_in_a_kernel(void **state)
{
    struct device *dev = open_device();
    struct emac_err err = {0};
    assert_int_equal(add_once(dev, &err), EMAC_OK);
    cl_of(dev)->api.clEnqueueNDRangeKernel = launch_fails;
    assert_int_equal(add_once(dev, &err), EMAC_UNAVAILABLE);
    assert_says(&err, EMAC_UNAVAILABLE, device_name(dev));
    assert_says(&err, EMAC_UNAVAILABLE, "run kernel 'add");
    assert_says(&err, EMAC_UNAVAILABLE, "CL_OUT_OF_RESOURCES");
    assert_true(device_lost(dev));
    /* from then on everything says so, though the driver would answer again */
    struct emac_err again = {0};
    void *p;
    assert_int_equal(device_alloc(dev, 4, &p, &again), EMAC_UNAVAILABLE);
    assert_string_equal(again.text, err.text);
    assert_int_equal(device_finish(dev, &again), EMAC_UNAVAILABLE);
    device_close(dev);
    dev = open_device();
    assert_int_equal(add_once(dev, &err), EMAC_OK);
    device_close(dev);
}

static void lost_in_a_read(void **state)
{
    struct device *dev = open_device();
    struct emac_err err = {0};
    cl_of(dev)->api.clEnqueueReadBuffer = read_fails;
    assert_int_equal(add_once(dev, &err), EMAC_UNAVAILABLE);
    assert_says(&err, EMAC_UNAVAILABLE, "CL_INVALID_COMMAND_QUEUE");
    assert_true(device_lost(dev));
    device_close(dev);
}

static void out_of_memory(void **state)
{
    struct device *dev = open_device();
    struct emac_err err = {0};
    cl_mem (*real)(cl_context, cl_mem_flags, size_t, void *, cl_int *) =
        cl_of(dev)->api.clCreateBuffer;
    cl_of(dev)->api.clCreateBuffer = create_fails;
    assert_int_equal(add_once(dev, &err), EMAC_NO_MEMORY);
    assert_says(&err, EMAC_NO_MEMORY, "do not fit on device");
    assert_false(device_lost(dev));
    cl_of(dev)->api.clCreateBuffer = real;
    assert_int_equal(add_once(dev, &err), EMAC_OK);
    device_close(dev);
}

/* An id that is out of range is found by the kernel, and said once. */
static void bad_id(void **state)
{
    struct device *dev = open_device();
    struct emac_err err = {0};
    int32_t id[2] = {1, 7};
    float rows[6] = {0}, got[6];
    struct tensor in[2] = {{DTYPE_I32, SHAPE1(2), id}, {DTYPE_F32, SHAPE2(2, 3), rows}};
    struct tensor out = {DTYPE_F32, SHAPE2(2, 3), got};
    assert_int_equal(device_run_host(dev, OP_EMBED, NULL, in, &out, &err), EMAC_INVALID);
    assert_says(&err, EMAC_INVALID, "vocabulary");
    assert_false(device_lost(dev));
    id[1] = 0;
    assert_int_equal(device_run_host(dev, OP_EMBED, NULL, in, &out, &err), EMAC_OK);
    device_close(dev);
}

/* ---- the tuner ---- */

static char *file_text(const char *path)
{
    struct emac_buf text;
    emac_buf_init(&text, 4096);
    assert_int_equal(os_real()->file_read(os_real(), path, &text, NULL), EMAC_OK);
    char *copy = emac_strdup(emac_buf_str(&text));
    emac_buf_release(&text);
    return copy;
}

static void tune_with(struct device *dev, const char *path, const char *head, const char *rest)
{
    struct os *os = os_real();
    char *text = emac_asprintf("%s%s", head, rest);
    assert_int_equal(os->file_write(os, path, text, strlen(text), 0600, NULL), EMAC_OK);
    assert_int_equal(device_tune(dev, os, path, NULL), EMAC_OK);
    free(text);
}

/* A file that is of this device is taken; one that is damaged or of another is made anew. */
static void tuner(void **state)
{
    static const struct {
        bool head;
        const char *rest;
    } damages[] = {{false, ""}, {false, "emac tiles 1\nother card\n"}, {true, "7\n"}};
    struct device *dev = open_device();
    struct cl *cl = cl_of(dev);
    char dir[] = "/tmp/emac-test-tiles-XXXXXX", path[64], weights[512];
    size_t n = 0;
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/tiles", dir);
    assert_int_equal(device_tune(dev, os_real(), path, NULL), EMAC_OK);
    char *head = file_text(path), *end = strchr(strchr(head, '\n') + 1, '\n') + 1;
    for (const char *p = end; *p != '\0'; p++)
        n += *p == '\n';
    assert_int_equal(n, CL_TILES_COUNT + 4); /* and what hashing costs */
    *end = '\0';
    /* weights that no timing gives show that the file was read */
    n = 0;
    for (size_t i = 0; i < CL_TILES_COUNT; i++)
        n += (size_t)snprintf(weights + n, sizeof weights - n, "%zu\n", 77000 + i);
    snprintf(weights + n, sizeof weights - n, "11\n12\n13\n14\n");
    tune_with(dev, path, head, weights);
    for (size_t i = 0; i < CL_TILES_COUNT; i++)
        assert_int_equal(cl->tile_weight[i], 77000 + i);
    assert_int_equal(dev->hashing.serial, 11);
    assert_int_equal(dev->hashing.host, 14);
    for (size_t d = 0; d < EMAC_COUNT(damages); d++) {
        cl->tile_weight[1] = 77001;
        tune_with(dev, path, damages[d].head ? head : "", damages[d].rest);
        assert_int_not_equal(cl->tile_weight[1], 77001);
        char *anew = file_text(path);
        assert_int_equal(strncmp(anew, head, strlen(head)), 0);
        free(anew);
    }
    free(head);
    os_real()->file_remove(os_real(), path, NULL);
    rmdir(dir);
    device_close(dev);
}

int main(void)
{
    if (!opencl_there())
        return 0;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names),
        cmocka_unit_test(name_by_part),
        cmocka_unit_test(conformance),
        cmocka_unit_test(memory),
        cmocka_unit_test(many_writes),
        cmocka_unit_test(limit),
        cmocka_unit_test(map),
        cmocka_unit_test(wrong_builds),
        cmocka_unit_test(refused),
        cmocka_unit_test(compile_error),
        cmocka_unit_test(lost_in_a_kernel),
        cmocka_unit_test(lost_in_a_read),
        cmocka_unit_test(out_of_memory),
        cmocka_unit_test(bad_id),
        cmocka_unit_test(tuner),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
