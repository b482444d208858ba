/* Answers written as text (coordinator/reply.h), and receipts as they are listed and found. */
#include "harness.h"

#include "coordinator/checks/checks.h"
#include "coordinator/internal.h"
#include "coordinator/rigs/poll.h"

/* ---- texts ---- */

static void a_text_is_read_back_as_it_was(void **state)
{
    static const char *const TEXT[] = {"",
                                       "plain",
                                       "\"quoted\"",
                                       "back\\slash",
                                       "a\nb\tc\r\x01",
                                       "\x7f",
                                       "h\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80",
                                       "/",
                                       "\\\"",
                                       "ends with \""};
    (void)state;
    for (size_t i = 0; i < EMAC_COUNT(TEXT); i++) {
        struct emac_buf b;
        json_error_t why;
        emac_buf_init(&b, 1000);
        struct reply r = {.to = &b};
        reply_raw(&r, "[");
        reply_text(&r, TEXT[i]);
        reply_raw(&r, ",");
        reply_int(&r, INT64_MIN);
        reply_raw(&r, ",");
        reply_units(&r, INT64_MAX);
        reply_raw(&r, ",");
        reply_base64(&r, TEXT[i], strlen(TEXT[i]));
        reply_raw(&r, ",");
        reply_json(&r, json_pack("{s:s}", "k", TEXT[i]));
        reply_raw(&r, "]");
        assert_int_equal(reply_end(&r, NULL), EMAC_OK);
        json_t *read = json_loadb((const char *)b.data, b.len, 0, &why);
        if (read == NULL)
            fail_msg("%s in %s", why.text, emac_buf_str(&b));
        json_t *wanted =
            json_pack("[s, I, s, o, {s:s}]", TEXT[i], (json_int_t)INT64_MIN, "9223372036854775807",
                      text64(TEXT[i], strlen(TEXT[i])), "k", TEXT[i]);
        assert_true(json_equal(read, wanted));
        json_decref(read);
        json_decref(wanted);
        emac_buf_release(&b);
    }
}

/* Of one that does not fit, nothing is left. */
static void a_reply_fits_or_is_none(void **state)
{
    uint8_t data[30] = {0};
    (void)state;
    for (size_t room = 0; room < 60; room++) {
        struct emac_buf b;
        emac_buf_init(&b, room);
        struct reply r = {.to = &b};
        reply_text(&r, "\n");
        reply_base64(&r, data, sizeof data);
        reply_json(&r, json_pack("[i]", 7));
        enum emac_status st = reply_end(&r, NULL);
        assert_int_equal(st, room < 8 + 42 + 3 ? EMAC_TOO_LARGE : EMAC_OK);
        assert_int_equal(b.len, st == EMAC_OK ? 8 + 42 + 3 : 0);
        emac_buf_release(&b);
    }
    struct emac_buf b;
    emac_buf_init(&b, 100);
    struct reply r = {.to = &b};
    reply_json(&r, NULL);
    assert_int_equal(reply_end(&r, NULL), EMAC_NO_MEMORY);
    emac_buf_release(&b);
}

/* ---- where a task's inputs are ---- */

static void sources_agree(struct net *n, const struct task *t)
{
    struct emac_buf b;
    emac_buf_init(&b, 1u << 20);
    struct reply r = {.to = &b};
    os_mutex_lock(&n->c->lock);
    sources_reply(n->c, t, NULL, "http://here", &r);
    json_t *wanted = sources_json(n->c, t, NULL, "http://here");
    os_mutex_unlock(&n->c->lock);
    assert_int_equal(reply_end(&r, NULL), EMAC_OK);
    json_t *read = json_loadb((const char *)b.data, b.len, JSON_REJECT_DUPLICATES, NULL);
    assert_non_null(read);
    assert_true(json_equal(read, wanted));
    json_decref(read);
    json_decref(wanted);
    emac_buf_release(&b);
}

/* Few names, many, and some of them twice; a rig holds some, the depot another. */
static void a_name_has_one_list_of_sources(void **state)
{
    static const uint32_t PARTS[] = {0, 1, 5, 62, 63, 64, 65, 300};
    struct net n = {0};
    struct task_part part[300] = {0};
    struct task t = {.part = part};
    (void)state;
    net_open(&n, "sources");
    struct rigbot *a = rig_add(&n), *b = rig_add(&n);
    struct cid known = cid_of(CID_RAW, "depot", 5);
    os_mutex_lock(&n.c->lock);
    cid_set_add(&n.c->depot_known, &known);
    struct node *one = node_find(n.c, a->id.did), *two = node_find(n.c, b->id.did);
    emac_strcpy(one->url, sizeof one->url, "http://one \"quoted\"");
    emac_strcpy(two->url, sizeof two->url, "http://two");
    one->reachable = two->reachable = true;
    for (uint32_t i = 0; i < EMAC_COUNT(part); i++) {
        uint32_t name = i % 7 == 6 ? i - 3 : i;
        part[i].cid = i == 4 ? known : cid_of(CID_RAW, &name, sizeof name);
    }
    t.program = known;
    struct cid held[] = {part[0].cid, part[2].cid};
    node_holds_say(n.c, one, held, 2);
    node_holds_say(n.c, two, held, 1);
    os_mutex_unlock(&n.c->lock);
    for (size_t i = 0; i < EMAC_COUNT(PARTS); i++) {
        t.part_count = PARTS[i];
        sources_agree(&n, &t);
    }
    net_close(&n);
}

/* ---- lists ---- */

static int list_status(struct net *n, const char *after)
{
    char path[400];
    snprintf(path, sizeof path, "/v1/jobs/%s/receipts?limit=3&after=%s", n->job, after);
    return call(n, NULL, "GET", path, NULL, NULL);
}

/* Page after page: *steps tells how many changed. */
static json_t *pages(struct net *n, int *steps)
{
    json_t *all = json_array();
    char after[CID_TEXT_MAX + DID_KEY_MAX + 2] = "";
    int64_t step = -1;
    for (size_t more = 3; more == 3;) {
        char path[400];
        snprintf(path, sizeof path, "/v1/jobs/%s/receipts?limit=3&after=%s", n->job, after);
        json_t *page = get(n, path), *list = json_object_get(page, "receipts"), *r;
        size_t i;
        more = json_array_size(list);
        json_array_foreach(list, i, r)
        {
            assert_true(int_of(r, "step") >= step);
            *steps += int_of(r, "step") > step;
            step = int_of(r, "step");
            snprintf(after, sizeof after, "%s/%s", str_of(r, "task"), str_of(r, "node"));
            json_array_append(all, r);
        }
        json_decref(page);
    }
    return all;
}

static void all_are_found(struct net *n, json_t *all)
{
    json_t *r;
    size_t i;
    json_array_foreach(all, i, r)
    {
        char path[200];
        snprintf(path, sizeof path, "/v1/receipts/%s", str_of(r, "receipt"));
        json_t *one = get(n, path);
        assert_string_equal(str_of(one, "receipt"), str_of(r, "receipt"));
        assert_string_equal(str_of(one, "task"), str_of(r, "task"));
        assert_string_equal(str_of(one, "node"), str_of(r, "node"));
        json_decref(one);
    }
}

/* NAMES-1: the last that is found by the table of names. */
static int64_t filed(struct net *n)
{
    int64_t id;
    assert_ok(db_one_i64(n->c->db, &id, err, "SELECT id FROM receipts_filed", ""));
    return id;
}

/* It was filed, and gets another name. */
static void renamed_is_found(struct net *n, json_t *r)
{
    static struct ctask t;
    static const char NAME[] = "bafyreianothernamethatisaslongasoneofacid22222222222222222";
    struct db *db = n->c->db;
    int64_t id = 0, now = 0;
    t.cid = cid_from_text(str_of(r, "task"));
    t.step = (uint32_t)int_of(r, "step");
    assert_ok(receipt_find(n->c, str_of(r, "receipt"), &id, err));
    assert_ok(db_begin(db, err));
    assert_ok(db_exec(db, err, "UPDATE receipts SET cid = ? WHERE id = ?", "ti", NAME, id));
    assert_ok(receipt_renamed(n->c, n->job, &t, str_of(r, "node"), NAME, err));
    assert_ok(db_commit(db, err));
    assert_ok(receipt_find(n->c, NAME, &now, err));
    assert_int_equal(now, id);
    assert_int_equal(receipt_find(n->c, str_of(r, "receipt"), &now, NULL), EMAC_NOT_FOUND);
    assert_int_equal(receipt_find(n->c, "short", &now, NULL), EMAC_NOT_FOUND);
}

static void receipts_are_listed_by_pages_and_found_by_name(void **state)
{
    struct net n = {0};
    char path[200];
    int steps = 0;
    (void)state;
    net_open(&n, "receipts");
    rig_add(&n);
    rig_add(&n);
    struct job job = net_job(&n, 3, 2);
    job.check = 0.5;
    net_submit(&n, &job);
    run_until(&n, "succeeded");
    json_t *all = pages(&n, &steps);
    snprintf(path, sizeof path, "/v1/jobs/%s/receipts?limit=1000", n.job);
    json_t *whole = get(&n, path);
    assert_true(json_equal(all, json_object_get(whole, "receipts")));
    assert_true(steps >= 3 && json_array_size(all) > 6);
    all_are_found(&n, all); /* by looking through them */
    receipt_names_file(n.c, (uint32_t)json_array_size(all) + 1);
    assert_int_equal(filed(&n), 0);
    receipt_names_file(n.c, (uint32_t)json_array_size(all));
    assert_int_equal(filed(&n), json_array_size(all));
    all_are_found(&n, all);
    snprintf(path, sizeof path, "/v1/receipts/%s", str_of(json_array_get(all, 0), "task"));
    assert_int_equal(call(&n, NULL, "GET", path, NULL, NULL), 404); /* a task's name is none's */
    assert_int_equal(list_status(&n, "nonsense"), 400);
    assert_int_equal(list_status(&n, "nonsense/did:key:z6Mk"), 400);
    assert_audit(&n);
    renamed_is_found(&n, json_array_get(all, 0));
    assert_audit(&n);
    json_decref(all);
    json_decref(whole);
    net_close(&n);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_text_is_read_back_as_it_was),
        cmocka_unit_test(a_reply_fits_or_is_none),
        cmocka_unit_test(a_name_has_one_list_of_sources),
        cmocka_unit_test(receipts_are_listed_by_pages_and_found_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
