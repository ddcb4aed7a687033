//! The Llama architecture (Touvron et al. 2023, section 2.2; grouped heads as in Ainslie et al.
//! 2023) with weights from a GGUF file, quantised matrices multiplied as they are.

use lazulite::eval;
use lazulite::fast::{self, Frequencies, Mask};
use lazulite::io::gguf;
use lazulite::prelude::*;
use lazulite::quantized::{QuantFormat, QuantMode};
use lazulite::scatter::UpdateMode;
use std::collections::HashMap;

/// The sizes and constants that the file's metadata states.
#[derive(Clone, Debug)]
pub struct Config {
    /// Transformer blocks.
    pub layers: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads.
    pub kv_heads: usize,
    /// Elements of one head.
    pub head_size: usize,
    /// The epsilon of the norms.
    pub epsilon: f64,
    /// The base of the rotary frequencies.
    pub rope_base: f64,
    /// Tokens that the model was trained to see at once.
    pub context: usize,
}

impl Config {
    /// Reads the metadata.
    ///
    /// # Errors
    /// Kind `Unsupported` if the architecture is not `llama`, `Io` if a key is missing or zero.
    pub fn from_gguf(metadata: &gguf::Metadata) -> Result<Config> {
        let name = metadata.get("general.architecture").and_then(|v| v.as_str()).unwrap_or("");
        if name != "llama" {
            let message = format!("the file's architecture is '{name}', expected 'llama'");
            return Err(Error::unsupported("generate", message));
        }
        let number = |key: &str| metadata.get(&format!("llama.{key}"));
        let missing =
            |key: &str| Error::io("generate", format!("llama.{key}"), "is missing or zero");
        let count = |key: &str| {
            let value = number(key).and_then(|v| v.as_u64()).filter(|&n| n > 0 && n < 1 << 32);
            value.map(|n| n as usize).ok_or_else(|| missing(key))
        };
        let heads = count("attention.head_count")?;
        let width = count("embedding_length")?;
        let head_size = count("rope.dimension_count").unwrap_or(width / heads);
        Ok(Config {
            layers: count("block_count")?,
            heads,
            kv_heads: count("attention.head_count_kv").unwrap_or(heads),
            head_size,
            epsilon: number("attention.layer_norm_rms_epsilon")
                .and_then(|v| v.as_f64())
                .ok_or_else(|| missing("attention.layer_norm_rms_epsilon"))?,
            rope_base: number("rope.freq_base").and_then(|v| v.as_f64()).unwrap_or(10_000.0),
            context: count("context_length").unwrap_or(2048),
        })
    }
}

/// A weight matrix `(n, k)`, multiplied transposed.
enum Matrix {
    Dense(Array),
    Quantized { packed: Array, scales: Array, biases: Array, format: QuantFormat },
}

impl Matrix {
    fn apply(&self, x: &Array) -> Result<Array> {
        match self {
            Matrix::Dense(w) => x.matmul(&w.t()?),
            Matrix::Quantized { packed, scales, biases, format } => {
                x.quantized_matmul(packed, scales, Some(biases), true, *format)
            }
        }
    }

    /// Rows `ids` in `float32`.
    fn rows(&self, ids: &Array) -> Result<Array> {
        match self {
            Matrix::Dense(w) => w.take(ids, Some(0)),
            Matrix::Quantized { packed, scales, biases, format } => {
                let pick = |x: &Array| x.take(ids, Some(0));
                let (scales, biases) = (pick(scales)?, pick(biases)?);
                pick(packed)?.dequantize(&scales, Some(&biases), *format, Some(Dtype::F32))
            }
        }
    }

    fn arrays(&self) -> Vec<Array> {
        match self {
            Matrix::Dense(w) => vec![w.clone()],
            Matrix::Quantized { packed, scales, biases, .. } => {
                vec![packed.clone(), scales.clone(), biases.clone()]
            }
        }
    }
}

struct Block {
    attention_norm: Array,
    q: Matrix,
    k: Matrix,
    v: Matrix,
    out: Matrix,
    mlp_norm: Array,
    gate: Matrix,
    up: Matrix,
    down: Matrix,
}

/// A loaded model.
pub struct Llama {
    /// Its sizes.
    pub config: Config,
    embedding: Matrix,
    blocks: Vec<Block>,
    norm: Array,
    /// `None` where the embedding serves as the head.
    head: Option<Matrix>,
}

/// Keys and values of the tokens read so far, for each block `(1, kv_heads, room, head_size)`.
#[derive(Clone, Default)]
pub struct Cache {
    blocks: Vec<(Array, Array)>,
    /// Tokens in the cache.
    pub len: usize,
}

/// The cache grows by so many tokens at a time.
const ROOM: usize = 256;

struct Weights {
    arrays: HashMap<String, Array>,
}

impl Weights {
    fn take(&mut self, name: &str) -> Result<Array> {
        self.arrays
            .remove(name)
            .ok_or_else(|| Error::io("generate", format!("tensor {name}"), "is not in the file"))
    }

    fn vector(&mut self, name: &str) -> Result<Array> {
        self.take(name)?.astype(Dtype::F32)
    }

    fn matrix(&mut self, name: &str) -> Result<Matrix> {
        let w = self.take(&format!("{name}.weight"))?;
        let Ok(scales) = self.take(&format!("{name}.scales")) else {
            return Ok(Matrix::Dense(w.astype(Dtype::F32)?));
        };
        let biases = self.take(&format!("{name}.biases"))?;
        // GGUF's blocks of 32 give the number of elements in a row, and that gives the bits.
        let elements = scales.size(-1)? * 32;
        let bits = w.size(-1)? * 32 / elements.max(1);
        let format = QuantFormat::new(QuantMode::Affine, Some(32), Some(bits))?;
        Ok(Matrix::Quantized { packed: w, scales, biases, format })
    }
}

impl Llama {
    /// Loads the model; the weights are read now.
    ///
    /// # Errors
    /// Kind `Io` if the file lacks a tensor or cannot be read, `Unsupported` for another
    /// architecture.
    pub fn from_gguf(file: &gguf::File) -> Result<Llama> {
        let config = Config::from_gguf(&file.metadata)?;
        let arrays = file
            .tensors()?
            .into_iter()
            .map(|(name, tensor)| Ok((name, tensor.array()?)))
            .collect::<Result<HashMap<_, _>>>()?;
        let mut weights = Weights { arrays };
        let blocks = (0..config.layers)
            .map(|i| {
                let name = |part: &str| format!("blk.{i}.{part}");
                Ok(Block {
                    attention_norm: weights.vector(&name("attn_norm.weight"))?,
                    q: weights.matrix(&name("attn_q"))?,
                    k: weights.matrix(&name("attn_k"))?,
                    v: weights.matrix(&name("attn_v"))?,
                    out: weights.matrix(&name("attn_output"))?,
                    mlp_norm: weights.vector(&name("ffn_norm.weight"))?,
                    gate: weights.matrix(&name("ffn_gate"))?,
                    up: weights.matrix(&name("ffn_up"))?,
                    down: weights.matrix(&name("ffn_down"))?,
                })
            })
            .collect::<Result<Vec<_>>>()?;
        let model = Llama {
            config,
            embedding: weights.matrix("token_embd")?,
            blocks,
            norm: weights.vector("output_norm.weight")?,
            head: weights.matrix("output").ok(),
        };
        eval::eval(&model.arrays())?;
        Ok(model)
    }

    fn arrays(&self) -> Vec<Array> {
        let mut all = self.embedding.arrays();
        all.push(self.norm.clone());
        all.extend(self.head.iter().flat_map(Matrix::arrays));
        for b in &self.blocks {
            all.extend([b.attention_norm.clone(), b.mlp_norm.clone()]);
            for m in [&b.q, &b.k, &b.v, &b.out, &b.gate, &b.up, &b.down] {
                all.extend(m.arrays());
            }
        }
        all
    }

    /// The number of bytes of the weights.
    pub fn nbytes(&self) -> usize {
        self.arrays().iter().map(Array::nbytes).sum()
    }

    /// Reads `ids (1, t)` into the cache; the logits `(vocabulary)` of the token that follows.
    ///
    /// # Errors
    /// Those of building the graph; evaluation is the caller's.
    pub fn forward(&self, ids: &Array, cache: &mut Cache) -> Result<Array> {
        let t = ids.size(1)?;
        let mut x = self.embedding.rows(ids)?;
        if cache.blocks.is_empty() || cache.len + t > cache.blocks[0].0.size(2)? {
            self.grow(cache, t)?;
        }
        for (block, kv) in self.blocks.iter().zip(&mut cache.blocks) {
            let normed = fast::rms_norm(&x, Some(&block.attention_norm), self.config.epsilon)?;
            x += self.attention(block, &normed, kv, cache.len)?;
            let normed = fast::rms_norm(&x, Some(&block.mlp_norm), self.config.epsilon)?;
            let gate = block.gate.apply(&normed)?;
            let hidden = &gate * gate.sigmoid()? * block.up.apply(&normed)?;
            x += block.down.apply(&hidden)?;
        }
        cache.len += t;
        let width = x.size(-1)? as i64;
        let last = x.slice(&[0, t as i64 - 1, 0], &[1, t as i64, width], &[1, 1, 1])?;
        let last = fast::rms_norm(&last, Some(&self.norm), self.config.epsilon)?;
        let logits = self.head.as_ref().unwrap_or(&self.embedding).apply(&last)?;
        logits.reshape(&[logits.len()])
    }

    /// Makes room for `t` tokens more.
    fn grow(&self, cache: &mut Cache, t: usize) -> Result<()> {
        let room = (cache.len + t).next_multiple_of(ROOM);
        let shape = [1, self.config.kv_heads, room, self.config.head_size];
        let empty = Array::zeros(&shape, Dtype::F32)?;
        if cache.blocks.is_empty() {
            cache.blocks = vec![(empty.clone(), empty); self.blocks.len()];
            return Ok(());
        }
        for (k, v) in &mut cache.blocks {
            for old in [k, v] {
                let end: Vec<i64> = old.shape().iter().map(|&n| n as i64).collect();
                *old = empty.slice_update(old, &[0; 4], &end, &[1; 4], UpdateMode::Set)?;
            }
        }
        Ok(())
    }

    fn attention(
        &self,
        block: &Block,
        x: &Array,
        (keys, values): &mut (Array, Array),
        past: usize,
    ) -> Result<Array> {
        let (t, d) = (x.size(1)?, self.config.head_size);
        let split =
            |y: Array, heads: usize| y.reshape(&[1, t, heads, d])?.transpose(Some(&[0, 2, 1, 3]));
        let offset = Array::scalar(past as i32);
        // llama.cpp stores q and k with the rows of a pair next to each other.
        let base = Frequencies::Base(self.config.rope_base);
        let turn = |y: Array| fast::rope(&y, d, true, base, 1.0, &offset);
        let q = turn(split(block.q.apply(x)?, self.config.heads)?)?;
        let k = turn(split(block.k.apply(x)?, self.config.kv_heads)?)?;
        let v = split(block.v.apply(x)?, self.config.kv_heads)?;
        let place = [0, 0, past as i64, 0];
        let now = [1, self.config.kv_heads as i64, (past + t) as i64, d as i64];
        *keys = keys.slice_update(&k, &place, &now, &[1; 4], UpdateMode::Set)?;
        *values = values.slice_update(&v, &place, &now, &[1; 4], UpdateMode::Set)?;
        let seen = |y: &Array| y.slice(&[0; 4], &now, &[1; 4]);
        let mask = if t > 1 { Mask::Causal } else { Mask::None };
        let scale = 1.0 / (d as f64).sqrt();
        let out = fast::scaled_dot_product_attention(
            &q,
            &seen(keys)?,
            &seen(values)?,
            scale,
            mask,
            None,
        )?;
        let width = self.config.heads * d;
        block.out.apply(&out.transpose(Some(&[0, 2, 1, 3]))?.reshape(&[1, t, width])?)
    }
}
