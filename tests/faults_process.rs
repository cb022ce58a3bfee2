//! Faults of the process and its machine: a process that is stopped for a while, CPUs that are taken away, a CPU quota, and
//! signals that interrupt workers. Each in a child process, for they are the whole process's.
#![cfg(target_os = "linux")]
// Signals, masks and mounts are the operating system's.
#![allow(unsafe_code)]

mod support;

use std::ffi::CString;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use support::{watched, Meeting};
use upbeat::{Pin, Runtime, Worker};

fn fib(worker: &Worker, n: u32) -> u64 {
    if n < 2 {
        return n.into();
    }
    let (a, b) = worker.join(|w| fib(w, n - 1), |w| fib(w, n - 2));
    a + b
}

/// A little of everything.
fn work(runtime: &Runtime) {
    assert_eq!(runtime.install(|w| fib(w, 15)), 610);
    assert_eq!(runtime.spawn(|| 7).join().unwrap(), 7);
    let mut parts = [0; 8];
    runtime.scope(|scope| parts.iter_mut().for_each(|part| scope.spawn(|_| *part = 1)));
    assert_eq!(parts, [1; 8]);
    let sum = runtime.install(|_| upbeat::par::map_reduce(0..3000, |i| i, |a, b| a + b, || 0));
    assert_eq!(sum, 4_498_500);
}

/// Fault 26: stopped for a second in the middle of work, the process goes on where it was.
#[test]
fn a_process_that_was_stopped_goes_on() {
    const NAME: &str = "a_process_that_was_stopped_goes_on";
    if support::role().is_some() {
        let runtime = Runtime::builder().workers(3).build().unwrap();
        let stop = AtomicBool::new(false);
        return thread::scope(|threads| {
            threads.spawn(|| {
                // Until the other side closes the pipe.
                let _ = std::io::stdin().read(&mut [0]);
                stop.store(true, Ordering::Relaxed);
            });
            while !stop.load(Ordering::Relaxed) {
                work(&runtime);
                // Long, so that a full pipe holds few.
                println!("tick{:500}", "");
            }
        });
    }
    watched("stopped and continued", || {
        let mut child =
            support::rerun(NAME, "work").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let id = child.id() as libc::pid_t;
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut tick = || lines.by_ref().any(|line| line.unwrap().contains("tick"));
        let state = || {
            let text = fs::read_to_string(format!("/proc/{id}/stat")).unwrap();
            text[text.rfind(')').unwrap() + 2..].chars().next().unwrap()
        };
        for stopped in [1000, 30, 100, 300] {
            assert!(tick(), "the child works");
            // SAFETY: it is our own child, not yet waited for.
            assert_eq!(unsafe { libc::kill(id, libc::SIGSTOP) }, 0);
            while state() != 'T' {
                thread::yield_now();
            }
            thread::sleep(Duration::from_millis(stopped));
            // SAFETY: as above.
            assert_eq!(unsafe { libc::kill(id, libc::SIGCONT) }, 0);
            // What it had written before it stopped says nothing; pipe and buffers hold 72 KiB of that.
            assert!((0..200).all(|_| tick()), "the child goes on");
        }
        drop(child.stdin.take());
        while tick() {}
        assert!(child.wait().unwrap().success());
    });
}

/// The threads of this process whose names begin with `upbeat-`.
fn worker_threads() -> Vec<libc::pid_t> {
    let tasks = fs::read_dir("/proc/self/task").unwrap().map(|entry| entry.unwrap().path());
    let workers = tasks.filter(|task| fs::read_to_string(task.join("comm")).unwrap().starts_with("upbeat-"));
    workers.map(|task| task.file_name().unwrap().to_str().unwrap().parse().unwrap()).collect()
}

/// Fault 46: CPUs are taken away and given back while workers run, pinned ones too.
#[test]
fn processors_may_be_taken_away_while_workers_run() {
    const NAME: &str = "processors_may_be_taken_away_while_workers_run";
    if support::role().is_none() {
        return support::assert_passed(&support::rerun(NAME, "mask").output().unwrap());
    }
    // SAFETY: zeros are a value of this plain bit array.
    let mut all: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: the set is of the size given, and 0 means this thread.
    assert_eq!(unsafe { libc::sched_getaffinity(0, size_of_val(&all), &mut all) }, 0);
    // SAFETY: the index is below the number of bits in the set.
    let cpus: Vec<_> = (0..1024).filter(|&cpu| unsafe { libc::CPU_ISSET(cpu, &all) }).collect();
    let confine = |set: &libc::cpu_set_t, threads: &[libc::pid_t]| {
        for &thread in threads {
            // SAFETY: the set is of the size given, and the thread is a worker that runs until the runtime ends.
            assert_eq!(unsafe { libc::sched_setaffinity(thread, size_of_val(set), set) }, 0);
        }
    };
    watched("masks that change", || {
        for pin in [Pin::None, Pin::Cores] {
            let runtime = Runtime::builder().workers(4).pin(pin).build().unwrap();
            let threads = worker_threads();
            assert_eq!(threads.len(), 4);
            for round in 0..40 {
                // SAFETY: zeros are a value of this plain bit array.
                let mut one: libc::cpu_set_t = unsafe { std::mem::zeroed() };
                // SAFETY: the index is below the number of bits in the set.
                unsafe { libc::CPU_SET(cpus[round % cpus.len()], &mut one) };
                let handle = runtime.spawn(|| upbeat::par::map_reduce(0..200_000, |i| i, |a, b| a ^ b, || 0));
                confine(&one, &threads);
                work(&runtime);
                confine(&all, &threads);
                work(&runtime);
                assert_eq!(handle.join().unwrap(), 0);
            }
        }
    });
}

/// A file system of our own over the one that tells of CPU quotas: half a CPU, in the forms of both versions of cgroups. Runs
/// between `fork` and `exec`.
fn half_a_processor() -> std::io::Result<()> {
    let checked = |status: libc::c_int| match status {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    };
    // SAFETY: gives this process, which has one thread, mounts of its own.
    if checked(unsafe { libc::unshare(libc::CLONE_NEWNS) }).is_err() {
        // SAFETY: as above; a user namespace of its own lets it mount there.
        checked(unsafe { libc::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNS) })?;
    }
    let mount = |target: &str, kind: &str, flags| {
        let (target, kind) = (CString::new(target).unwrap(), CString::new(kind).unwrap());
        let none = std::ptr::null::<libc::c_void>();
        // SAFETY: the strings end in NUL and live through the call.
        checked(unsafe { libc::mount(kind.as_ptr(), target.as_ptr(), kind.as_ptr(), flags, none) })
    };
    mount("/", "none", libc::MS_REC | libc::MS_PRIVATE)?;
    mount("/sys/fs/cgroup", "tmpfs", 0)?;
    for line in fs::read_to_string("/proc/self/cgroup")?.lines() {
        let path = line.splitn(3, ':').nth(2).unwrap_or("/");
        for (folder, file, content) in [
            ("", "cgroup.controllers", "cpu"),
            ("", "cpu.max", "50000 100000"),
            ("/cpu", "cpu.cfs_quota_us", "50000"),
            ("/cpu", "cpu.cfs_period_us", "100000"),
            ("/cpu,cpuacct", "cpu.cfs_quota_us", "50000"),
            ("/cpu,cpuacct", "cpu.cfs_period_us", "100000"),
        ] {
            let folder = format!("/sys/fs/cgroup{folder}{path}");
            fs::create_dir_all(&folder)?;
            fs::write(format!("{folder}/{file}"), content)?;
        }
    }
    Ok(())
}

/// Fault 47: with a quota of half a CPU a runtime has one worker, and works.
#[test]
fn a_quota_of_half_a_processor_means_one_worker() {
    const NAME: &str = "a_quota_of_half_a_processor_means_one_worker";
    if support::role().is_some() {
        let runtime = Runtime::new().unwrap();
        assert_eq!(runtime.num_workers(), 1);
        return work(&runtime);
    }
    let mut command = support::rerun(NAME, "quota");
    command.env_remove("UPBEAT_WORKERS");
    // SAFETY: between `fork` and `exec` it allocates, which the C library allows, and makes system calls.
    unsafe { command.pre_exec(half_a_processor) };
    match command.output() {
        Ok(output) => support::assert_passed(&output),
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            eprintln!("not run: this system lets us mount nothing ({error})");
        }
        Err(error) => panic!("{error}"),
    }
}

/// Faults 29 and 51: signals interrupt workers in whatever call they are, with EINTR where they sleep.
#[test]
fn signals_do_not_disturb_workers() {
    const NAME: &str = "signals_do_not_disturb_workers";
    static SIGNALS: AtomicUsize = AtomicUsize::new(0);
    extern "C" fn handler(_: libc::c_int) {
        SIGNALS.fetch_add(1, Ordering::Relaxed);
    }
    if support::role().is_none() {
        return support::assert_passed(&support::rerun(NAME, "signals").output().unwrap());
    }
    // SAFETY: zeros are a value of this plain structure: no flags, so calls are not restarted.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = handler as *const () as usize;
    // SAFETY: the handler adds to an atomic, which a signal handler may do.
    assert_eq!(unsafe { libc::sigaction(libc::SIGUSR1, &action, std::ptr::null_mut()) }, 0);
    watched("signals", || {
        let runtime = Runtime::builder().workers(3).build().unwrap();
        let threads = worker_threads();
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    for &thread in &threads {
                        // SAFETY: the thread is a worker of this process, which has a handler for the signal.
                        let sent =
                            unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), thread, libc::SIGUSR1) };
                        assert_eq!(sent, 0);
                    }
                    thread::yield_now();
                }
            });
            // Enough signals to meet workers that run, wait and sleep.
            while SIGNALS.load(Ordering::Relaxed) < 5000 {
                work(&runtime);
                let meeting = Meeting::of(2);
                runtime.join(|| meeting.arrive(0), || meeting.arrive(1));
                thread::sleep(Duration::from_micros(300));
            }
            stop.store(true, Ordering::Relaxed);
        });
    });
}
