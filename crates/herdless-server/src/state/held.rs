//! What is written to a client and shows changes that are not on disk yet.

use std::collections::VecDeque;

use bytes::{Buf, BytesMut};

/// Which parts of a connection's output have to wait, and for what.
#[derive(Debug, Default)]
pub(super) struct Held {
    /// What may go before all that is held.
    ready: BytesMut,
    /// The ends of the parts of the output, in order; what is behind the last of them waits for nothing but them.
    marks: VecDeque<Mark>,
    replies: usize,
}

#[derive(Debug)]
struct Mark {
    end: usize,
    zxid: i64,
    replies: usize,
}

impl Held {
    /// All of the output up to `end` waits for this change; `replies` more of them.
    pub(super) fn mark(&mut self, end: usize, zxid: i64, replies: usize) {
        self.replies += replies;
        match self.marks.back_mut().filter(|last| last.zxid == zxid) {
            Some(last) => {
                last.end = end;
                last.replies += replies;
            }
            None => self.marks.push_back(Mark { end, zxid, replies }),
        }
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.marks.is_empty()
    }

    /// Whether anything waits for more than this.
    pub(super) fn waits_beyond(&self, durable: i64) -> bool {
        self.marks.back().is_some_and(|last| last.zxid > durable)
    }

    /// How many replies wait.
    pub(super) fn replies(&self) -> usize {
        self.replies
    }

    /// How many bytes may go before all that waits.
    pub(super) fn ready(&self) -> usize {
        self.ready.len()
    }

    /// The last `length` bytes of the output are for no change and no request to wait for: they go before all that waits.
    pub(super) fn pass(&mut self, output: &mut BytesMut, length: usize) {
        let start = output.len().saturating_sub(length);
        self.ready.extend_from_slice(&output[start..]);
        output.truncate(start);
    }

    /// Moves what may go now into `out`, which is empty: this is what there is on disk.
    pub(super) fn release(&mut self, durable: i64, output: &mut BytesMut, out: &mut BytesMut) {
        let due = self.due(durable, output);
        if self.ready.is_empty() && due == output.len() {
            // The usual case, in which nothing is copied.
            return std::mem::swap(output, out);
        }
        std::mem::swap(&mut self.ready, out);
        out.extend_from_slice(&output[..due]);
        output.advance(due);
    }

    /// Forgets what waits for changes that will never be there.
    pub(super) fn cut(&mut self, durable: i64, output: &mut BytesMut) {
        let due = self.due(durable, output);
        output.truncate(due);
        self.marks.clear();
        self.replies = 0;
    }

    /// How much of the output may go now. The marks are as if it were gone.
    fn due(&mut self, durable: i64, output: &BytesMut) -> usize {
        let mut due = 0;
        while let Some(mark) = self.marks.front().filter(|mark| mark.zxid <= durable) {
            due = mark.end;
            self.replies -= mark.replies;
            self.marks.pop_front();
        }
        if self.marks.is_empty() {
            return output.len();
        }
        for mark in &mut self.marks {
            mark.end -= due;
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What goes, when so much is on disk.
    fn released(held: &mut Held, output: &mut BytesMut, durable: i64) -> Vec<u8> {
        let mut out = BytesMut::new();
        held.release(durable, output, &mut out);
        out.to_vec()
    }

    #[test]
    fn each_part_waits_for_its_change_and_those_before_it() {
        let (mut held, mut output) = (Held::default(), BytesMut::from(&b"aa"[..]));
        held.mark(2, 5, 1);
        output.extend_from_slice(b"bb");
        held.mark(4, 6, 1);
        output.extend_from_slice(b"cc");
        held.mark(6, 6, 1);
        output.extend_from_slice(b"free");
        assert_eq!(released(&mut held, &mut output, 4), b"");
        assert_eq!(released(&mut held, &mut output, 5), b"aa");
        assert!(held.waits_beyond(5) && !held.waits_beyond(6));
        output.extend_from_slice(b"dd");
        held.mark(output.len(), 7, 1);
        assert_eq!(released(&mut held, &mut output, 6), b"bbcc");
        assert_eq!(released(&mut held, &mut output, 9), b"freedd");
        assert!(held.is_empty() && output.is_empty());
    }

    #[test]
    fn a_ping_goes_first_and_takes_nothing_with_it() {
        let (mut held, mut output) = (Held::default(), BytesMut::from(&b"aaping"[..]));
        held.pass(&mut output, 4);
        held.mark(2, 5, 1);
        assert_eq!(released(&mut held, &mut output, 4), b"ping");
        output.extend_from_slice(b"PING");
        held.pass(&mut output, 4);
        assert_eq!(released(&mut held, &mut output, 5), b"PINGaa");
        assert_eq!(released(&mut held, &mut output, 5), b"");
    }

    #[test]
    fn what_is_cut_is_never_sent() {
        let (mut held, mut output) = (Held::default(), BytesMut::from(&b"aa"[..]));
        held.mark(2, 5, 1);
        output.extend_from_slice(b"bb");
        held.mark(4, 6, 1);
        held.cut(5, &mut output);
        assert_eq!(released(&mut held, &mut output, i64::MAX), b"aa");
    }
}
