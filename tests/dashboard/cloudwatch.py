"""What CloudWatch computes from metrics: statistics, searches, and the metric math of the template's alarms.

Only the part of it that the template uses.
"""

from __future__ import annotations

import operator
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

COMPARISONS = {"GreaterThanThreshold": operator.gt, "LessThanThreshold": operator.lt}


@dataclass(frozen=True)
class Metric:
    """A metric: its namespace, name and dimensions."""

    namespace: str
    name: str
    dimensions: frozenset[tuple[str, str]]

    @classmethod
    def of(cls, namespace: str, name: str, dimensions: Mapping[str, str]) -> Metric:
        return cls(namespace, name, frozenset(dimensions.items()))


class Metrics:
    """Values of metrics over time."""

    def __init__(self) -> None:
        self._values: dict[Metric, list[tuple[float, float]]] = defaultdict(list)

    def add(self, metric: Metric, seconds: float, value: float) -> None:
        self._values[metric].append((seconds, value))

    def add_embedded(self, line: Mapping[str, Any]) -> None:
        """Adds the values of a log line in the embedded metric format."""
        for directive in line["_aws"]["CloudWatchMetrics"]:
            for names in directive["Dimensions"]:
                dimensions = {name: line[name] for name in names}
                for declared in directive["Metrics"]:
                    name = declared["Name"]
                    metric = Metric.of(directive["Namespace"], name, dimensions)
                    self.add(metric, line["_aws"]["Timestamp"] / 1000, line[name])

    def between(self, metric: Metric, start: float, end: float) -> list[float]:
        return [value for seconds, value in self._values.get(metric, []) if start <= seconds < end]

    def search(self, expression: str) -> list[Metric]:
        """The metrics that a SEARCH expression finds: of this schema, with one of the values of each dimension."""
        ((schema, terms),) = re.findall(r"SEARCH\('\{([^}]+)\} ([^']+)'", expression)
        namespace, *names = schema.split(",")
        asked = {
            name: set(re.findall(r'"([^"]+)"', text)) for name, text in re.findall(r'(\w+)=("[^"]+"|\([^)]+\))', terms)
        }

        def is_found(metric: Metric) -> bool:
            values = {"MetricName": metric.name, **dict(metric.dimensions)}
            return (
                metric.namespace == namespace
                and {name for name, _ in metric.dimensions} == set(names)
                and all(values[name] in wanted for name, wanted in asked.items())
            )

        return sorted(filter(is_found, self._values), key=lambda metric: sorted(metric.dimensions))


def statistic(name: str, values: list[float]) -> float | None:
    """The statistic of the values in a period, or None without data."""
    if not values:
        return None
    if name.startswith("p"):
        return sorted(values)[min(len(values) - 1, int(float(name[1:]) / 100 * len(values)))]
    count = len(values)
    return {"Sum": sum(values), "SampleCount": count, "Average": sum(values) / count, "Maximum": max(values),
            "Minimum": min(values)}[name]  # fmt: skip


def evaluate(expression: str, values: Mapping[str, float | None]) -> float | None:
    """The value of a metric math expression for one period, from the values of its metrics by ID.

    CloudWatch User Guide, "Using metric math": FILL replaces missing values; in arithmetic and comparisons, a missing
    value is 0 if another one is there; a division by zero is dropped.
    """
    filled = {name: float(default) for name, default in re.findall(r"FILL\((\w+), (\d+)\)", expression)}
    values = {name: filled.get(name) if value is None else value for name, value in values.items()}
    if all(value is None for value in values.values()):
        return None
    python = expression.replace("IF(", "when(").replace(" AND ", " and ")
    names: dict[str, Any] = {name: value or 0 for name, value in values.items()}
    functions = {
        "when": lambda condition, yes, no: yes if condition else no, "SUM": sum, "FILL": lambda value, _: value,
    }  # fmt: skip
    try:
        return float(eval(python, {"__builtins__": {}, **functions}, names))
    except ZeroDivisionError:
        return None


def is_raised(alarm: Mapping[str, Any], values: Iterable[float | None]) -> bool:
    """Whether an alarm is raised by the values of its last evaluation periods."""
    breaches = COMPARISONS[alarm["ComparisonOperator"]]
    is_breach = alarm["TreatMissingData"] == "breaching"
    return all(is_breach if value is None else breaches(value, float(alarm["Threshold"])) for value in values)
