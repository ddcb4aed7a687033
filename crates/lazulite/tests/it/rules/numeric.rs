//! Cases of numerical families: Fourier transforms, linear algebra, convolution.

use super::{Case, Kind, input};
use lazulite::fft::{self, Norm};
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
