//! The source of kernels without reductions: `body` computes a pack of elements, given where they are
//! in each operand, and the kernel `tape` finds these places for its threads.

use lazulite_core::Dtype;
use lazulite_core::op::BinaryOp;
use lazulite_core::plan::{Instr, Tape};

use super::{Step, Variant, load_dtypes};
use crate::print::{compute, expression, outline, storage, stored};

/// The source of the kernel of a variant.
pub(crate) fn print(tape: &Tape, variant: &Variant) -> String {
    let loads = load_dtypes(tape);
    let stores = tape.stores.iter().map(|&v| tape.values[v as usize].dtype).collect();
    let divided = divided(tape, variant);
    let mut printer = Printer { tape, variant, loads, stores, divided, out: String::new() };
    printer.types();
    printer.body();
    printer.kernel();
    outline(printer.out)
}

/// A quotient by one number for all elements.
struct Divided {
    value: usize,
    operand: u16,
}

/// The quotients of random words: by powers of two, as in a uniform draw, they are products, which are
/// exact and take fewer instructions (a draw of 2^26 numbers: 0.90 of the time on an H100).
fn divided(tape: &Tape, variant: &Variant) -> Vec<Divided> {
    let quotient = |v: usize| match tape.values[v].instr {
        Instr::Binary(BinaryOp::Divide, _, by) if tape.values[v].dtype == Dtype::F32 => {
            let by = &tape.values[by as usize];
            match by.instr {
                Instr::Load { operand }
                    if by.dtype == Dtype::F32 && variant.steps[operand as usize] == Step::Same =>
                {
                    Some(Divided { value: v, operand })
                }
                _ => None,
            }
        }
        _ => None,
    };
    match variant.random {
        Some(_) => (0..tape.values.len()).filter_map(quotient).collect(),
        None => Vec::new(),
    }
}

/// The operands are numbered, loads before stores: `o0`, `o1`, ... are the places of their first
/// elements, `l0`, ... what is loaded, `v0`, ... the tape's values, `r0`, ... what is stored.
struct Printer<'a> {
    tape: &'a Tape,
    variant: &'a Variant,
    loads: Vec<Dtype>,
    stores: Vec<Dtype>,
    divided: Vec<Divided>,
    out: String,
}

impl Printer<'_> {
    fn line(&mut self, text: impl AsRef<str>) {
        self.out.push_str(text.as_ref());
        self.out.push('\n');
    }

    /// The stride of an operand along an axis. The words of `g` are the number of packs, the sizes,
    /// and the strides of each operand.
    fn stride(&self, operand: usize, axis: usize) -> String {
        let d = self.variant.ndim;
        format!("(I)g.v[{}]", 1 + d + operand * d + axis)
    }

    fn inner_stride(&self, operand: usize) -> String {
        self.stride(operand, self.variant.ndim - 1)
    }

    /// The parameters' types, and that of offsets.
    fn types(&mut self) {
        let (n, d) = (self.loads.len(), self.variant.ndim);
        let geometry = 1 + d + (n + usize::from(self.variant.into.is_some())) * d;
        self.line(format!("struct P {{ u64 at[{}]; }};", n + self.stores.len()));
        self.line(format!("struct G {{ i64 v[{geometry}]; }};"));
        self.line(format!("typedef {} I;", if self.variant.wide { "i64" } else { "i32" }));
    }

    /// The function that loads, computes and stores `W` elements.
    fn body(&mut self) {
        let offsets: String = (0..self.loads.len()).map(|l| format!("I o{l}, ")).collect();
        let words = if self.variant.random.is_some() { ", const Pack<u32, W>& words" } else { "" };
        let exact = if self.divided.is_empty() { "" } else { ", bool EXACT" };
        self.line(format!(
            "template <int W{exact}> void body(const P& p, const G& g, {offsets}I out{words}) {{"
        ));
        for l in 0..self.loads.len() {
            let load = self.load(l);
            self.line(load);
        }
        for s in 0..self.stores.len() {
            self.line(format!("  Pack<{}, W> r{s};", storage(self.stores[s])));
        }
        self.line("#pragma unroll\n  for (int e = 0; e < W; e++) {");
        for (v, value) in self.tape.values.iter().enumerate() {
            self.line(format!("    const {} v{v} = {};", compute(value.dtype), self.value(v)));
        }
        for (s, &v) in self.tape.stores.iter().enumerate() {
            self.line(format!("    r{s}.v[e] = {};", stored(self.tape, v as usize)));
        }
        self.line("  }");
        for s in 0..self.stores.len() {
            let store = self.store(s);
            self.line(store);
        }
        self.line("}");
    }

    /// Declares `l<l>`: a pack of elements, or the one for all.
    fn load(&self, l: usize) -> String {
        let t = storage(self.loads[l]);
        match self.variant.steps[l] {
            _ if self.variant.random == Some(l) => format!("  const Pack<{t}, W>& l{l} = words;"),
            Step::Unit => format!(
                "  const Pack<{t}, W> l{l} = *(const Pack<{t}, W>*)((const {t}*)p.at[{l}] + o{l});"
            ),
            Step::Same | Step::Zero => format!("  const {t} l{l} = ((const {t}*)p.at[{l}])[o{l}];"),
            Step::Any => format!(
                "  {t} l{l}[W];\n#pragma unroll\n  for (int e = 0; e < W; e++) l{l}[e] = \
                 ((const {t}*)p.at[{l}])[o{l} + {} * e];",
                self.inner_stride(l)
            ),
        }
    }

    /// Element `e` of value `v`.
    fn value(&self, v: usize) -> String {
        match self.tape.values[v].instr {
            Instr::Load { operand } => match self.variant.steps[operand as usize] {
                Step::Unit => format!("widen(l{operand}.v[e])"),
                Step::Same | Step::Zero => format!("widen(l{operand})"),
                Step::Any => format!("widen(l{operand}[e])"),
            },
            Instr::Binary(_, a, b) if self.divided.iter().any(|d| d.value == v) => {
                format!("EXACT ? v{a} * inverse(v{b}) : v{a} / v{b}")
            }
            _ => expression(self.tape, v).unwrap_or_default(),
        }
    }

    /// Writes `r<s>`.
    fn store(&self, s: usize) -> String {
        let (t, n) = (storage(self.stores[s]), self.loads.len());
        match self.variant.into {
            Some(Step::Any) => format!(
                "#pragma unroll\n  for (int e = 0; e < W; e++) \
                 (({t}*)p.at[{}])[out + {} * e] = r{s}.v[e];",
                n + s,
                self.inner_stride(n)
            ),
            _ => format!("  *(Pack<{t}, W>*)(({t}*)p.at[{}] + out) = r{s};", n + s),
        }
    }

    /// The kernel: one thread for each pack, or for two where random words are made.
    fn kernel(&mut self) {
        self.line("extern \"C\" __global__ void __launch_bounds__(256) tape(P p, G g) {");
        self.line("  OVERLAPS");
        self.line("  const I pack = (I)((i64)blockIdx.x * 256 + threadIdx.x);");
        self.line("  if (pack >= (I)g.v[0]) return;");
        self.line(format!("  const I at = pack * {};", self.variant.pack));
        match self.variant.random {
            Some(key) => self.two_random_packs(key),
            None if self.variant.ndim == 1 => self.pack_of_one_axis(),
            None => self.pack_of_many_axes(),
        }
        self.line("}");
    }

    /// The operands whose places differ from pack to pack.
    fn moving(&self) -> Vec<usize> {
        let n = self.loads.len();
        let store = self.variant.into.map(|_| n);
        (0..n).filter(|&l| self.variant.steps[l] != Step::Same).chain(store).collect()
    }

    /// The loads' places as arguments of `body`, `extra` elements further along the innermost axis.
    fn places(&self, extra: &str) -> String {
        let place = |l: usize| match self.variant.steps[l] {
            Step::Same => "0, ".to_string(),
            Step::Zero => format!("o{l}, "),
            _ if extra.is_empty() => format!("o{l}, "),
            Step::Unit => format!("o{l} + {extra}, "),
            Step::Any => format!("o{l} + {extra} * {}, ", self.inner_stride(l)),
        };
        (0..self.loads.len()).map(place).collect()
    }

    /// The store's place likewise.
    fn store_place(&self, extra: &str) -> String {
        let n = self.loads.len();
        match (self.variant.into, extra) {
            (None, "") => "at".to_string(),
            (None, _) => format!("at + {extra}"),
            (Some(_), "") => format!("o{n}"),
            (Some(_), _) => format!("o{n} + {extra} * {}", self.inner_stride(n)),
        }
    }

    /// A thread makes a pack of words of the first half of the array and one of the second, which are
    /// computed together.
    fn two_random_packs(&mut self, key: usize) {
        let pack = self.variant.pack;
        self.line(format!("  const u32* key = (const u32*)p.at[{key}];"));
        self.line("  const I half = (I)(g.v[1] / 2);");
        self.line(format!("  Pack<u32, {pack}> words[2];"));
        self.line(format!(
            "#pragma unroll\n  for (int e = 0; e < {pack}; e++) {{ \
             words[0].v[e] = (u32)(at + e); words[1].v[e] = (u32)(at + e + half); \
             threefry(key[0], key[1], words[0].v[e], words[1].v[e]); }}"
        ));
        self.line("#pragma unroll\n  for (int h = 0; h < 2; h++) {");
        self.line("    const I to = at + h * half;");
        for l in self.moving() {
            self.line(format!("    const I o{l} = to * {};", self.stride(l, 0)));
        }
        let places = self.places("");
        let call = |exact: &str| format!("body<{pack}{exact}>(p, g, {places}to, words[h]);");
        let inverse = |d: &Divided| format!("has_inverse(*(const f32*)p.at[{}])", d.operand);
        let tests: Vec<String> = self.divided.iter().map(inverse).collect();
        self.line(match tests.is_empty() {
            true => format!("    {}", call("")),
            false => format!(
                "    if ({}) {} else {}",
                tests.join(" && "),
                call(", true"),
                call(", false")
            ),
        });
        self.line("  }");
    }

    /// The last pack may be cut; its elements are computed one by one.
    fn pack_of_one_axis(&mut self) {
        for l in self.moving() {
            self.line(format!("  const I o{l} = at * {};", self.stride(l, 0)));
        }
        let pack = self.variant.pack;
        self.line(format!(
            "  if (at + {pack} <= (I)g.v[1]) body<{pack}>(p, g, {}{});",
            self.places(""),
            self.store_place("")
        ));
        self.line(format!(
            "  else for (I k = 0; k < (I)g.v[1] - at; k++) body<1>(p, g, {}{});",
            self.places("k"),
            self.store_place("k")
        ));
    }

    /// Packs lie along the innermost axis, which holds whole ones.
    fn pack_of_many_axes(&mut self) {
        let (d, pack) = (self.variant.ndim, self.variant.pack);
        self.line("  I rest = pack;");
        for a in (1..d).rev() {
            let (size, scale) = match a {
                _ if a == d - 1 => (format!("((I)g.v[{}] / {pack})", 1 + a), format!(" * {pack}")),
                _ => (format!("(I)g.v[{}]", 1 + a), String::new()),
            };
            self.line(format!(
                "  const I q{a} = rest / {size}; const I ix{a} = (rest - q{a} * {size}){scale}; \
                 rest = q{a};"
            ));
        }
        self.line("  const I ix0 = rest;");
        for l in self.moving() {
            let terms: Vec<String> =
                (0..d).map(|a| format!("ix{a} * {}", self.stride(l, a))).collect();
            self.line(format!("  const I o{l} = {};", terms.join(" + ")));
        }
        let (places, out) = (self.places(""), self.store_place(""));
        self.line(format!("  body<{pack}>(p, g, {places}{out});"));
    }
}
