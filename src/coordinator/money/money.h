/* Every movement of money that a job causes (money.c); what is said of transactions in internal.h
 * holds here. All of it in tx unless a comment says otherwise. */
#ifndef EMAC_COORDINATOR_MONEY_H
#define EMAC_COORDINATOR_MONEY_H

#include "coordinator/state.h"
#include "http/server.h"

/* The first money of a job (fund_key NULL) or more of it; *posted (may be NULL) is false when the
 * key was used before. */
enum emac_status money_escrow(struct coordinator *c, const char *job, const char *owner,
                              int64_t units, const char *fund_key, bool *posted,
                              struct emac_err *err);
enum emac_status money_pay(struct coordinator *c, const char *job, const char *did,
                           const struct cid *task, int64_t units, struct emac_err *err);
/* Why a rig is quarantined: it erred; a majority differs from it; a lie of it is proven. */
enum fault { FAULT_FAULTY, FAULT_OUTVOTED, FAULT_LIAR };
/* What is held for `did`, which is out, goes back: to the escrow of an open job, to `owner` of a
 * closed one. Of a faulty rig only what no other rig confirmed that is not out itself (STAND-5);
 * so what is held for rigs that went out before, on the word of `did` alone, goes back with it.
 * *units = how much. */
enum emac_status money_void(struct coordinator *c, const char *job, const char *owner,
                            const char *did, enum fault fault, int64_t *units,
                            struct emac_err *err);
/* The same in all jobs that have ended and whose window is open. */
enum emac_status money_void_closed(struct coordinator *c, const char *did, enum fault fault,
                                   struct emac_err *err);
/* What one receipt holds goes back. */
enum emac_status money_void_one(struct coordinator *c, const char *job, const char *did,
                                const struct cid *task, int64_t units, struct emac_err *err);
/* A job ends: the rest of the escrow -> owner; held -> rigs, receipts become 'settled', now or when
 * the dispute window closes (STAND-1). */
enum emac_status money_close(struct coordinator *c, const char *job, const char *owner,
                             int64_t *refunded, struct emac_err *err);
/* Own transactions: settle the jobs whose window has closed. */
void money_settle_due(struct coordinator *c);
enum emac_status money_escrow_balance(struct coordinator *c, const char *job, int64_t *out,
                                      struct emac_err *err);
enum emac_status money_faucet(struct coordinator *c, const char *did, bool *given,
                              struct emac_err *err);
/* handlers */
http_handler ledger_balances_get, ledger_journal_get, ledger_audit_get, faucet_post;

#endif
