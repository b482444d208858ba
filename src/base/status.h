/* Status codes and the error sentence.
 *
 * Every function that can fail returns `enum emac_status` and, when `err` is
 * not NULL, fills one human sentence: lower case, cause first, the subject in
 * single quotes, then what to do about it. The sentence is composed where the
 * cause is known and travels unchanged to the user. A broken invariant is not
 * an error but an assertion (base/assert.h).
 *
 * The table is the only list of codes: name, wire text, HTTP status, process
 * exit code, whether trying again may help. */
#ifndef EMAC_BASE_STATUS_H
#define EMAC_BASE_STATUS_H

#include <stdbool.h>
#include <stddef.h>

/*  name           text              http exit retry */
#define EMAC_STATUS_TABLE(X)                                                                       \
    X(OK, "ok", 200, 0, false)                                                                     \
    X(FAILED, "failed", 422, 1, false)             /* asked whether, and the answer is no */       \
    X(INVALID, "invalid", 400, 2, false)           /* malformed input or argument */               \
    X(UNAUTHORIZED, "unauthorized", 401, 3, false) /* missing, bad, stale or replayed signature */ \
    X(PAYMENT, "payment_required", 402, 4, false)  /* escrow or balance too small */               \
    X(FORBIDDEN, "forbidden", 403, 3, false)                                                       \
    X(NOT_FOUND, "not_found", 404, 5, false)                                                       \
    X(CONFLICT, "conflict", 409, 6, false)   /* state does not allow it */                         \
    X(TOO_LARGE, "too_large", 413, 2, false) /* over a named limit */                              \
    X(CORRUPT, "corrupt", 422, 7, false)     /* bytes do not match their name or format */         \
    X(NUMERIC, "numeric", 422, 8, false)     /* NaN or infinity in a result */                     \
    X(BUSY, "busy", 429, 9, true)            /* a quota or queue is full for now */                \
    X(INTERNAL, "internal", 500, 10, false)  /* should not happen; a bug */                        \
    X(IO, "io", 500, 11, false)              /* the operating system refused */                    \
    X(UNSUPPORTED, "unsupported", 501, 12, false)                                                  \
    X(UNAVAILABLE, "unavailable", 503, 13, true) /* a peer or service cannot be reached */         \
    X(TIMEOUT, "timeout", 504, 14, true)                                                           \
    X(NO_SPACE, "no_space", 507, 15, true) /* disk or quota full */                                \
    X(NO_MEMORY, "no_memory", 503, 16, true)                                                       \
    X(CANCELLED, "cancelled", 499, 130, false) /* asked to stop */

enum emac_status {
#define X(name, text, http, exit_code, retry) EMAC_##name,
    EMAC_STATUS_TABLE(X)
#undef X
        EMAC_STATUS_COUNT
};

#define EMAC_ERR_TEXT_MAX 512

struct emac_err {
    enum emac_status status;
    /* "" when OK; always terminated. UTF-8 without control characters, whatever it quotes of a file
     * or a peer: it is shown on terminals, logged by the line and sent as JSON. */
    char text[EMAC_ERR_TEXT_MAX];
};

/* Fill `err` (may be NULL) and return `status`, so callers write
 *     return emac_fail(err, EMAC_INVALID, "unknown field '%s' ...", key);
 * A sentence longer than the buffer is cut. */
enum emac_status emac_fail(struct emac_err *err, enum emac_status status, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* Put "`context`: " in front of the sentence in `err`; returns err->status. */
enum emac_status emac_wrap(struct emac_err *err, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* Fill from errno `code`: "cannot <what> '<subject>': <strerror>". ENOSPC, EDQUOT, EFBIG become
 * NO_SPACE, ENOENT NOT_FOUND, ENOMEM NO_MEMORY, the rest IO. */
enum emac_status emac_fail_errno(struct emac_err *err, int code, const char *what,
                                 const char *subject);

const char *emac_status_text(enum emac_status status);
int emac_status_http(enum emac_status status);
int emac_status_exit(enum emac_status status);
bool emac_status_retryable(enum emac_status status);
/* The status whose wire text is `text`; INTERNAL when there is none. */
enum emac_status emac_status_from_text(const char *text);

/* if (expr fails) goto out, with `st` the local status variable. */
#define EMAC_TRY(st, expr)                                                                         \
    do {                                                                                           \
        (st) = (expr);                                                                             \
        if ((st) != EMAC_OK)                                                                       \
            goto out;                                                                              \
    } while (0)

#endif
