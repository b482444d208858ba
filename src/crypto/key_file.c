#include "crypto/key_file.h"

#include "base/hex.h"
#include "crypto/crypto.h"

enum emac_status key_file_read(struct os *os, const char *path, uint8_t secret[KEY_FILE_BYTES],
                               struct emac_err *err)
{
    struct emac_buf text;
    emac_buf_init(&text, 1024);
    enum emac_status st = os->file_read(os, path, &text, err);
    if (st == EMAC_OK) {
        size_t n = text.len;
        while (n > 0 && (text.data[n - 1] == '\n' || text.data[n - 1] == '\r'))
            n--;
        if (n > 0)
            text.data[n] = 0;
        if (n != 2 * KEY_FILE_BYTES || !emac_unhex(secret, KEY_FILE_BYTES, (const char *)text.data))
            st = emac_fail(err, EMAC_CORRUPT,
                           "'%s' is not a key file: it must hold 64 hex digits; restore it from "
                           "your copy, or move it away to get a new identity",
                           path);
        if (text.len > 0)
            crypto_wipe(text.data, text.len);
    }
    emac_buf_release(&text);
    return st;
}

enum emac_status key_file_write(struct os *os, const char *path,
                                const uint8_t secret[KEY_FILE_BYTES], struct emac_err *err)
{
    uint64_t size;
    if (os->file_size(os, path, &size, NULL) == EMAC_OK)
        return emac_fail(err, EMAC_CONFLICT,
                         "a key is there already in '%s': move it away first to make a new one",
                         path);
    char text[2 * KEY_FILE_BYTES + 2];
    emac_hex(text, secret, KEY_FILE_BYTES);
    text[2 * KEY_FILE_BYTES] = '\n';
    enum emac_status st = os->file_write(os, path, text, 2 * KEY_FILE_BYTES + 1, 0600, err);
    crypto_wipe(text, sizeof(text));
    return st;
}
