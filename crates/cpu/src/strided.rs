//! Safe views of operands: bounds, alignment and element size are checked once, when a view is made.
//!
//! Kernels walk rows: the axes of all operands are merged where every one of them allows it
//! ([`Walk`]), the innermost axis is the kernel's, and the others are counted here.

use std::marker::PhantomData;
use std::ops::Range;

use lazulite_core::backend::Operand;
use lazulite_core::{DeviceKind, Error, ErrorKind, Result};
use smallvec::SmallVec;

use crate::allocator::CpuMemory;

/// Elements up to which a kernel stays on its caller's thread, and below which no task goes.
pub(crate) const SERIAL: usize = 1 << 15;

/// Calls `$body` with `$T` bound to the unsigned integer of `$size` bytes.
macro_rules! with_bits {
    ($size:expr, $T:ident => $body:expr) => {
        match $size {
            1 => {
                type $T = u8;
                $body
            }
            2 => {
                type $T = u16;
                $body
            }
            4 => {
                type $T = u32;
                $body
            }
            _ => {
                type $T = u64;
                $body
            }
        }
    };
}
pub(crate) use with_bits;

/// Calls `$body` with `$T` bound to the Rust type of a dtype; `u8` for bool, whose bytes may come
/// from anywhere.
macro_rules! with_number {
    ($dtype:expr, $T:ident => $body:expr) => {
        match $dtype {
            lazulite_core::Dtype::Bool | lazulite_core::Dtype::U8 => {
                type $T = u8;
                $body
            }
            lazulite_core::Dtype::U16 => {
                type $T = u16;
                $body
            }
            lazulite_core::Dtype::U32 => {
                type $T = u32;
                $body
            }
            lazulite_core::Dtype::U64 => {
                type $T = u64;
                $body
            }
            lazulite_core::Dtype::I8 => {
                type $T = i8;
                $body
            }
            lazulite_core::Dtype::I16 => {
                type $T = i16;
                $body
            }
            lazulite_core::Dtype::I32 => {
                type $T = i32;
                $body
            }
            lazulite_core::Dtype::I64 => {
                type $T = i64;
                $body
            }
            lazulite_core::Dtype::F16 => {
                type $T = lazulite_core::f16;
                $body
            }
            lazulite_core::Dtype::BF16 => {
                type $T = lazulite_core::bf16;
                $body
            }
            lazulite_core::Dtype::F32 => {
                type $T = f32;
                $body
            }
            lazulite_core::Dtype::F64 => {
                type $T = f64;
                $body
            }
            lazulite_core::Dtype::C64 => {
                type $T = lazulite_core::Complex32;
                $body
            }
        }
    };
}
pub(crate) use with_number;

/// A type of which every bit pattern is a value.
pub(crate) trait Plain: Copy + Send + Sync + 'static {}
macro_rules! plain {
    ($($t:ty)*) => { $(impl Plain for $t {})* };
}
plain! { u8 u16 u32 u64 usize i8 i16 i32 i64 f32 f64 half::f16 half::bf16 num_complex::Complex32 }

/// A broken promise of the executor.
pub(crate) fn internal(what: impl Into<String>) -> Error {
    Error::new(ErrorKind::Kernel, "cpu", what)
}

/// The first byte and the length of an operand's buffer. An output must lie in memory of this
/// backend, which may be written through its address; other memory is only read.
pub(crate) fn bytes(x: &Operand, output: bool) -> Result<(*mut u8, usize)> {
    let memory = x.buffer.memory();
    if let Some(own) = x.buffer.downcast::<CpuMemory>() {
        return Ok((own.as_ptr(), memory.size()));
    }
    match memory.host_bytes() {
        Some(bytes) if !output && memory.device().kind == DeviceKind::Cpu => {
            Ok((bytes.as_ptr().cast_mut(), bytes.len()))
        }
        _ => Err(internal(format!("an operand lies in foreign memory on {}", memory.device()))),
    }
}

/// Checks that a layout's elements of type `T` lie inside the buffer; gives its first element.
fn first<T: Plain>(x: &Operand, output: bool) -> Result<*mut T> {
    let (start, len) = bytes(x, output)?;
    if x.dtype.size() != size_of::<T>() {
        return Err(internal(format!("{} read as {} bytes", x.dtype, size_of::<T>())));
    }
    let start = start.cast::<T>();
    let Some((low, high)) = x.layout.extent() else { return Ok(start) };
    let count = len / size_of::<T>();
    if low < 0 || high as usize >= count || !start.is_aligned() {
        return Err(internal(format!("elements {low} to {high} of a buffer of {count}")));
    }
    Ok(start.wrapping_add(x.layout.offset))
}

/// The elements of an input.
///
/// Invariant: all elements that `shape` and `strides` reach from `first` lie inside the buffer.
#[derive(Clone, Copy)]
pub(crate) struct View<'a, T> {
    first: *const T,
    /// The sizes of the axes.
    pub shape: &'a [usize],
    /// Steps in elements.
    pub strides: &'a [isize],
    contiguous: bool,
    life: PhantomData<&'a [T]>,
}

// SAFETY: it is a shared view of plain data.
unsafe impl<T: Sync> Send for View<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Sync> Sync for View<'_, T> {}

impl<'a, T: Plain> View<'a, T> {
    /// The view of an operand.
    ///
    /// # Errors
    /// Kind `Kernel` if the layout leaves the buffer or the element has another size.
    pub fn new(x: &'a Operand) -> Result<View<'a, T>> {
        let (shape, strides) = (&x.layout.shape[..], &x.layout.strides[..]);
        let contiguous = x.layout.is_contiguous();
        Ok(View { first: first(x, false)?, shape, strides, contiguous, life: PhantomData })
    }

    /// The number of elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// The element at index zero.
    pub fn first(&self) -> *const T {
        self.first
    }

    /// The elements from the lowest to the highest that the view reaches, and the place of the one
    /// at index zero among them.
    pub fn span(&self) -> (&'a [T], usize) {
        let reach = |(&n, &s): (&usize, &isize)| (n as isize - 1) * s;
        let (mut low, mut high) = (0, 0);
        if self.shape.contains(&0) {
            return (&[], 0);
        }
        for step in self.shape.iter().zip(self.strides).map(reach) {
            if step < 0 { low += step } else { high += step }
        }
        let len = (high - low) as usize + 1;
        // SAFETY: both ends are elements that the view reaches, which `new` has checked.
        (unsafe { std::slice::from_raw_parts(self.first.offset(low), len) }, -low as usize)
    }

    /// All elements in row-major order, if they lie so.
    pub fn slice(&self) -> Option<&'a [T]> {
        // SAFETY: a contiguous layout reaches exactly these elements, which `new` has checked.
        self.contiguous.then(|| unsafe { std::slice::from_raw_parts(self.first, self.len()) })
    }
}

/// The contiguous elements of an output, for tasks that each write parts of their own.
pub(crate) struct Target<'a, T> {
    data: *mut T,
    len: usize,
    life: PhantomData<&'a mut [T]>,
}

// SAFETY: tasks write disjoint parts, by the contract of `part`.
unsafe impl<T: Send> Send for Target<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Target<'_, T> {}

impl<'a, T: Plain> Target<'a, T> {
    /// The elements of an output operand.
    ///
    /// # Errors
    /// Kind `Kernel` if the operand is not contiguous, leaves its buffer or has another element
    /// size.
    pub fn new(x: &'a Operand) -> Result<Target<'a, T>> {
        if !x.layout.is_contiguous() {
            return Err(internal("an output is not contiguous"));
        }
        Ok(Target { data: first(x, true)?, len: x.layout.len(), life: PhantomData })
    }

    /// The elements of a slice.
    pub fn of(slice: &'a mut [T]) -> Target<'a, T> {
        Target { data: slice.as_mut_ptr(), len: slice.len(), life: PhantomData }
    }

    /// The number of elements.
    pub fn len(&self) -> usize {
        self.len
    }

    /// The first element.
    pub fn data(&self) -> *mut T {
        self.data
    }

    /// Elements `range`.
    ///
    /// # Panics
    /// If the range leaves the output.
    ///
    /// # Safety
    /// No other reference to any of them is alive, and no input of the step that is still read
    /// shares them.
    #[allow(clippy::mut_from_ref)]
    pub unsafe fn part(&self, range: Range<usize>) -> &'a mut [T] {
        assert!(range.start <= range.end && range.end <= self.len);
        // SAFETY: inside the buffer, and unshared by the caller's promise. Elements are plain, and
        // a fresh buffer's bytes are only overwritten.
        unsafe { std::slice::from_raw_parts_mut(self.data.add(range.start), range.len()) }
    }

    /// All elements.
    ///
    /// # Safety
    /// As [`Target::part`].
    #[allow(clippy::mut_from_ref)]
    pub unsafe fn all(&self) -> &'a mut [T] {
        // SAFETY: the caller's promise.
        unsafe { self.part(0..self.len) }
    }
}

/// An index space of rows over `N` operands: axes of size 1 dropped, and neighbours merged where
/// all operands step through both as through one.
#[derive(Clone, Debug)]
pub(crate) struct Walk<const N: usize> {
    /// The sizes of the remaining axes.
    pub shape: SmallVec<[usize; 4]>,
    /// For each of them, the operands' steps in elements.
    pub strides: SmallVec<[[isize; N]; 4]>,
}

impl<const N: usize> Walk<N> {
    /// The walk over `shape` with the operands' strides.
    pub fn new(shape: &[usize], strides: [&[isize]; N]) -> Walk<N> {
        let mut walk = Walk { shape: SmallVec::new(), strides: SmallVec::new() };
        for (axis, &n) in shape.iter().enumerate() {
            if n == 1 {
                continue;
            }
            let steps: [isize; N] = strides.map(|s| s[axis]);
            if let (Some(size), Some(last)) = (walk.shape.last_mut(), walk.strides.last_mut())
                && (0..N).all(|i| last[i] == steps[i] * n as isize)
            {
                *size *= n;
                *last = steps;
            } else {
                walk.shape.push(n);
                walk.strides.push(steps);
            }
        }
        walk
    }

    /// The walk over all axes but one.
    pub fn without(axis: usize, shape: &[usize], strides: [&[isize]; N]) -> Walk<N> {
        let mut outer: SmallVec<[usize; 4]> = shape.into();
        outer.remove(axis);
        let mut steps: [SmallVec<[isize; 4]>; N] = strides.map(SmallVec::from);
        for steps in &mut steps {
            steps.remove(axis);
        }
        Walk::new(&outer, steps.each_ref().map(|s| &s[..]))
    }

    /// Takes the innermost axis away: its size and steps (size 1, steps 0 if there is none).
    pub fn pop(&mut self) -> (usize, [isize; N]) {
        match (self.shape.pop(), self.strides.pop()) {
            (Some(n), Some(steps)) => (n, steps),
            _ => (1, [0; N]),
        }
    }

    /// The number of points.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Calls `f` with each point's number and the operands' offsets from their first elements, for
    /// points `range` in row-major order.
    #[inline]
    pub fn each(&self, range: Range<usize>, mut f: impl FnMut(usize, [isize; N])) {
        if range.is_empty() {
            return;
        }
        let mut cursor = self.cursor(range.start);
        for point in range {
            f(point, cursor.at);
            cursor.advance(self);
        }
    }

    fn cursor(&self, point: usize) -> Cursor<N> {
        let mut index: SmallVec<[usize; 4]> = SmallVec::from_elem(0, self.shape.len());
        let mut at = [0isize; N];
        let mut rest = point;
        for axis in (0..self.shape.len()).rev() {
            index[axis] = rest % self.shape[axis];
            rest /= self.shape[axis];
            for i in 0..N {
                at[i] += index[axis] as isize * self.strides[axis][i];
            }
        }
        Cursor { index, at }
    }
}

/// A point of a walk.
struct Cursor<const N: usize> {
    index: SmallVec<[usize; 4]>,
    at: [isize; N],
}

impl<const N: usize> Cursor<N> {
    /// Moves to the next point. Not generic over what is done there: many kernels walk.
    fn advance(&mut self, walk: &Walk<N>) {
        for axis in (0..walk.shape.len()).rev() {
            self.index[axis] += 1;
            for i in 0..N {
                self.at[i] += walk.strides[axis][i];
            }
            if self.index[axis] < walk.shape[axis] {
                return;
            }
            for i in 0..N {
                self.at[i] -= walk.strides[axis][i] * walk.shape[axis] as isize;
            }
            self.index[axis] = 0;
        }
    }
}

/// How many rows of `len` elements make a task.
pub(crate) fn rows_per_task(len: usize) -> usize {
    SERIAL.div_ceil(len.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::operand;
    use lazulite_core::Dtype;
    use lazulite_core::shape::Layout;

    #[test]
    fn walks_merge_what_all_operands_allow() {
        let walk = Walk::new(&[2, 1, 3, 4], [&[12, 7, 4, 1], &[12, 0, 4, 1]]);
        assert_eq!((walk.shape.as_slice(), walk.strides.as_slice()), (&[24][..], &[[1, 1]][..]));
        let walk = Walk::new(&[2, 3, 4], [&[12, 4, 1], &[0, 4, 1]]);
        assert_eq!(walk.shape.as_slice(), &[2, 12]);
        let mut seen = Vec::new();
        walk.each(10..15, |i, at| seen.push((i, at)));
        assert_eq!(seen[1..4], [(11, [11, 11]), (12, [12, 0]), (13, [13, 1])]);
        assert_eq!(Walk::<1>::new(&[], [&[]]).len(), 1);
    }

    #[test]
    fn views_refuse_what_leaves_the_buffer() {
        let mut x = operand(&[1u32, 2, 3, 4], &[4]);
        assert!(View::<u32>::new(&x).is_ok());
        assert!(View::<u16>::new(&x).is_err());
        for (n, stride, offset, fits) in [
            (4, 1, 0, true),
            (4, 1, 1, false),
            (4, -1, 3, true),
            (4, -1, 2, false),
            (0, 9, 99, true),
        ] {
            let (shape, strides) = ((&[n][..]).into(), (&[stride][..]).into());
            x.layout = Layout { shape, strides, offset };
            assert_eq!(View::<u32>::new(&x).is_ok(), fits, "{:?}", x.layout);
        }
        x.dtype = Dtype::U64;
        assert!(Target::<u64>::new(&x).is_ok(), "an empty layout reaches nothing");
    }
}
