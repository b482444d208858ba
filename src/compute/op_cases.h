/* One table of operators on shapes chosen for their edges, with reproducible
 * inputs. It drives the conformance program (one digest for all devices), the
 * tests (each device against the reference, gradients against differences), and
 * anybody who needs an operator's typical inputs. */
#ifndef EMAC_COMPUTE_OP_CASES_H
#define EMAC_COMPUTE_OP_CASES_H

#include "compute/op.h"

/* What an input holds. */
enum op_fill {
    FILL_END,      /* no input */
    FILL_UNIFORM,  /* [-2, 2) */
    FILL_POSITIVE, /* [1/2, 5/2) */
    FILL_WIDE,     /* [-64, 64) */
    FILL_SPECIAL,  /* UNIFORM, every third element zero, subnormal, a tie, an infinity, ... */
    FILL_IDS,      /* i32 below `limit` */
    FILL_BYTES,    /* u8 */
    FILL_BLOCKS,   /* u8: BYTES, but blocks of the format `limit` get scales of 2^-7 to 2^1 */
    FILL_PLACES    /* u8: BYTES, but rows are blocks of PACK_TOP of which `limit` numbers stay:
                    * exponents below 128, places that rise */
};

struct op_case_input {
    enum op_fill fill;
    struct shape shape;
    uint32_t limit; /* of IDS, BLOCKS, PLACES */
};

struct op_case {
    enum op op;
    struct op_attrs attrs;
    struct op_case_input in[OP_IN_MAX];
    bool stored; /* f32 inputs and an f32 output 0 are stored as bf16 (rule 8) */
};

/* The cases of the operators that version 1 began with: never edited. */
extern const struct op_case OP_CASES_FIRST[];
extern const size_t OP_CASES_FIRST_COUNT;
/* Those of operators that joined later: only appended to. */
extern const struct op_case OP_CASES_LATER[];
extern const size_t OP_CASES_LATER_COUNT;

/* n numbers (f32 or i32) by Philox (0x454d4143, PHILOX_TEST, stream, i / 4). */
void op_case_fill(void *data, size_t n, const struct op_case_input *how, uint32_t stream);
/* Allocate and fill the inputs of a case, input i from stream * OP_IN_MAX + i. */
enum emac_status op_case_inputs(const struct op_case *c, uint32_t stream, struct tensor *in,
                                struct emac_err *err);
/* Allocate the outputs, by op_infer; output 0 is bf16 for a stored case. */
enum emac_status op_case_outputs(const struct op_case *c, const struct tensor *in,
                                 struct tensor *out, struct emac_err *err);
/* Free data allocated by these; entries never filled must be {0}. */
void op_case_release(struct tensor *t, uint32_t n);

#endif
