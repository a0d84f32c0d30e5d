"""layout.py and record.h say the same."""

from __future__ import annotations

import ctypes
import json
import re
import subprocess
from pathlib import Path

import pytest

from xdiag.native import calls
from xdiag.recording import layout

HEADER = Path(__file__).parents[2] / "cffi_build" / "audit" / "record.h"
_RESERVED = re.compile(r"reserved_\d")
_ENUMS = {
    "RECORD_VERSION": layout.VERSION,
    "RECORD_HEADER_SIZE": layout.HEADER_SIZE,
    "EVENT_MARKER": layout.EVENT_MARKER,
    **{f"CLOCK_IS_{each.name}": each.value for each in layout.ClockKind},
    **{f"EVENT_{each.name}": each.value for each in layout.EventKind},
    **{f"ANSWER_{each.name}": each.value for each in layout.Answer},
}


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> dict[str, int | str]:
    """What the compiler makes of the header: offsets, sizes, values."""
    if not HEADER.exists():
        pytest.skip("no C sources here")
    lines = ['printf("\\"magic\\": \\"%s\\",\\n", RECORD_MAGIC);']
    for name, structure in layout.STRUCTURES.items():
        lines.append(f'printf("\\"{name}\\": %zu,\\n", sizeof({name}));')
        for field, *_ in structure._fields_:
            if not _RESERVED.fullmatch(field):
                lines.append(
                    f'printf("\\"{name}.{field}\\": %zu,\\n", offsetof({name}, {field}));'
                    f'printf("\\"{name}.{field} size\\": %zu,\\n", sizeof((({name} *)0)->{field}));'
                )
    lines += [f'printf("\\"{name}\\": %llu,\\n", (unsigned long long){name});' for name in _ENUMS]
    folder = tmp_path_factory.mktemp("layout")
    source = folder / "layout.c"
    source.write_text(
        '#include <stdio.h>\n#include <stddef.h>\n#include "record.h"\nint main(void)\n{\n'
        'printf("{");\n' + "\n".join(lines) + '\nprintf("\\"end\\": 0}");\nreturn 0;\n}\n'
    )
    program = folder / "layout"
    subprocess.run(
        ["cc", "-std=gnu11", f"-I{HEADER.parent}", str(source), "-o", str(program)], check=True
    )
    told = subprocess.run([str(program)], capture_output=True, text=True, check=True)
    return json.loads(told.stdout)


def test_every_size_offset_and_value(compiled: dict[str, int | str]) -> None:
    ours: dict[str, int | str] = {"magic": layout.MAGIC.decode(), "end": 0, **_ENUMS}
    for name, structure in layout.STRUCTURES.items():
        ours[name] = ctypes.sizeof(structure)
        for field, *_ in structure._fields_:
            if not _RESERVED.fullmatch(field):
                place = getattr(structure, field)
                ours[f"{name}.{field}"] = place.offset
                ours[f"{name}.{field} size"] = place.size
    assert ours == compiled


def test_no_field_and_no_value_of_the_header_is_left_out() -> None:
    text = re.sub(r"/\*.*?\*/", "", HEADER.read_text(), flags=re.DOTALL)
    structures = re.findall(r"typedef struct \{(.*?)\} (\w+);", text, flags=re.DOTALL)
    assert {name for _, name in structures} == set(layout.STRUCTURES)
    for body, name in structures:
        fields = {
            re.sub(r"\[.*", "", word.split()[-1])
            for line in body.split(";") if line.strip()
            for word in line.split(",")
        }  # fmt: skip
        ours = {field for field, *_ in layout.STRUCTURES[name]._fields_}
        assert {field for field in ours if not _RESERVED.fullmatch(field)} == fields
    values = re.findall(r"\b((?:RECORD|CLOCK_IS|EVENT|ANSWER)_[A-Z_]+) = ", text)
    assert set(values) == set(_ENUMS)


def test_calls_are_the_same_twice() -> None:
    fields = (1, 2, 3, 4, 5, 6, 7, 8, -9, 10)
    entry = layout.CallEntry(*fields)
    assert layout.CALL.unpack(bytes(entry)) == fields
    assert layout.CALL.size == ctypes.sizeof(layout.CallEntry) == 64


def test_the_list_of_calls_has_what_diagnosis_goes_by() -> None:
    """Names and kinds that handles.py, written apart from calls.h, takes as known."""
    from xdiag.recording import handles

    known = calls()
    assert set(handles._BY_NAME) <= set(known)
    kinds = {kind for call in known.values() for kind in call.kinds}
    assert set(handles._BY_KIND) <= kinds
    assert [name for name, call in known.items() if not call.returns_status] == [
        "GetStreamDeviceId"
    ]
