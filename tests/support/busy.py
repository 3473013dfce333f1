"""Run a command three times on a machine that is busy with something else, and say how long each run took.

    python tests/busy.py make unit integration

A test that relies on the clock for an order of events shows here, sooner or later.
"""

import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager

LOOPS = 4
RUNS = 3
# It ends with its parent, however that ends.
LOOP = "import os\nparent = os.getppid()\nwhile os.getppid() == parent: pass"


@contextmanager
def busy():
    """Keep processors busy."""
    with ExitStack() as stack:
        for _ in range(LOOPS):
            loop = stack.enter_context(subprocess.Popen([sys.executable, "-c", LOOP]))
            stack.callback(loop.kill)
        yield


def main(command):
    """Run it, and return how many runs have failed."""
    told = []
    with busy():
        for number in range(1, RUNS + 1):
            began = time.monotonic()
            code = subprocess.run(command, check=False).returncode
            end = "passed" if code == 0 else f"failed with {code}"
            told.append(f"busy run {number} of {RUNS} {end} after {time.monotonic() - began:.0f} s")
            print(told[-1], flush=True)
    print(*told, sep="\n", flush=True)
    return sum("failed" in line for line in told)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
