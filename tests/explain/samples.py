"""Texts as people have them: the runtime's log of every era, messages, maps, traces."""

from __future__ import annotations

from dataclasses import dataclass, field

STREAM, OTHER = 0x7F12_8765_0010, 0x7F12_8765_4C30
EVENT = 0x7F12_8766_0B20
CUT, SIGNED = STREAM & 0xFFFF_FFFF, 0xFFFF_FFFF_0000_0000 | (STREAM & 0xFFFF_FFFF)
MAIN, WORKER = "7f27f8672880", "7f27f0ff96c0"
TORCH, ROCM = (
    "/opt/venv/lib/python3.12/site-packages/torch/lib/libamdhip64.so",
    "/opt/rocm-6.4.3/lib/libamdhip64.so.6.4.60403",
)

ERAS = ("5.2", "5.7", "6.3", "6.3 level 4", "7.2")


@dataclass
class Log:
    """A log of the runtime's that is being written, as an era writes it."""

    era: str
    pid: int = 4711
    colour: bool = True
    #: A ``d`` glued to the number.
    stray: str = ""
    lines: list[str] = field(default_factory=list)
    clock: int = 7_098_562_840_830

    def say(self, message: str, tid: str = MAIN, file: str = "hip_stream.cpp") -> Log:
        self.clock += 7
        head = {
            "5.2": f"us: {self.pid:<5}: [tid:0x{tid}] ",
            "5.7": f"us: [pid:{self.pid} tid:0x{tid}] ",
            "6.3": "us:  ",
            "6.3 level 4": f"us: [pid:{self.pid} tid: 0x{tid}] ",
            # The newest: a hash of 20 bits stands for the thread.
            "7.2": f"us: [pid:{self.pid} tid: 0x{int(tid, 16) % 0xFFFFF:x}] ",
        }[self.era]
        self.lines.append(f":3:{file:<24}:{332:<4}: {self.clock}{self.stray} {head}{message}")
        return self

    def start(self) -> Log:
        """The runtime is initialised."""
        return self.say("Initializing HSA stack.", file="rocdevice.cpp")

    def enter(self, call: str, *arguments: str, tid: str = MAIN) -> Log:
        text = f"{call} ( {', '.join(arguments)} )"
        return self.say(f"\x1b[32m {text} \x1b[0m" if self.colour else f" {text}", tid)

    def leave(self, call: str, error: str = "hipSuccess", extra: str = "", tid: str = MAIN) -> Log:
        return self.say(f"{call}: Returned {error} : {extra}", tid)

    def handle(self, value: int) -> str:
        """A stream as an argument: 7.x puts nothing before it."""
        if not value:
            return "<null>" if self.era == "7.2" else "stream:<null>"
        return f"{value:#x}" if self.era == "7.2" else f"stream:{value:#x}"

    def make(self, stream: int = STREAM, tid: str = MAIN) -> Log:
        self.enter("hipStreamCreateWithFlags", "0x7ffd8a8ae3f0", "1", tid=tid)
        return self.leave("hipStreamCreateWithFlags", extra=self.handle(stream), tid=tid)

    def destroy(self, stream: int = STREAM, error: str = "hipSuccess", tid: str = MAIN) -> Log:
        self.enter("hipStreamDestroy", self.handle(stream), tid=tid)
        return self.leave("hipStreamDestroy", error, tid=tid)

    def reset(self, error: str = "hipSuccess", tid: str = MAIN) -> Log:
        return self.enter("hipDeviceReset", tid=tid).leave("hipDeviceReset", error, tid=tid)

    def device(self, number: int, error: str = "hipSuccess", tid: str = MAIN) -> Log:
        self.enter("hipSetDevice", str(number), tid=tid)
        return self.leave("hipSetDevice", error, tid=tid)

    def event(self, value: int) -> str:
        """An event as an argument."""
        return f"{value:#x}" if self.era == "7.2" else f"event:{value:#x}"

    def make_event(self, event: int = EVENT, tid: str = MAIN) -> Log:
        self.enter("hipEventCreateWithFlags", "0x7ffd8a8ae3f0", "0", tid=tid)
        return self.leave("hipEventCreateWithFlags", extra=self.event(event), tid=tid)

    def destroy_event(
        self, event: int = EVENT, error: str | None = "hipSuccess", tid: str = MAIN
    ) -> Log:
        """Without an error: the call that has no return line."""
        self.enter("hipEventDestroy", self.event(event), tid=tid)
        return self if error is None else self.leave("hipEventDestroy", error, tid=tid)

    def library(self, path: str) -> Log:
        """As 7.x tells which file it is of."""
        return self.say(f"HIP Library Path: {path}", file="os_posix.cpp")

    def use(
        self,
        stream: int = STREAM,
        error: str = "hipSuccess",
        call: str = "hipStreamGetFlags",
        tid: str = MAIN,
    ) -> Log:
        arguments = {
            "hipStreamGetFlags": [self.handle(stream), "0x7ffd8a8ae3f0"],
            "hipStreamWaitEvent": [self.handle(stream), "event:0x55d0c0ffee10", "0"],
            "hipModuleLaunchKernel": [
                *("0x55d0aa", "1", "1", "1", "64", "1", "1", "0"), self.handle(stream),
                "char array:<null>", "0x7ffd8a8ae3f0",
            ],
        }.get(call, [self.handle(stream)])  # fmt: skip
        return self.enter(call, *arguments, tid=tid).leave(call, error, tid=tid)

    def refuse(self, stream: int = STREAM, **more: str) -> Log:
        return self.use(stream, "hipErrorContextIsDestroyed", **more)

    def text(self) -> str:
        return "\n".join(self.lines) + "\n"


def maps(*runtimes: tuple[str, int, str], base: int = 0x7F00_0000_0000) -> str:
    """A memory map with these files, each with its inode and device."""
    lines = [
        "55d0a0000000-55d0a0200000 r-xp 00000000 08:01 393218    /usr/bin/python3.12",
        "55d0a1000000-55d0a1400000 rw-p 00000000 00:00 0    [heap]",
    ]
    for number, (path, inode, device) in enumerate(runtimes):
        at = base + number * 0x1000_0000
        lines += [
            f"{at:x}-{at + 0x1000:x} r--p 00000000 {device} {inode}    {path}",
            f"{at + 0x1000:x}-{at + 0x9000:x} r-xp 00001000 {device} {inode}    {path}",
            f"{at + 0x9000:x}-{at + 0xA000:x} rw-p 00009000 {device} {inode}    {path}",
            f"{at + 0xB000:x}-{at + 0xC000:x} rw-p 00000000 00:00 0 ",
        ]
    lines += [
        "7f7ffff00000-7f7ffff10000 r-xp 00000000 08:01 400000    /usr/lib/libc.so.6",
        "7ffd8a890000-7ffd8a8b1000 rw-p 00000000 00:00 0    [stack]",
        "ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0    [vsyscall]",
    ]
    return "\n".join(lines) + "\n"


def ld_debug(*loads: tuple[str, str], pid: int = 4711, closed: bool = False) -> str:
    """LD_DEBUG=libs,files of these (path, who asks); ``closed``: each before the next one."""
    lines = []
    for path, by in loads:
        name = path.rsplit("/", 1)[1]
        lines += [
            f"     {pid}:\tfile={name} [0];  dynamically loaded by {by} [0]",
            f"     {pid}:\tfind library={name} [0]; searching",
            f"     {pid}:\t  trying file={path}",
            f"     {pid}:\tfile={name} [0];  generating link map",
            f"     {pid}:\tcalling init: {path}",
            f"     {pid}:\t",
        ]
        if closed:
            lines.append(f"     {pid}:\tcalling fini: {path} [0]")
    if not closed:
        lines += [f"     {pid}:\tcalling fini: {path} [0]" for path, _ in loads]
    return "\n".join(lines) + "\n"


# ---- messages ------------------------------------------------------------------------------------

XSCHED_OLD = (
    "[ERRO] hip error 709: context is destroyed"
    " @ /home/u/xsched/platforms/hip/hal/src/hip_queue.cpp:67\n"
)
XSCHED_NEW = (
    "[XSCHED INFO @ T 15467 @ 22:34:58.140448] using app-managed scheduler\n"
    "[XSCHED ERRO @ T 15467 @ 22:34:58.140774] hip error 709: context is destroyed"
    " @ /build/platforms/hip/hal/src/hip_queue.cpp:32\n"
)
XSCHED_CUDA = (
    "[XSCHED ERRO @ T 15467 @ 22:34:58.140774] current context ((nil)) does not match stream"
    " context (0x55d0c0ffee00) @ /build/platforms/cuda/hal/src/cuda_queue.cpp:31\n"
)
XSCHED_CUDA_709 = (
    "[XSCHED ERRO @ T 1 @ 22:34:58.140774] cuda error 709: context is destroyed"
    " @ /build/platforms/cuda/hal/src/cuda_queue.cpp:31\n"
)
XSCHED_NO_SYMBOL = (
    "[XSCHED ERRO @ T 1 @ 22:34:58.140774] fail to get symbol hipStreamGetFlags @ loader.cpp:31\n"
)
TORCH_709 = """Traceback (most recent call last):
  File "/app/serve.py", line 41, in <module>
    main()
  File "/app/serve.py", line 22, in main
    raise_if("HIP error: context is destroyed")
  File "/opt/venv/lib/python3.12/site-packages/torch/cuda/streams.py", line 105, in synchronize
    super().synchronize()
RuntimeError: HIP error: context is destroyed
HIP kernel errors might be asynchronously reported at some other API call, so the stacktrace below
 might be incorrect.
For debugging consider passing AMD_SERIALIZE_KERNEL=3
"""
TORCH_INVALID = """Traceback (most recent call last):
  File "/app/serve.py", line 41, in <module>
    main()
torch.AcceleratorError: HIP error: invalid argument
"""
MORI = """Traceback (most recent call last):
  File "/opt/venv/lib/python3.12/site-packages/mori/jit/hip_driver.py", line 88, in launch
    _check(status, "hipModuleLaunchKernel")
RuntimeError: HIP error 709: hipModuleLaunchKernel(func, 1, 1, 1, 64, 1, 1, 0, stream)
"""
VATTN = "RuntimeError: vattn_asm: hipModuleLaunchKernel failed: 709 (context is destroyed)\n"
VLLM = (
    "(EngineCore_0 pid=4242) ERROR 06-03 12:00:01 [core.py:700] hipStreamSynchronize returned"
    " hipError_t(709)\n"
)
MIOPEN = "MIOpen(HIP): Error [Destroy] hipGetLastError returned error code 709\n"
CUDA_TORCH = "RuntimeError: CUDA error: context is destroyed\n"
CUDA_DRIVER = "cuStreamSynchronize failed with CUDA_ERROR_CONTEXT_IS_DESTROYED\n"
CUDA_RUNTIME = "an error: cudaErrorContextIsDestroyed (709) returned by cudaStreamQuery\n"
LAUNCH_1 = "RuntimeError: hipModuleLaunchKernel failed with error code 1\n"
LLVM = (
    ": CommandLine Error: Option 'amdgpu-enable-hot-block' registered more than once!\n"
    "LLVM ERROR: inconsistency in registered CommandLine options\n"
)

# ---- crashes -------------------------------------------------------------------------------------

GDB_7 = """GNU gdb (Debian 13.1-3) 13.1
Thread 3 "python3" received signal SIGSEGV, Segmentation fault.
#0  0x00007f27d0a31c3c in ?? () from /opt/rocm-7.2.4/lib/libamdhip64.so.7
#1  0x00007f27d0a2fe21 in hipStreamGetFlags () from /opt/rocm-7.2.4/lib/libamdhip64.so.7
#2  0x00007f27e1a0eb40 in HipQueueCreate () from /opt/xsched/lib/libhalhip.so
"""
GDB_CUT = f"""Core was generated by `python3 serve.py'.
Program terminated with signal SIGSEGV, Segmentation fault.
#0  hipEventRecord (event=0x55d0c0ffee10, stream={CUT:#x}) at /src/hip_event.cpp:305
#1  0x00007f27d0a2fe21 in hipEventRecord () from /opt/rocm-5.2.3/lib/libamdhip64.so.5.2.21153
"""
GDB_CHECKED = """Program terminated with signal SIGSEGV, Segmentation fault.
#0  0x00007f27d0a2fe21 in hipStreamGetFlags () from /opt/rocm-6.4.3/lib/libamdhip64.so.6
"""
GDB_LIBRARIES = f"""GNU gdb (Debian 13.1-3) 13.1
From                To                  Syms Read   Shared Object Library
0x00007ffff7fc6000  0x00007ffff7ff0000  Yes         /lib64/ld-linux-x86-64.so.2
0x00007f27d0a00000  0x00007f27d1a00000  Yes (*)     {TORCH}
0x00007f27c0a00000  0x00007f27c1a00000  Yes (*)     {ROCM}
"""
DMESG_CUT = (
    f"[ 1234.567890] python3[4711]: segfault at {CUT + 0x18:x} ip 00007f27d0a31c3c sp"
    " 00007f27c3bfc0a0 error 4 in libamdhip64.so.7.2.70204[7f27d0a00000+1a00000] likely on CPU 3\n"
)
DMESG_NULL = (
    "[ 1234.567890] python3[4711]: segfault at 18 ip 00007f27d0a31c3c sp 00007f27c3bfc0a0"
    " error 4 in libamdhip64.so.6.4.60403[7f27d0a00000+1a00000]\n"
)
DMESG_RESET = (
    "[ 1300.000001] amdgpu 0000:03:00.0: amdgpu: ring gfx_0.0.0 timeout, signaled seq=12\n"
    "[ 1300.000002] amdgpu 0000:03:00.0: amdgpu: GPU reset begin!\n"
    "[ 1301.000003] amdgpu 0000:03:00.0: amdgpu: GPU reset(2) succeeded!\n"
)
FAULTHANDLER = (
    "Fatal Python error: Segmentation fault\n\nCurrent thread 0x00007f27f8672880 (most recent call"
    ' first):\n  File "/app/serve.py", line 12 in main\n'
)

# ---- texts with nothing in them ------------------------------------------------------------------

SOURCE_CODE = """static const char *name(hipError_t e) {
  if (e == hipErrorContextIsDestroyed) /* 709 */
    count_it(hipErrorContextIsDestroyed);
  HIP_CHECK(hipStreamGetFlags(stream, &flags));
}
"""
PYTHON_OTHER = """Traceback (most recent call last):
  File "/app/serve.py", line 3, in <module>
    import nothing
ModuleNotFoundError: No module named 'nothing'
"""
PROSE = "What HIP error 709 means is written in many places; 709 lines of it.\n"


def healthy(era: str) -> str:
    """A program that polls, asks what it may not, and ends well."""
    log = Log(era).start().make()
    for _ in range(5):
        log.use().use(call="hipStreamQuery", error="hipErrorNotReady")
        log.use(call="hipStreamSynchronize", tid=WORKER)
    log.enter("hipPointerGetAttributes", "0x7ffd8a8ae3f0", "0x7f1e")
    log.leave("hipPointerGetAttributes", "hipErrorInvalidValue")
    log.enter("hipGetLastError")
    log.enter("hipStreamDestroy", log.handle(0)).leave("hipStreamDestroy", "hipErrorInvalidHandle")
    return log.destroy().text()
