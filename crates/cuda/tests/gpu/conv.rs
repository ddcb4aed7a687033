//! Convolutions and their gradients.

use lazulite_core::op::conv::{Conv, conv_general};
use lazulite_core::transform::vjp_arrays;
use lazulite_core::{Array, Dtype};

use super::check::{Draw, FLOATS, Report};

/// A case: input, kernel, groups, stride, padding, dilation of the kernel and of the input, flip.
type Case = (&'static [usize], &'static [usize], usize, [usize; 4], bool);

/// Sizes at the edges of tiles, channels in eights and not, every option, one to three axes.
const CASES: [Case; 20] = [
    (&[2, 9, 9, 16], &[24, 3, 3, 16], 1, [1, 1, 1, 1], false),
    (&[3, 14, 11, 32], &[130, 3, 2, 32], 1, [2, 1, 1, 1], false),
    (&[1, 40, 64], &[16, 5, 64], 1, [1, 2, 2, 1], true),
    (&[8, 7, 7, 24], &[9, 3, 3, 24], 1, [1, 0, 2, 1], false),
    (&[2, 6, 5, 7, 8], &[12, 2, 3, 2, 8], 1, [1, 1, 1, 1], false),
    (&[2, 10, 10, 32], &[16, 3, 3, 8], 4, [1, 1, 1, 1], false),
    (&[2, 9, 9, 12], &[12, 3, 3, 1], 12, [1, 1, 1, 1], false),
    (&[2, 8, 8, 16], &[8, 3, 3, 16], 1, [1, 2, 1, 2], true),
    (&[2, 8, 8, 3], &[20, 5, 5, 3], 1, [3, 2, 1, 1], false),
    (&[1, 200, 8], &[8, 1, 8], 1, [1, 0, 1, 1], false),
    (&[16, 20, 20, 64], &[64, 3, 3, 64], 1, [1, 1, 1, 1], false),
    (&[1, 30, 2], &[2, 4, 1], 2, [2, 3, 1, 3], false),
    (&[4, 12, 12, 128], &[256, 1, 1, 128], 1, [1, 0, 1, 1], false),
    // As many places as warpgroup products are used for: rows, channels and outputs cut tiles.
    (&[4, 33, 35, 64], &[72, 3, 3, 64], 1, [1, 1, 1, 1], false),
    (&[3, 70, 50, 40], &[136, 3, 5, 40], 1, [2, 2, 1, 1], false),
    (&[2, 3000, 32], &[64, 7, 32], 1, [1, 3, 2, 1], true),
    (&[33, 14, 14, 256], &[128, 1, 1, 256], 1, [1, 0, 1, 1], false),
    (&[1, 66, 66, 136], &[200, 3, 3, 136], 1, [1, 1, 1, 1], true),
    (&[5, 60, 60, 32], &[40, 3, 3, 32], 1, [1, 1, 1, 1], false),
    (&[2, 50, 61, 64], &[64, 4, 2, 64], 1, [1, 3, 3, 1], false),
];

pub fn checks(r: &mut Report, d: &mut Draw) {
    for dtype in FLOATS {
        for (x_shape, w_shape, groups, [stride, padding, spread, dilation], flip) in CASES {
            let axes = x_shape.len() - 2;
            let op = Conv {
                stride: std::iter::repeat_n(stride, axes).collect(),
                low: std::iter::repeat_n(padding as isize, axes).collect(),
                high: std::iter::repeat_n(padding as isize, axes).collect(),
                kernel_dilation: std::iter::repeat_n(spread, axes).collect(),
                input_dilation: std::iter::repeat_n(dilation, axes).collect(),
                groups,
                flip,
            };
            let (x, w) = (d.array(dtype, x_shape, -1.0, 1.0), d.array(dtype, w_shape, -1.0, 1.0));
            let shape = conv_general(&x, &w, &op).map(|y| y.shape().to_vec());
            let ct = d.array(dtype, &shape.unwrap_or_default(), -1.0, 1.0);
            // Sums of up to some thousand products of numbers below 1.
            let (rtol, atol) = match dtype {
                Dtype::F64 => (1e-11, 1e-11),
                Dtype::F32 => (1e-3, 2e-4),
                _ => (1e-3, 0.05),
            };
            r.check(&format!("conv {dtype} {x_shape:?} {w_shape:?}"), rtol, atol, || {
                let f = |p: &[Array]| Ok(vec![conv_general(&p[0], &p[1], &op)?]);
                let (mut out, gradients) =
                    vjp_arrays(f, &[x.clone(), w.clone()], |_| Ok(vec![ct.clone()]))?;
                out.extend(gradients);
                Ok(out)
            });
        }
    }
}
