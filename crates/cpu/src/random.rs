//! Random words: Threefry-2x32 with 20 rounds (Salmon et al., "Parallel random numbers: as easy as
//! 1, 2, 3", 2011), in the layout that `core/op/random.rs` states.

use lazulite_core::Result;
use lazulite_core::backend::Operand;
use lazulite_core::op::random::RandomBits;

use crate::pool::parallel_for;
use crate::strided::{SERIAL, Target, View, Walk, internal, with_bits};

/// Counters that are hashed together, one in each lane.
const LANES: usize = 32;
const PARITY: u32 = 0x1BD1_1BDA;
const ROTATIONS: [[u32; 4]; 2] = [[13, 15, 26, 6], [17, 29, 16, 24]];

/// The hashes of the counter pairs `(first + i, second + i)`, into `a[i]` and `b[i]`.
#[inline(always)]
fn hash(key: [u32; 2], first: u32, second: u32, a: &mut [u32; LANES], b: &mut [u32; LANES]) {
    let keys = [key[0], key[1], key[0] ^ key[1] ^ PARITY];
    for i in 0..LANES {
        a[i] = first.wrapping_add(i as u32).wrapping_add(keys[0]);
        b[i] = second.wrapping_add(i as u32).wrapping_add(keys[1]);
    }
    for round in 0..5u32 {
        for rotation in ROTATIONS[round as usize % 2] {
            for i in 0..LANES {
                a[i] = a[i].wrapping_add(b[i]);
                b[i] = b[i].rotate_left(rotation) ^ a[i];
            }
        }
        let next = round as usize + 1;
        for i in 0..LANES {
            a[i] = a[i].wrapping_add(keys[next % 3]);
            b[i] = b[i].wrapping_add(keys[(next + 1) % 3]).wrapping_add(round + 1);
        }
    }
}

crate::multiversion! {
    /// Words `i` and `second + i` of a key's stream, into `a[i - first]` and `b[i - first]`.
    fn words, words_for<const FMA: bool>
    (key: [u32; 2], first: u32, second: u32, a: &mut [u32], b: &mut [u32]) {
        let (mut x, mut y) = ([0; LANES], [0; LANES]);
        for (block, (a, b)) in a.chunks_mut(LANES).zip(b.chunks_mut(LANES)).enumerate() {
            let at = first.wrapping_add((block * LANES) as u32);
            hash(key, at, at.wrapping_add(second), &mut x, &mut y);
            a.copy_from_slice(&x[..a.len()]);
            b.copy_from_slice(&y[..b.len()]);
        }
    }
}

/// A stream of words for every key.
pub(crate) fn random_bits(op: &RandomBits, key: &Operand, out: &Operand) -> Result<()> {
    let keys = View::<u32>::new(key)?;
    let Some((&2, lead)) = keys.shape.split_last() else {
        return Err(internal("a random key has not two words"));
    };
    let by = keys.strides[lead.len()];
    let walk = Walk::new(lead, [&keys.strides[..lead.len()]]);
    let len: usize = op.shape.iter().product();
    if out.layout.len() != walk.len() * len || out.dtype.size() != op.width {
        return Err(internal("the output of random bits has another size"));
    }
    if len == 0 {
        return Ok(());
    }
    let mut keys_of = Vec::with_capacity(walk.len());
    walk.each(0..walk.len(), |_, [at]| {
        // SAFETY: inside the keys.
        keys_of.push(unsafe { [*keys.first().offset(at), *keys.first().offset(at + by)] });
    });
    if op.width == 4 {
        let out = Target::<u32>::new(out)?;
        fill(&keys_of, len, &out);
        return Ok(());
    }
    // Narrow words are the bytes of whole words.
    let whole = (len * op.width).div_ceil(4);
    let mut wide = vec![0u32; whole * keys_of.len()];
    fill(&keys_of, whole, &Target::of(&mut wide));
    let bytes: &[u8] = bytemuck::cast_slice(&wide);
    with_bits!(op.width, T => {
        let out = Target::<T>::new(out)?;
        for stream in 0..keys_of.len() {
            // SAFETY: this step's output, written by this thread alone.
            let part = unsafe { out.part(stream * len..(stream + 1) * len) };
            let from = &bytes[stream * whole * 4..][..len * op.width];
            bytemuck::cast_slice_mut::<T, u8>(part).copy_from_slice(from);
        }
    });
    Ok(())
}

/// `len` words for each key.
fn fill(keys: &[[u32; 2]], len: usize, out: &Target<u32>) {
    let half = len / 2;
    let second = half + len % 2;
    // A task is some blocks of one stream, or some streams.
    let blocks = half.div_ceil(SERIAL / 2).max(1);
    let grain = SERIAL.div_ceil(len);
    parallel_for(keys.len() * blocks, grain, |tasks| {
        for task in tasks {
            let (stream, block) = (task / blocks, task % blocks);
            let (from, to) = (block * (SERIAL / 2), half.min((block + 1) * (SERIAL / 2)));
            let start = stream * len;
            // SAFETY: blocks of streams are disjoint, and so are their two halves.
            let (a, b) = unsafe {
                let (x, y) = (start + from, start + second + from);
                (out.part(x..x + to - from), out.part(y..y + to - from))
            };
            words(keys[stream], from as u32, second as u32, a, b);
            if len % 2 == 1 && block == 0 {
                let (mut x, mut y) = ([0; LANES], [0; LANES]);
                hash(keys[stream], half as u32, 0, &mut x, &mut y);
                // SAFETY: the middle word belongs to no block.
                unsafe { out.part(start + half..start + half + 1)[0] = x[0] };
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{empty, operand, read};
    use lazulite_core::Dtype;

    fn bits(key: &[u32], lead: &[usize], shape: &[usize], dtype: Dtype) -> Operand {
        let out = empty(dtype, &[lead, shape].concat());
        let key = operand(key, &[lead, &[2]].concat());
        let op = RandomBits { shape: shape.into(), width: dtype.size() };
        random_bits(&op, &key, &out).unwrap();
        out
    }

    /// The hash of one pair of counters, step by step as the paper writes it.
    fn naive(key: [u32; 2], mut x: [u32; 2]) -> [u32; 2] {
        let k = [key[0], key[1], key[0] ^ key[1] ^ PARITY];
        x = [x[0].wrapping_add(k[0]), x[1].wrapping_add(k[1])];
        for round in 0..20 {
            x[0] = x[0].wrapping_add(x[1]);
            x[1] = x[1].rotate_left(ROTATIONS[round / 4 % 2][round % 4]) ^ x[0];
            if round % 4 == 3 {
                let s = round / 4 + 1;
                x[0] = x[0].wrapping_add(k[s % 3]);
                x[1] = x[1].wrapping_add(k[(s + 1) % 3]).wrapping_add(s as u32);
            }
        }
        x
    }

    fn naive_words(key: [u32; 2], n: usize) -> Vec<u32> {
        let (h, odd) = (n / 2, n % 2);
        let mut out = vec![0; n];
        for i in 0..h {
            let [a, b] = naive(key, [i as u32, (i + h + odd) as u32]);
            (out[i], out[i + h + odd]) = (a, b);
        }
        if odd == 1 {
            out[h] = naive(key, [h as u32, 0])[0];
        }
        out
    }

    #[test]
    fn known_words() {
        // Splits of the zero key into 2 and 3, as MLX 0.32.4 gives them.
        assert_eq!(
            read::<u32>(&bits(&[0, 0], &[], &[2, 2], Dtype::U32)),
            [4146024105, 967050713, 2718843009, 1272950319]
        );
        assert_eq!(
            read::<u32>(&bits(&[0, 0], &[], &[6], Dtype::U32)),
            [2467461003, 428148500, 3186719485, 3840466878, 2562233961, 1946702221]
        );
    }

    #[test]
    fn every_length_width_and_batch() {
        let keys: Vec<u32> = (0..6u32).map(|i| i.wrapping_mul(0x9E37_79B9)).collect();
        for n in [0, 1, 2, 3, 5, 63, 64, 65, 1001, 40_000, 70_001] {
            let got = read::<u32>(&bits(&keys, &[3], &[n], Dtype::U32));
            let want: Vec<u32> =
                keys.chunks(2).flat_map(|k| naive_words([k[0], k[1]], n)).collect();
            assert_eq!(got, want, "{n} words");
            let bytes = |width: usize| -> Vec<u8> {
                let whole = (n * width).div_ceil(4);
                (keys.chunks(2))
                    .flat_map(|k| {
                        let words = naive_words([k[0], k[1]], whole);
                        let all: Vec<u8> = words.iter().flat_map(|w| w.to_le_bytes()).collect();
                        all[..n * width].to_vec()
                    })
                    .collect()
            };
            assert_eq!(read::<u8>(&bits(&keys, &[3], &[n], Dtype::U8)), bytes(1), "{n} bytes");
            let halves = read::<u16>(&bits(&keys, &[3], &[n], Dtype::U16));
            let halves: Vec<u8> = halves.iter().flat_map(|h| h.to_le_bytes()).collect();
            assert_eq!(halves, bytes(2), "{n} half words");
        }
    }
}
