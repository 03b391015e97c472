"""Trains one version of the safe-driving model and registers it: a file with the model, and a file with its metrics.

The drivers are made up, always the same ones, so every run writes the same bytes.
"""

import argparse
import json
from math import inf
from pathlib import Path

import numpy
import sklearn
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, roc_auc_score

import score

NAME = "safe-driving"
SEED = 20261129
DRIVERS = 40_000
# The others are for measuring.
FOR_TRAINING = 30_000

PLAIN = ["distance_km", "speeding_share", "harsh_braking_per_100km", "night_share"]
BETTER = [
    "log_distance",
    "speeding_share",
    "harsh_braking_per_100km",
    "night_share",
    "phone_minutes_per_hour",
    "new_driver",
    "night_speeding",
]

# Of each version what it looks at, and by what its training data differ from what requests hold.
VERSIONS = {
    "A": (PLAIN, {}),
    "B": (BETTER, {}),
    # The fault: an export that has speeding in percent. Where it was trained, C looks as good as B.
    "C": (BETTER, {"speeding_share": 100}),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--version", choices=VERSIONS, required=True)
    parser.add_argument("--into", type=Path, required=True, help="the folder to write model.json and metrics.json to")
    arguments = parser.parse_args()
    model, metrics = trained(arguments.version)
    arguments.into.mkdir(parents=True, exist_ok=True)
    for name, content in (("model.json", model), ("metrics.json", metrics)):
        (arguments.into / name).write_text(json.dumps(content, indent=2) + "\n")
    print(json.dumps(metrics))


def trained(version):
    """The model of this version, and what it is worth."""
    features, factors = VERSIONS[version]
    drivers, claims = made_drivers()
    exported = [{name: value * factors.get(name, 1) for name, value in driver.items()} for driver in drivers]
    table = [[score.feature(name, driver) for name in features] for driver in exported]
    regression = LogisticRegression(C=inf, solver="newton-cholesky", tol=1e-10)
    regression.fit(table[:FOR_TRAINING], claims[:FOR_TRAINING])
    weights = {name: rounded(weight) for name, weight in zip(features, regression.coef_[0], strict=True)}
    model = {
        "name": NAME,
        "version": version,
        "intercept": rounded(regression.intercept_[0]),
        "weights": weights,
    }
    unseen = claims[FOR_TRAINING:]
    metrics = {
        "model": NAME,
        "version": version,
        # On drivers as requests hold them, by the code that serves.
        **measured(model, drivers[FOR_TRAINING:], unseen),
        # On drivers as its training had them, which is all that a training run can see.
        "as_trained": measured(model, exported[FOR_TRAINING:], unseen),
        "n": len(unseen),
        "seed": SEED,
        "sklearn": sklearn.__version__,
    }
    return model, metrics


def made_drivers():
    """Drivers as requests hold them, and for each whether a claim followed."""
    random = numpy.random.default_rng(SEED)
    columns = {
        "distance_km": numpy.clip(random.lognormal(6.8, 0.6, DRIVERS), 10, 10_000).round(1),
        "speeding_share": random.beta(1.2, 9, DRIVERS).round(3),
        "harsh_braking_per_100km": random.gamma(1.5, 2, DRIVERS).round(2),
        "night_share": random.beta(1.2, 9, DRIVERS).round(3),
        "phone_minutes_per_hour": numpy.clip(random.gamma(0.7, 3, DRIVERS), 0, 60).round(2),
        "years_licensed": random.uniform(0, 50, DRIVERS).round(1),
    }
    log_odds = (
        -4.3
        + 0.6 * numpy.log(columns["distance_km"] / 900)
        + 7 * columns["speeding_share"]
        + 0.1 * columns["harsh_braking_per_100km"]
        + 1.5 * columns["night_share"]
        + 12 * columns["night_share"] * columns["speeding_share"]
        + 0.12 * columns["phone_minutes_per_hour"]
        + 1.6 * numpy.exp(-columns["years_licensed"] / 4)
    )
    claims = random.random(DRIVERS) < 1 / (1 + numpy.exp(-log_odds))
    rows = zip(*(column.tolist() for column in columns.values()), strict=True)
    return [dict(zip(columns, row, strict=True)) for row in rows], claims


def measured(model, drivers, claims):
    risks = [score.risk(model, driver) for driver in drivers]
    return {"auc": round(roc_auc_score(claims, risks), 4), "log_loss": round(log_loss(claims, risks), 4)}


def rounded(number):
    """With the digits that are the same on every processor."""
    return float(f"{number:.6g}")


if __name__ == "__main__":
    main()
