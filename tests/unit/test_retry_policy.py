"""What this provider tells an Airflow that asks whether to retry."""

from datetime import timedelta

import pytest
from airflow.providers.common.compat.version_compat import AIRFLOW_V_3_3_PLUS

from veo_provider import exceptions
from veo_provider.operators.veo import VeoImageToVideoOperator
from veo_provider.retry_policy import with_retry_policy

FIELDS = {"task_id": "make", "image": "a.jpg", "prompt": "p", "output": "s3://b/k.mp4"}


@pytest.mark.skipif(AIRFLOW_V_3_3_PLUS, reason="Airflow 3.3 and later have retry policies")
def test_older_versions_have_no_policy():
    """Before 3.3 the same decisions are made by AirflowFailException alone."""
    assert with_retry_policy(object(), {"retries": 1}) == {"retries": 1}


@pytest.mark.skipif(not AIRFLOW_V_3_3_PLUS, reason="retry policies came with Airflow 3.3")
@pytest.mark.parametrize(
    ("error", "action", "delay"),
    [
        (exceptions.VeoRateLimitError("x", retry_after=70), "retry", timedelta(seconds=70)),
        (exceptions.VeoRateLimitError("x"), "default", None),
        (exceptions.VeoConnectionError("x"), "default", None),
        (exceptions.VeoModerationError("x"), "fail", None),
        (exceptions.VeoQuotaError("x"), "fail", None),
        (exceptions.VeoAuthenticationError("x"), "fail", None),
        (exceptions.VeoRequestError("x"), "fail", None),
        (exceptions.VeoSubmissionUnknown("x"), "fail", None),
        (ValueError("x"), "default", None),
    ],
)
def test_each_failure_gets_its_decision(error, action, delay):
    """Retry-After is honoured; what no retry mends ends at once; the rest is the task's own affair."""
    decision = VeoImageToVideoOperator(**FIELDS).retry_policy.evaluate(error, 1, 3)
    assert decision.action.value == action
    assert decision.retry_delay == delay


@pytest.mark.skipif(not AIRFLOW_V_3_3_PLUS, reason="retry policies came with Airflow 3.3")
def test_a_policy_of_the_users_own_wins():
    """Whoever sets a retry_policy, or None, gets that."""
    assert VeoImageToVideoOperator(**FIELDS, retry_policy=None).retry_policy is None
