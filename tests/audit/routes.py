"""The same question from Python: ctypes, and a library that is linked against a runtime."""

import ctypes
import os
import sys

how, library, framework_path, bundled = sys.argv[1:5]
framework = ctypes.CDLL(framework_path)
framework.framework_stream.restype = ctypes.c_void_p
stream = ctypes.c_void_p(framework.framework_stream())
assert stream.value
if how == "fork" and (child := os.fork()):
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
if how == "chdir":
    os.chdir("/")
mode = ctypes.RTLD_GLOBAL if how == "global" else ctypes.DEFAULT_MODE
second = ctypes.CDLL(library, mode)
if how == "needed":
    print(second.user_flags(stream), "-", flush=True)
else:
    result = second.hipInit(0) or second.hipStreamGetFlags(stream, ctypes.byref(ctypes.c_uint()))
    same = second._handle == ctypes.CDLL(bundled)._handle
    print(result, "same" if same else "other", flush=True)
