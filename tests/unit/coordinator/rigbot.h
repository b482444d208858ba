/* Rigs by script: hello, polls, heartbeats, deposits, made-up results. See net.h. */
#ifndef EMAC_TESTS_COORDINATOR_RIGBOT_H
#define EMAC_TESTS_COORDINATOR_RIGBOT_H

#include "users.h"

#include "crypto/seal.h"

/* ---- rigs ---- */

static inline void bytes_of(json_t *o, const char *key, struct emac_buf *out)
{
    const char *text = str_of(o, key);
    size_t len = strlen(text);
    emac_buf_init(out, TASK_BYTES_MAX * 2);
    assert_ok(emac_buf_reserve(out, len + 4, err));
    size_t got = len;
    assert_true(emac_unbase64(out->data, &got, text, len));
    out->len = got;
}

static inline void block_take(struct net *n, json_t *o, const char *key)
{
    struct emac_buf b;
    struct cid cid;
    bytes_of(o, key, &b);
    assert_ok(store_block_put(n->bytes, CID_DAG_CBOR, b.data, b.len, &cid, err));
    emac_buf_release(&b);
}

/* Solve the challenge with the task runner that rigs use. */
static inline int challenge_answer(struct net *n, struct rigbot *r, json_t *ch, bool right)
{
    struct emac_buf bytes;
    struct task t;
    struct exec_result res = {0};
    char cid[CID_TEXT_MAX];
    block_take(n, ch, "program");
    block_take(n, ch, "graph");
    bytes_of(ch, "task", &bytes);
    assert_ok(task_decode(&t, bytes.data, bytes.len, err));
    emac_buf_release(&bytes);
    assert_ok(exec_run(n->exec, &t, &res, err));
    task_release(&t);
    struct cid out = res.output[0].cid;
    assert_string_equal(res.output[0].name, "out");
    exec_result_release(n->exec, &res);
    if (!right)
        out.digest[0] ^= 1;
    cid_text(cid, &out);
    return call(n, &r->id, "POST", "/v1/nodes/challenge",
                json_pack("{s:s, s:{s:s}}", "id", str_of(ch, "id"), "outputs", "out", cid), NULL);
}

static inline json_t *hello_body(const struct rigbot *r)
{
    return json_pack("{s:n, s:s, s:s, s:s, s:i, s:I, s:I, s:s, s:s}", "url", "name", "bot",
                     "version", "0.1.0", "isa", "avx2", "threads", 1, "memory_bytes",
                     (json_int_t)1 << 30, "disk_bytes", (json_int_t)1 << 30, "conformance",
                     CONFORMANCE_DIGEST, "boot", r->boot);
}

/* The key that the answer to a hello tells to the rig. */
static inline void session_of(json_t *reply, const struct identity *who, struct http_mac *out)
{
    json_t *o = json_object_get(reply, "session");
    struct emac_buf box;
    bytes_of(o, "key", &box);
    assert_int_equal(box.len, HTTP_MAC_KEY_BYTES + SEAL_BOX_BYTES);
    assert_true(crypto_seal_from(out->key, box.data, box.len, who->secret_key));
    set_text(out->id, str_of(o, "id"));
    emac_buf_release(&box);
}

/* *session may be NULL. */
static inline int hello_session(struct net *n, struct rigbot *r, struct http_mac *session)
{
    json_t *reply;
    int status = call(n, &r->id, "POST", "/v1/nodes", hello_body(r), &reply);
    if (status == 200 && session != NULL)
        session_of(reply, &r->id, session);
    if (status == 200 && strcmp(str_of(reply, "state"), "challenge") == 0)
        status = challenge_answer(n, r, json_object_get(reply, "challenge"), true);
    json_decref(reply);
    return status;
}

static inline int hello(struct net *n, struct rigbot *r)
{
    return hello_session(n, r, NULL);
}

static inline struct rigbot *rig_named(struct net *n, uint8_t seed)
{
    struct rigbot *r = &n->rig[n->rigs++];
    *r = (struct rigbot){.deposits = json_array()};
    identity_seeded(&r->id, seed);
    snprintf(r->boot, sizeof(r->boot), "boot-%u", seed);
    return r;
}

static inline struct rigbot *rig_add(struct net *n)
{
    struct rigbot *r = rig_named(n, (uint8_t)(n->rigs + 1));
    assert_int_equal(hello(n, r), 200);
    return r;
}

static inline json_t *holds_json(const struct rigbot *r)
{
    json_t *list = json_array();
    for (uint32_t i = 0; i < r->hold_count; i++) {
        char text[CID_TEXT_MAX];
        cid_text(text, &r->holds[i]);
        json_array_append_new(list, json_string(text));
    }
    return list;
}

/* Status; *lease is the granted lease on 200. */
static inline int poll_status(struct net *n, struct rigbot *r, uint32_t wait_ms, json_t **lease)
{
    json_t *body = json_pack("{s:i, s:o}", "wait_ms", (int)wait_ms, "holds", holds_json(r));
    if (r->slots > 0)
        json_object_set_new(body, "slots", json_integer(r->slots));
    int status = call(n, &r->id, "POST", "/v1/lease", body, lease);
    if (status == 409) {
        json_decref(*lease);
        assert_int_equal(hello(n, r), 200);
        return poll_status(n, r, wait_ms, lease);
    }
    if (status == 200)
        set_text(r->lease, str_of(*lease, "lease"));
    return status;
}

/* The lease, or NULL when there is none. */
static inline json_t *poll(struct net *n, struct rigbot *r, uint32_t wait_ms)
{
    json_t *lease;
    int status = poll_status(n, r, wait_ms, &lease);
    if (status == 200)
        return lease;
    if (status != 204)
        fail_msg("lease: %d %s", status, str_of(lease, "error"));
    json_decref(lease);
    return NULL;
}

static inline void deposits_take(struct rigbot *r, json_t *reply)
{
    json_array_extend(r->deposits, json_object_get(reply, "deposit"));
}

static inline void deposits_push(struct net *n, struct rigbot *r)
{
    json_t *item;
    size_t i;
    if (r->keeps_deposits)
        return;
    json_array_foreach(r->deposits, i, item)
    {
        struct cid cid;
        assert_ok(cid_parse(&cid, json_string_value(item), err));
        push(n, &r->id, &cid);
    }
    json_array_clear(r->deposits);
}

/* Cancelled leases are in the answer; decref it. Who is quarantined meanwhile unplugs itself. */
static inline json_t *beat(struct net *n, struct rigbot *r)
{
    json_t *reply, *body = json_pack("{s:[]}", "leases");
    if (r->lease[0])
        json_array_append_new(json_object_get(body, "leases"), json_string(r->lease));
    int status = call(n, &r->id, "POST", "/v1/heartbeat", body, &reply);
    if (status == 403) {
        r->unplugged = true;
        return reply;
    }
    assert_int_equal(status, 200);
    deposits_take(r, reply);
    return reply;
}

#endif
