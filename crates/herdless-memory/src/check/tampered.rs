//! Planted bugs.

use std::fmt;

use herdless_core::{Client, Request, Response, Session};

/// A client with a planted bug: every request goes through a function, which may change it, or its answer.
///
/// A model that passes should also be seen to fail: run it once more over a client that makes the code above it behave
/// as if it had the bug.
///
/// ```
/// use herdless_core::{ClientExt, NodePath, Request, Version};
/// use herdless_memory::MemoryServer;
/// use herdless_memory::check::Tampered;
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// // Forgets to compare versions.
/// let client = Tampered::new(MemoryServer::new().connect(), |client, mut request| {
///     if let Request::SetData(set) = &mut request {
///         set.version = Version::ANY;
///     }
///     herdless_memory::check::sound(client, request)
/// });
/// client.set(&NodePath::root(), "", Version(7)).await?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Tampered<C> {
    inner: C,
    tamper: Tamper<C>,
}

/// Carries out a request, or something else in its place.
pub type Tamper<C> = fn(&C, Request) -> Response;

/// No bug: carries out the request.
pub fn sound<C: Client>(client: &C, request: Request) -> Response {
    client.submit(request)
}

impl<C: Client> Tampered<C> {
    /// A client whose requests go through `tamper`.
    pub fn new(inner: C, tamper: Tamper<C>) -> Self {
        Self { inner, tamper }
    }
}

impl<C: Client> Client for Tampered<C> {
    fn submit(&self, request: Request) -> Response {
        (self.tamper)(&self.inner, request)
    }

    fn session(&self) -> Session {
        self.inner.session()
    }
}

impl<C> fmt::Debug for Tampered<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tampered").finish_non_exhaustive()
    }
}
