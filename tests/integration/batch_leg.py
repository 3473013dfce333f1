"""One leg of a batch as a process of its own, to be killed: reads job and progress, writes the progress."""

import asyncio
import json
import sys
from pathlib import Path

from veo_provider.batch.checkpoint import Checkpoint
from veo_provider.batch.engine import item, runner
from veo_provider.batch.segment import BatchSpec
from veo_provider.generation import submission

# A dead claim is one for some seconds only.
submission.ANSWER_SECONDS, submission.CLAIM_SECONDS = 1.0, 4.0
item.CLAIM_POLL_SECONDS, runner.STORE_BATCH_SIZE = 0.5, 6


def main(folder: Path, stores: bool) -> None:
    """Go one leg, and replace the progress by what it led to, as the scheduler does with an event."""
    state = json.loads((folder / "state.json").read_text())
    job = BatchSpec.from_dict(state["job"])
    progress = asyncio.run(job.go(Checkpoint.from_dict(state["progress"]), stores=stores))
    next_state = folder / "next.json"
    next_state.write_text(json.dumps({"job": state["job"], "progress": progress.to_dict()}))
    next_state.rename(folder / "state.json")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2] == "worker")
