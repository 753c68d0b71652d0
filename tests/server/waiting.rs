//! Requests that wait for a disk.

use std::io;
use std::sync::{Arc, Condvar, Mutex};

use herdless::server::{Disk, Limits, Server};

use crate::support::{Raw, buffer, until};

/// A disk in memory whose syncs take until it is let go on.
#[derive(Debug, Default)]
struct Gate {
    bytes: Mutex<Vec<u8>>,
    is_closed: Mutex<bool>,
    opened: Condvar,
}

impl Gate {
    fn set_closed(&self, is_closed: bool) {
        *self.is_closed.lock().unwrap() = is_closed;
        self.opened.notify_all();
    }
}

impl Disk for Gate {
    fn length(&self) -> io::Result<u64> {
        Ok(self.bytes.lock().unwrap().len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let start = offset as usize;
        out.copy_from_slice(&self.bytes.lock().unwrap()[start..start + out.len()]);
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let start = offset as usize;
        self.bytes.lock().unwrap()[start..start + data.len()].copy_from_slice(data);
        Ok(())
    }

    fn set_length(&self, length: u64) -> io::Result<()> {
        self.bytes.lock().unwrap().resize(length as usize, 0);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        drop(self.opened.wait_while(self.is_closed.lock().unwrap(), |is_closed| *is_closed).unwrap());
        Ok(())
    }
}

/// Opens the gate also when a test fails, as the server waits for its disk when it ends.
struct Opens(Arc<Gate>);

impl Drop for Opens {
    fn drop(&mut self) {
        self.0.set_closed(false);
    }
}

/// Of the requests of one connection some are carried out ahead of the disk, and then it is not read from any more; another
/// connection has its own share, and nothing is lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_ahead_of_the_disk_are_limited_for_each_connection() {
    const MOST: usize = 10;
    const ALL: usize = 300;
    let disk = Arc::new(Gate::default());
    let _opens = Opens(disk.clone());
    let limits = Limits { outstanding_per_connection: MOST, ..Limits::default() };
    let server = Server::builder().limits(limits).disk(disk.clone()).bind("127.0.0.1:0").await.unwrap();
    let address = server.address().to_string();
    let mut peers = Vec::new();
    for _ in 0..3 {
        peers.push(Raw::open(&address, 40_000).await.0);
    }
    disk.set_closed(true);
    let before = server.usage().nodes;
    for (number, peer) in peers.iter_mut().enumerate() {
        let mut bytes = Vec::new();
        for xid in 0..ALL {
            let mut frame = (xid as i32).to_be_bytes().to_vec();
            frame.extend(1i32.to_be_bytes()); // create
            buffer(&mut frame, format!("/{number}-{xid}").as_bytes());
            buffer(&mut frame, b"");
            frame.extend(1i32.to_be_bytes()); // one entry in the access control list
            frame.extend(31i32.to_be_bytes());
            buffer(&mut frame, b"world");
            buffer(&mut frame, b"anyone");
            frame.extend(0i32.to_be_bytes());
            buffer(&mut bytes, &frame);
        }
        peer.send_bytes(&bytes).await;
    }
    until("each has its share", async || (server.usage().nodes == before + 3 * MOST).then_some(())).await;
    // Whoever comes now is served behind the same disk, and no more of the others is carried out for it.
    let mut late = Raw::dial(&address).await;
    late.send_bytes(b"srvr").await;
    assert!(late.text().await.contains("Node count"));
    assert_eq!(server.usage().nodes, before + 3 * MOST);
    disk.set_closed(false);
    for peer in &mut peers {
        for xid in 0..ALL {
            let reply = peer.receive().await.expect("a reply to each");
            assert_eq!(reply[..4], (xid as i32).to_be_bytes());
            assert_eq!(reply[12..16], [0; 4]);
        }
    }
    assert_eq!(server.usage().nodes, before + 3 * ALL);
    assert!(server.shutdown().await.is_none());
}
