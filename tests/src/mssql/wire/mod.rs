//! TDS bytes as a server reads and writes them; written for the tests alone, so that a mistake of the gateway's decoder
//! is not repeated here.

pub(crate) mod incoming;
pub(crate) mod login;
pub(crate) mod packet;
pub(crate) mod request;
pub(crate) mod tokens;
pub(crate) mod tunnel;
pub(crate) mod types;
pub(crate) mod values;

/// What is wrong with bytes from a client. Ends the connection.
#[derive(Clone, Debug)]
pub(crate) struct Malformed(pub(crate) String);

impl Malformed {
    pub(crate) fn new(what: impl Into<String>) -> Malformed {
        Malformed(what.into())
    }
}

/// Appends little-endian fields.
pub(crate) trait Put {
    fn u8(&mut self, value: u8);
    fn raw(&mut self, bytes: &[u8]);

    fn u16(&mut self, value: u16) {
        self.raw(&value.to_le_bytes());
    }
    fn u32(&mut self, value: u32) {
        self.raw(&value.to_le_bytes());
    }
    fn u64(&mut self, value: u64) {
        self.raw(&value.to_le_bytes());
    }
    fn i32(&mut self, value: i32) {
        self.raw(&value.to_le_bytes());
    }
    /// UTF-16 without a length.
    fn utf16(&mut self, text: &str) {
        for unit in text.encode_utf16() {
            self.u16(unit);
        }
    }
    /// u8 count of UTF-16 units, cut to what that can say.
    fn b_varchar(&mut self, text: &str) {
        let units: Vec<u16> = text.encode_utf16().take(255).collect();
        self.u8(units.len() as u8);
        units.into_iter().for_each(|unit| self.u16(unit));
    }
    /// u16 count of UTF-16 units.
    fn us_varchar(&mut self, text: &str) {
        let units: Vec<u16> = text.encode_utf16().take(65535).collect();
        self.u16(units.len() as u16);
        units.into_iter().for_each(|unit| self.u16(unit));
    }
}

impl Put for Vec<u8> {
    fn u8(&mut self, value: u8) {
        self.push(value);
    }
    fn raw(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

/// Takes little-endian fields from the front.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Take<'a>(pub(crate) &'a [u8]);

impl<'a> Take<'a> {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
    pub(crate) fn peek(&self) -> Option<u8> {
        self.0.first().copied()
    }
    pub(crate) fn bytes(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        if self.0.len() < length {
            return Err(Malformed(format!("{length} bytes wanted, {} are left", self.0.len())));
        }
        let (taken, rest) = self.0.split_at(length);
        self.0 = rest;
        Ok(taken)
    }
    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        Ok(self.bytes(N)?.try_into().expect("so many were taken"))
    }
    pub(crate) fn u8(&mut self) -> Result<u8, Malformed> {
        Ok(self.array::<1>()?[0])
    }
    pub(crate) fn u16(&mut self) -> Result<u16, Malformed> {
        Ok(u16::from_le_bytes(self.array()?))
    }
    pub(crate) fn u32(&mut self) -> Result<u32, Malformed> {
        Ok(u32::from_le_bytes(self.array()?))
    }
    pub(crate) fn i32(&mut self) -> Result<i32, Malformed> {
        Ok(i32::from_le_bytes(self.array()?))
    }
    pub(crate) fn u64(&mut self) -> Result<u64, Malformed> {
        Ok(u64::from_le_bytes(self.array()?))
    }
    pub(crate) fn b_varchar(&mut self) -> Result<String, Malformed> {
        let units = usize::from(self.u8()?);
        utf16(self.bytes(2 * units)?)
    }
    pub(crate) fn us_varchar(&mut self) -> Result<String, Malformed> {
        let units = usize::from(self.u16()?);
        utf16(self.bytes(2 * units)?)
    }
}

/// Text of UTF-16 bytes; lone surrogates become U+FFFD, an odd length is malformed.
pub(crate) fn utf16(bytes: &[u8]) -> Result<String, Malformed> {
    if !bytes.len().is_multiple_of(2) {
        return Err(Malformed::new("UTF-16 of an odd number of bytes"));
    }
    let units: Vec<u16> = bytes
        .chunks_exact(2)
        .map(|pair| u16::from_le_bytes([pair[0], pair[1]]))
        .collect();
    Ok(String::from_utf16_lossy(&units))
}
