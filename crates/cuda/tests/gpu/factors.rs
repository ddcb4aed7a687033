//! Fourier transforms and linear algebra on both devices. Factors that are not unique are compared through what
//! they make together, and through being orthogonal.

use lazulite_core::op::fft::{self, Norm};
use lazulite_core::op::linalg;
use lazulite_core::transform::vjp_arrays;
use lazulite_core::{Array, Device, Dtype, ErrorKind, Result};

use super::check::{Draw, Report, on};
use super::faults::refused;

/// Numbers of which complex ones have independent parts.
fn draw(d: &mut Draw, dtype: Dtype, shape: &[usize]) -> Array {
    let mut part = |dtype| d.array(dtype, shape, -1.0, 1.0);
    if dtype != Dtype::C64 {
        return part(dtype);
    }
    let (re, im) = (part(Dtype::F32), part(Dtype::F32));
    made(|| re.make_complex(&im))
}

/// What `f` makes on the processor.
fn made(f: impl FnOnce() -> Result<Array>) -> Array {
    let make = || {
        let x = f()?;
        x.eval()?;
        Ok(x)
    };
    on(Device::CPU, make).unwrap_or_else(|e: lazulite_core::Error| panic!("input: {e}"))
}

/// A part of an axis.
fn part(x: &Array, axis: usize, range: std::ops::Range<usize>) -> Result<Array> {
    let mut stop: Vec<i64> = x.shape().iter().map(|&n| n as i64).collect();
    let mut start = vec![0; stop.len()];
    (start[axis], stop[axis]) = (range.start as i64, range.end as i64);
    x.slice(&start, &stop, &vec![1; start.len()])
}

/// The results of `f`, and the cotangents of `x` for cotangents of ones and more.
fn with_gradient(x: &Array, f: impl Fn(&Array) -> Result<Array>) -> Result<Vec<Array>> {
    let (mut out, gradients) = vjp_arrays(
        |p: &[Array]| Ok(vec![f(&p[0])?]),
        std::slice::from_ref(x),
        |out| Ok(vec![out[0].ones_like()?.add(&out[0].stop_gradient()?)?]),
    )?;
    out.extend(gradients);
    Ok(out)
}

pub fn checks(r: &mut Report, d: &mut Draw) {
    transforms(r, d);
    for dtype in [Dtype::F32, Dtype::F64, Dtype::C64] {
        square(r, d, dtype);
        rectangular(r, d, dtype);
    }
}

fn transforms(r: &mut Report, d: &mut Draw) {
    // Lengths that are powers of two, composite, prime and 1; axes before and behind others; more of them on
    // either side than there are calls.
    let shapes: [(&[usize], i64); 21] = [
        (&[1], 0),
        (&[2], 0),
        (&[7], 0),
        (&[1000], 0),
        (&[1 << 16], 0),
        (&[10_007], 0),
        (&[33, 64], 1),
        (&[33, 64], 0),
        (&[5, 64, 3], 1),
        (&[3, 17, 100], 1),
        (&[100, 17, 3], 1),
        (&[80, 12, 70], 1),
        (&[70, 1, 70], 1),
        (&[2, 3, 4, 9], -2),
        (&[0, 8], 1),
        // Across the order of memory, in tiles that are full and not.
        (&[3, 64, 200], 1),
        (&[2, 128, 65], 1),
        (&[2, 256, 33], 1),
        (&[5, 512, 16], 1),
        (&[2, 1024, 29], 1),
        (&[3, 2048, 7], 1),
    ];
    for (shape, axis) in shapes {
        let (x, z) = (draw(d, Dtype::F32, shape), draw(d, Dtype::C64, shape));
        let n = shape[(axis.rem_euclid(shape.len() as i64)) as usize];
        // A few roundings of sums of n terms, whose size grows as the root; a gradient is a second sum.
        let root = (n as f64).sqrt();
        for norm in [Norm::Backward, Norm::Ortho, Norm::Forward] {
            let mut both = |what: &str, x: &Array, by: f64, f: &dyn Fn(&Array) -> Result<Array>| {
                let name = format!("{what} {shape:?} over {axis} {norm:?}");
                r.check(&name, 1e-5, 2e-6 * by * root, || Ok(vec![f(x)?]));
                r.check(&format!("{name} with gradient"), 1e-5, 2e-6 * by * root * root, || {
                    with_gradient(x, f)
                });
            };
            both("fft", &z, 1.0, &|z| fft::fft(z, None, axis, norm));
            both("ifft", &z, 1.0, &|z| fft::ifft(z, None, axis, norm));
            both("rfft", &x, 1.0, &|x| fft::rfft(x, None, axis, norm));
            for n in [n, n + 1] {
                both(&format!("irfft to {n}"), &z, 2.0, &|z| fft::irfft(z, Some(n), axis, norm));
            }
        }
    }
    let (x, z) = (draw(d, Dtype::F32, &[6, 20, 31]), draw(d, Dtype::C64, &[6, 20, 31]));
    r.check("fft of views", 1e-5, 2e-5, || {
        let odd = z.slice(&[1, 3, 1], &[6, 20, 30], &[2, 1, 3])?;
        let shifted = x.flatten(0, -1)?.slice(&[1], &[1001], &[1])?;
        Ok(vec![
            fft::fft(&z.transpose(None)?, None, 1, Norm::Backward)?,
            fft::fft(&odd, None, -1, Norm::Ortho)?,
            fft::fft(&odd, Some(64), 0, Norm::Backward)?,
            fft::rfft(&shifted, None, 0, Norm::Backward)?,
            fft::fft(&part(&z, 0, 2..3)?.broadcast_to(&[4, 20, 31])?, None, -1, Norm::Backward)?,
        ])
    });
    r.check("transforms over axes", 1e-5, 1e-4, || {
        Ok(vec![
            fft::fftn(&z, None, None, Norm::Backward)?,
            fft::ifft2(&z, None, &[0, 1], Norm::Backward)?,
            fft::rfftn(&x, None, Some(&[2, 0]), Norm::Ortho)?,
            fft::irfftn(&z, None, Some(&[0, 1]), Norm::Backward)?,
        ])
    });
}

/// The conjugate transpose.
fn adjoint(a: &Array) -> Result<Array> {
    a.moveaxis(-1, -2)?.conjugate()
}

/// `diag(s) A`.
fn scaled(s: &Array, a: &Array) -> Result<Array> {
    s.astype(a.dtype())?.expand_dims(&[-1])?.multiply(a)
}

/// `A^H A`, the identity where columns are orthonormal.
fn gram(a: &Array) -> Result<Array> {
    adjoint(a)?.matmul(a)
}

/// One that grows with the number of roundings, for numbers of about 1.
fn tolerance(dtype: Dtype, n: usize) -> f64 {
    let epsilon = if dtype == Dtype::F64 { 2e-15 } else { 1e-6 };
    epsilon * 10.0 * n as f64
}

fn square(r: &mut Report, d: &mut Draw, dtype: Dtype) {
    let shapes: [&[usize]; 8] = [
        &[1, 1],
        &[5, 5],
        &[33, 33],
        &[3, 4, 4],
        &[2, 3, 17, 17],
        &[150, 150],
        &[2, 530, 530],
        &[0, 4, 4],
    ];
    for shape in shapes {
        let n = shape[shape.len() - 1];
        let a = draw(d, dtype, shape);
        let mut right = shape.to_vec();
        right[shape.len() - 1] = 3;
        let b = draw(d, dtype, &right);
        // Far from singular, and positive definite.
        let eye = |size: f64| {
            let size = Array::scalar(size).astype(dtype)?;
            Array::identity(n, dtype)?.multiply(&size)
        };
        let regular = made(|| a.add(&eye(n as f64 * 0.5 + 2.0)?));
        let positive = made(|| a.matmul(&adjoint(&a)?)?.add(&eye(1.0 + n as f64 * 0.1)?));
        let (name, tol) = (|what: &str| format!("{what} {dtype} {shape:?}"), tolerance(dtype, n));
        r.check(&name("cholesky"), tol, tol, || {
            let mut out = with_gradient(&positive, |a| linalg::cholesky(a, false))?;
            out.push(linalg::cholesky(&positive, true)?);
            Ok(out)
        });
        r.check(&name("solve"), tol, tol, || {
            let mut out = with_gradient(&regular, |a| linalg::solve(a, &b))?;
            out.push(linalg::inv(&regular)?);
            out.push(linalg::solve(&regular.moveaxis(-1, -2)?, &b)?);
            Ok(out)
        });
        r.check(&name("solve_triangular"), tol, tol, || {
            let mut out = Vec::new();
            for upper in [false, true] {
                out.extend(with_gradient(&b, |b| linalg::solve_triangular(&regular, b, upper))?);
            }
            out.push(linalg::tri_inv(&regular, false)?);
            Ok(out)
        });
        r.check(&name("lu"), tol, tol, || {
            let (order, l, u) = linalg::lu(&a)?;
            let places = order.expand_dims(&[-1])?.broadcast_to(a.shape())?;
            let (factors, swaps) = linalg::lu_factor(&regular)?;
            Ok(vec![l.take_along_axis(&places, Some(-2))?.matmul(&u)?, factors, swaps])
        });
        // A determinant is a product of n numbers.
        r.check(&name("det"), 10.0 * tol, tol, || {
            let (sign, size) = linalg::slogdet(&regular)?;
            let mut out = vec![sign, size];
            if n < 40 {
                out.push(linalg::det(&a)?);
            }
            Ok(out)
        });
        r.check(&name("eigh"), 0.0, 10.0 * tol, || {
            let mut out = Vec::new();
            for uplo in ["L", "U"] {
                let (w, v) = linalg::eigh(&a, uplo)?;
                out.extend([v.matmul(&scaled(&w, &adjoint(&v)?)?)?, gram(&v)?, w]);
            }
            out.extend(with_gradient(&positive, |a| linalg::eigvalsh(a, "L"))?);
            Ok(out)
        });
        if n <= 33 {
            // The result is in single precision for every type.
            let tol = tolerance(Dtype::F32, n);
            r.check(&name("eig"), 0.0, 10.0 * tol, || {
                let (w, v) = linalg::eig(&a)?;
                let left = a.astype(Dtype::C64)?.matmul(&v)?;
                let off = left.subtract(&v.multiply(&w.expand_dims(&[-2])?)?)?;
                let sizes = v.modulus()?.square()?.sum(Some(&[-2]), false)?;
                // In no order: the sums of their powers.
                let powers = [w.clone(), w.square()?].map(|w| w.sum(Some(&[-1]), false));
                let mut out = vec![off, sizes];
                out.extend(powers.into_iter().collect::<Result<Vec<_>>>()?);
                out.push(linalg::eigvals(&a)?.sum(Some(&[-1]), false)?);
                Ok(out)
            });
        }
    }
    let a = draw(d, dtype, &[3, 6, 6]);
    r.check(&format!("factors of what is not finite {dtype}"), 1e-4, 1e-4, || {
        // The middle one of three matrices.
        let bad = Array::from_slice(&[1.0, f64::NAN, 1.0], &[3, 1, 1])?.astype(dtype)?;
        let a = a.multiply(&bad)?;
        Ok(vec![
            linalg::svdvals(&a)?,
            linalg::svd(&a)?.1,
            part(&linalg::svd(&a)?.2, 0, 1..2)?.real()?,
            linalg::eigvalsh(&a, "L")?,
            linalg::eigh(&a, "U")?.0,
            part(&linalg::eigh(&a, "U")?.1, 0, 1..2)?.real()?,
            linalg::pinv(&a)?.real()?,
            linalg::eigvals(&a)?.sum(Some(&[-1]), false)?,
        ])
    });
}

fn rectangular(r: &mut Report, d: &mut Draw, dtype: Dtype) {
    let shapes: [&[usize]; 10] = [
        &[1, 1],
        &[7, 7],
        &[9, 4],
        &[4, 9],
        &[3, 40, 25],
        &[2, 2, 25, 40],
        &[200, 150],
        &[150, 200],
        &[3, 0],
        &[0, 3],
    ];
    for shape in shapes {
        let a = draw(d, dtype, shape);
        let (m, n) = (shape[shape.len() - 2], shape[shape.len() - 1]);
        let (name, tol) =
            (|what: &str| format!("{what} {dtype} {shape:?}"), tolerance(dtype, m.max(n)));
        let k = m.min(n);
        r.check(&name("qr"), 0.0, tol, || {
            let (q, x) = linalg::qr(&a)?;
            let sizes = if dtype.is_complex() { x.modulus()? } else { x.abs()? };
            Ok(vec![q.matmul(&x)?, gram(&q)?, sizes, x.tril(-1)?])
        });
        r.check(&name("svd"), 0.0, 3.0 * tol, || {
            let (u, s, vh) = linalg::svd(&a)?;
            let axis = a.ndim() - 2;
            let right = scaled(&s, &part(&vh, axis, 0..k)?)?;
            let left = part(&u, axis + 1, 0..k)?;
            let mut out = vec![left.matmul(&right)?, gram(&u)?, gram(&vh)?, s];
            out.extend(with_gradient(&a, linalg::svdvals)?);
            Ok(out)
        });
        r.check(&name("pinv"), 10.0 * tol, 30.0 * tol, || {
            // One of rank 2, whose other singular values are roundings.
            let low = part(&a, a.ndim() - 1, 0..2.min(n))?;
            let low = low.matmul(&part(&a, a.ndim() - 2, 0..2.min(m))?);
            Ok(match low {
                Ok(low) if k > 2 => vec![linalg::pinv(&a)?, linalg::pinv(&low)?],
                _ => vec![linalg::pinv(&a)?],
            })
        });
    }
}

pub fn faults(r: &mut Report) {
    let identity = |n: usize| Array::identity(n, Dtype::F32);
    refused(r, "not positive definite", ErrorKind::Kernel, "positive definite", || {
        linalg::cholesky(&identity(40)?.negative()?, false)?.to_vec::<f32>()
    });
    refused(r, "one of many not positive definite", ErrorKind::Kernel, "positive definite", || {
        let signs = Array::from_slice(&[1.0f32, -1.0, 1.0], &[3, 1, 1])?;
        linalg::cholesky(&identity(4)?.multiply(&signs)?, false)?.to_vec::<f32>()
    });
    refused(r, "a singular matrix", ErrorKind::Kernel, "singular", || {
        linalg::inv(&Array::ones(&[5, 5], Dtype::F32)?)?.to_vec::<f32>()
    });
    refused(r, "singular matrices", ErrorKind::Kernel, "singular", || {
        linalg::inv(&Array::zeros(&[3, 5, 5], Dtype::F32)?)?.to_vec::<f32>()
    });
}
