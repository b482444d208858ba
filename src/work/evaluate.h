/* A job of kind "evaluate": a model and data, and nothing is trained. What of the job follows from
 * the model's directory, and what it ends as.
 *
 *   name: score
 *   kind: evaluate
 *   model: {cid: bafy...}                      # a whole model, an adapter or a head (model_tree.h)
 *   data: {file: path}  or  {cid: bafy...}     # heldout: 0.05, the last 5 % of a text; left out:
 * all # split: test or train, of a data set recipe: {seq_len: 128, micro_batch: 4}     #
 * eval_batches: 16, the first so many; left out: all
 *
 * The model's weights are a constant of the job, the held-out rows are shared out as those of an
 * evaluation during training are, by the same programs; so the score is, bit for bit, the one that
 * training told of these parameters, whoever computes it (plan_evaluate.c).
 *
 * The result is a dag-cbor block whose CID depends on what was computed alone, not on who asked,
 * paid or computed:
 *   {kind: "evaluation", numerics: 1, model: CID, data: CID, begin, end, batches, micro_batch,
 * units, loss: f64, and of a text seq_len, bits_per_byte: f64, of a data set split: text, accuracy:
 * f64} begin and end are tokens of the corpus, or records of the split; units tokens, or records,
 * that were evaluated: a rest that fills no micro-batch is left out. loss is nats a unit. */
#ifndef EMAC_WORK_EVALUATE_H
#define EMAC_WORK_EVALUATE_H

#include "work/job.h"
#include "work/model_tree.h"

/* Is the job file, which is not read yet, one? */
bool evaluate_is(const json_t *root);
/* Put into it what it leaves out and the model says: model.architecture, of a text recipe.seq_len,
 * the longest that the model was made for. The model's directory must be in `s`. */
enum emac_status evaluate_complete(json_t *root, struct store *s, struct emac_err *err);

/* The model out of the store: job->model, classifier and tune are filled in. INVALID, with both
 * figures, when it does not fit the data or the recipe. */
struct evaluated {
    struct model_tree model;
    struct model_tree base; /* of an adapter or a head; else its dir is none */
    struct cid weights;     /* the file of the model's own: all of them, or what was trained */
    uint64_t weights_size;  /* bytes of its blocks */
};
enum emac_status evaluate_take(struct job *job, struct store *s, struct evaluated *out,
                               struct emac_err *err);

/* The usual recipe.micro_batch for so many rows (job_eval_rows): of the numbers from a quarter of
 * `most` to it, with which the fewest rows are left over, the largest; more than `most` when a job
 * could not hold as many micro-batches. */
uint32_t evaluate_micro_batch(uint64_t rows, uint32_t most);

/* ---- the result ---- */

#define EVALUATION_BYTES_MAX 1024

struct evaluation {
    struct cid model, data;
    bool on_records;         /* then split and accuracy, else seq_len and bits_per_byte */
    enum dataset_part split; /* that begin and end are records of */
    uint64_t begin, end, units;
    uint32_t seq_len, micro_batch, batches;
    double loss, bits_per_byte, accuracy;
};
/* Of a complete job (job_plan_new's). */
void evaluation_of(const struct job *job, double loss, double accuracy, struct evaluation *out);
/* Appends to out; cid may be NULL. */
enum emac_status evaluation_encode(const struct evaluation *e, struct emac_buf *out,
                                   struct cid *cid, struct emac_err *err);
/* INVALID when it is none, or is not in canonical form. */
enum emac_status evaluation_decode(struct evaluation *out, const void *data, size_t n,
                                   struct emac_err *err);

#endif
