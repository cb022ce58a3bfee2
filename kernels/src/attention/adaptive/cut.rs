//! Which tiles are taken for their means.

use std::cmp::Ordering;

/// How exact [`adaptive`](super::super::Attention::adaptive) attention is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Resolution {
    /// Every key by itself: plain attention, to the bit.
    Exact,
    /// As many tiles by their means as keep every output within this distance of the exact one, `‖o − ô‖₂`. Nothing is left out where it
    /// is not above 0.
    Tolerance(f32),
    /// The so many tiles that promise most are exact for each 64 queries, besides those that not all of them see whole; the others are taken
    /// by their means, but for those whose error has no bound. How far the outputs may then be off is told.
    Budget(usize),
}

impl Resolution {
    /// Whether any of so many tiles may be taken for its mean.
    pub(super) fn gives_up(self, tiles: usize) -> bool {
        match self {
            Self::Exact => false,
            Self::Tolerance(most) => most > 0.0 && tiles > 0,
            Self::Budget(exact) => tiles > exact,
        }
    }

    /// A tile with a larger share than this is exact, whatever the others have.
    pub(super) fn most(self) -> f32 {
        match self {
            Self::Exact => 0.0,
            Self::Tolerance(most) => most,
            Self::Budget(_) => f32::INFINITY,
        }
    }
}

/// Marks in `coarse` which tiles are taken for their means, given the largest error that each may cause. Of a share above
/// [`Resolution::most`] no more need be known than that it is.
pub(super) fn choose(resolution: Resolution, shares: &[f32], order: &mut [u32], coarse: &mut [u8]) {
    coarse.fill(0);
    let most = resolution.most();
    let mut count = 0;
    for (at, share) in shares.iter().enumerate() {
        // A budget counts those without a bound too, which are the last.
        if *share <= most {
            order[count] = at as u32;
            count += 1;
        }
    }
    let order = &mut order[..count];
    // Equal ones in order of their place: the same choice every time.
    let by_share =
        |a: &u32, b: &u32| -> Ordering { shares[*a as usize].total_cmp(&shares[*b as usize]).then(a.cmp(b)) };
    order.sort_unstable_by(by_share);
    match resolution {
        Resolution::Exact => {}
        Resolution::Tolerance(most) => {
            let mut sum = 0.0_f64;
            for &at in &*order {
                sum += f64::from(shares[at as usize]);
                // Of NaN and of what is not above 0, nothing is less; and what is not bounded is exact, whatever is tolerated.
                if !(most > 0.0 && sum.is_finite() && sum <= f64::from(most)) {
                    break;
                }
                coarse[at as usize] = 1;
            }
        }
        Resolution::Budget(exact) => {
            for &at in &order[..order.len().saturating_sub(exact)] {
                coarse[at as usize] = u8::from(shares[at as usize].is_finite());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(resolution: Resolution, shares: &[f32]) -> Vec<u8> {
        let (mut order, mut coarse) = (vec![0; shares.len()], vec![9; shares.len()]);
        choose(resolution, shares, &mut order, &mut coarse);
        coarse
    }

    #[test]
    fn the_least_shares_are_given_up_first() {
        let shares = [0.5, 0.0, f32::INFINITY, 0.25, 0.25];
        assert_eq!(chosen(Resolution::Exact, &shares), [0; 5]);
        assert_eq!(chosen(Resolution::Tolerance(0.5), &shares), [0, 1, 0, 1, 1]);
        assert_eq!(chosen(Resolution::Tolerance(0.49), &shares), [0, 1, 0, 1, 0]);
        assert_eq!(chosen(Resolution::Tolerance(f32::MAX), &shares), [1, 1, 0, 1, 1]);
        assert_eq!(chosen(Resolution::Budget(2), &shares), [0, 1, 0, 1, 1]);
        assert_eq!(chosen(Resolution::Budget(9), &shares), [0; 5]);
        assert_eq!(chosen(Resolution::Budget(0), &shares), [1, 1, 0, 1, 1]);
        assert_eq!(chosen(Resolution::Tolerance(f32::INFINITY), &shares), [1, 1, 0, 1, 1]);
    }

    #[test]
    fn nothing_is_given_up_for_no_tolerance() {
        for none in [0.0, -0.0, -1.0, f32::NAN] {
            assert_eq!(chosen(Resolution::Tolerance(none), &[0.0, 1.0]), [0, 0]);
        }
    }
}
