/* Stops, kills, full disks: what was answered is never lost, what was not is never half done. */
#include "harness.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/time.h>
#include <sys/wait.h>

#include "coordinator/state.h"

static void a_job_goes_on_after_a_stop(void **state)
{
    struct net n = {0};
    (void)state;
    net_open(&n, "restart");
    struct rigbot *r = rig_add(&n);
    struct job job = net_job(&n, 5, 2);
    job.check = 0.5;
    n.cfg.check_lapse_ms = n.cfg.back_ms = 200;
    net_submit(&n, &job);
    run_to_step(&n, 2);
    json_t *lease = NULL, *reply;
    while (lease == NULL)
        lease = poll(&n, r, 200);
    net_restart(&n);
    assert_audit(&n);
    /* a receipt for a lease from before is taken, even before a hello */
    assert_int_equal(answer(&n, r, lease, false, &reply), 200);
    assert_true(json_is_true(json_object_get(reply, "accepted")));
    assert_true(units_of(reply, "paid_units") > 0);
    json_decref(reply);
    json_decref(lease);
    run_until(&n, "succeeded");
    assert_audit(&n);
    net_close(&n);
}

/* A request as signed once, to be sent as often as one likes. */
struct recorded {
    struct arena arena;
    struct http_headers headers;
    char url[256];
    const char *body;
};

static void record(struct net *n, const struct identity *who, const char *path, const char *body,
                   struct recorded *r)
{
    struct http_url u;
    *r = (struct recorded){.body = body};
    arena_init(&r->arena, 1 << 20);
    snprintf(r->url, sizeof(r->url), "%s%s", n->url, path);
    assert_ok(http_url_parse(&r->arena, r->url, &u, err));
    assert_ok(http_sign(&who->signer, "POST", u.text, u.authority, EMAC_SLICE_STR(body), &r->arena,
                        &r->headers, err));
}

static int replay(struct net *n, struct recorded *r)
{
    struct http_reply reply;
    struct http_call hc = {.method = "POST",
                           .url = r->url,
                           .headers = r->headers,
                           .body = EMAC_SLICE_STR(r->body),
                           .timeout_ms = 10000};
    struct emac_err err = {0};
    enum emac_status st = http_client_call(n->http, &hc, &reply, &err);
    int status = st == EMAC_OK ? reply.status : emac_status_http(err.status);
    http_reply_release(&reply);
    return status;
}

static void replays_are_refused_also_after_a_restart(void **state)
{
    struct net n = {0};
    struct recorded r;
    (void)state;
    net_open(&n, "replay");
    record(&n, &n.user, "/v1/faucet", "{}", &r);
    assert_int_equal(replay(&n, &r), 200);
    assert_int_equal(replay(&n, &r), 401);
    net_restart(&n);
    assert_int_equal(replay(&n, &r), 401);
    arena_release(&r.arena);
    faucet(&n); /* a new one is taken at once */
    assert_int_equal(balance(&n, "user:"), COORDINATOR_FAUCET_UNITS);
    net_close(&n);
}

static void two_on_one_directory_is_refused(void **state)
{
    struct net n = {0};
    struct coordinator *second;
    (void)state;
    net_open(&n, "twice");
    struct coordinator_config cfg = n.cfg;
    cfg.port = 0;
    assert_fails(coordinator_start(&cfg, &second, err), EMAC_CONFLICT, "another coordinator");
    faucet(&n); /* the first is unharmed */
    net_close(&n);
}

/* ---- a full disk ---- */

static void pages_max(struct net *n, int64_t pages)
{
    struct db_stmt *q;
    bool row;
    if (pages < 0) /* no more than there are */
        assert_ok(db_one_i64(n->c->db, &pages, err, "PRAGMA page_count", ""));
    const char *sql =
        pages > 100000 ? "PRAGMA max_page_count = 1000000" : "PRAGMA max_page_count = 1";
    /* a maximum below the present count is raised to it */
    assert_ok(db_query(n->c->db, &q, err, sql, ""));
    assert_ok(db_next(q, &row, err));
    db_done(q);
}

static void a_full_disk_refuses_and_recovers(void **state)
{
    struct net n = {0};
    json_t *lease, *reply;
    (void)state;
    net_open(&n, "full");
    struct rigbot *r = rig_add(&n);
    struct job job = net_job(&n, 60, 4);
    net_submit(&n, &job);
    run_to_step(&n, 2);
    pages_max(&n, -1);
    /* Free pages are used up first; then requests fail with 507, whole. */
    int refused = 0;
    for (int i = 0; i < 600 && refused < 5; i++) {
        int status = poll_status(&n, r, 0, &lease);
        if (status == 507)
            refused++;
        else if (status == 200) {
            do { /* a receipt is sent until it is taken */
                status = answer(&n, r, lease, false, &reply);
                json_decref(reply);
                refused += status == 507;
                assert_true(status == 200 || status == 507);
            } while (status == 507 && refused < 5);
        } else {
            assert_int_equal(status, 204);
        }
        json_decref(lease);
    }
    assert_int_equal(refused, 5);
    assert_true(job_is(&n, "running"));
    pages_max(&n, 1000000);
    assert_audit(&n);
    n.cfg.lease_ttl_ms = 300;
    char path[80];
    snprintf(path, sizeof(path), "/v1/jobs/%s/cancel", n.job);
    run_to_step(&n, 40);
    assert_int_equal(call(&n, &n.user, "POST", path, json_object(), NULL), 200);
    assert_audit(&n);
    net_close(&n);
}

/* ---- kills ---- */

struct victim {
    pid_t pid;
    int kills_left;
    struct choices {
        uint64_t seed, next;
    } c;
};

static uint32_t pick(struct victim *v, uint32_t bound)
{
    return (uint32_t)philox_below(v->c.seed, PHILOX_TEST, 9, v->c.next++, bound);
}

/* The child serves until it is killed; an alarm kills it at a moment that nothing in it chose, as
 * SIGKILL would: no handler runs. */
static void victim_start(struct net *n, struct victim *v)
{
    int fd[2];
    uint16_t port = 0;
    uint32_t life_ms = v->kills_left > 0 ? 60 + pick(v, 250) : 0;
    assert_int_equal(pipe(fd), 0);
    v->pid = fork();
    assert_true(v->pid >= 0);
    if (v->pid == 0) {
        close(fd[0]);
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        signal(SIGALRM, SIG_DFL);
        net_start(n);
        port = coordinator_port(n->c);
        if (write(fd[1], &port, sizeof(port)) != sizeof(port))
            _exit(3);
        struct itimerval t = {.it_value = {life_ms / 1000, (life_ms % 1000) * 1000}};
        if (life_ms)
            setitimer(ITIMER_REAL, &t, NULL);
        for (;;)
            pause();
    }
    close(fd[1]);
    assert_int_equal(read(fd[0], &port, sizeof(port)), sizeof(port));
    close(fd[0]);
    n->cfg.port = port;
    snprintf(n->url, sizeof(n->url), "http://127.0.0.1:%u", port);
}

/* Nobody answered: is it dead? Then it starts again. */
static void victim_revive(struct net *n, struct victim *v, int answer_status)
{
    int status;
    pid_t gone = 0;
    for (int i = 0; i < 200 && gone == 0; i++) {
        gone = waitpid(v->pid, &status, WNOHANG);
        if (gone == 0)
            sleep_ms(10);
    }
    if (gone != v->pid)
        fail_msg("seed %lu: an answer is %d although the coordinator lives",
                 (unsigned long)v->c.seed, answer_status);
    if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGALRM)
        fail_msg("seed %lu: the coordinator ended by itself: status %d", (unsigned long)v->c.seed,
                 status);
    v->kills_left--;
    victim_start(n, v);
    assert_audit(n); /* at once, before anything is repaired by going on */
}

/* As a rig does: send until it is answered. */
static void deliver(struct net *n, struct victim *v, struct rigbot *r, json_t *lease)
{
    struct made_up m;
    make_up(n, r, lease, false, &m);
    for (;;) {
        json_t *reply;
        int status = send_receipt(n, r, &m, &reply);
        if (status == 200) {
            holds_note(n, r, &m);
            deposits_take(r, reply);
            json_decref(reply);
            break;
        }
        json_decref(reply);
        if (status == 403 || status == 400 || status == 404)
            fail_msg("seed %lu: receipt: %d", (unsigned long)v->c.seed, status);
        victim_revive(n, v, status);
    }
    made_up_release(&m);
    r->lease[0] = 0;
}

static void deposits_try(struct net *n, struct rigbot *r)
{
    json_t *item;
    size_t i;
    uint64_t bytes = 0;
    json_array_foreach(r->deposits, i, item)
    {
        struct cid cid;
        assert_ok(cid_parse(&cid, json_string_value(item), err));
        (void)exchange_push(n->bytes, n->http, &cid, n->url, &r->id.signer, &bytes, NULL);
    }
    json_array_clear(r->deposits);
}

/* Hello without a helper that insists on an answer. */
static int hello_try(struct net *n, struct rigbot *r)
{
    json_t *reply;
    int status = call(n, &r->id, "POST", "/v1/nodes", hello_body(r), &reply);
    json_decref(reply);
    return status;
}

static void killed_turn(struct net *n, struct victim *v, struct rigbot *r)
{
    json_t *lease, *body = json_pack("{s:i, s:o}", "wait_ms", 0, "holds", holds_json(r));
    int status = call(n, &r->id, "POST", "/v1/lease", body, &lease);
    if (status == 200)
        deliver(n, v, r, lease);
    else if (status == 409)
        status = hello_try(n, r);
    else if (status == 204)
        sleep_ms(2);
    json_decref(lease);
    if (status != 200 && status != 204)
        victim_revive(n, v, status);
    deposits_try(n, r);
}

static bool over(struct net *n, struct victim *v)
{
    char path[64];
    json_t *j;
    snprintf(path, sizeof(path), "/v1/jobs/%s", n->job);
    int status = call(n, NULL, "GET", path, NULL, &j);
    bool done = status == 200 && strcmp(str_of(j, "state"), "succeeded") == 0;
    json_decref(j);
    if (status != 200)
        victim_revive(n, v, status);
    return done;
}

static void kills_at_any_moment_lose_nothing(void **state)
{
    struct net n = {0};
    const char *seed = getenv("EMAC_TEST_SEED");
    struct victim v = {.kills_left = 0, .c = {seed ? strtoull(seed, NULL, 10) : 1, 0}};
    (void)state;
    snprintf(n.dir, sizeof(n.dir), "/tmp/emac-test-%ld-kill", (long)getpid());
    remove_tree(n.dir);
    n.cfg.check_lapse_ms = n.cfg.back_ms = 1500;
    n.cfg.lease_ttl_ms = 400; /* a lease whose answer died on its way is open until then */
    victim_start(&n, &v);     /* before this process has threads or connections */
    net_open(&n, "kill");
    rig_add(&n);
    rig_add(&n);
    struct job job = net_job(&n, 40, 2);
    job.check = 0.3;
    job.state_copies = 2;
    job.checkpoint_every = 5;
    net_submit(&n, &job);
    v.kills_left = 4;
    kill(v.pid, SIGALRM);
    for (int i = 0; i < NET_LOOPS && !over(&n, &v); i++)
        for (uint32_t k = 0; k < 2; k++)
            killed_turn(&n, &v, &n.rig[k]);
    assert_true(over(&n, &v));
    assert_audit(&n);
    assert_int_equal(balance(&n, "escrow:"), 0);
    assert_int_equal(balance(&n, "held:"), 0);
    kill(v.pid, SIGKILL);
    waitpid(v.pid, NULL, 0);
    net_close(&n);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kills_at_any_moment_lose_nothing),
        cmocka_unit_test(a_job_goes_on_after_a_stop),
        cmocka_unit_test(replays_are_refused_also_after_a_restart),
        cmocka_unit_test(two_on_one_directory_is_refused),
        cmocka_unit_test(a_full_disk_refuses_and_recovers),
    };
    return cmocka_run_group_tests_name("crash", tests, NULL, NULL);
}
