/* A coordinator by script and an agent that works for it. */
#ifndef EMAC_TESTS_NODE_AGENT_FIXTURE_H
#define EMAC_TESTS_NODE_AGENT_FIXTURE_H

#include "agent_runner.h"
#include "fake_routes.h"

/* Log lines on stderr when EMAC_TEST_LOG is set. */
static inline void log_line(void *ctx, enum log_level level, const char *module, const char *text)
{
    fprintf(stderr, "%llu %s: %s\n",
            (unsigned long long)(os_real()->mono_ns(os_real()) / 1000 % 100000000), module, text);
}

static inline void log_open(void)
{
    if (getenv("EMAC_TEST_LOG") != NULL)
        log_set_sink(log_line, NULL, LOG_DEBUG);
}

/* ---- life ---- */

static inline void fake_up(struct fake *f)
{
    const struct http_server_config cfg = {.address = "127.0.0.1",
                                           .port = f->port,
                                           .routes = FAKE_ROUTES,
                                           .route_count = sizeof FAKE_ROUTES / sizeof *FAKE_ROUTES,
                                           .ctx = f};
    assert_ok(http_server_start(&cfg, &f->server, err));
    f->port = http_server_port(f->server);
    snprintf(f->url, sizeof f->url, "http://127.0.0.1:%u", f->port);
}

static inline void fake_down(struct fake *f)
{
    http_server_stop(f->server);
    f->server = NULL;
}

static inline void fake_open(struct fake *f)
{
    *f = (struct fake){.hello = "admitted", .reachable = true};
    rig_open(&f->rig, ISA_BEST, 1, 4);
    f->nonces = nonce_cache_new();
    f->challenge_program = plan_program(f->rig.plan, TASK_INIT)->cid;
    f->cancel = json_array();
    f->deposit = json_array();
    f->providers = json_array();
    f->said = json_object();
    emac_buf_init(&f->text, 1 << 20);
    os_mutex_init(&f->lock);
    os_cond_init(&f->changed);
    fake_up(f);
}

static inline void fake_close(struct fake *f)
{
    if (f->server != NULL)
        fake_down(f);
    json_t *kept[] = {f->last_hello,   f->last_answer, f->last_poll,  f->last_receipt,
                      f->last_failure, f->last_beat,   f->last_piece, f->cancel,
                      f->deposit,      f->providers,   f->said};
    for (size_t i = 0; i < sizeof kept / sizeof *kept; i++)
        json_decref(kept[i]);
    for (uint32_t i = 0; i < f->queued; i++)
        json_decref(f->queue[i]);
    emac_buf_release(&f->text);
    nonce_cache_free(f->nonces);
    rig_close(&f->rig);
    os_cond_release(&f->changed);
    os_mutex_release(&f->lock);
}

/* Wait until *counter >= want. */
#define fake_wait(f, counter, want) fake_wait_for((f), &(f)->counter, (want), #counter)
static inline void fake_wait_for(struct fake *f, const int *counter, int want, const char *what)
{
    uint64_t end = os_real()->mono_ns(os_real()) + FAKE_WAIT_MS * (uint64_t)1000000;
    os_mutex_lock(&f->lock);
    while (*counter < want && os_real()->mono_ns(os_real()) < end)
        os_cond_wait_ms(&f->changed, &f->lock, 20);
    int got = *counter;
    os_mutex_unlock(&f->lock);
    if (got < want)
        fail_msg("waited in vain for %d %s, got %d", want, what, got);
}

static inline int fake_get(struct fake *f, const int *counter)
{
    os_mutex_lock(&f->lock);
    int v = *counter;
    os_mutex_unlock(&f->lock);
    return v;
}

/* The agent counts what it did after the coordinator's answer, so a test waits for a count. */
#define figure_wait(node, figures, field, want)                                                    \
    do {                                                                                           \
        uint64_t end_ = os_real()->mono_ns(os_real()) + FAKE_WAIT_MS * (uint64_t)1000000;          \
        for (;;) {                                                                                 \
            node_figures((node), (figures));                                                       \
            if ((figures)->field >= (want) || os_real()->mono_ns(os_real()) >= end_)               \
                break;                                                                             \
            os_real()->sleep_ms(os_real(), 5);                                                     \
        }                                                                                          \
        assert_int_equal((figures)->field, (want));                                                \
    } while (0)

static inline void fake_queue(struct fake *f, json_t *lease)
{
    os_mutex_lock(&f->lock);
    assert_true(f->queued < FAKE_QUEUE_MAX && lease != NULL);
    f->queue[f->queued++] = lease;
    os_cond_broadcast(&f->changed);
    os_mutex_unlock(&f->lock);
}

#endif
