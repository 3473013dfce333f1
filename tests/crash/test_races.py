"""Workers of two schedulers after the same output, in processes of their own."""

import os

RACES = int(os.environ.get("VEO_RACES", "100"))


def test_of_two_workers_that_race_one_pays(world, new_task, sandbox):
    """In each race one worker submits; the other waits for its claim, or attaches to its generation."""
    sandbox.clear_faults()
    rivals = new_task("monday"), new_task("tuesday")
    ends = []
    for number in range(RACES):
        output = f"s3://videos/race/{number}.mp4"
        started = [rival.start("execute", output=output) for rival in rivals]
        ends.append([rival.finish("execute", pid) for rival, pid in zip(rivals, started, strict=True)])
    found = [[veo_task_id_of(end) for end in race] for race in ends]
    print(f"{RACES} races, in {sum(None in race for race in found)} of them one met the other at the claim")
    assert (len(world.submissions()), world.bill()) == (RACES, RACES)
    submitted = {task["task_id"] for task in world.submissions()}
    assert [len({*race} & submitted) for race in found] == [1] * RACES


def veo_task_id_of(end):
    """Return the generation that a worker waits for or has stored, or None if it met a claim."""
    assert end["outcome"] in ("deferred", "success"), end
    details = end["trigger"][1] if end["outcome"] == "deferred" else end["value"]
    return details.get("veo_task_id")
