#include "base/log.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#define LOG_TEXT_MAX 1024 /* a longer line is cut */

/* Set once before threads start, read only after. */
static log_sink *sink_fn;
static void *sink_ctx;
static enum log_level sink_least;

void log_set_sink(log_sink *sink, void *ctx, enum log_level least)
{
    sink_fn = sink;
    sink_ctx = ctx;
    sink_least = least;
}

void log_write(enum log_level level, const char *module, const char *fmt, ...)
{
    if (sink_fn == NULL || level < sink_least)
        return;
    char text[LOG_TEXT_MAX];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    sink_fn(sink_ctx, level, module, text);
}
