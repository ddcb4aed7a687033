//! Operands for the tests of kernels.

use lazulite_core::backend::Operand;
use lazulite_core::shape::{Layout, contiguous_strides};
use lazulite_core::{Dtype, Element};

use crate::allocator::{CpuMemory, allocator};

/// A contiguous operand with these elements.
pub(crate) fn operand<T: Element>(data: &[T], shape: &[usize]) -> Operand {
    assert_eq!(data.len(), shape.iter().product::<usize>());
    let out = empty(T::DTYPE, shape);
    let bytes: &[u8] = bytemuck::cast_slice(data);
    let memory = out.buffer.downcast::<CpuMemory>().unwrap();
    // SAFETY: the buffer is fresh and has room for these bytes.
    unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), memory.as_ptr(), bytes.len()) };
    out
}

/// A contiguous operand to write to.
pub(crate) fn empty(dtype: Dtype, shape: &[usize]) -> Operand {
    let layout = Layout::contiguous(shape);
    let buffer = allocator().allocate(layout.len() * dtype.size()).unwrap();
    Operand { buffer, dtype, layout }
}

/// The elements of an operand of any layout, in row-major order.
pub(crate) fn read<T: Element>(x: &Operand) -> Vec<T> {
    assert_eq!(x.dtype, T::DTYPE);
    let bytes = x.buffer.memory().host_bytes().unwrap();
    let data: &[T] =
        bytemuck::checked::cast_slice(&bytes[..bytes.len() / size_of::<T>() * size_of::<T>()]);
    indices(x.shape())
        .iter()
        .map(|index| {
            let steps = index.iter().zip(&x.layout.strides);
            let at = steps.fold(x.layout.offset as isize, |at, (&i, &s)| at + i as isize * s);
            data[at as usize]
        })
        .collect()
}

/// Every index of a shape in row-major order.
pub(crate) fn indices(shape: &[usize]) -> Vec<Vec<usize>> {
    let strides = contiguous_strides(shape);
    (0..shape.iter().product::<usize>())
        .map(|i| shape.iter().zip(&strides).map(|(&n, &s)| i / s as usize % n).collect())
        .collect()
}

/// Operands of the given shape whose elements are `make(i)` in row-major order, in many layouts:
/// contiguous, transposed, strided, reversed, with an offset.
pub(crate) fn layouts<T: Element>(
    shape: &[usize],
    make: impl Fn(usize) -> T,
) -> Vec<(&'static str, Operand)> {
    let len: usize = shape.iter().product();
    let data: Vec<T> = (0..len).map(&make).collect();
    let mut out = vec![("contiguous", operand(&data, shape))];
    let ndim = shape.len();
    if ndim == 0 || len == 0 {
        return out;
    }
    let place = |dense: &[usize], map: &dyn Fn(&[usize]) -> Vec<usize>| {
        let total: usize = dense.iter().product();
        let strides = contiguous_strides(dense);
        let mut spread = vec![make(0); total];
        for (i, index) in indices(shape).iter().enumerate() {
            let at: isize = map(index).iter().zip(&strides).map(|(&i, &s)| i as isize * s).sum();
            spread[at as usize] = data[i];
        }
        operand(&spread, dense)
    };
    let backward: Vec<usize> = (0..ndim).rev().collect();
    let flipped: Vec<usize> = shape.iter().rev().copied().collect();
    let mut x = place(&flipped, &|index| index.iter().rev().copied().collect());
    x.layout = x.layout.transpose(&backward);
    out.push(("transposed", x));
    let wide: Vec<usize> = shape.iter().map(|n| 2 * n + 1).collect();
    let mut x = place(&wide, &|index| index.iter().map(|i| 2 * i + 1).collect());
    x.layout = x.layout.slice(&vec![1; ndim], &vec![2; ndim], shape);
    out.push(("strided", x));
    let mut x = place(shape, &|index| index.iter().zip(shape).map(|(i, n)| n - 1 - i).collect());
    let last: Vec<usize> = shape.iter().map(|n| n - 1).collect();
    x.layout = x.layout.slice(&last, &vec![-1; ndim], shape);
    out.push(("reversed", x));
    out
}
