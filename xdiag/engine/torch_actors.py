"""Actors that only torch has: autograd's own thread, and a DataLoader's worker process."""

from __future__ import annotations

import queue
import signal
import threading
from typing import TYPE_CHECKING, Any

from xdiag import native
from xdiag.engine.actors import CannotAct, ServingProcess, ServingThread, serve_from

if TYPE_CHECKING:
    from multiprocessing.connection import Connection


class AutogradThread(ServingThread):
    """The native thread in which torch runs backward functions of a device's tensors.

    A function of ours is made part of a computation, and does not come back from its backward pass
    until the actor is ended.  Raises CannotAct, with what torch said, if that is not come to.
    """

    def __init__(self) -> None:
        super().__init__()
        self._entered: queue.SimpleQueue[str] = queue.SimpleQueue()
        # backward() waits for its functions, so it gets a thread of its own.
        self._caller = threading.Thread(target=self._call, name="backward", daemon=True)
        self._caller.start()
        if problem := self._entered.get():
            raise CannotAct(problem)

    def _call(self) -> None:
        import torch

        actor = self
        caller = threading.get_ident()

        class Served(torch.autograd.Function):  # type: ignore[misc]
            @staticmethod
            def forward(context: Any, tensor: Any) -> Any:
                del context
                return tensor.clone()

            @staticmethod
            def backward(context: Any, *gradients: Any) -> Any:
                del context
                own = threading.get_ident() != caller
                actor._entered.put("" if own else "backward functions run in their caller's thread")
                if own:
                    actor.serve()
                return gradients[0]

        try:
            tensor = torch.ones(1, device="cuda", requires_grad=True)
            Served.apply(tensor).backward(torch.ones(1, device="cuda"))
        except Exception as error:
            # One that comes after the actor has ended is read by nobody.
            self._entered.put(f"torch's autograd: {error}")

    def end(self) -> None:
        """Let the backward pass end."""
        super().end()
        self._caller.join()


class DataLoaderWorker(ServingProcess):
    """The worker process of a torch.utils.data.DataLoader, which loads an item of ours.

    Raises CannotAct if there is none.
    """

    def __init__(self) -> None:
        from torch.utils.data import DataLoader

        super().__init__()
        loader: Any = DataLoader(_Items(self.theirs), batch_size=None, num_workers=1)
        knows = len(native.declarations())
        before = signal.getsignal(signal.SIGCHLD)
        try:
            # The worker is asked for the first item at once, and busy with it until the actor ends.
            self._iterator = iter(loader)
        except Exception as error:
            raise CannotAct(f"torch's DataLoader: {error}") from error
        finally:
            # torch's own handler raises in the main thread, wherever that is, when a worker ends;
            # that it has ended is told by the pipe, with how.
            signal.signal(signal.SIGCHLD, before)
        workers = getattr(self._iterator, "_workers", [])
        if len(workers) != 1:
            raise CannotAct("torch's DataLoader has started no worker")
        forked = getattr(workers[0], "_start_method", None) or _start_method()
        self.started(workers[0], knows=knows if forked == "fork" else 0)


def _start_method() -> str:
    import multiprocessing

    return multiprocessing.get_start_method()


class _Items:
    """A dataset of one item, which is loaded for as long as the actor lives."""

    def __init__(self, pipe: Connection[Any, Any]) -> None:
        self._pipe = pipe

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> int:
        serve_from(self._pipe)
        return index
