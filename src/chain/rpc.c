#include "chain/rpc.h"

#include <stdlib.h>
#include <string.h>

#include "chain/contracts.h"

#define NESTED_MAX 64 /* replies have a handful of levels */

/* Depth of brackets outside strings: jansson's own limit is 2048, which a hostile node need not be
 * allowed. */
static bool too_deep(struct emac_slice in)
{
    int depth = 0;
    bool quoted = false;
    for (size_t i = 0; i < in.len; i++) {
        char c = (char)in.data[i];
        if (quoted && c == '\\')
            i++;
        else if (c == '"')
            quoted = !quoted;
        else if (!quoted && (c == '[' || c == '{') && ++depth > NESTED_MAX)
            return true;
        else if (!quoted && (c == ']' || c == '}'))
            depth--;
    }
    return false;
}

/* {"code": n, "message": "...", "data": "0x..."} as a sentence. */
static enum emac_status refusal(const char *name, json_t *error, struct emac_err *err)
{
    const char *message = json_string_value(json_object_get(error, "message"));
    json_t *data = json_object_get(error, "data");
    char reason[CHAIN_ERROR_NAME_MAX];
    if (json_is_object(data)) /* some nodes wrap it */
        data = json_object_get(data, "data");
    if (chain_error_name(reason, json_string_value(data)))
        return emac_fail(err, EMAC_FAILED, "the contract refuses: %s", reason);
    return emac_fail(err, EMAC_FAILED, "node '%s' refuses: %.200s (code %lld)", name,
                     message ? message : "without a reason",
                     (long long)json_integer_value(json_object_get(error, "code")));
}

enum emac_status chain_rpc_parse(const char *name, struct emac_slice reply, uint64_t id,
                                 json_t **result, struct emac_err *err)
{
    json_error_t why;
    enum emac_status st = EMAC_OK;
    *result = NULL;
    if (too_deep(reply))
        return emac_fail(err, EMAC_CORRUPT, "node '%s' answered with JSON that is nested too deep",
                         name);
    json_t *o = json_loadb((const char *)reply.data, reply.len, JSON_REJECT_DUPLICATES, &why);
    json_t *got_id = json_object_get(o, "id"), *error = json_object_get(o, "error");
    json_t *value = json_object_get(o, "result");
    if (!json_is_object(o))
        st = emac_fail(err, EMAC_CORRUPT, "node '%s' did not answer with a JSON object", name);
    else if (json_is_object(error) && value == NULL)
        st = refusal(name, error, err);
    else if (!json_is_integer(got_id) || (uint64_t)json_integer_value(got_id) != id)
        st = emac_fail(err, EMAC_CORRUPT, "node '%s' answered another question than ours", name);
    else if (value == NULL || (error != NULL && !json_is_null(error)))
        st = emac_fail(err, EMAC_CORRUPT, "node '%s' answered with neither result nor error", name);
    else
        *result = json_incref(value);
    json_decref(o);
    return st;
}

static enum emac_status rpc_call(struct chain_node *node, const char *method, json_t *params,
                                 json_t **result, struct emac_err *err)
{
    struct chain_rpc *rpc = (struct chain_rpc *)(void *)node;
    struct http_reply reply;
    uint64_t id = ++rpc->id;
    json_t *question = json_pack("{s:s, s:I, s:s, s:o}", "jsonrpc", "2.0", "id", (json_int_t)id,
                                 "method", method, "params", params);
    char *body = json_dumps(question, JSON_COMPACT);
    json_decref(question);
    *result = NULL;
    if (body == NULL)
        return emac_fail(err, EMAC_NO_MEMORY, "out of memory for a question to '%s'", rpc->url);
    struct http_call call = {.method = "POST",
                             .url = rpc->url,
                             .body = EMAC_SLICE_STR(body),
                             .timeout_ms = CHAIN_RPC_TIMEOUT_MS,
                             .reply_max = CHAIN_RPC_REPLY_MAX};
    enum emac_status st = http_client_call(rpc->http, &call, &reply, err);
    if (st == EMAC_OK)
        st = chain_rpc_parse(rpc->url, emac_buf_slice(&reply.body), id, result, err);
    if (st != EMAC_OK)
        st = emac_wrap(err, "%s", method);
    http_reply_release(&reply);
    free(body);
    return st;
}

enum emac_status chain_rpc_init(struct chain_rpc *rpc, struct http_client *http, const char *url,
                                struct emac_err *err)
{
    *rpc = (struct chain_rpc){.node = {.call = rpc_call}, .http = http};
    if (!emac_strcpy(rpc->url, sizeof(rpc->url), url) ||
        (strncmp(url, "http://", 7) != 0 && strncmp(url, "https://", 8) != 0))
        return emac_fail(err, EMAC_INVALID,
                         "'%.60s' is not the URL of a chain's node: write http://host:port", url);
    rpc->node.name = rpc->url;
    return EMAC_OK;
}
