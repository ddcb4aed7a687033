//! What the planner does with a program, for people: the rows of `docs/rewrites.md`.

/// One row of the catalogue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RuleInfo {
    /// The name, as `explain` prints it.
    pub name: &'static str,
    /// What is written.
    pub written: &'static str,
    /// What runs instead.
    pub runs: &'static str,
    /// How values may differ from those of the separate ops.
    pub values: &'static str,
    /// The claims of the performance guide that the rule serves.
    pub claims: &'static str,
}

macro_rules! catalogue {
    ($($name:literal: $written:literal => $runs:literal; $values:literal; $claims:literal;)*) => {
        /// Every rule and pass that changes what runs, in the order in which they apply.
        pub static CATALOGUE: &[RuleInfo] = &[$(RuleInfo {
            name: $name, written: $written, runs: $runs, values: $values, claims: $claims,
        }),*];
    };
}

catalogue! {
    "quantized_product": "`x @ dequantize(w).T`, `x @ dequantize(w)`, `dequantize(w) @ x`, with or \
        without a widening cast" =>
        "the product with the packed matrix; the dense matrix is never written";
        "those of the quantised product: weights are not rounded to a half type in between";
        "C7, C8";
    "attention": "`softmax(q @ k.T * scale + mask) @ v`: any order of scale, masks and `where`; heads \
        grouped by `repeat` or by a fifth axis; upcasts" =>
        "the fused attention step; scores are never written";
        "scores stay in float32; a row that attends to nothing gives zeros";
        "C19, C46";
    "batch_loop": "`stack([f(x[i]) for i in range(n)])`, n >= 4, for losses, gradients, rows" =>
        "the batched ops of `vmap(f)`, over views of the inputs where they are consecutive";
        "those of vmap: products and sums may round in another order";
        "C22, C24, C39";
    "batch_sum": "`total = f(x[0]) + f(x[1]) + ...`, n >= 4 small terms" =>
        "the batched ops and one sum";
        "the sum's order is that of a reduction, whose error is smaller";
        "C22, C39";
    "batch_items": "`losses = [f(x[i]) for i in range(n)]`, n >= 4, whose items are kept or asked for one by \
        one" =>
        "the batched ops; each item is a view of its part, where items are at most 64 kB and 1 MB together";
        "those of vmap: products and sums may round in another order";
        "C22, C24, C39";
    "log_softmax": "`log(softmax(x))`, over any axes" => "`x - max - log(sum)`: one pass, no division for \
        each element";
        "more exact; finite where a probability underflows"; "C48, C50";
    "pick": "`take_along_axis` of few elements of an elementwise expression, such as \
        `-log(softmax(x))[target]`" =>
        "only those elements are computed"; "equal"; "C50";
    "equal subexpressions": "the same op on the same operands, twice" => "computed once"; "equal";
        "C12";
    "no-op": "`x * 1`, `x / 1`, `stop_gradient(x)`" => "`x`"; "equal"; "C4, C50";
    "fuse": "chains and trees of elementwise ops, casts and broadcasts" =>
        "one pass over the operands";
        "equal; half types round once, at the end";
        "C10, C12, C19, C27, C43";
    "fuse_rows": "softmax, log-softmax, logsumexp, cross-entropy, rms, layer, group and batch norms, \
        mean and variance, written by hand or called" =>
        "one pass over each row with all its reductions";
        "equal, but a softmax is multiplied by the reciprocal of its sum, within 1.5 units in the last \
        place; half types accumulate in float32 and round once";
        "C16, C17, C18, C19, C46, C47, C48";
    "fuse_siblings": "several reductions or functions of one array: `x.sum(-1), x.max(-1)`" =>
        "one pass that reads it once";
        "equal";
        "C10, C16, C17";
    "computed again": "`h.astype(float32)` or `x * 2` of an array, read in several places; on a GPU also a half \
        weight that a norm broadcasts, and up to 16 elementwise ops of one array, such as an activation and its \
        derivative" =>
        "an instruction in each step that reads it; it is never stored";
        "equal";
        "C19";
    "epilogue": "a product followed by bias, residual, scale or activation" =>
        "the product's tiles pass through the rest before they are stored";
        "equal; on a GPU, 2^22 or more results of half types are rounded before a nonlinear function";
        "C4, C5";
    "strided operands": "products of transposed, sliced or broadcast operands" =>
        "the product reads any strides; nothing is copied";
        "equal";
        "C1, C2, C3, C5";
    "view": "transpose, slice, broadcast, repeat or tile of a unit axis, reshape where strides allow" =>
        "arithmetic on strides; nothing is moved";
        "equal";
        "C41, C43";
    "row gather": "`x[i]`, `take(x, i)`, `take_along_axis(x, i[:, None])`" =>
        "one gather of whole rows";
        "equal";
        "C44";
    "in place": "`x.at[i].add(v)`, `x[i] = v`, `put_along_axis`, slice updates, elementwise ops" =>
        "the result takes over the buffer of an operand that nobody needs afterwards";
        "equal";
        "C45, C52";
}
