/* Data sets: the manifest's one form, and what importers make of people's files. */
#include "fixture.h"

#include <stdio.h>

#include "base/assert.h"
#include "work/dataset_import.h"

static const char *const CLASSES[] = {"no", "yes"};

/* Two small images of 1 x 2 x 1. */
static struct dataset small_set(void)
{
    struct dataset d;
    dataset_init(&d);
    d.dtype = DATASET_U8;
    d.height = 1;
    d.width = 2;
    d.channels = 1;
    d.class_count = 2;
    d.class_name = arena_calloc(&d.arena, 2, sizeof *d.class_name);
    d.class_name[0] = CLASSES[0];
    d.class_name[1] = CLASSES[1];
    assert_ok(dataset_norms_new(&d, 1, err));
    d.scale[0] = 0.5f;
    d.shift[0] = -1;
    d.split[DATASET_TRAIN] = (struct dataset_split){cid_of(CID_RAW, "train", 5), 2};
    return d;
}

static void test_the_form_is_fixed(void **state)
{
    struct dataset d = small_set(), back;
    struct emac_buf bytes, again;
    struct cid cid;
    char text[CID_TEXT_MAX];
    emac_buf_init(&bytes, DATASET_BYTES_MAX);
    emac_buf_init(&again, DATASET_BYTES_MAX);
    assert_ok(dataset_encode(&d, &bytes, &cid, err));
    cid_text(text, &cid);
    assert_string_equal(text, "bafyreiddid6krwe654pwkc4mwlfg4ybddghflbmfqnu264a2xqryv4isue");
    assert_ok(dataset_decode(&back, bytes.data, bytes.len, err));
    assert_ok(dataset_encode(&back, &again, NULL, err));
    assert_int_equal(bytes.len, again.len);
    assert_memory_equal(bytes.data, again.data, bytes.len);
    assert_int_equal(dataset_record_bytes(&back), 4);
    assert_int_equal(dataset_bytes(&back), 8);
    emac_buf_release(&bytes);
    emac_buf_release(&again);
    dataset_release(&back);
    dataset_release(&d);
}

static void test_rules_are_kept(void **state)
{
    struct emac_buf out;
    emac_buf_init(&out, DATASET_BYTES_MAX);
#define BROKEN(change, says)                                                                       \
    do {                                                                                           \
        struct dataset d = small_set();                                                            \
        change;                                                                                    \
        assert_fails(dataset_encode(&d, &out, NULL, err), EMAC_INVALID, says);                     \
        dataset_release(&d);                                                                       \
    } while (0)
    BROKEN(d.height = 0, "height must be from 1 to 4096, not 0");
    BROKEN(d.width = 5000, "width must be from");
    BROKEN(d.channels = d.height = d.width = 4096, "features of a record");
    BROKEN(d.class_count = 1, "number of classes must be from 2");
    BROKEN(d.class_name[1] = "", "name 1 of 'classes' has 0 bytes");
    BROKEN(d.norm_count = 3, "must hold 1 or one for each");
    BROKEN(d.scale[0] = 1.0f / 0.0f, "not finite");
    BROKEN(d.split[DATASET_TRAIN].records = 0, "splits.train.records must be from 1");
    BROKEN(d.split[DATASET_TEST].records = 1, "split 'test' must have records and their file");
    BROKEN((d.column_count = 2, d.column = d.class_name), "'columns' holds 2 names for 1 channels");
#undef BROKEN
    assert_int_equal(out.len, 0);
    emac_buf_release(&out);
}

static void test_damage_is_never_silent(void **state)
{
    struct draw draw = {.seed = 41};
    struct dataset d = small_set(), back;
    struct emac_buf clean, again;
    emac_buf_init(&clean, DATASET_BYTES_MAX);
    emac_buf_init(&again, DATASET_BYTES_MAX);
    assert_ok(dataset_encode(&d, &clean, NULL, err));
    for (int round = 0; round < 5000; round++) {
        uint64_t at = draw.at;
        uint8_t bytes[1024];
        struct emac_err why = {0};
        memcpy(bytes, clean.data, clean.len);
        for (uint32_t i = 1 + draw_below(&draw, 3); i > 0; i--)
            bytes[draw_below(&draw, (uint32_t)clean.len)] ^= (uint8_t)(1u << draw_below(&draw, 8));
        enum emac_status st = dataset_decode(&back, bytes, clean.len, &why);
        emac_buf_clear(&again);
        if (st == EMAC_OK && (dataset_encode(&back, &again, NULL, NULL) != EMAC_OK ||
                              again.len != clean.len || memcmp(again.data, bytes, again.len) != 0))
            fail_msg("seed 41 at %llu: another form was accepted", (unsigned long long)at);
        assert_true(st == EMAC_OK || why.text[0] != '\0');
        dataset_release(&back);
    }
    emac_buf_release(&clean);
    emac_buf_release(&again);
    dataset_release(&d);
}

static void test_records_are_normalised(void **state)
{
    static const uint8_t RECORD[] = {0, 255, 1, 0}, WRONG[] = {0, 0, 2, 0};
    struct dataset d = small_set();
    float x[2];
    int32_t label;
    assert_ok(dataset_record(&d, RECORD, x, &label, err));
    assert_true(x[0] == -1 && x[1] == 126.5f && label == 1);
    assert_fails(dataset_record(&d, WRONG, x, &label, err), EMAC_INVALID, "of class 2");
    dataset_release(&d);
}

/* ---- importers ---- */

struct imported {
    struct dataset d;
    struct emac_buf records[DATASET_PARTS];
};

static void imported_init(struct imported *m)
{
    dataset_init(&m->d);
    emac_buf_init(&m->records[0], 1 << 20);
    emac_buf_init(&m->records[1], 1 << 20);
}

static void imported_release(struct imported *m)
{
    dataset_release(&m->d);
    emac_buf_release(&m->records[0]);
    emac_buf_release(&m->records[1]);
}

#define IMAGES EMAC_SLICE("\0\0\10\3\0\0\0\2\0\0\0\1\0\0\0\2abcd", 20)
#define LABELS EMAC_SLICE("\0\0\10\1\0\0\0\2\1\0", 10)
#define ONE    EMAC_SLICE("\0\0\10\3\0\0\0\1\0\0\0\1\0\0\0\2xy", 18)
#define LABEL  EMAC_SLICE("\0\0\10\1\0\0\0\1\1", 9)

static void test_images(void **state)
{
    struct imported m;
    const struct dataset_images from = {.images = {IMAGES, ONE}, .labels = {LABELS, LABEL}};
    imported_init(&m);
    assert_ok(dataset_from_images(&m.d, &from, m.records, err));
    assert_int_equal(m.d.width, 2);
    assert_int_equal(m.d.class_count, 2);
    assert_string_equal(m.d.class_name[1], "1");
    assert_int_equal(m.d.split[DATASET_TRAIN].records, 2);
    assert_int_equal(m.records[DATASET_TRAIN].len, 8);
    assert_memory_equal(m.records[DATASET_TRAIN].data, "ab\1\0cd\0\0", 8);
    assert_memory_equal(m.records[DATASET_TEST].data, "xy\1\0", 4);
    /* mean 98.5, deviation sqrt(1.25) */
    assert_true(m.d.scale[0] > 0.8944f && m.d.scale[0] < 0.8945f);
    assert_true(m.d.shift[0] > -88.11f && m.d.shift[0] < -88.09f);
    imported_release(&m);
}

static void test_images_that_do_not_fit(void **state)
{
    static const struct {
        struct dataset_images from;
        const char *says;
    } CASES[] = {
        {{{IMAGES}, {LABEL}, NULL}, "2 images and 1 labels (train)"},
        {{{LABELS}, {LABELS}, NULL}, "images (train) have 1 dimensions"},
        {{{IMAGES}, {IMAGES}, NULL}, "labels (train) have 3 dimensions"},
        {{{IMAGES}, {{0}}, NULL}, "labels (train): this is no IDX file"},
        {{{IMAGES}, {LABELS}, "one"}, "label 0 (train) is 1 and there are 1 classes"},
        {{{IMAGES, EMAC_SLICE("\0\0\10\3\0\0\0\1\0\0\0\2\0\0\0\1xy", 18)}, {LABELS, LABEL}, NULL},
         "not of the training images' size"},
    };
    for (size_t i = 0; i < EMAC_COUNT(CASES); i++) {
        struct imported m;
        struct emac_err err = {0};
        imported_init(&m);
        if (dataset_from_images(&m.d, &CASES[i].from, m.records, &err) == EMAC_OK ||
            strstr(err.text, CASES[i].says) == NULL)
            fail_msg("case %zu: '%s'", i, err.text);
        imported_release(&m);
    }
}

static struct dataset_table table_of(const char *train, const char *test)
{
    return (struct dataset_table){.text = {EMAC_SLICE_STR(train), EMAC_SLICE_STR(test)}};
}

static void test_tables(void **state)
{
    struct imported m;
    float v[2];
    struct dataset_table from =
        table_of("id,w,kind,h\nx1,1,10,2\nx2,3, 9,6\nx3,2,10,-1e1\n", "id,w,kind,h\n,1,10,0.5\n");
    from.label = "kind";
    from.skip = "id";
    imported_init(&m);
    assert_ok(dataset_from_table(&m.d, &from, m.records, err));
    assert_int_equal(m.d.channels, 2);
    assert_string_equal(m.d.column[1], "h");
    assert_int_equal(m.d.class_count, 2);
    assert_string_equal(m.d.class_name[0], " 9"); /* as integers, 9 before 10 */
    assert_string_equal(m.d.class_name[1], "10");
    assert_int_equal(m.d.norm_count, 2);
    assert_int_equal(m.records[DATASET_TRAIN].len, 30);
    memcpy(v, m.records[DATASET_TRAIN].data + 20, sizeof v);
    assert_true(v[0] == 2 && v[1] == -10);
    assert_int_equal(m.records[DATASET_TRAIN].data[28], 1);
    assert_int_equal(m.records[DATASET_TRAIN].data[18], 0);
    assert_int_equal(m.d.split[DATASET_TEST].records, 1);
    imported_release(&m);
}

static void test_a_share_of_rows_is_drawn(void **state)
{
    struct imported m;
    struct emac_buf text;
    emac_buf_init(&text, 1 << 16);
    emac_buf_printf(&text, NULL, "x,y\n");
    for (int i = 0; i < 100; i++)
        emac_buf_printf(&text, NULL, "%d,%s\n", i, i < 50 ? "a" : "b");
    struct dataset_table from = table_of(emac_buf_str(&text), "");
    from.test_share = 0.25;
    imported_init(&m);
    assert_ok(dataset_from_table(&m.d, &from, m.records, err));
    assert_int_equal(m.d.split[DATASET_TRAIN].records, 75);
    assert_int_equal(m.d.split[DATASET_TEST].records, 25);
    unsigned of_a = 0;
    for (size_t at = 0; at < m.records[DATASET_TEST].len; at += 6)
        of_a += m.records[DATASET_TEST].data[at + 4] == 0;
    assert_in_range(of_a, 5, 20); /* of both classes, though the file is sorted */
    imported_release(&m);
    emac_buf_release(&text);
}

static void test_tables_that_do_not_fit(void **state)
{
    static const struct {
        const char *train, *test, *label, *skip, *says;
        double share;
    } CASES[] = {
        {"", "", NULL, NULL, "train table: the table is empty"},
        {"a,b\n", "", NULL, NULL, "has no rows"},
        {"a\n1\n", "", NULL, NULL, "0 columns of features"},
        {"a,b\n1,x\n", "", "c", NULL, "line 1 names no column 'c'"},
        {"a,b\n1,x\n", "", NULL, "z", "line 1 names no column 'z'"},
        {"a,b\n1,x\n2\n", "", NULL, NULL, "line 3 has 1 cells and the first row 2"},
        {"a,b\n1,x\nseven,y\n", "", NULL, NULL, "line 3: 'seven' in column 'a' is not a number"},
        {"a,b\nnan,x\n", "", NULL, NULL, "line 2: 'nan' in column 'a'"},
        {"a,b\n1e39,x\n", "", NULL, NULL, "line 2: '1e39' in column 'a'"},
        {"a,b\n,x\n", "", NULL, NULL, "line 2: '' in column 'a'"},
        {"a,b\n1,\n", "", NULL, NULL, "line 2: class '' is empty"},
        {"a,b\n1,x\n", "a,c\n1,y\n", NULL, NULL,
         "test table: line 2: no training row is of class 'y'"},
        {"a,b\n1,x\n", "c,b\n1,x\n", NULL, NULL, "test table: line 1: the columns are not those"},
        {"a,b\n1,x\n", "a,b\n1,x\n", NULL, NULL, "is not drawn when there is a test table", 0.5},
        {"a,b\n1,x\n", "", NULL, NULL, "from 0 to 0.9", 0.95},
    };
    for (size_t i = 0; i < EMAC_COUNT(CASES); i++) {
        struct imported m;
        struct emac_err err = {0};
        struct dataset_table from = table_of(CASES[i].train, CASES[i].test);
        from.label = CASES[i].label;
        from.skip = CASES[i].skip;
        from.test_share = CASES[i].share;
        imported_init(&m);
        if (dataset_from_table(&m.d, &from, m.records, &err) == EMAC_OK ||
            strstr(err.text, CASES[i].says) == NULL)
            fail_msg("case %zu: '%s', wanted '%s'", i, err.text, CASES[i].says);
        imported_release(&m);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_form_is_fixed),
        cmocka_unit_test(test_rules_are_kept),
        cmocka_unit_test(test_damage_is_never_silent),
        cmocka_unit_test(test_records_are_normalised),
        cmocka_unit_test(test_images),
        cmocka_unit_test(test_images_that_do_not_fit),
        cmocka_unit_test(test_tables),
        cmocka_unit_test(test_a_share_of_rows_is_drawn),
        cmocka_unit_test(test_tables_that_do_not_fit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
