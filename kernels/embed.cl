/* Rows by id; the readable form is ref/linear.c. A team has a token. An id outside the table is told
 * to the host and its row left alone. */

static bool id_fits(int id, ulong vocab)
{
    return id >= 0 && (ulong)id < vocab;
}

__kernel void embed(MEMORY(const int, ids), MEMORY(const float, table), MEMORY(float, y),
                    MEMORY(uint, fault), ulong vocab, ulong d)
{
    size_t token = get_group_id(0);
    int id = AT(const int, ids)[token];
    __global float *y = AT(float, y) + token * d;
    if (!id_fits(id, vocab)) {
        if (get_local_id(0) == 0)
            FAULT(fault, FAULT_ID);
        return;
    }
    __global const float *row = AT(const float, table) + (size_t)id * d;
    ROW_EACH(j, d) y[j] = row[j];
}

/* dtable is filled with +0 before. The first token of each id adds the rows of all tokens of its id
 * in order: each sum has one owner. */
__kernel void embed_grad(MEMORY(const int, ids), MEMORY(const float, dy), MEMORY(float, dtable),
                         MEMORY(uint, fault), ulong n, ulong vocab, ulong d)
{
    size_t token = get_group_id(0);
    __global const int *ids = AT(const int, ids);
    int id = ids[token];
    __global const float *dy = AT(const float, dy);
    if (!id_fits(id, vocab)) {
        if (get_local_id(0) == 0)
            FAULT(fault, FAULT_ID);
        return;
    }
    for (size_t before = 0; before < token; before++)
        if (ids[before] == id)
            return;
    __global float *sum = AT(float, dtable) + (size_t)id * d;
    for (size_t t = token; t < n; t++)
        if (ids[t] == id)
            ROW_EACH(j, d) sum[j] = sum[j] + dy[t * d + j];
}
