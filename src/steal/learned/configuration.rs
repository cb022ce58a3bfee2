//! What can be chosen for a region.

/// Where the parts of a loop begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// On the worker that reaches the loop; thieves get it from there.
    Caller,
    /// A part for each node, where its data is.
    Nodes,
    /// A part for each worker, on the node of its data.
    Workers,
}

/// What holds for a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Configuration {
    /// Its name in reports.
    pub name: &'static str,
    /// Tasks are shared that last so long, ns.
    pub share_after: u32,
    /// Whether what becomes public goes to the node that has its data, rather than staying until somebody takes it.
    pub push: bool,
    /// How long an idle worker looks at its own node only, ns.
    pub patience: u32,
    /// Where loops begin.
    pub placement: Placement,
    /// The most tasks that a thief takes at once; never more than half, rounded up.
    pub batch: u32,
}

/// How many there are.
pub const ARMS: usize = 6;

/// What the runtime does without a learned policy.
const STATIC: Configuration = Configuration {
    name: "on-request",
    share_after: 2_000,
    push: false,
    patience: 0,
    placement: Placement::Caller,
    batch: 1,
};

/// The configurations that a region may have. The first one is the default.
pub const CONFIGURATIONS: [Configuration; ARMS] = [
    STATIC,
    Configuration { name: "eager", share_after: 500, ..STATIC },
    Configuration { name: "push", share_after: 500, push: true, ..STATIC },
    Configuration { name: "push-patient", push: true, patience: 10_000, ..STATIC },
    Configuration { name: "placed", placement: Placement::Workers, push: true, patience: 10_000, ..STATIC },
    Configuration { name: "lazy", share_after: 20_000, batch: u32::MAX, ..STATIC },
];
