//! Which cache lines the workers of a runtime write, and that none of them is two workers', nor shared by what a worker writes as it runs and what
//! those write that look at it.
//!
//! | of each worker | written by | line of its own |
//! |---|---|---|
//! | counters, beginning of the busy stretch, word of its region | itself | `Counters` |
//! | scope that it serves, foreign tasks, isolation, note of a wait, events | itself | the rest of `Peer` |
//! | contexts of its open tasks | itself, and thieves that lock them | `Entered` |
//! | request to share | thieves raise it, itself | `Front::asked` |
//! | top of the ring | thieves, itself at the last task | `Ring::top` |
//! | bottom of the ring | itself | `Ring::bottom` |
//! | open scopes | itself, and thieves that lock it | `Opened` |
//! | inbox, own queue | crossbeam's own padding | |

use std::collections::HashMap;
use std::mem::{align_of, offset_of, size_of};
use std::ops::Range;

use super::opened::Opened;
use super::registry::{Parts, Peer, Registry};
use crate::deque::Ring;
use crate::observe::counters::Counters;
use crate::task::inherit::Entered;
use crate::topology::Topology;

/// Two lines: the neighbour is prefetched.
const LINE: usize = 128;

fn lines(bytes: Range<usize>) -> Range<usize> {
    bytes.start / LINE..bytes.end.div_ceil(LINE)
}

fn of<T>(value: &T) -> Range<usize> {
    let from = (&raw const *value).addr();
    from..from + size_of::<T>()
}

#[test]
fn no_line_is_two_workers_nor_shared_by_owner_and_thieves() {
    let (registry, _queues) = Registry::new(Parts::new(Topology::flat(8)));
    let mut owners = HashMap::new();
    for (index, peer) in registry.peers.iter().enumerate() {
        for line in lines(of(peer)).chain(lines(of(&*peer.ring))) {
            let other = owners.insert(line, index);
            assert!(other.is_none_or(|other| other == index), "workers {other:?} and {index}");
        }
        let own =
            [of(&peer.serving), of(&peer.foreign), of(&peer.isolating), of(&peer.note), of(&peer.events)];
        let seen = [of(&peer.counters), of(&peer.opened), of(&peer.entered), of(&peer.inbox)].map(lines);
        for (i, one) in seen.iter().enumerate() {
            let apart = |other: Range<usize>| one.end <= other.start || other.end <= one.start;
            assert!(seen[..i].iter().cloned().all(apart), "what others read and lock");
            assert!(own.iter().cloned().map(lines).all(apart), "what the worker writes for itself");
        }
        let words = peer.ring.words().map(|word| word / LINE);
        assert!((1..words.len()).all(|i| !words[..i].contains(&words[i])), "{words:?}");
    }
    assert!([align_of::<Peer>(), align_of::<Counters>(), align_of::<Opened>(), align_of::<Entered>()]
        .iter()
        .all(|align| align % LINE == 0));
    assert_eq!((size_of::<Counters>() % LINE, offset_of!(Peer, counters) % LINE), (0, 0));
    assert_eq!(align_of::<Ring<()>>() % LINE, 0);
}
