#include "cli/data_car.h"

#include <stdlib.h>
#include <string.h>

#include "store/car.h"

#define FILE_STEP (1u << 20)

/* ---- piece ---- */

static enum emac_status file_write(struct cli *c, const char *path, struct commp_builder *b)
{
    uint64_t size;
    uint8_t *step;
    enum emac_status st = c->os->file_size(c->os, path, &size, &c->err);
    if (st == EMAC_OK)
        st = emac_alloc(&step, FILE_STEP, 1, &c->err);
    if (st != EMAC_OK)
        return st;
    for (uint64_t at = 0; at < size && st == EMAC_OK;) {
        size_t n = size - at < FILE_STEP ? (size_t)(size - at) : FILE_STEP;
        st = c->os->file_pread(c->os, path, at, step, n, &c->err);
        if (st == EMAC_OK)
            st = commp_builder_write(b, step, n, &c->err);
        at += n;
    }
    free(step);
    return st;
}

static enum emac_status file_commit(struct cli *c, const char *path, struct commp *out)
{
    struct commp_builder *b;
    enum emac_status st = commp_builder_new(false, &b, &c->err);
    if (st != EMAC_OK)
        return st;
    st = file_write(c, path, b);
    if (st == EMAC_OK)
        return commp_builder_end(b, out, NULL, &c->err);
    commp_builder_free(b);
    return st;
}

enum emac_status data_piece_of(struct cli *c, struct store *s, const struct cid *cid,
                               struct commp *out)
{
    return store_car_commit(s, cid, out, NULL, &c->err);
}

enum emac_status data_piece(struct cli *c, struct store *s, const char *name)
{
    struct cid cid;
    struct commp p;
    char v1[COMMP_TEXT_MAX], v2[COMMP_TEXT_MAX];
    bool dag = cid_parse(&cid, name, NULL) == EMAC_OK;
    enum emac_status st = dag ? cli_fetch(c, s, &cid) : EMAC_OK;
    if (st == EMAC_OK)
        st = dag ? data_piece_of(c, s, &cid, &p) : file_commit(c, name, &p);
    if (st != EMAC_OK)
        return st;
    uint64_t padded = UINT64_C(1) << (commp_height(p.size) + 5);
    commp_text_v1(v1, &p);
    commp_text(v2, &p);
    cli_say(c, "CommP        %s", v1);
    cli_say(c, "piece CID    %s", v2);
    cli_say(c, "size         %llu bytes%s", (unsigned long long)p.size, dag ? " as a CAR" : "");
    cli_say(c, "padded size  %llu bytes", (unsigned long long)padded);
    cli_result(c, json_pack("{s:s,s:s,s:I,s:I,s:b}", "commp", v1, "piece", v2, "size",
                            (json_int_t)p.size, "padded_size", (json_int_t)padded, "car", dag));
    return EMAC_OK;
}

/* ---- files ---- */

enum emac_status data_export(struct cli *c, struct store *s, const char *name, const char *path)
{
    struct cid cid;
    uint64_t size = 0;
    enum emac_status st = cid_parse(&cid, name, &c->err);
    if (st == EMAC_OK && path == NULL)
        st = emac_fail(&c->err, EMAC_INVALID, "where to? add -o FILE.car");
    if (st == EMAC_OK)
        st = cli_fetch(c, s, &cid);
    if (st == EMAC_OK)
        st = store_car_export(s, &cid, path, &size, &c->err);
    if (st != EMAC_OK)
        return st;
    cli_say(c, "wrote a CAR of %llu bytes to %s", (unsigned long long)size, path);
    cli_result(c, json_pack("{s:s,s:I,s:s}", "cid", name, "size", (json_int_t)size, "path", path));
    return EMAC_OK;
}

enum emac_status data_import_car(struct cli *c, struct store *s, const char *path, struct cid *out,
                                 uint64_t *size)
{
    enum emac_status st = store_car_import(s, path, "data", out, &c->err);
    return st == EMAC_OK ? store_car_size(s, out, size, &c->err) : st;
}
