"""What the loader asks of the processor: which subdirectories hold libraries that suit it better.

Source: glibc, sysdeps/x86/get-isa-level.h, sysdeps/x86/cpu-features.c, elf/dl-hwcaps.c.  Other
processors than x86-64 have no such subdirectories here.
"""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path

from xdiag.model import Record

#: Flags as Linux calls them (/proc/cpuinfo), by x86-64 level; each level needs those before it.
#: abm is LZCNT, pni is SSE3.
_LEVELS = (
    {"cmov", "cx8", "fpu", "fxsr", "mmx", "sse", "sse2"},
    {"cx16", "lahf_lm", "popcnt", "pni", "ssse3", "sse4_1", "sse4_2"},
    {"avx", "avx2", "f16c", "fma", "abm", "movbe"},
    {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"},
)
_HASWELL = {"avx2", "fma", "bmi1", "bmi2", "abm", "movbe", "popcnt"}
_AVX512_1 = {"avx512cd", "avx512bw", "avx512dq", "avx512vl"}
_XEON_PHI = {"avx512cd", "avx512er", "avx512pf"}

# Bits in a cache entry's hwcap field.
_FIRST_PLATFORM = 48
_PLATFORM_BITS = {"haswell": 1 << _FIRST_PLATFORM + 2, "xeon_phi": 1 << _FIRST_PLATFORM + 3}


class Cpu(Record, frozen=True):
    """A processor, as Linux describes it; ``machine`` as os.uname has it."""

    machine: str
    vendor: str = ""
    flags: frozenset[str] = frozenset()

    @property
    def level(self) -> int:
        """x86-64 level, 1 to 4; 0 for what is none."""
        if self.machine != "x86_64":
            return 0
        level = 0
        for needed in _LEVELS:
            if not needed <= self.flags:
                break
            level += 1
        return level

    def platform(self, version: tuple[int, int]) -> str | None:
        """What $PLATFORM stands for; None where glibc of that version knows none.

        The kernel's word (AT_PLATFORM), which since 2.26 gives way to a name for some of Intel's.
        """
        if self.machine != "x86_64":
            return self.machine
        special = self._special_platform if version >= (2, 26) else None
        return special or (None if version == (2, 26) else "x86_64")

    def named_subdirectories(self, version: tuple[int, int]) -> tuple[str, ...]:
        """Names below glibc-hwcaps/, the best first; from glibc 2.33 on."""
        if version < (2, 33):
            return ()
        return tuple(f"x86-64-v{level}" for level in range(self.level, 1, -1))

    def subdirectories(self, version: tuple[int, int]) -> tuple[str, ...]:
        """What is looked into below every directory, in order, each with a slash at its end.

        The last one is empty: the directory itself.  Up to glibc 2.36 all combinations of the old
        names (tls, the platform, x86_64, avx512_1) come after those of glibc-hwcaps.
        """
        named = [f"glibc-hwcaps/{name}/" for name in self.named_subdirectories(version)]
        return (*named, *(self._legacy(version) if version < (2, 37) else ("",)))

    def _legacy(self, version: tuple[int, int]) -> tuple[str, ...]:
        names = [*self._capabilities(version)]
        platform = self.platform(version)
        if platform is not None:
            names.append(platform)
        names.append("tls")
        return tuple(
            "".join(
                f"{names[place]}/" for place in reversed(range(len(names))) if chosen >> place & 1
            )
            for chosen in reversed(range(1 << len(names)))
        )

    def hwcap(self, version: tuple[int, int]) -> int:
        """Bits of capabilities that a cache entry may ask for."""
        return sum(self._capabilities(version).values())

    def platform_bit(self, version: tuple[int, int]) -> int:
        """The bit of a cache entry's hwcap field that is this processor's platform."""
        return _PLATFORM_BITS.get(self.platform(version) or "", 0)

    def _capabilities(self, version: tuple[int, int]) -> dict[str, int]:
        if self.machine != "x86_64" or version < (2, 26):
            return {}
        first = {"x86_64": 2} if version >= (2, 27) else {}
        wide = self.vendor == "GenuineIntel" and self.flags >= _AVX512_1
        if wide and "avx512er" not in self.flags:
            first["avx512_1"] = 4 if version >= (2, 27) else 2
        return first

    @property
    def _special_platform(self) -> str | None:
        if self.vendor != "GenuineIntel":
            return None
        if self.flags >= _XEON_PHI:
            return "xeon_phi"
        return "haswell" if self.flags >= _HASWELL else None


@lru_cache(maxsize=1)
def this_cpu() -> Cpu:
    """The processor that xdiag runs on."""
    vendor, flags = "", frozenset[str]()
    try:
        text = Path("/proc/cpuinfo").read_text(errors="replace").partition("\n\n")[0]
    except OSError:
        text = ""
    for line in text.splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "vendor_id":
            vendor = value.strip()
        elif key.strip() == "flags":
            flags = frozenset(value.split())
    return Cpu(os.uname().machine, vendor, flags)
