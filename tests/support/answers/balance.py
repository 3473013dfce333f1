"""What may come where the balance is asked for."""

from support.answers.row import Group, Row, answer

NEW_API = "https://github.com/QuantumNous/new-api/blob/main/controller/user.go"

BALANCE = Group(
    "Balances",
    "The balance is shown if the response contains a number. Any other response, in all tables, is an error "
    "that costs nothing.",
    [
        Row(
            "a quota",
            (answer("200 OK", {"success": True, "data": {"quota": 1_250_000}}),),
            balance=2.5,
            source=NEW_API,
        ),
        Row(
            "a quota of 0",
            (answer("200 OK", {"success": True, "data": {"quota": 0}}),),
            balance=0.0,
            source=NEW_API,
        ),
        Row(
            "a quota below zero",
            (answer("200 OK", {"success": True, "data": {"quota": -500_000}}),),
            balance=-1.0,
        ),
        Row(
            "no success, with 200",
            (answer("200 OK", {"success": False, "message": "无权进行此操作"}),),
            source=NEW_API,
        ),
        Row("a quota in a text", (answer("200 OK", {"success": True, "data": {"quota": "1250000"}}),)),
        Row("a quota beyond all numbers", (answer("200 OK", b'{"data": {"quota": 1' + b"0" * 400 + b"}}"),)),
    ],
)
