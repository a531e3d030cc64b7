"""pytds: always in a transaction, and at rest while one process of the gateway follows another."""
import os
import pathlib
import time

import pytds

environment = os.environ
folder = pathlib.Path(environment["WEIR_TEST_FOLDER"])
connection = pytds.connect(
    dsn=environment["MSSQL_HOST"], port=int(environment["MSSQL_PORT"]), user=environment["MSSQL_USER"],
    password=environment["MSSQL_PASSWORD"], database=environment["MSSQL_DATABASE"], autocommit=False,
)
cursor = connection.cursor()


def rows(sql, parameters=()):
    cursor.execute(sql, parameters)
    return [tuple(row) for row in cursor.fetchall()]


cursor.execute("SET DATEFIRST 3")
cursor.execute("INSERT INTO items (owner, name) VALUES (%s, %s)", (901, "before"))
connection.commit()
(folder / "takeover_pytds.py.ready").touch()
while not (folder / "go").exists():
    time.sleep(0.02)
assert rows("SELECT CAST(@@DATEFIRST AS int), @@TRANCOUNT") == [(3, 1)]
connection.commit()
cursor.execute("INSERT INTO items (owner, name) VALUES (%s, %s)", (901, "behind"))
connection.rollback()
assert rows("SELECT name FROM items WHERE owner = %s", (901,)) == [("before",)]
connection.commit()
connection.close()
print("passed")
