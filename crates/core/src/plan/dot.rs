//! Graphs for Graphviz.

use super::collect::{Slot, collect};
use crate::array::Array;
use crate::error::Result;
use crate::shape::show;
use std::fmt::Write;

/// The unevaluated graph below `outputs`, in the language of Graphviz: a box for
/// each op, an ellipse for each array with data and for each output. Arrays are called by the names
/// that they are given, others by a letter.
///
/// # Errors
/// Kind `Trace` inside a function transform.
pub fn dot(outputs: &[Array], names: &[(String, Array)]) -> Result<String> {
    let graph = collect(outputs)?;
    let mut unnamed = 0;
    let mut name = |slot: Slot| {
        let given = names.iter().find(|(_, x)| x.same(&graph.array(slot)));
        let name = given.map_or_else(
            || {
                unnamed += 1;
                letters(unnamed - 1)
            },
            |(name, _)| name.clone(),
        );
        name.replace('\\', "\\\\").replace('"', "\\\"")
    };
    let typed = |slot: Slot| format!("{} {}", graph.dtype(slot), show(graph.shape(slot)));
    let mut text = String::from("digraph {\n");
    for (i, n) in graph.nodes.iter().enumerate() {
        let _ = match n.leaf {
            true => (0..n.node.outputs.len() as Slot).map(|k| n.first + k).try_for_each(|slot| {
                let (name, kind) = (name(slot), typed(slot));
                writeln!(text, "  leaf{slot} [label=\"{name}\\n{kind}\", shape=ellipse];")
            }),
            false => writeln!(text, "  op{i} [label=\"{}\", shape=box];", n.node.op.name()),
        };
    }
    let source = |slot: Slot| match graph.of(slot).leaf {
        true => format!("leaf{slot}"),
        false => format!("op{}", graph.node_of[slot as usize]),
    };
    for (i, n) in graph.nodes.iter().enumerate() {
        for &input in &n.inputs {
            let _ = writeln!(text, "  {} -> op{i} [label=\"{}\"];", source(input), typed(input));
        }
    }
    for (i, &slot) in graph.outputs.iter().enumerate() {
        if !graph.of(slot).leaf {
            let (name, kind) = (name(slot), typed(slot));
            let _ = writeln!(text, "  out{i} [label=\"{name}\\n{kind}\", shape=ellipse];");
            let _ = writeln!(text, "  {} -> out{i};", source(slot));
        }
    }
    text.push_str("}\n");
    Ok(text)
}

/// `A` to `Z`, then `AA`, and so on.
fn letters(mut n: usize) -> String {
    let mut text = Vec::new();
    loop {
        text.push(char::from(b'A' + (n % 26) as u8));
        if n < 26 {
            break;
        }
        n = n / 26 - 1;
    }
    text.iter().rev().collect()
}

#[cfg(test)]
mod tests {
    use super::letters;

    #[test]
    fn letters_count_on_behind_z() {
        let found: Vec<_> = [0, 25, 26, 27, 701, 702].map(letters).to_vec();
        assert_eq!(found, ["A", "Z", "AA", "AB", "ZZ", "AAA"]);
    }
}
