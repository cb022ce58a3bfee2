//! Characters as tokens. The vocabulary is the text's own characters in the order of their code points, after token 0,
//! which stands for every other character (U+FFFD, so that decoding shows it).
//!
//! A text with more kinds of characters than [`Tokenizer::MAX_CHARACTERS`] keeps the most frequent ones, so that the
//! size of the model's last layer does not depend on a stray file.

use std::collections::HashMap;

use super::error::DataError;
use super::files::Text;

/// Character-level tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tokenizer {
    /// Characters by token.
    characters: Vec<char>,
    tokens: HashMap<char, u32>,
}

impl Tokenizer {
    /// Most kinds of characters that a vocabulary keeps.
    pub const MAX_CHARACTERS: usize = 4096;
    /// The token of every character outside the vocabulary.
    pub const UNKNOWN: u32 = 0;

    /// The vocabulary of `texts`.
    pub fn from_texts(texts: &[Text]) -> Self {
        let mut counts: HashMap<char, u64> = HashMap::new();
        for character in texts.iter().flat_map(|t| t.content.chars()) {
            *counts.entry(character).or_default() += 1;
        }
        counts.remove(&char::REPLACEMENT_CHARACTER);
        let mut kinds: Vec<(char, u64)> = counts.into_iter().collect();
        kinds.sort_unstable_by_key(|&(character, count)| (std::cmp::Reverse(count), character));
        kinds.truncate(Self::MAX_CHARACTERS);
        let mut characters: Vec<char> = kinds.into_iter().map(|(character, _)| character).collect();
        characters.sort_unstable();
        characters.insert(0, char::REPLACEMENT_CHARACTER);
        Self::from_ordered(characters)
    }

    /// The vocabulary stored in a checkpoint, as code points by token.
    ///
    /// # Errors
    /// Numbers that are no characters, a first one that is not U+FFFD, or an order that is not strictly rising.
    pub fn from_code_points(code_points: &[u32]) -> Result<Self, DataError> {
        let characters: Option<Vec<char>> = code_points.iter().map(|&c| char::from_u32(c)).collect();
        let characters = characters.ok_or(DataError::Vocabulary("a number in it is no character"))?;
        if characters.first() != Some(&char::REPLACEMENT_CHARACTER) {
            return Err(DataError::Vocabulary("its first entry is not the unknown character"));
        }
        if characters.len() > Self::MAX_CHARACTERS + 1 || characters[1..].windows(2).any(|w| w[0] >= w[1]) {
            return Err(DataError::Vocabulary("its characters are not in rising order"));
        }
        Ok(Self::from_ordered(characters))
    }

    fn from_ordered(characters: Vec<char>) -> Self {
        let tokens = characters.iter().zip(0..).map(|(&character, token)| (character, token)).collect();
        Self { characters, tokens }
    }

    /// Code points by token, as [`from_code_points`](Self::from_code_points) takes them.
    pub fn code_points(&self) -> Vec<u32> {
        self.characters.iter().map(|&c| u32::from(c)).collect()
    }

    /// Number of tokens.
    pub fn vocabulary(&self) -> usize {
        self.characters.len()
    }

    /// One token a character.
    pub fn encode(&self, text: &str) -> Vec<u32> {
        text.chars().map(|c| self.tokens.get(&c).copied().unwrap_or(Self::UNKNOWN)).collect()
    }

    /// The character of a token; U+FFFD for a number that is no token.
    pub fn character(&self, token: u32) -> char {
        self.characters.get(token as usize).copied().unwrap_or(char::REPLACEMENT_CHARACTER)
    }

    /// One character a token.
    pub fn decode(&self, tokens: &[u32]) -> String {
        tokens.iter().map(|&t| self.character(t)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(content: &str) -> Text {
        Text { path: "a".into(), content: content.into() }
    }

    #[test]
    fn a_text_survives_encoding() {
        let tokenizer = Tokenizer::from_texts(&[text("fn main() {}\n"), text("π·r²")]);
        let tokens = tokenizer.encode("main(π)\n");
        assert_eq!(tokenizer.decode(&tokens), "main(π)\n");
        assert!(tokens.iter().all(|&t| t > Tokenizer::UNKNOWN && (t as usize) < tokenizer.vocabulary()));
        assert_eq!(tokenizer.encode("Z"), [Tokenizer::UNKNOWN]);
        assert_eq!(tokenizer.decode(&[Tokenizer::UNKNOWN, 9999]), "\u{FFFD}\u{FFFD}");
    }

    #[test]
    fn a_stored_vocabulary_is_checked() {
        let tokenizer = Tokenizer::from_texts(&[text("hello, world")]);
        assert_eq!(Tokenizer::from_code_points(&tokenizer.code_points()).unwrap(), tokenizer);
        for bad in [&[][..], &[97], &[0xFFFD, 98, 97], &[0xFFFD, 97, 97], &[0xFFFD, 0xD800]] {
            assert!(Tokenizer::from_code_points(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn rare_characters_become_unknown_when_there_are_too_many() {
        let mut content: String = (0x4E00..0x4E00 + 5000).filter_map(char::from_u32).collect();
        content.push_str("zzz");
        let tokenizer = Tokenizer::from_texts(&[text(&content)]);
        assert_eq!(tokenizer.vocabulary(), Tokenizer::MAX_CHARACTERS + 1);
        assert_ne!(tokenizer.encode("z"), [Tokenizer::UNKNOWN], "the most frequent one stays");
        assert_eq!(tokenizer.encode("\u{4E00}")[0], 2, "ties keep the lower code point");
        assert_eq!(
            tokenizer.encode(&char::from_u32(0x4E00 + 4999).unwrap().to_string()),
            [Tokenizer::UNKNOWN]
        );
    }
}
