#include <string.h>

#include "cli/cli.h"
#include "ledger/ledger.h"
#include "node/agent.h"
#include "node/duty.h"
#include "os/process.h"
#include "os/thread.h"

#define ONCE_S        30
#define GIVE_UP_S_MAX 86400

struct node_args {
    const char *dir, *name, *owner, *address, *public_url, *duty, *link;
    const char *offer_price, *results;
    uint64_t port, memory_mb, disk_mb, offer_mb, slots, cache_mb, give_up_s;
    struct cli_device device;
    bool unreachable, no_sandbox, once;
};

/* Turns the stop flag of the signal handler into node_stop. */
struct watcher {
    struct os_thread thread;
    struct cli *c;
    struct node *node;
    bool done;
};

static void *watch(void *arg)
{
    struct watcher *w = arg;
    while (!__atomic_load_n(&w->done, __ATOMIC_ACQUIRE)) {
        if (os_stop_wait(100)) {
            node_stop(w->node);
            break;
        }
    }
    return NULL;
}

static enum emac_status node_dir(struct cli *c, const char *given, char *out, size_t cap)
{
    if (!given)
        return cli_home_path(c, "node", out, cap);
    if (!emac_strcpy(out, cap, given))
        return emac_fail(&c->err, EMAC_INVALID, "the path '%s' is too long", given);
    return c->os->dir_make(c->os, out, &c->err);
}

static void say_end(struct cli *c, struct node *n)
{
    struct node_figures f;
    node_figures(n, &f);
    char units[32];
    snprintf(units, sizeof(units), "%lld", (long long)f.paid_units);
    cli_result(c,
               json_pack("{s:s,s:I,s:I,s:s,s:I,s:I,s:I}", "did", node_did(n), "tasks_done",
                         (json_int_t)f.tasks_done, "tasks_failed", (json_int_t)f.tasks_failed,
                         "paid_units", units, "bus_written", (json_int_t)f.bus_written, "bus_read",
                         (json_int_t)f.bus_read, "bus_asked", (json_int_t)f.bus_asked));
}

static enum emac_status run(struct cli *c, const struct node_config *cfg)
{
    struct node *n = NULL;
    enum emac_status st = node_open(cfg, &n, &c->err);
    if (st != EMAC_OK)
        return st;
    cli_say(c, "EMAC_NODE=%s", node_did(n));
    struct watcher w = {.c = c, .node = n};
    os_thread_start(&w.thread, watch, &w);
    st = node_run(n, &c->err);
    __atomic_store_n(&w.done, true, __ATOMIC_RELEASE);
    os_thread_join(&w.thread);
    say_end(c, n);
    node_close(n);
    return st;
}

static enum emac_status args_check(struct cli *c, struct node_args *a, int *values)
{
    enum emac_status st = cli_device_check(c, &a->device);
    if (st == EMAC_OK)
        st = cli_results_parse(c, a->results, values);
    if (st == EMAC_OK && (a->port > 65535 || a->memory_mb > (1u << 30) || a->disk_mb > (1u << 30) ||
                          a->offer_mb > (1u << 30) || a->cache_mb > (1u << 30)))
        st = emac_fail(&c->err, EMAC_INVALID,
                       "port goes up to 65535, memory-mb, disk-mb, offer-mb and cache-mb to 2^30");
    if (st == EMAC_OK && a->slots > NODE_SLOTS_MAX)
        st = emac_fail(&c->err, EMAC_INVALID, "slots go up to %d", NODE_SLOTS_MAX);
    if (st == EMAC_OK && a->give_up_s > GIVE_UP_S_MAX)
        st = emac_fail(&c->err, EMAC_INVALID, "give-up is at most %d seconds", GIVE_UP_S_MAX);
    uint8_t key[ED25519_PUBLIC_BYTES];
    if (st == EMAC_OK && a->owner != NULL && !crypto_did_key_parse(key, a->owner))
        st = emac_fail(&c->err, EMAC_INVALID, "'--owner %s' is no did:key", a->owner);
    if (a->once && a->give_up_s == 0)
        a->give_up_s = ONCE_S;
    return st;
}

enum emac_status cmd_node(struct cli *c, int argc, char **argv)
{
    struct node_args a = {0};
    const struct cli_option options[] = {
        {"dir", 0, OPT_TEXT, &a.dir},
        {"name", 0, OPT_TEXT, &a.name},
        {"owner", 0, OPT_TEXT, &a.owner},
        {"address", 0, OPT_TEXT, &a.address},
        {"port", 0, OPT_U64, &a.port},
        {"public-url", 0, OPT_TEXT, &a.public_url},
        {"unreachable", 0, OPT_FLAG, &a.unreachable},
        CLI_DEVICE_OPTIONS(&a.device){"memory-mb", 0, OPT_U64, &a.memory_mb},
        {"disk-mb", 0, OPT_U64, &a.disk_mb},
        {"offer-mb", 0, OPT_U64, &a.offer_mb},
        {"offer-price", 0, OPT_TEXT, &a.offer_price},
        {"slots", 0, OPT_U64, &a.slots},
        {"cache-mb", 0, OPT_U64, &a.cache_mb},
        {"results", 0, OPT_TEXT, &a.results},
        {"duty", 0, OPT_TEXT, &a.duty},
        {"link", 0, OPT_TEXT, &a.link},
        {"no-sandbox", 0, OPT_FLAG, &a.no_sandbox},
        {"once", 0, OPT_FLAG, &a.once},
        {"give-up", 0, OPT_U64, &a.give_up_s},
    };
    const char *pos[CLI_POSITIONALS_MAX];
    char dir[OS_PATH_MAX];
    enum emac_status st = cli_parse(c, argc, argv, options, EMAC_COUNT(options), pos, 0, 0);
    if (st != EMAC_OK)
        return st;
    int values;
    st = args_check(c, &a, &values);
    if (st != EMAC_OK)
        return st;
    int64_t offer_units = 0;
    if (a.offer_price != NULL &&
        ledger_amount_parse(a.offer_price, &offer_units, &c->err) != EMAC_OK)
        return c->err.status;
    uint32_t duty = DUTY_WHOLE;
    if (a.duty != NULL && !duty_parse(a.duty, &duty))
        return emac_fail(&c->err, EMAC_INVALID, "'--duty %s' is not a share from 0.001 to 1",
                         a.duty);
    struct link_shape link = {0};
    if (a.link != NULL && link_shape_parse(&link, a.link, &c->err) != EMAC_OK)
        return c->err.status;
    st = node_dir(c, a.dir, dir, sizeof(dir));
    if (st != EMAC_OK)
        return st;
    const struct node_config cfg = {.os = c->os,
                                    .coordinator = c->url,
                                    .dir = dir,
                                    .name = a.name,
                                    .address = a.address,
                                    .port = (uint16_t)a.port,
                                    .public_url = a.public_url,
                                    .owner = a.owner,
                                    .unreachable = a.unreachable,
                                    .device = a.device.spec,
                                    .device_memory = a.device.memory_bytes,
                                    .threads = (uint32_t)a.device.threads,
                                    .values = (enum exec_values)values,
                                    .duty = duty,
                                    .link = link,
                                    .memory_quota = a.memory_mb << 20,
                                    .disk_quota = a.disk_mb << 20,
                                    .offer_bytes = a.offer_mb << 20,
                                    .offer_units = offer_units,
                                    .slots = (uint32_t)a.slots,
                                    .cache_bytes = a.cache_mb << 20,
                                    .sandbox = !a.no_sandbox,
                                    .give_up_ms = (uint32_t)(a.give_up_s * 1000)};
    return run(c, &cfg);
}
