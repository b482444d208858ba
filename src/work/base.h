/* The base of a job (model/tune.h): what must be true of the model directory that training starts
 * from. Facts come from the directory itself: sizes from config.json, types and shapes from the
 * header of model.safetensors, its licence from what it says of that. */
#ifndef EMAC_WORK_BASE_H
#define EMAC_WORK_BASE_H

#include "work/job.h"
#include "work/model_tree.h"

/* Does the job start from one, or evaluate it? */
bool job_has_base(const struct job *job);
/* Put into the section `model` of a job file what it leaves out and the base says (of an
 * evaluation: evaluate_complete). Nothing without a base; what is wrong with base.cid is left to
 * job_from_json. The base's directory and its config.json must be in `s`. */
enum emac_status base_complete(json_t *root, struct store *s, struct emac_err *err);
/* base.cid, or of an evaluation model.cid, of a job file that is not read yet; none when there is
 * none. */
struct cid base_cid(const json_t *root);

/* Check the base, which must be in `s`, against the job and `config`, the text of the config.json
 * that the job's model will have: INVALID naming what differs with both figures, FORBIDDEN by its
 * licence, and for a private base (work/model_tree.h) by any training but that of adapters on whole
 * copies of it. Sets job->tune.storage; *files is the base's directory. */
enum emac_status base_take(struct job *job, struct store *s, struct emac_slice config,
                           struct model_tree *files, struct emac_err *err);

/* ---- the licence ---- */

/* What a directory says of its licence in a way that a program can read: "license:" in the front
 * matter of README.md (a Hugging Face model card), "license" in config.json, or a line
 * "SPDX-License-Identifier:" in LICENSE; in this order. "" when it says nothing. */
#define BASE_LICENCE_MAX 80
enum emac_status base_licence(struct store *s, const struct model_tree *m,
                              char out[BASE_LICENCE_MAX], struct emac_err *err);
/* Does a licence of this identifier forbid to train further on the work? SPDX's and Hugging Face's
 * identifiers of no-derivatives licences ("cc-by-nd-4.0", "cc-by-nc-nd-4.0"), and
 * "all-rights-reserved". What a text says in prose is not judged. */
bool licence_forbids_derivatives(const char *id);

#endif
