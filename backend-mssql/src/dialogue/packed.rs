//! What another process has to know of a client's dialogue, as bytes: the form in which clients are handed over.
//!
//! Invariant: what is read back is what was written, or an error; see [`packing`](weir_core::front::packing) for the
//! rest. Pure. Must not know what the fields mean.

use weir_core::front::packing::{Packer, Unpacker, Unreadable};

/// Of the form. Raised with every change: a client that cannot be read stays where it is.
const VERSION: u8 = 1;

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Packed {
    /// Session state follows the client.
    pub follows: bool,
    /// The version of the protocol, as LOGIN7 numbers it.
    pub tds_version: u32,
    /// Bytes of a packet, header included.
    pub packet_size: u16,
    /// As in the last packet that it was sent.
    pub spid: u16,
    /// The servers of its source tell where transactions begin and end.
    pub tells_transactions: bool,
    /// The database by which it asked for its source; empty when it named none.
    pub asked_database: String,
    /// What a reset returns to.
    pub login: PackedLikeness,
    /// What it has set.
    pub now: PackedLikeness,
    /// The last handle that it was given.
    pub last_handle: u32,
    /// What it has prepared.
    pub statements: Vec<PackedStatement>,
    /// A transaction that has begun and that no server knows.
    pub transaction: Option<PackedTransaction>,
    /// Its requests so far; the last that wrote, and the last that may have inserted.
    pub requests: [u32; 3],
    /// What its user is known to ask for.
    pub asked_values: u8,
    /// It has still to be told that it needs its server connection no more; the number of the reason.
    pub pin_over: Option<u8>,
}

/// What a session is like.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PackedLikeness {
    /// Names of SET options, and their values.
    pub settings: Vec<(String, String)>,
    /// The database.
    pub database: String,
    /// The isolation level, as transaction requests number it.
    pub isolation: u8,
}

/// A prepared statement.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PackedStatement {
    /// The client's handle.
    pub handle: u32,
    /// It stands for a procedure, not for a text.
    pub is_procedure: bool,
    /// The parameters of the call that prepared it.
    pub parameters: Vec<u8>,
}

/// How a transaction was begun.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PackedTransaction {
    /// As transaction requests number it; 0: the session's.
    pub isolation: u8,
    /// By a batch, not by a request of its own kind.
    pub in_batch: bool,
    /// Its number, as the client was told; 0: none was told.
    pub descriptor: u64,
}

impl Packed {
    /// As bytes; `None` if they are too many.
    pub fn write(&self) -> Option<Vec<u8>> {
        let mut out = Packer::new(VERSION);
        out.flag(self.follows);
        out.u32(self.tds_version);
        out.u16(self.packet_size);
        out.u16(self.spid);
        out.flag(self.tells_transactions);
        out.text(&self.asked_database);
        self.login.write(&mut out);
        self.now.write(&mut out);
        out.u32(self.last_handle);
        out.list(&self.statements, |out, statement| {
            out.u32(statement.handle);
            out.flag(statement.is_procedure);
            out.bytes(&statement.parameters);
        });
        out.flag(self.transaction.is_some());
        if let Some(transaction) = &self.transaction {
            out.u8(transaction.isolation);
            out.flag(transaction.in_batch);
            out.u64(transaction.descriptor);
        }
        self.requests.iter().for_each(|number| out.u32(*number));
        out.u8(self.asked_values);
        out.flag(self.pin_over.is_some());
        if let Some(reason) = self.pin_over {
            out.u8(reason);
        }
        out.finish()
    }

    /// From bytes.
    ///
    /// # Errors
    /// [`Unreadable`].
    pub fn read(bytes: &[u8]) -> Result<Self, Unreadable> {
        Unpacker::read(bytes, VERSION, fields)
    }
}

impl PackedLikeness {
    fn write(&self, out: &mut Packer) {
        out.list(&self.settings, |out, (name, value)| {
            out.text(name);
            out.text(value);
        });
        out.text(&self.database);
        out.u8(self.isolation);
    }

    fn read(rest: &mut Unpacker<'_>) -> Option<Self> {
        Some(PackedLikeness {
            settings: rest.list(|rest| Some((rest.text()?, rest.text()?)))?,
            database: rest.text()?,
            isolation: rest.u8()?,
        })
    }
}

fn fields(rest: &mut Unpacker<'_>) -> Option<Packed> {
    // In the order in which they were written, which is the order of evaluation.
    Some(Packed {
        follows: rest.flag()?,
        tds_version: rest.u32()?,
        packet_size: rest.u16()?,
        spid: rest.u16()?,
        tells_transactions: rest.flag()?,
        asked_database: rest.text()?,
        login: PackedLikeness::read(rest)?,
        now: PackedLikeness::read(rest)?,
        last_handle: rest.u32()?,
        statements: rest.list(|rest| {
            Some(PackedStatement {
                handle: rest.u32()?,
                is_procedure: rest.flag()?,
                parameters: rest.bytes()?,
            })
        })?,
        transaction: match rest.flag()? {
            true => Some(PackedTransaction {
                isolation: rest.u8()?,
                in_batch: rest.flag()?,
                descriptor: rest.u64()?,
            }),
            false => None,
        },
        requests: [rest.u32()?, rest.u32()?, rest.u32()?],
        asked_values: rest.u8()?,
        pin_over: match rest.flag()? {
            true => Some(rest.u8()?),
            false => None,
        },
    })
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, option, prelude::*};

    use super::*;

    fn likeness() -> impl Strategy<Value = PackedLikeness> {
        (vec((".{0,8}", ".{0,8}"), 0..3), ".{0,8}", any::<u8>()).prop_map(|(settings, database, isolation)| {
            PackedLikeness {
                settings,
                database,
                isolation,
            }
        })
    }

    fn packed() -> impl Strategy<Value = Packed> {
        let statement = (any::<u32>(), any::<bool>(), vec(any::<u8>(), 0..20));
        let statement = statement.prop_map(|(handle, is_procedure, parameters)| PackedStatement {
            handle,
            is_procedure,
            parameters,
        });
        let transaction = any::<(u8, bool, u64)>().prop_map(|(isolation, in_batch, descriptor)| PackedTransaction {
            isolation,
            in_batch,
            descriptor,
        });
        (
            any::<(bool, u32, u16, u16, bool, u32, [u32; 3], u8)>(),
            ".{0,8}",
            (likeness(), likeness()),
            vec(statement, 0..4),
            option::of(transaction),
            any::<Option<u8>>(),
        )
            .prop_map(
                |(numbers, asked_database, (login, now), statements, transaction, pin_over)| Packed {
                    follows: numbers.0,
                    tds_version: numbers.1,
                    packet_size: numbers.2,
                    spid: numbers.3,
                    tells_transactions: numbers.4,
                    asked_database,
                    login,
                    now,
                    last_handle: numbers.5,
                    statements,
                    transaction,
                    requests: numbers.6,
                    asked_values: numbers.7,
                    pin_over,
                },
            )
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(packed in packed()) {
            let bytes = packed.write().expect("short");
            prop_assert_eq!(Packed::read(&bytes), Ok(packed));
            for end in 0..bytes.len() {
                prop_assert!(Packed::read(&bytes[..end]).is_err());
            }
            prop_assert_eq!(Packed::read(&[&bytes[..], b"x"].concat()), Err(Unreadable::Malformed));
        }

        #[test]
        fn a_flipped_byte_is_an_error_or_other_fields_but_no_panic(packed in packed(), at: prop::sample::Index, to: u8) {
            let mut bytes = packed.write().expect("short");
            let at = at.index(bytes.len());
            bytes[at] = to;
            if let Ok(read) = Packed::read(&bytes) {
                prop_assert_eq!(read.write(), Some(bytes));
            }
        }
    }
}
