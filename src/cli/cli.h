/* What every subcommand shares: options, the home directory, the user's key,
 * calls to the coordinator, and output. A subcommand is one file cmd_<name>.c
 * with one function, its manual docs/cli/<name>.md (embedded: it is what
 * --help prints) and its test tests/cli/<name>.sh; CLI_COMMANDS below lists
 * them once.
 *
 * Output rules: results on stdout, talk on stderr; with --json the last line
 * of stdout is one JSON object (before it only objects of cli_update); colours
 * and progress lines only on a terminal; exit code by emac_status_exit. */
#ifndef EMAC_CLI_CLI_H
#define EMAC_CLI_CLI_H

#include <jansson.h>
#include <stdio.h>

#include "base/assert.h"
#include "base/log.h"
#include "cli/human.h"
#include "compute/device.h"
#include "http/client.h"
#include "http/identity.h"
#include "os/os.h"
#include "store/store.h"

/* X(name, one line for the overview) in the order of `emac help` */
#define CLI_COMMANDS(X)                                                                            \
    X(train, "run a training job in this process, without a network")                              \
    X(eval, "measure a model on data, here or on the network")                                     \
    X(up, "run a coordinator and some rigs on this machine")                                       \
    X(job, "submit, list, show, cancel and follow jobs")                                           \
    X(sweep, "try several recipes of a job, stop the worse early")                                 \
    X(data, "add, get and import files and data sets")                                             \
    X(model, "export a trained model for other tools")                                             \
    X(tokenizer, "make a tokenizer, and see what one does")                                        \
    X(generate, "let a model continue a text")                                                     \
    X(classify, "let a model sort records into classes")                                           \
    X(node, "run one rig: earn by computing")                                                      \
    X(coordinator, "run a coordinator")                                                            \
    X(asset, "publish, buy and trace models and data under licences")                              \
    X(datacap, "allowances for data of value: grant, show, use")                                   \
    X(key, "API keys: let programs generate text at your account's cost")                          \
    X(deal, "have rigs keep data, for pay and proof")                                              \
    X(doctor, "is this machine fit to join, and what would it earn")                               \
    X(wallet, "make and show your key and balance")                                                \
    X(bond, "stake money on a rig's honesty")                                                      \
    X(verify, "run a receipt's task again: is its result right?")                                  \
    X(ledger, "balances, journal and audit of the ledger")                                         \
    X(chain, "deposit, settle and claim on an EVM chain")

struct cli {
    struct os *os;
    const char *command; /* "train" */
    bool json, quiet, verbose, colour;
    bool result_given;        /* the JSON object was printed */
    bool service;             /* it runs on when nobody reads what it prints */
    const char *home;         /* --home, $EMAC_HOME, ~/.emac */
    const char *url;          /* --url, $EMAC_URL, http://127.0.0.1:7070 */
    bool url_given;           /* by flag or environment */
    struct http_client *http; /* made on first use */
    struct identity identity; /* loaded on first use */
    bool has_identity;
    struct emac_err err;
};

enum cli_option_kind { OPT_FLAG, OPT_TEXT, OPT_U64, OPT_F64 };
struct cli_option {
    const char *name; /* "seed": --seed N or --seed=N */
    char letter;      /* 'p' or 0 */
    enum cli_option_kind kind;
    void *target; /* bool *, const char **, uint64_t *, double * */
};
#define CLI_POSITIONALS_MAX 8

/* What a command is given is UTF-8, so that it can be shown and put into JSON: anything else is
 * refused here. Parse argv[1..]: the command's options and the common ones (--json --help --home
 * --url --quiet
 * --verbose). Positional arguments go to pos (fewer than CLI_POSITIONALS_MAX); their number must be
 * within [least, most]. CANCELLED after --help was printed; INVALID with the sentence. */
enum emac_status cli_parse(struct cli *c, int argc, char **argv, const struct cli_option *options,
                           size_t count, const char **pos, int least, int most);

/* Is it one that the coordinator gives to a "job", "deal", "sweep"? Only then may it stand in a
 * path.
 */
enum emac_status cli_id_check(struct cli *c, const char *what, const char *id);

/* Lists for several rigs: rig i takes item i, and the list begins anew at its end. */
char *cli_item(const char *list, char between, uint32_t i); /* free it */
uint32_t cli_items(const char *list, char between);
/* The link of rig i in a list like 10M,50M,60ms:none; all zero for "none" and for no list. */
struct link_shape;
enum emac_status cli_link(struct cli *c, const char *list, uint32_t i, struct link_shape *out);

/* What chooses a device: the options, then what cli_device_check makes of them. */
struct cli_device {
    const char *device, *isa, *memory;
    uint64_t threads;
    char spec[128];        /* device_open's */
    uint64_t memory_bytes; /* 0: not limited */
};
#define CLI_DEVICE_OPTIONS(d)                                                                      \
    {"device", 0, OPT_TEXT, &(d)->device}, {"isa", 0, OPT_TEXT, &(d)->isa},                        \
        {"threads", 0, OPT_U64, &(d)->threads}, {"device-memory", 0, OPT_TEXT, &(d)->memory},
enum emac_status cli_device_check(struct cli *c, struct cli_device *d);
/* --results: where a card's results are hashed, an enum exec_values. NULL: "auto". */
enum emac_status cli_results_parse(struct cli *c, const char *text, int *out);
/* "4G", "1500M", "123456": K, M, G, T are powers of 1024. `option` is what it was given for. */
enum emac_status cli_bytes(struct cli *c, const char *option, const char *text, uint64_t *out);
enum emac_status cli_device_open(struct cli *c, const struct cli_device *d, struct device **out);

/* The manual of a command, embedded from docs/cli. NULL when unknown. */
const char *cli_manual(const char *name);

/* Path inside the home directory, which is made when missing. */
enum emac_status cli_home_path(struct cli *c, const char *name, char *out, size_t cap);
enum emac_status cli_store(struct cli *c, struct store **out);
/* Write `dir`/`name`, which replaces what was there. */
enum emac_status cli_file_put(struct cli *c, const char *dir, const char *name,
                              const struct emac_buf *content);
/* `file` as one beside the file `path` means it. */
enum emac_status cli_beside(struct cli *c, const char *path, const char *file, char *out,
                            size_t cap);
/* A YAML file of at most `max` bytes as JSON; *out is owned. */
enum emac_status cli_yaml_file(struct cli *c, const char *path, size_t max, json_t **out);
/* The user's key, made on first use. */
enum emac_status cli_identity(struct cli *c);
enum emac_status cli_http(struct cli *c, struct http_client **out);

/* Call the coordinator: path below the URL, JSON in and out (body is taken, may be NULL; *reply is
 * owned, may be asked for with NULL). sign: with the user's key. */
enum emac_status cli_call(struct cli *c, const char *method, const char *path, json_t *body,
                          bool sign, json_t **reply);
/* GET `path` and show the list that is member `key` of the answer: each item by `say`, and what
 * there is to say of an empty one (NULL: nothing). The answer is the result. */
enum emac_status cli_list(struct cli *c, const char *path, bool sign, const char *key,
                          const char *empty, void (*say)(struct cli *c, json_t *item));
/* Text made fit for the query of a URL (percent-encoded); free it. */
char *cli_encoded(const char *text);
/* `bytes` random bytes in hex, with the NUL: what tells a request from those before it. */
void cli_random_hex(struct cli *c, char *out, size_t bytes);
/* Has the job or sweep in this state ended? */
bool cli_ended(const char *state);
/* Ask for `what`, a "job" or a "sweep", until it has ended; *out is owned. What comes before goes
 * to `progress`. A coordinator that is away for a while is waited for. CANCELLED when asked to
 * stop. */
enum emac_status cli_await(struct cli *c, const char *what, const char *id,
                           void (*progress)(struct cli *c, json_t *now), json_t **out);
/* Cancel such a one of the user's, and say so. */
enum emac_status cli_cancel(struct cli *c, const char *what, const char *id);
/* Make the DAG under cid complete in `s`: fetched from the coordinator when blocks are missing. */
enum emac_status cli_fetch(struct cli *c, struct store *s, const struct cid *cid);
/* Upload it to the coordinator's depot, signed with the user's key. */
enum emac_status cli_push(struct cli *c, struct store *s, const struct cid *cid);
/* POST, signed; sent again when nobody answered, for what is made by it has one name. body is
 * taken. */
enum emac_status cli_post(struct cli *c, const char *path, json_t *body, json_t **reply);

/* stdout text unless --json or --quiet; printf-like. Whoever goes away and reads no further has
 * seen enough: but for a service the command is asked to stop. */
void cli_say(struct cli *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Progress: on a terminal rewrites one line on stderr, else prints a line at most every 10 s. */
void cli_progress(struct cli *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void cli_progress_end(struct cli *c);
/* With --json: print the object as the last line of stdout, once: a failure after it adds none.
 * Takes the reference. */
void cli_result(struct cli *c, json_t *object);
/* A line of stdout before the last, for commands that tell how things go. The same otherwise. */
void cli_update(struct cli *c, json_t *object);

/* Of all that was printed: OK; NO_SPACE or IO when some of it could not be written. *gone: nobody
 * reads any more. */
enum emac_status cli_output_end(bool *gone, struct emac_err *err);

/* Member access with defaults, for replies. */
const char *cli_str(json_t *o, const char *key);
double cli_num(json_t *o, const char *key);

#define X(name, line) enum emac_status cmd_##name(struct cli *c, int argc, char **argv);
CLI_COMMANDS(X)
#undef X

#endif
