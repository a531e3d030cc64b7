//! What a login without ODBC's defaults starts with, as settings: with these set, a connection that has ODBC's is as good
//! (TDS 3.1, 6.2). So clients of all drivers can take turns on one server connection.

use super::settings::{Key, Setting, Settings};

/// The settings of such a session. Empty for clients whose connections have what they expect.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Baseline(pub(crate) Settings);

/// Options by their bits in `@@OPTIONS`.
const OPTIONS: [(i32, Key); 13] = [
    (2, Key::ImplicitTransactions),
    (4, Key::CursorCloseOnCommit),
    (8, Key::AnsiWarnings),
    (16, Key::AnsiPadding),
    (32, Key::AnsiNulls),
    (64, Key::ArithAbort),
    (128, Key::ArithIgnore),
    (256, Key::QuotedIdentifier),
    (512, Key::NoCount),
    (1024, Key::AnsiNullDefaultOn),
    (4096, Key::ConcatNullYieldsNull),
    (8192, Key::NumericRoundAbort),
    (16384, Key::XactAbort),
];

impl Baseline {
    /// From what a session says of itself right behind its login; `None` for options that no SET makes, and for
    /// ANSI_NULL_DFLT_OFF, which shares a switch with another one.
    pub(crate) fn of(options: i32, text_size: i32) -> Option<Self> {
        let known = OPTIONS.iter().fold(0, |known, (bit, _)| known | bit);
        if options & !known != 0 {
            return None;
        }
        let mut settings = Settings::default();
        for (bit, key) in OPTIONS {
            let value = if options & bit == 0 { "OFF" } else { "ON" };
            settings.set(Setting {
                key,
                value: value.into(),
            });
        }
        settings.set(Setting {
            key: Key::TextSize,
            value: text_size.to_string().into(),
        });
        Some(Baseline(settings))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_option_has_a_value() {
        let Baseline(settings) = Baseline::of(4096 | 512, 4096).unwrap();
        assert_eq!(settings.value(Key::ConcatNullYieldsNull), Some("ON"));
        assert_eq!(settings.value(Key::NoCount), Some("ON"));
        assert_eq!(settings.value(Key::AnsiNulls), Some("OFF"));
        assert_eq!(settings.value(Key::TextSize), Some("4096"));
        assert_eq!(settings.since(&Settings::default()).unwrap().count(), OPTIONS.len() + 1);
    }

    #[test]
    fn what_no_set_makes_is_left_to_a_connection_of_its_own() {
        assert_eq!(Baseline::of(1, 4096), None);
        assert_eq!(Baseline::of(2048, 4096), None);
        assert_eq!(Baseline::of(1 << 20, 4096), None);
    }
}
