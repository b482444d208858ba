/* Fully paid assignments through a real coordinator: each is a lease, a signed result, its check
 * by the coordinator's rules, the payment, and the next lease, durable before the answer.
 *
 *   bench_paid [--http] [--jobs N] RIGS SECONDS
 *
 * Rigs by script answer at once with made-up results, a thread each, and authenticate as rigs do
 * (sessions, signed receipts); one job, or N at once, whose results are checked as the rules say. A
 * job alone has its rigs wait for each other at the end of each of its rounds, which costs no
 * processor time, but time; where there are several a rig works for another meanwhile. Without
 * --http the handlers are called as the server calls them (with signatures, JSON and the sync
 * before the answer, without sockets). Prints one line: assignments paid a second on the wall, and
 * microseconds an assignment: the handlers' processor time (0 with --http), the time that the one
 * lock is held for (coordinator_us_per_task), and the processor time of the whole process, rigs and
 * kernel included. Ends with the ledger's audit. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdatomic.h>
#include <time.h>

#include "../tests/unit/coordinator/direct.h"
#include "../tests/unit/coordinator/makeup.h"

#define BENCH_RIGS_MAX 64
#define BENCH_JOBS_MAX 4 /* net.h: rigs keep the states of so many */

static struct {
    struct net net;
    struct rigbot rig[BENCH_RIGS_MAX];
    struct identity caller[BENCH_RIGS_MAX]; /* of the rig, with its session */
    struct http_mac session[BENCH_RIGS_MAX];
    bool http;
    atomic_bool stop;
    atomic_llong paid, idle, handler_ns;
} b;

static uint64_t cpu_ns(clockid_t of)
{
    struct timespec t;
    clock_gettime(of, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static int ask(const struct identity *who, http_handler *handler, const char *target, json_t *body,
               json_t **reply)
{
    if (b.http)
        return call(&b.net, who, "POST", target, body, reply);
    struct direct_call made;
    char *text = json_dumps(body, JSON_COMPACT);
    direct_sign(&b.net, who, target, text, &made);
    uint64_t began = cpu_ns(CLOCK_THREAD_CPUTIME_ID);
    int status = direct_run(&b.net, handler, &made, reply);
    atomic_fetch_add(&b.handler_ns, (long long)(cpu_ns(CLOCK_THREAD_CPUTIME_ID) - began));
    arena_release(&made.arena);
    free(text);
    json_decref(body);
    return status;
}

static json_t *next_of(const struct rigbot *r)
{
    return json_pack("{s:i, s:o}", "wait_ms", 20, "holds", holds_json(r));
}

/* The receipt for a lease, and with it the wish for the next one. */
static json_t *receipt_body(struct rigbot *r, json_t *lease)
{
    struct made_up m;
    struct emac_buf bytes;
    uint8_t sig[ED25519_SIGNATURE_BYTES];
    make_up(&b.net, r, lease, false, &m);
    holds_note(&b.net, r, &m);
    emac_buf_init(&bytes, RECEIPT_BYTES_MAX);
    assert_ok(receipt_encode(&m.receipt, &bytes, NULL, err));
    crypto_ed25519_sign(sig, bytes.data, bytes.len, r->id.secret_key);
    json_t *body = json_pack("{s:o, s:o, s:o}", "receipt", text64(bytes.data, bytes.len),
                             "signature", text64(sig, sizeof(sig)), "next", next_of(r));
    if (m.has_metrics)
        json_object_set_new(body, "inline",
                            json_pack("{s:o}", "metrics", text64(m.metrics.data, m.metrics.len)));
    emac_buf_release(&bytes);
    made_up_release(&m);
    return body;
}

static void *rig_main(void *arg)
{
    struct rigbot *r = arg;
    const struct identity *who = &b.caller[r - b.rig];
    json_t *lease = NULL;
    while (!atomic_load(&b.stop)) {
        json_t *reply;
        if (lease == NULL) {
            int status = ask(who, lease_post, "/v1/lease", next_of(r), &reply);
            if (status == 200)
                lease = reply;
            else
                json_decref(reply);
            atomic_fetch_add(&b.idle, status != 200);
            if (status != 200 && status != 204)
                fail_msg("lease: %d", status);
            continue;
        }
        int status = ask(who, receipts_post, "/v1/receipts", receipt_body(r, lease), &reply);
        if (status != 200)
            fail_msg("receipt: %d %s", status, str_of(reply, "error"));
        atomic_fetch_add(&b.paid, units_of(reply, "paid_units") > 0);
        json_decref(lease);
        lease = json_incref(json_object_get(reply, "next"));
        json_decref(reply);
    }
    json_decref(lease);
    return NULL;
}

static void measure(uint32_t rigs, uint32_t seconds)
{
    struct os_thread thread[BENCH_RIGS_MAX];
    struct os *os = os_real();
    uint64_t began = os->mono_ns(os), cpu = cpu_ns(CLOCK_PROCESS_CPUTIME_ID);
    for (uint32_t i = 0; i < rigs; i++)
        os_thread_start(&thread[i], rig_main, &b.rig[i]);
    os->sleep_ms(os, seconds * 1000);
    atomic_store(&b.stop, true);
    for (uint32_t i = 0; i < rigs; i++)
        os_thread_join(&thread[i]);
    cpu = cpu_ns(CLOCK_PROCESS_CPUTIME_ID) - cpu;
    double wall = (double)(os->mono_ns(os) - began) * 1e-9, paid = (double)atomic_load(&b.paid);
    os->sleep_ms(os, 3000); /* figures are written now and then */
    json_t *j = job_now(&b.net);
    printf(
        "%.0f %.1f %.1f %.1f\n", paid / wall, (double)atomic_load(&b.handler_ns) * 1e-3 / paid,
        json_real_value(json_object_get(json_object_get(j, "figures"), "coordinator_us_per_task")),
        (double)cpu * 1e-3 / paid);
    fprintf(stderr, "%.0f paid, %lld polls without work, step %d, state %s, checked %d\n", paid,
            (long long)atomic_load(&b.idle), (int)int_of(j, "step"), str_of(j, "state"),
            (int)figure(&b.net, "checked"));
    json_decref(j);
}

static void rig_start(uint32_t i)
{
    struct rigbot *r = &b.rig[i];
    *r = (struct rigbot){.deposits = json_array()};
    identity_seeded(&r->id, (uint8_t)(i + 1));
    snprintf(r->boot, sizeof(r->boot), "boot-%u", i);
    assert_int_equal(hello_session(&b.net, r, &b.session[i]), 200);
    identity_seeded(&b.caller[i], (uint8_t)(i + 1));
    b.caller[i].signer.mac = &b.session[i];
}

static void jobs_submit(uint32_t count)
{
    struct job job = net_job(&b.net, 100000, 1024);
    job.check = 0.1;
    job.checkpoint_every = 100000;
    job.price_units_per_tflop = 1000;
    for (b.net.jobs = 0; b.net.jobs < count; b.net.jobs++) {
        job.nonce = b.net.jobs + 1;
        net_submit(&b.net, &job);
    }
}

static uint32_t number(const char *text, uint32_t most)
{
    unsigned long n = strtoul(text, NULL, 10);
    if (n >= 1 && n <= most)
        return (uint32_t)n;
    fprintf(stderr, "bench_paid: '%s' is not a number from 1 to %u\n", text, most);
    exit(2);
}

int main(int argc, char **argv)
{
    uint32_t jobs = 1;
    int at = 1;
    b.http = at < argc && strcmp(argv[at], "--http") == 0;
    at += b.http;
    if (at + 1 < argc && strcmp(argv[at], "--jobs") == 0) {
        jobs = number(argv[at + 1], BENCH_JOBS_MAX);
        at += 2;
    }
    if (argc - at != 2) {
        fprintf(stderr, "usage: bench_paid [--http] [--jobs N] RIGS SECONDS\n");
        return 2;
    }
    uint32_t rigs = number(argv[at], BENCH_RIGS_MAX), seconds = number(argv[at + 1], 3600);
    b.net.cfg.rate_per_s = 1000000;
    net_open(&b.net, "bench");
    for (uint32_t i = 0; i < rigs; i++)
        rig_start(i);
    b.net.bytes_dropped = true;
    jobs_submit(jobs);
    measure(rigs, seconds);
    assert_audit(&b.net);
    for (uint32_t i = 0; i < rigs; i++)
        json_decref(b.rig[i].deposits);
    net_close(&b.net);
    return 0;
}
