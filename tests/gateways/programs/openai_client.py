"""OpenAI's SDK for Python: submits, polls and downloads; prints what it got."""

import json
import sys
import warnings
from pathlib import Path

from openai import OpenAI

warnings.simplefilter("ignore", DeprecationWarning)  # OpenAI itself has ended its videos
base_url, api_key, model, image = sys.argv[1:]
client = OpenAI(base_url=base_url, api_key=api_key, max_retries=0)
video = client.videos.create_and_poll(
    model=model,
    prompt="The rocket lifts off",
    seconds="4",
    size="1280x720",
    input_reference=Path(image),
    poll_interval_ms=100,
)
content = client.videos.download_content(video.id).read()
listed = [each.id for each in client.videos.list()]
print(json.dumps({"id": video.id, "status": video.status, "bytes": len(content), "listed": listed}))
