//! Trees of `/sys/devices/system` of whole machines, from a few lines of text each.
//!
//! `machines/*.txt` say of a machine what its firmware and kernel say. A line is a thing and the CPUs that share it; groups of CPUs are
//! written `FIRST-LAST/SIZE+OFFSET`: stretches of SIZE, each with the CPUs that are OFFSET further (siblings that Linux numbers far away).
//! [`Tree`] writes the files that Linux would show, among them folders of CPUs that are offline, which have no topology.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// A tree of files in a folder of its own, removed at the end.
pub(crate) struct Tree(PathBuf);

impl Tree {
    /// Writes the tree of `machines/NAME.txt`; `test` tells apart the tests that use the same one.
    pub(crate) fn of(name: &str, test: &str) -> Self {
        let text = Path::new(super::MACHINES).join(format!("{name}.txt"));
        let text = fs::read_to_string(&text).unwrap_or_else(|e| panic!("{}: {e}", text.display()));
        // In memory where the system has a folder for that: some thousand tiny files take seconds on a busy disk.
        let memory = Path::new("/dev/shm");
        let folder = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        let root = folder.join(format!("upbeat-machine-{name}-{test}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        for (path, content) in files(&text) {
            let path = root.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content + "\n").unwrap();
        }
        Self(root)
    }

    /// Where `cpu` and `node` lie.
    pub(crate) fn root(&self) -> &Path {
        &self.0
    }

    /// Removes one file or folder.
    pub(crate) fn without(self, path: &str) -> Self {
        let path = self.0.join(path);
        if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }.unwrap();
        self
    }

    /// Puts other text into a file.
    pub(crate) fn with(self, path: &str, content: &str) -> Self {
        fs::write(self.0.join(path), content).unwrap();
        self
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The files by their paths.
fn files(text: &str) -> BTreeMap<String, String> {
    let mut files = BTreeMap::new();
    let mut put = |path: String, content: &str| files.insert(path, content.to_owned());
    let (mut present, mut online) = (Vec::new(), Vec::new());
    let mut caches_of: BTreeMap<usize, usize> = BTreeMap::new();
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["present", all] => {
                put("cpu/present".into(), all);
                present = numbers(all);
            }
            ["online", all] => {
                put("cpu/online".into(), all);
                online = numbers(all);
                for cpu in present.iter().filter(|cpu| !online.contains(cpu)) {
                    put(format!("cpu/cpu{cpu}/online"), "0");
                }
            }
            ["package", id, cpus] => {
                for cpu in kept(&numbers(cpus), &online) {
                    put(format!("cpu/cpu{cpu}/topology/physical_package_id"), id);
                }
            }
            ["core", groups] => {
                for group in self::groups(groups, &online) {
                    for cpu in &group {
                        put(format!("cpu/cpu{cpu}/topology/thread_siblings_list"), &list(&group));
                    }
                }
            }
            ["cache", level, kind, size, groups] => {
                for group in self::groups(groups, &online) {
                    for cpu in &group {
                        let index = caches_of.entry(*cpu).or_default();
                        let dir = format!("cpu/cpu{cpu}/cache/index{index}");
                        *index += 1;
                        put(format!("{dir}/level"), level);
                        put(format!("{dir}/type"), kind);
                        put(format!("{dir}/size"), size);
                        put(format!("{dir}/shared_cpu_list"), &list(&group));
                    }
                }
            }
            ["node", id, cpus, kilobytes, ref distances @ ..] => {
                let cpus = if cpus == "none" { String::new() } else { list(&kept(&numbers(cpus), &online)) };
                put(format!("node/node{id}/cpulist"), &cpus);
                let memory =
                    format!("Node {id} MemTotal:       {kilobytes} kB\nNode {id} MemFree:        1024 kB");
                put(format!("node/node{id}/meminfo"), &memory);
                put(format!("node/node{id}/distance"), &distances.join(" "));
            }
            _ => panic!("{line:?} says nothing that is known"),
        }
    }
    files
}

/// `0-3,8` as numbers.
pub(crate) fn numbers(list: &str) -> Vec<usize> {
    let parts = list.split(',').map(|part| part.split_once('-').unwrap_or((part, part)));
    parts.flat_map(|(from, to)| from.parse::<usize>().unwrap()..=to.parse().unwrap()).collect()
}

/// The other way round, each number by itself, which is as good.
fn list(numbers: &[usize]) -> String {
    numbers.iter().map(usize::to_string).collect::<Vec<_>>().join(",")
}

fn kept(cpus: &[usize], online: &[usize]) -> Vec<usize> {
    cpus.iter().copied().filter(|cpu| online.contains(cpu)).collect()
}

/// `FIRST-LAST/SIZE+OFFSET`, several of them divided by commas, without the CPUs that are not online.
fn groups(text: &str, online: &[usize]) -> Vec<Vec<usize>> {
    let mut groups = Vec::new();
    for part in text.split(',') {
        let (range, rest) = part.split_once('/').unwrap();
        let (size, offset) = rest.split_once('+').unwrap_or((rest, ""));
        for stretch in numbers(range).chunks(size.parse().unwrap()) {
            let mut group = stretch.to_vec();
            group.extend(
                offset.parse::<usize>().ok().into_iter().flat_map(|o| stretch.iter().map(move |cpu| cpu + o)),
            );
            groups.push(kept(&group, online));
        }
    }
    groups
}
