//! Cases of numerical families: Fourier transforms, linear algebra, convolution.

use super::{Case, Kind, input};
use lazulite::conv::{Conv, conv_general, conv_transpose};
use lazulite::fft::{self, Norm};
use lazulite::linalg::{self, Order};
use lazulite::prelude::*;

pub(super) fn transforms(cases: &mut Vec<Case>) {
    let complex = || vec![input(Kind::Complex(-1.0, 1.0), &[3, 4]).or(&[5, 6])];
    let real = || vec![input(Kind::Single(-1.0, 1.0), &[3, 4]).or(&[5, 6])];
    for (axis, norm) in [(0, Norm::Backward), (1, Norm::Ortho), (1, Norm::Forward)] {
        let name = |op: &str| format!("{op} axis {axis}, {norm:?}");
        cases.push(Case::new(name("fft"), complex(), move |x| fft::fft(&x[0], None, axis, norm)));
        cases.push(Case::new(name("ifft"), complex(), move |x| {
            fft::ifft(&x[0], None, axis, norm)?.multiply(&x[0])
        }));
        cases.push(Case::new(name("rfft"), real(), move |x| {
            fft::rfft(&x[0], None, axis, norm)?.square()
        }));
        cases.push(Case::new(name("irfft"), complex(), move |x| {
            fft::irfft(&x[0], None, axis, norm)?.square()
        }));
    }
    let one = |kind| vec![input(kind, &[3, 5])];
    cases.push(Case::new("irfft of an odd length", one(Kind::Complex(-1.0, 1.0)), |x| {
        fft::irfft(&x[0], Some(7), -1, Norm::Backward)
    }));
    cases.push(Case::new("rfftn", one(Kind::Single(-1.0, 1.0)), |x| {
        fft::rfftn(&x[0], Some(&[4, 3]), None, Norm::Ortho)
    }));
}

/// `x x^H + 3`: Hermitian and positive definite.
fn positive(x: &Array) -> Result<Array> {
    let adjoint = if x.dtype().is_complex() { x.conjugate()? } else { x.clone() };
    let n = x.shape()[x.ndim() - 1];
    let three = Array::literal(Literal::from_f64(3.0, x.dtype()));
    x.matmul(&adjoint.swapaxes(-1, -2)?)?.add(&Array::identity(n, x.dtype())?.multiply(&three)?)
}

/// `x + diag(2, 4, 6, ...)`: not near a singular matrix, with distinct eigenvalues.
fn regular(x: &Array) -> Result<Array> {
    let n = x.shape()[x.ndim() - 1];
    let d = Array::iota(2.0, 2.0, n, Dtype::F32)?.astype(x.dtype())?;
    x.add(&Array::eye(x.shape()[x.ndim() - 2], n, 0, x.dtype())?.multiply(&d)?)
}

fn complex_size(x: &Array) -> Result<Array> {
    x.modulus()?.square()
}

pub(super) fn linear_algebra(cases: &mut Vec<Case>) {
    const REAL: Kind = Kind::Float(-1.0, 1.0);
    const COMPLEX: Kind = Kind::Complex(-1.0, 1.0);
    let matrix = |kind, m, n| vec![input(kind, &[m, n])];
    // Factorisations are not continuous enough for the rounding of half types, which the other
    // checks have no need of.
    let mut add = |case: Case| {
        let mut case = case;
        case.dtypes = false;
        cases.push(case);
    };
    for kind in [REAL, COMPLEX] {
        for upper in [false, true] {
            add(Case::new(format!("cholesky {upper} of {kind:?}"), matrix(kind, 3, 3), move |x| {
                linalg::cholesky(&positive(&x[0])?, upper)
            }));
            let right = vec![input(kind, &[3, 3]), input(kind, &[3, 2])];
            add(Case::new(format!("solve_triangular {upper} {kind:?}"), right, move |x| {
                linalg::solve_triangular(&regular(&x[0])?, &x[1], upper)
            }));
        }
        let right = vec![input(kind, &[3, 3]), input(kind, &[3, 2])];
        add(Case::new(format!("solve {kind:?}"), right, |x| {
            linalg::solve(&regular(&x[0])?, &x[1])
        }));
        add(Case::new(format!("inv {kind:?}"), matrix(kind, 3, 3), |x| {
            linalg::inv(&regular(&x[0])?)
        }));
        add(Case::new(format!("det {kind:?}"), matrix(kind, 3, 3), |x| {
            linalg::det(&regular(&x[0])?)
        }));
        add(Case::several(format!("slogdet {kind:?}"), matrix(kind, 3, 3), |x| {
            let (sign, log) = linalg::slogdet(&regular(&x[0])?)?;
            Ok(vec![sign, log])
        }));
        for (m, n) in [(3, 3), (4, 2), (2, 4)] {
            add(Case::several(format!("lu {m} {n} {kind:?}"), matrix(kind, m, n), |x| {
                let (_, l, u) = linalg::lu(&regular(&x[0])?)?;
                Ok(vec![l, u])
            }));
            add(Case::several(format!("qr {m} {n} {kind:?}"), matrix(kind, m, n), |x| {
                let (q, r) = linalg::qr(&regular(&x[0])?)?;
                Ok(vec![q, r])
            }));
            add(Case::new(format!("svdvals {m} {n} {kind:?}"), matrix(kind, m, n), |x| {
                linalg::svdvals(&regular(&x[0])?)
            }));
            add(Case::new(format!("pinv {m} {n} {kind:?}"), matrix(kind, m, n), |x| {
                linalg::pinv(&regular(&x[0])?)
            }));
            // What depends neither on phases nor on the vectors beyond the singular values.
            add(Case::new(format!("svd {m} {n} {kind:?}"), matrix(kind, m, n), move |x| {
                let (u, s, vh) = linalg::svd(&regular(&x[0])?)?;
                let k = m.min(n) as i64;
                let (m, n) = (m as i64, n as i64);
                let u = u.slice(&[0, 0], &[m, k], &[1, 1])?;
                let vh = vh.slice(&[0, 0], &[k, n], &[1, 1])?;
                u.multiply(&s.square()?)?.matmul(&vh)
            }));
        }
        add(Case::several(format!("eigh {kind:?}"), matrix(kind, 3, 3), |x| {
            let (w, v) = linalg::eigh(&regular(&x[0])?, "L")?;
            let size = if v.dtype().is_complex() { complex_size(&v)? } else { v.square()? };
            Ok(vec![w, size])
        }));
        let single = if kind == REAL { Kind::Single(-1.0, 1.0) } else { COMPLEX };
        add(Case::new(format!("eigvals {kind:?}"), matrix(single, 3, 3), |x| {
            // In an order that no phase changes.
            linalg::eigvals(&regular(&x[0])?)?.power(&Array::scalar(2i32))?.sum(Some(&[-1]), false)
        }));
        add(Case::new(format!("eig {kind:?}"), matrix(single, 3, 3), |x| {
            let (w, v) = linalg::eig(&regular(&x[0])?)?;
            complex_size(&v)?.multiply(&w.expand_dims(&[-2])?)?.sum(Some(&[-1]), false)
        }));
    }
    add(Case::new("eigvalsh", matrix(REAL, 3, 3), |x| linalg::eigvalsh(&regular(&x[0])?, "U")));
    add(Case::new("nuclear norm", matrix(REAL, 3, 2), |x| {
        linalg::norm(&regular(&x[0])?, Some(Order::Nuclear), None, false)
    }));
    add(Case::new("cross", vec![input(REAL, &[2, 3]), input(REAL, &[3])], |x| {
        linalg::cross(&x[0], &x[1], -1)
    }));
}

pub(super) fn convolutions(cases: &mut Vec<Case>) {
    const REAL: Kind = Kind::Float(-1.0, 1.0);
    let per = |v: &[usize]| v.iter().copied().collect();
    let sides = |v: &[isize]| v.iter().copied().collect();
    let (stride, flip) = (
        Conv { stride: per(&[2]), low: sides(&[1]), high: sides(&[2]), ..Conv::new(1) },
        Conv { flip: true, kernel_dilation: per(&[2]), groups: 2, ..Conv::new(1) },
    );
    let spread =
        Conv { input_dilation: per(&[2]), low: sides(&[1]), stride: per(&[3]), ..Conv::new(1) };
    let plane = Conv { low: sides(&[1, 0]), high: sides(&[1, 1]), ..Conv::new(2) };
    let all: [(&str, &[usize], &[usize], Conv); 5] = [
        ("strided", &[2, 6, 2], &[3, 3, 2], stride),
        ("grouped, dilated, flipped", &[2, 7, 4], &[2, 3, 2], flip),
        ("of a dilated input", &[1, 4, 2], &[2, 3, 2], spread),
        ("of a plane", &[1, 4, 3, 2], &[2, 3, 2, 2], plane),
        ("depthwise", &[2, 5, 3], &[3, 2, 1], Conv { groups: 3, ..Conv::new(1) }),
    ];
    for (name, x, w, op) in all {
        let inputs = vec![input(REAL, x), input(REAL, w)];
        cases.push(Case::new(format!("conv {name}"), inputs, move |x| {
            conv_general(&x[0], &x[1], &op)
        }));
    }
    let inputs = vec![input(REAL, &[2, 3, 2]), input(REAL, &[3, 2, 2])];
    cases.push(Case::new("conv_transpose", inputs, |x| {
        conv_transpose(&x[0], &x[1], &[2], &[1], &[1], &[1], 1)
    }));
}
