//! Products of complex numbers as real ones, at the full rate of the real kernel.
//!
//! In memory a complex matrix (m, k) is a real one (m, 2 k). With each element z of the right operand
//! read as the block [[re, im], [-im, re]], the real product of (m, 2 k) and (2 k, 2 n) is the
//! complex product in memory, four real products for each complex one.

use num_complex::Complex32;

use crate::isa::IsaKind;
use crate::operand::{Operand, Strided};

/// The left operand: (m, k) complex is (m, 2 k) real.
pub struct ComplexLeft<'a>(pub Strided<'a, Complex32>);

/// The right operand: (n, k) complex is (2 n, 2 k) real.
pub struct ComplexRight<'a>(pub Strided<'a, Complex32>);

// SAFETY: every element of the panel is written, and elements inside the operand are read.
unsafe impl Operand<f32> for ComplexLeft<'_> {
    fn extent(&self) -> [usize; 2] {
        let [m, k] = self.0.extent;
        [m, 2 * k]
    }

    fn batches(&self) -> Option<usize> {
        self.0.matrices()
    }

    unsafe fn pack(
        &self,
        _: IsaKind,
        batch: usize,
        [i0, w, width]: [usize; 3],
        [k0, kc]: [usize; 2],
        dst: *mut f32,
    ) {
        for p in 0..kc {
            for i in 0..width {
                // SAFETY: inside the operand and the panel.
                unsafe {
                    let value = if i < w {
                        let z = *self.0.at(batch, i0 + i, (k0 + p) / 2);
                        if (k0 + p) % 2 == 0 { z.re } else { z.im }
                    } else {
                        0.0
                    };
                    *dst.add(p * width + i) = value;
                }
            }
        }
    }
}

// SAFETY: as above.
unsafe impl Operand<f32> for ComplexRight<'_> {
    fn extent(&self) -> [usize; 2] {
        let [n, k] = self.0.extent;
        [2 * n, 2 * k]
    }

    fn batches(&self) -> Option<usize> {
        self.0.matrices()
    }

    unsafe fn pack(
        &self,
        _: IsaKind,
        batch: usize,
        [i0, w, width]: [usize; 3],
        [k0, kc]: [usize; 2],
        dst: *mut f32,
    ) {
        for p in 0..kc {
            for i in 0..width {
                // SAFETY: inside the operand and the panel.
                unsafe {
                    let value = if i < w {
                        let z = *self.0.at(batch, (i0 + i) / 2, (k0 + p) / 2);
                        match ((k0 + p) % 2, (i0 + i) % 2) {
                            (0, 0) | (1, 1) => z.re,
                            (0, _) => z.im,
                            _ => -z.im,
                        }
                    } else {
                        0.0
                    };
                    *dst.add(p * width + i) = value;
                }
            }
        }
    }
}
