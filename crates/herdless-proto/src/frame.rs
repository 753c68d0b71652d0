//! Frames: a length of four bytes, then that many.

use bytes::{Buf, BytesMut};
use thiserror::Error;

/// The largest frame that Apache ZooKeeper accepts unless configured otherwise (`jute.maxbuffer`), in bytes.
pub const MAX_FRAME: usize = 0xf_ffff;

/// The largest frame that is accepted before a session exists, in bytes: a handshake has 45.
pub const MAX_HANDSHAKE: usize = 8 * 1024;

/// A length that no frame may have.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("frame of {length} bytes; the limit is {limit}")]
pub struct FrameError {
    /// The length that was announced; negative ones included.
    pub length: i64,
    /// The largest that is accepted.
    pub limit: usize,
}

/// The length of the next frame's payload, once it is there as a whole.
///
/// # Errors
///
/// A negative length, or one over the limit: before a byte of it is waited for.
pub(crate) fn next_frame(buffer: &BytesMut, limit: usize) -> Result<Option<usize>, FrameError> {
    let Some(prefix) = buffer.first_chunk::<4>() else {
        return Ok(None);
    };
    let length = i32::from_be_bytes(*prefix);
    match usize::try_from(length) {
        Ok(length) if length <= limit => Ok((buffer.len() >= 4 + length).then_some(length)),
        _ => Err(FrameError { length: length.into(), limit }),
    }
}

/// Drops the frame that [`next_frame`] found.
pub(crate) fn consume(buffer: &mut BytesMut, length: usize) {
    buffer.advance(4 + length);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_comes_whole_or_not_at_all() {
        let mut buffer = BytesMut::new();
        for (i, byte) in [0, 0, 0, 2, 7, 7].into_iter().enumerate() {
            assert_eq!(next_frame(&buffer, 10), Ok(None), "after {i} bytes");
            buffer.extend_from_slice(&[byte]);
        }
        assert_eq!(next_frame(&buffer, 10), Ok(Some(2)));
        consume(&mut buffer, 2);
        assert!(buffer.is_empty());
    }

    #[test]
    fn bad_lengths_are_refused_from_the_prefix_alone() {
        let over = BytesMut::from(&11i32.to_be_bytes()[..]);
        assert_eq!(next_frame(&over, 10), Err(FrameError { length: 11, limit: 10 }));
        let negative = BytesMut::from(&(-1i32).to_be_bytes()[..]);
        assert_eq!(next_frame(&negative, 10), Err(FrameError { length: -1, limit: 10 }));
    }
}
