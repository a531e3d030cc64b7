"""PostgreSQL, and each way to it: direct, through PgBouncer, through Weir, with equal settings."""
import contextlib
import glob
import json
import os
import pathlib
import pwd
import re
import shutil
import socket
import subprocess
import tempfile
import time

USER, PASSWORD, DATABASE = "bench", "bench-password", "bench"
POOL = 20
CLIENT_LIMIT = 12_000


def free_port():
    with contextlib.closing(socket.socket()) as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def wait_for(port, process, what):
    for _ in range(1200):
        if process.poll() is not None:
            raise SystemExit(f"bench: {what} ends at once with {process.returncode}")
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        time.sleep(0.05)
    raise SystemExit(f"bench: {what} does not listen")


class Bench:
    """A folder with everything that runs, gone at the end."""

    def __init__(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="weir-bench-"))
        self.processes = []
        self.folder.chmod(0o755)
        # PostgreSQL and PgBouncer refuse to run as root.
        self.demote = None
        if os.getuid() == 0:
            for name in ("postgres", "nobody"):
                with contextlib.suppress(KeyError):
                    self.demote = pwd.getpwnam(name)
                    break
            os.chown(self.folder, self.demote.pw_uid, self.demote.pw_gid)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in reversed(self.processes):
            process.terminate()
        for process in reversed(self.processes):
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def stop(self, target):
        process = next(process for process in self.processes if process.pid == target.pid)
        process.terminate()
        process.wait(60)
        self.processes.remove(process)

    def start(self, command, log, demote=True):
        options = {}
        if demote and self.demote:
            options = {"user": self.demote.pw_uid, "group": self.demote.pw_gid, "extra_groups": []}
        process = subprocess.Popen(
            command, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, **options
        )
        self.processes.append(process)
        return process

    def run(self, command):
        options = {}
        if self.demote:
            options = {"user": self.demote.pw_uid, "group": self.demote.pw_gid, "extra_groups": []}
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, **options)
        if done.returncode:
            raise SystemExit(f"bench: {' '.join(map(str, command))}\n{done.stdout}{done.stderr}")
        return done.stdout

    def write(self, name, text):
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        if self.demote:
            os.chown(path, self.demote.pw_uid, self.demote.pw_gid)
        return path

    def log(self, name):
        return open(self.folder / f"{name}.log", "wb")


class Target:
    """Where clients connect, and whose CPU time counts."""

    def __init__(self, name, port, pid, version):
        self.name, self.port, self.pid, self.version = name, port, pid, version

    def environment(self, tls):
        return os.environ | {
            "PGHOST": "127.0.0.1",
            "PGPORT": str(self.port),
            "PGUSER": USER,
            "PGPASSWORD": PASSWORD,
            "PGDATABASE": DATABASE,
            "PGSSLMODE": "require" if tls else "disable",
            "PGGSSENCMODE": "disable",
        }


def binary(name):
    found = sorted(glob.glob(f"/usr/lib/postgresql/*/bin/{name}"), key=lambda path: int(path.split("/")[4]))
    return found[-1] if found else shutil.which(name) or name


def postgres(bench):
    data, port = bench.folder / "data", free_port()
    bench.write("password", PASSWORD)
    bench.run(
        [binary("initdb"), "--no-sync", "--auth=scram-sha-256", f"--username={USER}", f"--pwfile={bench.folder}/password", "--pgdata", data]
    )
    bench.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
               "-keyout", f"{bench.folder}/key.pem", "-out", f"{bench.folder}/cert.pem"])
    (bench.folder / "key.pem").chmod(0o600)
    with open(data / "postgresql.conf", "a") as file:
        file.write(
            f"listen_addresses = '127.0.0.1'\nport = {port}\nunix_socket_directories = '{bench.folder}'\n"
            "fsync = off\nsynchronous_commit = off\nfull_page_writes = off\nautovacuum = off\nmax_connections = 600\n"
            "shared_buffers = '256MB'\nssl = on\n"
            f"ssl_cert_file = '{bench.folder}/cert.pem'\nssl_key_file = '{bench.folder}/key.pem'\n"
        )
    process = bench.start([binary("postgres"), "-D", data], bench.log("postgres"))
    wait_for(port, process, "PostgreSQL")
    target = Target("direct", port, None, "")
    environment = target.environment(False) | {"PGDATABASE": "postgres"}
    for _ in range(100):
        done = subprocess.run(["psql", "-Atqc", f"CREATE DATABASE {DATABASE}"], env=environment, capture_output=True, text=True)
        if done.returncode == 0:
            break
        time.sleep(0.1)
    else:
        raise SystemExit(f"bench: {done.stderr}")
    subprocess.run(["pgbench", "-i", "-q", "-s", "10"], env=target.environment(False), check=True, capture_output=True)
    psql(target, "CREATE TABLE wide AS SELECT n AS id, repeat(md5(n::text), 30) AS text FROM generate_series(1, 105000) n")
    psql(target, "VACUUM ANALYZE")
    target.version = psql(target, "SHOW server_version").split()[0]
    return target


def psql(target, sql, tls=False):
    done = subprocess.run(["psql", "-XAtqc", sql], env=target.environment(tls), capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"bench: {target.name}: {done.stderr}")
    return done.stdout.strip()


def pgbouncer(bench, program, server, under=()):
    """Clients in clear and with TLS on one port, as with Weir. `under`: what runs it, such as valgrind."""
    port = free_port()
    # The verifier, as people have it who care: from a plain password PgBouncer would derive the keys anew at each login,
    # which costs it 4 ms.
    verifier = psql(server, f"SELECT rolpassword FROM pg_authid WHERE rolname = '{USER}'")
    users = bench.write("users.txt", f'"{USER}" "{verifier}"\n')
    settings = bench.write(
        "pgbouncer.ini",
        f"[databases]\n{DATABASE} = host=127.0.0.1 port={server.port} dbname={DATABASE} user={USER} password={PASSWORD}\n"
        f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = scram-sha-256\n"
        f"auth_file = {users}\npool_mode = transaction\ndefault_pool_size = {POOL}\nmin_pool_size = {POOL}\n"
        f"max_client_conn = {CLIENT_LIMIT}\nmax_prepared_statements = 200\nserver_tls_sslmode = disable\n"
        f"client_tls_sslmode = allow\nclient_tls_key_file = {bench.folder}/key.pem\nclient_tls_cert_file = {bench.folder}/cert.pem\n"
        "log_connections = 0\nlog_disconnections = 0\nserver_idle_timeout = 0\nquery_wait_timeout = 120\n",
    )
    process = bench.start([*under, program, settings], bench.log("pgbouncer"))
    wait_for(port, process, "PgBouncer")
    version = re.search(r"PgBouncer (\S+)", subprocess.run([program, "--version"], capture_output=True, text=True).stdout)
    return Target("pgbouncer", port, process.pid, version.group(1))


def stand_in(bench, tools):
    """A small SQL Server over SQLite; its port."""
    port = free_port()
    command = [
        f"{tools}/weir-mssql-stand-in", "--listen", f"127.0.0.1:{port}", "--login", f"{USER}:{PASSWORD}", "--database", DATABASE,
        "--encryption", "unsupported",
    ]
    wait_for(port, bench.start(command, bench.log("stand-in"), demote=False), "the stand-in")
    return port


def weir(bench, program, server, workers, name="weir", tds_server=None, under=()):
    port, tds_port = free_port(), free_port()
    folder = f"{name}-metadata"
    source = {
        "name": DATABASE,
        "kind": "postgres",
        "configuration": {
            "connection_info": {
                "database_url": f"postgres://{USER}:{PASSWORD}@127.0.0.1:{server.port}/{DATABASE}?sslmode=disable",
                "pool_settings": {"max_connections": POOL},
            }
        },
        "tables": [],
    }
    gateway = {
        "version": 1,
        "max_client_connections": CLIENT_LIMIT,
        "listeners": [
            {
                "name": "pg",
                "kind": "postgres",
                "host": "127.0.0.1",
                "port": port,
                "max_client_connections": CLIENT_LIMIT,
                "ssl_configuration": {
                    "sslmode": "prefer",
                    "sslcert": (bench.folder / "cert.pem").read_text(),
                    "sslkey": (bench.folder / "key.pem").read_text(),
                },
            }
        ],
        "users": [{"name": USER, "password": PASSWORD, "sources": "*"}],
        "sources": [{"name": DATABASE, "pool_settings": {"pool_mode": "transaction", "min_connections": POOL}, }],
        "defaults": {"pool_timeout": 120},
    }
    bench.write(f"{folder}/version.yaml", "version: 3\n")
    sources = [source]
    if tds_server:
        connection = f"Driver={{ODBC Driver 18 for SQL Server}};Server=tcp:127.0.0.1,{tds_server};Database={DATABASE};UID={USER};PWD={PASSWORD};Encrypt=no"
        settings = {"connection_string": connection, "pool_settings": {"max_connections": POOL}}
        sources.append({"name": "tds", "kind": "mssql", "configuration": {"connection_info": settings}, "tables": []})
        gateway["listeners"].append({"name": "tds", "kind": "mssql", "host": "127.0.0.1", "port": tds_port})
    bench.write(f"{folder}/databases/databases.yaml", json.dumps(sources))
    bench.write(f"{folder}/gateway.yaml", json.dumps(gateway))
    log = bench.log(name)
    process = bench.start([*under, program, "serve", str(bench.folder / folder), "--workers", str(workers)], log)
    for listening in (port, *([tds_port] if tds_server else [])):
        wait_for(listening, process, "Weir")
    version = subprocess.run([program, "--version"], capture_output=True, text=True).stdout.split()
    commit = f" ({version[3]})" if len(version) > 3 and version[2] == "commit" else ""
    target = Target(name, port, process.pid, f"{version[1]}{commit}" if len(version) > 1 else "")
    target.tds_port = tds_port
    return target
