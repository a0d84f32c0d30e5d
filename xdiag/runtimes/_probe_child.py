"""The child of ``probe``: run as a program, with a runtime's path, a descriptor and calls to make.

Answers with one line of JSON after each thing that it does, so that the last line always names the
call in flight.  It shares no module with the rest, and ends without the runtime's exit handlers.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys

#: More than any version's hipDeviceProp_t, which is the longest that a name is the beginning of.
_PROPERTIES = 16384
_NAME = 256


def main() -> None:
    """Load, initialise, count, name."""
    path, fd = sys.argv[1], int(sys.argv[2])
    init, version, count, names = json.loads(sys.argv[3])
    told: dict[str, object] = {}

    def tell(**facts: object) -> None:
        told.update(facts)
        os.write(fd, json.dumps(told).encode() + b"\n")

    tell(doing="dlopen")
    try:
        runtime = ctypes.CDLL(path)
    except OSError as error:
        tell(load_error=" ".join(str(error).encode(errors="replace").decode().split()))
        os._exit(0)
    number = ctypes.c_int(0)
    tell(doing=init, hsa=_mapped("libhsa-runtime64"))
    tell(init=getattr(runtime, init)(0), hsa=_mapped("libhsa-runtime64"))
    tell(doing=version)
    if hasattr(runtime, version):
        getattr(runtime, version)(ctypes.byref(number))
        tell(version=number.value)
    tell(doing=count)
    number.value = 0
    tell(count=getattr(runtime, count)(ctypes.byref(number)), devices=max(0, number.value))
    if told["devices"]:
        tell(doing=names[-1][0], device_name=_name(runtime, names))
    tell(done=True)
    os._exit(0)


def _name(runtime: ctypes.CDLL, calls: list[tuple[str, list[int]]]) -> str:
    for call, arguments in calls:
        if hasattr(runtime, call):
            properties = ctypes.create_string_buffer(_PROPERTIES)
            if getattr(runtime, call)(properties, *arguments) == 0:
                return properties.raw[:_NAME].split(b"\0")[0].decode(errors="replace")
    return ""


def _mapped(name: str) -> list[str]:
    """Files mapped into this process whose names have ``name`` in them."""
    with open("/proc/self/maps", errors="replace") as maps:
        paths = (line.split(maxsplit=5)[5].rstrip("\n") for line in maps if line.count("/"))
        return sorted({path for path in paths if name in os.path.basename(path)})


if __name__ == "__main__":
    main()
