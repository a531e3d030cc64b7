//! PRELOGIN and LOGIN7, as a server reads them and answers them.

use super::{Malformed, Put, Take, utf16};

/// What a PRELOGIN message asks.
#[derive(Clone, Debug, Default)]
pub(crate) struct Prelogin {
    /// 0 off, 1 on, 2 not supported, 3 required.
    pub(crate) encryption: u8,
    /// Whether the option FEDAUTHREQUIRED was there.
    pub(crate) federated: bool,
    pub(crate) mars: bool,
}

pub(crate) fn parse_prelogin(payload: &[u8]) -> Result<Prelogin, Malformed> {
    let mut prelogin = Prelogin::default();
    let mut rest = Take(payload);
    let mut first = true;
    loop {
        let option = rest.u8()?;
        if first && option != 0 {
            return Err(Malformed::new("PRELOGIN does not begin with VERSION"));
        }
        first = false;
        if option == 0xFF {
            return Ok(prelogin);
        }
        let offset = usize::from(u16::from_be_bytes(rest.array()?));
        let length = usize::from(u16::from_be_bytes(rest.array()?));
        let data = payload
            .get(offset..offset + length)
            .ok_or_else(|| Malformed(format!("PRELOGIN option {option} lies outside the message")))?;
        match (option, data) {
            (1, [encryption]) => prelogin.encryption = *encryption,
            (4, [mars, ..]) => prelogin.mars = *mars == 1,
            (6, _) => prelogin.federated = true,
            _ => {}
        }
    }
}

/// The answer: version, encryption, instance, thread, MARS (never), and federated authentication (no) when asked.
pub(crate) fn prelogin_answer(version: [u8; 6], encryption: u8, federated: bool) -> Vec<u8> {
    let mut options: Vec<(u8, Vec<u8>)> = vec![
        (0, version.to_vec()),
        (1, vec![encryption]),
        (2, vec![0]),
        (3, Vec::new()),
        (4, vec![0]),
    ];
    if federated {
        options.push((6, vec![0]));
    }
    let mut table = Vec::new();
    let mut data = Vec::new();
    let start = options.len() * 5 + 1;
    for (option, value) in &options {
        table.u8(*option);
        table.raw(&((start + data.len()) as u16).to_be_bytes());
        table.raw(&(value.len() as u16).to_be_bytes());
        data.raw(value);
    }
    table.u8(0xFF);
    table.raw(&data);
    table
}

/// What LOGIN7 says.
#[derive(Clone, Debug, Default)]
pub(crate) struct Login {
    /// Of TDS, for example 0x7400_0004.
    pub(crate) version: u32,
    pub(crate) packet_size: u32,
    pub(crate) flags: [u8; 4],
    pub(crate) host: String,
    pub(crate) user: String,
    pub(crate) password: String,
    pub(crate) application: String,
    pub(crate) server: String,
    pub(crate) library: String,
    pub(crate) language: String,
    pub(crate) database: String,
    pub(crate) change_password: String,
    /// Feature extensions: id and data.
    pub(crate) features: Vec<(u8, Vec<u8>)>,
}

impl Login {
    pub(crate) fn feature(&self, id: u8) -> Option<&[u8]> {
        self.features
            .iter()
            .find(|(feature, _)| *feature == id)
            .map(|(_, data)| data.as_slice())
    }
}

pub(crate) fn parse_login(payload: &[u8]) -> Result<Login, Malformed> {
    let mut fixed = Take(payload);
    let length = fixed.u32()? as usize;
    if length > payload.len() || length < 86 {
        return Err(Malformed(format!(
            "LOGIN7 of {length} bytes in a message of {}",
            payload.len()
        )));
    }
    let text = |at: usize| -> Result<String, Malformed> { utf16(field(payload, length, at, 2)?) };
    let mut login = Login {
        version: fixed.u32()?,
        packet_size: fixed.u32()?,
        flags: payload[24..28].try_into().expect("four bytes"),
        host: text(36)?,
        user: text(40)?,
        password: utf16(&unscramble(field(payload, length, 44, 2)?))?,
        application: text(48)?,
        server: text(52)?,
        library: text(60)?,
        language: text(64)?,
        database: text(68)?,
        change_password: String::new(),
        features: Vec::new(),
    };
    if login.version < 0x7200_0000 {
        return Ok(login);
    }
    if length < 94 {
        return Err(Malformed(format!("LOGIN7 of {length} bytes")));
    }
    login.change_password = utf16(&unscramble(field(payload, length, 86, 2)?))?;
    if login.flags[3] & 0x10 != 0 {
        let pointer = field(payload, length, 56, 1)?;
        let offset = Take(pointer).u32()? as usize;
        let list = payload
            .get(offset..length)
            .ok_or_else(|| Malformed::new("the feature extensions lie outside LOGIN7"))?;
        login.features = features(Take(list))?;
    }
    Ok(login)
}

fn field(payload: &[u8], length: usize, at: usize, width: usize) -> Result<&[u8], Malformed> {
    let mut pair = Take(&payload[at..at + 4]);
    let (offset, count) = (usize::from(pair.u16()?), usize::from(pair.u16()?) * width);
    if count == 0 {
        return Ok(&[]);
    }
    payload[..length]
        .get(offset..offset + count)
        .ok_or_else(|| Malformed(format!("the LOGIN7 field at {at} lies outside the message")))
}

fn features(mut list: Take<'_>) -> Result<Vec<(u8, Vec<u8>)>, Malformed> {
    let mut features = Vec::new();
    loop {
        match list.u8()? {
            0xFF => return Ok(features),
            id => {
                let length = list.u32()? as usize;
                features.push((id, list.bytes(length)?.to_vec()));
            }
        }
    }
}

fn unscramble(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().map(|byte| (byte ^ 0xA5).rotate_left(4)).collect()
}
