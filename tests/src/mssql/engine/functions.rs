//! Functions inside the SQL engine: T-SQL's that it lacks, or that mean something else there.

use std::sync::Arc;

use rusqlite::{
    Connection, Result,
    functions::{Context, FunctionFlags},
    types::Value,
};

use super::{
    convert,
    date_functions::{date_add, date_difference, date_name, date_part, moment, part_of},
    operands::new_guid,
};
use crate::mssql::{
    calendar::{self, Moment},
    code_page,
    failure::Failure,
    shared::Cancel,
    wire::types::SqlType,
};

type Body = fn(&[Value]) -> std::result::Result<Value, Failure>;

/// Teaches a connection all of them, and to stop when it is told.
pub(super) fn register(engine: &Connection, cancel: Arc<Cancel>) -> Result<()> {
    use rusqlite::config::DbConfig;
    engine.set_db_config(DbConfig::SQLITE_DBCONFIG_DQS_DML, false)?;
    engine.set_db_config(DbConfig::SQLITE_DBCONFIG_DQS_DDL, false)?;
    engine.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_FKEY, true)?;
    engine.busy_timeout(std::time::Duration::from_secs(20))?;
    engine.set_prepared_statement_cache_capacity(64);
    engine.progress_handler(2000, Some(move || cancel.is_wanted()));
    for (name, count, body) in ALL {
        let volatile = matches!(*name, "weir_newid" | "weir_rand");
        let flags = FunctionFlags::SQLITE_UTF8
            | if volatile {
                FunctionFlags::empty()
            } else {
                FunctionFlags::SQLITE_DETERMINISTIC
            };
        engine.create_scalar_function(*name, *count, flags, move |context| run(context, *body))?;
    }
    Ok(())
}

fn run(context: &Context<'_>, body: Body) -> Result<Value> {
    let arguments: Vec<Value> = (0..context.len())
        .map(|index| context.get(index))
        .collect::<Result<_>>()?;
    body(&arguments).map_err(|failure| failure.to_engine())
}

const ALL: &[(&str, i32, Body)] = &[
    ("weir_cast", 4, cast),
    ("weir_try_cast", 4, |a| Ok(cast(a).unwrap_or(Value::Null))),
    ("weir_store", 4, |a| {
        convert::store(&a[0], kind(&a[1])?, &text(&a[2]), &text(&a[3]))
    }),
    ("weir_divisor", 1, divisor),
    ("weir_type_name", 1, type_name),
    ("weir_choose", -1, |a| {
        Ok(a.get(number(&a[0]) as usize)
            .filter(|_| number(&a[0]) > 0)
            .cloned()
            .unwrap_or(Value::Null))
    }),
    ("weir_len", 1, |a| {
        of_text(a, |t| {
            Value::Integer(t.trim_end_matches(' ').encode_utf16().count() as i64)
        })
    }),
    ("weir_datalength", 1, datalength),
    ("weir_upper", 1, |a| of_text(a, |t| Value::Text(t.to_uppercase()))),
    ("weir_lower", 1, |a| of_text(a, |t| Value::Text(t.to_lowercase()))),
    ("weir_substring", 3, substring),
    ("weir_left", 2, |a| {
        substring(&[a[0].clone(), Value::Integer(1), a[1].clone()])
    }),
    ("weir_right", 2, |a| {
        of_text(a, |t| {
            let characters: Vec<char> = t.chars().collect();
            let from = characters.len().saturating_sub(number(&a[1]).max(0) as usize);
            Value::Text(characters[from..].iter().collect())
        })
    }),
    ("weir_replicate", 2, replicate),
    ("weir_reverse", 1, |a| {
        of_text(a, |t| Value::Text(t.chars().rev().collect()))
    }),
    ("weir_space", 1, |a| {
        Ok(Value::Text(" ".repeat(number(&a[0]).clamp(0, 8000) as usize)))
    }),
    ("weir_stuff", 4, |a| {
        of_text(a, |t| {
            let characters: Vec<char> = t.chars().collect();
            let start = (number(&a[1]) - 1).clamp(0, characters.len() as i64) as usize;
            let end = (start + number(&a[2]).max(0) as usize).min(characters.len());
            Value::Text(
                characters[..start]
                    .iter()
                    .chain(text(&a[3]).chars().collect::<Vec<_>>().iter())
                    .chain(&characters[end..])
                    .collect(),
            )
        })
    }),
    ("weir_charindex", -1, charindex),
    ("weir_concat", -1, |a| Ok(Value::Text(a.iter().map(text).collect()))),
    ("weir_char", 1, |a| {
        Ok(Value::Text(code_page::decode(&[number(&a[0]) as u8])))
    }),
    ("weir_nchar", 1, |a| {
        Ok(char::from_u32(number(&a[0]) as u32).map_or(Value::Null, |c| Value::Text(c.to_string())))
    }),
    ("weir_ascii", 1, |a| {
        of_text(a, |t| {
            code_page::encode(t)
                .first()
                .map_or(Value::Null, |byte| Value::Integer(i64::from(*byte)))
        })
    }),
    ("weir_quotename", -1, |a| {
        of_text(a, |t| Value::Text(format!("[{}]", t.replace(']', "]]"))))
    }),
    ("weir_str", -1, |a| Ok(Value::Text(format!("{:>10}", number(&a[0]))))),
    ("weir_round", -1, |a| {
        of_number(a, |n| {
            let factor = 10f64.powi(a.get(1).map_or(0, number) as i32);
            (n * factor).round() / factor
        })
    }),
    ("weir_floor", 1, |a| of_number(a, f64::floor)),
    ("weir_ceiling", 1, |a| of_number(a, f64::ceil)),
    ("weir_power", 2, |a| of_number(a, |n| n.powf(real(&a[1])))),
    ("weir_sqrt", 1, |a| of_number(a, f64::sqrt)),
    ("weir_newid", 0, |_| Ok(Value::Text(new_guid()))),
    ("weir_rand", -1, |_| {
        Ok(Value::Real(
            f64::from(u32::from_str_radix(&new_guid()[..8], 16).unwrap_or(0)) / 4_294_967_296.0,
        ))
    }),
    ("weir_now", 0, |_| {
        Ok(Value::Text(calendar::format(&Moment::now(), SqlType::DateTime)))
    }),
    ("weir_now2", 0, |_| {
        Ok(Value::Text(calendar::format(&Moment::now(), SqlType::DateTime2(7))))
    }),
    ("weir_now_offset", 0, |_| {
        Ok(Value::Text(calendar::format(
            &Moment::now(),
            SqlType::DateTimeOffset(7),
        )))
    }),
    ("weir_year", 1, |a| part_of(a, |m| i64::from(m.date().0))),
    ("weir_month", 1, |a| part_of(a, |m| i64::from(m.date().1))),
    ("weir_day", 1, |a| part_of(a, |m| i64::from(m.date().2))),
    ("weir_isnumeric", 1, |a| {
        Ok(Value::Integer(i64::from(text(&a[0]).trim().parse::<f64>().is_ok())))
    }),
    ("weir_checksum", -1, |a| {
        Ok(Value::Integer(
            a.iter()
                .flat_map(|v| text(v).into_bytes())
                .fold(0i64, |sum, byte| (sum * 31 + i64::from(byte)) % 2_147_483_647),
        ))
    }),
    ("weir_datefromparts", 3, |a| {
        Ok(Value::Text(format!(
            "{:04}-{:02}-{:02}",
            number(&a[0]),
            number(&a[1]),
            number(&a[2])
        )))
    }),
    ("weir_eomonth", -1, |a| {
        moment(a, 0, |m| {
            let (year, month, _) = m.date();
            Value::Text(format!("{year:04}-{month:02}-{:02}", calendar::month_days(year, month)))
        })
    }),
    ("weir_dateadd", 3, date_add),
    ("weir_datediff", 3, date_difference),
    ("weir_datediff_big", 3, date_difference),
    ("weir_datepart", 2, |a| {
        moment(a, 1, |m| date_part(&text(&a[0]), m).map_or(Value::Null, Value::Integer))
    }),
    ("weir_datename", 2, |a| moment(a, 1, |m| date_name(&text(&a[0]), m))),
    ("like", 2, |a| Ok(like(&a[1], &a[0], None))),
    ("like", 3, |a| Ok(like(&a[1], &a[0], text(&a[2]).chars().next()))),
];

fn kind(value: &Value) -> std::result::Result<SqlType, Failure> {
    let name = text(value);
    SqlType::parse(&name).ok_or_else(|| Failure::new(243, 16, 1, format!("Type {name} is not a defined system type.")))
}

pub(super) fn text(value: &Value) -> String {
    convert::to_text(value, None).unwrap_or_default()
}

pub(super) fn number(value: &Value) -> i64 {
    super::batch::integer(value)
}

fn real(value: &Value) -> f64 {
    match value {
        Value::Integer(number) => *number as f64,
        Value::Real(number) => *number,
        other => text(other).parse().unwrap_or(0.0),
    }
}

fn of_text(arguments: &[Value], body: impl Fn(&str) -> Value) -> std::result::Result<Value, Failure> {
    Ok(match &arguments[0] {
        Value::Null => Value::Null,
        value => body(&text(value)),
    })
}

fn of_number(arguments: &[Value], body: impl Fn(f64) -> f64) -> std::result::Result<Value, Failure> {
    Ok(match &arguments[0] {
        Value::Null => Value::Null,
        Value::Integer(_) => Value::Integer(body(real(&arguments[0])) as i64),
        value => Value::Real(body(real(value))),
    })
}

/// value, target, source type if known, style.
fn cast(a: &[Value]) -> std::result::Result<Value, Failure> {
    let (target, source) = (kind(&a[1])?, SqlType::parse(&text(&a[2])));
    match (&a[0], source) {
        (Value::Null, _) => return Ok(Value::Null),
        (Value::Text(text), Some(source)) if matches!(target, SqlType::VarBinary(_) | SqlType::Binary(_)) => {
            let wide = matches!(source, SqlType::NVarChar(_) | SqlType::NChar(_) | SqlType::NText);
            let bytes = if number(&a[3]) > 0 {
                hexadecimal(text)?
            } else if wide {
                text.encode_utf16().flat_map(u16::to_le_bytes).collect()
            } else {
                code_page::encode(text)
            };
            return convert::cut(&Value::Blob(bytes), target);
        }
        (Value::Blob(bytes), _) if target.is_text() => {
            let plain = match number(&a[3]) {
                1 => format!("0x{}", upper_hex(bytes)),
                2 => upper_hex(bytes),
                _ if matches!(target, SqlType::NVarChar(_) | SqlType::NChar(_)) => {
                    crate::mssql::wire::utf16(bytes).unwrap_or_default()
                }
                _ => code_page::decode(bytes),
            };
            return convert::cut(&Value::Text(plain), target);
        }
        (value, Some(source)) if target.is_text() => {
            return convert::cut(
                &Value::Text(convert::to_text(value, Some(source)).unwrap_or_default()),
                target,
            );
        }
        _ => {}
    }
    convert::cut(&a[0], target)
}

fn upper_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect()
}

fn hexadecimal(text: &str) -> std::result::Result<Vec<u8>, Failure> {
    let digits = text.trim_start_matches("0x");
    let pairs = digits.as_bytes().chunks(2).map(|pair| {
        std::str::from_utf8(pair)
            .ok()
            .and_then(|pair| u8::from_str_radix(pair, 16).ok())
    });
    pairs
        .collect::<Option<_>>()
        .ok_or_else(|| Failure::new(8114, 16, 5, "Error converting data type varchar to varbinary."))
}

fn divisor(a: &[Value]) -> std::result::Result<Value, Failure> {
    match &a[0] {
        Value::Integer(0) => Err(Failure::new(8134, 16, 1, "Divide by zero error encountered.")),
        Value::Real(number) if *number == 0.0 => Err(Failure::new(8134, 16, 1, "Divide by zero error encountered.")),
        other => Ok(other.clone()),
    }
}

fn type_name(a: &[Value]) -> std::result::Result<Value, Failure> {
    const NAMES: [&str; 29] = [
        "bit",
        "tinyint",
        "smallint",
        "int",
        "bigint",
        "real",
        "float",
        "smallmoney",
        "money",
        "decimal",
        "numeric",
        "date",
        "time",
        "smalldatetime",
        "datetime",
        "datetime2",
        "datetimeoffset",
        "uniqueidentifier",
        "char",
        "varchar",
        "nchar",
        "nvarchar",
        "binary",
        "varbinary",
        "text",
        "ntext",
        "image",
        "xml",
        "sql_variant",
    ];
    let id = number(&a[0]);
    let known = NAMES
        .iter()
        .find(|name| SqlType::parse(name).is_some_and(|kind| kind.system_id() == id));
    Ok(known.map_or(Value::Null, |name| Value::Text((*name).to_owned())))
}

fn datalength(a: &[Value]) -> std::result::Result<Value, Failure> {
    Ok(match &a[0] {
        Value::Null => Value::Null,
        Value::Blob(bytes) => Value::Integer(bytes.len() as i64),
        // Which the text was, char or nchar, is not known here: nvarchar is what clients store.
        Value::Text(text) => Value::Integer(2 * text.encode_utf16().count() as i64),
        Value::Integer(_) => Value::Integer(4),
        Value::Real(_) => Value::Integer(8),
    })
}

fn substring(a: &[Value]) -> std::result::Result<Value, Failure> {
    let (start, length) = (number(&a[1]) - 1, number(&a[2]));
    if length < 0 {
        return Err(Failure::new(
            537,
            16,
            3,
            "Invalid length parameter passed to the LEFT or SUBSTRING function.",
        ));
    }
    let range = |total: usize| {
        let from = start.clamp(0, total as i64) as usize;
        let to = (start + length).clamp(from as i64, total as i64) as usize;
        from..to
    };
    Ok(match &a[0] {
        Value::Null => Value::Null,
        Value::Blob(bytes) => Value::Blob(bytes[range(bytes.len())].to_vec()),
        value => {
            let characters: Vec<char> = text(value).chars().collect();
            Value::Text(characters[range(characters.len())].iter().collect())
        }
    })
}

/// At most 64 MiB.
fn replicate(a: &[Value]) -> std::result::Result<Value, Failure> {
    let times = number(&a[1]).max(0) as usize;
    match &a[0] {
        Value::Null => Ok(Value::Null),
        Value::Blob(bytes) if bytes.len().saturating_mul(times) <= 64 << 20 => Ok(Value::Blob(bytes.repeat(times))),
        value => {
            let one = text(value);
            if one.len().saturating_mul(times) > 64 << 20 {
                return Err(Failure::new(50_000, 16, 1, "REPLICATE of more than 64 MiB."));
            }
            Ok(Value::Text(one.repeat(times)))
        }
    }
}

fn charindex(a: &[Value]) -> std::result::Result<Value, Failure> {
    if a.len() < 2 || a[0] == Value::Null || a[1] == Value::Null {
        return Ok(Value::Null);
    }
    let (needle, hay) = (text(&a[0]).to_lowercase(), text(&a[1]).to_lowercase());
    let skip = a.get(2).map_or(0, |start| (number(start) - 1).max(0) as usize);
    let from = hay.char_indices().nth(skip).map_or(hay.len(), |(at, _)| at);
    Ok(Value::Integer(
        hay[from..]
            .find(&needle)
            .map_or(0, |at| (hay[..from + at].chars().count() + 1) as i64),
    ))
}

/// T-SQL's LIKE: `%`, `_`, `[a-z]`, `[^a-z]`; letters of both cases are the same.
fn like(value: &Value, pattern: &Value, escape: Option<char>) -> Value {
    if *value == Value::Null || *pattern == Value::Null {
        return Value::Null;
    }
    let fold = |value: &Value| text(value).to_lowercase().chars().collect::<Vec<_>>();
    Value::Integer(i64::from(matches(&fold(value), &fold(pattern), escape)))
}

fn matches(value: &[char], pattern: &[char], escape: Option<char>) -> bool {
    let Some((first, rest)) = pattern.split_first() else {
        return value.is_empty();
    };
    if Some(*first) == escape && !rest.is_empty() {
        return value.first() == rest.first() && matches(&value[1..], &rest[1..], escape);
    }
    match first {
        '%' => (0..=value.len()).any(|skip| matches(&value[skip..], rest, escape)),
        '_' => !value.is_empty() && matches(&value[1..], rest, escape),
        '[' => match (value.first(), rest.iter().position(|c| *c == ']')) {
            (Some(character), Some(end)) => {
                in_set(*character, &rest[..end]) && matches(&value[1..], &rest[end + 1..], escape)
            }
            _ => false,
        },
        other => value.first() == Some(other) && matches(&value[1..], rest, escape),
    }
}

fn in_set(character: char, set: &[char]) -> bool {
    let (negated, set) = match set.split_first() {
        Some(('^', rest)) => (true, rest),
        _ => (false, set),
    };
    let mut found = false;
    let mut at = 0;
    while at < set.len() {
        if set.get(at + 1) == Some(&'-') && at + 2 < set.len() {
            found |= (set[at]..=set[at + 2]).contains(&character);
            at += 3;
        } else {
            found |= set[at] == character;
            at += 1;
        }
    }
    found != negated
}
