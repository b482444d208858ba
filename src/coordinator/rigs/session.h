/* Sessions: with its hello a rig gets a key that it shares with the coordinator, and authenticates
 * by it what it sends for each task and each heartbeat (http/signature.h, hmac-sha256). A signature
 * there would cost as much as half of all else that a task costs the coordinator.
 *
 * SESSION-1  A session's id is "<did>#<when it is over, Unix milliseconds>"; its key is
 *            HMAC-SHA256(the coordinator's secret, "emac session " ‖ id). Neither is kept: so
 *            sessions take no memory, outlive a restart, and whoever makes up an id has no key.
 * SESSION-2  The key is told in the answer to a signed hello, sealed to the did:key that signed.
 * SESSION-3  It proves who sends to the coordinator, and to nobody else. So it is taken where a rig
 *            asks and tells: /v1/lease, /v1/receipts, /v1/failures, /v1/heartbeat. What others
 *            check (receipts, the answers of disputes) and what moves money carries ed25519.
 * SESSION-4  A session that is over is refused (UNAUTHORIZED): the rig signs, or says hello. */
#ifndef EMAC_COORDINATOR_SESSION_H
#define EMAC_COORDINATOR_SESSION_H

#include "coordinator/api.h"

#define SESSION_LIFE_MS (UINT64_C(24) * 3600 * 1000)

/* A new one for the rig: {"id", "key": the sealed key in base64, "life_ms"}; JSON null for a did
 * that nothing can be sealed to. Needs no lock. */
json_t *session_json(struct coordinator *c, const char *did);
/* As api_signer, for the routes of SESSION-3. */
enum emac_status api_rig(struct coordinator *c, const struct http_request *req,
                         char did[DID_KEY_MAX], struct emac_err *err);

#endif
