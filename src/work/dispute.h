/* A dispute: two rigs signed different results of one task; who is wrong? A
 * state machine without clock, network or device, so that it can be replayed
 * from the answers that were taken (coordinator/checks/disputes.h keeps them).
 *
 * How it goes:
 *   commit  each side runs the task again and signs the root of its trace (work/trace.h), with
 *           the trace's outputs. A side whose outputs are not those of its receipt is FAULTY: its
 *           device does not repeat itself. Nobody is a liar for that.
 *   split   the two roots differ. Of the range of leaves at which they do, [first, first + count),
 *           each side tells the hashes of the two halves; it goes on with the left one where these
 *           differ, else with the right one. After at most ceil(log2(leaves)) answers of each side
 *           one leaf is left: the first at which they differ.
 *   open    either side gives what that leaf takes of earlier ones: their bytes, with paths to its
 *           root. As all earlier leaves agree, it does not matter who does.
 *   judge   somebody who needs no trust of either computes that one leaf from them
 *           (dispute_judged). Whose hash is another is a LIAR: it signed a root that no right
 *           execution has.
 *   done    at least one side has lost.
 *
 * DIS-1  A side that computes rightly, and answers in time, never loses: nothing that the other
 *        side says enters its fate but through hashes that it signed itself or that were checked.
 * DIS-2  Where two sides differ at least one loses, and it is not the right one.
 * DIS-3  An answer that does not fit what a side signed before is refused, not punished: the side
 *        may answer again until its time is up. A LIAR is one by the judge's word alone.
 * DIS-4  At most ceil(log2(leaves)) + 2 answers of each side are asked for.
 *
 * Answers are dag-cbor, signed (ed25519) with the side's key; the signature goes beside it:
 *   {dispute: text, kind: "commit", root: bytes, outputs: [proof, ...], leaves: u64}
 *   {dispute, kind: "split", left: bytes, count, first, right: bytes}
 *   {dispute, kind: "open", values: [proof, ...]}
 * proof: {leaf: bytes, path: bytes, slot: u64, value: CID or null}: a leaf's bytes and its path, 32
 * bytes a hash, to the side's root; in an open, value `slot` of it is the file (raw bytes of the
 * tensor) that the CID names. */
#ifndef EMAC_WORK_DISPUTE_H
#define EMAC_WORK_DISPUTE_H

#include "work/task.h"
#include "work/trace.h"

#define DISPUTE_ID_MAX     40
#define DISPUTE_PROOFS_MAX 4096
#define DISPUTE_BYTES_MAX  (4u << 20)

enum dispute_stage { DISPUTE_COMMIT, DISPUTE_SPLIT, DISPUTE_OPEN, DISPUTE_DONE, DISPUTE_STAGES };
enum dispute_fate {
    FATE_STANDS, /* nothing is proven against it */
    FATE_FAULTY, /* run again, it gave another result */
    FATE_SILENT, /* it did not answer in time */
    FATE_LIAR,   /* one operator of its trace is proven wrong */
    FATES
};

struct dispute_proof {
    struct trace_leaf leaf;
    uint32_t path_length, slot;
    uint8_t path[TRACE_PATH_MAX][SHA256_BYTES];
    struct cid value; /* none: it names no file */
};
struct dispute_answer {
    char dispute[DISPUTE_ID_MAX];
    enum dispute_stage kind;
    uint64_t leaves;             /* commit */
    uint8_t root[SHA256_BYTES];  /* commit */
    uint64_t first, count;       /* split */
    uint8_t left[SHA256_BYTES];  /* split */
    uint8_t right[SHA256_BYTES]; /* split */
    uint32_t proof_count;        /* commit: one an output, in order; open */
    struct dispute_proof *proof; /* owned */
};
/* Appended to out, which has DISPUTE_BYTES_MAX. INVALID when it is of no kind that is answered. */
enum emac_status dispute_answer_encode(const struct dispute_answer *a, struct emac_buf *out,
                                       struct emac_err *err);
/* Release with dispute_answer_release in any case. */
enum emac_status dispute_answer_decode(struct dispute_answer *out, const void *data, size_t n,
                                       struct emac_err *err);
void dispute_answer_release(struct dispute_answer *a);

struct dispute_side {
    uint32_t output_count;
    struct cid output[TASK_OUTPUTS_MAX]; /* of its receipt, by name */
    enum dispute_fate fate;
    bool answered; /* in this stage, or to this split */
    uint64_t leaves;
    uint8_t root[SHA256_BYTES];
    uint8_t hash[SHA256_BYTES];                      /* of [first, first + count) */
    uint8_t left[SHA256_BYTES], right[SHA256_BYTES]; /* as it answered */
};
struct dispute {
    enum dispute_stage stage;
    uint64_t first, count; /* where they differ; open: count is 1 */
    uint32_t splits;       /* that were decided */
    struct dispute_side side[2];
};

/* Both receipts' outputs, in the order of their names; asserted: they differ, and have as many. */
void dispute_begin(struct dispute *d, uint32_t count, const struct task_output *a,
                   const struct task_output *b);
/* Is an answer of this side asked for? */
bool dispute_asks(const struct dispute *d, uint32_t side);
/* Take it. INVALID (DIS-3) leaves everything as it was. */
enum emac_status dispute_take(struct dispute *d, uint32_t side, const struct dispute_answer *a,
                              struct emac_err *err);
/* The sides' numbers of leaves differ (stage open, count 0): this is the right one. */
void dispute_counted(struct dispute *d, uint64_t leaves);
/* The leaf `first` is this one (stage open, count 1). */
void dispute_judged(struct dispute *d, const struct trace_leaf *leaf);
/* What the side gave in its open cannot be used, as the judge found. */
void dispute_unusable(struct dispute *d, uint32_t side);
/* Time is up: who owes an answer is SILENT. In stage open nobody is as long as one has answered:
 * that will be judged. */
void dispute_expire(struct dispute *d);
/* Who computes what decides (node/judge.h); `depot` has the task's program, its inputs and the
 * files that the proofs name. INVALID, NOT_FOUND or CORRUPT: the proofs, or what they name, cannot
 * be used, and so the side that gave them is asked again; any other failure is the judge's own. */
struct store;
struct dispute_judge {
    enum emac_status (*leaf)(void *ctx, struct store *depot, const struct task *t, uint64_t leaf,
                             const struct dispute_proof *proof, uint32_t count,
                             struct trace_leaf *out, struct emac_err *err);
    enum emac_status (*leaves)(void *ctx, struct store *depot, const struct task *t, uint64_t *out,
                               struct emac_err *err);
    void *ctx;
};
const char *dispute_stage_name(enum dispute_stage s);
const char *dispute_fate_name(enum dispute_fate f);

#endif
