/* The receiving side of exchange_push. */
#include <jansson.h>
#include <stdlib.h>

#include "codec/car.h"
#include "exchange/internal.h"

static enum emac_status keep_block(void *ctx, const struct cid *cid, const void *data, size_t n,
                                   struct emac_err *err)
{
    return store_block_put_checked(ctx, cid, data, n, err);
}

/* Keep the blocks of a whole CAR. What came before a bad one stays, for each is what it says. */
static enum emac_status car_keep(struct store *s, struct emac_slice body, struct emac_err *err)
{
    struct car_reader *r;
    enum emac_status st = car_reader_new(&r, keep_block, s, err);
    if (st != EMAC_OK)
        return st;
    st = body.len > 0 ? car_reader_push(r, body.data, body.len, err) : EMAC_OK;
    if (st == EMAC_OK)
        return car_reader_end(r, err);
    car_reader_free(r);
    return st;
}

static enum emac_status pin_if_whole(struct store *s, const struct cid *root, const char *pin,
                                     bool *whole, struct cid *missing, struct emac_err *err)
{
    size_t count;
    enum emac_status st = store_dag_missing(s, root, missing, 1, &count, err);
    *whole = st == EMAC_OK && count == 0;
    return *whole && pin != NULL ? store_pin(s, pin, root, err) : st;
}

/* No collection comes between the blocks and their pin. */
static enum emac_status car_take(struct store *s, const struct cid *root, struct emac_slice body,
                                 const char *pin, bool *whole, struct cid *missing,
                                 struct emac_err *err)
{
    struct store_building building;
    store_building_begin(s, &building);
    enum emac_status st = car_keep(s, body, err);
    if (st == EMAC_OK)
        st = pin_if_whole(s, root, pin, whole, missing, err);
    store_building_end(s, &building);
    return st;
}

enum emac_status exchange_receive_car(struct store *s, const struct cid *root,
                                      struct emac_slice body, const char *pin, struct emac_err *err)
{
    struct cid missing;
    bool whole;
    enum emac_status st = car_take(s, root, body, pin, &whole, &missing, err);
    if (st == EMAC_OK && !whole)
        st = emac_fail(err, EMAC_INVALID, "the CAR is not all of '%s': block '%s' is missing",
                       exchange_name_of(root).text, exchange_name_of(&missing).text);
    return st;
}

/* Takes j. */
static enum emac_status json_answer(json_t *j, struct http_response *res, struct emac_err *err)
{
    char *text = j != NULL ? json_dumps(j, JSON_COMPACT) : NULL;
    json_decref(j);
    if (text == NULL)
        return emac_fail(err, EMAC_NO_MEMORY, "out of memory for an answer");
    enum emac_status st = emac_buf_printf(&res->body, err, "%s\n", text);
    free(text);
    return st;
}

enum emac_status exchange_depot_post(struct store *s, const struct http_request *req,
                                     const char *pin, struct http_response *res,
                                     struct emac_err *err)
{
    struct cid root, missing;
    bool whole;
    enum emac_status st;
    EMAC_TRY(st, exchange_path_cid(req, &root, err));
    EMAC_TRY(st, car_take(s, &root, req->body, pin, &whole, &missing, err));
    st = json_answer(json_pack("{s:b}", "complete", whole), res, err);
out:
    return st;
}

enum emac_status exchange_depot_missing(struct store *s, const struct http_request *req,
                                        struct http_response *res, struct emac_err *err)
{
    struct cid root, *missing = NULL;
    size_t count;
    json_t *list = json_array();
    enum emac_status st;
    EMAC_TRY(st, exchange_path_cid(req, &root, err));
    EMAC_TRY(st, emac_alloc(&missing, DEPOT_MISSING_MAX, sizeof *missing, err));
    EMAC_TRY(st, store_dag_missing(s, &root, missing, DEPOT_MISSING_MAX, &count, err));
    for (size_t i = 0; i < count; i++)
        json_array_append_new(list, json_string(exchange_name_of(&missing[i]).text));
    st = json_answer(json_pack("{s:O}", "missing", list), res, err);
out:
    json_decref(list);
    free(missing);
    return st;
}
