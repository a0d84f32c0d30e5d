"""A code object for AMD's GPUs with one kernel that does nothing, and one variable.

A launch needs a function, and a copy to a symbol needs a symbol: this is the least that HIP takes
for them.  The layout is LLVM's ("User Guide for AMDGPU Backend": ELF code object, code object v4
metadata, kernel descriptor); the bundle is clang's ("Clang Offload Bundler").
"""

from __future__ import annotations

import struct

import msgspec

KERNEL = "nothing"
VARIABLE = "cell"
#: Bytes of the variable.
VARIABLE_SIZE = 8
#: What the software agent shows; a GPU of another kind says that there is no code for it.
_PROCESSOR = "gfx90a"

_EM_AMDGPU, _ELFOSABI_AMDGPU_HSA, _ABI_V4 = 224, 64, 2
#: EF_AMDGPU_MACH_AMDGCN_GFX90A; XNACK and SRAMECC in any state.
_FLAGS = 0x3F | 0x100 | 0x400
_S_ENDPGM = 0xBF810000
_NT_AMDGPU_METADATA = 32
_SHT_PROGBITS, _SHT_SYMTAB, _SHT_STRTAB, _SHT_HASH, _SHT_DYNAMIC, _SHT_NOTE = 1, 2, 3, 5, 6, 7
_SHT_DYNSYM = 11
_WRITE, _ALLOC, _EXECUTE = 1, 2, 4
_PT_LOAD, _PT_DYNAMIC, _PT_NOTE = 1, 2, 4
_HEADER, _SEGMENT, _SECTION = 64, 56, 64


def _metadata() -> bytes:
    kernel = {
        ".name": KERNEL,
        ".symbol": f"{KERNEL}.kd",
        ".args": [],
        ".kernarg_segment_size": 0,
        ".kernarg_segment_align": 8,
        ".group_segment_fixed_size": 0,
        ".private_segment_fixed_size": 0,
        ".max_flat_workgroup_size": 1024,
        ".wavefront_size": 64,
        ".sgpr_count": 8,
        ".vgpr_count": 8,
        ".sgpr_spill_count": 0,
        ".vgpr_spill_count": 0,
    }
    return msgspec.msgpack.encode(
        {
            "amdhsa.version": [1, 1],
            "amdhsa.target": f"amdgcn-amd-amdhsa--{_PROCESSOR}",
            "amdhsa.kernels": [kernel],
        }
    )


def _note() -> bytes:
    name, content = b"AMDGPU\0", _metadata()
    head = struct.pack("<III", len(name), len(content), _NT_AMDGPU_METADATA)
    return head + name.ljust(8, b"\0") + content.ljust(-(-len(content) // 4) * 4, b"\0")


def _descriptor(to_code: int) -> bytes:
    """The kernel descriptor; ``to_code`` is how many bytes on the kernel's code begins."""
    return struct.pack("<IIIIq20xIIIH6x", 0, 0, 0, 0, to_code, 0, 0, 0, 0)


def code_object() -> bytes:
    """The ELF file."""
    strings = b"\0" + b"\0".join(n.encode() for n in (f"{KERNEL}.kd", KERNEL, VARIABLE)) + b"\0"
    names = ("", ".note", ".dynsym", ".dynstr", ".hash", ".rodata", ".text", ".data", ".dynamic",
             ".symtab", ".strtab", ".shstrtab")  # fmt: skip
    section_names = b"\0".join(name.encode() for name in names) + b"\0"
    symbol_count = 4
    contents = {
        ".note": _note(),
        ".dynsym": bytes(24 * symbol_count),
        ".dynstr": strings,
        # One bucket, whose chain goes through all symbols.
        ".hash": struct.pack("<7I", 1, symbol_count, 1, 0, 2, 3, 0),
        ".rodata": bytes(64),
        ".text": struct.pack("<I", _S_ENDPGM),
        ".data": bytes(VARIABLE_SIZE),
        ".dynamic": bytes(16 * 6),
        # HIP 5.2 takes it for granted that there are these two (ROCclr, amd::Elf).
        ".symtab": bytes(24 * symbol_count),
        ".strtab": strings,
        ".shstrtab": section_names,
    }
    at: dict[str, int] = {}
    end = _HEADER + 3 * _SEGMENT
    for name, content in contents.items():
        # The strictest of them: a kernel's code starts at a multiple of 256 (AMDGPU backend).
        end = -(-end // 256) * 256
        at[name] = end
        end += len(content)
    sections_at = -(-end // 8) * 8

    def symbol(name: str, kind: int, section: str, size: int) -> bytes:
        # STB_GLOBAL, STV_PROTECTED
        return struct.pack(
            "<IBBHQQ",
            strings.index(b"\0" + name.encode() + b"\0") + 1,
            1 << 4 | kind,
            3,
            names.index(section),
            at[section],
            size,
        )

    contents[".rodata"] = _descriptor(at[".text"] - at[".rodata"])
    contents[".dynsym"] = contents[".symtab"] = b"".join(
        (
            bytes(24),
            symbol(f"{KERNEL}.kd", 1, ".rodata", 64),
            symbol(KERNEL, 2, ".text", 4),
            symbol(VARIABLE, 1, ".data", VARIABLE_SIZE),
        )
    )
    # DT_HASH, DT_STRTAB, DT_SYMTAB, DT_STRSZ, DT_SYMENT, DT_NULL
    contents[".dynamic"] = struct.pack(
        "<12Q", 4, at[".hash"], 5, at[".dynstr"], 6, at[".dynsym"], 10, len(strings), 11, 24, 0, 0
    )
    header = struct.pack(
        "<4s5B7xHHIQQQIHHHHHH",
        b"\x7fELF", 2, 1, 1, _ELFOSABI_AMDGPU_HSA, _ABI_V4, 3, _EM_AMDGPU, 1, 0, _HEADER,
        sections_at, _FLAGS, _HEADER, _SEGMENT, 3, _SECTION, len(names), names.index(".shstrtab"),
    )  # fmt: skip
    segments = b"".join(
        struct.pack("<IIQQQQQQ", kind, flags, start, start, start, size, size, align)
        for kind, flags, start, size, align in (
            (_PT_LOAD, 7, 0, sections_at, 4096),
            (_PT_DYNAMIC, 6, at[".dynamic"], len(contents[".dynamic"]), 8),
            (_PT_NOTE, 4, at[".note"], len(contents[".note"]), 4),
        )
    )
    kinds = {
        ".note": (_SHT_NOTE, _ALLOC, 0, 0, 0),
        ".dynsym": (_SHT_DYNSYM, _ALLOC, names.index(".dynstr"), 1, 24),
        ".dynstr": (_SHT_STRTAB, _ALLOC, 0, 0, 0),
        ".hash": (_SHT_HASH, _ALLOC, names.index(".dynsym"), 0, 4),
        ".rodata": (_SHT_PROGBITS, _ALLOC, 0, 0, 0),
        ".text": (_SHT_PROGBITS, _ALLOC | _EXECUTE, 0, 0, 0),
        ".data": (_SHT_PROGBITS, _ALLOC | _WRITE, 0, 0, 0),
        ".dynamic": (_SHT_DYNAMIC, _ALLOC | _WRITE, names.index(".dynstr"), 0, 16),
        ".symtab": (_SHT_SYMTAB, 0, names.index(".strtab"), 1, 24),
        ".strtab": (_SHT_STRTAB, 0, 0, 0, 0),
        ".shstrtab": (_SHT_STRTAB, 0, 0, 0, 0),
    }
    table = bytes(_SECTION)
    for name, (kind, flags, link, info, entry) in kinds.items():
        table += struct.pack(
            "<IIQQQQIIQQ", section_names.index(name.encode() + b"\0"), kind, flags,
            at[name] if flags else 0, at[name], len(contents[name]), link, info,
            4 if name == ".note" else 8, entry,
        )  # fmt: skip
    file = bytearray(sections_at)
    file[: _HEADER + len(segments)] = header + segments
    for name, content in contents.items():
        file[at[name] : at[name] + len(content)] = content
    return bytes(file) + table


def bundle() -> bytes:
    """The code object as it lies in a program that hipcc has compiled."""
    code = code_object()
    entries = (
        ("host-x86_64-unknown-linux--", b""),
        (f"hipv4-amdgcn-amd-amdhsa--{_PROCESSOR}", code),
    )
    head = b"__CLANG_OFFLOAD_BUNDLE__" + struct.pack("<Q", len(entries))
    where = 4096
    for name, content in entries:
        head += struct.pack("<QQQ", where, len(content), len(name)) + name.encode()
    return head.ljust(where, b"\0") + code
