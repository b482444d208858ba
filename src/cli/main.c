/* The program: finds the subcommand in the table, sets up what all share, turns
 * a status into a sentence on stderr and an exit code. */
#include <string.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "cli/cli.h"
#include "os/process.h"

#define EMAC_VERSION "0.1.0"

struct command {
    const char *name, *line;
    enum emac_status (*run)(struct cli *c, int argc, char **argv);
};

static const struct command COMMANDS[] = {
#define X(name, line) {#name, line, cmd_##name},
    CLI_COMMANDS(X)
#undef X
};

static void overview(FILE *out)
{
    fprintf(out,
            "emac %s: trains and serves AI models on a network of rigs, the same bits "
            "from one machine or many\n\nusage: emac COMMAND [OPTION...]\n\n",
            EMAC_VERSION);
    for (size_t i = 0; i < EMAC_COUNT(COMMANDS); i++)
        fprintf(out, "  %-12s %s\n", COMMANDS[i].name, COMMANDS[i].line);
    fprintf(out, "\nemac COMMAND --help shows a command's manual. Every command takes --json, "
                 "--home DIR, --url URL, --quiet, --verbose.\n");
}

static void sink(void *ctx, enum log_level level, const char *module, const char *text)
{
    static const char *const names[] = {"debug", "info", "warn", "error"};
    struct os *os = ctx;
    uint64_t now = os->wall_ms(os);
    time_t seconds = (time_t)(now / 1000);
    struct tm tm;
    gmtime_r(&seconds, &tm);
    fprintf(stderr, "%04d-%02d-%02dT%02d:%02d:%02d.%03uZ %-5s %-11s %s\n", tm.tm_year + 1900,
            tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec, (unsigned)(now % 1000),
            names[level], module, text);
}

static enum log_level log_least(int argc, char **argv, bool is_service)
{
    for (int i = 1; i < argc; i++)
        if (strcmp(argv[i], "--verbose") == 0)
            return LOG_DEBUG;
    return is_service ? LOG_INFO : LOG_WARN;
}

/* The exit code of all that was done and printed. */
static int ended(int code)
{
    struct emac_err err;
    bool gone;
    enum emac_status st = cli_output_end(&gone, &err);
    if (gone && code == emac_status_exit(EMAC_CANCELLED))
        return 0;
    if (st == EMAC_OK)
        return code;
    fprintf(stderr, "emac: %s\n", err.text);
    return code != 0 ? code : emac_status_exit(st);
}

static int report(struct cli *c, enum emac_status st)
{
    bool gone;
    if (st == EMAC_OK)
        return 0;
    (void)cli_output_end(&gone, NULL);
    if (gone && st == EMAC_CANCELLED) /* by us, for nobody reads any more */
        return emac_status_exit(st);
    const char *text = c->err.text[0] ? c->err.text : emac_status_text(st);
    bool helped = st == EMAC_CANCELLED && c->err.text[0] == 0;
    if (helped)
        return 0;
    fprintf(stderr, "emac %s: %s\n", c->command, text);
    if (c->json)
        cli_result(
            c, json_pack("{s:{s:s,s:s}}", "error", "code", emac_status_text(st), "message", text));
    return emac_status_exit(st);
}

static int run(const struct command *cmd, int argc, char **argv)
{
    const char *url = getenv("EMAC_URL");
    const char *no_colour = getenv("NO_COLOR");
    struct cli c = {.os = os_real(),
                    .command = cmd->name,
                    .home = getenv("EMAC_HOME"),
                    .url = url && *url ? url : "http://127.0.0.1:7070",
                    .url_given = url && *url,
                    .colour = isatty(2) && !(no_colour && *no_colour)};
    c.service = strcmp(cmd->name, "up") == 0 || strcmp(cmd->name, "node") == 0 ||
                strcmp(cmd->name, "coordinator") == 0;
    log_set_sink(sink, c.os, log_least(argc, argv, c.service));
    os_stop_install();
    enum emac_status st = cmd->run(&c, argc, argv);
    cli_progress_end(&c);
    int code = report(&c, st);
    http_client_free(c.http);
    identity_release(&c.identity);
    return code;
}

static int unknown(const char *command)
{
    fprintf(stderr, "emac: unknown command '%s'; 'emac help' lists them\n", command);
    return emac_status_exit(EMAC_INVALID);
}

static int help(int argc, char **argv)
{
    const char *manual = argc > 2 ? cli_manual(argv[2]) : NULL;
    if (argc > 2 && manual == NULL)
        return unknown(argv[2]);
    if (manual != NULL)
        fputs(manual, stdout);
    else
        overview(argc < 2 ? stderr : stdout);
    return argc < 2 ? emac_status_exit(EMAC_INVALID) : 0;
}

static int dispatch(int argc, char **argv)
{
    if (argc < 2 || strcmp(argv[1], "help") == 0 || strcmp(argv[1], "--help") == 0 ||
        strcmp(argv[1], "-h") == 0)
        return help(argc, argv);
    if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "version") == 0) {
        puts("emac " EMAC_VERSION);
        return 0;
    }
    for (size_t i = 0; i < EMAC_COUNT(COMMANDS); i++)
        if (strcmp(argv[1], COMMANDS[i].name) == 0)
            return run(&COMMANDS[i], argc - 1, argv + 1);
    return unknown(argv[1]);
}

int main(int argc, char **argv)
{
    os_std_open();
    return ended(dispatch(argc, argv));
}
