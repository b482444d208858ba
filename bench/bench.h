/* What the benchmarks share: command line, clock, median. */
#ifndef EMAC_BENCH_BENCH_H
#define EMAC_BENCH_BENCH_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/assert.h"
#include "base/buf.h"
#include "compute/device.h"
#include "os/os.h"

static inline double bench_seconds(void)
{
    struct os *os = os_real();
    return (double)os->mono_ns(os) * 1e-9;
}

/* One thread's own time, which other programs on the machine do not add to; with several threads,
 * that of the clock on the wall. */
static inline double bench_time(const struct device *dev)
{
    struct timespec t;
    if (!device_is_host(dev) || device_threads(dev) > 1 ||
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t) != 0)
        return bench_seconds();
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static inline int bench_compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static inline double bench_median(double *x, size_t n)
{
    qsort(x, n, sizeof *x, bench_compare);
    return x[n / 2];
}

/* Takes "--isa NAME", "--threads N" or "--device opencl:WHICH" off the front of the arguments and
 * opens the device; ends the program with a sentence when that fails. */
static inline struct device *bench_device(int *argc, char ***argv)
{
    enum isa isa = ISA_BEST;
    uint32_t threads = 1;
    const char *opencl = NULL;
    enum emac_status st;
    struct device *dev;
    struct emac_err err;
    for (; *argc > 2 && (*argv)[1][0] == '-'; *argc -= 2, *argv += 2) {
        if (strcmp((*argv)[1], "--isa") == 0)
            isa = isa_find((*argv)[2]);
        else if (strcmp((*argv)[1], "--threads") == 0)
            threads = (uint32_t)strtoul((*argv)[2], NULL, 10);
        else if (strncmp((*argv)[2], "opencl:", 7) == 0)
            opencl = (*argv)[2] + 7;
    }
    if (isa == ISA_COUNT || threads < 1 || threads > 1024) {
        fprintf(stderr, "usage: [--isa best|ref|portable|avx2|avx512] [--threads N] "
                        "[--device opencl:WHICH] ...\n");
        exit(2);
    }
    st =
        opencl ? device_opencl_open(opencl, &dev, &err) : device_cpu_open(isa, threads, &dev, &err);
    if (st != EMAC_OK) {
        fprintf(stderr, "%s\n", err.text);
        exit(1);
    }
    return dev;
}

static inline float *bench_floats(size_t n)
{
    float *x = NULL;
    enum emac_status st = emac_alloc_aligned(&x, n * sizeof *x, NULL);
    EMAC_ASSERT(st == EMAC_OK);
    for (size_t i = 0; i < n; i++)
        x[i] = (float)((i * 2654435761u >> 8) % 65536) * 0x1p-16f - 0.5f;
    return x;
}

static inline void bench_run(struct device *dev, enum op op, const struct op_attrs *attrs,
                             const struct tensor *in, struct tensor *out)
{
    struct emac_err err;
    if (device_run(dev, op, attrs, in, out, &err) != EMAC_OK) {
        fprintf(stderr, "%s\n", err.text);
        exit(1);
    }
}

#define BENCH_SLICE_S   0.003 /* short: on a shared machine some slices are not interrupted */
#define BENCH_MEASURE_S 0.08

/* Seconds of one run; `runs` of them are timed together. */
static inline double bench_slice(struct device *dev, enum op op, const struct op_attrs *attrs,
                                 const struct tensor *in, struct tensor *out, size_t runs)
{
    double start = bench_time(dev);
    for (size_t r = 0; r < runs; r++)
        bench_run(dev, op, attrs, in, out);
    return (bench_time(dev) - start) / (double)runs;
}

/* Seconds of an operator: the best of a few slices, which is what the machine can do while nobody
 * disturbs it. */
static inline double bench_best(struct device *dev, enum op op, const struct op_attrs *attrs,
                                const struct tensor *in, struct tensor *out)
{
    double best, each, end;
    size_t runs;
    bench_slice(dev, op, attrs, in, out,
                1); /* the first run finds caches cold, memory not mapped */
    best = bench_slice(dev, op, attrs, in, out, 1);
    runs = best < BENCH_SLICE_S ? (size_t)(BENCH_SLICE_S / best) + 1 : 1;
    end = bench_seconds() + BENCH_MEASURE_S;
    do {
        each = bench_slice(dev, op, attrs, in, out, runs);
        best = each < best ? each : best;
    } while (bench_seconds() < end);
    return best;
}

#endif
