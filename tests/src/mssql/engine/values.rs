//! What `@@` functions and functions of the session answer.

use rusqlite::types::Value;

use super::{
    batch::integer,
    convert::to_text,
    session::{Principal, Session},
};
use crate::mssql::{failure::Failure, wire::types::SqlType};

impl Session {
    /// `@@NAME`
    pub(super) fn system_value(&self, name: &str) -> Result<(Value, SqlType), Failure> {
        let number = |value: i64| (Value::Integer(value), SqlType::Int);
        Ok(match name {
            "@@SPID" => (Value::Integer(i64::from(self.spid)), SqlType::SmallInt),
            "@@TRANCOUNT" => number(i64::from(self.transaction.count)),
            "@@ROWCOUNT" => number(self.row_count),
            "@@ERROR" => number(i64::from(self.last_error)),
            "@@IDENTITY" => (
                self.identity.map_or(Value::Null, Value::Integer),
                SqlType::Numeric {
                    precision: 38,
                    scale: 0,
                },
            ),
            "@@OPTIONS" => number(self.settings.bits()),
            "@@DATEFIRST" => (Value::Integer(self.settings.number("DATEFIRST")), SqlType::TinyInt),
            "@@LOCK_TIMEOUT" => number(self.settings.number("LOCK_TIMEOUT")),
            "@@TEXTSIZE" => number(self.settings.number("TEXTSIZE")),
            "@@LANGUAGE" => (
                Value::Text(self.settings.text("LANGUAGE").to_owned()),
                SqlType::NVarChar(128),
            ),
            "@@NESTLEVEL" => number(self.frames.len() as i64 - 1),
            "@@FETCH_STATUS" => number(self.fetch_status),
            "@@CURSOR_ROWS" => number(0),
            "@@SERVERNAME" => (Value::Text(self.shared.name().to_owned()), SqlType::NVarChar(128)),
            "@@MAX_CONNECTIONS" => number(32_767),
            "@@MICROSOFTVERSION" => number(i64::from(self.shared.version().0) << 24),
            "@@PROCID" => number(0),
            "@@VERSION" => {
                let (major, minor, build) = self.shared.version();
                let text = format!("Microsoft SQL Server stand-in (Weir tests) - {major}.{minor}.{build}.0 (X64)");
                (Value::Text(text), SqlType::NVarChar(300))
            }
            other => {
                return Err(Failure::new(
                    137,
                    15,
                    2,
                    format!("Must declare the scalar variable \"{other}\"."),
                ));
            }
        })
    }

    /// A function without arguments that asks the session. None: not one of these.
    pub(super) fn niladic(&self, name: &str) -> Result<Option<(Value, SqlType)>, Failure> {
        let text = |value: &str| (Value::Text(value.to_owned()), SqlType::NVarChar(128));
        let caught = self.caught.last();
        let of_error = |body: &dyn Fn(&Failure) -> Value| caught.map_or(Value::Null, body);
        Ok(Some(match name {
            "ORIGINAL_LOGIN" => text(&self.user),
            "SUSER_SNAME" | "SUSER_NAME" => text(match self.impersonations.last() {
                Some((_, Principal::Login(name))) => name,
                _ => &self.user,
            }),
            "USER_NAME" => text(match (self.impersonations.last(), &self.application_role) {
                (Some((_, Principal::User(name) | Principal::Login(name))), _) | (None, Some(name)) => name,
                (None, None) => "dbo",
            }),
            "APP_NAME" => text(&self.application),
            "HOST_NAME" => text(&self.host),
            "SCOPE_IDENTITY" => {
                let identity = self.frames.last().and_then(|frame| frame.identity);
                (
                    identity.map_or(Value::Null, Value::Integer),
                    SqlType::Numeric {
                        precision: 38,
                        scale: 0,
                    },
                )
            }
            "CONTEXT_INFO" => (
                self.context_info.clone().map_or(Value::Null, Value::Blob),
                SqlType::VarBinary(128),
            ),
            "XACT_STATE" => {
                let state = match (self.transaction.count, self.transaction.doomed) {
                    (0, _) => 0,
                    (_, false) => 1,
                    (_, true) => -1,
                };
                (Value::Integer(state), SqlType::SmallInt)
            }
            "CURRENT_TRANSACTION_ID" => (Value::Integer(self.transaction.descriptor() as i64), SqlType::BigInt),
            "ERROR_NUMBER" => (of_error(&|f| Value::Integer(i64::from(f.number))), SqlType::Int),
            "ERROR_MESSAGE" => (of_error(&|f| Value::Text(f.message.clone())), SqlType::NVarChar(4000)),
            "ERROR_SEVERITY" => (of_error(&|f| Value::Integer(i64::from(f.class))), SqlType::Int),
            "ERROR_STATE" => (of_error(&|f| Value::Integer(i64::from(f.state))), SqlType::Int),
            "ERROR_LINE" => (of_error(&|f| Value::Integer(i64::from(f.line))), SqlType::Int),
            "ERROR_PROCEDURE" => {
                let procedure = |f: &Failure| {
                    if f.procedure.is_empty() {
                        Value::Null
                    } else {
                        Value::Text(f.procedure.clone())
                    }
                };
                (of_error(&procedure), SqlType::NVarChar(128))
            }
            _ => return Ok(None),
        }))
    }

    /// A function with arguments that asks the session or the catalogue.
    pub(super) fn session_function(&self, name: &str, arguments: &[Value]) -> Result<(Value, SqlType), Failure> {
        let argument = |at: usize| {
            arguments
                .get(at)
                .and_then(|value| to_text(value, None))
                .unwrap_or_default()
        };
        let text = |value: Option<String>| value.map_or(Value::Null, Value::Text);
        let first = argument(0);
        let bare = first
            .rsplit('.')
            .next()
            .unwrap_or_default()
            .trim_matches(['[', ']', '"'])
            .to_owned();
        Ok(match name {
            "OBJECT_ID" => (self.object_id(&bare)?.map_or(Value::Null, Value::Integer), SqlType::Int),
            "OBJECT_NAME" | "COL_NAME" | "SCHEMA_NAME" => (Value::Text("dbo".to_owned()), SqlType::NVarChar(128)),
            "SCHEMA_ID" => (Value::Integer(1), SqlType::Int),
            "TYPE_ID" => (
                if self.table_type(&bare)?.is_some() {
                    Value::Integer(257)
                } else {
                    Value::Null
                },
                SqlType::Int,
            ),
            "DB_NAME" => (Value::Text(self.database.clone()), SqlType::NVarChar(128)),
            "DB_ID" => {
                let known = if arguments.is_empty() {
                    Some(self.database.clone())
                } else {
                    self.shared.database(&first)
                };
                (
                    known.map_or(Value::Null, |name| Value::Integer(name.len() as i64)),
                    SqlType::SmallInt,
                )
            }
            "SESSION_CONTEXT" => (
                self.session_context
                    .get(&first.to_ascii_lowercase())
                    .cloned()
                    .unwrap_or(Value::Null),
                SqlType::Variant,
            ),
            "IDENT_CURRENT" => {
                let sql = "SELECT seq FROM data.sqlite_sequence WHERE name = ?1 COLLATE NOCASE";
                let last = self.engine.query_row(sql, [&bare], |row| row.get::<_, i64>(0)).ok();
                (
                    last.map_or(Value::Null, Value::Integer),
                    SqlType::Numeric {
                        precision: 38,
                        scale: 0,
                    },
                )
            }
            "SERVERPROPERTY" => (text(self.server_property(&first)), SqlType::Variant),
            "CONNECTIONPROPERTY" => {
                let value = match first.to_ascii_lowercase().as_str() {
                    "net_transport" => Some("TCP".to_owned()),
                    "protocol_type" => Some("TSQL".to_owned()),
                    "auth_scheme" => Some("SQL".to_owned()),
                    _ => None,
                };
                (text(value), SqlType::Variant)
            }
            "SESSIONPROPERTY" => {
                let on = self.settings.is_on(&first.to_ascii_uppercase());
                (Value::Integer(i64::from(on)), SqlType::Int)
            }
            "DATABASEPROPERTYEX" => {
                let value = match argument(1).to_ascii_lowercase().as_str() {
                    "collation" => Some("SQL_Latin1_General_CP1_CI_AS".to_owned()),
                    "status" => Some("ONLINE".to_owned()),
                    "updateability" => Some("READ_WRITE".to_owned()),
                    _ => None,
                };
                (text(value), SqlType::Variant)
            }
            "COL_LENGTH" => (Value::Null, SqlType::SmallInt),
            "HAS_DBACCESS" => (
                Value::Integer(i64::from(self.shared.database(&first).is_some())),
                SqlType::Int,
            ),
            "IS_SRVROLEMEMBER" | "IS_MEMBER" => (Value::Integer(0), SqlType::Int),
            "CURSOR_STATUS" => (Value::Integer(self.cursors.status(&argument(1))), SqlType::SmallInt),
            other => return Err(Failure::unknown(other)),
        })
    }

    fn server_property(&self, name: &str) -> Option<String> {
        let (major, minor, build) = self.shared.version();
        Some(match name.to_ascii_lowercase().as_str() {
            "productversion" => format!("{major}.{minor}.{build}.0"),
            "productlevel" => "RTM".to_owned(),
            "edition" => "Stand-in Edition (64-bit)".to_owned(),
            "engineedition" => "3".to_owned(),
            "servername" | "machinename" => self.shared.name().to_owned(),
            "collation" => "SQL_Latin1_General_CP1_CI_AS".to_owned(),
            "productmajorversion" => major.to_string(),
            "isintegratedsecurityonly" => "0".to_owned(),
            _ => return None,
        })
    }

    fn object_id(&self, name: &str) -> Result<Option<i64>, Failure> {
        let known = self.table_exists(name) || self.object(name, "procedure")?.is_some();
        // Stable for a name, which is all that callers ask of it.
        let id = name
            .to_ascii_lowercase()
            .bytes()
            .fold(5381i64, |sum, byte| (sum * 33 + i64::from(byte)) % 2_000_000_000)
            + 100;
        Ok(known.then_some(id))
    }

    pub(super) fn identity_insert(&self, table: &str) -> bool {
        self.identity_insert_table
            .as_ref()
            .is_some_and(|name| name.eq_ignore_ascii_case(table))
    }

    pub(super) fn set_identity_insert(&mut self, table: &str, on: bool) -> Result<(), Failure> {
        if !self.columns_of(table)?.iter().any(|column| column.identity) {
            return Err(Failure::new(
                8106,
                16,
                1,
                format!("Table '{table}' does not have the identity property. Cannot perform SET operation."),
            ));
        }
        if let Some(other) = &self.identity_insert_table
            && on
            && !other.eq_ignore_ascii_case(table)
        {
            return Err(Failure::new(
                8107,
                16,
                1,
                format!(
                    "IDENTITY_INSERT is already ON for table '{other}'. Cannot perform SET operation for table '{table}'."
                ),
            ));
        }
        self.identity_insert_table = on.then(|| table.to_owned());
        self.done_plain(crate::mssql::wire::tokens::command::SET_ON);
        Ok(())
    }

    /// A number among a procedure's arguments.
    pub(super) fn as_number(value: Option<&Value>) -> Option<i64> {
        value.filter(|value| **value != Value::Null).map(integer)
    }
}
