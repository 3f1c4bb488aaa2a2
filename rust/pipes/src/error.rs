//! What can go wrong between this process and Dagster.

use std::error::Error;
use std::io;

pub(crate) type BoxError = Box<dyn Error + Send + Sync + 'static>;

/// A failure to read the context or to report.
#[derive(Debug, thiserror::Error)]
pub enum PipesError {
    /// A bootstrap parameter is not base64 of zlib of a JSON object.
    #[error("failed to decode `{name}`")]
    BadBootstrap {
        /// Variable or flag.
        name: &'static str,
        /// What is wrong with it.
        #[source]
        source: BoxError,
    },
    /// The context is announced but no way to report is.
    #[error("`DAGSTER_PIPES_CONTEXT` is given but `DAGSTER_PIPES_MESSAGES` is not")]
    NoMessagesParameter,
    /// The context cannot be read from where Dagster says it is.
    #[error("failed to read the Pipes context from {place}")]
    ContextUnreadable {
        /// Where it was looked for.
        place: String,
        /// What went wrong there.
        #[source]
        source: BoxError,
    },
    /// The parameters name no context loader or message channel known here.
    #[error("unsupported Pipes {what} with the keys {keys} (supported: {supported})")]
    Unsupported {
        /// `context loader` or `message channel`.
        what: &'static str,
        /// The keys that were given, quoted.
        keys: String,
        /// The keys that would be understood.
        supported: &'static str,
    },
    /// The message channel cannot be opened.
    #[error("failed to open the Pipes message channel {place}")]
    ChannelOpen {
        /// Which one.
        place: String,
        /// What went wrong there.
        #[source]
        source: BoxError,
    },
    /// The thread that writes messages could not be started.
    #[error("failed to start the Pipes writer thread")]
    WriterStart(#[source] io::Error),
    /// The process's own output cannot be mirrored, although the reader asks for it.
    #[error("failed to capture stdout and stderr")]
    Capture(#[source] io::Error),
    /// An asset key is not one of the step's.
    #[error("asset `{asset_key}` is not one of this step's: {known}")]
    AssetNotInStep {
        /// The key that was given.
        asset_key: String,
        /// The step's keys, quoted.
        known: String,
    },
    /// No asset key was given and the step does not have exactly one.
    #[error("no asset key is given and the step has {num_assets} assets")]
    AmbiguousAsset {
        /// How many keys the step has.
        num_assets: usize,
    },
    /// A second materialization of one asset would fail the step.
    #[error("asset `{asset_key}` was already reported as materialized in this session")]
    AlreadyMaterialized {
        /// The asset.
        asset_key: String,
    },
    /// A second result of one check would fail the step.
    #[error("check `{check_name}` of asset `{asset_key}` was already reported in this session")]
    AlreadyChecked {
        /// The asset.
        asset_key: String,
        /// The check.
        check_name: String,
    },
    /// A message is too large to be sent.
    #[error("message `{method}` of {size_bytes} bytes is larger than {limit_bytes} bytes")]
    MessageTooLarge {
        /// Method of the message.
        method: &'static str,
        /// Its size.
        size_bytes: usize,
        /// The limit.
        limit_bytes: usize,
    },
    /// A value cannot be written as JSON.
    #[error("failed to encode message `{method}`")]
    Encode {
        /// Method of the message.
        method: &'static str,
        /// What the encoder says.
        #[source]
        source: serde_json::Error,
    },
    /// The buffer is full of messages that must not be dropped; the custom message was not taken.
    #[error("message buffer is full ({limit_bytes} bytes); the channel has stored nothing for a while")]
    BufferFull {
        /// The limit.
        limit_bytes: usize,
    },
    /// The session is closed; nothing after `closed` is read.
    #[error("the Pipes session is closed")]
    Closed,
    /// The channel broke for good, or the close reached its deadline with messages not stored.
    #[error("{num_messages} Pipes messages were not stored: {reason}")]
    NotStored {
        /// How many.
        num_messages: usize,
        /// Why.
        reason: String,
    },
}

impl PipesError {
    /// Returns whether the same call may succeed a moment later.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::BufferFull { .. })
    }
}

/// Returns the keys of a parameter object for a message: quoted, sorted.
pub(crate) fn quoted_keys<'a>(keys: impl IntoIterator<Item = &'a String>) -> String {
    let keys: Vec<String> = keys.into_iter().map(|key| format!("`{key}`")).collect();
    if keys.is_empty() { "(none)".to_owned() } else { keys.join(", ") }
}
