/* What a request for text owes to rigs, network and owners of the model. */
#include <string.h>

#include "coordinator/assets/assets.h"
#include "coordinator/serving/serving.h"

static int64_t network_price(const struct coordinator *c)
{
    int64_t set = c->cfg.serving_units;
    return set == 0 ? COORDINATOR_SERVING_UNITS : set < 0 ? 0 : set;
}

static enum emac_status nobody_pays(const struct licence *l, struct emac_err *err)
{
    char price[32];
    ledger_amount_text(price, l->inference_units);
    return emac_fail(
        err, EMAC_PAYMENT,
        "the licence of '%s' asks for %s EMAC a million tokens (price.inference): send "
        "an API key that pays, made by 'emac key new'",
        l->name, price);
}

/* The asset's licence, if it has one, for this payer. */
static enum emac_status term_add(struct coordinator *c, const struct cid *cid,
                                 struct serving_meter *m, struct emac_err *err)
{
    struct asset a;
    if (cid_is_none(cid))
        return EMAC_OK;
    enum emac_status st = asset_find(c, cid, &a, err);
    if (st != EMAC_OK) /* nobody claims it? */
        return st == EMAC_NOT_FOUND ? EMAC_OK : st;
    const struct licence *l = &a.licence;
    const char *did = m->payer.did;
    const struct licence_use use = {.did = did,
                                    .commercial = m->payer.commercial,
                                    .bought = did[0] && asset_was_bought(c, cid, did),
                                    .at_ms = wall_ms(c)};
    if (a.revoked)
        return emac_fail(err, EMAC_FORBIDDEN, "the licence of '%s' was revoked by its owner",
                         l->name);
    EMAC_TRY(st, licence_permits(l, &use, err));
    if (l->inference_units == 0 || strcmp(l->owner, did) == 0)
        return EMAC_OK;
    if (did[0] == 0)
        return nobody_pays(l, err);
    EMAC_ASSERT(m->price.count < SERVING_TERMS_MAX);
    m->asset[m->price.count] = *cid;
    m->licence[m->price.count] = a.licence_cid;
    m->price.inference_units[m->price.count++] = l->inference_units;
out:
    return st;
}

enum emac_status serving_terms(struct coordinator *c, const struct serve_model *model,
                               struct serving_meter *m, struct emac_err *err)
{
    enum emac_status st;
    m->model = model->model;
    m->price = (struct serving_price){.fee_ppm = COORDINATOR_SERVING_FEE_PPM};
    EMAC_TRY(st, serving_rig_price(model->weights, network_price(c), &m->price.rig_units, err));
    EMAC_TRY(st, term_add(c, &model->model, m, err));
    st = term_add(c, &model->base, m, err);
out:
    return st;
}

/* Of whoever is not its owner. */
static enum emac_status inference_price(struct coordinator *c, const struct cid *cid,
                                        int64_t *units, struct emac_err *err)
{
    struct asset a;
    if (cid_is_none(cid))
        return EMAC_OK;
    enum emac_status st = asset_find(c, cid, &a, err);
    if (st == EMAC_OK)
        *units += a.licence.inference_units; /* each at most LICENCE_PRICE_MAX */
    return st == EMAC_NOT_FOUND ? EMAC_OK : st;
}

enum emac_status serve_price(struct coordinator *c, const struct serve_model *m,
                             int64_t *work_units, int64_t *royalty_units, struct emac_err *err)
{
    enum emac_status st;
    *royalty_units = 0;
    EMAC_TRY(st, serving_rig_price(m->weights, network_price(c), work_units, err));
    EMAC_TRY(st, inference_price(c, &m->model, royalty_units, err));
    st = inference_price(c, &m->base, royalty_units, err);
out:
    return st;
}
