/* Rotary positions (Su et al. 2021, arXiv 2104.09864): pair j of a head's numbers is turned by the
 * angle t * f(j) at position t, with f(j) = theta^(-2j / head_dim). A model that was taught longer
 * texts afterwards has stretched frequencies: linear  f / factor (Chen et al. 2023, arXiv
 * 2306.15595) llama3  as Llama 3.1 has it: with the wave length w = 2 pi / f and the positions P of
 * its first training, f as it is where w < P / high, f / factor where w > P / low, and between them
 *           ((1 - s) / factor + s) f with s = (P / w - low) / (high - low)
 * All of it is binary64 on the host (numerics rule 10), and rounded once into the tables. */
#ifndef EMAC_MODEL_ROPE_H
#define EMAC_MODEL_ROPE_H

#include <jansson.h>
#include <stdint.h>

#include "base/buf.h"

enum rope_kind { ROPE_PLAIN, ROPE_LINEAR, ROPE_LLAMA3, ROPE_KINDS };
extern const char *const ROPE_NAMES[ROPE_KINDS]; /* "default", "linear", "llama3" */

struct rope_scaling {
    enum rope_kind kind;
    double factor;      /* at least 1; 0 where plain */
    double low, high;   /* llama3: 0 < low < high; else 0 */
    uint32_t positions; /* llama3: at least 1; else 0 */
};

/* INVALID naming the member as config.json calls it. */
enum emac_status rope_scaling_check(const struct rope_scaling *r, struct emac_err *err);
/* From "rope_scaling" or "rope_parameters" of config.json; NULL and null are plain. UNSUPPORTED for
 * another kind. */
enum emac_status rope_scaling_read(struct rope_scaling *out, const json_t *object,
                                   struct emac_err *err);
/* The object, null where plain. */
json_t *rope_scaling_json(const struct rope_scaling *r);
/* f(j), stretched. */
double rope_frequency(const struct rope_scaling *r, double theta, uint32_t head_dim, uint32_t j);

#endif
