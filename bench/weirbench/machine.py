"""What the operating system knows of a process: CPU time, context switches, memory, system calls."""
import contextlib
import dataclasses
import os
import re
import subprocess
import tempfile
import time

TICKS = os.sysconf("SC_CLK_TCK")


@dataclasses.dataclass(frozen=True)
class Counters:
    """Since the process began, except `rss` (bytes at the moment)."""

    at: float
    user: float
    system: float
    switches: int
    rss: int
    peak: int

    def since(self, earlier):
        return {
            "seconds": self.at - earlier.at,
            "user": self.user - earlier.user,
            "system": self.system - earlier.system,
            "cpu": self.user + self.system - earlier.user - earlier.system,
            "switches": self.switches - earlier.switches,
        }


def counters(pid):
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    switches = 0
    for thread in os.listdir(f"/proc/{pid}/task"):
        try:
            with open(f"/proc/{pid}/task/{thread}/status") as file:
                switches += sum(int(count) for count in re.findall(r"ctxt_switches:\s+(\d+)", file.read()))
        except FileNotFoundError:
            pass
    with open(f"/proc/{pid}/status") as file:
        status = dict(re.findall(r"^(\w+):\s+(\d+)", file.read(), re.M))
    return Counters(
        at=time.monotonic(),
        user=int(fields[11]) / TICKS,
        system=int(fields[12]) / TICKS,
        switches=switches,
        rss=int(status["VmRSS"]) * 1024,
        peak=int(status["VmHWM"]) * 1024,
    )


def reset_peak(pid):
    """Starts the peak of memory anew; needs the right to, which the owner of a process has."""
    with open(f"/proc/{pid}/clear_refs", "w") as file:
        file.write("5")


@contextlib.contextmanager
def traced(pid):
    """Counts system calls by name. Slows the process down: never together with another measurement."""
    calls = {}
    with tempfile.NamedTemporaryFile() as file:
        tracer = subprocess.Popen(
            ["strace", "-f", "-c", "-U", "calls,name", "-o", file.name, "-p", str(pid)], stderr=subprocess.PIPE, text=True
        )
        tracer.stderr.readline()  # It says when it is attached.
        yield calls
        tracer.send_signal(2)
        tracer.wait(10)
        rows = re.findall(r"^\s*(\d+)\s+(\w+)\s*$", file.read().decode(), re.M)
        calls |= {name: int(count) for count, name in rows if name != "total"}


def system_calls(pid, seconds):
    with traced(pid) as calls:
        time.sleep(seconds)
    return calls


def describe():
    with open("/proc/cpuinfo") as file:
        model = re.search(r"model name\s*:\s*(.*)", file.read())
    return {
        "processor": model.group(1) if model else "unknown",
        "cores": os.cpu_count(),
        "kernel": os.uname().release,
        "load_before": os.getloadavg()[0],
    }
