"""pytds: CRUD, manual commit (commit and begin in one request), executemany, table parameters, bulk copy, several results, cancel, pooling."""
import datetime
import decimal
import os
import sys
import uuid

import pytds
from pytds.tds_base import Column
from pytds.tds_types import IntType, NVarCharType

me = int(sys.argv[1]) if len(sys.argv) > 1 else 1
environment = os.environ
options = dict(
    dsn=environment.get("MSSQL_HOST", "127.0.0.1"), port=int(environment["MSSQL_PORT"]), user=environment["MSSQL_USER"],
    password=environment["MSSQL_PASSWORD"], database=environment["MSSQL_DATABASE"], appname=f"pytds {me}",
    **({"cafile": environment["MSSQL_CA"], "validate_host": False, "enc_login_only": environment["MSSQL_ENCRYPT"] == "login"} if environment.get("MSSQL_ENCRYPT", "no") != "no" else {}),
)

connection = pytds.connect(**options, autocommit=False)
cursor = connection.cursor()


def rows(sql, parameters=()):
    cursor.execute(sql, parameters)
    return [tuple(row) for row in cursor.fetchall()]


def failing(number, sql, parameters=()):
    try:
        rows(sql, parameters)
    except pytds.DatabaseError as error:
        assert error.number == number, error
    else:
        raise AssertionError(f"no error {number}")


made = datetime.datetime(2024, 2, 29, 12, 34, 56, 789000)
code = uuid.UUID("6F9619FF-8B86-D011-B42D-00C04FC964FF")
item = rows(
    "INSERT INTO items (owner, name, price, made, data, code) OUTPUT inserted.id VALUES (%s, %s, %s, %s, %s, %s)",
    (me, "näme 三", decimal.Decimal("12.5"), made, pytds.Binary(b"\x00\x01\xff"), code),
)[0][0]
connection.commit()
assert rows("SELECT owner, name, price, made, data, code, notes FROM items WHERE id = %s", (item,)) == [
    (me, "näme 三", decimal.Decimal("12.5000"), made, b"\x00\x01\xff", code, None)
]
cursor.execute("UPDATE items SET name = %s WHERE id = %s", ("other", item))
assert cursor.rowcount == 1
connection.commit()
print("ok crud")


def count():
    return rows("SELECT COUNT(*) FROM items WHERE owner = %s", (me,))[0][0]


cursor.execute("DELETE FROM items WHERE owner = %s", (me,))
assert count() == 0
connection.rollback()
assert count() == 1
cursor.execute("SAVE TRANSACTION here")
cursor.execute("DELETE FROM items WHERE owner = %s", (me,))
cursor.execute("ROLLBACK TRANSACTION here")
assert rows("SELECT @@TRANCOUNT") == [(1,)]
assert count() == 1
failing(8134, "SELECT 1 / 0")
assert rows("SELECT @@TRANCOUNT") == [(1,)]
connection.rollback()
assert count() == 1
# one that an error has doomed: it can only be rolled back, and is at the end of the batch
cursor.execute("SET XACT_ABORT ON")
try:
    cursor.execute(f"BEGIN TRY INSERT INTO items (owner, name) VALUES ({me}, N'doomed'); SELECT 1 / 0; END TRY BEGIN CATCH SELECT XACT_STATE(); END CATCH")
    while cursor.nextset():
        pass
except pytds.DatabaseError as error:
    assert error.number == 3998, error
cursor.execute("SET XACT_ABORT OFF")
connection.rollback()
assert count() == 1
print("ok transactions")

cursor.executemany("INSERT INTO items (owner, name) VALUES (%s, %s)", [(me, f"many {number}") for number in range(30)])
connection.commit()
assert count() == 31
print("ok executemany")

cursor.callproc("add_item", (me, "called", pytds.output(value=None, param_type="int")))
assert [tuple(row) for row in cursor.fetchall()] == [("called",)]
assert cursor.get_proc_return_status() == 7
result = cursor.callproc("add_quietly", (me, "quietly", pytds.output(value=None, param_type="int")))
assert result[2] > item, result
listed = pytds.TableValuedParam(
    type_name="dbo.item_list", columns=(Column(name="id", type=IntType()), Column(name="name", type=NVarCharType(50))),
    rows=[(number, f"listed {number}") for number in range(20)],
)
cursor.callproc("add_list", (me, listed))
connection.commit()
assert count() == 53
print("ok procedures")

cursor.execute("SELECT 1 AS a; PRINT 'between'; SELECT 2 AS b WHERE 1 = 0; SELECT N'x' AS c")
assert [tuple(row) for row in cursor.fetchall()] == [(1,)]
assert cursor.nextset() and cursor.fetchall() == []
assert cursor.nextset() and [tuple(row) for row in cursor.fetchall()] == [("x",)]
assert any("between" in str(message) for _, message in cursor.messages), cursor.messages
print("ok results")

large = "äß三" * 20_000
cursor.execute("UPDATE items SET notes = %s, data = %s WHERE id = %s", (large, pytds.Binary(b"\x07" * 100_000), item))
connection.commit()
assert rows("SELECT notes, data FROM items WHERE id = %s", (item,)) == [(large, b"\x07" * 100_000)]
series = rows("WITH n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < 3000) SELECT i, N'row ' + CAST(i AS nvarchar(10)) FROM n OPTION (MAXRECURSION 0)")
assert len(series) == 3000 and series[-1] == (3000, "row 3000")
print("ok large")

cursor.copy_to(
    data=[(me, number, f"bulk {number}") for number in range(300)], table_or_view="bulk_items",
    columns=[Column(name="owner", type=IntType()), Column(name="id", type=IntType()), Column(name="name", type=NVarCharType(50))],
)
connection.commit()
assert rows("SELECT COUNT(*), SUM(id) FROM bulk_items WHERE owner = %s", (me,)) == [(300, 44850)]
cursor.execute("DELETE FROM bulk_items WHERE owner = %s", (me,))
connection.commit()
print("ok bulk")

# a result that is left behind: pytds sends an Attention
cursor.execute("WITH n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < 200000) SELECT i, REPLICATE(N'x', 50) FROM n OPTION (MAXRECURSION 0)")
assert cursor.fetchone()[0] == 1
cursor.cancel()
assert rows("SELECT %s", (me,)) == [(me,)]
connection.rollback()
print("ok cancel")

cursor.execute("DELETE FROM items WHERE owner = %s", (me,))
connection.commit()
connection.close()

# its pool: the second borrower gets the connection back after a reset
# (a server of the probe kind does not know sp_reset_connection)
for round in range(0 if "MSSQL_PROBE" in environment else 3):
    pooled = pytds.connect(**options, autocommit=True, pooling=True)
    with pooled.cursor() as borrowed:
        borrowed.execute("SELECT @@DATEFIRST, @@TRANCOUNT")
        assert tuple(borrowed.fetchone()) == (7, 0)
        borrowed.execute("SET DATEFIRST 3")
    pooled.close()
print("ok reset")
print("passed")
