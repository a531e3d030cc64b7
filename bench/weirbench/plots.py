"""The figures as SVG. Colours that stay apart in print and for colour-blind readers."""
import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt  # noqa: E402

COLOURS = {"direct": "#9aa0a6", "pgbouncer": "#c9822b", "weir": "#2b6cb0"}


def draw(report, folder):
    matplotlib.rcParams.update({"svg.fonttype": "none", "font.family": "sans-serif", "axes.spines.top": False, "axes.spines.right": False})
    for name, key, title, unit, targets in [
        ("cpu", "cpu_us", "CPU of the pooler for each transaction", "µs", ("pgbouncer", "weir")),
        ("throughput", "tps", "Throughput", "transactions per second", ("direct", "pgbouncer", "weir")),
        ("latency", "p99_us", "99th percentile of latency", "µs", ("direct", "pgbouncer", "weir")),
        ("bulk", "cpu_us_per_mb", "CPU of the pooler for each MB", "µs", ("pgbouncer", "weir")),
    ]:
        cells = [cell for cell in report.cells if report.figure(cell, "weir", key) is not None]
        if not cells:
            continue
        figure, axes = plt.subplots(figsize=(max(6, len(cells) * 0.75), 4))
        width = 0.8 / len(targets)
        for number, target in enumerate(targets):
            places = [place + (number - (len(targets) - 1) / 2) * width for place in range(len(cells))]
            heights = [report.figure(cell, target, key) or 0 for cell in cells]
            spread = [[entry[target][key] for entry in report.cells[cell] if key in entry.get(target, {})] for cell in cells]
            below = [height - min(values) if values else 0 for height, values in zip(heights, spread)]
            above = [max(values) - height if values else 0 for height, values in zip(heights, spread)]
            axes.bar(places, heights, width, color=COLOURS[target], label=target, yerr=[below, above], error_kw={"elinewidth": 0.7})
        axes.set_xticks(range(len(cells)), cells, rotation=45, ha="right", fontsize=8)
        axes.set_ylabel(unit)
        axes.set_title(title, loc="left", fontsize=11)
        axes.legend(frameon=False, fontsize=8)
        figure.tight_layout()
        figure.savefig(folder / f"{name}.svg")
        plt.close(figure)
