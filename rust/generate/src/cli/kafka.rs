//! Options of the Kafka client, for all commands that have one.

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use clap::Args;

/// Options that librdkafka takes.
#[derive(Clone, Debug, Default, Args)]
pub struct KafkaOptions {
    /// Further librdkafka option as key=value, repeatable; in the environment STREAMIFY_KAFKA_<KEY>, with `_` for `.`
    #[arg(long = "kafka-option", value_name = "KEY=VALUE", help_heading = "Kafka")]
    pub options: Vec<String>,
}

impl KafkaOptions {
    /// Returns the librdkafka options from the environment, then those of the command line, which win.
    ///
    /// # Errors
    /// Names the option that is not `key=value`.
    pub fn resolve(&self, env: impl Iterator<Item = (String, String)>) -> Result<BTreeMap<String, String>> {
        // These have settings of their own in the programs that read.
        const NOT_OPTIONS: [&str; 3] = ["group.id", "isolation.level", "options"];
        let mut options = BTreeMap::new();
        for (name, value) in env {
            let Some(suffix) = name.strip_prefix("STREAMIFY_KAFKA_") else { continue };
            let option = suffix.to_ascii_lowercase().replace('_', ".");
            if !option.is_empty() && !NOT_OPTIONS.contains(&option.as_str()) {
                options.insert(option, value);
            }
        }
        options.extend(pairs("--kafka-option", &self.options, "linger.ms=5")?);
        Ok(options)
    }
}

/// Splits `key=value` arguments.
///
/// # Errors
/// Names the flag and the argument that is none.
pub(super) fn pairs(flag: &str, texts: &[String], example: &str) -> Result<BTreeMap<String, String>> {
    let mut pairs = BTreeMap::new();
    for text in texts {
        match text.split_once('=') {
            Some((key, value)) if !key.trim().is_empty() => {
                pairs.insert(key.trim().to_owned(), value.to_owned());
            }
            _ => bail!("invalid `{flag}`: `{text}` is not key=value (expected e.g. `{example}`)"),
        }
    }
    Ok(pairs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_come_from_the_environment_and_the_command_line_wins() {
        let given = ["linger.ms=7", "sasl.password=a=b"].map(str::to_owned).to_vec();
        let env = [("STREAMIFY_KAFKA_LINGER_MS", "9"), ("STREAMIFY_KAFKA_GROUP_ID", "x"), ("HOME", "/")];
        let env = env.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned()));

        let options = KafkaOptions { options: given }.resolve(env).unwrap();
        let bad =
            KafkaOptions { options: vec!["linger".to_owned()] }.resolve(std::iter::empty()).unwrap_err();

        assert_eq!(options["linger.ms"], "7");
        assert_eq!(options["sasl.password"], "a=b");
        assert_eq!(options.len(), 2);
        assert!(bad.to_string().starts_with("invalid `--kafka-option`: `linger` is not key=value"));
    }
}
