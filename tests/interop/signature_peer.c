/* Our half of signature.mjs.
 *
 * signature-peer serve        verify what comes to any path; prints the port, runs until stdin ends
 * signature-peer call URL     sign and send a GET and a POST; prints the signer's did:key
 *
 * A test program: it prints, and its key is public. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "http/client.h"
#include "http/server.h"
#include "http/signature.h"

static struct nonce_cache *nonces;

static enum emac_status who_am_i(void *ctx, const struct http_request *req,
                                 struct http_response *res, struct emac_err *err)
{
    char did[DID_KEY_MAX];
    enum emac_status st = http_verify(req, os_real()->wall_ms(os_real()), nonces, did, err);
    if (st != EMAC_OK)
        return st;
    return emac_buf_printf(&res->body, err, "{\"did\":\"%s\"}", did);
}

static int serve(void)
{
    static const struct http_route ROUTES[] = {{"GET", "/{rest*}", 0, who_am_i},
                                               {"POST", "/{rest*}", 1 << 20, who_am_i}};
    const struct http_server_config cfg = {
        .address = "127.0.0.1", .routes = ROUTES, .route_count = 2};
    struct http_server *s;
    struct emac_err err;
    char byte;
    nonces = nonce_cache_new();
    if (http_server_start(&cfg, &s, &err) != EMAC_OK) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    printf("%u\n", http_server_port(s));
    fflush(stdout);
    while (read(STDIN_FILENO, &byte, 1) > 0)
        ;
    http_server_stop(s);
    nonce_cache_free(nonces);
    return 0;
}

static int call(const char *url)
{
    static const uint8_t seed[ED25519_SEED_BYTES] = "signature-peer: a public secret";
    uint8_t public_key[ED25519_PUBLIC_BYTES], secret_key[ED25519_SECRET_BYTES];
    char did[DID_KEY_MAX];
    struct http_client *client;
    struct emac_err err = {.status = EMAC_OK};
    crypto_ed25519_keypair(public_key, secret_key, seed);
    crypto_did_key(did, public_key);
    const struct http_signer signer = {os_real(), did, secret_key};
    const struct http_call calls[] = {
        {.method = "GET", .url = url, .signer = &signer},
        {.method = "POST",
         .url = url,
         .body = EMAC_SLICE_STR("{\"hello\": \"world\"}"),
         .signer = &signer},
    };
    enum emac_status st = http_client_new(&client, &err);
    for (size_t i = 0; i < 2 && st == EMAC_OK; i++) {
        struct http_reply reply;
        st = http_client_call(client, &calls[i], &reply, &err);
        http_reply_release(&reply);
    }
    if (st == EMAC_OK)
        printf("%s\n", did);
    else
        fprintf(stderr, "%s\n", err.text);
    http_client_free(client);
    return st == EMAC_OK ? 0 : 1;
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "serve") == 0)
        return serve();
    if (argc == 3 && strcmp(argv[1], "call") == 0)
        return call(argv[2]);
    fprintf(stderr, "usage: signature-peer serve | call URL\n");
    return 2;
}
