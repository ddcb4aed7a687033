//! Maximum and mean over sliding windows; channels are the last axis.

use super::Module;
use crate::conv::windows;
use crate::{Array, Error, Result};

/// All windows of `x: (n, *s, c)`, as `(n, *places, c, *window)` or, where the windows tile the
/// axes, `(n, *places, c)` with the elements of each window on other axes; also the axes to reduce.
fn sliding<const N: usize>(
    x: &Array,
    kernel: [usize; N],
    stride: [usize; N],
    padding: [usize; N],
    fill: f64,
) -> Result<(Array, Vec<i64>)> {
    if x.ndim() != N + 2 {
        let message = format!("an input of {:?}; it needs {} axes", x.shape(), N + 2);
        return Err(Error::shape("pool", &[x.shape()], message));
    }
    let tiled = |a: usize| {
        stride[a] == kernel[a]
            && padding[a] == 0
            && x.shape()[a + 1].is_multiple_of(kernel[a].max(1))
    };
    if (0..N).all(|a| kernel[a] > 0 && tiled(a)) {
        // Windows that tile the input are only a finer shape of it.
        let mut shape = vec![x.shape()[0]];
        (0..N).for_each(|a| shape.extend([x.shape()[a + 1] / kernel[a], kernel[a]]));
        shape.push(x.shape()[N + 1]);
        return Ok((x.reshape(&shape)?, (0..N as i64).map(|a| 2 * a + 2).collect()));
    }
    let axes: Vec<usize> = (1..=N).collect();
    let x = windows(x, &axes, &kernel, &stride, &padding.map(|p| (p, p)), fill)?;
    Ok((x, (-(N as i64)..0).collect()))
}

macro_rules! pools {
    ($($(#[$doc:meta])* $Pool:ident $fill:expr, $reduce:ident: $One:ident $Two:ident $Three:ident;)*) => {$(
        $(#[$doc])*
        ///
        /// # Shapes
        /// `x: (n, *s, c) -> (n, *t, c)` with `t = (s + 2 padding - kernel) / stride + 1`, rounded
        /// down.
        #[derive(Clone, Copy, Debug, PartialEq, Module)]
        pub struct $Pool<const N: usize> {
            /// The size of the window.
            #[module(skip)]
            pub kernel: [usize; N],
            /// The step of the window.
            #[module(skip)]
            pub stride: [usize; N],
            /// How much is added at both ends.
            #[module(skip)]
            pub padding: [usize; N],
        }

        #[doc = concat!("[`", stringify!($Pool), "`] over one axis.")]
        pub type $One = $Pool<1>;
        #[doc = concat!("[`", stringify!($Pool), "`] over two axes.")]
        pub type $Two = $Pool<2>;
        #[doc = concat!("[`", stringify!($Pool), "`] over three axes.")]
        pub type $Three = $Pool<3>;

        impl<const N: usize> $Pool<N> {
            /// Windows that do not overlap, and no padding.
            pub fn new(kernel: [usize; N]) -> $Pool<N> {
                $Pool { kernel, stride: kernel, padding: [0; N] }
            }

            /// The layer with another stride.
            pub fn stride(self, stride: [usize; N]) -> $Pool<N> {
                $Pool { stride, ..self }
            }

            /// The layer with another padding.
            pub fn padding(self, padding: [usize; N]) -> $Pool<N> {
                $Pool { padding, ..self }
            }

            /// The layer's result.
            ///
            /// # Errors
            /// Kind `Shape` if x has another number of axes or one is shorter than the window,
            /// `Argument` if a stride is 0.
            pub fn forward(&self, x: &Array) -> Result<Array> {
                let (x, axes) = sliding(x, self.kernel, self.stride, self.padding, $fill)?;
                x.$reduce(Some(&axes), false)
            }
        }
    )*};
}
pools! {
    /// The maximum over windows; the padding is lower than any number.
    MaxPool f64::NEG_INFINITY, max: MaxPool1d MaxPool2d MaxPool3d;
    /// The mean over windows; the zeros of the padding count.
    AvgPool 0.0, mean: AvgPool1d AvgPool2d AvgPool3d;
}
