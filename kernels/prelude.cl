/* Begins every program; compute/fn.h and the program's own text follow.
 *
 * OpenCL C 1.2. Only + - * and fma on floats, and the functions of fn.h: no mad, native_*, half_*,
 * built-in division or square root (docs/numerics.md). Every index is a ulong or size_t: tensors
 * go past 4 GiB. */
#pragma OPENCL FP_CONTRACT OFF

/* A memory argument of cl_call: declare MEMORY(const float, x), then use AT(const float, x). The
 * data are aligned to 4 bytes only: vloadn and vstoren, never a pointer to a vector. */
#define MEMORY(T, name) __global T *name##_base, const ulong name##_at
#define AT(T, name)     ((__global T *)((__global const char *)name##_base + name##_at))

/* Tell that the data are wrong: the host's next read fails. Any of several writers may win. */
#define FAULT(name, code) (*AT(uint, name) = (code))
