//! How others name and write the items of their queues.

use bytes::{BufMut, Bytes, BytesMut};
use herdless_core::Error;

/// The priority that kazoo gives an item when none is named (`kazoo.recipe.queue.Queue.put`).
pub(super) const DEFAULT_PRIORITY: u16 = 100;
/// `ItemSerializer.VERSION` of Curator.
const VERSION: u32 = 0x0001_0001;
/// `ItemSerializer.ITEM_OPCODE`.
const ITEM: u8 = 1;
/// `ItemSerializer.EOF_OPCODE`.
const END: u8 = 2;

/// Whose queue it is: how its items are named and written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ForeignQueueLayout {
    /// Curator's `SimpleDistributedQueue`: `qn-0000000012`, the bytes as they are. ZooKeeper's own queue recipe
    /// (`org.apache.zookeeper.recipes.queue.DistributedQueue`) has the same.
    CuratorSimple,
    /// Curator's `DistributedQueue`: `queue-0000000012`, the bytes as its `ItemSerializer` writes them; a node may hold
    /// several items. Items with an id, a priority or a delay have other names, and are not seen.
    Curator,
    /// kazoo's `Queue`: `entry-100-0000000012`, the bytes as they are. The first number is the priority, lower first.
    Kazoo,
}

/// The place of an item: its priority, where there are any, then its number. The numbers that follow the last positive one
/// are negative, and come after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    priority: u16,
    number: u32,
}

impl Place {
    pub(super) fn priority(self, layout: ForeignQueueLayout) -> Option<u16> {
        (layout == ForeignQueueLayout::Kazoo).then_some(self.priority)
    }
}

impl ForeignQueueLayout {
    /// What an item's name begins with, before the digits of the server.
    pub(super) fn stem(self, priority: u16) -> String {
        match self {
            Self::CuratorSimple => "qn-".to_owned(),
            Self::Curator => "queue-".to_owned(),
            Self::Kazoo => format!("entry-{priority:03}-"),
        }
    }

    /// The place that a name tells; `None` for the name of anything else.
    pub(super) fn place(self, name: &str) -> Option<Place> {
        let (priority, digits) = match self {
            Self::CuratorSimple => (0, name.strip_prefix("qn-")?),
            Self::Curator => (0, name.strip_prefix("queue-")?),
            Self::Kazoo => {
                let (priority, digits) = name.strip_prefix("entry-")?.split_at_checked(3)?;
                let is_number = priority.bytes().all(|byte| byte.is_ascii_digit());
                (priority.parse().ok().filter(|_| is_number)?, digits.strip_prefix('-')?)
            }
        };
        let number: i32 = digits.parse().ok()?;
        // Exactly as the server writes it: String.format("%010d").
        (format!("{number:010}") == digits).then_some(Place { priority, number: number as u32 })
    }

    /// The data of a node that holds these items.
    pub(super) fn encode(self, items: &[Bytes]) -> Result<Bytes, Error> {
        match (self, items) {
            (_, []) => Err(Error::invalid("there is no item to put")),
            (Self::Curator, items) => encode_curator(items),
            (_, [item]) => Ok(item.clone()),
            _ => Err(Error::invalid("only a node of Curator's DistributedQueue holds several items")),
        }
    }

    /// The items in a node's data; `None` where these are not the bytes that the layout's owner writes.
    pub(super) fn decode(self, data: &Bytes) -> Option<Vec<Bytes>> {
        match self {
            Self::Curator => decode_curator(data.clone()),
            _ => Some(vec![data.clone()]),
        }
    }
}

/// `ItemSerializer.serialize`.
fn encode_curator(items: &[Bytes]) -> Result<Bytes, Error> {
    let length: usize = items.iter().map(|item| item.len() + 5).sum::<usize>() + 5;
    let mut data = BytesMut::with_capacity(length);
    data.put_u32(VERSION);
    for item in items {
        let limit = i32::MAX as usize;
        let size = i32::try_from(item.len());
        let size = size.map_err(|_| Error::TooLarge { what: "request", length: item.len(), limit })?;
        data.put_u8(ITEM);
        data.put_i32(size);
        data.put_slice(item);
    }
    data.put_u8(END);
    Ok(data.freeze())
}

/// `ItemSerializer.deserialize`, which does not look at what follows the end either.
fn decode_curator(mut data: Bytes) -> Option<Vec<Bytes>> {
    if read_u32(&mut data)? != VERSION {
        return None;
    }
    let mut items = Vec::new();
    loop {
        match read(&mut data, 1)?[0] {
            END => return Some(items),
            ITEM => {
                let size = i32::try_from(read_u32(&mut data)?).ok()?;
                items.push(read(&mut data, usize::try_from(size).ok()?)?);
            }
            _ => return None,
        }
    }
}

fn read(data: &mut Bytes, length: usize) -> Option<Bytes> {
    (length <= data.len()).then(|| data.split_to(length))
}

fn read_u32(data: &mut Bytes) -> Option<u32> {
    Some(u32::from_be_bytes(read(data, 4)?.as_ref().try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::ForeignQueueLayout::{Curator, CuratorSimple, Kazoo};
    use super::*;

    #[test]
    fn names_are_those_of_the_owner_and_nothing_else() {
        for (layout, name) in [
            (CuratorSimple, "qn-0000000012"),
            (CuratorSimple, "qn--2147483648"),
            (Curator, "queue-0000000012"),
            (Curator, "queue--000000005"),
            (Kazoo, "entry-100-0000000012"),
            (Kazoo, "entry-000--2147483648"),
        ] {
            assert!(layout.place(name).is_some(), "{name}");
        }
        for (layout, name) in [
            (CuratorSimple, "qn-"),
            (CuratorSimple, "qn-12"),
            (CuratorSimple, "qn-+000000012"),
            (CuratorSimple, "qn-00000000012"),
            (CuratorSimple, "qn-2147483648"),
            (CuratorSimple, "queue-0000000012"),
            // With an id, a priority and a delay (`DistributedIdQueue`, `DistributedPriorityQueue`,
            // `DistributedDelayQueue`).
            (Curator, "queue-|order|0000000012"),
            (Curator, "queue-1000000640000000012"),
            (Curator, "queue-|0000018BCFE56800|0000000012"),
            (Kazoo, "entry-0000000012"),
            (Kazoo, "entry-+10-0000000012"),
            (Kazoo, "entry-1000-0000000012"),
            (Kazoo, "entry-1é-0000000012"),
        ] {
            assert_eq!(layout.place(name), None, "{name}");
        }
    }

    #[test]
    fn lower_priorities_come_first_and_negative_numbers_last() {
        let of = |name| Kazoo.place(name).unwrap();
        assert!(of("entry-005-0000000009") < of("entry-100-0000000001"));
        assert!(of("entry-100-0000000001") < of("entry-100-0000000002"));
        assert!(of("entry-100-2147483647") < of("entry-100--2147483648"));
        assert!(of("entry-100--2147483648") < of("entry-100--2147483647"));
    }

    /// The bytes that `ItemSerializer` of Curator 5.4.0 writes.
    #[test]
    fn items_are_written_as_curator_does() {
        let one = [0, 1, 0, 1, 1, 0, 0, 0, 2, b'h', b'i', 2];
        let two = [0, 1, 0, 1, 1, 0, 0, 0, 1, b'a', 1, 0, 0, 0, 0, 2];
        assert_eq!(Curator.encode(&["hi".into()]).unwrap(), &one[..]);
        assert_eq!(Curator.encode(&["a".into(), "".into()]).unwrap(), &two[..]);
        assert_eq!(Curator.decode(&Bytes::copy_from_slice(&one)), Some(vec!["hi".into()]));
        assert_eq!(Curator.decode(&Bytes::copy_from_slice(&two)), Some(vec!["a".into(), "".into()]));
        assert_eq!(Curator.decode(&Bytes::from_static(&[0, 1, 0, 1, 2])), Some(vec![]));
    }

    #[test]
    fn whatever_is_cut_or_changed_is_not_an_item() {
        let whole = Curator.encode(&["first".into(), "second".into()]).unwrap();
        for length in 0..whole.len() {
            assert_eq!(Curator.decode(&whole.slice(..length)), None, "cut at {length}");
        }
        for data in [&[0, 1, 0, 2, 2][..], &[0, 1, 0, 1, 3], &[0, 1, 0, 1, 1, 255, 255, 255, 255, 2]] {
            assert_eq!(Curator.decode(&Bytes::copy_from_slice(data)), None, "{data:?}");
        }
    }

    #[test]
    fn only_curators_nodes_hold_several_items() {
        let two = ["a".into(), "b".into()];
        assert!(matches!(CuratorSimple.encode(&two), Err(Error::Invalid(_))));
        assert!(matches!(Kazoo.encode(&two), Err(Error::Invalid(_))));
        assert!(matches!(Curator.encode(&[]), Err(Error::Invalid(_))));
        assert_eq!(Kazoo.encode(&["a".into()]).unwrap(), "a");
    }
}
