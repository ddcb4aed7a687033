//! Chat templates: from a conversation to the text of a prompt.
//!
//! A template is a program in the file of the model. It runs in an interpreter without access to
//! anything but the messages, and with a bound on its steps.

use super::Tokenizer;
use lazulite_core::{Error, ErrorKind, Result};
use lazulite_io::gguf::{Metadata, Value};
use minijinja::{Environment, ErrorKind as Fault, context};

/// The steps that a template may take. A conversation of a thousand messages takes some 10^5.
const FUEL: u64 = 10_000_000;

const OP: &str = "chat template";

/// One message of a conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Who speaks: `system`, `user` or `assistant`.
    pub role: String,
    /// What is said.
    pub content: String,
}

impl Message {
    /// A message of these two.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Message {
        Message { role: role.into(), content: content.into() }
    }
}

/// The text of a prompt, for [`Tokenizer::encode_prompt`].
///
/// Wherever a message spells a control token, a guard character stands in the spelling, so that
/// only the template's own control tokens are taken for such.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prompt {
    pub(super) text: String,
    pub(super) guard: char,
}

impl Prompt {
    /// The text without guards.
    pub fn text(&self) -> String {
        self.text.replace(self.guard, "")
    }
}

/// The chat template of a model.
#[derive(Debug)]
pub struct Template {
    environment: Environment<'static>,
    bos: String,
    eos: String,
}

impl Template {
    /// The template of a model's metadata, or `None` if it has none.
    ///
    /// # Errors
    /// Kind `Io` if the template is not valid.
    pub fn from_gguf(metadata: &Metadata, tokenizer: &Tokenizer) -> Result<Option<Template>> {
        let Some(source) = metadata.get("tokenizer.chat_template").and_then(Value::as_str) else {
            return Ok(None);
        };
        let text = |id: Option<u32>| id.and_then(|id| tokenizer.text(id)).unwrap_or_default();
        let (bos, eos) = (text(tokenizer.bos()), text(tokenizer.eos()));
        Template::new(source, &bos, &eos).map(Some)
    }

    /// The template of this source, with the texts of the tokens that begin and end a text.
    ///
    /// # Errors
    /// Kind `Io` if the template is not valid.
    pub fn new(source: &str, bos: &str, eos: &str) -> Result<Template> {
        let mut environment = Environment::new();
        // As the transformers package sets up Jinja for chat templates.
        environment.set_trim_blocks(true);
        environment.set_lstrip_blocks(true);
        environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
        environment
            .set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.set_fuel(Some(FUEL));
        environment.add_function("raise_exception", |why: String| {
            Err::<String, _>(minijinja::Error::new(Fault::InvalidOperation, why))
        });
        environment
            .add_template_owned("chat", source.to_owned())
            .map_err(|e| Error::new(ErrorKind::Io, OP, format!("it is not valid: {e}")))?;
        Ok(Template { environment, bos: bos.to_owned(), eos: eos.to_owned() })
    }

    /// The prompt of a conversation; `reply` adds the beginning of the assistant's next message.
    ///
    /// # Errors
    /// Kind `Argument` if the template refuses the messages, such as a role that it does not know.
    pub fn render(
        &self,
        messages: &[Message],
        reply: bool,
        tokenizer: &Tokenizer,
    ) -> Result<Prompt> {
        // Unicode sets these 32 characters apart for uses like this one.
        let unused = |c: &char| messages.iter().all(|m| !m.content.contains(*c));
        let guard = ('\u{fdd0}'..='\u{fdef}').find(unused).ok_or_else(|| {
            Error::argument(OP, "the messages use all 32 characters that could guard them")
        })?;
        let messages: Vec<_> = messages
            .iter()
            .map(|m| {
                let content = tokenizer.guard_controls(&m.content, guard);
                context! { role => m.role, content => content }
            })
            .collect();
        let variables = context! {
            messages => messages,
            add_generation_prompt => reply,
            bos_token => self.bos,
            eos_token => self.eos,
        };
        let template = self.environment.get_template("chat");
        let text = template.and_then(|template| template.render(variables));
        let text = text.map_err(|e| Error::argument(OP, format!("it cannot be applied: {e}")))?;
        Ok(Prompt { text, guard })
    }
}
