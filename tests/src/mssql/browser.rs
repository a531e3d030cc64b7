//! A stand-in for the SQL Server Browser: tells on UDP port 1434 of one address where an instance listens.

use std::{
    net::{IpAddr, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

/// See the module. Ends when dropped.
#[derive(Debug)]
pub struct Browser {
    running: Arc<()>,
    asked: Arc<AtomicUsize>,
}

impl Browser {
    /// On this address, for one instance. The first `lost` questions are not answered; in front of each answer there are
    /// datagrams that are none.
    ///
    /// # Panics
    /// When somebody else has the port there.
    pub fn start(address: IpAddr, instance: &str, port: u16, lost: usize) -> Browser {
        let socket = UdpSocket::bind((address, 1434)).expect("UDP port 1434 of an address of the test's own");
        let timeout = Some(Duration::from_millis(100));
        socket.set_read_timeout(timeout).expect("a time-out can be set");
        let (running, asked) = (Arc::new(()), Arc::new(AtomicUsize::new(0)));
        let (alive, count, instance) = (Arc::downgrade(&running), asked.clone(), instance.to_owned());
        thread::spawn(move || {
            let mut buffer = [0; 512];
            while alive.upgrade().is_some() {
                let Ok((length, from)) = socket.recv_from(&mut buffer) else {
                    continue;
                };
                let name = buffer[..length]
                    .strip_prefix(b"\x04")
                    .and_then(|rest| rest.strip_suffix(b"\0"));
                let is_known = name.is_some_and(|name| name.eq_ignore_ascii_case(instance.as_bytes()));
                if count.fetch_add(1, Ordering::SeqCst) >= lost && is_known {
                    let text = format!(
                        "ServerName;STANDIN;InstanceName;{instance};IsClustered;No;Version;16.0.1000.6;tcp;{port};;"
                    );
                    let mut answer = vec![5];
                    answer.extend_from_slice(&(text.len() as u16).to_le_bytes());
                    answer.extend_from_slice(text.as_bytes());
                    for datagram in [&b"nonsense"[..], &[5, 200, 0, b'x'], &[], &answer] {
                        let _ = socket.send_to(datagram, from);
                    }
                }
            }
        });
        Browser { running, asked }
    }

    /// Questions so far.
    pub fn asked(&self) -> usize {
        debug_assert!(Arc::strong_count(&self.running) >= 1);
        self.asked.load(Ordering::SeqCst)
    }
}
