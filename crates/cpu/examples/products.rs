//! Prints the speed of the product kernels: `cargo run --release -p lazulite-cpu --example products
//! [gemm|batch|gemv|quantised|decode]`. `LAZULITE_CPU_ISA` and `LAZULITE_NUM_THREADS` apply.

use std::time::Instant;

use half::{bf16, f16};
use lazulite_cpu::elem::Elem;
use lazulite_cpu::gemm::gemm;
use lazulite_cpu::operand::{Output, Strided};
use lazulite_cpu::pool;
use lazulite_cpu::quantized::affine::Affine;
use lazulite_cpu::quantized::codec::quantize;

/// The median of some rounds of at least 5 ms, in seconds for one call.
fn time(mut f: impl FnMut()) -> f64 {
    f();
    let start = Instant::now();
    f();
    let calls = (0.005 / start.elapsed().as_secs_f64()).clamp(1.0, 2000.0) as usize;
    let mut rounds: Vec<f64> = (0..9)
        .map(|_| {
            let start = Instant::now();
            (0..calls).for_each(|_| f());
            start.elapsed().as_secs_f64() / calls as f64
        })
        .collect();
    rounds.sort_by(f64::total_cmp);
    rounds[rounds.len() / 2]
}

fn random<E: Elem<Acc = f32>>(n: usize) -> Vec<E> {
    let mut s = n as u64 + 12345;
    (0..n)
        .map(|_| {
            s = s.wrapping_mul(6364136223846793005).wrapping_add(1);
            E::narrow((s >> 40) as f32 / 16_777_216.0 - 0.5)
        })
        .collect()
}

fn product<E: Elem<Acc = f32>>([m, n, k]: [usize; 3], ta: bool, tb: bool) -> f64 {
    let (a, b) = (random::<E>(m * k), random::<E>(k * n));
    let mut c = random::<E>(m * n);
    // B is seen as (n, k): a row-major (k, n) matrix is its transposition.
    let (x, y) = (Strided::rows(&a, [m, k], ta), Strided::rows(&b, [n, k], !tb));
    time(|| gemm(&x, &y, &mut Output::new(&mut c, 1, [m, n]), None))
}

fn squares(threads: usize) {
    for shape in [
        [256, 256, 256],
        [512, 512, 512],
        [1024, 1024, 1024],
        [2048, 2048, 2048],
        [64, 1024, 1024],
        [128, 4096, 4096],
        [256, 576, 1536],
    ] {
        let rate = |s: f64| 2.0 * shape.iter().product::<usize>() as f64 / s / 1e9;
        print!("{threads}T {shape:?} GF/s: f32");
        for (ta, tb) in [(false, false), (false, true), (true, false), (true, true)] {
            print!(" {:.0}", rate(product::<f32>(shape, ta, tb)));
        }
        let (h, b) = (product::<f16>(shape, false, false), product::<bf16>(shape, false, false));
        println!(" | f16 {:.0} | bf16 {:.0}", rate(h), rate(b));
    }
}

fn batch(threads: usize) {
    for (count, n) in [(32, 64), (1000, 8), (10, 256)] {
        let (a, b) = (random::<f32>(count * n * n), random::<f32>(count * n * n));
        let offsets: Vec<usize> = (0..count).map(|i| i * n * n).collect();
        let x = Strided::batched(&a, &offsets, [n, n], [n as isize, 1]);
        let y = Strided::batched(&b, &offsets, [n, n], [1, n as isize]);
        let mut c = vec![0f32; count * n * n];
        let s = time(|| gemm(&x, &y, &mut Output::new(&mut c, count, [n, n]), None));
        println!(
            "{threads}T {count} x {n}^3: {:.0} GF/s",
            (2 * count * n * n * n) as f64 / s / 1e9
        );
    }
}

fn copy() -> f64 {
    const N: usize = 32 << 20;
    let (a, mut b) = (vec![1f32; N], vec![0f32; N]);
    let to = b.as_mut_ptr() as usize;
    let s = time(|| {
        pool::parallel_for(N, 1 << 18, |r| {
            // SAFETY: ranges are disjoint and inside both buffers.
            unsafe {
                let to = (to as *mut f32).add(r.start);
                std::ptr::copy_nonoverlapping(a[r.clone()].as_ptr(), to, r.len());
            }
        });
    });
    8.0 * N as f64 / s / 1e9
}

fn vectors<E: Elem<Acc = f32>>(name: &str, threads: usize) {
    for n in [2048, 4096] {
        print!("{threads}T gemv {name} {n} GB/s:");
        for m in [1, 4] {
            for tb in [true, false] {
                let s = product::<E>([m, n, n], false, tb);
                let label = if tb { "x W^T" } else { "x W" };
                print!(" m={m} {label} {:.1}", (n * n * size_of::<E>()) as f64 / s / 1e9);
            }
        }
        let s = product::<E>([n, 1, n], false, true);
        println!(" W x {:.1}", (n * n * size_of::<E>()) as f64 / s / 1e9);
    }
}

fn quantised<S: Elem<Acc = f32>>(
    [m, n, k]: [usize; 3],
    bits: usize,
    group: usize,
    along_k: bool,
) -> (f64, f64) {
    let (rows, len) = if along_k { (n, k) } else { (k, n) };
    let dense = random::<S>(rows * len);
    let mut words = vec![0; rows * len * bits / 32];
    let mut scales = vec![S::narrow(0.0); rows * len / group];
    let mut biases = scales.clone();
    quantize(&dense, len, bits, group, &mut words, &mut scales, &mut biases);
    let (x, mut y) = (random::<f32>(m * k), vec![0f32; m * n]);
    let w = Affine::new(&words, &scales, &biases, [n, k], bits, group, along_k);
    let x = Strided::rows(&x, [m, k], false);
    let s = time(|| gemm(&x, &w, &mut Output::new(&mut y, 1, [m, n]), None));
    (s, (words.len() * 4 + 2 * scales.len() * size_of::<S>()) as f64)
}

fn packed(threads: usize) {
    for bits in [2, 3, 4, 5, 6, 8] {
        for group in [32, 64, 128] {
            print!("{threads}T {bits} bits g{group}:");
            for along_k in [true, false] {
                let (s, bytes) = quantised::<f16>([1, 4096, 4096], bits, group, along_k);
                print!(" {} {:.1} GB/s", if along_k { "x W^T" } else { "x W" }, bytes / s / 1e9);
            }
            println!();
        }
    }
    for m in [2, 4, 6, 8, 16, 64] {
        let shape = [m, 4096, 4096];
        let dense = product::<f32>(shape, false, true);
        let (a, _) = quantised::<f16>(shape, 4, 64, true);
        let (b, _) = quantised::<f16>(shape, 4, 64, false);
        println!(
            "{threads}T m={m} 4096: dense x W^T {:.2} ms, 4-bit x W^T {:.2}, x W {:.2}",
            dense * 1e3,
            a * 1e3,
            b * 1e3
        );
    }
}

/// The products of one token of a model of 135M parameters (30 layers of width 576).
fn decode(threads: usize) {
    for m in [1, 256] {
        let mut total = 0.0;
        let layer = [(1, 576, 576), (2, 192, 576), (1, 576, 576), (2, 1536, 576), (1, 576, 1536)];
        for (count, n, k) in layer {
            let (s, bytes) = quantised::<f16>([m, n, k], 4, 32, true);
            total += 30.0 * f64::from(count) * s;
            println!("{threads}T m={m} {n} x {k}: {:.1} us, {:.1} GB/s", s * 1e6, bytes / s / 1e9);
        }
        let (s, bytes) = quantised::<f16>([1, 49152, 576], 8, 32, true);
        total += s;
        println!("{threads}T head: {:.1} us, {:.1} GB/s", s * 1e6, bytes / s / 1e9);
        println!("{threads}T m={m}: {:.2} ms, {:.0} tokens/s", total * 1e3, m as f64 / total);
    }
}

fn main() {
    let what = std::env::args().nth(1).unwrap_or_default();
    let wants = |name: &str| what.is_empty() || what == name;
    println!("{:?}", lazulite_cpu::isa::isa());
    let most = pool::num_threads();
    for threads in [1, most] {
        pool::set_num_threads(threads);
        println!("{threads}T copy {:.1} GB/s (read and written)", copy());
        if wants("gemm") {
            squares(threads);
        }
        if wants("batch") {
            batch(threads);
        }
        if wants("gemv") {
            vectors::<f32>("f32", threads);
            vectors::<f16>("f16", threads);
            vectors::<bf16>("bf16", threads);
        }
        if wants("quantised") {
            packed(threads);
        }
        if wants("decode") {
            decode(threads);
        }
    }
}
