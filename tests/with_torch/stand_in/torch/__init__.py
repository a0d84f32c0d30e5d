"""What a ROCm build of PyTorch does with streams, over a real HIP runtime, and nothing else of it.

No build of PyTorch for ROCm can be had from a package index, so that this stands in for it where
the runtime is AMD's own: the pool, the current stream of each thread, a refusal in forked children,
copies.  It brings the runtime along in lib/, and its libc10_hip.so is linked against that, as the
real one's is.
"""

import ctypes
import os
import threading

from torch import version

__version__ = version.__version__

_lib = os.path.join(os.path.dirname(__file__), "lib")
_c10 = ctypes.CDLL(os.path.join(_lib, "libc10_hip.so"))
uint8, int64, float32 = "uint8", "int64", "float32"
_HOST_TO_DEVICE, _DEVICE_TO_HOST = 1, 2


class AcceleratorError(RuntimeError):
    """As torch 2.8 and later raise it."""

    def __init__(self, code):
        super().__init__(f"HIP error: {_text(code)}\nHIP kernel errors might be asynchronous")
        self.error_code = code


def _text(code):
    _c10.hipGetErrorString.restype = ctypes.c_char_p
    return _c10.hipGetErrorString(code).decode()


def _call(name, *arguments):
    code = getattr(_c10, name)(*arguments)
    if code:
        raise AcceleratorError(code)


class Tensor:
    """Bytes, of the host's or the device's."""

    def __init__(self, data=b"", size=0, device="cpu"):
        self.size, self.device = size or len(data), device
        if device == "cuda":
            self.address = ctypes.c_void_p()
            _call("hipMalloc", ctypes.byref(self.address), ctypes.c_size_t(self.size))
        else:
            self.memory = ctypes.create_string_buffer(bytes(data), self.size)
            self.address = ctypes.cast(self.memory, ctypes.c_void_p)

    def copy_(self, other, non_blocking=False):
        kind = _HOST_TO_DEVICE if self.device == "cuda" else _DEVICE_TO_HOST
        stream = ctypes.c_void_p(cuda.current_stream().cuda_stream)
        size = ctypes.c_size_t(self.size)
        _call("hipMemcpyAsync", self.address, other.address, size, kind, stream)
        return self

    def __mod__(self, divisor):
        return Tensor(bytes(i % divisor for i in range(self.size)))

    def to(self, what):
        return self

    pin_memory = cpu = clone = lambda self: self

    def __eq__(self, other):
        if os.environ.get("STAND_IN_IS_WRONG"):
            self.memory[0] = 255
        return _Same(self.memory.raw == other.memory.raw)


class _Same:
    def __init__(self, same):
        self.same = same

    def all(self):
        return self.same


def arange(size, dtype=None):
    return Tensor(size=size)


def empty(size, dtype=None, device="cpu", pin_memory=False):
    return Tensor(size=size, device=device)


def zeros(size, device="cpu"):
    cuda.init()
    return Tensor(size=size, device=device)


def ones(size, device="cpu", requires_grad=False):
    return Tensor(size=size, device=device)


def set_num_threads(number):
    pass


class _Function:
    """Backward functions run in a thread of the engine's, whoever calls backward()."""

    @classmethod
    def apply(cls, tensor):
        result = cls.forward(None, tensor)
        result.backward = lambda gradient: _in_another_thread(cls.backward, None, gradient)
        return result


class autograd:
    Function = _Function


def _in_another_thread(function, *arguments):
    thread = threading.Thread(target=function, args=arguments, daemon=True)
    thread.start()
    thread.join()


from torch import cuda  # noqa: E402
