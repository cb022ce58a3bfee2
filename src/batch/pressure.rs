//! How short of memory the process is, by what Linux says: the share of time that tasks stall for memory (PSI), and how much of a
//! cgroup's limit is in use.
//!
//! Two files or so are read at each call, so it belongs on a slow tick. Missing or garbled files are no pressure; the reading says
//! that they were. Nothing is decided here but the [`Level`]. Proved by the tests below, on folders like `/proc` and `/sys/fs/cgroup`.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

/// How much of its usual cap a batch keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Memory is plentiful, or nothing is known: all of the cap.
    #[default]
    Calm,
    /// Tasks begin to wait for memory, or four fifths of the limit are in use: 75 %.
    Tight,
    /// Tasks wait noticeably, or nine tenths of the limit are in use: 50 %.
    Scarce,
    /// The machine hardly does anything else: 25 %, and nothing new is taken on. Where the system does not say how long tasks wait,
    /// a limit that is all but reached counts as this.
    Critical,
}

impl Level {
    /// Every level, the calmest first.
    pub const ALL: [Level; 4] = [Level::Calm, Level::Tight, Level::Scarce, Level::Critical];

    /// What is left of a cap, in percent.
    pub fn percent(self) -> usize {
        match self {
            Level::Calm => 100,
            Level::Tight => 75,
            Level::Scarce => 50,
            Level::Critical => 25,
        }
    }

    /// What is left of `cap`, at least 1.
    pub fn scaled(self, cap: usize) -> usize {
        (cap / 100 * self.percent() + cap % 100 * self.percent() / 100).max(1)
    }

    /// Whether nothing new should be taken on.
    pub fn refuses(self) -> bool {
        self == Level::Critical
    }

    /// The level's name, as in `"tight"`.
    pub fn name(self) -> &'static str {
        match self {
            Level::Calm => "calm",
            Level::Tight => "tight",
            Level::Scarce => "scarce",
            Level::Critical => "critical",
        }
    }
}

/// Percent of the last ten seconds in which some task stalled for memory, and in which all did, from which a level begins. The last is
/// far below the 60 % at which systemd-oomd begins to kill.
const STALLED: [(f64, f64, Level); 3] =
    [(40.0, 15.0, Level::Critical), (15.0, 5.0, Level::Scarce), (5.0, 1.0, Level::Tight)];
/// Percent of a cgroup's limit in use from which a level begins.
const USED: [(u64, Level); 3] = [(97, Level::Critical), (90, Level::Scarce), (80, Level::Tight)];

/// Reads how short memory is.
#[derive(Clone, Debug)]
pub struct Gauge {
    /// `/proc`, or a folder like it.
    proc: PathBuf,
    /// `/sys/fs/cgroup`, or a folder like it.
    cgroups: PathBuf,
}

impl Default for Gauge {
    fn default() -> Self {
        Self::at("/proc", "/sys/fs/cgroup")
    }
}

/// What a [`Gauge`] read.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Reading {
    /// Percent of the last ten seconds in which some task stalled for memory, and in which all did.
    pub stalled: Option<(f64, f64)>,
    /// Bytes in use and the limit of the cgroup that has least left, file caches not counted.
    pub memory: Option<(u64, u64)>,
}

impl Gauge {
    /// A gauge that reads folders laid out as `/proc` and `/sys/fs/cgroup`.
    pub fn at(proc: impl Into<PathBuf>, cgroups: impl Into<PathBuf>) -> Self {
        Self { proc: proc.into(), cgroups: cgroups.into() }
    }

    /// Reads the files, some tens of microseconds.
    pub fn read(&self) -> Reading {
        let groups = text(&self.proc.join("self/cgroup")).unwrap_or_default();
        let second = groups.lines().find_map(|line| line.strip_prefix("0::"));
        let first = groups.lines().find_map(|line| {
            let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
            controllers.split(',').any(|name| name == "memory").then_some(path)
        });
        let second = second.map(|path| Folders::new(&self.cgroups, path));
        let first = first.map(|path| Folders::new(&self.cgroups.join("memory"), path));
        // The process's own group tells more than the whole machine, where other groups may have limits that are no concern of ours.
        let own = second.as_ref().and_then(|folders| stalled(&folders.own().join("memory.pressure")));
        let memory = match first {
            Some(folders) => folders.tightest(limit_v1),
            None => second.and_then(|folders| folders.tightest(limit_v2)),
        };
        Reading { stalled: own.or_else(|| stalled(&self.proc.join("pressure/memory"))), memory }
    }
}

impl Reading {
    /// The level that this means.
    pub fn level(&self) -> Level {
        let stalled = self.stalled.and_then(|(some, full)| {
            STALLED.iter().find(|(most, all, _)| some >= *most || full >= *all).map(|(.., level)| *level)
        });
        let used = self.memory.and_then(|(used, limit)| {
            let percent = u128::from(used) * 100 / u128::from(limit.max(1));
            USED.iter().find(|(share, _)| percent >= u128::from(*share)).map(|(_, level)| *level)
        });
        // A full group in which nobody waits is in good health: use alone refuses only where nothing says who waits.
        let most = if self.stalled.is_some() { Level::Scarce } else { Level::Critical };
        let used = used.map(|level| level.min(most));
        stalled.max(used).unwrap_or_default()
    }
}

impl fmt::Display for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MIB: f64 = (1 << 20) as f64;
        write!(f, "{}: ", self.level().name())?;
        match self.stalled {
            Some((some, full)) => {
                write!(f, "some task waited for memory {some} % of the last 10 s, all of them {full} %")?;
            }
            None => write!(f, "the system does not say how long tasks wait for memory")?,
        }
        match self.memory {
            Some((used, limit)) => {
                write!(
                    f,
                    "; {:.0} of {:.0} MiB of the cgroup's limit in use",
                    used as f64 / MIB,
                    limit as f64 / MIB
                )
            }
            None => write!(f, "; no cgroup limits the memory"),
        }
    }
}

/// A cgroup's folder and those above it, up to the root of its hierarchy.
struct Folders {
    root: PathBuf,
    path: PathBuf,
}

impl Folders {
    /// Of the group at `path`. In a container, whose own group is mounted as the root, its path outside leads nowhere.
    fn new(root: &Path, path: &str) -> Self {
        let path = Path::new(path.trim_start_matches('/'));
        let inside = path.components().all(|part| matches!(part, std::path::Component::Normal(_)));
        let path = if inside && root.join(path).is_dir() { path } else { Path::new("") };
        Self { root: root.to_path_buf(), path: path.to_path_buf() }
    }

    fn own(&self) -> PathBuf {
        self.root.join(&self.path)
    }

    /// Use and limit of the group in whose folder the largest share is in use: a limit above counts for all below.
    fn tightest(&self, limit: impl Fn(&Path) -> Option<(u64, u64)>) -> Option<(u64, u64)> {
        let share = |(used, limit): &(u64, u64)| *used as f64 / *limit as f64;
        let folders = self.path.ancestors().map(|path| self.root.join(path));
        folders.filter_map(|folder| limit(&folder)).max_by(|a, b| share(a).total_cmp(&share(b)))
    }
}

/// Use and limit in a folder of the second version.
fn limit_v2(folder: &Path) -> Option<(u64, u64)> {
    // `max` stands for no limit, and is no number.
    let limit = number(&folder.join("memory.max"))?;
    used(folder, "memory.current", ["inactive_file", "active_file"], limit)
}

/// Use and limit in a folder of the first version, where no limit is a huge one.
fn limit_v1(folder: &Path) -> Option<(u64, u64)> {
    let limit = number(&folder.join("memory.limit_in_bytes")).filter(|limit| *limit < 1 << 60)?;
    used(folder, "memory.usage_in_bytes", ["total_inactive_file", "total_active_file"], limit)
}

/// Use without the file caches, which the system can drop. The active ones are among them, as a mapped file that is read again and
/// again stays active; when dropping them hurts, the stalls say so.
fn used(folder: &Path, file: &str, caches: [&str; 2], limit: u64) -> Option<(u64, u64)> {
    let used = number(&folder.join(file))?;
    let stat = text(&folder.join("memory.stat")).unwrap_or_default();
    let bytes =
        |line: &str| caches.iter().find_map(|cache| line.strip_prefix(cache)?.trim().parse::<u64>().ok());
    let cached = stat.lines().filter_map(bytes).fold(0, u64::saturating_add);
    (limit > 0).then_some((used.saturating_sub(cached), limit))
}

/// `avg10` of the lines `some` and `full`.
fn stalled(file: &Path) -> Option<(f64, f64)> {
    let text = text(file)?;
    let share = |kind: &str| -> Option<f64> {
        let line = text.lines().find_map(|line| line.strip_prefix(kind))?;
        let share: f64 =
            line.split_whitespace().find_map(|word| word.strip_prefix("avg10="))?.parse().ok()?;
        (0.0..=100.0).contains(&share).then_some(share)
    };
    Some((share("some ")?, share("full ").unwrap_or(0.0)))
}

fn text(file: &Path) -> Option<String> {
    fs::read_to_string(file).ok()
}

fn number(file: &Path) -> Option<u64> {
    text(file)?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Folders like `/proc` and `/sys/fs/cgroup` that are removed at the end.
    struct System(PathBuf);

    impl System {
        fn new(name: &str, files: &[(&str, &str)]) -> Self {
            let root = std::env::temp_dir().join(format!("upbeat-pressure-{name}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&root);
            for (path, text) in files {
                let path = root.join(path);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, text).unwrap();
            }
            Self(root)
        }

        fn read(&self) -> Reading {
            Gauge::at(self.0.join("proc"), self.0.join("cgroup")).read()
        }
    }

    impl Drop for System {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    const CALM: &str =
        "some avg10=0.00 avg60=9.99 avg300=9.99 total=5\nfull avg10=0.00 avg60=9.99 avg300=9.99 total=5\n";

    #[test]
    fn stalls_raise_the_level() {
        for (some, full, level) in [
            ("0.00", "0.00", Level::Calm),
            ("4.99", "0.99", Level::Calm),
            ("5.00", "0.00", Level::Tight),
            ("0.00", "1.00", Level::Tight),
            ("15.00", "0.00", Level::Scarce),
            ("16.00", "5.00", Level::Scarce),
            ("40.00", "0.00", Level::Critical),
            ("20.00", "15.00", Level::Critical),
            ("100.00", "100.00", Level::Critical),
        ] {
            let text =
                format!("some avg10={some} avg60=0.00 total=1\nfull avg10={full} avg60=0.00 total=1\n");
            let system = System::new(&format!("stalls-{some}-{full}"), &[("proc/pressure/memory", &text)]);
            assert_eq!(system.read().level(), level, "{text}");
        }
    }

    #[test]
    fn the_second_version_of_cgroups_is_read_up_to_its_root() {
        let files = |max: &'static str, above: &'static str| {
            [
                ("proc/pressure/memory", CALM),
                ("proc/self/cgroup", "0::/service/ours\n"),
                ("cgroup/service/ours/memory.max", max),
                ("cgroup/service/ours/memory.current", "1150\n"),
                ("cgroup/service/ours/memory.stat", "anon 500\ninactive_file 50\nactive_file 300\n"),
                ("cgroup/service/memory.max", above),
                ("cgroup/service/memory.current", "1900\n"),
            ]
        };
        let level = |max, above| {
            let reading = System::new("second", &files(max, above)).read();
            (reading.memory, reading.level())
        };
        assert_eq!(level("max\n", "max\n"), (None, Level::Calm));
        assert_eq!(level("1001\n", "max\n"), (Some((800, 1001)), Level::Calm));
        assert_eq!(level("1000\n", "max\n"), (Some((800, 1000)), Level::Tight));
        assert_eq!(level("888\n", "10000\n"), (Some((800, 888)), Level::Scarce));
        assert_eq!(level("1000\n", "1950\n"), (Some((1900, 1950)), Level::Scarce), "a limit above counts");
        assert_eq!(level("0\n", "max\n"), (None, Level::Calm));
    }

    #[test]
    fn a_groups_own_stalls_go_before_the_machines() {
        let stalling = "some avg10=50.00 total=1\nfull avg10=0.00 total=1\n";
        let files = [
            ("proc/pressure/memory", stalling),
            ("proc/self/cgroup", "0::/ours\n"),
            ("cgroup/ours/memory.pressure", CALM),
        ];
        assert_eq!(System::new("own", &files).read().level(), Level::Calm);
        assert_eq!(System::new("machine", &files[..2]).read().level(), Level::Critical);
        // In a container the path outside leads nowhere, and may try to leave the folder.
        for path in ["0::/../../elsewhere\n", "0::/gone\n"] {
            let files = [("proc/self/cgroup", path), ("cgroup/memory.pressure", stalling)];
            assert_eq!(System::new("container", &files).read().level(), Level::Critical, "{path}");
        }
    }

    #[test]
    fn the_first_version_of_cgroups_is_read() {
        let level = |limit| {
            let files = [
                ("proc/self/cgroup", "11:cpu,cpuacct:/x\n4:memory:/box\n1:name=systemd:/y\n0::/z\n"),
                ("cgroup/memory/box/memory.limit_in_bytes", limit),
                ("cgroup/memory/box/memory.usage_in_bytes", "1000\n"),
                (
                    "cgroup/memory/box/memory.stat",
                    "inactive_file 1\ntotal_inactive_file 70\ntotal_active_file 30\n",
                ),
            ];
            let reading = System::new("first", &files).read();
            (reading.memory, reading.level())
        };
        assert_eq!(level("9223372036854771712\n"), (None, Level::Calm));
        assert_eq!(level("1000\n"), (Some((900, 1000)), Level::Scarce));
    }

    /// A server that reads a large mapped file again and again: its group is full of caches that are hot, and nobody waits.
    #[test]
    fn a_full_group_in_which_nobody_waits_refuses_nothing() {
        let files = |anon: &'static str, stat: &'static str, pressure: &'static str| {
            let files = [
                ("proc/self/cgroup", "0::/ours\n"),
                ("cgroup/ours/memory.max", "1000\n"),
                ("cgroup/ours/memory.current", anon),
                ("cgroup/ours/memory.stat", stat),
                ("proc/pressure/memory", pressure),
            ];
            System::new("full", &files).read()
        };
        let hot = files("999\n", "anon 300\nactive_file 600\ninactive_file 99\n", CALM);
        assert_eq!((hot.memory, hot.level()), (Some((300, 1000)), Level::Calm));
        assert_eq!(files("999\n", "anon 999\n", CALM).level(), Level::Scarce, "nobody waits");
        assert_eq!(files("999\n", "anon 999\n", "").level(), Level::Critical, "nothing says who waits");
        let waits = "some avg10=41.00 total=1\nfull avg10=0.00 total=1\n";
        assert_eq!(files("999\n", "anon 999\n", waits).level(), Level::Critical);
    }

    #[test]
    fn garbage_and_missing_files_are_no_pressure_and_are_said() {
        let reading = Gauge::at("/nonexistent", "/nonexistent").read();
        assert_eq!((reading, reading.level()), (Reading::default(), Level::Calm));
        let text = reading.to_string();
        assert!(text.contains("calm: the system does not say") && text.contains("no cgroup"), "{text}");
        for garbage in
            ["", "some\n", "some avg10=\n", "some avg10=NaN total=1\n", "some avg10=1e9\n", "\u{fffd}"]
        {
            let files = [
                ("proc/pressure/memory", garbage),
                ("proc/self/cgroup", "0::/ours\n4:memory\nx\n"),
                ("cgroup/ours/memory.max", "99999999999999999999999\n"),
                ("cgroup/ours/memory.current", garbage),
            ];
            assert_eq!(System::new("garbage", &files).read(), Reading::default(), "{garbage:?}");
        }
        let reading = Reading { stalled: Some((6.5, 0.0)), memory: Some((900 << 20, 1000 << 20)) };
        assert_eq!(reading.level(), Level::Scarce, "the worse of both counts");
        let text = reading.to_string();
        assert!(text.contains("scarce: some task waited for memory 6.5 %"), "{text}");
        assert!(text.contains("900 of 1000 MiB"), "{text}");
    }

    #[test]
    fn caps_follow_the_level() {
        assert_eq!(Level::ALL.map(|level| level.scaled(16)), [16, 12, 8, 4]);
        assert_eq!(Level::ALL.map(|level| level.scaled(1)), [1, 1, 1, 1]);
        assert_eq!(Level::Critical.scaled(usize::MAX), usize::MAX / 100 * 25 + usize::MAX % 100 * 25 / 100);
        assert_eq!(Level::ALL.map(Level::refuses), [false, false, false, true]);
    }
}
