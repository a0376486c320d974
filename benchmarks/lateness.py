"""How late starts were, as figures in milliseconds."""

FIGURES = ("p50", "p99", "max")


def lateness(late_ns):
    """Nearest-rank percentiles of |start - due|, given in nanoseconds."""
    ordered = sorted(map(abs, late_ns))
    return {"p50": rank(ordered, 50), "p99": rank(ordered, 99), "max": rank(ordered, 100)}


def rank(ordered, percent):
    return ordered[max(1, -(-len(ordered) * percent // 100)) - 1] / 1e6


def reported(durations):
    """The same figures from a report's Durations."""
    return {"p50": durations.p50_ms, "p99": durations.p99_ms, "max": durations.max_ms}
