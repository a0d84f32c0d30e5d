"""Uses XSched's HIP HAL in one way, in a process of its own, and prints what came of it as JSON.

Arguments: what to do, the directory with XSched's libraries, runtimes to open first.  The first of
them makes the stream.  Before them, for after-shim, a link to XSched's shim.
"""

import ctypes
import json
import sys
import threading
from ctypes import byref, c_int, c_uint64, c_void_p

CALLBACK = ctypes.CFUNCTYPE(c_int, c_uint64, c_void_p)


def runtime(path):
    library = ctypes.CDLL(path)
    assert library.hipInit(0) == 0
    return library


def new_stream(library, device=0):
    """A stream made in a thread of its own: its memory is then above 4 GB."""
    stream = c_void_p()

    def make():
        assert library.hipSetDevice(device) == 0
        assert library.hipStreamCreateWithFlags(byref(stream), 0) == 0

    thread = threading.Thread(target=make)
    thread.start()
    thread.join()
    assert stream.value
    return stream.value


def create(stream):
    queue = c_uint64()
    return HAL.HipQueueCreate(byref(queue), c_void_p(stream)), queue


def whole_life(library, stream):
    """Create both queues, run one command on the launch worker, destroy all."""
    result, queue = create(stream)
    if result:
        return {"create": result}
    devices = []

    @CALLBACK
    def command(_queue, _data):
        device = c_int(-1)
        library.hipGetDevice(byref(device))
        devices.append(device.value)
        return 0

    xqueue, handle = c_uint64(), c_uint64()
    later = [
        PREEMPT.XQueueCreate(byref(xqueue), queue, c_int(1), c_int(0)),
        PREEMPT.HwCommandCreateCallback(byref(handle), command, None),
        PREEMPT.XQueueSubmit(xqueue, handle),
        PREEMPT.XQueueWaitAll(xqueue),
        PREEMPT.XQueueDestroy(xqueue),
        PREEMPT.HwQueueDestroy(queue),
    ]
    return {"create": result, "later": later, "device": devices}


what, folder, *paths = sys.argv[1:]
if what == "after-shim":
    ctypes.CDLL(paths.pop(0))
libraries = [runtime(path) for path in paths]
first = libraries[0]
stream = new_stream(first, 1 if what == "other-device" else 0)
PREEMPT = ctypes.CDLL(f"{folder}/libpreempt.so")
HAL = ctypes.CDLL(f"{folder}/libhalhip.so")
if what == "destroyed":
    assert first.hipStreamDestroy(c_void_p(stream)) == 0
if what == "truncated":
    assert stream >> 32
memory = ctypes.create_string_buffer(4096)
handles = {
    "truncated": stream & 0xFFFFFFFF,
    "garbage": 0x7123456789AB,
    "no-stream": ctypes.addressof(memory),
    "null": None,
    "legacy": 1,
    "per-thread": 2,
}
told = whole_life(first, handles.get(what, stream))
if what == "two":
    told["other"] = create(new_stream(libraries[1]))[0]
with open("/proc/self/maps") as maps:
    lines = [line.split() for line in maps]
told["inodes"] = sorted({int(line[4]) for line in lines if int(line[4])})
print(json.dumps(told))
