//! Eight-bit floats with four bits of exponent and three of mantissa (E4M3), in `uint8`.

use super::like;
use crate::array::Array;
use crate::dtype::Dtype;
use crate::error::{Error, Result};

/// The code of the greatest number, 448.
const MOST: f64 = 126.0;

impl Array {
    /// The nearest E4M3 numbers, ties to even, as codes in `uint8`. What is larger than 448, and
    /// NaN, becomes 448 with its sign.
    ///
    /// # Errors
    /// Kind `Dtype` if the array is not floating.
    pub fn to_fp8(&self) -> Result<Array> {
        if !self.dtype().is_floating() {
            return Err(Error::dtype("to_fp8", &[self.dtype()], "a floating type"));
        }
        let bits = self.astype(Dtype::F32)?.view(Dtype::U32)?;
        let sign = bits.right_shift(&like(&bits, 31.0))?.multiply(&like(&bits, 128.0))?;
        let size = bits.bitwise_and(&like(&bits, f64::from(i32::MAX)))?;
        // Steps are 2^(e - 3) for a size from 2^e on, and no finer than 2^-9.
        let exponent = size.right_shift(&like(&bits, 23.0))?.maximum(&like(&bits, 121.0))?;
        let scale = like(&bits, 257.0).subtract(&exponent.minimum(&like(&bits, 200.0))?)?;
        let scale = scale.left_shift(&like(&bits, 23.0))?.view(Dtype::F32)?;
        let steps = size.view(Dtype::F32)?.multiply(&scale)?.round_half_even()?;
        let steps = steps.less_equal(&like(&steps, 16.0))?.select(&steps, &like(&steps, 16.0))?;
        let base = exponent.subtract(&like(&bits, 121.0))?.multiply(&like(&bits, 8.0))?;
        let code = base.add(&steps.astype(Dtype::U32)?)?.minimum(&like(&bits, MOST))?;
        code.add(&sign)?.astype(Dtype::U8)
    }

    /// The numbers of E4M3 codes in `uint8`, as `dtype`. The codes 127 and 255 are NaN.
    ///
    /// # Errors
    /// Kind `Dtype` if the codes are not `uint8` or `dtype` is not floating.
    pub fn from_fp8(&self, dtype: Dtype) -> Result<Array> {
        if self.dtype() != Dtype::U8 || !dtype.is_floating() {
            let expected = "uint8 codes and a floating result";
            return Err(Error::dtype("from_fp8", &[self.dtype(), dtype], expected));
        }
        let value = |code: u32| -> f32 {
            let (exponent, mantissa) = ((code >> 3 & 15) as i32, (code & 7) as f32);
            let size = match exponent {
                15 if code & 7 == 7 => f32::NAN,
                0 => mantissa / 512.0,
                _ => (1.0 + mantissa / 8.0) * 2f32.powi(exponent - 7),
            };
            if code & 128 == 0 { size } else { -size }
        };
        let table: Vec<f32> = (0..256).map(value).collect();
        let table = Array::from_slice(&table, &[256])?.astype(dtype)?;
        table.take(&self.astype(Dtype::U32)?, Some(0))
    }
}
