"""pytds, pymssql and mssql-python on the console: batches, calls without parameters, errors, transactions that mean nothing."""
import os

import mssql_python
import pymssql
import pytds

host, port = "127.0.0.1", int(os.environ["MSSQL_PORT"])
user, password = os.environ["MSSQL_USER"], os.environ["MSSQL_PASSWORD"]


def column(cursor, name):
    names = [described[0] for described in cursor.description]
    return [row[names.index(name)] for row in cursor.fetchall()]


def check(connection, error):
    cursor = connection.cursor()
    cursor.execute("SHOW POOLS")
    assert "appdb" in column(cursor, "database"), "the pool of the source"
    cursor.execute("SHOW CLIENTS")
    assert user in column(cursor, "user")
    try:
        cursor.execute("SELECT * FROM items")
    except error as refused:
        assert "SHOW HELP" in str(refused), refused
    else:
        raise AssertionError("the console has no tables")
    connection.rollback()
    cursor.execute("SHOW VERSION")
    assert len(cursor.fetchall()) == 1, "it goes on"
    connection.commit()
    connection.close()


check(pytds.connect(dsn=host, port=port, user=user, password=password, database="weir", autocommit=False), pytds.Error)
check(pymssql.connect(server=host, port=port, user=user, password=password, database="pgbouncer"), pymssql.Error)
check(
    mssql_python.connect(f"Server=tcp:{host},{port};UID={user};PWD={password};Database=weir;Encrypt=no"),
    mssql_python.Error,
)
print("passed")
