/* Instruction sets by name, and which this processor has. */
#include <string.h>

#include "base/assert.h"
#include "compute/cpu/cpu.h"

static const char *const isa_names[ISA_COUNT] = {"ref", "portable", "avx2", "avx512"};

const char *isa_name(enum isa isa)
{
    EMAC_ASSERT((unsigned)isa < ISA_COUNT);
    return isa_names[isa];
}

enum isa isa_find(const char *name)
{
    if (strcmp(name, "best") == 0)
        return ISA_BEST;
    for (int i = 0; i < ISA_COUNT; i++)
        if (strcmp(isa_names[i], name) == 0)
            return (enum isa)i;
    return ISA_COUNT;
}

bool isa_supported(enum isa isa)
{
    switch (isa) {
    case ISA_REF:
    case ISA_PORTABLE:
    case ISA_BEST:
        return true;
#if defined(__x86_64__)
    case ISA_AVX2:
        return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    case ISA_AVX512:
        return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
               __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
               __builtin_cpu_supports("fma");
#endif
    default:
        return false;
    }
}

enum isa isa_best(void)
{
    enum isa isa = ISA_AVX512;
    while (!isa_supported(isa))
        isa--;
    return isa;
}
