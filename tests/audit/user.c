/* A library that is linked against a runtime: its own file says which name that is asked by. */
int hipInit(unsigned flags);
int hipStreamGetFlags(void *stream, unsigned *flags);

int user_flags(void *stream)
{
    unsigned flags;
    int result = hipInit(0);
    return result ? result : hipStreamGetFlags(stream, &flags);
}
