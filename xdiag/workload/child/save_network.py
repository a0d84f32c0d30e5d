"""Write the network down as TorchScript: save_network.py FILE WIDTH SIZE."""

from __future__ import annotations

import sys
import warnings

warnings.simplefilter("ignore")

import torch  # noqa: E402 - after its warnings are off
from xdiag_network import network  # type: ignore[import-not-found]  # noqa: E402

path, width, size = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
with torch.no_grad():
    traced = torch.jit.trace(network(width), torch.zeros(1, 3, size, size))
traced.save(path)
