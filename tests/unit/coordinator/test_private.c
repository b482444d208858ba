/* Keys to private data: who may grant them, who gets them, and when nobody does any more. */
#include "harness.h"

#include "coordinator/internal.h"
#include "work/dispute.h"
#include "work/licence.h"
#include "work/sealed.h"

static const uint8_t KEY[SEAL_KEY_BYTES] = {5, 6, 7};

struct vault {
    struct net n;
    struct identity other;
    struct cid asset;
    char broker[DID_KEY_MAX];
};

static void vault_open(struct vault *v, const char *name)
{
    struct net *n = &v->n;
    json_t *reply;
    uint64_t size;
    *v = (struct vault){0};
    net_open(n, name);
    identity_seeded(&v->other, 201);
    const struct sealed_source from = {.bytes = EMAC_SLICE(n->corpus->data, n->corpus->size)};
    assert_ok(sealed_add(n->bytes, &from, n->user.did, KEY, &v->asset, &size, err));
    faucet(n);
    push(n, &n->user, &v->asset);
    assert_int_equal(call(n, &n->user, "GET", "/v1/private", NULL, &reply), 200);
    set_text(v->broker, str_of(reply, "broker"));
    json_decref(reply);
}

static int grant(struct vault *v, const struct identity *who, const uint8_t key[SEAL_KEY_BYTES],
                 const char *to, const char *purpose)
{
    struct sealed_key k = {.asset = v->asset};
    struct emac_buf box;
    char path[96] = "/v1/private/";
    memcpy(k.key, key, SEAL_KEY_BYTES);
    set_text(k.purpose, purpose);
    emac_buf_init(&box, SEALED_BOX_MAX);
    assert_ok(sealed_key_box(&k, to, &box, err));
    cid_text(path + strlen(path), &v->asset);
    int status =
        call(&v->n, who, "POST", path, json_pack("{s:o}", "box", text64(box.data, box.len)), NULL);
    emac_buf_release(&box);
    return status;
}

static int take_back(struct vault *v, const struct identity *who)
{
    char path[128] = "/v1/private/";
    cid_text(path + strlen(path), &v->asset);
    strcat(path, "/revoke");
    return call(&v->n, who, "POST", path, json_object(), NULL);
}

static struct job vault_job(struct vault *v, const struct identity *owner)
{
    struct job job = net_job(&v->n, 3, 2);
    job.data = v->asset;
    set_text(job.owner, owner->did);
    return job;
}

static int submit_as(struct vault *v, const struct identity *who, json_t **reply)
{
    struct job job = vault_job(v, who);
    return call(&v->n, who, "POST", "/v1/jobs", job_to_json(&job), reply);
}

/* The box of a lease, empty when there is none. */
static void box_of(struct vault *v, json_t *lease, struct emac_buf *out)
{
    char name[CID_TEXT_MAX];
    cid_text(name, &v->asset);
    json_t *keys = json_object_get(lease, "keys");
    if (keys != NULL)
        bytes_of(keys, name, out);
    else
        emac_buf_init(out, 1);
}

/* ---- granting ---- */

/* PRIVATE-1 */
static void only_the_owner_grants(void **state)
{
    struct vault v;
    uint8_t wrong[SEAL_KEY_BYTES] = {1};
    json_t *reply;
    (void)state;
    vault_open(&v, "grants");
    const struct identity *user = &v.n.user;
    assert_int_equal(submit_as(&v, user, &reply), 404);
    assert_non_null(strstr(str_of(reply, "error"), "not granted"));
    json_decref(reply);
    assert_int_equal(grant(&v, &v.other, KEY, v.broker, SEALED_FOR_BROKER), 403);
    assert_int_equal(grant(&v, user, wrong, v.broker, SEALED_FOR_BROKER), 400);
    assert_int_equal(grant(&v, user, KEY, v.other.did, SEALED_FOR_BROKER), 403);
    assert_int_equal(grant(&v, user, KEY, v.broker, "lease"), 403);
    assert_int_equal(take_back(&v, user), 404);
    assert_int_equal(grant(&v, user, KEY, v.broker, SEALED_FOR_BROKER), 200);
    assert_int_equal(take_back(&v, &v.other), 404);
    assert_int_equal(submit_as(&v, user, NULL), 201);
    net_close(&v.n);
}

/* ---- leases ---- */

/* PRIVATE-3: a key comes with each lease that reads the data, sealed to its rig, for it alone. */
static void keys_come_with_leases(void **state)
{
    struct vault v;
    struct emac_buf box;
    struct sealed_key key;
    json_t *reply;
    uint32_t keyed = 0, bare = 0;
    (void)state;
    vault_open(&v, "leases");
    assert_int_equal(grant(&v, &v.n.user, KEY, v.broker, SEALED_FOR_BROKER), 200);
    struct rigbot *r = rig_add(&v.n);
    assert_int_equal(submit_as(&v, &v.n.user, &reply), 201);
    set_text(v.n.job, str_of(reply, "id"));
    json_decref(reply);
    for (int i = 0; i < 200 && (keyed < 2 || bare < 2); i++) { /* init and a step among them */
        json_t *lease = poll(&v.n, r, 100);
        if (lease == NULL) {
            deposits_push(&v.n, r);
            continue;
        }
        bool reads = strncmp(str_of(lease, "slot"), "grad", 4) == 0 ||
                     strncmp(str_of(lease, "slot"), "eval", 4) == 0;
        box_of(&v, lease, &box);
        if (reads) {
            const char *id = str_of(lease, "lease");
            assert_ok(
                sealed_key_open(&key, box.data, box.len, r->id.secret_key, &v.asset, id, err));
            assert_memory_equal(key.key, KEY, sizeof KEY);
            assert_fails(
                sealed_key_open(&key, box.data, box.len, v.other.secret_key, &v.asset, id, err),
                EMAC_FORBIDDEN, "not meant");
            assert_fails(
                sealed_key_open(&key, box.data, box.len, r->id.secret_key, &v.asset, "x", err),
                EMAC_FORBIDDEN, "not meant");
        }
        assert_true(reads == (box.len > 0));
        keyed += reads;
        bare += !reads;
        emac_buf_release(&box);
        answer(&v.n, r, lease, false, NULL);
        json_decref(lease);
        deposits_push(&v.n, r);
    }
    assert_true(keyed >= 2 && bare >= 2);
    assert_audit(&v.n);
    net_close(&v.n);
}

static void file_lacks(const char *dir, const char *name, const uint8_t *what, size_t n)
{
    char path[256];
    struct emac_buf all;
    snprintf(path, sizeof path, "%s/%s", dir, name);
    emac_buf_init(&all, 64u << 20);
    if (os_real()->file_read(os_real(), path, &all, NULL) == EMAC_OK &&
        memmem(all.data, all.len, what, n) != NULL)
        fail_msg("'%s' has the key", path);
    emac_buf_release(&all);
}

/* PRIVATE-2: without a key no further lease, and the job is over. */
static void a_key_that_is_taken_back_ends_jobs(void **state)
{
    struct vault v;
    json_t *reply;
    uint8_t key[SEAL_KEY_BYTES] = {5, 6, 7};
    (void)state;
    vault_open(&v, "back");
    assert_int_equal(grant(&v, &v.n.user, KEY, v.broker, SEALED_FOR_BROKER), 200);
    struct rigbot *r = rig_add(&v.n);
    assert_int_equal(submit_as(&v, &v.n.user, &reply), 201);
    set_text(v.n.job, str_of(reply, "id"));
    json_decref(reply);
    json_t *lease = poll(&v.n, r, 1000);
    assert_non_null(lease);
    json_decref(lease);
    net_restart(&v.n); /* the grant outlives the process, and does not lie open in its files */
    file_lacks(v.n.dir, "coordinator.db", key, sizeof key);
    file_lacks(v.n.dir, "coordinator.db-wal", key, sizeof key);
    assert_true(job_is(&v.n, "running"));
    assert_int_equal(take_back(&v, &v.n.user), 200);
    assert_true(job_is(&v.n, "cancelled"));
    json_t *j = job_now(&v.n);
    assert_non_null(strstr(str_of(j, "reason"), "took back"));
    json_decref(j);
    assert_int_equal(submit_as(&v, &v.n.user, NULL), 404);
    assert_audit(&v.n);
    net_close(&v.n);
}

/* ---- rigs that differ ---- */

static enum emac_status no_leaf(void *ctx, struct store *depot, const struct task *t, uint64_t leaf,
                                const struct dispute_proof *proof, uint32_t count,
                                struct trace_leaf *out, struct emac_err *err)
{
    fail_msg("a judge is asked about private data");
    return EMAC_INTERNAL;
}

static enum emac_status no_leaves(void *ctx, struct store *depot, const struct task *t,
                                  uint64_t *out, struct emac_err *err)
{
    return no_leaf(ctx, depot, t, 0, NULL, 0, NULL, err);
}

/* A majority decides; nobody opens what he computed. */
static void differing_rigs_open_nothing(void **state)
{
    static const struct dispute_judge judge = {no_leaf, no_leaves, NULL};
    struct vault v;
    json_t *reply;
    int64_t disputes = -1;
    (void)state;
    vault_open(&v, "differ");
    coordinator_stop(v.n.c);
    v.n.cfg.judge = &judge;
    net_start(&v.n);
    assert_int_equal(grant(&v, &v.n.user, KEY, v.broker, SEALED_FOR_BROKER), 200);
    for (int i = 0; i < 4; i++)
        rig_add(&v.n)->lies = i == 0;
    struct job job = vault_job(&v, &v.n.user);
    job.check = 1;
    assert_int_equal(call(&v.n, &v.n.user, "POST", "/v1/jobs", job_to_json(&job), &reply), 201);
    set_text(v.n.job, str_of(reply, "id"));
    json_decref(reply);
    for (int i = 0; i < NET_LOOPS && !v.n.rig[0].unplugged; i++)
        for (uint32_t k = 0; k < v.n.rigs; k++)
            turn(&v.n, &v.n.rig[k]);
    assert_true(v.n.rig[0].unplugged); /* quarantined */
    assert_ok(db_one_i64(v.n.c->db, &disputes, err, "SELECT COUNT(*) FROM disputes", ""));
    assert_int_equal(disputes, 0);
    assert_audit(&v.n);
    net_close(&v.n);
}

/* ---- strangers and licences ---- */

static int publish(struct vault *v, const struct identity *who)
{
    struct licence l = {.asset = v->asset, .kind = ASSET_DATA, .commercial = true, .issued_ms = 1};
    struct emac_buf object;
    uint8_t sig[ED25519_SIGNATURE_BYTES];
    set_text(l.owner, who->did);
    set_text(l.name, "x");
    emac_buf_init(&object, LICENCE_BYTES_MAX);
    assert_ok(licence_encode(&l, &object, NULL, err));
    crypto_ed25519_sign(sig, object.data, object.len, who->secret_key);
    int status = call(&v->n, who, "POST", "/v1/assets",
                      json_pack("{s:o, s:o}", "licence", text64(object.data, object.len),
                                "signature", text64(sig, sizeof sig)),
                      NULL);
    emac_buf_release(&object);
    return status;
}

/* PRIVATE-1, PRIVATE-2 */
static void strangers_need_the_owners_licence(void **state)
{
    struct vault v;
    json_t *reply;
    (void)state;
    vault_open(&v, "strangers");
    assert_int_equal(call(&v.n, &v.other, "POST", "/v1/faucet", json_object(), NULL), 200);
    assert_int_equal(grant(&v, &v.n.user, KEY, v.broker, SEALED_FOR_BROKER), 200);
    assert_int_equal(publish(&v, &v.other), 403);
    assert_int_equal(submit_as(&v, &v.other, &reply), 403);
    assert_non_null(strstr(str_of(reply, "error"), "no licence"));
    json_decref(reply);
    assert_int_equal(publish(&v, &v.n.user), 201);
    assert_int_equal(submit_as(&v, &v.other, NULL), 201);
    net_close(&v.n);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_the_owner_grants),
        cmocka_unit_test(keys_come_with_leases),
        cmocka_unit_test(a_key_that_is_taken_back_ends_jobs),
        cmocka_unit_test(differing_rigs_open_nothing),
        cmocka_unit_test(strangers_need_the_owners_licence),
    };
    return cmocka_run_group_tests_name("private", tests, NULL, NULL);
}
