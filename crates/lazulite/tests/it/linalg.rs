//! Linear algebra against the equations that define its results, computed in `f64`.

use lazulite::linalg::{self, Order};
use lazulite::prelude::*;
use lazulite_testkit::{Arrangement, Rng, from_values, values};

/// A complex number as a pair.
type Complex = [f64; 2];

/// Matrices in `f64`, one after another.
#[derive(Clone, Debug)]
struct Matrix {
    rows: usize,
    columns: usize,
    data: Vec<Complex>,
}

impl Matrix {
    fn all(x: &Array) -> Vec<Matrix> {
        let (rows, columns) = (x.shape()[x.ndim() - 2], x.shape()[x.ndim() - 1]);
        let flat = values(x).unwrap();
        let data: Vec<Complex> = match x.dtype().is_complex() {
            true => flat.chunks(2).map(|c| [c[0], c[1]]).collect(),
            false => flat.into_iter().map(|x| [x, 0.0]).collect(),
        };
        let count: usize = x.shape()[..x.ndim() - 2].iter().product();
        (0..count)
            .map(|b| {
                let data = data[b * rows * columns..(b + 1) * rows * columns].to_vec();
                Matrix { rows, columns, data }
            })
            .collect()
    }

    /// The diagonal matrix of each row of numbers, `(rows, columns)`.
    fn diagonals(x: &Array, rows: usize, columns: usize) -> Vec<Matrix> {
        let x = x.expand_dims(&[-1]).unwrap();
        Matrix::all(&x)
            .into_iter()
            .map(|d| {
                let mut data = vec![[0.0; 2]; rows * columns];
                (0..d.rows).for_each(|i| data[i * columns + i] = d.data[i]);
                Matrix { rows, columns, data }
            })
            .collect()
    }

    fn times(&self, other: &Matrix) -> Matrix {
        assert_eq!(self.columns, other.rows);
        let mut data = vec![[0.0; 2]; self.rows * other.columns];
        for i in 0..self.rows {
            for p in 0..self.columns {
                let [a, b] = self.data[i * self.columns + p];
                for j in 0..other.columns {
                    let [c, d] = other.data[p * other.columns + j];
                    let sum = &mut data[i * other.columns + j];
                    *sum = [sum[0] + a * c - b * d, sum[1] + a * d + b * c];
                }
            }
        }
        Matrix { rows: self.rows, columns: other.columns, data }
    }

    fn adjoint(&self) -> Matrix {
        let at = |i: usize, j: usize| self.data[j * self.columns + i];
        let data = (0..self.columns)
            .flat_map(|i| (0..self.rows).map(move |j| [at(i, j)[0], -at(i, j)[1]]))
            .collect();
        Matrix { rows: self.columns, columns: self.rows, data }
    }

    fn identity(n: usize) -> Matrix {
        let data = (0..n * n).map(|i| [f64::from(u8::from(i % (n + 1) == 0)), 0.0]).collect();
        Matrix { rows: n, columns: n, data }
    }

    fn largest(&self) -> f64 {
        self.data.iter().fold(1.0, |m: f64, [a, b]| m.max(a.hypot(*b)))
    }
}

/// Results of backward stable algorithms satisfy their equations up to a small multiple of the
/// rounding error times the size of the matrices.
fn near(what: &str, dtype: Dtype, got: &Matrix, want: &Matrix) {
    assert_eq!((got.rows, got.columns), (want.rows, want.columns), "{what}");
    let epsilon = if dtype == Dtype::F64 { 2e-16 } else { 1e-7 };
    let most = want.rows.max(want.columns).max(4) as f64;
    let bound = 8.0 * most * epsilon * want.largest() * want.rows.max(1) as f64;
    for (i, (g, w)) in got.data.iter().zip(&want.data).enumerate() {
        let away = (g[0] - w[0]).hypot(g[1] - w[1]);
        assert!(away <= bound, "{what} {dtype}: element {i} is {g:?}, expected {w:?}");
    }
}

fn unitary(what: &str, dtype: Dtype, q: &Matrix) {
    near(what, dtype, &q.adjoint().times(q), &Matrix::identity(q.columns));
}

const DTYPES: [Dtype; 3] = [Dtype::F32, Dtype::F64, Dtype::C64];
const SQUARES: [(usize, usize); 6] = [(1, 1), (2, 2), (3, 5), (1, 50), (1, 97), (2, 131)];

/// Random matrices, not near singular ones.
fn random(rng: &mut Rng, batch: usize, m: usize, n: usize, dtype: Dtype, a: Arrangement) -> Array {
    rng.array(&[batch, m, n], dtype, (-1.0, 1.0), a).unwrap()
}

fn positive(rng: &mut Rng, batch: usize, n: usize, dtype: Dtype) -> Array {
    let x = random(rng, batch, n, n, dtype, Arrangement::Contiguous);
    let square = x.matmul(&linalg_adjoint(&x)).unwrap();
    let eye = Array::eye(n, n, 0, dtype).unwrap();
    let five = Array::literal(Literal::from_f64(5.0, dtype));
    square.add(&eye.multiply(&five).unwrap()).unwrap()
}

fn linalg_adjoint(x: &Array) -> Array {
    let x = if x.dtype().is_complex() { x.conjugate().unwrap() } else { x.clone() };
    x.swapaxes(-1, -2).unwrap()
}

fn triangular(x: &Matrix, upper: bool) -> Matrix {
    let mut x = x.clone();
    for i in 0..x.rows {
        for j in 0..x.columns {
            if (upper && j < i) || (!upper && j > i) {
                x.data[i * x.columns + j] = [0.0; 2];
            }
        }
    }
    x
}

#[test]
fn cholesky_factors() -> Result<()> {
    let mut rng = Rng::new(1);
    for dtype in DTYPES {
        for (batch, n) in SQUARES {
            let a = positive(&mut rng, batch, n, dtype);
            for upper in [false, true] {
                let l = linalg::cholesky(&a, upper)?;
                let back = linalg::cholesky_inv(&l, upper)?;
                let found = Matrix::all(&l).into_iter().zip(Matrix::all(&back));
                for (a, (l, back)) in Matrix::all(&a).iter().zip(found) {
                    near("triangle", dtype, &triangular(&l, upper), &l);
                    let product = if upper { l.adjoint().times(&l) } else { l.times(&l.adjoint()) };
                    near("cholesky", dtype, &product, a);
                    near("cholesky_inv", dtype, &back.times(a), &Matrix::identity(n));
                }
            }
        }
    }
    Ok(())
}

#[test]
fn lu_factors_and_solutions() -> Result<()> {
    let mut rng = Rng::new(2);
    for dtype in DTYPES {
        for (batch, m, n) in
            [(1, 1, 1), (2, 3, 3), (1, 7, 4), (1, 4, 7), (1, 120, 120), (1, 130, 60)]
        {
            for arrangement in Arrangement::ALL {
                if m == n && arrangement == Arrangement::Repeated {
                    continue;
                }
                let a = random(&mut rng, batch, m, n, dtype, arrangement);
                let (p, l, u) = linalg::lu(&a)?;
                let rows =
                    l.take_along_axis(&p.expand_dims(&[-1])?.broadcast_to(l.shape())?, Some(-2))?;
                let found = Matrix::all(&rows).into_iter().zip(Matrix::all(&u));
                for (a, (l, u)) in Matrix::all(&a).iter().zip(found) {
                    near("lu", dtype, &l.times(&triangular(&u, true)), a);
                }
                near("lower", dtype, &triangular(&Matrix::all(&l)[0], false), &Matrix::all(&l)[0]);
                let (packed, pivots) = linalg::lu_factor(&a)?;
                assert_eq!(pivots.shape(), [batch, m.min(n)]);
                assert_eq!(packed.shape(), a.shape());
            }
        }
        for (batch, n) in SQUARES {
            let a = positive(&mut rng, batch, n, dtype);
            // Pivoting has nothing to do for these, so that rows are moved.
            let a = a.roll(&[1], Some(&[-2]))?;
            let b = random(&mut rng, 1, n, 3, dtype, Arrangement::Transposed);
            let x = linalg::solve(&a, &b)?;
            let vector = linalg::solve(&a, &b.index(&lazulite::s![0, .., 1])?)?;
            let inverse = linalg::inv(&a)?;
            for (i, a) in Matrix::all(&a).iter().enumerate() {
                near("solve", dtype, &a.times(&Matrix::all(&x)[i]), &Matrix::all(&b)[0]);
                near("inv", dtype, &a.times(&Matrix::all(&inverse)[i]), &Matrix::identity(n));
            }
            let column = x.index(&lazulite::s![.., .., 1])?;
            assert_eq!(vector.shape(), column.shape());
            let t = a.add(
                &Array::eye(n, n, 0, dtype)?
                    .multiply(&Array::literal(Literal::from_f64(40.0 + n as f64, dtype)))?,
            )?;
            for upper in [false, true] {
                let x = linalg::solve_triangular(&t, &b, upper)?;
                let inverse = linalg::tri_inv(&t, upper)?;
                for (i, t) in Matrix::all(&t).iter().enumerate() {
                    let t = triangular(t, upper);
                    let (x, b) = (&Matrix::all(&x)[i], &Matrix::all(&b)[0]);
                    near("solve_triangular", dtype, &t.times(x), b);
                    let inverse = &Matrix::all(&inverse)[i];
                    near("tri_inv", dtype, &t.times(inverse), &Matrix::identity(n));
                }
            }
        }
    }
    Ok(())
}

#[test]
fn determinants() -> Result<()> {
    let a = from_values(&[0.0, 2.0, 3.0, 1.0, 1.0, 2.0, 1.0, 1.0, 1.0], &[3, 3], Dtype::F64)?;
    assert!((linalg::det(&a)?.item::<f64>()? - 2.0).abs() < 1e-14);
    let (sign, log) = linalg::slogdet(&a.take(&Array::from_slice(&[1i32, 0, 2], &[3])?, Some(0))?)?;
    assert_eq!(sign.item::<f64>()?, -1.0);
    assert!((log.item::<f64>()? - 2f64.ln()).abs() < 1e-14);
    let zero = from_values(&[1.0, 2.0, 2.0, 4.0], &[2, 2], Dtype::F32)?;
    assert_eq!(linalg::det(&zero)?.item::<f32>()?, 0.0);
    let (sign, log) = linalg::slogdet(&zero)?;
    assert_eq!((sign.item::<f32>()?, log.item::<f32>()?), (0.0, f32::NEG_INFINITY));
    let turn = from_values(&[0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 2.0, 0.0], &[2, 2], Dtype::C64)?;
    let (sign, log) = linalg::slogdet(&turn)?;
    assert_eq!(values(&sign)?, [0.0, 1.0]);
    assert!((log.item::<f32>()? - 2f32.ln()).abs() < 1e-6);
    assert_eq!(linalg::det(&Array::zeros(&[0, 0], Dtype::F32)?)?.item::<f32>()?, 1.0);
    Ok(())
}

#[test]
fn orthogonal_factors() -> Result<()> {
    let mut rng = Rng::new(3);
    for dtype in DTYPES {
        for (batch, m, n) in
            [(1, 1, 1), (2, 3, 3), (1, 9, 4), (1, 4, 9), (1, 100, 70), (1, 70, 100), (1, 0, 3)]
        {
            let a = random(&mut rng, batch, m, n, dtype, Arrangement::Strided);
            let (q, r) = linalg::qr(&a)?;
            let found = Matrix::all(&q).into_iter().zip(Matrix::all(&r));
            for (a, (q, r)) in Matrix::all(&a).iter().zip(found) {
                near("qr", dtype, &q.times(&triangular(&r, true)), a);
                unitary("Q", dtype, &q);
            }
        }
    }
    // LAPACK's signs, with which code ported from MLX may count.
    let a = from_values(&[3.0, 1.0, 4.0, 2.0], &[2, 2], Dtype::F64)?;
    let (_, r) = linalg::qr(&a)?;
    assert!(values(&r)?[0] < 0.0 && values(&r)?[3].abs() > 0.3);
    Ok(())
}

#[test]
fn singular_values() -> Result<()> {
    let mut rng = Rng::new(4);
    for dtype in DTYPES {
        for (batch, m, n) in
            [(1, 1, 1), (2, 3, 3), (1, 9, 4), (1, 4, 9), (1, 80, 60), (1, 40, 80), (1, 3, 0)]
        {
            let a = random(&mut rng, batch, m, n, dtype, Arrangement::Reversed);
            let (u, s, vh) = linalg::svd(&a)?;
            let sorted = values(&s)?;
            assert!(sorted.chunks(m.min(n).max(1)).all(|s| s.windows(2).all(|w| w[0] >= w[1])));
            let only = linalg::svdvals(&a)?;
            let (only, all) = (Matrix::diagonals(&only, m, n), Matrix::diagonals(&s, m, n));
            let pinv = linalg::pinv(&a)?;
            for (i, a) in Matrix::all(&a).iter().enumerate() {
                let (u, vh) = (&Matrix::all(&u)[i], &Matrix::all(&vh)[i]);
                near("svd", dtype, &u.times(&all[i]).times(vh), a);
                near("svdvals", dtype, &only[i], &all[i]);
                unitary("U", dtype, u);
                unitary("V", dtype, &vh.adjoint());
                let p = &Matrix::all(&pinv)[i];
                near("pinv", dtype, &a.times(p).times(a), a);
            }
        }
    }
    // Rank 1, with singular values that are 0 exactly and up to rounding.
    let a = from_values(&[1.0, 2.0, 2.0, 4.0, 3.0, 6.0], &[3, 2], Dtype::F32)?;
    let p = linalg::pinv(&a)?;
    let want = from_values(&[1.0, 2.0, 3.0, 2.0, 4.0, 6.0], &[2, 3], Dtype::F64)?;
    let want = want.divide(&Array::scalar(70.0f64))?;
    near("pinv of rank 1", Dtype::F32, &Matrix::all(&p)[0], &Matrix::all(&want)[0]);
    let zero = Array::zeros(&[3, 2], Dtype::F32)?;
    assert_eq!(values(&linalg::svdvals(&zero)?)?, [0.0, 0.0]);
    assert_eq!(values(&linalg::pinv(&zero)?)?, [0.0; 6]);
    let x = linalg::lstsq(&a, &from_values(&[1.0, 2.0, 3.0], &[3], Dtype::F32)?)?;
    near(
        "lstsq",
        Dtype::F32,
        &Matrix::all(&x.expand_dims(&[-1])?)[0],
        &Matrix { rows: 2, columns: 1, data: vec![[0.2, 0.0], [0.4, 0.0]] },
    );
    Ok(())
}

#[test]
fn eigenvalues() -> Result<()> {
    let mut rng = Rng::new(5);
    for dtype in DTYPES {
        for (batch, n) in SQUARES {
            let a = random(&mut rng, batch, n, n, dtype, Arrangement::Contiguous);
            let sum = a.add(&linalg_adjoint(&a))?;
            for uplo in ["L", "U"] {
                let (w, v) = linalg::eigh(&sum, uplo)?;
                let only = linalg::eigvalsh(&sum, uplo)?;
                let (diagonal, only) =
                    (Matrix::diagonals(&w, n, n), Matrix::diagonals(&only, n, n));
                for (i, a) in Matrix::all(&sum).iter().enumerate() {
                    let v = &Matrix::all(&v)[i];
                    near("eigh", dtype, &v.times(&diagonal[i]).times(&v.adjoint()), a);
                    near("eigvalsh", dtype, &only[i], &diagonal[i]);
                    unitary("V", dtype, v);
                }
            }
            let (w, v) = linalg::eig(&a)?;
            let diagonal = Matrix::diagonals(&w, n, n);
            for (i, a) in Matrix::all(&a).iter().enumerate() {
                let v = &Matrix::all(&v)[i];
                near("eig", Dtype::F32, &a.times(v), &v.times(&diagonal[i]));
                let gram = v.adjoint().times(v);
                let lengths: Vec<f64> = (0..n).map(|j| gram.data[j * n + j][0]).collect();
                assert!(lengths.iter().all(|x| (x - 1.0).abs() < 1e-5), "{lengths:?}");
            }
            assert_eq!(linalg::eigvals(&a)?.shape(), [batch, n]);
        }
    }
    // A rotation has no real eigenvalue; equal eigenvalues; a matrix that is not diagonalisable.
    let turn = from_values(&[0.0, -1.0, 1.0, 0.0], &[2, 2], Dtype::F32)?;
    let w = values(&linalg::eigvals(&turn)?)?;
    assert!(w[0].abs() < 1e-7 && (w[1].abs() - 1.0).abs() < 1e-6 && w[1] == -w[3], "{w:?}");
    let eye = Array::eye(4, 4, 0, Dtype::F32)?;
    assert_eq!(values(&linalg::eigvalsh(&eye, "L")?)?, [1.0; 4]);
    let shear = from_values(&[1.0, 1.0, 0.0, 1.0], &[2, 2], Dtype::F32)?;
    let (w, v) = linalg::eig(&shear)?;
    assert!(values(&v)?.iter().chain(&values(&w)?).all(|x| x.is_finite()));
    assert_eq!(values(&w)?, [1.0, 0.0, 1.0, 0.0]);
    Ok(())
}

#[test]
fn norms_and_products() -> Result<()> {
    let x = from_values(&[1.0, -2.0, 3.0, 4.0, 5.0, -6.0], &[2, 3], Dtype::F64)?;
    let close = |got: Array, want: &[f64]| {
        let got = values(&got).unwrap();
        assert!(
            got.len() == want.len() && got.iter().zip(want).all(|(g, w)| (g - w).abs() < 1e-12),
            "{got:?}, expected {want:?}"
        );
    };
    let (rows, all) = (Some(&[-1][..]), Some(&[0, 1][..]));
    let number = |p: f64| Some(Order::Number(p));
    let root = |x: f64| x.sqrt();
    close(linalg::norm(&x, None, None, false)?, &[root(91.0)]);
    close(linalg::norm(&x, None, rows, false)?, &[root(14.0), root(77.0)]);
    close(linalg::norm(&x, number(1.0), rows, true)?, &[6.0, 15.0]);
    close(linalg::norm(&x, number(3.0), rows, false)?, &[36f64.cbrt(), 405f64.cbrt()]);
    close(linalg::norm(&x, number(0.0), rows, false)?, &[3.0, 3.0]);
    close(linalg::norm(&x, number(f64::INFINITY), rows, false)?, &[3.0, 6.0]);
    close(linalg::norm(&x, number(f64::NEG_INFINITY), rows, false)?, &[1.0, 4.0]);
    close(linalg::norm(&x, number(1.0), all, false)?, &[9.0]);
    close(linalg::norm(&x, number(-1.0), all, false)?, &[5.0]);
    close(linalg::norm(&x, number(f64::INFINITY), all, true)?, &[15.0]);
    close(linalg::norm(&x, number(f64::NEG_INFINITY), all, false)?, &[6.0]);
    close(linalg::norm(&x, Some(Order::Frobenius), all, false)?, &[root(91.0)]);
    // The singular values are the roots of the eigenvalues of ((14, -24), (-24, 77)).
    let half = root(63.0 * 63.0 / 4.0 + 24.0 * 24.0);
    let (most, least) = (root(45.5 + half), root(45.5 - half));
    close(linalg::norm(&x, number(2.0), None, false)?, &[most]);
    close(linalg::norm(&x, number(-2.0), all, true)?, &[least]);
    close(linalg::norm(&x, Some(Order::Nuclear), None, false)?, &[most + least]);
    assert_eq!(linalg::matrix_norm(&x, Order::Nuclear, [0, 1], true)?.shape(), [1, 1]);
    assert!(linalg::norm(&x, number(3.0), None, false).is_err());
    assert!(linalg::norm(&x, Some(Order::Frobenius), rows, false).is_err());
    let (a, b) = (x.at(0)?, x.at(1)?);
    close(linalg::cross(&a, &b, -1)?, &[-3.0, 18.0, 13.0]);
    let flat = a.index(&lazulite::s![..2])?;
    close(linalg::cross(&flat, &b, -1)?, &[12.0, 6.0, 13.0]);
    close(linalg::cross(&flat, &b.index(&lazulite::s![..2])?, -1)?, &[13.0]);
    let m = from_values(&[1.0, 1.0, 0.0, 1.0], &[2, 2], Dtype::F64)?;
    close(linalg::matrix_power(&m, 5)?, &[1.0, 5.0, 0.0, 1.0]);
    close(linalg::matrix_power(&m, -3)?, &[1.0, -3.0, 0.0, 1.0]);
    close(linalg::matrix_power(&m, 0)?, &[1.0, 0.0, 0.0, 1.0]);
    let v = from_values(&[1.0, 2.0], &[2], Dtype::F64)?;
    close(linalg::multi_dot(&[v.clone(), m.clone(), m.clone(), v.clone()])?, &[9.0]);
    close(linalg::multi_dot(&[m.clone(), x.clone(), x.t()?])?, &[-10.0, 53.0, -24.0, 77.0]);
    Ok(())
}

#[test]
fn what_has_no_answer_is_an_error_or_nan() -> Result<()> {
    let zero = Array::zeros(&[2, 2], Dtype::F32)?;
    let fails = |x: Result<Array>| x.and_then(|x| x.eval()).err().map(|e| e.kind());
    assert_eq!(fails(linalg::inv(&zero)), Some(ErrorKind::Kernel));
    assert_eq!(fails(linalg::cholesky(&zero, false)), Some(ErrorKind::Kernel));
    let nan = from_values(&[f64::NAN; 4], &[2, 2], Dtype::F32)?;
    for x in [
        linalg::svdvals(&nan)?,
        linalg::eigvalsh(&nan, "L")?,
        linalg::pinv(&nan)?,
        linalg::det(&nan)?,
        linalg::eigvals(&nan)?.real()?,
    ] {
        assert!(values(&x)?.iter().all(|x| x.is_nan()));
    }
    assert!(fails(linalg::cholesky(&nan, false)).is_some());
    let wide = Array::zeros(&[2, 3], Dtype::F32)?;
    let kind = |x: Result<Array>| x.err().map(|e| e.kind());
    assert_eq!(kind(linalg::inv(&wide)), Some(ErrorKind::Shape));
    assert_eq!(kind(linalg::solve(&zero, &wide.t()?)), Some(ErrorKind::Shape));
    assert_eq!(kind(linalg::svdvals(&Array::scalar(1.0f32))), Some(ErrorKind::Shape));
    assert!(linalg::eigh(&zero, "X").is_err());
    // Other types are computed in float32.
    let ints = from_values(&[2.0, 0.0, 0.0, 4.0], &[2, 2], Dtype::I32)?;
    assert_eq!(values(&linalg::inv(&ints)?)?, [0.5, 0.0, 0.0, 0.25]);
    Ok(())
}
