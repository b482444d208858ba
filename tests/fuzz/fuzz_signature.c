/* Header lines of a signed request from a stranger: Signature-Input, Signature, Content-Digest, a
 * line each. What parses must be the only text of its meaning; nothing verifies. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "http/signature.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

#define LINES 3

static void append(struct emac_buf *b, const char *text)
{
    EMAC_ASSERT(emac_buf_printf(b, NULL, "%s", text) == EMAC_OK);
}

/* Parameters keep their order only in the text, so look for each; the lengths must add up. */
static size_t param_length(const struct http_signature_input *in, const char *key,
                           const char *value, const char *quote)
{
    char text[512];
    int len = snprintf(text, sizeof text, ";%s=%s%s%s", key, quote, value, quote);
    EMAC_ASSERT(len > 0 && (size_t)len < sizeof text && strstr(in->params, text) != NULL);
    return (size_t)len;
}

static void check_input(const char *line, const struct http_signature_input *in)
{
    struct emac_buf b;
    char number[24];
    emac_buf_init(&b, 1 << 16);
    append(&b, in->label);
    append(&b, "=(");
    for (size_t i = 0; i < in->count; i++) {
        append(&b, i > 0 ? " \"" : "\"");
        append(&b, in->component[i]);
        append(&b, "\"");
    }
    append(&b, ")");
    EMAC_ASSERT(strncmp(line, emac_buf_str(&b), b.len) == 0);
    size_t len = b.len;
    if (in->created >= 0) {
        snprintf(number, sizeof number, "%lld", (long long)in->created);
        len += param_length(in, "created", number, "");
    }
    if (in->expires >= 0) {
        snprintf(number, sizeof number, "%lld", (long long)in->expires);
        len += param_length(in, "expires", number, "");
    }
    if (in->nonce != NULL)
        len += param_length(in, "nonce", in->nonce, "\"");
    if (in->keyid != NULL)
        len += param_length(in, "keyid", in->keyid, "\"");
    if (in->alg != NULL)
        len += param_length(in, "alg", in->alg, "\"");
    EMAC_ASSERT(strlen(line) == len);
    EMAC_ASSERT(strcmp(line + strlen(in->label) + 1, in->params) == 0);
    emac_buf_release(&b);
}

static void check_base(const struct http_signature_input *in, const struct http_headers *headers)
{
    const struct http_signed_message m = {"POST", "http://a/b?c", "a", "/b?c", headers};
    struct emac_buf base;
    emac_buf_init(&base, 1 << 16);
    if (http_signature_base(&m, in, &base, NULL) == EMAC_OK) {
        size_t lines = 1;
        for (size_t i = 0; i < base.len; i++)
            lines += base.data[i] == '\n';
        EMAC_ASSERT(lines == in->count + 1); /* a value cannot add a line */
    }
    emac_buf_release(&base);
}

static void check_verify(char *line[LINES], struct arena *a)
{
    char did[DID_KEY_MAX];
    struct emac_err err;
    struct http_request req = {.method = "POST",
                               .target = "/b?c",
                               .authority = "a",
                               .body = EMAC_SLICE_STR("body"),
                               .arena = a};
    http_header_add(&req.headers, "Signature-Input", line[0]);
    http_header_add(&req.headers, "Signature", line[1]);
    http_header_add(&req.headers, "Content-Digest", line[2]);
    http_header_add(&req.headers, "Content-Length", "4");
    EMAC_ASSERT(http_verify(&req, UINT64_C(1700000000000), NULL, did, &err) == EMAC_UNAUTHORIZED);
    EMAC_ASSERT(did[0] == '\0' && err.text[0] != '\0');
    struct http_signature_input in;
    if (http_signature_input_parse(a, line[0], &in, &err) == EMAC_OK) {
        check_input(line[0], &in);
        check_base(&in, &req.headers);
        uint8_t sig[ED25519_SIGNATURE_BYTES];
        (void)http_signature_parse(line[1], in.label, sizeof sig, sig, &err);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    char *line[LINES], *text = emac_strndup((const char *)data, n), *p = text;
    struct arena a;
    uint8_t digest[SHA256_BYTES];
    for (size_t i = 0; i < LINES; i++) {
        line[i] = p;
        p += strcspn(p, "\n");
        if (*p == '\n')
            *p++ = '\0';
    }
    *p = '\0';
    arena_init(&a, 1 << 20);
    (void)http_content_digest_parse(line[2], digest, NULL);
    check_verify(line, &a);
    arena_release(&a);
    free(text);
    return 0;
}
