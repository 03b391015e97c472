"""Scores drivers: how likely each is to cause a claim within a year, by what telematics tell of a month.

A model is a logistic regression that `train.py` has written as JSON, so that serving it needs no library, and loading it
runs no code. What a request may hold is said in `swagger.json` alone, which clients read as well.
"""

import json
import math
import os
from pathlib import Path

MOST_PROBLEMS = 20

# What a model may look at besides what a request has of a driver.
DERIVED = {
    "log_distance": lambda driver: math.log(driver["distance_km"]),
    "new_driver": lambda driver: math.exp(-driver["years_licensed"] / 4),
    "night_speeding": lambda driver: driver["night_share"] * driver["speeding_share"],
}


def init():
    """Loads the model and the contract, once per worker."""
    global model, request_schema
    model = json.loads((Path(os.environ["AZUREML_MODEL_DIR"]) / "model.json").read_text())
    contract = json.loads(Path(__file__).with_name("swagger.json").read_text())
    request_schema = contract["components"]["schemas"]["Request"]


def run(raw_data):
    """Answers with the risk of each driver of the request, or with 400 and the place of each problem."""
    if not raw_data:
        # The server hands a body of another type, such as curl's by default, on as an empty one.
        return refusal([("", "is empty, or was not sent with content-type: application/json")])
    try:
        request = json.loads(raw_data, parse_constant=refuse_constant)
    except (ValueError, RecursionError) as error:
        return refusal([("", f"is not JSON: {error}")])
    problems = list(problems_of(request, request_schema))
    if problems:
        return refusal(problems)
    risks = [round(risk(model, driver), 6) for driver in request["data"]]
    return {"model": model["name"], "version": model["version"], "risk": risks}


def risk(model, driver):
    """The probability of a claim, from 0 to 1."""
    log_odds = model["intercept"]
    for name, weight in model["weights"].items():
        log_odds += weight * feature(name, driver)
    # Of the two equal forms the one whose exponential cannot overflow.
    if log_odds < 0:
        return math.exp(log_odds) / (1 + math.exp(log_odds))
    return 1 / (1 + math.exp(-log_odds))


def feature(name, driver):
    return DERIVED[name](driver) if name in DERIVED else driver[name]


def problems_of(value, schema, path=""):
    """What of the value breaks the schema, as (JSON pointer, sentence); of JSON Schema it knows what the contract uses."""
    kind = schema["type"]
    if not is_of(kind, value):
        yield path, f"is not of type {kind}"
    elif kind == "object":
        for name in schema["required"]:
            if name not in value:
                yield f"{path}/{name}", "is missing"
        for name, member in value.items():
            # A name that the contract does not have may hold anything, but must not look like a longer path.
            place = f"{path}/{name.replace('~', '~0').replace('/', '~1')[:100]}"
            if name in schema["properties"]:
                yield from problems_of(member, schema["properties"][name], place)
            else:
                yield place, "is not known"
    elif kind == "array":
        if not schema["minItems"] <= len(value) <= schema["maxItems"]:
            yield path, f"has {len(value)} items, not {schema['minItems']} to {schema['maxItems']}"
            return
        for index, item in enumerate(value):
            yield from problems_of(item, schema["items"], f"{path}/{index}")
    elif not schema["minimum"] <= value <= schema["maximum"]:
        yield path, f"is not between {schema['minimum']} and {schema['maximum']}"


def is_of(kind, value):
    # To Python True is a number.
    if isinstance(value, bool):
        return False
    return isinstance(value, {"object": dict, "array": list, "number": (int, float)}[kind])


def refuse_constant(name):
    raise ValueError(f"{name} is no number there")


def refusal(problems):
    # Training uses this file where no server is installed.
    from azureml_inference_server_http.api.aml_response import AMLResponse

    shown = [{"path": path, "message": message} for path, message in problems[:MOST_PROBLEMS]]
    path, message = problems[0]
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    answer = {"message": f"{path or 'the body'} {message}{more}", "problems": shown}
    return AMLResponse(answer, 400, json_str=True)
