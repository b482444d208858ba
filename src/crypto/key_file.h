/* A secret of 32 bytes kept as a file of one line: 64 hex digits, mode 0600.
 * The caller wipes what it reads (crypto_wipe). */
#ifndef EMAC_CRYPTO_KEY_FILE_H
#define EMAC_CRYPTO_KEY_FILE_H

#include "os/os.h"

#define KEY_FILE_BYTES 32

/* NOT_FOUND when the file is missing; CORRUPT when it holds something else. */
enum emac_status key_file_read(struct os *os, const char *path, uint8_t secret[KEY_FILE_BYTES],
                               struct emac_err *err);
/* CONFLICT when there is a file already: a key is never overwritten. */
enum emac_status key_file_write(struct os *os, const char *path,
                                const uint8_t secret[KEY_FILE_BYTES], struct emac_err *err);

#endif
