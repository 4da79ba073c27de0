"""Which errors are an outage of the database."""

from __future__ import annotations

import psycopg2
import pytest
from flask import Flask
from psycopg2 import errors

from collateral.errors import ServiceError
from dashboard import outage


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ServiceError("no answer"), 503),
        (psycopg2.OperationalError("server closed the connection"), 503),
        (psycopg2.InterfaceError("connection already closed"), 503),
        (errors.QueryCanceled("statement timeout"), 503),
        (errors.UndefinedColumn("column x does not exist"), 500),
    ],
)
def test_only_a_database_that_does_not_answer_is_an_outage(error: Exception, status: int) -> None:
    server = Flask(__name__)
    outage.install(server)

    @server.get("/data/sites")
    def sites() -> str:
        raise error

    answer = server.test_client().get("/data/sites")
    assert answer.status_code == status
    assert ("Retry-After" in answer.headers) == (status == 503)
