/* A rig that lies: the agent, but in a share of its tasks one bit of the result's numbers is
 * flipped. It passes the admission challenge, so only verification can find it out.
 *
 *     faulty-rig --url URL --dir D --flip-share X | --flip always|once [--delta NUMBER|shape]
 *                [--seed N] [--name NAME] [--threads N]
 *
 * With --flip always the same bit of each task's first bundle is flipped, whenever the task is run:
 * a liar that holds to its lie. With --flip once that happens to the first gradient alone, and
 * not when it is run again: a card that lost a bit.
 * With --delta every number of each delta that it makes is that one: 1e10, nan. "shape": it
 * keeps its numbers and its first tensor is of another shape. Which tasks, and which bit, Philox
 * decides from the seed. Prints EMAC_NODE=<did> at the start and "tasks N flipped M" at the end;
 * exits like `emac node` (3 when quarantined). */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/philox.h"
#include "codec/safetensors.h"
#include "node/agent.h"
#include "os/process.h"
#include "os/thread.h"

struct flipper {
    double share;
    uint64_t seed, tasks, flipped;
    bool armed; /* the next bundle gets it */
    enum { FLIP_SHARE, FLIP_ALWAYS, FLIP_ONCE } flip;
    bool poisons, misshapes;
    float delta; /* what deltas are then made of */
};

/* The data follow the header in a safetensors file. */
static void flip_bit(struct flipper *f, uint8_t *bundle, size_t n)
{
    uint64_t data = 0;
    if (n < 8 || st_header_size(bundle, n, &data, NULL) != EMAC_OK || data >= n)
        return;
    uint64_t draw = f->flip == FLIP_SHARE ? f->tasks : 0;
    uint64_t bit = philox_below(f->seed, PHILOX_TEST, 1, draw, (n - data) * 8);
    bundle[data + bit / 8] ^= (uint8_t)(1u << bit % 8);
    f->flipped++;
}

static void poison(const struct flipper *f, uint8_t *bundle, size_t n)
{
    uint64_t data = 0;
    if (st_header_size(bundle, n, &data, NULL) != EMAC_OK)
        return;
    for (uint64_t at = data; at + sizeof f->delta <= n; at += sizeof f->delta)
        memcpy(bundle + at, &f->delta, sizeof f->delta);
}

/* The first size in the header, one more or one less. */
static void misshape(uint8_t *bundle, size_t n)
{
    static const char SHAPE[] = "\"shape\":[";
    uint8_t *at = memmem(bundle, n, SHAPE, sizeof SHAPE - 1);
    if (at != NULL)
        at[sizeof SHAPE - 1] ^= 1;
}

static void tamper(void *ctx, const char *output, uint8_t *bundle, size_t n)
{
    struct flipper *f = ctx;
    if (output == NULL) {
        uint64_t draw = philox_below(f->seed, PHILOX_TEST, 0, f->tasks, 1u << 30);
        f->armed = (double)draw < f->share * (double)(1u << 30);
        f->tasks++;
        return;
    }
    if (f->flip != FLIP_SHARE)
        f->armed = strcmp(output, "sum") == 0 && (f->flip == FLIP_ALWAYS || f->flipped == 0);
    if (f->misshapes && strcmp(output, "delta") == 0)
        misshape(bundle, n);
    else if (f->poisons && strcmp(output, "delta") == 0)
        poison(f, bundle, n);
    if (f->armed)
        flip_bit(f, bundle, n);
    f->armed = false;
}

static void log_line(void *ctx, enum log_level level, const char *module, const char *text)
{
    fprintf(stderr, "%s: %s\n", module, text);
}

struct watcher {
    struct os_thread thread;
    struct node *node;
    bool done;
};

static void *watch(void *arg)
{
    struct watcher *w = arg;
    while (!__atomic_load_n(&w->done, __ATOMIC_ACQUIRE)) {
        if (os_stop_requested()) {
            node_stop(w->node);
            break;
        }
        os_real()->sleep_ms(os_real(), 100);
    }
    return NULL;
}

static int run(const struct node_config *cfg, struct flipper *f)
{
    struct emac_err err = {.status = EMAC_OK};
    struct watcher w = {0};
    if (node_open(cfg, &w.node, &err) != EMAC_OK) {
        fprintf(stderr, "faulty-rig: %s\n", err.text);
        return emac_status_exit(err.status);
    }
    printf("EMAC_NODE=%s\n", node_did(w.node));
    fflush(stdout);
    os_thread_start(&w.thread, watch, &w);
    enum emac_status st = node_run(w.node, &err);
    __atomic_store_n(&w.done, true, __ATOMIC_RELEASE);
    os_thread_join(&w.thread);
    node_close(w.node);
    printf("tasks %llu flipped %llu\n", (unsigned long long)f->tasks,
           (unsigned long long)f->flipped);
    if (st != EMAC_OK)
        fprintf(stderr, "faulty-rig: %s\n", err.text);
    return emac_status_exit(st);
}

static int usage(void)
{
    fputs("usage: faulty-rig --url URL --dir D --flip-share X | --flip always|once "
          "[--delta NUMBER|shape] [--seed N] [--name NAME] [--threads N]\n",
          stderr);
    return emac_status_exit(EMAC_INVALID);
}

int main(int argc, char **argv)
{
    static const struct option OPTIONS[] = {{"url", required_argument, NULL, 'u'},
                                            {"dir", required_argument, NULL, 'd'},
                                            {"flip-share", required_argument, NULL, 'x'},
                                            {"delta", required_argument, NULL, 'p'},
                                            {"flip", required_argument, NULL, 'f'},
                                            {"seed", required_argument, NULL, 's'},
                                            {"name", required_argument, NULL, 'n'},
                                            {"threads", required_argument, NULL, 't'},
                                            {NULL, 0, NULL, 0}};
    struct flipper f = {.share = -1};
    struct node_config cfg = {.os = os_real(), .sandbox = true, .tamper = tamper, .tamper_ctx = &f};
    for (int o; (o = getopt_long(argc, argv, "", OPTIONS, NULL)) != -1;) {
        switch (o) {
        case 'u':
            cfg.coordinator = optarg;
            break;
        case 'd':
            cfg.dir = optarg;
            break;
        case 'x':
            f.share = strtod(optarg, NULL);
            break;
        case 'f':
            f.share = 0;
            f.flip = strcmp(optarg, "always") == 0 ? FLIP_ALWAYS
                     : strcmp(optarg, "once") == 0 ? FLIP_ONCE
                                                   : FLIP_SHARE;
            if (f.flip == FLIP_SHARE)
                return usage();
            break;
        case 'p':
            f.poisons = true;
            f.misshapes = strcmp(optarg, "shape") == 0;
            f.delta = strtof(optarg, NULL);
            break;
        case 's':
            f.seed = strtoull(optarg, NULL, 10);
            break;
        case 'n':
            cfg.name = optarg;
            break;
        case 't':
            cfg.threads = (uint32_t)strtoul(optarg, NULL, 10);
            break;
        default:
            return usage();
        }
    }
    if (cfg.coordinator == NULL || cfg.dir == NULL || !(f.share >= 0 && f.share <= 1) ||
        optind != argc)
        return usage();
    os_stop_install();
    log_set_sink(log_line, NULL, LOG_INFO);
    return run(&cfg, &f);
}
