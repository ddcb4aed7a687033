//! The `lazulite` program.

use clap::{Parser, Subcommand};
use lazulite_cli::{bench, doctor, explain, generate, guide, info, requantise};
use std::path::PathBuf;
use std::process::ExitCode;

/// Lazy arrays, one planner: the guide, a language model, plans and facts about this machine.
#[derive(Parser)]
#[command(version, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the performance guide's claims, both spellings side by side.
    Guide {
        /// Only these claims, such as C2,C10.
        #[arg(long, value_delimiter = ',')]
        claims: Vec<String>,
        /// How often each spelling runs; the median counts.
        #[arg(long, default_value_t = 15)]
        repeats: usize,
        /// Print JSON instead of a table.
        #[arg(long)]
        json: bool,
        /// Write a page with bar charts to this file.
        #[arg(long)]
        html: Option<PathBuf>,
    },
    /// Answer a prompt with a language model (Llama, Mistral, Qwen 2 and 3).
    Generate {
        /// A GGUF file, or a folder with config.json, tokenizer.json and safetensors files.
        #[arg(long)]
        model: PathBuf,
        /// What to say to it.
        #[arg(long)]
        prompt: String,
        /// The most tokens of the answer.
        #[arg(long, default_value_t = 128)]
        max_tokens: usize,
        /// 0 takes the likeliest token each time; more draws more freely.
        #[arg(long = "temp", default_value_t = 0.0)]
        temperature: f64,
        /// The seed of the draws.
        #[arg(long, default_value_t = 0)]
        seed: u64,
        /// Print one JSON object instead of text as it comes.
        #[arg(long)]
        json: bool,
    },
    /// Print the plan of an example: its steps, and the fused programs in full.
    Explain {
        /// Which example; without one, the list of them.
        example: Option<String>,
        /// Print JSON instead of text.
        #[arg(long)]
        json: bool,
        /// Write a page with the graph to this file.
        #[arg(long)]
        html: Option<PathBuf>,
        /// Run the example, and say what part of the time each step took.
        #[arg(long)]
        run: bool,
        /// Print how often plans were found and made anew, and why, after loops: text made with a
        /// growing cache, and training with a changing rate.
        #[arg(long)]
        cache: bool,
        /// With `--cache`: a model, as `generate` takes it, that makes text, too.
        #[arg(long, requires = "cache")]
        model: Option<PathBuf>,
    },
    /// Run a Python program and say what costs it time, with line, seconds and a mend.
    Doctor {
        /// Write a trace for Perfetto (ui.perfetto.dev) to this file.
        #[arg(long)]
        trace: Option<PathBuf>,
        /// Print JSON instead of text.
        #[arg(long)]
        json: bool,
        /// The program and its arguments.
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        script: Vec<String>,
    },
    /// Write a GGUF file with its matrices in another quantised type.
    Requantise {
        /// A GGUF file.
        model: PathBuf,
        /// The file to write.
        out: PathBuf,
        /// Q4_0, Q5_0, Q8_0, Q4_K or Q6_K; rows that are not made of whole blocks of 256 become Q5_0 in
        /// place of Q4_K, and Q8_0 in place of Q6_K.
        #[arg(long = "type", default_value = "Q4_K")]
        kind: String,
    },
    /// Print the version, devices, memory and limits.
    Info,
    /// The worker of the benchmarks.
    #[command(hide = true)]
    Bench {
        /// Answer JSON requests from standard input.
        #[arg(long, required = true)]
        serve: bool,
    },
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Guide { claims, repeats, json, html } => {
            guide::run(&claims, repeats, &guide::Output { json, html: html.as_deref() })
        }
        Command::Generate { model, prompt, max_tokens, temperature, seed, json } => {
            generate::run(&generate::Request {
                model: &model,
                prompt: &prompt,
                max_tokens,
                temperature,
                seed,
                json,
            })
        }
        Command::Explain { cache: true, model, .. } => explain::cache(model.as_deref()),
        Command::Explain { example, json, html, run, cache: false, model: _ } => {
            explain::run(example.as_deref(), json, html.as_deref(), run)
        }
        Command::Doctor { trace, json, script } => doctor::run(&script, trace.as_deref(), json),
        Command::Requantise { model, out, kind } => {
            requantise::parse(&kind).and_then(|kind| requantise::run(&model, &out, kind))
        }
        Command::Info => info::run(),
        Command::Bench { serve: _ } => bench::serve(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("lazulite: {error}");
            ExitCode::FAILURE
        }
    }
}
