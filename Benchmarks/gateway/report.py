"""From measurements to medians, ratios of the same round, and a table for people."""

import statistics
from collections import defaultdict

LOADS = ("saturation", "50", "80", "common")
TITLES = {"saturation": "saturation", "50": "50 % of its own saturation", "80": "80 % of its own saturation",
          "common": "common rate"}


def spread(values, digits=2):
    """Median, least and greatest; None of nothing."""
    values = [value for value in values if value is not None]
    if not values:
        return None
    return {"median": round(statistics.median(values), digits), "least": round(min(values), digits),
            "greatest": round(max(values), digits), "rounds": len(values)}


def summarise(measurements, subject):
    """{row: {load: {peer: {…}}}}; the ratios are the subject's figure divided by the peer's, round by round."""
    groups = defaultdict(list)
    for measurement in measurements:
        groups[measurement["row"], measurement["load"], measurement["peer"]].append(measurement)
    summary = {}
    for (row, load, peer), group in groups.items():
        ours = {entry["round"]: entry for entry in groups.get((row, load, subject), [])}

        def ratios(name, group=group, ours=ours):
            return [ours[entry["round"]][name] / entry[name] for entry in group
                    if entry["round"] in ours and entry.get(name) and ours[entry["round"]].get(name) is not None]

        figures = {name: spread([entry.get(name) for entry in group], 3 if name in ("busy", "foreign", "stolen") else 2)
                   for name in ("cpu_us", "rate", "p50", "p99", "p999", "busy", "foreign", "stolen")}
        figures |= {f"ratio_{name}": spread(ratios(name), 3) for name in ("cpu_us", "rate", "p50", "p99", "p999")}
        figures["errors"] = sum(entry["errors"] + entry["refused"] + entry.get("overrun", 0) for entry in group)
        figures["disturbed"] = sum(entry["disturbed"] for entry in group)
        summary.setdefault(row, {}).setdefault(load, {})[peer] = figures
    return summary


def number(value, digits=1):
    if value is None:
        return "–"
    return f"{value:,.0f}" if abs(value) >= 1000 or digits == 0 else f"{value:.{digits}f}"


def median(figure, digits=1):
    return number(figure["median"], digits) if figure else "–"


def with_spread(figure, digits=1):
    if not figure:
        return "–"
    return f"{median(figure, digits)} ({number(figure['least'], digits)}–{number(figure['greatest'], digits)})"


def table(heads, lines):
    """Markdown with its columns aligned, so that it can be read unrendered."""
    widths = [max(len(line[column]) for line in [heads, *lines]) for column in range(len(heads))]

    def one(cells):
        first, *others = [cell.ljust(width) if index == 0 else cell.rjust(width)
                          for index, (cell, width) in enumerate(zip(cells, widths))]
        return "| " + " | ".join([first, *others]) + " |"

    rule = "|" + "|".join("-" * (width + 2) if index == 0 else "-" * (width + 1) + ":"
                          for index, width in enumerate(widths)) + "|"
    return "\n".join([one(heads), rule, *map(one, lines)])


def saturation_table(peers, subject):
    lines = []
    for peer, figures in peers.items():
        own = peer == subject
        lines.append([
            peer, with_spread(figures["cpu_us"]), "" if own else with_spread(figures["ratio_cpu_us"], 2),
            median(figures["rate"], 0), "" if own else with_spread(figures["ratio_rate"], 2),
            f"{figures['busy']['median'] * 100:.0f} %", number(figures["errors"], 0),
        ])
    heads = ["saturation", "CPU µs/request", f"{subject} ÷ it", "requests/s", f"{subject} ÷ it", "core", "errors"]
    return table(heads, lines)


def latency_table(loads, subject):
    lines = []
    for load in LOADS[1:]:
        for peer, figures in loads.get(load, {}).items():
            own = peer == subject
            lines.append([
                f"{TITLES[load]}, {peer}", median(figures["rate"], 0), median(figures["cpu_us"]),
                median(figures["p50"], 0), with_spread(figures["p99"], 0), median(figures["p999"], 0),
                "" if own else with_spread(figures["ratio_p99"], 2), number(figures["errors"], 0),
            ])
    heads = ["load", "requests/s", "CPU µs", "p50 µs", "p99 µs", "p99.9 µs", f"p99: {subject} ÷ it", "errors"]
    return table(heads, lines) if lines else ""


def memory_table(memory):
    lines = []
    for peer, entry in memory.items():
        count = entry["connections"] or 1
        lines.append([
            peer, f"{entry['rest_rss_kb'] / 1024:.1f}", f"{entry['held_rss_kb'] / 1024:.1f}",
            f"{(entry['held_rss_kb'] - entry['rest_rss_kb']) / count:.2f}", f"{entry['rest_pss_kb'] / 1024:.1f}",
            f"{entry['held_pss_kb'] / 1024:.1f}", f"{(entry['held_pss_kb'] - entry['rest_pss_kb']) / count:.2f}",
        ])
    held = max((entry["connections"] for entry in memory.values()), default=0)
    heads = ["memory", "RSS at rest, MB", f"with {held:,} idle", "KB each"]
    return table(heads + ["PSS at rest, MB", f"with {held:,} idle", "KB each"], lines)


def markdown(result, rows):
    subject = result["subject"]
    parts = ["# Gateways beside each other", "", f"    {result['command']}", "",
             f"Machine: {result['machine']}", ""]
    parts += [f"- {name}: {version}" for name, version in result["versions"].items()]
    parts += [f"- left out: {name}: {reason.splitlines()[0]}" for name, reason in result["left_out"].items()]
    parts += ["", result["method"], ""]
    for name, loads in result["rows"].items():
        parts += [f"## {rows[name].title}", ""]
        if "saturation" in loads:
            parts += [saturation_table(loads["saturation"], subject), ""]
        latencies = latency_table(loads, subject)
        if latencies:
            parts += [latencies, ""]
            if rows[name].streams:
                parts += ["h2load sends in bursts, and counts from the instant of sending: its latencies compare the "
                          "proxies, but leave out what a request waits before it is sent.", ""]
        disturbed = sum(figures["disturbed"] for peers in loads.values() for figures in peers.values())
        if disturbed:
            parts += [f"Measurements in which others used more than 5 % of the proxies' core, three times in a row: "
                      f"{disturbed}. Their latencies say little.", ""]
    if result["memory"]:
        parts += ["## Memory", "", memory_table(result["memory"]), "",
                  "RSS counts a page that two processes of a proxy share twice, PSS once.", ""]
        for name, entry in result["memory"].items():
            parts += [f"{name} had closed {entry['closed']} of its idle connections.", ""] if entry["closed"] else []
    return "\n".join(parts)
