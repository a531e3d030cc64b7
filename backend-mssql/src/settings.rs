//! What the SQL Server backend is told about clients and endpoints, apart from what `weir_config` already types.

use std::{
    fmt,
    hash::{Hash, Hasher},
    sync::Arc,
};

use weir_core::{
    front::packing::{Packer, Unpacker, Unreadable},
    secret::Secret,
};

use crate::session::Features;
pub use crate::wire::TdsVersion;

/// What must be equal for a server connection to serve a client at all: what LOGIN7 fixes for the life of a connection
/// (TDS 3.2 "wire profile"). Everything else about a session can be put right on an open connection.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Profile {
    /// As which login of the database.
    pub login: LoginAs,
    /// The version decides the layout of tokens; 8.0 has that of 7.4, and counts as it.
    pub tds_version: TdsVersion,
    /// `fODBC` or `fOLEDB`, which do the same: ANSI_DEFAULTS, no limit for TEXTSIZE, no implicit transactions, from the start
    /// and after every reset. Where it is known what a session has without them, see [`Baseline`](crate::session::Baseline),
    /// all have them.
    pub odbc: bool,
    /// `fReadOnlyIntent`: the database may route such logins to a secondary.
    pub read_only_intent: bool,
    /// XML comes in binary form (OptionFlags3).
    pub binary_xml: bool,
    /// Extensions that are asked for.
    pub features: Features,
}

/// Of the form in which profiles go to another process. Raised with every change.
const VERSION: u8 = 1;

impl Profile {
    /// What another process has to know of it. `None` for a login that was passed through: its password stays here.
    pub(crate) fn pack(&self) -> Option<Vec<u8>> {
        if self.login != LoginAs::Source {
            return None;
        }
        let mut out = Packer::new(VERSION);
        out.u32(self.tds_version.code());
        for flag in [self.odbc, self.read_only_intent, self.binary_xml, self.features.utf8] {
            out.flag(flag);
        }
        out.u8(self.features.json);
        out.u8(self.features.vector);
        out.finish()
    }

    /// The other way round.
    ///
    /// # Errors
    /// [`Unreadable`].
    pub(crate) fn unpack(bytes: &[u8]) -> Result<Self, Unreadable> {
        Unpacker::read(bytes, VERSION, |rest| {
            Some(Profile {
                login: LoginAs::Source,
                tds_version: TdsVersion::from_code(rest.u32()?)?,
                odbc: rest.flag()?,
                read_only_intent: rest.flag()?,
                binary_xml: rest.flag()?,
                features: Features {
                    utf8: rest.flag()?,
                    json: rest.u8()?,
                    vector: rest.u8()?,
                },
            })
        })
    }
}

/// Whose login a server connection has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum LoginAs {
    /// The one in the source's connection string.
    #[default]
    Source,
    /// A client's own, passed through.
    Client(Arc<ClientLogin>),
}

/// A login that a client gave, and a server accepted.
#[derive(Clone)]
pub struct ClientLogin {
    /// The login's name.
    pub user: String,
    /// Its password.
    pub password: Secret<String>,
    /// Tells passwords apart without looking at them: keyed with a secret of this process.
    pub digest: [u8; 32],
}

impl fmt::Debug for ClientLogin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientLogin")
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}

impl PartialEq for ClientLogin {
    fn eq(&self, other: &Self) -> bool {
        self.user == other.user && self.digest == other.digest
    }
}

impl Eq for ClientLogin {}

impl Hash for ClientLogin {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.user.hash(state);
        self.digest.hash(state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_travels_and_a_passed_through_login_does_not() {
        let profile = Profile {
            tds_version: TdsVersion::V7_3B,
            odbc: true,
            binary_xml: true,
            features: Features {
                utf8: true,
                json: 1,
                vector: 2,
            },
            ..Profile::default()
        };
        let bytes = profile.pack().expect("the source's own login");
        assert_eq!(Profile::unpack(&bytes), Ok(profile.clone()));
        assert!(Profile::unpack(&bytes[1..]).is_err() && Profile::unpack(b"").is_err());
        let login = LoginAs::Client(Arc::new(ClientLogin {
            user: "ann".into(),
            password: Secret::new("secret".into()),
            digest: [0; 32],
        }));
        assert_eq!(Profile { login, ..profile }.pack(), None);
    }
}
