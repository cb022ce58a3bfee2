//! Named arrays and a text, to and from the bytes of a safetensors file.
//!
//! The text travels as the one entry `upbeat` of the file's metadata. Files are little-endian and hold arrays in the
//! order of their alignment and names, so equal content gives equal bytes.

use std::borrow::Cow;

use safetensors::tensor::{serialize, View};
use safetensors::{Dtype, SafeTensors};
use upbeat_kernels::Element;

/// The metadata entry that holds the text.
const TEXT: &str = "upbeat";
/// Longest header that is parsed, in bytes; about 100 bytes an array are used.
const LONGEST_HEADER: u64 = 16 << 20;

/// An array's numbers.
#[derive(Clone, Copy, Debug)]
pub enum Numbers<'a, E> {
    /// Floating-point numbers in the precision of the model.
    Floats(&'a [E]),
    /// Numbers that are kept in f64 whatever the model's precision.
    Doubles(&'a [f64]),
    /// Tokens or code points.
    Words(&'a [u32]),
}

/// An array to write.
#[derive(Clone, Debug)]
pub struct Array<'a, E> {
    /// Unique in its file.
    pub name: String,
    /// Dimensions, outermost first; their product is the number of elements.
    pub shape: Vec<usize>,
    /// Row-major.
    pub numbers: Numbers<'a, E>,
}

/// The safetensors type of `E`: F32 or F64.
fn float_type<E: Element>() -> Dtype {
    match size_of::<E>() {
        4 => Dtype::F32,
        8 => Dtype::F64,
        bytes => unreachable!("no element has {bytes} bytes"),
    }
}

fn encode_floats<E: Element>(values: &[E]) -> Vec<u8> {
    match float_type::<E>() {
        Dtype::F32 => values.iter().flat_map(|x| (x.to_f64() as f32).to_le_bytes()).collect(),
        _ => values.iter().flat_map(|x| x.to_f64().to_le_bytes()).collect(),
    }
}

impl<E: Element> View for &Array<'_, E> {
    fn dtype(&self) -> Dtype {
        match self.numbers {
            Numbers::Floats(_) => float_type::<E>(),
            Numbers::Doubles(_) => Dtype::F64,
            Numbers::Words(_) => Dtype::U32,
        }
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Owned(match self.numbers {
            Numbers::Floats(values) => encode_floats(values),
            Numbers::Doubles(values) => encode_floats(values),
            Numbers::Words(values) => values.iter().flat_map(|x| x.to_le_bytes()).collect(),
        })
    }

    fn data_len(&self) -> usize {
        match self.numbers {
            Numbers::Floats(values) => size_of_val(values),
            Numbers::Doubles(values) => size_of_val(values),
            Numbers::Words(values) => size_of_val(values),
        }
    }
}

/// The bytes of a file with `text` and `arrays`. Needs memory for them once, and for the largest array twice.
///
/// # Panics
/// When an array's shape does not multiply to its length, a name comes twice, or names alone fill the longest header.
pub fn to_bytes<E: Element>(text: &str, arrays: &[Array<'_, E>]) -> Vec<u8> {
    let metadata = [(TEXT.to_string(), text.to_string())].into_iter().collect();
    serialize(arrays.iter().map(|a| (&a.name, a)), Some(metadata)).expect("the arrays fit the format")
}

/// A parsed file; its arrays are views of the bytes.
#[derive(Debug)]
pub struct Archive<'a> {
    tensors: SafeTensors<'a>,
    text: String,
}

impl<'a> Archive<'a> {
    /// Parses the header and checks that arrays tile the rest of `bytes` exactly.
    ///
    /// # Errors
    /// What is wrong with the file, in a few words.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, String> {
        let header = bytes.get(..8).ok_or("it is too short for a header")?;
        let header = u64::from_le_bytes(header.try_into().expect("eight bytes"));
        if header > LONGEST_HEADER {
            return Err(format!("its header claims {header} bytes"));
        }
        let (_, metadata) = SafeTensors::read_metadata(bytes).map_err(|e| e.to_string())?;
        let text = metadata.metadata().as_ref().and_then(|m| m.get(TEXT)).cloned();
        let text = text.ok_or("it was not written by upbeat")?;
        let tensors = SafeTensors::deserialize(bytes).map_err(|e| e.to_string())?;
        Ok(Self { tensors, text })
    }

    /// The text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Number of arrays.
    pub fn len(&self) -> usize {
        self.tensors.len()
    }

    /// Whether there are no arrays.
    pub fn is_empty(&self) -> bool {
        self.tensors.is_empty()
    }

    /// Elements of all arrays of floating-point numbers.
    pub fn float_count(&self) -> usize {
        let floats = |d| matches!(d, Dtype::F32 | Dtype::F64);
        self.tensors
            .iter()
            .filter(|(_, t)| floats(t.dtype()))
            .map(|(_, t)| t.shape().iter().product::<usize>())
            .sum()
    }

    fn bytes(&self, name: &str, dtype: Dtype, shape: Option<&[usize]>) -> Result<&'a [u8], String> {
        let tensor = self.tensors.tensor(name).map_err(|_| format!("it has no array {name}"))?;
        if tensor.dtype() != dtype {
            return Err(format!("{name} holds {} numbers instead of {dtype}", tensor.dtype()));
        }
        match shape {
            Some(shape) if tensor.shape() != shape => {
                Err(format!("{name} is {:?} in the file and {shape:?} in the model", tensor.shape()))
            }
            _ => Ok(tensor.data()),
        }
    }

    /// Copies the array `name`, which must have exactly `shape`, to `into`.
    ///
    /// # Errors
    /// No such array, another type or another shape; `into` is then unchanged.
    pub fn floats<E: Element>(&self, name: &str, shape: &[usize], into: &mut [E]) -> Result<(), String> {
        let dtype = float_type::<E>();
        let bytes = self.bytes(name, dtype, Some(shape))?;
        if bytes.len() != size_of_val(into) {
            return Err(format!("{name} has {} bytes instead of {}", bytes.len(), size_of_val(into)));
        }
        for (value, bytes) in into.iter_mut().zip(bytes.chunks_exact(size_of::<E>())) {
            *value = E::from_f64(match dtype {
                Dtype::F32 => f64::from(f32::from_le_bytes(bytes.try_into().expect("four bytes"))),
                _ => f64::from_le_bytes(bytes.try_into().expect("eight bytes")),
            });
        }
        Ok(())
    }

    /// The numbers of a [`Numbers::Doubles`] array of any shape.
    ///
    /// # Errors
    /// No such array, or another type.
    pub fn doubles(&self, name: &str) -> Result<Vec<f64>, String> {
        let bytes = self.bytes(name, Dtype::F64, None)?;
        Ok(bytes.chunks_exact(8).map(|b| f64::from_le_bytes(b.try_into().expect("eight bytes"))).collect())
    }

    /// The numbers of a [`Numbers::Words`] array of any shape.
    ///
    /// # Errors
    /// No such array, or another type.
    pub fn words(&self, name: &str) -> Result<Vec<u32>, String> {
        let bytes = self.bytes(name, Dtype::U32, None)?;
        Ok(bytes.chunks_exact(4).map(|b| u32::from_le_bytes(b.try_into().expect("four bytes"))).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Vec<u8> {
        let floats: Vec<f64> = (0..12).map(|i| 1.0 / f64::from(i)).collect();
        let array =
            |name: &str, shape: &[usize], numbers| Array { name: name.into(), shape: shape.into(), numbers };
        to_bytes::<f64>(
            "a = 1\n",
            &[
                array("w", &[3, 4], Numbers::Floats(&floats)),
                array("nothing", &[0], Numbers::Doubles(&[])),
                array("words", &[2], Numbers::Words(&[7, u32::MAX])),
            ],
        )
    }

    #[test]
    fn arrays_survive_their_bytes() {
        let bytes = example();
        let archive = Archive::parse(&bytes).unwrap();
        assert_eq!((archive.text(), archive.len(), archive.float_count()), ("a = 1\n", 3, 12));
        let mut floats = [0.0f64; 12];
        archive.floats("w", &[3, 4], &mut floats).unwrap();
        assert!(floats.iter().zip(0..).all(|(x, i)| x.to_bits() == (1.0 / f64::from(i)).to_bits()));
        assert_eq!(archive.words("words").unwrap(), [7, u32::MAX]);
        assert!(archive.doubles("nothing").unwrap().is_empty());
        assert_eq!(example(), bytes, "equal content gives equal bytes");
    }

    #[test]
    fn other_shapes_types_and_names_are_refused() {
        let bytes = example();
        let archive = Archive::parse(&bytes).unwrap();
        let mut floats = [5.0f64; 12];
        assert!(archive.floats("w", &[4, 3], &mut floats).unwrap_err().contains("[3, 4]"));
        assert!(archive.floats("w", &[3, 4], &mut floats[..11]).is_err());
        assert!(archive.floats("v", &[3, 4], &mut floats).unwrap_err().contains('v'));
        assert!(archive.floats("words", &[2], &mut floats[..2]).unwrap_err().contains("U32"));
        assert!(archive.words("w").is_err() && archive.doubles("words").is_err());
        assert_eq!(floats, [5.0; 12]);
    }

    /// A file with a header of one's own.
    fn file(header: &str, data: usize) -> Vec<u8> {
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend_from_slice(header.as_bytes());
        bytes.resize(bytes.len() + data, 0);
        bytes
    }

    #[test]
    fn hostile_headers_are_refused() {
        // fault 19
        let tensor = |name: &str, shape: &str, from: u64, to: u64| {
            format!(r#""{name}":{{"dtype":"F64","shape":{shape},"data_offsets":[{from},{to}]}}"#)
        };
        let text = r#""__metadata__":{"upbeat":""}"#;
        let good = file(&format!("{{{text},{}}}", tensor("w", "[2]", 0, 16)), 16);
        assert!(Archive::parse(&good).is_ok());
        for (what, header, data) in [
            ("a product that wraps to 0", tensor("w", "[4294967296,4294967296]", 0, 0), 0),
            ("a product that overflows", tensor("w", "[18446744073709551615,16]", 0, 16), 16),
            ("an end past the file", tensor("w", "[2]", 0, 16), 8),
            ("bytes nobody claims", tensor("w", "[2]", 0, 16), 24),
            ("an end before the start", tensor("w", "[2]", 16, 0), 16),
            ("a length other than the shape's", tensor("w", "[3]", 0, 16), 16),
            ("a hole", format!("{},{}", tensor("a", "[1]", 0, 8), tensor("b", "[1]", 16, 24)), 24),
            ("an overlap", format!("{},{}", tensor("a", "[2]", 0, 16), tensor("b", "[2]", 8, 24)), 24),
            ("one name twice", format!("{},{}", tensor("a", "[1]", 0, 8), tensor("a", "[1]", 8, 16)), 16),
            ("an unknown type", tensor("w", "[2]", 0, 16).replace("F64", "F99"), 16),
            ("a negative size", tensor("w", "[-2]", 0, 16), 16),
        ] {
            assert!(Archive::parse(&file(&format!("{{{text},{header}}}"), data)).is_err(), "{what}");
        }
        let mut huge = good.clone();
        huge[..8].copy_from_slice(&u64::MAX.to_le_bytes());
        assert!(Archive::parse(&huge).unwrap_err().contains("claims"));
        assert!(Archive::parse(&file(&format!("{{{}}}", tensor("w", "[2]", 0, 16)), 16)).is_err(), "no text");
        for cut in 0..good.len() {
            assert!(Archive::parse(&good[..cut]).is_err(), "cut at {cut}");
        }
    }
}
