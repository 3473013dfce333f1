"""A connection without look-ups, for tests of what happens where a gateway cannot be asked."""

import json


def unasked(sandbox):
    """Return a connection to a sandbox whose gateway does not tell what became of a lost submission."""
    connection = json.loads(sandbox.veo_conn())
    connection["extra"]["gateway"] = {"like": "apiyi", "name": "apiyi", "look_up": "none"}
    return json.dumps(connection)
