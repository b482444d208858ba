/* The table of routes: dispatch is driven by it, and a test holds docs/api/openapi.yaml against
 * it. */
#include "coordinator/assets/assets.h"
#include "coordinator/assets/private.h"
#include "coordinator/checks/checks.h"
#include "coordinator/checks/disputes.h"
#include "coordinator/money/bonds.h"
#include "coordinator/serving/serving.h"
#include "coordinator/storage/datacap.h"

#include <stdlib.h>
#include <string.h>

#include "base/embed.h"

extern const struct embedded EMBEDDED_API[]; /* docs/api, made by tools/embed */

static enum emac_status healthz_get(void *ctx, const struct http_request *req,
                                    struct http_response *res, struct emac_err *err)
{
    res->content_type = "text/plain; charset=utf-8";
    return emac_buf_append(&res->body, "ok\n", 3, err);
}

static enum emac_status openapi_get(void *ctx, const struct http_request *req,
                                    struct http_response *res, struct emac_err *err)
{
    const char *text = EMBEDDED_API[0].text;
    EMAC_ASSERT(strcmp(EMBEDDED_API[0].name, "openapi") == 0);
    res->content_type = "application/yaml";
    return emac_buf_append(&res->body, text, strlen(text), err);
}

static const struct http_route ROUTES[] = {
    /* rigs */
    {"POST", "/v1/nodes", API_BODY_SMALL, nodes_post},
    {"POST", "/v1/nodes/challenge", API_BODY_SMALL, challenge_post},
    {"POST", "/v1/lease", API_BODY_SMALL, lease_post},
    {"POST", "/v1/heartbeat", API_BODY_SMALL, heartbeat_post},
    {"POST", "/v1/receipts", API_BODY_SMALL, receipts_post},
    {"POST", "/v1/failures", API_BODY_SMALL, failures_post},
    {"POST", "/v1/serve/{lease}", API_BODY_TASK, serve_post},
    {"POST", "/v1/disputes/{id}", API_BODY_CAR, dispute_post},
    {"GET", "/v1/disputes/{id}", 0, dispute_get},
    /* blocks */
    {"GET", "/ipfs/{cid}", 0, block_get},
    {"GET", "/v1/depot/{cid}/missing", 0, depot_missing_get},
    {"POST", "/v1/depot/{cid}", API_BODY_CAR, depot_post},
    {"GET", "/v1/providers/{cid}", 0, providers_get},
    /* users */
    {"POST", "/v1/jobs", API_BODY_JOB, jobs_post},
    {"GET", "/v1/jobs", 0, jobs_get},
    {"GET", "/v1/jobs/{id}", 0, job_get},
    {"POST", "/v1/jobs/{id}/cancel", API_BODY_SMALL, job_cancel_post},
    {"POST", "/v1/jobs/{id}/fund", API_BODY_SMALL, job_fund_post},
    {"GET", "/v1/jobs/{id}/logs", 0, logs_get},
    {"GET", "/v1/jobs/{id}/metrics", 0, metrics_get},
    {"GET", "/v1/jobs/{id}/rigs", 0, job_rigs_get},
    {"GET", "/v1/jobs/{id}/disputes", 0, job_disputes_get},
    {"GET", "/v1/jobs/{id}/receipts", 0, job_receipts_get},
    {"GET", "/v1/jobs/{id}/makers/{cid}", 0, maker_get},
    {"GET", "/v1/receipts/{cid}", 0, receipt_get},
    /* assets */
    {"POST", "/v1/assets", API_BODY_SMALL, assets_post},
    {"GET", "/v1/assets", 0, assets_get},
    {"GET", "/v1/assets/{cid}", 0, asset_get},
    {"POST", "/v1/assets/{cid}/buy", API_BODY_SMALL, asset_buy_post},
    {"POST", "/v1/assets/{cid}/revoke", API_BODY_SMALL, asset_revoke_post},
    {"POST", "/v1/private/{cid}", API_BODY_SMALL, private_post},
    {"GET", "/v1/private", 0, private_get},
    {"POST", "/v1/private/{cid}/revoke", API_BODY_SMALL, private_revoke_post},
    /* API keys */
    {"POST", "/v1/keys", API_BODY_SMALL, keys_post},
    {"GET", "/v1/keys", 0, keys_get},
    {"GET", "/v1/keys/{id}/usage", 0, key_usage_get},
    {"POST", "/v1/keys/{id}/revoke", API_BODY_SMALL, key_revoke_post},
    /* sweeps */
    {"POST", "/v1/sweeps", API_BODY_SWEEP, sweeps_post},
    {"GET", "/v1/sweeps", 0, sweeps_get},
    {"GET", "/v1/sweeps/{id}", 0, sweep_get},
    {"POST", "/v1/sweeps/{id}/cancel", API_BODY_SMALL, sweep_cancel_post},
    /* storage */
    {"POST", "/v1/deals", API_BODY_SMALL, deals_post},
    {"GET", "/v1/deals", 0, deals_get},
    {"GET", "/v1/deals/epochs", 0, deal_epochs_get},
    {"POST", "/v1/deals/duties", API_BODY_SMALL, deal_duties_post},
    {"GET", "/v1/deals/{id}", 0, deal_get},
    {"POST", "/v1/deals/{id}/cancel", API_BODY_SMALL, deal_cancel_post},
    {"POST", "/v1/deals/{id}/kept", API_BODY_SMALL, deal_kept_post},
    {"POST", "/v1/deals/{id}/declined", API_BODY_SMALL, deal_declined_post},
    {"GET", "/v1/deals/{id}/proofs", 0, deal_proofs_get},
    {"POST", "/v1/deals/{id}/proofs", API_BODY_SMALL, deal_proof_post},
    /* data of value */
    {"GET", "/v1/datacap", 0, datacap_get},
    {"GET", "/v1/datacap/motions", 0, datacap_motions_get},
    {"POST", "/v1/datacap/votes", API_BODY_SMALL, datacap_vote_post},
    {"GET", "/v1/datacap/allowances", 0, datacap_allowances_get},
    {"GET", "/v1/datacap/epochs/{epoch}", 0, datacap_epoch_get},
    {"POST", "/v1/deals/{id}/datacap", API_BODY_SMALL, deal_datacap_post},
    /* ledger */
    {"GET", "/v1/ledger/balances", 0, ledger_balances_get},
    {"GET", "/v1/ledger/journal", 0, ledger_journal_get},
    {"GET", "/v1/ledger/audit", 0, ledger_audit_get},
    {"POST", "/v1/faucet", API_BODY_SMALL, faucet_post},
    {"GET", "/v1/checks", 0, draws_get},
    {"GET", "/v1/checks/{epoch}", 0, draws_epoch_get},
    {"GET", "/v1/bonds", 0, bonds_get},
    {"POST", "/v1/bonds", API_BODY_SMALL, bonds_post},
    {"POST", "/v1/bonds/return", API_BODY_SMALL, bonds_return_post},
    {"GET", "/v1/chain", 0, chain_get},
    {"GET", "/v1/chain/epochs/{epoch}", 0, chain_epoch_get_one},
    {"POST", "/v1/chain/settle", API_BODY_SMALL, chain_settle_post},
    {"POST", "/v1/chain/payables", API_BODY_SMALL, chain_payables_post},
    /* the rest */
    {"GET", "/v1/status", 0, status_get},
    {"GET", "/v1/openapi.yaml", 0, openapi_get},
    {"GET", "/healthz", 0, healthz_get},
};

const struct http_route *coordinator_routes(size_t *count)
{
    *count = EMAC_COUNT(ROUTES);
    return ROUTES;
}
