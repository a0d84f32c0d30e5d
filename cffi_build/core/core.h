/* Shared between the core's own files; not part of what Python sees. */
#ifndef XDIAG_CORE_H
#define XDIAG_CORE_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <stddef.h>
#include <stdint.h>

#include "api.h"

/* Room for the symbols of the call list, in each runtime. */
enum { MAX_CALLS = 256 };

/* A symbol of runtime `index` for `call`: its address, NULL where there is none. */
void *xd_symbol(int32_t index, int32_t call);

/* What runtime `index` exports by this name, NULL if nothing or if it is not open. */
void *xd_export(int32_t index, const char *name);

/* The call number `call` of the runtime that library `index` was told to open, NULL if none. */
void *xd_symbol_behind(int32_t index, int32_t call);

/* runtimes.c: open runtime number request->runtime as it was declared. */
void xd_open(xd_request *request);

/* calls.c: make the call that the request names; the runtime must be open. */
void xd_make_call(xd_request *request);

/* Write a message into request->error and mark it as failed. */
void xd_fail(xd_request *request, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
