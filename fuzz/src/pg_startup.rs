//! The handshake of clients, byte by byte and at once: the verdict is the same.

use weir_postgres::{
    login::handshake::{Handshake, TlsOffer, Verdict},
    wire::startup::MAX_STARTUP_PACKET,
};

/// The first byte says whether TLS is offered, the rest is what the peer sends.
pub fn run(data: &[u8]) {
    let Some((first, stream)) = data.split_first() else {
        return;
    };
    let offer = || match first % 2 {
        0 => TlsOffer::Available,
        _ => TlsOffer::Unavailable,
    };
    let at_once = Handshake::new(offer()).judge(stream);
    for given in 0..=stream.len() {
        let verdict = Handshake::new(offer()).judge(&stream[..given]);
        match verdict {
            Verdict::Need(count) => {
                assert!(count > given, "Need({count}) with {given} bytes given");
                assert!(count <= MAX_STARTUP_PACKET, "Need({count}) is beyond a start-up packet");
            }
            // What stands behind an answered request arrived in clear, before the answer: it is refused when it is seen.
            Verdict::SayNo { taken, .. } | Verdict::Secure { taken, .. } if taken < stream.len() => {
                assert!(
                    matches!(at_once, Verdict::Refuse(_)),
                    "bytes in clear behind a request were let through"
                );
                follow(verdict, stream);
                return;
            }
            verdict => {
                assert_eq!(
                    verdict,
                    at_once,
                    "another verdict after {given} of {} bytes",
                    stream.len()
                );
                follow(verdict, stream);
                return;
            }
        }
    }
}

/// Goes on behind a request that was answered.
fn follow(verdict: Verdict, stream: &[u8]) {
    let (taken, next) = match verdict {
        Verdict::SayNo { taken, next } | Verdict::Secure { taken, next } => (taken, next),
        Verdict::Login { taken, login } => {
            assert!(taken <= stream.len());
            assert!(!login.user.is_empty(), "a login without a name");
            return;
        }
        _ => return,
    };
    assert!(taken <= stream.len() && taken > 0);
    match next.judge(&stream[taken..]) {
        Verdict::Need(_) | Verdict::Close(_) | Verdict::Refuse(_) | Verdict::Cancel { .. } => {}
        Verdict::SayNo { taken: more, .. } | Verdict::Secure { taken: more, .. } => {
            assert!(taken + more <= stream.len())
        }
        Verdict::Login { taken: more, .. } => assert!(taken + more <= stream.len()),
        Verdict::SecureDirectly(_) => panic!("TLS at once, after something was said in clear"),
    }
}
