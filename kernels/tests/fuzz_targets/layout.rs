//! The algebra of shapes and strides, with sizes near every limit: a layout that is made names the places that arithmetic without
//! overflow names, and says rightly what it reaches.

use upbeat_kernels::view::{Layout, MAX_RANK};

use super::Bytes;

/// Layouts with more elements are not compared element by element.
const MOST: usize = 4096;

/// A layout in numbers that cannot overflow.
#[derive(Clone, Debug)]
struct Model {
    dims: Vec<usize>,
    strides: Vec<i128>,
    offset: i128,
}

impl Model {
    fn of(layout: &Layout) -> Self {
        let strides = layout.strides().iter().map(|&stride| stride as i128).collect();
        Self { dims: layout.dims().to_vec(), strides, offset: layout.offset() as i128 }
    }

    fn elements(&self) -> u128 {
        if self.dims.contains(&0) {
            return 0;
        }
        self.dims.iter().fold(1, |product: u128, &dim| product.saturating_mul(dim as u128))
    }

    /// Places in row-major order.
    fn places(&self) -> Vec<i128> {
        let mut all = vec![self.offset];
        for (&dim, &stride) in self.dims.iter().zip(&self.strides) {
            all =
                all.into_iter().flat_map(|place| (0..dim).map(move |i| place + i as i128 * stride)).collect();
        }
        all
    }
}

fn size(bytes: &mut Bytes<'_>) -> usize {
    match bytes.byte() {
        byte @ 0..=239 => usize::from(byte) % 7,
        byte => {
            [usize::MAX, usize::MAX / 2, isize::MAX as usize / 8, 1 << 32, 1 << 31, 1 << 62, 1 << 16, 255]
                [usize::from(byte) % 8]
        }
    }
}

fn stride(bytes: &mut Bytes<'_>) -> isize {
    match bytes.byte() {
        byte @ 0..=239 => isize::from(byte) % 13 - 6,
        byte => {
            [isize::MAX, isize::MIN, -1 << 32, 1 << 40, isize::MIN + 1, isize::MAX / 8][usize::from(byte) % 6]
        }
    }
}

/// Everything that `layout` says about itself.
fn check(layout: &Layout) {
    let model = Model::of(layout);
    assert_eq!(layout.is_empty(), model.elements() == 0, "{layout:?}");
    assert_eq!(layout.len() as u128, model.elements(), "{layout:?}");
    let reach = layout.reach();
    assert!(!layout.is_empty() || reach.is_empty(), "{layout:?}");
    assert_eq!(layout.place(&vec![0; layout.rank()]).is_some(), !layout.is_empty(), "{layout:?}");
    let merged = layout.merged();
    assert_eq!((merged.len(), merged.is_empty()), (layout.len(), layout.is_empty()), "{layout:?}");
    if layout.is_empty() || layout.len() > MOST {
        return;
    }
    let places = model.places();
    assert_eq!(places.iter().min(), Some(&(reach.start as i128)), "{layout:?}");
    assert_eq!(places.iter().max(), Some(&(reach.end as i128 - 1)), "{layout:?}");
    assert_eq!(Model::of(&merged).places(), places, "{layout:?} merged");
    let mut index = vec![0; layout.rank()];
    for &place in &places {
        assert_eq!(layout.place(&index).map(|place| place as i128), Some(place), "{layout:?} at {index:?}");
        for (i, &dim) in index.iter_mut().zip(layout.dims()).rev() {
            *i += 1;
            if *i < dim {
                break;
            }
            *i = 0;
        }
    }
    let mut sorted = places.clone();
    sorted.sort_unstable();
    sorted.dedup();
    // It may be careful, and say no where a search would find that places differ.
    assert!(!layout.is_injective() || sorted.len() == places.len(), "{layout:?} repeats a place");
    let dense = places.windows(2).all(|pair| pair[1] == pair[0] + 1);
    assert_eq!(layout.is_dense(), dense, "{layout:?}");
}

/// One operation on `layout`, and its elements as the operation's definition says; `None` where it is refused.
fn step(layout: &Layout, bytes: &mut Bytes<'_>) -> Option<(Layout, Model)> {
    let mut model = Model::of(layout);
    let axis = bytes.below(MAX_RANK + 1);
    let next = match bytes.below(6) {
        0 => {
            let (start, end, step) = (size(bytes), size(bytes), stride(bytes));
            let next = layout.slice(axis, start..end, step).ok()?;
            assert!(axis < layout.rank() && start <= end && end <= layout.dims()[axis] && step != 0);
            let from = if step > 0 { start } else { end.saturating_sub(1) };
            let (way, len) = (model.strides[axis], (end - start).div_ceil(step.unsigned_abs()));
            model.offset += way * from as i128;
            model.strides[axis] = way * step as i128;
            model.dims[axis] = len;
            next
        }
        1 => {
            let at = size(bytes);
            let next = layout.index(axis, at).ok()?;
            assert!(axis < layout.rank() && at < layout.dims()[axis]);
            model.offset += model.strides[axis] * at as i128;
            model.strides.remove(axis);
            model.dims.remove(axis);
            next
        }
        2 => {
            let other = bytes.below(MAX_RANK + 1);
            let next = layout.transpose(axis, other).ok()?;
            model.strides.swap(axis, other);
            model.dims.swap(axis, other);
            next
        }
        3 => {
            let order: Vec<usize> =
                (0..bytes.below(MAX_RANK + 2)).map(|_| bytes.below(MAX_RANK + 1)).collect();
            let next = layout.permute(&order).ok()?;
            model.strides = order.iter().map(|&axis| model.strides[axis]).collect();
            model.dims = order.iter().map(|&axis| model.dims[axis]).collect();
            next
        }
        4 => {
            let dims: Vec<usize> = (0..bytes.below(MAX_RANK + 2)).map(|_| size(bytes)).collect();
            let next = layout.broadcast(&dims).ok()?;
            let new = dims.len() - layout.rank();
            for (i, &dim) in dims.iter().enumerate().skip(new) {
                assert!(model.dims[i - new] == dim || model.dims[i - new] == 1, "{layout:?} to {dims:?}");
                if model.dims[i - new] != dim {
                    model.strides[i - new] = 0;
                }
            }
            model.strides.splice(0..0, vec![0; new]);
            model.dims = dims;
            next
        }
        _ => {
            let dims: Vec<usize> = (0..bytes.below(MAX_RANK + 2)).map(|_| size(bytes)).collect();
            let next = layout.reshape(&dims).ok()?;
            let found = Model::of(&next);
            assert_eq!(found.elements(), model.elements(), "{layout:?} to {dims:?}");
            if (1..=MOST as u128).contains(&model.elements()) {
                assert_eq!(found.places(), model.places(), "{layout:?} to {dims:?}");
            }
            found
                .dims
                .iter()
                .zip(&dims)
                .for_each(|(found, asked)| assert_eq!(found, asked, "{layout:?} to {dims:?}"));
            return Some((next, found));
        }
    };
    Some((next, model))
}

/// The target.
pub(crate) fn run(data: &[u8]) {
    let mut bytes = Bytes::new(data);
    let rank = bytes.below(MAX_RANK + 2);
    let dims: Vec<usize> = (0..rank).map(|_| size(&mut bytes)).collect();
    let layout = if bytes.below(2) == 0 {
        Layout::row_major(&dims)
    } else {
        let strides: Vec<isize> = (0..rank).map(|_| stride(&mut bytes)).collect();
        let offset = bytes.of(&[0, 1, 100, 5000, 1 << 40, isize::MAX as usize / 8 - 1, usize::MAX]);
        Layout::strided(&dims, &strides, offset)
    };
    let Ok(mut layout) = layout else { return };
    check(&layout);
    while bytes.more() {
        let Some((next, model)) = step(&layout, &mut bytes) else { continue };
        assert_eq!(next.dims(), model.dims, "from {layout:?}");
        if (1..=MOST as u128).contains(&model.elements()) {
            assert_eq!(Model::of(&next).places(), model.places(), "{next:?} from {layout:?}");
        }
        check(&next);
        layout = next;
    }
}
