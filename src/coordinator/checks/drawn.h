/* What memory holds of lots and of rigs' standing: see checks.h, bonds.h. */
#ifndef EMAC_COORDINATOR_DRAWN_H
#define EMAC_COORDINATOR_DRAWN_H

#include "crypto/evm.h"
#include "sched/draw.h"
#include "sched/trust.h"

#define DEVICE_TEXT_MAX 72
#define PASSED_MAX      8
#define SHOWN_MAX       512

struct node;

/* The chain of secrets. */
struct draw_chain {
    uint64_t first_ms;
    uint8_t last[DRAW_SECRET], anchor[DRAW_SECRET];
    uint32_t epoch; /* of `secret`; 0: none is there */
    uint8_t secret[DRAW_SECRET];
};

/* What a rig's last tasks named: the first 64 bits of digests, a ring. */
struct shown {
    uint32_t count, next;
    uint64_t mark[SHOWN_MAX];
};

/* The lot over a result (checks.h). */
struct drawn {
    uint32_t epoch; /* 0: none was drawn */
    uint32_t share_ppm;
    bool checked;          /* it was to be */
    char of[DID_KEY_MAX];  /* whose result */
    enum draw_class class; /* of the checker */
    bool seeded;           /* the rest is in memory only */
    uint8_t seed[SHA256_BYTES];
    struct node *checker; /* who has the first word, until then; NULL: none is chosen */
    uint64_t until_ms;
    uint32_t passed_count; /* chosen before, and did not come */
    struct node *passed[PASSED_MAX];
};

/* Of a vote that is due (behind.h); in memory only. */
struct due_vote {
    uint64_t alone_ms;  /* since when no rig could give it; 0: one could */
    uint64_t gone_ms;   /* since when nobody holds what the task takes; 0: somebody does */
    uint64_t waited_ms; /* since when the rounds of its job wait for it; 0: they never did */
    bool company;       /* somebody could give it, some time */
    bool spared;        /* it is not waited for, or no longer */
    bool traced;        /* who answered the task was taken to hold what it takes */
};

#endif
