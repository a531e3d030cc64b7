//! Valid streams of every shape, made from any bytes: the property tests and the fuzz targets share them. Written from
//! the protocol's tables, not from our parsers, and knows where each token lies.

/// Choices, made by bytes; zero when there are none left, so that everything ends.
pub struct Entropy<'a>(pub &'a [u8]);

impl Entropy<'_> {
    pub fn byte(&mut self) -> u8 {
        match self.0 {
            [first, rest @ ..] => {
                self.0 = rest;
                *first
            }
            [] => 0,
        }
    }

    /// Less than `limit`, which is at most 256.
    pub fn below(&mut self, limit: usize) -> usize {
        usize::from(self.byte()) % limit
    }

    fn yes(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    fn is_over(&self) -> bool {
        self.0.is_empty()
    }
}

/// What was negotiated.
#[derive(Clone, Copy, Debug, Default)]
pub struct Negotiated {
    /// TDS 7.1 instead of 7.4.
    pub narrow: bool,
    pub column_encryption: bool,
    pub ranks: bool,
    /// Only what other decoders know as well.
    pub common: bool,
}

/// A response, and where in it the tokens lie that are handed out whole: place, length, first byte.
#[derive(Debug, Default)]
pub struct Response {
    pub bytes: Vec<u8>,
    pub tokens: Vec<(usize, usize, u8)>,
}

/// Kinds of values.
#[derive(Clone, Copy, Debug)]
enum Form {
    Fixed(usize),
    Byte,
    Short,
    Long,
    Variant,
    Pointer,
    Chunks,
}

/// A type: TYPE_INFO, and how its values look there. `table` asks for the name of a table behind it.
struct Described {
    info: Vec<u8>,
    form: Form,
    table: bool,
}

const COLLATION: [u8; 5] = [9, 4, 0xd0, 0, 0x34];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Column,
    ReturnValue,
    Parameter,
}

fn described(entropy: &mut Entropy<'_>, place: Place, common: bool) -> Described {
    const TYPES: [u8; 48] = [
        0x26, 0xe7, 0x30, 0x32, 0x34, 0x38, 0x3a, 0x3b, 0x7a, 0x3c, 0x3d, 0x3e, 0x7f, 0x24, 0x68, 0x6d, 0x6e, 0x6f,
        0x6a, 0x6c, 0x37, 0x3f, 0x28, 0x29, 0x2a, 0x2b, 0x2f, 0x27, 0x2d, 0x25, 0xa5, 0xad, 0xa7, 0xaf, 0xef, 0x23,
        0x63, 0x22, 0x62, 0xf1, 0xf0, 0x1f, 0xa5, 0xa7, 0xe7, 0x26, 0xf4, 0xf5,
    ];
    let id = TYPES[entropy.below(if common { 46 } else { 48 })];
    let large = entropy.yes();
    let mut info = vec![id];
    let mut table = false;
    let form = match id {
        0x1f => Form::Fixed(0),
        0x30 | 0x32 => Form::Fixed(1),
        0x34 => Form::Fixed(2),
        0x38 | 0x3a | 0x3b | 0x7a => Form::Fixed(4),
        0x3c | 0x3d | 0x3e | 0x7f => Form::Fixed(8),
        0x28 => Form::Byte,
        0x6a | 0x6c | 0x37 | 0x3f => {
            info.extend([17, 38, 4]);
            Form::Byte
        }
        0xa5 | 0xad | 0xa7 | 0xaf | 0xe7 | 0xef => {
            let large = large && matches!(id, 0xa5 | 0xa7 | 0xe7);
            info.extend(if large { [0xff; 2] } else { [0x40, 0x1f] });
            if !matches!(id, 0xa5 | 0xad) {
                info.extend(COLLATION);
            }
            if large { Form::Chunks } else { Form::Short }
        }
        0x22 | 0x23 | 0x63 => {
            info.extend([0xff, 0xff, 0xff, 0x7f]);
            if id != 0x22 {
                info.extend(COLLATION);
            }
            table = place == Place::Column;
            if table { Form::Pointer } else { Form::Long }
        }
        0x62 => {
            info.extend([0x49, 0x1f, 0, 0]);
            Form::Variant
        }
        0xf1 => {
            info.push(u8::from(large));
            if large {
                b_varchar(entropy, &mut info);
                b_varchar(entropy, &mut info);
                us_varchar(entropy, &mut info);
            }
            Form::Chunks
        }
        0xf0 => {
            if place != Place::Parameter {
                info.extend([0xff; 2]);
            }
            (0..3).for_each(|_| b_varchar(entropy, &mut info));
            if place != Place::Parameter {
                us_varchar(entropy, &mut info);
            }
            Form::Chunks
        }
        0xf4 => Form::Chunks,
        0xf5 => {
            info.extend([0x40, 0x1f, 0]);
            Form::Short
        }
        _ => {
            info.push(8);
            Form::Byte
        }
    };
    Described { info, form, table }
}

fn b_varchar(entropy: &mut Entropy<'_>, out: &mut Vec<u8>) {
    let units = entropy.below(6);
    out.push(units as u8);
    out.extend(std::iter::repeat_n([b'x', 0], units).flatten());
}

fn us_varchar(entropy: &mut Entropy<'_>, out: &mut Vec<u8>) {
    let units = entropy.below(20);
    out.extend((units as u16).to_le_bytes());
    out.extend(std::iter::repeat_n([0xd1, 0xfd], units).flatten());
}

/// Bytes that look like tokens, which a value may well do.
fn data(entropy: &mut Entropy<'_>, length: usize, out: &mut Vec<u8>) {
    let first = entropy.byte();
    out.extend((0..length).map(|at| [0xfd, 0xd1, 0, 0xff, first][at % 5]));
}

fn value(entropy: &mut Entropy<'_>, form: Form, out: &mut Vec<u8>) {
    let is_null = entropy.below(4) == 1;
    // Now and then longer than a packet.
    let length = entropy.below(64) * if entropy.below(16) == 1 { 97 } else { 1 };
    match form {
        Form::Fixed(size) => data(entropy, size, out),
        Form::Byte => {
            let length = if is_null { 0 } else { length % 9 };
            out.push(length as u8);
            data(entropy, length, out);
        }
        Form::Short if is_null => out.extend([0xff; 2]),
        Form::Short => {
            out.extend((length as u16).to_le_bytes());
            data(entropy, length, out);
        }
        Form::Long if is_null => out.extend([0xff; 4]),
        Form::Long | Form::Variant => {
            let length = if is_null { 0 } else { length };
            out.extend((length as u32).to_le_bytes());
            data(entropy, length, out);
        }
        Form::Pointer if is_null => out.push(0),
        Form::Pointer => {
            out.push(16);
            data(entropy, 16 + 8, out);
            out.extend((length as u32).to_le_bytes());
            data(entropy, length, out);
        }
        Form::Chunks if is_null => out.extend([0xff; 8]),
        Form::Chunks => {
            let chunks = entropy.below(4);
            let total = if entropy.yes() {
                u64::MAX - 1
            } else {
                (chunks * length) as u64
            };
            out.extend(total.to_le_bytes());
            for _ in 0..chunks {
                if length > 0 {
                    out.extend((length as u32).to_le_bytes());
                    data(entropy, length, out);
                }
            }
            out.extend([0; 4]);
        }
    }
}

/// A response that ends as it should.
pub fn response(entropy: &mut Entropy<'_>, negotiated: Negotiated) -> Response {
    let mut response = Response::default();
    while !entropy.is_over() && response.bytes.len() < 50_000 {
        match entropy.below(12) {
            0..=3 => result_set(entropy, negotiated, &mut response),
            4 => response.token(|out| env_change(entropy, negotiated, out)),
            5 => response.token(|out| message(entropy, negotiated, out)),
            6 => return_value(entropy, negotiated, &mut response),
            7 => response.token(|out| {
                out.push(0x79);
                out.extend([entropy.byte(), 0, 0, 0]);
            }),
            8 => response.token(|out| done(entropy, negotiated, true, out)),
            9 if !negotiated.narrow => response.token(|out| session_state(entropy, out)),
            10 => response.token(|out| login_token(entropy, negotiated, out)),
            _ if !negotiated.common => classification(entropy, negotiated, &mut response.bytes),
            _ => skipped(entropy, negotiated, &mut response.bytes),
        }
    }
    response.token(|out| done(entropy, negotiated, false, out));
    response
}

impl Response {
    fn token(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let at = self.bytes.len();
        write(&mut self.bytes);
        self.tokens.push((at, self.bytes.len() - at, self.bytes[at]));
    }
}

fn result_set(entropy: &mut Entropy<'_>, negotiated: Negotiated, response: &mut Response) {
    let columns = match entropy.below(20) {
        0 => 0,
        1 => 40,
        count => count % 7 + 1,
    };
    response.token(|out| {
        out.push(0x81);
        out.extend((columns as u16).to_le_bytes());
    });
    let out = &mut response.bytes;
    if negotiated.column_encryption {
        keys(entropy, out);
    }
    let forms: Vec<Form> = (0..columns).map(|_| column(entropy, negotiated, out)).collect();
    for _ in 0..entropy.below(5) {
        skipped(entropy, negotiated, out);
    }
    for _ in 0..entropy.below(12) {
        row(entropy, negotiated, &forms, out);
    }
    let is_last = entropy.yes();
    response.token(|out| done(entropy, negotiated, is_last, out));
}

fn column(entropy: &mut Entropy<'_>, negotiated: Negotiated, out: &mut Vec<u8>) -> Form {
    let described = described(entropy, Place::Column, negotiated.common);
    let encrypted = negotiated.column_encryption && entropy.below(3) == 1;
    user_type(negotiated, out);
    out.extend(if encrypted { [9, 8] } else { [9, 0] });
    out.extend(&described.info);
    if described.table {
        let parts = if negotiated.narrow { 1 } else { entropy.below(4) };
        if !negotiated.narrow {
            out.push(parts as u8);
        }
        (0..parts).for_each(|_| us_varchar(entropy, out));
    }
    if encrypted {
        out.extend([0, 0]);
        crypto(entropy, Place::Column, out);
    }
    b_varchar(entropy, out);
    described.form
}

fn user_type(negotiated: Negotiated, out: &mut Vec<u8>) {
    out.extend(if negotiated.narrow { &[0, 0][..] } else { &[0, 0, 0, 0] });
}

/// What follows the ordinal of an encrypted column.
fn crypto(entropy: &mut Entropy<'_>, place: Place, out: &mut Vec<u8>) {
    out.extend([0; 4]);
    out.extend(described(entropy, place, true).info);
    let algorithm = entropy.below(3) as u8;
    out.push(algorithm);
    if algorithm == 0 {
        b_varchar(entropy, out);
    }
    out.extend([1, 1]);
}

fn keys(entropy: &mut Entropy<'_>, out: &mut Vec<u8>) {
    let keys = entropy.below(4);
    out.extend((keys as u16).to_le_bytes());
    for _ in 0..keys {
        out.extend([7; 20]);
        let values = entropy.below(3);
        out.push(values as u8);
        for _ in 0..values {
            let length = entropy.below(100);
            out.extend((length as u16).to_le_bytes());
            data(entropy, length, out);
            b_varchar(entropy, out);
            us_varchar(entropy, out);
            b_varchar(entropy, out);
        }
    }
}

fn row(entropy: &mut Entropy<'_>, negotiated: Negotiated, forms: &[Form], out: &mut Vec<u8>) {
    if negotiated.narrow || entropy.yes() {
        out.push(0xd1);
        forms.iter().for_each(|form| value(entropy, *form, out));
        return;
    }
    out.push(0xd2);
    let bitmap: Vec<u8> = (0..forms.len().div_ceil(8)).map(|_| entropy.byte()).collect();
    out.extend(&bitmap);
    for (index, form) in forms.iter().enumerate() {
        if bitmap[index / 8] >> (index % 8) & 1 == 0 {
            value(entropy, *form, out);
        }
    }
}

fn done(entropy: &mut Entropy<'_>, negotiated: Negotiated, more: bool, out: &mut Vec<u8>) {
    let kind = if more {
        [0xfd, 0xfe, 0xff][entropy.below(3)]
    } else {
        [0xfd, 0xfe][entropy.below(2)]
    };
    out.push(kind);
    out.extend([0x10 | u8::from(more), 0, 0xc1, 0, entropy.byte(), 0, 0, 0]);
    if !negotiated.narrow {
        out.extend([0; 4]);
    }
}

fn with_length(kind: u8, body: &[u8], out: &mut Vec<u8>) {
    out.push(kind);
    out.extend((body.len() as u16).to_le_bytes());
    out.extend(body);
}

fn env_change(entropy: &mut Entropy<'_>, negotiated: Negotiated, out: &mut Vec<u8>) {
    let mut body = Vec::new();
    match entropy.below(if negotiated.common { 5 } else { 7 }) {
        0 => body.extend([8, 8, 1, 2, 3, 4, 5, 6, 7, 8, 0]),
        1 => body.extend([9, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8]),
        2 => body.extend([10, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8]),
        3 => {
            body.push(1);
            b_varchar(entropy, &mut body);
            b_varchar(entropy, &mut body);
        }
        4 => body.extend([7, 5, 9, 4, 0xd0, 0, 0x34, 0]),
        5 => body.extend([18, 0, 0]),
        _ => {
            // Promoted: the length says 1.
            let length = entropy.below(200);
            out.extend([0xe3, 1, 0, 15]);
            out.extend((length as u32).to_le_bytes());
            data(entropy, length, out);
            out.push(0);
            return;
        }
    }
    with_length(0xe3, &body, out);
}

fn message(entropy: &mut Entropy<'_>, negotiated: Negotiated, out: &mut Vec<u8>) {
    let mut body = vec![entropy.byte(), 0x1f, 0, 0, 1, 16];
    us_varchar(entropy, &mut body);
    b_varchar(entropy, &mut body);
    b_varchar(entropy, &mut body);
    body.extend(if negotiated.narrow { &[1, 0][..] } else { &[1, 0, 0, 0] });
    with_length([0xaa, 0xab][entropy.below(2)], &body, out);
}

fn return_value(entropy: &mut Entropy<'_>, negotiated: Negotiated, response: &mut Response) {
    let at = response.bytes.len();
    let out = &mut response.bytes;
    out.push(0xac);
    out.extend([entropy.byte(), 0]);
    b_varchar(entropy, out);
    out.push(1);
    user_type(negotiated, out);
    let encrypted = negotiated.column_encryption && entropy.below(3) == 1;
    out.extend(if encrypted { [0, 8] } else { [0, 0] });
    // An int, as handles are, or anything: but the old texts cannot be returned.
    let described = match entropy.yes() {
        true => Described {
            info: vec![0x26, 4],
            form: Form::Byte,
            table: false,
        },
        false => described(entropy, Place::ReturnValue, negotiated.common),
    };
    if matches!(described.info[0], 0x22 | 0x23 | 0x63) {
        out.truncate(at);
        return;
    }
    out.extend(&described.info);
    if encrypted {
        crypto(entropy, Place::ReturnValue, out);
    }
    let is_integer = matches!(described.info[0], 0x26 | 0x30 | 0x34 | 0x38 | 0x7f);
    let head = out.len() - at;
    if is_integer {
        match described.form {
            Form::Byte => {
                let size = [0, 1, 2, 4, 8][entropy.below(5)];
                out.push(size);
                data(entropy, usize::from(size), out);
            }
            form => value(entropy, form, out),
        }
        response.tokens.push((at, response.bytes.len() - at, 0xac));
    } else {
        value(entropy, described.form, out);
        response.tokens.push((at, head, 0xac));
    }
}

fn session_state(entropy: &mut Entropy<'_>, out: &mut Vec<u8>) {
    let mut body = vec![entropy.byte(), 0, 0, 0, entropy.below(2) as u8];
    for id in 0..entropy.below(4) {
        body.push(id as u8);
        let length = entropy.below(40);
        if entropy.yes() {
            body.push(0xff);
            body.extend((length as u32).to_le_bytes());
        } else {
            body.push(length as u8);
        }
        data(entropy, length, &mut body);
    }
    out.push(0xe4);
    out.extend((body.len() as u32).to_le_bytes());
    out.extend(body);
}

fn login_token(entropy: &mut Entropy<'_>, negotiated: Negotiated, out: &mut Vec<u8>) {
    let length = entropy.below(100);
    match entropy.below(if negotiated.narrow { 2 } else { 4 }) {
        0 => {
            let mut body = vec![1, 0x74, 0, 0, 4];
            b_varchar(entropy, &mut body);
            body.extend([16, 0, 0x10, 0x27]);
            with_length(0xad, &body, out);
        }
        1 => {
            let mut body = Vec::new();
            data(entropy, length, &mut body);
            with_length(0xed, &body, out);
        }
        2 => {
            out.push(0xae);
            for id in 0..entropy.below(4) {
                out.push(id as u8 + 9);
                out.extend((length as u32).to_le_bytes());
                data(entropy, length, out);
            }
            out.push(0xff);
        }
        _ => {
            // No options: a count of zero.
            out.extend([0xee, 4, 0, 0, 0, 0, 0, 0, 0]);
        }
    }
}

/// Tokens that nobody looks into.
fn skipped(entropy: &mut Entropy<'_>, negotiated: Negotiated, out: &mut Vec<u8>) {
    let length = entropy.below(20);
    match entropy.below(4) {
        0 => {
            let body: Vec<u8> = (0..length).flat_map(|column| [column as u8, 0]).collect();
            with_length(0xa9, &body, out);
        }
        1 if negotiated.narrow => out.extend([0x78, 1, 2, 3, 4]),
        which => {
            let mut body = Vec::new();
            data(entropy, length, &mut body);
            with_length(if which == 2 { 0xa4 } else { 0xa5 }, &body, out);
        }
    }
}

fn classification(entropy: &mut Entropy<'_>, negotiated: Negotiated, out: &mut Vec<u8>) {
    out.push(0xa3);
    for _ in 0..2 {
        let count = entropy.below(4);
        out.extend((count as u16).to_le_bytes());
        for _ in 0..count {
            b_varchar(entropy, out);
            b_varchar(entropy, out);
        }
    }
    if negotiated.ranks {
        out.extend([10, 0, 0, 0]);
    }
    let columns = entropy.below(5);
    out.extend((columns as u16).to_le_bytes());
    for _ in 0..columns {
        let properties = entropy.below(4);
        out.extend((properties as u16).to_le_bytes());
        for _ in 0..properties {
            out.extend([0, 0, 1, 0]);
            if negotiated.ranks {
                out.extend([20, 0, 0, 0]);
            }
        }
    }
}

/// What a piece of a request is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    Call,
    Integer(Option<i64>),
    Text(Option<Vec<u8>>),
    Other,
    Separator,
}

/// A request, and where in it lies what is handed out whole: place, length, what it is.
#[derive(Debug, Default)]
pub struct Request {
    pub bytes: Vec<u8>,
    pub parts: Vec<(usize, usize, Part)>,
}

/// Calls of procedures. Texts are looked at in those of a procedure that the protocol knows, if they are among the first
/// four parameters and with their heads no longer than `text_limit`.
pub fn calls(entropy: &mut Entropy<'_>, enclave: bool, text_limit: usize) -> Request {
    let mut request = Request::default();
    loop {
        let looked_at = call(entropy, enclave, &mut request);
        for ordinal in 0..entropy.below(8) {
            let most = if looked_at && ordinal < 4 { text_limit } else { 0 };
            parameter(entropy, most, &mut request);
        }
        if entropy.is_over() || request.bytes.len() > 50_000 {
            return request;
        }
        request.parts.push((request.bytes.len(), 1, Part::Separator));
        request.bytes.push([0xff, 0xfe][entropy.below(2)]);
    }
}

fn call(entropy: &mut Entropy<'_>, enclave: bool, request: &mut Request) -> bool {
    let at = request.bytes.len();
    let out = &mut request.bytes;
    let looked_at = match entropy.below(4) {
        0 => {
            let name: Vec<u8> = "[sys].SP_executesql"
                .encode_utf16()
                .flat_map(u16::to_le_bytes)
                .collect();
            out.extend((name.len() as u16 / 2).to_le_bytes());
            out.extend(name);
            true
        }
        1 => {
            us_varchar(entropy, out);
            false
        }
        2 => {
            out.extend([0xff, 0xff, 12, 0]);
            false
        }
        _ => {
            out.extend([0xff, 0xff, 13, 0]);
            true
        }
    };
    out.extend([2, 0]);
    if enclave {
        let length = entropy.below(50);
        out.extend((length as u32).to_le_bytes());
        data(entropy, length, out);
    }
    request.parts.push((at, request.bytes.len() - at, Part::Call));
    looked_at
}

fn parameter(entropy: &mut Entropy<'_>, text_limit: usize, request: &mut Request) {
    let at = request.bytes.len();
    let out = &mut request.bytes;
    b_varchar(entropy, out);
    let encrypted = entropy.below(8) == 1;
    out.push(if encrypted { 8 } else { entropy.below(2) as u8 });
    if entropy.below(6) == 1 {
        out.push(0xf3);
        request.parts.push((at, request.bytes.len() - at, Part::Other));
        table(entropy, &mut request.bytes);
    } else {
        typed(entropy, at, text_limit, encrypted, request);
    }
    if encrypted {
        cipher(entropy, &mut request.bytes);
    }
}

fn typed(entropy: &mut Entropy<'_>, at: usize, text_limit: usize, encrypted: bool, request: &mut Request) {
    let out = &mut request.bytes;
    let described = described(entropy, Place::Parameter, false);
    out.extend(&described.info);
    let head = out.len();
    let id = described.info[0];
    if matches!(id, 0x26 | 0x30 | 0x34 | 0x38 | 0x7f) && !encrypted {
        let size = match described.form {
            Form::Fixed(size) => size,
            _ => {
                let size = [0, 1, 2, 4, 8][entropy.below(5)];
                out.push(size as u8);
                size
            }
        };
        let start = out.len();
        data(entropy, size, out);
        let bytes = &request.bytes[start..];
        let value = match *bytes {
            [] => None,
            [byte] => Some(i64::from(byte)),
            _ => {
                // Sign extension by hand.
                let mut wide = if bytes[size - 1] & 0x80 != 0 { [0xff; 8] } else { [0; 8] };
                wide[..size].copy_from_slice(bytes);
                Some(i64::from_le_bytes(wide))
            }
        };
        request.parts.push((at, request.bytes.len() - at, Part::Integer(value)));
        return;
    }
    value(entropy, described.form, out);
    let is_text = matches!(id, 0xe7 | 0xef | 0x63) && !encrypted && text_limit > 0;
    let whole = request.bytes.len() - at;
    if is_text && whole <= text_limit {
        let text = text_of(described.form, &request.bytes[head..]);
        request.parts.push((at, whole, Part::Text(text)));
    } else if is_text {
        // How much of it comes with the head depends on how it was cut.
        request.parts.push((at, usize::MAX, Part::Other));
    } else {
        request.parts.push((at, head - at, Part::Other));
    }
}

/// The text in a value, its chunks put together.
fn text_of(form: Form, value: &[u8]) -> Option<Vec<u8>> {
    match form {
        Form::Short => (value != [0xff; 2]).then(|| value[2..].to_vec()),
        Form::Long => (value != [0xff; 4]).then(|| value[4..].to_vec()),
        _ if value == [0xff; 8] => None,
        _ => {
            let (mut text, mut rest) = (Vec::new(), &value[8..]);
            while let Some(length) = rest.first_chunk().map(|length| u32::from_le_bytes(*length) as usize) {
                text.extend(&rest[4..4 + length]);
                rest = &rest[4 + length..];
            }
            Some(text)
        }
    }
}

fn table(entropy: &mut Entropy<'_>, out: &mut Vec<u8>) {
    (0..3).for_each(|_| b_varchar(entropy, out));
    let columns = entropy.below(6);
    let is_null = columns == 5;
    out.extend(if is_null {
        [0xff; 2]
    } else {
        (columns as u16).to_le_bytes()
    });
    let mut forms = Vec::new();
    for _ in 0..if is_null { 0 } else { columns } {
        let described = described(entropy, Place::Parameter, false);
        let left_out = entropy.below(4) == 1;
        out.extend([0, 0, 0, 0, 0, if left_out { 2 } else { 0 }]);
        out.extend(&described.info);
        out.push(0);
        if !left_out {
            forms.push(described.form);
        }
    }
    if entropy.yes() {
        out.extend([0x10, 1, 0, 1, 0, 1]);
    }
    if entropy.yes() {
        out.extend([0x11, 2, 0, 1, 0, 2, 0]);
    }
    out.push(0);
    for _ in 0..if is_null { 0 } else { entropy.below(6) } {
        out.push(1);
        forms.iter().for_each(|form| value(entropy, *form, out));
    }
    out.push(0);
}

fn cipher(entropy: &mut Entropy<'_>, out: &mut Vec<u8>) {
    out.extend(described(entropy, Place::Parameter, true).info);
    let algorithm = entropy.below(3) as u8;
    out.push(algorithm);
    if algorithm == 0 {
        b_varchar(entropy, out);
    }
    out.extend([1; 22]);
}
