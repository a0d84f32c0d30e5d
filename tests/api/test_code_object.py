"""The code object: a well-formed ELF file, read by another reader than the one that wrote it."""

from __future__ import annotations

import io
import struct

import msgspec
from elftools.elf.elffile import ELFFile

from xdiag.code_object import KERNEL, VARIABLE, VARIABLE_SIZE, bundle, code_object


def test_it_is_an_elf_file_with_a_kernel_and_a_variable() -> None:
    file = ELFFile(io.BytesIO(code_object()))
    assert file["e_machine"] == "EM_AMDGPU"
    for table in (".dynsym", ".symtab"):
        symbols = {each.name: each for each in file.get_section_by_name(table).iter_symbols()}
        assert symbols[f"{KERNEL}.kd"]["st_size"] == 64
        assert symbols[VARIABLE]["st_size"] == VARIABLE_SIZE
        assert symbols[KERNEL]["st_info"]["type"] == "STT_FUNC"
    code = file.get_section_by_name(".text")
    assert symbols[KERNEL]["st_value"] == code["sh_addr"]


def test_the_descriptor_leads_to_the_code() -> None:
    file = ELFFile(io.BytesIO(code_object()))
    descriptor = file.get_section_by_name(".rodata")
    (to_code,) = struct.unpack_from("<q", descriptor.data(), 16)
    code = file.get_section_by_name(".text")
    assert descriptor["sh_addr"] + to_code == code["sh_addr"]
    assert code["sh_addr"] % 256 == 0
    assert code.data() == struct.pack("<I", 0xBF810000)  # s_endpgm


def test_the_metadata_names_the_kernel() -> None:
    data = ELFFile(io.BytesIO(code_object())).get_section_by_name(".note").data()
    name_size, size, kind = struct.unpack_from("<III", data)
    assert (data[12 : 12 + name_size], kind) == (b"AMDGPU\0", 32)
    metadata = msgspec.msgpack.decode(data[20 : 20 + size])
    (kernel,) = metadata["amdhsa.kernels"]
    assert (kernel[".name"], kernel[".symbol"]) == (KERNEL, f"{KERNEL}.kd")


def test_the_bundle_leads_to_the_code_object() -> None:
    data = bundle()
    assert data.startswith(b"__CLANG_OFFLOAD_BUNDLE__")
    (count,) = struct.unpack_from("<Q", data, 24)
    at, found = 32, {}
    for _ in range(count):
        where, size, length = struct.unpack_from("<QQQ", data, at)
        found[data[at + 24 : at + 24 + length].decode()] = data[where : where + size]
        at += 24 + length
    assert found["host-x86_64-unknown-linux--"] == b""
    assert found["hipv4-amdgcn-amd-amdhsa--gfx90a"] == code_object()
