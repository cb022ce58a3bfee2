//! On which memory node data is, and putting it on one: `move_pages`, `mbind` and `mmap`, where Linux has them.
//!
//! Linux puts a page on the node of the CPU that first writes to it (*first touch*), so data that the workers of a node fill is there already,
//! and nothing here is needed. On a machine that was described nothing is asked of the system: [`Memory`] remembers what was put where, so
//! that decisions can be looked at. What nobody here can test is the effect on a machine with several nodes; see `README.md`.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use super::placement::Topology;

/// The bytes of a value, by their addresses; nobody looks at them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    from: usize,
    bytes: usize,
}

impl Span {
    pub(crate) fn of<T: ?Sized>(data: &T) -> Self {
        Self { from: (&raw const *data).addr(), bytes: size_of_val(data) }
    }

    pub(crate) fn new(addresses: Range<usize>) -> Self {
        Self { from: addresses.start, bytes: addresses.len() }
    }

    pub(crate) fn bytes(self) -> usize {
        self.bytes
    }

    /// The address at this fraction of it, below 1.
    pub(crate) fn at(self, fraction: f64) -> usize {
        self.from + (self.bytes as f64 * fraction) as usize
    }

    /// The part of `items` where the whole is that of `count` items, all as large.
    pub(crate) fn share(self, items: Range<usize>, count: usize) -> Self {
        let at =
            |item: usize| self.from + (self.bytes as u128 * item as u128 / count.max(1) as u128) as usize;
        Self::new(at(items.start)..at(items.end))
    }

    fn end(self) -> usize {
        self.from.saturating_add(self.bytes)
    }
}

/// Why data is not known to be anywhere, or was not put anywhere.
#[derive(Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum MemoryError {
    /// The system has no such calls: it is not Linux, or its kernel was built for machines with one node.
    Unsupported,
    /// The system refuses the call, as containers' filters do.
    Refused {
        /// The system's number of the error.
        code: i32,
    },
    /// The machine has no such node.
    NoSuchNode {
        /// Its number.
        node: usize,
    },
    /// The data does not fill a page, and shares those that it touches with other data.
    TooSmall {
        /// How many bytes it has.
        bytes: usize,
    },
    /// No page of the data has been written to, or on a described machine nobody has put it anywhere.
    Nowhere,
}

impl fmt::Display for MemoryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unsupported => {
                f.write_str("this system does not place memory; go without, all of it is equally near")
            }
            Self::Refused { code } => {
                write!(f, "the system refuses to place memory (error {code}); ")?;
                f.write_str(match code {
                    1 | 13 => "a container may need the capability SYS_NICE",
                    12 => "it has no memory for another mapping; place fewer and larger stretches",
                    22 => "it does not know such a node, or this process may not use its memory (its cpuset)",
                    _ => "go without, data is then where it was first written to",
                })
            }
            Self::NoSuchNode { node } => {
                write!(f, "the machine has no memory node {node}; `upbeat info --topology` lists them")
            }
            Self::TooSmall { bytes } => {
                write!(f, "{bytes} bytes do not fill a page of their own; place larger data, or many small ones in one vector")
            }
            Self::Nowhere => f.write_str("the data is on no node yet; write to it first"),
        }
    }
}

/// The sentence, for `unwrap` and for a `main` that returns the error.
impl fmt::Debug for MemoryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MemoryError({self})")
    }
}

impl std::error::Error for MemoryError {}

/// The memory of a runtime's machine; from [`Runtime::memory`](crate::Runtime::memory).
///
/// ```
/// use upbeat::topology::Machine;
///
/// let runtime = upbeat::Runtime::builder().topology(Machine::synthetic("node:4 core:1")?).build()?;
/// let rows = vec![0.0_f32; 1 << 16];
/// runtime.memory().bind(&rows[..], 2)?;
/// assert_eq!(runtime.memory().node_of(&rows[..]), Ok(2));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Memory {
    nodes: Vec<usize>,
    pretended: Option<Mutex<Stretches>>,
}

/// On a described machine, by where a stretch of addresses begins: where it ends, and its nodes in turn.
type Stretches = BTreeMap<usize, (usize, Vec<usize>)>;

/// Pages that are asked about: the node with most of these has most of the data, within what so many can say.
const SAMPLES: usize = 16;

impl Memory {
    pub(crate) fn of(topology: &Topology) -> Self {
        let mut nodes: Vec<_> = topology.all_nodes().collect();
        nodes.sort_unstable();
        Self { nodes, pretended: (!topology.is_here()).then(Mutex::default) }
    }

    /// The node that has most of `data`, by 16 of its pages.
    ///
    /// # Errors
    /// [`MemoryError`], among them [`Nowhere`](MemoryError::Nowhere).
    pub fn node_of<T: ?Sized>(&self, data: &T) -> Result<usize, MemoryError> {
        self.node_of_span(Span::of(data))
    }

    pub(crate) fn node_of_span(&self, span: Span) -> Result<usize, MemoryError> {
        // How much each node has of it, by its place in the list.
        let mut shares = vec![0.0_f64; self.nodes.len()];
        let mut add = |node: usize, share: f64| {
            if let Ok(at) = self.nodes.binary_search(&node) {
                shares[at] += share;
            }
        };
        match &self.pretended {
            Some(pretended) => {
                let pretended = pretended.lock().unwrap_or_else(PoisonError::into_inner);
                // Stretches do not overlap, so those that reach into the data are the last ones that begin before its end. An empty value
                // is where its address is.
                let end = span.end().max(span.from.saturating_add(1));
                let reaching =
                    pretended.range(..end).rev().take_while(|(_, (old_end, _))| *old_end > span.from);
                for (&old, (old_end, nodes)) in reaching {
                    let bytes = end.min(*old_end) - span.from.max(old);
                    nodes.iter().for_each(|&node| add(node, bytes as f64 / nodes.len() as f64));
                }
            }
            None => system::nodes_of(&samples(span))?.into_iter().flatten().for_each(|node| add(node, 1.0)),
        }
        // Of equals the first one, in the order of the machine's nodes.
        let most = shares.iter().enumerate().rev().max_by(|(_, a), (_, b)| a.total_cmp(b));
        most.filter(|(_, share)| **share > 0.0).map(|(at, _)| self.nodes[at]).ok_or(MemoryError::Nowhere)
    }

    /// The nodes of the pages at these addresses; `None` for what is nowhere, and for all where the system does not tell.
    pub(crate) fn nodes_at(&self, addresses: &[usize]) -> Vec<Option<usize>> {
        let Some(pretended) = &self.pretended else {
            return system::nodes_of(addresses).unwrap_or_else(|_| vec![None; addresses.len()]);
        };
        let pretended = pretended.lock().unwrap_or_else(PoisonError::into_inner);
        let node = |&address: &usize| {
            let (_, (_, nodes)) =
                pretended.range(..=address).next_back().filter(|(_, (end, _))| address < *end)?;
            Some(nodes[address / system::page_bytes() % nodes.len()])
        };
        addresses.iter().map(node).collect()
    }

    /// Puts the whole pages of `data` on `node`, moving those that are elsewhere; as long as the node has room, else they go where there is
    /// some.
    ///
    /// It is the addresses that are placed: what the allocator puts there after `data` was dropped goes to `node` as well, until it gives
    /// the pages back to the system. And each stretch that is placed splits the process's mapping around it, of which Linux allows
    /// 65 530; so place a few large vectors that live long, and not many small ones.
    ///
    /// # Errors
    /// See [`MemoryError`].
    pub fn bind<T: ?Sized>(&self, data: &T, node: usize) -> Result<(), MemoryError> {
        if !self.nodes.contains(&node) {
            return Err(MemoryError::NoSuchNode { node });
        }
        self.place(Span::of(data), &[node])
    }

    /// Spreads the whole pages of `data` over all nodes in turn: for what all workers read equally often. What [`bind`](Self::bind) says of
    /// addresses and mappings holds here too.
    ///
    /// # Errors
    /// See [`MemoryError`].
    pub fn interleave<T: ?Sized>(&self, data: &T) -> Result<(), MemoryError> {
        self.place(Span::of(data), &self.nodes)
    }

    fn place(&self, span: Span, nodes: &[usize]) -> Result<(), MemoryError> {
        let page = system::page_bytes();
        let (from, end) = (span.from.next_multiple_of(page), span.end() / page * page);
        if from >= end {
            return Err(MemoryError::TooSmall { bytes: span.bytes });
        }
        match &self.pretended {
            None => system::place(Span { from, bytes: end - from }, nodes),
            Some(pretended) => {
                let mut pretended = pretended.lock().unwrap_or_else(PoisonError::into_inner);
                // What lay there before ends where this begins, and goes on where it ends.
                let overlaps = |&(old, (old_end, _)): &(&usize, &(usize, Vec<usize>))| {
                    *old < span.end() && *old_end > span.from
                };
                let older: Vec<_> =
                    pretended.iter().filter(overlaps).map(|(old, rest)| (*old, rest.clone())).collect();
                for (old, (old_end, nodes)) in older {
                    pretended.remove(&old);
                    for (from, end) in
                        [(old, span.from), (span.end(), old_end)].into_iter().filter(|(from, end)| from < end)
                    {
                        pretended.insert(from, (end, nodes.clone()));
                    }
                }
                pretended.insert(span.from, (span.end(), nodes.to_vec()));
                Ok(())
            }
        }
    }
}

/// Addresses in at most [`SAMPLES`] pages of a stretch, evenly.
fn samples(span: Span) -> Vec<usize> {
    let page = system::page_bytes();
    let first = span.from / page;
    let pages = (span.end().max(span.from + 1) - 1) / page - first + 1;
    let count = pages.min(SAMPLES);
    (0..count).map(|i| (first + (i * pages + pages / 2) / count) * page).collect()
}

#[cfg(target_os = "linux")]
mod system {
    use super::{MemoryError, Span};

    const WORD: usize = libc::c_ulong::BITS as usize;
    /// `linux/mempolicy.h`: pages that lie elsewhere are moved.
    const MPOL_MF_MOVE: libc::c_long = 1 << 1;
    /// No kernel knows so many nodes (1024 at most, so far); a mask for a number that a caller made up could be of any length.
    const MOST_NODES: usize = 1 << 16;

    pub(super) fn page_bytes() -> usize {
        // SAFETY: takes a number and gives one.
        let bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
        usize::try_from(bytes).ok().filter(|bytes| bytes.is_power_of_two()).unwrap_or(4096)
    }

    /// The nodes of the pages at these addresses; `None` for those that are nowhere.
    pub(super) fn nodes_of(addresses: &[usize]) -> Result<Vec<Option<usize>>, MemoryError> {
        let pages: Vec<*const libc::c_void> =
            addresses.iter().map(|&address| std::ptr::without_provenance(address)).collect();
        let mut status: Vec<libc::c_int> = vec![-1; pages.len()];
        let nowhere: *const libc::c_int = std::ptr::null();
        // SAFETY: process 0 is this one; the lists have the length given; without a list of nodes nothing is moved, and where a page is is
        // written to the list of states. Addresses that are not ours are answered by an error in their state.
        let failed = unsafe {
            libc::syscall(
                libc::SYS_move_pages,
                0,
                pages.len(),
                pages.as_ptr(),
                nowhere,
                status.as_mut_ptr(),
                0,
            )
        };
        match failed {
            0.. => Ok(status.into_iter().map(|node| usize::try_from(node).ok()).collect()),
            _ => Err(refusal()),
        }
    }

    /// Binds the pages of `span`, which begins and ends with a page, to one node, or interleaves them over several.
    pub(super) fn place(span: Span, nodes: &[usize]) -> Result<(), MemoryError> {
        let last = nodes.iter().copied().max().unwrap_or(0);
        if last >= MOST_NODES {
            return Err(MemoryError::NoSuchNode { node: last });
        }
        let mut mask: Vec<libc::c_ulong> = vec![0; last / WORD + 1];
        nodes.iter().for_each(|node| mask[node / WORD] |= 1 << (node % WORD));
        // Preferred and not bound: where the node has no room left, a bound page ends the process.
        let mode = if nodes.len() == 1 { libc::MPOL_PREFERRED } else { libc::MPOL_INTERLEAVE };
        let mode = libc::c_long::from(mode);
        let bits = mask.len() * WORD + 1;
        // SAFETY: the mask has the bits that are said, one more being how the kernel counts; to move pages changes no byte of what they
        // hold, and addresses that are not ours are answered by an error.
        let failed = unsafe {
            libc::syscall(libc::SYS_mbind, span.from, span.bytes, mode, mask.as_ptr(), bits, MPOL_MF_MOVE)
        };
        if failed == 0 {
            Ok(())
        } else {
            Err(refusal())
        }
    }

    fn refusal() -> MemoryError {
        match std::io::Error::last_os_error().raw_os_error().unwrap_or(0) {
            libc::ENOSYS => MemoryError::Unsupported,
            code => MemoryError::Refused { code },
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    use super::{MemoryError, Span};

    pub(super) fn page_bytes() -> usize {
        4096
    }

    pub(super) fn nodes_of(_addresses: &[usize]) -> Result<Vec<Option<usize>>, MemoryError> {
        Err(MemoryError::Unsupported)
    }

    pub(super) fn place(_span: Span, _nodes: &[usize]) -> Result<(), MemoryError> {
        Err(MemoryError::Unsupported)
    }
}

#[cfg(all(test, not(upbeat_loom)))]
mod tests {
    use super::*;
    use crate::topology::{machine, Machine};

    fn described() -> Memory {
        Memory::of(&Topology::dealt(&Machine::synthetic("node:3 core:1").unwrap(), 2))
    }

    #[test]
    fn a_described_machine_remembers_what_was_put_where() {
        let (memory, data) = (described(), vec![0_u8; 1 << 16]);
        assert_eq!(memory.node_of(&data[..]), Err(MemoryError::Nowhere));
        // A node without workers has memory all the same.
        assert_eq!(memory.bind(&data[..], 2), Ok(()));
        assert_eq!(memory.node_of(&data[100..200]), Ok(2));
        assert_eq!(memory.bind(&data[1 << 15..], 1), Ok(()));
        assert_eq!((memory.node_of(&data[1 << 15..]), memory.node_of(&data[..9])), (Ok(1), Ok(2)));
        let (third, half) = (1 << 14, 1 << 15);
        assert_eq!(memory.node_of(&data[..]), Ok(1), "the first of equals, half of it each");
        assert_eq!(memory.node_of(&data[third..half + third / 2]), Ok(2), "most of it");
        assert_eq!(memory.node_of(&data[half + 5..half + 5]), Ok(1), "an empty part");
        assert_eq!(memory.interleave(&data[..]), Ok(()));
        assert_eq!(memory.node_of(&data[..]), Ok(0), "the first of equals");
        assert_eq!(memory.bind(&data[..], 3), Err(MemoryError::NoSuchNode { node: 3 }));
        assert_eq!(memory.bind(&data[1..9], 0), Err(MemoryError::TooSmall { bytes: 8 }));
        assert_eq!(memory.bind(&[0_u8; 0][..], 0), Err(MemoryError::TooSmall { bytes: 0 }));
    }

    #[test]
    fn pages_are_asked_evenly_and_each_once() {
        let page = system::page_bytes();
        let span = |from, bytes| Span { from, bytes };
        assert_eq!(samples(span(page + 1, 0)), [page]);
        assert_eq!(samples(span(page - 1, 2)), [0, page]);
        assert_eq!(samples(span(0, 5 * page)), [0, page, 2 * page, 3 * page, 4 * page]);
        let many = samples(span(0, 1000 * page));
        assert!(
            many.len() == SAMPLES && many.is_sorted() && many[0] == 31 * page && many[15] == 968 * page,
            "{many:?}"
        );
    }

    const EPERM: i32 = 1;
    const EACCES: i32 = 13;
    const ENOSYS: i32 = 38;

    /// A machine whose numbers were changed is no reason for masks of any length.
    #[test]
    fn a_node_of_a_number_that_no_kernel_has_is_refused() {
        let mut described = machine();
        let id = 1 << 40;
        described.nodes[0].id = id;
        described.cpus.iter_mut().for_each(|cpu| cpu.node = id);
        let memory = Memory::of(&Topology::dealt(&described, 2));
        let data = vec![0_u8; 1 << 16];
        let error = if cfg!(target_os = "linux") {
            MemoryError::NoSuchNode { node: id }
        } else {
            MemoryError::Unsupported
        };
        assert_eq!((memory.bind(&data[..], id), memory.interleave(&data[..])), (Err(error), Err(error)));
    }

    /// On this machine the calls work, or are refused with an error that says so; to place data changes none of it.
    #[test]
    fn this_machine_places_memory_or_says_why_not() {
        let memory = Memory::of(&Topology::dealt(&machine(), 2));
        let data: Vec<u64> = (0..1 << 16).collect();
        // Kernels without the calls, and containers' filters. Any other number would mean that the call was made wrongly.
        let is_told = |error: MemoryError| match error {
            MemoryError::Unsupported => true,
            MemoryError::Refused { code } => [ENOSYS, EPERM, EACCES].contains(&code),
            _ => false,
        };
        match memory.node_of(&data[..]) {
            Ok(node) => assert!(memory.nodes.contains(&node)),
            Err(error) => assert!(is_told(error), "{error}"),
        }
        let node = memory.nodes[0];
        let bound = memory.bind(&data[..], node);
        match (bound, memory.node_of(&data[..])) {
            (Ok(()), Ok(found)) => assert_eq!(found, node),
            (placed, found) => {
                assert!(placed.is_ok() || placed.is_err_and(is_told), "{placed:?}");
                assert!(found.is_ok() || found.is_err_and(is_told), "{found:?}");
            }
        }
        let spread = memory.interleave(&data[..]);
        assert!(spread.is_ok() || spread.is_err_and(is_told), "{spread:?}");
        assert!(data.iter().copied().eq(0..1 << 16));
        assert_eq!(memory.bind(&data[..], 1 << 40), Err(MemoryError::NoSuchNode { node: 1 << 40 }));
    }
}
