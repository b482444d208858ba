/* Completions over real HTTP: a coordinator, a client, and a rig by script, which signs real
 * requests but makes up its text from what the prompt tells it. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <jansson.h>
#include <netinet/in.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "compute/device.h"
#include "coordinator/serving/serve.h"
#include "db/db.h"
#include "gateway/gateway.h"
#include "http/client.h"
#include "http/identity.h"
#include "os/thread.h"
#include "work/job.h"
#include "../remove_tree.h"

#define REPLY_MAX (1u << 20)

struct net {
    char dir[128], url[64], model[CID_TEXT_MAX];
    struct coordinator *c;
    struct http_client *http;
    struct identity rig;
    struct os_thread thread;
    atomic_bool stop, begun, go, ended;
    atomic_bool cancelled; /* the rig was told to end a generation */
    atomic_llong seed;     /* of the last request that the rig saw */
};

/* ---- the rig ---- */

static json_t *rig_post(struct net *n, const char *path, json_t *body)
{
    struct http_reply r;
    struct emac_err err = {0};
    char url[256], *text = json_dumps(body, JSON_COMPACT);
    snprintf(url, sizeof url, "%s%s", n->url, path);
    const struct http_call call = {.method = "POST",
                                   .url = url,
                                   .body = EMAC_SLICE_STR(text),
                                   .timeout_ms = 10000,
                                   .signer = &n->rig.signer};
    json_t *reply = NULL;
    if (http_client_call(n->http, &call, &r, &err) == EMAC_OK)
        reply = json_loadb((const char *)r.body.data, r.body.len, 0, NULL);
    http_reply_release(&r);
    json_decref(body);
    free(text);
    return reply;
}

/* True when the rig is told to go on. */
static bool piece(struct net *n, const char *lease, const char *text, int tokens,
                  const char *finish, const char *error)
{
    char path[128];
    snprintf(path, sizeof path, "/v1/serve/%s", lease);
    json_t *reply = rig_post(n, path,
                             json_pack("{s:s, s:i, s:b, s:s?, s:i, s:s?}", "text", text, "tokens",
                                       tokens, "done", finish != NULL, "finish_reason", finish,
                                       "prompt_tokens", 7, "error", error));
    bool more = json_is_false(json_object_get(reply, "cancel"));
    json_decref(reply);
    return more;
}

static void rig_serve(struct net *n, json_t *lease)
{
    json_t *req = json_object_get(lease, "request");
    const char *id = json_string_value(json_object_get(lease, "lease"));
    const char *prompt = json_string_value(json_object_get(req, "prompt"));
    atomic_store(&n->seed, json_integer_value(json_object_get(req, "seed")));
    if (strcmp(prompt, "refuse") == 0) {
        piece(n, id, "", 0, NULL, "no memory for the model");
    } else if (strcmp(prompt, "break") == 0) {
        piece(n, id, "half", 4, NULL, NULL);
        piece(n, id, "", 0, NULL, "the device failed");
    } else if (strcmp(prompt, "endless") == 0) {
        atomic_store(&n->begun, true);
        while (piece(n, id, "more ", 5, NULL, NULL) && !atomic_load(&n->stop))
            os_real()->sleep_ms(os_real(), 10);
        atomic_store(&n->cancelled, true);
    } else if (strcmp(prompt, "twenty") == 0) {
        atomic_store(&n->begun, true);
        while (!atomic_load(&n->go) && !atomic_load(&n->stop))
            os_real()->sleep_ms(os_real(), 5);
        for (int i = 0; i < 20 && piece(n, id, "more ", 5, NULL, NULL); i++)
            os_real()->sleep_ms(os_real(), 5);
        atomic_store(&n->cancelled, !piece(n, id, "end", 1, "stop", NULL));
        atomic_store(&n->ended, true);
    } else {
        piece(n, id, "Hello ", 6, NULL, NULL);
        piece(n, id, "w\xc3\xb6rld\n\"", 8, "stop", NULL);
    }
}

static void *rig_main(void *arg)
{
    struct net *n = arg;
    json_decref(rig_post(n, "/v1/nodes",
                         json_pack("{s:n, s:s, s:s, s:s, s:s}", "url", "name", "bot", "version",
                                   "1", "isa", "none", "conformance", CONFORMANCE_DIGEST)));
    while (!atomic_load(&n->stop)) {
        json_t *lease = rig_post(n, "/v1/lease", json_pack("{s:i}", "wait_ms", 200));
        if (lease != NULL && json_object_get(lease, "lease") != NULL)
            rig_serve(n, lease);
        json_decref(lease);
    }
    return NULL;
}

/* ---- the client ---- */

/* One request on a connection of its own, with `header`, a line and its end, or "". */
static int dial_with(struct net *n, const char *header, const char *method, const char *path,
                     const char *body)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(coordinator_port(n->c))};
    struct timeval limit = {20, 0};
    char *text = emac_asprintf("%s %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n%s"
                               "Content-Length: %zu\r\n\r\n%s",
                               method, path, header, strlen(body), body);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_true(fd >= 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    free(text);
    return fd;
}

static int dial(struct net *n, const char *method, const char *path, const char *body)
{
    return dial_with(n, "", method, path, body);
}

/* The whole answer with its headers; free it. */
static char *ask(struct net *n, const char *method, const char *path, const char *body)
{
    struct emac_buf out;
    char part[4096];
    ssize_t got;
    int fd = dial(n, method, path, body);
    emac_buf_init(&out, REPLY_MAX);
    while ((got = read(fd, part, sizeof part)) > 0)
        assert_int_equal(emac_buf_append(&out, part, (size_t)got, NULL), EMAC_OK);
    close(fd);
    emac_buf_append(&out, "", 1, NULL);
    return (char *)emac_buf_steal(&out, NULL);
}

static int status_of(const char *answer)
{
    int status = 0;
    assert_int_equal(sscanf(answer, "HTTP/1.1 %d", &status), 1);
    return status;
}

static json_t *body_of(const char *answer)
{
    const char *body = strstr(answer, "\r\n\r\n");
    assert_non_null(body);
    json_t *j = json_loads(body + 4, 0, NULL);
    if (j == NULL)
        fail_msg("no JSON: %s", answer);
    return j;
}

static json_t *post(struct net *n, const char *body, int want)
{
    char *answer = ask(n, "POST", "/v1/completions", body);
    if (status_of(answer) != want)
        fail_msg("%s", answer);
    json_t *j = body_of(answer);
    free(answer);
    return j;
}

static const char *error_str(const json_t *j, const char *key)
{
    return json_string_value(json_object_get(json_object_get(j, "error"), key));
}

static const json_t *choice(const json_t *j)
{
    return json_array_get(json_object_get(j, "choices"), 0);
}

static const char *text_of(const json_t *j)
{
    return json_string_value(json_object_get(choice(j), "text"));
}

/* The answer as the client library decodes it. */
static char *stream(struct net *n, const char *body)
{
    struct http_reply r;
    struct emac_err err = {0};
    char url[128];
    snprintf(url, sizeof url, "%s/v1/completions", n->url);
    const struct http_call call = {
        .method = "POST", .url = url, .body = EMAC_SLICE_STR(body), .timeout_ms = 20000};
    if (http_client_call(n->http, &call, &r, &err) != EMAC_OK)
        fail_msg("%s", err.text);
    assert_string_equal(r.content_type, "text/event-stream");
    char *text = emac_strdup(emac_buf_str(&r.body));
    http_reply_release(&r);
    return text;
}

/* The next event's JSON (NULL: [DONE] or the end); *at moves behind it. */
static json_t *event_next(const char **at, bool *done)
{
    const char *line = *at, *end = strstr(line, "\n\n");
    *done = false;
    if (end == NULL)
        return NULL;
    *at = end + 2;
    assert_int_equal(strncmp(line, "data: ", 6), 0);
    line += 6;
    *done = strncmp(line, "[DONE]", 6) == 0;
    return *done ? NULL : json_loadb(line, (size_t)(end - line), 0, NULL);
}

/* ---- tests ---- */

static void models(void **state)
{
    struct net *n = *state;
    char *answer = ask(n, "GET", "/v1/models", "");
    json_t *j = body_of(answer), *data = json_object_get(j, "data");
    assert_int_equal(json_array_size(data), 1); /* two jobs made the same model */
    assert_string_equal(json_string_value(json_object_get(json_array_get(data, 0), "id")),
                        n->model);
    json_decref(j);
    free(answer);
    answer = ask(n, "GET", "/v1/models/tiny", "");
    j = body_of(answer);
    assert_string_equal(json_string_value(json_object_get(j, "id")), n->model);
    assert_string_equal(json_string_value(json_object_get(j, "job")), "job-two");
    json_decref(j);
    free(answer);
    static const char *const UNKNOWN[] = {"/v1/models/none", "/v1/models/a/b", "/v1/models/"};
    for (size_t i = 0; i < sizeof UNKNOWN / sizeof UNKNOWN[0]; i++) {
        answer = ask(n, "GET", UNKNOWN[i], "");
        assert_int_equal(status_of(answer), 404);
        j = body_of(answer);
        assert_string_equal(error_str(j, "param"), "model");
        json_decref(j);
        free(answer);
    }
}

static void whole(void **state)
{
    struct net *n = *state;
    json_t *j = post(n, "{\"model\":\"tiny\",\"prompt\":\"x\",\"seed\":-1,\"echo\":true}", 200);
    assert_string_equal(text_of(j), "xHello w\xc3\xb6rld\n\"");
    assert_string_equal(json_string_value(json_object_get(choice(j), "finish_reason")), "stop");
    assert_string_equal(json_string_value(json_object_get(j, "model")), n->model);
    json_t *usage = json_object_get(j, "usage");
    assert_int_equal(json_integer_value(json_object_get(usage, "prompt_tokens")), 7);
    assert_int_equal(json_integer_value(json_object_get(usage, "total_tokens")), 21);
    assert_true(atomic_load(&n->seed) == INT64_MAX);
    json_decref(j);
    char *body = emac_asprintf("{\"model\":\"%s\",\"prompt\":[\"x\"]}", n->model);
    j = post(n, body, 200);
    assert_string_equal(text_of(j), "Hello w\xc3\xb6rld\n\"");
    int64_t seed = atomic_load(&n->seed);
    json_decref(j);
    json_decref(post(n, body, 200));
    int64_t again = atomic_load(&n->seed);
    assert_true(seed >= 0 && again >= 0 && seed != again); /* chosen anew */
    free(body);
}

static void streamed(void **state)
{
    struct net *n = *state;
    char *text = stream(n, "{\"model\":\"job-one\",\"prompt\":\"x\",\"echo\":true,\"stream\":true,"
                           "\"stream_options\":{\"include_usage\":true}}");
    const char *at = text;
    char seen[64] = "";
    bool done = false, finished = false, counted = false;
    for (json_t *j; (j = event_next(&at, &done)) != NULL; json_decref(j)) {
        json_t *usage = json_object_get(j, "usage");
        assert_non_null(usage);
        assert_false(counted);
        counted = json_is_object(usage);
        if (counted) {
            assert_int_equal(json_array_size(json_object_get(j, "choices")), 0);
            continue;
        }
        assert_false(finished);
        finished = json_is_string(json_object_get(choice(j), "finish_reason"));
        strncat(seen, text_of(j), sizeof seen - strlen(seen) - 1);
    }
    assert_true(done && finished && counted && *at == '\0');
    assert_string_equal(seen, "xHello w\xc3\xb6rld\n\"");
    free(text);
    text = stream(n, "{\"model\":\"tiny\",\"prompt\":\"x\",\"stream\":true}");
    assert_null(strstr(text, "usage"));
    free(text);
}

static void failures(void **state)
{
    struct net *n = *state;
    static const struct {
        const char *body, *param;
        int status;
    } CASES[] = {
        {"{", NULL, 400},
        {"{\"model\":\"tiny\"}", "prompt", 400},
        {"{\"model\":\"none\",\"prompt\":\"x\"}", "model", 404},
        {"{\"model\":\"tiny\",\"prompt\":\"x\",\"n\":2}", "n", 400},
        {"{\"model\":\"tiny\",\"prompt\":\"x\",\"temperature\":-1,\"stream\":true}", "temperature",
         400},
        {"{\"model\":\"tiny\",\"prompt\":\"refuse\"}", NULL, 503},
        {"{\"model\":\"tiny\",\"prompt\":\"refuse\",\"stream\":true}", NULL, 503},
        {"{\"model\":\"tiny\",\"prompt\":\"break\"}", NULL, 503},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        json_t *j = post(n, CASES[i].body, CASES[i].status);
        assert_non_null(error_str(j, "message"));
        if (CASES[i].param == NULL)
            assert_null(error_str(j, "param"));
        else
            assert_string_equal(error_str(j, "param"), CASES[i].param);
        json_decref(j);
    }
}

/* After the first text the status is gone out: the error is an event, and there is no [DONE]. */
static void broken_stream(void **state)
{
    bool done;
    char *text = stream(*state, "{\"model\":\"tiny\",\"prompt\":\"break\",\"stream\":true}");
    const char *at = text;
    json_t *j = event_next(&at, &done);
    assert_string_equal(text_of(j), "half");
    json_decref(j);
    j = event_next(&at, &done);
    assert_string_equal(error_str(j, "message"), "the device failed");
    assert_string_equal(error_str(j, "code"), "unavailable");
    json_decref(j);
    assert_true(*at == '\0');
    free(text);
}

static void wait_true(atomic_bool *flag)
{
    for (int i = 0; i < 2000 && !atomic_load(flag); i++)
        os_real()->sleep_ms(os_real(), 10);
    assert_true(atomic_load(flag));
}

static void client_gone(void **state)
{
    struct net *n = *state;
    char part[512];
    int fd = dial(n, "POST", "/v1/completions",
                  "{\"model\":\"tiny\",\"prompt\":\"endless\",\"stream\":true}");
    assert_true(read(fd, part, sizeof part) > 0);
    assert_false(atomic_load(&n->cancelled));
    close(fd);
    wait_true(&n->cancelled);
}

/* Who asked for the answer as a whole, and hangs up while it is made. */
static void client_gone_before_the_answer(void **state)
{
    struct net *n = *state;
    atomic_store(&n->begun, false);
    atomic_store(&n->cancelled, false);
    int fd = dial(n, "POST", "/v1/completions", "{\"model\":\"tiny\",\"prompt\":\"endless\"}");
    wait_true(&n->begun);
    assert_false(atomic_load(&n->cancelled));
    close(fd);
    wait_true(&n->cancelled);
}

/* He named a key, by which he may ask for the answer again: it is made. */
static void client_gone_who_may_come_back(void **state)
{
    struct net *n = *state;
    atomic_store(&n->begun, false);
    int fd = dial_with(n, "Idempotency-Key: twenty\r\n", "POST", "/v1/completions",
                       "{\"model\":\"tiny\",\"prompt\":\"twenty\"}");
    wait_true(&n->begun);
    close(fd);
    atomic_store(&n->go, true);
    wait_true(&n->ended);
    assert_false(atomic_load(&n->cancelled));
}

static void description(void **state)
{
    char *answer = ask(*state, "GET", "/v1/openapi.yaml", "");
    assert_int_equal(status_of(answer), 200);
    assert_non_null(strstr(answer, "application/yaml"));
    assert_non_null(strstr(answer, "openapi: 3.1.0"));
    free(answer);
}

/* The last test: the rig goes, and what waits then is answered when the coordinator stops. */
static void queue_full(void **state)
{
    struct net *n = *state;
    int fd[SERVE_QUEUE_MAX];
    char *answer = NULL, part[64] = "";
    static const char BODY[] = "{\"model\":\"tiny\",\"prompt\":\"x\"}";
    atomic_store(&n->stop, true);
    os_thread_join(&n->thread);
    for (size_t i = 0; i < SERVE_QUEUE_MAX; i++)
        fd[i] = dial(n, "POST", "/v1/completions", BODY);
    os_real()->sleep_ms(os_real(), 500); /* until all 64 wait */
    answer = ask(n, "POST", "/v1/completions", BODY);
    assert_int_equal(status_of(answer), 429);
    assert_non_null(strstr(answer, "Retry-After: 1\r\n"));
    free(answer);
    coordinator_stop(n->c);
    n->c = NULL;
    for (size_t i = 0; i < SERVE_QUEUE_MAX; i++) {
        if (i == 0) {
            assert_true(read(fd[i], part, sizeof part - 1) > 0);
            assert_int_equal(status_of(part), 503);
        }
        close(fd[i]);
    }
}

/* ---- set-up ---- */

static void start(struct net *n)
{
    struct emac_err err = {0};
    const struct coordinator_config cfg = {.os = os_real(),
                                           .dir = n->dir,
                                           .address = "127.0.0.1",
                                           .routes = GATEWAY_ROUTES,
                                           .route_count = GATEWAY_ROUTE_COUNT};
    if (coordinator_start(&cfg, &n->c, &err) != EMAC_OK)
        fail_msg("%s", err.text);
    snprintf(n->url, sizeof n->url, "http://127.0.0.1:%u", coordinator_port(n->c));
}

/* The canonical form of the smallest job that makes a language model. */
static void text_job(struct emac_buf *out)
{
    struct cid data = cid_of(CID_RAW, "corpus", 6);
    char cid[CID_TEXT_MAX];
    struct emac_err err = {0};
    struct job job;
    cid_text(cid, &data);
    json_t *root =
        json_pack("{s:s s:{s:s s:i} s:{s:i s:i s:i s:i} s:{s:i s:i s:i s:i s:f}}", "name", "tiny",
                  "data", "cid", cid, "size", 4096, "model", "hidden_size", 8, "intermediate_size",
                  8, "layers", 1, "heads", 1, "recipe", "seq_len", 16, "micro_batch", 1,
                  "micro_batches", 1, "steps", 1, "lr", 0.01);
    if (job_from_json(&job, root, NULL, 0, &err) != EMAC_OK ||
        job_encode(&job, out, NULL, &err) != EMAC_OK)
        fail_msg("%s", err.text);
    json_decref(root);
}

static void job_row(struct net *n, struct db *db, const char *id, int64_t seq)
{
    struct cid cid = cid_of(CID_RAW, id, strlen(id));
    char text[CID_TEXT_MAX];
    struct emac_buf object;
    cid_text(text, &cid);
    emac_buf_init(&object, JOB_BYTES_MAX);
    text_job(&object);
    assert_int_equal(
        db_exec(db, NULL,
                "INSERT INTO jobs (id, cid, seq, owner, name, object, state, reason, created_ms,"
                " ended_ms, escrow_units, step, steps, loss, score, params, model, tasks, checked,"
                " mismatches, retries, lapsed, busy_us, bytes_moved) VALUES (?, ?, ?, ?, 'tiny',"
                " ?, 'succeeded', '', 1, 2, 0, 1, 1, -1, -1, ?, ?, 0, 0, 0, 0, 0, 0, 0)",
                "ttitbtt", id, text, seq, n->rig.did, (const void *)object.data, object.len,
                n->model, n->model),
        EMAC_OK);
    emac_buf_release(&object);
}

/* Two jobs that made one model, and a rig that is admitted. */
static void rows_add(struct net *n)
{
    struct db *db;
    char path[256];
    snprintf(path, sizeof path, "%s/coordinator.db", n->dir);
    assert_int_equal(db_open(path, &db, NULL), EMAC_OK);
    job_row(n, db, "job-one", 1);
    job_row(n, db, "job-two", 2);
    assert_int_equal(db_exec(db, NULL,
                             "INSERT INTO nodes (did, name, url, version, isa, threads,"
                             " memory_bytes, disk_bytes, gflops, state, reason, created_ms,"
                             " seen_ms) VALUES (?, 'bot', '', '1', 'none', 1, 1, 1, 1, 'admitted',"
                             " '', 1, 1)",
                             "t", n->rig.did),
                     EMAC_OK);
    db_close(db);
}

static int set_up(void **state)
{
    static struct net n;
    static const uint8_t SEED[ED25519_SEED_BYTES] = {9};
    struct cid model = cid_of(CID_RAW, "weights", 7);
    snprintf(n.dir, sizeof n.dir, "/tmp/emac-gateway-XXXXXX");
    assert_non_null(mkdtemp(n.dir));
    cid_text(n.model, &model);
    crypto_ed25519_keypair(n.rig.public_key, n.rig.secret_key, SEED);
    crypto_did_key(n.rig.did, n.rig.public_key);
    n.rig.signer = (struct http_signer){os_real(), n.rig.did, n.rig.secret_key};
    start(&n);
    coordinator_stop(n.c);
    rows_add(&n);
    start(&n);
    assert_int_equal(http_client_new(&n.http, NULL), EMAC_OK);
    os_thread_start(&n.thread, rig_main, &n);
    *state = &n;
    return 0;
}

static int tear_down(void **state)
{
    struct net *n = *state;
    http_client_free(n->http);
    remove_tree(n->dir);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(models),
        cmocka_unit_test(whole),
        cmocka_unit_test(streamed),
        cmocka_unit_test(failures),
        cmocka_unit_test(broken_stream),
        cmocka_unit_test(client_gone),
        cmocka_unit_test(client_gone_before_the_answer),
        cmocka_unit_test(client_gone_who_may_come_back),
        cmocka_unit_test(description),
        cmocka_unit_test(queue_full),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
