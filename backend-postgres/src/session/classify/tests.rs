//! What texts of all kinds are taken for.

use super::*;

fn touches(text: &str) -> Touches {
    classify(text.as_bytes()).touches.without(Touches::HINTS)
}

#[test]
fn what_may_end_something_is_seen() {
    for text in [
        "UNLISTEN *",
        "CLOSE c",
        "DROP TABLE t",
        "DISCARD TEMP",
        "DEALLOCATE x",
        "BEGIN; DROP TABLE t; COMMIT",
        "SELECT pg_advisory_unlock(1)",
    ] {
        assert!(classify(text.as_bytes()).touches.any(Touches::UNDOES), "{text}");
    }
    assert!(!classify(b"SELECT 1").touches.any(Touches::UNDOES));
}

#[test]
fn what_creates_something_is_seen() {
    for text in [
        "CREATE TABLE t (a int)",
        "SELECT 1 INTO t",
        "EXPLAIN ANALYZE CREATE TABLE t AS SELECT 1",
        "BEGIN; CREATE VIEW v AS SELECT 1; COMMIT",
    ] {
        assert!(classify(text.as_bytes()).touches.any(Touches::CREATES), "{text}");
    }
    assert!(
        !classify(b"INSERT INTO t VALUES (1); UPDATE t SET a = 1")
            .touches
            .any(Touches::CREATES)
    );
}

#[test]
fn names_of_custom_settings_are_taken_where_they_may_be_set() {
    let names = |text: &str| classify(text.as_bytes()).custom_settings.iter().count();
    assert_eq!(names("SET app.tenant = 1; SET app.user = 2"), 2);
    assert_eq!(names("SELECT set_config('app.tenant', $1, false)"), 1);
    assert_eq!(
        names("CREATE FUNCTION f() RETURNS void LANGUAGE plpgsql AS 'BEGIN SET app.x = 1; END'"),
        1
    );
    assert_eq!(names("SELECT a.b FROM c.d"), 0);
}

fn shape(text: &str) -> Shape {
    classify(text.as_bytes()).shape
}

#[test]
fn the_words_are_sorted() {
    assert!(SYNTAX.is_sorted());
}

#[test]
fn everyday_statements_leave_nothing_behind() {
    for text in [
        "",
        ";",
        "  -- nothing\n",
        "SELECT 1",
        "select * from t where a = $1 and b in (1, 2, 3) order by c limit 10",
        "SELECT count(*), max(x), coalesce(y, 0), lower(z) FROM s.t AS u (x, y, z) GROUP BY GROUPING SETS ((a), (b))",
        "SELECT pg_catalog.format_type(a.atttypid, a.atttypmod) FROM pg_catalog.pg_attribute a",
        "WITH x(a, b) AS (SELECT 1, 2) SELECT * FROM x",
        "WITH RECURSIVE x (n) AS MATERIALIZED (VALUES (1) UNION ALL SELECT n + 1 FROM x) SELECT n FROM x",
        "SELECT a::vector(3), CAST(b AS numeric(10, 2)), '1'::pg_catalog.varchar(3) FROM t",
        "SELECT row_number() OVER (PARTITION BY a ORDER BY b), sum(x) FILTER (WHERE y) OVER (w) FROM t",
        "SELECT * FROM (SELECT 1, 2) t(a, b) JOIN LATERAL (VALUES (1)) AS v(x) ON (true)",
        "SELECT * FROM unnest($1::int[], $2::text[]) WITH ORDINALITY AS t(a, b, n)",
        "SELECT * FROM t TABLESAMPLE bernoulli (10) REPEATABLE (5) FETCH FIRST (3) ROWS ONLY",
        "SELECT 'set_config(''a'', ''b'', false)', $$; LISTEN x; $$, \"my_function\" FROM t -- DO it",
        "SELECT a FROM t FOR UPDATE",
        "SELECT a FROM t FOR NO KEY UPDATE SKIP LOCKED",
        "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "BEGIN",
        "START TRANSACTION ISOLATION LEVEL SERIALIZABLE",
        "COMMIT",
        "END",
        "ROLLBACK",
        "ABORT",
        "SAVEPOINT a",
        "RELEASE SAVEPOINT a",
        "ROLLBACK TO SAVEPOINT a",
        "SET LOCAL search_path = a, b",
        "SET LOCAL statement_timeout = 1",
        "SET TRANSACTION READ ONLY",
        "SET CONSTRAINTS ALL DEFERRED",
        "SELECT set_config('app.tenant', $1, true)",
        "select pg_catalog.set_config('statement_timeout', '1', TRUE), now()",
        "SHOW search_path",
        "EXPLAIN (ANALYZE, BUFFERS) SELECT 1",
        "NOTIFY x, 'y'",
        "SELECT pg_notify('a', 'b')",
        "DECLARE c CURSOR FOR SELECT 1",
        "DECLARE c CURSOR WITHOUT HOLD FOR SELECT 1",
        "FETCH 10 FROM c",
        "LOCK TABLE t IN SHARE MODE",
        "VACUUM (ANALYZE) t",
        "CREATE TABLE t (a int, b varchar(3))",
        "CREATE TABLE IF NOT EXISTS s.t (a int PRIMARY KEY, FOREIGN KEY (a) REFERENCES u (b))",
        "SELECT temp, temporary FROM weather WHERE local = 1",
        "SELECT pg_advisory_xact_lock(1)",
        "SELECT pg_try_advisory_xact_lock(1, 2)",
        "PREPARE TRANSACTION 'x'",
        "COMMIT PREPARED 'x'",
        "DEALLOCATE x",
        "DISCARD PLANS",
        "UNLISTEN *",
    ] {
        assert_eq!(touches(text), Touches::NONE, "{text}");
    }
}

#[test]
fn what_is_touched_is_seen() {
    for (text, expected) in [
        ("SET search_path = a", Touches::SETTINGS),
        ("SET SESSION search_path = a", Touches::SETTINGS),
        ("set role r", Touches::SETTINGS),
        ("SET SESSION AUTHORIZATION r", Touches::SETTINGS),
        (
            "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
            Touches::SETTINGS,
        ),
        ("SET TIME ZONE 'UTC'", Touches::SETTINGS),
        ("SET NAMES 'UTF8'", Touches::SETTINGS),
        ("SET local.tenant = 'x'", Touches::SETTINGS),
        ("SET transaction.tenant = 'x'", Touches::SETTINGS),
        ("SET SESSION constraints.x = 'x'", Touches::SETTINGS),
        ("SELECT set_config('a.b', 'c', NOT true)", Touches::SETTINGS),
        ("SELECT set_config('a.b', 'c', false = true)", Touches::SETTINGS),
        (
            "SELECT set_config('a.b'::pg_catalog.text, 'c', false)",
            Touches::SETTINGS,
        ),
        (
            "SELECT E'a'\n'\\'', set_config('a.b', 'c', false), 'x'",
            Touches::SETTINGS,
        ),
        ("RESET ALL", Touches::SETTINGS),
        ("SELECT 1; SET x.y = 1; SELECT 2", Touches::SETTINGS),
        ("SET statement_timeout = '1s'", Touches::SETTINGS | Touches::TIMEOUTS),
        (
            "SET SESSION \"lock_timeout\" TO 1",
            Touches::SETTINGS | Touches::TIMEOUTS,
        ),
        ("SELECT set_config('a.b', 'c', false)", Touches::SETTINGS),
        ("SELECT set_config('a.b', 'c', $1)", Touches::SETTINGS),
        (
            "SELECT set_config($1, 'c', false)",
            Touches::SETTINGS | Touches::TIMEOUTS,
        ),
        (
            "SELECT set_config('statement_timeout', '1', false)",
            Touches::SETTINGS | Touches::TIMEOUTS,
        ),
        (
            "SELECT set_config('a', set_config('b', '1', false), true)",
            Touches::SETTINGS | Touches::TIMEOUTS,
        ),
        (
            "SELECT set_config('a.b', 'c', false",
            Touches::SETTINGS | Touches::TIMEOUTS,
        ),
        ("DECLARE c CURSOR WITH HOLD FOR SELECT 1", Touches::CURSORS),
        ("LISTEN x", Touches::LISTEN),
        ("SELECT pg_advisory_lock(1)", Touches::LOCKS),
        ("SELECT pg_catalog.pg_try_advisory_lock_shared(1, 2)", Touches::LOCKS),
        ("SELECT pg_catalog . pg_advisory_lock /* x */ (1)", Touches::LOCKS),
        ("SELECT \"pg_advisory_lock\"(1)", Touches::LOCKS),
        ("CREATE TEMP TABLE t (a int)", Touches::TEMPORARY),
        ("create local temporary table t (a int)", Touches::TEMPORARY),
        ("CREATE OR REPLACE TEMP VIEW v AS SELECT 1", Touches::TEMPORARY),
        ("SELECT 1 INTO TEMP t", Touches::TEMPORARY),
        ("REFRESH MATERIALIZED VIEW CONCURRENTLY v", Touches::TEMPORARY),
        ("CREATE TABLE pg_temp.t (a int)", Touches::TEMPORARY),
        ("SET search_path = pg_temp", Touches::TEMPORARY | Touches::SETTINGS),
        ("SET search_path = 'pg_temp'", Touches::TEMPORARY | Touches::SETTINGS),
        ("SELECT nextval('s')", Touches::SEQUENCES),
        (
            "INSERT INTO t (a, b) VALUES (1, 2) ON CONFLICT (a) DO NOTHING",
            Touches::SEQUENCES,
        ),
        (
            "WITH x AS (INSERT INTO t VALUES (1) RETURNING a) SELECT * FROM x",
            Touches::SEQUENCES,
        ),
        ("UPDATE t SET a = DEFAULT", Touches::SEQUENCES),
        // Their triggers may draw.
        (
            "UPDATE t SET a = a + 1 WHERE b = ANY ($1) RETURNING a",
            Touches::SEQUENCES,
        ),
        ("DELETE FROM t USING u WHERE t.a = u.a", Touches::SEQUENCES),
        (
            "WITH x AS (DELETE FROM t RETURNING a) SELECT a FROM x",
            Touches::SEQUENCES,
        ),
        ("TRUNCATE t", Touches::SEQUENCES),
        ("SELECT setval('s', 1)", Touches::SEQUENCE_SET),
        (
            "CREATE FUNCTION f() RETURNS int AS 'l', 'f' LANGUAGE C",
            Touches::IRREVERSIBLE,
        ),
        (
            "create function f() returns int language 'c' as 'l'",
            Touches::IRREVERSIBLE,
        ),
        ("COPY t (a, b) FROM STDIN", Touches::SEQUENCES),
        ("PREPARE x AS SELECT 1", Touches::SQL_PREPARED),
        ("PREPARE x (int) AS SELECT $1", Touches::SQL_PREPARED),
        ("PREPARE x AS SELECT f(), nextval('s')", Touches::SQL_PREPARED),
        ("EXECUTE x", Touches::NONE),
        ("EXECUTE x (1, abs(-2));", Touches::NONE),
        ("EXECUTE x (nextval('s'))", Touches::SEQUENCES),
        ("LOAD 'x'", Touches::IRREVERSIBLE),
        ("SELECT setseed(0.5)", Touches::IRREVERSIBLE),
        ("DISCARD ALL", Touches::SETTINGS),
    ] {
        let seen = touches(text);
        assert!(
            seen == expected || seen == (expected | Touches::UNKNOWN),
            "{text}: {seen:?}"
        );
    }
}

#[test]
fn who_asks_for_last_values_is_seen() {
    for text in [
        "SELECT currval('s')",
        "select pg_catalog.\"lastval\"()",
        "INSERT INTO t VALUES (1, LastVal())",
        "CREATE TABLE t (a int DEFAULT currval('s'))",
        "CREATE FUNCTION f() RETURNS int LANGUAGE sql RETURN CURRVAL('s')",
        "INSERT INTO t VALUES (currval('s')); INSERT INTO t DEFAULT VALUES",
    ] {
        assert_eq!(classify(text.as_bytes()).names, Names::LastValues, "{text}");
    }
    for text in [
        "SELECT nextval('s')",
        "SELECT 'lastval'",
        "SELECT 1 -- currval",
        "SELECT lastvalue",
        "INSERT INTO t DEFAULT VALUES; SELECT lastval()",
        "SELECT f(); SELECT lastval()",
        "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS $$ INSERT INTO t VALUES (1); SELECT lastval() $$",
    ] {
        assert_eq!(classify(text.as_bytes()).names, Names::Nothing, "{text}");
    }
}

#[test]
fn what_cannot_be_seen_is_unknown() {
    for text in [
        "DO $$ BEGIN PERFORM 1; END $$",
        "CALL p()",
        "EXECUTE x(f(1))",
        "EXECUTE x; SELECT 1",
        "SELECT 1; EXECUTE x",
        "EXECUTE x; DISCARD ALL",
        "CREATE TABLE t AS EXECUTE x",
        "EXPLAIN EXECUTE x; EXPLAIN EXECUTE y",
        "SELECT my_function()",
        "SELECT my_function /* x */ ()",
        "SELECT public.lower('x')",
        "SELECT pg_temp.f()",
        "SELECT DISTINCT ON (a) f(b) FROM t",
        "SELECT 1 OPERATOR(pg_catalog.+) f(2)",
        "SELECT * FROM a JOIN b ON f(a.x)",
        "SELECT set_config('app.' || 'tenant', 'x', false)",
        "SELECT set_config('app.ten'\n'ant', 'x', false)",
        "SELECT set_config(('app.tenant'), 'x', false)",
        "SELECT set_config(format('app.%s', $1), 'x', false)",
        "SELECT set_config(name, 'x', false) FROM names",
        "SELECT set_config(E'app.ten\\x61nt', 'x', false)",
        "SET app.mändant = 'x'",
        "SET session.tenant = 'x'",
        "SELECT filter(x), first(y) FROM t",
        "SELECT U&\"f\" (1)",
        "FROBNICATE",
        "SELECT a.b.f(1)",
    ] {
        assert!(touches(text).any(Touches::UNKNOWN), "{text}");
    }
    assert!(too_long_to_read().touches.any(Touches::UNKNOWN));
}

#[test]
fn what_speaks_of_prepared_statements() {
    for text in [
        "SELECT count(*) FROM pg_catalog.pg_prepared_statements",
        "SELECT * FROM PG_PREPARED_STATEMENT()",
        "TABLE \"pg_prepared_statements\"",
        "DEALLOCATE x",
        "DISCARD PLANS",
    ] {
        assert!(classify(text.as_bytes()).touches.any(Touches::STATEMENTS), "{text}");
    }
    assert!(
        !classify(b"SELECT 1 FROM pg_prepared_xacts")
            .touches
            .any(Touches::STATEMENTS)
    );
}

#[test]
fn shapes() {
    assert_eq!(shape("COMMIT"), Shape::Commit);
    assert_eq!(shape(" end ;"), Shape::Commit);
    assert_eq!(shape("PREPARE TRANSACTION 'x'"), Shape::Commit);
    assert_eq!(shape("COMMIT; SELECT 1"), Shape::Other);
    assert_eq!(shape("BEGIN READ ONLY"), Shape::BeginReadOnly);
    assert_eq!(
        shape("START TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"),
        Shape::BeginReadOnly
    );
    assert_eq!(shape("BEGIN READ ONLY; SELECT 1"), Shape::Other);
    for text in [
        "BEGIN READ WRITE",
        "BEGIN READ ONLY, READ WRITE",
        "BEGIN READ WRITE, READ ONLY",
        "BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY",
        "BEGIN READ ONLY, ISOLATION LEVEL SERIALIZABLE, DEFERRABLE",
    ] {
        assert_eq!(shape(text), Shape::Other, "{text}");
    }
    assert_eq!(shape("DEALLOCATE ALL"), Shape::ForgetsStatements);
    assert_eq!(shape("SELECT 1; DISCARD ALL; SELECT 2"), Shape::ForgetsStatements);
    assert_eq!(shape("DEALLOCATE x"), Shape::Deallocate((*b"x").into()));
    assert_eq!(
        shape("deallocate PREPARE \"X\"\"y\";"),
        Shape::Deallocate((*b"X\"y").into())
    );
    assert_eq!(shape("DEALLOCATE a; DEALLOCATE b"), Shape::Other);
    assert_eq!(shape("execute \"A b\"(1, 2);"), Shape::Execute((*b"A b").into()));
    assert_eq!(
        shape("EXPLAIN (COSTS OFF, ANALYZE) EXECUTE a(1)"),
        Shape::Execute((*b"a").into())
    );
    assert_eq!(shape("EXPLAIN SELECT 1"), Shape::Other);
    assert_eq!(shape("EXECUTE a; EXECUTE b"), Shape::Other);
    assert_eq!(shape("prepare A(int) as select $1"), Shape::Prepare((*b"a").into()));
    assert_eq!(shape("PREPARE a AS SELECT 1; SELECT 1"), Shape::Other);
}

#[test]
fn only_what_cannot_write_goes_to_replicas() {
    for text in [
        "SELECT 1",
        "(SELECT a FROM t) UNION (VALUES (1))",
        "TABLE t",
        "WITH x AS (SELECT 1) SELECT * FROM x;",
    ] {
        assert_eq!(shape(text), Shape::ReadOnly, "{text}");
    }
    for text in [
        "SELECT 1; SELECT 2",
        "SELECT * FROM t FOR UPDATE",
        "SELECT * FROM t FOR NO KEY UPDATE",
        "SELECT * FROM t FOR KEY SHARE",
        "SELECT 1 INTO t",
        "SELECT f()",
        "SELECT nextval('s')",
        "SELECT lastval()",
        "SELECT pg_notify('a', 'b')",
        "SELECT pg_advisory_xact_lock(1)",
        "SELECT pg_is_in_recovery()",
        "WITH x AS (DELETE FROM t RETURNING 1) SELECT * FROM x",
        "SHOW transaction_read_only",
        "EXPLAIN SELECT 1",
        "INSERT INTO t VALUES (1)",
    ] {
        assert_ne!(shape(text), Shape::ReadOnly, "{text}");
    }
}
