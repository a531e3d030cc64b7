//! LOGIN7: the login of every client since TDS 7.
//!
//! Pure. Invariants: every offset is checked against the message and every text against the protocol's limit before it
//! is read; passwords exist only as [`Secret`] and are wiped. Must not know who may log in.

use bytes::{BufMut, BytesMut};
use weir_core::secret::Secret;
use zeroize::{Zeroize, Zeroizing};

use super::{
    feature_ext::{self, Feature},
    read::{Reader, whole},
    utf16::{self, Utf16},
    version::TdsVersion,
};
use crate::limits;

/// Bytes of the fixed part from TDS 7.2 on; 7.1 lacks the last eight.
const FIXED: usize = 94;
const FIXED_7_1: usize = 86;

/// OptionFlags1 (TDS 3.1).
pub mod flags1 {
    /// Tell about USE with ENVCHANGE 1 and INFO 5701.
    pub const USE_DATABASE: u8 = 0x20;
    /// The initial database must exist.
    pub const DATABASE_FATAL: u8 = 0x40;
    /// Tell about the language with ENVCHANGE 2 and INFO 5703.
    pub const SET_LANGUAGE: u8 = 0x80;
}

/// OptionFlags2 (TDS 3.1).
pub mod flags2 {
    /// The initial language must exist.
    pub const LANGUAGE_FATAL: u8 = 0x01;
    /// Session defaults as ODBC wants them.
    pub const ODBC: u8 = 0x02;
    /// User type: zero is a normal one.
    pub const USER_TYPE: u8 = 0x70;
    /// Windows authentication.
    pub const INTEGRATED_SECURITY: u8 = 0x80;
}

/// TypeFlags (TDS 3.1).
pub mod type_flags {
    /// Session defaults as OLE DB wants them.
    pub const OLEDB: u8 = 0x10;
    /// `ApplicationIntent=ReadOnly`
    pub const READ_ONLY_INTENT: u8 = 0x20;
}

/// OptionFlags3 (TDS 3.1).
pub mod flags3 {
    /// A new password comes along.
    pub const CHANGE_PASSWORD: u8 = 0x01;
    /// XML in binary form.
    pub const BINARY_XML: u8 = 0x02;
    /// A private instance of SQL Server Express.
    pub const USER_INSTANCE: u8 = 0x04;
    /// The client knows collations that came after its TDS version.
    pub const UNKNOWN_COLLATIONS: u8 = 0x08;
    /// Feature extensions come along.
    pub const EXTENSION: u8 = 0x10;
}

/// A login. Texts that are absent are empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Login7 {
    /// TDSVersion as it travelled; see [`TdsVersion::from_code`].
    pub tds_version: u32,
    /// Packet size that the client would like; 0: as the server likes.
    pub packet_size: u32,
    /// ClientProgVer.
    pub program_version: u32,
    /// ClientPID.
    pub process_id: u32,
    /// ConnectionID.
    pub connection_id: u32,
    /// See [`flags1`].
    pub flags1: u8,
    /// See [`flags2`].
    pub flags2: u8,
    /// See [`type_flags`].
    pub type_flags: u8,
    /// See [`flags3`].
    pub flags3: u8,
    /// ClientTimeZone.
    pub time_zone: u32,
    /// ClientLCID.
    pub lcid: u32,
    /// The client's host.
    pub host: String,
    /// The login.
    pub user: String,
    /// Its password.
    pub password: Secret<String>,
    /// The application's name.
    pub application: String,
    /// The server as the client knows it.
    pub server: String,
    /// CltIntName: the driver's library.
    pub library: String,
    /// The initial language.
    pub language: String,
    /// The initial database.
    pub database: String,
    /// ClientID: usually a network address.
    pub client_id: [u8; 6],
    /// SSPI data.
    pub sspi: Secret<Vec<u8>>,
    /// AtchDBFile: a database file to attach.
    pub attach_file: String,
    /// ChangePassword.
    pub new_password: Secret<String>,
    /// What the client can do beyond its TDS version; empty without the EXTENSION flag.
    pub features: Vec<Feature>,
}

impl Login7 {
    /// The version, if it is one that exists and is at least 7.1.
    pub fn version(&self) -> Option<TdsVersion> {
        TdsVersion::from_code(self.tds_version)
    }

    /// What the client says about one feature; `None` if it says nothing.
    pub fn feature(&self, id: u8) -> Option<&[u8]> {
        self.features.iter().find(|feature| feature.id == id).map(Feature::data)
    }

    /// Reads the payload of a message (TDS 3.1, 3.2).
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(payload: &[u8]) -> Result<Login7, &'static str> {
        if payload.len() > limits::MAX_LOGIN7 {
            return Err("LOGIN7 is too long");
        }
        let mut fixed = Reader::new(payload);
        whole(Login7::fixed(&mut fixed, payload), "LOGIN7 is cut short")?
    }

    fn fixed(fixed: &mut Reader<'_>, payload: &[u8]) -> super::read::Read<Result<Login7, &'static str>> {
        if fixed.u32()? as usize != payload.len() {
            return Ok(Err("the length in LOGIN7 is not that of the message"));
        }
        let mut login = Login7 {
            tds_version: fixed.u32()?,
            packet_size: fixed.u32()?,
            program_version: fixed.u32()?,
            process_id: fixed.u32()?,
            connection_id: fixed.u32()?,
            flags1: fixed.u8()?,
            flags2: fixed.u8()?,
            type_flags: fixed.u8()?,
            flags3: fixed.u8()?,
            time_zone: fixed.u32()?,
            lcid: fixed.u32()?,
            ..Login7::default()
        };
        let mut slots = [Slot::default(); 9];
        for slot in &mut slots {
            *slot = Slot::read(fixed)?;
        }
        login.client_id.copy_from_slice(fixed.take(6)?);
        let (sspi, attach_file) = (Slot::read(fixed)?, Slot::read(fixed)?);
        // A version that is not known is refused by whoever asks; its layout is taken for the newest one.
        let is_wide = login.version().is_none_or(TdsVersion::is_wide);
        let (new_password, sspi_long) = match is_wide {
            true => (Slot::read(fixed)?, fixed.u32()?),
            false => (Slot::default(), 0),
        };
        let data = Data {
            payload,
            start: if is_wide { FIXED } else { FIXED_7_1 },
        };
        Ok(login.texts(data, slots, attach_file, new_password).and_then(|()| {
            login.sspi = Secret::new(data.sspi(sspi, sspi_long)?.to_vec());
            if login.flags3 & flags3::EXTENSION != 0 && is_wide {
                login.features = data.features(slots[EXTENSION])?;
            }
            Ok(login)
        }))
    }

    fn texts(
        &mut self,
        data: Data<'_>,
        slots: [Slot; 9],
        attach_file: Slot,
        new_password: Slot,
    ) -> Result<(), &'static str> {
        let [
            host,
            user,
            password,
            application,
            server,
            _,
            library,
            language,
            database,
        ] = slots;
        let most = limits::MAX_LOGIN_TEXT;
        self.host = data.text(host, most)?;
        self.user = data.text(user, most)?;
        self.password = data.password(password)?;
        self.application = data.text(application, most)?;
        self.server = data.text(server, most)?;
        self.library = data.text(library, most)?;
        self.language = data.text(language, most)?;
        self.database = data.text(database, most)?;
        self.attach_file = data.text(attach_file, limits::MAX_LOGIN_FILE)?;
        self.new_password = data.password(new_password)?;
        Ok(())
    }

    /// The payload of a message, in the layout of its version. The EXTENSION flag follows `features`.
    ///
    /// # Errors
    /// A text is longer than the protocol allows, or its version has no place for it.
    pub fn to_payload(&self) -> Result<Zeroizing<Vec<u8>>, &'static str> {
        // Everything has a bound, so the vector never moves and leaves no copy of the password.
        let features: usize = self.features.iter().map(|feature| feature.data().len() + 5).sum();
        let is_wide = self.version().is_none_or(TdsVersion::is_wide);
        if !is_wide && (!self.features.is_empty() || !self.new_password.expose().is_empty()) {
            return Err("TDS 7.1 knows neither extensions nor new passwords");
        }
        let fixed = if is_wide { FIXED } else { FIXED_7_1 };
        let room = FIXED + 2 * (10 * limits::MAX_LOGIN_TEXT + limits::MAX_LOGIN_FILE) + self.sspi.expose().len() + 16;
        let mut out = Writer {
            size: fixed,
            fixed: Vec::with_capacity(fixed),
            data: Zeroizing::new(Vec::with_capacity(room + features)),
        };
        let flags3 = match self.features.is_empty() {
            true => self.flags3 & !flags3::EXTENSION,
            false => self.flags3 | flags3::EXTENSION,
        };
        out.u32(0);
        for number in [
            self.tds_version,
            self.packet_size,
            self.program_version,
            self.process_id,
            self.connection_id,
        ] {
            out.u32(number);
        }
        out.fixed
            .extend_from_slice(&[self.flags1, self.flags2, self.type_flags, flags3]);
        out.u32(self.time_zone);
        out.u32(self.lcid);
        let most = limits::MAX_LOGIN_TEXT;
        out.text(&self.host, most)?;
        out.text(&self.user, most)?;
        out.password(&self.password)?;
        out.text(&self.application, most)?;
        out.text(&self.server, most)?;
        let extension = out.extension(!self.features.is_empty())?;
        out.text(&self.library, most)?;
        out.text(&self.language, most)?;
        out.text(&self.database, most)?;
        out.fixed.extend_from_slice(&self.client_id);
        out.sspi(self.sspi.expose())?;
        out.text(&self.attach_file, limits::MAX_LOGIN_FILE)?;
        if is_wide {
            out.password(&self.new_password)?;
            out.u32(0);
        }
        out.finish(extension, &self.features)
    }
}

/// Where the slots of [`Login7::fixed`] hold the extension.
const EXTENSION: usize = 5;

/// Offset and length of something in the data part.
#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    offset: u16,
    length: u16,
}

impl Slot {
    fn read(fixed: &mut Reader<'_>) -> super::read::Read<Slot> {
        Ok(Slot {
            offset: fixed.u16()?,
            length: fixed.u16()?,
        })
    }
}

#[derive(Clone, Copy)]
struct Data<'a> {
    payload: &'a [u8],
    /// Nothing may point into the fixed part.
    start: usize,
}

impl<'a> Data<'a> {
    fn bytes(self, offset: usize, count: usize) -> Result<&'a [u8], &'static str> {
        if count == 0 {
            return Ok(&[]);
        }
        if offset < self.start {
            return Err("LOGIN7 points into its fixed part");
        }
        self.payload
            .get(offset..offset.saturating_add(count))
            .ok_or("LOGIN7 points outside of the message")
    }

    fn units(self, slot: Slot, most: usize) -> Result<Utf16<'a>, &'static str> {
        if usize::from(slot.length) > most {
            return Err("a text in LOGIN7 is longer than the protocol allows");
        }
        self.bytes(usize::from(slot.offset), usize::from(slot.length) * 2)
            .map(Utf16)
    }

    fn text(self, slot: Slot, most: usize) -> Result<String, &'static str> {
        self.units(slot, most)?
            .decode()
            .ok_or("a text in LOGIN7 is not valid UTF-16")
    }

    fn password(self, slot: Slot) -> Result<Secret<String>, &'static str> {
        let clear: Zeroizing<Vec<u8>> = self
            .units(slot, limits::MAX_LOGIN_TEXT)?
            .0
            .iter()
            .map(|byte| reveal(*byte))
            .collect::<Vec<u8>>()
            .into();
        Utf16(&clear)
            .decode_secret()
            .ok_or("a password in LOGIN7 is not valid UTF-16")
    }

    fn sspi(self, slot: Slot, long: u32) -> Result<&'a [u8], &'static str> {
        let length = match slot.length {
            u16::MAX if long > 0 => long as usize,
            length => usize::from(length),
        };
        self.bytes(usize::from(slot.offset), length)
    }

    fn features(self, slot: Slot) -> Result<Vec<Feature>, &'static str> {
        let pointer = self.bytes(usize::from(slot.offset), 4)?;
        let offset = whole(Reader::new(pointer).u32(), "LOGIN7 is cut short")? as usize;
        if offset < self.start {
            return Err("LOGIN7 points into its fixed part");
        }
        let list = self
            .payload
            .get(offset..)
            .ok_or("LOGIN7 points outside of the message")?;
        whole(
            feature_ext::read(&mut Reader::new(list)),
            "the feature extensions are cut short",
        )
    }
}

struct Writer {
    /// Bytes of the fixed part.
    size: usize,
    fixed: Vec<u8>,
    data: Zeroizing<Vec<u8>>,
}

impl Writer {
    fn u32(&mut self, number: u32) {
        self.fixed.extend_from_slice(&number.to_le_bytes());
    }

    fn slot(&mut self, length: usize) -> Result<(), &'static str> {
        let offset = u16::try_from(self.size + self.data.len()).map_err(|_| TOO_LONG)?;
        let length = u16::try_from(length).map_err(|_| TOO_LONG)?;
        self.fixed.extend_from_slice(&offset.to_le_bytes());
        self.fixed.extend_from_slice(&length.to_le_bytes());
        Ok(())
    }

    fn text(&mut self, text: &str, most: usize) -> Result<(), &'static str> {
        let units = text.encode_utf16().count();
        if units > most {
            return Err(TOO_LONG);
        }
        self.slot(units)?;
        text.encode_utf16()
            .for_each(|unit| self.data.extend_from_slice(&unit.to_le_bytes()));
        Ok(())
    }

    fn password(&mut self, password: &Secret<String>) -> Result<(), &'static str> {
        let mut clear = utf16::encode_secret(password.expose());
        if clear.len() / 2 > limits::MAX_LOGIN_TEXT {
            return Err(TOO_LONG);
        }
        self.slot(clear.len() / 2)?;
        clear.iter_mut().for_each(|byte| *byte = obscure(*byte));
        self.data.extend_from_slice(&clear);
        Ok(())
    }

    /// Room for the pointer to the features, and where it is.
    fn extension(&mut self, present: bool) -> Result<Option<usize>, &'static str> {
        self.slot(if present { 4 } else { 0 })?;
        let at = self.data.len();
        if present {
            self.data.extend_from_slice(&[0; 4]);
        }
        Ok(present.then_some(at))
    }

    fn sspi(&mut self, sspi: &[u8]) -> Result<(), &'static str> {
        self.slot(sspi.len())?;
        self.data.extend_from_slice(sspi);
        Ok(())
    }

    fn finish(mut self, extension: Option<usize>, features: &[Feature]) -> Result<Zeroizing<Vec<u8>>, &'static str> {
        if let Some(at) = extension {
            let offset = (self.size + self.data.len()) as u32;
            self.data[at..at + 4].copy_from_slice(&offset.to_le_bytes());
            let mut list = BytesMut::new();
            feature_ext::write(features, &mut list);
            self.data.extend_from_slice(&list);
            list.as_mut().zeroize();
        }
        debug_assert_eq!(self.fixed.len(), self.size, "every field was written");
        let length = self.size + self.data.len();
        if length > limits::MAX_LOGIN7 {
            return Err(TOO_LONG);
        }
        let mut payload = Zeroizing::new(Vec::with_capacity(length));
        payload.put_slice(&self.fixed);
        payload.put_slice(&self.data);
        payload[..4].copy_from_slice(&(length as u32).to_le_bytes());
        Ok(payload)
    }
}

const TOO_LONG: &str = "a value is longer than LOGIN7 can hold";

/// How a byte of a password travels (TDS 3.1). Hides it from nobody.
fn obscure(byte: u8) -> u8 {
    byte.rotate_left(4) ^ 0xa5
}

fn reveal(byte: u8) -> u8 {
    (byte ^ 0xa5).rotate_left(4)
}
