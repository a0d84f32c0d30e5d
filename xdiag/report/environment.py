"""Variables that matter to a GPU program, with their values; of all others the names."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from xdiag.model import Record

if TYPE_CHECKING:
    from collections.abc import Mapping

#: What the runtimes, XSched, the loader, Python, PyTorch and their like read.
_MATTERS = re.compile(
    r"(?:HIP|ROCR|ROCM|ROC|HSA|HCC|AMD|AMDGPU|GPU|CUDA|NVIDIA|NCCL|RCCL|MIOPEN|ROCBLAS|HIPBLASLT|XSCHED"
    r"|XDIAG|LD|PYTORCH|TORCH|TORCHINDUCTOR|TRITON|VLLM|SGLANG|MORI|OMP|KMP|MALLOC|GLIBC"
    r"|VIRTUAL|CONDA|SLURM|KUBERNETES|OMPI|PMI|PMIX)_\w*"
    r"|PYTHON\w*|GLIBC_TUNABLES|PATH|VIRTUAL_ENV|LANG|LC_ALL|RANK|LOCAL_RANK|WORLD_SIZE|LOCAL_WORLD_SIZE"
    r"|MASTER_ADDR|MASTER_PORT|container"
)
#: Of these only the name is told: machinery with long values, or with nothing but private ones.
_NAME_ONLY = re.compile(
    r"SLURM_(?:JOB_)?(?:UID|GID|USER)|KUBERNETES_\w*|CONDA_\w*(?:PS1|PROMPT)\w*"
)


class Variables(Record, frozen=True):
    """The environment as a report has it."""

    #: Those that matter, by name.
    values: dict[str, str]
    #: The other ones.
    names: tuple[str, ...]


def variables(environ: Mapping[str, str]) -> Variables:
    """What a report says of ``environ``."""
    names = sorted(environ)
    told = [name for name in names if _MATTERS.fullmatch(name) and not _NAME_ONLY.fullmatch(name)]
    shown = set(told)
    return Variables(
        values={name: environ[name] for name in told},
        names=tuple(name for name in names if name not in shown),
    )
