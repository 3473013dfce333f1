"""Moments that tests wait for: events instead of durations, so that a busy machine changes nothing.

What is not to happen before something else is held until then; what is waited for may take its time.
"""

import asyncio
import functools
import selectors
import threading
import time
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PATIENCE = 300.0
"""Seconds after which what has not happened is taken for never; it costs time only where a test fails."""


def until(condition):
    """Wait until something has happened that has no event of its own, and return what the condition says."""
    limit = time.monotonic() + PATIENCE
    while not (found := condition()):
        assert time.monotonic() < limit, "it does not happen"
        time.sleep(0.02)
    return found


def at_moment(condition, act):
    """Start a thread that acts as soon as a condition holds, and return it to be joined."""

    def wait():
        until(condition)
        act()

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    return thread


class Holding(ThreadingHTTPServer):
    """Takes calls and answers none of them; when it is told to let go, it hangs up.

    :param reached: set by the first call.
    :param let_go: set it to end all calls.
    """

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Held)
        self.reached, self.let_go = threading.Event(), threading.Event()

    @property
    def url(self):
        """Where it is."""
        return f"http://127.0.0.1:{self.server_port}/held"


class _Held(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_GET(self):
        self.server.reached.set()
        self.server.let_go.wait()
        self.close_connection = True


@contextmanager
def holding():
    """Run a server that holds its calls, to be redirected to."""
    with Holding() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield server
        finally:
            server.let_go.set()
            server.shutdown()
            thread.join()


class Clock(selectors.DefaultSelector):
    """Lets the time of an event loop pass instead of waiting for it."""

    now = 0.0

    def select(self, timeout=None):
        """Jump to the next timer; what is ready is found at once."""
        if timeout:
            self.now += max(timeout, 1e-6)
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock stands still while anything is to be done, and else jumps to the next timer.

    For what happens within one process: nothing outside knows of its time.
    """

    def __init__(self):
        self.clock = Clock()
        super().__init__(self.clock)

    def time(self):
        """Return its own seconds."""
        return self.clock.now


def in_virtual_time(test):
    """Run an asynchronous test in a loop of its own, with its own time."""

    @functools.wraps(test)
    def run(**fixtures):
        with closing(VirtualLoop()) as loop:
            loop.run_until_complete(test(**fixtures))

    return run
