"""Print as one line of JSON what this interpreter's torch is, and which GPU it has."""

from __future__ import annotations

import json
import os
import platform
import sys
import warnings

warnings.simplefilter("ignore")


def _no_gpu(torch: object) -> str:
    """Why there is no GPU, in torch's own words; empty where there is one."""
    cuda = torch.cuda  # type: ignore[attr-defined]
    try:
        cuda.init()
        if cuda.device_count():
            cuda.get_device_properties(0)
            return ""
    except Exception as error:  # whatever it is, it is the answer
        return (str(error).strip().splitlines() or [type(error).__name__])[0]
    return "torch counts no GPU"


def main() -> None:
    """Ask, and answer on the last line of standard output."""
    try:
        import torch
    except Exception as error:
        print(json.dumps({"problem": f"{type(error).__name__}: {error}"}))
        return
    version = torch.version
    answer = {
        "python_version": platform.python_version(),
        "torch": str(torch.__version__),
        "hip": getattr(version, "hip", None) or "",
        "cuda": getattr(version, "cuda", None) or "",
        "folder": os.path.dirname(os.path.abspath(torch.__file__)),
        "cxx11_abi": bool(getattr(torch._C, "_GLIBCXX_USE_CXX11_ABI", True)),
        "no_gpu": "",
        "device_name": "",
    }
    if answer["hip"] or answer["cuda"]:
        answer["no_gpu"] = _no_gpu(torch)
        if not answer["no_gpu"]:
            answer["device_name"] = torch.cuda.get_device_name(0)
    else:
        answer["no_gpu"] = f"torch {torch.__version__} was built for CPUs only"
    print(json.dumps(answer))
    sys.stdout.flush()


main()
