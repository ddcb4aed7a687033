//! Every kernel and a corpus of generated sources compile for two architectures, without a device.
//! Where the compiler is not installed, the tests say so and check nothing.

use lazulite_core::Dtype;
use lazulite_core::op::elementwise::{BINARY_OPS, UNARY_OPS};
use lazulite_core::op::quantized::{QuantFormat, QuantMode};
use lazulite_core::op::{BinaryOp, ReduceOp, UnaryOp};
use lazulite_core::plan::{Extent, Instr, Tape, TapeValue};
use smallvec::smallvec;

use crate::driver;
use crate::fused::{self, Step};
use crate::module::{Rounding, compile};
use crate::prologue::Prologue;
use crate::rows::{self, Along, Team};
use crate::vector::{self, Beside, Epilogue};

const ARCHITECTURES: [&str; 2] = ["sm_80", "sm_90a"];

/// Compiles `text` for all architectures and returns the bytes spilled, of the worst kernel.
fn check(what: &str, text: &str, rounding: Rounding) -> usize {
    let mut spilled = 0;
    for architecture in ARCHITECTURES {
        let made = compile(text, architecture, rounding)
            .unwrap_or_else(|e| panic!("{what} for {architecture}: {e}\n{text}"));
        assert!(!made.code.is_empty(), "{what} for {architecture}: no code");
        for line in made.log.lines() {
            if let Some(at) = line.find("bytes spill stores") {
                let number = line[..at].trim().rsplit(' ').next().and_then(|n| n.parse().ok());
                spilled = spilled.max(number.unwrap_or(0));
            }
        }
        let used: Vec<&str> = made.log.lines().filter(|l| l.contains("Used ")).collect();
        println!("{what} {architecture}: {}", used.join("; "));
    }
    spilled
}

fn compiler() -> bool {
    let there = driver::nvrtc_present();
    if !there {
        println!("skipped: libnvrtc.so.13 is not there; LAZULITE_CUDA_LIBS may name its folder");
    }
    there
}

fn load(operand: u16, dtype: Dtype) -> TapeValue {
    TapeValue { instr: Instr::Load { operand }, dtype, extent: Extent::Full }
}

fn elementwise(ndim: usize, pack: usize, steps: &[Step]) -> fused::Variant {
    fused::Variant { ndim, pack, steps: steps.into(), into: None, random: None, wide: false }
}

#[test]
fn every_row_of_the_op_table_compiles_for_every_type_it_takes() {
    if !compiler() {
        return;
    }
    for dtype in Dtype::ALL {
        let mut tape =
            Tape { values: vec![load(0, dtype), load(1, dtype)], inputs: 2, ..Tape::default() };
        let mut push = |instr, dtype| {
            tape.values.push(TapeValue { instr, dtype, extent: Extent::Full });
            let last = (tape.values.len() - 1) as u16;
            tape.stores.push(last);
        };
        for info in UNARY_OPS {
            if let Ok((input, output)) = info.class.resolve(info.name, dtype)
                && input == dtype
            {
                push(Instr::Unary(info.op, 0), output);
            }
        }
        for info in BINARY_OPS {
            if let Ok((input, output)) = info.class.resolve(info.name, dtype, dtype)
                && input == dtype
            {
                push(Instr::Binary(info.op, 0, 1), output);
            }
        }
        for to in Dtype::ALL {
            push(Instr::Cast(0), to);
        }
        let text = fused::print(&tape, &elementwise(1, 1, &[Step::Unit, Step::Any]));
        check(&format!("table of {dtype}"), &text, Rounding::Separate);
    }
}

#[test]
fn elementwise_variants_compile() {
    if !compiler() {
        return;
    }
    let f = |instr, dtype| TapeValue { instr, dtype, extent: Extent::Full };
    let tape = Tape {
        values: vec![
            load(0, Dtype::BF16),
            load(1, Dtype::F32),
            load(2, Dtype::Bool),
            f(Instr::Cast(0), Dtype::F32),
            f(Instr::Binary(BinaryOp::Multiply, 3, 1), Dtype::F32),
            f(Instr::Select(2, 4, 3), Dtype::F32),
            f(Instr::Cast(5), Dtype::BF16),
        ],
        stores: vec![6],
        inputs: 3,
        axes: 0,
    };
    for steps in [
        [Step::Unit, Step::Unit, Step::Unit],
        [Step::Unit, Step::Zero, Step::Same],
        [Step::Any, Step::Unit, Step::Zero],
    ] {
        for (ndim, pack) in [(1, 8), (2, 8), (4, 1)] {
            for (wide, into) in [(false, None), (true, Some(Step::Unit)), (true, Some(Step::Any))] {
                let variant = fused::Variant { wide, into, ..elementwise(ndim, pack, &steps) };
                let spilled =
                    check("elementwise", &fused::print(&tape, &variant), Rounding::Separate);
                assert_eq!(spilled, 0, "{variant:?}");
            }
        }
    }
}

#[test]
fn random_words_are_made_where_they_are_read() {
    if !compiler() {
        return;
    }
    let f = |instr, dtype| TapeValue { instr, dtype, extent: Extent::Full };
    let tape = Tape {
        values: vec![
            load(0, Dtype::BF16),
            load(1, Dtype::U32),
            f(Instr::Cast(1), Dtype::F32),
            f(Instr::Cast(0), Dtype::F32),
            f(Instr::Binary(BinaryOp::Multiply, 2, 3), Dtype::F32),
        ],
        stores: vec![4],
        inputs: 2,
        axes: 0,
    };
    let variant = elementwise(1, 4, &[Step::Same, Step::Unit]);
    let text = fused::print(&tape, &fused::Variant { random: Some(1), ..variant });
    assert_eq!(check("random", &text, Rounding::Separate), 0);
}

#[test]
fn quotients_of_random_words_by_one_power_of_two_are_products() {
    let f = |instr, dtype| TapeValue { instr, dtype, extent: Extent::Full };
    let tape = |by: Dtype| Tape {
        values: vec![
            load(0, Dtype::U32),
            load(1, by),
            f(Instr::Cast(0), Dtype::F32),
            f(Instr::Cast(1), Dtype::F32),
            f(Instr::Binary(BinaryOp::Divide, 2, if by == Dtype::F32 { 1 } else { 3 }), Dtype::F32),
        ],
        stores: vec![4],
        inputs: 2,
        axes: 0,
    };
    let variant =
        |random, step| fused::Variant { random, ..elementwise(1, 4, &[Step::Unit, step]) };
    for (tape, variant, products) in [
        (tape(Dtype::F32), variant(Some(0), Step::Same), true),
        (tape(Dtype::F32), variant(Some(0), Step::Unit), false),
        (tape(Dtype::F32), variant(None, Step::Same), false),
        (tape(Dtype::BF16), variant(Some(0), Step::Same), false),
    ] {
        let text = fused::print(&tape, &variant);
        assert_eq!(text.contains("EXACT ? v2 * inverse(v1) : v2 / v1"), products, "{text}");
        assert_eq!(text.contains("has_inverse(*(const f32*)p.at[1])"), products, "{text}");
        if compiler() {
            assert_eq!(check("quotients", &text, Rounding::Separate), 0);
        }
    }
}

/// A softmax: two reductions, and a store of the whole row and of its sum.
fn softmax(dtype: Dtype) -> Tape {
    let f = |instr, dtype| TapeValue { instr, dtype, extent: Extent::Full };
    let r = |instr, dtype| TapeValue { instr, dtype, extent: Extent::Row };
    Tape {
        values: vec![
            load(0, dtype),
            f(Instr::Cast(0), Dtype::F32),
            r(Instr::Reduce(ReduceOp::Max, 1), Dtype::F32),
            f(Instr::Binary(BinaryOp::Subtract, 1, 2), Dtype::F32),
            f(Instr::Unary(UnaryOp::Exp, 3), Dtype::F32),
            r(Instr::Reduce(ReduceOp::Sum, 4), Dtype::F32),
            f(Instr::Binary(BinaryOp::Divide, 4, 5), Dtype::F32),
            f(Instr::Cast(6), dtype),
        ],
        stores: vec![7, 5],
        inputs: 1,
        axes: 2,
    }
}

#[test]
fn row_variants_compile() {
    if !compiler() {
        return;
    }
    let tape = softmax(Dtype::BF16);
    let base = rows::Variant {
        team: Team::Block,
        pack: 8,
        items: 2,
        kept_axes: 1,
        reduced_axes: 1,
        columns: 1,
        along: smallvec![Along::Unit, Along::Unit, Along::Fixed],
        beside: smallvec![false; 3],
        wide: false,
        threads: 256,
        cluster: 1,
        shared: false,
        stage: None,
        online: false,
        joins: false,
    };
    let any = smallvec![Along::Any, Along::Any, Along::Fixed];
    let variants = [
        base.clone(),
        rows::Variant { team: Team::Warp, threads: 128, items: 4, ..base.clone() },
        rows::Variant { items: 0, threads: 512, ..base.clone() },
        rows::Variant { pack: 1, items: 4, along: any.clone(), threads: 1024, ..base.clone() },
        rows::Variant {
            team: Team::Column,
            pack: 1,
            items: 0,
            along: any.clone(),
            threads: 512,
            kept_axes: 2,
            ..base.clone()
        },
        rows::Variant {
            team: Team::Column,
            pack: 1,
            items: 0,
            along: any.clone(),
            threads: 512,
            columns: 8,
            beside: smallvec![true; 3],
            ..base.clone()
        },
        rows::Variant { items: 0, online: true, threads: 1024, ..base.clone() },
        rows::Variant { items: 0, stage: Some(1), threads: 512, ..base.clone() },
        rows::Variant { items: 0, stage: Some(2), threads: 512, ..base.clone() },
        rows::Variant { items: 0, stage: Some(3), threads: 512, wide: true, ..base.clone() },
        rows::Variant { items: 0, pack: 1, along: any, reduced_axes: 2, ..base.clone() },
    ];
    // Clusters of blocks need compute capability 9.0.
    let cluster = rows::Variant { items: 4, threads: 512, cluster: 8, ..base };
    let shared = rows::Variant { items: 8, cluster: 4, shared: true, ..cluster.clone() };
    for variant in [cluster, shared] {
        let made = compile(&rows::print(&tape, &variant), "sm_90a", Rounding::Separate);
        let made = made.unwrap_or_else(|e| panic!("{e}"));
        assert!(made.log.contains(" 0 bytes spill stores"), "{}", made.log);
    }
    for variant in variants {
        let spilled = check("rows", &rows::print(&tape, &variant), Rounding::Separate);
        assert_eq!(spilled, 0, "{variant:?}");
    }
}

#[test]
fn sums_that_several_blocks_share_compile() {
    if !compiler() {
        return;
    }
    let tape = Tape {
        values: vec![
            load(0, Dtype::BF16),
            TapeValue { instr: Instr::Cast(0), dtype: Dtype::F32, extent: Extent::Full },
            TapeValue {
                instr: Instr::Reduce(ReduceOp::Sum, 1),
                dtype: Dtype::F32,
                extent: Extent::Row,
            },
        ],
        stores: vec![2],
        inputs: 1,
        axes: 1,
    };
    for (team, columns, along) in [
        (Team::Column, 8, Along::Any),
        (Team::Column, 1, Along::Any),
        (Team::Block, 1, Along::Unit),
    ] {
        let variant = rows::Variant {
            team,
            pack: if team == Team::Block { 8 } else { 1 },
            items: 0,
            kept_axes: 1,
            reduced_axes: 1,
            columns,
            along: smallvec![along, Along::Fixed],
            beside: smallvec![columns > 1; 2],
            wide: false,
            threads: 512,
            cluster: 1,
            shared: false,
            online: false,
            stage: Some(1),
            joins: true,
        };
        let spilled = check("shared sums", &rows::print(&tape, &variant), Rounding::Separate);
        assert_eq!(spilled, 0, "{variant:?}");
    }
}

/// Kernels of warpgroup products, which exist for one architecture alone.
fn check_warpgroups(source: &str, defines: &str) {
    let text = crate::module::defined(defines, source);
    let made = compile(&text, "sm_90a", Rounding::Contracted);
    let log = made.unwrap_or_else(|e| panic!("{defines}: {e}")).log;
    assert!(log.contains(" 0 bytes spill stores"), "{defines}: {log}");
    // The compiler says so where it makes products wait for each other.
    assert!(!log.contains("serialized"), "{defines}: {log}");
}

#[test]
fn convolutions_by_warpgroups_compile_without_spills() {
    if !compiler() {
        return;
    }
    for defines in [
        "T=bf16;WGS=2;BN=128;STAGES=4;FORWARD",
        "T=f16;WGS=2;BN=128;STAGES=4;HALF;FORWARD;TURNED",
        "T=bf16;WGS=1;BN=64;STAGES=4;FORWARD",
        "T=bf16;WGS=3;BN=128;STAGES=3;MH=2;WEIGHT",
        "T=f16;WGS=2;BN=128;STAGES=4;HALF;MH=2;WEIGHT",
        "T=bf16;WGS=1;BN=64;STAGES=6;MH=1;WEIGHT",
    ] {
        check_warpgroups(crate::conv90::SOURCE, defines);
    }
}

#[test]
fn quantised_products_by_warpgroups_compile_without_spills() {
    if !compiler() {
        return;
    }
    for defines in [
        "T=bf16;GROUP=64;M=32;SPLITS=8",
        "T=bf16;GROUP=128;M=64;SPLITS=4",
        "T=bf16;GROUP=32;M=128;SPLITS=8",
        "T=f16;HALF;GROUP=32;M=128;SPLITS=1",
    ] {
        check_warpgroups(crate::quantized::WARPGROUPS, defines);
    }
}

#[test]
fn products_of_few_rows_by_warpgroups_compile_without_spills() {
    if !compiler() {
        return;
    }
    for defines in [
        "T=bf16;O=bf16;M=8;SPLITS=2;STAGES=12",
        "T=bf16;O=f32;M=16;SPLITS=1;STAGES=11;ACROSS",
        "T=f16;O=f16;M=32;SPLITS=8;STAGES=9;ACROSS;HALF",
        "T=f16;O=f32;M=64;SPLITS=4;STAGES=6;HALF",
        "T=bf16;O=bf16;M=64;SPLITS=2;STAGES=6;ACROSS",
    ] {
        check_warpgroups(crate::few::SOURCE, defines);
    }
}

#[test]
fn attention_of_few_queries_by_the_copy_engine_compiles_without_spills() {
    if !compiler() {
        return;
    }
    for defines in [
        "T=bf16;D=128;E=128;FLAGS=0;STAGES=2",
        "T=bf16;D=128;E=128;FLAGS=13;STAGES=2",
        "T=f16;D=64;E=64;FLAGS=3;STAGES=4;HALF",
        "T=bf16;D=96;E=80;FLAGS=9;STAGES=2",
    ] {
        check_warpgroups(crate::flash::FEW_90, defines);
    }
}

#[test]
fn attention_by_warpgroups_compiles_without_spills() {
    if !compiler() {
        return;
    }
    for defines in [
        "T=bf16;D=128;E=128;FLAGS=0",
        "T=bf16;D=128;E=128;FLAGS=1",
        "T=bf16;D=128;E=128;FLAGS=1;KNOWN",
        "T=f16;D=64;E=64;FLAGS=3;HALF",
        "T=bf16;D=96;E=80;FLAGS=9;KNOWN",
    ] {
        for source in [crate::flash::SOURCE_90, crate::attention_grad::SOURCE_90] {
            check_warpgroups(source, defines);
        }
    }
}

#[test]
fn every_kernel_compiles_without_spills() {
    if !compiler() {
        return;
    }
    let indexing = [
        "T=u32;P=i32;MASKED",
        "T=bf16;ARANGE",
        "T=i64;ARANGE",
        "T=Wide;GATHER",
        "T=u8;GATHER",
        "T=Wide;I=i32;LANES=128;GATHER_ROWS",
        "T=u16;I=i32;N=i32;V=8;GATHER_AXIS",
        "T=u32;I=u64;N=i64;V=1;GATHER_AXIS",
        "T=u16;DYNAMIC;READ;COUNT=1",
        "T=u64;DYNAMIC;COUNT=4",
        "T=Wide;I=i32;LANES=128;SCATTER_ROWS;MARK",
        "T=Wide;I=u32;LANES=1;SCATTER_ROWS;ADD_BF16",
        "T=u16;I=i32;PUT_ROW",
        "T=u16;SCATTER;MARK",
        "T=u16;SCATTER;SET",
        "T=bf16;SCATTER;MODE=JoinAdd",
        "T=u8;SCATTER;MODE=JoinMax",
        "T=c64;SCATTER_AXIS;MODE=JoinMultiply",
        "T=bool;SCATTER_AXIS;MODE=JoinMin",
        "V=4;I=u32;RANDOM",
        "V=1;I=u32;RANDOM",
        "V=4;I=i64;RANDOM",
    ];
    let scan = [
        "T=f32;R=Sum;SCAN;UNIT",
        "T=f32;R=Sum;SCAN;UNIT;ONCE",
        "T=bf16;R=LogAddExp;SCAN;UNIT;REVERSE;ONCE",
        "T=i32;R=Sum;SCAN;REVERSE",
        "T=c64;R=Prod;SCAN",
        "T=bf16;R=Max;SCAN",
        "T=i8;ARG=-1;WIDTH=256",
        "T=bf16;ARG=1;WIDTH=1024;UNIT",
        "T=bf16;ARG_ROWS=1",
        "T=f16;ARG_ROWS=-1;HALF",
    ];
    let quantized = [
        "T=bf16;SCALE=bf16;BITS=3;GROUP=32;MODE=0;O=bf16;DEQUANTIZE",
        "T=f32;SCALE=f16;BITS=8;GROUP=32;MODE=3;O=f32;DEQUANTIZE",
        "T=bf16;SCALE=bf16;BITS=4;GROUP=64;MODE=0;M=1;R=2;QMV",
        "T=bf16;SCALE=bf16;BITS=4;GROUP=64;MODE=0;M=4;R=2;QMV",
        "T=f32;SCALE=f16;BITS=6;GROUP=128;MODE=0;M=16;R=1;QMV",
        "T=f16;SCALE=f16;BITS=4;GROUP=16;MODE=2;M=2;R=2;QMV",
    ];
    let units = [
        "T=bf16;BITS=4;GROUP=64;BM=16",
        "T=bf16;BITS=4;GROUP=64;BM=64",
        "T=f16;BITS=4;GROUP=32;BM=128",
        "T=bf16;BITS=8;GROUP=64;BM=64",
    ];
    let flash = [
        "T=bf16;D=128;E=128;FLAGS=0;BN=64;PREFILL",
        "T=f16;D=72;E=72;FLAGS=3;BN=64;PREFILL",
        "T=bf16;D=256;E=256;FLAGS=13;BN=32;PREFILL",
        "T=bf16;D=128;E=128;FLAGS=0;STAGES=3;DECODE",
        "T=f16;D=256;E=256;FLAGS=1;STAGES=2;DECODE",
    ];
    let flash32 = [
        "T=f32;D=64;E=64;FLAGS=0;BN=32",
        "T=f32;D=64;E=64;FLAGS=1;BN=32",
        "T=f32;D=72;E=40;FLAGS=3;BN=32",
        "T=f32;D=128;E=128;FLAGS=13;BN=32",
        "T=f32;D=256;E=128;FLAGS=9;BN=16",
    ];
    let sort = [
        "T=bf16;U=u16;FLOATING;ITEMS=16;ROWS",
        "T=f32;U=u32;FLOATING;PLACES;ITEMS=16;ROWS",
        "T=i64;U=u64;SIGNED;PLACES;ITEMS=8;ROWS",
        "T=bool;U=u8;ITEMS=1;ROWS",
        "T=bf16;U=u16;FLOATING;ITEMS=16;COUNT;SWEEP",
        "T=f64;U=u64;FLOATING;PLACES;ITEMS=8;COUNT;SWEEP",
    ];
    let fast = ["T=bf16;I=i32;ROPE;COUNT=1", "T=f64;I=u64;ROPE;COUNT=4"];
    let attention = [
        "T=bf16;WEIGHTS",
        "T=bf16;D=128;E=128;ROWS=8;ATTENTION",
        "T=bf16;D=128;E=128;ROWS=1;ATTENTION",
        "T=f32;D=256;E=256;ROWS=4;ATTENTION",
        "T=f32;D=64;E=64;ONE_QUERY",
        "T=f32;D=32;E=64;ONE_QUERY",
        "T=f32;D=64;E=64;ONE_QUERY;TURNED",
        "T=f32;D=64;E=64;ONE_QUERY;TURNED;EARLY",
        "T=f32;D=64;E=32;ONE_QUERY;TURNED;EARLY;TRADITIONAL",
        "T=bf16;GRADIENT",
    ];
    let pack = ["T=f32;BITS=4;GROUP=64", "T=bf16;BITS=3;GROUP=16", "T=f16;BITS=6;GROUP=128"];
    let floats = ["T=f32;GROUP=32;MODE=1", "T=bf16;GROUP=16;MODE=2", "T=f16;GROUP=32;MODE=3"];
    let linalg = ["T=f32;R=f32;P=i32", "T=f64;R=f64;P=i64", "T=c64;R=f32;P=i64"];
    let small = [
        "T=f32;R=f32;JACOBI",
        "T=f64;R=f64;JACOBI",
        "T=c64;R=f32;JACOBI",
        "T=f32;R=f32;HOUSEHOLDER",
        "T=f64;R=f64;HOUSEHOLDER",
        "T=c64;R=f32;HOUSEHOLDER",
    ];
    let product =
        ["T=i8;O=i8;U=u32", "T=i64;O=i64;U=u64", "T=bf16;O=f32;U=f32", "T=c64;O=c64;U=c64"];
    let conv = ["T=bf16;UNITS", "T=f16;DILATED;UNITS", "T=f32;JOIN", "T=f64;DILATED;PATCHES"];
    let all = [
        (crate::indexing::SOURCE, &indexing[..]),
        (crate::scan::SOURCE, &scan[..]),
        (crate::quantized::SOURCE, &quantized[..]),
        (crate::quantized::UNITS, &units[..]),
        (crate::quantized::FEW, &["T=bf16;GROUP=64;NT=1", "T=f16;GROUP=32;NT=2"]),
        (crate::sort::SOURCE, &sort[..]),
        (crate::fast::SOURCE, &fast[..]),
        (crate::attention::SOURCE, &attention[..]),
        (crate::flash::SOURCE, &flash[..]),
        (crate::flash::SOURCE_32, &flash32[..]),
        (crate::conv::SOURCE, &conv[..]),
        (crate::pack::SOURCE, &pack[..]),
        (crate::pack::FLOATS, &floats[..]),
        (crate::fft::SOURCE, &["N=64", "N=512", "N=1024", "N=2048"]),
        (crate::linalg::SOURCE, &linalg[..]),
        (crate::linalg::SMALL_SOURCE, &small[..]),
        (crate::product::SOURCE, &product[..]),
        (crate::record::SOURCE, &[""]),
    ];
    for (source, cases) in all {
        for defines in cases {
            let text = crate::module::defined(defines, source);
            let spilled = check(defines, &text, Rounding::Contracted);
            assert_eq!(spilled, 0, "{defines}");
        }
    }
}

/// `x / sqrt(sum(x^2)) * w`.
fn rms_norm(dtype: Dtype) -> Tape {
    let f = |instr, dtype| TapeValue { instr, dtype, extent: Extent::Full };
    let r = |instr| TapeValue { instr, dtype: Dtype::F32, extent: Extent::Row };
    Tape {
        values: vec![
            load(0, dtype),
            load(1, dtype),
            f(Instr::Cast(0), Dtype::F32),
            f(Instr::Binary(BinaryOp::Multiply, 2, 2), Dtype::F32),
            r(Instr::Reduce(ReduceOp::Sum, 3)),
            r(Instr::Unary(UnaryOp::Rsqrt, 4)),
            f(Instr::Binary(BinaryOp::Multiply, 2, 5), Dtype::F32),
            f(Instr::Binary(BinaryOp::Multiply, 6, 1), dtype),
        ],
        stores: vec![7],
        inputs: 2,
        axes: 2,
    }
}

#[test]
fn joined_products_compile_without_spills() {
    if !compiler() {
        return;
    }
    let f = |instr, dtype| TapeValue { instr, dtype, extent: Extent::Full };
    for (dtype, rows, each) in [(Dtype::F32, 1, 1), (Dtype::F32, 4, 1), (Dtype::BF16, 4, 2)] {
        // x0 + x1 * x2, with a product, a residual and a vector.
        let tape = Tape {
            values: vec![
                load(0, dtype),
                load(1, dtype),
                load(2, dtype),
                f(Instr::Binary(BinaryOp::Multiply, 1, 2), dtype),
                f(Instr::Binary(BinaryOp::Add, 0, 3), dtype),
            ],
            stores: vec![4],
            inputs: 3,
            axes: 0,
        };
        let epilogue = |beside: [Beside; 2]| {
            Some(Epilogue { tape: tape.clone(), beside: beside.into_iter().collect() })
        };
        let sections = [
            smallvec![smallvec![None], smallvec![None], smallvec![None]],
            smallvec![
                smallvec![None, epilogue([Beside::Product(0), Beside::One])],
                smallvec![epilogue([Beside::Each, Beside::Column])],
            ],
        ];
        for sections in sections {
            let variant = vector::Variant {
                format: QuantFormat { group: 32, bits: 4, mode: QuantMode::Affine },
                dtype,
                scales: Dtype::F16,
                rows,
                each,
                prologue: None,
                early: false,
                in_turn: false,
                sections,
            };
            let text = vector::print(&variant);
            assert_eq!(check("products", &text, Rounding::Separate), 0, "{variant:?}");
            // A norm of x before, whose vector may be read early.
            for (early, in_turn) in [(false, false), (true, false), (true, true)] {
                let loads = [(96, 1, false), (0, 1, early)].into_iter();
                let prologue = Prologue::new(&rms_norm(dtype), loads, 96);
                assert!(prologue.is_some());
                let variant = vector::Variant { prologue, early, in_turn, ..variant.clone() };
                let text = vector::print(&variant);
                assert_eq!(check("norm and products", &text, Rounding::Separate), 0, "{variant:?}");
            }
        }
    }
}
