//! A client that sees one subtree as the whole tree.

use crate::{Client, Error, NodePath, Request, Response, Session};

/// A client whose `/` is the node `root` of another client.
///
/// The node itself is not created: until somebody does, every request is refused with `NoNode`.
#[derive(Clone, Debug)]
pub struct Chroot<C> {
    client: C,
    root: NodePath,
}

impl<C> Chroot<C> {
    /// `client`, seen from `root`.
    pub fn new(client: C, root: NodePath) -> Self {
        Self { client, root }
    }

    /// The client underneath.
    pub fn inner(&self) -> &C {
        &self.client
    }

    /// The node that is seen as `/`.
    pub fn root(&self) -> &NodePath {
        &self.root
    }
}

impl<C: Client> Client for Chroot<C> {
    fn submit(&self, mut request: Request) -> Response {
        if self.root.is_root() {
            return self.client.submit(request);
        }
        request.map_paths(|path, is_prefix| match is_prefix {
            true => self.root.nest_prefix(path),
            false => self.root.nest(path),
        });
        let root = self.root.clone();
        self.client.submit(request).map(move |outcome| {
            let mut answer = outcome?;
            let mut outside = false;
            answer.reply.map_paths(|path| {
                path.relative_to(&root).unwrap_or_else(|| {
                    outside = true;
                    path.clone()
                })
            });
            if outside {
                return Err(Error::Protocol("a path outside the chroot".into()));
            }
            answer.watch = answer.watch.map(|watch| watch.below(&root));
            answer.stream = answer.stream.map(|stream| Box::new(stream.below(&root)));
            Ok(answer)
        })
    }

    fn session(&self) -> Session {
        self.client.session()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::{ClientExt, CreateMode, Created, MultiOp, Reply, Stat, Version};

    /// Answers every create with the path that it was asked for.
    #[derive(Default)]
    struct Mirror(Mutex<Vec<Request>>);

    impl Client for Mirror {
        fn submit(&self, request: Request) -> Response {
            let reply = match &request {
                Request::Create(create) => Reply::Created(Created { path: create.path.clone(), stat: Stat::default() }),
                _ => Reply::Deleted,
            };
            self.0.lock().unwrap().push(request);
            Response::ready(Ok(reply.into()))
        }

        fn session(&self) -> Session {
            unreachable!("not asked for here")
        }
    }

    fn path(path: &str) -> NodePath {
        NodePath::parse(path).unwrap()
    }

    #[tokio::test]
    async fn paths_are_nested_on_the_way_down_and_cut_on_the_way_up() {
        let client = Chroot::new(Mirror::default(), path("/app"));
        let created = client.create(&path("/a"), "", CreateMode::Persistent).await.unwrap();
        assert_eq!(created.path, path("/a"));
        drop(client.multi(vec![MultiOp::delete(&path("/b"), Version::ANY), MultiOp::check(&path("/"), Version(0))]));
        // The digits go behind "/app/", not behind "/app".
        drop(client.create(&path("/"), "", CreateMode::EphemeralSequential));
        drop(client.ephemerals(&path("/")));
        let log = client.inner().0.lock().unwrap();
        let texts: Vec<_> = log.iter().map(|request| format!("{request:?}")).collect();
        assert!(texts[0].contains("\"/app/a\""));
        assert!(texts[1].contains("\"/app/b\"") && texts[1].contains("\"/app\""));
        assert!(texts[2].contains("\"/app/\"") && texts[3].contains("\"/app/\""));
    }

    #[tokio::test]
    async fn an_answer_from_outside_is_an_error() {
        struct Elsewhere;
        impl Client for Elsewhere {
            fn submit(&self, _: Request) -> Response {
                Response::ready(Ok(Reply::Ephemerals(vec![path("/apple")]).into()))
            }
            fn session(&self) -> Session {
                unreachable!("not asked for here")
            }
        }
        let client = Chroot::new(Elsewhere, path("/app"));
        assert!(matches!(client.ephemerals(&path("/")).await, Err(Error::Protocol(_))));
    }
}
