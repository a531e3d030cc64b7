//! One direction of a conversation: bytes read, judged, and on their way out. Pure but for the final write.
//!
//! Invariants: what was judged is sent once and in order (I7); a lane at rest owns no memory (I8); a message is copied
//! only if it is split, injected around, or its receiver is slow.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, BytesMut};

use crate::{
    backend::{Access, Io, Outbox, Step},
    limits,
    refusal::Fault,
};

/// The direction that a lane carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Toward {
    Client,
    Server,
}

/// One direction.
#[derive(Debug)]
pub(super) struct Lane {
    toward: Toward,
    /// Read, but not judged: the head of a message, or what has to wait.
    unjudged: BytesMut,
    /// How many bytes `unjudged` must hold before judging makes sense.
    needed: usize,
    /// The rest of the message under way.
    body: Body,
    /// Judged, and waiting for the receiver.
    unsent: BytesMut,
    flush: Flush,
}

/// What happens to the rest of a message whose head was judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Body {
    /// No message is under way.
    None,
    /// This many bytes are passed on as they come.
    Forward(u64),
    /// This many bytes are dropped as they come.
    Drop(u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flush {
    Clean,
    /// The stream below (TLS) may still hold bytes.
    Wanted,
}

/// Why judging stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Everything is judged, or more bytes are needed.
    More,
    /// A server connection is needed first.
    Lease(Access),
    /// The server has to answer first.
    Hold,
    /// The client said good-bye.
    Finish,
    /// A peer broke its protocol.
    Fault(Fault),
}

/// What judging a slice came to: `sent` must be given to [`Lane::poll_send`] before anything else happens to the lane.
#[derive(Debug)]
pub(super) struct Judged {
    /// How many bytes are dealt with.
    pub(super) consumed: usize,
    /// The part of the slice that is to be sent after what was gathered.
    pub(super) run: std::ops::Range<usize>,
    pub(super) verdict: Verdict,
}

impl Lane {
    pub(super) fn new(toward: Toward) -> Self {
        Lane {
            toward,
            unjudged: BytesMut::new(),
            needed: 0,
            body: Body::None,
            unsent: BytesMut::new(),
            flush: Flush::Clean,
        }
    }

    /// Keeps bytes that cannot be judged yet.
    pub(super) fn keep(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.unjudged.extend_from_slice(bytes);
        }
    }

    /// Takes out what was kept, to be judged together with what has just arrived.
    pub(super) fn take_unjudged(&mut self) -> BytesMut {
        std::mem::take(&mut self.unjudged)
    }

    /// Puts back the part of it that is still not judged.
    pub(super) fn put_back(&mut self, rest: BytesMut) {
        debug_assert!(self.unjudged.is_empty());
        self.unjudged = if rest.is_empty() { BytesMut::new() } else { rest };
    }

    pub(super) fn unjudged(&self) -> usize {
        self.unjudged.len()
    }

    /// What was kept, to look at without judging.
    pub(super) fn unjudged_bytes(&self) -> &[u8] {
        &self.unjudged
    }

    /// Whether the kept bytes are enough for another look.
    pub(super) fn is_worth_judging(&self, arrived: usize) -> bool {
        self.unjudged.len() + arrived >= self.needed.max(1)
    }

    pub(super) fn body(&self) -> Body {
        self.body
    }

    /// Bytes that wait for the receiver.
    pub(super) fn owed(&self) -> usize {
        self.unsent.len()
    }

    /// Nothing waits for the receiver, not even inside TLS.
    pub(super) fn is_flushed(&self) -> bool {
        self.unsent.is_empty() && self.flush == Flush::Clean
    }

    /// Adds bytes of the gateway's own.
    pub(super) fn push(&mut self, own: &mut BytesMut) {
        if !own.is_empty() {
            self.unsent.extend_from_slice(own);
            own.clear();
        }
    }

    /// Its receiver is gone: forgets what was meant for it. A message of which the receiver has a part cannot be
    /// finished any more; what is still to come of it is dropped.
    pub(super) fn receiver_gone(&mut self) {
        self.unsent = BytesMut::new();
        self.flush = Flush::Clean;
        if let Body::Forward(rest) = self.body {
            self.body = Body::Drop(rest);
        }
    }

    /// Takes out the half that still has to be sent, to be finished elsewhere; what stays goes on judging.
    pub(super) fn split_unsent(&mut self) -> Lane {
        let mut sending = Lane::new(self.toward);
        sending.unsent = std::mem::take(&mut self.unsent);
        sending.flush = std::mem::replace(&mut self.flush, Flush::Clean);
        sending
    }

    /// Its sender is gone: forgets what it left half said.
    pub(super) fn sender_gone(&mut self) {
        self.unjudged = BytesMut::new();
        self.needed = 0;
        self.body = Body::None;
    }

    /// Judges `bytes`. `gather` receives whatever cannot be sent straight from `bytes`; `look` is the dialogue.
    pub(super) fn judge(
        &mut self,
        bytes: &[u8],
        gather: &mut BytesMut,
        out: &mut Outbox,
        mut look: impl FnMut(&[u8], &mut Outbox) -> Result<Step, Fault>,
    ) -> Judged {
        let mut run = 0..0;
        let mut position = 0;
        self.needed = 0;
        let verdict = loop {
            position += self.pass_body(bytes, position, &mut run, gather);
            let rest = &bytes[position..];
            if rest.is_empty() {
                break Verdict::More;
            }
            let step = look(rest, out);
            let own = match self.toward {
                Toward::Client => &mut out.to_client,
                Toward::Server => &mut out.to_server,
            };
            if !own.is_empty() {
                gather.extend_from_slice(&bytes[run.clone()]);
                run = position..position;
                gather.extend_from_slice(own);
                own.clear();
            }
            match step {
                Ok(Step::Forward(count)) => self.body = Body::Forward(count),
                Ok(Step::Skip(count)) => self.body = Body::Drop(count),
                Ok(Step::Need(count)) if count > rest.len() && count <= limits::MAX_PEEK => {
                    self.needed = count;
                    break Verdict::More;
                }
                Ok(Step::Need(_)) => break Verdict::Fault(self.fault("a message head beyond every bound")),
                Ok(Step::Lease(access)) => break Verdict::Lease(access),
                Ok(Step::Hold) => break Verdict::Hold,
                Ok(Step::Finish) => break Verdict::Finish,
                Err(fault) => break Verdict::Fault(fault),
            }
        };
        Judged {
            consumed: position,
            run,
            verdict,
        }
    }

    /// Passes on or drops what belongs to the message under way; returns how many bytes that were.
    fn pass_body(
        &mut self,
        bytes: &[u8],
        position: usize,
        run: &mut std::ops::Range<usize>,
        gather: &mut BytesMut,
    ) -> usize {
        let available = bytes.len() - position;
        let (rest, forward) = match self.body {
            Body::None => return 0,
            Body::Forward(rest) => (rest, true),
            Body::Drop(rest) => (rest, false),
        };
        let taken = usize::try_from(rest).map_or(available, |rest| rest.min(available));
        if forward {
            if run.end != position {
                gather.extend_from_slice(&bytes[run.clone()]);
                *run = position..position;
            }
            run.end = position + taken;
        }
        self.body = match rest - taken as u64 {
            0 => Body::None,
            rest if forward => Body::Forward(rest),
            rest => Body::Drop(rest),
        };
        taken
    }

    fn fault(&self, what: &'static str) -> Fault {
        match self.toward {
            Toward::Client => Fault::Server(what),
            Toward::Server => Fault::Client(what),
        }
    }

    /// Writes what is owed, then `gathered`, then `direct`, in one call where the receiver can take it; keeps the rest.
    pub(super) fn poll_send<I: Io>(
        &mut self,
        io: &mut I,
        cx: &mut Context<'_>,
        gathered: &mut BytesMut,
        direct: &[u8],
    ) -> io::Result<()> {
        let mut direct = direct;
        while !(self.unsent.is_empty() && gathered.is_empty() && direct.is_empty()) {
            let slices = [IoSlice::new(&self.unsent), IoSlice::new(gathered), IoSlice::new(direct)];
            let written = match poll_write_slices(io, cx, slices) {
                Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(written)) => written,
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Pending => break,
            };
            self.flush = Flush::Wanted;
            let mut rest = written;
            for part in [&mut self.unsent, &mut *gathered] {
                let taken = rest.min(part.len());
                if taken > 0 {
                    part.advance(taken);
                }
                rest -= taken;
            }
            direct = &direct[rest..];
        }
        if !(gathered.is_empty() && direct.is_empty()) {
            self.unsent.extend_from_slice(gathered);
            gathered.clear();
            self.unsent.extend_from_slice(direct);
        } else if self.unsent.is_empty() && self.unsent.capacity() > 0 {
            self.unsent = BytesMut::new();
        }
        self.poll_flush(io, cx)
    }

    fn poll_flush<I: Io>(&mut self, io: &mut I, cx: &mut Context<'_>) -> io::Result<()> {
        if self.flush == Flush::Wanted && self.unsent.is_empty() {
            match Pin::new(io).poll_flush(cx) {
                Poll::Ready(Ok(())) => self.flush = Flush::Clean,
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Pending => {}
            }
        }
        Ok(())
    }
}

/// One write of what is not empty among three slices.
fn poll_write_slices<I: Io>(io: &mut I, cx: &mut Context<'_>, slices: [IoSlice<'_>; 3]) -> Poll<io::Result<usize>> {
    let mut filled = slices.iter().filter(|slice| !slice.is_empty());
    let io = Pin::new(io);
    match (filled.next(), filled.next()) {
        (Some(only), None) => io.poll_write(cx, only),
        _ if io.is_write_vectored() => io.poll_write_vectored(cx, &slices),
        (Some(first), Some(_)) => {
            let written = ready!(io.poll_write(cx, first))?;
            Poll::Ready(Ok(written))
        }
        (None, _) => Poll::Ready(Ok(0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A toy protocol: the first byte is a length that includes itself; the second a command.
    /// `f` forward, `s` skip, `i` inject "<>" ahead and forward, `h` hold.
    fn toy(bytes: &[u8], out: &mut Outbox) -> Result<Step, Fault> {
        if bytes.len() < 2 {
            return Ok(Step::Need(2));
        }
        let length = u64::from(bytes[0]);
        Ok(match bytes[1] {
            b'f' => Step::Forward(length),
            b's' => Step::Skip(length),
            b'i' => {
                out.to_server.extend_from_slice(b"<>");
                Step::Forward(length)
            }
            b'h' => Step::Hold,
            _ => return Err(Fault::Client("unknown command")),
        })
    }

    fn feed(chunks: &[&[u8]]) -> (Vec<u8>, Verdict) {
        let mut lane = Lane::new(Toward::Server);
        let (mut sent, mut gather, mut out) = (Vec::new(), BytesMut::new(), Outbox::default());
        let mut verdict = Verdict::More;
        for chunk in chunks {
            lane.keep(chunk);
            if !lane.is_worth_judging(0) {
                continue;
            }
            let mut bytes = lane.take_unjudged();
            let judged = lane.judge(&bytes, &mut gather, &mut out, toy);
            sent.extend_from_slice(&gather);
            gather.clear();
            sent.extend_from_slice(&bytes[judged.run.clone()]);
            bytes.advance(judged.consumed);
            lane.put_back(bytes);
            verdict = judged.verdict;
        }
        (sent, verdict)
    }

    #[test]
    fn any_split_gives_the_same_bytes() {
        let stream = b"\x04fab\x03sx\x05iabc\x02f\x02s\x04fyz\x02i";
        let expected = b"\x04fab<>\x05iabc\x02f\x04fyz<>\x02i";
        for first in 0..=stream.len() {
            for second in first..=stream.len() {
                let (sent, verdict) = feed(&[&stream[..first], &stream[first..second], &stream[second..]]);
                assert_eq!(sent, expected, "split at {first} and {second}");
                assert_eq!(verdict, Verdict::More);
            }
        }
    }

    #[test]
    fn what_stands_before_a_stop_is_sent() {
        assert_eq!(feed(&[b"\x03fa\x02h\x03fb"]), (b"\x03fa".to_vec(), Verdict::Hold));
        let (sent, verdict) = feed(&[b"\x03fa\x02?"]);
        assert_eq!(sent, b"\x03fa");
        assert_eq!(verdict, Verdict::Fault(Fault::Client("unknown command")));
    }

    #[test]
    fn a_lost_receiver_turns_the_rest_of_a_message_into_waste() {
        let mut lane = Lane::new(Toward::Server);
        let (mut gather, mut out) = (BytesMut::new(), Outbox::default());
        lane.judge(b"\x09fabc", &mut gather, &mut out, toy);
        assert_eq!(lane.body(), Body::Forward(4));
        lane.receiver_gone();
        assert_eq!(lane.body(), Body::Drop(4));
    }
}
