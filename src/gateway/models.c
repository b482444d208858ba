/* GET /v1/models and /v1/models/{model*}. */
#include "gateway/handlers.h"
#include "gateway/reply.h"

#define MODELS_MAX 1000

struct listing {
    json_t *list, *seen; /* seen: the ids in the list; one model may come from several jobs */
};

static void model_add(void *ctx, const struct serve_model *m)
{
    struct listing *l = ctx;
    char id[CID_TEXT_MAX];
    cid_text(id, &m->model);
    if (json_object_get(l->seen, id) != NULL)
        return;
    json_object_set_new(l->seen, id, json_true());
    json_array_append_new(l->list, gateway_model(m));
}

enum emac_status gateway_models_get(void *ctx, const struct http_request *req,
                                    struct http_response *res, struct emac_err *err)
{
    struct listing l = {json_array(), json_object()};
    enum emac_status st = serve_models_each(ctx, MODELS_MAX, model_add, &l, err);
    if (st == EMAC_OK)
        st = gateway_json_append(&res->body,
                                 json_pack("{s:s, s:O}", "object", "list", "data", l.list), err);
    json_decref(l.list);
    json_decref(l.seen);
    return st;
}

enum emac_status gateway_model_get(void *ctx, const struct http_request *req,
                                   struct http_response *res, struct emac_err *err)
{
    struct serve_model m;
    enum emac_status st = serve_model_find(ctx, http_path_param(req, "model"), &m, err);
    int64_t rig = 0, royalty = 0;
    if (st == EMAC_OK)
        st = serve_price(ctx, &m, &rig, &royalty, err);
    if (st == EMAC_OK)
        return gateway_json_append(&res->body, gateway_model_priced(&m, rig, royalty), err);
    if (st != EMAC_NOT_FOUND)
        return st;
    http_response_error_param(res, err, "model");
    return EMAC_OK;
}
