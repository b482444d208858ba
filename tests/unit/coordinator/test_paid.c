/* Text that is paid for: reserved, settled, refused, cut, told again, and found wrong by the audit.
 */
#include "harness.h"

#include "coordinator/internal.h"
#include "coordinator/serving/serving.h"
#include "gateway/gateway.h"
#include "ledger/ledger.h"
#include "work/licence.h"

#define TOKEN "emac-00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"

struct market {
    struct net n;
    struct identity maker, buyer; /* of the data that the model learnt; who asks for text */
    struct serve_model model;     /* of n.user */
    char key[SERVE_KEY_MAX];
    uint64_t issued_ms;
    int requests;
};

/* ---- licences and keys ---- */

static void publish(struct market *m, const struct identity *who, struct licence *l)
{
    struct emac_buf object;
    uint8_t sig[ED25519_SIGNATURE_BYTES];
    json_t *reply;
    set_text(l->owner, who->did);
    set_text(l->name, "x");
    l->issued_ms = m->issued_ms++;
    emac_buf_init(&object, LICENCE_BYTES_MAX);
    assert_ok(licence_encode(l, &object, NULL, err));
    crypto_ed25519_sign(sig, object.data, object.len, who->secret_key);
    int status = call(&m->n, who, "POST", "/v1/assets",
                      json_pack("{s:o, s:o}", "licence", text64(object.data, object.len),
                                "signature", text64(sig, sizeof sig)),
                      &reply);
    if (status != 200 && status != 201)
        fail_msg("POST /v1/assets: %d %s", status, str_of(reply, "error"));
    json_decref(reply);
    emac_buf_release(&object);
}

static void key_make(struct market *m, const char *token, const char *limit, const char *purpose,
                     int wanted, char key[SERVE_KEY_MAX])
{
    uint8_t hash[SHA256_BYTES];
    json_t *reply;
    crypto_sha256(hash, token, strlen(token));
    assert_int_equal(call(&m->n, &m->buyer, "POST", "/v1/keys",
                          json_pack("{s:o, s:s, s:s, s:s}", "hash", text64(hash, sizeof hash),
                                    "limit_units", limit, "purpose", purpose, "name", "test"),
                          &reply),
                     wanted);
    if (wanted < 300)
        assert_true(emac_strcpy(key, SERVE_KEY_MAX, str_of(reply, "id")));
    json_decref(reply);
}

static json_t *key_figures(struct market *m)
{
    json_t *reply, *k;
    assert_int_equal(call(&m->n, &m->buyer, "GET", "/v1/keys", NULL, &reply), 200);
    k = json_incref(json_array_get(json_object_get(reply, "keys"), 0));
    json_decref(reply);
    return k;
}

static int64_t account(struct market *m, const char *kind, const struct identity *who)
{
    char name[LEDGER_ACCOUNT_MAX];
    snprintf(name, sizeof name, "%s:%s", kind, who->did);
    return balance(&m->n, name);
}

static void market_open(struct market *m, const char *name)
{
    struct net *n = &m->n;
    json_t *reply;
    *m = (struct market){.issued_ms = 1000};
    n->cfg.routes = GATEWAY_ROUTES;
    n->cfg.route_count = GATEWAY_ROUTE_COUNT;
    net_open(n, name);
    identity_seeded(&m->maker, 201);
    identity_seeded(&m->buyer, 202);
    rig_add(n);
    push(n, &n->user, &n->corpus->cid);
    struct licence data = {
        .asset = n->corpus->cid, .kind = ASSET_DATA, .share_ppm = 100000, .commercial = true};
    publish(m, &m->maker, &data);
    struct job job = net_job(n, 1, 1);
    net_submit(n, &job);
    run_until(n, "succeeded");
    assert_int_equal(call(n, &m->buyer, "POST", "/v1/faucet", json_object(), &reply), 200);
    json_decref(reply);
    assert_ok(serve_model_find(n->c, "small", &m->model, err));
    key_make(m, TOKEN, "1000000000", "commercial", 201, m->key);
}

static struct licence model_licence(const struct market *m)
{
    return (struct licence){.asset = m->model.model,
                            .kind = ASSET_MODEL,
                            .commercial = true,
                            .inference_units = INT64_C(1000000007)};
}

/* ---- asking ---- */

static struct serve_request request(struct market *m, uint32_t max_tokens)
{
    struct serve_request q = {
        .model = m->model, .prompt = "one and", .max_tokens = max_tokens, .top_p = 1};
    set_text(q.payer.did, m->buyer.did);
    set_text(q.payer.key, m->key);
    q.payer.commercial = true;
    snprintf(q.id, sizeof q.id, "cmpl-%d", m->requests++);
    return q;
}

static json_t *rig_takes(struct market *m)
{
    for (int i = 0; i < 60; i++) {
        json_t *lease = poll(&m->n, &m->n.rig[0], 200);
        if (lease != NULL)
            return lease;
    }
    fail_msg("no request comes");
    return NULL;
}

static void rig_says(struct market *m, json_t *lease, const char *text, int tokens, bool done)
{
    char path[96];
    snprintf(path, sizeof path, "/v1/serve/%s", str_of(lease, "lease"));
    assert_int_equal(
        call(&m->n, &m->n.rig[0].id, "POST", path,
             json_pack("{s:s, s:i, s:b, s:s?, s:i}", "text", text, "tokens", tokens, "done", done,
                       "finish_reason", done ? "stop" : NULL, "prompt_tokens", 7),
             NULL),
        200);
}

static void read_to_end(struct market *m, struct serve_ticket *t, struct serve_piece *p)
{
    *p = (struct serve_piece){0};
    emac_buf_init(&p->text, SERVE_TEXT_MAX);
    for (int i = 0; i < 60 && !p->done; i++)
        assert_ok(serve_next(m->n.c, t, 500, p, err));
    assert_true(p->done);
}

/* One whole answer of `text`; what the rig says of its tokens is its own affair. */
static void answered(struct market *m, const struct serve_request *q, const char *text, int tokens)
{
    struct serve_ticket *t;
    struct serve_piece p;
    assert_ok(serve_submit(m->n.c, q, &t, err));
    json_t *lease = rig_takes(m);
    rig_says(m, lease, text, tokens, true);
    read_to_end(m, t, &p);
    assert_string_equal(emac_buf_str(&p.text), text);
    emac_buf_release(&p.text);
    serve_close(m->n.c, t);
    json_decref(lease);
}

/* What 7 tokens read and so many written cost. */
static struct serving_bill bill_of(struct market *m, uint64_t written)
{
    struct serving_price price = {.fee_ppm = COORDINATOR_SERVING_FEE_PPM, .count = 1};
    struct serving_bill bill;
    assert_ok(serve_price(m->n.c, &m->model, &price.rig_units, &price.inference_units[0], err));
    assert_ok(serving_bill(&price, 7 + written, &bill, err));
    return bill;
}

/* ---- the way of the money ---- */

/* SERVE-1, SERVE-2, SERVE-3: rig, network, the model's owner and that of its data get their part.
 */
static void an_answer_is_paid_to_all_who_have_a_part(void **state)
{
    struct market *m = *state;
    struct serve_ticket *t;
    struct serve_piece p;
    struct licence l = model_licence(m);
    publish(m, &m->n.user, &l);
    int64_t buyer = account(m, "user", &m->buyer), rig = balance(&m->n, "rig:"),
            fee = balance(&m->n, "fee"), owner = account(m, "user", &m->n.user),
            maker = account(m, "user", &m->maker);
    struct serve_request q = request(m, 100);
    struct serving_bill most = bill_of(m, 101), bill = bill_of(m, 5);
    assert_ok(serve_submit(m->n.c, &q, &t, err));
    assert_int_equal(account(m, "serving", &m->buyer), most.total);
    assert_audit(&m->n);
    json_t *lease = rig_takes(m);
    rig_says(m, lease, "12", 2, false);
    rig_says(m, lease, "345", 3, true);
    read_to_end(m, t, &p);
    assert_int_equal(p.completion_tokens, 5);
    assert_string_equal(serve_id(t), "cmpl-0");
    serve_close(m->n.c, t);
    assert_int_equal(account(m, "serving", &m->buyer), 0);
    assert_int_equal(buyer - account(m, "user", &m->buyer), bill.total);
    assert_int_equal(balance(&m->n, "rig:") - rig, bill.rig);
    int64_t up = account(m, "user", &m->maker) - maker;
    int64_t dust = bill.royalty[0] - up - (account(m, "user", &m->n.user) - owner);
    assert_int_equal(up, bill.royalty[0] / 10); /* his share of 0.1 */
    assert_true(dust >= 0 && dust <= 2);
    assert_int_equal(balance(&m->n, "fee") - fee, bill.fee + dust);
    json_t *k = key_figures(m);
    assert_int_equal(units_of(k, "spent_units"), bill.total);
    assert_int_equal(int_of(k, "completion_tokens"), 5);
    json_decref(k);
    assert_audit(&m->n);
    json_decref(lease);
    emac_buf_release(&p.text);
}

/* Each ends without an answer, and costs nothing. */
static void what_fails_costs_nothing(void **state)
{
    struct market *m = *state;
    struct serve_ticket *t;
    int64_t buyer = account(m, "user", &m->buyer);
    struct serve_request q = request(m, 10);
    assert_ok(serve_submit(m->n.c, &q, &t, err)); /* given up while it waits */
    serve_close(m->n.c, t);
    q = request(m, 10);
    assert_ok(serve_submit(m->n.c, &q, &t, err)); /* a rig that breaks off after some text */
    json_t *lease = rig_takes(m);
    char path[96];
    rig_says(m, lease, "half", 4, false);
    snprintf(path, sizeof path, "/v1/serve/%s", str_of(lease, "lease"));
    assert_int_equal(call(&m->n, &m->n.rig[0].id, "POST", path,
                          json_pack("{s:s, s:s}", "text", "", "error", "the device failed"), NULL),
                     200);
    serve_close(m->n.c, t);
    json_decref(lease);
    q = request(m, 10); /* nothing written yet when the client leaves */
    assert_ok(serve_submit(m->n.c, &q, &t, err));
    lease = rig_takes(m);
    serve_close(m->n.c, t);
    json_decref(lease);
    assert_int_equal(account(m, "user", &m->buyer), buyer);
    assert_int_equal(account(m, "serving", &m->buyer), 0);
    assert_audit(&m->n);
}

/* Who hangs up pays for what was made until then. */
static void a_cut_answer_is_paid_as_far_as_it_came(void **state)
{
    struct market *m = *state;
    struct serve_ticket *t;
    int64_t buyer = account(m, "user", &m->buyer);
    struct serve_request q = request(m, 1000);
    assert_ok(serve_submit(m->n.c, &q, &t, err));
    json_t *lease = rig_takes(m);
    rig_says(m, lease, "some text", 9, false);
    serve_close(m->n.c, t);
    assert_int_equal(buyer - account(m, "user", &m->buyer), bill_of(m, 9).total);
    assert_audit(&m->n);
    json_decref(lease);
}

/* Who does not read what comes has hung up as well. */
static void who_reads_too_slowly_pays(void **state)
{
    struct market *m = *state;
    struct serve_ticket *t;
    struct serve_piece p = {0};
    int64_t buyer = account(m, "user", &m->buyer);
    struct serve_request q = request(m, 1000);
    char *text = malloc(60001);
    assert_non_null(text);
    memset(text, 'x', 60000);
    text[60000] = 0;
    assert_ok(serve_submit(m->n.c, &q, &t, err));
    json_t *lease = rig_takes(m);
    for (int i = 0; i <= (int)(SERVE_TEXT_MAX / 60000); i++)
        rig_says(m, lease, text, 5, false);
    emac_buf_init(&p.text, SERVE_TEXT_MAX);
    assert_ok(serve_next(m->n.c, t, 0, &p, err)); /* what there was room for */
    assert_fails(serve_next(m->n.c, t, 0, &p, err), EMAC_UNAVAILABLE, "too slowly");
    serve_close(m->n.c, t);
    assert_int_equal(buyer - account(m, "user", &m->buyer),
                     bill_of(m, 5 * (SERVE_TEXT_MAX / 60000 + 1)).total);
    assert_int_equal(account(m, "serving", &m->buyer), 0);
    assert_audit(&m->n);
    emac_buf_release(&p.text);
    json_decref(lease);
    free(text);
}

/* SERVE-5: a rig that claims more than its text shows. */
static void claims_are_bounded_by_the_text(void **state)
{
    struct market *m = *state;
    int64_t buyer = account(m, "user", &m->buyer);
    struct serve_request q = request(m, 1000);
    answered(m, &q, "abc", 900);
    assert_int_equal(buyer - account(m, "user", &m->buyer),
                     bill_of(m, 3 + SERVING_HIDDEN_BYTES).total);
    buyer = account(m, "user", &m->buyer);
    q = request(m, 2);
    answered(m, &q, "abcdef", 6); /* more than was asked for */
    assert_int_equal(buyer - account(m, "user", &m->buyer), bill_of(m, 2).total);
    assert_audit(&m->n);
}

/* SERVE-5: what a rig counted that showed nothing and then failed is no matter of the next one's.
 */
static void tokens_of_who_failed_are_not_paid(void **state)
{
    struct market *m = *state;
    struct serve_ticket *t;
    struct serve_piece p;
    int64_t buyer = account(m, "user", &m->buyer);
    struct serve_request q = request(m, 1000);
    assert_ok(serve_submit(m->n.c, &q, &t, err));
    json_t *lease = rig_takes(m);
    char path[96];
    rig_says(m, lease, "", 4, false); /* held back: it may begin a stop text */
    snprintf(path, sizeof path, "/v1/serve/%s", str_of(lease, "lease"));
    assert_int_equal(call(&m->n, &m->n.rig[0].id, "POST", path,
                          json_pack("{s:s, s:s}", "text", "", "error", "the device failed"), NULL),
                     200);
    json_decref(lease);
    lease = rig_takes(m);
    rig_says(m, lease, "some text", 5, true);
    read_to_end(m, t, &p);
    assert_int_equal(p.completion_tokens, 5);
    emac_buf_release(&p.text);
    serve_close(m->n.c, t);
    assert_int_equal(buyer - account(m, "user", &m->buyer), bill_of(m, 5).total);
    assert_audit(&m->n);
    json_decref(lease);
}

/* ---- refusals ---- */

static void submit_refused(struct market *m, const struct serve_request *q, enum emac_status status,
                           const char *says)
{
    struct serve_ticket *t;
    struct emac_err why = {0};
    if (serve_submit(m->n.c, q, &t, &why) != status || strstr(why.text, says) == NULL)
        fail_msg("wanted %s and '%s', got: %s", emac_status_text(status), says, why.text);
}

static void terms_hold_for_text(void **state)
{
    struct market *m = *state;
    struct serve_request q = request(m, 10), nobody = request(m, 10);
    nobody.payer = (struct serve_payer){.commercial = true};
    struct licence l = model_licence(m);
    publish(m, &m->n.user, &l);
    submit_refused(m, &nobody, EMAC_PAYMENT, "price.inference");
    l = model_licence(m);
    l.once_units = 5;
    publish(m, &m->n.user, &l);
    submit_refused(m, &q, EMAC_PAYMENT, "must be bought");
    l = model_licence(m);
    l.commercial = false;
    publish(m, &m->n.user, &l);
    submit_refused(m, &q, EMAC_FORBIDDEN, "commercial");
    l = model_licence(m);
    l.expires_ms = m->issued_ms + 5;
    publish(m, &m->n.user, &l);
    submit_refused(m, &q, EMAC_FORBIDDEN, "expired");
    l = model_licence(m);
    set_text(l.allow[l.allow_count++], m->maker.did);
    publish(m, &m->n.user, &l);
    submit_refused(m, &q, EMAC_FORBIDDEN, "other users");
    char path[160], cid[CID_TEXT_MAX];
    cid_text(cid, &m->model.model);
    snprintf(path, sizeof path, "/v1/assets/%s/revoke", cid);
    assert_int_equal(call(&m->n, &m->n.user, "POST", path, json_object(), NULL), 200);
    submit_refused(m, &q, EMAC_FORBIDDEN, "revoked");
    submit_refused(m, &nobody, EMAC_FORBIDDEN, "revoked");
    assert_int_equal(account(m, "serving", &m->buyer), 0);
    assert_audit(&m->n);
}

static void money_and_limits_hold(void **state)
{
    struct market *m = *state;
    struct serve_ticket *t;
    char small[SERVE_KEY_MAX];
    key_make(m, TOKEN, "1000000000", "commercial", 200, small); /* the same again is no other */
    assert_string_equal(small, m->key);
    key_make(m, TOKEN "2", "-5", "commercial", 400, small);
    key_make(m, TOKEN "2", "5", "war", 400, small);
    struct licence l = model_licence(m);
    publish(m, &m->n.user, &l);
    int64_t one = bill_of(m, 11).total;
    char limit[24];
    snprintf(limit, sizeof limit, "%lld", (long long)(2 * one - 1));
    key_make(m, TOKEN "2", limit, "commercial", 201, small);
    struct serve_request q = request(m, 10), again = request(m, 10);
    set_text(q.payer.key, small);
    set_text(again.payer.key, small);
    assert_ok(serve_submit(m->n.c, &q, &t, err));
    submit_refused(m, &again, EMAC_BUSY, "insufficient_quota"); /* one unit short of two */
    serve_close(m->n.c, t);
    assert_ok(serve_submit(m->n.c, &again, &t, err));
    serve_close(m->n.c, t);
    char path[96];
    snprintf(path, sizeof path, "/v1/keys/%s/revoke", small);
    assert_int_equal(call(&m->n, &m->maker, "POST", path, json_object(), NULL), 404);
    assert_int_equal(call(&m->n, &m->buyer, "POST", path, json_object(), NULL), 200);
    again = request(m, 10);
    set_text(again.payer.key, small);
    submit_refused(m, &again, EMAC_UNAUTHORIZED, "revoked");
    q = request(m, 10); /* an account without money */
    set_text(q.payer.did, m->maker.did);
    q.payer.key[0] = 0;
    submit_refused(m, &q, EMAC_PAYMENT, "EMAC but needs");
    assert_audit(&m->n);
}

/* Over HTTP: who asks is found by key or signature, or is nobody. */
static int ask_status(struct market *m, const char *bearer, const struct identity *signer,
                      char text[1024])
{
    struct http_reply r;
    char url[128];
    const char *body = "{\"model\": \"small\", \"prompt\": \"x\", \"max_tokens\": 4000000000}";
    snprintf(url, sizeof url, "%s/v1/completions", m->n.url);
    struct http_call hc = {.method = "POST",
                           .url = url,
                           .timeout_ms = 30000,
                           .body = EMAC_SLICE_STR(body),
                           .signer = signer ? &signer->signer : NULL};
    if (bearer)
        http_header_add(&hc.headers, "Authorization", bearer);
    struct emac_err why = {0};
    enum emac_status st = http_client_call(m->n.http, &hc, &r, &why);
    int status = r.status;
    snprintf(text, 1024, "%s", st == EMAC_OK ? emac_buf_str(&r.body) : why.text);
    http_reply_release(&r);
    return status;
}

static void who_pays_is_found(void **state)
{
    /* max_tokens is out of range: 400 means that the payer was found, or none was needed */
    static const struct {
        enum serving_mode mode;
        const char *bearer;
        bool is_signed;
        int status;
    } ROWS[] = {
        {SERVING_FREE, NULL, false, 400},
        {SERVING_FREE, "Bearer any", false, 400},
        {SERVING_FREE, "Bearer emac-1", false, 401},
        {SERVING_METERED, NULL, false, 401},
        {SERVING_METERED, "Bearer any", false, 401},
        {SERVING_METERED, "Bearer " TOKEN, false, 400},
        {SERVING_METERED, "bearer  " TOKEN, false, 400},
        {SERVING_METERED, NULL, true, 400},
        {SERVING_METERED, "Bearer emac-", false, 401},
    };
    struct market *m = *state;
    char text[1024];
    for (size_t i = 0; i < sizeof ROWS / sizeof *ROWS; i++) {
        m->n.c->cfg.serving = ROWS[i].mode;
        int got = ask_status(m, ROWS[i].bearer, ROWS[i].is_signed ? &m->buyer : NULL, text);
        if (got != ROWS[i].status)
            fail_msg("row %zu: %d, %s", i, got, text);
    }
}

/* ---- told again ---- */

/* SERVE-6 */
static void a_repeated_request_costs_once(void **state)
{
    struct market *m = *state;
    struct serve_ticket *t, *second;
    struct serve_piece p;
    struct serve_request q = request(m, 50), again = request(m, 50), other = request(m, 50);
    q.idempotency = again.idempotency = other.idempotency = "retry-1";
    other.body[0] = 1;
    assert_ok(serve_submit(m->n.c, &q, &t, err));
    submit_refused(m, &again, EMAC_CONFLICT, "is being answered");
    serve_close(m->n.c, t); /* released: it may be asked again */
    q = request(m, 50);
    q.idempotency = "retry-1";
    answered(m, &q, "the answer", 10);
    int64_t buyer = account(m, "user", &m->buyer);
    for (int i = 0; i < 2; i++) {
        again = request(m, 50);
        again.idempotency = "retry-1";
        assert_ok(serve_submit(m->n.c, &again, &second, err));
        read_to_end(m, second, &p);
        assert_string_equal(emac_buf_str(&p.text), "the answer");
        assert_string_equal(serve_id(second), q.id);
        assert_int_equal(p.completion_tokens, 10);
        emac_buf_release(&p.text);
        serve_close(m->n.c, second);
        if (i == 0)
            net_restart(&m->n);
    }
    submit_refused(m, &other, EMAC_CONFLICT, "another request");
    assert_int_equal(account(m, "user", &m->buyer), buyer);
    assert_audit(&m->n);
}

/* What a killed coordinator leaves: the row and its posting, and nobody who waits. */
static void a_reservation_does_not_outlive_its_process(void **state)
{
    struct market *m = *state;
    int64_t buyer = account(m, "user", &m->buyer);
    for (int i = 0; i < 3; i++) {
        struct serve_request q = request(m, 10);
        struct serving_meter meter;
        struct serving_replay replay;
        os_mutex_lock(&m->n.c->lock);
        assert_ok(serving_reserve(m->n.c, &q, &meter, &replay, err));
        os_mutex_unlock(&m->n.c->lock);
        emac_buf_release(&meter.answer);
        emac_buf_release(&replay.text);
    }
    assert_true(account(m, "serving", &m->buyer) > 0);
    assert_audit(&m->n);
    net_restart(&m->n);
    assert_int_equal(account(m, "serving", &m->buyer), 0);
    assert_int_equal(account(m, "user", &m->buyer), buyer);
    assert_audit(&m->n);
}

/* ---- the audit ---- */

static void the_audit_finds_what_was_changed(void **state)
{
    static const struct {
        const char *sql, *says;
    } ROWS[] = {
        {"UPDATE serving SET rig_units = rig_units + 1", "SERVE-4"},
        {"UPDATE serving SET royalty_units = reserved_units + 1", "SERVE-2"},
        {"UPDATE serving SET state = 'released'", "SERVE-2"},
        {"UPDATE serving SET state = 'open'", "SERVE-1"},
        {"UPDATE api_keys SET spent_units = spent_units + 1", "SERVE-3"},
        {"UPDATE serving SET key = ''", "SERVE-3"},
        {"DELETE FROM serving", "SERVE-4"},
    };
    struct market *m = *state;
    struct serve_request q = request(m, 50);
    answered(m, &q, "some", 4);
    assert_audit(&m->n);
    assert_ok(db_exec(m->n.c->db, err, "DELETE FROM serving_answers", "")); /* it refers to rows */
    for (size_t i = 0; i < sizeof ROWS / sizeof *ROWS; i++) {
        assert_ok(db_exec(m->n.c->db, err, "CREATE TABLE kept AS SELECT * FROM serving", ""));
        assert_ok(db_exec(m->n.c->db, err, "CREATE TABLE kept_keys AS SELECT * FROM api_keys", ""));
        assert_ok(db_exec(m->n.c->db, err, ROWS[i].sql, ""));
        json_t *a = get(&m->n, "/v1/ledger/audit");
        char *text = json_dumps(a, 0);
        if (json_is_true(json_object_get(a, "ok")) || strstr(text, ROWS[i].says) == NULL)
            fail_msg("%s: %s", ROWS[i].sql, text);
        free(text);
        json_decref(a);
        assert_ok(db_exec(m->n.c->db, err, "DELETE FROM serving", ""));
        assert_ok(db_exec(m->n.c->db, err, "INSERT INTO serving SELECT * FROM kept", ""));
        assert_ok(db_exec(m->n.c->db, err, "DELETE FROM api_keys", ""));
        assert_ok(db_exec(m->n.c->db, err, "INSERT INTO api_keys SELECT * FROM kept_keys", ""));
        assert_ok(db_exec(m->n.c->db, err, "DROP TABLE kept", ""));
        assert_ok(db_exec(m->n.c->db, err, "DROP TABLE kept_keys", ""));
        assert_audit(&m->n);
    }
}

static int open_all(void **state)
{
    static struct market m;
    market_open(&m, "paid");
    *state = &m;
    return 0;
}

static int close_all(void **state)
{
    struct market *m = *state;
    net_close(&m->n);
    return 0;
}

/* One market for all: what the first publishes holds for those after it, the last one revokes it.
 */
int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_answer_is_paid_to_all_who_have_a_part),
        cmocka_unit_test(what_fails_costs_nothing),
        cmocka_unit_test(a_cut_answer_is_paid_as_far_as_it_came),
        cmocka_unit_test(who_reads_too_slowly_pays),
        cmocka_unit_test(claims_are_bounded_by_the_text),
        cmocka_unit_test(tokens_of_who_failed_are_not_paid),
        cmocka_unit_test(money_and_limits_hold),
        cmocka_unit_test(who_pays_is_found),
        cmocka_unit_test(a_repeated_request_costs_once),
        cmocka_unit_test(a_reservation_does_not_outlive_its_process),
        cmocka_unit_test(the_audit_finds_what_was_changed),
        cmocka_unit_test(terms_hold_for_text),
    };
    return cmocka_run_group_tests_name("paid", tests, open_all, close_all);
}
