//! PRELOGIN: what is read can be written, and is then the same.

use weir_mssql::wire::prelogin::PreLogin;

/// Reads `data` as a message's payload.
pub fn run(data: &[u8]) {
    let Ok(read) = PreLogin::parse(data) else { return };
    for text in [&read.instance, &read.thread_id, &read.trace_id, &read.nonce] {
        assert!(text.as_ref().is_none_or(|text| text.len() <= data.len()));
    }
    assert_eq!(PreLogin::parse(&read.to_client_payload()).as_ref(), Ok(&read));
    let answer = PreLogin::parse(&read.to_server_payload());
    assert_eq!(answer.map(|answer| answer.mars), Ok(read.mars));
}
