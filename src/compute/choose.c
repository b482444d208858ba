/* Devices by name. */
#include <stdio.h>
#include <string.h>

#include "compute/device.h"
#include "os/process.h"

static enum emac_status spec_unknown(const char *spec, struct emac_err *err)
{
    char list[96] = "";
    for (int i = 0; i < ISA_COUNT; i++)
        snprintf(list + strlen(list), sizeof list - strlen(list), ", cpu/%s",
                 isa_name((enum isa)i));
    return emac_fail(err, EMAC_INVALID,
                     "unknown device '%s': cpu%s, or opencl:N with a number or a part of a name, "
                     "which 'emac doctor' lists",
                     spec, list);
}

enum emac_status device_open(const char *spec, uint32_t threads, struct device **out,
                             struct emac_err *err)
{
    static const char cpu[] = "cpu/", opencl[] = "opencl:";
    enum isa isa = ISA_COUNT;
    if (threads == 0)
        threads = os_cpu_count();
    if (strcmp(spec, "cpu") == 0)
        isa = ISA_BEST;
    else if (strncmp(spec, cpu, sizeof cpu - 1) == 0)
        isa = isa_find(spec + sizeof cpu - 1);
    else if (strncmp(spec, opencl, sizeof opencl - 1) == 0)
        return device_opencl_open(spec + sizeof opencl - 1, out, err);
    else if (strcmp(spec, "opencl") == 0)
        return device_opencl_open("0", out, err);
    return isa == ISA_COUNT ? spec_unknown(spec, err) : device_cpu_open(isa, threads, out, err);
}
