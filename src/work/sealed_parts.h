/* What is private of an asset: the sealed files that the data of a job, or a model, are made of.
 *
 *   data    a sealed file; a token set whose file is sealed; a data set with sealed splits
 *   model   a directory (work/model_tree.h) whose weights are sealed files in place of plain ones;
 *           an adapter or a head, whose base may be such a directory, too */
#ifndef EMAC_WORK_SEALED_PARTS_H
#define EMAC_WORK_SEALED_PARTS_H

#include "work/sealed.h"

#define SEALED_PARTS_MAX 4

struct sealed_parts {
    uint32_t count;
    struct sealed_part {
        struct cid cid; /* of the sealed file's block */
        struct cid of;  /* what it belongs to: the data, or the directory that holds it, which is
                         * the asset that licences name */
        struct sealed sealed;
    } at[SEALED_PARTS_MAX];
};

/* What is no private data gives an empty list. A block that is not in the store: NOT_FOUND. */
enum emac_status sealed_parts_data(struct store *s, const struct cid *data,
                                   struct sealed_parts *out, struct emac_err *err);
/* The same for a model's directory; what is no directory has nothing private. */
enum emac_status sealed_parts_model(struct store *s, const struct cid *dir,
                                    struct sealed_parts *out, struct emac_err *err);
/* Either, as the CID says. */
enum emac_status sealed_parts(struct store *s, const struct cid *asset, struct sealed_parts *out,
                              struct emac_err *err);

#endif
