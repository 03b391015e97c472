"""What every scoring image does, seen at the ones that answer the same to everything."""

import json
import socket

import pytest


@pytest.mark.parametrize("version", "AB")
@pytest.mark.parametrize("method, body", [("GET", None), ("POST", '{"data": [1]}'), ("POST", "no JSON"), ("POST", "")])
def test_a_mock_says_which_model_it_is(mocks, version, method, body):
    status, answer, headers = mocks[version].ask(method, "/score", body)
    assert (status, answer) == (200, f'"New Model {version}"')
    assert headers["content-type"] == "application/json"
    assert headers["x-ms-run-function-failed"] == "False"


@pytest.mark.parametrize("version", "AB")
def test_a_mock_is_healthy_and_describes_itself(mocks, version):
    assert mocks[version].ask("GET", "/")[:2] == (200, "Healthy")
    status, described, _ = mocks[version].ask("GET", "/swagger.json")
    assert status == 200
    assert "/score" in json.loads(described)["paths"]


@pytest.mark.parametrize("count", [1, 3])
def test_it_has_as_many_workers_as_the_environment_says(start, count):
    server = start("scoreA.py", WORKER_COUNT=str(count))
    server.wait_until("all workers have loaded", lambda: server.log.read_text().count("completed successfully") == count)
    assert len(server.workers()) == count
    server.end()


def test_a_request_that_has_begun_is_answered_after_sigterm(start):
    server = start("scoreA.py")
    body = b'{"data": [1]}'
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as client:
        head = f"POST /score HTTP/1.1\r\nhost: a\r\ncontent-length: {len(body)}\r\nexpect: 100-continue\r\n\r\n"
        client.sendall(head.encode())
        # From here on a worker waits for the body.
        assert client.recv(1024).startswith(b"HTTP/1.1 100 Continue")
        server.terminate()
        server.wait_until("the signal has been taken", lambda: "Handling signal: term" in server.log.read_text())
        client.sendall(body)
        answer = b"".join(iter(lambda: client.recv(1024), b""))
    assert answer.startswith(b"HTTP/1.1 200 OK") and answer.endswith(b'"New Model A"')
    assert server.process.wait(60) == 0


def test_nothing_is_written_but_to_the_folder_for_temporary_files(start, tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    server = start("scoreA.py", HOME=str(home), TMPDIR=str(temporary))
    assert server.score({"data": [1]}) == (200, "New Model A")
    server.end()
    assert list(home.iterdir()) == [] and list(temporary.iterdir()) == []
