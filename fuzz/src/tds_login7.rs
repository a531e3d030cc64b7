//! LOGIN7, and the tokens that answer it: what is read can be written, and is then the same.

use weir_mssql::wire::{
    TdsVersion, feature_ext,
    login_ack::LoginAck,
    login7::{Login7, flags3},
};

/// Reads `data` as a message's payload, and as tokens.
pub fn run(data: &[u8]) {
    let _ = LoginAck::parse(data);
    if let Ok((features, length)) = feature_ext::parse_ack(data) {
        assert!(length <= data.len() && features.len() <= length);
    }
    let Ok(mut read) = Login7::parse(data) else { return };
    let said: usize = read.features.iter().map(|feature| feature.data().len()).sum();
    assert!(said <= data.len() && read.user.len() <= data.len() * 2);
    assert!(read.password.expose().encode_utf16().count() <= 128);
    // The narrower layout of 7.1 is never written; and the flag follows the list.
    if read.version().is_some_and(|version| version >= TdsVersion::V7_2) {
        match read.features.is_empty() {
            true => read.flags3 &= !flags3::EXTENSION,
            false => read.flags3 |= flags3::EXTENSION,
        }
        if let Ok(payload) = read.to_payload() {
            assert_eq!(Login7::parse(&payload).as_ref(), Ok(&read));
        }
    }
}
