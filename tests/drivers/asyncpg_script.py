"""asyncpg: CRUD, transactions, prepared statements, cursors, executemany, COPY, its pool."""
import asyncio
import sys

import asyncpg

me = int(sys.argv[1])


async def on_one_connection(connection):
    # CRUD; asyncpg prepares and caches every statement under a name of its own
    item = await connection.fetchval(
        "INSERT INTO items (owner, name, price) VALUES ($1, $2, $3) RETURNING id", me, "näme", 1)
    assert await connection.fetchrow("SELECT owner, name FROM items WHERE id = $1", item) == (me, "näme")
    assert await connection.execute("UPDATE items SET name = 'other' WHERE id = $1", item) == "UPDATE 1"
    for number in range(10):
        assert await connection.fetchval("SELECT $1::int * 2", number) == number * 2
    statement = await connection.prepare("SELECT $1::text || $2::int")
    assert await statement.fetchval("me ", me) == f"me {me}"
    assert [parameter.name for parameter in statement.get_parameters()] == ["text", "int4"]

    # transactions
    async with connection.transaction():
        before = await connection.fetchval("SELECT pg_backend_pid()")
        await connection.execute("INSERT INTO items (owner, name, price) VALUES ($1, 'kept', 0)", me)
        try:
            async with connection.transaction():
                await connection.execute("DELETE FROM items WHERE owner = $1", me)
                await connection.execute("SELECT 1 / 0")
        except asyncpg.DivisionByZeroError:
            pass
        assert await connection.fetchval("SELECT pg_backend_pid()") == before
        # a cursor lives in its transaction
        portions = []
        cursor = await connection.cursor("SELECT generate_series(1, 25)")
        while rows := await cursor.fetch(10):
            portions.append(len(rows))
        assert portions == [10, 10, 5], portions
        assert len([row async for row in connection.cursor("SELECT generate_series(1, 120)", prefetch=50)]) == 120
    assert await connection.fetchval("SELECT count(*) FROM items WHERE owner = $1", me) == 2
    try:
        await connection.fetch("SELECT * FROM no_such_table")
        raise AssertionError("there is no such table")
    except asyncpg.UndefinedTableError:
        pass

    # many at once: one Parse, many Binds, one Sync
    await connection.executemany(
        "INSERT INTO items (owner, name, price) VALUES ($1, $2, $3)", [(me, f"many {n}", n) for n in range(500)])
    try:
        await connection.executemany(
            "INSERT INTO items (owner, name, price) VALUES ($1, $2, 1 / $3::int)", [(me, "half", 1), (me, "half", 0)])
        raise AssertionError("a division by zero")
    except asyncpg.DivisionByZeroError:
        pass
    assert await connection.fetchval("SELECT count(*) FROM items WHERE owner = $1 AND name = 'half'", me) == 0

    # COPY in binary, out as text
    await connection.copy_records_to_table(
        "items", records=[(me, f"copied {n}") for n in range(2000)], columns=["owner", "name"])
    lines = 0

    async def count(data):
        nonlocal lines
        lines += data.count(b"\n")

    await connection.copy_from_query(
        "SELECT name FROM items WHERE owner = $1 AND name LIKE 'copied %'", me, output=count)
    assert lines == 2000, lines
    await connection.execute("DELETE FROM items WHERE owner = $1", me)

    # a timeout cancels the statement and keeps the connection
    try:
        await connection.fetch("SELECT pg_sleep(30)", timeout=0.2)
        raise AssertionError("it sleeps longer than that")
    except (asyncio.TimeoutError, TimeoutError):
        pass
    assert await connection.fetchval("SELECT 7") == 7


async def in_a_pool():
    # asyncpg's pool resets a connection when it is given back
    async with asyncpg.create_pool(min_size=1, max_size=3) as pool:
        async def ask(number):
            return await pool.fetchval("SELECT $1::int * 3 + $2::int", number, me)
        assert await asyncio.gather(*map(ask, range(50))) == [number * 3 + me for number in range(50)]


async def main():
    connection = await asyncpg.connect()
    await on_one_connection(connection)
    await connection.close()
    without_cache = await asyncpg.connect(statement_cache_size=0)
    for number in range(10):
        assert await without_cache.fetchval("SELECT $1::int + $2::int", number, me) == number + me
    await without_cache.close()
    await in_a_pool()
    print("passed")

asyncio.run(main())
