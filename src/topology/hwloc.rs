//! A machine as the library hwloc describes it: this one, one that is written in a line of hwloc's own words, or one in a file that
//! `lstopo` wrote on another machine. The feature `hwloc`.
//!
//! It says the same as `sysfs` of the same machine, by the same names and rules (`assembly`); `tests/hwloc` compares the two on trees of
//! real machines' shapes. What hwloc knows besides (groups, dies, caches beside memory, devices) has no place in the model.

use std::collections::BTreeMap;
use std::path::Path;

use hwlocality::bitmap::BitmapIndex;
use hwlocality::cpu::binding::CpuBindingFlags;
use hwlocality::cpu::cpuset::CpuSet;
use hwlocality::object::attributes::{CacheAttributes, ObjectAttributes};
use hwlocality::object::distance::DistancesKind;
use hwlocality::object::types::{CacheType, ObjectType};
use hwlocality::object::{TopologyObject, TopologyObjectID};
use hwlocality::topology::builder::{BuildFlags, TopologyBuilder, TypeFilter};
use hwlocality::Topology;

use super::assembly::{self, Notes};
use super::error::{TopologyError, MAX_CPUS, MAX_NODES};
use super::machine::{Cache, CacheKind, Cpu, Machine, Node};

impl Machine {
    /// The machine that this runs on, with the CPUs that the calling thread may use, as hwloc sees it: [`machine`](super::machine())
    /// from another source, for systems of which we read less than hwloc does, and to compare. Needs the feature `hwloc`.
    ///
    /// hwloc heeds its environment variables. If these name another machine (`HWLOC_XMLFILE`, `HWLOC_SYNTHETIC`), it is that one, and
    /// workers on it are not pinned.
    ///
    #[doc = include_str!("hwloc.md")]
    ///
    /// # Errors
    /// [`TopologyError::Hwloc`] when hwloc fails, [`TopologyError::NoCpus`] when the thread may use no CPU that hwloc knows.
    pub fn from_hwloc() -> Result<Self, TopologyError> {
        let failed = |error: &dyn ToString| TopologyError::Hwloc { reason: error.to_string() };
        let builder = prepared(true).map_err(|error| failed(&error))?;
        let topology = builder.build().map_err(|error| failed(&error))?;
        let is_here = topology.is_this_system();
        // A thread that is bound is bound to fewer CPUs than the cpuset allows. Where the system does not say, it is not bound.
        let bound = is_here.then(|| topology.cpu_binding(CpuBindingFlags::THREAD).ok()).flatten();
        let mut machine = read(&topology, |cpu| bound.as_ref().is_none_or(|bound| has(bound, cpu)))?;
        machine.is_here = is_here;
        Ok(machine)
    }

    /// A machine that is described in [hwloc's words](https://hwloc.readthedocs.io/en/stable/synthetic.html), such as
    /// `package:2 [numa(memory=8GB)] l3:2(size=32MB) core:8 pu:2`, with [`MAX_CPUS`] CPUs at most. Each level needs its number. hwloc gives
    /// a level of nodes 1 GiB each if nothing else is said, and no distances; 20 is assumed. Workers on it are not pinned. Needs the
    /// feature `hwloc`; an example is at [`from_hwloc`](Self::from_hwloc).
    ///
    /// # Errors
    /// [`TopologyError::HwlocDescription`] when hwloc does not understand it; [`TopologyError::Count`], [`TopologyError::TooLarge`] and
    /// [`TopologyError::TooManyNodes`] as for [`synthetic`](Self::synthetic).
    pub fn from_hwloc_synthetic(description: &str) -> Result<Self, TopologyError> {
        refuse_too_large(description)?;
        let failed = |error: &dyn ToString| TopologyError::HwlocDescription {
            description: description.into(),
            reason: error.to_string(),
        };
        let builder = prepared(false).map_err(|error| failed(&error))?;
        let builder = builder.from_synthetic(description).map_err(|error| failed(&error))?;
        let topology = builder.build().map_err(|error| failed(&error))?;
        if !has_few_nodes(&topology) {
            return Err(TopologyError::TooManyNodes { word: description.into() });
        }
        read(&topology, |_| true)
    }

    /// A machine that hwloc wrote into a file, with the CPUs that who wrote it might use: `lstopo machine.xml` on that machine. Workers on
    /// it are not pinned. Needs the feature `hwloc`; an example is at [`from_hwloc`](Self::from_hwloc).
    ///
    /// Give a file that you trust. hwloc refuses what is no description of its own, or one that was cut off; but one that contradicts
    /// itself may crash it (2.9.0 does, `lstopo` too), or end a debug build by an assertion. hwloc prints a warning of its own to stderr.
    ///
    /// # Errors
    /// [`TopologyError::HwlocFile`] when the file cannot be read, is no description of hwloc's, or describes more than
    /// [`MAX_NODES`] nodes; [`TopologyError::NoCpus`] when the machine in it has no CPU that may be used.
    pub fn from_hwloc_xml(path: impl AsRef<Path>) -> Result<Self, TopologyError> {
        let path = path.as_ref();
        let failed = |reason: &dyn ToString| TopologyError::HwlocFile {
            path: path.into(),
            reason: reason.to_string(),
        };
        // Read here, because of a file that is missing hwloc says only that it is invalid.
        let text = std::fs::read_to_string(path).map_err(|error| failed(&error))?;
        let builder = prepared(false).map_err(|error| failed(&error))?;
        let builder = builder.from_xml(&text).map_err(|error| failed(&error))?;
        let topology = builder
            .build()
            .map_err(|error| failed(&format!("hwloc does not understand what is in it ({error})")))?;
        if !has_few_nodes(&topology) {
            return Err(failed(&format!("the machine has more than {MAX_NODES} memory nodes")));
        }
        read(&topology, |_| true)
    }
}

/// What every source has in common.
fn prepared(is_here: bool) -> Result<TopologyBuilder, Box<dyn std::error::Error>> {
    // Cores and caches keep their names, those of their first CPUs, if this process may not use these.
    let mut flags = BuildFlags::INCLUDE_DISALLOWED;
    // Linux says all in files. Elsewhere hwloc may have to go from CPU to CPU and ask each for its caches.
    if is_here && cfg!(target_os = "linux") {
        flags |= BuildFlags::DONT_CHANGE_BINDING;
    }
    // Caches of instructions are left out by default.
    Ok(TopologyBuilder::new().with_flags(flags)?.with_cpu_cache_type_filter(TypeFilter::KeepAll)?)
}

/// The machine, with the CPUs that are allowed and that `may_use` says.
fn read(topology: &Topology, may_use: impl Fn(usize) -> bool) -> Result<Machine, TopologyError> {
    let mut notes = Notes::default();
    let mut all: BTreeMap<usize, &TopologyObject> = BTreeMap::new();
    for cpu in topology.objects_with_type(ObjectType::PU) {
        if cpu.os_index().is_some_and(|id| all.insert(id, cpu).is_some()) {
            notes
                .all
                .push(format!("CPU {} is there twice; one of the two is taken", cpu.os_index().unwrap_or(0)));
        }
    }
    // Who shares a thing, by what is above each CPU: a file may say otherwise of its sets, which may even have no end.
    let mut sharers: BTreeMap<TopologyObjectID, Vec<usize>> = BTreeMap::new();
    for (&id, cpu) in &all {
        for above in cpu.ancestors() {
            sharers.entry(above.global_persistent_index()).or_default().push(id);
        }
    }
    let sharers = |thing: &TopologyObject| sharers.get(&thing.global_persistent_index()).map(Vec::as_slice);
    let nodes = nodes(topology, sharers, &mut notes);
    let allowed = topology.allowed_cpuset();
    let mut cpus = Vec::with_capacity(all.len());
    for (&id, cpu) in all.iter().filter(|(&id, _)| has(&allowed, id) && may_use(id)) {
        let above = |kind| cpu.ancestors().find(move |above| above.object_type() == kind);
        let siblings = above(ObjectType::Core).and_then(sharers);
        let (core, thread) = siblings.map_or_else(
            || {
                notes.no_core(id);
                (id, 0)
            },
            |siblings| (siblings[0], siblings.iter().position(|&sibling| sibling == id).unwrap_or(0)),
        );
        let package = above(ObjectType::Package).map_or_else(
            || {
                notes.no_package(id);
                0
            },
            |package| package.os_index().unwrap_or(package.logical_index()),
        );
        let node = assembly::node_of(&nodes, id, &mut notes);
        let levels = cpu.ancestors().filter_map(|above| Some((cache_of(above)?.depth(), above)));
        let levels = levels.filter(|(_, cache)| !cache.object_type().is_cpu_instruction_cache());
        let last = levels.max_by_key(|(level, _)| *level).and_then(|(_, cache)| sharers(cache));
        let cache = last.map_or_else(
            || {
                notes.no_cache(id);
                0
            },
            |sharers| sharers[0],
        );
        cpus.push(Cpu { id, core, thread, cache, node, package });
    }
    if cpus.is_empty() {
        return Err(TopologyError::NoCpus);
    }
    let shared = topology.normal_objects().filter_map(|cache| Some((cache_of(cache)?, sharers(cache)?)));
    let caches = shared.filter_map(|(told, cpus)| cache(told, cpus, &mut notes)).collect();
    Ok(assembly::machine(cpus, nodes, caches, notes))
}

/// NUMA nodes, by number, with all CPUs of each.
fn nodes<'a>(
    topology: &Topology,
    sharers: impl Fn(&TopologyObject) -> Option<&'a [usize]>,
    notes: &mut Notes,
) -> Vec<Node> {
    let mut objects: BTreeMap<usize, &TopologyObject> = BTreeMap::new();
    for node in topology.objects_with_type(ObjectType::NUMANode) {
        let Some(id) = node.os_index() else { continue };
        if objects.insert(id, node).is_some() {
            notes.all.push(format!("node {id} is there twice; one of the two is taken"));
        }
    }
    let discovery = topology.feature_support().discovery();
    // A node without memory has zero bytes, and so has one of which hwloc could not tell.
    let is_told = discovery.is_some_and(|discovery| discovery.numa_memory());
    let mut rows = rows(topology, objects.values()).into_iter();
    let node = |(&id, node): (&usize, &&TopologyObject)| {
        // A node hangs beside the tree of CPUs, at the part that is near to it. One without CPUs may hang at the root, so its set is asked.
        let own = node.cpuset().filter(|own| !own.is_empty());
        let near = node.ancestors().find(|above| above.object_type().is_normal()).and_then(&sharers);
        let cpus = own.zip(near).map_or_else(Vec::new, |(own, near)| {
            near.iter().copied().filter(|&cpu| has(&own, cpu)).collect()
        });
        let bytes = match node.attributes() {
            Some(ObjectAttributes::NUMANode(told)) => told.local_memory().map(u64::from),
            _ => None,
        };
        let bytes = bytes.or(is_told.then_some(0));
        (Node { id, cpus, bytes, distances: Vec::new() }, rows.next())
    };
    let nodes = objects.iter().map(node).collect();
    assembly::with_distances(nodes, notes)
}

/// How far each of the nodes is from each, a row each; nothing when hwloc does not say it of all.
fn rows<'a>(topology: &Topology, nodes: impl Iterator<Item = &'a &'a TopologyObject>) -> Vec<Vec<u32>> {
    let nodes: Vec<_> = nodes.map(|node| node.global_persistent_index()).collect();
    let kind = Some(DistancesKind::MEANS_LATENCY);
    let told = topology.distances_with_type(kind, ObjectType::NUMANode).unwrap_or_default();
    let rows = told.iter().find_map(|matrix| {
        let objects: Vec<_> =
            matrix.objects().map(|object| object.map(TopologyObject::global_persistent_index)).collect();
        let place = |node: &TopologyObjectID| objects.iter().position(|object| object.as_ref() == Some(node));
        let places: Vec<usize> = nodes.iter().map(place).collect::<Option<_>>()?;
        let values = matrix.distances();
        let row = |&from: &usize| {
            let value = |&to: &usize| u32::try_from(*values.get(from * objects.len() + to)?).ok();
            places.iter().map(value).collect::<Option<_>>()
        };
        places.iter().map(row).collect::<Option<_>>()
    });
    rows.unwrap_or_default()
}

fn cache_of(object: &TopologyObject) -> Option<&CacheAttributes> {
    match object.attributes() {
        Some(ObjectAttributes::Cache(told)) => Some(told),
        _ => None,
    }
}

/// A cache of which the size is told. One of which it is not is still shared, and so far counted.
fn cache(told: &CacheAttributes, cpus: &[usize], notes: &mut Notes) -> Option<Cache> {
    let kind = match told.cache_type() {
        CacheType::Data => CacheKind::Data,
        CacheType::Instruction => CacheKind::Instruction,
        _ => CacheKind::Unified,
    };
    let level = u32::try_from(told.depth()).ok()?;
    let Some(bytes) = told.size() else {
        let note = format!("how large caches of level {level} are is not told; such are not listed");
        notes.all.extend((!notes.all.contains(&note)).then_some(note));
        return None;
    };
    Some(Cache { level, kind, bytes: bytes.get(), cpus: cpus.to_vec() })
}

/// Whether a CPU is in a set. hwlocality panics at numbers that no set can have, which a file may say.
fn has(set: &CpuSet, cpu: usize) -> bool {
    BitmapIndex::try_from(cpu).is_ok_and(|cpu| set.is_set(cpu))
}

/// Every node knows its distance from each.
fn has_few_nodes(topology: &Topology) -> bool {
    topology.objects_with_type(ObjectType::NUMANode).len() <= MAX_NODES
}

/// hwloc makes what it is told, a billion CPUs too, so the numbers are multiplied before.
fn refuse_too_large(description: &str) -> Result<(), TopologyError> {
    let (mut depth, mut levels) = (0usize, String::new());
    for character in description.chars() {
        // Attributes stand in parentheses, memory beside the levels in brackets.
        match character {
            '(' | '[' => depth += 1,
            ')' | ']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        levels.push(if depth == 0 && !")]".contains(character) { character } else { ' ' });
    }
    let mut cpus = 1usize;
    for word in levels.split_whitespace() {
        let number = word.rsplit(':').next().unwrap_or(word);
        // Decimal alone: hwloc would read "0x7fffffff" as well.
        let count = number.parse().ok().filter(|count| (1..=MAX_CPUS).contains(count));
        let count = count.ok_or_else(|| TopologyError::Count { word: word.into() })?;
        let product = cpus.checked_mul(count).filter(|&product| product <= MAX_CPUS);
        cpus = product.ok_or_else(|| TopologyError::TooLarge { word: word.into() })?;
    }
    Ok(())
}
