/* A program that is linked against a runtime, and opens the library that is named. */
#include <dlfcn.h>
#include <stdio.h>

int hipInit(unsigned flags);
int hipStreamCreateWithFlags(void **stream, unsigned flags);

int main(int argc, char **argv)
{
    void *stream;
    unsigned flags;
    if (argc < 2 || hipInit(0) != 0 || hipStreamCreateWithFlags(&stream, 1) != 0)
        return 9;
    void *handle = dlopen(argv[1], RTLD_NOW);
    int (*init)(unsigned) = (int (*)(unsigned))dlsym(handle, "hipInit");
    int (*get)(void *, unsigned *) =
        (int (*)(void *, unsigned *))dlsym(handle, "hipStreamGetFlags");
    printf("%d\n", init(0) ? -1 : get(stream, &flags));
    return 0;
}
