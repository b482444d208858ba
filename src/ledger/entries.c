/* The column `entries` of the journal: "[[account, units],...]" in canonical order, accounts by the
 * number of their row. JSON, so that SQL can read it without us. */
#include <string.h>

#include "base/assert.h"
#include "base/checked.h"
#include "ledger/ledger_impl.h"

#define DIGITS_MAX 20

static char *number_print(char *out, int64_t n)
{
    char digit[DIGITS_MAX];
    size_t count = 0;
    uint64_t left = n < 0 ? -(uint64_t)n : (uint64_t)n;
    if (n < 0)
        *out++ = '-';
    do
        digit[count++] = (char)('0' + left % 10);
    while ((left /= 10) > 0);
    while (count > 0)
        *out++ = digit[--count];
    return out;
}

void ledger_entries_print(char out[LEDGER_ENTRIES_TEXT_MAX], const struct ledger_posting *p,
                          const int64_t *account)
{
    char *at = out;
    EMAC_ASSERT(p->count <= LEDGER_ENTRIES_MAX);
    *at++ = '[';
    for (size_t i = 0; i < p->count; i++) {
        if (i > 0)
            *at++ = ',';
        *at++ = '[';
        at = number_print(at, account[i]);
        *at++ = ',';
        at = number_print(at, p->entry[i].amount_units);
        *at++ = ']';
    }
    *at++ = ']';
    *at = '\0';
}

/* As it is printed: no sign but '-', no zero in front, nothing beyond int64. */
static bool number_read(const char **text, int64_t *out)
{
    const char *s = *text;
    bool negative = *s == '-';
    int64_t n = 0;
    s += negative;
    if (*s < '0' || *s > '9' || (*s == '0' && ((s[1] >= '0' && s[1] <= '9') || negative)))
        return false;
    for (; *s >= '0' && *s <= '9'; s++) {
        int64_t digit = negative ? '0' - *s : *s - '0';
        if (!emac_mul_i64(n, 10, &n) || !emac_add_i64(n, digit, &n))
            return false;
    }
    *out = n;
    *text = s;
    return true;
}

static bool skip(const char **text, char c)
{
    if (**text != c)
        return false;
    (*text)++;
    return true;
}

bool ledger_entries_next(const char **text, size_t n, struct ledger_stored_entry *out)
{
    if (n == 0 && !skip(text, '['))
        return false;
    if ((*text)[0] == ']' && (*text)[1] == '\0') {
        *text = NULL;
        return false;
    }
    return (n == 0 || skip(text, ',')) && skip(text, '[') && number_read(text, &out->account) &&
           skip(text, ',') && number_read(text, &out->units) && skip(text, ']');
}
