//! Peers that cannot be linked: a program that does the same rows, in turn with us, and answers how long a call took.
//!
//! It is asked line by line on its standard input, `WORKERS CALLS GROUP: WORK`, with the row's name as the table has it, and answers
//! each line on its standard output: `SECONDS NAME`, the time of a call by the best of those it knows, and who that is; or `-`
//! for a row that it does not do. It works only while it is asked. `benches/kernels-peers.py` is one, `benches/vulkan-peers.py` another.

use std::fmt;
use std::io::{self, BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// What a peer's program did wrong.
pub enum PeerError {
    /// It could not be started.
    Start {
        /// What was to be run.
        command: String,
        /// Why it was not.
        error: io::Error,
    },
    /// It ended, or closed its output, before it had answered for a row.
    Ended {
        /// The row's name.
        row: String,
    },
    /// It answered with something else than a time and a name.
    Answer {
        /// The row's name.
        row: String,
        /// What it said.
        answer: String,
    },
}

impl fmt::Display for PeerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start { command, error } => {
                write!(f, "the peer `{command}` cannot be started: {error}; give a program and its arguments, parted by spaces")
            }
            Self::Ended { row } => {
                write!(
                    f,
                    "the peer ended before it answered for the row `{row}`; what it printed itself says why"
                )
            }
            Self::Answer { row, answer } => {
                write!(f, "the peer answered `{answer}` for the row `{row}`, where `SECONDS NAME` or `-` was expected")
            }
        }
    }
}

/// The sentence, for `unwrap` and for a `main` that returns the error.
impl fmt::Debug for PeerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PeerError({self})")
    }
}

impl std::error::Error for PeerError {}

/// A running program.
#[derive(Debug)]
pub struct External {
    child: Child,
    /// `None` once it is to end.
    questions: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl External {
    /// Starts `command`: a program and its arguments, parted by spaces.
    ///
    /// # Errors
    /// When there is no such program or it may not be run.
    pub fn start(command: &str) -> Result<Self, PeerError> {
        let failed = |error| PeerError::Start { command: command.to_owned(), error };
        let mut words = command.split_whitespace();
        let program = words.next().ok_or_else(|| failed(io::ErrorKind::NotFound.into()))?;
        let started = Command::new(program).args(words).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut child = started.map_err(failed)?;
        let (questions, answers) = (child.stdin.take(), child.stdout.take().expect("a pipe was asked for"));
        Ok(Self { child, questions, answers: BufReader::new(answers) })
    }

    /// Who does a row best and the seconds that a call takes on `workers` threads, of `calls` calls; `None` for a row that the
    /// program does not do.
    ///
    /// # Errors
    /// When the program has ended or does not keep to the protocol.
    pub fn ask(
        &mut self,
        workers: usize,
        calls: usize,
        row: &str,
    ) -> Result<Option<(String, f64)>, PeerError> {
        let ended = |_| PeerError::Ended { row: row.to_owned() };
        let questions = self.questions.as_mut().expect("it is closed by `drop` alone");
        writeln!(questions, "{workers} {calls} {row}").and_then(|()| questions.flush()).map_err(ended)?;
        let mut answer = String::new();
        if self.answers.read_line(&mut answer).map_err(ended)? == 0 {
            return Err(PeerError::Ended { row: row.to_owned() });
        }
        let answer = answer.trim();
        if answer == "-" {
            return Ok(None);
        }
        let parsed =
            answer.split_once(' ').and_then(|(time, name)| Some((name.to_owned(), time.parse().ok()?)));
        match parsed {
            Some((name, seconds)) if seconds > 0.0 && f64::is_finite(seconds) => Ok(Some((name, seconds))),
            _ => Err(PeerError::Answer { row: row.to_owned(), answer: answer.to_owned() }),
        }
    }
}

impl Drop for External {
    /// Closes its input, at which it ends, and waits for it.
    fn drop(&mut self) {
        self.questions = None;
        let _ = self.child.wait();
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    fn asked(script: &str) -> Result<Option<(String, f64)>, PeerError> {
        // Spaces part arguments, so the shell reads the script as words of its own.
        let script = script.replace(' ', "${IFS}");
        External::start(&format!("sh -c {script}"))?.ask(2, 3, "gemm: 512 x 512 x 512")
    }

    #[test]
    fn an_answer_is_a_time_and_a_name() {
        let (name, seconds) = asked("read line; echo 0.25 the best").unwrap().unwrap();
        assert_eq!((&*name, seconds), ("the best", 0.25));
        assert!(asked("read line; echo -").unwrap().is_none());
    }

    #[test]
    fn the_question_names_workers_calls_and_row() {
        // Answers with the question's words: 2 seconds, by the rest of it.
        let (name, seconds) =
            External::start("cat").unwrap().ask(2, 3, "gemm: 512 x 512 x 512").unwrap().unwrap();
        assert_eq!((&*name, seconds), ("3 gemm: 512 x 512 x 512", 2.0));
    }

    #[test]
    fn what_a_program_does_wrong_is_said() {
        assert!(matches!(External::start("upbeat-has-no-such-program"), Err(PeerError::Start { .. })));
        assert!(matches!(External::start(" "), Err(PeerError::Start { .. })));
        assert!(matches!(External::start("true").unwrap().ask(1, 1, "row"), Err(PeerError::Ended { .. })));
        for answer in ["soon", "0 nobody", "nan nobody", "-1 nobody"] {
            let error = asked(&format!("read line; echo {answer}")).unwrap_err();
            assert!(error.to_string().contains(answer), "{error}");
        }
    }
}
