"""What clients do. Each workload runs against one target and returns figures; nothing here compares."""
import glob
import os
import re
import resource
import shutil
import subprocess
import tempfile
import threading
import time

from . import idle, machine, servers

MODES = ("simple", "extended", "prepared")
WARM = 1.0


class Failed(Exception):
    """One run of one target gave no figures. The others go on; the report names it."""


def pgbench(target, mode, clients, seconds, tls=False):
    """`pgbench -S` in this mode. Counted from the first progress line on, so that logging in is no part of it."""
    folder = tempfile.mkdtemp(prefix="weir-pgbench-")
    command = [
        "pgbench", "-S", "-n", "-M", mode, "-c", str(clients), "-j", str(min(clients, 2)), "-T", str(seconds + WARM),
        "-P", "1", "--progress-timestamp", "-l", f"--log-prefix={folder}/log", f"--sampling-rate={1 if clients == 1 else 0.2}",
    ]
    command[command.index("-T") + 1] = str(round(seconds + WARM))
    process = subprocess.Popen(command, env=target.environment(tls), stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    marks = []
    errors = []
    for line in process.stderr:
        progress = re.match(r"progress: ([\d.]+) s, ([\d.]+) tps", line)
        if progress:
            now = machine.counters(target.pid) if target.pid else None
            marks.append((float(progress.group(1)), float(progress.group(2)), now))
        elif "error" in line.lower() or "fatal" in line.lower():
            errors.append(line.strip())
    output = process.stdout.read()
    if process.wait() or errors or len(marks) < 2:
        raise Failed(f"pgbench against {target.name}: {errors or output}")
    latencies = []
    for name in glob.glob(f"{folder}/log*"):
        with open(name) as file:
            latencies.extend(int(line.split()[2]) for line in file)
    shutil.rmtree(folder)
    latencies.sort()
    first, last = marks[0], marks[-1]
    transactions = sum(tps * (at - before) for (before, _, _), (at, tps, _) in zip(marks, marks[1:]))
    result = {
        "tps": transactions / (last[0] - first[0]),
        "p50_us": latencies[len(latencies) // 2],
        "p99_us": latencies[len(latencies) * 99 // 100],
    }
    if target.pid:
        spent = last[2].since(first[2])
        for key in ("cpu", "user", "system"):
            result[f"{key}_us"] = spent[key] * 1e6 / transactions
        result["switches"] = spent["switches"] / transactions
        result["rss_mib"] = last[2].rss / 2**20
    return result


# How clients of PostgreSQL ask, and what they are compared with: the same protocol without what the gateway has to follow.
FOLLOWED = {"settings": "simple", "prepared": "unnamed", "pipeline": "unnamed"}


def small_requests(target, tools, protocol, clients, seconds, way="simple"):
    """`SELECT 1` by so many clients, in either protocol, through the same process."""
    port, database = (target.tds_port, "tds") if protocol == "tds" else (target.port, servers.DATABASE)
    process = subprocess.Popen(
        [f"{tools}/weir-load", "--protocol", protocol, "--way", way, "--address", f"127.0.0.1:{port}", "--user", servers.USER,
         "--password", servers.PASSWORD, "--database", database, "--clients", str(clients), "--seconds", str(seconds)],
        stdout=subprocess.PIPE, text=True,
    )
    if process.stdout.readline().strip() != "counting":
        raise Failed(f"{protocol} requests fail")
    before = machine.counters(target.pid)
    requests = int(process.stdout.readline())
    spent = machine.counters(target.pid).since(before)
    process.wait()
    return {
        "tps": requests / seconds,
        **{f"{key}_us": spent[key] * 1e6 / requests for key in ("cpu", "user", "system")},
        "switches": spent["switches"] / requests,
    }


def system_calls(target, mode, clients, seconds):
    """System calls for each transaction, by name: the most frequent ones. Counted while strace slows everything down."""
    process = subprocess.Popen(
        ["pgbench", "-S", "-n", "-M", mode, "-c", str(clients), "-j", "2", "-T", str(seconds + 4), "-P", "1"],
        env=target.environment(False), stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
    )
    rates = []
    reader = threading.Thread(target=lambda: [rates.append((time.monotonic(), float(m.group(1)))) for line in process.stderr if (m := re.search(r"([\d.]+) tps", line))])
    reader.start()
    time.sleep(1.5)
    begin = time.monotonic()
    calls = machine.system_calls(target.pid, seconds)
    end = time.monotonic()
    process.wait()
    reader.join()
    inside = [tps for at, tps in rates if begin + 1 <= at <= end]
    if not inside:
        return {}
    transactions = sum(inside) / len(inside) * seconds
    return {name: count / transactions for name, count in sorted(calls.items(), key=lambda item: -item[1])[:8] if count > transactions / 200}


def churn(target, seconds, tls=False):
    """A login for each transaction."""
    before = machine.counters(target.pid) if target.pid else None
    done = subprocess.run(
        ["pgbench", "-S", "-n", "-C", "-c", "8", "-j", "2", "-T", str(seconds)], env=target.environment(tls), capture_output=True, text=True
    )
    if done.returncode:
        raise Failed(f"churn against {target.name}: {done.stderr}")
    logins = int(re.search(r"actually processed: (\d+)", done.stdout).group(1))
    result = {"logins_per_second": logins / seconds}
    if target.pid:
        spent = machine.counters(target.pid).since(before)
        result["cpu_us"] = spent["cpu"] * 1e6 / logins
    return result


def bulk(target, what, clients=1, tls=False):
    """COPY out of 100 MB, or ten results of 10 MB each; in megabytes of what psql writes."""
    sql = {
        "copy": "COPY wide TO STDOUT",
        "select": "\n".join(["SELECT id, text FROM wide WHERE id <= 10500;"] * 10),
    }[what]
    if target.pid:
        machine.reset_peak(target.pid)
    before = machine.counters(target.pid) if target.pid else None
    begin = time.monotonic()
    runs = [
        subprocess.Popen(["psql", "-XAtq", "-o", "/dev/null" if what == "select" else "/dev/stdout"], env=target.environment(tls),
                         stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        for _ in range(clients)
    ]
    for run in runs:
        run.stdin.write(sql + ";\n")
        run.stdin.close()
    for run in runs:
        if run.wait():
            raise Failed(f"{what} against {target.name}: {run.stderr.read()}")
    megabytes = 101.6 * clients
    result = {"mb_per_second": megabytes / (time.monotonic() - begin)}
    if target.pid:
        after = machine.counters(target.pid)
        result["cpu_us_per_mb"] = after.since(before)["cpu"] * 1e6 / megabytes
        result["peak_growth_kib_per_client"] = max(0, after.peak - before.rss) / 1024 / clients
    return result


def idle_clients(target, count, tls):
    """Memory for each client that has logged in, asked one thing, and is at rest."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if count + 500 > hard:
        return {"skipped": f"{hard} open files are allowed here"}
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    before = machine.counters(target.pid)
    begin = time.monotonic()
    with idle.Clients(target.port, count, tls):
        seconds = time.monotonic() - begin
        time.sleep(1)
        after = machine.counters(target.pid)
        time.sleep(2)
        resting = machine.counters(target.pid).since(after)
    return {
        "kib_each": (after.rss - before.rss) / 1024 / count,
        "logins_per_second": count / seconds,
        "cpu_percent_at_rest": resting["cpu"] / resting["seconds"] * 100,
    }
