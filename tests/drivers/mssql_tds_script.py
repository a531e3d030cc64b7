"""mssql-tds (Microsoft's Rust driver), through its own Python module: CRUD, transactions, prepared statements, executemany, table
parameters, bulk copy, several results, large values, cancel."""
import asyncio
import os
import sys
import time

import mssql_py_core

me = int(sys.argv[1]) if len(sys.argv) > 1 else 1
environment = os.environ
options = {
    "server": f"tcp:{environment.get('MSSQL_HOST', '127.0.0.1')},{environment['MSSQL_PORT']}", "user_name": environment["MSSQL_USER"],
    "password": environment["MSSQL_PASSWORD"], "database": environment["MSSQL_DATABASE"], "trust_server_certificate": True,
    "encryption": {"no": "Optional", "yes": "Mandatory", "strict": "Strict"}[environment.get("MSSQL_ENCRYPT", "no")],
    "application_name": f"mssql-tds {me}",
}


async def main():
    # manual commit: always in a transaction
    connection = await mssql_py_core.PyAsyncConnection.connect(options, autocommit=False)

    # a cursor with rows keeps the connection until it is closed
    async def rows(sql, *parameters):
        cursor = connection.cursor()
        try:
            await cursor.execute(sql, *parameters)
            return [tuple(row) for row in await cursor.fetchall()]
        finally:
            await cursor.close()

    async def change(sql, *parameters):
        cursor = connection.cursor()
        await cursor.execute(sql, *parameters)
        await cursor.close()
        return cursor.rowcount

    async def failing(text, sql, *parameters):
        try:
            await rows(sql, *parameters)
        except mssql_py_core.Error as error:
            assert text in str(error), error
        else:
            raise AssertionError(f"no error {text}")

    async def count():
        return (await rows("SELECT COUNT(*) FROM items WHERE owner = ?", me))[0][0]

    assert await change("INSERT INTO items (owner, name, data) VALUES (?, ?, ?)", me, "näme 三", b"\x00\x01\xff") == 1
    await connection.commit()
    assert await rows("SELECT owner, name, data, notes FROM items WHERE owner = ?", me) == [(me, "näme 三", b"\x00\x01\xff", None)]
    assert await change("UPDATE items SET name = ? WHERE owner = ?", "other", me) == 1
    await connection.commit()
    print("ok crud")

    await change("DELETE FROM items WHERE owner = ?", me)
    assert await count() == 0
    await connection.rollback()
    assert await count() == 1
    await change("SAVE TRANSACTION here")
    await change("DELETE FROM items WHERE owner = ?", me)
    await change("ROLLBACK TRANSACTION here")
    assert await rows("SELECT @@TRANCOUNT") == [(1,)]
    assert await count() == 1
    await failing("zero", "SELECT 1 / 0")
    await failing("no_such_table", "SELECT * FROM no_such_table")
    await connection.rollback()
    assert await count() == 1
    await connection.commit()
    print("ok transactions")

    cursor = connection.cursor()
    for number in range(10):
        await cursor.execute("SELECT ? * 2, ?", number, f"t{number}", reset_cursor=False)
        assert [tuple(row) for row in await cursor.fetchall()] == [(number * 2, f"t{number}")]
    await cursor.executemany("INSERT INTO items (owner, name) VALUES (?, ?)", [(me, f"many {number}") for number in range(30)])
    await cursor.close()
    await connection.commit()
    assert await count() == 31
    print("ok prepared")

    cursor = connection.cursor()
    await cursor.execute("SELECT 1 AS a; PRINT 'between'; SELECT 2 AS b WHERE 1 = 0; SELECT N'x' AS c")
    sets = [[tuple(row) for row in await cursor.fetchall()]]
    while await cursor.nextset():
        if cursor.description:
            sets.append([tuple(row) for row in await cursor.fetchall()])
    assert sets == [[(1,)], [], [("x",)]], sets
    await cursor.close()
    print("ok results")

    large = "äß三" * 20_000
    await change("UPDATE items SET notes = ?, data = ? WHERE owner = ? AND name = 'other'", large, b"\x07" * 100_000, me)
    await connection.commit()
    assert await rows("SELECT notes, data FROM items WHERE owner = ? AND name = 'other'", me) == [(large, b"\x07" * 100_000)]
    series = await rows("WITH n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < 3000) SELECT i, N'row ' + CAST(i AS nvarchar(10)) FROM n OPTION (MAXRECURSION 0)")
    assert len(series) == 3000 and series[-1] == (3000, "row 3000")
    print("ok large")

    await change("DELETE FROM items WHERE owner = ?", me)
    await connection.commit()
    await connection.close()

    # a query that takes too long: the driver sends an Attention, and goes on
    other = await mssql_py_core.PyAsyncConnection.connect(options, autocommit=True)
    other.timeout = 1
    slow = other.cursor()
    start = time.monotonic()
    try:
        await slow.execute("WAITFOR DELAY '00:00:02'" if "MSSQL_PROBE" in environment else "WAITFOR DELAY '00:00:20'")
        raise AssertionError("no time-out")
    except mssql_py_core.Error as error:
        assert time.monotonic() - start < 15, error
    await slow.close()
    # others have the server connection for a while
    other.timeout = 60
    slow = other.cursor()
    await slow.execute("SELECT ?", me)
    assert tuple(await slow.fetchone()) == (me,)
    await other.close()
    print("ok cancel")


asyncio.run(main())

connection = mssql_py_core.PyCoreConnection(options)
cursor = connection.cursor()
loaded = cursor.bulkcopy("bulk_items", iter([(me, number, f"bulk {number}", None, None, None, None) for number in range(300)]))
assert loaded["rows_copied"] == 300, loaded
cursor.execute(f"SELECT COUNT(*), SUM(id) FROM bulk_items WHERE owner = {me}")
assert tuple(cursor.fetchone()) == (300, 44850)
cursor.execute(f"DELETE FROM bulk_items WHERE owner = {me}")
connection.close()
print("ok bulk")
print("passed")
