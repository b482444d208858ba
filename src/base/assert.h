/* Assertions that stay on in release builds. They state invariants of our own
 * code; wrong input from users, peers or disks is an error, never an assert. */
#ifndef EMAC_BASE_ASSERT_H
#define EMAC_BASE_ASSERT_H

_Noreturn void emac_assert_failed(const char *expr, const char *file, int line, const char *func);

#define EMAC_ASSERT(expr)                                                                          \
    ((expr) ? (void)0 : emac_assert_failed(#expr, __FILE__, __LINE__, __func__))

#define EMAC_COUNT(array) (sizeof(array) / sizeof((array)[0]))

#endif
