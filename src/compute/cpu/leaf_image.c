/* Pooling: ref/pool.c in vector code, the channels of a window side by side. */
#include "compute/cpu/leaf.h"

#define CHANNELS 64 /* taken together: a few registers */

/* The first largest of each channel, of the first NaN if there is one, and which cell it is in. */
INLINE void window_max(float *max, int32_t *cell, const float *x, const struct cpu_pool *p,
                       size_t n)
{
    int32_t at = 0;
    for (size_t j = 0; j < n; j++) {
        max[j] = x[j];
        cell[j] = 0;
    }
    for (size_t i = 0; i < p->size; i++)
        for (size_t k = 0; k < p->size; k++, at++) {
            const float *v = x + i * p->row + k * p->channels;
            for (size_t j = 0; j < n; j++) {
                bool more = (v[j] > max[j]) | ((v[j] != v[j]) & (max[j] == max[j]));
                max[j] = more ? v[j] : max[j];
                cell[j] = more ? at : cell[j];
            }
        }
}

void LEAF(maxpool)(float *y, const float *x, const struct cpu_pool *p)
{
    float max[CHANNELS];
    int32_t cell[CHANNELS];
    for (size_t c = 0; c < p->channels; c += CHANNELS) {
        size_t n = p->channels - c < CHANNELS ? p->channels - c : CHANNELS;
        window_max(max, cell, x + c, p, n);
        for (size_t j = 0; j < n; j++)
            y[c + j] = max[j] + 0.0f;
    }
}

/* Cells that are not the largest get +0 added, which does not show: dx is never -0. */
void LEAF(maxpool_grad)(float *dx, const float *dy, const float *x, const struct cpu_pool *p)
{
    float max[CHANNELS];
    int32_t cell[CHANNELS];
    for (size_t c = 0; c < p->channels; c += CHANNELS) {
        size_t n = p->channels - c < CHANNELS ? p->channels - c : CHANNELS;
        int32_t at = 0;
        window_max(max, cell, x + c, p, n);
        for (size_t i = 0; i < p->size; i++)
            for (size_t k = 0; k < p->size; k++, at++) {
                float *to = dx + c + i * p->row + k * p->channels;
                for (size_t j = 0; j < n; j++)
                    to[j] = to[j] + (cell[j] == at ? dy[c + j] : 0.0f);
            }
    }
}

void LEAF(avgpool)(float *y, const float *x, const struct cpu_pool *p)
{
    for (size_t c = 0; c < p->channels; c += CHANNELS) {
        size_t n = p->channels - c < CHANNELS ? p->channels - c : CHANNELS;
        float sum[CHANNELS] = {0};
        for (size_t i = 0; i < p->size; i++)
            for (size_t k = 0; k < p->size; k++)
                for (size_t j = 0; j < n; j++)
                    sum[j] = sum[j] + x[c + i * p->row + k * p->channels + j];
        for (size_t j = 0; j < n; j++)
            y[c + j] = sum[j] * p->inv;
    }
}

void LEAF(avgpool_grad)(float *dx, const float *dy, const struct cpu_pool *p)
{
    for (size_t i = 0; i < p->size; i++)
        for (size_t k = 0; k < p->size; k++) {
            float *to = dx + i * p->row + k * p->channels;
            NO_OVERLAP
            for (size_t j = 0; j < p->channels; j++)
                to[j] = to[j] + dy[j] * p->inv;
        }
}
