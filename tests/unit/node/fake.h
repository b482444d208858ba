/* A coordinator by script for tests of the agent: it hands out the leases a test puts into its
 * queue, checks each signature, and keeps what it was told. Its depot is the store of an oracle
 * (exec_fixture.h), which also computes what the agent should. */
#ifndef EMAC_TESTS_NODE_FAKE_H
#define EMAC_TESTS_NODE_FAKE_H

#include "exec_fixture.h"

#include <jansson.h>
#include <stdio.h>

#include "base/hex.h"
#include "base/log.h"
#include "crypto/seal.h"
#include "exchange/exchange.h"
#include "http/identity.h"
#include "os/thread.h"

#define FAKE_QUEUE_MAX 16
#define FAKE_WAIT_MS   15000 /* for anything a test waits for */

struct fake {
    struct rig rig; /* oracle and depot */
    struct http_server *server;
    uint16_t port;
    char url[64];
    struct nonce_cache *nonces;
    struct os_mutex lock;
    struct os_cond changed;
    /* the script */
    const char *hello; /* state to answer with: "admitted", "challenge", "quarantined" */
    bool reachable, forget, refuse; /* forget: 409 until hello; refuse: 403 for everything signed */
    int receipt_failures;           /* receipts to be answered with 503 before one is taken */
    int piece_failures;             /* pieces of text that are taken and answered with 503 */
    bool serve_cancel;
    bool sessions; /* tell one with each hello; */
    bool deaf;     /* and take it no longer */
    struct http_mac session;
    struct cid challenge_program;
    json_t *queue[FAKE_QUEUE_MAX];
    uint32_t queued, leases;              /* leases: given so far */
    json_t *cancel, *deposit, *providers; /* answers; owned */
    /* what came */
    int by_session; /* calls that were authenticated by it */
    int hellos, answers, polls, beats, receipts, failures, pieces, bad_signatures, deposits;
    int disputes;
    size_t said_before; /* requests of which something was said when a dispute was answered */
    json_t *last_hello, *last_answer, *last_poll, *last_receipt, *last_failure, *last_beat;
    struct emac_buf text; /* of pieces */
    json_t *last_piece;
    json_t *said; /* by lease: its pieces put together */
    uint64_t last_receipt_ns, last_lease_ns;
    char did[DID_KEY_MAX];
    /* Blocks of the depot: answers are held back while `hold`, of all or of one root; requests that
     * wait for one now; and how often `watched` was asked for. */
    bool hold;
    struct cid hold_only, watched;
    int waiting, watched_asks;
    int deals, duties; /* what heartbeats tell of deals; how often the duties were asked for */
};

static inline json_t *bytes_json(const void *data, size_t n)
{
    char *text = malloc(EMAC_BASE64_LEN(n) + 1);
    emac_base64(text, data, n);
    json_t *v = json_string(text);
    free(text);
    return v;
}

static inline json_t *block_json(struct fake *f, const struct cid *cid)
{
    struct emac_buf b;
    emac_buf_init(&b, UNIXFS_BLOCK_MAX);
    assert_ok(store_block_get(f->rig.store, cid, &b, err));
    json_t *v = bytes_json(b.data, b.len);
    emac_buf_release(&b);
    return v;
}

static inline json_t *task_json(const struct task *t, struct cid *cid)
{
    struct emac_buf b;
    emac_buf_init(&b, TASK_BYTES_MAX);
    assert_ok(task_encode(t, &b, cid, err));
    json_t *v = bytes_json(b.data, b.len);
    emac_buf_release(&b);
    return v;
}

static inline enum emac_status fake_reply(struct http_response *res, json_t *body,
                                          struct emac_err *err)
{
    char *text = json_dumps(body, JSON_COMPACT);
    enum emac_status st = emac_buf_append(&res->body, text, strlen(text), err);
    free(text);
    json_decref(body);
    return st;
}

static inline void keep(json_t **slot, json_t *v)
{
    json_decref(*slot);
    *slot = v;
}

/* The key that the fake shares with its one rig. */
static inline bool fake_key(void *ctx, const char *id, uint64_t now_ms,
                            uint8_t key[HTTP_MAC_KEY_BYTES], char did[DID_KEY_MAX])
{
    struct fake *f = ctx;
    (void)now_ms;
    os_mutex_lock(&f->lock);
    bool known = !f->deaf && f->session.id[0] != '\0' && strcmp(id, f->session.id) == 0;
    if (known) {
        memcpy(key, f->session.key, HTTP_MAC_KEY_BYTES);
        snprintf(did, DID_KEY_MAX, "%s", f->did);
        f->by_session++;
    }
    os_mutex_unlock(&f->lock);
    return known;
}

/* f's lock is held. */
static inline json_t *fake_session(struct fake *f)
{
    uint8_t box[HTTP_MAC_KEY_BYTES + SEAL_BOX_BYTES], to[ED25519_PUBLIC_BYTES];
    if (!f->sessions)
        return NULL;
    memset(f->session.key, f->hellos, sizeof f->session.key);
    snprintf(f->session.id, sizeof f->session.id, "session-%d", f->hellos);
    assert_true(crypto_did_key_parse(to, f->did));
    assert_true(crypto_seal_to(box, f->session.key, sizeof f->session.key, to));
    return json_pack("{s:s,s:o,s:i}", "id", f->session.id, "key", bytes_json(box, sizeof box),
                     "life_ms", 3600000);
}

/* Signature and body of a call. When it is OK the lock is taken, until fake_end, and *out is the
 * caller's. */
static inline enum emac_status fake_begin(struct fake *f, const struct http_request *req,
                                          json_t **out, struct emac_err *err)
{
    char did[DID_KEY_MAX];
    const struct http_mac_keys keys = {fake_key, f};
    enum emac_status st =
        http_verify_shared(req, os_real()->wall_ms(os_real()), f->nonces, &keys, did, err);
    os_mutex_lock(&f->lock);
    f->bad_signatures += st != EMAC_OK;
    if (st == EMAC_OK)
        set_text(f->did, did);
    if (st == EMAC_OK && f->refuse)
        st = emac_fail(err, EMAC_FORBIDDEN, "this rig is quarantined: it lied about 'grad'");
    if (st == EMAC_OK) {
        *out = json_loadb((const char *)req->body.data, req->body.len, 0, NULL);
        if (!json_is_object(*out)) {
            json_decref(*out);
            st = emac_fail(err, EMAC_INVALID, "no JSON");
        }
    }
    if (st != EMAC_OK)
        os_mutex_unlock(&f->lock);
    return st;
}

/* What the test waits for may have come. */
static inline void fake_end(struct fake *f)
{
    os_cond_broadcast(&f->changed);
    os_mutex_unlock(&f->lock);
}

#endif
