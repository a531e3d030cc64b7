"""Instructions and system calls for each transaction: exact however busy the machine is, and by function.

Instructions are those that the process executes itself, counted by valgrind; what the kernel does for it is not among them.
Of each workload there are two runs that differ in nothing but the number of transactions; the difference between them is
what transactions cost, without logins and without what happens once. Clock readings do not show in either figure: they are
calls into the vdso, which valgrind turns into system calls; so they are listed by themselves, from the calls that valgrind saw.
"""
import collections
import re
import subprocess
import time

from . import machine, servers, workloads

# Transactions in all, few and many; each client takes its part.
FEW, MANY = 1_600, 8_000
# Of core/benches/pool_engine.rs.
ENGINE_TASKS = ("hand-over", "lease", "give-up", "resize")
WAITING = (10, 100, 1_000, 10_000)
# Named as the cells of the benchmark. With 16 clients nobody waits for one of the 20 server connections, with 100 nearly all do.
WORKLOADS = ("simple 16", "simple 100", "extended 16", "extended 100", "prepared 16", "prepared 100", "TLS simple 16", "TDS 16")
CLOCK = re.compile(r"\b(__)?(vdso_)?clock_gettime\b|\bgettimeofday\b")


def valgrind(bench, name):
    return (
        "valgrind", "--tool=callgrind", "--fair-sched=yes", "--compress-strings=no", "--compress-pos=no",
        "--separate-threads=no", f"--callgrind-out-file={bench.folder}/{name}.callgrind",
    )


def load(target, tools, workload, transactions):
    *way, mode, clients = workload.split()
    transactions //= int(clients)
    if mode == "TDS":
        command = [f"{tools}/weir-load", "--protocol", "tds", "--address", f"127.0.0.1:{target.tds_port}", "--user", servers.USER,
                   "--password", servers.PASSWORD, "--database", "tds", "--clients", clients, "--requests", str(transactions)]
    else:
        command = ["pgbench", "-S", "-n", "-M", mode, "-c", clients, "-j", "2", "-t", str(transactions)]
    done = subprocess.run(command, env=target.environment("TLS" in way), capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"bench: {workload} through {target.name}: {done.stderr}")


class Profile:
    """What callgrind has written: the cost of each function itself, and how often it was called."""

    def __init__(self, path=None):
        self.cost, self.calls, self.files = collections.Counter(), collections.Counter(), collections.Counter()
        if path:
            self.read(path)

    def read(self, path):
        function, file, callee, is_callees = "", "", "", False
        with open(path, errors="replace") as lines:
            for line in lines:
                if line[:1].isdigit():
                    cost = int(line.split()[1])
                    if not is_callees:
                        self.cost[function] += cost
                        self.files[file] += cost
                    is_callees = False
                elif line.startswith("fn="):
                    function = line[3:].strip()
                elif line.startswith(("fl=", "fi=", "fe=")):
                    file = line[3:].strip()
                elif line.startswith("cfn="):
                    callee = line[4:].strip()
                elif line.startswith("calls="):
                    self.calls[callee] += int(line[6:].split()[0])
                    is_callees = True

    def per_transaction(self, fewer):
        """The difference to a profile of fewer transactions, for one of them."""
        result, transactions = Profile(), MANY - FEW
        for name in ("cost", "calls", "files"):
            more, less, into = getattr(self, name), getattr(fewer, name), getattr(result, name)
            into.update({key: (more[key] - less[key]) / transactions for key in more.keys() | less.keys()})
        return result


def profile(bench, target, tools, workload):
    def dump():
        before = set(bench.folder.glob(f"{target.name}.callgrind.*"))
        bench.run(["callgrind_control", "-d", str(target.pid)])
        for _ in range(600):
            new = set(bench.folder.glob(f"{target.name}.callgrind.*")) - before
            if new and "totals:" in (path := new.pop()).read_text(errors="replace")[-200:]:
                return Profile(path)
            time.sleep(0.1)
        raise SystemExit("bench: callgrind writes nothing")

    # The first run opens the server connections, which costs more than everything that follows.
    load(target, tools, workload, MANY)
    dump()
    load(target, tools, workload, FEW)
    few = dump()
    load(target, tools, workload, MANY)
    return dump().per_transaction(few)


def system_calls(target, tools, workload):
    counts = []
    for transactions in (FEW, MANY):
        with machine.traced(target.pid) as calls:
            load(target, tools, workload, transactions)
        counts.append(calls)
    names = counts[0].keys() | counts[1].keys()
    each = {name: (counts[1].get(name, 0) - counts[0].get(name, 0)) / (MANY - FEW) for name in names}
    return {name: count for name, count in sorted(each.items(), key=lambda item: -item[1]) if count >= 0.005}


def measure(options):
    """By workload and way: system calls, and the profile, for each transaction."""
    found = collections.defaultdict(lambda: collections.defaultdict(dict))
    wanted = [workload for workload in WORKLOADS if not options.only or re.search(options.only, workload)]
    with servers.Bench() as bench:
        direct, stand_in = servers.postgres(bench), servers.stand_in(bench, options.tools)
        for under, measured in ((False, "calls"), (True, "profile")):
            for name in ("pgbouncer", "weir", f"weir-{options.beside}-threads"):
                if under and "threads" in name or name == "weir-1-threads":
                    continue
                prefix = valgrind(bench, name) if under else ()
                if name == "pgbouncer":
                    target = servers.pgbouncer(bench, options.pgbouncer, direct, prefix)
                else:
                    workers = 1 if name == "weir" else options.beside
                    target = servers.weir(bench, options.weir, direct, workers, name, stand_in, prefix)
                for workload in wanted:
                    if "TDS" in workload and name == "pgbouncer":
                        continue
                    if under:
                        found[workload][name][measured] = profile(bench, target, options.tools, workload)
                    else:
                        found[workload][name][measured] = system_calls(target, options.tools, workload)
                bench.stop(target)
    return found


def summary(found):
    for workload, targets in found.items():
        for name, figures in targets.items():
            calls = figures["calls"]
            parts = [f"{sum(calls.values()):.2f} system calls"]
            parts += [f"{call} {count:.2f}" for call, count in calls.items()]
            if "profile" in figures:
                cost = sum(figures["profile"].cost.values())
                clocks = sum(count for function, count in figures["profile"].calls.items() if CLOCK.search(function))
                parts = [f"{cost:,.0f} instructions", f"{clocks:.2f} clock readings", *parts]
            yield f"{workload}, {name}: {', '.join(parts)}"


def functions(found, limit=80):
    """Where the instructions go, the dearest first: cost, calls, name."""
    for workload, targets in found.items():
        for name, figures in targets.items():
            if "profile" in figures:
                yield f"\n{workload}, {name}"
                costs = figures["profile"].cost.most_common(limit)
                yield from (f"{cost:10.1f} {figures['profile'].calls[function]:8.2f}  {function}" for function, cost in costs)


def engine(program):
    """What the pool's engine costs by itself, with few and with many clients waiting."""

    def total(*arguments):
        done = subprocess.run(["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", program, *map(str, arguments)], capture_output=True, text=True)
        return int(re.search(r"Collected : (\d+)", done.stderr).group(1))

    for task in ENGINE_TASKS if program else ():
        costs = [(total(task, waiting, 2000) - total(task, waiting, 1000)) / 1000 for waiting in WAITING]
        yield f"pool engine, {task}: " + ", ".join(f"{cost:,.0f} with {waiting:,}" for cost, waiting in zip(costs, WAITING)) + " waiting"
