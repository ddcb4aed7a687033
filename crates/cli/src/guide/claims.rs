//! The guide's 56 claims, and what lazulite makes of each.

use super::Pair;
use super::{checks, pairs};
use lazulite::prelude::*;

/// How a claim is put to the test.
pub enum Trial {
    /// Two spellings that should cost the same.
    Level(fn() -> Result<Vec<Pair>>),
    /// Two spellings of which the guide's fast one is other work, and may pay.
    Pays(fn() -> Result<Vec<Pair>>),
    /// A fact, and the words for what was seen.
    Fact(fn() -> Result<String>),
}

/// One claim of the guide.
pub struct Claim {
    /// Its number, such as "C2".
    pub id: &'static str,
    /// What the guide says, or what lazulite does where the guide is wrong.
    pub says: &'static str,
    /// The trials.
    pub trials: &'static [Trial],
}

macro_rules! claims {
    ($($id:ident $says:literal: $($trial:ident($path:path)),+;)*) => {
        /// Every claim, in the guide's order.
        pub const CLAIMS: &[Claim] = &[$(Claim {
            id: stringify!($id), says: $says, trials: &[$(Trial::$trial($path)),+],
        }),*];
    };
}

claims! {
    C1 "the layout of an operand does not matter for a product": Level(pairs::layouts);
    C2 "vector times matrix costs the same for W and W.T": Level(pairs::vector_matrix);
    C3 "matrix times vector costs the same for W and W.T": Level(pairs::matrix_vector);
    C4 "a bias costs the same with and without addmm": Level(pairs::addmm);
    C5 "addmm(b, x, W) is refused where W must be transposed": Fact(checks::addmm_shapes);
    C6 "quantized_matmul: every width, group and orientation": Fact(checks::quantized_grid);
    C7 "dequantise and multiply is one step": Level(pairs::quantized);
    C8 "float inputs and quantised weights promote": Fact(checks::quantized_promotion);
    C9 "a linear layer of packed weights never writes them out": Fact(checks::quantized_layer);
    C10 "chains of elementwise ops are fused, compiled or not": Level(pairs::gelu);
    C11 "a function is compiled by a call, with no compiler": Fact(checks::first_call);
    C12 "a norm, a scale and a residual are one step": Level(pairs::residual_norm);
    C13 "a whole model, compiled or not": Level(pairs::model);
    C14 "new shapes trace again, shapeless functions do not": Fact(checks::retraces);
    C15 "a compiled layer in the place of a layer is used": Fact(checks::layer_replaced);
    C16 "rms_norm accumulates in float32": Level(pairs::rms_norm), Fact(checks::rms_norm_error);
    C17 "layer_norm too": Level(pairs::layer_norm), Fact(checks::layer_norm_error);
    C18 "softmax too, precise or not": Level(pairs::softmax), Fact(checks::softmax_sums);
    C19 "so casting up and down by hand is no faster": Level(pairs::upcast);
    C20 "vmap equals a loop": Fact(checks::vmap_equals_loop);
    C21 "vmap of a model of single examples": Fact(checks::vmap_model);
    C22 "a loop over examples runs the batch of vmap, its results kept or not; its 64 graphs of 15 \
        nodes are made, walked and dropped besides": Level(pairs::vmap_loop);
    C23 "vmap of a loss gives a loss for each example": Fact(checks::per_example_losses);
    C24 "so does one over gradients": Level(pairs::per_example_gradients);
    C25 "every op has a vmap rule": Fact(checks::vmap_slice_update);
    C26 "values are refused inside a traced function, in words": Fact(checks::value_inside_vmap);
    C27 "vmap costs what broadcasting costs": Level(pairs::vmap_broadcast);
    C28 "preparing the next batch overlaps the work on this one": Pays(pairs::pipeline);
    C29 "a stream on a GPU, or an error that says what is missing": Fact(checks::gpu_stream);
    C30 "async_eval returns before the work is done": Fact(checks::async_returns);
    C31 "a pipelined loop handles its last batch": Fact(checks::last_batch);
    C32 "eval waits": Fact(checks::eval_waits);
    C33 "independent chains on one stream or two": Pays(pairs::two_streams);
    C34 "results cross streams in order": Fact(checks::cross_streams);
    C35 "files open by their header and load tensor by tensor": Fact(checks::lazy_files);
    C36 "loading and casting streams by itself": Level(pairs::cast_after);
    C37 "eval takes trees": Fact(checks::eval_trees);
    C38 "items one by one, or all at once": Pays(pairs::items);
    C39 "an evaluation each, or one for all": Level(pairs::evaluations);
    C40 "a data set is one array by one copy": Fact(checks::one_copy);
    C41 "a row n times by concatenation or by repeat":
        Level(pairs::concatenate_copies);
    C42 "repeat is not concatenate; tile is": Fact(checks::repeat_and_tile);
    C43 "broadcast operands are never written out": Level(pairs::broadcast);
    C44 "rows by index, in both spellings": Level(pairs::gather_rows);
    C45 "rows written by index, in both": Level(pairs::put_rows), Fact(checks::put_is_functional);
    C46 "softmax of large logits is finite": Fact(checks::large_logits);
    C47 "so is logsumexp": Fact(checks::large_logsumexp);
    C48 "log probabilities in both spellings": Level(pairs::log_softmax);
    C49 "a cross-entropy of half logits reduces in float32": Fact(checks::cross_entropy_error);
    C50 "its mean over tokens as the guide writes it": Level(pairs::cross_entropy);
    C51 "masked, as in mlx-lm": Fact(checks::masked_loss);
    C52 "features are let go when nothing needs them": Level(pairs::held_features);
    C53 "the cache stays bounded as shapes change": Fact(checks::cache_bounded);
    C54 "counters of peak, active and cached memory": Fact(checks::counters);
    C55 "the counters are exact": Fact(checks::counters_exact);
    C56 "no claim above needs to be known": Fact(checks::nothing_to_know);
}
