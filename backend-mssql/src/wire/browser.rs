//! The SQL Server Browser: on which port does an instance listen?
//!
//! Pure. One datagram each way (MC-SQLR 2.2.2, 2.2.5). The answer comes from the network in clear: it is bounded, it must
//! name the instance that was asked for, and all that is taken from it is a port on the very host that was asked.

use crate::limits;

/// CLNT_UCAST_INST: asks for one instance.
const ASK: u8 = 0x04;

/// SVR_RESP
const ANSWER: u8 = 0x05;

/// The question; `None` for a name that no instance can have.
pub fn question(instance: &str) -> Option<Vec<u8>> {
    let is_name = !instance.is_empty()
        && instance.len() <= limits::MAX_INSTANCE_NAME
        && !instance
            .chars()
            .any(|character| character.is_control() || character == ';');
    is_name.then(|| {
        let mut bytes = vec![ASK];
        bytes.extend_from_slice(instance.as_bytes());
        bytes.push(0);
        bytes
    })
}

/// Why there is no port in a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoPort {
    /// It answers the question: the instance is there, and cannot be reached.
    Answered(&'static str),
    /// It is none of the browser's, or about something else. Whoever sent it, the answer may still come.
    Nonsense(&'static str),
}

/// The port of the instance, from a datagram.
///
/// # Errors
/// What is wrong with it, or that the instance does not listen on TCP.
pub fn port(answer: &[u8], instance: &str) -> Result<u16, NoPort> {
    let text = text_of(answer).map_err(NoPort::Nonsense)?;
    // Keys are ASCII; names in another code page are compared as what they are replaced with, and do not match.
    let text = String::from_utf8_lossy(text);
    let Some((first, _)) = text.split_once(";;") else {
        return Err(NoPort::Nonsense("it does not end"));
    };
    let words: Vec<&str> = first.split(';').collect();
    let (pairs, _) = words.as_chunks::<2>();
    let value = |wanted: &str| {
        let found = pairs.iter().find(|[key, _]| key.eq_ignore_ascii_case(wanted));
        found.map(|[_, value]| *value)
    };
    if !value("InstanceName").is_some_and(|name| name.eq_ignore_ascii_case(instance)) {
        return Err(NoPort::Nonsense("it is about another instance"));
    }
    let port = value("tcp").ok_or(NoPort::Answered("the instance does not listen on TCP"))?;
    port.parse()
        .ok()
        .filter(|port| *port != 0)
        .ok_or(NoPort::Nonsense("its port is not a number between 1 and 65535"))
}

fn text_of(answer: &[u8]) -> Result<&[u8], &'static str> {
    let [ANSWER, low, high, text @ ..] = answer else {
        return Err("it is no answer of a browser service");
    };
    let length = usize::from(u16::from_le_bytes([*low, *high]));
    if length != text.len() || length > limits::MAX_BROWSER_ANSWER {
        return Err("it is longer or shorter than it says");
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(text: &str) -> Vec<u8> {
        let mut bytes = vec![ANSWER];
        bytes.extend_from_slice(&(text.len() as u16).to_le_bytes());
        bytes.extend_from_slice(text.as_bytes());
        bytes
    }

    #[test]
    fn the_question_is_the_name_with_a_zero_behind_it() {
        assert_eq!(question("SQLEXPRESS").as_deref(), Some(&b"\x04SQLEXPRESS\0"[..]));
        let long = "x".repeat(limits::MAX_INSTANCE_NAME + 1);
        for odd in ["", "a\0b", "a;b", &long] {
            assert_eq!(question(odd), None, "{odd:?}");
        }
    }

    #[test]
    fn the_port_is_the_one_for_tcp() {
        let text =
            "ServerName;HOST;InstanceName;SqlExpress;IsClustered;No;Version;16.0.1000.6;tcp;49160;np;\\\\HOST\\pipe;;";
        assert_eq!(port(&answer(text), "SQLEXPRESS"), Ok(49160));
        // SQL Server adds what it likes, in any order.
        assert_eq!(port(&answer("tcp;1;InstanceName;i;more;x;;"), "I"), Ok(1));
    }

    #[test]
    fn what_is_wrong_is_told_and_nothing_else_is_believed() {
        for (bytes, why) in [
            (vec![], "no answer"),
            (b"\x04\x02\x00;;".to_vec(), "no answer"),
            (b"\x05\x09\x00;;".to_vec(), "longer or shorter"),
            (answer("InstanceName;i;tcp;1"), "does not end"),
            (answer("InstanceName;other;tcp;1;;"), "another instance"),
            (
                answer("InstanceName;other;tcp;1;;InstanceName;i;tcp;2;;"),
                "another instance",
            ),
            (answer("tcp;1;;"), "another instance"),
            (answer("InstanceName;i;np;x;;"), "listen on TCP"),
            (answer("InstanceName;i;tcp;0;;"), "not a number"),
            (answer("InstanceName;i;tcp;65536;;"), "not a number"),
            (answer("InstanceName;i;tcp;-1;;"), "not a number"),
            // A key in the place of a value.
            (answer("x;InstanceName;i;tcp;1;;"), "another instance"),
            (
                answer(&format!("InstanceName;i;tcp;1;;{}", "x".repeat(2_000))),
                "longer",
            ),
        ] {
            let (NoPort::Answered(told) | NoPort::Nonsense(told)) = port(&bytes, "i").expect_err("nonsense");
            assert!(told.contains(why), "{bytes:?}: {told}");
        }
        // Only this one is worth not to wait for another.
        let only = port(&answer("InstanceName;i;np;x;;"), "i");
        assert_eq!(only, Err(NoPort::Answered("the instance does not listen on TCP")));
        let mut odd = answer("InstanceName;i;tcp;77;;");
        for at in 0..odd.len() {
            for flip in [0xff, 0x01, 0x80] {
                odd[at] ^= flip;
                let _ = port(&odd, "i");
                odd[at] ^= flip;
            }
        }
    }
}
