//! Asking a server whether it is read-write.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{Dial, Host};

/// Whether the server says so, on a connection of its own: to the word `isro` it answers `rw`, or else `ro` or `null`
/// (`IsroCommand`), and hangs up.
pub(crate) async fn is_read_write(dial: &dyn Dial, host: &Host) -> io::Result<bool> {
    let mut stream = dial.dial(host).await?;
    stream.write_all(b"isro").await?;
    stream.flush().await?;
    let mut answer = [0; 2];
    stream.read_exact(&mut answer).await?;
    Ok(answer == *b"rw")
}
