/* Licences: one encoding, strict files, terms that hold, splits that lose nothing. */
#include "fixture.h"

#include "codec/yaml.h"
#include "ledger/ledger.h"
#include "work/licence.h"

static char OWNER[DID_KEY_MAX], OTHER[DID_KEY_MAX];

static int setup(void **state)
{
    uint8_t key[ED25519_PUBLIC_BYTES] = {1};
    crypto_did_key(OWNER, key);
    key[0] = 2;
    crypto_did_key(OTHER, key);
    return 0;
}

static enum emac_status from_text(const char *text, struct licence *out, struct emac_err *err)
{
    json_t *root = NULL;
    enum emac_status st = yaml_to_json(text, strlen(text), &root, err);
    if (st == EMAC_OK)
        st = licence_from_json(out, root, err);
    json_decref(root);
    strcpy(out->owner, OWNER);
    out->issued_ms = 1000;
    return st;
}

#define ASSET "asset: bafybeihg4anoucrjm24jeyyuwjm6crtbjtkk3xlhiemcsz377mgubyehla\n"
#define HEAD  ASSET "kind: model\nname: kjv\n"

static void test_a_file_round_trips(void **state)
{
    struct licence l, back;
    struct emac_buf a, b;
    struct cid cid, again;
    assert_ok(from_text(HEAD
                        "price: {once: \"2\", train: \"0.5\"}\nshare: 0.05\ncommercial: false\n"
                        "expires: 2028-03-01\nattribution: by us\n",
                        &l, err));
    assert_int_equal(l.once_units, 2 * LEDGER_UNITS_PER_EMAC);
    assert_int_equal(l.train_units, LEDGER_UNITS_PER_EMAC / 2);
    assert_int_equal(l.share_ppm, 50000);
    assert_false(l.commercial);
    assert_true(l.expires_ms == 1835481600000); /* date -u -d 2028-03-01 +%s */
    strcpy(l.allow[l.allow_count++], OTHER);
    emac_buf_init(&a, LICENCE_BYTES_MAX);
    emac_buf_init(&b, LICENCE_BYTES_MAX);
    assert_ok(licence_encode(&l, &a, &cid, err));
    assert_ok(licence_decode(&back, a.data, a.len, err));
    assert_ok(licence_encode(&back, &b, &again, err));
    assert_true(cid_equal(&cid, &again));
    assert_memory_equal(a.data, b.data, a.len);
    for (size_t n = 0; n < a.len; n++)
        assert_int_not_equal(licence_decode(&back, a.data, n, NULL), EMAC_OK);
    emac_buf_release(&a);
    emac_buf_release(&b);
}

/* The CIDs come from a dag-cbor writer in Python. */
static void test_older_licences_keep_their_names(void **state)
{
    static const struct {
        const char *price, *cid;
    } ROWS[] = {
        {"price: {once: \"2\", train: \"0.5\"}\nshare: 0.05\n",
         "bafyreie2xlwxo25aapa5tp6kc3zqoc2qyeiesly3x26yy7yiyzdrdmmchi"},
        {"price: {once: \"2\", train: \"0.5\", inference: \"0.1\"}\nshare: 0.05\n",
         "bafyreieyiqu6eo7mrc5i6lsb7sr7cpsui3nk6efsyhhivd2mb4r5x77iim"},
        {"price: {once: \"2\", train: \"0.5\"}\nshare: 0.05\nadapters: false\n",
         "bafyreie2xlwxo25aapa5tp6kc3zqoc2qyeiesly3x26yy7yiyzdrdmmchi"},
        {"price: {once: \"2\", train: \"0.5\"}\nshare: 0.05\nadapters: true\n",
         "bafyreici7sbl26u2ispwenjpuaz3ffrqmoyqwwqz74fyeux6os6qu2cuqq"},
    };
    for (size_t i = 0; i < sizeof ROWS / sizeof *ROWS; i++) {
        char text[512], cid_is[CID_TEXT_MAX];
        struct licence l, back;
        struct emac_buf b;
        struct cid cid;
        snprintf(text, sizeof text, HEAD "%s", ROWS[i].price);
        assert_ok(from_text(text, &l, err));
        emac_buf_init(&b, LICENCE_BYTES_MAX);
        assert_ok(licence_encode(&l, &b, &cid, err));
        cid_text(cid_is, &cid);
        assert_string_equal(cid_is, ROWS[i].cid);
        assert_ok(licence_decode(&back, b.data, b.len, err));
        assert_true(back.inference_units == l.inference_units && back.adapters == l.adapters);
        emac_buf_release(&b);
    }
}

static void test_bad_files_are_refused(void **state)
{
    static const struct {
        const char *text, *says;
    } BAD[] = {
        {"kind: model\nname: x\n", "'asset'"},
        {ASSET "name: x\n", "'kind'"},
        {ASSET "kind: song\nname: x\n", "'model' or 'data'"},
        {ASSET "kind: model\n", "'name'"},
        {HEAD "royalty: 1\n", "unknown field 'royalty'"},
        {HEAD "price: 3\n", "'price' must be a map"},
        {HEAD "price: {train: 3}\n", "'price.train'"},
        {HEAD "price: {inference: \"0.0000000001\"}\n", "amount"},
        {HEAD "price: {each: \"3\"}\n", "unknown field 'each'"},
        {HEAD "price: {train: \"-3\"}\n", "amount"},
        {HEAD "share: 0.6\n", "'share'"},
        {HEAD "share: -0.1\n", "'share'"},
        {HEAD "commercial: maybe\n", "'commercial'"},
        {HEAD "adapters: maybe\n", "'adapters'"},
        {HEAD "expires: 2027-02-29\n", "'expires'"},
        {HEAD "expires: 2027-1-1\n", "'expires'"},
        {HEAD "expires: 2027-13-01\n", "'expires'"},
        {HEAD "allow: someone\n", "'allow'"},
        {"- 1\n", "must be a map"},
    };
    struct licence l;
    for (size_t i = 0; i < sizeof BAD / sizeof *BAD; i++) {
        struct emac_err why = {0};
        assert_int_not_equal(from_text(BAD[i].text, &l, &why), EMAC_OK);
        if (strstr(why.text, BAD[i].says) == NULL)
            fail_msg("file %zu: '%s' does not say \"%s\"", i, why.text, BAD[i].says);
    }
}

static void test_bad_objects_are_refused(void **state)
{
    struct licence good, l;
    struct emac_buf b;
    assert_ok(from_text(HEAD, &good, err));
    emac_buf_init(&b, LICENCE_BYTES_MAX);
    for (int i = 0; i < 7; i++) {
        l = good;
        switch (i) {
        case 0:
            l.once_units = -1;
            break;
        case 1:
            l.train_units = LICENCE_PRICE_MAX + 1;
            break;
        case 2:
            l.share_ppm = LICENCE_SHARE_MAX + 1;
            break;
        case 3:
            strcpy(l.owner, "me");
            break;
        case 4:
            l.expires_ms = l.issued_ms;
            break;
        case 5:
            strcpy(l.name, "two\nlines");
            break;
        case 6:
            strcpy(l.allow[l.allow_count++], "did:key:zNobody");
            break;
        }
        if (licence_encode(&l, &b, NULL, NULL) != EMAC_INVALID)
            fail_msg("object %d was taken", i);
    }
    emac_buf_release(&b);
}

static void test_terms_hold(void **state)
{
    struct licence l;
    struct licence_use use = {.did = OTHER, .commercial = true, .at_ms = 5000};
    assert_ok(from_text(HEAD, &l, err));
    assert_ok(licence_permits(&l, &use, err));
    l.once_units = 1;
    assert_fails(licence_permits(&l, &use, err), EMAC_PAYMENT, "bought");
    use.bought = true;
    assert_ok(licence_permits(&l, &use, err));
    l.expires_ms = 5000;
    assert_fails(licence_permits(&l, &use, err), EMAC_FORBIDDEN, "expired");
    l.expires_ms = 5001;
    assert_ok(licence_permits(&l, &use, err));
    l.commercial = false;
    assert_fails(licence_permits(&l, &use, err), EMAC_FORBIDDEN, "commercial");
    use.commercial = false;
    assert_ok(licence_permits(&l, &use, err));
    strcpy(l.allow[l.allow_count++], OWNER);
    assert_fails(licence_permits(&l, &use, err), EMAC_FORBIDDEN, "other users");
    use.did = OWNER;
    use.bought = false;
    assert_ok(licence_permits(&l, &use, err)); /* his own */
}

static void test_costs_are_rounded_up_and_checked(void **state)
{
    struct licence l = {.train_units = 3, .name = "x"};
    int64_t units;
    assert_ok(licence_cost(&l, 0, &units, err));
    assert_int_equal(units, 0);
    assert_ok(licence_cost(&l, 1, &units, err));
    assert_int_equal(units, 1);
    assert_ok(licence_cost(&l, 1000000, &units, err));
    assert_int_equal(units, 3);
    assert_ok(licence_cost(&l, 1000001, &units, err));
    assert_int_equal(units, 4);
    l.train_units = LICENCE_PRICE_MAX;
    assert_fails(licence_cost(&l, UINT64_MAX, &units, err), EMAC_TOO_LARGE, "cannot be paid");
}

static void test_a_split_loses_nothing(void **state)
{
    struct draw d = {.seed = 7};
    for (int i = 0; i < 200000; i++) {
        uint32_t count = draw_below(&d, 9), share[8];
        int64_t parent[8], own, dust, sum = 0;
        int64_t income = (int64_t)(draw_below(&d, 2) ? draw_below(&d, 1000)
                                                     : draw_below(&d, 1u << 30) * 8000000000ull);
        uint64_t asked = 0;
        for (uint32_t k = 0; k < count; k++)
            asked += share[k] = draw_below(&d, LICENCE_SHARE_MAX + 1);
        licence_split(income, share, count, parent, &own, &dust);
        for (uint32_t k = 0; k < count; k++) {
            sum += parent[k];
            if (parent[k] < 0 ||
                (__int128)parent[k] * LICENCE_SHARE_ONE > (__int128)income * share[k])
                fail_msg("split %d: parent %u got more than its share", i, k);
        }
        if (sum + own + dust != income || own < 0 || dust < 0 || dust > (int64_t)count)
            fail_msg("split %d: %lld units of %lld", i, (long long)(sum + own + dust),
                     (long long)income);
        if ((__int128)own * 2 < (__int128)income - 2)
            fail_msg("split %d: the owner got less than half", i);
        assert_true(asked > 0 || sum == 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_file_round_trips),
        cmocka_unit_test(test_older_licences_keep_their_names),
        cmocka_unit_test(test_bad_files_are_refused),
        cmocka_unit_test(test_bad_objects_are_refused),
        cmocka_unit_test(test_terms_hold),
        cmocka_unit_test(test_costs_are_rounded_up_and_checked),
        cmocka_unit_test(test_a_split_loses_nothing),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
