-- What a person or a script does with psql. Run with ON_ERROR_STOP, and -v me=<a number of this instance's own>.
\set ON_ERROR_STOP on
SET client_min_messages = warning;

-- A fails with a division by zero unless its condition holds.
\set expect 'SELECT 1 / (CASE WHEN '
\set holds ' THEN 1 ELSE 0 END) AS expectation;'

INSERT INTO items (owner, name, price) SELECT :me, 'item ' || n, n * 1.5 FROM generate_series(1, 10) AS n;
SELECT count(*) AS found FROM items WHERE owner = :me \gset
:expect :found = 10 :holds
UPDATE items SET price = price + 1 WHERE owner = :me AND name = 'item 4';
SELECT price AS changed FROM items WHERE owner = :me AND name = 'item 4' \gset
:expect :changed = 7.0 :holds

-- A transaction sees its own work and nobody else does before it commits.
BEGIN;
SELECT pg_backend_pid() AS one \gset
SAVEPOINT here;
DELETE FROM items WHERE owner = :me;
SELECT count(*) AS found FROM items WHERE owner = :me \gset
:expect :found = 0 :holds
ROLLBACK TO here;
SET LOCAL statement_timeout = '17s';
SHOW statement_timeout \gset
:expect :'statement_timeout' = '17s' :holds
PREPARE mine(int) AS SELECT name FROM items WHERE owner = $1 ORDER BY id LIMIT 1;
EXECUTE mine(:me) \gset
:expect :'name' = 'item 1' :holds
DEALLOCATE mine;
CREATE TEMP TABLE scratch (n int) ON COMMIT DROP;
INSERT INTO scratch VALUES (1), (2);
DECLARE portion CURSOR FOR SELECT n FROM scratch ORDER BY n;
FETCH 1 FROM portion \gset
:expect :n = 1 :holds
SELECT pg_backend_pid() AS two \gset
:expect :one = :two :holds
COMMIT;

-- An error, and life after it.
\set ON_ERROR_STOP off
BEGIN;
SELECT 1 / 0;
SELECT 'ignored';
ROLLBACK;
SELECT * FROM no_such_table;
\set ON_ERROR_STOP on
:expect :'LAST_ERROR_SQLSTATE' = '42P01' :holds

-- Several statements in one message, and an implicit transaction that is undone as a whole.
SELECT 1 \; SELECT 2 AS last \gset
:expect :last = 2 :holds
\set ON_ERROR_STOP off
INSERT INTO items (owner, name, price) VALUES (:me, 'half', 1) \; SELECT 1 / 0;
\set ON_ERROR_STOP on
SELECT count(*) AS found FROM items WHERE owner = :me AND name = 'half' \gset
:expect :found = 0 :holds

-- COPY in both directions.
COPY items (owner, name, price) FROM STDIN WITH (FORMAT csv, DELIMITER '|');
-1|copied|1
-1|"with, quotes"|2.5
\.
COPY (SELECT name FROM items WHERE owner = -1 ORDER BY id LIMIT 1) TO STDOUT;
\copy items TO '/dev/null'

-- Rows in portions (FETCH_COUNT uses a cursor), a notice, a large object.
\set FETCH_COUNT 3
SELECT name FROM items WHERE owner = :me ORDER BY id;
\set FETCH_COUNT 0
DO $$ BEGIN RAISE WARNING 'a notice on its way'; END $$;
SELECT lo_from_bytea(0, 'large') AS large \gset
SELECT convert_from(lo_get(:large), 'UTF8') AS content \gset
:expect :'content' = 'large' :holds
SELECT lo_unlink(:large);
DELETE FROM items WHERE owner = :me;
\echo passed
