"""Several connections that are always in a transaction, each used in turn and none closed: they work over a single server
connection, if what holds one is work and not the driver's idea of a transaction."""
import os
import sys

driver = sys.argv[1]
OWNERS = {"pytds": 100, "pymssql": 200, "mssql_python": 300}[driver]
environment = os.environ
host, port = environment.get("MSSQL_HOST", "127.0.0.1"), environment["MSSQL_PORT"]
user, password, database = environment["MSSQL_USER"], environment["MSSQL_PASSWORD"], environment["MSSQL_DATABASE"]


def connect():
    if driver == "pytds":
        import pytds
        return pytds.connect(dsn=host, port=int(port), user=user, password=password, database=database, autocommit=False)
    if driver == "pymssql":
        import pymssql
        return pymssql.connect(server=host, port=port, user=user, password=password, database=database)
    import mssql_python
    mssql_python.pooling(enabled=False)
    return mssql_python.connect(f"Server={host},{port};Database={database};UID={user};PWD={password};Encrypt=no", autocommit=False)


connections = [connect() for _ in range(6)]
for round in range(3):
    for me, connection in enumerate(connections, OWNERS):
        cursor = connection.cursor()
        cursor.execute(f"INSERT INTO items (owner, name) VALUES ({me}, N'round {round}')")
        cursor.execute(f"SELECT COUNT(*), @@TRANCOUNT FROM items WHERE owner = {me}")
        assert [tuple(row) for row in cursor.fetchall()] == [(round + 1, 1)]
        connection.commit()
        # rolled back as a pool does at return
        cursor.execute(f"DELETE FROM items WHERE owner = {me}")
        connection.rollback()
for me, connection in enumerate(connections, OWNERS):
    cursor = connection.cursor()
    cursor.execute(f"SELECT COUNT(*) FROM items WHERE owner = {me}")
    assert tuple(cursor.fetchone()) == (3,)
    connection.close()
print("passed")
