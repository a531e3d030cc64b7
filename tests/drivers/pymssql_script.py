"""pymssql (FreeTDS): CRUD, transactions as text, executemany, procedures, several results, large values, errors, cancel, bulk copy."""
import datetime
import decimal
import os
import sys
import time
import uuid

import pymssql
me = int(sys.argv[1]) if len(sys.argv) > 1 else 1
environment = os.environ
options = dict(
    server=environment.get("MSSQL_HOST", "127.0.0.1"), port=environment["MSSQL_PORT"], user=environment["MSSQL_USER"],
    password=environment["MSSQL_PASSWORD"], database=environment["MSSQL_DATABASE"], appname=f"pymssql {me}", login_timeout=30,
    **({"encryption": environment["MSSQL_FREETDS_ENCRYPTION"]} if "MSSQL_FREETDS_ENCRYPTION" in environment else {}),
    **({"tds_version": environment["MSSQL_TDS_VERSION"]} if "MSSQL_TDS_VERSION" in environment else {}),
)


is_old = environment.get("MSSQL_TDS_VERSION") == "7.1"


def failing(number, call, *arguments):
    try:
        call(*arguments)
    except pymssql.Error as error:
        assert error.args[0] == number, error
    else:
        raise AssertionError(f"no error {number}")


# always in a transaction: pymssql begins one after each commit
connection = pymssql.connect(**options)
cursor = connection.cursor()


def rows(sql, parameters=None):
    cursor.execute(sql, parameters)
    return cursor.fetchall()


made = datetime.datetime(2024, 2, 29, 12, 34, 56, 789000)
code = uuid.UUID("6F9619FF-8B86-D011-B42D-00C04FC964FF")
cursor.execute(
    "INSERT INTO items (owner, name, price, made, data, code) VALUES (%d, %s, %s, %s, %s, %s)",
    (me, "näme 三", decimal.Decimal("12.5"), made, b"\x00\x01\xff", code),
)
item = int(rows("SELECT SCOPE_IDENTITY()")[0][0])
connection.commit()
[found] = rows("SELECT owner, name, price, made, data, code, notes FROM items WHERE id = %d", item)
if is_old:
    # TDS 7.1 knows no datetime2: it comes as text
    found = (*found[:3], datetime.datetime.fromisoformat(found[3][:26]), *found[4:])
assert found == (me, "näme 三", decimal.Decimal("12.5000"), made, b"\x00\x01\xff", code, None), found
cursor.execute("UPDATE items SET name = %s WHERE id = %d", ("other", item))
assert cursor.rowcount == 1
connection.commit()
print("ok crud")


def count():
    return rows("SELECT COUNT(*) FROM items WHERE owner = %d", me)[0][0]


# roll back, savepoints, errors inside a transaction
cursor.execute("DELETE FROM items WHERE owner = %d", me)
assert count() == 0
connection.rollback()
assert count() == 1
cursor.execute("SAVE TRANSACTION here")
cursor.execute("DELETE FROM items WHERE owner = %d", me)
cursor.execute("ROLLBACK TRANSACTION here")
assert rows("SELECT @@TRANCOUNT") == [(1,)]
assert count() == 1
failing(8134, rows, "SELECT 1 / 0")
failing(208, rows, "SELECT * FROM no_such_table")
assert rows("SELECT @@TRANCOUNT") == [(1,)]
connection.rollback()
cursor.execute("SET XACT_ABORT ON")
cursor.execute("INSERT INTO items (owner, name) VALUES (%d, 'lost')", me)
failing(8134, rows, "SELECT 1 / 0")
assert rows("SELECT @@TRANCOUNT") == [(0,)]
cursor.execute("SET XACT_ABORT OFF")
connection.rollback()
assert count() == 1
print("ok transactions")

cursor.executemany("INSERT INTO items (owner, name) VALUES (%d, %s)", [(me, f"many {number}") for number in range(50)])
connection.commit()
assert count() == 51
print("ok executemany")

# a procedure with rows and a status; and one whose output comes back through a variable
cursor.callproc("add_item", (me, "called", pymssql.output(int)))
assert cursor.fetchall() == [("called",)]
cursor.execute("DECLARE @id int, @status int; EXEC @status = add_item %d, N'again', @id OUTPUT; SELECT @id, @status", me)
assert cursor.fetchall() == [("again",)]
assert cursor.nextset()
[(again, status)] = cursor.fetchall()
assert again > item and status == 7
connection.commit()
print("ok procedures")

# several results, PRINT
messages = []
_mssql_connection = connection._conn
_mssql_connection.set_msghandler(lambda state, severity, server, procedure, line, text: messages.append(text.decode() if isinstance(text, bytes) else text))
cursor.execute("SELECT 1 AS a; PRINT 'between'; SELECT 2 AS b WHERE 1 = 0; SELECT N'x' AS c")
assert cursor.fetchall() == [(1,)]
assert cursor.nextset() and cursor.fetchall() == []
assert cursor.nextset() and cursor.fetchall() == [("x",)]
assert "between" in messages, messages
_mssql_connection.set_msghandler(None)
print("ok results")

# large values, many rows
large = "äß三" * 20_000
cursor.execute("UPDATE items SET notes = %s, data = %s WHERE id = %d", (large, b"\x07\xff" * 50_000, item))
connection.commit()
assert rows("SELECT notes, data FROM items WHERE id = %d", item) == [(large, b"\x07\xff" * 50_000)]
series = rows("WITH n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < 3000) SELECT i, N'row ' + CAST(i AS nvarchar(10)) FROM n OPTION (MAXRECURSION 0)")
assert len(series) == 3000 and series[-1] == (3000, "row 3000")
print("ok large")

connection.bulk_copy("bulk_items", [(me, number, f"bulk {number}") for number in range(300)], column_ids=[1, 2, 3])
connection.commit()
assert rows("SELECT COUNT(*), SUM(id) FROM bulk_items WHERE owner = %d", me) == [(300, 44850)]
cursor.execute("DELETE FROM bulk_items WHERE owner = %d", me)
connection.commit()
print("ok bulk")

# autocommit, and a query that takes longer than it may: FreeTDS sends an Attention
# (its time-out is one for all connections of the process)
quick = pymssql.connect(**options, autocommit=True)
with quick.cursor() as other:
    other.execute("SELECT @@TRANCOUNT")
    assert other.fetchall() == [(0,)]
    quick._conn.query_timeout = 1
    start = time.monotonic()
    try:
        other.execute("WAITFOR DELAY '00:00:02'" if "MSSQL_PROBE" in environment else "WAITFOR DELAY '00:00:20'")
        raise AssertionError("no time-out")
    except pymssql.Error as error:
        assert time.monotonic() - start < 15, error
quick.close()
_mssql_connection.query_timeout = 0
print("ok cancel")

cursor.execute("DELETE FROM items WHERE owner = %d", me)
connection.commit()
connection.close()
print("passed")
