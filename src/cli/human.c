#include "cli/human.h"

#include <stddef.h>
#include <stdio.h>

/* Divide until it is below `step`, or the units end. */
static size_t scaled(double *v, double step, size_t units)
{
    size_t u = 0;
    while (*v >= step && u + 1 < units) {
        *v /= step;
        u++;
    }
    return u;
}

void human_bytes(char out[HUMAN_MAX], uint64_t bytes)
{
    static const char *const UNIT[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
    double v = (double)bytes;
    size_t u = scaled(&v, 1024, sizeof UNIT / sizeof UNIT[0]);
    snprintf(out, HUMAN_MAX, u == 0 ? "%.0f %s" : "%.1f %s", v, UNIT[u]);
}

void human_count(char out[HUMAN_MAX], double count)
{
    static const char *const UNIT[] = {"", " k", " M", " G", " T"};
    if (!(count >= 0)) {
        snprintf(out, HUMAN_MAX, "?");
        return;
    }
    double v = count;
    size_t u = scaled(&v, 1000, sizeof UNIT / sizeof UNIT[0]);
    snprintf(out, HUMAN_MAX, u == 0 ? "%.0f%s" : "%.1f%s", v, UNIT[u]);
}

void human_duration(char out[HUMAN_MAX], double seconds)
{
    if (!(seconds >= 0) || seconds > 1e9) {
        snprintf(out, HUMAN_MAX, "?");
        return;
    }
    unsigned s = (unsigned)seconds;
    if (s < 60)
        snprintf(out, HUMAN_MAX, "%us", s);
    else if (s < 3600)
        snprintf(out, HUMAN_MAX, "%um%02us", s / 60, s % 60);
    else
        snprintf(out, HUMAN_MAX, "%uh%02um", s / 3600, s / 60 % 60);
}
