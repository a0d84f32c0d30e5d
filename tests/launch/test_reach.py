"""Where LD_AUDIT works: what is foretold from files, held against programs that are started."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from process.conftest import may, needs_mounts, needs_root
from runtimes.conftest import in_fork

from xdiag.discover import elf
from xdiag.discover.root import Root
from xdiag.errors import CannotRun
from xdiag.launch import audit_library, reach
from xdiag.launch.reach import Caller, Reach, audit_reach, audit_variable, elevation

HERE = Root()
NOBODY = 65534
AS_NOBODY = Caller(NOBODY, NOBODY, NOBODY, NOBODY)

#: An auditor that leaves a line for each thing it is asked, in the file that AUDIT_SEEN names.
AUDITOR = r"""
#define _GNU_SOURCE
#include <fcntl.h>
#include <link.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
static void seen(const char *what)
{
    const char *path = getenv("AUDIT_SEEN");
    int fd = path ? open(path, O_WRONLY | O_CREAT | O_APPEND, 0666) : -1;
    if (fd < 0)
        return;
    if (write(fd, what, strlen(what)) < 0)
        _exit(99);
    close(fd);
}
unsigned la_version(unsigned offered)
{
    seen(NAME " is loaded\n");
    return offered < LAV_CURRENT ? offered : LAV_CURRENT;
}
unsigned la_objopen(struct link_map *map, Lmid_t list, uintptr_t *cookie)
{
    (void)map; (void)list; (void)cookie;
    return FLAGS;
}
char *la_objsearch(const char *name, uintptr_t *cookie, unsigned rule)
{
    (void)cookie; (void)rule;
    if (strstr(name, "libm.so") && !strchr(name, '/'))
        seen(NAME " is asked for libm\n");
    return (char *)name;
}
#ifdef SYMBIND
uintptr_t la_symbind64(Elf64_Sym *symbol, unsigned index, uintptr_t *from, uintptr_t *to,
                       unsigned *flags, const char *name)
{
    (void)index; (void)from; (void)to;
    if (strcmp(name, "cos") == 0)
        seen(*flags & LA_SYMB_DLSYM ? NAME " sees dlsym\n" : NAME " sees PLT\n");
    return symbol->st_value;
}
#endif
"""
PROGRAM = r"""
#include <dlfcn.h>
#include <math.h>
#include <stdio.h>
int main(int argc, char **argv)
{
    void *library = dlopen("libm.so.6", RTLD_NOW);
    double (*found)(double) = (double (*)(double))dlsym(library, "cos");
    printf("%s %g %g\n", argv[0], found(0), cos(argc - 1));
    return 0;
}
"""


def _compiled(path: Path, source: str, *options: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(
        ["cc", "-x", "c", "-", "-x", "none", "-o", str(path), *options],
        input=source, text=True, check=True, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    return path


def _auditor(path: Path, name: str, flags: int = 3, *, symbind: bool = True) -> Path:
    told = ["-DSYMBIND"] if symbind else []
    return _compiled(path, AUDITOR, "-shared", "-fPIC", f'-DNAME="{name}"', f"-DFLAGS={flags}",
                     *told)  # fmt: skip


@pytest.fixture(scope="module")
def everyones() -> Iterator[Path]:
    """A directory that other users can reach and start programs from."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def auditor(everyones: Path) -> Path:
    return _auditor(everyones / "auditor.so", "it")


@pytest.fixture(scope="module")
def program(everyones: Path) -> Path:
    return _compiled(everyones / "program", PROGRAM, "-lm")


class Started:
    """How a program ended that was started under an auditor, and what the auditor saw."""

    def __init__(self, command: list[str], audit: str, **how: object) -> None:
        folder = Path(tempfile.mkdtemp())
        folder.chmod(0o777)
        seen = folder / "seen"
        environ = {"PATH": os.environ["PATH"], "LD_AUDIT": audit, "AUDIT_SEEN": str(seen)}
        environ |= how.pop("environ", {})  # type: ignore[arg-type]
        try:
            done = subprocess.run(
                command, env=environ, capture_output=True, text=True, check=False, timeout=30, **how
            )  # type: ignore[call-overload]
            self.status, self.errors = done.returncode, done.stderr
        except OSError as error:
            self.status, self.errors = 126, str(error)
        self.seen = seen.read_text() if seen.exists() else ""
        shutil.rmtree(folder)


def _foretold(path: Path | str, environ: dict[str, str] | None = None, **who: Caller) -> Reach:
    return audit_reach(str(path), HERE, environ or {}, **who)


# ---- where it works --------------------------------------------------------------------------


@pytest.mark.parametrize("options", [[], ["-Wl,-z,now", "-pie"], ["-no-pie"], ["-Wl,-z,lazy"]])
def test_a_program_of_glibcs_is_reached(options: list[str], auditor: Path, tmp_path: Path) -> None:
    path = _compiled(tmp_path / "program", PROGRAM, *options, "-lm")
    told = _foretold(path)
    assert (told.works, told.redirects, told.warnings, told.remedy) == (True, True, (), "")
    started = Started([str(path)], str(auditor))
    assert "it is loaded\n" in started.seen
    assert "it is asked for libm\n" in started.seen
    assert "it sees dlsym\n" in started.seen
    assert "it sees PLT\n" in started.seen or not told.records


def test_a_call_by_an_address_that_was_taken_is_not_seen(auditor: Path, tmp_path: Path) -> None:
    source = PROGRAM.replace('dlsym(library, "cos")', "(argc ? cos : sin)")
    path = _compiled(tmp_path / "program", source, "-lm", "-O0")
    assert _foretold(path).records  # which says so of PLT and dlsym alone
    assert "sees" not in Started([str(path)], str(auditor)).seen


def test_a_script_stands_for_its_interpreter(auditor: Path, tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text(f"#!{sys.executable} -IS\n")
    script.chmod(0o4755)  # which Linux ignores on scripts
    os.chown(script, NOBODY if os.geteuid() == 0 else -1, -1)
    told = _foretold(script)
    assert told.works, told
    assert sys.executable in told.because
    assert "it is loaded\n" in Started([str(script)], str(auditor)).seen


def test_the_loader_started_by_name_is_reached(auditor: Path, program: Path) -> None:
    loader = elf.read(str(program), HERE).interpreter
    assert _foretold(loader).works
    assert "it is loaded\n" in Started([loader, str(program)], str(auditor)).seen


@pytest.mark.parametrize(("option", "name"), [("address", "AddressSanitizer"),
                                              ("thread", "ThreadSanitizer")])  # fmt: skip
def test_sanitizers_work_under_an_auditor_and_what_they_refuse_is_said(
    option: str, name: str, auditor: Path, tmp_path: Path
) -> None:
    source = PROGRAM.replace("RTLD_NOW", "argc > 1 ? RTLD_NOW | 8 /* DEEPBIND */ : RTLD_NOW")
    try:
        path = _compiled(tmp_path / "program", source, f"-fsanitize={option}", "-lm")
    except subprocess.CalledProcessError:
        pytest.skip(f"this compiler has no {name}")
    if Started([str(path)], "").status != 0:
        pytest.skip(f"{name} does not work on this machine")
    told = _foretold(path)
    assert told.works
    (warning,) = told.warnings
    assert f"is built with {name}" in warning and "RTLD_DEEPBIND" in warning
    started = Started([str(path)], str(auditor), environ=told.settings)
    assert (started.status, "it sees dlsym\n" in started.seen) == (0, True), started.errors
    for audit in ("", str(auditor)):
        refused = Started([str(path), "deep"], audit, environ=told.settings)
        assert "incompatible with sanitizer runtime" in refused.errors


# ---- static thread-local storage -------------------------------------------------------------


@pytest.mark.parametrize("how", ["needed", "preloaded"])
def test_room_is_made_for_static_thread_local_storage(
    how: str, auditor: Path, program: Path, tmp_path: Path
) -> None:
    source = 'static __thread char t[9000] __attribute__((tls_model("initial-exec")));\n'
    library = _compiled(tmp_path / "libtls.so", source + "char *get(void) { return t; }",
                        "-shared", "-fPIC")  # fmt: skip
    environ = {"GLIBC_TUNABLES": "glibc.malloc.check=0"}
    if how == "needed":
        program = _compiled(tmp_path / "main", "char *get(void); int main(void) { return !get(); }",
                            str(library))  # fmt: skip
    else:
        environ["LD_PRELOAD"] = str(library)
    assert elf.read(str(library), HERE).static_tls == 9000
    told = _foretold(program, environ)
    assert told.works
    assert told.settings["GLIBC_TUNABLES"].startswith("glibc.malloc.check=0:glibc.rtld.")
    assert Started([str(program)], "", environ=environ).status == 0
    without = Started([str(program)], str(auditor), environ=environ)
    assert without.status == 127 and "static TLS block" in without.errors
    with_room = Started([str(program)], str(auditor), environ={**environ, **told.settings})
    assert (with_room.status, with_room.seen[:13]) == (0, "it is loaded\n"), with_room.errors
    # Who has made room already is left alone; who has made too little is overruled.
    for size, enough in (("0x10000", True), ("70000", True), ("512", False)):
        given = {**environ, "GLIBC_TUNABLES": f"glibc.rtld.optional_static_tls={size}"}
        again = _foretold(program, given)
        assert (again.settings == {}) is enough
        started = Started([str(program)], str(auditor), environ={**given, **again.settings})
        assert started.status == 0, started.errors


def test_more_than_any_thread_can_have_is_refused(tmp_path: Path, program: Path) -> None:
    source = 'static __thread char t[1 << 23] __attribute__((tls_model("initial-exec")));\n'
    library = _compiled(tmp_path / "libtls.so", source + "char *get(void) { return t; }",
                        "-shared", "-fPIC")  # fmt: skip
    told = _foretold(program, {"LD_PRELOAD": str(library)})
    assert not told.works
    assert "8388608 bytes of static thread-local storage" in told.because


# ---- where it does not -----------------------------------------------------------------------


@pytest.mark.parametrize("options", [["-static"], ["-static-pie"]])
def test_a_static_program_is_not_reached(options: list[str], auditor: Path, tmp_path: Path) -> None:
    try:
        path = _compiled(tmp_path / "program", "int main(void) { return 0; }", *options)
    except subprocess.CalledProcessError:
        pytest.skip("no static C library here")
    told = _foretold(path)
    assert not told.works and "statically linked" in told.because and told.remedy
    started = Started([str(path)], str(auditor))
    assert (started.status, started.seen) == (0, "")


def test_musls_loader_has_no_audit_interface(tmp_path: Path, auditor: Path) -> None:
    path = _compiled(tmp_path / "program", "int main(void) { return 0; }",
                     "-Wl,--dynamic-linker=/lib/ld-musl-x86_64.so.1")  # fmt: skip
    told = _foretold(path)
    assert not told.works and "musl" in told.because
    assert Started([str(path)], str(auditor)).seen == ""


def test_a_loader_that_is_not_glibcs_or_not_there(tmp_path: Path) -> None:
    other = _compiled(tmp_path / "linker64", "int main(void) { return 0; }")
    path = _compiled(tmp_path / "other", "int main(void) { return 0; }",
                     f"-Wl,--dynamic-linker={other}")  # fmt: skip
    assert f"{other}, which is not glibc's" in _foretold(path).because
    path = _compiled(tmp_path / "none", "int main(void) { return 0; }",
                     "-Wl,--dynamic-linker=/nonesuch/ld.so")  # fmt: skip
    told = _foretold(path)
    assert not told.works and "cannot be started" in told.because
    assert Started([str(path)], "").status == 126


def _changed(program: Path, target: Path, place: int, value: bytes) -> Path:
    data = bytearray(program.read_bytes())
    data[place : place + len(value)] = value
    target.write_bytes(data)
    target.chmod(0o755)
    return target


#: The first 52 bytes of an i386 program, ET_EXEC, with no program headers.
I386 = b"\x7fELF\x01\x01\x01" + bytes(9) + struct.pack("<HHIIIIIHHHHHH", 2, 3, 1, 0x8048000, 52,
                                                      0, 0, 52, 32, 0, 40, 0, 0)  # fmt: skip


def test_what_is_no_program_for_this_machine(program: Path, auditor: Path, tmp_path: Path) -> None:
    def made(name: str, data: bytes) -> Path:
        path = tmp_path / name
        path.write_bytes(data)
        path.chmod(0o755)
        return path

    wrong = {
        "is a 32-bit program": made("i386", I386),
        "another machine|RISC-V": _changed(program, tmp_path / "riscv", 18, b"\xf3\x00"),
        "the other byte order": _changed(program, tmp_path / "big", 5, b"\x02"),
        "is an ELF file, but not a program": _changed(program, tmp_path / "object", 16, b"\1\0"),
        "is not an ELF program": made("text", b"echo\n"),
        "is an empty file": made("empty", b""),
        "is a damaged or truncated ELF file": made("short", program.read_bytes()[:80]),
        "No such file": tmp_path / "nonesuch",
        "not a regular file": tmp_path,
    }
    for says, path in wrong.items():
        told = _foretold(path)
        assert not told.works
        assert any(each in told.because for each in says.split("|")), told.because
        assert str(path) in told.because and "\n" not in told.because
        # The kernel does not look at the byte order, and starts that one.
        if os.access(path, os.X_OK) and path.name != "big":
            assert Started([str(path)], str(auditor)).seen == ""


# ---- other rights ----------------------------------------------------------------------------


def _owned(program: Path, name: str, mode: int, uid: int, gid: int) -> Path:
    path = program.with_name(name)
    shutil.copy(program, path)
    os.chown(path, uid, gid)  # takes the bits away, so that chmod comes after
    path.chmod(mode)
    return path


@needs_root
@pytest.mark.parametrize(
    ("mode", "uid", "gid", "says"),
    [
        (0o4755, 12345, 0, "is set-user-id, of user 12345"),
        (0o4755, NOBODY, 0, ""),
        (0o2755, 0, 12345, "is set-group-id, of group 12345"),
        (0o2755, 0, NOBODY, ""),
        (0o2745, 0, 12345, ""),
        (0o755, 12345, 12345, ""),
    ],
)
def test_set_user_id_and_set_group_id_where_they_take_effect(
    program: Path, auditor: Path, mode: int, uid: int, gid: int, says: str
) -> None:
    path = _owned(program, f"{mode:o}-{uid}-{gid}", mode, uid, gid)
    if os.statvfs(path).f_flag & os.ST_NOSUID:
        pytest.skip("temporary files are on a mount with nosuid")
    assert elevation(str(path), HERE, AS_NOBODY) == says
    told = _foretold(path, caller=AS_NOBODY)
    assert told.works is (says == "")
    if says:
        assert says in told.because and "secure-execution" in told.because and told.remedy
    started = Started([str(path)], str(auditor), user=NOBODY, group=NOBODY, extra_groups=[])
    assert started.status == 0
    assert ("it is loaded\n" in started.seen) is told.works


@needs_root
def test_a_program_set_to_another_user_is_secure_for_root_too(program: Path, auditor: Path) -> None:
    path = _owned(program, "for-root", 0o4755, NOBODY, 0)
    assert _foretold(path, caller=Caller(0, 0, 0, 0)).works is False
    assert Started([str(path)], str(auditor)).seen == ""


def test_other_effective_ids_make_every_program_secure(program: Path) -> None:
    told = _foretold(program, caller=Caller(1000, 1000, 0, 1000))
    assert not told.works and "effective ids are not its real ones" in told.because


@needs_root
def test_no_new_privs_takes_the_bits_away(program: Path, auditor: Path) -> None:
    if not may("setpriv", "--no-new-privs", "true"):
        pytest.skip("no setpriv here")
    path = _owned(program, "no-new-privs", 0o4755, 12345, 0)

    def look() -> str:
        import ctypes

        ctypes.CDLL(None).prctl(38, 1, 0, 0, 0)  # PR_SET_NO_NEW_PRIVS
        reach._no_new_privileges.cache_clear()
        return elevation(str(path), HERE, AS_NOBODY)

    assert in_fork(look) == (0, "")
    command = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups",
               "--no-new-privs", str(path)]  # fmt: skip
    assert "it is loaded\n" in Started(command, str(auditor)).seen.replace("\n" * 2, "\n")


@needs_mounts
@needs_root
def test_a_mount_with_nosuid_takes_the_bits_away(
    program: Path, auditor: Path, everyones: Path
) -> None:
    inside = everyones / "mounted"
    inside.mkdir()
    seen = everyones / "seen-nosuid"
    seen.touch()
    seen.chmod(0o666)
    told = (
        "from xdiag.launch.reach import *; from xdiag.discover.root import Root;"
        f"print(repr(elevation({str(inside / 'p')!r}, Root(), Caller(65534, 65534, 65534, 65534))))"
    )
    script = (
        f"mount -t tmpfs -o nosuid,mode=755 none {inside} && cp {program} {inside}/p &&"
        f' chown 12345 {inside}/p && chmod 4755 {inside}/p && {sys.executable} -c "$1" &&'
        f" setpriv --reuid 65534 --regid 65534 --clear-groups env LD_AUDIT={auditor}"
        f" AUDIT_SEEN={seen} {inside}/p"
    )
    done = subprocess.run(["unshare", "-m", "sh", "-c", script, "sh", told],
                          capture_output=True, text=True, check=True)  # fmt: skip
    assert done.stdout.startswith("''\n")
    assert "it is loaded\n" in seen.read_text()


def _capability(effective: bool, permitted: int, inheritable: int) -> bytes:
    """VFS_CAP_REVISION_2."""
    return struct.pack("<5I", 0x02000000 | effective, permitted, inheritable, 0, 0)


@needs_root
@pytest.mark.parametrize(
    ("name", "effective", "permitted", "inheritable", "secure"),
    [
        ("ep", True, 1 << 10, 0, True),
        ("p", False, 1 << 10, 0, True),
        ("i", False, 0, 1 << 10, False),
    ],
)
def test_capabilities_of_the_file(
    program: Path, auditor: Path, name: str, effective: bool, permitted: int, inheritable: int,
    secure: bool,
) -> None:  # fmt: skip
    path = _owned(program, f"capable-{name}", 0o755, 0, 0)
    try:
        os.setxattr(path, "security.capability", _capability(effective, permitted, inheritable))
    except OSError as error:
        pytest.skip(f"no capabilities can be set here: {error}")
    if os.statvfs(path).f_flag & os.ST_NOSUID:
        pytest.skip("temporary files are on a mount with nosuid")
    told = _foretold(path, caller=AS_NOBODY)
    assert told.works is not secure
    assert ("has capabilities of its own" in told.because) is secure
    started = Started([str(path)], str(auditor), user=NOBODY, group=NOBODY, extra_groups=[])
    if started.status == 126:  # a container's bounding set lacks the capability
        pytest.skip(f"the kernel does not start it: {started.errors}")
    assert ("it is loaded\n" in started.seen) is told.works
    # They change nothing for root.
    assert _foretold(path, caller=Caller(0, 0, 0, 0)).works
    assert "it is loaded\n" in Started([str(path)], str(auditor)).seen


# ---- versions of glibc -----------------------------------------------------------------------


@pytest.fixture
def with_glibc(tmp_path: Path) -> Callable[[str], Path]:
    """A program whose loader says that it is of another version."""

    def make(version: str) -> Path:
        own = elf.read(os.path.realpath(sys.executable), HERE).interpreter
        data = Path(os.path.realpath(own)).read_bytes()
        at = data.index(b"release version 2.") + len(b"release version ")
        assert len(version) == 4
        loader = tmp_path / "ld-linux.so.2"
        loader.write_bytes(data[:at] + version.encode() + data[at + 4 :])
        loader.chmod(0o755)
        return _compiled(tmp_path / "program", PROGRAM, f"-Wl,--dynamic-linker={loader}", "-lm")

    return make


@pytest.mark.parametrize(
    ("version", "records", "warnings"),
    [("2.44", True, ()), ("2.35", True, ()), ("2.34", False, ("before glibc 2.35",)),
     ("2.22", False, ("before glibc 2.35", "before glibc 2.23"))],
)  # fmt: skip
def test_what_a_version_of_glibc_can_do(
    with_glibc: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, auditor: Path,
    version: str, records: bool, warnings: tuple[str, ...],
) -> None:  # fmt: skip
    if os.uname().machine == "aarch64" and not records:
        pytest.skip("on AArch64 it does not work at all")
    monkeypatch.setattr(reach, "_built_for", lambda: (2, 17))
    path = with_glibc(version)
    told = _foretold(path)
    assert (told.works, told.redirects, told.records) == (True, True, records)
    assert f"glibc {version}" in told.because
    assert [each[: len(start)] for each, start in zip(told.warnings, warnings, strict=True)] == [
        *warnings
    ]
    # The loader is this machine's whatever it says; it loads the auditor.
    assert "it is loaded\n" in Started([str(path)], str(auditor)).seen


def test_an_audit_library_that_is_too_new_for_the_programs_glibc(
    with_glibc: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    library = tmp_path / "libxdiag-audit.so"
    library.write_bytes(b"\0GLIBC_2.2.5\0GLIBC_2.34\0XGLIBC_2.99\0GLIBC_2.17\0")
    monkeypatch.setattr(audit_library, "_BUILT", library)
    reach._built_for.cache_clear()
    try:
        told = _foretold(with_glibc("2.33"))
        assert not told.works
        assert "glibc 2.33, and the audit library was built for 2.34" in told.because
        assert "wheel" in told.remedy
        assert _foretold(with_glibc("2.34")).works or os.uname().machine == "aarch64"
    finally:
        reach._built_for.cache_clear()


def test_an_old_glibc_has_no_room_to_make(
    with_glibc: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(reach, "_built_for", lambda: (2, 17))
    source = 'static __thread char t[4096] __attribute__((tls_model("initial-exec")));\n'
    library = _compiled(tmp_path / "libtls.so", source + "char *get(void) { return t; }",
                        "-shared", "-fPIC")  # fmt: skip
    told = _foretold(with_glibc("2.31"), {"LD_PRELOAD": str(library)})
    assert not told.works


# ---- LD_AUDIT itself -------------------------------------------------------------------------


def test_ours_comes_before_what_is_there(auditor: Path) -> None:
    assert audit_variable("/a.so", "") == "/a.so"
    assert audit_variable("/a.so", "/b.so:c.so") == "/a.so:/b.so:c.so"
    assert audit_variable("/a.so", ":/b.so::/a.so:") == "/a.so:/b.so"


def test_behind_an_auditor_without_symbind_ours_would_not_see_dlsym(
    auditor: Path, program: Path, everyones: Path
) -> None:
    silent = _auditor(everyones / "silent.so", "silent", symbind=False)
    value = audit_variable(str(auditor), str(silent))
    first = Started([str(program)], value)
    assert first.seen.startswith("it is loaded\nsilent is loaded\n")
    assert "it sees dlsym\n" in first.seen
    assert "silent is asked for libm\n" in first.seen
    if _foretold(program).records:
        last = Started([str(program)], f"{silent}:{auditor}")
        assert "it sees dlsym\n" not in last.seen
        assert "it is asked for libm\n" in last.seen
    told = _foretold(program, {"LD_AUDIT": f"{silent}:"})
    assert any(str(silent) in each and "last word" in each for each in told.warnings)


@pytest.mark.parametrize("name", ["a:b", "$ORIGIN"])
def test_paths_that_ld_audit_cannot_hold(
    name: str, auditor: Path, program: Path, everyones: Path
) -> None:
    folder = everyones / name
    folder.mkdir()
    library = shutil.copy(auditor, folder)
    with pytest.raises(CannotRun, match="not a path that LD_AUDIT can hold") as caught:
        audit_variable(str(library), "")
    assert str(library) in str(caught.value) and "\n" not in str(caught.value)
    assert Started([str(program)], str(library)).seen == ""


def test_a_path_that_ld_so_passes_over_for_its_length(
    auditor: Path, program: Path, everyones: Path
) -> None:
    folder = everyones
    while len(str(folder)) < 230:
        folder = folder / "long-name"
    folder.mkdir(parents=True)
    for length, held in ((254, True), (255, False)):
        library = folder / ("x" * (length - len(str(folder)) - 1))
        shutil.copy(auditor, library)
        assert len(str(library)) == length
        assert ("it is loaded\n" in Started([str(program)], str(library)).seen) is held
        if held:
            assert audit_variable(str(library), "") == str(library)
        else:
            with pytest.raises(CannotRun, match="longer than 254 bytes"):
                audit_variable(str(library), "")


def test_a_relative_path_is_refused() -> None:
    with pytest.raises(CannotRun, match="absolute"):
        audit_variable("lib/audit.so", "")


def test_the_real_audit_library_is_reached(program: Path) -> None:
    try:
        library = audit_library.path()
    except CannotRun:
        pytest.skip("the native parts are not built")
    assert reach._built_for() >= (2, 17)
    assert _foretold(program, {"LD_AUDIT": audit_variable(library, "")}).warnings == ()
    started = Started([str(program)], audit_variable(library, ""))
    assert (started.status, started.errors) == (0, "")


# ---- hostile ---------------------------------------------------------------------------------


def test_a_reach_survives_json(program: Path) -> None:
    told = _foretold(program, {"LD_AUDIT": "/x.so"})
    assert msgspec.json.decode(msgspec.json.encode(told), type=Reach) == told


@settings(max_examples=200, deadline=2000,
          suppress_health_check=[HealthCheck.function_scoped_fixture])  # fmt: skip
@given(st.data())
def test_mutated_programs_are_told_something(
    program: Path, tmp_path: Path, data: st.DataObject
) -> None:
    good = program.read_bytes()
    changed = bytearray(good[: data.draw(st.one_of(st.just(len(good)), st.integers(0, len(good))))])
    for place in data.draw(st.lists(st.integers(0, 0x400) | st.integers(0, len(good)), max_size=8)):
        if place < len(changed):
            changed[place] = data.draw(st.sampled_from((0, 1, 0x7F, 0x80, 0xFF)))
    path = tmp_path / "mutated"
    with suppress(FileNotFoundError):
        path.unlink()
    path.write_bytes(changed)
    told = _foretold(path)
    assert told.because and "\n" not in told.because


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=300), st.text(max_size=300))
def test_any_names_make_a_value_or_one_line(library: str, earlier: str) -> None:
    try:
        value = audit_variable(library, earlier)
    except CannotRun:
        return
    assert value.split(":")[0] == library
    assert value.split(":").count(library) == 1
