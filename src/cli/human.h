/* Quantities as people read them. Pure. */
#ifndef EMAC_CLI_HUMAN_H
#define EMAC_CLI_HUMAN_H

#include <stdint.h>

#define HUMAN_MAX 24

void human_bytes(char out[HUMAN_MAX], uint64_t bytes);    /* "12.3 MiB" */
void human_duration(char out[HUMAN_MAX], double seconds); /* "1h02m"; "?" when below 0 */
void human_count(char out[HUMAN_MAX], double count);      /* "12.3 k"; "?" when below 0 */

#endif
