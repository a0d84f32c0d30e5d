"""What generated trees cannot show on one machine: other versions, other distributions, words."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import msgspec
import pytest

from loader.compared import Place
from loader.elf_writer import ET_EXEC, Content, written
from loader.trees import INTERPRETER, Library, Link, Tree, lay_out
from xdiag.discover.root import Root
from xdiag.loader import glibc
from xdiag.loader.cpu import Cpu, this_cpu
from xdiag.loader.link_map import LinkMap, Loaded, NotGlibc, NotLoaded, Rule
from xdiag.loader.preloads import in_file
from xdiag.loader.program import interpreter_of
from xdiag.loader.search import Searcher
from xdiag.loader.tokens import Tokens

HERE = Root()
BASE = {"cmov", "cx8", "fpu", "fxsr", "mmx", "sse", "sse2"}
V2 = BASE | {"cx16", "lahf_lm", "popcnt", "pni", "ssse3", "sse4_1", "sse4_2"}
V3 = V2 | {"avx", "avx2", "f16c", "fma", "abm", "movbe", "bmi1", "bmi2"}
V4 = V3 | {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}
INTEL, AMD = "GenuineIntel", "AuthenticAMD"


# ---- the machine's own loader says the same of itself ----------------------------------------


def _diagnostics() -> dict[str, str]:
    done = subprocess.run([INTERPRETER, "--list-diagnostics"], capture_output=True, text=True)
    if done.returncode:
        pytest.skip("this machine's loader does not describe itself (before glibc 2.33)")
    return dict(re.findall(r'^([a-z_.]+(?:\[0x[0-9a-f]+\])?)="?([^"\n]*)"?$', done.stdout, re.M))


def test_facts_of_this_machines_loader(driver: str) -> None:
    said = _diagnostics()
    facts = glibc.of_program("/x", INTERPRETER, HERE)
    dirs = [value for name, value in said.items() if name.startswith("path.system_dirs")]
    assert facts.system_dirs == tuple(dirs)
    assert facts.lib == said["dl_dst_lib"]
    assert ".".join(map(str, facts.version)) == said["version.version"]
    assert facts.version_known
    assert this_cpu().platform(facts.version) == said["dl_platform"]
    if "dl_hwcap_important" in said:
        important = int(said["dl_hwcap_important"], 16) & int(said["dl_hwcap"], 16)
        assert this_cpu().hwcap(facts.version) == important
    active = int(said["dl_hwcaps_subdirs_active"], 16).bit_count()
    names = said["dl_hwcaps_subdirs"].split(":")
    assert this_cpu().named_subdirectories(facts.version) == tuple(names[len(names) - active :])


# ---- other distributions and versions --------------------------------------------------------


def _ld_so(*strings: str) -> bytes:
    return b"\x7fELF GLIBC_PRIVATE\0" + b"".join(each.encode() + b"\0" for each in strings)


@pytest.mark.parametrize(
    ("name", "strings", "version", "dirs", "lib"),
    [
        # Fedora
        ("ld-linux-x86-64.so.2", ("/lib64/", "/usr/lib64/", "", "lib64", "/etc/ld.so.cache",
         "ld.so (GNU libc) stable release version 2.39."), (2, 39),
         ("/lib64/", "/usr/lib64/"), "lib64"),
        # Arch
        ("ld-linux-x86-64.so.2", ("/etc/", "", "/usr/lib/", "", "lib", "/etc/ld.so.cache",
         "ld.so (GNU libc) stable release version 2.41."), (2, 41), ("/usr/lib/",), "lib"),
        # Ubuntu, where the directories are Debian's
        ("ld-linux-x86-64.so.2", ("/lib/x86_64-linux-gnu/", "/usr/lib/x86_64-linux-gnu/", "/lib/",
         "/usr/lib/", "", "lib/x86_64-linux-gnu",
         "ld.so (Ubuntu GLIBC 2.35-0ubuntu3.4) stable release version 2.35."), (2, 35),
         ("/lib/x86_64-linux-gnu/", "/usr/lib/x86_64-linux-gnu/", "/lib/", "/usr/lib/"),
         "lib/x86_64-linux-gnu"),
        # CentOS 7: only the file's name tells
        ("ld-2.17.so", ("/lib64/", "/usr/lib64/"), (2, 17), ("/lib64/", "/usr/lib64/"), "lib64"),
    ],
)  # fmt: skip
def test_loaders_of_other_distributions(
    tmp_path: Path, name: str, strings: tuple[str, ...], version: tuple[int, int],
    dirs: tuple[str, ...], lib: str,
) -> None:  # fmt: skip
    (tmp_path / name).write_bytes(_ld_so(*strings))
    (tmp_path / "ld.so").symlink_to(name)
    facts = glibc.of_program("/bin/x", "/ld.so", Root(tmp_path))
    assert (facts.version, facts.system_dirs, facts.lib) == (version, dirs, lib)
    assert facts.real_path == f"/{name}"
    assert facts.cache == "/etc/ld.so.cache"


def test_the_c_library_tells_the_version_where_the_loader_does_not(tmp_path: Path) -> None:
    (tmp_path / "ld-linux-x86-64.so.2").write_bytes(_ld_so("/lib64/", "/usr/lib64/"))
    facts = glibc.of_program("/bin/x", "/ld-linux-x86-64.so.2", Root(tmp_path))
    assert (facts.version, facts.version_known) == ((2, 36), False)
    banner = b"GNU C Library (Debian GLIBC 2.31-13+deb11u5) stable release version 2.31.\n"
    (tmp_path / "libc.so.6").write_bytes(banner)
    facts = glibc.of_program("/bin/x", "/ld-linux-x86-64.so.2", Root(tmp_path))
    assert (facts.version, facts.version_known) == ((2, 31), True)


def test_nix_has_a_cache_of_its_own(tmp_path: Path) -> None:
    store = "/nix/store/abc-glibc-2.38-44"
    data = _ld_so(f"{store}/lib/", "", f"{store}/etc/ld.so.cache", f"{store}/etc/ld.so.preload")
    (tmp_path / "ld.so").write_bytes(data)
    facts = glibc.of_program("/bin/x", "/ld.so", Root(tmp_path))
    assert facts.system_dirs == (f"{store}/lib/",)
    assert (facts.cache, facts.preload) == (
        f"{store}/etc/ld.so.cache",
        f"{store}/etc/ld.so.preload",
    )


def test_musl_is_refused(tmp_path: Path) -> None:
    interpreter = "/lib/ld-musl-x86_64.so.1"
    (tmp_path / "lib").mkdir()
    (tmp_path / interpreter.lstrip("/")).write_bytes(b"\x7fELF musl libc (x86_64)")
    (tmp_path / "program").write_bytes(written(Content(interpreter=interpreter)))
    with pytest.raises(NotGlibc, match=r"ld-musl-x86_64\.so\.1, needed by /program: not glibc's"):
        LinkMap.of_program("/program", Root(tmp_path), {})


@pytest.mark.parametrize(
    ("flags", "vendor", "version", "platform", "subdirectories"),
    [
        (V2, AMD, (2, 42), "x86_64", ["glibc-hwcaps/x86-64-v2/", ""]),
        (V4, AMD, (2, 37), "x86_64",
         ["glibc-hwcaps/x86-64-v4/", "glibc-hwcaps/x86-64-v3/", "glibc-hwcaps/x86-64-v2/", ""]),
        # Up to 2.25 the platform is the kernel's word alone, and tls.
        (V4, INTEL, (2, 17), "x86_64", ["tls/x86_64/", "tls/", "x86_64/", ""]),
        (V3, AMD, (2, 24), "x86_64", ["tls/x86_64/", "tls/", "x86_64/", ""]),
        # From 2.26 on some of Intel's have a platform of their own, from 2.27 on all x86_64.
        (V3, INTEL, (2, 27), "haswell",
         ["tls/haswell/x86_64/", "tls/haswell/", "tls/x86_64/", "tls/", "haswell/x86_64/",
          "haswell/", "x86_64/", ""]),
        (V3, AMD, (2, 26), None, ["tls/", ""]),
        (V2, AMD, (2, 36), "x86_64",
         ["glibc-hwcaps/x86-64-v2/", "tls/x86_64/x86_64/", "tls/x86_64/", "tls/x86_64/", "tls/",
          "x86_64/x86_64/", "x86_64/", "x86_64/", ""]),
    ],
)  # fmt: skip
def test_subdirectories_by_processor_and_version(
    flags: set[str], vendor: str, version: tuple[int, int], platform: str | None,
    subdirectories: list[str],
) -> None:  # fmt: skip
    cpu = Cpu("x86_64", vendor, frozenset(flags))
    assert cpu.platform(version) == platform
    assert list(cpu.subdirectories(version)) == subdirectories


def test_a_wide_intel_has_one_more_name() -> None:
    cpu = Cpu("x86_64", INTEL, frozenset(V4))
    assert cpu.hwcap((2, 36)) == 6
    assert cpu.subdirectories((2, 30))[0] == "tls/haswell/avx512_1/x86_64/"
    assert (
        Cpu("x86_64", INTEL, frozenset(V4 | {"avx512er", "avx512pf"})).platform((2, 30))
        == "xeon_phi"
    )
    assert Cpu("aarch64").level == 0
    assert Cpu("x86_64", AMD, frozenset(BASE)).level == 1
    assert [Cpu("x86_64", AMD, frozenset(each)).level for each in (set(), V2, V3, V4)] == [
        0,
        2,
        3,
        4,
    ]


@pytest.mark.parametrize(
    ("text", "new", "old"),
    [
        ("$ORIGIN", "/o", "/o"),
        ("${ORIGIN}/x", "/o/x", "/o/x"),
        ("a/$LIB/$PLATFORM", "a/lib64/x86_64", "a/lib64/x86_64"),
        ("${ORIGIN}x", "/ox", "/ox"),
        ("$ORIGINx", "$ORIGINx", "$ORIGINx"),
        ("$ORIGIN_", "$ORIGIN_", "$ORIGIN_"),
        ("${ORIGIN", "${ORIGIN", "${ORIGIN"),
        ("$$ORIGIN$", "$/o$", "$$ORIGIN$"),
        # Up to 2.27 a token without braces had to end a part of the path.
        ("$ORIGIN-x", "/o-x", "$ORIGIN-x"),
        ("$LIB.d", "lib64.d", "$LIB.d"),
    ],
)
def test_tokens(text: str, new: str, old: str) -> None:
    for version, expected in (((2, 28), new), ((2, 27), old)):
        tokens = Tokens("lib64", "x86_64", version, ("/lib64/",))
        assert tokens.expand(text, "/o") == expected
        assert tokens.holds_one(text) == (expected != text)


def test_tokens_without_a_value_and_with_other_rights() -> None:
    tokens = Tokens("lib64", None, (2, 36), ("/lib64/",))
    assert tokens.expand("/x/$PLATFORM", "/o") == ""
    assert tokens.expand("$ORIGIN/x", "") == ""
    secure = Tokens("lib64", "x86_64", (2, 36), ("/lib64/",), secure=True)
    assert secure.expand("$ORIGIN/x", "/o") == "/o/x"
    assert secure.expand("/x/$ORIGIN", "/o") == ""
    assert secure.expand("$ORIGINAL/$LIB", "/o") == "$ORIGINAL/lib64"
    assert secure.expand("$ORIGIN/x", "/o", of_program=True) == ""
    assert secure.expand("$ORIGIN/../lib64/x", "/o", of_program=True) == "/o/../lib64/x"
    assert secure.expand("$ORIGIN/../x", "/lib64/d", of_program=True) == "/lib64/d/../x"
    assert secure.expand("$ORIGIN/../../x", "/lib64/d", of_program=True) == ""


def test_directories_that_are_none(tmp_path: Path) -> None:
    """What 2.38 and 2.39 put right: the directory "/", and files in place of directories."""
    (tmp_path / "file").write_text("")
    (tmp_path / "libx.so").write_bytes(written(Content()))
    (tmp_path / "d").mkdir()
    shutil.copy(tmp_path / "libx.so", tmp_path / "d" / "liby.so")

    def found(version: tuple[int, int], name: str, *folders: str) -> list[str]:
        searcher = Searcher(
            Root(tmp_path), version, ("",), lambda path: os.path.join("/", path), traced=False
        )
        places = searcher.directories(folders, "RPATH", "x")
        results = []
        for each in ("libnone.so", name):
            there = searcher.open_in(each, places, "x")
            results.append(there[0] if there else "")
        return results

    # "/" is forgotten once nothing was found in it.
    assert found((2, 37), "libx.so", "/") == ["", ""]
    assert found((2, 38), "libx.so", "/") == ["", "/libx.so"]
    # Only relative ones are tried at all, as no others are known not to exist.
    assert found((2, 38), "liby.so", "file", "/d") == ["", ""]
    assert found((2, 39), "liby.so", "file", "/d") == ["", "/d/liby.so"]
    assert found((2, 38), "liby.so", "/file", "/d") == ["", "/d/liby.so"]


# ---- programs --------------------------------------------------------------------------------


def test_scripts_stand_for_their_interpreters(tmp_path: Path) -> None:
    def script(name: str, first: str) -> str:
        (tmp_path / name).write_text(f"{first}\nexit\n")
        return f"/{name}"

    program = tmp_path / "usr/bin/python3"
    program.parent.mkdir(parents=True)
    program.write_bytes(written(Content()))
    program.chmod(0o755)
    (tmp_path / "usr/bin/python3-not").write_text("")
    root, environ = Root(tmp_path), {"PATH": "/bin::/usr/bin"}
    python = "/usr/bin/python3"
    for first in (
        "#!/usr/bin/python3", "#! /usr/bin/python3 -s", "#!\t/usr/bin/python3\t",
        "#!/usr/bin/env python3", "#!/usr/bin/env -S python3 -s", "#!/usr/bin/env A=1 python3",
        "#!/usr/bin/env PATH=/usr/bin python3", "#!/usr/bin/env /usr/bin/python3",
    ):  # fmt: skip
        assert interpreter_of(script("s", first), root, environ) == python, first
    assert interpreter_of("s", root, environ) == python
    script("outer", "#!/s")
    assert interpreter_of("/outer", root, environ) == python
    assert interpreter_of(python, root, environ) == python
    # What cannot be told ends at env or at the file itself.
    for first in (
        "#!/usr/bin/env missing",
        "#!/usr/bin/env -i python3",
        "#!/usr/bin/env python3-not",
    ):
        assert interpreter_of(script("s", first), root, environ) == "/usr/bin/env"
    assert interpreter_of(script("s", "#!"), root, environ) == "/s"
    assert interpreter_of(script("s", "#!/s"), root, environ) == "/s"
    assert interpreter_of("/missing", root, environ) == "/missing"
    assert interpreter_of("/s", root, {"PATH": ""}) == "/s"


def test_a_static_program_is_alone(tmp_path: Path) -> None:
    (tmp_path / "static").write_bytes(written(Content(kind=ET_EXEC)))
    link_map = LinkMap.of_program("/static", Root(tmp_path), {"LD_PRELOAD": "/lib/libx.so"})
    assert [each.path for each in link_map.objects] == ["/static"]
    assert link_map.glibc is None
    assert link_map.trace == link_map.warnings == link_map.missing == ()
    with pytest.raises(NotLoaded, match=r"libx\.so, opened by /static: .* statically linked"):
        link_map.open("libx.so")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "cannot be read: No such file or directory"),
        (b"", "an empty file"),
        (b"#!", "not an ELF file"),
        (written(Content(interpreter="/lib/ld-none.so")), "the dynamic loader: No such file"),
        (written(Content(interpreter="/")), "the dynamic loader: "),
    ],
)
def test_programs_that_cannot_be_started(tmp_path: Path, content: bytes | None, says: str) -> None:
    if content is not None:
        (tmp_path / "program").write_bytes(content)
    with pytest.raises(NotLoaded, match=says) as caught:
        LinkMap.of_program("/program", Root(tmp_path), {})
    assert "\n" not in str(caught.value)


def test_comments_in_the_file_of_preloads(tmp_path: Path) -> None:
    def names(text: str) -> list[str]:
        (tmp_path / "preload").write_text(text)
        return list(in_file("/preload", Root(tmp_path)))

    assert names("a.so b.so:c.so\td.so\n\n e.so") == ["a.so", "b.so", "c.so", "d.so", "e.so"]
    assert names("# nothing\n") == []
    assert names("a.so # x y\n") == ["a.so"]
    assert names("") == []
    # glibc looks for the second comment too close to the start, and takes it for names.
    assert names("a.so # x\nb.so # y\n") == ["a.so", "b.so", "#", "y"]
    assert list(in_file("/missing", Root(tmp_path))) == []


# ---- what a reader is told -------------------------------------------------------------------


@pytest.fixture
def here(tmp_path: Path, driver: str) -> LinkMap:
    """A program with a library beside it, another below, and some names for them."""
    tree = Tree(
        Content(needed=("libx.so.1",), runpath="$ORIGIN/../a"),
        (
            Library(
                "a/libx.so.1", Content(soname="libx.so.1", needed=("liby.so",), rpath="$ORIGIN")
            ),
            Library("a/liby.so", Content(soname="libyy.so.2")),
            Library("b/libz.so"),
            Link("b/link.so", "a/liby.so"),
        ),
        (("LD_LIBRARY_PATH", "@/b"),),
    )
    place = Place.here(tmp_path, driver)
    lay_out(tree, tmp_path, driver)
    return place.foretell({key: place.put(value) for key, value in tree.environ})


def _said(loaded: Loaded) -> tuple[str, str]:
    return str(loaded.found_by), loaded.found_by.of


def test_how_each_request_was_met(here: LinkMap, tmp_path: Path) -> None:
    program, x, y, *rest = here.objects
    assert rest == []
    top = str(tmp_path)
    assert _said(program) == ("the program", "")
    assert _said(x) == (f"RUNPATH of {top}/bin/main", f"{top}/bin/main")
    assert _said(y) == (f"RPATH of {top}/bin/../a/libx.so.1", f"{top}/bin/../a/libx.so.1")
    assert (x.request, x.requested_by, x.name) == ("DT_NEEDED", program.path, "libx.so.1")
    assert x.real_path == f"{top}/a/libx.so.1"
    assert f"{top}/b/libx.so.1" in x.found_by.tried
    assert _said(here.open("liby.so")) == ("already loaded: same name", y.path)
    assert _said(here.open("libyy.so.2")) == ("already loaded: same SONAME", y.path)
    assert _said(here.open(f"{top}/b/link.so")) == ("already loaded: same file", y.path)
    # It answers to that name from now on.
    assert _said(here.open(f"{top}/b/link.so")) == ("already loaded: same name", y.path)
    z = here.open("libz.so", x)
    assert _said(z) == ("LD_LIBRARY_PATH", "")
    assert (z.request, z.requested_by) == ("dlopen", x.path)
    assert _said(here.open("./b/../b/libz.so", noload=True)) == (
        "already loaded: same file",
        z.path,
    )
    assert [each.path for each in here.objects] == [program.path, x.path, y.path, z.path]
    ((name, found),) = here.dependencies(x)
    assert name == "liby.so"
    assert found is not None and found.path == y.path
    assert here.dependencies(z) == ()


def test_a_refused_open_leaves_the_map_as_it_was(here: LinkMap, tmp_path: Path) -> None:
    user = tmp_path / "b" / "libuser.so"
    user.write_bytes(written(Content(needed=("libz.so", "libnone.so.1"))))
    before = here.objects
    with pytest.raises(NotLoaded) as caught:
        here.open("libuser.so")
    assert str(caught.value).startswith(
        f"libnone.so.1, needed by {user}: cannot open shared object file: "
        f"No such file or directory; looked for in {tmp_path}/b, "
    )
    missing = caught.value.missing
    assert (missing.name, missing.requested_by, missing.request) == (
        "libnone.so.1", str(user), "DT_NEEDED",
    )  # fmt: skip
    assert f"{tmp_path}/b/libnone.so.1" in missing.tried
    assert missing.directories[0] == f"{tmp_path}/b"
    assert here.objects == before
    with pytest.raises(NotLoaded, match=r"libz\.so, opened by .*/bin/main: not loaded"):
        here.open("libz.so", noload=True)
    assert here.objects == before
    (tmp_path / "b" / "libempty.so").write_bytes(b"")
    with pytest.raises(
        NotLoaded, match=rf"libempty\.so, opened by .*: {tmp_path}/b/libempty\.so: file"
    ):
        here.open("libempty.so")


def test_going_on_without_what_is_missing(tmp_path: Path, driver: str) -> None:
    tree = Tree(
        Content(needed=("libnone.so", "@/a/libx.so", "libnone.so")),
        (Library("a/libx.so", Content(needed=("libgone.so", "@/a/liby.so"))), Library("a/liby.so")),
    )
    place = Place.here(tmp_path, driver)
    lay_out(tree, tmp_path, driver)
    with pytest.raises(NotLoaded, match=r"libnone\.so, needed by"):
        place.foretell({})
    link_map = place.foretell({}, keep_going=True)
    assert [each.name for each in link_map.missing] == ["libnone.so", "libnone.so", "libgone.so"]
    assert [os.path.basename(each.path) for each in link_map.objects] == [
        "main",
        "libx.so",
        "liby.so",
    ]
    names = [name for name, found in link_map.dependencies(link_map.program) if found is None]
    assert names == ["libnone.so", "libnone.so"]
    # What was opened is kept, with what it misses.
    (tmp_path / "a" / "libw.so").write_bytes(written(Content(needed=("libgone.so.2",))))
    link_map.open(f"{tmp_path}/a/libw.so")
    assert link_map.missing[-1].name == "libgone.so.2"
    with pytest.raises(NotLoaded):
        link_map.open("libnone.so")
    assert len(link_map.missing) == 4


def test_an_ignored_preload_is_a_warning(tmp_path: Path, driver: str) -> None:
    place = Place.here(tmp_path, driver)
    lay_out(Tree(Content()), tmp_path, driver)
    link_map = place.foretell({"LD_PRELOAD": f"libnone.so {driver}"})
    assert link_map.warnings == (
        "object 'libnone.so' from LD_PRELOAD cannot be preloaded"
        " (cannot open shared object file): ignored",
    )
    assert str(link_map.objects[1].found_by) == "LD_PRELOAD (path)"
    assert link_map.objects[1].requested_by == ""


def test_a_caller_of_another_map(here: LinkMap, tmp_path: Path, driver: str) -> None:
    lay_out(Tree(Content()), tmp_path / "bin", driver)
    other = Place.here(tmp_path / "bin", driver).foretell({})
    with pytest.raises(ValueError, match="not an object of this link map"):
        here.open("libx.so", other.program)


def test_records_survive_json(here: LinkMap) -> None:
    for each in here.objects:
        assert msgspec.json.decode(msgspec.json.encode(each), type=Loaded) == each
    assert here.objects[0].found_by.rule == Rule.PROGRAM
