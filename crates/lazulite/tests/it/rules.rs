//! Every primitive times every rule: values in all float types and layouts, jvp against differences,
//! vjp against jvp, second order, vmap against a loop, compiled against eager bit for bit, with
//! equal and with other sizes.

mod cases;
mod numeric;

use lazulite::op::{Aval, Primitive};
use lazulite::prelude::*;
use lazulite::transform::{Graph, Traced, trace, vjp_arrays};
use lazulite_testkit::{
    Arrangement, Rng, Tolerance, check_compile, check_grads, check_vmap, from_values, values,
};
use std::collections::{BTreeMap, BTreeSet};

/// What one argument of a case is made of.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    /// Floats of an interval, in whatever float type the check asks for.
    Float(f64, f64),
    /// `float32` of an interval, always.
    Single(f64, f64),
    /// `complex64` with parts of an interval.
    Complex(f64, f64),
    /// Integers from an interval, without its end.
    Int(Dtype, i64, i64),
    /// True or false.
    Bool,
}

#[derive(Clone, Debug)]
struct Input {
    shape: Vec<usize>,
    /// The shape to which a shapeless recording is applied.
    other: Option<Vec<usize>>,
    kind: Kind,
}

impl Input {
    fn or(mut self, other: &[usize]) -> Input {
        self.other = Some(other.to_vec());
        self
    }
}

fn input(kind: Kind, shape: &[usize]) -> Input {
    Input { shape: shape.to_vec(), other: None, kind }
}

type Function = Box<dyn Fn(&[Array]) -> Result<Vec<Array>>>;

struct Case {
    name: String,
    inputs: Vec<Input>,
    f: Function,
    /// How many times the case is differentiated.
    order: usize,
    tolerance: Tolerance,
    /// Whether values in other float types must be near those in `float64`.
    dtypes: bool,
    /// Primitives that the case meets outside of what depends on its arguments.
    also: &'static [&'static str],
}

impl Case {
    fn new(
        name: impl Into<String>,
        inputs: Vec<Input>,
        f: impl Fn(&[Array]) -> Result<Array> + 'static,
    ) -> Case {
        Case::several(name, inputs, move |x| Ok(vec![f(x)?]))
    }

    fn several(
        name: impl Into<String>,
        inputs: Vec<Input>,
        f: impl Fn(&[Array]) -> Result<Vec<Array>> + 'static,
    ) -> Case {
        let floats = |i: &Input| matches!(i.kind, Kind::Single(..) | Kind::Complex(..));
        let single = inputs.iter().any(floats);
        let tolerance = if single { Tolerance::single() } else { Tolerance::default() };
        let name = name.into();
        Case { name, inputs, f: Box::new(f), order: 2, tolerance, dtypes: !single, also: &[] }
    }

    /// Without derivatives: the function is not continuous, or has none on purpose.
    fn values_only(mut self) -> Case {
        self.order = 0;
        self
    }

    /// Which primitives the case also meets.
    fn also(mut self, primitives: &'static [&'static str]) -> Case {
        self.also = primitives;
        self
    }

    /// Without the comparison of float types, and with coarse differences: it rounds on purpose.
    fn coarse(mut self) -> Case {
        (self.tolerance, self.dtypes) = (Tolerance::single(), false);
        self
    }
}

fn sample(
    rng: &mut Rng,
    kind: Kind,
    shape: &[usize],
    float: Dtype,
    arrangement: Arrangement,
) -> Result<Array> {
    match kind {
        Kind::Float(low, high) => rng.array(shape, float, (low, high), arrangement),
        Kind::Single(low, high) => rng.array(shape, Dtype::F32, (low, high), arrangement),
        Kind::Complex(low, high) => rng.array(shape, Dtype::C64, (low, high), arrangement),
        Kind::Int(dtype, low, high) => {
            let len = shape.iter().product::<usize>();
            let range = (high - low) as u64;
            let start = rng.bits();
            // Indices differ where they can (3 has no factor in common with the ranges used), so
            // that few updates meet; wide ranges are for bits.
            let pick = |i: u64, word: u64| {
                if range > 1000 { word % range } else { (start % range + 3 * i) % range }
            };
            let data: Vec<f64> =
                (0..len as u64).map(|i| (low + pick(i, rng.bits()) as i64) as f64).collect();
            from_values(&data, shape, dtype)
        }
        Kind::Bool => {
            let len = shape.iter().product::<usize>();
            let data: Vec<f64> = (0..len).map(|_| (rng.bits() & 1) as f64).collect();
            from_values(&data, shape, Dtype::Bool)
        }
    }
}

fn text<T>(result: Result<T>) -> Result<T, String> {
    result.map_err(|e| e.to_string())
}

/// Checks that floats differ by at most `bound` times the largest element (at least 1), and that
/// all else is equal.
fn near(got: &Array, want: &Array, bound: f64) -> Result<(), String> {
    if got.shape() != want.shape() {
        return Err(format!("{got:?} is not like {want:?}"));
    }
    let (g, w) = (text(values(got))?, text(values(want))?);
    let finite = w.iter().filter(|x| x.is_finite());
    let largest = finite.fold(1.0, |m: f64, x| m.max(x.abs()));
    let bound = if got.dtype().is_inexact() { bound * largest } else { 0.0 };
    let same = |g: f64, w: f64| (g - w).abs() <= bound || g == w || (g.is_nan() && w.is_nan());
    match (0..w.len()).find(|&i| !same(g[i], w[i])) {
        Some(i) => Err(format!("element {i} is {}, expected {}", g[i], w[i])),
        None => Ok(()),
    }
}

impl Case {
    fn sample(&self, rng: &mut Rng, float: Dtype, a: Arrangement) -> Result<Vec<Array>, String> {
        self.inputs.iter().map(|i| text(sample(rng, i.kind, &i.shape, float, a))).collect()
    }

    fn grads(&self, rng: &mut Rng) -> Result<(), String> {
        let x = self.sample(rng, Dtype::F64, Arrangement::Contiguous)?;
        check_grads(&self.f, &x, self.order, self.tolerance, rng)
    }

    /// The cotangents of all inputs for cotangents of ones: a function for further checks.
    fn pull(&self, x: &[Array]) -> Result<Vec<Array>> {
        let ones = |y: &[Array]| y.iter().map(Array::ones_like).collect();
        Ok(vjp_arrays(&self.f, x, ones)?.1)
    }

    /// All inputs batched in front, and each alone with its batch axis at the end.
    fn vmap(
        &self,
        rng: &mut Rng,
        f: &dyn Fn(&[Array]) -> Result<Vec<Array>>,
    ) -> Result<(), String> {
        let n = self.inputs.len();
        let mut ways: Vec<Vec<Option<usize>>> = vec![vec![Some(0); n]];
        for (i, input) in self.inputs.iter().enumerate() {
            let mut axes = vec![None; n];
            axes[i] = Some(input.shape.len());
            ways.push(axes);
        }
        for axes in ways.iter().filter(|axes| !axes.is_empty()) {
            let x: Vec<Array> = (self.inputs.iter().zip(axes))
                .map(|(i, axis)| {
                    let mut shape = i.shape.clone();
                    axis.iter().for_each(|&axis| shape.insert(axis, 3));
                    text(sample(rng, i.kind, &shape, Dtype::F64, Arrangement::Contiguous))
                })
                .collect::<Result<_, _>>()?;
            // A batch may be summed in another order than one example.
            let tolerance = Tolerance { relative: 1e-5, absolute: 1e-6, ..self.tolerance };
            check_vmap(f, &x, axes, tolerance).map_err(|e| format!("axes {axes:?}: {e}"))?;
        }
        Ok(())
    }

    fn compile(
        &self,
        rng: &mut Rng,
        f: &dyn Fn(&[Array]) -> Result<Vec<Array>>,
    ) -> Result<(), String> {
        let x = self.sample(rng, Dtype::F32, Arrangement::Contiguous)?;
        let others = if self.inputs.iter().any(|i| i.other.is_some()) {
            let make = |i: &Input| {
                let shape = i.other.as_ref().unwrap_or(&i.shape);
                text(sample(rng, i.kind, shape, Dtype::F32, Arrangement::Contiguous))
            };
            Some(self.inputs.iter().map(make).collect::<Result<Vec<_>, _>>()?)
        } else {
            None
        };
        check_compile(f, &x, others.as_deref())
    }

    /// Values are the same whatever the layout of the inputs, but for the order of sums.
    fn layouts(&self, rng: &mut Rng) -> Result<(), String> {
        for arrangement in Arrangement::ALL {
            let x = self.sample(rng, Dtype::F32, arrangement)?;
            let plain = (x.iter())
                .map(|x| text(values(x).and_then(|v| from_values(&v, x.shape(), x.dtype()))))
                .collect::<Result<Vec<_>, _>>()?;
            let (got, want) = (text((self.f)(&x))?, text((self.f)(&plain))?);
            for (g, w) in got.iter().zip(&want) {
                // Sums of at most some dozens of terms near 1.
                near(g, w, 1e-5).map_err(|e| format!("{arrangement:?} inputs: {e}"))?;
            }
        }
        Ok(())
    }

    /// Values in every float type are near those in `float64` for the same inputs.
    fn dtypes(&self, rng: &mut Rng) -> Result<(), String> {
        for (dtype, epsilon) in [(Dtype::F32, 6e-8), (Dtype::F16, 5e-4), (Dtype::BF16, 4e-3)] {
            let x = self.sample(rng, dtype, Arrangement::Contiguous)?;
            let wide = (x.iter())
                .map(|x| match x.dtype().is_floating() {
                    true => text(values(x).and_then(|v| from_values(&v, x.shape(), Dtype::F64))),
                    false => Ok(x.clone()),
                })
                .collect::<Result<Vec<_>, _>>()?;
            let (got, want) = (text((self.f)(&x))?, text((self.f)(&wide))?);
            for (g, w) in got.iter().zip(&want) {
                // Composites of several ops round a few times, each relative to its largest term.
                near(g, w, 32.0 * epsilon).map_err(|e| format!("{dtype}, next to float64: {e}"))?;
            }
        }
        Ok(())
    }

    /// The primitives that the case meets.
    fn primitives(&self, rng: &mut Rng) -> Result<BTreeSet<&'static str>, String> {
        let x = self.sample(rng, Dtype::F64, Arrangement::Contiguous)?;
        let avals: Vec<Aval> = x.iter().map(|x| Aval::new(x.shape(), x.dtype())).collect();
        let traced = text(trace(&avals, false, &self.f))?;
        Ok(traced.steps().iter().map(|s| variant(&s.op)).chain(self.also.iter().copied()).collect())
    }
}

macro_rules! variants {
    ($($Variant:ident),* $(,)?) => {
        /// Every primitive that a case can meet.
        const VARIANTS: &[&str] = &[$(stringify!($Variant)),*];

        /// The name of the variant; a new one does not compile until it is listed.
        fn variant(op: &Primitive) -> &'static str {
            match op {
                // Leaves: the arguments of every eager call and of every traced one.
                Primitive::Data => "Data",
                Primitive::Placeholder(_) => "Placeholder",
                $(Primitive::$Variant(_) => stringify!($Variant),)*
            }
        }
    };
}
variants! {
    Scalar, Arange, Load, Cast, Unary, Binary, Select, Reduce, ArgReduce, Scan, Broadcast, Reshape,
    Transpose, Slice, AsStrided, Bitcast, Identity, Concatenate, Gather, GatherAxis, DynamicSlice,
    Scatter, ScatterAxis, SliceUpdate, DynamicSliceUpdate, MaskedScatter, Sort, ArgSort, Matmul,
    Quantize, Dequantize, QuantizedMatmul, MaskedMatmul, GroupedMatmul, RandomBits, Rope, Attention, AttentionGrad, Fft,
    Linalg, Conv, Kernel, CustomFunction,
}

#[test]
fn every_primitive_has_every_rule() {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let mut covered: BTreeMap<&str, usize> = BTreeMap::new();
    let mut failures = Vec::new();
    let cases = cases::all();
    for (number, case) in cases.iter().enumerate() {
        let mut rng = Rng::new(number as u64);
        let mut check = |rule: &'static str, result: Result<(), String>| {
            *counts.entry(rule).or_default() += 1;
            if let Err(e) = result {
                failures.push(format!("{}: {rule}: {e}", case.name));
            }
        };
        match case.primitives(&mut rng) {
            Ok(met) => met.into_iter().for_each(|p| *covered.entry(p).or_default() += 1),
            Err(e) => check("trace", Err(e)),
        }
        let pull = |x: &[Array]| case.pull(x);
        check("layouts", case.layouts(&mut rng));
        check("vmap", case.vmap(&mut rng, &case.f));
        check("compile", case.compile(&mut rng, &case.f));
        if case.dtypes {
            check("dtypes", case.dtypes(&mut rng));
        }
        if case.order > 0 {
            check("jvp, vjp and second order", case.grads(&mut rng));
            check("vmap of vjp", case.vmap(&mut rng, &pull));
            check("compile of vjp", case.compile(&mut rng, &pull));
        }
    }
    println!("{} cases; checks: {counts:#?}; cases by primitive: {covered:#?}", cases.len());
    let missing: Vec<_> = VARIANTS.iter().filter(|v| !covered.contains_key(**v)).collect();
    assert!(missing.is_empty(), "no case meets {missing:?}");
    // A recording of one size that is called with another one. These cases name sizes that the
    // recording cannot tell from others (a bound, a count, a shape computed by a rule), so that they
    // fail or need explicit sizes; the list may only shrink.
    let known: Vec<&str> = include_str!("rules/shapeless_gaps.txt").lines().collect();
    let gap = |failure: &String| {
        failure.split_once(": shapeless, other sizes: ").map(|f| f.0.to_string())
    };
    let (gaps, failures): (Vec<_>, Vec<_>) = failures.into_iter().partition(|f| gap(f).is_some());
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
    let gaps: Vec<String> = gaps.iter().filter_map(gap).collect();
    assert_eq!(gaps, known, "the known gaps of shapeless recordings");
}

/// Every number of `text` replaced by others, a few of them for each.
fn damaged(text: &str) -> impl Iterator<Item = String> + '_ {
    let bytes = text.as_bytes();
    let starts = (0..bytes.len())
        .filter(|&i| bytes[i].is_ascii_digit() && (i == 0 || !bytes[i - 1].is_ascii_digit()));
    starts.flat_map(move |start| {
        let end = (start..bytes.len()).find(|&i| !bytes[i].is_ascii_digit()).unwrap_or(bytes.len());
        ["0", "1", "7", "4294967296", "9223372036854775807"]
            .map(|number| format!("{}{number}{}", &text[..start], &text[end..]))
    })
}

/// No stored graph makes the engine panic: it is refused, or it is another function.
#[test]
fn damaged_graphs_are_refused_or_run() {
    const LARGEST: usize = 1 << 16;
    let (mut refused, mut run) = (0, 0);
    for (number, case) in cases::all().iter().enumerate() {
        let mut rng = Rng::new(number as u64);
        let x = case.sample(&mut rng, Dtype::F32, Arrangement::Contiguous).unwrap();
        let avals: Vec<Aval> = x.iter().map(|x| Aval::new(x.shape(), x.dtype())).collect();
        let Ok(traced) = trace(&avals, false, &case.f) else { continue };
        // Code of the user's cannot be stored.
        let Ok(graph) = traced.graph() else { continue };
        let text = serde_json::to_string(&graph).unwrap();
        for text in damaged(&text) {
            let Ok(graph) = serde_json::from_str::<Graph>(&text) else { continue };
            let Ok(traced) = graph.traced(traced.captured().to_vec()) else {
                refused += 1;
                continue;
            };
            let small = |t: &Traced| {
                t.steps().iter().all(|s| t.aval(s.first).shape.iter().product::<usize>() <= LARGEST)
            };
            if small(&traced)
                && let Ok(outputs) = traced.call(&x)
            {
                // What an op finds in its data may be an error.
                run += usize::from(lazulite::eval::eval(&outputs).is_ok());
            }
        }
    }
    println!("{refused} refused, {run} run");
    assert!(refused > 1000 && run > 1000, "{refused} refused, {run} run");
}
