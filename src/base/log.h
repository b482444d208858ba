/* Log lines go to one sink that the program sets at start; without a sink they
 * vanish. Library code logs what happened, in one sentence; it never prints. */
#ifndef EMAC_BASE_LOG_H
#define EMAC_BASE_LOG_H

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };

typedef void log_sink(void *ctx, enum log_level level, const char *module, const char *text);

/* Call before threads start. */
void log_set_sink(log_sink *sink, void *ctx, enum log_level least);
void log_write(enum log_level level, const char *module, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

#define LOG_D(module, ...) log_write(LOG_DEBUG, module, __VA_ARGS__)
#define LOG_I(module, ...) log_write(LOG_INFO, module, __VA_ARGS__)
#define LOG_W(module, ...) log_write(LOG_WARN, module, __VA_ARGS__)
#define LOG_E(module, ...) log_write(LOG_ERROR, module, __VA_ARGS__)

#endif
