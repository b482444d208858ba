/* Speed of a tokenizer: bench_tokenizer TOKENIZER.json TEXT
 * Answers each line of the input, "lines" (the text line by line) or "whole", by the seconds of
 * processor time that encoding took and the number of ids. bench/peer_tokenizer.py answers the
 * same. */
#include "bench.h"
#include "model/tokenizer.h"
#include "os/os.h"

static void file_read(const char *path, struct emac_buf *out)
{
    struct emac_err err;

    emac_buf_init(out, TOKENIZER_TEXT_MAX);
    if (os_real()->file_read(os_real(), path, out, &err) != EMAC_OK) {
        fprintf(stderr, "%s\n", err.text);
        exit(2);
    }
}

/* Each line without its newline, as the peer's lines are. */
static void lines_encode(const struct tokenizer *t, struct emac_slice text, struct emac_buf *ids)
{
    size_t at = 0;

    while (at < text.len) {
        const uint8_t *end = memchr(text.data + at, '\n', text.len - at);
        size_t n = end != NULL ? (size_t)(end - text.data) - at : text.len - at;
        enum emac_status st = tokenizer_encode(t, EMAC_SLICE(text.data + at, n), false, ids, NULL);

        EMAC_ASSERT(st == EMAC_OK);
        at += n + 1;
    }
}

static double seconds(void)
{
    return (double)os_real()->busy_ns(os_real()) * 1e-9;
}

int main(int argc, char **argv)
{
    struct emac_buf json, text, ids;
    struct tokenizer *t;
    char line[16];

    if (argc != 3)
        return 2;
    file_read(argv[1], &json);
    file_read(argv[2], &text);
    emac_buf_init(&ids, (size_t)1 << 33);
    if (tokenizer_read(emac_buf_slice(&json), &t, NULL) != EMAC_OK)
        return 2;
    while (fgets(line, sizeof(line), stdin)) {
        double start;

        emac_buf_clear(&ids);
        start = seconds();
        if (line[0] == 'l')
            lines_encode(t, emac_buf_slice(&text), &ids);
        else
            EMAC_ASSERT(tokenizer_encode(t, emac_buf_slice(&text), false, &ids, NULL) == EMAC_OK);
        printf("%.9f %zu\n", seconds() - start, ids.len / sizeof(int32_t));
        fflush(stdout);
    }
    tokenizer_free(t);
    emac_buf_release(&json);
    emac_buf_release(&text);
    emac_buf_release(&ids);
    return 0;
}
