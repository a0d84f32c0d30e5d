"""Runtimes from all suites of an archive, with the real apt and a small archive of our own."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from runtimes.conftest import compile_library, in_fork
from runtimes.small_archive import SmallArchive
from xdiag.errors import CannotRun
from xdiag.runtimes import apt, entries, fetch, find, suites, workplace

pytestmark = [
    pytest.mark.skipif(shutil.which("apt-get") is None, reason="no apt-get here"),
    pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="no dpkg-deb here"),
]

RUNTIME = '#include <stdio.h>\nint hipInit(unsigned flags) { return puts("") + (int)flags; }'
LIB = "usr/lib/here"
NOBODY = 65534


def _silent(text: str) -> None:
    del text


@pytest.fixture(scope="session")
def stocked(tmp_path_factory: pytest.TempPathFactory) -> SmallArchive:
    """An archive with a runtime in each suite, as Debian has them; not served yet."""
    top = tmp_path_factory.mktemp("archive")
    archive = SmallArchive(top, apt.architecture())
    _stock(archive, top)
    return archive


def _stock(archive: SmallArchive, top: Path) -> None:
    maps = Path("/proc/self/maps").read_text().split()
    loader = next(Path(path) for path in maps if Path(path).name.startswith("ld-linux"))
    libc = next(Path(path) for path in maps if Path(path).name == "libc.so.6")
    for suite, release in (("oldstable", "2.36-9"), ("stable", "2.41-12+deb13u4"),
                           ("testing unstable", "2.43-7"), ("experimental", "2.44-3")):  # fmt: skip
        archive.add(
            suite, "libc6", release, source="glibc",
            files={
                f"{LIB}/{loader.name}": loader, f"{LIB}/libc.so.6": libc,
                f"usr/lib64/{loader.name}": f"-> /{LIB}/{loader.name}",
                f"{LIB}/gconv/UTF-16.so": libc, "usr/share/doc/libc6/copyright": "free",
            },
        )  # fmt: skip
    for suite, name, version, needs in (
        ("oldstable", "libamdhip64-5", "5.2.3-8", "liba"),
        ("stable", "libamdhip64-5", "5.7.1-6+deb13u1", "libb"),
        ("testing unstable", "libamdhip64-6", "6.4.3-5", "libc"),
        ("unstable", "libamdhip64-6", "6.4.4-1", "libd"),
        ("experimental", "libamdhip64-7", "1:7.2.4-1~exp2", "libe"),
    ):
        soname = f"libamdhip64.so.{name[-1]}"
        library = compile_library(top / version / soname, RUNTIME)
        archive.add(
            suite, name, version, depends=f"libc6, {needs}-of-test",
            files={f"{LIB}/{soname}": library, f"{LIB}/libamdhip64.so": f"-> {soname}"},
        )  # fmt: skip
        needed = compile_library(top / version / "libx.so.1", "int x(void) { return 1; }")
        archive.add(
            suite, f"{needs}-of-test", "1:1-1",
            files={f"{LIB}/libx.so.1": needed, "usr/include/x.h": "int x(void);",
                   f"{LIB}/away.so": "-> /etc/passwd", f"{LIB}/libx.a": "x"},
        )  # fmt: skip


@pytest.fixture
def archive(stocked: SmallArchive, tmp_path: Path) -> Iterator[SmallArchive]:
    """The stocked archive, served; a test may change it."""
    top = tmp_path / "server"
    shutil.copytree(stocked.top / "debian", top / "debian")
    served = SmallArchive(top, stocked.architecture)
    served.stanzas = {suite: list(stanzas) for suite, stanzas in stocked.stanzas.items()}
    served.publish()
    served.start()
    yield served
    served.stop()


Machine = Callable[..., None]


@pytest.fixture
def machine(
    archive: SmallArchive, open_folder: Path, monkeypatch: pytest.MonkeyPatch, empty_machine: Path
) -> Machine:
    """A machine whose apt knows these sources and no others, and has no lists yet."""

    def of(*lines: str, sources: str = "") -> None:
        folder = open_folder / "etc"
        (folder / "parts").mkdir(parents=True, exist_ok=True)
        (folder / "lists" / "partial").mkdir(parents=True, exist_ok=True)
        (folder / "sources.list").write_text("".join(f"{line}\n" for line in lines))
        (folder / "parts" / "more.sources").write_text(sources)
        (folder / "apt.conf").write_text(
            f'Dir::Etc::sourcelist "{folder}/sources.list";\n'
            f'Dir::Etc::sourceparts "{folder}/parts/";\n'
            f'Dir::State::lists "{folder}/lists/";\nAcquire::http::Proxy "DIRECT";\n'
        )
        monkeypatch.setenv("APT_CONFIG", str(folder / "apt.conf"))
        monkeypatch.setattr(fetch, "installed", lambda prefix: {})

    of(f"deb [trusted=yes] {archive.url} oldstable main")
    return of


def _left(cache: Path) -> set[str]:
    return {path.name for path in (cache / "runtimes").iterdir()}


@pytest.mark.parametrize(
    ("wanted", "package", "version", "suite", "libc"),
    [
        ("5.7", "libamdhip64-5", "5.7.1-6+deb13u1", "trixie", "2.41"),
        ("6", "libamdhip64-6", "6.4.3-5", "forky", "2.43"),  # more settled than 6.4.4 in sid
        ("6.4.4", "libamdhip64-6", "6.4.4-1", "sid", "2.43"),
        ("libamdhip64-7", "libamdhip64-7", "1:7.2.4-1~exp2", "experimental", "2.44"),
        ("1:7.2.4-1~exp2", "libamdhip64-7", "1:7.2.4-1~exp2", "experimental", "2.44"),
    ],
)
def test_a_version_comes_from_the_most_settled_suite_with_all_it_needs(
    wanted: str, package: str, version: str, suite: str, libc: str, machine: Machine,
    empty_machine: Path,
) -> None:  # fmt: skip
    said: list[str] = []
    added = fetch.add(said.append, wanted)
    assert (added.package, added.version, added.new) == (package, version, True)
    entry = entries.by_version(version)
    assert entry is not None and entry.path == added.path
    top = Path(entry.path)
    assert entry.manifest.suite == suite
    assert entry.libc == libc
    assert entry.libc_dirs == (str(top / "libc" / LIB),)
    assert Path(entry.loader).parent == top / "libc" / LIB
    assert entry.library_dirs == (str(top / LIB),)
    assert entry.needs_libc  # puts() is asked for by version
    assert f"own C library {libc}" in said[-1] and f"({version}, {suite})" in said[-1]
    assert _left(empty_machine) == {".lock", top.name}
    own = [entry.loader, "--library-path", ":".join(entry.libc_dirs), sys.executable, "-c", "1"]
    assert subprocess.run(own, check=False).returncode == 0


def test_only_libraries_are_kept_and_no_link_leads_out(machine: Machine) -> None:
    top = Path(fetch.add(_silent, "5.7").path)
    kept = {str(path.relative_to(top)) for path in top.rglob("*") if not path.is_dir()}
    assert kept == {
        entries.MANIFEST, f"{LIB}/libamdhip64.so.5", f"{LIB}/libamdhip64.so", f"{LIB}/libx.so.1",
        f"libc/{LIB}/libc.so.6", next(each for each in kept if "/ld-linux" in each),
    }  # fmt: skip
    entry = entries.read(top)
    assert entry is not None
    assert {each.path for each in entry.manifest.files} == kept - {entries.MANIFEST}


def test_what_the_machines_own_sources_have_builds_on_the_system(machine: Machine) -> None:
    for wanted in ("5.2", None):
        added = fetch.add(_silent, wanted)
        entry = entries.read(Path(added.path))
        assert entry is not None
        assert (entry.version, entry.loader, entry.libc, entry.libc_dirs) == ("5.2.3-8", "", "", ())
        assert "libc6 2.36-9" not in added.packages


def test_several_at_once_share_the_lists(machine: Machine, archive: SmallArchive) -> None:
    added = fetch.add_all(_silent, ("5.7", "7.2", "5.2"))
    assert [each.version for each in added] == ["5.7.1-6+deb13u1", "1:7.2.4-1~exp2", "5.2.3-8"]
    assert len([path for path in archive.asked if path.endswith("/unstable/InRelease")]) == 1
    found = {each.package: each for each in find.find().candidates}
    assert found.keys() >= {"libamdhip64-5 5.7.1-6+deb13u1", "libamdhip64-7 1:7.2.4-1~exp2"}


def test_two_names_of_one_runtime_fetch_it_once(machine: Machine, archive: SmallArchive) -> None:
    first, second = fetch.add_all(_silent, ("7", "7.2"))
    assert first == second and first.new
    assert len([path for path in archive.asked if "/libamdhip64-7_" in path]) == 1


def test_what_is_not_there_is_said_before_anything_is_fetched(
    machine: Machine, archive: SmallArchive, empty_machine: Path
) -> None:
    have = r"5\.2\.3 \(bookworm\), 5\.7\.1 \(trixie\), 6\.4\.3 \(forky\), 6\.4\.4 \(sid\), 7\.2\.4"
    with pytest.raises(CannotRun, match=f"^no HIP runtime 9.9: the archive has {have}"):
        fetch.add_all(_silent, ("5.7", "9.9"))
    with pytest.raises(CannotRun, match="did you mean libamdhip64-"):
        fetch.add(_silent, "libamdhip64-99")
    assert not any(path.endswith(".deb") for path in archive.asked)
    assert _left(empty_machine) == {".lock"}


def _add_one_for_a_newer_c_library(archive: SmallArchive, folder: Path) -> None:
    library = compile_library(folder / "new" / "libamdhip64.so.10", RUNTIME)
    files: dict[str, Path | str] = {f"{LIB}/libamdhip64.so.10": library}
    archive.add("stable", "libamdhip64-10", "10.0-1", files, depends="libc6 (>= 99)")
    archive.add("stable", "libc6", "99-1", {f"{LIB}/ld-linux.so.2": library}, source="glibc")
    archive.publish()


def test_one_of_the_machines_own_that_needs_a_newer_c_library_brings_it(
    machine: Machine, archive: SmallArchive, tmp_path: Path
) -> None:
    _add_one_for_a_newer_c_library(archive, tmp_path)
    machine(f"deb [trusted=yes] {archive.url} stable main")
    entry = entries.read(Path(fetch.add(_silent, "10").path))
    assert entry is not None and entry.libc == "99"


def test_without_debians_archive_such_a_one_is_refused(
    machine: Machine, other: SmallArchive, tmp_path: Path, empty_machine: Path
) -> None:
    _add_one_for_a_newer_c_library(other, tmp_path)
    machine(f"deb [trusted=yes] {other.url} stable main")
    with pytest.raises(CannotRun, match=r"needs a newer C library|apt finds no way to install"):
        fetch.add(_silent, "libamdhip64-10")
    assert _left(empty_machine) == {".lock"}


# ---- what is there is checked ------------------------------------------------------------------


def test_without_a_server_what_is_there_is_enough(machine: Machine, archive: SmallArchive) -> None:
    path = fetch.add(_silent, "7.2").path
    asked = len(archive.asked)
    again = fetch.add(_silent, "7.2")
    assert (again.path, again.new, len(archive.asked)) == (path, False, asked)


@pytest.mark.parametrize("same_size_and_time", [False, True])
def test_a_damaged_entry_is_fetched_again(
    same_size_and_time: bool, machine: Machine, archive: SmallArchive
) -> None:
    added = fetch.add(_silent, "7.2")
    file = Path(added.path, LIB, "libx.so.1")
    status, data = file.stat(), bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    if same_size_and_time:
        os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    else:
        assert entries.every() == ()
    said: list[str] = []
    assert fetch.add(said.append, "7.2").new
    assert any("libx.so.1" in line for line in said)
    (entry,) = entries.every()
    assert (entry.path, entries.damage(entry)) == (added.path, "")


def test_a_damaged_entry_that_cannot_be_fetched_again_stays_refused(
    machine: Machine, archive: SmallArchive, empty_machine: Path
) -> None:
    added = fetch.add(_silent, "7.2")
    Path(added.path, LIB, "libx.so.1").unlink()
    machine("deb [trusted=yes] http://127.0.0.1:1/debian oldstable main")
    with pytest.raises(CannotRun, match="the package servers cannot be reached"):
        fetch.add(_silent, "7.2")
    assert entries.every() == ()
    assert [each.reason for each in entries.refused()] == [f"{LIB}/libx.so.1 is missing"]


def test_times_alone_are_set_right_offline(machine: Machine, archive: SmallArchive) -> None:
    added = fetch.add(_silent, "7.2")
    os.utime(Path(added.path, LIB, "libx.so.1"))
    asked = len(archive.asked)
    assert not fetch.add(_silent, "7.2").new
    assert len(archive.asked) == asked
    assert len(entries.every()) == 1


# ---- what goes wrong on the way ----------------------------------------------------------------


def test_a_package_that_was_tampered_with(
    machine: Machine, archive: SmallArchive, empty_machine: Path
) -> None:
    (file,) = archive.top.glob("debian/pool/libamdhip64-7_*")
    data = bytearray(file.read_bytes())
    data[-5] ^= 1
    file.write_bytes(data)
    with pytest.raises(
        CannotRun, match=r"cannot fetch packages: .*/libamdhip64-7_.*Hash Sum mismatch"
    ) as told:
        fetch.add(_silent, "7.2")
    assert "\n" not in str(told.value)
    assert _left(empty_machine) == {".lock"}


def test_a_download_that_is_cut_short(
    machine: Machine, archive: SmallArchive, empty_machine: Path
) -> None:
    archive.cut.add("libc6")
    with pytest.raises(CannotRun, match=r"cannot fetch packages: .*/libc6_2\.44-3_") as told:
        fetch.add(_silent, "7.2")
    assert "\n" not in str(told.value)
    assert _left(empty_machine) == {".lock"}


def test_killed_in_the_middle_of_a_download(
    machine: Machine, archive: SmallArchive, empty_machine: Path
) -> None:
    archive.hanging.add("libc6")
    child = os.fork()
    if child == 0:
        fetch.add(_silent, "7.2")
        os._exit(99)
    while not any("libc6" in path for path in archive.asked):
        time.sleep(0.05)
    os.kill(child, signal.SIGKILL)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    assert entries.every() == entries.refused() == ()
    archive.hanging.clear()
    assert fetch.add(_silent, "7.2").new
    assert len(entries.every()) == 1


def test_two_at_once_fetch_once(machine: Machine, archive: SmallArchive) -> None:
    with multiprocessing.get_context("fork").Pool(2) as pool:
        added = pool.starmap(fetch.add, [(_silent, "6.4"), (_silent, "6")])
    assert sorted(each.new for each in added) == [False, True]
    assert added[0].path == added[1].path


def test_a_server_without_some_of_the_suites(machine: Machine, archive: SmallArchive) -> None:
    shutil.rmtree(archive.top / "debian/dists/testing")
    assert fetch.add(_silent, "6").version == "6.4.4-1"
    with pytest.raises(CannotRun, match=r"\(oldoldstable and testing could not be read: Fail"):
        fetch.add(_silent, "9")


def test_a_package_that_nothing_can_satisfy(
    machine: Machine, archive: SmallArchive, empty_machine: Path
) -> None:
    archive.add("stable", "libamdhip64-8", "8.0-1", {}, depends="libnone")
    archive.publish()
    with pytest.raises(CannotRun, match="apt finds no way to install libamdhip64-8"):
        fetch.add(_silent, "8")
    assert _left(empty_machine) == {".lock"}


def test_packages_without_a_c_library_are_refused(
    machine: Machine, archive: SmallArchive, empty_machine: Path, tmp_path: Path
) -> None:
    library = compile_library(tmp_path / "libamdhip64.so.8", RUNTIME)
    archive.add("stable", "libamdhip64-8", "8.0-1", {f"{LIB}/libamdhip64.so.8": library})
    archive.publish()
    with pytest.raises(CannotRun, match="no C library with a dynamic loader came with it"):
        fetch.add(_silent, "8")
    assert _left(empty_machine) == {".lock"}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_an_unprivileged_user(
    machine: Machine, open_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(open_folder / "cache"))
    status, path = in_fork(lambda: fetch.add(_silent, "7.2").path, user=NOBODY)
    assert status == 0, path
    entry = entries.read(Path(path))
    assert entry is not None and entry.libc == "2.44"
    assert Path(entry.loader).stat().st_uid == NOBODY


def test_a_disk_with_little_room(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, empty_machine: Path
) -> None:
    monkeypatch.setattr(workplace, "free_bytes", lambda folder: 300 << 20)
    with pytest.raises(CannotRun, match="has 300 MiB free, a runtime needs 800: make room"):
        fetch.add(_silent, "7.2")
    assert _left(empty_machine) == {".lock"}
    assert fetch.add(_silent, "5.2").new


# ---- which source is Debian's archive ----------------------------------------------------------


@pytest.fixture
def other(stocked: SmallArchive, tmp_path: Path) -> Iterator[SmallArchive]:
    """Somebody else's archive, with suites that are called as Debian's and a newer runtime."""
    library = compile_library(tmp_path / "other" / "libamdhip64.so.9", RUNTIME)
    served = SmallArchive(tmp_path / "other", stocked.architecture, origin="Somebody")
    for suite in ("stable", "unstable"):
        served.add(suite, "libamdhip64-9", "9.9-1", {f"{LIB}/libamdhip64.so.9": library})
    served.publish()
    served.start()
    yield served
    served.stop()


def test_an_archive_of_somebody_else_is_not_taken_for_debians(
    machine: Machine, archive: SmallArchive, other: SmallArchive
) -> None:
    machine(
        f"deb [trusted=yes] {other.url} stable main",
        "deb [trusted=yes] cdrom:[A_disk]/ oldstable main",
        f"deb [trusted=yes] {archive.url} oldstable main",
        f"deb [trusted=yes] {archive.url}-security oldstable-security main",
    )
    assert fetch.add(_silent, "7.2").version == "1:7.2.4-1~exp2"
    assert not any(
        "unstable" in path or "testing" in path for path in other.asked if ".deb" in path
    )


def test_a_machine_without_debians_archive_is_told_what_its_sources_have(
    machine: Machine, other: SmallArchive
) -> None:
    machine(f"deb [trusted=yes] {other.url} stable main")
    with pytest.raises(CannotRun) as told:
        fetch.add(_silent, "7.2")
    assert str(told.value) == (
        "this system's package sources have no HIP runtime 7.2 (they have libamdhip64-9 9.9-1);"
        " none of them is Debian's archive, whose other suites may have it"
    )


def test_the_first_address_that_answers_is_taken(machine: Machine, archive: SmallArchive) -> None:
    machine(
        sources="# a mirror that is gone\nTypes: deb\n"
        f"URIs: http://127.0.0.1:1/debian {archive.url}/\n"
        "Suites: oldstable oldstable-updates\nComponents: main contrib\nTrusted: yes\n"
    )
    assert fetch.add(_silent, "7.2").version == "1:7.2.4-1~exp2"


def test_fetched_lists_tell_which_source_it_is(
    machine: Machine, archive: SmallArchive, other: SmallArchive, tmp_path: Path
) -> None:
    machine(
        f"deb [trusted=yes] {other.url} stable main",
        f"deb [trusted=yes] {archive.url} oldstable main",
    )
    subprocess.run(["apt-get", "-qq", "update"], check=True, capture_output=True)
    private = tmp_path / "private"
    private.mkdir()
    (source,) = suites.sources(apt.Apt(private, own_lists=False))
    assert source == suites.Source(f"{archive.url}/", ("Trusted: yes",))


KEY = "-----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n mDMEY865UxYJKwYBBAHaRw8B\n -----END"


@pytest.mark.parametrize(
    ("name", "text", "options"),
    [
        ("a.list", "deb http://d/debian bookworm main", ()),
        (
            "a.list",
            "# deb [trusted=no] http://d/debian x main\n"
            "deb [ arch=amd64 Signed-By=/k/a.gpg,/k/b.gpg lang=de ] http://d/debian/ bookworm main",
            ("Signed-By: /k/a.gpg /k/b.gpg",),
        ),
        (
            "a.sources",
            "Types: deb\nURIs: http://e/debian\nSuites: s\nSigned-By: /k/e.gpg\n\n"
            "Types: deb\nURIs: http://d/debian\nSuites: s\nSigned-By: /k/no.gpg\nEnabled: no\n\n"
            "# ours\nTypes: deb\nURIs: http://f/debian http://d/debian\nSuites: bookworm\n"
            "# not this one\nsigned-by: /k/d.gpg\nLanguages: de\ncheck-valid-until: no\n",
            ("Signed-By: /k/d.gpg", "Check-Valid-Until: no"),
        ),
        (
            "a.sources",
            f"Types: deb\nURIs: http://d/debian\nSuites: s\nSigned-By:\n {KEY}\nComponents: main\n",
            (f"Signed-By: \n {KEY}",),
        ),
        ("a.sources", "", ()),
    ],
)
def test_how_a_source_is_trusted_is_kept(
    name: str, text: str, options: tuple[str, ...], tmp_path: Path
) -> None:
    (tmp_path / name).write_text(text)
    target = apt.Target("http://d/debian/", "s", "main", "", "", "", f"{tmp_path / name}:1")
    assert suites._options(target) == options


# ---- the real archive --------------------------------------------------------------------------

#: What Debian has besides this machine's own: versions that are in its suites for years.
REAL = ("5.7", "6.4", "7.2")


@pytest.fixture(scope="session")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, fetch.Added | str]]:
    """The real runtimes, fetched into a cache of this session's; why not, of those that cannot."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield {version: _added_or_why_not(version) for version in REAL}


def _added_or_why_not(version: str) -> fetch.Added | str:
    try:
        return fetch.add(_silent, version)
    except CannotRun as error:
        return str(error)


@pytest.mark.slow
@pytest.mark.parametrize("version", REAL)
def test_a_real_runtime_is_whole_small_enough_and_loads(
    version: str, real: dict[str, fetch.Added | str]
) -> None:
    added = real[version]
    if isinstance(added, str):
        pytest.skip(f"HIP {version} cannot be fetched: {added}")
    entry = entries.read(Path(added.path))
    assert entry is not None
    assert entry.hip.startswith(f"{version}.")
    assert entries.damage(entry) == ""
    assert 150e6 < entry.size < 350e6
    if not entry.loader:
        return  # this machine's own sources have it
    # Every library that it needs is in the entry: the loader alone, with nothing of the system's.
    path = ":".join((*entry.libc_dirs, *entry.library_dirs))
    done = subprocess.run(
        [entry.loader, "--inhibit-cache", "--library-path", path, "--list", entry.runtime],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    mapped = [
        line.split(" => ")[1].split(" (")[0] for line in done.stdout.splitlines() if "=>" in line
    ]
    assert len(mapped) > 10
    assert {each for each in mapped if not each.startswith(entry.path)} == set()
