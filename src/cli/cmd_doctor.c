/* Is this machine fit to join? One row a question: what was found, and where it
 * is not good enough the reason and what to do. */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "codec/unixfs.h"
#include "compute/device.h"
#include "ledger/ledger.h"
#include "os/process.h"

#define OPENCL_MAX      16
#define ROWS_MAX        (24 + OPENCL_MAX)
#define MEMORY_LEAST    (UINT64_C(1) << 30)
#define DISK_LEAST      (UINT64_C(2) << 30)
#define CLOCK_MS_MOST   30000
#define BENCH_MS        1500
#define RESULT_MIB_MOST (64u << 10)

enum verdict { GOOD, WARN, BAD };

struct row {
    enum verdict verdict;
    char what[24];
    char found[512];
};

struct doctor {
    struct cli *c;
    struct row row[ROWS_MAX];
    size_t count;
    struct device_speed speed;
    double price_per_tflop; /* EMAC, of the newest job; < 0 when unknown */
    bool reachable;
};

static void add(struct doctor *d, const char *what, enum verdict v, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

static void add(struct doctor *d, const char *what, enum verdict v, const char *fmt, ...)
{
    EMAC_ASSERT(d->count < ROWS_MAX);
    struct row *r = &d->row[d->count++];
    emac_strcpy(r->what, sizeof(r->what), what);
    r->verdict = v;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(r->found, sizeof(r->found), fmt, ap);
    va_end(ap);
}

static uint64_t bench_clock(void *ctx)
{
    struct os *os = ctx;
    return os->mono_ns(os);
}

static void check_machine(struct doctor *d)
{
    char model[128], host[128], memory[24], available[24];
    os_cpu_model(model, sizeof(model));
    os_host_name(host, sizeof(host));
    add(d, "machine", GOOD, "%s: %s, %u usable cores", host, model, os_cpu_count());
    uint64_t bytes = os_memory_bytes();
    human_bytes(memory, bytes);
    human_bytes(available, os_memory_available());
    add(d, "memory", bytes >= MEMORY_LEAST ? GOOD : BAD, "%s, %s available%s", memory, available,
        bytes >= MEMORY_LEAST ? "" : "; at least 1 GiB is needed");
    char found[128] = "";
    for (int i = ISA_PORTABLE; i < ISA_COUNT; i++)
        if (isa_supported((enum isa)i))
            snprintf(found + strlen(found), sizeof(found) - strlen(found), "%s%s",
                     found[0] ? ", " : "", isa_name((enum isa)i));
    add(d, "instructions", isa_supported(ISA_AVX2) ? GOOD : WARN, "%s%s", found,
        isa_supported(ISA_AVX2) ? "" : "; without AVX2 this machine is slow and earns little");
}

static void check_conformance(struct doctor *d, struct device *dev)
{
    char digest[65] = "";
    enum emac_status st = device_admit(dev, digest, &d->c->err);
    if (st == EMAC_OK)
        add(d, "conformance", GOOD, "%.16s... is the published digest", digest);
    else
        add(d, "conformance", BAD, "%s", d->c->err.text);
}

/* How fast results cross, and which are hashed where they are made. */
static void bus_text(struct doctor *d, struct device *dev, char *out, size_t cap)
{
    struct device_hashing h;
    size_t mib = 1;
    out[0] = '\0';
    if (device_hashing_measure(dev, d->c->os, &h, NULL) != EMAC_OK)
        return;
    while (mib <= RESULT_MIB_MOST &&
           !device_sha256_pays(dev, mib << 20, UNIXFS_CHUNK, os_cpu_count()))
        mib *= 2;
    int n = snprintf(out, cap, ", bus %.2f GB/s: ", (double)(1 << 20) / (double)h.bus);
    if (mib > RESULT_MIB_MOST)
        snprintf(out + n, cap - (size_t)n, "results cross to be hashed");
    else
        snprintf(out + n, cap - (size_t)n, "results of %zu MiB and more stay on it", mib);
}

/* One row says all of it: a machine may have many cards. One that is not fit is no harm to a rig
 * that works with another device. */
static void check_opencl_device(struct doctor *d, size_t number, const struct device_found *f)
{
    char spec[24], digest[65] = "", memory[24], bus[80];
    struct device *dev = NULL;
    struct device_speed speed;
    snprintf(spec, sizeof(spec), "opencl:%zu", number);
    human_bytes(memory, f->memory);
    enum emac_status st = device_open(spec, 1, &dev, &d->c->err);
    if (st == EMAC_OK)
        st = device_admit(dev, digest, &d->c->err);
    if (st == EMAC_OK) {
        device_benchmark(dev, bench_clock, d->c->os, BENCH_MS, &speed);
        bus_text(d, dev, bus, sizeof bus);
        add(d, spec, GOOD,
            "%s (%s), driver %s, %s: %.16s... is the published digest, %.1f GFLOP/s, %.1f GB/s%s",
            f->name, f->platform, f->driver, memory, digest, speed.gemm_gflops, speed.memory_gbs,
            bus);
    } else {
        add(d, spec, WARN, "%s (%s), driver %s, %s: %.16s%s%s", f->name, f->platform, f->driver,
            memory, digest, digest[0] ? "...: " : "", d->c->err.text);
    }
    device_close(dev);
}

static void check_opencl(struct doctor *d)
{
    struct device_found found[OPENCL_MAX];
    size_t n = device_opencl_list(found, OPENCL_MAX);
    for (size_t i = 0; i < n; i++)
        check_opencl_device(d, i, &found[i]);
    if (n == 0)
        add(d, "opencl", WARN,
            "no device; a graphics card needs its driver and ocl-icd-libopencl1");
}

static void check_devices(struct doctor *d)
{
    struct device *dev = NULL;
    if (device_cpu_open(ISA_BEST, os_cpu_count(), &dev, &d->c->err) != EMAC_OK) {
        add(d, "device", BAD, "%s", d->c->err.text);
        return;
    }
    add(d, "device", GOOD, "%s", device_name(dev));
    check_conformance(d, dev);
    device_benchmark(dev, bench_clock, d->c->os, BENCH_MS, &d->speed);
    add(d, "matrix product", d->speed.gemm_gflops >= 1 ? GOOD : BAD, "%.1f GFLOP/s in f32%s",
        d->speed.gemm_gflops, d->speed.gemm_gflops >= 1 ? "" : "; at least 1 is needed");
    add(d, "memory speed", GOOD, "%.1f GB/s", d->speed.memory_gbs);
    device_close(dev);
}

static void check_disk(struct doctor *d)
{
    char path[OS_PATH_MAX], text[24];
    uint64_t free_bytes = 0;
    struct os *os = d->c->os;
    if (cli_home_path(d->c, "doctor.tmp", path, sizeof(path)) != EMAC_OK ||
        os->file_write(os, path, "x", 1, 0600, &d->c->err) != EMAC_OK) {
        add(d, "disk", BAD, "%s", d->c->err.text);
        return;
    }
    enum emac_status st = os->disk_free(os, path, &free_bytes, &d->c->err);
    os->file_remove(os, path, NULL);
    if (st != EMAC_OK) {
        add(d, "disk", BAD, "%s", d->c->err.text);
        return;
    }
    human_bytes(text, free_bytes);
    add(d, "disk", free_bytes >= DISK_LEAST ? GOOD : BAD, "%s free, writable%s", text,
        free_bytes >= DISK_LEAST ? ""
                                 : "; at least 2 GiB is needed: free some, or --home elsewhere");
}

/* What the newest job pays, in EMAC a TFLOP. */
static void ask_price(struct doctor *d)
{
    json_t *reply = NULL, *job, *price;
    d->price_per_tflop = -1;
    if (cli_call(d->c, "GET", "/v1/jobs?limit=1", NULL, false, &reply) != EMAC_OK)
        return;
    job = json_array_get(json_object_get(reply, "jobs"), 0);
    char *path = emac_asprintf("/v1/jobs/%s", job ? cli_str(job, "id") : "");
    json_t *full = NULL;
    if (job && cli_call(d->c, "GET", path, NULL, false, &full) == EMAC_OK) {
        price = json_object_get(json_object_get(full, "job"), "price");
        int64_t units;
        if (ledger_amount_parse(cli_str(price, "per_tflop"), &units, NULL) == EMAC_OK)
            d->price_per_tflop = (double)units / (double)LEDGER_UNITS_PER_EMAC;
    }
    json_decref(full);
    json_decref(reply);
    free(path);
}

static void check_coordinator(struct doctor *d)
{
    json_t *reply = NULL;
    uint64_t before = d->c->os->wall_ms(d->c->os);
    if (cli_call(d->c, "GET", "/v1/status", NULL, false, &reply) != EMAC_OK) {
        add(d, "coordinator", d->c->url_given ? BAD : WARN, "%s", d->c->err.text);
        add(d, "clock", WARN, "not compared: no coordinator");
        return;
    }
    d->reachable = true;
    uint64_t after = d->c->os->wall_ms(d->c->os);
    add(d, "coordinator", GOOD, "%s answers in %llu ms, version %s", d->c->url,
        (unsigned long long)(after - before), cli_str(reply, "version"));
    json_t *now = json_object_get(reply, "now_ms");
    double skew = json_number_value(now) - (double)(before + (after - before) / 2);
    if (!json_is_number(now))
        add(d, "clock", WARN, "not compared: the coordinator does not tell its time");
    else
        add(d, "clock", skew < CLOCK_MS_MOST && skew > -CLOCK_MS_MOST ? GOOD : BAD,
            "%+.3f s against the coordinator%s", -skew / 1000,
            skew < CLOCK_MS_MOST && skew > -CLOCK_MS_MOST
                ? ""
                : "; requests would be refused as stale: set the clock (timedatectl set-ntp on)");
    json_decref(reply);
}

static void check_earnings(struct doctor *d)
{
    if (d->reachable)
        ask_price(d);
    if (!d->reachable || d->price_per_tflop < 0) {
        add(d, "earnings", WARN, "unknown: %s",
            d->reachable ? "no job has been offered yet" : "no coordinator to ask for prices");
        return;
    }
    double hour = d->speed.gemm_gflops / 1000 * 3600 * d->price_per_tflop;
    add(d, "earnings", GOOD, "up to %.4f EMAC an hour at the newest job's price (%.6f a TFLOP)",
        hour, d->price_per_tflop);
}

static json_t *rows_json(const struct doctor *d)
{
    static const char *const names[] = {"good", "warning", "bad"};
    json_t *rows = json_array();
    for (size_t i = 0; i < d->count; i++)
        json_array_append_new(rows, json_pack("{s:s,s:s,s:s}", "check", d->row[i].what, "verdict",
                                              names[d->row[i].verdict], "found", d->row[i].found));
    return rows;
}

static void show(const struct doctor *d)
{
    static const char *const mark[] = {"ok", "note", "BAD"};
    static const char *const colour[] = {"\033[32m", "\033[33m", "\033[31m"};
    for (size_t i = 0; i < d->count; i++) {
        const struct row *r = &d->row[i];
        bool paint = d->c->colour;
        cli_say(d->c, "%s%-4s%s %-15s %s", paint ? colour[r->verdict] : "", mark[r->verdict],
                paint ? "\033[0m" : "", r->what, r->found);
    }
}

enum emac_status cmd_doctor(struct cli *c, int argc, char **argv)
{
    const char *pos[CLI_POSITIONALS_MAX];
    enum emac_status st = cli_parse(c, argc, argv, NULL, 0, pos, 0, 0);
    if (st != EMAC_OK)
        return st;
    struct doctor d = {.c = c, .price_per_tflop = -1};
    check_machine(&d);
    check_devices(&d);
    check_opencl(&d);
    check_disk(&d);
    check_coordinator(&d);
    check_earnings(&d);
    show(&d);
    const struct row *bad = NULL;
    for (size_t i = 0; i < d.count; i++)
        if (d.row[i].verdict == BAD && !bad)
            bad = &d.row[i];
    cli_result(c, json_pack("{s:b,s:o,s:f,s:f}", "fit", bad == NULL, "rows", rows_json(&d),
                            "gemm_gflops", d.speed.gemm_gflops, "memory_gbs", d.speed.memory_gbs));
    if (!bad) {
        cli_say(c, "this machine is fit to join: emac node --url %s", c->url);
        return EMAC_OK;
    }
    return emac_fail(&c->err, EMAC_FAILED, "not fit: %s: %s", bad->what, bad->found);
}
