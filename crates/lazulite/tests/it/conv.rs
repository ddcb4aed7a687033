//! Convolutions against the sums that define them, in `f64`.

use lazulite::conv::{self, Conv, ConvolveMode};
use lazulite::prelude::*;
use lazulite_testkit::{Arrangement, Rng, from_values, values};

/// Every index of a shape in row-major order.
fn indices(shape: &[usize]) -> Vec<Vec<usize>> {
    let len: usize = shape.iter().product();
    (0..len)
        .map(|mut i| {
            let mut index = vec![0; shape.len()];
            for (at, n) in index.iter_mut().zip(shape).rev() {
                (*at, i) = (i % n, i / n);
            }
            index
        })
        .collect()
}

/// The definition, element by element.
fn direct(x: &Array, w: &Array, op: &Conv) -> (Vec<usize>, Vec<f64>) {
    let (s, k) = (x.shape().to_vec(), w.shape().to_vec());
    let axes = op.stride.len();
    let (xs, ws) = (values(x).unwrap(), values(w).unwrap());
    let mut shape = vec![s[0]];
    for a in 0..axes {
        let have = (s[a + 1] as isize - 1) * op.input_dilation[a] as isize + 1;
        let need = (k[a + 1] - 1) * op.kernel_dilation[a] + 1;
        let room = have + op.low[a] + op.high[a] - need as isize;
        shape.push(room as usize / op.stride[a] + 1);
    }
    shape.push(k[0]);
    let (depth, outputs) = (k[axes + 1], k[0] / op.groups);
    let out = indices(&shape)
        .iter()
        .map(|at| {
            let o = at[axes + 1];
            indices(&k[1..axes + 2])
                .iter()
                .map(|tap| {
                    let (mut i, mut j) = (at[0], o);
                    for a in 0..axes {
                        let t = if op.flip { k[a + 1] - 1 - tap[a] } else { tap[a] };
                        let place = (at[a + 1] * op.stride[a] + tap[a] * op.kernel_dilation[a])
                            as isize
                            - op.low[a];
                        let spread = op.input_dilation[a] as isize;
                        if place < 0 || place % spread != 0 || place / spread >= s[a + 1] as isize {
                            return 0.0;
                        }
                        i = i * s[a + 1] + (place / spread) as usize;
                        j = j * k[a + 1] + t;
                    }
                    let c = o / outputs * depth + tap[axes];
                    xs[i * s[axes + 1] + c] * ws[j * depth + tap[axes]]
                })
                .sum()
        })
        .collect();
    (shape, out)
}

fn near(what: &str, got: &Array, (shape, want): &(Vec<usize>, Vec<f64>), epsilon: f64) {
    assert_eq!(got.shape(), shape, "{what}");
    let most = want.iter().fold(1.0, |m: f64, x| m.max(x.abs()));
    for (i, (g, w)) in values(got).unwrap().iter().zip(want).enumerate() {
        assert!((g - w).abs() <= epsilon * most, "{what}: element {i} is {g}, expected {w}");
    }
}

fn options(axes: usize, change: impl FnOnce(&mut Conv)) -> Conv {
    let mut op = Conv::new(axes);
    change(&mut op);
    op
}

/// Shapes of input and weight, and options.
fn cases() -> Vec<(Vec<usize>, Vec<usize>, Conv)> {
    let per = |v: &[usize]| v.iter().copied().collect();
    let sides = |v: &[isize]| v.iter().copied().collect();
    vec![
        (vec![2, 9, 3], vec![4, 3, 3], Conv::new(1)),
        (vec![1, 6, 5], vec![7, 1, 5], Conv::new(1)),
        (vec![2, 5, 4, 3], vec![6, 1, 1, 3], options(2, |c| c.stride = per(&[2, 1]))),
        (
            vec![2, 10, 4],
            vec![6, 3, 2],
            options(1, |c| {
                (c.groups, c.flip, c.stride) = (2, true, per(&[2]));
                (c.low, c.high) = (sides(&[2]), sides(&[1]));
            }),
        ),
        (
            vec![1, 8, 9, 2],
            vec![5, 3, 2, 2],
            options(2, |c| {
                (c.stride, c.kernel_dilation) = (per(&[2, 3]), per(&[2, 1]));
                (c.low, c.high) = (sides(&[1, 0]), sides(&[3, 2]));
            }),
        ),
        (
            vec![2, 4, 3, 3],
            vec![5, 3, 4, 3],
            options(2, |c| {
                (c.input_dilation, c.kernel_dilation) = (per(&[2, 3]), per(&[1, 2]));
                (c.low, c.high, c.flip) = (sides(&[2, 3]), sides(&[2, 1]), true);
            }),
        ),
        (
            vec![1, 7, 6],
            vec![6, 2, 1],
            options(1, |c| {
                (c.groups, c.input_dilation, c.stride) = (6, per(&[2]), per(&[3]));
            }),
        ),
        // Some phases of the kernel meet nothing.
        (
            vec![1, 5, 2],
            vec![3, 2, 2],
            options(1, |c| {
                (c.input_dilation, c.low) = (per(&[4]), sides(&[3]));
            }),
        ),
        (
            vec![1, 9, 8, 2],
            vec![2, 3, 3, 2],
            options(2, |c| {
                (c.low, c.high) = (sides(&[-1, 2]), sides(&[-2, -1]));
            }),
        ),
        (
            vec![2, 4, 5, 3, 4],
            vec![6, 2, 3, 2, 2],
            options(3, |c| {
                (c.groups, c.stride) = (2, per(&[1, 2, 1]));
                (c.low, c.high) = (sides(&[1, 0, 1]), sides(&[0, 1, 1]));
            }),
        ),
        // Depthwise with several outputs each; more rows and sums than a block of a product.
        (vec![1, 9, 9, 8], vec![16, 3, 3, 1], options(2, |c| c.groups = 8)),
        (
            vec![1, 20, 16, 40],
            vec![20, 3, 3, 40],
            options(2, |c| {
                (c.low, c.high) = (sides(&[1, 1]), sides(&[1, 1]));
            }),
        ),
        (vec![0, 9, 3], vec![4, 3, 3], Conv::new(1)),
        (vec![0, 9, 8, 3], vec![4, 3, 3, 3], Conv::new(2)),
        (vec![2, 9, 8, 0], vec![4, 3, 3, 0], Conv::new(2)),
        // So many sums that they are cut, where examples are channels.
        (
            vec![17, 12, 13, 40],
            vec![5, 10, 11, 40],
            options(2, |c| {
                (c.low, c.high) = (sides(&[1, 0]), sides(&[1, 1]));
            }),
        ),
        // Lines of tiles of all heights, in panels of outputs, some of whose taps are outside.
        (
            vec![3, 9, 31, 4],
            vec![40, 3, 3, 4],
            options(2, |c| {
                (c.low, c.high) = (sides(&[2, 1]), sides(&[1, 1]));
            }),
        ),
        (
            vec![2, 11, 58, 6],
            vec![10, 3, 3, 3],
            options(2, |c| {
                (c.groups, c.flip) = (2, true);
                (c.stride, c.kernel_dilation) = (per(&[2, 2]), per(&[1, 3]));
                (c.low, c.high) = (sides(&[1, -1]), sides(&[2, 4]));
            }),
        ),
        // The same where examples are channels, many, odd, and where the places of the kernel are apart.
        (
            vec![10, 9, 10, 7],
            vec![16, 8, 9, 7],
            options(2, |c| {
                (c.low, c.high) = (sides(&[2, 1]), sides(&[1, 3]));
            }),
        ),
        (
            vec![3, 7, 17, 2],
            vec![48, 5, 12, 2],
            options(2, |c| {
                (c.low, c.high, c.kernel_dilation) = (sides(&[1, 3]), sides(&[0, 6]), per(&[1, 2]));
            }),
        ),
        (
            vec![16, 9, 24, 2],
            vec![32, 4, 9, 2],
            options(2, |c| {
                (c.stride, c.kernel_dilation) = (per(&[1, 2]), per(&[2, 2]));
                (c.low, c.high) = (sides(&[1, 0]), sides(&[-1, 1]));
            }),
        ),
    ]
}

#[test]
fn every_option_and_layout() {
    let mut rng = Rng::new(1);
    for (s, k, op) in cases() {
        for (dtype, epsilon) in
            [(Dtype::F32, 3e-6), (Dtype::F64, 1e-14), (Dtype::F16, 1e-3), (Dtype::BF16, 8e-3)]
        {
            for arrangement in [Arrangement::Contiguous, Arrangement::Transposed] {
                let x = rng.array(&s, dtype, (-1.0, 1.0), arrangement).unwrap();
                let w = rng.array(&k, dtype, (-1.0, 1.0), arrangement).unwrap();
                let y = conv::conv_general(&x, &w, &op).unwrap();
                let want = direct(&x, &w, &op);
                near(&format!("{s:?} {k:?} {op:?} {dtype}"), &y, &want, epsilon);
                // As the derivative by the weight finds them: examples and channels exchanged in memory.
                let turned = |x: &Array| -> Result<Array> {
                    let x = x.swapaxes(0, -1)?.contiguous()?;
                    x.eval()?;
                    x.swapaxes(0, -1)
                };
                let (x, w) = (turned(&x).unwrap(), turned(&w).unwrap());
                let y = conv::conv_general(&x, &w, &op).unwrap();
                near(&format!("turned {s:?} {k:?} {op:?} {dtype}"), &y, &want, epsilon);
            }
        }
    }
}

/// `<conv(x), y> = <x, conv_transpose(y)>` for the weight with inputs and outputs exchanged.
#[test]
fn transposed_convolution_is_the_transpose() -> Result<()> {
    let mut rng = Rng::new(2);
    for (stride, padding, dilation, extra) in
        [(1, 0, 1, 0), (2, 1, 1, 1), (3, 0, 2, 2), (2, 2, 1, 0)]
    {
        let mut array =
            |shape: &[usize]| rng.array(shape, Dtype::F64, (-1.0, 1.0), Arrangement::Contiguous);
        let (y, w) = (array(&[2, 5, 3])?, array(&[4, 3, 3])?);
        let back = conv::conv_transpose(&y, &w, &[stride], &[padding], &[dilation], &[extra], 1)?;
        let size = 4 * stride as isize - 2 * padding + 2 * dilation as isize + 1 + extra as isize;
        assert_eq!(back.shape(), [2, size as usize, 4]);
        let x = array(back.shape())?;
        let op = options(1, |c| {
            (c.stride, c.kernel_dilation) =
                ([stride].into_iter().collect(), [dilation].into_iter().collect());
            (c.low, c.high) = ([padding].into_iter().collect(), [padding].into_iter().collect());
        });
        let there = conv::conv_general(&x, &w.swapaxes(0, -1)?, &op)?;
        let (a, b) = (there.multiply(&y)?.sum(None, false)?, x.multiply(&back)?.sum(None, false)?);
        let (a, b) = (a.item::<f64>()?, b.item::<f64>()?);
        assert!((a - b).abs() < 1e-12, "{stride} {padding} {dilation} {extra}: {a} and {b}");
    }
    Ok(())
}

#[test]
fn vectors_and_windows() -> Result<()> {
    let a = from_values(&[1.0, 2.0, 3.0, 4.0], &[4], Dtype::F32)?;
    let v = from_values(&[1.0, 10.0, 100.0], &[3], Dtype::F32)?;
    for (mode, want) in [
        ("full", &[1.0, 12.0, 123.0, 234.0, 340.0, 400.0][..]),
        ("same", &[12.0, 123.0, 234.0, 340.0]),
        ("valid", &[123.0, 234.0]),
    ] {
        let mode = ConvolveMode::from_name(mode)?;
        assert_eq!(values(&conv::convolve(&a, &v, mode)?)?, want);
        assert_eq!(values(&conv::convolve(&v, &a, mode)?)?, want);
    }
    let x = from_values(&[1.0, 5.0, 2.0, 8.0, 3.0], &[1, 5, 1], Dtype::F32)?;
    let pooled = conv::windows(&x, &[1], &[2], &[2], &[(1, 0)], f64::NEG_INFINITY)?;
    assert_eq!(pooled.shape(), [1, 3, 1, 2]);
    assert_eq!(values(&pooled.max(Some(&[-1]), false)?)?, [1.0, 5.0, 8.0]);
    assert!(conv::windows(&x, &[1], &[6], &[1], &[(0, 0)], 0.0).is_err());
    Ok(())
}

#[test]
fn what_is_refused() -> Result<()> {
    let x = Array::zeros(&[1, 4, 3], Dtype::F32)?;
    let kind = |w: &[usize], op: Conv| {
        let w = Array::zeros(w, Dtype::F32).unwrap();
        conv::conv_general(&x, &w, &op).err().map(|e| e.kind())
    };
    assert_eq!(kind(&[2, 5, 3], Conv::new(1)), Some(ErrorKind::Shape));
    assert_eq!(kind(&[2, 3, 2], Conv::new(1)), Some(ErrorKind::Shape));
    assert_eq!(kind(&[2, 3, 3, 3], Conv::new(1)), Some(ErrorKind::Shape));
    assert_eq!(kind(&[2, 3, 3], options(1, |c| c.groups = 2)), Some(ErrorKind::Shape));
    assert_eq!(kind(&[2, 3, 3], options(1, |c| c.stride[0] = 0)), Some(ErrorKind::Argument));
    assert_eq!(kind(&[2, 3, 3], Conv::new(1)), None);
    let z = x.astype(Dtype::C64)?;
    let refused = conv::conv_general(&z, &z, &Conv::new(1)).err().map(|e| e.kind());
    assert_eq!(refused, Some(ErrorKind::Dtype));
    Ok(())
}
