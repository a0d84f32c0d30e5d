"""Whose stream is this?  For a library that is given a hipStream_t by somebody else.

    python3 whose_stream.py /opt/rocm/lib/libamdhip64.so [a copy of that file, for a foreign handle]

The explanation is docs/whose-stream.md of xdiag; what is here may be copied freely.  Measured on
HIP 5.2.3, 5.7.1, 6.4.3 and 7.2.4.
"""

# [the question]
import ctypes
import os

#: Constants of HIP that mean a stream in every copy: NULL, hipStreamLegacy, hipStreamPerThread.
OF_EVERY_COPY = (None, 0, 1, 2)


def stream_is_mine(hip: ctypes.CDLL, stream: int | None) -> bool | None:
    """Whether this copy of the runtime made this stream, which is alive; None where it cannot tell.

    ``stream`` is the whole handle, as ``torch.cuda.Stream().cuda_stream``.  It is never followed,
    no stream is made, and hipGetLastError is left as it was unless an error was waiting there.
    """
    if stream in OF_EVERY_COPY or not hasattr(hip, "hipStreamGetCaptureInfo_v2"):
        return None
    ask = hip.hipStreamGetCaptureInfo_v2
    # Without argtypes ctypes passes 32 bits of a handle that has 64.
    ask.argtypes = [ctypes.c_void_p] * 6
    answers = (ctypes.c_uint64 * 5)()  # room for what it tells of a capture
    waiting = hip.hipPeekAtLastError()
    code = ask(stream, *(ctypes.byref(answers, 8 * n) for n in range(5)))
    if code and not waiting:
        hip.hipGetLastError()
    # hipErrorContextIsDestroyed; on 5.2 hipErrorInvalidValue, and the other arguments are good.
    return {0: True, 709: False, 1: False}.get(code)


# [end]


# [the owner]
def owner_of_stream(stream: int | None) -> ctypes.CDLL | None:
    """The loaded copy of the runtime that knows this stream; None where none does.

    Loads nothing.  A copy that nobody has used so far is initialised by being asked.
    """
    with open("/proc/self/maps") as maps:
        files = [line.split(maxsplit=5)[5].rstrip("\n") for line in maps if "/libamdhip64" in line]
    for file in dict.fromkeys(files):
        try:
            copy = ctypes.CDLL(file, mode=os.RTLD_NOLOAD)
        except OSError:  # mapped by something else, to be read
            continue
        if stream_is_mine(copy, stream):
            return copy
    return None


# [end]


# ---- what it answers, shown ----

WORDS = {True: "mine", False: "not mine", None: "cannot tell"}


class Failed(Exception):
    """What this demonstration needs does not work here."""


def made_by(hip: ctypes.CDLL) -> int:
    """A new stream of this copy."""
    stream = ctypes.c_void_p()
    if hip.hipInit(0) or hip.hipStreamCreateWithFlags(ctypes.byref(stream), 0):
        raise Failed(f"{hip._name}: no stream can be made here")
    return stream.value or 0


def main(files: list[str]) -> None:
    """Ask about one handle of each kind, and print a line for it."""
    hip = ctypes.CDLL(files[0])
    hip.hipStreamDestroy.argtypes = [ctypes.c_void_p]
    live, gone = made_by(hip), made_by(hip)
    hip.hipStreamDestroy(gone)
    zeros = ctypes.create_string_buffer(512)
    handles = {
        "live": live,
        "destroyed": gone,
        "memory of zeros": ctypes.addressof(zeros),
        "no memory at all": 0xDEAD0000DEAD0,
        "NULL": None,
        "hipStreamLegacy": 1,
        "hipStreamPerThread": 2,
    }
    if live != live & 0xFFFFFFFF:  # an interpreter that is no PIE has its heap low
        handles["cut to 32 bits"] = live & 0xFFFFFFFF
    for kind, stream in handles.items():
        print(f"{kind:22} {WORDS[stream_is_mine(hip, stream)]}")
    if len(files) > 1:
        other = ctypes.CDLL(files[1])
        foreign = made_by(other)
        print(f"{'of another copy':22} {WORDS[stream_is_mine(hip, foreign)]}")
        print(f"{'the same, asked there':22} {WORDS[stream_is_mine(other, foreign)]}")
        found = owner_of_stream(foreign)
        second = found is not None and found._handle == other._handle
        print(f"{'owner of foreign':22} {'second' if second else 'not found'}")
    found = owner_of_stream(live)
    first = found is not None and found._handle == hip._handle
    print(f"{'owner of live':22} {'first' if first else 'not found'}")
    print(
        f"{'owner of zeros':22} {'found' if owner_of_stream(ctypes.addressof(zeros)) else 'nobody'}"
    )
    print(f"{'hipGetLastError':22} {hip.hipGetLastError()}")


if __name__ == "__main__":
    import sys

    if len(sys.argv) not in (2, 3):
        sys.exit(f"usage: {sys.argv[0]} LIBAMDHIP64 [COPY]")
    try:
        main(sys.argv[1:])
    except (Failed, OSError) as error:
        print(error, file=sys.stderr)
        sys.exit(3)
