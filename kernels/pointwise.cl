/* Element by element: one work-item an element. */

__kernel void add(MEMORY(float, y), MEMORY(const float, a), MEMORY(const float, b), const ulong n)
{
    const size_t i = get_global_id(0);
    if (i < n)
        AT(float, y)[i] = AT(const float, a)[i] + AT(const float, b)[i];
}
