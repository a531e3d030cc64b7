//! Windows-1252, the code page of `char` and `varchar` under the server's collation.

const HIGH: [char; 32] = [
    '\u{20AC}', '\u{81}', '\u{201A}', '\u{192}', '\u{201E}', '\u{2026}', '\u{2020}', '\u{2021}', '\u{2C6}', '\u{2030}',
    '\u{160}', '\u{2039}', '\u{152}', '\u{8D}', '\u{17D}', '\u{8F}', '\u{90}', '\u{2018}', '\u{2019}', '\u{201C}',
    '\u{201D}', '\u{2022}', '\u{2013}', '\u{2014}', '\u{2DC}', '\u{2122}', '\u{161}', '\u{203A}', '\u{153}', '\u{9D}',
    '\u{17E}', '\u{178}',
];

/// Bytes of a text; what the code page lacks becomes `?`, as in SQL Server.
pub(crate) fn encode(text: &str) -> Vec<u8> {
    text.chars()
        .map(|c| match c as u32 {
            0..=0x7F | 0xA0..=0xFF => c as u8,
            _ => HIGH
                .iter()
                .position(|high| *high == c)
                .map_or(b'?', |at| 0x80 + at as u8),
        })
        .collect()
}

/// Text of bytes.
pub(crate) fn decode(bytes: &[u8]) -> String {
    bytes
        .iter()
        .map(|byte| {
            if (0x80..0xA0).contains(byte) {
                HIGH[usize::from(byte - 0x80)]
            } else {
                char::from(*byte)
            }
        })
        .collect()
}
