#include "compute/cpu/cpu.h"

#include <stdlib.h>

#include "base/assert.h"
#include "base/buf.h"
#include "base/checked.h"
#include "compute/cpu/quant.h"
#include "os/process.h"

static const struct cpu_kernels *const kernels_table[ISA_COUNT] = {
    [ISA_PORTABLE] = &cpu_kernels_portable,
#if defined(__x86_64__)
    [ISA_AVX2] = &cpu_kernels_avx2,
    [ISA_AVX512] = &cpu_kernels_avx512,
#endif
};

void cpu_init(struct cpu *cpu, enum isa isa, uint32_t threads)
{
    *cpu =
        (struct cpu){.k = kernels_table[isa], .quant = cpu_quant_leaf(isa, 0), .threads = threads};
    cpu->level2_floats = os_level2_bytes() / 8 * 5 / sizeof(float); /* B and C pass through too */
    EMAC_ASSERT(cpu->k != NULL && cpu->quant != NULL && cpu->k->mr <= CPU_MR_MAX &&
                cpu->k->nr <= CPU_NR_MAX);
    if (threads > 1)
        cpu->pool = os_pool_new(threads);
}

void cpu_release(struct cpu *cpu)
{
    if (cpu->pool)
        os_pool_free(cpu->pool);
    free(cpu->scratch);
    *cpu = (struct cpu){0};
}

void cpu_parallel(struct cpu *cpu, bool worth, void (*fn)(void *ctx, uint32_t part, uint32_t parts),
                  void *ctx)
{
    if (cpu->pool && worth)
        os_pool_run(cpu->pool, fn, ctx);
    else
        fn(ctx, 0, 1);
}

enum emac_status cpu_scratch(struct cpu *cpu, size_t count, size_t size, void *out_ptr,
                             struct emac_err *err)
{
    size_t bytes;
    enum emac_status st;
    if (!emac_mul_size(count, size, &bytes))
        return emac_fail(err, EMAC_NO_MEMORY, "scratch memory of an operator is too large");
    if (bytes > cpu->scratch_bytes) {
        free(cpu->scratch);
        cpu->scratch = NULL;
        cpu->scratch_bytes = 0;
        st = emac_alloc_aligned(&cpu->scratch, bytes, err);
        if (st != EMAC_OK)
            return st;
        cpu->scratch_bytes = bytes;
    }
    *(void **)out_ptr = cpu->scratch;
    return EMAC_OK;
}
