"""The stand-in for Kubeflow refuses what the API's description does not allow: passing against it means something."""

import json
import urllib.request
from collections.abc import Iterator
from urllib.error import HTTPError

import pytest

from tests.support.kfp_server import KfpServer, kfp_server
from tests.support.kfp_server.description import Violation, check, check_query, find_operation, operations


@pytest.fixture
def server() -> Iterator[KfpServer]:
    with kfp_server() as served:
        yield served


def test_the_description_holds_every_operation_that_is_used() -> None:
    known = {operation.name: operation for operation in operations()}
    assert known["run_service_create_run"].body == known["run_service_create_run"].answer == "V2beta1Run"
    assert known["upload_pipeline_version"].multipart
    assert known["run_service_list_runs"].query["page_size"] == "int"
    operation, named = find_operation("POST", "/apis/v2beta1/runs/some-run:terminate")
    assert (operation.name, named) == ("run_service_terminate_run", {"run_id": "some-run"})
    operation, named = find_operation("GET", "/apis/v2beta1/pipelines/names/a%2Fb")
    assert (operation.name, named) == ("pipeline_service_get_pipeline_by_name", {"name": "a/b"})


@pytest.mark.parametrize(("verb", "path"), [("PUT", "/apis/v2beta1/runs"), ("GET", "/apis/v1beta1/runs")])
def test_unknown_paths(verb: str, path: str) -> None:
    with pytest.raises(Violation, match="the API has no"):
        find_operation(verb, path)


@pytest.mark.parametrize("query", [{"page": "1"}, {"page_size": "many"}])
def test_unknown_parameters_and_wrong_types(query: dict[str, str]) -> None:
    with pytest.raises(Violation, match="page"):
        check_query(find_operation("GET", "/apis/v2beta1/runs")[0], query)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"name": "x"}, "V2beta1Run has no field name"),
        ({"display_name": 7}, "body.display_name is 7, not text"),
        ({"state": "DONE"}, "body.state is 'DONE', not"),
        ({"created_at": "today"}, "body.created_at is 'today', not a time"),
        ({"created_at": "2026-01-01T00:00:00"}, "not a time with its zone"),
        ({"runtime_config": {"parameters": []}}, "body.runtime_config.parameters is [], not an object"),
        ({"state_history": [{"state": "NO"}]}, "body.state_history[0].state"),
    ],
)
def test_bodies_that_are_no_run(value: dict, words: str) -> None:
    with pytest.raises(Violation) as caught:
        check(value, "V2beta1Run", "body")
    assert words in str(caught.value)


def test_a_body_that_is_not_described_is_answered_400_and_kept(server: KfpServer) -> None:
    request = urllib.request.Request(f"{server.url}/apis/v2beta1/experiments", b'{"title": "x"}', method="POST")
    with pytest.raises(HTTPError) as caught:
        urllib.request.urlopen(request)
    assert caught.value.code == 400
    assert "V2beta1Experiment has no field title" in json.loads(caught.value.read())["message"]
    assert server.violations == [
        "the body of experiment_service_create_experiment: V2beta1Experiment has no field title"
    ]


def test_pages_hold_what_was_asked_for_and_their_tokens_stay_with_it(server: KfpServer) -> None:
    for number in range(25):
        server.cluster.create_experiment({"display_name": f"e{number:02d}"})
    first = server.cluster.list_experiments({"sort_by": "display_name desc"})
    assert [e["display_name"] for e in first["experiments"]] == [f"e{n:02d}" for n in range(24, 4, -1)]
    token = first["next_page_token"]
    second = server.cluster.list_experiments({"sort_by": "display_name desc", "page_token": token})
    assert [e["display_name"] for e in second["experiments"]] == [f"e{n:02d}" for n in range(4, -1, -1)]
    assert "next_page_token" not in second
    with pytest.raises(Exception, match="page token does not match"):
        server.cluster.list_experiments({"sort_by": "display_name", "page_token": token})
