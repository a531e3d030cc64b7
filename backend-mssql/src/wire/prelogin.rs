//! PRELOGIN: what client and server tell each other in the clear before the login.
//!
//! Pure. Invariants: options are found only inside of the message, and each once; nothing is allocated by a claimed
//! length. Must not know what a policy makes of it.

use super::read::{Reader, whole};
use crate::limits;

/// Tokens of the options (TDS 2.1).
pub mod option {
    #![allow(missing_docs, reason = "the names are the protocol's own")]
    pub const VERSION: u8 = 0x00;
    pub const ENCRYPTION: u8 = 0x01;
    pub const INSTANCE: u8 = 0x02;
    pub const THREAD_ID: u8 = 0x03;
    pub const MARS: u8 = 0x04;
    pub const TRACE_ID: u8 = 0x05;
    pub const FEDERATED_AUTHENTICATION: u8 = 0x06;
    pub const NONCE: u8 = 0x07;
    pub const END: u8 = 0xff;
}

/// The encryption byte (TDS 2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encryption {
    /// 00: only the login.
    Off,
    /// 01: everything.
    On,
    /// 02: there is none.
    NotSupported,
    /// 03: everything, or no connection.
    Required,
    /// Anything else, such as the bit that asks for a client certificate.
    Other(u8),
}

impl Encryption {
    /// From the wire.
    pub fn from_byte(byte: u8) -> Self {
        match byte {
            0 => Encryption::Off,
            1 => Encryption::On,
            2 => Encryption::NotSupported,
            3 => Encryption::Required,
            other => Encryption::Other(other),
        }
    }

    /// As it travels.
    pub fn to_byte(self) -> u8 {
        match self {
            Encryption::Off => 0,
            Encryption::On => 1,
            Encryption::NotSupported => 2,
            Encryption::Required => 3,
            Encryption::Other(byte) => byte,
        }
    }
}

/// Version of a server or driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct ProductVersion {
    /// 16 is SQL Server 2022. Drivers take less than 9 for TDS 7.1.
    pub major: u8,
    /// Minor.
    pub minor: u8,
    /// Build.
    pub build: u16,
    /// Zero from servers.
    pub sub_build: u16,
}

impl ProductVersion {
    /// As it travels in PRELOGIN.
    pub fn to_bytes(self) -> [u8; 6] {
        let [high, low] = self.build.to_be_bytes();
        let [sub_low, sub_high] = self.sub_build.to_le_bytes();
        [self.major, self.minor, high, low, sub_low, sub_high]
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let &[major, minor, high, low, sub_low, sub_high] = bytes.first_chunk::<6>()?;
        Some(ProductVersion {
            major,
            minor,
            build: u16::from_be_bytes([high, low]),
            sub_build: u16::from_le_bytes([sub_low, sub_high]),
        })
    }
}

/// A PRELOGIN message. An option that is absent is `None`; one without data is not absent.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct PreLogin {
    /// VERSION; must be there.
    pub version: ProductVersion,
    /// ENCRYPTION.
    pub encryption: Option<Encryption>,
    /// INSTOPT: the instance's name from a client, without its terminator; one byte from a server (0: it matches).
    pub instance: Option<Vec<u8>>,
    /// THREADID.
    pub thread_id: Option<Vec<u8>>,
    /// MARS: multiple active result sets.
    pub mars: Option<u8>,
    /// TRACEID: connection id, activity id, sequence.
    pub trace_id: Option<Vec<u8>>,
    /// FEDAUTHREQUIRED.
    pub federated_authentication: Option<u8>,
    /// NONCEOPT.
    pub nonce: Option<Vec<u8>>,
}

impl PreLogin {
    /// Reads the payload of a message (TDS 2.1). Unknown options are skipped.
    ///
    /// # Errors
    /// What is wrong with it: VERSION is not first, an option points outside of the message, occurs twice or is too long.
    pub fn parse(payload: &[u8]) -> Result<PreLogin, &'static str> {
        let mut table = Reader::new(payload);
        let mut parsed = PreLogin::default();
        let mut seen = 0_u32;
        for index in 0..=limits::MAX_PRELOGIN_OPTIONS {
            let token = whole(table.u8(), TOO_SHORT)?;
            if token == option::END {
                return match index {
                    0 => Err("PRELOGIN without VERSION"),
                    _ => Ok(parsed),
                };
            }
            let offset = usize::from(whole(table.u16_be(), TOO_SHORT)?);
            let length = usize::from(whole(table.u16_be(), TOO_SHORT)?);
            let data = payload
                .get(offset..offset + length)
                .ok_or("PRELOGIN option outside of the message")?;
            if (index == 0) != (token == option::VERSION) {
                return Err("PRELOGIN must begin with VERSION");
            }
            // Unknown options are skipped, however often they come.
            let bit = 1_u32.checked_shl(u32::from(token)).unwrap_or(0);
            if seen & bit != 0 {
                return Err("PRELOGIN option twice");
            }
            seen |= bit;
            parsed.set(token, data)?;
        }
        Err("too many PRELOGIN options")
    }

    fn set(&mut self, token: u8, data: &[u8]) -> Result<(), &'static str> {
        if data.len() > limits::MAX_PRELOGIN_OPTION {
            return Err("PRELOGIN option too long");
        }
        match token {
            option::VERSION => self.version = ProductVersion::from_bytes(data).ok_or("PRELOGIN VERSION too short")?,
            option::ENCRYPTION => {
                let byte = *data.first().ok_or("PRELOGIN ENCRYPTION without a value")?;
                self.encryption = Some(Encryption::from_byte(byte));
            }
            option::INSTANCE => self.instance = Some(data.strip_suffix(&[0]).unwrap_or(data).to_vec()),
            option::THREAD_ID => self.thread_id = Some(data.to_vec()),
            option::MARS => self.mars = Some(data.first().copied().unwrap_or(0)),
            option::TRACE_ID => self.trace_id = Some(data.to_vec()),
            option::FEDERATED_AUTHENTICATION => self.federated_authentication = data.first().copied(),
            option::NONCE => self.nonce = Some(data.to_vec()),
            _ => {}
        }
        Ok(())
    }

    /// The payload of a message that a client sends: options in the order of their tokens.
    pub fn to_client_payload(&self) -> Vec<u8> {
        // A client terminates the instance's name.
        let instance = self.instance.as_ref().map(|name| [name, &[0][..]].concat());
        self.payload(instance)
    }

    /// The payload of a server's answer.
    pub fn to_server_payload(&self) -> Vec<u8> {
        self.payload(self.instance.clone())
    }

    fn payload(&self, instance: Option<Vec<u8>>) -> Vec<u8> {
        let byte = |value: Option<u8>| value.map(|value| vec![value]);
        let options = [
            (option::VERSION, Some(self.version.to_bytes().to_vec())),
            (option::ENCRYPTION, byte(self.encryption.map(Encryption::to_byte))),
            (option::INSTANCE, instance),
            (option::THREAD_ID, self.thread_id.clone()),
            (option::MARS, byte(self.mars)),
            (option::TRACE_ID, self.trace_id.clone()),
            (option::FEDERATED_AUTHENTICATION, byte(self.federated_authentication)),
            (option::NONCE, self.nonce.clone()),
        ];
        let present: Vec<(u8, Vec<u8>)> = options
            .into_iter()
            .filter_map(|(token, data)| Some((token, data?)))
            .collect();
        let mut out = Vec::new();
        let mut offset = present.len() * 5 + 1;
        for (token, data) in &present {
            out.push(*token);
            out.extend_from_slice(&(offset as u16).to_be_bytes());
            out.extend_from_slice(&(data.len() as u16).to_be_bytes());
            offset += data.len();
        }
        out.push(option::END);
        for (_, data) in present {
            out.extend_from_slice(&data);
        }
        out
    }
}

const TOO_SHORT: &str = "PRELOGIN is cut short";
