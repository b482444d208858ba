/* Assertions that tell the sentence of a failure. */
#ifndef EMAC_TESTS_ASSERTS_H
#define EMAC_TESTS_ASSERTS_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <string.h>

#include "base/status.h"

/* `expr` gives its sentence to `err`: here that is a name of the macro's own. */
#define ASSERT_OK(expr)                                                                            \
    do {                                                                                           \
        struct emac_err err_ = {0};                                                                \
        struct emac_err *err = &err_;                                                              \
        if ((expr) != EMAC_OK)                                                                     \
            fail_msg("%s: %s", #expr, err->text);                                                  \
    } while (0)

/* The call fails with this status and its sentence holds `part`. */
#define ASSERT_FAILS(expr, want, part)                                                             \
    do {                                                                                           \
        struct emac_err err_ = {0};                                                                \
        struct emac_err *err = &err_;                                                              \
        enum emac_status st_ = (expr);                                                             \
        if (st_ != (want) || strstr(err->text, part) == NULL)                                      \
            fail_msg("%s: got %s \"%s\", wanted %s \"...%s...\"", #expr, emac_status_text(st_),    \
                     err->text, emac_status_text(want), part);                                     \
    } while (0)

/* Here `err` is a struct emac_err of the file's own. */
#define OK(expr)                                                                                   \
    do {                                                                                           \
        enum emac_status ok_st = (expr);                                                           \
        if (ok_st != EMAC_OK)                                                                      \
            fail_msg("%s: %s: %s", #expr, emac_status_text(ok_st), err.text);                      \
    } while (0)

#endif
