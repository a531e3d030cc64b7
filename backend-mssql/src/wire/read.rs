//! A cursor over bytes that may not all have arrived, in the number formats of TDS.
//!
//! Pure. Invariants: every read is checked; what is missing is reported as a total that is never more than the element
//! really has, so that a caller which waits for it never takes a byte too many; nothing is allocated by a claimed length.

/// Why an element cannot be read (yet).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// At least this many bytes of the element are needed in all, counted from its start. More than were given.
    Need(usize),
    /// It is none; says what is wrong.
    Fault(&'static str),
}

/// What reading gives.
pub type Read<T> = Result<T, Stop>;

/// Walks over the front of an element. Integers are little-endian unless their name says otherwise.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// At the start of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Reader { bytes, at: 0 }
    }

    /// Bytes read so far.
    pub fn at(&self) -> usize {
        self.at
    }

    /// What has arrived and is not read.
    pub fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    /// The next `count` bytes.
    ///
    /// # Errors
    /// [`Stop::Need`] if they are not there.
    pub fn take(&mut self, count: usize) -> Read<&'a [u8]> {
        let end = self.at.saturating_add(count);
        let taken = self.bytes.get(self.at..end).ok_or(Stop::Need(end))?;
        self.at = end;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Read<[u8; N]> {
        let taken = self.take(N)?;
        taken.try_into().map_err(|_| Stop::Need(self.at))
    }

    /// One byte.
    ///
    /// # Errors
    /// As [`Reader::take`].
    pub fn u8(&mut self) -> Read<u8> {
        self.array().map(|[byte]| byte)
    }

    /// Two bytes.
    ///
    /// # Errors
    /// As [`Reader::take`].
    pub fn u16(&mut self) -> Read<u16> {
        self.array().map(u16::from_le_bytes)
    }

    /// Two bytes, big-endian: PRELOGIN and packet headers.
    ///
    /// # Errors
    /// As [`Reader::take`].
    pub fn u16_be(&mut self) -> Read<u16> {
        self.array().map(u16::from_be_bytes)
    }

    /// Four bytes.
    ///
    /// # Errors
    /// As [`Reader::take`].
    pub fn u32(&mut self) -> Read<u32> {
        self.array().map(u32::from_le_bytes)
    }

    /// Eight bytes.
    ///
    /// # Errors
    /// As [`Reader::take`].
    pub fn u64(&mut self) -> Read<u64> {
        self.array().map(u64::from_le_bytes)
    }

    /// `B_VARCHAR`: a count of UTF-16 units in one byte, then the units.
    ///
    /// # Errors
    /// As [`Reader::take`].
    pub fn b_varchar(&mut self) -> Read<&'a [u8]> {
        let units = self.u8()?;
        self.take(usize::from(units) * 2)
    }

    /// `US_VARCHAR`: a count of UTF-16 units in two bytes, then the units.
    ///
    /// # Errors
    /// As [`Reader::take`].
    pub fn us_varchar(&mut self) -> Read<&'a [u8]> {
        let units = self.u16()?;
        self.take(usize::from(units) * 2)
    }

    /// `B_VARBYTE`: a count of bytes in one byte, then the bytes.
    ///
    /// # Errors
    /// As [`Reader::take`].
    pub fn b_varbyte(&mut self) -> Read<&'a [u8]> {
        let count = self.u8()?;
        self.take(usize::from(count))
    }

    /// `US_VARBYTE`: a count of bytes in two bytes, then the bytes.
    ///
    /// # Errors
    /// As [`Reader::take`].
    pub fn us_varbyte(&mut self) -> Read<&'a [u8]> {
        let count = self.u16()?;
        self.take(usize::from(count))
    }
}

/// Reads something that has to be whole: what is missing is a fault.
pub(crate) fn whole<T>(read: Read<T>, what: &'static str) -> Result<T, &'static str> {
    read.map_err(|stop| match stop {
        Stop::Need(_) => what,
        Stop::Fault(why) => why,
    })
}
