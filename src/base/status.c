#include "base/status.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/utf8.h"

struct status_row {
    const char *text;
    int http, exit_code;
    bool retry;
};

static const struct status_row STATUS_ROWS[EMAC_STATUS_COUNT] = {
#define X(name, text, http, exit_code, retry) [EMAC_##name] = {text, http, exit_code, retry},
    EMAC_STATUS_TABLE(X)
#undef X
};

static const struct status_row *row_of(enum emac_status status)
{
    EMAC_ASSERT((unsigned)status < EMAC_STATUS_COUNT);
    return &STATUS_ROWS[status];
}

enum emac_status emac_fail(struct emac_err *err, enum emac_status status, const char *fmt, ...)
{
    EMAC_ASSERT((unsigned)status < EMAC_STATUS_COUNT);
    if (err == NULL)
        return status;
    /* Composed beside `err`: an argument may be the very sentence that is replaced. */
    char text[EMAC_ERR_TEXT_MAX];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    emac_utf8_plain(text);
    memcpy(err->text, text, sizeof text);
    err->status = status;
    return status;
}

enum emac_status emac_wrap(struct emac_err *err, const char *fmt, ...)
{
    EMAC_ASSERT(err != NULL);
    char text[EMAC_ERR_TEXT_MAX];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    size_t at = n < 0 ? 0 : (size_t)n < sizeof text ? (size_t)n : sizeof text - 1;
    snprintf(text + at, sizeof text - at, ": %.*s", EMAC_ERR_TEXT_MAX - 3, err->text);
    emac_utf8_plain(text);
    memcpy(err->text, text, sizeof text);
    return err->status;
}

static enum emac_status status_of_errno(int code)
{
    switch (code) {
    case ENOSPC:
    case EDQUOT:
    case EFBIG: /* past a limit set on this process's files */
        return EMAC_NO_SPACE;
    case ENOENT:
        return EMAC_NOT_FOUND;
    case ENOMEM:
        return EMAC_NO_MEMORY;
    default:
        return EMAC_IO;
    }
}

enum emac_status emac_fail_errno(struct emac_err *err, int code, const char *what,
                                 const char *subject)
{
    char text[128];
    return emac_fail(err, status_of_errno(code), "cannot %s '%s': %s", what, subject,
                     strerror_r(code, text, sizeof text));
}

const char *emac_status_text(enum emac_status status)
{
    return row_of(status)->text;
}

int emac_status_http(enum emac_status status)
{
    return row_of(status)->http;
}

int emac_status_exit(enum emac_status status)
{
    return row_of(status)->exit_code;
}

bool emac_status_retryable(enum emac_status status)
{
    return row_of(status)->retry;
}

enum emac_status emac_status_from_text(const char *text)
{
    for (int i = 0; i < EMAC_STATUS_COUNT; i++) {
        if (strcmp(STATUS_ROWS[i].text, text) == 0)
            return (enum emac_status)i;
    }
    return EMAC_INTERNAL;
}
