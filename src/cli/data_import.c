#include "cli/data_import.h"

#include "cli/data_sealed.h"
#include "codec/gzip.h"
#include "work/dataset_import.h"

struct import {
    struct cli *c;
    struct emac_buf images[DATASET_PARTS], labels[DATASET_PARTS], text[DATASET_PARTS];
    struct emac_buf records[DATASET_PARTS];
    struct dataset set;
    bool is_private;
};

static void import_init(struct import *m, struct cli *c)
{
    m->c = c;
    dataset_init(&m->set);
    for (int i = 0; i < DATASET_PARTS; i++) {
        emac_buf_init(&m->images[i], SOURCE_BYTES_MAX);
        emac_buf_init(&m->labels[i], SOURCE_BYTES_MAX);
        emac_buf_init(&m->text[i], SOURCE_BYTES_MAX);
        emac_buf_init(&m->records[i], SOURCE_BYTES_MAX);
    }
}

static void import_release(struct import *m)
{
    dataset_release(&m->set);
    for (int i = 0; i < DATASET_PARTS; i++) {
        emac_buf_release(&m->images[i]);
        emac_buf_release(&m->labels[i]);
        emac_buf_release(&m->text[i]);
        emac_buf_release(&m->records[i]);
    }
}

enum emac_status data_source_read(struct cli *c, const char *path, struct emac_buf *out)
{
    struct emac_buf raw;
    if (path == NULL)
        return EMAC_OK;
    emac_buf_init(&raw, SOURCE_BYTES_MAX);
    enum emac_status st = c->os->file_read(c->os, path, &raw, &c->err);
    if (st == EMAC_OK && gzip_is(emac_buf_slice(&raw))) {
        st = gzip_expand(emac_buf_slice(&raw), out, &c->err);
        if (st != EMAC_OK)
            emac_wrap(&c->err, "'%s'", path);
        emac_buf_release(&raw);
    } else if (st == EMAC_OK) {
        emac_buf_release(out);
        *out = raw;
    } else {
        emac_buf_release(&raw);
    }
    return st;
}

static enum emac_status import_images(struct import *m, const struct import_args *a)
{
    struct cli *c = m->c;
    struct dataset_images from = {
        .classes = a->classes, .only = a->only, .per_class = a->per_class};
    enum emac_status st;
    EMAC_TRY(st, data_source_read(c, a->images, &m->images[DATASET_TRAIN]));
    EMAC_TRY(st, data_source_read(c, a->labels, &m->labels[DATASET_TRAIN]));
    EMAC_TRY(st, data_source_read(c, a->test_images, &m->images[DATASET_TEST]));
    EMAC_TRY(st, data_source_read(c, a->test_labels, &m->labels[DATASET_TEST]));
    for (int i = 0; i < DATASET_PARTS; i++) {
        from.images[i] = emac_buf_slice(&m->images[i]);
        from.labels[i] = emac_buf_slice(&m->labels[i]);
    }
    st = dataset_from_images(&m->set, &from, m->records, &c->err);
    if (st != EMAC_OK)
        emac_wrap(&c->err, "'%s'", a->images);
out:
    return st;
}

static enum emac_status import_table(struct import *m, const struct import_args *a)
{
    struct cli *c = m->c;
    struct dataset_table from = {.label = a->label, .skip = a->skip, .test_share = a->test_share};
    enum emac_status st;
    EMAC_TRY(st, data_source_read(c, a->csv, &m->text[DATASET_TRAIN]));
    EMAC_TRY(st, data_source_read(c, a->test_csv, &m->text[DATASET_TEST]));
    for (int i = 0; i < DATASET_PARTS; i++)
        from.text[i] = emac_buf_slice(&m->text[i]);
    st = dataset_from_table(&m->set, &from, m->records, &c->err);
    if (st != EMAC_OK)
        emac_wrap(&c->err, "'%s'", a->csv);
out:
    return st;
}

/* ---- into the store ---- */

static enum emac_status records_put(struct import *m, struct store *s, const struct emac_buf *bytes,
                                    struct cid *root)
{
    const struct sealed_source from = {.bytes = emac_buf_slice(bytes)};
    struct unixfs_link link;
    uint64_t size;
    if (m->is_private)
        return data_seal(m->c, s, &from, root, &size);
    enum emac_status st = store_bytes_add(s, from.bytes, &link, &m->c->err);
    *root = link.cid;
    return st;
}

static enum emac_status set_put(struct import *m, struct store *s, struct cid *cid)
{
    struct emac_err *err = &m->c->err;
    struct emac_buf manifest;
    enum emac_status st = EMAC_OK;
    emac_buf_init(&manifest, 2 * DATASET_BYTES_MAX);
    for (int i = 0; i < DATASET_PARTS; i++) {
        if (m->set.split[i].records > 0)
            EMAC_TRY(st, records_put(m, s, &m->records[i], &m->set.split[i].file));
    }
    EMAC_TRY(st, dataset_encode(&m->set, &manifest, cid, err));
    EMAC_TRY(st, store_block_put_as(s, cid, manifest.data, manifest.len, err));
    st = store_pin(s, "data", cid, err);
out:
    emac_buf_release(&manifest);
    return st;
}

static enum emac_status args_check(struct cli *c, const struct import_args *a)
{
    bool images = a->images != NULL, table = a->csv != NULL;
    if (images == table)
        return emac_fail(&c->err, EMAC_INVALID,
                         "import what? give --images and --labels, or --csv");
    if (images && a->labels == NULL)
        return emac_fail(&c->err, EMAC_INVALID, "--images needs --labels");
    if ((a->test_images == NULL) != (a->test_labels == NULL) || (table && a->test_images != NULL))
        return emac_fail(&c->err, EMAC_INVALID,
                         "--test-images and --test-labels go together, and with --images");
    if (images && (a->test_csv != NULL || a->label != NULL || a->skip != NULL || a->test_share > 0))
        return emac_fail(&c->err, EMAC_INVALID,
                         "--test-csv, --test-share, --label and --skip go with --csv");
    if (table && (a->labels != NULL || a->classes != NULL || a->only != NULL || a->per_class > 0))
        return emac_fail(&c->err, EMAC_INVALID,
                         "--labels, --classes, --only and --per-class go with --images");
    return EMAC_OK;
}

enum emac_status data_import(struct cli *c, struct store *s, const struct import_args *a,
                             struct cid *cid)
{
    struct import m;
    struct store_building building;
    enum emac_status st = args_check(c, a);
    if (st != EMAC_OK)
        return st;
    import_init(&m, c);
    m.is_private = a->is_private;
    st = a->csv != NULL ? import_table(&m, a) : import_images(&m, a);
    if (st == EMAC_OK) {
        store_building_begin(s, &building);
        st = set_put(&m, s, cid);
        store_building_end(s, &building);
    }
    import_release(&m);
    return st;
}

/* ---- showing ---- */

static void show(struct cli *c, const struct dataset *d)
{
    cli_say(c, "record     %u x %u x %u %s, and a class", d->height, d->width, d->channels,
            dataset_dtype_name(d->dtype));
    for (int i = 0; i < DATASET_PARTS; i++) {
        char text[CID_TEXT_MAX];
        if (d->split[i].records == 0)
            continue;
        cid_text(text, &d->split[i].file);
        cli_say(c, "%-10s %llu records, %s", dataset_part_name((enum dataset_part)i),
                (unsigned long long)d->split[i].records, text);
    }
    cli_say(c, "classes    %u", d->class_count);
    for (uint32_t i = 0; i < d->class_count; i++)
        cli_say(c, "  %-4u     %s", i, d->class_name[i]);
    for (uint32_t i = 0; i < d->norm_count; i++)
        cli_say(c, "%-10s x * %.9g + %.9g", d->column_count > 0 ? d->column[i] : "normalised",
                (double)d->scale[i], (double)d->shift[i]);
}

enum emac_status data_show(struct cli *c, struct store *s, const struct cid *cid)
{
    struct dataset d;
    enum emac_status st = dataset_load(s, cid, &d, &c->err);
    if (st == EMAC_OK) {
        show(c, &d);
        cli_result(c, dataset_to_json(&d));
    }
    dataset_release(&d);
    return st;
}
