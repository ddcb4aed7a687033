//! The source of kernels with reductions.

use std::fmt::Write;

use lazulite_core::Dtype;
use lazulite_core::plan::{Extent, Instr, Tape};

use super::{Along, SHARING, Team, Variant, levels, needed, online, reductions, worth_holding};
use crate::fused::load_dtypes;
use crate::print::{compute, expression, outline, reducer, storage, stored};

/// The source of the kernel of a variant.
pub(crate) fn print(tape: &Tape, variant: &Variant) -> String {
    let levels = levels(tape);
    let hold = match variant.stage {
        None if !variant.shared => worth_holding(tape, variant, &levels),
        _ => Vec::new(),
    };
    let printer = Printer {
        tape,
        variant,
        out: String::new(),
        levels,
        hold,
        held: Vec::new(),
        known: Vec::new(),
    };
    printer.kernel()
}

struct Printer<'a> {
    tape: &'a Tape,
    variant: &'a Variant,
    out: String,
    levels: Vec<usize>,
    /// Values that stay in registers once they are computed, and those that are.
    hold: Vec<usize>,
    held: Vec<usize>,
    /// Row values of which a thread has one for each of its columns, so far.
    known: Vec<usize>,
}

impl Printer<'_> {
    fn line(&mut self, text: impl AsRef<str>) {
        self.out.push_str(text.as_ref());
        self.out.push('\n');
    }

    fn operand_base(&self, operand: usize) -> usize {
        let axes = self.variant.kept_axes + self.variant.reduced_axes;
        4 + axes + operand * axes
    }

    fn kept_stride(&self, operand: usize, axis: usize) -> String {
        format!("(I)g.v[{}]", self.operand_base(operand) + axis)
    }

    fn reduced_stride(&self, operand: usize, axis: usize) -> String {
        format!("(I)g.v[{}]", self.operand_base(operand) + self.variant.kept_axes + axis)
    }

    fn join(&self, v: usize) -> (String, &'static str) {
        let Instr::Reduce(op, a) = self.tape.values[v].instr else { return (String::new(), "f32") };
        let t = compute(self.tape.values[a as usize].dtype);
        (format!("{}<{t}>", reducer(op)), t)
    }

    /// The function that joins value `value` by `join` over the team.
    fn combine(&self, join: &str, value: usize) -> String {
        match self.variant.team {
            Team::Warp => format!("warp_join<{join}>"),
            Team::Block if self.variant.cluster > 1 => {
                format!("cluster_join<{join}, {}, {value}>", self.variant.cluster)
            }
            Team::Block => format!("block_join<{join}>"),
            Team::Column => format!("column_join<{join}>"),
        }
    }

    /// `text` for each column of a thread, with the columns' row values at hand.
    fn each(&self, text: &str) -> String {
        match self.variant.columns {
            1 => text.to_string(),
            n => format!(
                "#pragma unroll\n  for (int e = 0; e < {n}; e++) {{ {}{text} }}",
                self.row_names()
            ),
        }
    }

    /// Names for the row values of column `e`.
    fn row_names(&self) -> String {
        let name = |&v: &usize| {
            format!(
                "[[maybe_unused]] const {} v{v} = rv{v}[e]; ",
                compute(self.tape.values[v].dtype)
            )
        };
        self.known.iter().map(name).collect()
    }

    /// Declares a row value and sets it, for each column of a thread.
    fn row_value(&mut self, v: usize, t: &str, text: &str) {
        match self.variant.columns {
            1 => self.line(format!("  const {t} v{v} = {text};")),
            n => {
                self.line(format!("  {t} rv{v}[{n}];"));
                let set = self.each(&format!("rv{v}[e] = {text};"));
                self.line(set);
                self.known.push(v);
            }
        }
    }

    /// Declares the accumulator of a reduction; returns how it is called for a column.
    fn accumulator(&mut self, v: usize, t: &str, join: &str) -> String {
        match self.variant.columns {
            1 => {
                self.line(format!("  {t} a{v} = {join}::start();"));
                format!("a{v}")
            }
            n => {
                self.line(format!("  {t} a{v}[{n}];"));
                let set = self.each(&format!("a{v}[e] = {join}::start();"));
                self.line(set);
                format!("a{v}[e]")
            }
        }
    }

    /// A load of `t` at `at`: one element, or one for each column.
    fn load(&self, l: usize, t: &str, at: &str) -> (String, String) {
        match self.variant.columns {
            n if n > 1 && self.variant.beside[l] => {
                let t = format!("Pack<{t}, {n}>");
                let text = format!("*(const {t}*)({at})");
                (t, text)
            }
            _ => (t.to_string(), format!("*({at})")),
        }
    }

    /// What a name of [`Printer::load`] is called for a column.
    fn element_of(&self, l: usize, name: &str) -> String {
        match self.variant.columns > 1 && self.variant.beside[l] {
            true => format!("widen({name}.v[e])"),
            false => format!("widen({name})"),
        }
    }

    fn kernel(self) -> String {
        let halves = self.only_halves();
        let text = self.text();
        outline(if halves { text.replace("op_exp(", "near_exp(") } else { text })
    }

    /// True iff all arrays are of half types, whose rounding hides a less exact exponential. A softmax of
    /// 2048 x 128256 takes 0.93 of the time with it, on an H100.
    fn only_halves(&self) -> bool {
        let stored = |&v: &u16| self.tape.values[v as usize].dtype;
        let mut all = load_dtypes(self.tape).into_iter().chain(self.tape.stores.iter().map(stored));
        all.all(Dtype::is_half)
    }

    fn text(mut self) -> String {
        let v = self.variant;
        let tape = self.tape;
        let reduced = reductions(tape);
        let loads = load_dtypes(tape);
        let operands = loads.len() + tape.stores.len();
        let geometry = self.operand_base(operands);
        let _ = write!(
            self.out,
            "struct P {{ u64 at[{}]; }};\nstruct G {{ i64 v[{geometry}]; }};\ntypedef {} I;\n\
             extern \"C\" __global__ void {}__launch_bounds__({}{}) tape(P p, G g) {{\n  OVERLAPS\n",
            operands + if v.stage.is_some() { reduced.len() } else { 0 } + usize::from(v.joins),
            if v.wide { "i64" } else { "i32" },
            if v.cluster > 1 {
                format!("__cluster_dims__({}, 1, 1) ", v.cluster)
            } else {
                String::new()
            },
            v.threads,
            if v.shared { format!(", {SHARING}") } else { String::new() },
        );
        let shared = format!(
            "  const I row = blockIdx.x / {c}; const bool live = true;\n  \
             const I lane = cluster_rank() * blockDim.x + threadIdx.x, lanes = blockDim.x * {c};",
            c = v.cluster
        );
        let columns = format!(
            "  const I place = ((I)blockIdx.x * 32 + threadIdx.x) * {n};\n  \
             const bool live = place < (I)g.v[0];\n  \
             const I row = live ? place : (I)g.v[0] - {n};\n  \
             const I lane = threadIdx.y, lanes = blockDim.y;",
            n = v.columns
        );
        self.line(match v.team {
            Team::Column => &columns,
            Team::Block if v.cluster > 1 => &shared,
            Team::Warp => {
                "  const I row = (I)blockIdx.x * 4 + threadIdx.y; const bool live = true;\n  \
                 if (row >= (I)g.v[0]) return;\n  const I lane = threadIdx.x, lanes = 32;"
            }
            Team::Block => {
                "  const I row = blockIdx.x; const bool live = true;\n  \
                 const I lane = threadIdx.x, lanes = blockDim.x;"
            }
        });
        self.line(match v.stage {
            None => "  const I begin = 0, end = (I)g.v[1];",
            Some(_) => {
                "  const I begin = (I)g.v[3] * blockIdx.y;\n  \
                 const I limit = begin + (I)g.v[3], end = limit < (I)g.v[1] ? limit : (I)g.v[1];"
            }
        });
        self.row_offsets(operands);
        if v.shared {
            self.line("  extern __shared__ __align__(16) u8 memory[];");
        }
        let mut shelf = 0;
        for (l, &dtype) in loads.iter().enumerate() {
            if v.along[l] != Along::Fixed && v.shared {
                self.keep_shared(l, storage(dtype), shelf);
                shelf += 1;
            } else if v.along[l] == Along::Fixed {
                let t = storage(dtype);
                let (kind, text) = self.load(l, t, &format!("(const {t}*)p.at[{l}] + o{l}"));
                self.line(format!("  const {kind} fx{l} = {text};"));
            } else if v.items > 0 {
                self.keep(l, storage(dtype));
            }
        }
        if v.cluster > 1 {
            self.line("  cluster_barrier();");
        }
        if v.shared {
            self.line("  asm volatile(\"cp.async.wait_all;\" ::: \"memory\");");
        }
        let last = self.levels.iter().copied().max().unwrap_or(0);
        self.row_values(0);
        let mut first = 1;
        if v.online {
            self.online_pass();
            first = 3;
        }
        for level in first..=last {
            match v.stage {
                _ if v.joins => self.pass_and_join(&reduced, operands),
                Some(stage) if level < stage => self.join_parts(level, &reduced, operands),
                _ => self.pass(level, &reduced),
            }
            if v.stage == Some(level) && !v.joins {
                self.leave_parts(level, &reduced, operands);
                self.line("}");
                return self.out;
            }
            self.row_values(level);
        }
        self.stores(loads.len());
        self.line("}");
        self.out
    }

    /// Offsets of the row in each operand.
    fn row_offsets(&mut self, operands: usize) {
        let d = self.variant.kept_axes;
        self.line("  I rest = row;");
        for a in (0..d).rev() {
            if a == 0 {
                self.line("  const I k0 = rest;");
            } else {
                let size = format!("(I)g.v[{}]", 4 + a);
                self.line(format!(
                    "  const I q{a} = rest / {size}, k{a} = rest - q{a} * {size}; rest = q{a};"
                ));
            }
        }
        for i in 0..operands {
            let terms: Vec<_> =
                (0..d).map(|a| format!("k{a} * {}", self.kept_stride(i, a))).collect();
            self.line(format!("  const I o{i} = {};", terms.join(" + ")));
        }
    }

    /// Loads all of a row's packs of one operand into registers.
    fn keep(&mut self, l: usize, t: &str) {
        let (pack, items) = (self.variant.pack, self.variant.items);
        let at = match self.variant.along[l] {
            Along::Unit => format!("*(const Pack<{t}, {pack}>*)((const {t}*)p.at[{l}] + o{l} + j)"),
            _ => format!(
                "*(const Pack<{t}, 1>*)((const {t}*)p.at[{l}] + o{l} + j * {})",
                self.reduced_stride(l, 0)
            ),
        };
        self.line(format!("  Pack<{t}, {pack}> cx{l}[{items}];\n#pragma unroll"));
        self.line(format!(
            "  for (int it = 0; it < {items}; it++) {{ const I j = (it * lanes + lane) * {pack}; \
             if (j < end) cx{l}[it] = {at}; }}"
        ));
    }

    /// Copies all of a row's packs of one operand, of 16 bytes each, into the block's memory: every thread
    /// those that it reads, so that it waits for its own alone.
    fn keep_shared(&mut self, l: usize, t: &str, shelf: usize) {
        let (pack, items, threads) = (self.variant.pack, self.variant.items, self.variant.threads);
        self.line(format!(
            "  const Pack<{t}, {pack}>* sx{l} = (const Pack<{t}, {pack}>*)memory + {} + threadIdx.x;\n\
             #pragma unroll\n  for (int it = 0; it < {items}; it++) {{ \
             const I j = (it * lanes + lane) * {pack}; if (j < end) asm volatile(\
             \"cp.async.cg.shared.global [%0], [%1], 16;\" :: \
             \"r\"((u32)__cvta_generic_to_shared(sx{l} + it * {threads})), \
             \"l\"((const {t}*)p.at[{l}] + o{l} + j) : \"memory\"); }}",
            shelf * items * threads
        ));
    }

    /// Row values that are known after `level` reductions.
    fn row_values(&mut self, level: usize) {
        for v in 0..self.tape.values.len() {
            let value = &self.tape.values[v];
            let fixed = match value.instr {
                Instr::Load { operand } => self.variant.along[operand as usize] == Along::Fixed,
                Instr::Const(_) => true,
                _ => value.extent == Extent::Row,
            };
            if !fixed || self.levels[v] != level {
                continue;
            }
            let text = match value.instr {
                Instr::Reduce(..) => continue,
                Instr::Load { operand } => {
                    self.element_of(operand as usize, &format!("fx{operand}"))
                }
                _ => expression(self.tape, v).unwrap_or_default(),
            };
            let t = compute(value.dtype);
            match value.instr {
                Instr::Const(_) => self.line(format!("  const {t} v{v} = {text};")),
                _ => self.row_value(v, t, &text),
            }
        }
    }

    /// A loop over the row that computes `roots` and runs `body` for each element.
    fn over_row(&mut self, roots: &[u16], before: &str, body: &str, after: &str) {
        let v = self.variant;
        let pack = v.pack;
        let values = needed(self.tape, roots, &self.held);
        let fresh: Vec<usize> = values
            .iter()
            .copied()
            .filter(|x| self.hold.contains(x) && !self.held.contains(x))
            .collect();
        for &x in &fresh {
            let t = compute(self.tape.values[x].dtype);
            self.line(format!("  {t} hv{x}[{}][{pack}];", v.items));
        }
        if v.items > 0 {
            let unroll = if v.shared { " 2" } else { "" };
            self.line(format!(
                "#pragma unroll{unroll}\n  for (int it = 0; it < {}; it++) {{ \
                 const I j = (it * lanes + lane) * {pack}; if (j < end) {{",
                v.items
            ));
        } else {
            let unroll = if v.team == Team::Column { 8 } else { 4 };
            self.line(format!(
                "#pragma unroll {unroll}\n  for (I j = begin + lane * {pack}; j < end; \
                 j += lanes * {pack}) {{ {{"
            ));
        }
        let stored = (0..self.tape.stores.len())
            .any(|s| v.along[self.tape.inputs as usize + s] == Along::Any);
        let loaded = values.iter().any(|&x| match self.tape.values[x].instr {
            Instr::Load { operand } => v.along[operand as usize] == Along::Any,
            _ => false,
        });
        if v.reduced_axes > 1 && (stored || loaded) {
            self.line("    I left = j;");
            for a in (0..v.reduced_axes).rev() {
                let size = format!("(I)g.v[{}]", 4 + v.kept_axes + a);
                self.line(match a {
                    0 => "    const I j0 = left;".to_string(),
                    _ => format!(
                        "    const I w{a} = left / {size}, j{a} = left - w{a} * {size}; left = w{a};"
                    ),
                });
            }
        }
        for &x in &values {
            if let Instr::Load { operand } = self.tape.values[x].instr {
                let l = operand as usize;
                let t = storage(self.tape.values[x].dtype);
                match v.along[l] {
                    Along::Fixed => {}
                    _ if v.shared => self.line(format!(
                        "    const Pack<{t}, {pack}> l{l} = sx{l}[it * {}];",
                        v.threads
                    )),
                    _ if v.items > 0 => {}
                    Along::Unit => self.line(format!(
                        "    const Pack<{t}, {pack}> l{l} = \
                         *(const Pack<{t}, {pack}>*)((const {t}*)p.at[{l}] + o{l} + j);"
                    )),
                    Along::Any => {
                        let at = self.element(l);
                        let (kind, text) =
                            self.load(l, t, &format!("(const {t}*)p.at[{l}] + {at}"));
                        self.line(format!("    const {kind} l{l} = {text};"));
                    }
                }
            }
        }
        self.line(before);
        let (wide, names) = match v.columns {
            1 => (pack, String::new()),
            n => (n, self.row_names()),
        };
        self.line(format!("#pragma unroll\n    for (int e = 0; e < {wide}; e++) {{ {names}"));
        for &x in &values {
            let value = &self.tape.values[x];
            let text = match value.instr {
                _ if self.held.contains(&x) => format!("hv{x}[it][e]"),
                Instr::Const(_) => continue,
                Instr::Load { operand } => match v.along[operand as usize] {
                    Along::Fixed => continue,
                    _ if v.items > 0 && !v.shared => format!("widen(cx{operand}[it].v[e])"),
                    Along::Unit => format!("widen(l{operand}.v[e])"),
                    Along::Any => self.element_of(operand as usize, &format!("l{operand}")),
                },
                _ => expression(self.tape, x).unwrap_or_default(),
            };
            let t = compute(value.dtype);
            self.line(format!("      const {t} v{x} = {text};"));
            if fresh.contains(&x) {
                self.line(format!("      hv{x}[it][e] = v{x};"));
            }
        }
        self.held.extend(fresh);
        self.line(body);
        self.line("    }");
        self.line(after);
        self.line("  } }");
    }

    /// The offset of element `j` of the row in operand `i`.
    fn element(&self, i: usize) -> String {
        let v = self.variant;
        match v.reduced_axes {
            1 => format!("o{i} + j * {}", self.reduced_stride(i, 0)),
            d => {
                let terms: Vec<_> =
                    (0..d).map(|a| format!("j{a} * {}", self.reduced_stride(i, a))).collect();
                format!("o{i} + {}", terms.join(" + "))
            }
        }
    }

    fn at_level<'b>(&'b self, level: usize, reduced: &'b [usize]) -> Vec<(usize, usize)> {
        let here = |&(_, &v): &(usize, &usize)| self.levels[v] == level;
        reduced.iter().enumerate().filter(here).map(|(r, &v)| (r, v)).collect()
    }

    /// Joins the accumulators of value `v` over the team; the value is known then.
    fn joined(&mut self, v: usize, t: &str, join: &str) {
        if self.variant.columns > 1 {
            self.line(format!("  columns_join<{join}>(a{v});"));
            return self.row_value(v, t, &format!("a{v}[e]"));
        }
        let combine = self.combine(join, v);
        self.row_value(v, t, &format!("{combine}(a{v})"));
    }

    /// The reductions of one level, by a loop over the row.
    fn pass(&mut self, level: usize, reduced: &[usize]) {
        let here = self.at_level(level, reduced);
        let (mut roots, mut body) = (Vec::new(), String::new());
        for &(_, v) in &here {
            let (join, t) = self.join(v);
            let name = self.accumulator(v, t, &join);
            if let Instr::Reduce(_, a) = self.tape.values[v].instr {
                roots.push(a);
                body.push_str(&format!("      {name} = {join}::join({name}, v{a});\n"));
            }
        }
        self.over_row(&roots, "", &body, "");
        for &(_, v) in &here {
            let (join, t) = self.join(v);
            self.joined(v, t, &join);
        }
    }

    /// The reductions of the first two levels, by one loop over the row.
    fn online_pass(&mut self) {
        let Some(o) = online(self.tape) else { return };
        let (pack, max) = (self.variant.pack, "Max<f32>");
        self.line("  f32 top = -INFINITY_F, shift = 0.f, sum = 0.f;");
        let before = format!("    f32 row_of[{pack}];");
        let body = format!("      row_of[e] = v{};", o.element);
        // A shift that is not finite would make exponents of inf - inf.
        let after = format!(
            "    f32 high = top;\n#pragma unroll\n    for (int e = 0; e < {pack}; e++) \
             high = {max}::join(high, row_of[e]);\n    if (!(high == top)) {{\n      \
             const f32 next = fabsf(high) < INFINITY_F ? high : 0.f;\n      \
             sum = sum == 0.f ? 0.f : sum * op_exp(shift - next); shift = next; top = high;\n    }}\n\
             #pragma unroll\n    for (int e = 0; e < {pack}; e++) sum += op_exp(row_of[e] - shift);"
        );
        self.over_row(&[o.element], &before, &body, &after);
        let (join_top, join_sum) = (self.combine(max, o.top), self.combine("Sum<f32>", o.sum));
        self.line(format!("  const f32 v{} = {join_top}(top);", o.top));
        self.line(format!(
            "  const f32 least = fabsf(v{top}) < INFINITY_F ? v{top} : 0.f;\n  \
             sum = {join_sum}(sum == 0.f ? 0.f : sum * op_exp(shift - least));",
            top = o.top
        ));
        self.row_values(1);
        // The shift that was asked for may be another one than the greatest element.
        self.line(format!(
            "  const f32 v{} = least == v{shift} ? sum : sum * op_exp(least - v{shift});",
            o.sum,
            shift = o.shift
        ));
        self.row_values(2);
    }

    /// The only pass, after which the last block of a row joins what all have left.
    fn pass_and_join(&mut self, reduced: &[usize], operands: usize) {
        let known = self.known.len();
        self.line("  {");
        self.pass(1, reduced);
        self.leave_parts(1, reduced, operands);
        self.known.truncate(known);
        self.line(format!(
            "  }}\n  __shared__ bool last;\n  __threadfence();\n  __syncthreads();\n  \
             if (threadIdx.x == 0 && threadIdx.y == 0) {{\n    \
             u32* counter = (u32*)p.at[{}] + blockIdx.x;\n    \
             last = atomicAdd(counter, 1u) + 1 == gridDim.y;\n    if (last) *counter = 0;\n  }}\n  \
             __syncthreads();\n  if (!last) return;\n  __threadfence();",
            operands + reduced.len()
        ));
        self.join_parts(1, reduced, operands);
    }

    /// The reductions of one level, from what an earlier launch left.
    fn join_parts(&mut self, level: usize, reduced: &[usize], operands: usize) {
        for (r, v) in self.at_level(level, reduced) {
            let (join, t) = self.join(v);
            let name = self.accumulator(v, t, &join);
            let row = if self.variant.columns > 1 { "(row + e)" } else { "row" };
            let add = self.each(&format!(
                "{name} = {join}::join({name}, ((const {t}*)p.at[{}])[s * (I)g.v[0] + {row}]);",
                operands + r
            ));
            self.line(format!("  for (I s = lane; s < (I)g.v[2]; s += lanes) {{\n{add}\n  }}"));
            self.joined(v, t, &join);
        }
    }

    fn leave_parts(&mut self, level: usize, reduced: &[usize], operands: usize) {
        for (r, v) in self.at_level(level, reduced) {
            let (_, t) = self.join(v);
            let row = if self.variant.columns > 1 { "(row + e)" } else { "row" };
            let leave = self.each(&format!(
                "if (lane == 0 && live) (({t}*)p.at[{}])[(I)blockIdx.y * (I)g.v[0] + {row}] = v{v};",
                operands + r
            ));
            self.line(leave);
        }
    }

    fn stores(&mut self, loads: usize) {
        let v = self.variant;
        let (mut roots, mut before, mut body, mut after) =
            (Vec::new(), String::new(), String::new(), String::new());
        for (s, &value) in self.tape.stores.iter().enumerate() {
            let i = loads + s;
            let t = storage(self.tape.values[value as usize].dtype);
            if self.tape.values[value as usize].extent == Extent::Row {
                let cut = v.stage.is_some() && !v.joins;
                let first = if cut { " && blockIdx.y == 0" } else { "" };
                let e = if v.columns > 1 { " + e" } else { "" };
                let store = self.each(&format!(
                    "if (lane == 0 && live{first}) \
                     (({t}*)p.at[{i}])[o{i}{e}] = convert<{t}>(v{value});"
                ));
                self.line(store);
                continue;
            }
            roots.push(value);
            let pack = v.pack.max(v.columns);
            before.push_str(&format!("    Pack<{t}, {pack}> r{s};\n"));
            let element = stored(self.tape, value as usize);
            body.push_str(&format!("      r{s}.v[e] = {element};\n"));
            // A row of one element has no stride; its store is element 0.
            let at = match v.along[i] {
                Along::Fixed => format!("o{i}"),
                Along::Unit => format!("o{i} + j"),
                Along::Any => self.element(i),
            };
            let to = format!("(Pack<{t}, {pack}>*)(({t}*)p.at[{i}] + {at})");
            after.push_str(&match v.online {
                // The rows that are read again stay in the cache.
                true => format!("    store_once({to}, r{s});\n"),
                false => format!("    if (live) *{to} = r{s};\n"),
            });
        }
        if !roots.is_empty() {
            self.over_row(&roots, &before, &body, &after);
        }
    }
}
