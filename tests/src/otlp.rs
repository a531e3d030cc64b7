//! A collector of OpenTelemetry: takes OTLP over HTTP and reads Protocol Buffers with code of its own, so that what the
//! gateway writes is not judged by what wrote it.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

/// One message that came.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// Where to: `/v1/traces`, `/v1/metrics`.
    pub path: String,
    /// Lower-case names.
    pub headers: BTreeMap<String, String>,
    /// The message.
    pub body: Vec<u8>,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Collector {
    /// Where it listens.
    pub address: SocketAddr,
    deliveries: Arc<Mutex<Vec<Delivery>>>,
}

impl Collector {
    /// Starts one that answers each message with `status`, after `delay`.
    pub async fn start(status: u16, delay: Duration) -> Collector {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let collector = Collector {
            address: listener.local_addr().unwrap(),
            deliveries: Arc::default(),
        };
        let deliveries = collector.deliveries.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, deliveries.clone(), status, delay));
            }
        });
        collector
    }

    /// Everything that came to this path.
    pub fn deliveries(&self, path: &str) -> Vec<Delivery> {
        let all = self.deliveries.lock();
        all.iter().filter(|delivery| delivery.path == path).cloned().collect()
    }
}

async fn serve(mut stream: TcpStream, deliveries: Arc<Mutex<Vec<Delivery>>>, status: u16, delay: Duration) {
    let mut buffer = Vec::new();
    loop {
        let head_end = loop {
            if let Some(end) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
                break end + 4;
            }
            match stream.read_buf(&mut buffer).await {
                Ok(count) if count > 0 => {}
                _ => return,
            }
        };
        let head = String::from_utf8_lossy(&buffer[..head_end]).into_owned();
        let mut lines = head.lines();
        let path = lines
            .next()
            .and_then(|line| line.split(' ').nth(1))
            .unwrap_or_default()
            .to_owned();
        let headers = lines.filter_map(|line| line.split_once(':'));
        let headers: BTreeMap<String, String> = headers
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        let length: usize = headers["content-length"].parse().unwrap();
        while buffer.len() < head_end + length {
            match stream.read_buf(&mut buffer).await {
                Ok(count) if count > 0 => {}
                _ => return,
            }
        }
        let body = buffer[head_end..head_end + length].to_vec();
        buffer.drain(..head_end + length);
        deliveries.lock().push(Delivery { path, headers, body });
        tokio::time::sleep(delay).await;
        let answer = format!("HTTP/1.1 {status} x\r\ncontent-length: 0\r\n\r\n");
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

/// A message of Protocol Buffers: the values of each field, by its number.
#[derive(Clone, Debug, Default)]
pub struct Message(BTreeMap<u64, Vec<Value>>);

#[derive(Clone, Debug)]
enum Value {
    Number(u64),
    Bytes(Vec<u8>),
}

impl Message {
    /// Reads one; all of `bytes` must be it.
    #[track_caller]
    pub fn read(mut bytes: &[u8]) -> Message {
        let mut message = Message::default();
        while !bytes.is_empty() {
            let key = varint(&mut bytes);
            let value = match key & 7 {
                0 => Value::Number(varint(&mut bytes)),
                1 => Value::Number(u64::from_le_bytes(take(&mut bytes, 8).try_into().unwrap())),
                5 => Value::Number(u32::from_le_bytes(take(&mut bytes, 4).try_into().unwrap()).into()),
                2 => {
                    let length = varint(&mut bytes) as usize;
                    Value::Bytes(take(&mut bytes, length).to_vec())
                }
                other => panic!("wire type {other}"),
            };
            message.0.entry(key >> 3).or_default().push(value);
        }
        message
    }

    /// The messages in a repeated field.
    pub fn all(&self, field: u64) -> Vec<Message> {
        self.bytes(field).iter().map(|bytes| Message::read(bytes)).collect()
    }

    /// The only message in a field.
    #[track_caller]
    pub fn one(&self, field: u64) -> Message {
        let mut all = self.all(field);
        assert_eq!(all.len(), 1, "field {field}");
        all.remove(0)
    }

    /// The text of a field, empty when it is not there.
    pub fn text(&self, field: u64) -> String {
        let bytes = self.bytes(field);
        bytes
            .first()
            .map(|bytes| String::from_utf8(bytes.clone()).unwrap())
            .unwrap_or_default()
    }

    /// What is in the field, as it is.
    pub fn bytes(&self, field: u64) -> Vec<Vec<u8>> {
        let values = self.0.get(&field).into_iter().flatten();
        let bytes = values.filter_map(|value| match value {
            Value::Bytes(bytes) => Some(bytes.clone()),
            Value::Number(_) => None,
        });
        bytes.collect()
    }

    /// The number of a field, 0 when it is not there.
    pub fn number(&self, field: u64) -> u64 {
        match self.0.get(&field).and_then(|values| values.first()) {
            Some(Value::Number(number)) => *number,
            _ => 0,
        }
    }

    /// The floating-point number of a field.
    pub fn double(&self, field: u64) -> f64 {
        f64::from_bits(self.number(field))
    }

    /// The 64-bit numbers packed into a field.
    pub fn packed(&self, field: u64) -> Vec<u64> {
        let bytes = self.bytes(field).concat();
        let numbers = bytes
            .chunks(8)
            .map(|eight| u64::from_le_bytes(eight.try_into().unwrap()));
        numbers.collect()
    }

    /// Attributes (`KeyValue`) in a field, as text.
    pub fn attributes(&self, field: u64) -> BTreeMap<String, String> {
        let pairs = self.all(field);
        let pairs = pairs.iter().map(|pair| {
            let value = pair.one(2);
            let text = match value.0.keys().next() {
                Some(1) => value.text(1),
                Some(3) => value.number(3).to_string(),
                Some(4) => value.double(4).to_string(),
                other => panic!("a value of kind {other:?}"),
            };
            (pair.text(1), text)
        });
        pairs.collect()
    }
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = take(bytes, 1)[0];
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return value;
        }
    }
    panic!("a number without end")
}

fn take<'a>(bytes: &mut &'a [u8], count: usize) -> &'a [u8] {
    let (head, rest) = bytes.split_at(count);
    *bytes = rest;
    head
}
