"""libpq 18 in every way it can come in: TLS negotiated and direct, channel binding, protocol 3.0 and 3.2, cancel."""
import sys
import threading
import time

import psycopg
from psycopg import pq

# Each argument is a connection string; the environment has the rest.
for conninfo in sys.argv[1:]:
    with psycopg.connect(conninfo, autocommit=True) as connection:
        options = {option.keyword.decode(): option.val.decode() for option in connection.pgconn.info if option.val}
        secured = options.get("sslmode") != "disable"
        assert connection.pgconn.ssl_in_use == secured, options
        assert connection.execute("SELECT %s::int", [7]).fetchone() == (7,)
        # psycopg cancels as its connection is secured, with the key of its protocol version
        threading.Timer(0.3, connection.cancel_safe).start()
        started = time.monotonic()
        try:
            connection.execute("SELECT pg_sleep(20)")
            raise AssertionError("not cancelled")
        except psycopg.errors.QueryCanceled:
            assert time.monotonic() - started < 10
        assert connection.execute("SELECT 8").fetchone() == (8,)
    print("passed", conninfo)
