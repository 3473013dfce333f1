"""One segment of a batch as a process of its own, to be killed: reads job and progress, writes progress."""

import asyncio
import json
import sys
from pathlib import Path

from veo_provider.batch.checkpoint import Checkpoint
from veo_provider.batch.segment import run_segment
from veo_provider.batch.spec import BatchSpec, BatchTuning
from veo_provider.generation import submission

# A dead claim is one for some seconds only.
submission.RECORD_SECONDS, submission.CLAIM_SECONDS = 1.0, 4.0
TUNING = BatchTuning(claim_pause=0.5, store_batch_size=6)


def main(folder: Path, stores: bool) -> None:
    """Run one segment, and replace the progress by what it led to, as the scheduler does with an event."""
    state = json.loads((folder / "state.json").read_text())
    job = BatchSpec.from_dict(state["job"])
    before = Checkpoint.from_dict(state["progress"])
    progress = asyncio.run(run_segment(job, before, store_videos=stores, tuning=TUNING))
    next_state = folder / "next.json"
    next_state.write_text(json.dumps({"job": state["job"], "progress": progress.to_dict()}))
    next_state.rename(folder / "state.json")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2] == "worker")
