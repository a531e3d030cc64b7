import argparse
import datetime
import pathlib
import re
import sys
import time

from . import machine, report, servers, workloads

# What the project promises: (figure, cells that begin so) -> the ratio to PgBouncer.
LIMITS = {
    ("cpu_us", "simple"): ("<=", 0.95),
    ("cpu_us", "extended"): ("<=", 0.95),
    ("cpu_us", "prepared 16"): ("<=", 0.85),
    ("cpu_us", "prepared 100"): ("<=", 0.85),
    ("cpu_us", "prepared 500"): ("<=", 0.85),
    ("cpu_us", "TLS"): ("<=", 1.0),
    ("cpu_us", "login"): ("<=", 1.0),
    ("cpu_us_per_mb", "COPY"): ("<=", 0.75),
    ("cpu_us_per_mb", "SELECT"): ("<=", 0.70),
    ("cpu_us_per_mb", "TLS"): ("<=", 1.0),
    ("tps", ""): (">=", 1.05),
    ("p99_us", ""): ("<=", 1.0),
}


# CPU of a small TDS request against PostgreSQL's.
TDS_LIMIT = 1.3
# CPU of a prepared statement against the same request without one.
FOLLOWING_LIMITS = {"prepared": 1.10}


def arguments():
    parser = argparse.ArgumentParser(prog="bench/run", description="Weir beside PgBouncer, interleaved, on this machine.")
    parser.add_argument("--quick", action="store_true", help="two minutes: fewer cells, two short rounds")
    parser.add_argument("--rounds", type=int, help="rounds for each cell (default 5; quick 2)")
    parser.add_argument("--seconds", type=int, help="seconds for each run (default 5; quick 3)")
    parser.add_argument("--only", help="only cells whose name this regular expression finds, such as '^prepared 16' or 'TLS|COPY'")
    parser.add_argument("--workers", type=int, default=1, help="threads of Weir (default 1, as PgBouncer has)")
    parser.add_argument("--instructions", action="store_true", help="count instructions and system calls instead of time: exact on a busy machine, too")
    parser.add_argument("--beside", type=int, metavar="THREADS", help="Weir with so many threads as well, in the same rounds, against itself")
    parser.add_argument("--results", default="results", help="folder for results.md, results.json and plots (default bench/results)")
    parser.add_argument("--engine", help=argparse.SUPPRESS)
    parser.add_argument("--tools", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--weir", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--pgbouncer", required=True, help=argparse.SUPPRESS)
    return parser.parse_args()


def cells(options):
    """Name, and what to run, of each cell that is measured in rounds."""
    seconds = options.seconds or (3 if options.quick else 5)
    found = []
    for tls in (False, True):
        for mode in workloads.MODES:
            for clients in (1, 16, 100, 500):
                if options.quick and (tls or clients in (1, 500)):
                    continue
                name = f"{'TLS ' if tls else ''}{mode} {clients}"
                found.append((name, lambda target, mode=mode, clients=clients, tls=tls: workloads.pgbench(target, mode, clients, seconds, tls)))
        prefix = "TLS " if tls else ""
        found.append((f"{prefix}COPY out", lambda target, tls=tls: workloads.bulk(target, "copy", tls=tls)))
        found.append((f"{prefix}SELECT 10 MB", lambda target, tls=tls: workloads.bulk(target, "select", tls=tls)))
        if not options.quick:
            found.append((f"{prefix}COPY out, 20 clients", lambda target, tls=tls: workloads.bulk(target, "copy", 20, tls)))
            found.append((f"{prefix}login", lambda target, tls=tls: workloads.churn(target, seconds, tls)))
    return [(name, run) for name, run in found if not options.only or re.search(options.only, name)]


def say(text):
    print(f"bench: {text}", file=sys.stderr, flush=True)


def main():
    options = arguments()
    if options.instructions:
        options.beside = options.beside or 2
        from . import instructions

        found = instructions.measure(options)
        folder = pathlib.Path(options.results)
        folder.mkdir(parents=True, exist_ok=True)
        summary = "\n".join([*instructions.summary(found), *instructions.engine(options.engine)])
        (folder / "instructions.txt").write_text("\n".join([summary, *instructions.functions(found), ""]))
        print(summary)
        return
    rounds = options.rounds or (2 if options.quick else 5)
    with servers.Bench() as bench:
        direct = servers.postgres(bench)
        targets = [
            direct,
            servers.pgbouncer(bench, options.pgbouncer, direct),
            servers.weir(bench, options.weir, direct, options.workers, tds_server=servers.stand_in(bench, options.tools)),
        ]
        weir = targets[-1]
        if options.beside:
            targets.append(servers.weir(bench, options.weir, direct, options.beside, f"weir-{options.beside}-threads"))
        facts = {"date": datetime.date.today().isoformat(), **machine.describe()}
        facts |= {target.name: target.version for target in targets}
        facts |= {"pool": servers.POOL, "weir_workers": options.workers, "rounds": rounds}
        outcome = report.Report(facts)
        folder = pathlib.Path(options.results)
        planned = cells(options)
        began = time.monotonic()
        for number in range(rounds):
            for index, (name, run) in enumerate(planned):
                turn = (number + index) % len(targets)
                for target in targets[turn:] + targets[:turn]:
                    try:
                        outcome.add(name, number, target.name, run(target))
                    except workloads.Failed as failure:
                        outcome.failed(name, number, target.name, failure)
                        say(f"round {number + 1}/{rounds} {name}: {failure}")
                figures = {target: outcome.cells[name][number].get(target) or {"": None} for target in ("pgbouncer", "weir")}
                brief = ", ".join(f"{target} {report.number(next(iter(f.values())))} {next(iter(f))}" for target, f in figures.items())
                say(f"round {number + 1}/{rounds} {name}: {brief}, {time.monotonic() - began:.0f} s so far")
            # An hour's figures are not lost to what happens in its last minute.
            outcome.save(folder, LIMITS)
        if not options.only or re.search(options.only, "protocols"):
            both_protocols(options, weir, rounds, outcome)
        if not options.only or re.search(options.only, "following"):
            following(options, weir, rounds, outcome)
        if not options.only or re.search(options.only, "system calls"):
            system_calls(targets[1:], outcome)
        if not options.only or re.search(options.only, "idle clients"):
            idle_clients(options, bench, direct, outcome)
        print(outcome.save(folder, LIMITS))
        from . import plots

        plots.draw(outcome, folder)
        say(f"written to {folder.resolve().name}/: results.md, results.json, plots")


def both_protocols(options, weir, rounds, outcome):
    """What a small request costs the gateway in TDS, against PostgreSQL, round by round."""
    seconds, found = options.seconds or (3 if options.quick else 5), []
    for _ in range(rounds):
        pair = {protocol: workloads.small_requests(weir, options.tools, protocol, 16, seconds) for protocol in ("postgres", "tds")}
        found.append(pair)
    name = "Small requests, 16 clients, both protocols"
    medians = {
        protocol: {key: report.median([pair[protocol][key] for pair in found]) for key in found[0][protocol]}
        for protocol in ("postgres", "tds")
    }
    ratios = sorted(pair["tds"]["cpu_us"] / pair["postgres"]["cpu_us"] for pair in found)
    medians["tds"]["cpu / postgres"] = f"{report.median(ratios):.2f} ({ratios[0]:.2f} - {ratios[-1]:.2f})"
    medians["tds"]["goal"] = f"<= {TDS_LIMIT}: {'met' if report.median(ratios) <= TDS_LIMIT else 'MISSED'}"
    outcome.single[name] = medians
    say(f"{name}: {medians}")


def following(options, weir, rounds, outcome):
    """What it costs that sessions follow their clients, against clients with nothing to follow, round by round."""
    seconds = options.seconds or (3 if options.quick else 5)
    ways = list(dict.fromkeys([*workloads.FOLLOWED.values(), *workloads.FOLLOWED]))
    for clients in (16, 100):
        found = [
            {way: workloads.small_requests(weir, options.tools, "postgres", clients, seconds, way) for way in ways}
            for _ in range(rounds)
        ]
        name = f"Sessions that follow their clients, {clients} clients, Weir alone"
        medians = {way: {key: report.median([entry[way][key] for entry in found]) for key in found[0][way]} for way in ways}
        for way, base in workloads.FOLLOWED.items():
            ratios = sorted(entry[way]["cpu_us"] / entry[base]["cpu_us"] for entry in found)
            medians[way]["against"] = base
            medians[way]["cpu ratio"] = f"{report.median(ratios):.2f} ({ratios[0]:.2f} - {ratios[-1]:.2f})"
            if limit := FOLLOWING_LIMITS.get(way):
                medians[way]["goal"] = f"<= {limit}: {'met' if report.median(ratios) <= limit else 'MISSED'}"
        outcome.single[name] = medians
        say(f"{name}: " + ", ".join(f"{way} {figures['cpu ratio']} of {figures['against']}" for way, figures in medians.items() if "against" in figures))


def system_calls(targets, outcome):
    """Without rounds: they hardly vary."""
    for mode in workloads.MODES:
        name = f"System calls for each transaction, {mode}, 16 clients"
        outcome.single[name] = {target.name: workloads.system_calls(target, mode, 16, 2) for target in targets}
        say(name)


def idle_clients(options, bench, direct, outcome):
    """Each in a process that has done nothing before: memory that others have left behind would flatter."""
    ways = {
        "pgbouncer": lambda: servers.pgbouncer(bench, options.pgbouncer, direct),
        "weir": lambda: servers.weir(bench, options.weir, direct, options.workers, "weir-idle"),
    }
    for count, tls in ((1000, False), (1000, True)) if options.quick else ((1000, False), (10_000, False), (1000, True), (10_000, True)):
        name = f"{count:,} idle clients{' with TLS' if tls else ''}"
        found = outcome.single[name] = {}
        for way, start in ways.items():
            target = start()
            found[way] = workloads.idle_clients(target, count, tls)
            bench.stop(target)
        say(f"{name}: " + ", ".join(f"{t} {report.number(f.get('kib_each'))} KiB each" for t, f in found.items()))


main()
