"""Every query of the dashboard, of Kiali's graph and of Flagger's checks, asked of a Prometheus that has seen a rollout, is
to say what the clients of that rollout counted. A misspelt query has to be noticed: each is asked misspelt, too."""

import argparse
import collections
import json
import pathlib
import re
import shutil
import time

from scene import RANKING_MS, ROOT, Scene, eventually

DASHBOARD = ROOT / "charts/turnout/files/dashboard.json"
PAGE = ROOT / "charts/observability/README.md"
LOAD_SECONDS = 7
SPLIT = "abtesting/abtest-virtualservice spec.http[2] (split)"
GREEN, BLUE, RANKING, GONE = (
    f"{name}.abtesting.svc.cluster.local:5001" for name in ("model-svc-green", "model-svc-blue", "ranking", "gone")
)
# The namespace that a gateway says it is in if it is told nothing.
GATEWAYS = "default"
# What the variables of the dashboard are, and where their queries must find it.
VARIABLES = {"namespace": "abtesting", "rollout": "model", "route": SPLIT}
# A counter is read every second, and rates are made of what lies between: no share is exact.
SHARE, RATE = 0.03, 0.25


class Moment:
    """When to ask, of how many seconds, and what the clients counted in them."""

    def __init__(self, prometheus, at, seconds, requests):
        self.prometheus, self.at, self.seconds = prometheus, at, seconds
        self.requests = [request for request in requests if at - seconds < request.at <= at]

    def ask(self, expression, legend=None):
        rows = {}
        for row in self.prometheus.query(filled(expression, self.seconds), self.at):
            labels = collections.defaultdict(lambda: "<none>", row["metric"])
            name = re.sub(r"{{(\w+)}}", lambda found: labels[found[1]], legend) if legend else tuple(
                sorted(row["metric"].items())
            )
            assert name not in rows, f"two series are called {name}"
            rows[name] = float(row["value"][1])
        return rows

    def counts(self, name, of=lambda _: 1):
        """What the clients counted, under the name that the query has for it."""
        counts = collections.Counter()
        for request in self.requests:
            counts[name(request)] += of(request)
        counts.pop(None, None)
        return dict(counts)

    def rates(self, name, of=lambda _: 1):
        return {key: count / self.seconds for key, count in self.counts(name, of).items() if count}


def filled(expression, seconds):
    expression = expression.replace("$__rate_interval", f"{seconds}s")
    for name, value in VARIABLES.items():
        expression = expression.replace(f"${name}", value)
    assert not re.search(r"\$\w", expression), f"an unknown variable: {expression}"
    return expression


def shares(rows):
    total = sum(rows.values())
    return {name: value / total for name, value in rows.items()} if total else rows


def same(rows, expected, tolerance=0.0):
    assert rows.keys() == expected.keys(), f"{sorted(rows)}, not {sorted(expected)}"
    far = {name: (rows[name], expected[name]) for name in rows if not abs(rows[name] - expected[name]) <= tolerance}
    assert not far, f"not near (seen, expected): {far}"


def same_rates(rows, expected):
    """As shares, and in all."""
    rows = {name: value for name, value in rows.items() if value}
    same(shares(rows), shares(expected), SHARE)
    total = sum(expected.values())
    same({"all": sum(rows.values())}, {"all": total}, RATE * total)


def workload(request):
    """Of an endpoint that nobody has reached only the service is known."""
    return "unknown" if request.workload == "gone" else request.workload


def split(request):
    return None if request.picked else {"model-green": GREEN, "model-blue": BLUE}[request.workload]


def is_answered(request):
    return int(request.code < 500)


class Expected:
    """A method for each panel, by its title. `ask` takes a moment and gives the rows by the names of their legend."""

    def __init__(self, moments):
        for name, moment in moments.items():
            setattr(self, name, moment)

    def stage(self, ask):
        same(ask(self.blue_0), {"model Blue_0": 1})
        same(ask(self.blue_50), {"model Blue_50": 1})

    def phase(self, ask):
        # A gateway that is slow to answer makes it progress again for a moment.
        assert ask(self.blue_50) in ({"model Holding": 1}, {"model Progressing": 1})

    def wanted(self, ask):
        # What has no weight is in no table.
        same(ask(self.blue_0), {GREEN: 1})
        same(ask(self.blue_50), {GREEN: 0.5, BLUE: 0.5})

    def seen(self, ask):
        same(ask(self.blue_0), {GREEN: 1})
        same(ask(self.blue_50), shares(self.blue_50.counts(split)), SHARE)

    def requests(self, ask):
        name = lambda request: f"{workload(request)} {request.code}"  # noqa: E731
        same_rates(ask(self.blue_50), self.blue_50.rates(name))

    def success_rate(self, ask):
        good, all_of = self.blue_50.counts(workload, is_answered), self.blue_50.counts(workload)
        same(ask(self.blue_50), {name: good[name] / all_of[name] for name in all_of}, SHARE)

    def retries(self, ask):
        causes = {"ranking": f"{RANKING} status", "gone": f"{GONE} connect_failure"}
        name = lambda request: causes.get(request.workload)  # noqa: E731
        same_rates(ask(self.blue_50), self.blue_50.rates(name, lambda request: request.retries))

    def latency(self, ask):
        # A third of the requests has one try, a third two, a third three.
        rows = ask(self.blue_50)
        (quantile,) = {name.split()[1] for name in rows}
        assert {name.split()[0] for name in rows} == self.blue_50.counts(workload).keys(), rows
        least = {"p50": 25, "p95": 50, "p99": 50}[quantile]
        assert rows[f"ranking {quantile}"] >= least, f"{rows}: at least {least} ms"

    def model_time_and_gateway_time(self, ask):
        rows, names = ask(self.blue_50), self.blue_50.counts(workload).keys()
        (part,) = {name.split()[1] for name in rows}
        of_whole = self.blue_50.ask(
            'sum by (destination_workload) (rate(istio_request_duration_milliseconds_sum{reporter="source"}'
            "[$__rate_interval])) / sum by (destination_workload) (rate("
            'istio_request_duration_milliseconds_count{reporter="source"}[$__rate_interval]))',
            f"{{{{destination_workload}}}} {part}",
        )
        assert rows.keys() == of_whole.keys() == {f"{name} {part}" for name in names}, rows
        assert all(0 <= rows[name] <= of_whole[name] for name in rows), f"{rows} of {of_whole}"
        at_ranking = rows[f"ranking {part}"]
        at_ranking = at_ranking if part == "model" else of_whole[f"ranking {part}"] - at_ranking
        tries = self.blue_50.counts(workload, lambda request: 1 + request.retries)["ranking"]
        least = RANKING_MS * tries / self.blue_50.counts(workload)["ranking"]
        assert at_ranking >= least * (1 - SHARE), f"{at_ranking} ms, and at least {least} ms were waited for"

    def model_time_p99(self, ask):
        rows = ask(self.blue_50)
        assert rows.keys() == self.blue_50.counts(workload).keys(), rows
        assert rows["ranking"] >= 50, rows

    def reloads(self, ask):
        rows = ask(self.end)
        assert rows.keys() == {"published", "rejected", "unreadable"}, rows
        assert rows["published"] > 0 < rows["rejected"] and rows["unreadable"] == 0, rows

    def revisions(self, ask):
        for moment, refusing in ((self.blue_50, 0), (self.refused, 1)):
            rows = ask(moment)
            same(rows, {"refuse the newest": refusing} if "refuse the newest" in rows else {moment.revision: 1})

    def in_flight(self, ask):
        same(ask(self.end), {GREEN: 0, BLUE: 0, RANKING: self.end.held, GONE: 0})

    def own_answers(self, ask):
        name = lambda request: "connect_failure (upstream)" if request.workload == "gone" else None  # noqa: E731
        same_rates(ask(self.blue_50), self.blue_50.rates(name))


def check_dashboard(dashboard, moments):
    expected, asked = Expected(moments), 0
    for panel in dashboard["panels"]:
        check = getattr(expected, re.sub(r"\W+", "_", panel["title"].lower()), None)
        for number, target in enumerate(panel.get("targets", [])):
            where = f"{panel['title']}, query {number + 1}"
            assert check, f"{where}: nothing is expected of it"
            check_query(where, target["expr"], lambda moment, query: moment.ask(query, target["legendFormat"]), check)
            asked += 1
    return asked


def check_query(where, expression, ask, check):
    """It says what is expected; misspelt, in any of its metrics or labels, it does not."""
    try:
        check(lambda moment: ask(moment, expression))
    except AssertionError as error:
        raise SystemExit(f"{where}: {error}\n  {expression}") from None
    for misspelt in misspellings(expression):
        try:
            check(lambda moment: ask(moment, misspelt))
        except (AssertionError, KeyError, ValueError):
            continue
        raise SystemExit(f"{where}: it is not noticed that this is misspelt:\n  {misspelt}")


def misspellings(expression):
    for found in re.finditer(r"\b(?:istio|turnout)_\w+", expression):
        yield expression[: found.start()] + found[0].replace("_", "_x", 1) + expression[found.end() :]
    for found in re.finditer(r'\w+(?=(?:=|=~)")', expression):
        yield expression[: found.start()] + "x" + expression[found.start() :]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--programs", type=pathlib.Path, required=True)
    parser.add_argument("--prometheus", type=pathlib.Path, required=True)
    arguments = parser.parse_args()
    dashboard = json.loads(DASHBOARD.read_text())
    check_form(dashboard)
    # What the processes say stays until the next time.
    folder = ROOT / "target/observability/scene"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    scene = Scene(folder, arguments.programs, arguments.prometheus)
    try:
        moments = live(scene)
        print(f"dashboard: {check_dashboard(dashboard, moments)} queries")
        check_variables(dashboard, scene.prometheus)
        print(f"Kiali and Flagger: {check_others(moments)} queries")
        check_names(dashboard, scene)
    finally:
        scene.end()


def live(scene):
    """A rollout from Blue_0 to Blue_50 under load, then routes that are refused, then requests that are held."""
    moments = {}
    scene.turnout("rollout", "start", "--revision", "B", "--wait")
    moments["blue_0"] = observe(scene)
    scene.turnout("rollout", "promote", "--wait")
    moments["blue_50"] = observe(scene)
    with scene.refused_routes():
        eventually("routes are refused", lambda: "\nturnout_routes_rejected 1\n" in scene.page("gateway"))
        moments["refused"] = now(scene, LOAD_SECONDS)
    scene.load.stop()
    held = scene.hold(3)
    gauge = f'turnout_requests_in_flight{{backend="{RANKING}"}} {len(held)}'
    eventually("requests are in flight", lambda: gauge in scene.page("gateway"))
    moments["end"] = now(scene, 600)
    moments["end"].held = len(held)
    return moments


def observe(scene):
    """Of a load that is steady from before it begins until after it ends."""
    began = time.time()
    scene.prometheus.scraped_since(began)
    time.sleep(LOAD_SECONDS)
    return now(scene, LOAD_SECONDS)


def now(scene, seconds):
    at = scene.prometheus.scraped_since(time.time())
    moment = Moment(scene.prometheus, at, seconds, scene.load.requests)
    moment.revision = json.loads(scene.page("gateway", "/revision"))["active"]
    return moment


KIALI_LABELS = [
    *(f"source_{label}" for label in ("workload_namespace", "workload", "canonical_service", "canonical_revision")),
    *(f"destination_{label}" for label in (
        "service_namespace", "service", "service_name", "workload_namespace", "workload", "canonical_service",
        "canonical_revision")),
    "request_protocol", "response_code", "grpc_response_status", "response_flags",
]


def check_others(moments):
    """Kiali's graph of a namespace, its health, and Flagger's built-in checks, as their sources write them."""
    moment = moments["blue_50"]
    by = ",".join(KIALI_LABELS)
    graph = 'sum(rate(istio_requests_total{%s} [$__rate_interval])) by (' + by + ") > 0"
    health = "rate(istio_requests_total{%s}[$__rate_interval]) > 0"
    queries = [
        ("Kiali, incoming", graph % 'reporter="destination",destination_workload_namespace="$namespace"', edges),
        ("Kiali, outgoing", graph % f'reporter="source",source_workload_namespace="{GATEWAYS}"', edges),
        ("Kiali, unserved",
         graph % 'reporter="source",destination_workload="unknown",destination_service=~"^.+\\\\.$namespace\\\\..+$"',
         unserved),
        ("Kiali, health", health % 'destination_service_namespace="$namespace",source_workload_namespace!="$namespace"',
         healthy),
    ]
    for target in ("model-green", "model-blue", "ranking"):
        labels = 'reporter="destination", destination_workload_namespace="$namespace", '
        labels += f'destination_workload=~"{target}"'
        good = f'sum(rate(istio_requests_total{{{labels}, response_code!~"5.*"}}[$__rate_interval]))'
        all_of = f"sum(rate(istio_requests_total{{{labels}}}[$__rate_interval]))"
        bucket = f"rate(istio_request_duration_milliseconds_bucket{{{labels}}}[$__rate_interval])"
        queries += [
            (f"Flagger, request-success-rate of {target}", f"{good} / {all_of} * 100", success_of(target)),
            (f"Flagger, request-duration of {target}", f"histogram_quantile(0.99, sum({bucket}) by (le))",
             duration_of(target)),
        ]
    for where, expression, check in queries:
        check_query(where, expression, Moment.ask, lambda ask, check=check: check(moment, ask(moment)))
    return len(queries)


def edges(moment, rows):
    """Every edge has the labels without which Kiali passes over it, and both versions are told apart."""
    found = {}
    for labels, value in rows.items():
        labels = dict(labels)
        missing = [name for name in KIALI_LABELS if not labels.get(name) and name != "grpc_response_status"]
        assert not missing, f"{labels}: Kiali needs {missing}"
        app = {"model-green": ("model", "green"), "model-blue": ("model", "blue")}
        of = labels["destination_workload"]
        versioned = (labels["destination_canonical_service"], labels["destination_canonical_revision"])
        assert versioned == app.get(of, (of, "unknown" if of == "unknown" else "v1")), labels
        found[f"{of} {labels['response_code']}"] = value
    same_rates(found, moment.rates(lambda request: f"{workload(request)} {request.code}"))


def unserved(moment, rows):
    flags = {(dict(labels)["destination_service_name"], dict(labels)["response_flags"]) for labels in rows}
    assert flags == {("gone", "URX,UF")}, flags
    failed = moment.rates(lambda request: "gone" if request.workload == "gone" else None)
    same_rates({"gone": sum(rows.values())}, failed)


def healthy(moment, rows):
    """Both reporters are summed up there, so it is a ratio that is asked for."""
    by_code = collections.Counter()
    for labels, value in rows.items():
        by_code[dict(labels)["response_code"]] += value
    same(shares(by_code), shares(moment.counts(lambda request: str(request.code))), SHARE)


def success_of(target):
    def check(moment, rows):
        of = [request for request in moment.requests if request.workload == target]
        same(rows, {(): 100 * sum(map(is_answered, of)) / len(of)}, 100 * SHARE)

    return check


def duration_of(target):
    def check(_, rows):
        assert rows.keys() == {()} and rows[()] > (50 if target == "ranking" else 0), rows

    return check


def check_form(dashboard):
    """What Grafana takes for granted."""
    assert dashboard["schemaVersion"] >= 36 and dashboard["uid"] and dashboard["title"]
    panels = dashboard["panels"]
    ids = [panel["id"] for panel in panels]
    assert len(set(ids)) == len(ids), f"panels share an id: {ids}"
    taken = {}
    for panel in panels:
        place = panel["gridPos"]
        assert 0 <= place["x"] and place["x"] + place["w"] <= 24, panel["title"]
        for cell in ((x, y) for x in range(place["x"], place["x"] + place["w"])
                     for y in range(place["y"], place["y"] + place["h"])):
            assert cell not in taken, f"{panel['title']} lies over {taken[cell]}"
            taken[cell] = panel["title"]
        if panel["type"] != "row":
            sources = [panel["datasource"], *(target["datasource"] for target in panel["targets"])]
            assert all(source == {"type": "prometheus", "uid": "${datasource}"} for source in sources), panel["title"]
            refs = [target["refId"] for target in panel["targets"]]
            assert refs and len(set(refs)) == len(refs), panel["title"]
    names = [variable["name"] for variable in dashboard["templating"]["list"]]
    assert names == ["datasource", *VARIABLES], names


def check_variables(dashboard, prometheus):
    for variable in dashboard["templating"]["list"][1:]:
        selector, label = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["query"]["query"]).groups()
        found = prometheus.get(f"label/{label}/values", **{"match[]": filled(selector, LOAD_SECONDS)})
        assert VARIABLES[variable["name"]] in found, f"{variable['name']}: {found}"


def check_names(dashboard, scene):
    """The page of metrics has what the gateway and the controller tell, and every query asks for what is on it."""
    listed = set(re.findall(r"^\| `(\w+)", PAGE.read_text(), re.MULTILINE))
    told = set()
    for component in scene.pages:
        told |= set(re.findall(r"^# HELP ((?:turnout|istio)_\w+)", scene.page(component), re.MULTILINE))
    assert told <= listed, f"{PAGE.name} does not say what these are: {sorted(told - listed)}"
    sources = "".join(path.read_text() for folder in ("proxy/src", "controller/src") for path in
                      sorted((ROOT / folder).rglob("*.rs")))
    gone = sorted(name for name in listed if f'"{name}"' not in sources)
    assert not gone, f"{PAGE.name} names what there is no more: {gone}"
    asked = set(re.findall(r"\b(?:turnout|istio)_\w+", json.dumps(dashboard)))
    families = {re.sub(r"_(bucket|sum|count)$", "", name) for name in asked}
    assert families <= listed, f"{PAGE.name} does not say what these are: {sorted(families - listed)}"
    print(f"metrics: {len(listed)} on the page, {len(told)} told, {len(families)} asked for by the dashboard")


if __name__ == "__main__":
    main()
