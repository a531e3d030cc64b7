//! System views: each is filled, when asked for, into a temporary table of the session.

use rusqlite::{params_from_iter, types::Value};

use super::{names::quote, session::Session};
use crate::mssql::{
    failure::Failure,
    wire::{
        tokens::Column,
        types::{MAX, SqlType},
    },
};

/// A view's columns, and its rows.
type View = (Vec<(&'static str, SqlType)>, Vec<Vec<Value>>);

/// Fills the view of this name; the table's name.
pub(super) fn materialise(session: &mut Session, name: &str) -> Result<String, Failure> {
    let failure = |error: rusqlite::Error| Failure::of_engine(&error, "SELECT");
    let Some((columns, rows)) = view(session, name)? else {
        return Err(Failure::new(208, 16, 1, format!("Invalid object name '{name}'.")));
    };
    let table = format!("#{name}");
    if !session.table_exists(&table) {
        let list = columns
            .iter()
            .map(|(name, kind)| format!("{} {}", quote(name), kind.affinity()))
            .collect::<Vec<_>>()
            .join(", ");
        session
            .engine
            .execute_batch(&format!("CREATE TABLE IF NOT EXISTS temp.{} ({list})", quote(&table)))
            .map_err(failure)?;
        let columns: Vec<Column> = columns.iter().map(|(name, kind)| Column::new(name, *kind)).collect();
        session.remember_columns(&table, &columns)?;
    }
    session
        .engine
        .execute_batch(&format!("DELETE FROM temp.{}", quote(&table)))
        .map_err(failure)?;
    let marks = vec!["?"; columns.len()].join(", ");
    let sql = format!("INSERT INTO temp.{} VALUES ({marks})", quote(&table));
    for row in rows {
        session.engine.execute(&sql, params_from_iter(row)).map_err(failure)?;
    }
    Ok(table)
}

fn text(value: &str) -> Value {
    Value::Text(value.to_owned())
}

fn number(value: i64) -> Value {
    Value::Integer(value)
}

const NAME: SqlType = SqlType::NVarChar(128);

fn view(session: &Session, name: &str) -> Result<Option<View>, Failure> {
    Ok(Some(match name {
        "sys.dm_exec_sessions" => sessions(session),
        "sys.dm_exec_connections" => (
            vec![
                ("session_id", SqlType::Int),
                ("net_transport", NAME),
                ("encrypt_option", NAME),
                ("auth_scheme", NAME),
                ("net_packet_size", SqlType::Int),
            ],
            session
                .shared
                .observed
                .sessions()
                .iter()
                .filter(|other| other.open)
                .map(|other| {
                    let encrypted = if matches!(other.encryption, "full" | "strict") {
                        "TRUE"
                    } else {
                        "FALSE"
                    };
                    vec![
                        number(other.spid.into()),
                        text("TCP"),
                        text(encrypted),
                        text("SQL"),
                        number(other.packet_size.into()),
                    ]
                })
                .collect(),
        ),
        "sys.databases" => (
            vec![
                ("name", NAME),
                ("database_id", SqlType::Int),
                ("state_desc", NAME),
                ("collation_name", NAME),
                ("snapshot_isolation_state", SqlType::TinyInt),
                ("is_read_committed_snapshot_on", SqlType::Bit),
                ("is_ansi_null_default_on", SqlType::Bit),
                ("is_ansi_nulls_on", SqlType::Bit),
                ("is_ansi_padding_on", SqlType::Bit),
                ("is_ansi_warnings_on", SqlType::Bit),
                ("is_arithabort_on", SqlType::Bit),
                ("is_concat_null_yields_null_on", SqlType::Bit),
                ("is_numeric_roundabort_on", SqlType::Bit),
                ("is_quoted_identifier_on", SqlType::Bit),
                ("is_cursor_close_on_commit_on", SqlType::Bit),
            ],
            ["master", "tempdb"]
                .into_iter()
                .chain(session.shared.options.databases.iter().map(String::as_str))
                .enumerate()
                .map(|(index, name)| {
                    vec![
                        text(name),
                        number(index as i64 + 1),
                        text("ONLINE"),
                        text("SQL_Latin1_General_CP1_CI_AS"),
                        number(1),
                        number(1),
                    ]
                    .into_iter()
                    // No database has defaults of its own.
                    .chain((0..9).map(|_| number(0)))
                    .collect()
                })
                .collect(),
        ),
        "sys.tables" | "sys.objects" | "sys.all_objects" | "information_schema.tables" => tables(session, name)?,
        "sys.columns" | "sys.all_columns" | "information_schema.columns" => columns(session, name)?,
        "sys.configurations" => (
            vec![("name", NAME), ("value", SqlType::Int)],
            vec![vec![text("user connections"), number(0)]],
        ),
        _ => return Ok(None),
    }))
}

fn sessions(session: &Session) -> View {
    let columns = vec![
        ("session_id", SqlType::SmallInt),
        ("login_name", NAME),
        ("original_login_name", NAME),
        ("program_name", NAME),
        ("client_interface_name", NAME),
        ("host_name", NAME),
        ("status", NAME),
        ("transaction_isolation_level", SqlType::SmallInt),
        ("open_transaction_count", SqlType::Int),
        ("is_user_process", SqlType::Bit),
        ("date_first", SqlType::SmallInt),
        ("lock_timeout", SqlType::Int),
        ("language", NAME),
        ("text_size", SqlType::Int),
        ("database_id", SqlType::SmallInt),
    ];
    let rows = session
        .shared
        .observed
        .sessions()
        .into_iter()
        .filter(|other| other.open);
    let rows = rows.map(|other| {
        let own = other.spid == session.spid;
        let (isolation, count) = if own {
            (session.isolation, session.transaction.count)
        } else {
            (other.isolation, other.transaction_count)
        };
        let setting = |name: &str| {
            if own {
                number(session.settings.number(name))
            } else {
                Value::Null
            }
        };
        vec![
            number(other.spid.into()),
            text(&other.login),
            text(&other.login),
            text(&other.application),
            text(&other.library),
            if own { text(&session.host) } else { Value::Null },
            text(if own { "running" } else { "sleeping" }),
            number(isolation.into()),
            number(count.into()),
            number(1),
            setting("DATEFIRST"),
            setting("LOCK_TIMEOUT"),
            if own {
                text(session.settings.text("LANGUAGE"))
            } else {
                Value::Null
            },
            setting("TEXTSIZE"),
            number(5),
        ]
    });
    (columns, rows.collect())
}

/// Tables of the current database: names, in order of creation.
fn names(session: &Session) -> Result<Vec<String>, Failure> {
    let failure = |error: rusqlite::Error| Failure::of_engine(&error, "SELECT");
    let mut statement = session
        .engine
        .prepare_cached("SELECT tbl FROM data.weir_columns GROUP BY tbl ORDER BY min(rowid)")
        .map_err(failure)?;
    let names = statement.query_map([], |row| row.get(0)).map_err(failure)?;
    names.collect::<Result<_, _>>().map_err(failure)
}

fn id(session: &Session, name: &str) -> Value {
    session
        .session_function("OBJECT_ID", &[text(name)])
        .map_or(Value::Null, |(id, _)| id)
}

fn tables(session: &Session, view: &str) -> Result<View, Failure> {
    let names = names(session)?;
    if view == "information_schema.tables" {
        let columns = vec![
            ("TABLE_CATALOG", NAME),
            ("TABLE_SCHEMA", NAME),
            ("TABLE_NAME", NAME),
            ("TABLE_TYPE", SqlType::VarChar(10)),
        ];
        let rows = names
            .iter()
            .map(|name| vec![text(&session.database), text("dbo"), text(name), text("BASE TABLE")]);
        return Ok((columns, rows.collect()));
    }
    let columns = vec![
        ("name", NAME),
        ("object_id", SqlType::Int),
        ("schema_id", SqlType::Int),
        ("type", SqlType::Char(2)),
        ("type_desc", NAME),
    ];
    let rows = names
        .iter()
        .map(|name| vec![text(name), id(session, name), number(1), text("U "), text("USER_TABLE")]);
    Ok((columns, rows.collect()))
}

fn columns(session: &Session, view: &str) -> Result<View, Failure> {
    let mut rows = Vec::new();
    for table in names(session)? {
        let object = id(session, &table);
        for (index, column) in session.columns_of(&table)?.iter().enumerate() {
            let ordinal = number(index as i64 + 1);
            let collation = if column.kind.is_text() {
                text("SQL_Latin1_General_CP1_CI_AS")
            } else {
                Value::Null
            };
            rows.push(if view == "information_schema.columns" {
                let nullable = text(if column.nullable { "YES" } else { "NO" });
                let length = match column.kind {
                    SqlType::Char(n)
                    | SqlType::VarChar(n)
                    | SqlType::NChar(n)
                    | SqlType::NVarChar(n)
                    | SqlType::Binary(n)
                    | SqlType::VarBinary(n) => number(if n == MAX { -1 } else { n.into() }),
                    _ => Value::Null,
                };
                vec![
                    text(&session.database),
                    text("dbo"),
                    text(&table),
                    text(&column.name),
                    ordinal,
                    nullable,
                    text(column.kind.base_name()),
                    length,
                    collation,
                ]
            } else {
                vec![
                    object.clone(),
                    text(&column.name),
                    ordinal,
                    number(column.nullable.into()),
                    number(column.identity.into()),
                    number(0),
                    number(0),
                    number(0),
                    number(0),
                    Value::Null,
                    collation,
                    number(column.kind.system_id()),
                    number(column.kind.system_id()),
                    number(column.kind.scale().unwrap_or(0).into()),
                ]
            });
        }
    }
    let columns = if view == "information_schema.columns" {
        vec![
            ("TABLE_CATALOG", NAME),
            ("TABLE_SCHEMA", NAME),
            ("TABLE_NAME", NAME),
            ("COLUMN_NAME", NAME),
            ("ORDINAL_POSITION", SqlType::Int),
            ("IS_NULLABLE", SqlType::VarChar(3)),
            ("DATA_TYPE", NAME),
            ("CHARACTER_MAXIMUM_LENGTH", SqlType::Int),
            ("COLLATION_NAME", NAME),
        ]
    } else {
        vec![
            ("object_id", SqlType::Int),
            ("name", NAME),
            ("column_id", SqlType::Int),
            ("is_nullable", SqlType::Bit),
            ("is_identity", SqlType::Bit),
            ("is_computed", SqlType::Bit),
            ("is_hidden", SqlType::Bit),
            ("is_column_set", SqlType::Bit),
            ("generated_always_type", SqlType::TinyInt),
            ("graph_type", SqlType::Int),
            ("collation_name", NAME),
            ("system_type_id", SqlType::TinyInt),
            ("user_type_id", SqlType::Int),
            ("scale", SqlType::TinyInt),
        ]
    };
    Ok((columns, rows))
}
