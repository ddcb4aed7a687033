//! Kernels of the user's: source that is compiled when it is first run, or a module.
//!
//! The signature is generated: inputs in order, each followed by its `NAME_shape` and `NAME_strides`
//! (arrays of eight numbers, in elements) and `NAME_ndim` where the body names them, then the
//! outputs. The user's text sees CUDA's own headers for half types and cooperative groups where
//! they are installed, else small stand-ins.

use std::fmt::Write;
use std::sync::LazyLock;

use lazulite_core::backend::Operand;
use lazulite_core::op::kernel::{Code, CudaCode, CudaSource, CudaText, Kernel, TemplateArgument};
use lazulite_core::plan::{Extent, Instr, Tape, TapeValue};
use lazulite_core::shape::Layout;
use lazulite_core::{Dtype, Error, ErrorKind, Literal, Result};
use parking_lot::Mutex;
use rustc_hash::FxHashMap;

use crate::args::Args;
use crate::driver::{self, Kernel as Function};
use crate::stream::Launch;
use crate::{copy, fused, host};

/// Axes for which there is room in a shape parameter.
const MOST_AXES: usize = 8;

const PRELUDE: &str = include_str!("kernel.cuh");

/// The C++ type of elements, as users' sources know it.
fn type_name(dtype: Dtype) -> &'static str {
    match dtype {
        Dtype::Bool => "bool",
        Dtype::U8 => "uint8_t",
        Dtype::U16 => "uint16_t",
        Dtype::U32 => "uint32_t",
        Dtype::U64 => "uint64_t",
        Dtype::I8 => "int8_t",
        Dtype::I16 => "int16_t",
        Dtype::I32 => "int32_t",
        Dtype::I64 => "int64_t",
        Dtype::F16 => "__half",
        Dtype::BF16 => "__nv_bfloat16",
        Dtype::F32 => "float",
        Dtype::F64 => "double",
        Dtype::C64 => "complex64_t",
    }
}

/// What of its layout an input brings along.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Layouts {
    shape: bool,
    strides: bool,
    ndim: bool,
}

fn layouts(source: &CudaSource, input: usize) -> Layouts {
    let names = |what: &str| source.body.contains(&format!("{}_{what}", source.inputs[input]));
    Layouts { shape: names("shape"), strides: names("strides"), ndim: names("ndim") }
}

/// The name by which the driver finds the function.
const ENTRY: &str = "lazulite_kernel";

/// The text of the function with its signature, for inputs and outputs of these types.
fn text(source: &CudaSource, inputs: &[Dtype], outputs: &[Dtype]) -> String {
    let mut params = Vec::new();
    for (i, (name, &dtype)) in source.inputs.iter().zip(inputs).enumerate() {
        params.push(format!("const {}* {name}", type_name(dtype)));
        let given = layouts(source, i);
        if given.shape {
            params.push(format!("const __grid_constant__ Shape {name}_shape"));
        }
        if given.strides {
            params.push(format!("const __grid_constant__ Strides {name}_strides"));
        }
        if given.ndim {
            params.push(format!("const __grid_constant__ int {name}_ndim"));
        }
    }
    for (name, &dtype) in source.outputs.iter().zip(outputs) {
        params.push(format!("{}* {name}", type_name(dtype)));
    }
    let mut text = format!("{PRELUDE}\n{}\n", source.header);
    // Arguments of a template are constants of the one function that is compiled.
    let mut constants = String::new();
    for (name, argument) in &source.template {
        // Writing to a string does not fail.
        let _ = match argument {
            TemplateArgument::Type(dtype) => {
                writeln!(constants, "  using {name} = {};", type_name(*dtype))
            }
            TemplateArgument::Int(n) => writeln!(constants, "  constexpr int {name} = {n};"),
            TemplateArgument::Bool(b) => writeln!(constants, "  constexpr bool {name} = {b};"),
        };
    }
    // As above.
    let _ = write!(
        text,
        "extern \"C\" __global__ void {ENTRY}({}) {{\n{constants}{}\n}}\n",
        params.join(", "),
        source.body
    );
    text
}

/// A device, the text or module, and the function's name in it.
type Key = (usize, Vec<u8>, String);

/// Functions that were compiled or loaded.
static LOADED: LazyLock<Mutex<FxHashMap<Key, Function>>> = LazyLock::new(Mutex::default);

fn function(
    launch: &Launch<'_>,
    op: &Kernel,
    code: &CudaCode,
    inputs: &[Operand],
    outputs: &[Operand],
) -> Result<Function> {
    let (bytes, entry) = match &code.text {
        CudaText::Source(source) => {
            let types = |list: &[Operand]| list.iter().map(|o| o.dtype).collect::<Vec<_>>();
            (text(source, &types(inputs), &types(outputs)).into_bytes(), ENTRY)
        }
        CudaText::Module { code, .. } => (code.clone(), &*op.label),
    };
    let key = (launch.gpu.index(), bytes, entry.to_owned());
    if let Some(&function) = LOADED.lock().get(&key) {
        return Ok(function);
    }
    let function = match &code.text {
        CudaText::Source(_) => {
            let text = String::from_utf8_lossy(&key.1);
            let found = launch.gpu.modules.load_user(&text, entry);
            found.map_err(|e| e.context(&op.label))?
        }
        CudaText::Module { .. } => {
            // The driver reads PTX up to a zero.
            let mut module = key.1.clone();
            module.push(0);
            driver::load_module(&module, &[entry]).map_err(|e| e.context(&op.label))?[0]
        }
    };
    LOADED.lock().insert(key, function);
    Ok(function)
}

/// Sizes as eight 32-bit numbers.
fn sizes(shape: &[usize]) -> [u64; MOST_AXES / 2] {
    let mut words = [0; MOST_AXES / 2];
    for (a, &n) in shape.iter().enumerate() {
        words[a / 2] |= u64::from(n as u32) << (32 * (a % 2));
    }
    words
}

fn steps(strides: &[isize]) -> [u64; MOST_AXES] {
    let mut words = [0; MOST_AXES];
    for (word, &step) in words.iter_mut().zip(strides) {
        *word = step as u64;
    }
    words
}

/// Writes `value` everywhere.
fn fill(launch: &Launch<'_>, value: Literal, out: &Operand) -> Result<()> {
    let instr = Instr::Const(value);
    let values = vec![TapeValue { instr, dtype: out.dtype, extent: Extent::Full }];
    let tape = Tape { values, stores: vec![0], ..Tape::default() };
    fused::execute(launch, &tape, &[], std::slice::from_ref(out), out.shape())
}

/// Runs the kernel: a function of the processor's there, CUDA code here.
pub(crate) fn kernel(
    launch: &Launch<'_>,
    op: &Kernel,
    inputs: &[Operand],
    outputs: &[Operand],
) -> Result<()> {
    let Code::Cuda(code) = &op.code else {
        return host::execute(launch, &op.clone().into(), inputs, outputs);
    };
    let failed = |what: String| Error::new(ErrorKind::Kernel, "kernel", what);
    if outputs.iter().all(|out| out.layout.is_empty()) {
        return Ok(());
    }
    let dense = |x: &Operand| -> Result<Operand> {
        if !code.contiguous || x.layout.is_contiguous() {
            return Ok(x.clone());
        }
        let copied = launch.temporary(x.dtype, x.shape())?;
        copy::copy(launch, x, &copied)?;
        Ok(copied)
    };
    let inputs = inputs.iter().map(dense).collect::<Result<Vec<_>>>()?;
    for out in outputs {
        if let Some(value) = code.init {
            fill(launch, Literal::from_f64(value.get(), out.dtype), out)?;
        }
    }
    let function = function(launch, op, code, &inputs, outputs)?;
    let mut args = Args::new();
    for (i, x) in inputs.iter().enumerate() {
        args.word(launch.read(x)?);
        let CudaText::Source(source) = &code.text else { continue };
        let given = layouts(source, i);
        let Layout { shape, strides, .. } = &x.layout;
        if given != Layouts::default() && shape.len() > MOST_AXES {
            let message = format!("{}: input {i} has more than {MOST_AXES} axes", op.label);
            return Err(failed(message));
        }
        if given.shape {
            args.words(&sizes(shape));
        }
        if given.strides {
            args.words(&steps(strides));
        }
        if given.ndim {
            args.size(shape.len());
        }
    }
    for out in outputs {
        args.word(launch.write(out)?);
    }
    if let CudaText::Module { scalars, .. } = &code.text {
        scalars.iter().for_each(|scalar| {
            args.word(scalar.bits());
        });
    }
    // No axis has more threads in a block than there are.
    let block: [u32; 3] = std::array::from_fn(|a| code.block[a].min(code.grid[a]));
    let grid = std::array::from_fn(|a| code.grid[a].div_ceil(block[a]));
    // SAFETY: the parameters are those of the generated signature, or those that the user says the
    // module has; the operands are live and ordered on the stream.
    unsafe { args.launch(function, grid, block, code.shared, launch.queue) }
        .map_err(|e| e.context(&op.label))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::module::{Rounding, compile_bare, include_options};

    fn source(body: &str) -> CudaSource {
        CudaSource {
            body: body.into(),
            header: "// helpers".into(),
            inputs: vec!["x".into(), "scale".into()],
            outputs: vec!["y".into()],
            template: vec![
                ("T".into(), TemplateArgument::Type(Dtype::F16)),
                ("N".into(), TemplateArgument::Int(-3)),
                ("FLAG".into(), TemplateArgument::Bool(true)),
            ],
        }
    }

    #[test]
    fn signatures_have_what_the_body_names() {
        let tail = |body: &str| {
            let text = text(&source(body), &[Dtype::F16, Dtype::I64], &[Dtype::Bool]);
            text[text.find("// helpers").unwrap()..].to_owned()
        };
        let head = "// helpers\nextern \"C\" __global__ void lazulite_kernel(";
        let constants =
            "  using T = __half;\n  constexpr int N = -3;\n  constexpr bool FLAG = true;\n";
        let plain = "const __half* x, const int64_t* scale, bool* y";
        let full = "const __half* x, const __grid_constant__ Shape x_shape, \
                    const __grid_constant__ Strides x_strides, const __grid_constant__ int x_ndim, \
                    const int64_t* scale, bool* y";
        for (body, params) in
            [("y[0] = 1;", plain), ("y[0] = x_shape[0] + x_strides[1] + x_ndim;", full)]
        {
            assert_eq!(tail(body), format!("{head}{params}) {{\n{constants}{body}\n}}\n"));
        }
    }

    /// What users' sources may call, for both half types.
    #[test]
    fn bodies_compile_where_the_compiler_is() {
        if !driver::nvrtc_present() {
            println!("skipped: libnvrtc.so.13 is not there");
            return;
        }
        let body = "
            auto i = cooperative_groups::this_grid().thread_rank();
            if (i >= x_shape[0] * x_shape[1]) return;
            auto at = elem_to_loc(i, x_shape.data(), x_strides.data(), x_ndim);
            T t = x[at];
            y[i] = float(exp(t)) > 1.0f && FLAG && N < 0 && scale[0] > 0;";
        for dtype in [Dtype::F16, Dtype::BF16, Dtype::F32] {
            let mut source = source(body);
            source.template[0].1 = TemplateArgument::Type(dtype);
            let text = text(&source, &[dtype, Dtype::I64], &[Dtype::Bool]);
            for headers in [None, include_options()] {
                let made = compile_bare(&text, "sm_80", Rounding::Contracted, headers.clone());
                assert!(
                    !made.unwrap_or_else(|e| panic!("{headers:?}: {e}\n{text}")).code.is_empty()
                );
            }
        }
    }

    #[test]
    fn sizes_and_steps_fill_words() {
        assert_eq!(sizes(&[2, 3, 4]), [2 | 3 << 32, 4, 0, 0]);
        assert_eq!(steps(&[-1, 5])[..3], [u64::MAX, 5, 0]);
    }
}
