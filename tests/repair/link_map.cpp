// The patch's search for the loaded runtime, without the rest of XSched: opens the libraries named
// on the command line, then prints which runtimes it sees and which one it takes.
#include <cstring>

#include "xsched/hip/hal/runtime.h"

int main(int count, char **names)
{
    for (int each = 1; each < count; ++each)
        if (dlopen(names[each], RTLD_NOW | RTLD_LOCAL) == nullptr) {
            fprintf(stderr, "%s\n", dlerror());
            return 2;
        }
    for (const auto &path : xsched::hip::LoadedRuntimes()) printf("loaded %s\n", path.c_str());
    const size_t before = xsched::hip::LoadedRuntimes().size();
    void *handle = xsched::hip::GetRuntime();
    printf("taken %s\n", xsched::hip::GetRuntimePath(handle).c_str());
    printf("opened %zu\n", xsched::hip::LoadedRuntimes().size() - before);
    return handle == xsched::hip::GetRuntime() ? 0 : 1;
}
