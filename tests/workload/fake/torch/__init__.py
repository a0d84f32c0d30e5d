"""A stand-in for torch: models that sleep, streams that are numbers, faults on demand.

FAKE_MILLISECONDS is what a model takes.  FAKE_FAULT names what happens in a model's tenth call:
segv, exit, raise, hang, flood; or gpu: no GPU is found; import: torch cannot be imported.
"""

import contextlib
import ctypes
import os
import threading
import time
from types import SimpleNamespace

from torch import version as version
from torch.version import __version__ as __version__

_FAULT = os.environ.get("FAKE_FAULT", "")
_TAKES = float(os.environ.get("FAKE_MILLISECONDS", "1")) / 1e3
if _FAULT == "import":
    raise ImportError("libfake.so: cannot open shared object file")

_calls = 0
Tensor = object


def _fail():
    if _FAULT == "segv":
        ctypes.string_at(0)
    elif _FAULT == "exit":
        print("[ERRO] fake said no @ fake.cpp:67", flush=True)
        os._exit(1)
    elif _FAULT == "raise":
        raise RuntimeError("CUDA error: fake")
    elif _FAULT == "hang":
        threading.Event().wait()
    elif _FAULT == "flood":
        for _ in range(1000):
            print("x" * 999)


class _Tensor:
    def __init__(self, *shape, device=None):
        self.shape, self.device = shape, device

    def add_(self, number):
        return self


class _Module:
    def __init__(self, *args, **kwargs):
        self.moved = None

    def to(self, device):
        self.moved = device
        return self

    def eval(self):
        return self

    def __call__(self, images):
        global _calls
        _calls += 1
        if _calls == 10:
            _fail()
        time.sleep(_TAKES)
        return images


class _Traced(_Module):
    def save(self, path):
        with open(path, "w") as file:
            file.write("a network")


def _load(path):
    with open(path) as file:
        assert file.read() == "a network"
    return _Module()


class _Stream:
    made = 0

    def __init__(self, device=None, priority=0):
        _Stream.made += 1
        # More than 32 bits, as on a 64-bit system.
        self.cuda_stream = 0x7F0000000000 + 16 * _Stream.made
        self.priority = priority

    def synchronize(self):
        pass


def _init():
    if _FAULT == "gpu":
        raise RuntimeError("Found no NVIDIA driver on your system. Please check it.\nmore")


nn = SimpleNamespace(**dict.fromkeys(
    "Module Conv2d BatchNorm2d Identity Sequential ReLU MaxPool2d AdaptiveAvgPool2d Linear".split(),
    _Module,
))  # fmt: skip
jit = SimpleNamespace(trace=lambda model, example: _Traced(), load=_load)
cuda = SimpleNamespace(
    init=_init, device_count=lambda: 1, get_device_properties=lambda number: None,
    get_device_name=lambda number: "Fake GPU", Stream=_Stream, set_device=lambda number: None,
    stream=lambda stream: contextlib.nullcontext(), synchronize=lambda: None,
)  # fmt: skip
_C = SimpleNamespace(_GLIBCXX_USE_CXX11_ABI=True)
no_grad = inference_mode = contextlib.nullcontext


def device(*name):
    return name


def zeros(*shape, device=None):
    return _Tensor(*shape, device=device)


def manual_seed(number):
    pass


def set_num_threads(number):
    pass
