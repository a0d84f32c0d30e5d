"""The knowledge base: every cause of a refused handle, and what passes for one, as data.

``explain`` names these causes, the matrix tests those of them that are hypotheses, a record proves
them, and all say the same about what to do.  Sources of the facts: AMD's public HIP runtime source
(hip_stream.cpp, hip_event.cpp, hip_device_runtime.cpp), and what was measured on 5.2.3, 5.7.1,
6.4.3 and 7.2.4; docs/why-709.md has them at length.
"""

from __future__ import annotations

from xdiag.model import Record

_RECORD = "xdiag run --record run.xdiag -- COMMAND; xdiag explain run.xdiag"
_LOG = "AMD_LOG_LEVEL=4 COMMAND 2> amd.log; xdiag explain amd.log"
_INSPECT = "xdiag inspect PID"
_DOCTOR = "xdiag doctor -- COMMAND"


class Discriminator(Record, frozen=True):
    """What tells a cause from its neighbours, and the command that shows it."""

    tells: str
    command: str


class Cause(Record, frozen=True):
    """One cause, or one thing that is blamed and is none."""

    #: As in ``xdiag.hypotheses`` and in the diagnoses of ``xdiag.recording``.
    id: str
    #: What is so, if this is the cause; no full stop.
    statement: str
    #: What a log, a map or a trace shows of it.
    signature: str
    remedy: str
    discriminators: tuple[Discriminator, ...] = ()
    #: Public reports: OWNER/REPOSITORY#NUMBER.
    references: tuple[str, ...] = ()
    #: Which versions of the runtime show it how; empty where they do not differ.
    versions: str = ""
    #: Blamed by many, and ruled out by how the check works.
    blamed: bool = False
    platform: str = "hip"


CAUSES: tuple[Cause, ...] = (
    Cause(
        id="two-runtimes",
        statement="the stream was made by another loaded copy of the library",
        signature="a created stream is refused and stream NULL works; the handle is whole, was"
        " made in the same process and is neither destroyed nor reset; two files called"
        " libamdhip64 are mapped, or the runtime's initialisation is logged twice under one pid",
        discriminators=(
            Discriminator("two copies are in the process's memory map", _INSPECT),
            Discriminator("who asks for the second copy, and by which rule", _DOCTOR),
            Discriminator("which copy made the handle that the other one refused", _RECORD),
        ),
        remedy="make every party open the copy that is already loaded"
        " (for XSched: XSCHED_HIP_LIB=<that file>; for any program: xdiag run)",
        references=(
            "ROCm/mori#402",
            "sgl-project/sglang#39513",
            "sgl-project/sglang#39937",
            "triton-lang/triton#3403",
            "triton-lang/triton#4255",
            "pytorch/pytorch#141014",
        ),
        versions="up to 6.4 a clean 709 from most stream calls; 7.x takes the other copy's stream"
        " without a check: success, and work that is silently unordered; 709 there only from"
        " hipModuleLaunchKernel and hipStreamGetDevice",
    ),
    Cause(
        id="truncated-handle",
        statement="the handle lost its upper 32 bits on the way",
        signature="the value that is refused is below 4 GiB, or is 0xffffffff and eight digits"
        " more; its low 32 bits are those of a stream that was made; a caller in C works and one"
        " in Python does not",
        discriminators=(
            Discriminator("the refused value is the low half of a handle that was made", _RECORD),
            Discriminator("the same from the runtime's own log", _LOG),
            Discriminator(
                "the fault goes away with the binding's argument types declared",
                "xdiag run --repair full-width-handle -- COMMAND",
            ),
        ),
        remedy="declare the binding's argument types (ctypes: argtypes, or pass c_void_p)",
        versions="up to 6.4 a 709 from the calls that check; elsewhere, and from 7.0 on, a"
        " segmentation fault: the cut pointer is followed",
    ),
    Cause(
        id="destroyed-stream",
        statement="the stream was destroyed before it was used",
        signature="hipStreamDestroy is given the handle before the call that is refused, and no"
        " call has made it again in between",
        discriminators=(
            Discriminator("who destroyed it, and when", _RECORD),
            Discriminator("the same from the runtime's own log", _LOG),
        ),
        remedy="keep the stream's owner alive as long as the handle is used",
        versions="up to 6.4 a 709; from 7.0 on freed memory is read; on all of them an address"
        " that was given to a new stream is accepted again",
    ),
    Cause(
        id="device-reset",
        statement="the device was reset after the stream was made",
        signature="hipDeviceReset between the call that made the stream and the one that is"
        " refused; a stream made afterwards works",
        discriminators=(
            Discriminator("who reset the device, and when", _RECORD),
            Discriminator("the same from the runtime's own log", _LOG),
        ),
        remedy="make streams after the last reset",
        versions="hipDeviceReset destroys every stream of the caller's current device, in all"
        " threads",
    ),
    Cause(
        id="fork",
        statement="the stream is used in a child forked after the runtime was initialised",
        signature="the stream was made under another pid, the parent's; calls that take it are"
        " accepted, and a wait for work does not return",
        discriminators=(
            Discriminator("which process made the handle, and which one used it", _RECORD),
            Discriminator("the same from the runtime's own log", _LOG),
            Discriminator(
                "what happens to such a stream on this runtime",
                "xdiag probe --pattern fork-after-init",
            ),
        ),
        remedy="start workers with spawn, or initialise the runtime in the child only",
        versions="the set of live streams is copied with the process: up to 6.4 the handle passes"
        " the check, and no 709 is seen",
    ),
    Cause(
        id="other-process",
        statement="the handle was made in another process",
        signature="the same value was made under another pid of the same log, and not under the"
        " one that used it",
        discriminators=(Discriminator("which process made the handle", _RECORD),),
        remedy="make a stream in each process: a handle is an address, and means nothing in"
        " another one",
    ),
    Cause(
        id="unloaded-runtime",
        statement="the copy of the library that made the handle was closed",
        signature="two copies follow each other in one process, the first with a dlclose"
        " (LD_DEBUG: calling fini) before the call that is refused",
        discriminators=(
            Discriminator(
                "when the copy was closed",
                "LD_DEBUG=files LD_DEBUG_OUTPUT=ld COMMAND; xdiag explain ld.*",
            ),
            Discriminator("whose the handle was", _RECORD),
        ),
        remedy="keep the library open (no dlclose) as long as its handles are used",
    ),
    Cause(
        id="destroyed-event",
        statement="an event was destroyed before, or twice",
        signature="a 709 that hipGetLastError reports and no stream call returned; hipEventDestroy"
        " without a return line; one runtime; often at the program's end",
        discriminators=(
            Discriminator("which event, destroyed by whom", _RECORD),
            Discriminator("hipEventDestroy of one event, twice", _LOG),
        ),
        remedy="destroy each event once, and after its last use",
        references=("ROCm/TheRock#2642", "ROCm/rocm-libraries#8135"),
        versions="5.2 follows the pointer (segmentation fault); later versions give 709 without"
        " the usual line in the log",
    ),
    Cause(
        id="legacy-stream",
        statement="the handle is hipStreamLegacy (1), which this runtime does not know",
        signature="the refused handle is 0x1",
        discriminators=(Discriminator("the runtime's version", "xdiag runtimes"),),
        remedy="pass NULL: hipStreamLegacy (1) is known from HIP 6.3 on",
        versions="709 up to 6.2; known from 6.3 on",
    ),
    Cause(
        id="ended-thread",
        statement="the handle is the per-thread stream of a thread that has ended",
        signature="no call made the handle, and it was got from a call on hipStreamPerThread in a"
        " thread that has ended since",
        discriminators=(Discriminator("which thread used the handle first", _RECORD),),
        remedy="pass hipStreamPerThread (2) itself, not the pointer behind it",
    ),
    Cause(
        id="wrong-kind",
        statement="the handle is an event where a stream is asked for, or the other way round",
        signature="the value that is refused was made by hipEventCreate, or the event's by"
        " hipStreamCreate",
        discriminators=(
            Discriminator("what the handle was made as", _RECORD),
            Discriminator("the same from the runtime's own log", _LOG),
        ),
        remedy="pass a stream where a stream is asked for, and an event where an event is",
    ),
    Cause(
        id="unknown-handle",
        statement="this loaded copy of the library does not know the handle; why is not told",
        signature="709 from a stream call, and nothing that says where the handle came from",
        discriminators=(
            Discriminator("whose the handle is", _RECORD),
            Discriminator("how many copies of the runtime are loaded", _INSPECT),
            Discriminator("where the handle was made, and what became of it", _LOG),
        ),
        remedy="find out whose the handle is, by one of the commands",
    ),
    Cause(
        id="unchecked-handle",
        statement="the runtime followed a handle that it did not check",
        signature="a segmentation fault inside libamdhip64, in a call that is given a stream or an"
        " event",
        discriminators=(
            Discriminator(
                "whether the handle is bad, and why: the last calls before the death", _RECORD
            ),
            Discriminator(
                "which call it was: the innermost frames",
                "gdb -batch -ex 'thread apply all bt' PROGRAM CORE; xdiag inspect CORE",
            ),
        ),
        remedy="find out whose the handle is: what crashes here is refused with 709 elsewhere",
        versions="7.0 removed the check from most stream calls: what is a 709 on 6.4 is a"
        " segmentation fault, or a silent success, on 7.x; hipEventRecord never checked up to 5.5,"
        " hipMemcpyAsync and hipMemsetAsync up to 6.2",
    ),
    Cause(
        id="duplicate-llvm",
        statement="two copies of one library of LLVM's register the same options in one process",
        signature="abort with: CommandLine Error: Option '...' registered more than once!",
        discriminators=(
            Discriminator("which libraries are there twice, by device and inode", _DOCTOR),
        ),
        remedy="leave one file: links instead of copies (layers of an image make copies of hard"
        " links)",
        references=("ROCm/TheRock#7818",),
    ),
    Cause(
        id="runtime-not-found",
        statement="XSched has found no library of the runtime, or one without that call",
        signature="XSched: fail to get symbol hip...; it looks at XSCHED_HIP_LIB (a file's path),"
        " then at /opt/rocm/lib and the system's directories, and at no LD_LIBRARY_PATH",
        discriminators=(
            Discriminator("which libraries of the runtime are on this machine", "xdiag runtimes"),
            Discriminator("which one the program loads", _DOCTOR),
        ),
        remedy="tell XSched which one: XSCHED_HIP_LIB=<the file that the program loads>",
    ),
    Cause(
        id="gpu-reset",
        statement="the kernel driver reset the GPU",
        signature="dmesg: amdgpu ... GPU reset",
        discriminators=(
            Discriminator(
                "which ring or page fault came before it", "dmesg --ctime | grep -i amdgpu"
            ),
        ),
        remedy="start the program anew; what hung the GPU stands before the reset in the kernel's"
        " log",
        versions="it is no cause of a 709: the check compares pointers and asks no device",
    ),
    Cause(
        id="cuda-context",
        statement="on CUDA, 709 is about a context: the calling thread's current one was destroyed,"
        " or is a primary context that is not initialised",
        signature="CUDA error: context is destroyed; cudaErrorContextIsDestroyed;"
        " CUDA_ERROR_CONTEXT_IS_DESTROYED",
        discriminators=(
            Discriminator(
                "who destroys or resets it: cuDevicePrimaryCtxReset, cuCtxDestroy, cudaDeviceReset",
                "gdb -ex 'set breakpoint pending on' -ex 'break cuDevicePrimaryCtxReset_v2'"
                " -ex 'break cuCtxDestroy_v2' -ex run --args COMMAND",
            ),
        ),
        remedy="do not destroy or reset the context before the last use of what was made in it"
        " (what helps against HIP's 709 does not help here, nor the other way round)",
        platform="cuda",
    ),
    Cause(
        id="cuda-thread-context",
        statement="on CUDA, the thread has another context current than the stream's, or none",
        signature="XSched: current context ((nil)) does not match stream context",
        discriminators=(
            Discriminator(
                "which threads make a context current, and that the one which uses the stream never"
                " does",
                "gdb -ex 'set breakpoint pending on' -ex 'break cuCtxSetCurrent'"
                " -ex 'break cuCtxPushCurrent_v2' -ex run --args COMMAND",
            ),
        ),
        remedy="make the stream's context current in that thread: torch.cuda.set_device, or"
        " cuDevicePrimaryCtxRetain and cuCtxSetCurrent",
        platform="cuda",
    ),
    Cause(
        id="thread-bound",
        statement="a stream belongs to the thread that made it",
        signature="nothing: the check compares pointers and asks for no thread",
        discriminators=(
            Discriminator(
                "a stream made by one thread works in another",
                "xdiag probe --pattern cross-thread",
            ),
        ),
        remedy="make the stream in the thread that uses it",
        blamed=True,
    ),
    Cause(
        id="context-bound",
        statement="a stream needs the context that was current when it was made",
        signature="nothing: a HIP context is the device's object, one for all threads, and no"
        " context call can give 709 or make a handle valid",
        discriminators=(
            Discriminator(
                "a refused handle stays refused whatever context is retained or set",
                "xdiag probe --pattern second-runtime --fix primary-context-retain",
            ),
        ),
        remedy="make the creator's context current before the stream is used",
        blamed=True,
    ),
    Cause(
        id="python-threads",
        statement="Python threads or the GIL get in the way",
        signature="nothing: native threads are refused alike",
        discriminators=(
            Discriminator(
                "a refused handle stays refused in a native thread",
                "xdiag probe --pattern second-runtime --fix native-thread",
            ),
        ),
        remedy="use the stream from a native thread",
        blamed=True,
    ),
    Cause(
        id="unshareable",
        statement="the runtime cannot share one stream between threads",
        signature="nothing: threads that use one stream at a time are accepted",
        discriminators=(
            Discriminator(
                "threads use one stream at the same time",
                "xdiag probe --pattern concurrent-use",
            ),
        ),
        remedy="give each thread a stream of its own",
        blamed=True,
    ),
)

_BY_ID = {cause.id: cause for cause in CAUSES}


def get(id: str) -> Cause:
    """The cause called ``id``; raises KeyError for one that is not known."""
    return _BY_ID[id]


#: What a 709 of a stream call alone leaves open, the commonest first.
OF_A_REFUSAL = ("two-runtimes", "truncated-handle", "destroyed-stream", "device-reset")
#: The same of hipEventDestroy's.
OF_AN_EVENT = ("destroyed-event", "two-runtimes", "truncated-handle")
