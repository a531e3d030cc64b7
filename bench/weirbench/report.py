"""From rounds of figures to tables and plots. Medians over rounds; a ratio is taken within a round, then its median and spread."""
import json
import statistics


def median(values):
    return statistics.median(values) if values else None


def ratio(rounds, key, target, base):
    """Median, least and greatest of `target / base`, each pair from one round; None when it was not measured."""
    ratios = [
        entry[target][key] / entry[base][key]
        for entry in rounds
        if key in entry.get(target, {}) and entry.get(base, {}).get(key)
    ]
    return (median(ratios), min(ratios), max(ratios)) if ratios else None


class Report:
    def __init__(self, facts):
        self.facts = facts
        self.cells = {}  # name -> list of rounds, each {target: {key: figure}}
        self.single = {}  # name -> {target: {key: figure}}

        self.failures = []  # a line for each run that gave no figures

    def failed(self, cell, round_number, target, failure):
        self.add(cell, round_number, target, {})
        self.failures.append(f"round {round_number + 1}, {cell}, {target}: {failure}")

    def add(self, cell, round_number, target, figures):
        rounds = self.cells.setdefault(cell, [])
        while len(rounds) <= round_number:
            rounds.append({})
        rounds[round_number][target] = figures

    def save(self, folder, limits):
        folder.mkdir(parents=True, exist_ok=True)
        content = {"facts": self.facts, "rounds": self.cells, "single": self.single, "failures": self.failures}
        (folder / "results.json").write_text(json.dumps(content, indent=1))
        text = self.markdown(limits)
        (folder / "results.md").write_text(text)
        return text

    def figure(self, cell, target, key):
        return median([entry[target][key] for entry in self.cells[cell] if key in entry.get(target, {})])

    def markdown(self, limits):
        lines = ["# Weir beside PgBouncer", ""]
        lines += [f"- {name.replace('_', ' ')}: {value}" for name, value in self.facts.items()]
        lines += ["", "Ratios are Weir / PgBouncer within one round: median (least - greatest).", ""]
        lines += self.table("CPU of the pooler", "cpu_us", "us each", limits)
        lines += self.table("CPU for each MB", "cpu_us_per_mb", "us per MB", limits)
        lines += self.table("Throughput", "tps", "per second", limits, direct=True)
        lines += self.table("Latency, median", "p50_us", "us", limits, direct=True)
        lines += self.table("Latency, 99th percentile", "p99_us", "us", limits, direct=True)
        lines += self.table("User time", "user_us", "us each", limits)
        lines += self.table("Context switches", "switches", "each", limits)
        lines += self.table("Logins", "logins_per_second", "per second", limits, direct=True)
        lines += self.table("Bulk", "mb_per_second", "MB per second", limits, direct=True)
        lines += self.table("Peak memory above rest, each client", "peak_growth_kib_per_client", "KiB", limits)
        lines += self.threads()
        lines += self.singles()
        if self.failures:
            lines += ["## Runs without figures", "", *(f"- {line}" for line in self.failures), ""]
        return "\n".join(lines) + "\n"

    def table(self, title, key, unit, limits, direct=False):
        rows = []
        for cell, rounds in self.cells.items():
            found = {target: self.figure(cell, target, key) for target in ("direct", "pgbouncer", "weir")}
            if found["weir"] is None:
                continue
            against = ratio(rounds, key, "weir", "pgbouncer")
            limit = next((limit for (kind, prefix), limit in limits.items() if kind == key and cell.startswith(prefix)), None)
            shown = f"{against[0]:.2f} ({against[1]:.2f} - {against[2]:.2f})" if against else "-"
            goal = ""
            if limit and against:
                met = against[0] <= limit[1] if limit[0] == "<=" else against[0] >= limit[1]
                goal = f"{limit[0]} {limit[1]}: {'met' if met else 'MISSED'}"
            columns = [cell] + [number(found[t]) for t in (("direct", "pgbouncer", "weir") if direct else ("pgbouncer", "weir"))]
            rows.append(columns + [shown, goal])
        if not rows:
            return []
        head = ["", *(("direct",) if direct else ()), "PgBouncer", "Weir", "ratio", "goal"]
        return [f"## {title} ({unit})", "", row(head), row(["---"] + ["---:"] * (len(head) - 2) + ["---"]), *map(row, rows), ""]

    def threads(self):
        """Weir with more threads against itself with one, for choosing the default."""
        lines = []
        for name in sorted({t for rounds in self.cells.values() for entry in rounds for t in entry if t.endswith("threads")}):
            keys = {"cpu_us": "CPU", "tps": "throughput", "p99_us": "99th percentile", "switches": "context switches"}
            lines += [f"## {name} / weir", "", row(["", *keys.values()]), row(["---"] + ["---:"] * len(keys))]
            for cell, rounds in self.cells.items():
                found = [ratio(rounds, key, name, "weir") for key in keys]
                if any(found):
                    lines.append(row([cell] + [f"{r[0]:.2f} ({r[1]:.2f} - {r[2]:.2f})" if r else "-" for r in found]))
            lines.append("")
        return lines

    def singles(self):
        lines = []
        for name, targets in self.single.items():
            lines += [f"## {name}", ""]
            keys = list(dict.fromkeys(key for figures in targets.values() for key in figures))
            lines += [row(["", *keys]), row(["---"] + ["---:"] * len(keys))]
            lines += [row([target, *(number(figures.get(key)) for key in keys)]) for target, figures in targets.items()]
            lines.append("")
        return lines


def number(value):
    if value is None:
        return "-"
    if isinstance(value, str):
        return value
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def row(columns):
    return "| " + " | ".join(str(column) for column in columns) + " |"
