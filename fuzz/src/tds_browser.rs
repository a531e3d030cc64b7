//! What a SQL Server Browser answers: a port, or a reason.

use weir_mssql::wire::browser;

/// Reads `data` as an answer about an instance, whose name is in it where there is one.
pub fn run(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let names = text.split(';').filter(|name| browser::question(name).is_some());
    for name in names.take(8).chain(["SQLEXPRESS"]) {
        if let Ok(port) = browser::port(data, name) {
            assert_ne!(port, 0);
            assert!(text.contains(&port.to_string()), "a port that nobody named");
        }
    }
}
