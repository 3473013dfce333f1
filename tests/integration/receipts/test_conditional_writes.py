"""Whether a store honours conditional writes: found out once, and before anything depends on it."""

import time

import pytest
from support.receipts import ME, TARGET, answer, keys, names_of, new_claim

from veo_provider.exceptions import (
    VeoReceiptError,
    VeoRequestError,
)
from veo_provider.receipts.conditional_writes import ConditionalWrites
from veo_provider.receipts.receipt import SUFFIX, ReceiptState
from veo_provider.receipts.s3_store import S3ReceiptStore
from veo_provider.s3.uri import S3Uri


# A client of its own that leaves the conditions out, instead of a proxy that strips them: SigV4 signs
# If-None-Match and If-Match, so that a stripped request would be refused for its signature.
def careless(client):
    """Make a client's store one that ignores conditional writes."""

    def forget(params, **_):
        params.pop("IfNoneMatch", None)
        params.pop("IfMatch", None)

    client.meta.events.register("provide-client-params.s3.PutObject", forget)
    return client


def test_a_store_that_ignores_conditions_is_refused(s3, new_s3):
    """Where two could both win the claim, nothing is claimed, and the error names the way out."""
    store = S3ReceiptStore(careless(new_s3()), TARGET)
    for _ in range(2):
        with pytest.raises(VeoReceiptError, match=r"ignores conditional writes.*allow_unconditional_writes"):
            store.write(new_claim(), None)
    assert keys(s3) == []


def test_a_store_that_ignores_conditions_may_be_used_all_the_same(s3, new_s3, caplog):
    """With the user's word for it, receipts are kept there, with a warning."""
    store = S3ReceiptStore(careless(new_s3()), TARGET, allow_unconditional_writes=True)
    created = store.write(new_claim(), None)
    store.write(created.receipt.transition(ReceiptState.SUBMITTED, ME, veo_task_id="task_1"), created)
    assert store.read().receipt.veo_task_id == "task_1"
    assert "no protection from races" in caplog.text
    assert keys(s3) == [TARGET.key]


def test_a_store_that_refuses_conditions_is_found_out_too(s3, new_s3):
    """A store that answers a condition with "not implemented" protects as little, and says so for good."""
    client = new_s3()

    def refuse(request, **_):
        conditional = {"if-none-match", "if-match"} & {name.lower() for name in request.headers}
        return answer(request, 501, "NotImplemented") if conditional else None

    client.meta.events.register("before-send.s3.PutObject", refuse)
    with pytest.raises(VeoReceiptError, match="allow_unconditional_writes"):
        S3ReceiptStore(client, TARGET).write(new_claim(), None)
    S3ReceiptStore(client, TARGET, allow_unconditional_writes=True).write(new_claim(), None)
    assert keys(s3) == [TARGET.key]


def test_a_store_is_found_out_once_for_each_bucket(s3, new_s3):
    """The first write tries the store; later ones, of other receipts and clients too, cost one call each."""
    client = new_s3()
    calls = names_of("PutObject", client)
    S3ReceiptStore(client, TARGET).write(new_claim(), None)
    assert len(calls) == 4
    for number in range(3):
        S3ReceiptStore(client, S3Uri("videos", f"clips/{number}{SUFFIX}")).write(new_claim(), None)
    assert len(calls) == 7
    again = new_s3()
    calls = names_of("PutObject", again)
    S3ReceiptStore(again, S3Uri("videos", f"clips/again{SUFFIX}")).write(new_claim(), None)
    assert len(calls) == 1
    S3ReceiptStore(again, S3Uri("images", f"clips/again{SUFFIX}")).write(new_claim(), None)
    assert len(calls) == 5
    again.delete_object(Bucket="images", Key=f"clips/again{SUFFIX}")


def test_finding_out_leaves_nothing_behind(s3):
    """Beside the receipts there is no other object, also after several buckets' worth of trials."""
    for _ in range(3):
        ConditionalWrites._supported.clear()
        S3ReceiptStore(s3, S3Uri("videos", f"clips/{time.monotonic_ns()}{SUFFIX}")).write(new_claim(), None)
    assert all(key.endswith(SUFFIX) for key in keys(s3))
    assert len(keys(s3)) == 3


def test_finding_out_takes_no_longer_name_than_the_receipt(new_s3):
    """A receipt whose name just fits is written, first in its bucket or not."""
    client = new_s3()
    names = names_of("PutObject", client)
    receipt = S3Uri("videos", f"clips/{'z' * 240}{SUFFIX}")
    S3ReceiptStore(client, receipt).write(new_claim(), None)
    assert max(len(name) for name in names) == len(f"/{receipt.key}")


def test_a_name_that_is_too_long_for_the_store_is_no_matter_of_time(s3):
    """Tried again and again, it would hold up a whole archive."""
    store = S3ReceiptStore(s3, S3Uri("videos", f"clips/{'z' * 256}{SUFFIX}"))
    with pytest.raises(VeoRequestError, match="too long"):
        store.write(new_claim(), None)


def test_finding_out_needs_no_right_to_delete(s3, new_s3):
    """Where a policy forbids to delete, receipts are written all the same."""
    client = new_s3()
    client.meta.events.register(
        "before-send.s3.DeleteObject", lambda request, **_: answer(request, 403, "AccessDenied")
    )
    held = S3ReceiptStore(client, TARGET).write(new_claim(), None)
    assert S3ReceiptStore(s3, TARGET).read() == held
