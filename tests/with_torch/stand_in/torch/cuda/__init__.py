"""Streams as c10/hip/HIPStream.cpp hands them out."""

import contextlib
import ctypes
import os
import threading

import torch

_POOL_SIZE = 32
_thread = threading.local()
_pools = {}
_given = {}
_started_in = None


def _is_in_bad_fork():
    return _started_in is not None and _started_in != os.getpid()


def init():
    global _started_in
    if _is_in_bad_fork():
        raise RuntimeError(
            "Cannot re-initialize CUDA in forked subprocess. To use CUDA with"
            " multiprocessing, you must use the 'spawn' start method"
        )
    if not device_count():
        raise RuntimeError("No HIP GPUs are available")
    _started_in = os.getpid()


def device_count():
    count = ctypes.c_int()
    if "STAND_IN_SEES_NOTHING" in os.environ:
        return 0
    return 0 if torch._c10.hipGetDeviceCount(ctypes.byref(count)) else count.value


def _pool(device, priority):
    """All of a pool's streams, made by the thread that asks first."""
    if (device, priority) not in _pools:
        before = ctypes.c_int()
        torch._call("hipGetDevice", ctypes.byref(before))
        torch._call("hipSetDevice", device)
        made = [ctypes.c_void_p() for _ in range(_POOL_SIZE)]
        for each in made:
            torch._call("hipStreamCreateWithPriority", ctypes.byref(each), 1, priority)
        torch._call("hipSetDevice", before.value)
        _pools[device, priority] = [each.value for each in made]
    return _pools[device, priority]


class ExternalStream:
    def __init__(self, handle, device=0):
        self.cuda_stream, self.device = handle, device

    def synchronize(self):
        torch._call("hipStreamSynchronize", ctypes.c_void_p(self.cuda_stream))


class Stream(ExternalStream):
    def __init__(self, device=0, priority=0):
        init()
        pool = _pool(device, priority)
        turn = _given.get((device, priority), 0)
        _given[device, priority] = turn + 1
        super().__init__(pool[turn % _POOL_SIZE], device)


def default_stream():
    return ExternalStream(0)


def current_stream():
    return getattr(_thread, "current", None) or default_stream()


def set_stream(stream):
    _thread.current = stream


@contextlib.contextmanager
def stream(new):
    init()
    before = current_stream()
    set_stream(new)
    yield
    set_stream(before)


def synchronize():
    torch._call("hipDeviceSynchronize")


class CUDAGraph:
    def capture_begin(self, capture_error_mode="global"):
        mode = {"global": 0, "thread_local": 1, "relaxed": 2}[capture_error_mode]
        torch._call("hipStreamBeginCapture", ctypes.c_void_p(current_stream().cuda_stream), mode)
