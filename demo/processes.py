"""Leave no process behind: find what carries a mark in its environment, and end it."""

from __future__ import annotations

import secrets
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, NoReturn

import psutil

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

__all__ = ["carriers", "end_carriers", "ending_on_signals", "guarded"]

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def carriers(variable: str, value: str) -> list[psutil.Process]:
    """List the other processes whose environment says ``variable=value``.

    A process inherits its environment and keeps it, whatever group, session or parent it moves to.
    """
    here = psutil.Process()
    return [one for one in psutil.process_iter() if one != here and _environ(one).get(variable) == value]


def end_carriers(variable: str, value: str, grace: float = 3) -> None:
    """End every process that carries the mark: asked first, killed after ``grace`` seconds."""
    with _undisturbed():
        asked = carriers(variable, value)
        for process in asked:
            _send(process, signal.SIGTERM)
        psutil.wait_procs(asked, timeout=grace)
        while left := carriers(variable, value):
            for process in left:
                _send(process, signal.SIGKILL)
            psutil.wait_procs(left, timeout=grace)


@contextmanager
def guarded(variable: str) -> Iterator[str]:
    """Give a value for ``variable``, and end every process that carries it when the block ends.

    They are ended too when this process is killed in the block: a small process watches us, whose
    standard input ends when we do. The value is new each time, so that it never ends a successor's.
    """
    value = secrets.token_hex(8)
    command = [sys.executable, __file__, variable, value]
    with subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True) as guard:
        try:
            yield value
        finally:
            end_carriers(variable, value)
            guard.terminate()


@contextmanager
def ending_on_signals() -> Iterator[None]:
    """Let SIGTERM and a closed terminal end the block like Ctrl-C: as an exception that unwinds it.

    Ctrl-C itself is set as well, because a shell starts its background jobs with that signal ignored.
    """
    interrupt = signal.default_int_handler
    with _handling({signal.SIGTERM: _exit, signal.SIGHUP: _exit, signal.SIGINT: interrupt}):
        yield


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Ignore an impatient second Ctrl-C while cleaning up after the first."""
    with _handling(dict.fromkeys(SIGNALS, signal.SIG_IGN)):
        yield


@contextmanager
def _handling(handlers: dict[signal.Signals, signal._HANDLER]) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield  # Only the main thread gets signals, and only it may say how they are handled.
        return
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _exit(number: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)


def _environ(process: psutil.Process) -> dict[str, str]:
    try:
        return process.environ()
    except psutil.Error:  # gone, a zombie, or another user's
        return {}


def _send(process: psutil.Process, number: signal.Signals) -> None:
    with suppress(psutil.NoSuchProcess):
        process.send_signal(number)


if __name__ == "__main__":
    sys.stdin.read()
    end_carriers(sys.argv[1], sys.argv[2])
