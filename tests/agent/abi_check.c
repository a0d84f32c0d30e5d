/* Holds the agent's own numbers and layouts to AMD's public headers.
 *
 * Compiling this file is the whole test: it includes the headers and expands the agent's lists to
 * assertions about them. Define XDIAG_NEWER_HEADERS for headers of ROCm 6.2 and later, to check
 * the NEWER_VALUE lines too.
 */
#include <stddef.h>

#include <hsa/hsa.h>
#include <hsa/hsa_ext_amd.h>
#include <hsa/amd_hsa_queue.h>
#include <hsa/amd_hsa_signal.h>

#define VALUE(name, number) _Static_assert((long long)(name) == (number), #name);
#ifdef XDIAG_NEWER_HEADERS
#define NEWER_VALUE VALUE
#else
#define NEWER_VALUE(name, number)
#endif
#include "hsa_values.def"

#define SIZE(type, bytes) _Static_assert(sizeof(type) == (bytes), "size of " #type);
#define OFFSET(type, member, bytes) \
    _Static_assert(offsetof(type, member) == (bytes), "offset of " #type "." #member);
#include "hsa_layouts.def"
