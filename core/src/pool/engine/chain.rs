//! Doubly linked lists over indices: everything about order in the engine is O(1), whatever the length.
//!
//! One [`Links`] arena holds the neighbours of every index for one kind of list; an index is in at most one [`Chain`] of
//! an arena at a time. Knows nothing of what the indices stand for.

const NOWHERE: u32 = u32::MAX;

#[derive(Clone, Copy, Debug)]
struct Link {
    previous: u32,
    next: u32,
}

/// The neighbours of every index.
#[derive(Clone, Debug, Default)]
pub(super) struct Links(Vec<Link>);

impl Links {
    fn at(&mut self, index: u32) -> &mut Link {
        let index = index as usize;
        if index >= self.0.len() {
            let unlinked = Link {
                previous: NOWHERE,
                next: NOWHERE,
            };
            self.0.resize(index + 1, unlinked);
        }
        &mut self.0[index]
    }

    /// What stands ahead of `index` in its chain.
    pub(super) fn before(&self, index: u32) -> Option<u32> {
        self.0.get(index as usize).and_then(|link| some(link.previous))
    }

    /// What comes behind `index` in its chain.
    pub(super) fn after(&self, index: u32) -> Option<u32> {
        self.0.get(index as usize).and_then(|link| some(link.next))
    }
}

/// One list: its ends and its length.
#[derive(Clone, Debug)]
pub(super) struct Chain {
    head: u32,
    tail: u32,
    length: u32,
}

impl Default for Chain {
    fn default() -> Self {
        Chain {
            head: NOWHERE,
            tail: NOWHERE,
            length: 0,
        }
    }
}

impl Chain {
    pub(super) fn first(&self) -> Option<u32> {
        some(self.head)
    }

    pub(super) fn last(&self) -> Option<u32> {
        some(self.tail)
    }

    pub(super) fn len(&self) -> u32 {
        self.length
    }

    pub(super) fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Appends an index that is in no chain of this arena.
    pub(super) fn push(&mut self, links: &mut Links, index: u32) {
        self.insert(links, index, self.last());
    }

    /// Puts an index that is in no chain of this arena behind `previous`, which is in this one; `None`: first of all.
    pub(super) fn insert(&mut self, links: &mut Links, index: u32, previous: Option<u32>) {
        let next = match previous {
            Some(previous) => links.at(previous).next,
            None => self.head,
        };
        *links.at(index) = Link {
            previous: previous.unwrap_or(NOWHERE),
            next,
        };
        match previous {
            Some(previous) => links.at(previous).next = index,
            None => self.head = index,
        }
        match some(next) {
            Some(next) => links.at(next).previous = index,
            None => self.tail = index,
        }
        self.length += 1;
    }

    /// Takes out an index that is in this chain.
    pub(super) fn remove(&mut self, links: &mut Links, index: u32) {
        let Link { previous, next } = *links.at(index);
        match some(previous) {
            Some(previous) => links.at(previous).next = next,
            None => self.head = next,
        }
        match some(next) {
            Some(next) => links.at(next).previous = previous,
            None => self.tail = previous,
        }
        self.length -= 1;
    }

    /// From the last to the first.
    pub(super) fn iter_back<'a>(&self, links: &'a Links) -> impl Iterator<Item = u32> + use<'a> {
        std::iter::successors(self.last(), |index| links.before(*index))
    }

    /// From the first to the last.
    pub(super) fn iter<'a>(&self, links: &'a Links) -> impl Iterator<Item = u32> + use<'a> {
        std::iter::successors(self.first(), |index| links.after(*index))
    }
}

fn some(index: u32) -> Option<u32> {
    (index != NOWHERE).then_some(index)
}
