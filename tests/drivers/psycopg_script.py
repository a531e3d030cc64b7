"""psycopg 3: CRUD, transactions, prepared statements, pipeline mode, COPY, server-side cursors."""
import os
import sys

import psycopg
from psycopg.rows import dict_row

me = int(sys.argv[1])
options = {"prepare_threshold": 2}

with psycopg.connect(autocommit=True, **options) as connection:
    def value(sql, *parameters, **keywords):
        return connection.execute(sql, parameters, **keywords).fetchone()[0]

    # CRUD, in text and binary
    item = value("INSERT INTO items (owner, name, price) VALUES (%s, %s, %s) RETURNING id", me, "näme", 1.25)
    with connection.cursor(row_factory=dict_row, binary=True) as cursor:
        row = cursor.execute("SELECT name, owner FROM items WHERE id = %s", [item]).fetchone()
        assert row == {"name": "näme", "owner": me}, row
    assert connection.execute("UPDATE items SET name = 'other' WHERE id = %s", [item]).rowcount == 1
    assert value("SELECT %s::bytea", b"\x00\x01\xff") == b"\x00\x01\xff"

    # prepared after its second use, and from the first on when asked for
    for number in range(10):
        assert value("SELECT %s::int * 2", number) == number * 2
        assert value("SELECT %s::int + %s::int", number, me, prepare=True) == number + me

    # transactions
    with connection.transaction():
        before = value("SELECT pg_backend_pid()")
        connection.execute("INSERT INTO items (owner, name, price) VALUES (%s, 'kept', 0)", [me])
        try:
            with connection.transaction():
                connection.execute("DELETE FROM items WHERE owner = %s", [me])
                connection.execute("SELECT 1 / 0")
        except psycopg.errors.DivisionByZero:
            pass
        assert value("SELECT pg_backend_pid()") == before
    assert value("SELECT count(*) FROM items WHERE owner = %s", me) == 2
    try:
        with connection.transaction(force_rollback=True):
            connection.execute("DELETE FROM items WHERE owner = %s", [me])
    finally:
        assert value("SELECT count(*) FROM items WHERE owner = %s", me) == 2

    # server-side cursor
    with connection.transaction(), connection.cursor(name="portions") as cursor:
        cursor.execute("SELECT generate_series(1, 25)")
        assert [len(cursor.fetchmany(10)) for _ in range(3)] == [10, 10, 5]
    # and one that outlives its transaction, with other queries in between; it goes both ways
    with connection.cursor(name="held", withhold=True, scrollable=True) as cursor:
        cursor.execute("SELECT generate_series(1, 25) + %s", [me])
        for first in (1, 11):
            assert cursor.fetchmany(10) == [(first + number + me,) for number in range(10)]
            assert value("SELECT %s::int", me) == me
        cursor.scroll(0, mode="absolute")
        assert cursor.fetchone() == (1 + me,)

    # pipeline mode: many statements, one round trip; an error aborts its own group and nothing else
    with connection.pipeline():
        cursors = [connection.execute("SELECT %s::int, %s::int", [number, me]) for number in range(50)]
        assert [cursor.fetchone() for cursor in cursors] == [(number, me) for number in range(50)]
    for _ in range(3):
        try:
            with connection.pipeline() as pipeline:
                connection.execute("SELECT 1")
                pipeline.sync()
                connection.execute("SELECT 1 / %s", [0])
                connection.execute("SELECT 'never run'")
                pipeline.sync()
                raise AssertionError("the error came too late")
        except psycopg.errors.DivisionByZero:
            pass
        assert value("SELECT 42") == 42
    with connection.pipeline(), connection.transaction():
        connection.execute("INSERT INTO items (owner, name, price) VALUES (%s, 'piped', 1)", [me])
        assert value("SELECT count(*) FROM items WHERE owner = %s AND name = 'piped'", me) == 1
    with connection.pipeline():
        connection.cursor().executemany(
            "INSERT INTO items (owner, name, price) VALUES (%s, %s, 2)", [(me, f"many {n}") for n in range(100)])
    assert value("SELECT count(*) FROM items WHERE owner = %s AND name LIKE 'many %%'", me) == 100

    # COPY in (text and binary), out, and two that fail
    with connection.cursor() as cursor:
        with cursor.copy("COPY items (owner, name, price) FROM STDIN") as copy:
            for number in range(2000):
                copy.write_row((me, f"copied {number}", number))
        with cursor.copy("COPY items (owner, name) FROM STDIN (FORMAT BINARY)") as copy:
            copy.set_types(["int4", "text"])
            copy.write_row((me, "copied in binary"))
        with cursor.copy("COPY (SELECT name FROM items WHERE owner = %s AND name LIKE 'copied %%') TO STDOUT", [me]) as copy:
            assert sum(1 for _ in copy.rows()) == 2001
        try:
            with cursor.copy("COPY items (owner, name, price) FROM STDIN") as copy:
                copy.write("no number\tx\t1\n")
            raise AssertionError("COPY must fail")
        except psycopg.errors.InvalidTextRepresentation:
            pass
        try:
            with cursor.copy("COPY items (owner, name, price) FROM STDIN") as copy:
                raise KeyError("the application gives up")
        except KeyError:
            pass
    assert value("SELECT 7") == 7
    connection.execute("DELETE FROM items WHERE owner = %s", [me])

print("passed", psycopg.pq.version(), file=sys.stderr if os.environ.get("QUIET") else sys.stdout)
