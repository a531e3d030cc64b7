//! What batches and procedure calls of all kinds are taken for.

use weir_core::backend::PinReason;

use super::*;

fn of(text: &str) -> Findings {
    let bytes: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let whole = classify(&bytes);
    for piece in [1, 2, 3, 7] {
        let mut classifier = Classifier::new();
        bytes.chunks(piece).for_each(|piece| classifier.push(piece));
        let start: String = text.chars().take(100).collect();
        assert!(classifier.finish() == whole, "in pieces of {piece}: {start}");
    }
    whole
}

fn changes(text: &str) -> Vec<String> {
    of(text)
        .changes
        .iter()
        .map(|(change, certainty)| match change {
            Change::Set(setting) => format!("{:?}={}{}", setting.key, setting.value, mark(*certainty)),
            Change::Isolation(level) => format!("{level:?}{}", mark(*certainty)),
            other => format!("{other:?}{}", mark(*certainty)),
        })
        .collect()
}

fn mark(certainty: Certainty) -> &'static str {
    match certainty {
        Certainty::Certain => "",
        Certainty::Conditional => "?",
    }
}

fn pin(text: &str) -> Option<PinReason> {
    of(text).begins.reason()
}

#[test]
fn what_drivers_send_after_login_is_all_settings() {
    let text = "SET ARITHABORT ON;SET CONCAT_NULL_YIELDS_NULL ON;SET ANSI_NULLS ON;SET ANSI_NULL_DFLT_ON ON;\
        SET ANSI_PADDING ON;SET TEXTSIZE 2147483647;";
    assert_eq!(changes(text).len(), 6);
    assert!(of(text).begins.is_empty() && of(text).transaction == MayChange::No);
    let tedious = "set ansi_nulls on\nset ansi_null_dflt_on on\nset ansi_padding on\nset ansi_warnings on\n\
        set arithabort on\nset concat_null_yields_null on\nset cursor_close_on_commit off\nset datefirst 7\n\
        set dateformat mdy\nset deadlock_priority low\nset implicit_transactions off\nset language us_english\n\
        set lock_timeout -1\nset numeric_roundabort off\nset query_governor_cost_limit 0\nset quoted_identifier on\n\
        set rowcount 0\nset textsize 2147483647\nset transaction isolation level read committed\nset xact_abort off";
    let found = changes(tedious);
    assert_eq!(found.len(), 20, "{found:?}");
    assert!(found.contains(&"LockTimeout=-1".to_owned()));
    assert!(found.contains(&"Language=N'US_ENGLISH'".to_owned()));
    assert!(found.contains(&"ReadCommitted".to_owned()));
    assert_eq!(pin(tedious), None);
}

#[test]
fn values_of_every_kind() {
    assert_eq!(changes("SET ANSI_NULLS, NOCOUNT ON"), ["AnsiNulls=ON", "NoCount=ON"]);
    assert_eq!(changes("SET LANGUAGE N'Fran''cais'"), ["Language=N'Fran''cais'"]);
    assert_eq!(
        changes("SET LANGUAGE [French] SET DATEFIRST 1"),
        ["Language=N'French'", "DateFirst=1"]
    );
    assert_eq!(
        changes("SET CONTEXT_INFO 0x1f SET DEADLOCK_PRIORITY -5"),
        ["ContextInfo=0X1F", "DeadlockPriority=-5"]
    );
    assert_eq!(
        changes("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"),
        ["RepeatableRead"]
    );
    assert_eq!(changes("SET ROWCOUNT @n"), ["Unknown(RowCount)"]);
    assert_eq!(changes("SET ROWCOUNT"), ["Unknown(RowCount)"]);
}

#[test]
fn an_update_sets_no_option() {
    for text in [
        "UPDATE t SET rowcount = 5, nocount = 1",
        "UPDATE t SET a.textsize = 5",
        "UPDATE t SET x = 1",
        "UPDATE t SET x += 1",
        "UPDATE t SET [rowcount] = 5",
        "MERGE t USING s ON 1=1 WHEN MATCHED THEN UPDATE SET language = 'x';",
        "DECLARE @x int; SET @x = 5",
        "ALTER TABLE t ADD FOREIGN KEY (a) REFERENCES b ON DELETE SET NULL ON UPDATE SET DEFAULT",
        "ALTER DATABASE d SET ANSI_NULLS ON",
        "ALTER DATABASE [d] SET ANSI_NULLS ON",
        "ALTER TABLE t SET (LOCK_ESCALATION = AUTO)",
    ] {
        assert_eq!(changes(text), Vec::<String>::new(), "{text}");
        assert_eq!(pin(text), None, "{text}");
    }
}

#[test]
fn what_stands_behind_a_condition_is_not_certain() {
    assert_eq!(changes("IF 1=1 SET NOCOUNT ON"), ["NoCount=ON?"]);
    assert_eq!(
        changes("SET NOCOUNT ON BEGIN TRY SET ROWCOUNT 1 END TRY"),
        ["NoCount=ON", "RowCount=1?"]
    );
    assert_eq!(changes("BEGIN TRAN; SET XACT_ABORT ON"), ["XactAbort=ON"]);
}

#[test]
fn definitions_are_not_carried_out() {
    for text in [
        "CREATE PROCEDURE p AS SET NOCOUNT ON CREATE TABLE #t(i int)",
        "/* x */ create or alter proc p as begin tran",
        "ALTER TRIGGER x ON t AFTER INSERT AS SET ROWCOUNT 1",
    ] {
        let found = of(text);
        assert!(found.changes.is_empty() && found.begins.is_empty(), "{text}");
    }
    assert_eq!(pin("CREATE PROCEDURE #p AS SELECT 1"), Some(PinReason::TemporaryTable));
}

#[test]
fn pins_have_their_reasons() {
    let cases = [
        ("CREATE TABLE #t(i int)", PinReason::TemporaryTable),
        ("SELECT 1 a INTO ##g", PinReason::TemporaryTable),
        ("DECLARE c CURSOR FOR SELECT 1", PinReason::Cursor),
        ("DECLARE c CURSOR GLOBAL FOR SELECT 1; OPEN c", PinReason::Cursor),
        (
            "EXEC sp_getapplock @Resource='r', @LockMode='Exclusive', @LockOwner='Session'",
            PinReason::ApplicationLock,
        ),
        ("EXEC sp_getapplock 'r', 'Shared', @owner", PinReason::ApplicationLock),
        ("EXECUTE AS USER = 'x'", PinReason::Impersonation),
        ("SETUSER 'x'", PinReason::Impersonation),
        (
            "OPEN SYMMETRIC KEY k DECRYPTION BY CERTIFICATE c",
            PinReason::SessionObject,
        ),
        ("SET IDENTITY_INSERT t ON", PinReason::SessionOption),
        ("SET STATISTICS IO, TIME ON", PinReason::SessionOption),
        ("SET SHOWPLAN_XML ON", PinReason::SessionOption),
        ("SET SOMETHING_NEW ON", PinReason::Unprovable),
        ("DBCC TRACEON(3604)", PinReason::SessionObject),
        ("EXEC sp_xml_preparedocument @h OUTPUT, @x", PinReason::SessionObject),
        ("EXEC sp_setapprole 'a', 'b'", PinReason::Irreversible),
        ("EXEC sys.sp_set_session_context N'k', 1", PinReason::SessionContext),
        ("BEGIN DISTRIBUTED TRAN", PinReason::Irreversible),
        ("insert bulk t (a int)", PinReason::BulkLoad),
    ];
    for (text, reason) in cases {
        assert_eq!(pin(text), Some(reason), "{text}");
    }
    for text in [
        "DECLARE c CURSOR LOCAL FOR SELECT 1",
        "DECLARE @c CURSOR",
        "DECLARE c CURSOR FOR SELECT 1; OPEN c; CLOSE c; DEALLOCATE c",
        "EXEC sp_getapplock 'r', 'Exclusive'",
        "EXEC @r = sp_getapplock @Resource = 'x', @LockMode = 'Exclusive', @LockTimeout = 1000",
        "EXEC sp_getapplock 'session', 'Exclusive', 'Transaction', 10",
        "EXEC sp_getapplock @Resource = @r, @LockMode = 'Exclusive', @LockOwner = 'Transaction'",
        "DBCC TRACEON(3604, -1)",
        "SELECT '#t', '@@x' -- #t",
        "SET SHOWPLAN_XML OFF",
        "INSERT INTO bulk VALUES (1)",
    ] {
        assert_eq!(pin(text), None, "{text}");
    }
}

#[test]
fn an_option_ends_itself_and_no_other() {
    for (text, is_pin) in [
        ("SET IDENTITY_INSERT a ON; SET NOEXEC OFF", true),
        ("SET STATISTICS IO ON; SET STATISTICS TIME OFF", true),
        ("SET STATISTICS IO, TIME ON; SET STATISTICS IO OFF", true),
        ("SET STATISTICS IO, TIME ON; SET STATISTICS TIME, IO OFF", false),
        ("SET IDENTITY_INSERT a ON; SET IDENTITY_INSERT a OFF", false),
        ("SET STATISTICS TIME ON; SET IDENTITY_INSERT time OFF", true),
        ("SET IDENTITY_INSERT a OFF; SET IDENTITY_INSERT b ON", true),
        ("IF @a = 1 SET FMTONLY ON; EXEC('SELECT 1'); SET FMTONLY OFF", false),
        ("IF @a = 1 BEGIN SET FMTONLY ON SELECT 1 SET FMTONLY OFF END", false),
        ("IF @a = 1 SET FMTONLY ON; IF @b = 1 SET FMTONLY OFF", true),
        ("IF @a = 1 SET FMTONLY ON ELSE SET FMTONLY OFF", true),
        ("IF @a = 1 SET FMTONLY ON; SET NOEXEC OFF", true),
        (
            "BEGIN TRY SET FMTONLY ON; SELECT 1; SET FMTONLY OFF END TRY BEGIN CATCH END CATCH",
            true,
        ),
        ("WHILE 1 = 1 BEGIN SET FMTONLY ON; BREAK; SET FMTONLY OFF END", true),
        ("IF @a = 1 SET FMTONLY ON; RETURN; SET FMTONLY OFF", true),
    ] {
        assert_eq!(of(text).begins.has(Tie::Option), is_pin, "{text}");
    }
    let mut pins = of("SET IDENTITY_INSERT a ON").begins;
    pins.switch_off(of("SET NOEXEC OFF").ends.switches());
    assert!(pins.has(Tie::Option));
    pins.join(&of("SET IDENTITY_INSERT b ON").begins);
    pins.switch_off(of("SET IDENTITY_INSERT b OFF").ends.switches());
    assert!(!pins.has(Tie::Option));
}

#[test]
fn pins_have_ends() {
    assert_eq!(of("SET IDENTITY_INSERT t OFF").ends.count(Tie::Option), 1);
    assert_eq!(of("REVERT").ends.count(Tie::Impersonation), 1);
    assert_eq!(of("SETUSER").ends.count(Tie::Impersonation), u16::MAX);
    assert_eq!(
        of("EXEC sp_releaseapplock 'r', 'Session'")
            .ends
            .count(Tie::ApplicationLock),
        1
    );
    assert_eq!(of("CLOSE c DEALLOCATE c").ends.count(Tie::Cursor), 1);
    let both = of("EXECUTE AS USER = 'x'; SELECT 1; REVERT");
    assert!(both.begins.is_empty() && both.ends.is_empty() && both.traces == Traces::Left);
    let other_way_round = of("REVERT; EXECUTE AS USER = 'x'");
    assert!(other_way_round.begins.has(Tie::Impersonation) && other_way_round.ends.has(Tie::Impersonation));
}

#[test]
fn what_may_touch_a_transaction() {
    for text in [
        "BEGIN TRAN",
        "commit",
        "EXEC p",
        "myproc 1",
        "[dbo].[p]",
        "SAVE TRAN a",
        "SET IMPLICIT_TRANSACTIONS ON",
    ] {
        assert_eq!(of(text).transaction, MayChange::Yes, "{text}");
    }
    for text in [
        "SELECT 1",
        "UPDATE t SET a = 1",
        "USE x",
        "SET NOCOUNT ON",
        "WITH a AS (SELECT 1) SELECT * FROM a",
    ] {
        assert_eq!(of(text).transaction, MayChange::No, "{text}");
    }
}

#[test]
fn bare_forms_stand_alone() {
    let cases = [
        ("BEGIN TRAN", Some(Bare::Begin)),
        (" begin /* x */ transaction ; ", Some(Bare::Begin)),
        ("COMMIT", Some(Bare::Commit)),
        ("commit work;", Some(Bare::Commit)),
        ("IF @@TRANCOUNT > 0 COMMIT TRAN", Some(Bare::Commit)),
        ("if @@trancount>0 rollback", Some(Bare::Rollback)),
        ("ROLLBACK TRANSACTION", Some(Bare::Rollback)),
        ("BEGIN TRAN x", None),
        ("ROLLBACK TRAN s", None),
        ("COMMIT; SELECT 1", None),
        ("BEGIN TRAN; BEGIN TRAN", None),
        ("IF @@TRANCOUNT > 0 BEGIN TRAN", None),
        ("BEGIN", None),
        ("", None),
    ];
    for (text, bare) in cases {
        assert_eq!(of(text).bare, bare, "{text}");
    }
}

#[test]
fn calls_by_name_are_read_like_text() {
    let call = |name: &str, arguments: &[(&str, Option<&str>)]| {
        let mut classifier = Classifier::new();
        classifier.call(name);
        for (name, text) in arguments {
            classifier.argument(name, *text);
        }
        classifier.finish()
    };
    let lock = call(
        "[sys].[sp_getapplock]",
        &[("@Resource", Some("r")), ("@LockOwner", Some("Session"))],
    );
    assert_eq!(lock.begins.reason(), Some(PinReason::ApplicationLock));
    let lock = call("sp_getapplock", &[("", Some("r")), ("", Some("Shared")), ("", None)]);
    assert_eq!(lock.begins.reason(), Some(PinReason::ApplicationLock));
    let lock = call("sp_getapplock", &[("", Some("r")), ("", Some("Shared"))]);
    assert_eq!((lock.begins.reason(), lock.calls), (None, Calls::Procedures));
    let context = call("sys.sp_set_session_context", &[("@key", Some("k")), ("@value", None)]);
    assert_eq!(context.begins.reason(), Some(PinReason::SessionContext));
}

#[test]
fn a_scope_of_its_own_takes_most_with_it() {
    let found = of("SET NOCOUNT ON; SET CONTEXT_INFO 0x01; CREATE TABLE #t(i int)").in_own_scope();
    assert_eq!(found.changes.len(), 1);
    assert_eq!(found.begins.reason(), None);
    assert_eq!(
        of("SELECT 1 a INTO ##g").in_own_scope().begins.reason(),
        Some(PinReason::TemporaryTable)
    );
}

#[test]
fn a_text_beyond_the_limit_is_not_understood() {
    let found = of(&format!("SELECT '{}'", "x".repeat(limits::MAX_CLASSIFIED)));
    assert_eq!(found.begins.reason(), Some(PinReason::Unprovable));
    assert_eq!(found.transaction, MayChange::Yes);
}

#[test]
fn the_words_are_sorted() {
    assert!(is_statement("ADD") && is_statement("WRITETEXT") && is_statement("REVERT") && !is_statement("MYPROC"));
}
