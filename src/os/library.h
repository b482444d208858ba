/* Libraries that may be absent, loaded at run time; and ranges of addresses in which nothing lies,
 * so that a pointer can name memory of another device. */
#ifndef EMAC_OS_LIBRARY_H
#define EMAC_OS_LIBRARY_H

#include <stddef.h>

#include "base/status.h"

/* Stays loaded until the process ends. NOT_FOUND when the system has no such library. */
struct os_library;
enum emac_status os_library_load(const char *name, struct os_library **out, struct emac_err *err);
/* The address of a function; NULL when the library has none of that name. */
void *os_library_symbol(struct os_library *library, const char *name);

/* An environment variable, unless the user has set it: libraries read some when they are loaded. */
void os_environment_default(const char *name, const char *value);

/* `bytes` of addresses that are not mapped: touching one ends the process. Costs no memory. */
enum emac_status os_range_reserve(size_t bytes, void **out, struct emac_err *err);
void os_range_release(void *range, size_t bytes);

#endif
