#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "os/process.h"

static bool progress_open;   /* a rewritten line stands on the terminal */
static uint64_t progress_at; /* mono ns of the last line printed elsewhere */
static int output_errno;     /* of the first thing that could not be printed; 0: none */

static void flush(const struct cli *c)
{
    errno = 0;
    if ((fflush(stdout) == 0 && !ferror(stdout)) || output_errno != 0)
        return;
    output_errno = errno != 0 ? errno : EIO;
    if (output_errno == EPIPE && !c->service)
        os_stop_request();
}

void cli_say(struct cli *c, const char *fmt, ...)
{
    if (c->json || c->quiet)
        return;
    cli_progress_end(c);
    va_list ap;
    va_start(ap, fmt);
    vprintf(fmt, ap);
    va_end(ap);
    putchar('\n');
    flush(c);
}

void cli_progress(struct cli *c, const char *fmt, ...)
{
    if (c->quiet)
        return;
    bool terminal = isatty(2);
    uint64_t now = c->os->mono_ns(c->os);
    if (!terminal && progress_at && now - progress_at < UINT64_C(10000000000))
        return;
    progress_at = now;
    va_list ap;
    va_start(ap, fmt);
    if (terminal)
        fputs("\r\033[K", stderr);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    if (!terminal)
        fputc('\n', stderr);
    progress_open = terminal;
    fflush(stderr);
}

void cli_progress_end(struct cli *c)
{
    if (progress_open)
        fputc('\n', stderr);
    progress_open = false;
}

void cli_update(struct cli *c, json_t *object)
{
    if (c->json && !c->result_given) {
        json_dumpf(object, stdout, JSON_COMPACT | JSON_REAL_PRECISION(12));
        putchar('\n');
        flush(c);
    }
    json_decref(object);
}

void cli_result(struct cli *c, json_t *object)
{
    cli_update(c, object);
    c->result_given = true;
}

enum emac_status cli_output_end(bool *gone, struct emac_err *err)
{
    flush(&(struct cli){.service = true});
    *gone = output_errno == EPIPE;
    return output_errno == 0 || *gone
               ? EMAC_OK
               : emac_fail_errno(err, output_errno, "write", "standard output");
}

const char *cli_str(json_t *o, const char *key)
{
    const char *s = json_string_value(json_object_get(o, key));
    return s ? s : "";
}

double cli_num(json_t *o, const char *key)
{
    return json_number_value(json_object_get(o, key));
}
