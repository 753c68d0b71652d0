//! Work that only a leader does.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::Poll;

use herdless_core::{Client, Error};

use super::{Election, Leadership};

/// How a time of leading ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "the work ends by itself or it does not")]
pub enum Led<T> {
    /// The work returned this, and the leader has resigned.
    Finished(T),
    /// The leadership was lost with its session, and the work was dropped: it has begun no step since.
    Lost,
}

impl<C: Client + Clone + 'static> Election<C> {
    /// Stands, and does `work` while leading; whenever the leadership is lost, drops the work and stands again. Ends
    /// when the work returns: then it resigns.
    ///
    /// When the leadership is lost the future wakes; the work is not polled again, and dropped at the await where it
    /// stands. That is when the session ends, or when the time has passed after which the server may end it: before
    /// it can elect anybody else. While the connection is away for less than that, the work goes on. A step of the
    /// work that does not come to an await is not cut short.
    ///
    /// Each run is made of a clone of `work`, so what the runs are to share is borrowed or shared by it. (With one
    /// that is called again and again the future could not be spawned: rustc does not see then that it is `Send`.)
    ///
    /// Costs as [`campaign`](Self::campaign), each time; resigning is sent and not awaited.
    ///
    /// # Ordering
    ///
    /// As [`campaign`](Self::campaign). One run of the work is dropped before the next candidacy begins. What the
    /// work has submitted on this client is carried out before the next leader is elected.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: dropping the future drops the work, and then resigns or leaves the line.
    ///
    /// # Errors
    ///
    /// As [`campaign`](Self::campaign). The work is not running then.
    ///
    /// # Examples
    ///
    /// ```
    /// use herdless_core::NodePath;
    /// use herdless_recipes::Election;
    /// # use herdless_memory::MemoryServer;
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let client = MemoryServer::new().connect();
    /// let election = Election::new(client, NodePath::parse("/elections/reports")?);
    /// let reports = election
    ///     .lead(async |leadership| {
    ///         println!("leading in term {}", leadership.term());
    ///         // .. awaits that end with the leadership ..
    ///         12
    ///     })
    ///     .await?;
    /// assert_eq!(reports, 12);
    /// # Ok(()) }
    /// ```
    pub async fn lead<T>(&self, work: impl AsyncFnOnce(&Leadership<C>) -> T + Clone) -> Result<T, Error> {
        loop {
            if let Led::Finished(value) = self.lead_once(work.clone()).await? {
                return Ok(value);
            }
        }
    }

    /// As [`lead`](Self::lead), for one leadership: when it is lost, it does not stand again.
    ///
    /// # Ordering
    ///
    /// As [`lead`](Self::lead).
    ///
    /// # Cancel safety
    ///
    /// As [`lead`](Self::lead).
    ///
    /// # Errors
    ///
    /// As [`campaign`](Self::campaign).
    ///
    /// # Examples
    ///
    /// ```
    /// # use herdless_core::{Client, Error};
    /// # use herdless_recipes::{Election, Led};
    /// async fn once<C: Client + Clone + 'static>(election: &Election<C>) -> Result<bool, Error> {
    ///     match election.lead_once(async |leadership| leadership.term()).await? {
    ///         Led::Finished(term) => println!("done in term {term}"),
    ///         Led::Lost => return Ok(false),
    ///     }
    ///     Ok(true)
    /// }
    /// ```
    pub async fn lead_once<T>(&self, work: impl AsyncFnOnce(&Leadership<C>) -> T) -> Result<Led<T>, Error> {
        let leadership = self.campaign().await?;
        Ok(while_valid(&leadership, work(&leadership)).await)
    }
}

/// Does `work` as long as the leadership is valid; afterwards it is dropped and not polled again.
async fn while_valid<C: Client, T>(leadership: &Leadership<C>, work: impl Future<Output = T>) -> Led<T> {
    let (mut lost, mut work) = (leadership.lost(), pin!(work));
    poll_fn(|cx| {
        // The clock is asked as well: who drives the session may not have run since its time was over.
        if Pin::new(&mut lost).poll(cx).is_ready() || !leadership.is_valid() {
            return Poll::Ready(Led::Lost);
        }
        work.as_mut().poll(cx).map(Led::Finished)
    })
    .await
}
