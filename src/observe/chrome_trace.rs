//! Traces in Chrome's JSON format, which Perfetto and `chrome://tracing` open.

use std::io::{self, Write};
use std::time::Duration;

/// One box of a trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// What the box says.
    pub name: String,
    /// The row it is in: a worker's index, or a number of your own for other rows.
    pub row: usize,
    /// Where it begins, on the clock of [`trace_clock`](crate::trace_clock).
    pub start: Duration,
    /// How long it lasts.
    pub length: Duration,
}

/// Writes `spans` as a JSON array of complete events (`"ph":"X"`, times in µs), rows named by `row_name`.
///
/// # Errors
/// What `out` refuses.
pub fn write_chrome_trace(
    mut out: impl Write,
    spans: &[Span],
    row_name: impl Fn(usize) -> String,
) -> io::Result<()> {
    let mut rows: Vec<_> = spans.iter().map(|span| span.row).collect();
    rows.sort_unstable();
    rows.dedup();
    writeln!(out, "[")?;
    let mut separator = "";
    for row in rows {
        let name = escape(&row_name(row));
        writeln!(
            out,
            "{separator}{{\"ph\":\"M\",\"pid\":1,\"tid\":{row},\"name\":\"thread_name\",\"args\":{{\"name\":\"{name}\"}}}}"
        )?;
        separator = ",";
    }
    for Span { name, row, start, length } in spans {
        let (start, length, name) = (micros(*start), micros(*length), escape(name));
        writeln!(
            out,
            "{separator}{{\"ph\":\"X\",\"pid\":1,\"tid\":{row},\"name\":\"{name}\",\"ts\":{start},\"dur\":{length}}}"
        )?;
        separator = ",";
    }
    writeln!(out, "]")
}

fn micros(time: Duration) -> String {
    format!("{}.{:03}", time.as_nanos() / 1000, time.as_nanos() % 1000)
}

/// A JSON string's inside.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '"' | '\\' => escaped.extend(['\\', c]),
            c if c < ' ' => escaped.push_str(&format!("\\u{:04x}", c as u32)),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_json_with_named_rows() {
        let span = Span {
            name: "a \"b\"\n".into(),
            row: 3,
            start: Duration::from_nanos(1_234_567),
            length: Duration::from_micros(2),
        };
        let mut out = Vec::new();
        write_chrome_trace(&mut out, &[span], |row| format!("worker {row}")).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "[\n{\"ph\":\"M\",\"pid\":1,\"tid\":3,\"name\":\"thread_name\",\"args\":{\"name\":\"worker 3\"}}\n\
             ,{\"ph\":\"X\",\"pid\":1,\"tid\":3,\"name\":\"a \\\"b\\\"\\u000a\",\"ts\":1234.567,\"dur\":2.000}\n]\n"
        );
    }
}
