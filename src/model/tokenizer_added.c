/* Added tokens are looked for in the text itself: at the first place where one begins, the longest.
 */
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "model/tokenizer_internal.h"

static int added_compare(const void *a, const void *b)
{
    const struct tok_added *x = *(const struct tok_added *const *)a;
    const struct tok_added *y = *(const struct tok_added *const *)b;
    size_t n = x->content.len < y->content.len ? x->content.len : y->content.len;
    int c = memcmp(x->content.data, y->content.data, n);

    if (c != 0)
        return c;
    if (x->content.len != y->content.len)
        return x->content.len < y->content.len ? -1 : 1;
    return (x->id > y->id) - (x->id < y->id);
}

enum emac_status tok_finder_init(struct tok_finder *f, const struct tok_added *added, uint32_t n,
                                 bool normalized, struct emac_err *err)
{
    enum emac_status st;

    *f = (struct tok_finder){0};
    st = emac_alloc(&f->sorted, (size_t)n + 1, sizeof(struct tok_added *), err);
    if (st != EMAC_OK)
        return st;
    for (uint32_t i = 0; i < n; i++)
        if (added[i].normalized == normalized && added[i].content.len > 0)
            f->sorted[f->count++] = &added[i];
    qsort(f->sorted, f->count, sizeof(struct tok_added *), added_compare);
    for (uint32_t i = f->count; i-- > 0;)
        f->begin[f->sorted[i]->content.data[0]] = i;
    f->begin[256] = f->count;
    for (uint32_t b = 256, next = f->count; b-- > 0;) {
        bool there =
            f->begin[b] < f->count && f->count > 0 && f->sorted[f->begin[b]]->content.data[0] == b;

        if (!there)
            f->begin[b] = next;
        next = f->begin[b];
    }
    return EMAC_OK;
}

void tok_finder_release(struct tok_finder *f)
{
    free(f->sorted);
    *f = (struct tok_finder){0};
}

/* The first in [low, high) whose byte `depth` is at least `byte`; those that end before it come
 * first. */
static uint32_t bound(const struct tok_finder *f, uint32_t low, uint32_t high, size_t depth,
                      unsigned byte)
{
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        struct emac_slice s = f->sorted[middle]->content;

        if (s.len <= depth || s.data[depth] < byte)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* The longest token that the text begins with; NULL when there is none. */
static const struct tok_added *longest(const struct tok_finder *f, const uint8_t *text, size_t n)
{
    const struct tok_added *best = NULL;
    uint32_t low = f->begin[text[0]], high = f->begin[text[0] + 1];

    for (size_t depth = 1; low < high; depth++) {
        if (f->sorted[low]->content.len == depth)
            best = f->sorted[low];
        if (depth == n)
            break;
        low = bound(f, low, high, depth, text[depth]);
        high = bound(f, low, high, depth, text[depth] + 1u);
    }
    return best;
}

static size_t char_before(struct emac_slice text, size_t at, uint32_t *c)
{
    size_t begin = at - 1;

    while (begin > 0 && (text.data[begin] & 0xc0) == 0x80)
        begin--;
    (void)emac_utf8_next(text.data + begin, at - begin, c);
    return begin;
}

static bool stands_alone(struct emac_slice text, size_t start, size_t end)
{
    uint32_t c = 0;

    if (start > 0) {
        (void)char_before(text, start, &c);
        if (tok_class_word(c) == 1)
            return false;
    }
    return end == text.len ||
           (emac_utf8_next(text.data + end, text.len - end, &c) > 0 && tok_class_word(c) != 1);
}

static size_t space_before(struct emac_slice text, size_t at, size_t floor)
{
    uint32_t c = 0;

    while (at > floor) {
        size_t begin = char_before(text, at, &c);

        if (!tok_class_space(c))
            break;
        at = begin;
    }
    return at;
}

static size_t space_behind(struct emac_slice text, size_t at)
{
    uint32_t c = 0;
    size_t n;

    while (at < text.len && (n = emac_utf8_next(text.data + at, text.len - at, &c)) > 0 &&
           tok_class_space(c))
        at += n;
    return at;
}

bool tok_finder_next(const struct tok_finder *f, struct emac_slice text, size_t floor,
                     bool with_special, size_t *from, size_t *start, size_t *end, int32_t *id)
{
    if (f->count == 0)
        return false;
    while (*from < text.len) {
        const uint8_t *p = text.data + *from;
        const struct tok_added *a =
            f->begin[*p] < f->begin[*p + 1] ? longest(f, p, text.len - *from) : NULL;

        if (a == NULL) {
            ++*from;
            continue;
        }
        *start = *from;
        *end = *from += a->content.len;
        if ((a->special && !with_special) || (a->single_word && !stands_alone(text, *start, *end)))
            continue;
        if (a->left && *start > floor)
            *start = space_before(text, *start, floor);
        if (a->right)
            *end = space_behind(text, *end);
        *id = a->id;
        return true;
    }
    return false;
}
