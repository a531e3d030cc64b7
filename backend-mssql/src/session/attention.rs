//! Attentions are counted: the server answers each of them with one DONE that has the attention bit, and a connection
//! that owes one would hand it to the next client (TDS 8).

/// Attentions sent on a server connection, and not acknowledged yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Attentions {
    owed: u32,
}

impl Attentions {
    pub(crate) fn sent(&mut self) {
        self.owed = self.owed.saturating_add(1);
    }

    /// One came back; `false` if nobody asked for it.
    #[must_use]
    pub(crate) fn acknowledged(&mut self) -> bool {
        let asked = self.owed > 0;
        self.owed = self.owed.saturating_sub(1);
        asked
    }

    pub(crate) fn is_owed(self) -> bool {
        self.owed > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_acknowledged_once() {
        let mut attentions = Attentions::default();
        assert!(!attentions.acknowledged());
        attentions.sent();
        attentions.sent();
        assert!(attentions.acknowledged() && attentions.is_owed());
        assert!(attentions.acknowledged() && !attentions.is_owed());
        assert!(!attentions.acknowledged());
    }
}
