//! A hostile server while we log in: it gets no password over an unproven line, and no memory.

use weir_postgres::login::{
    limits,
    server::recorder::{PasswordPolicy, Recorder, Verdict},
};

/// AuthenticationCleartextPassword and AuthenticationMD5Password.
const PASSWORD_REQUESTS: [&[u8]; 2] = [&[0, 0, 0, 3], &[0, 0, 0, 5]];

/// The first byte chooses the policy, the rest is what the server sends.
pub fn run(data: &[u8]) {
    let Some((choice, mut stream)) = data.split_first() else {
        return;
    };
    let policy = if choice % 2 == 0 {
        PasswordPolicy::ScramOnly
    } else {
        PasswordPolicy::Any
    };
    let mut recorder = Recorder::new(policy);
    while let Some((header, rest)) = stream.split_first_chunk::<5>() {
        let Ok(length) = recorder.header(*header) else { return };
        assert!(
            length <= limits::SERVER_LOGIN_MESSAGE,
            "{length} bytes of one message would be kept"
        );
        if rest.len() < length {
            break;
        }
        let (body, rest) = rest.split_at(length);
        let verdict = recorder.judge(header[0], body);
        if policy == PasswordPolicy::ScramOnly && header[0] == b'R' {
            let asks = PASSWORD_REQUESTS.iter().any(|request| body.starts_with(request));
            assert!(
                !asks || matches!(verdict, Verdict::Veto(_)),
                "a password would leave over an unproven line"
            );
        }
        if let Verdict::Veto(_) | Verdict::Ready = verdict {
            break;
        }
        stream = rest;
    }
    let record = recorder.into_record();
    assert!(record.parameters.len() <= limits::SERVER_PARAMETERS);
}
