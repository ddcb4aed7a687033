//! Functions in files: recordings with their constants, to be called by another program.
//!
//! # The format
//!
//! A file is a safetensors file. Its tensors are the constants, named by their numbers; one that
//! several recordings use is there once. Its metadata has
//!
//! | key | value |
//! | --- | --- |
//! | `format` | `lazulite.function` |
//! | `version` | `1`; a reader refuses others |
//! | `functions` | the recordings, JSON |
//! | `checksum` | CRC-32 of that text, hexadecimal |
//! | `metadata` | a text of the user's, if there is one |
//!
//! `functions` is a list of objects: `names` of the last inputs, in order, those before them having
//! none; `constants`, the numbers of the captured arrays; and `graph`, a [`Graph`]. There an op is
//! `{"Reduce": {"op": "Sum", "axes": [0]}}`: the primitive and its parameters as the engine's
//! documentation names them. An element type is its name, a scalar its type and bits.
//!
//! Nothing in a file is believed: numbers are checked before anything is allocated, and each op is
//! checked for its inputs, whose shapes are inferred anew.

use crate::input::{Input, Subject};
use crate::output::Saved;
use crate::safetensors::{self, Metadata};
use lazulite_core::device::current_stream;
use lazulite_core::op::Aval;
use lazulite_core::shape::show;
use lazulite_core::transform::{Graph, Traced, Tree, trace};
use lazulite_core::{Array, Error, Result, Stream};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

const FORMAT: &str = "lazulite.function";
const VERSION: &str = "1";

/// Writes `f`, recorded for `args`, to the file at `path`.
///
/// Arrays that `f` uses without being given them are constants in the file.
///
/// # Errors
/// Those of `f` and of [`Exporter::save`].
pub fn save<A: Tree, B: Tree>(
    path: impl AsRef<Path>,
    f: impl FnOnce(A) -> Result<B>,
    args: A,
) -> Result<()> {
    let mut exporter = Exporter::default();
    exporter.trace(&args.leaves(), &[], |x| Ok(f(args.with_leaves(x.to_vec())?)?.leaves()))?;
    exporter.save(path)
}

/// Recordings on their way to a file.
#[derive(Clone, Debug, Default)]
pub struct Exporter {
    shapeless: bool,
    metadata: Option<String>,
    traces: Vec<Recorded>,
}

#[derive(Clone, Debug)]
struct Recorded {
    names: Vec<String>,
    traced: Traced,
}

/// A recording in a file.
#[derive(Deserialize, Serialize)]
struct Stored {
    names: Vec<String>,
    constants: Vec<u32>,
    graph: Graph,
}

/// The inputs of a recording: how many have no name, and the names of the others in order.
#[derive(Clone, Copy, Debug)]
struct Signature<'a> {
    names: &'a [String],
    avals: &'a [Aval],
    shapeless: bool,
}

impl Signature<'_> {
    /// True iff a call with such arrays is one for this recording.
    fn takes(&self, names: &[&str], inputs: &[Aval]) -> bool {
        names == self.names
            && inputs.len() == self.avals.len()
            && inputs.iter().zip(self.avals).all(|(x, aval)| {
                let shape = match self.shapeless {
                    true => x.shape.len() == aval.shape.len(),
                    false => x.shape == aval.shape,
                };
                shape && x.dtype == aval.dtype
            })
    }
}

/// `float32 (2, 3), y: float32 (3,)`.
fn describe(names: &[&str], avals: &[Aval]) -> String {
    let mut text = String::new();
    let unnamed = avals.len() - names.len().min(avals.len());
    for (i, aval) in avals.iter().enumerate() {
        let name = i.checked_sub(unnamed).and_then(|n| names.get(n));
        let (comma, name) =
            (if i > 0 { ", " } else { "" }, name.map_or(String::new(), |n| format!("{n}: ")));
        // Writing to a string does not fail.
        let _ = write!(text, "{comma}{name}{} {}", aval.dtype, show(&aval.shape));
    }
    if text.is_empty() { "no arrays".into() } else { text }
}

fn avals<'a>(arrays: impl Iterator<Item = &'a Array>) -> Vec<Aval> {
    arrays.map(|x| Aval::new(x.shape(), x.dtype())).collect()
}

/// Named arrays in the order of their names.
fn sorted<'a>(named: &'a [(&'a str, Array)]) -> Vec<&'a (&'a str, Array)> {
    let mut named: Vec<_> = named.iter().collect();
    named.sort_by_key(|(name, _)| *name);
    named
}

impl Exporter {
    /// No recording yet. If `shapeless`, those to come may be applied to arrays of other sizes;
    /// `metadata` is a text that travels with them.
    pub fn new(shapeless: bool, metadata: Option<String>) -> Exporter {
        Exporter { shapeless, metadata, traces: Vec::new() }
    }

    /// Records `f` for `inputs` followed by the named inputs in the order of their names.
    ///
    /// # Errors
    /// Those of `f`; kind `Argument` if there is a recording for such inputs, or two of a name;
    /// `Unsupported` if the recording has an op that cannot be stored.
    pub fn trace(
        &mut self,
        inputs: &[Array],
        named: &[(&str, Array)],
        f: impl FnOnce(&[Array]) -> Result<Vec<Array>>,
    ) -> Result<()> {
        let named = sorted(named);
        let names: Vec<&str> = named.iter().map(|(name, _)| *name).collect();
        if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(Error::argument("export", format!("two inputs are named {:?}", pair[0])));
        }
        let avals = avals(inputs.iter().chain(named.iter().map(|(_, x)| x)));
        let known = |t: &Recorded| {
            let (names_of, avals_of) = (&t.names, t.traced.inputs());
            Signature { names: names_of, avals: avals_of, shapeless: self.shapeless }
                .takes(&names, &avals)
        };
        if self.traces.iter().any(known) {
            let message =
                format!("the function was recorded before for {}", describe(&names, &avals));
            return Err(Error::argument("export", message));
        }
        let traced = trace(&avals, self.shapeless, f)?;
        // What a reader would refuse is an error here.
        let traced = traced.graph()?.traced(traced.captured().to_vec())?;
        let names = names.into_iter().map(str::to_owned).collect();
        self.traces.push(Recorded { names, traced });
        Ok(())
    }

    /// The recordings: the names of their last inputs, and what they do.
    pub fn traces(&self) -> impl Iterator<Item = (&[String], &Traced)> {
        self.traces.iter().map(|t| (&t.names[..], &t.traced))
    }

    /// Writes the recordings to `path`, which is replaced only when all is written.
    ///
    /// # Errors
    /// Kind `Io` if the file cannot be written; those of evaluating the constants.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let mut constants: Vec<&Array> = Vec::new();
        let mut numbers: BTreeMap<usize, u32> = BTreeMap::new();
        let mut stored = Vec::with_capacity(self.traces.len());
        for recorded in &self.traces {
            let mut number = |x| {
                *numbers.entry(Array::id(x)).or_insert_with(|| {
                    constants.push(x);
                    constants.len() as u32 - 1
                })
            };
            stored.push(Stored {
                names: recorded.names.clone(),
                constants: recorded.traced.captured().iter().map(&mut number).collect(),
                graph: recorded.traced.graph()?,
            });
        }
        let path = path.as_ref();
        let functions = serde_json::to_string(&stored)
            .map_err(|e| Error::unsupported("export", format!("{}: {e}", path.display())))?;
        let mut metadata = Metadata::from([
            ("format".to_owned(), FORMAT.to_owned()),
            ("version".to_owned(), VERSION.to_owned()),
            ("checksum".to_owned(), checksum(&functions)),
            ("functions".to_owned(), functions),
        ]);
        if let Some(text) = &self.metadata {
            metadata.insert("metadata".to_owned(), text.clone());
        }
        let names: Vec<String> = (0..constants.len()).map(|i| i.to_string()).collect();
        let tensors: Vec<(&str, &dyn Saved)> = (names.iter().zip(&constants))
            .map(|(name, x)| (name.as_str(), *x as &dyn Saved))
            .collect();
        safetensors::save(path, &tensors, &metadata)
    }
}

fn checksum(text: &str) -> String {
    format!("{:08x}", crc32fast::hash(text.as_bytes()))
}

/// A function from a file. Calls build the graph that the function built, so the result is
/// differentiated, batched and compiled like any other.
#[derive(Clone, Debug)]
pub struct Imported {
    metadata: String,
    traces: Vec<(Vec<String>, Traced)>,
    /// The stream that the recordings are on.
    stream: Stream,
}

impl Imported {
    /// The function in the file at `path`, on the current stream.
    ///
    /// # Errors
    /// As [`Imported::read`]; kind `Io` if the file cannot be opened.
    pub fn open(path: impl AsRef<Path>) -> Result<Imported> {
        Imported::read(&Input::open(path)?)
    }

    /// The function in a file. Its constants are read when they are first used.
    ///
    /// # Errors
    /// Kind `Io` if it is not such a file, is damaged, or is of a later version.
    pub fn read(input: &Input) -> Result<Imported> {
        let subject = input.subject("import");
        let prefix = input.prefix(16)?;
        if !safetensors::recognises(&prefix) {
            return Err(subject.invalid("it does not hold a function"));
        }
        let mut file = safetensors::open(input)?;
        let mut entry = |key: &str| file.metadata.remove(key);
        if entry("format").as_deref() != Some(FORMAT) {
            return Err(subject.invalid("it does not hold a function"));
        }
        let version = entry("version").unwrap_or_default();
        if version != VERSION {
            let why = format!("it has version {version:?} of the format, known is {VERSION:?}");
            return Err(subject.invalid(why));
        }
        let functions = entry("functions").unwrap_or_default();
        if entry("checksum").as_deref() != Some(checksum(&functions).as_str()) {
            return Err(subject.invalid("the functions do not have the checksum in the file"));
        }
        let metadata = entry("metadata").unwrap_or_default();
        let stored: Vec<Stored> = serde_json::from_str(&functions)
            .map_err(|e| subject.invalid(format!("the functions are not valid: {e}")))?;
        let constants: BTreeMap<String, Array> = (file.tensors.iter())
            .map(|(name, tensor)| Ok((name.clone(), tensor.array()?)))
            .collect::<Result<_>>()?;
        let traces = stored
            .into_iter()
            .map(|stored| recording(stored, &constants, &subject))
            .collect::<Result<_>>()?;
        Ok(Imported { metadata, traces, stream: current_stream() })
    }

    /// The text that was saved with the function; empty if there was none.
    pub fn metadata(&self) -> &str {
        &self.metadata
    }

    /// The recordings: the names of their last inputs, and what they do.
    pub fn traces(&self) -> impl Iterator<Item = (&[String], &Traced)> {
        self.traces.iter().map(|(names, traced)| (&names[..], traced))
    }

    /// The function's outputs for `inputs` and named inputs.
    ///
    /// # Errors
    /// Kind `Argument` if there is no recording for such inputs; of a recording for all sizes also
    /// those of its ops.
    pub fn call(&self, inputs: &[Array], named: &[(&str, Array)]) -> Result<Vec<Array>> {
        let named = sorted(named);
        let names: Vec<&str> = named.iter().map(|(name, _)| *name).collect();
        let inputs: Vec<Array> =
            inputs.iter().chain(named.iter().map(|(_, x)| x)).cloned().collect();
        let given = avals(inputs.iter());
        let fits = |(names_of, traced): &&(Vec<String>, Traced)| {
            let (avals, shapeless) = (traced.inputs(), traced.is_shapeless());
            Signature { names: names_of, avals, shapeless }.takes(&names, &given)
        };
        let Some((_, traced)) = self.traces.iter().find(fits) else {
            let mut message = format!("called with {}; recorded for", describe(&names, &given));
            for (i, (names, traced)) in self.traces.iter().enumerate() {
                let names: Vec<&str> = names.iter().map(String::as_str).collect();
                let sizes = if traced.is_shapeless() { " of any sizes" } else { "" };
                let semicolon = if i > 0 { ";" } else { "" };
                let inputs = describe(&names, traced.inputs());
                // Writing to a string does not fail.
                let _ = write!(message, "{semicolon} {inputs}{sizes}");
            }
            return Err(Error::argument("import", message));
        };
        let current = current_stream();
        if current == self.stream {
            return traced.call(&inputs);
        }
        traced.moved(self.stream, current).call(&inputs)
    }
}

/// A recording from its parts in a file.
fn recording(
    stored: Stored,
    constants: &BTreeMap<String, Array>,
    subject: &Subject,
) -> Result<(Vec<String>, Traced)> {
    let constant = |number: &u32| {
        let found = constants.get(&number.to_string()).cloned();
        found.ok_or_else(|| subject.invalid(format!("constant {number} is missing")))
    };
    let captured = stored.constants.iter().map(constant).collect::<Result<Vec<_>>>()?;
    if stored.names.len() > stored.graph.inputs.len() {
        return Err(subject.invalid("more names than inputs"));
    }
    let traced = stored.graph.traced(captured).map_err(|e| e.context(subject.label()))?;
    Ok((stored.names, traced))
}
