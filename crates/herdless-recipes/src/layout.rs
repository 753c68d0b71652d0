//! Whose processes share the paths.

/// How a recipe names its nodes: as Curator does or as kazoo does, so that processes of theirs contend on the same path.
/// Every process on a path must use the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Layout {
    /// Apache Curator's (Java).
    #[default]
    Curator,
    /// kazoo's (Python).
    Kazoo,
}
