/* A coordinator and N rigs on loopback, each its own process, watched: one that
 * dies is started again (unless --no-restart). Everything lives under D:
 * coordinator/, node-1/ ... node-N/, each with its log and pid file. */
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "http/shape.h"
#include "node/duty.h"
#include "os/process.h"

#define NODES_MAX       64
#define START_WAIT_MS   20000
#define STOP_WAIT_MS    10000
#define RESTART_WAIT_MS 1000
#define LOOK_MS         10 /* at a child that starts or ends */

struct up_args {
    const char *dir, *isa, *devices, *device_memory, *duty, *links, *chain, *serving, *results;
    uint64_t nodes, threads, port, memory_mb;
    bool no_restart;
};

struct child {
    char name[24];
    pid_t pid;
    bool running;
    uint64_t start_at_ns; /* when to start again */
};

struct up {
    struct cli *c;
    const struct up_args *a;
    char self[OS_PATH_MAX], dir[OS_PATH_MAX], url[160];
    struct child child[NODES_MAX + 1]; /* [0] is the coordinator */
    uint32_t count;
};

static char *path_of(const struct up *u, const struct child *ch, const char *file)
{
    return emac_asprintf("%s/%s/%s", u->dir, ch->name, file);
}

static void write_pid(struct up *u, const struct child *ch)
{
    char *path = path_of(u, ch, "pid"), text[24];
    snprintf(text, sizeof(text), "%d\n", (int)ch->pid);
    if (u->c->os->file_write_fast(u->c->os, path, text, strlen(text), 0600, NULL) != EMAC_OK)
        LOG_W("up", "cannot write '%s'", path);
    free(path);
}

static enum emac_status child_start(struct up *u, struct child *ch, char *const argv[])
{
    char *dir = emac_asprintf("%s/%s", u->dir, ch->name), *log = path_of(u, ch, "log");
    enum emac_status st = u->c->os->dir_make(u->c->os, dir, &u->c->err);
    if (st == EMAC_OK)
        st = os_process_start(argv, log, &ch->pid, &u->c->err);
    ch->running = st == EMAC_OK;
    if (ch->running)
        write_pid(u, ch);
    free(dir);
    free(log);
    return st;
}

/* The port of the last run, so that URLs survive a restart; 0 when there is none. */
static unsigned last_port(struct up *u, const char *url_path)
{
    struct emac_buf text;
    emac_buf_init(&text, 256);
    unsigned port = 0;
    if (u->c->os->file_read(u->c->os, url_path, &text, NULL) == EMAC_OK) {
        const char *colon = strrchr(emac_buf_str(&text), ':');
        port = colon ? (unsigned)strtoul(colon + 1, NULL, 10) : 0;
    }
    emac_buf_release(&text);
    return port <= 65535 ? port : 0;
}

static enum emac_status wait_url(struct up *u, const char *url_path)
{
    struct emac_buf text;
    emac_buf_init(&text, sizeof(u->url) - 1);
    enum emac_status st = EMAC_NOT_FOUND;
    int code = 0;
    for (int waited = 0; waited < START_WAIT_MS && !os_stop_requested(); waited += LOOK_MS) {
        emac_buf_clear(&text);
        st = u->c->os->file_read(u->c->os, url_path, &text, NULL);
        if (st == EMAC_OK && text.len > 0)
            break;
        if (os_process_poll(u->child[0].pid, &code)) {
            u->child[0].running = false;
            break;
        }
        u->c->os->sleep_ms(u->c->os, LOOK_MS);
    }
    emac_strcpy(u->url, sizeof(u->url), emac_buf_str(&text));
    emac_buf_release(&text);
    if (u->url[0] == 0)
        return emac_fail(&u->c->err, EMAC_UNAVAILABLE,
                         "the coordinator did not start (exit code %d): see '%s/coordinator/log'",
                         code, u->dir);
    return EMAC_OK;
}

static void option_add(char **argv, uint32_t *count, char *name, char *value)
{
    if (value == NULL)
        return;
    argv[(*count)++] = name;
    argv[(*count)++] = value;
}

static enum emac_status coordinator_up(struct up *u, unsigned port)
{
    struct child *ch = &u->child[0];
    char *dir = emac_asprintf("%s/%s", u->dir, ch->name), *url_path = path_of(u, ch, "url");
    char port_text[16];
    if (port == 0)
        port = last_port(u, url_path);
    snprintf(port_text, sizeof(port_text), "%u", port);
    u->c->os->file_remove(u->c->os, url_path, NULL);
    u->url[0] = 0;
    char *argv[12] = {u->self, "coordinator", "--dir", dir, "--port", port_text, "--dev"};
    uint32_t count = 7;
    option_add(argv, &count, "--chain", (char *)u->a->chain);
    option_add(argv, &count, "--serving", (char *)u->a->serving);
    enum emac_status st = child_start(u, ch, argv);
    if (st == EMAC_OK)
        st = wait_url(u, url_path);
    free(dir);
    free(url_path);
    return st;
}

static char *device_of(const struct up_args *a, uint32_t i)
{
    if (a->devices != NULL)
        return cli_item(a->devices, ',', i);
    return a->isa != NULL ? emac_asprintf("cpu/%s", a->isa) : emac_strdup("cpu");
}

static enum emac_status duty_check(struct cli *c, const char *list)
{
    uint32_t per_mille;
    bool sound = true;
    for (uint32_t i = 0; i < cli_items(list, ',') && sound; i++) {
        char *item = cli_item(list, ',', i);
        sound = duty_parse(item, &per_mille);
        free(item);
    }
    return sound ? EMAC_OK
                 : emac_fail(&c->err, EMAC_INVALID,
                             "'--duty %s' is not a list of shares from 0.001 to 1", list);
}

static enum emac_status node_up(struct up *u, struct child *ch)
{
    char *dir = emac_asprintf("%s/%s", u->dir, ch->name);
    char threads[24], memory[24];
    uint64_t cpus = os_cpu_count(), each = u->a->threads ? u->a->threads : cpus / u->a->nodes;
    uint64_t mb =
        u->a->memory_mb ? u->a->memory_mb : (os_memory_bytes() >> 20) / 4 / (u->a->nodes + 1);
    snprintf(threads, sizeof(threads), "%llu", (unsigned long long)(each ? each : 1));
    snprintf(memory, sizeof(memory), "%llu", (unsigned long long)mb);
    uint32_t rig = (uint32_t)(ch - u->child) - 1, count = 14;
    char *device = device_of(u->a, rig);
    char *duty = u->a->duty != NULL ? cli_item(u->a->duty, ',', rig) : NULL;
    char *link = u->a->links != NULL ? cli_item(u->a->links, ':', rig) : NULL;
    char *argv[24] = {u->self,  "node",      "--url", u->url,        "--dir", dir,        "--name",
                      ch->name, "--threads", threads, "--memory-mb", memory,  "--device", device};
    option_add(argv, &count, "--device-memory", (char *)u->a->device_memory);
    option_add(argv, &count, "--results", (char *)u->a->results);
    option_add(argv, &count, "--duty", duty);
    option_add(argv, &count, "--link", link != NULL && strcmp(link, "none") != 0 ? link : NULL);
    enum emac_status st = child_start(u, ch, argv);
    free(device);
    free(duty);
    free(link);
    free(dir);
    return st;
}

static enum emac_status start_all(struct up *u)
{
    u->count = (uint32_t)u->a->nodes + 1;
    snprintf(u->child[0].name, sizeof(u->child[0].name), "coordinator");
    enum emac_status st = coordinator_up(u, (unsigned)u->a->port);
    for (uint32_t i = 1; st == EMAC_OK && i < u->count; i++) {
        snprintf(u->child[i].name, sizeof(u->child[i].name), "node-%u", i);
        st = node_up(u, &u->child[i]);
    }
    return st;
}

/* It was asked for what is not there (a device, say), and would be again. */
static bool is_hopeless(int code)
{
    return code == emac_status_exit(EMAC_INVALID) || code == emac_status_exit(EMAC_NOT_FOUND);
}

/* A child that ended is started again a second later, on the same port and directory. */
static enum emac_status watch_one(struct up *u, uint32_t i)
{
    struct child *ch = &u->child[i];
    uint64_t now = u->c->os->mono_ns(u->c->os);
    int code;
    if (ch->running && os_process_poll(ch->pid, &code)) {
        ch->running = false;
        if (!u->a->no_restart && is_hopeless(code))
            return emac_fail(&u->c->err, EMAC_INVALID,
                             "%s cannot run as it is told to (exit code %d): see '%s/%s/log'",
                             ch->name, code, u->dir, ch->name);
        ch->start_at_ns = now + UINT64_C(1000000) * RESTART_WAIT_MS;
        LOG_W("up", "%s ended with code %d%s", ch->name, code,
              u->a->no_restart ? "" : "; starting it again");
        if (u->a->no_restart && i == 0)
            return emac_fail(&u->c->err, EMAC_UNAVAILABLE, "the coordinator ended with code %d",
                             code);
    }
    if (ch->running || u->a->no_restart || now < ch->start_at_ns)
        return EMAC_OK;
    if (i > 0)
        return node_up(u, ch);
    const char *colon = strrchr(u->url, ':');
    return coordinator_up(u, colon ? (unsigned)strtoul(colon + 1, NULL, 10) : 0);
}

static void stop_all(struct up *u)
{
    int code;
    for (uint32_t i = u->count; i-- > 0;)
        if (u->child[i].running)
            os_process_signal(u->child[i].pid, SIGTERM);
    for (int waited = 0; waited < STOP_WAIT_MS; waited += LOOK_MS) {
        uint32_t left = 0;
        for (uint32_t i = 0; i < u->count; i++) {
            struct child *ch = &u->child[i];
            if (ch->running && os_process_poll(ch->pid, &code))
                ch->running = false;
            left += ch->running;
        }
        if (left == 0)
            return;
        u->c->os->sleep_ms(u->c->os, LOOK_MS);
    }
    for (uint32_t i = 0; i < u->count; i++)
        if (u->child[i].running)
            os_process_signal(u->child[i].pid, SIGKILL);
}

static enum emac_status run(struct up *u)
{
    enum emac_status st = start_all(u);
    if (st == EMAC_OK) {
        printf("EMAC_URL=%s\n", u->url);
        cli_result(u->c, json_pack("{s:s,s:s,s:I}", "url", u->url, "dir", u->dir, "nodes",
                                   (json_int_t)u->a->nodes));
        cli_say(u->c, "%llu rigs; logs in %s/*/log; Ctrl-C stops, and the same command goes on",
                (unsigned long long)u->a->nodes, u->dir);
    }
    fflush(stdout);
    while (st == EMAC_OK && !os_stop_wait(100))
        for (uint32_t i = 0; st == EMAC_OK && i < u->count; i++)
            st = watch_one(u, i);
    stop_all(u);
    return st;
}

enum emac_status cmd_up(struct cli *c, int argc, char **argv)
{
    struct up_args a = {.nodes = 3};
    const struct cli_option options[] = {
        {"nodes", 'n', OPT_U64, &a.nodes},
        {"dir", 0, OPT_TEXT, &a.dir},
        {"threads", 0, OPT_U64, &a.threads},
        {"port", 0, OPT_U64, &a.port},
        {"memory-mb", 0, OPT_U64, &a.memory_mb},
        {"no-restart", 0, OPT_FLAG, &a.no_restart},
        {"isa", 0, OPT_TEXT, &a.isa},
        {"devices", 0, OPT_TEXT, &a.devices},
        {"device-memory", 0, OPT_TEXT, &a.device_memory},
        {"results", 0, OPT_TEXT, &a.results},
        {"duty", 0, OPT_TEXT, &a.duty},
        {"link", 0, OPT_TEXT, &a.links},
        {"chain", 0, OPT_TEXT, &a.chain},
        {"serving", 0, OPT_TEXT, &a.serving},
    };
    const char *pos[CLI_POSITIONALS_MAX];
    enum emac_status st = cli_parse(c, argc, argv, options, EMAC_COUNT(options), pos, 0, 0);
    if (st != EMAC_OK)
        return st;
    if (a.nodes < 1 || a.nodes > NODES_MAX || a.port > 65535)
        return emac_fail(&c->err, EMAC_INVALID, "nodes must be 1 to %d, port at most 65535",
                         NODES_MAX);
    if (a.devices != NULL && a.isa != NULL)
        return emac_fail(&c->err, EMAC_INVALID, "give --devices or --isa, not both");
    int values;
    if (cli_results_parse(c, a.results, &values) != EMAC_OK)
        return c->err.status;
    if (a.duty != NULL && duty_check(c, a.duty) != EMAC_OK)
        return c->err.status;
    struct link_shape shape;
    for (uint32_t i = 0; a.links != NULL && i < cli_items(a.links, ':'); i++)
        if (cli_link(c, a.links, i, &shape) != EMAC_OK)
            return c->err.status;
    struct up u = {.c = c, .a = &a};
    struct os_lock *lock = NULL;
    char lock_path[OS_PATH_MAX];
    if (a.dir && !emac_strcpy(u.dir, sizeof(u.dir), a.dir))
        return emac_fail(&c->err, EMAC_INVALID, "the path '%s' is too long", a.dir);
    if (!a.dir)
        st = cli_home_path(c, "up", u.dir, sizeof(u.dir));
    if (st == EMAC_OK)
        st = c->os->dir_make(c->os, u.dir, &c->err);
    if (st == EMAC_OK)
        st = os_process_self(u.self, sizeof(u.self), &c->err);
    if (st == EMAC_OK &&
        snprintf(lock_path, sizeof(lock_path), "%s/lock", u.dir) >= (int)sizeof(lock_path))
        st = emac_fail(&c->err, EMAC_INVALID, "the path '%s' is too long", u.dir);
    if (st == EMAC_OK)
        st = os_lock_take(lock_path, &lock, &c->err);
    if (st != EMAC_OK)
        return st;
    st = run(&u);
    os_lock_release(lock);
    return st;
}
