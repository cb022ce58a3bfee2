//! The command line of the benchmark.
//!
//! `cargo bench --bench scheduler -- [GROUP …] [--full] [--all] [--family WORDS]`

/// What to run.
#[derive(Debug, Default)]
pub(crate) struct Arguments {
    /// Only run the bodies and check their answers: what `cargo test` wants.
    pub(crate) test: bool,
    /// Up to the largest sizes.
    pub(crate) full: bool,
    /// Print the sizes that keep the bound as well.
    pub(crate) all: bool,
    families: Vec<String>,
    groups: Vec<String>,
}

impl Arguments {
    /// Reads the process's arguments. Cargo adds `--bench` to what is to be measured.
    pub(crate) fn read() -> Self {
        let mut read = Self { test: true, ..Self::default() };
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            match &*argument {
                "--bench" => read.test = false,
                "--full" => read.full = true,
                "--all" => read.all = true,
                "--family" => read.families.extend(arguments.next()),
                group if !group.starts_with('-') => read.groups.push(argument),
                // Options of the standard harness, which `cargo test` may pass on.
                _ => {}
            }
        }
        read
    }

    /// Whether a group was asked for; without names, all but `serial`, which takes as long as the others together.
    pub(crate) fn takes(&self, group: &str) -> bool {
        self.groups.iter().any(|name| name == group)
            || (self.groups.is_empty() && (self.test || group != "serial"))
    }

    pub(crate) fn takes_family(&self, family: &str) -> bool {
        self.families.is_empty() || self.families.iter().any(|words| family.contains(words.as_str()))
    }
}
