/* The terminal that stdout may be. On one that understands escape codes a picture is drawn over
 * the one before, on the alternate screen, which leaves what was there. Anything else (a
 * file, a pipe, TERM=dumb) never gets an escape code. Its size is asked for at every picture, so it
 * may change. */
#ifndef EMAC_CLI_SCREEN_H
#define EMAC_CLI_SCREEN_H

#include "cli/cli.h"
#include "cli/watch_view.h"

struct screen {
    bool live;   /* pictures can be drawn over each other */
    bool drawn;  /* the alternate screen is on */
    bool colour; /* NO_COLOR is not set */
    bool utf8;   /* the locale's encoding */
};

void screen_init(struct screen *s);
/* What a picture may fill: of a terminal all but its last line, else 80 columns and 23 lines. */
struct watch_size screen_size(const struct screen *s);
void screen_draw(struct screen *s, const struct emac_buf *picture);
/* Back to what was there before the first picture. */
void screen_close(struct screen *s);

#endif
