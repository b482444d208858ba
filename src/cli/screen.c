#include "cli/screen.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define WIDTH_USUAL  80
#define HEIGHT_USUAL 24

#define ENTER "\033[?1049h\033[?25l" /* alternate screen, no cursor */
#define LEAVE "\033[?25h\033[?1049l"
#define HOME  "\033[H"
#define REST  "\033[K" /* clear to the end of the line */
#define BELOW "\033[J" /* clear what is below */

/* By the first of these that is set, as setlocale does it. */
static bool locale_is_utf8(void)
{
    static const char *const NAMES[] = {"LC_ALL", "LC_CTYPE", "LANG"};
    for (size_t i = 0; i < EMAC_COUNT(NAMES); i++) {
        const char *v = getenv(NAMES[i]);
        if (v && *v)
            return strcasestr(v, "utf-8") != NULL || strcasestr(v, "utf8") != NULL;
    }
    return false;
}

void screen_init(struct screen *s)
{
    const char *term = getenv("TERM"), *no_colour = getenv("NO_COLOR");
    s->live = isatty(STDOUT_FILENO) && term && *term && strcmp(term, "dumb") != 0;
    s->drawn = false;
    s->colour = s->live && !(no_colour && *no_colour);
    s->utf8 = locale_is_utf8();
}

struct watch_size screen_size(const struct screen *s)
{
    struct winsize w = {0};
    struct watch_size size = {WIDTH_USUAL, HEIGHT_USUAL - 1, s->utf8, s->colour};
    if (s->live && ioctl(STDOUT_FILENO, TIOCGWINSZ, &w) == 0 && w.ws_col > 0 && w.ws_row > 1) {
        size.width = w.ws_col;
        size.height = w.ws_row - 1u;
    }
    return size;
}

void screen_draw(struct screen *s, const struct emac_buf *picture)
{
    EMAC_ASSERT(s->live);
    fputs(s->drawn ? HOME : ENTER HOME, stdout);
    s->drawn = true;
    for (size_t i = 0; i < picture->len; i++) {
        if (picture->data[i] == '\n')
            fputs(REST "\r", stdout);
        putchar(picture->data[i]);
    }
    fputs(BELOW, stdout);
    fflush(stdout);
}

void screen_close(struct screen *s)
{
    if (s->drawn)
        fputs(LEAVE, stdout);
    fflush(stdout);
    s->drawn = false;
}
