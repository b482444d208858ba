/* Moving blocks between machines over the IPFS trustless-gateway HTTP protocol
 * (specs.ipfs.tech/http-gateways/trustless-gateway): GET/HEAD /ipfs/{cid} as
 * application/vnd.ipld.raw or application/vnd.ipld.car (version=1, order=dfs,
 * dups=n; dag-scope=block|entity|all; entity-bytes=from:to). Every byte that
 * comes in is checked against its CID, so the other side needs no trust. */
#ifndef EMAC_EXCHANGE_EXCHANGE_H
#define EMAC_EXCHANGE_EXCHANGE_H

#include "http/client.h"
#include "http/server.h"
#include "store/store.h"

/* ---- serving ---- */
/* The {cid} of the route. */
enum emac_status exchange_path_cid(const struct http_request *req, struct cid *out,
                                   struct emac_err *err);
/* Handler body for the route "GET /ipfs/{cid}" (HEAD comes with it). The caller's own handler
 * passes its store, which must outlive the response. 404 root missing, 400 without a usable format,
 * 412 only-if-cached, 304 for a known Etag; probe bafkqaaa. A CAR is streamed; where a block of it
 * is missing the connection is cut (or, past 65,536 blocks, the CAR just ends). */
enum emac_status exchange_serve(struct store *s, const struct http_request *req,
                                struct http_response *res, struct emac_err *err);
/* Depot: accept a CAR body, keep its blocks (on disk) and pin `root` under `pin`; the DAG under
 * root must be complete afterwards: INVALID names the first missing block (blocks stay unpinned).
 */
enum emac_status exchange_receive_car(struct store *s, const struct cid *root,
                                      struct emac_slice body, const char *pin,
                                      struct emac_err *err);

/* ---- fetching ---- */
struct exchange_source {
    const char *base_url; /* "http://127.0.0.1:7071" */
};
/* Bring the whole DAG under root into the store from the sources, tried in order; a source that
 * fails or lies is left and the next continues with the blocks still missing (so transfers resume).
 * The list is gone through again as long as that brings new blocks. to_memory: keep it as a value
 * (bundles), else as blocks on disk; what is no file is kept as blocks either way. TOO_LARGE over
 * max_size (content of a file, else bytes of blocks). *bytes += what came in. */
enum emac_status exchange_fetch(struct store *s, struct http_client *http, const struct cid *root,
                                const struct exchange_source *source, size_t count, bool to_memory,
                                uint64_t max_size, uint64_t *bytes, struct emac_err *err);
/* The same for a file, to memory; the value is held, so nothing takes it away before it is used. */
enum emac_status exchange_fetch_value(struct store *s, struct http_client *http,
                                      const struct cid *root, const struct exchange_source *source,
                                      size_t count, uint64_t max_size,
                                      const struct store_value **out, uint64_t *bytes,
                                      struct emac_err *err);
/* Upload the DAG under root as CARs of at most 16 MiB each: POST <base_url>/v1/depot/{cid}, signed;
 * asks the depot which blocks it misses first, so an upload resumes. */
enum emac_status exchange_push(struct store *s, struct http_client *http, const struct cid *root,
                               const char *base_url, const struct http_signer *signer,
                               uint64_t *bytes, struct emac_err *err);
/* Depot side of exchange_push. Route "POST /v1/depot/{cid}", body a CAR (16 MiB), answers
 * {"complete": bool}: once the DAG is, it is pinned under `pin` (NULL: not pinned). Route "GET
 * /v1/depot/{cid}/missing" answers {"missing": [cid, ...]}: at most 1000, the root itself when
 * unknown. */
enum emac_status exchange_depot_post(struct store *s, const struct http_request *req,
                                     const char *pin, struct http_response *res,
                                     struct emac_err *err);
enum emac_status exchange_depot_missing(struct store *s, const struct http_request *req,
                                        struct http_response *res, struct emac_err *err);

#endif
