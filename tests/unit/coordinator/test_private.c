/* Keys to private data: who may grant them, who gets them, and when nobody does any more. */
#include "harness.h"

#include "../work/models.h"
#include "../work/seal_model.h"
#include "coordinator/internal.h"
#include "coordinator/serving/serve.h"
#include "work/dispute.h"
#include "work/licence.h"
#include "work/sealed.h"

static const uint8_t KEY[SEAL_KEY_BYTES] = {5, 6, 7};

struct vault {
    struct net n;
    struct identity other;
    struct cid asset;
    struct cid model, weights; /* a private model's directory, and what is sealed in it */
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

static int grant_of(struct vault *v, const struct cid *asset, const struct identity *who,
                    const uint8_t key[SEAL_KEY_BYTES], const char *to, const char *purpose)
{
    struct sealed_key k = {.asset = *asset};
    struct emac_buf box;
    char path[96] = "/v1/private/";
    memcpy(k.key, key, SEAL_KEY_BYTES);
    set_text(k.purpose, purpose);
    emac_buf_init(&box, SEALED_BOX_MAX);
    assert_ok(sealed_key_box(&k, to, &box, err));
    cid_text(path + strlen(path), asset);
    int status =
        call(&v->n, who, "POST", path, json_pack("{s:o}", "box", text64(box.data, box.len)), NULL);
    emac_buf_release(&box);
    return status;
}

static int grant(struct vault *v, const struct identity *who, const uint8_t key[SEAL_KEY_BYTES],
                 const char *to, const char *purpose)
{
    return grant_of(v, &v->asset, who, key, to, purpose);
}

static int take_back(struct vault *v, const struct identity *who)
{
    char path[128] = "/v1/private/";
    cid_text(path + strlen(path), &v->asset);
    strcat(path, "/revoke");
    return call(&v->n, who, "POST", path, json_object(), NULL);
}

/* Does the task of the lease read data, and the base where there is one? */
static bool lease_reads(json_t *lease)
{
    const char *slot = str_of(lease, "slot");
    return strstr(slot, "grad") == slot || strstr(slot, "eval") == slot;
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
        bool reads = lease_reads(lease);
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

static void file_lacks(const char *where, const char *name, const uint8_t *what, size_t n)
{
    char path[256];
    struct emac_buf all;
    snprintf(path, sizeof path, "%s/%s", where, name);
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
    for (int i = 0; i < NET_LOOPS && !v.n.rig[0].unplugged; i++) {
        bool any = false;
        for (uint32_t k = 0; k < v.n.rigs; k++)
            any = turn(&v.n, &v.n.rig[k]) || any;
        if (!any)
            sleep_ms(2); /* what is best first waits for the clock */
    }
    assert_true(v.n.rig[0].unplugged); /* quarantined */
    assert_ok(db_one_i64(v.n.c->db, &disputes, err, "SELECT COUNT(*) FROM disputes", ""));
    assert_int_equal(disputes, 0);
    assert_audit(&v.n);
    net_close(&v.n);
}

/* ---- strangers and licences ---- */

static int publish_as(struct vault *v, const struct identity *who, struct licence l)
{
    struct emac_buf object;
    uint8_t sig[ED25519_SIGNATURE_BYTES];
    set_text(l.owner, who->did);
    set_text(l.name, "quiet");
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

static int publish(struct vault *v, const struct identity *who)
{
    return publish_as(
        v, who,
        (struct licence){
            .asset = v->asset, .kind = ASSET_DATA, .commercial = true, .issued_ms = 1});
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

/* ---- models ---- */

static void model_open(struct vault *v, const char *name, bool granted)
{
    vault_open(v, name);
    s = v->n.bytes; /* where the directories of models.h go */
    const struct job job = net_job(&v->n, 1, 2);
    const struct cid open = text_base(&job.model, ST_F32, (struct entry){0});
    v->model = model_seal(v->n.bytes, &open, v->n.user.did, KEY, &v->weights);
    push(&v->n, &v->n.user, &v->model);
    push(&v->n, &v->n.user, &v->n.corpus->cid);
    assert_int_equal(call(&v->n, &v->other, "POST", "/v1/faucet", json_object(), NULL), 200);
    if (granted)
        assert_int_equal(grant_of(v, &v->weights, &v->n.user, KEY, v->broker, SEALED_FOR_BROKER),
                         200);
}

static int model_submit(struct vault *v, const struct identity *who, enum tune_kind kind,
                        json_t **reply)
{
    struct job job = net_job(&v->n, 2, 2);
    job.base = v->model;
    job.tune =
        (struct tune){.kind = kind, .layers = 1, .rank = 2, .alpha = 4, .targets = 1u << TUNE_Q};
    set_text(job.owner, who->did);
    return call(&v->n, who, "POST", "/v1/jobs", job_to_json(&job), reply);
}

static int model_evaluate(struct vault *v, const struct identity *who, const struct cid *model)
{
    char cid[CID_TEXT_MAX], data[CID_TEXT_MAX];
    cid_text(cid, model);
    cid_text(data, &v->n.corpus->cid);
    return call(&v->n, who, "POST", "/v1/jobs",
                json_pack("{s:s, s:s, s:{s:s}, s:{s:s}, s:{s:i}, s:s, s:i}", "name", "score",
                          "kind", "evaluate", "model", "cid", cid, "data", "cid", data, "recipe",
                          "micro_batch", 2, "owner", who->did, "nonce", 7),
                NULL);
}

static struct licence model_licence(const struct vault *v, uint64_t issued, bool adapters)
{
    return (struct licence){.asset = v->model,
                            .kind = ASSET_MODEL,
                            .commercial = true,
                            .issued_ms = issued,
                            .adapters = adapters};
}

/* PRIVATE-3: tasks that take the base get its key, the others none. */
static void weights_are_opened_by_leases_that_take_them(void **state)
{
    struct vault v;
    struct emac_buf box;
    struct sealed_key key;
    json_t *reply;
    uint32_t keyed = 0, bare = 0;
    char name[CID_TEXT_MAX];
    (void)state;
    model_open(&v, "weights", false);
    assert_int_equal(model_submit(&v, &v.n.user, TUNE_LORA, &reply), 404);
    assert_non_null(strstr(str_of(reply, "error"), "not granted"));
    json_decref(reply);
    assert_int_equal(grant_of(&v, &v.weights, &v.n.user, KEY, v.broker, SEALED_FOR_BROKER), 200);
    struct rigbot *r = rig_add(&v.n);
    assert_int_equal(model_submit(&v, &v.n.user, TUNE_LORA, &reply), 201);
    set_text(v.n.job, str_of(reply, "id"));
    json_decref(reply);
    cid_text(name, &v.weights);
    for (int i = 0; i < 200 && (keyed < 2 || bare < 2); i++) {
        json_t *lease = poll(&v.n, r, 100);
        if (lease == NULL) {
            deposits_push(&v.n, r);
            continue;
        }
        bool reads = lease_reads(lease);
        json_t *keys = json_object_get(lease, "keys");
        assert_true(reads == (keys != NULL));
        if (reads) {
            bytes_of(keys, name, &box);
            assert_ok(sealed_key_open(&key, box.data, box.len, r->id.secret_key, &v.weights,
                                      str_of(lease, "lease"), err));
            assert_memory_equal(key.key, KEY, sizeof KEY);
            assert_int_equal(json_object_size(keys), 1);
            emac_buf_release(&box);
        }
        keyed += reads;
        bare += !reads;
        answer(&v.n, r, lease, false, NULL);
        json_decref(lease);
        deposits_push(&v.n, r);
    }
    assert_true(keyed >= 2 && bare >= 2);
    assert_audit(&v.n);
    net_close(&v.n);
}

/* PRIVATE-4, and that nothing is paid for what is refused. */
static void weights_do_not_leave_by_training(void **state)
{
    static const enum tune_kind KINDS[] = {TUNE_FULL, TUNE_HEAD};
    struct vault v;
    json_t *reply;
    (void)state;
    model_open(&v, "leave", true);
    int64_t before = balance(&v.n, "user:");
    for (size_t i = 0; i < EMAC_COUNT(KINDS); i++) {
        assert_int_equal(model_submit(&v, &v.n.user, KINDS[i], &reply), 403);
        assert_non_null(strstr(str_of(reply, "error"), "would hand out its weights"));
        json_decref(reply);
    }
    assert_int_equal(model_submit(&v, &v.other, TUNE_LORA, &reply), 403);
    assert_non_null(strstr(str_of(reply, "error"), "published no licence"));
    json_decref(reply);
    assert_int_equal(model_evaluate(&v, &v.other, &v.model), 403);
    struct licence l = model_licence(&v, 1, false);
    assert_int_equal(publish_as(&v, &v.other, l), 403);
    assert_int_equal(publish_as(&v, &v.n.user, l), 201);
    assert_int_equal(model_submit(&v, &v.other, TUNE_LORA, &reply), 403);
    assert_non_null(strstr(str_of(reply, "error"), "allows no adapters"));
    json_decref(reply);
    assert_int_equal(balance(&v.n, "user:"), before);
    assert_int_equal(model_evaluate(&v, &v.other, &v.model), 201);
    l = model_licence(&v, 2, true);
    assert_int_equal(publish_as(&v, &v.n.user, l), 200);
    assert_int_equal(model_submit(&v, &v.other, TUNE_LORA, NULL), 201);
    assert_audit(&v.n);
    net_close(&v.n);
}

/* A key is taken when it opens what it is said to open: whoever cheats here would have rigs fail.
 */
static void keys_that_open_nothing_are_refused(void **state)
{
    struct vault v;
    struct sealed f, bad;
    struct emac_buf block;
    struct cid cid;
    (void)state;
    model_open(&v, "probe", false);
    assert_ok(sealed_load(v.n.bytes, &v.weights, &f, err));
    emac_buf_init(&block, 4096);
    for (int i = 0; i < 3; i++) {
        struct sealed data;
        bad = f;
        assert_ok(sealed_load(v.n.bytes, &v.asset, &data, err));
        if (i == 0)
            bad.size--; /* cut */
        else if (i == 1)
            bad.file = data.file; /* another's ciphertext */
        else
            bad.head = v.n.corpus->cid; /* other tensors */
        emac_buf_clear(&block);
        assert_ok(sealed_encode(&bad, &block, &cid, err));
        assert_ok(store_block_put_as(v.n.bytes, &cid, block.data, block.len, err));
        push(&v.n, &v.n.user, &cid);
        assert_int_equal(grant_of(&v, &cid, &v.n.user, KEY, v.broker, SEALED_FOR_BROKER), 400);
    }
    emac_buf_release(&block);
    net_close(&v.n);
}

/* PRIVATE-1, PRIVATE-2: an adapter is its maker's, what it rests on is not; and who puts another's
 * weights into a directory of his own gains nothing. */
static void others_directories_around_private_weights(void **state)
{
    struct vault v;
    struct model_tree tree;
    struct unixfs_link link[3];
    struct emac_buf block;
    struct cid around, adapter;
    uint64_t size;
    json_t *reply;
    (void)state;
    model_open(&v, "around", true);
    struct licence l = model_licence(&v, 1, true);
    assert_int_equal(publish_as(&v, &v.n.user, l), 201);
    assert_ok(model_tree_read(v.n.bytes, &v.model, &tree, err));
    emac_buf_init(&block, UNIXFS_DIR_MAX);
    link[0] = (struct unixfs_link){/* of another size, so that the directory is another */
                                   .name = "config.json",
                                   .cid = tree.file[MODEL_CONFIG],
                                   .tsize = 1};
    link[1] = (struct unixfs_link){
        .name = "model.safetensors", .cid = tree.file[MODEL_WEIGHTS], .tsize = 1};
    assert_ok(unixfs_directory(link, 2, &block, &around, &size, err));
    assert_ok(store_block_put_as(v.n.bytes, &around, block.data, block.len, err));
    push(&v.n, &v.other, &around);
    l.asset = around;
    assert_int_equal(publish_as(&v, &v.other, l), 403);
    const struct cid own = v.model;
    v.model = around;
    assert_int_equal(model_submit(&v, &v.other, TUNE_LORA, &reply), 403);
    assert_non_null(strstr(str_of(reply, "error"), "published no licence"));
    json_decref(reply);
    v.model = own;
    emac_buf_clear(&block);
    link[0] = (struct unixfs_link){
        .name = "adapter_config.json", .cid = tree.file[MODEL_CONFIG], .tsize = 1};
    link[1] = (struct unixfs_link){
        .name = "adapter_model.safetensors", .cid = v.n.corpus->cid, .tsize = 1};
    link[2] = (struct unixfs_link){.name = "base", .cid = v.model, .tsize = 1};
    assert_ok(unixfs_directory(link, 3, &block, &adapter, &size, err));
    assert_ok(store_block_put_as(v.n.bytes, &adapter, block.data, block.len, err));
    push(&v.n, &v.other, &adapter);
    l.asset = adapter;
    assert_int_equal(publish_as(&v, &v.other, l), 201);
    emac_buf_release(&block);
    net_close(&v.n);
}

/* ---- text ---- */

static int ticket_open(struct vault *v, const struct identity *who, struct serve_ticket **out,
                       struct emac_err *why)
{
    struct serve_request req = {.prompt = "x", .max_tokens = 3, .temperature = 1, .top_p = 1};
    char cid[CID_TEXT_MAX];
    cid_text(cid, &v->model);
    assert_ok(serve_model_find(v->n.c, cid, &req.model, err));
    assert_true(cid_equal(&req.model.params, &v->weights));
    set_text(req.payer.did, who == NULL ? "" : who->did);
    static int asked;
    snprintf(req.id, sizeof req.id, "cmpl-private-%d", asked++);
    return (int)serve_submit(v->n.c, &req, out, why);
}

/* PRIVATE-2, PRIVATE-3 */
static void text_of_a_private_model(void **state)
{
    struct vault v;
    struct serve_ticket *t = NULL;
    struct serve_piece piece = {.done = false};
    struct emac_buf box;
    struct sealed_key key;
    struct emac_err why = {0};
    char name[CID_TEXT_MAX];
    (void)state;
    model_open(&v, "text", true);
    cid_text(name, &v.model);
    assert_fails(serve_model_find(v.n.c, name, &(struct serve_model){0}, err), EMAC_NOT_FOUND, "");
    struct licence l = model_licence(&v, 1, false);
    set_text(l.allow[0], v.n.user.did);
    l.allow_count = 1; /* for himself alone */
    assert_int_equal(publish_as(&v, &v.n.user, l), 201);
    assert_int_equal(ticket_open(&v, &v.other, &t, &why), EMAC_FORBIDDEN);
    assert_int_equal(ticket_open(&v, NULL, &t, &why), EMAC_FORBIDDEN);
    struct rigbot *r = rig_add(&v.n);
    assert_int_equal(ticket_open(&v, &v.n.user, &t, &why), EMAC_OK);
    json_t *lease = poll(&v.n, r, 1000);
    assert_non_null(lease);
    assert_string_equal(str_of(lease, "kind"), "serve");
    cid_text(name, &v.weights);
    bytes_of(json_object_get(lease, "keys"), name, &box);
    assert_ok(sealed_key_open(&key, box.data, box.len, r->id.secret_key, &v.weights,
                              str_of(lease, "lease"), err));
    assert_memory_equal(key.key, KEY, sizeof KEY);
    assert_fails(sealed_key_open(&key, box.data, box.len, v.other.secret_key, &v.weights,
                                 str_of(lease, "lease"), err),
                 EMAC_FORBIDDEN, "not meant");
    emac_buf_release(&box);
    json_decref(lease);
    serve_close(v.n.c, t);
    /* The key goes while a request waits: it is told so, and no rig gets it. */
    assert_int_equal(ticket_open(&v, &v.n.user, &t, &why), EMAC_OK);
    v.asset = v.weights;
    assert_int_equal(take_back(&v, &v.n.user), 200);
    assert_null(poll(&v.n, r, 0));
    emac_buf_init(&piece.text, 4096);
    assert_fails(serve_next(v.n.c, t, 0, &piece, err), EMAC_NOT_FOUND, "not granted");
    emac_buf_release(&piece.text);
    serve_close(v.n.c, t);
    assert_int_equal(ticket_open(&v, &v.n.user, &t, &why), EMAC_NOT_FOUND);
    assert_audit(&v.n);
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
        cmocka_unit_test(weights_are_opened_by_leases_that_take_them),
        cmocka_unit_test(weights_do_not_leave_by_training),
        cmocka_unit_test(keys_that_open_nothing_are_refused),
        cmocka_unit_test(others_directories_around_private_weights),
        cmocka_unit_test(text_of_a_private_model),
    };
    return cmocka_run_group_tests_name("private", tests, NULL, NULL);
}
