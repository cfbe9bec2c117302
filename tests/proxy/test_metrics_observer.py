"""What is counted in memory and handed over later is what prometheus_client would have counted at once."""

import subprocess
import sys
from pathlib import Path

from tests.servers import clean_environ

ROOT = Path(__file__).parents[2]
# In a process of its own: prometheus_client decides at import that it works with files.
PROGRAM = """
import math, random
from prometheus_client import Histogram
from prometheus_client.multiprocess import MultiProcessCollector
from proxy.adapters.metrics_observer import HistogramTally

BOUNDS = (0.001, 0.25, 0.5, 1, 2.5, 600)
one_by_one = Histogram("one_by_one", "-", ["endpoint"], buckets=BOUNDS)
tallied = Histogram("tallied", "-", ["endpoint"], buckets=BOUNDS)

def samples():
    told = {}
    for metric in MultiProcessCollector(None).collect():
        for sample in metric.samples:
            rest = sample.name.removeprefix(metric.name)
            told.setdefault(metric.name, {})[(rest, *sorted(sample.labels.items()))] = sample.value
    return told["one_by_one"], told["tallied"]

def compare():
    plain, summed = samples()
    assert plain.keys() == summed.keys()
    for name, value in plain.items():  # a sum depends on the order of adding; counts do not
        assert math.isclose(value, summed[name], rel_tol=1e-12) if name[0] == "_sum" else value == summed[name], name
    return summed

random.seed(7)
edges = [near for bound in BOUNDS for near in (math.nextafter(bound, 0), bound, math.nextafter(bound, 1e9))]
for endpoint in ("a", "b"):
    tally = HistogramTally(tallied.labels(endpoint), BOUNDS)
    tally.flush()
    for values in ([0, 1e9], edges, *([random.expovariate(random.choice(BOUNDS)) for _ in range(500)] for _ in "123")):
        for value in values:
            one_by_one.labels(endpoint).observe(value)
            tally.observe(value)
        tally.flush()
        tally.flush()
        told = compare()
    assert told[("_count", ("endpoint", endpoint))] == 1502 + len(edges)
print("equal")
"""


def test_a_tallied_histogram_equals_an_observed_one(tmp_path: Path) -> None:
    """Buckets, count and sum, at the bounds and beyond the last, over several flushes."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=ROOT, capture_output=True, text=True, check=False,
        env={**clean_environ(), "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)},
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("equal\n", "")
