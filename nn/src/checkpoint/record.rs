//! Settings as text, `key = value` a line, in which every key must be known and come once.
//!
//! Numbers are written so that reading gives the same bits back.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;

/// Settings by key. Reading takes them out, so that [`Record::finish`] finds the ones nobody knew.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    entries: BTreeMap<String, String>,
}

impl Record {
    /// Adds a setting; `value` must hold no line break.
    pub fn set(&mut self, key: &str, value: impl Display) {
        self.entries.insert(key.to_string(), value.to_string());
    }

    /// All settings, one a line, in the order of their keys.
    pub fn to_text(&self) -> String {
        self.entries.iter().map(|(key, value)| format!("{key} = {value}\n")).collect()
    }

    /// Reads what [`to_text`](Self::to_text) wrote.
    ///
    /// # Errors
    /// A line of another form or a key that comes twice.
    pub fn from_text(text: &str) -> Result<Self, String> {
        let mut entries = BTreeMap::new();
        for line in text.lines() {
            let (key, value) = line.split_once(" = ").ok_or("a line of its settings is not `key = value`")?;
            if entries.insert(key.to_string(), value.to_string()).is_some() {
                return Err(format!("its setting {key} comes twice"));
            }
        }
        Ok(Self { entries })
    }

    /// Takes a setting out.
    ///
    /// # Errors
    /// A key that is missing or whose value is no `T`.
    pub fn take<T: FromStr>(&mut self, key: &str) -> Result<T, String> {
        let value = self.entries.remove(key).ok_or_else(|| format!("its setting {key} is missing"))?;
        value.parse().map_err(|_| format!("its setting {key} cannot be `{value}`"))
    }

    /// As [`take`](Self::take) for a setting that older checkpoints lack.
    ///
    /// # Errors
    /// A key whose value is no `T`.
    pub fn take_or<T: FromStr>(&mut self, key: &str, absent: T) -> Result<T, String> {
        if self.entries.contains_key(key) {
            self.take(key)
        } else {
            Ok(absent)
        }
    }

    /// Checks that every setting was taken.
    ///
    /// # Errors
    /// Names a setting that nobody asked for.
    pub fn finish(self) -> Result<(), String> {
        match self.entries.into_keys().next() {
            Some(key) => Err(format!("its setting {key} is unknown")),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_survive_their_text_to_the_bit() {
        let mut record = Record::default();
        let numbers = [0.1 + 0.2, 1e-300, 5e-324, f64::MAX, -0.0, f64::INFINITY];
        for (i, x) in numbers.iter().enumerate() {
            record.set(&format!("x{i}"), x);
        }
        record.set("steps", u64::MAX);
        let mut read = Record::from_text(&record.to_text()).unwrap();
        for (i, x) in numbers.iter().enumerate() {
            assert_eq!(read.take::<f64>(&format!("x{i}")).unwrap().to_bits(), x.to_bits());
        }
        assert_eq!(read.take::<u64>("steps"), Ok(u64::MAX));
        assert_eq!(read.finish(), Ok(()));
    }

    #[test]
    fn unknown_missing_and_repeated_settings_are_named() {
        let mut record = Record::from_text("a = 1\nb = two\n").unwrap();
        assert!(record.take::<u32>("c").unwrap_err().contains('c'));
        assert!(record.take::<u32>("b").unwrap_err().contains("two"));
        assert_eq!(record.take_or::<u32>("c", 3), Ok(3));
        let mut optional = Record::from_text("b = two\n").unwrap();
        assert!(optional.take_or::<u32>("b", 3).unwrap_err().contains("two"));
        assert!(record.finish().unwrap_err().contains("a"));
        assert!(Record::from_text("a = 1\na = 1\n").unwrap_err().contains("twice"));
        assert!(Record::from_text("hello\n").is_err());
    }
}
