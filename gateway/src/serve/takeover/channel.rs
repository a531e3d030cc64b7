//! A connection over the control socket: messages and the descriptors that come with them.
//!
//! Knows bytes and descriptors, not what they mean. Invariant: descriptors that nobody takes are closed; nothing is
//! inherited by programs that are started.

use std::{
    collections::VecDeque,
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::Arc,
};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
};
use tokio::{io::Interest, net::UnixStream};

use super::{
    frame::{Decoder, encode},
    limits::MAX_DESCRIPTORS,
    message::Message,
};

/// The end that reads.
#[derive(Debug)]
pub(super) struct Reader {
    stream: Arc<UnixStream>,
    decoder: Decoder,
    descriptors: VecDeque<OwnedFd>,
    scratch: Box<[u8]>,
}

/// The end that writes.
#[derive(Debug)]
pub(super) struct Writer {
    stream: Arc<UnixStream>,
}

/// Both ends.
pub(super) fn open(stream: UnixStream) -> (Reader, Writer) {
    let stream = Arc::new(stream);
    let reader = Reader {
        stream: stream.clone(),
        decoder: Decoder::default(),
        descriptors: VecDeque::new(),
        scratch: vec![0; 64 * 1024].into_boxed_slice(),
    };
    (reader, Writer { stream })
}

impl Reader {
    /// The next message and its descriptors; `None` at the end. May be dropped and called again: nothing is lost.
    ///
    /// # Errors
    /// The connection broke, or does not speak this protocol.
    pub(super) async fn next(&mut self) -> io::Result<Option<(Message, Vec<OwnedFd>)>> {
        loop {
            if let Some((message, count)) = self.decoder.next().map_err(io::Error::other)? {
                if count > self.descriptors.len() {
                    return Err(io::Error::other("descriptors that were announced have not come"));
                }
                return Ok(Some((message, self.descriptors.drain(..count).collect())));
            }
            let (scratch, descriptors, stream) = (&mut self.scratch, &mut self.descriptors, &self.stream);
            let receive = || receive(stream.as_fd(), scratch, descriptors);
            let count = stream.async_io(Interest::READABLE, receive).await?;
            if self.descriptors.len() > 2 * MAX_DESCRIPTORS {
                return Err(io::Error::other("descriptors that were not announced"));
            }
            if count == 0 {
                return Ok(None);
            }
            self.decoder.feed(&self.scratch[..count]);
        }
    }
}

fn receive(socket: BorrowedFd<'_>, into: &mut [u8], descriptors: &mut VecDeque<OwnedFd>) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(253))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = rustix::net::recvmsg(
        socket,
        &mut [IoSliceMut::new(into)],
        &mut control,
        RecvFlags::CMSG_CLOEXEC,
    )?;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            descriptors.extend(rights);
        }
    }
    Ok(received.bytes)
}

impl Writer {
    /// Sends a message, and its descriptors as they are; they may be closed here afterwards.
    ///
    /// # Errors
    /// The peer has gone, or the message is too large.
    pub(super) async fn send(&mut self, message: &Message, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        let bytes = encode(message, descriptors.len()).map_err(io::Error::other)?;
        let mut sent = 0;
        while sent < bytes.len() {
            // With the first byte; what follows comes without.
            let with = if sent == 0 { descriptors } else { &[] };
            let send = || send(self.stream.as_fd(), &bytes[sent..], with);
            sent += self.stream.async_io(Interest::WRITABLE, send).await?;
        }
        Ok(())
    }
}

fn send(socket: BorrowedFd<'_>, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(253))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::Error::other("too many descriptors"));
    }
    let sent = rustix::net::sendmsg(socket, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL)?;
    Ok(sent)
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};

    use super::*;

    #[tokio::test]
    async fn descriptors_come_with_their_message_and_work() {
        let (one, two) = UnixStream::pair().expect("a pair");
        let ((_, mut writer), (mut reader, _)) = (open(one), open(two));
        let (mut near, far) = std::os::unix::net::UnixStream::pair().expect("a pair");
        let many: Vec<_> = (0..MAX_DESCRIPTORS).map(|_| far.as_fd()).collect();
        for count in [0, 1, 3, MAX_DESCRIPTORS] {
            writer.send(&Message::Go, &many[..count]).await.expect("sent");
        }
        drop(many);
        drop(far);
        for count in [0, 1, 3, MAX_DESCRIPTORS] {
            let (message, mut descriptors) = reader.next().await.expect("whole").expect("not the end");
            assert_eq!((message, descriptors.len()), (Message::Go, count));
            if let Some(last) = descriptors.pop() {
                std::os::unix::net::UnixStream::from(last)
                    .write_all(b"x")
                    .expect("it is the same socket");
                near.read_exact(&mut [0]).expect("it has come");
            }
        }
        drop(writer);
        assert!(reader.next().await.expect("in order").is_none());
        assert_eq!(near.read(&mut [0]).expect("the end"), 0, "a descriptor was left open");
    }
}
