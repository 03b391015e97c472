"""What the build of the images writes, and refuses; the build itself needs an engine."""

import importlib.metadata
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from server import REPOSITORY

BUILD = REPOSITORY / "charts/images/build"
BILL = REPOSITORY / "charts/images/bill"


def bill(name, folder):
    """The components, by name, of the bill of this inventory, which is checked."""
    command = [sys.executable, BILL, name, "0.1.0", folder]
    written, again = (subprocess.run(command, check=True, capture_output=True, text=True).stdout for _ in range(2))
    assert written == again
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(written) is None
    components = json.loads(written)["components"]
    by_name = {component["name"]: component for component in components}
    # Crates may be there in two versions.
    return by_name, len(components)


@pytest.mark.parametrize("program, package, has, licence, has_not", [
    ("turnout-proxy", "turnout-proxy", "hyper", "MIT", "kube"),
    ("turnout-controller", "turnout-controller", "kube", "Apache-2.0", "turnout-proxy"),
    ("turnout", "turnout-cli", "clap", "MIT OR Apache-2.0", "proptest"),
])  # fmt: skip
def test_the_bill_of_a_program_has_what_it_is_linked_of(tmp_path, program, package, has, licence, has_not):
    recipe = (REPOSITORY / "charts/Dockerfile").read_text()
    options = re.search(r"cargo (tree .*) --target \"\$target\" (.*) --format '(.*)'", recipe)
    command = ["cargo", *options[1].split(), *options[2].split(), "--format", options[3], "--package", package]
    listed = subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True, text=True).stdout
    (tmp_path / f"{program}.crates").write_text(listed)
    components, count = bill(program, tmp_path)
    assert package in components and has in components and has_not not in components
    assert components[has]["licenses"] == [{"expression": licence}]
    assert count == len(set(re.findall(r"^\S+ v\S+", listed, re.MULTILINE)))


def test_the_bill_of_a_scoring_image_has_packages_of_python_and_of_debian(tmp_path):
    (tmp_path / "packages").mkdir()
    (tmp_path / "packages/old").write_text("Name: Old.One\nVersion: 1\nLicense: MIT\n\nLicense: no\n")
    for installed in importlib.metadata.distributions():
        (tmp_path / "packages" / installed.name).write_text(installed.read_text("METADATA"))
    (tmp_path / "python").write_text("Python 3.11.2\n")
    (tmp_path / "debian.tsv").write_text("libc6\t2.36-9+deb12u14\tamd64\n")
    components, _ = bill("scoring-a", tmp_path)
    assert components["Old.One"]["purl"] == "pkg:pypi/old-one@1"
    assert components["Old.One"]["licenses"] == [{"license": {"name": "MIT"}}]
    assert components["Flask"]["licenses"] == [{"expression": "BSD-3-Clause"}]
    assert components["python"]["version"] == "3.11.2"
    assert components["libc6"]["purl"] == "pkg:deb/debian/libc6@2.36-9%2Bdeb12u14?arch=amd64"


def test_a_bill_without_an_inventory_is_refused(tmp_path):
    refused = subprocess.run([sys.executable, BILL, "scoring-a", "0.1.0", tmp_path], capture_output=True, text=True)
    assert refused.returncode == 1 and "has no inventory of scoring-a" in refused.stderr


@pytest.mark.parametrize("arguments, says", [
    (["scoring-d"], "there is no image scoring-d; there are: turnout-proxy"),
    (["--push"], "--push needs a value"),
    (["--engine", "kaniko"], "kaniko works here"),
])  # fmt: skip
def test_the_build_refuses_what_it_does_not_know(arguments, says):
    refused = subprocess.run([BUILD, *arguments], capture_output=True, text=True)
    assert refused.returncode == 2 and says in refused.stderr


def test_the_build_explains_itself():
    explained = subprocess.run([BUILD, "--help"], check=True, capture_output=True, text=True).stdout
    assert explained.startswith("Builds the images") and "set -euo" not in explained


def test_scripts_are_clean():
    scripts = [BUILD, *(REPOSITORY / "tests/scoring" / name for name in ("run", "images"))]
    found = subprocess.run([Path(sys.executable).with_name("shellcheck"), *scripts], capture_output=True, text=True)
    assert (found.returncode, found.stdout) == (0, ""), found.stderr
