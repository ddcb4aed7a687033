//! Plane rotations, recorded while a small problem is iterated and applied later, many at a time,
//! to strips of a matrix that stay in cache.

use super::field::Field;
use crate::pool::{self, SharedPtr};

/// Columns of a strip.
const STRIP: usize = 64;
/// Rotations that are recorded before they are applied.
const MOST: usize = 1 << 16;

/// Row `a` becomes `a c + b s`, row `b` becomes `b c - a s`.
#[derive(Clone, Copy)]
struct Rotation {
    a: u32,
    b: u32,
    c: f64,
    s: f64,
}

/// A matrix whose rows are rotated, `(rows, columns)` without gaps.
pub(crate) struct Rotated<T> {
    pub data: Vec<T>,
    columns: usize,
    waiting: Vec<Rotation>,
}

impl<T: Field> Rotated<T> {
    pub fn new(data: Vec<T>, columns: usize) -> Rotated<T> {
        Rotated { data, columns, waiting: Vec::new() }
    }

    /// Records a rotation of rows `a` and `b`. Nothing is done where there is no matrix.
    pub fn push(&mut self, a: usize, b: usize, c: f64, s: f64) {
        if self.columns == 0 {
            return;
        }
        self.waiting.push(Rotation { a: a as u32, b: b as u32, c, s });
        if self.waiting.len() >= MOST {
            self.finish();
        }
    }

    /// Applies what was recorded.
    pub fn finish(&mut self) {
        let (columns, waiting) = (self.columns, std::mem::take(&mut self.waiting));
        let data = SharedPtr::new(self.data.as_mut_ptr());
        let len = self.data.len();
        pool::run(columns.div_ceil(STRIP), &|strip| {
            let (from, to) = (strip * STRIP, ((strip + 1) * STRIP).min(columns));
            for r in &waiting {
                let (a, b) = (r.a as usize * columns, r.b as usize * columns);
                assert!(a != b && a.max(b) + to <= len);
                // SAFETY: both parts of rows are inside the matrix and different, as asserted, and
                // strips have columns of their own.
                let (x, y) = unsafe {
                    (
                        std::slice::from_raw_parts_mut(data.get().add(a + from), to - from),
                        std::slice::from_raw_parts_mut(data.get().add(b + from), to - from),
                    )
                };
                let (c, s) = (T::from_real(r.c), T::from_real(r.s));
                for (x, y) in x.iter_mut().zip(y) {
                    (*x, *y) = (*x * c + *y * s, *y * c - *x * s);
                }
            }
        });
    }

    /// Row `i` times -1.
    pub fn negate(&mut self, i: usize) {
        self.finish();
        self.data[i * self.columns..(i + 1) * self.columns].iter_mut().for_each(|x| *x = -*x);
    }

    /// The rows in this order; those that are not named follow.
    pub fn reorder(&mut self, order: &[usize]) {
        self.finish();
        if self.columns == 0 {
            return;
        }
        let named: Vec<T> = (order.iter())
            .flat_map(|&i| self.data[i * self.columns..(i + 1) * self.columns].to_vec())
            .collect();
        self.data[..named.len()].copy_from_slice(&named);
    }
}
