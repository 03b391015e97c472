"""The inference server as a process on this machine, set up as its image sets it up."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import psutil

REPOSITORY = Path(__file__).parents[2]
SCORING = REPOSITORY / "charts/scoring"
DEADLINE_S = 120


class Process:
    """A server of which the command is given."""

    def __init__(self, command, port, log, environment):
        self.port = port
        self.log = log
        with log.open("w") as output:
            self.process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)

    def wait_until_healthy(self):
        self.wait_until("it is healthy", lambda: self.ask("GET", "/")[0] == 200)

    def wait_until(self, what, holds):
        deadline = time.monotonic() + DEADLINE_S
        while time.monotonic() < deadline:
            assert self.process.poll() is None, f"ended before {what}: {self.log.read_text()}"
            try:
                if holds():
                    return
            except OSError:
                pass
            time.sleep(0.05)
        raise AssertionError(f"not in time: {what}: {self.log.read_text()}")

    def ask(self, method, path, body=None, headers={"content-type": "application/json"}):
        """The status, the body as it came, and the headers."""
        data = body if body is None or isinstance(body, bytes) else body.encode()
        url = f"http://127.0.0.1:{self.port}{path}"
        request = urllib.request.Request(url, data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=DEADLINE_S) as answer:
                return answer.status, answer.read().decode(), answer.headers
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode(), error.headers

    def score(self, request):
        """The status and the answer to this request, sent as JSON."""
        status, answer, _ = self.ask("POST", "/score", request if isinstance(request, str) else json.dumps(request))
        return status, json.loads(answer)

    def workers(self):
        return psutil.Process(self.process.pid).children()

    def terminate(self):
        self.process.send_signal(signal.SIGTERM)

    def end(self):
        if self.process.poll() is None:
            self.terminate()
            self.process.wait(DEADLINE_S)


class Server(Process):
    """A server of this scoring script, with what the image's build puts beside it."""

    def __init__(self, app, script, model, environment):
        shutil.copy(SCORING / script, app / "score.py")
        for file in (SCORING / script).parent.glob("*.json"):
            shutil.copy(file, app)
        if (app / "swagger.json").exists() and not (app / "swagger3.json").exists():
            shutil.copy(app / "swagger.json", app / "swagger3.json")
        settings = {"AML_APP_ROOT": app, "AZUREML_MODEL_DIR": model or app, "GUNICORN_CMD_ARGS": gunicorn_arguments()}
        program = Path(sys.executable).with_name("azmlinfsrv")
        port = free_port()
        command = [program, "--entry_script", app / "score.py", "--port", str(port)]
        environment = {**os.environ, **settings, **environment, "PYTHONUNBUFFERED": "1"}
        super().__init__(command, port, app / "log", environment)


def gunicorn_arguments():
    return re.search(r'GUNICORN_CMD_ARGS="(.*)"', (SCORING / "Dockerfile").read_text()).group(1)


def free_port():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return unused.getsockname()[1]
