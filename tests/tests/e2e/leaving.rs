//! How a client that has made its session dirty may leave, in whichever protocol.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Clean,
    /// The connection is reset, not ended.
    AtRest,
    InTransaction,
    InMidAnswer,
    AfterAnError,
    AfterACancel,
    /// Does not leave at all. The next client may find the connection pinned.
    Stays,
}

pub(crate) const WAYS: &[Way] = &[
    Way::Clean,
    Way::AtRest,
    Way::InTransaction,
    Way::InMidAnswer,
    Way::AfterAnError,
    Way::AfterACancel,
    Way::Stays,
];
