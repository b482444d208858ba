#include <string.h>

#include "cli/data_import.h"
#include "cli/model_dir.h"
#include "codec/idx.h"
#include "model/classify.h"
#include "os/process.h"
#include "work/dataset_import.h"

#define BATCH 64

struct classify_args {
    const char *labels;
    struct cli_device device;
};

/* A model and the records that it shall classify. */
struct task {
    struct cli *c;
    struct model_files model;
    struct classifier_config config;
    struct dataset input; /* what a record is */
    struct emac_buf file, labels_file, numbers;
    struct emac_slice features, labels;
    size_t each, count; /* bytes of a record's features; records */
    json_t *classes;
    size_t right;
};

static void task_init(struct task *t, struct cli *c)
{
    *t = (struct task){.c = c, .classes = json_array()};
    dataset_init(&t->input);
    emac_buf_init(&t->file, SOURCE_BYTES_MAX);
    emac_buf_init(&t->labels_file, SOURCE_BYTES_MAX);
    emac_buf_init(&t->numbers, SOURCE_BYTES_MAX);
}

static void task_release(struct task *t)
{
    dataset_release(&t->input);
    emac_buf_release(&t->file);
    emac_buf_release(&t->labels_file);
    emac_buf_release(&t->numbers);
    json_decref(t->classes);
}

static enum emac_status config_read(struct task *t)
{
    struct emac_err *err = &t->c->err;
    const struct emac_buf *text = &t->model.config;
    json_t *root = json_loadb((const char *)text->data, text->len, 0, NULL);
    const char *type = json_string_value(json_object_get(root, "model_type"));
    enum emac_status st;
    if (type == NULL || strcmp(type, "emac_classifier") != 0) {
        st = emac_fail(err, EMAC_INVALID,
                       "the model's config.json is not that of a classifier: its model_type is "
                       "'%.40s'",
                       type == NULL ? "" : type);
        goto out;
    }
    EMAC_TRY(st, classifier_config_read(&t->config, root, err));
    EMAC_TRY(st, dataset_input_read(&t->input, json_object_get(root, "input"), err));
    if (dataset_features(&t->input) !=
            (size_t)t->config.height * t->config.width * t->config.channels ||
        t->input.class_count != t->config.classes)
        st = emac_fail(err, EMAC_INVALID, "the model's config.json contradicts itself");
out:
    json_decref(root);
    return st;
}

static enum emac_status labels_read(struct task *t, const char *path)
{
    struct idx idx;
    enum emac_status st = data_source_read(t->c, path, &t->labels_file);
    if (st == EMAC_OK)
        st = idx_parse(&idx, emac_buf_slice(&t->labels_file), &t->c->err);
    if (st != EMAC_OK)
        return emac_wrap(&t->c->err, "'%s'", path);
    if (idx.rank != 1 || idx.items.len != t->count)
        return emac_fail(&t->c->err, EMAC_INVALID, "'%s' holds no %zu labels, one a record", path,
                         t->count);
    t->labels = idx.items;
    return EMAC_OK;
}

/* Images (IDX begins with two zero bytes), else a table. */
static enum emac_status records_read(struct task *t, const char *path, const char *labels)
{
    struct emac_err *err = &t->c->err;
    enum emac_status st = data_source_read(t->c, path, &t->file);
    if (st != EMAC_OK)
        return st;
    bool images = t->file.len >= 2 && t->file.data[0] == 0 && t->file.data[1] == 0;
    if (images) {
        st = dataset_features_of_images(&t->input, emac_buf_slice(&t->file), &t->features, err);
    } else {
        st = dataset_features_of_table(&t->input, emac_buf_slice(&t->file), &t->numbers, err);
        t->features = emac_buf_slice(&t->numbers);
    }
    if (st != EMAC_OK)
        return emac_wrap(err, "'%s'", path);
    t->each = dataset_features(&t->input) * (images ? 1 : sizeof(float));
    t->count = t->features.len / t->each;
    return labels != NULL ? labels_read(t, labels) : EMAC_OK;
}

static void take(struct task *t, size_t record, const float *logits)
{
    double probability;
    uint32_t best = classify_best(logits, t->config.classes, &probability);
    json_array_append_new(t->classes, json_integer(best));
    t->right += t->labels.data != NULL && t->labels.data[record] == best;
    cli_say(t->c, "%-7zu %-24s %.4f", record, t->input.class_name[best], probability);
}

static enum emac_status classify_all(struct task *t, struct classify *k)
{
    size_t features = dataset_features(&t->input);
    float *inputs = classify_inputs(k);
    for (size_t first = 0; first < t->count; first += BATCH) {
        size_t n = t->count - first < BATCH ? t->count - first : BATCH;
        const float *logits;
        if (os_stop_requested())
            return emac_fail(&t->c->err, EMAC_CANCELLED, "stopped");
        for (size_t i = 0; i < n; i++)
            dataset_normalise(&t->input, t->features.data + (first + i) * t->each,
                              inputs + i * features);
        enum emac_status st = classify_run(k, &logits, &t->c->err);
        if (st != EMAC_OK)
            return st;
        for (size_t i = 0; i < n; i++)
            take(t, first + i, logits + i * t->config.classes);
    }
    return EMAC_OK;
}

static void result(struct task *t)
{
    bool scored = t->labels.data != NULL && t->count > 0;
    double accuracy = scored ? (double)t->right / (double)t->count : 0;
    json_t *names = json_array();
    for (uint32_t i = 0; i < t->input.class_count; i++)
        json_array_append_new(names, json_string(t->input.class_name[i]));
    if (scored)
        cli_say(t->c, "%zu of %zu right: %.2f %%", t->right, t->count, 100 * accuracy);
    cli_result(t->c, json_pack("{s:o,s:O,s:o}", "names", names, "classes", t->classes, "accuracy",
                               scored ? json_real(accuracy) : json_null()));
}

static enum emac_status run(struct cli *c, const struct classify_args *a, const char *model,
                            const char *path)
{
    struct task t;
    struct device *dev = NULL;
    struct classify *k = NULL;
    task_init(&t, c);
    enum emac_status st = model_files_load(c, model, &t.model);
    if (st != EMAC_OK) {
        task_release(&t);
        return st;
    }
    EMAC_TRY(st, config_read(&t));
    EMAC_TRY(st, records_read(&t, path, a->labels));
    EMAC_TRY(st, cli_device_open(c, &a->device, &dev));
    EMAC_TRY(st, classify_open(dev, &t.config, t.model.weights.data, t.model.weights.len, BATCH, &k,
                               &c->err));
    EMAC_TRY(st, classify_all(&t, k));
    result(&t);
out:
    classify_close(k);
    device_close(dev);
    model_files_release(&t.model);
    task_release(&t);
    return st;
}

enum emac_status cmd_classify(struct cli *c, int argc, char **argv)
{
    struct classify_args a = {0};
    const struct cli_option options[] = {{"labels", 0, OPT_TEXT, &a.labels},
                                         CLI_DEVICE_OPTIONS(&a.device)};
    const char *pos[CLI_POSITIONALS_MAX];
    enum emac_status st = cli_parse(c, argc, argv, options, EMAC_COUNT(options), pos, 2, 2);
    if (st == EMAC_OK)
        st = cli_device_check(c, &a.device);
    return st == EMAC_OK ? run(c, &a, pos[0], pos[1]) : st;
}
