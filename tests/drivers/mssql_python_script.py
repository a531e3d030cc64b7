"""mssql-python (Microsoft's driver): CRUD, manual commit, prepared statements, executemany, bulk copy, several results, cancel, pooling."""
import datetime
import decimal
import os
import sys
import uuid

import mssql_python

me = int(sys.argv[1]) if len(sys.argv) > 1 else 1
environment = os.environ
encrypt = environment.get("MSSQL_ENCRYPT", "no")
string = (
    f"Server={environment.get('MSSQL_HOST', '127.0.0.1')},{environment['MSSQL_PORT']};Database={environment['MSSQL_DATABASE']};"
    f"UID={environment['MSSQL_USER']};PWD={environment['MSSQL_PASSWORD']};Encrypt={encrypt};"
    + (f"ServerCertificate={environment['MSSQL_CERTIFICATE']};" if encrypt == "strict" else "TrustServerCertificate=yes;")
)

connection = mssql_python.connect(string)
connection.autocommit = False
cursor = connection.cursor()


def rows(sql, *parameters):
    return [tuple(row) for row in cursor.execute(sql, parameters).fetchall()] if parameters else [tuple(row) for row in cursor.execute(sql).fetchall()]


def failing(text, sql, *parameters):
    try:
        rows(sql, *parameters)
    except mssql_python.Error as error:
        assert text.lower() in str(error).lower(), error
    else:
        raise AssertionError(f"no error {text}")


made = datetime.datetime(2024, 2, 29, 12, 34, 56, 789000)
code = uuid.UUID("6F9619FF-8B86-D011-B42D-00C04FC964FF")
cursor.execute(
    "INSERT INTO items (owner, name, price, made, data, code) VALUES (?, ?, ?, ?, ?, ?)",
    (me, "näme 三", decimal.Decimal("12.5"), made, b"\x00\x01\xff", code),
)
item = int(rows("SELECT MAX(id) FROM items WHERE owner = ?", me)[0][0])
connection.commit()
found = rows("SELECT owner, name, price, made, data, code, notes FROM items WHERE id = ?", item)
assert found == [(me, "näme 三", decimal.Decimal("12.5000"), made, b"\x00\x01\xff", code, None)], found
cursor.execute("UPDATE items SET name = ? WHERE id = ?", ("other", item))
assert cursor.rowcount == 1
connection.commit()
print("ok crud")


def count():
    return rows("SELECT COUNT(*) FROM items WHERE owner = ?", me)[0][0]


cursor.execute("DELETE FROM items WHERE owner = ?", (me,))
assert count() == 0
connection.rollback()
assert count() == 1
cursor.execute("SAVE TRANSACTION here")
cursor.execute("DELETE FROM items WHERE owner = ?", (me,))
cursor.execute("ROLLBACK TRANSACTION here")
assert rows("SELECT @@TRANCOUNT") == [(1,)]
assert count() == 1
failing("zero", "SELECT 1 / 0")
failing("no_such_table", "SELECT * FROM no_such_table")
connection.rollback()
assert count() == 1
print("ok transactions")

# the same statement again and again: prepared once, executed by handle
for number in range(10):
    assert rows("SELECT ? * 2, ?", number, f"t{number}") == [(number * 2, f"t{number}")]
cursor.executemany("INSERT INTO items (owner, name) VALUES (?, ?)", [(me, f"many {number}") for number in range(30)])
connection.commit()
assert count() == 31
print("ok prepared")

cursor.execute("SELECT 1 AS a; PRINT 'between'; SELECT 2 AS b WHERE 1 = 0; SELECT N'x' AS c")
assert [tuple(row) for row in cursor.fetchall()] == [(1,)]
sets = []
while cursor.nextset():
    if cursor.description:
        sets.append([tuple(row) for row in cursor.fetchall()])
assert sets == [[], [("x",)]], sets
print("ok results")

large = "äß三" * 20_000
cursor.execute("UPDATE items SET notes = ?, data = ? WHERE id = ?", (large, b"\x07" * 100_000, item))
connection.commit()
assert rows("SELECT notes, data FROM items WHERE id = ?", item) == [(large, b"\x07" * 100_000)]
series = rows("WITH n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < 3000) SELECT i, N'row ' + CAST(i AS nvarchar(10)) FROM n OPTION (MAXRECURSION 0)")
assert len(series) == 3000 and series[-1] == (3000, "row 3000")
connection.commit()
print("ok large")

# its bulk copy opens a connection of its own
# (the driver panics when the server does not name the packet size that it was asked for, as one of the probe kind does not)
if "MSSQL_PROBE" not in environment:
    loaded = cursor.bulkcopy("bulk_items", [(me, number, f"bulk {number}", None, None, None, None) for number in range(300)])
    assert loaded["rows_copied"] == 300, loaded
    assert rows("SELECT COUNT(*), SUM(id) FROM bulk_items WHERE owner = ?", me) == [(300, 44850)]
    cursor.execute("DELETE FROM bulk_items WHERE owner = ?", (me,))
    connection.commit()
print("ok bulk")
cursor.execute("DELETE FROM items WHERE owner = ?", (me,))
connection.commit()
connection.close()

# autocommit, a session's own table, and a pool that resets what it hands out again
for round in range(3):
    pooled = mssql_python.connect(string)
    pooled.autocommit = True
    borrowed = pooled.cursor()
    assert tuple(borrowed.execute("SELECT @@DATEFIRST, @@TRANCOUNT").fetchone()) == (7, 0)
    borrowed.execute("SET DATEFIRST 3")
    borrowed.execute("CREATE TABLE #mine (i int)")
    borrowed.execute("INSERT INTO #mine VALUES (1), (2)")
    assert borrowed.execute("SELECT COUNT(*) FROM #mine").fetchone()[0] == 2
    pooled.close()
print("ok reset")

print("passed")
