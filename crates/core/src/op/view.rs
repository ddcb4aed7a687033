//! Views: ops that move no elements. At run time they are arithmetic on layouts
//! ([`Primitive::view`]); a copy is made only where strides cannot express the result.

use super::{Avals, Derivative, Primitive, Rules, one};
use crate::array::Array;
use crate::dtype::Dtype;
use crate::error::{Error, Result};
use crate::shape::{
    Axes, Layout, Shape, Strides, broadcast_shapes, checked_len, normalize_axis, show,
};
use smallvec::SmallVec;
use std::hash::{Hash, Hasher};

/// The input repeated along axes of size 1 and new leading axes, to `shape`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Broadcast {
    /// The result's shape.
    pub shape: Shape,
}

/// The input's elements in row-major order under `shape`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Reshape {
    /// The result's shape, of as many elements.
    pub shape: Shape,
}

/// Axis `i` of the result is axis `axes[i]` of the input.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Transpose {
    /// A permutation.
    pub axes: Axes,
}

/// Elements `start + i * step` along each axis, `shape` of them. All are inside the input.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Slice {
    /// The first element along each axis.
    pub start: SmallVec<[usize; 4]>,
    /// The step along each axis, not zero.
    pub step: Strides,
    /// The result's shape.
    pub shape: Shape,
}

/// Element `i` of the result is element `offset + sum(i * strides)` of the flattened input.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AsStrided {
    /// The result's shape.
    pub shape: Shape,
    /// Steps in elements.
    pub strides: Strides,
    /// The place of the first element.
    pub offset: usize,
}

/// The input's bytes as `dtype`; where the sizes differ the last axis grows or shrinks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Bitcast {
    /// The result's dtype.
    pub dtype: Dtype,
}

impl Primitive {
    /// True iff the op moves no elements: [`Primitive::view`] gives its result's layout.
    pub fn is_view(&self) -> bool {
        matches!(
            self,
            Primitive::Broadcast(_)
                | Primitive::Reshape(_)
                | Primitive::Transpose(_)
                | Primitive::Slice(_)
                | Primitive::AsStrided(_)
                | Primitive::Bitcast(_)
                | Primitive::Identity(_)
        )
    }

    /// The layout of a view's result on a first input of `layout` and `dtype`, or `None` if the
    /// input must be made contiguous first (a contiguous input always works).
    pub fn view(&self, layout: &Layout, dtype: Dtype) -> Option<Layout> {
        match self {
            Primitive::Broadcast(op) => Some(layout.broadcast_to(&op.shape)),
            Primitive::Reshape(op) => layout.reshape(&op.shape),
            Primitive::Transpose(op) => Some(layout.transpose(&op.axes)),
            Primitive::Slice(op) => Some(layout.slice(&op.start, &op.step, &op.shape)),
            Primitive::AsStrided(op) => layout.is_contiguous().then(|| Layout {
                shape: op.shape.clone(),
                strides: op.strides.clone(),
                offset: layout.offset + op.offset,
            }),
            Primitive::Bitcast(op) => op.view(layout, dtype),
            Primitive::Identity(_) => Some(layout.clone()),
            _ => None,
        }
    }
}

impl Bitcast {
    fn view(self, layout: &Layout, dtype: Dtype) -> Option<Layout> {
        let (old, new) = (dtype.size(), self.dtype.size());
        let mut out = layout.clone();
        if old == new {
            return Some(out);
        }
        if !layout.is_contiguous() || (layout.offset * old) % new != 0 {
            return None;
        }
        let last = out.shape.last_mut()?;
        *last = *last * old / new;
        out.strides = crate::shape::contiguous_strides(&out.shape);
        out.offset = layout.offset * old / new;
        Some(out)
    }
}

impl Array {
    /// The array repeated along axes of size 1 and new leading axes, to `shape`. A view.
    ///
    /// # Errors
    /// Kind `Shape` if an axis has another size than 1 and than the target.
    pub fn broadcast_to(&self, shape: &[usize]) -> Result<Array> {
        if self.shape() == shape {
            return Ok(self.clone());
        }
        Array::apply(Broadcast { shape: shape.into() }, std::slice::from_ref(self))
    }

    /// The elements in row-major order under another shape. A view where strides allow it.
    ///
    /// # Errors
    /// Kind `Shape` if the number of elements differs.
    pub fn reshape(&self, shape: &[usize]) -> Result<Array> {
        if self.shape() == shape {
            return Ok(self.clone());
        }
        Array::apply(Reshape { shape: shape.into() }, std::slice::from_ref(self))
    }

    /// The array with its axes in the order `axes`, reversed if `None`. A view.
    ///
    /// # Errors
    /// Kind `Axis` if an axis is out of range, `Argument` if `axes` is not a permutation.
    pub fn transpose(&self, axes: Option<&[i64]>) -> Result<Array> {
        let ndim = self.ndim();
        let axes: Axes = match axes {
            None => (0..ndim).rev().collect(),
            Some(axes) => {
                axes.iter().map(|&a| normalize_axis("transpose", a, ndim)).collect::<Result<_>>()?
            }
        };
        if axes.iter().enumerate().all(|(i, &a)| i == a) && axes.len() == ndim {
            return Ok(self.clone());
        }
        Array::apply(Transpose { axes }, std::slice::from_ref(self))
    }

    /// The array with axis `from` moved to place `to`. A view.
    ///
    /// # Errors
    /// Kind `Axis` if an axis is out of range.
    pub fn moveaxis(&self, from: i64, to: i64) -> Result<Array> {
        let ndim = self.ndim();
        let from = normalize_axis("moveaxis", from, ndim)?;
        let to = normalize_axis("moveaxis", to, ndim)?;
        let mut axes: Vec<i64> = (0..ndim as i64).filter(|&a| a != from as i64).collect();
        axes.insert(to, from as i64);
        self.transpose(Some(&axes))
    }

    /// The elements in row-major order without gaps: the array itself if it is laid out so.
    ///
    /// # Errors
    /// Those of evaluation, since the layout is known only then.
    pub fn contiguous(&self) -> Result<Array> {
        let (buffer, layout) = self.buffer()?;
        if layout.is_contiguous() {
            return Array::from_buffer(buffer, self.dtype(), layout);
        }
        crate::eval::copy_contiguous(buffer, self.dtype(), layout)
    }
}

impl Rules for Broadcast {
    fn name(&self) -> &'static str {
        "broadcast_to"
    }

    fn infer(&self, inputs: &[Array]) -> Result<Avals> {
        let from = inputs[0].shape();
        let to = broadcast_shapes("broadcast_to", from, &self.shape)?;
        if to != self.shape {
            let message = format!("cannot broadcast {} to {}", show(from), show(&self.shape));
            return Err(Error::shape("broadcast_to", &[from, &self.shape], message));
        }
        checked_len("broadcast_to", &to)?;
        one(to, inputs[0].dtype())
    }

    fn derivative(&self) -> Derivative {
        Derivative::Linear(&[])
    }

    /// The target shape is a parameter of the plan; which axes grow follows from the ranks and the
    /// unit axes, which the key holds.
    fn key(&self, _state: &mut impl Hasher) {}
}

impl Rules for Reshape {
    fn name(&self) -> &'static str {
        "reshape"
    }

    fn infer(&self, inputs: &[Array]) -> Result<Avals> {
        let from = inputs[0].shape();
        let (have, want) = (inputs[0].len(), checked_len("reshape", &self.shape)?);
        if have != want {
            let message = format!(
                "cannot reshape {} of {have} elements to {} of {want}",
                show(from),
                show(&self.shape)
            );
            return Err(Error::shape("reshape", &[from, &self.shape], message));
        }
        one(self.shape.clone(), inputs[0].dtype())
    }

    fn derivative(&self) -> Derivative {
        Derivative::Linear(&[])
    }

    fn key(&self, _state: &mut impl Hasher) {}
}

impl Rules for Transpose {
    fn name(&self) -> &'static str {
        "transpose"
    }

    fn infer(&self, inputs: &[Array]) -> Result<Avals> {
        let shape = inputs[0].shape();
        let mut seen = SmallVec::<[bool; 8]>::from_elem(false, shape.len());
        for &a in &self.axes {
            if a >= shape.len() || std::mem::replace(&mut seen[a], true) {
                let message = format!("axes {:?} are not a permutation", self.axes.as_slice());
                return Err(Error::argument("transpose", message));
            }
        }
        if self.axes.len() != shape.len() {
            let message = format!("{} axes given for an array of {}", self.axes.len(), shape.len());
            return Err(Error::argument("transpose", message));
        }
        one(self.axes.iter().map(|&a| shape[a]).collect::<Shape>(), inputs[0].dtype())
    }

    fn derivative(&self) -> Derivative {
        Derivative::Linear(&[])
    }
}

impl Rules for Slice {
    fn name(&self) -> &'static str {
        "slice"
    }

    fn infer(&self, inputs: &[Array]) -> Result<Avals> {
        one(self.shape.clone(), inputs[0].dtype())
    }

    fn derivative(&self) -> Derivative {
        Derivative::Linear(&[])
    }

    fn key(&self, _state: &mut impl Hasher) {}
}

impl Rules for AsStrided {
    fn name(&self) -> &'static str {
        "as_strided"
    }

    fn infer(&self, inputs: &[Array]) -> Result<Avals> {
        let layout = Layout {
            shape: self.shape.clone(),
            strides: self.strides.clone(),
            offset: self.offset,
        };
        if let Some((low, high)) = layout.extent()
            && (low < 0 || high as usize >= inputs[0].len())
        {
            let message = format!(
                "shape {}, strides {:?} and offset {} reach elements {low} to {high} of an array of {}",
                show(&self.shape),
                self.strides.as_slice(),
                self.offset,
                inputs[0].len()
            );
            return Err(Error::argument("as_strided", message));
        }
        one(self.shape.clone(), inputs[0].dtype())
    }

    fn derivative(&self) -> Derivative {
        Derivative::Linear(&[])
    }

    fn key(&self, _state: &mut impl Hasher) {}
}

impl Rules for Bitcast {
    fn name(&self) -> &'static str {
        "view"
    }

    fn infer(&self, inputs: &[Array]) -> Result<Avals> {
        let (old, new) = (inputs[0].dtype().size(), self.dtype.size());
        let mut shape: Shape = inputs[0].shape().into();
        if old != new {
            match shape.last_mut() {
                Some(last) if *last * old % new == 0 => *last = *last * old / new,
                _ => {
                    let message = format!(
                        "the last axis of {} elements of {} does not hold whole elements of {}",
                        show(inputs[0].shape()),
                        inputs[0].dtype(),
                        self.dtype
                    );
                    return Err(Error::shape("view", &[inputs[0].shape()], message));
                }
            }
        }
        one(shape, self.dtype)
    }

    fn derivative(&self) -> Derivative {
        Derivative::Zero
    }
}
