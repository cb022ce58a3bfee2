//! The command line of the benchmark.

/// What to run.
#[derive(Debug, Default)]
pub(crate) struct Arguments {
    /// Only run the bodies and check their answers: what `cargo test` wants.
    pub(crate) test: bool,
    /// `--list`: say what groups there are.
    pub(crate) list: bool,
    /// `--quick`: fewer rounds, also of `serial`.
    pub(crate) quick: bool,
    /// `--full`: `serial` up to the largest sizes.
    pub(crate) full: bool,
    /// `--all`: `serial` prints the sizes that keep the bound as well.
    pub(crate) all: bool,
    /// `--svg PATH`: draw the ratios.
    pub(crate) svg: Option<String>,
    /// `--markdown PATH`: write the rows as a table.
    pub(crate) markdown: Option<String>,
    /// `--count WORKLOAD RUNTIME CALLS`: run that and nothing else.
    pub(crate) count: Vec<String>,
    /// `--work WORDS`: only rows and families whose names contain the words.
    works: Vec<String>,
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
                "--list" => read.list = true,
                "--quick" => read.quick = true,
                "--full" => read.full = true,
                "--all" => read.all = true,
                "--svg" => read.svg = arguments.next(),
                "--markdown" => read.markdown = arguments.next(),
                "--count" => read.count.extend(arguments.by_ref()),
                "--work" => read.works.extend(arguments.next()),
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

    /// Whether a row or family was asked for.
    pub(crate) fn takes_work(&self, work: &str) -> bool {
        self.works.is_empty() || self.works.iter().any(|words| work.contains(words.as_str()))
    }
}
