"""What is observed: `turnout local` with its two models, a third one that fails as it is told, a load that keeps books, and a
Prometheus that scrapes the gateway and the controller's page by the scrape configuration of charts/observability. All of it
on loopback; what was started is ended by its id."""

import contextlib
import http.client
import http.server
import itertools
import json
import pathlib
import re
import signal
import socket
import subprocess
import threading
import time
import urllib.parse
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
SCRAPE_SECONDS = 1
DEADLINE_SECONDS = 60
# What every try of the third model takes at least.
RANKING_MS = 20

DOCUMENTS = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: ranking, namespace: abtesting}
spec:
  hosts: [ranking.example.com]
  gateways: [abtest-gateway]
  http:
  - match: [{uri: {prefix: /gone}}]
    route: [{destination: {host: gone.abtesting.svc.cluster.local, port: {number: 5001}}}]
  - retries: {attempts: 2, retryOn: 5xx}
    route: [{destination: {host: ranking.abtesting.svc.cluster.local, port: {number: 5001}}}]
"""
SERVICE = """---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: NAME, namespace: abtesting}
spec:
  hosts: [NAME.abtesting.svc.cluster.local]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{number: 5001, name: http, protocol: HTTP}]
  endpoints:
  - {address: 127.0.0.1, ports: {http: PORT}, labels: {app: NAME, version: v1, workload: NAME}}
"""


def eventually(what, condition):
    """What the condition gives as soon as it gives something."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not in time: {what}"
        time.sleep(0.05)
    return found


class Ranking(http.server.BaseHTTPRequestHandler):
    """Fails the first tries of a request, as many as `x-fail` says, and holds those that say `x-hold`."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    tries: dict[str, int] = {}
    released = threading.Event()

    def do_GET(self):
        if "x-hold" in self.headers:
            self.released.wait(DEADLINE_SECONDS)
        time.sleep(RANKING_MS / 1000)
        of = self.headers["x-request-id"]
        self.tries[of] = self.tries.get(of, 0) + 1
        self.send_response(503 if self.tries[of] <= int(self.headers["x-fail"] or 0) else 200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


class Request:
    """A request that was answered: when, by which workload, with what, after how many retries."""

    def __init__(self, workload, code, retries=0, picked=True):
        self.at, self.workload, self.code, self.retries, self.picked = time.time(), workload, code, retries, picked


class Load:
    """Clients that go on until they are stopped."""

    def __init__(self, address, clients=4):
        self.address, self.requests, self.errors = address, [], []
        self.stopping = threading.Event()
        self.numbers = itertools.count()
        self.threads = [threading.Thread(target=self.run) for _ in range(clients)]
        for thread in self.threads:
            thread.start()

    def run(self):
        connection = http.client.HTTPConnection(*self.address, timeout=DEADLINE_SECONDS)
        try:
            while not self.stopping.is_set():
                for step in [self.score] * 12 + [self.pin] * 4 + [self.rank] * 3 + [self.miss]:
                    self.requests.append(step(connection, next(self.numbers)))
        except Exception as error:  # Whoever waits for the threads is told.
            self.errors.append(error)
        finally:
            connection.close()

    def send(self, connection, method, target, headers):
        connection.request(method, target, b'{"data": [1]}' if method == "POST" else None, headers)
        answer = connection.getresponse()
        return answer.status, answer.read()

    def score(self, connection, _, version=None):
        status, body = self.send(connection, "POST", "/score", {"x-api-version": version} if version else {})
        assert status == 200, (status, body)
        # Green has A, and blue what comes next.
        return Request("model-green" if b"New Model A" in body else "model-blue", 200, picked=version is not None)

    def pin(self, connection, number):
        version = ["green", "blue"][number % 2]
        request = self.score(connection, number, version)
        assert request.workload == f"model-{version}"
        return request

    def rank(self, connection, number):
        failures = [0, 1, 3][number % 3]
        headers = {"host": "ranking.example.com", "x-request-id": f"request-{number}", "x-fail": str(failures)}
        status, _ = self.send(connection, "GET", "/rank", headers)
        assert status == (503 if failures == 3 else 200), status
        return Request("ranking", status, retries=min(failures, 2))

    def miss(self, connection, _):
        status, _ = self.send(connection, "GET", "/gone", {"host": "ranking.example.com"})
        assert status == 503, status
        return Request("gone", 503, retries=2)

    def stop(self):
        self.stopping.set()
        for thread in self.threads:
            thread.join()
        assert not self.errors, self.errors


class Prometheus:
    def __init__(self, processes, program, folder, targets):
        values = (ROOT / "charts/observability/prometheus.yaml").read_text()
        scrapes = values.partition("extraScrapeConfigs: |\n")[2]
        # The cluster's discovery is not here; what it would find is, and goes through the same relabelling.
        scrapes, found = re.subn(r"kubernetes_sd_configs: .*", "static_configs: " + json.dumps(targets), scrapes)
        assert found == 1
        scrapes = scrapes.replace("scrape_interval: 15s", f"scrape_interval: {SCRAPE_SECONDS}s")
        self.pages = len(targets) - 1
        folder.mkdir()
        (folder / "prometheus.yaml").write_text("scrape_configs:\n" + scrapes)
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}/api/v1/"
        arguments = [f"--config.file={folder}/prometheus.yaml", f"--storage.tsdb.path={folder}/data"]
        processes.start(program, *arguments, f"--web.listen-address=127.0.0.1:{port}", name="prometheus")
        self.scraped_since(0)
        assert self.count("up", time.time()) == self.pages, "somebody else's page is scraped, too"

    def get(self, path, **parameters):
        url = self.url + path + "?" + urllib.parse.urlencode(parameters, doseq=True)
        try:
            with urllib.request.urlopen(url, timeout=DEADLINE_SECONDS) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            if error.code == 503:  # It is about to start.
                return None
            raise AssertionError(f"{parameters}: {error.read().decode()}") from None
        except OSError:
            return None

    def query(self, expression, at):
        return self.get("query", query=expression, time=at)["result"]

    def count(self, expression, at):
        answer = self.get("query", query=f"count({expression})", time=at)
        return int(answer["result"][0]["value"][1]) if answer and answer["result"] else 0

    def scraped_since(self, moment):
        """The first time that is seen at which every page had been read after this moment."""

        def scraped():
            at = time.time()
            return at if self.count(f"up == 1 and timestamp(up) > {moment}", at) == self.pages else None

        return eventually("a scrape of every page", scraped)


class Processes:
    """Each ends when the pipe of its standard input closes, or is terminated."""

    def __init__(self, folder):
        self.folder, self.started = folder, []

    def start(self, program, *arguments, name):
        with open(self.folder / f"{name}.log", "w") as log:
            process = subprocess.Popen(
                [program, *map(str, arguments)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True
            )
        self.started.append(process)
        return process

    def end(self):
        for process in reversed(self.started):
            process.terminate()
            try:
                process.communicate(timeout=DEADLINE_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()


class Scene:
    def __init__(self, folder, programs, prometheus):
        self.folder, self.programs = folder, programs
        self.local = folder / "local"
        self.processes = Processes(folder)
        self.load = None
        try:
            self.begin(prometheus)
        except BaseException:
            self.end()
            raise

    def begin(self, prometheus):
        self.ranking = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Ranking)
        threading.Thread(target=self.ranking.serve_forever, daemon=True).start()
        # Bound and not listening: whoever connects is refused.
        self.gone = socket.socket()
        self.gone.bind(("127.0.0.1", 0))
        turnout = self.programs / "turnout"
        arguments = ["--dir", self.local, "--listen", "127.0.0.1:0"]
        self.driver = self.processes.start(turnout, "local", *arguments, name="local")
        addresses = json.loads(eventually("turnout local", lambda: self.read("addresses.json")))
        ports = {"ranking": self.ranking.server_address[1], "gone": self.gone.getsockname()[1]}
        services = [SERVICE.replace("NAME", name).replace("PORT", str(port)) for name, port in ports.items()]
        (self.local / "documents/ranking.yaml").write_text(DOCUMENTS + "".join(services))
        page = self.processes.start(self.programs / "examples/metrics_page", self.local, name="metrics_page")
        self.pages = {"gateway": addresses["status"], "controller": page.stdout.readline().strip()}
        host, port = addresses["gateway"].split(":")
        self.address = (host, int(port))
        eventually("the third model's routes", lambda: 'backend="ranking.' in self.page("gateway"))
        self.load = Load(self.address)
        targets = [target(component, address) for component, address in self.pages.items()]
        targets.append(target("somebody-else", self.pages["gateway"]))
        self.prometheus = Prometheus(self.processes, prometheus, self.folder / "prometheus", targets)

    def read(self, name):
        path = self.local / name
        return path.read_text() if path.exists() else None

    def page(self, component, path="/metrics"):
        with urllib.request.urlopen(f"http://{self.pages[component]}{path}", timeout=DEADLINE_SECONDS) as page:
            return page.read().decode()

    def turnout(self, *arguments):
        command = [self.programs / "turnout", *arguments, "--local", self.local]
        done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_SECONDS)
        assert done.returncode == 0, (arguments, done.stdout, done.stderr)

    @contextlib.contextmanager
    def refused_routes(self):
        """The driver stands still meanwhile, so that it does not put them right; the gateway is a process of its own."""
        rubbish = self.local / "routes/..data/zz.yaml"
        self.driver.send_signal(signal.SIGSTOP)
        try:
            rubbish.write_text("kind: [")
            yield
            rubbish.unlink()
        finally:
            self.driver.send_signal(signal.SIGCONT)

    def hold(self, requests):
        """So many requests that are not answered before they are let go of."""
        headers = {"host": "ranking.example.com", "x-hold": "1"}
        connections = [http.client.HTTPConnection(*self.address) for _ in range(requests)]
        for connection in connections:
            connection.request("GET", "/rank", headers=headers)
        return connections

    def end(self):
        Ranking.released.set()
        try:
            if self.load:
                self.load.stop()
        finally:
            self.processes.end()
            self.ranking.shutdown()


def target(component, address):
    """As Prometheus' discovery describes an endpoint of the chart's metrics Services."""
    names = {"namespace": "turnout-system", "service_name": f"turnout-{component}-metrics"}
    port = "status" if component == "gateway" else "http"
    names |= {"pod_name": f"turnout-{component}-0", "endpoint_port_name": port}
    names |= {f"service_label_app_kubernetes_io_{name}": value for name, value in
              {"part_of": "turnout", "component": f"{component}-metrics"}.items()}
    return {"targets": [address], "labels": {f"__meta_kubernetes_{name}": value for name, value in names.items()}}
