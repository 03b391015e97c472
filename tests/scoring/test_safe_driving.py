"""The safe-driving models: what they are worth, and what they answer."""

import json
from concurrent.futures import ThreadPoolExecutor

import jsonschema
import pytest
from openapi_spec_validator import validate

from conftest import train
from server import SCORING

DRIVER = {
    "distance_km": 812.5,
    "speeding_share": 0.07,
    "harsh_braking_per_100km": 2.4,
    "night_share": 0.11,
    "phone_minutes_per_hour": 1.5,
    "years_licensed": 6,
}
WITHOUT_NIGHT = {name: value for name, value in DRIVER.items() if name != "night_share"}

# Each body with the places that the answer has to name.
BAD = [
    ("", [""]),
    ("{", [""]),
    ("[" * 100_000, [""]),
    ("1" * 5_000, [""]),
    ('{"data": [NaN]}', [""]),
    ("[]", [""]),
    ("null", [""]),
    ("{}", ["/data"]),
    ({"data": {}}, ["/data"]),
    ({"data": []}, ["/data"]),
    ({"data": [DRIVER] * 1001}, ["/data"]),
    ({"data": [[812.5, 0.07]]}, ["/data/0"]),
    ({"data": [DRIVER], "inputs": []}, ["/inputs"]),
    ({"data": [DRIVER, WITHOUT_NIGHT]}, ["/data/1/night_share"]),
    ({"data": [{**DRIVER, "speed/ing": 1}]}, ["/data/0/speed~1ing"]),
    ({"data": [{**DRIVER, "speeding_share": 7}]}, ["/data/0/speeding_share"]),
    ({"data": [{**DRIVER, "speeding_share": "0.07"}]}, ["/data/0/speeding_share"]),
    ({"data": [{**DRIVER, "speeding_share": True}]}, ["/data/0/speeding_share"]),
    ({"data": [{**DRIVER, "speeding_share": None}]}, ["/data/0/speeding_share"]),
    ('{"data": [%s]}' % json.dumps(DRIVER).replace("812.5", "1e999"), ["/data/0/distance_km"]),
    ({"data": [{**DRIVER, "distance_km": 0}, {**DRIVER, "years_licensed": -1}]},
     ["/data/0/distance_km", "/data/1/years_licensed"]),
    ({"data": [WITHOUT_NIGHT] * 30}, [f"/data/{index}/night_share" for index in range(20)]),
]  # fmt: skip


def schema(contract, name):
    return jsonschema.Draft202012Validator(contract["components"]["schemas"][name])


def test_b_is_better_than_a_and_c_is_worse_though_its_training_cannot_see_it(metrics):
    assert metrics["C"]["auc"] < metrics["A"]["auc"] < metrics["B"]["auc"]
    assert metrics["C"]["log_loss"] > metrics["A"]["log_loss"] > metrics["B"]["log_loss"]
    assert metrics["C"]["as_trained"] == metrics["B"]["as_trained"]


def test_training_again_writes_the_same_bytes(models, tmp_path):
    train("B", tmp_path)
    for file in ("model.json", "metrics.json"):
        assert (tmp_path / file).read_bytes() == (models["B"] / file).read_bytes()


def test_the_page_has_the_metrics(metrics):
    page = (SCORING / "README.md").read_text()
    for version, measured in metrics.items():
        figures = [measured["auc"], measured["log_loss"], *measured["as_trained"].values()]
        assert f"| {version} | {' | '.join(f'{figure:.4f}' for figure in figures)} |" in page


def test_the_contract_is_openapi_and_every_version_shows_it(contract, safe_driving):
    validate(contract)
    for server in safe_driving.values():
        assert server.ask("GET", "/")[:2] == (200, "Healthy")
        for path in ("/swagger.json", "/swagger.json?version=3"):
            status, shown, _ = server.ask("GET", path)
            assert (status, json.loads(shown)) == (200, contract)


def test_the_examples_of_contract_and_page_are_what_b_answers(contract, safe_driving):
    request, answer = (contract["components"]["schemas"][name]["properties"] for name in ("Request", "Answer"))
    driver = {name: about["example"] for name, about in request["data"]["items"]["properties"].items()}
    assert driver == DRIVER
    _, body, _ = safe_driving["B"].ask("POST", "/score", json.dumps({"data": [driver]}))
    assert json.loads(body)["risk"] == [answer["risk"]["items"]["example"]]
    assert f"# {body}\n" in (SCORING / "README.md").read_text()


@pytest.mark.parametrize("version", "ABC")
def test_an_answer_has_the_version_and_a_risk_for_each_driver(contract, safe_driving, version):
    faster = {**DRIVER, "speeding_share": 0.5}
    status, answer = safe_driving[version].score({"data": [DRIVER, faster, DRIVER]})
    assert status == 200
    schema(contract, "Answer").validate(answer)
    assert (answer["model"], answer["version"]) == ("safe-driving", version)
    careful, fast, again = answer["risk"]
    assert careful == again < fast


def test_a_request_may_come_as_a_query(safe_driving):
    query = json.dumps([DRIVER], separators=(",", ":")).replace('"', "%22")
    status, answer, _ = safe_driving["A"].ask("GET", f"/score?data={query}")
    assert (status, json.loads(answer)) == safe_driving["A"].score({"data": [DRIVER]})


def test_c_hardly_looks_at_speeding(safe_driving):
    faster = {**DRIVER, "speeding_share": 0.5}
    ratio = {}
    for version, server in safe_driving.items():
        careful, fast = server.score({"data": [DRIVER, faster]})[1]["risk"]
        ratio[version] = fast / careful
    assert ratio["A"] > 5 and ratio["B"] > 5 and ratio["C"] < 1.1


@pytest.mark.parametrize("body, places", BAD, ids=range(len(BAD)))
def test_bad_input_is_refused_with_its_places(contract, safe_driving, body, places):
    for server in safe_driving.values():
        status, refusal = server.score(body)
        assert (status, [problem["path"] for problem in refusal["problems"]]) == (400, places)
        schema(contract, "Refusal").validate(refusal)
    # The script's own reading of the contract is that of JSON Schema.
    if not isinstance(body, str):
        assert not schema(contract, "Request").is_valid(body)


def test_a_body_that_the_server_takes_for_a_form_is_told_its_type(safe_driving):
    form = {"content-type": "application/x-www-form-urlencoded"}
    status, refusal, _ = safe_driving["A"].ask("POST", "/score", json.dumps({"data": [DRIVER]}), form)
    assert status == 400 and "content-type: application/json" in json.loads(refusal)["message"]


def test_bad_input_is_no_failure_of_the_model(safe_driving):
    status, _, headers = safe_driving["A"].ask("POST", "/score", b"\xff")
    assert (status, headers["x-ms-run-function-failed"]) == (400, "False")
    assert safe_driving["A"].ask("POST", "/score", "{}")[2]["x-ms-run-function-failed"] == "False"


@pytest.mark.parametrize("version", "ABC")
def test_twenty_requests_at_once_have_each_its_own_answer(safe_driving, version):
    requests = [{"data": [{**DRIVER, "harsh_braking_per_100km": count}]} for count in range(20)]
    one_by_one = [safe_driving[version].score(request) for request in requests]
    assert {status for status, _ in one_by_one} == {200}
    assert len({str(answer) for _, answer in one_by_one}) == 20
    with ThreadPoolExecutor(20) as clients:
        assert list(clients.map(safe_driving[version].score, requests)) == one_by_one
