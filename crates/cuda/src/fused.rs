//! Tapes without reductions, as kernels of one thread for each pack of elements.
//!
//! A kernel is printed for a variant: the tape, the number of axes left after merging, how each
//! load moves along the innermost one, and the width of a pack. Sizes and strides are parameters, so
//! other sizes of the same variant run the same kernel.

mod print;

use std::hash::{BuildHasher, Hash};
use std::sync::OnceLock;

use lazulite_core::backend::Operand;
use lazulite_core::plan::{Instr, Tape};
use lazulite_core::shape::Strides;
use lazulite_core::{Dtype, Result};
use parking_lot::Mutex;
use rustc_hash::{FxBuildHasher, FxHashMap};
use smallvec::SmallVec;

use crate::allocator::{DeviceMemory, RandomWords};
use crate::args::Args;
use crate::driver::Kernel;
use crate::module::Rounding;
use crate::rows;
use crate::stream::Launch;
pub(crate) use print::print;

/// How a load moves along the innermost axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Step {
    /// One element for the whole array.
    Same,
    /// One element for a whole pack.
    Zero,
    /// Neighbours, aligned for an access of a whole pack.
    Unit,
    /// Any distance.
    Any,
}

/// What a kernel without reductions is printed for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Variant {
    pub ndim: usize,
    pub pack: usize,
    pub steps: SmallVec<[Step; 8]>,
    /// How the only store moves, where it is not contiguous from its buffer's start.
    pub into: Option<Step>,
    /// The load whose elements are random words that the kernel makes: each thread then has two
    /// packs, half the array apart. Its address is the key's.
    pub random: Option<usize>,
    /// True iff offsets need 64 bits.
    pub wide: bool,
}

/// Axes after merging: sizes, and for each operand the strides.
pub(crate) struct Merged {
    pub sizes: SmallVec<[usize; 4]>,
    pub strides: SmallVec<[Strides; 8]>,
}

/// Drops axes of size 1 and merges neighbours that all operands cross in one stride.
pub(crate) fn merge(sizes: &[usize], strides: &[&[isize]]) -> Merged {
    let none = strides.iter().map(|_| Strides::new());
    let mut out = Merged { sizes: SmallVec::new(), strides: none.collect() };
    for (axis, &n) in sizes.iter().enumerate() {
        if n == 1 {
            continue;
        }
        let joins = !out.sizes.is_empty()
            && (out.strides.iter().zip(strides))
                .all(|(o, s)| o.last() == Some(&(s[axis] * n as isize)));
        if joins {
            if let Some(last) = out.sizes.last_mut() {
                *last *= n;
            }
            for (o, s) in out.strides.iter_mut().zip(strides) {
                if let Some(last) = o.last_mut() {
                    *last = s[axis];
                }
            }
        } else {
            out.sizes.push(n);
            out.strides.iter_mut().zip(strides).for_each(|(o, s)| o.push(s[axis]));
        }
    }
    if out.sizes.is_empty() {
        out.sizes.push(1);
        out.strides.iter_mut().for_each(|o| o.push(0));
    }
    out
}

/// The strides of `operand` under `space`, to which it broadcasts.
pub(crate) fn broadcast_strides(operand: &Operand, space: &[usize]) -> Strides {
    let shape = operand.shape();
    let lead = space.len() - shape.len();
    (0..space.len())
        .map(|a| match a.checked_sub(lead) {
            Some(i) if shape[i] != 1 => operand.layout.strides[i],
            _ => 0,
        })
        .collect()
}

/// True iff all offsets of the operands, and `count`, need more than 31 bits.
pub(crate) fn needs_wide(count: usize, operands: &[&[Operand]]) -> bool {
    const NARROW: isize = i32::MAX as isize;
    let far = |o: &Operand| {
        o.layout.extent().is_some_and(|(lo, hi)| hi - lo > NARROW || lo < 0 && -lo > NARROW)
    };
    count as isize > NARROW || operands.iter().any(|list| list.iter().any(far))
}

/// The most elements in a pack: 16 bytes of the narrowest type, at most 8.
pub(crate) fn widest_pack<'a>(operands: impl Iterator<Item = &'a Operand>) -> usize {
    let least = operands.map(|o| o.dtype.size()).min().unwrap_or(4);
    (16 / least).min(8)
}

/// True iff a pack of `pack` elements at every multiple of it can be one access: `address` and the
/// strides of the outer axes keep the alignment.
pub(crate) fn aligned(address: u64, outer: &[isize], dtype: Dtype, pack: usize) -> bool {
    let bytes = (dtype.size() * pack).min(16);
    address.is_multiple_of(bytes as u64)
        && outer.iter().all(|s| (s * dtype.size() as isize) % bytes as isize == 0)
}

/// Points of a space up to which a kernel for sizes of any kind is as good as one for these: a loop whose
/// arrays grow has two kernels for a program then, not one for every width and alignment.
const SMALL: usize = 1 << 17;

/// What a kernel is printed for besides its program.
pub(crate) trait Printed: Clone + Eq + Hash {
    /// A variant that does not depend on widths and alignments, with which the same call can be made.
    fn loose(&self) -> Self;
}

impl Printed for Variant {
    fn loose(&self) -> Variant {
        Variant { pack: 1, ..self.clone() }
    }
}

/// A map from a tape and what else a kernel was printed for to the kernel.
pub(crate) struct KernelCache<V>(Mutex<Kernels<V>>);

struct Kernels<V> {
    known: FxHashMap<u64, Vec<Known<V>>>,
    /// How many kernels a tape has on a device, by their hash.
    counts: FxHashMap<u64, usize>,
}

/// The device, the tape and the variant of a kernel.
type Known<V> = (usize, Tape, V, Kernel);

impl<V: Printed> KernelCache<V> {
    /// An empty map.
    pub fn new() -> KernelCache<V> {
        KernelCache(Mutex::new(Kernels {
            known: FxHashMap::default(),
            counts: FxHashMap::default(),
        }))
    }

    fn find(&self, device: usize, tape: &Tape, variant: &V) -> (u64, Option<Kernel>) {
        let hash = FxBuildHasher.hash_one((device, tape, variant));
        let same = |e: &&Known<V>| e.0 == device && e.1 == *tape && e.2 == *variant;
        let guard = self.0.lock();
        let found = guard.known.get(&hash).and_then(|list| list.iter().find(same).map(|e| e.3));
        (hash, found)
    }

    /// The kernel for a device, a tape and a variant, which is a looser one for small calls of tapes
    /// that have a kernel already; `make` is called where it is not known.
    pub fn get(
        &self,
        device: usize,
        tape: &Tape,
        variant: V,
        points: usize,
        make: impl FnOnce(&V) -> Result<Kernel>,
    ) -> Result<(Kernel, V)> {
        let (mut hash, found) = self.find(device, tape, &variant);
        if let Some(kernel) = found {
            return Ok((kernel, variant));
        }
        let program = FxBuildHasher.hash_one((device, tape));
        let mut variant = variant;
        if points <= SMALL && self.0.lock().counts.contains_key(&program) {
            variant = variant.loose();
            let found;
            (hash, found) = self.find(device, tape, &variant);
            if let Some(kernel) = found {
                return Ok((kernel, variant));
            }
        }
        let kernel = make(&variant)?;
        let mut guard = self.0.lock();
        let entry = (device, tape.clone(), variant.clone(), kernel);
        guard.known.entry(hash).or_default().push(entry);
        *guard.counts.entry(program).or_default() += 1;
        Ok((kernel, variant))
    }
}

/// Runs a fused program.
pub(crate) fn execute(
    launch: &Launch<'_>,
    tape: &Tape,
    inputs: &[Operand],
    outputs: &[Operand],
    space: &[usize],
) -> Result<()> {
    if tape.reduces() {
        return rows::execute(launch, tape, inputs, outputs, space);
    }
    run(launch, tape, inputs, outputs, space, false)
}

/// Runs a program without reductions whose only store may have any layout.
pub(crate) fn execute_into(
    launch: &Launch<'_>,
    tape: &Tape,
    inputs: &[Operand],
    output: &Operand,
) -> Result<()> {
    run(launch, tape, inputs, std::slice::from_ref(output), output.shape(), true)
}

fn run(
    launch: &Launch<'_>,
    tape: &Tape,
    inputs: &[Operand],
    outputs: &[Operand],
    space: &[usize],
    into: bool,
) -> Result<()> {
    let count: usize = space.iter().product();
    if count == 0 || outputs.is_empty() {
        return Ok(());
    }
    let strides: SmallVec<[Strides; 8]> =
        inputs.iter().map(|o| broadcast_strides(o, space)).collect();
    let contiguous = lazulite_core::shape::contiguous_strides(space);
    let mut all: SmallVec<[&[isize]; 8]> = strides.iter().map(|s| &s[..]).collect();
    all.push(if into { &outputs[0].layout.strides } else { &contiguous });
    let merged = merge(space, &all);
    let ndim = merged.sizes.len();
    let inner = merged.sizes[ndim - 1];

    let mut pack = widest_pack(inputs.iter().chain(outputs));
    let made = match into {
        false if ndim == 1 && count.is_multiple_of(2 * pack) => {
            inputs.iter().zip(&merged.strides).enumerate().find_map(|(i, (o, s))| {
                pending_words(o, count).filter(|_| s[0] == 1).map(|words| (i, words))
            })
        }
        _ => None,
    };
    let random = made.as_ref().map(|m| m.0);
    let mut addresses: SmallVec<[u64; 8]> = SmallVec::new();
    for (i, input) in inputs.iter().enumerate() {
        addresses.push(match &made {
            Some((place, words)) if *place == i => launch.read(&words.key)?,
            _ => launch.read(input)?,
        });
    }
    for output in outputs {
        if let Some((place, _)) = &made
            && inputs[*place].buffer.same(&output.buffer)
        {
            // The words would be overwritten, and this is their last reader.
            let memory = output.buffer.downcast::<DeviceMemory>();
            memory.map(|m| m.pending.lock().take());
        }
        addresses.push(launch.write(output)?);
    }
    // With one axis the last pack may be cut; with several all packs of a row must be whole.
    while pack > 1
        && ((ndim > 1 && !inner.is_multiple_of(pack))
            || (!into
                && outputs
                    .iter()
                    .zip(&addresses[inputs.len()..])
                    .any(|(o, &at)| !aligned(at, &[], o.dtype, pack))))
    {
        pack /= 2;
    }
    let step = |i: usize| {
        let s = &merged.strides[i];
        match s[ndim - 1] {
            _ if random == Some(i) => Step::Unit,
            _ if s.iter().all(|&s| s == 0) => Step::Same,
            0 => Step::Zero,
            1 if aligned(addresses[i], &s[..ndim - 1], inputs[i].dtype, pack) => Step::Unit,
            _ => Step::Any,
        }
    };
    let variant = Variant {
        ndim,
        pack,
        steps: (0..inputs.len()).map(step).collect(),
        into: into.then(|| {
            let s = &merged.strides[inputs.len()];
            let at = addresses[inputs.len()];
            let unit = s[ndim - 1] == 1 && aligned(at, &s[..ndim - 1], outputs[0].dtype, pack);
            if unit { Step::Unit } else { Step::Any }
        }),
        random,
        wide: needs_wide(count, &[inputs, outputs]),
    };

    static KERNELS: OnceLock<KernelCache<Variant>> = OnceLock::new();
    let kernels = KERNELS.get_or_init(KernelCache::new);
    // A pack of random words is no matter of alignment.
    let points = if random.is_some() { usize::MAX } else { count };
    let (kernel, variant) = kernels.get(launch.gpu.index(), tape, variant, points, |variant| {
        launch.gpu.modules.load(&print(tape, variant), "tape", Rounding::Separate)
    })?;
    let pack = variant.pack;
    let packs = match random {
        Some(_) if count.is_multiple_of(2 * pack) => count / 2 / pack,
        _ if ndim == 1 => count.div_ceil(pack),
        _ => count / pack,
    };
    let mut args = Args::new();
    args.words(&addresses);
    let mut geometry: SmallVec<[u64; 32]> = SmallVec::new();
    geometry.push(packs as u64);
    geometry.extend(merged.sizes.iter().map(|&n| n as u64));
    for s in &merged.strides[..inputs.len() + usize::from(into)] {
        geometry.extend(s.iter().map(|&s| s as u64));
    }
    args.words(&geometry);
    const THREADS: usize = 256;
    let grid = [packs.div_ceil(THREADS) as u32, 1, 1];
    // SAFETY: the kernel was printed for this tape and variant; addresses cover the operands'
    // extents, which core bound, and reads and writes are ordered on the stream.
    unsafe { args.launch(kernel, grid, [THREADS as u32, 1, 1], 0, launch.queue) }
}

/// The random words that are pending for an operand, if it is all of them.
fn pending_words(operand: &Operand, count: usize) -> Option<RandomWords> {
    let memory = operand.buffer.downcast::<DeviceMemory>()?;
    let words = memory.pending.lock().clone()?;
    let all = operand.dtype == Dtype::U32 && operand.layout.offset == 0;
    (all && operand.layout.len() == count && words.words == count).then_some(words)
}

/// The types of the loads and stores as the tape has them.
pub(crate) fn load_dtypes(tape: &Tape) -> Vec<Dtype> {
    let mut out = vec![Dtype::F32; tape.inputs as usize];
    for value in &tape.values {
        if let Instr::Load { operand } = value.instr {
            out[operand as usize] = value.dtype;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_merge_where_all_operands_allow_it() {
        let merged = |sizes: &[usize], strides: &[&[isize]]| {
            let m = merge(sizes, strides);
            (m.sizes.to_vec(), m.strides.iter().map(|s| s.to_vec()).collect::<Vec<_>>())
        };
        let m = merged(&[2, 1, 3, 4], &[&[12, 0, 4, 1], &[0, 0, 0, 0]]);
        assert_eq!(m, (vec![24], vec![vec![1], vec![0]]));
        let m = merged(&[2, 3, 4], &[&[12, 4, 1], &[4, 0, 1]]);
        assert_eq!(m.0, [2, 3, 4]);
        let m = merged(&[2, 3, 4], &[&[12, 4, 1], &[0, 4, 1]]);
        assert_eq!(m, (vec![2, 12], vec![vec![12, 1], vec![0, 1]]));
        assert_eq!(merged(&[1, 1], &[&[5, 7]]).0, [1]);
    }
}
