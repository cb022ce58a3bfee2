//! `upbeat-panics`: a panic in each kind of task, each in a process of its own, which must end, soon, and say why.
//!
//! Built with `panic=abort` (`cargo build --profile abort`) each process ends by SIGABRT with the panic's message: there is no unwinding, so
//! nothing may wait for it (fault 9). Built as usual a panic comes out where the task is waited for, and the exit code is 101; only a
//! detached task without a handler aborts. The program checks the one or the other, by how it was built itself.

use std::io::Read;
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use upbeat::{par, Runtime};

/// Who panics says this.
const MESSAGE: &str = "panics, as it was told to";
/// No process takes a fraction of this.
const LIMIT: Duration = Duration::from_secs(60);

/// A kind of task: its name, the code that panics in one, and whether the process aborts also where panics unwind.
struct Kind {
    name: &'static str,
    run: fn(&Runtime),
    aborts: bool,
}

const fn kind(name: &'static str, run: fn(&Runtime)) -> Kind {
    Kind { name, run, aborts: false }
}

const KINDS: [Kind; 11] = [
    kind("install", |runtime| runtime.install(|_| panics("install"))),
    kind("run_on_worker", |runtime| runtime.run_on_worker(|_| panics("run_on_worker"))),
    kind("join-left", |runtime| {
        runtime.join(|| panics("join-left"), || ());
    }),
    kind("join-right", |runtime| {
        runtime.join(|| (), || panics("join-right"));
    }),
    kind("join-stolen", stolen),
    kind("scope", |runtime| {
        runtime.scope(|scope| {
            (0..100).for_each(|_| scope.spawn(|_| ()));
            scope.spawn(|_| panics("scope"));
        })
    }),
    kind("spawn", |runtime| come_out(runtime.spawn(|| panics("spawn")).join())),
    kind("future", |runtime| come_out(runtime.spawn_future(async { panics("future") }).join())),
    kind("broadcast", |runtime| {
        runtime.broadcast(|_| panics("broadcast"));
    }),
    kind("loop", |runtime| {
        runtime.install(|_| {
            par::for_each(0..100_000, |i| {
                if i == 77_777 {
                    panics("loop");
                }
            });
        });
    }),
    Kind {
        name: "detached",
        run: |runtime| {
            drop(runtime.spawn(|| panics("detached")));
            // Ends by the other thread's doing.
            loop {
                thread::park();
            }
        },
        aborts: true,
    },
];

fn panics(name: &str) {
    panic!("{name} {MESSAGE}");
}

fn come_out(outcome: thread::Result<()>) {
    outcome.unwrap_or_else(|payload| std::panic::resume_unwind(payload));
}

/// A join whose right side panics on another worker, while the left one waits for it to begin.
fn stolen(runtime: &Runtime) {
    let begun = AtomicBool::new(false);
    runtime.join(
        || {
            while !begun.load(Ordering::Acquire) {
                thread::yield_now();
            }
        },
        || {
            begun.store(true, Ordering::Release);
            panics("join-stolen");
        },
    );
}

/// How a child ended, and what it said.
fn outcome(mut child: Child) -> Result<(ExitStatus, String), String> {
    let end = Instant::now() + LIMIT;
    let status = loop {
        match child.try_wait().map_err(|error| error.to_string())? {
            Some(status) => break status,
            None if Instant::now() > end => {
                let killed = child.kill().and_then(|()| child.wait());
                return Err(format!("still runs after {LIMIT:?}: {killed:?}"));
            }
            None => thread::sleep(Duration::from_millis(1)),
        }
    };
    let mut said = String::new();
    if let Some(mut stderr) = child.stderr.take() {
        stderr.read_to_string(&mut said).map_err(|error| error.to_string())?;
    }
    Ok((status, said))
}

/// Whether a process ended by SIGABRT.
fn aborted(status: ExitStatus) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::process::ExitStatusExt;
        status.signal() == Some(6)
    }
    #[cfg(not(unix))]
    {
        !status.success() && status.code() != Some(101)
    }
}

/// Runs `kind` in a process of its own and says what was wrong with its end.
fn check(kind: &Kind) -> Result<(), String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let child = Command::new(program).arg(kind.name).stderr(Stdio::piped()).stdin(Stdio::null()).spawn();
    let (status, said) = outcome(child.map_err(|error| error.to_string())?)?;
    let expected = match kind.aborts || cfg!(panic = "abort") {
        true => aborted(status),
        false => status.code() == Some(101),
    };
    match expected && said.contains(&format!("{} {MESSAGE}", kind.name)) {
        true => Ok(()),
        false => Err(format!("{status}, and said: {said}")),
    }
}

fn main() -> ExitCode {
    match std::env::args().nth(1) {
        Some(name) => {
            let Some(kind) = KINDS.iter().find(|kind| kind.name == name) else {
                eprintln!("no such kind: {name}");
                return ExitCode::from(2);
            };
            let runtime = Runtime::builder().workers(2).build().unwrap_or_else(|error| panic!("{error}"));
            (kind.run)(&runtime);
            ExitCode::SUCCESS
        }
        None => {
            let mut status = ExitCode::SUCCESS;
            for kind in &KINDS {
                match check(kind) {
                    Ok(()) => println!("{}: ends as it must", kind.name),
                    Err(wrong) => {
                        println!("{}: {wrong}", kind.name);
                        status = ExitCode::FAILURE;
                    }
                }
            }
            status
        }
    }
}
