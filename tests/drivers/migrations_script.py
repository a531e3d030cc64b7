"""Migration tools that hold an advisory lock of the session: Flyway's way (tried until it is free, work on a second connection)
and Prisma's (waited for). The tools themselves are not in the registries; these are their statements. All instances migrate the
same schema at once: each step must be carried out exactly once."""
import sys
import time

import psycopg

me = int(sys.argv[1])
STEPS = 6


def history(connection, table):
    connection.execute(f"CREATE TABLE IF NOT EXISTS {table} (step int PRIMARY KEY, installed_by int, at timestamptz DEFAULT now())")


def done(connection, table):
    return {step for (step,) in connection.execute(f"SELECT step FROM {table}").fetchall()}


def as_flyway():
    """The lock on one connection, in autocommit; each migration is a transaction on another."""
    with psycopg.connect(autocommit=True) as main, psycopg.connect(autocommit=False) as worker:
        for step in range(STEPS):
            while not main.execute("SELECT pg_try_advisory_lock(%s)", [77431]).fetchone()[0]:
                time.sleep(0.02)
            history(main, "flyway_history")
            if step not in done(main, "flyway_history"):
                worker.execute("SET search_path TO public")
                worker.execute(f"CREATE TABLE flyway_{step} (id serial PRIMARY KEY)")
                worker.execute("INSERT INTO flyway_history VALUES (%s, %s)", [step, me])
                worker.commit()
                main.execute(f"CREATE INDEX CONCURRENTLY ON flyway_{step} (id)")
            worker.rollback()
            assert main.execute("SELECT pg_advisory_unlock(%s)", [77431]).fetchone()[0], "the lock was on another connection"


def as_prisma():
    """One connection; it waits for the lock, which ends with the connection at the latest."""
    with psycopg.connect(autocommit=True) as connection:
        connection.execute("SET lock_timeout = '60s'")
        connection.execute("SELECT pg_advisory_lock(72707369)")
        history(connection, "_prisma_migrations")
        for step in range(STEPS):
            if step not in done(connection, "_prisma_migrations"):
                connection.execute(f"BEGIN; CREATE TABLE prisma_{step} (id serial); COMMIT")
                connection.execute("INSERT INTO _prisma_migrations VALUES (%s, %s)", [step, me])
        # Prisma does not unlock: it closes.


as_flyway()
as_prisma()
with psycopg.connect(autocommit=True) as connection:
    for table in ["flyway_history", "_prisma_migrations"]:
        assert done(connection, table) == set(range(STEPS))
print("passed")
