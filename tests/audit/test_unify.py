"""One runtime out of two: by every way in which a second copy is asked for, and where it is not."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from runtimes.conftest import compile_library
from support import build_fake

from audit.scene import HERE, Scene, program, record, recording

SPLIT, ONE = "709 other", "0 same"


@dataclass(frozen=True)
class Way:
    """How the C program opens the second copy, and what it prints without unify and with it."""

    name: str
    route: str = "path"
    #: What is asked for; {folder} is the scene's.
    library: str = "{second}"
    order: str = ""
    by_path: bool = False
    split: str = SPLIT
    one: str = ONE
    before: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.name.replace(" ", "-")


WAYS = (
    Way("absolute path"),
    Way("absolute path, lazy", route="lazy"),
    Way("RTLD_DEEPBIND", route="deepbind"),
    Way("RTLD_GLOBAL", route="global"),
    # Nothing is opened, so nothing is split; with unify it finds the copy that is loaded.
    Way("RTLD_NOLOAD", route="noload", split="not opened: RTLD_NOLOAD"),
    # The SONAME is loaded already: the loader itself gives that.
    Way("versioned name", library="{soname}", split=ONE),
    Way("versioned name, library first", library="{soname}", order="library-first", by_path=True),
    Way("unversioned name", library="libamdhip64.so"),
    Way("unversioned name, library first", library="libamdhip64.so", order="library-first",
        by_path=True),
    Way("path, library first", order="library-first", by_path=True),
    Way("symlink of another name", library="{folder}/rocm/libhip-by-another-name.so"),
    Way("relative path", library="rocm/{soname}"),
    Way("the program's directory", library="$ORIGIN/rocm/{soname}"),
    Way("dlvsym'd dlsym", route="shim"),
    Way("DT_NEEDED of an opened library", route="needed", library="{user}", split="709 -",
        one="0 -"),
    Way("forked child", order="fork"),
    Way("exec'd child", before=("/usr/bin/env",)),
    Way("changed directory", order="chdir"),
    Way("eight threads", order="threads"),
    Way("closed and opened again", order="again"),
    Way("overwritten environment", order="title"),
    Way("cancelled thread", order="cancelled"),
)  # fmt: skip


def _printed(scene: Scene, way: Way, unify: bool) -> str:
    name = way.library.format(
        second=scene.second, soname=scene.soname, folder=scene.folder, user=scene.user
    )
    extra = {} if "/" in name else scene.found_by_name()
    framework = scene.by_path if way.by_path else scene.framework
    return scene.route(
        way.route, name, way.order, unify=unify, before=way.before, framework=framework, **extra
    )


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_every_way_in_on_the_fake(fake_scene: Scene, way: Way) -> None:
    assert _printed(fake_scene, way, unify=False) == way.split
    assert _printed(fake_scene, way, unify=True) == way.one


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_every_way_in_on_amds_own(real_scene: Scene, way: Way) -> None:
    assert _printed(real_scene, way, unify=False) == way.split
    assert _printed(real_scene, way, unify=True) == way.one


def test_symbol_versions_are_asked_for_as_well(real_scene: Scene) -> None:
    split = real_scene.route("dlvsym", real_scene.second, unify=False)
    assert split in (SPLIT, "-1 other")  # not all versions of HIP have the symbol version hip_4.2
    if split == SPLIT:
        assert real_scene.route("dlvsym", real_scene.second, unify=True) == ONE


PYTHON_WAYS = {
    "absolute path": ("path", "{second}", SPLIT, ONE),
    "RTLD_GLOBAL": ("global", "{second}", SPLIT, ONE),
    "unversioned name": ("path", "libamdhip64.so", SPLIT, ONE),
    "relative path": ("path", "rocm/{soname}", SPLIT, ONE),
    "symlink": ("path", "{folder}/rocm/libhip-by-another-name.so", SPLIT, ONE),
    "forked child": ("fork", "{second}", SPLIT, ONE),
    "changed directory": ("chdir", "{second}", SPLIT, ONE),
    "DT_NEEDED": ("needed", "{user}", "709 -", "0 -"),
}


@pytest.mark.parametrize("way", PYTHON_WAYS)
@pytest.mark.parametrize("which", ["fake_scene", "real_scene"])
def test_every_way_in_from_python(request: pytest.FixtureRequest, which: str, way: str) -> None:
    scene: Scene = request.getfixturevalue(which)
    how, library, split, one = PYTHON_WAYS[way]
    name = library.format(
        second=scene.second, soname=scene.soname, folder=scene.folder, user=scene.user
    )
    extra = {} if "/" in name else scene.found_by_name()
    assert scene.python(how, name, unify=False, **extra) == split
    assert scene.python(how, name, unify=True, **extra) == one


def _requests(path: Path) -> list[tuple[str, str, str]]:
    """(answer, name asked for, why) of every request in a record."""
    with recording(path) as read:
        return [
            (request.answer, request.name, request.why)
            for process in read.facts.processes
            for request in process.requests
        ]


@pytest.mark.parametrize("name", ["{second}", "libamdhip64.so"])
@pytest.mark.parametrize("which", ["fake_scene", "real_scene"])
def test_a_namespace_of_its_own_is_not_repaired_and_said_so(
    request: pytest.FixtureRequest, tmp_path: Path, which: str, name: str
) -> None:
    scene: Scene = request.getfixturevalue(which)
    name = name.format(second=scene.second)
    path, recorded = record(tmp_path)
    told = scene.route("dlmopen", name, unify=True, **scene.found_by_name(), **recorded)
    assert told == SPLIT
    with recording(path) as read:
        process = read.facts.processes[0]
        assert [each.namespace == 0 for each in process.runtimes] == [True, False]
        # What the loader opened, whatever it calls it.
        assert all(os.stat(r.path).st_ino == r.inode for r in process.runtimes)
    answers = [
        answer for answer, asked, _ in _requests(path) if asked.startswith(str(scene.second.parent))
    ]
    # By its path nobody is asked (dl-open.c, dl_open_worker: no caller's map is needed for one).
    assert answers == ([] if "/" in name else ["other namespace"])
    assert read.facts.failures[0].error == "hipErrorContextIsDestroyed"


# ---- programs --------------------------------------------------------------------------------


def _linked(scene: Scene, folder: Path, *options: str) -> Path:
    return program(
        folder / "linked", HERE / "linked.c", str(scene.bundled),
        f"-Wl,-rpath,{scene.bundled.parent}", "-Wl,--allow-shlib-undefined", *options,
    )  # fmt: skip


@pytest.mark.parametrize("binding", ["-Wl,-z,lazy", "-Wl,-z,now", "-fno-plt"])
@pytest.mark.parametrize("which", ["fake_scene", "real_scene"])
def test_a_program_that_is_linked_against_one_copy(
    request: pytest.FixtureRequest, tmp_path: Path, which: str, binding: str
) -> None:
    scene: Scene = request.getfixturevalue(which)
    linked = _linked(scene, tmp_path, binding)
    assert scene.start([linked, scene.second], unify=False).stdout == "709\n"
    assert scene.start([linked, scene.second], unify=True).stdout == "0\n"


MANY = """
import ctypes, sys
libraries = [ctypes.CDLL(path) for path in sys.argv[1:]]
print(len({library._handle for library in libraries}))
"""


def test_a_dozen_copies_become_one(fake_scene: Scene, tmp_path: Path) -> None:
    copies = []
    for number in range(12):
        (tmp_path / str(number)).mkdir()
        copies.append(Path(shutil.copy(fake_scene.runtime, tmp_path / str(number))))
    command = [sys.executable, "-c", MANY, *copies]
    assert fake_scene.start(command, unify=False).stdout == "12\n"
    path, recorded = record(tmp_path)
    assert fake_scene.start(command, unify=True, **recorded).stdout == "1\n"
    with recording(path) as read:
        assert [runtime.path for runtime in read.facts.processes[0].runtimes] == [str(copies[0])]


def test_unify_alone_leaves_no_trace(fake_scene: Scene) -> None:
    show = "import os; print(sorted(os.listdir('/proc/self/fd')), sorted(os.environ.items()))"
    command = [sys.executable, "-c", show]
    audited = fake_scene.start(command, unify=True)
    variables = {"LD_AUDIT", "XDIAG_UNIFY"}
    bare = fake_scene.start(command, unify=False)
    assert (audited.returncode, audited.stderr) == (0, "")
    fds, _, rest = audited.stdout.partition("] [")
    assert fds == bare.stdout.partition("] [")[0]
    assert all(name in rest for name in variables)


@pytest.mark.parametrize("order", ["", "chdir"])
def test_a_copy_that_was_loaded_by_a_relative_path(fake_scene: Scene, order: str) -> None:
    framework = fake_scene.by_path.relative_to(fake_scene.folder)
    name = fake_scene.second
    assert fake_scene.route("path", name, order, unify=False, framework=framework) == SPLIT
    assert fake_scene.route("path", name, order, unify=True, framework=framework) == ONE


# ---- what is not redirected ------------------------------------------------------------------


@pytest.fixture
def scene(fake_library: Path, tmp_path: Path) -> Scene:
    """A scene on the fake runtime for one test, which changes it."""
    return Scene(tmp_path / "scene", fake_library, "libamdhip64.so.5")


def _refused(scene: Scene, tmp_path: Path, answer: str, name: Path, order: str = "") -> str:
    """What the C program prints with unify, if the request for ``name`` had that answer."""
    path, recorded = record(tmp_path)
    printed = scene.route("path", name, order, unify=True, **recorded)
    answers = {asked: (told, why) for told, asked, why in _requests(path)}
    assert answers[str(name)][0] == answer, answers
    return f"{printed}: {answers[str(name)][1]}"


def test_another_major_version_is_left_alone(scene: Scene, tmp_path: Path) -> None:
    build_fake(scene.second.parent, "-Wl,-soname,libamdhip64.so.6")
    assert _refused(scene, tmp_path, "other SONAME", scene.second) == (
        f"{SPLIT}: its SONAME is libamdhip64.so.6, that of the loaded copy is libamdhip64.so.5"
    )


def test_a_copy_that_was_replaced_on_disk_is_left_alone(scene: Scene, tmp_path: Path) -> None:
    shutil.copy(scene.runtime, f"{scene.bundled}.new")
    assert _refused(scene, tmp_path, "file replaced", scene.second, "replaced") == (
        f"{SPLIT}: {scene.bundled} is another file now than when it was loaded"
    )


@pytest.mark.parametrize(
    "content", [b"", b"no library", b"\x7fELF\x02\x01\x01", b"\x7fELF\x02\x01\x01" + bytes(8000)]
)
def test_what_is_no_library_is_left_to_the_loader(
    scene: Scene, tmp_path: Path, content: bytes
) -> None:
    scene.second.write_bytes(content)
    bare = scene.route("path", scene.second, unify=False)
    assert bare.startswith("not opened: ")
    assert scene.route("path", scene.second, unify=True) == bare


def test_a_library_for_another_machine_is_left_to_the_loader(scene: Scene, tmp_path: Path) -> None:
    data = bytearray(scene.second.read_bytes())
    data[0x12] ^= 0x80  # e_machine
    scene.second.write_bytes(data)
    bare = scene.route("path", scene.second, unify=False)
    assert bare.startswith("not opened: ")
    assert _refused(scene, tmp_path, "unreadable", scene.second) == (
        f"{bare}: it is no library for this machine"
    )


@pytest.mark.parametrize("kind", ["fifo", "directory", "link loop"])
def test_what_is_no_file_is_left_to_the_loader(scene: Scene, kind: str) -> None:
    scene.second.unlink()
    if kind == "fifo":
        os.mkfifo(scene.second)
    elif kind == "directory":
        scene.second.mkdir()
    else:
        scene.second.symlink_to("libother.so")
        (scene.second.parent / "libother.so").symlink_to(scene.second.name)
    # (Of a FIFO the loader would wait for the other end, with us or without.)
    name = scene.second if kind != "fifo" else scene.second.parent / "libother.so"
    bare = scene.route("path", name, unify=False)
    assert bare.startswith("not opened: ")
    assert scene.route("path", name, unify=True) == bare


SHIM = "int hipInit(unsigned f) { return (int)f; } int hipStreamGetFlags(void *s, unsigned *f)"
SHIM += " { return s == f; }"


@pytest.mark.parametrize("link", ["libamdhip64.so", "libamdhip64.so.5"])
def test_xscheds_shim_is_itself(scene: Scene, tmp_path: Path, link: str) -> None:
    shim = compile_library(tmp_path / "shim/libshimhip.so", SHIM)
    (shim.parent / link).symlink_to(shim.name)
    path, recorded = record(tmp_path)
    assert scene.route("path", shim.parent / link, unify=True, **recorded) == "0 other"
    with recording(path) as read:
        assert [r.path for r in read.facts.processes[0].runtimes] == [str(scene.bundled)]


def test_a_copy_that_could_not_be_loaded_is_not_the_first(
    scene: Scene, fake_library: Path, tmp_path: Path
) -> None:
    broken = "int nowhere(void); int hipInit(unsigned f) { return nowhere() + (int)f; }"
    compile_library(
        Path(f"{scene.bundled}.broken"), broken, f"-Wl,-soname,{scene.soname}", "-Wl,-z,now"
    )
    assert scene.route("path", scene.second, "broken", unify=True) == ONE


# ---- symbol versions -------------------------------------------------------------------------


def _with_versions(folder: Path, newer: str = "") -> Path:
    """The fake runtime with symbol versions: all of its calls are old, or all but this one."""
    script = folder / "versions.map"
    folder.mkdir(parents=True)
    script.write_text(
        "hip_4.2 { global: hip*; local: *; };\n"
        + (f"hip_5.3 {{ global: {newer}; }} hip_4.2;\n" if newer else "")
    )
    return build_fake(folder, f"-Wl,--version-script={script}")


@pytest.mark.parametrize("who", ["library", "program"])
def test_a_copy_without_the_symbol_versions_that_are_needed_does_not_stand_in(
    scene: Scene, tmp_path: Path, who: str
) -> None:
    older = _with_versions(tmp_path / "older")
    newer = _with_versions(tmp_path / "newer", "hipInit")
    path, recorded = record(tmp_path)
    options = (str(newer), f"-Wl,-rpath,{newer.parent}", "-Wl,--allow-shlib-undefined")
    if who == "program":
        user = program(tmp_path / "user", HERE / "linked.c", *options)
        command: list[str | Path] = [user, newer]
    else:
        user = compile_library(tmp_path / "libuser.so", (HERE / "user.c").read_text(), *options)
        load = "import ctypes, sys; print(ctypes.CDLL(sys.argv[1]).user_flags(None))"
        command = [sys.executable, "-c", load, user]
    done = scene.start(command, unify=True, XDIAG_KEEP=str(older), **recorded)
    # Had it been answered with the older copy: version `hip_5.3' not found.
    assert (done.returncode, done.stderr) == (0, "")
    answers = [(answer, why) for answer, asked, why in _requests(path) if asked == str(newer)]
    by = "/proc/self/exe" if who == "program" else str(user)
    because = f"{by} needs version hip_5.3, which the loaded copy lacks"
    assert answers[0] == ("lacks versions", because)


def test_a_copy_with_the_symbol_versions_that_are_needed_stands_in(
    scene: Scene, tmp_path: Path
) -> None:
    older = _with_versions(tmp_path / "older")
    newer = _with_versions(tmp_path / "newer", "hipMalloc")
    options = (str(older), f"-Wl,-rpath,{older.parent}", "-Wl,--allow-shlib-undefined")
    user = program(tmp_path / "user", HERE / "linked.c", *options)
    path, recorded = record(tmp_path)
    done = scene.start([user, older], unify=True, XDIAG_KEEP=str(newer), **recorded)
    assert (done.returncode, done.stdout) == (0, "0\n")
    with recording(path) as read:
        assert [runtime.path for runtime in read.facts.processes[0].runtimes] == [str(newer)]


# ---- the copy that is to be kept -------------------------------------------------------------


@pytest.mark.parametrize("name", ["{second}", "libamdhip64.so", "{soname}"])
def test_the_copy_to_keep_comes_in_place_of_the_one_asked_for_first(
    fake_scene: Scene, tmp_path: Path, name: str
) -> None:
    name = name.format(second=fake_scene.second, soname=fake_scene.soname)
    path, recorded = record(tmp_path)
    printed = fake_scene.route(
        "path", name, "library-first", unify=True, framework=fake_scene.by_path,
        XDIAG_KEEP=str(fake_scene.bundled), **fake_scene.found_by_name(), **recorded,
    )  # fmt: skip
    assert printed == ONE
    with recording(path) as read:
        kept = read.facts.processes[0].runtimes
    status = fake_scene.bundled.stat()
    assert [(r.path, r.device, r.inode) for r in kept] == [
        (str(fake_scene.bundled), status.st_dev, status.st_ino)
    ]


@pytest.mark.parametrize("keep", ["", "/nowhere/libamdhip64.so.5", "/dev/null", "x" * 5000])
def test_a_copy_to_keep_that_is_none_changes_nothing(fake_scene: Scene, keep: str) -> None:
    printed = fake_scene.route(
        "path", fake_scene.second, "library-first", unify=True, framework=fake_scene.by_path,
        XDIAG_KEEP=keep,
    )  # fmt: skip
    assert printed == ONE
