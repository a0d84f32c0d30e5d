/* The environment variables that shape the agent; README.md has the table. */
#include "agent.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct knobs knobs;

static bool refuse(const char *name, const char *text, const char *expected)
{
    fprintf(stderr, "xdiag software agent: %s=%s: expected %s\n", name, text, expected);
    return false;
}

static bool read_number(const char *name, uint64_t fallback, uint64_t low, uint64_t high,
                        const char *expected, uint64_t *out)
{
    const char *text = getenv(name);
    if (text == NULL || *text == '\0') {
        *out = fallback;
        return true;
    }
    char *end;
    errno = 0;
    /* strtoull takes a sign and leading blanks; a knob does not. */
    unsigned long long number = strtoull(text, &end, 0);
    if (!isdigit((unsigned char)*text) || *end != '\0' || errno != 0 || number < low ||
        number > high)
        return refuse(name, text, expected);
    *out = number;
    return true;
}

static bool read_isa(void)
{
    static const char name[] = "XDIAG_AGENT_ISA", prefix[] = "amdgcn-amd-amdhsa--";
    static const char expected[] = "an ISA name such as amdgcn-amd-amdhsa--gfx90a:sramecc+:xnack-";
    const char *text = getenv(name);
    if (text == NULL || *text == '\0')
        text = "amdgcn-amd-amdhsa--gfx90a:sramecc+:xnack-";
    const char *processor = text + sizeof prefix - 1;
    if (strlen(text) >= sizeof knobs.isa || strncmp(text, prefix, sizeof prefix - 1) != 0 ||
        strncmp(processor, "gfx", 3) != 0 || !isxdigit((unsigned char)processor[3]))
        return refuse(name, text, expected);
    size_t length = strcspn(processor, ":");
    if (length >= sizeof knobs.processor)
        return refuse(name, text, expected);
    memcpy(knobs.isa, text, strlen(text) + 1);
    memcpy(knobs.processor, processor, length);
    knobs.processor[length] = '\0';
    return true;
}

bool knobs_read(void)
{
    uint64_t devices, microseconds, megabytes, attribute;
    const char *fail = getenv("XDIAG_AGENT_FAIL_ATTRIBUTE");
    if (!read_number("XDIAG_AGENT_DEVICES", 1, 1, MAX_DEVICES, "a whole number from 1 to 8",
                     &devices) ||
        !read_number("XDIAG_AGENT_DISPATCH_US", 0, 0, 3600000000u,
                     "microseconds, from 0 to 3600000000", &microseconds) ||
        !read_number("XDIAG_AGENT_MEMORY_MB", 16384, 64, 1 << 24,
                     "megabytes, from 64 to 16777216", &megabytes) ||
        !read_number("XDIAG_AGENT_FAIL_ATTRIBUTE", 0, 0, UINT32_MAX,
                     "the number of an agent attribute, such as 17 or 0xA002", &attribute) ||
        !read_isa())
        return false;
    knobs.devices = (unsigned)devices;
    knobs.dispatch_ns = microseconds * 1000;
    knobs.memory_bytes = megabytes << 20;
    knobs.fails_an_attribute = fail != NULL && *fail != '\0';
    knobs.fail_attribute = (uint32_t)attribute;
    return true;
}
