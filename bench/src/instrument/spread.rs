//! Many figures of one thing: what is quoted, and how far they lie apart.

/// Median, least and greatest. The median is quoted; the other two show the noise.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl Spread {
    /// Of an even number of figures the median is the mean of the two in the middle; of none all are NaN.
    pub(crate) fn of(mut figures: Vec<f64>) -> Self {
        figures.sort_by(f64::total_cmp);
        let at = |n: usize| figures.get(n).copied().unwrap_or(f64::NAN);
        let (n, last) = (figures.len(), figures.len().saturating_sub(1));
        Self { median: f64::midpoint(at(last / 2), at(n / 2)), min: at(0), max: at(last) }
    }
}

/// Between which the middle half of the figures lies: what one window that was hit does not move.
pub(crate) fn middle_half(mut figures: Vec<f64>) -> (f64, f64) {
    figures.sort_by(f64::total_cmp);
    let last = figures.len().saturating_sub(1);
    let at = |n: usize| figures.get(n).copied().unwrap_or(f64::NAN);
    (at(last.div_ceil(4)), at(last - last.div_ceil(4)))
}

/// To so many decimal places: figures are not more exact than their noise.
pub(crate) fn rounded(x: f64, places: i32) -> f64 {
    let scale = 10f64.powi(places);
    (x * scale).round() / scale
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_even_one_and_none() {
        let of = |list: &[f64]| Spread::of(list.to_vec());
        assert_eq!(of(&[9.0, 1.0, 3.0]), Spread { median: 3.0, min: 1.0, max: 9.0 });
        assert_eq!(of(&[4.0, 1.0, 3.0, 9.0]), Spread { median: 3.5, min: 1.0, max: 9.0 });
        assert_eq!(of(&[2.0]), Spread { median: 2.0, min: 2.0, max: 2.0 });
        assert!(of(&[]).median.is_nan());
    }

    #[test]
    fn the_middle_half_leaves_out_a_quarter_at_either_end() {
        let sixteen: Vec<f64> = (0..16u8).rev().map(f64::from).collect();
        assert_eq!(middle_half(sixteen), (4.0, 11.0));
        assert_eq!(middle_half(vec![0.1, 5.0, 5.0, 5.0, 9.0]), (5.0, 5.0));
        assert_eq!((middle_half(vec![2.0]), middle_half(vec![3.0, 1.0])), ((2.0, 2.0), (3.0, 1.0)));
        assert!(middle_half(Vec::new()).0.is_nan());
    }

    #[test]
    fn figures_are_cut_to_what_they_are_worth() {
        assert_eq!(rounded(135.678, 1), 135.7);
        assert_eq!(rounded(1.006, 2), 1.01);
    }
}
