/* GET /v1/models: the models of jobs that succeeded. */
#include <string.h>

#include "gateway/request.h"

#define MODELS_MAX 1000

static json_t *model_json(const struct serve_model *m)
{
    char cid[CID_TEXT_MAX];
    cid_text(cid, &m->model);
    return json_pack("{s:s, s:s, s:I, s:s, s:s, s:s}", "id", cid, "object", "model", "created",
                     (json_int_t)(m->created_ms / 1000), "owned_by", m->owner, "job", m->job,
                     "name", m->name);
}

static void list_each(void *ctx, const struct serve_model *m)
{
    json_array_append_new(ctx, model_json(m));
}

static int dump(const char *buffer, size_t size, void *data)
{
    return emac_buf_append(data, buffer, size, NULL) == EMAC_OK ? 0 : -1;
}

static enum emac_status reply(struct http_response *res, json_t *body, struct emac_err *err)
{
    int rc = body ? json_dump_callback(body, dump, &res->body, JSON_COMPACT) : -1;
    json_decref(body);
    return rc == 0 ? EMAC_OK : emac_fail(err, EMAC_NO_MEMORY, "no memory for the answer");
}

enum emac_status gateway_models_get(void *ctx, const struct http_request *req,
                                    struct http_response *res, struct emac_err *err)
{
    json_t *list = json_array();
    enum emac_status st = serve_models_each(ctx, MODELS_MAX, list_each, list, err);
    if (st == EMAC_OK)
        return reply(res, json_pack("{s:s, s:o}", "object", "list", "data", list), err);
    json_decref(list);
    return st;
}

enum emac_status gateway_model_get(void *ctx, const struct http_request *req,
                                   struct http_response *res, struct emac_err *err)
{
    struct serve_model m;
    enum emac_status st = serve_model_find(ctx, http_path_param(req, "model"), &m, err);
    return st == EMAC_OK ? reply(res, model_json(&m), err) : st;
}
