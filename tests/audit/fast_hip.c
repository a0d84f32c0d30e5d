/* A runtime whose calls do next to nothing, for counting: hipStreamQuery is asked for by the million. */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

int hipInit(unsigned flags) { return (int)flags; }
int hipGetLastError(void) { return 709; }
int hipPeekAtLastError(void) { return 709; }

/* The handle says what happens: its low 12 bits are the answer. */
int hipStreamQuery(void *stream) { return (int)((uintptr_t)stream & 0xfff); }

int hipStreamSynchronize(void *stream)
{
    (void)stream;
    errno = EXDEV;
    return 0;
}

int hipDeviceSynchronize(void)
{
    pause(); /* where a thread can be cancelled */
    return 0;
}

int hipStreamCreate(void **stream)
{
    /* A child that returns from the call as its parent does. */
    *stream = (void *)(intptr_t)fork();
    return *stream ? 0 : 709;
}
