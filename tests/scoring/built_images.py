"""Images as `images` has built them, each run as a cluster would: its own command, as its user, on a read-only root."""

import json
import os
import subprocess
import tomllib
from pathlib import Path

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from server import REPOSITORY, Process, free_port
from test_safe_driving import DRIVER

VERSION = tomllib.loads((REPOSITORY / "Cargo.toml").read_text())["workspace"]["package"]["version"]

ANSWERS = {
    "scoring-a": "New Model A",
    "scoring-b": "New Model B",
    "safe-driving-a": {"model": "safe-driving", "version": "A", "risk": [0.049442]},
    "safe-driving-b": {"model": "safe-driving", "version": "B", "risk": [0.056118]},
    "safe-driving-c": {"model": "safe-driving", "version": "C", "risk": [0.032415]},
}

# What a container runtime does about the file system; /tmp is no volume.
ISOLATED = """
set -e
mount --rbind "$0" "$0"
mount --bind /proc "$0/proc"
mount -t tmpfs tmpfs "$0/dev"
mkdir -m 1777 "$0/dev/shm"
mknod -m 666 "$0/dev/null" c 1 3
mknod -m 666 "$0/dev/urandom" c 1 9
mount -o remount,bind,ro "$0"
exec chroot "$@"
"""


def buildah(*arguments):
    return subprocess.run(["buildah", *arguments], check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture(params=ANSWERS)
def image(request):
    return request.param


@pytest.fixture
def settings(image):
    return json.loads(buildah("inspect", "--type", "image", f"localhost/{image}:{VERSION}"))["OCIv1"]["config"]


@pytest.fixture
def server(image, settings, tmp_path):
    container = buildah("from", "--pull-never", f"localhost/{image}:{VERSION}")
    port = free_port()
    command = ["env", "-i", "-C", settings["WorkingDir"], *settings["Env"], *settings["Entrypoint"], "--port", str(port)]
    isolated = ["unshare", "--mount", "sh", "-c", ISOLATED, buildah("mount", container)]
    # What sh calls $0 is the root, which chroot, too, wants before the command.
    chroot = [f"--userspec={settings['User']}", isolated[-1], *command]
    server = Process([*isolated, *chroot], port, tmp_path / "log", os.environ)
    yield server
    server.end()
    buildah("rm", container)


def test_it_answers_as_a_user_without_rights_on_a_read_only_root(image, server):
    server.wait_until_healthy()
    assert server.score({"data": [DRIVER]}) == (200, ANSWERS[image])
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    assert "Uid:\t65532\t65532\t65532\t65532" in status
    assert "CapEff:\t0000000000000000" in status


def test_it_says_what_it_is(image, settings):
    labels = settings["Labels"]
    assert labels["org.opencontainers.image.title"] == image
    assert settings["User"] == "65532:65532" and "5001/tcp" in settings["ExposedPorts"]


def test_what_it_is_made_of_is_on_its_bill_and_training_is_not(image):
    bill = (REPOSITORY / f"target/images/{image}.cdx.json").read_text()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(bill) is None
    names = {component["name"] for component in json.loads(bill)["components"]}
    assert {"python", "libc6", "azureml-inference-server-http", "gunicorn"} <= names
    assert not names & {"scikit-learn", "numpy", "pip", "pytest"}
