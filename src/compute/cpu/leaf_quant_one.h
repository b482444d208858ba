/* One row of activations, as a token's, times weights of q8_0 (leaf_quant.h
 * includes this). Unpacking a panel pays when many rows use it; here each weight
 * is used once, so it is multiplied as it lies: a lane sums four products, and
 * one tree of adds makes the four sums of each row of weights its one lane. From
 * there on all is as in a tile, lane by lane. Integer sums may be made in any
 * order, so no bit knows of it.
 *
 * The other formats have half the bytes to read or less, and unpacking them
 * takes the same time as this would. */

#define BLOCK_Q8_0 34

/* Part of some rows: bytes of the first row's block of 256 on. */
struct one {
    const uint8_t *data;
    size_t row, parts;
    const int8_t *q;
    const float *d;
    const int32_t *bias;
    struct cpu_quant_ahead ahead;
};

/* Lane 4 l + i: the sum of the four lanes of the l-th 16 bytes of s[i]. */
INLINE vec fours(const vec s[4])
{
    vec ab = low32(s[0], s[1]) + high32(s[0], s[1]);
    vec cd = low32(s[2], s[3]) + high32(s[2], s[3]);
    return low64(ab, cd) + high64(ab, cd);
}

/* The exact sum of part `part` for each of LANES rows. */
INLINE vec one_sum(const struct one *o, size_t part)
{
    const vec flip = vec_splat(QUANT_SIGNED ? 0 : (int)0x80808080u);
    const uint8_t *p = o->data + part * BLOCK_Q8_0 + 2;
    vec low = lanes_splat(o->q + part * QUANT_PART);
    vec high = lanes_splat(o->q + part * QUANT_PART + GROUP), s[4];
    for (size_t i = 0; i < 4; i++) {
        vec a = lanes_load(p + i * o->row, o->row);
        vec b = lanes_load(p + GROUP + i * o->row, o->row);
        s[i] = dot(dot(vec_splat(0), a ^ flip, low), b ^ flip, high);
    }
    return fours(s) + vec_splat(o->bias[2 * part]);
}

/* The first four bytes of each part, where d is: vectors would load other bytes with them and be
 * turned for them. */
INLINE void heads_read(uint32_t heads[CPU_PARTS][LANES], const struct one *o)
{
    for (size_t p = 0; p < o->parts; p++)
        for (size_t r = 0; r < LANES; r++)
            memcpy(&heads[p][r], o->data + r * o->row + p * BLOCK_Q8_0, sizeof heads[p][r]);
}

static vecf one_block(const struct one *o)
{
    uint32_t heads[CPU_PARTS][LANES];
    vecf acc = vecf_splat(0.0f);
    heads_read(heads, o);
    for (size_t p = 0; p < o->parts; p++) {
        vecf sum = vecf_from(one_sum(o, p));
        vec head;
        ahead_fetch(&o->ahead, p);
        memcpy(&head, heads[p], sizeof head);
        acc = vecf_fma(sum, halves_widen(head) * vecf_splat(o->d[p]), acc);
    }
    return acc;
}

static void one(float *c, const struct cpu_quant_x *x, const struct cpu_quant_w *w)
{
    uint8_t whole[LANES][ROW_MAX];
    vecf total = vecf_splat(0.0f);
    struct one o = {.row = w->rows < LANES ? ROW_MAX : w->row_bytes, .ahead = w->ahead};
    if (w->rows < LANES) /* the missing rows are zeros */
        memset(whole, 0, sizeof whole);
    for (size_t first = 0; first < w->parts; first += CPU_PARTS) {
        o.data = w->data + first * BLOCK_Q8_0;
        o.parts = w->parts - first < CPU_PARTS ? w->parts - first : CPU_PARTS;
        o.q = x->q + first * QUANT_PART;
        o.d = x->d + first;
        o.bias = x->bias + 2 * first;
        if (w->rows < LANES) {
            for (size_t r = 0; r < w->rows; r++)
                memcpy(whole[r], o.data + r * w->row_bytes, o.parts * BLOCK_Q8_0);
            o.data = whole[0];
        }
        total = total + one_block(&o);
        o.ahead.data += o.parts * o.ahead.part;
    }
    memcpy(c, &total, w->rows * sizeof *c);
}
