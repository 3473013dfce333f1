"""Responses of the service and what happens: rows that a test checks and the documentation shows.

Each expectation is written by hand.
"""

from support.answers.balance import BALANCE
from support.answers.bodies import BODIES
from support.answers.framing import FRAMING
from support.answers.ids import IDS
from support.answers.lost import LOST
from support.answers.overload import OVERLOAD
from support.answers.refusals import REFUSALS
from support.answers.statuses import STATUSES
from support.answers.videos import VIDEOS

GROUPS = [REFUSALS, OVERLOAD, LOST, FRAMING, BODIES, STATUSES, IDS, VIDEOS, BALANCE]
ROWS = [row for group in GROUPS for row in group.rows]
