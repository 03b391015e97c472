"""What the tests share: the models, trained once, and servers as processes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from server import SCORING, Server

SAFE_DRIVING = SCORING / "safe_driving"


def train(version, into):
    """Runs the training script as the image's build does."""
    command = [sys.executable, "train.py", "--version", version, "--into", into]
    subprocess.run(command, cwd=SAFE_DRIVING, check=True)


@pytest.fixture(scope="session")
def models(tmp_path_factory):
    """The folder of each version's model."""
    folder = tmp_path_factory.mktemp("models")
    for version in "ABC":
        train(version, folder / version)
    return {version: folder / version for version in "ABC"}


@pytest.fixture(scope="session")
def metrics(models):
    return {version: json.loads((folder / "metrics.json").read_text()) for version, folder in models.items()}


@pytest.fixture(scope="session")
def contract():
    return json.loads((SAFE_DRIVING / "swagger.json").read_text())


@pytest.fixture(scope="session")
def start(tmp_path_factory):
    """Starts servers, which end with the tests."""
    servers = []

    def start_one(script, model=None, **environment):
        app = tmp_path_factory.mktemp("app")
        servers.append(Server(app, Path(script), model, environment))
        servers[-1].wait_until_healthy()
        return servers[-1]

    yield start_one
    for server in servers:
        server.end()


@pytest.fixture(scope="session")
def mocks(start):
    return {version: start(f"score{version}.py") for version in "AB"}


@pytest.fixture(scope="session")
def safe_driving(start, models):
    return {version: start("safe_driving/score.py", model) for version, model in models.items()}
