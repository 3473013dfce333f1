"""The command that settles a lost response: ``python -m veo_provider.settle``.

Airflow 3.2 and later have it as ``airflow veo attach`` and ``airflow veo never-happened``, too.
"""

from __future__ import annotations

import argparse
import getpass
import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from veo_provider.exceptions import VeoError, VeoSettlementError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from airflow.cli.cli_config import CLICommand
    from mypy_boto3_s3 import S3Client

    from veo_provider.api.client import VeoClient
    from veo_provider.receipts.s3_store import S3ReceiptStore
    from veo_provider.receipts.store import VersionedReceipt

_NEXT = "Clear the task to continue."

_TARGET: dict[str, dict[str, Any]] = {
    "receipt": {"help": "s3://bucket/clip.mp4.veo.json, the receipt; or s3://bucket/clip.mp4, its video"},
}
_OPTIONS: dict[str, dict[str, Any]] = {
    "--veo-conn-id": {"help": "connection of the submission; default is the one that the receipt names"},
    "--aws-conn-id": {"default": "aws_default", "help": "connection for S3; empty: boto3's own credentials"},
    "--etag": {"help": "settle only this version of the receipt"},
    "--claimant": {"help": "settle only if this task instance has submitted: 'dag / run / task', as the "
                   "receipt has it"},
    "--by": {"help": "who settles, for the receipt's history; default is the user of this process"},
    "--allow-unconditional-writes": {
        "action": "store_true",
        "help": "go on where the store ignores conditional writes; no task may run meanwhile",
    },
}  # fmt: skip
_ATTACH: dict[str, dict[str, Any]] = {
    **_TARGET,
    "veo_task_id": {"help": "the task id that the service's task log shows"},
    "--folder": {"help": "s3://bucket/prefix/, in which no other receipt may have the id; default is the "
                 "receipt's own"},
    **_OPTIONS,
}  # fmt: skip
_NEVER: dict[str, dict[str, Any]] = {
    **_TARGET,
    "--yes": {"action": "store_true", "help": "do not ask whether the risk is taken"},
    **_OPTIONS,
}
_COMMANDS = {
    "attach": ("Record the id of a lost submission: the next run waits for it, and pays no more", _ATTACH),
    "never-happened": (
        "Record that a lost submission was never accepted: the next run submits, at your risk",
        _NEVER,
    ),
}  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code, which is 1 if nothing was written.

    :param arguments: of the command line; default is those of this process.
    """
    parser = argparse.ArgumentParser(
        prog="python -m veo_provider.settle",
        description="Settle a submission whose response was lost, as a receipt records it.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    for name, (told, fields) in _COMMANDS.items():
        command = commands.add_parser(name, help=told, description=told)
        for flag, options in fields.items():
            command.add_argument(flag, **options)
    given = parser.parse_args(arguments)
    return _run(given, {"attach": attach, "never-happened": never_happened}[given.command])


def airflow_commands() -> list[CLICommand]:
    """Return the commands of Airflow's own command line (3.2 and later)."""
    from airflow.cli.cli_config import ActionCommand, Arg, GroupCommand

    functions = {"attach": _airflow_attach, "never-happened": _airflow_never_happened}
    actions = [
        ActionCommand(
            name=name,
            help=told,
            func=functions[name],
            args=[Arg((flag,), **options) for flag, options in fields.items()],
        )
        for name, (told, fields) in _COMMANDS.items()
    ]
    return [
        GroupCommand(
            name="veo", help="Settle submissions of Veo whose response was lost", subcommands=actions
        )
    ]


def _airflow_attach(given: argparse.Namespace) -> None:
    sys.exit(_run(given, attach))


def _airflow_never_happened(given: argparse.Namespace) -> None:
    sys.exit(_run(given, never_happened))


def _run(given: argparse.Namespace, command: Any) -> int:
    # Airflow's own commands do the same to read connections out of the database.
    os.environ.setdefault("_AIRFLOW_PROCESS_CONTEXT", "server")
    try:
        print(command(given))  # noqa: T201 - what a command is for
    except VeoError as error:
        print(error, file=sys.stderr)  # noqa: T201 - what a command is for
        return 1
    return 0


def attach(given: argparse.Namespace) -> str:
    """Attach a task id, and return what was done.

    :raises VeoError: nothing was written.
    """
    from veo_provider.generation import settlement

    with _opened(given) as (s3, store, current, client, veo_conn_id):
        folder = given.folder or f"{store.uri.rpartition('/')[0]}/"
        settled = settlement.attach(
            store,
            client,
            current,
            given.veo_task_id,
            _person(given),
            veo_conn_id=veo_conn_id,
            place=(s3, folder),
        )
    receipt = settled.receipt
    return (
        f"{store.uri} is now {receipt.state.value}, with {receipt.veo_task_id}.\n"
        f"The next run of {receipt.claimant} waits for it and stores its video, and pays nothing "
        f"more.\n{_NEXT}"
    )


def never_happened(given: argparse.Namespace) -> str:
    """Record that nothing was accepted, and return what was done.

    :raises VeoError: nothing was written.
    """
    from veo_provider.generation import settlement

    with _opened(given) as (_, store, current, client, veo_conn_id):
        price = current.receipt.price_usd
        risk = "its price" if price is None else f"${price:.2f}"
        warning = (
            "The next run submits again. If the service has accepted the lost submission after all, the "
            f"video is paid for twice: {risk} more, at your risk."
        )
        if not given.yes:
            print(warning)  # noqa: T201 - what a person answers to
            if input('Type "yes" to take the risk: ').strip().lower() != "yes":
                raise VeoSettlementError("The risk was not taken.")
        settled = settlement.never_happened(store, client, current, _person(given), veo_conn_id=veo_conn_id)
    return f"{store.uri} is now {settled.receipt.state.value}.\n{warning}\n{_NEXT}"


@contextmanager
def _opened(
    given: argparse.Namespace,
) -> Iterator[tuple[S3Client, S3ReceiptStore, VersionedReceipt, VeoClient, str]]:
    """Open the receipt, and a client of the connection that has submitted."""
    from veo_provider.generation import settlement
    from veo_provider.generation.fingerprint import connection_of
    from veo_provider.hooks.veo import VeoHook
    from veo_provider.receipts.s3_store import S3ReceiptStore, sidecar_of
    from veo_provider.s3.client import s3_client
    from veo_provider.s3.uri import S3Uri

    target = S3Uri.parse(given.receipt, "receipt")
    s3 = s3_client(given.aws_conn_id or None)
    store = S3ReceiptStore(
        s3,
        sidecar_of(target) if target.key.lower().endswith(".mp4") else target,
        allow_unconditional_writes=given.allow_unconditional_writes,
    )
    current = settlement.open_receipt(store, etag=given.etag, claimant=given.claimant)
    account = str(current.receipt.request.get("account") or "")
    veo_conn_id = given.veo_conn_id or connection_of(account) or "veo_default"
    with VeoHook(veo_conn_id).get_conn() as client:
        yield s3, store, current, client, veo_conn_id


def _person(given: argparse.Namespace) -> Any:
    from veo_provider.receipts.attempt import Person

    return Person(f"a person ({given.by or getpass.getuser()})")


if __name__ == "__main__":
    sys.exit(main())
