/* Command-line options: GNU style, exact names, errors in one sentence. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/utf8.h"
#include "cli/cli.h"
#include "http/shape.h"

#define ID_MAX 64

static enum emac_status take_number(struct cli *c, const struct cli_option *o, const char *text)
{
    char *end = NULL;
    errno = 0;
    if (o->kind == OPT_U64) {
        unsigned long long v = strtoull(text, &end, 10);
        if (errno || *end || *text < '0' || *text > '9')
            return emac_fail(&c->err, EMAC_INVALID, "'--%s %s' is not a whole number, 0 or more",
                             o->name, text);
        *(uint64_t *)o->target = v;
        return EMAC_OK;
    }
    double v = strtod(text, &end);
    if (errno || end == text || *end)
        return emac_fail(&c->err, EMAC_INVALID, "'--%s %s' is not a number", o->name, text);
    *(double *)o->target = v;
    return EMAC_OK;
}

static enum emac_status take(struct cli *c, const struct cli_option *o, const char *value)
{
    if (o->kind == OPT_FLAG) {
        *(bool *)o->target = true;
        return EMAC_OK;
    }
    if (o->kind == OPT_TEXT) {
        *(const char **)o->target = value;
        return EMAC_OK;
    }
    return take_number(c, o, value);
}

/* The option that `arg` ("--name", "--name=value", "-x") names, or NULL. *value is the part after
 * "=", or NULL. */
static const struct cli_option *match(const struct cli_option *options, size_t count,
                                      const char *arg, const char **value)
{
    *value = NULL;
    for (size_t i = 0; i < count; i++) {
        if (arg[1] != '-') {
            if (arg[1] == options[i].letter && arg[2] == 0)
                return &options[i];
            continue;
        }
        size_t n = strlen(options[i].name);
        if (strncmp(arg + 2, options[i].name, n) != 0)
            continue;
        if (arg[2 + n] == '=')
            *value = arg + 3 + n;
        if (arg[2 + n] == '=' || arg[2 + n] == 0)
            return &options[i];
    }
    return NULL;
}

static enum emac_status take_arg(struct cli *c, const struct cli_option *o, const char *value,
                                 int argc, char **argv, int *i)
{
    if (o->kind == OPT_FLAG && value)
        return emac_fail(&c->err, EMAC_INVALID, "option '--%s' takes no value", o->name);
    if (o->kind != OPT_FLAG && !value) {
        if (*i + 1 >= argc)
            return emac_fail(&c->err, EMAC_INVALID, "option '--%s' needs a value", o->name);
        value = argv[++*i];
    }
    return take(c, o, value);
}

static enum emac_status show_help(struct cli *c)
{
    const char *manual = cli_manual(c->command);
    EMAC_ASSERT(manual != NULL);
    fputs(manual, stdout);
    c->err.text[0] = 0;
    return EMAC_CANCELLED;
}

static enum emac_status utf8_check(struct cli *c, int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        if (!emac_utf8_valid(argv[i], strlen(argv[i])))
            return emac_fail(&c->err, EMAC_INVALID,
                             "argument %d, '%s', is not UTF-8: write it so, or rename the file", i,
                             argv[i]);
    }
    return EMAC_OK;
}

enum emac_status cli_parse(struct cli *c, int argc, char **argv, const struct cli_option *options,
                           size_t count, const char **pos, int least, int most)
{
    EMAC_ASSERT(most < CLI_POSITIONALS_MAX);
    bool help = false;
    const char *url = NULL;
    const struct cli_option common[] = {
        {"json", 0, OPT_FLAG, &c->json},     {"help", 'h', OPT_FLAG, &help},
        {"home", 0, OPT_TEXT, &c->home},     {"url", 0, OPT_TEXT, &url},
        {"quiet", 'q', OPT_FLAG, &c->quiet}, {"verbose", 'v', OPT_FLAG, &c->verbose},
    };
    int n = 0;
    bool only_positionals = false;
    enum emac_status st = utf8_check(c, argc, argv);
    if (st != EMAC_OK)
        return st;
    for (int i = 1; i < argc; i++) {
        if (!only_positionals && strcmp(argv[i], "--") == 0) {
            only_positionals = true;
            continue;
        }
        if (only_positionals || argv[i][0] != '-' || argv[i][1] == 0) {
            if (n >= most)
                return emac_fail(&c->err, EMAC_INVALID,
                                 "too many arguments at '%s'; see emac %s --help", argv[i],
                                 argv[0]);
            pos[n++] = argv[i];
            continue;
        }
        const char *value;
        const struct cli_option *o = match(options, count, argv[i], &value);
        if (!o)
            o = match(common, EMAC_COUNT(common), argv[i], &value);
        if (!o && argv[i][1] >= '0' && argv[i][1] <= '9')
            return emac_fail(&c->err, EMAC_INVALID, "'%s' is no option, and no number is negative",
                             argv[i]);
        if (!o)
            return emac_fail(&c->err, EMAC_INVALID, "unknown option '%s'; see emac %s --help",
                             argv[i], c->command);
        st = take_arg(c, o, value, argc, argv, &i);
        if (st != EMAC_OK)
            return st;
        if (help)
            return show_help(c);
    }
    if (url) {
        c->url = url;
        c->url_given = true;
    }
    for (int i = n; i < most; i++)
        pos[i] = NULL;
    if (n < least)
        return emac_fail(&c->err, EMAC_INVALID, "an argument is missing; see emac %s --help",
                         c->command);
    return EMAC_OK;
}

enum emac_status cli_id_check(struct cli *c, const char *what, const char *id)
{
    size_t n = strlen(id);
    if (n > 0 && n <= ID_MAX && strspn(id, "abcdefghijklmnopqrstuvwxyz0123456789-") == n)
        return EMAC_OK;
    return emac_fail(&c->err, EMAC_INVALID,
                     "'%.80s' is not the id of a %s: 'emac %s list' has them", id, what, what);
}

char *cli_item(const char *list, char between, uint32_t i)
{
    const char stop[] = {between, '\0'}, *at = list;
    for (; i > 0; i--) {
        const char *end = strchr(at, between);
        at = end != NULL ? end + 1 : list;
    }
    return emac_strndup(at, strcspn(at, stop));
}

uint32_t cli_items(const char *list, char between)
{
    uint32_t items = 1;
    for (const char *at = list; *at != '\0'; at++)
        items += *at == between;
    return items;
}

enum emac_status cli_link(struct cli *c, const char *list, uint32_t i, struct link_shape *out)
{
    *out = (struct link_shape){0};
    if (list == NULL)
        return EMAC_OK;
    char *item = cli_item(list, ':', i);
    enum emac_status st =
        strcmp(item, "none") == 0 ? EMAC_OK : link_shape_parse(out, item, &c->err);
    free(item);
    return st;
}
