//! The Llama architecture (Touvron et al. 2023, section 2.2; grouped heads as in Ainslie et al.
//! 2023) and what Qwen and Mistral change in it, with the names that parameters have in folders.

use super::config::Config;
use lazulite::dtype::Category;
use lazulite::eval;
use lazulite::fast::{Mask, scaled_dot_product_attention};
use lazulite::nn::{self, Embedding, KvCache, Linear, Matrix, Module, Param, Parameters, RmsNorm};
use lazulite::prelude::*;
use lazulite::transform::{Repeated, Tree};

/// A loaded model.
#[derive(Clone, Module)]
pub struct Llama {
    model: Body,
    /// `None` where the embedding serves as the head.
    lm_head: Option<Linear>,
    /// Its sizes.
    #[module(skip)]
    pub config: Config,
}

#[derive(Clone, Module)]
struct Body {
    embed_tokens: Embedding,
    layers: Vec<Block>,
    norm: RmsNorm,
}

#[derive(Clone, Module)]
struct Block {
    input_layernorm: RmsNorm,
    self_attn: Attention,
    post_attention_layernorm: RmsNorm,
    mlp: Mlp,
}

#[derive(Clone, Module)]
struct Attention {
    q_proj: Linear,
    k_proj: Linear,
    v_proj: Linear,
    o_proj: Linear,
    /// Qwen 3 normalises the heads' queries and keys.
    q_norm: Option<RmsNorm>,
    k_norm: Option<RmsNorm>,
}

#[derive(Clone, Module)]
struct Mlp {
    gate_proj: Linear,
    up_proj: Linear,
    down_proj: Linear,
}

/// Keys and values of the tokens read so far, for each block.
#[derive(Clone, Default)]
pub struct Cache {
    blocks: Vec<KvCache>,
    /// Tokens in the cache.
    pub len: usize,
}

/// Where a block keeps keys and values.
enum Store<'a> {
    /// In arrays that grow.
    Cache(&'a mut KvCache),
    /// In arrays `(1, heads, room, d)` with room for more; the mask says where there are some.
    Room { arrays: &'a mut (Array, Array), mask: &'a Array },
}

/// A token, its position `(1)`, and the keys and values of those before it for each block.
type State = (Array, Array, Vec<(Array, Array)>);
/// The logits, the likeliest token `(1, 1)`, the next position, and the keys and values.
type Outcome = (Array, Array, Array, Vec<(Array, Array)>);
type Step<'a> = Box<dyn Fn(State) -> Result<Outcome> + 'a>;

/// Reads one token after another, each by the same work on arrays of the same sizes, which a device can
/// keep ready.
pub struct Decoder<'a> {
    step: Repeated<State, Outcome, Step<'a>>,
    blocks: Vec<KvCache>,
    len: usize,
    /// True iff the likeliest token is read before it is asked for, while the host waits for its number.
    ahead: bool,
    /// The likeliest token, as an array and as a number, and its position, once a token was read.
    next: Option<(Array, u32, Array)>,
    /// What follows that token, where it was read ahead.
    read: Option<Read>,
}

/// What reading a token gives: the logits, the likeliest token, and its position.
type Read = (Array, Array, Array);

impl Decoder<'_> {
    /// Reads `token`; the logits `(vocabulary)` of the one that follows, and the likeliest one.
    ///
    /// # Errors
    /// Those of evaluation. The decoder has no tokens afterwards.
    pub fn read(&mut self, token: u32) -> Result<(Array, u32)> {
        let given = || Array::from_slice(&[token], &[1, 1]);
        let (logits, array, position) = match (self.read.take(), self.next.take()) {
            (Some(read), Some((_, likeliest, _))) if likeliest == token => read,
            (None, Some((array, likeliest, position))) if likeliest == token => {
                self.queue(array, position)?
            }
            (read, Some((_, _, position))) => {
                // The place of a token that was read in vain is written again.
                self.len -= usize::from(read.is_some());
                self.queue(given()?, position)?
            }
            (_, None) => self.queue(given()?, Array::from_slice(&[self.len as i64], &[1])?)?,
        };
        if self.ahead {
            self.read = Some(self.queue(array.clone(), position.clone())?);
        }
        let likeliest = array.item()?;
        self.next = Some((array, likeliest, position));
        Ok((logits, likeliest))
    }

    /// Queues the work of one token.
    fn queue(&mut self, token: Array, position: Array) -> Result<Read> {
        let mut arrays = Vec::with_capacity(self.blocks.len());
        for mut block in std::mem::take(&mut self.blocks) {
            block.truncate(self.len);
            block.reserve(1)?;
            arrays.extend(block.into_arrays());
        }
        let (logits, likeliest, position, arrays) = self.step.call((token, position, arrays))?;
        self.len += 1;
        for (keys, values) in arrays {
            self.blocks.push(KvCache::from_arrays(keys, values, self.len)?);
        }
        Ok((logits, likeliest, position))
    }
}

/// Layers of the forms that the weights of a model have. Their numbers are read into them next.
struct Forms<'a> {
    weights: &'a Parameters,
    epsilon: f64,
}

impl Forms<'_> {
    fn get(&self, name: &str) -> Result<&Array> {
        self.weights
            .get(name)
            .ok_or_else(|| Error::io("generate", format!("tensor {name}"), "is not in the file"))
    }

    fn matrix(&self, path: &str, columns: usize) -> Result<Matrix> {
        let rows = self.get(&nn::child(path, "weight"))?.size(0)?;
        Ok(Matrix::dense(Array::zeros(&[rows, columns], Dtype::F32)?))
    }

    fn linear(&self, path: &str, columns: usize) -> Result<Linear> {
        let bias = self.weights.get(&nn::child(path, "bias")).cloned().map(Param::new);
        Ok(Linear { weight: self.matrix(path, columns)?, bias })
    }

    fn norm(&self, path: &str) -> Result<RmsNorm> {
        let weight = self.get(&nn::child(path, "weight"))?.clone();
        Ok(RmsNorm { weight: Param::new(weight), eps: self.epsilon })
    }

    fn block(&self, path: &str, config: &Config) -> Result<Block> {
        let name = |part: &str| nn::child(path, part);
        let optional = |part: &str| {
            let here = self.weights.contains_key(&name(&nn::child(part, "weight")));
            here.then(|| self.norm(&name(part))).transpose()
        };
        let hidden = self.get(&name("mlp.gate_proj.weight"))?.size(0)?;
        let linear = |part: &str, columns| self.linear(&name(part), columns);
        let (width, heads) = (config.width, config.heads * config.head_size);
        Ok(Block {
            input_layernorm: self.norm(&name("input_layernorm"))?,
            self_attn: Attention {
                q_proj: linear("self_attn.q_proj", width)?,
                k_proj: linear("self_attn.k_proj", width)?,
                v_proj: linear("self_attn.v_proj", width)?,
                o_proj: linear("self_attn.o_proj", heads)?,
                q_norm: optional("self_attn.q_norm")?,
                k_norm: optional("self_attn.k_norm")?,
            },
            post_attention_layernorm: self.norm(&name("post_attention_layernorm"))?,
            mlp: Mlp {
                gate_proj: linear("mlp.gate_proj", width)?,
                up_proj: linear("mlp.up_proj", width)?,
                down_proj: linear("mlp.down_proj", hidden)?,
            },
        })
    }
}

impl Llama {
    /// The model with these weights, by the names that they have in folders; they are read now.
    /// Quantised matrices stay so, everything else becomes `float32`.
    ///
    /// # Errors
    /// Kind `Io` if a tensor is missing or cannot be read, `Argument` if one is not known, `Shape`
    /// if one does not have the shape that the configuration says.
    pub fn new(config: Config, weights: Parameters) -> Result<Llama> {
        let mut wide = Parameters::new();
        for (name, array) in weights {
            let packed = name.ends_with(".scales") || name.ends_with(".biases");
            let float = array.dtype().is_floating() && !packed;
            wide.insert(name, if float { array.astype(Dtype::F32)? } else { array });
        }
        if config.tied {
            wide.retain(|name, _| !name.starts_with("lm_head."));
        }
        let forms = Forms { weights: &wide, epsilon: config.epsilon };
        let blocks = (0..config.layers).map(|i| forms.block(&format!("model.layers.{i}"), &config));
        let head = wide.contains_key("lm_head.weight");
        let mut model = Llama {
            model: Body {
                embed_tokens: Embedding {
                    weight: forms.matrix("model.embed_tokens", config.width)?,
                },
                layers: blocks.collect::<Result<_>>()?,
                norm: forms.norm("model.norm")?,
            },
            lm_head: head.then(|| forms.linear("lm_head", config.width)).transpose()?,
            config,
        };
        model.load_weights(wide, true)?;
        model.freeze();
        eval::eval(&model.leaves())?;
        Ok(model)
    }

    /// Reads `ids (1, t)` into the cache; the logits `(vocabulary)` of the token that follows.
    ///
    /// # Errors
    /// Those of building the graph; evaluation is the caller's.
    pub fn forward(&self, ids: &Array, cache: &mut Cache) -> Result<Array> {
        let t = ids.size(1)?;
        cache.blocks.resize_with(self.config.layers, KvCache::new);
        let offset = Array::scalar(cache.len as i32);
        cache.len += t;
        self.logits(ids, &offset, cache.blocks.iter_mut().map(Store::Cache))
    }

    /// Goes on where `cache` ends, token by token; `ahead` says that most are the likeliest ones.
    pub fn decoder(&self, cache: Cache, ahead: bool) -> Decoder<'_> {
        let step: Step<'_> = Box::new(|(token, position, mut arrays): State| {
            let room = arrays.first().map_or(Ok(0), |(keys, _)| keys.size(2))?;
            let places =
                Array::arange(0.0, room as f64, 1.0, Some(Dtype::I64), Category::SignedInteger)?;
            let mask = places.less_equal(&position)?.reshape(&[1, 1, 1, room])?;
            let stores = arrays.iter_mut().map(|arrays| Store::Room { arrays, mask: &mask });
            let logits = self.logits(&token, &position, stores)?;
            let likeliest = logits.argmax(None, false)?.reshape(&[1, 1])?;
            Ok((logits, likeliest, position.add(&Array::scalar(1i64))?, arrays))
        });
        let (blocks, len) = (cache.blocks, cache.len);
        Decoder { step: Repeated::new(step), blocks, len, ahead, next: None, read: None }
    }

    /// The logits `(vocabulary)` of the token after `ids (1, t)`, the first of which is at `offset`.
    fn logits<'a>(
        &self,
        ids: &Array,
        offset: &Array,
        stores: impl Iterator<Item = Store<'a>>,
    ) -> Result<Array> {
        let t = ids.size(1)? as i64;
        let mut x = self.model.embed_tokens.weight.rows(ids, Some(Dtype::F32))?;
        for (block, store) in self.model.layers.iter().zip(stores) {
            let normed = block.input_layernorm.forward(&x)?;
            x += block.self_attn.forward(&normed, &self.config, offset, store)?;
            x += block.mlp.forward(&block.post_attention_layernorm.forward(&x)?)?;
        }
        let width = x.size(-1)? as i64;
        let last = x.slice(&[0, t - 1, 0], &[1, t, width], &[1, 1, 1])?;
        let last = self.model.norm.forward(&last)?;
        let logits = match &self.lm_head {
            Some(head) => head.forward(&last)?,
            None => self.model.embed_tokens.as_linear(&last)?,
        };
        logits.reshape(&[logits.len()])
    }
}

impl Attention {
    fn forward(
        &self,
        x: &Array,
        config: &Config,
        offset: &Array,
        store: Store<'_>,
    ) -> Result<Array> {
        let (t, d) = (x.size(1)?, config.head_size);
        let split = |projection: &Linear, heads: usize| {
            projection.forward(x)?.reshape(&[1, t, heads, d])?.transpose(Some(&[0, 2, 1, 3]))
        };
        let turned = |projection, heads, norm: &Option<RmsNorm>| -> Result<Array> {
            let y = split(projection, heads)?;
            let y = norm.as_ref().map_or(Ok(y.clone()), |norm| norm.forward(&y))?;
            config.rope.forward_at(&y, offset)
        };
        let q = turned(&self.q_proj, config.heads, &self.q_norm)?;
        let k = turned(&self.k_proj, config.kv_heads, &self.k_norm)?;
        let v = split(&self.v_proj, config.kv_heads)?;
        let scale = 1.0 / (d as f64).sqrt();
        let out = match store {
            Store::Cache(cache) => {
                let (k, v) = cache.update(&k, &v)?;
                let mask = if t > 1 { Mask::Causal } else { Mask::None };
                scaled_dot_product_attention(&q, &k, &v, scale, mask, None)?
            }
            Store::Room { arrays: (keys, values), mask } => {
                *keys = keys.slice_update_dynamic(&k, offset, &[2])?;
                *values = values.slice_update_dynamic(&v, offset, &[2])?;
                scaled_dot_product_attention(&q, keys, values, scale, Mask::Array(mask), None)?
            }
        };
        let out = out.transpose(Some(&[0, 2, 1, 3]))?.reshape(&[1, t, config.heads * d])?;
        self.o_proj.forward(&out)
    }
}

impl Mlp {
    fn forward(&self, x: &Array) -> Result<Array> {
        let gate = nn::silu(&self.gate_proj.forward(x)?)?;
        self.down_proj.forward(&gate.multiply(&self.up_proj.forward(x)?)?)
    }
}
