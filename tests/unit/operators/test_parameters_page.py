"""The table of parameters in the documentation, docs/operators.rst."""

import inspect
from pathlib import Path

import pytest

from veo_provider.operators.batch import VeoBatchOperator
from veo_provider.operators.veo import VeoImageToVideoOperator, VeoSubmitOperator
from veo_provider.sensors.veo import VeoTaskSensor
from veo_provider.transfers.veo_to_s3 import VeoToS3Operator

PAGE = (Path(__file__).parents[3] / "docs" / "operators.rst").read_text(encoding="utf-8")
TABLE = PAGE.split("\nParameters\n")[1].split("\nVeoImageToVideoOperator\n---")[0]
OPERATORS = [VeoSubmitOperator, VeoImageToVideoOperator, VeoBatchOperator, VeoTaskSensor, VeoToS3Operator]


def parameters(operator):
    """Return the parameters of an operator that this package adds to Airflow's."""
    classes = [one for one in operator.__mro__ if one.__module__.startswith("veo_provider.")]
    signatures = [inspect.signature(one.__init__) for one in classes if "__init__" in vars(one)]
    return {name for found in signatures for name in found.parameters} - {"self", "args", "kwargs"}


@pytest.mark.parametrize("operator", OPERATORS)
def test_the_table_has_every_parameter(operator):
    """A parameter that is added to an operator is added to the table, too."""
    found = parameters(operator)
    assert found
    assert f"``{operator.__name__}``" in TABLE
    assert not sorted(name for name in found if f"``{name}``" not in TABLE)
