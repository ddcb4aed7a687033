//! Shapes, strides and layouts: the arithmetic of views, broadcasting and axes.
//!
//! All sizes are 64-bit. Strides count elements and may be zero or negative.

use crate::error::{Error, Result};
use smallvec::SmallVec;

/// The sizes of an array's axes, outermost first.
pub type Shape = SmallVec<[usize; 4]>;
/// One step in elements along each axis.
pub type Strides = SmallVec<[isize; 4]>;
/// A list of axes.
pub type Axes = SmallVec<[usize; 4]>;

/// Where the elements of an array lie in its buffer: element `i` is at
/// `offset + sum(i[axis] * strides[axis])`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// The array's shape.
    pub shape: Shape,
    /// Steps in elements.
    pub strides: Strides,
    /// The place of the first element, in elements.
    pub offset: usize,
}

impl Layout {
    /// Rows after rows without gaps, from the buffer's start.
    pub fn contiguous(shape: &[usize]) -> Layout {
        Layout { shape: shape.into(), strides: contiguous_strides(shape), offset: 0 }
    }

    /// The number of elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// True iff there are no elements.
    pub fn is_empty(&self) -> bool {
        self.shape.contains(&0)
    }

    /// True iff the elements lie in row-major order without gaps (whatever the offset).
    pub fn is_contiguous(&self) -> bool {
        let mut expected = 1isize;
        for (&n, &s) in self.shape.iter().zip(&self.strides).rev() {
            if n == 0 {
                return true;
            }
            if n != 1 {
                if s != expected {
                    return false;
                }
                expected *= n as isize;
            }
        }
        true
    }

    /// The lowest and highest element offsets that the layout touches, or `None` if it is empty.
    pub fn extent(&self) -> Option<(isize, isize)> {
        if self.is_empty() {
            return None;
        }
        let (mut low, mut high) = (self.offset as isize, self.offset as isize);
        for (&n, &s) in self.shape.iter().zip(&self.strides) {
            let reach = (n as isize - 1) * s;
            if reach < 0 { low += reach } else { high += reach }
        }
        Some((low, high))
    }

    /// The same elements broadcast to `shape`, which must be a legal target.
    pub fn broadcast_to(&self, shape: &[usize]) -> Layout {
        let lead = shape.len() - self.shape.len();
        let mut strides: Strides = SmallVec::from_elem(0, shape.len());
        for (i, (&n, &s)) in self.shape.iter().zip(&self.strides).enumerate() {
            strides[lead + i] = if n == 1 { 0 } else { s };
        }
        Layout { shape: shape.into(), strides, offset: self.offset }
    }

    /// The axes in the order `axes`.
    pub fn transpose(&self, axes: &[usize]) -> Layout {
        Layout {
            shape: axes.iter().map(|&a| self.shape[a]).collect(),
            strides: axes.iter().map(|&a| self.strides[a]).collect(),
            offset: self.offset,
        }
    }

    /// The same elements under another shape, if strides can express it without a copy.
    pub fn reshape(&self, shape: &[usize]) -> Option<Layout> {
        if self.is_empty() || self.is_contiguous() {
            let strides = contiguous_strides(shape);
            return Some(Layout { shape: shape.into(), strides, offset: self.offset });
        }
        // Walk both shapes in groups of equal products; inside a group the old axes must be
        // mergeable, that is, each axis must step by the extent of the next.
        let old: Vec<(usize, isize)> = (self.shape.iter().copied())
            .zip(self.strides.iter().copied())
            .filter(|&(n, _)| n != 1)
            .collect();
        let mut strides: Strides = SmallVec::from_elem(0, shape.len());
        let (mut i, mut j) = (0, 0);
        while i < old.len() {
            let (mut have, mut want) = (old[i].0, 1);
            let (first_new, mut last_old) = (j, i);
            while j < shape.len() && (want < have || shape[j] == 1) {
                want *= shape[j];
                j += 1;
                while have < want {
                    last_old += 1;
                    let (n, s) = *old.get(last_old)?;
                    if old[last_old - 1].1 != n as isize * s {
                        return None;
                    }
                    have *= n;
                }
            }
            if have != want {
                return None;
            }
            let mut step = old[last_old].1;
            for axis in (first_new..j).rev() {
                strides[axis] = step;
                step *= shape[axis] as isize;
            }
            i = last_old + 1;
        }
        Some(Layout { shape: shape.into(), strides, offset: self.offset })
    }

    /// The same elements under `shape`, which differs by axes of size 1 only.
    pub fn with_units(&self, shape: &[usize]) -> Layout {
        let sized = |(&n, &s): (&usize, &isize)| (n != 1).then_some(s);
        let mut steps = self.shape.iter().zip(&self.strides).filter_map(sized);
        let strides =
            shape.iter().map(|&n| if n == 1 { 0 } else { steps.next().unwrap_or(0) }).collect();
        Layout { shape: shape.into(), strides, offset: self.offset }
    }

    /// Elements `start`, `start + step`, ... (`shape` of them) along each axis.
    pub fn slice(&self, start: &[usize], step: &[isize], shape: &[usize]) -> Layout {
        let mut offset = self.offset as isize;
        let mut strides = self.strides.clone();
        for axis in 0..shape.len() {
            if !shape.contains(&0) {
                offset += start[axis] as isize * self.strides[axis];
            }
            strides[axis] *= step[axis];
        }
        Layout { shape: shape.into(), strides, offset: offset as usize }
    }
}

/// Row-major strides of `shape`.
pub fn contiguous_strides(shape: &[usize]) -> Strides {
    let mut strides: Strides = SmallVec::from_elem(0, shape.len());
    let mut step = 1isize;
    for (s, &n) in strides.iter_mut().zip(shape).rev() {
        *s = step;
        step = step.saturating_mul(n.max(1) as isize);
    }
    strides
}

/// The number of elements of `shape`.
///
/// # Errors
/// Kind `Shape` if the number does not fit 63 bits.
pub fn checked_len(op: &'static str, shape: &[usize]) -> Result<usize> {
    if shape.contains(&0) {
        return Ok(0);
    }
    shape
        .iter()
        .try_fold(1usize, |len, &n| len.checked_mul(n))
        .filter(|&len| len <= (isize::MAX as usize) / 16)
        .ok_or_else(|| {
            Error::shape(op, &[shape], format!("shape {} has too many elements", show(shape)))
        })
}

/// The common shape of two broadcast operands.
///
/// # Errors
/// Kind `Shape` if two sizes differ and neither is 1.
pub fn broadcast_shapes(op: &'static str, a: &[usize], b: &[usize]) -> Result<Shape> {
    if a == b {
        return Ok(Shape::from_slice(a));
    }
    let ndim = a.len().max(b.len());
    let size = |s: &[usize], i: usize| (i + s.len()).checked_sub(ndim).map_or(1, |i| s[i]);
    (0..ndim)
        .map(|i| match (size(a, i), size(b, i)) {
            (n, m) if n == m => Ok(n),
            (1, n) | (n, 1) => Ok(n),
            (n, m) => Err(Error::shape(
                op,
                &[a, b],
                format!(
                    "shapes {} and {} cannot be broadcast: axis {} has sizes {n} and {m}, \
                     which must be equal or one of them 1",
                    show(a),
                    show(b),
                    i as i64 - ndim as i64,
                ),
            )),
        })
        .collect()
}

/// A shape as Python prints a tuple.
pub fn show(shape: &[usize]) -> String {
    match shape {
        [n] => format!("({n},)"),
        _ => {
            let sizes: Vec<_> = shape.iter().map(|n| n.to_string()).collect();
            format!("({})", sizes.join(", "))
        }
    }
}

/// `axis` counted from the front.
///
/// # Errors
/// Kind `Axis` if it is outside `-ndim..ndim`.
pub fn normalize_axis(op: &'static str, axis: i64, ndim: usize) -> Result<usize> {
    let n = ndim as i64;
    if axis < -n || axis >= n {
        return Err(Error::axis(op, axis, ndim));
    }
    Ok(if axis < 0 { (axis + n) as usize } else { axis as usize })
}

/// `axes` counted from the front, in increasing order.
///
/// # Errors
/// Kind `Axis` if one is out of range, `Argument` if one is named twice.
pub fn normalize_axes(op: &'static str, axes: &[i64], ndim: usize) -> Result<Axes> {
    let mut out: Axes = axes.iter().map(|&a| normalize_axis(op, a, ndim)).collect::<Result<_>>()?;
    out.sort_unstable();
    if let Some(w) = out.windows(2).find(|w| w[0] == w[1]) {
        return Err(Error::argument(op, format!("axis {} is named twice", w[0])));
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reshape_is_a_view_exactly_where_strides_allow() {
        let x = Layout::contiguous(&[4, 6]);
        assert!(x.reshape(&[2, 12]).is_some());
        let t = x.transpose(&[1, 0]);
        assert!(t.reshape(&[24]).is_none());
        assert_eq!(t.reshape(&[2, 3, 4]).unwrap().strides.as_slice(), &[3, 1, 6]);
        assert_eq!(t.reshape(&[6, 1, 4, 1]).unwrap().strides[0], 1);
        let row = Layout::contiguous(&[1, 5]).broadcast_to(&[3, 5]);
        assert!(row.reshape(&[15]).is_none());
        assert_eq!(row.reshape(&[3, 5, 1]).unwrap().strides.as_slice(), &[0, 1, 1]);
    }

    #[test]
    fn broadcasting_names_the_axis_at_fault() {
        assert_eq!(broadcast_shapes("add", &[3, 1], &[4]).unwrap().as_slice(), &[3, 4]);
        let text = broadcast_shapes("add", &[3, 2], &[4]).unwrap_err().to_string();
        assert_eq!(
            text,
            "add: shapes (3, 2) and (4,) cannot be broadcast: axis -1 has sizes 2 and 4, \
             which must be equal or one of them 1"
        );
    }

    #[test]
    fn extents_cover_negative_strides() {
        let x = Layout::contiguous(&[4]).slice(&[3], &[-1], &[4]);
        assert_eq!(x.extent(), Some((0, 3)));
    }
}
