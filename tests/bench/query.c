/* Times hipStreamQuery on an idle stream, called through the PLT: nanoseconds per call, a line for
 * each of `rounds` rounds of `calls` calls.  Usage: query ROUNDS CALLS */
#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

int hipInit(unsigned flags);
int hipStreamCreateWithFlags(void **stream, unsigned flags);
int hipStreamQuery(void *stream);

static double now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

int main(int argc, char **argv)
{
    void *stream = NULL;
    if (argc != 3 || hipInit(0) != 0 || hipStreamCreateWithFlags(&stream, 1) != 0)
        return 1;
    long rounds = atol(argv[1]), calls = atol(argv[2]);
    for (long r = 0; r < rounds; r++) {
        double began = now_ns();
        for (long i = 0; i < calls; i++)
            if (hipStreamQuery(stream) != 0)
                return 1;
        printf("%.2f\n", (now_ns() - began) / (double)calls);
    }
    return 0;
}
