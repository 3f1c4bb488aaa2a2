//! The S3 channel: numbered objects `<prefix>/<n>.json`, n = 1, 2, 3 … without gaps.
//!
//! The reader never looks beyond a number that is missing, so a number is used until its chunk is stored and only then comes the
//! next. A process that starts on a prefix with chunks (restarted by its supervisor) goes on after the highest.

use aws_sdk_s3::Client;
use aws_sdk_s3::primitives::ByteStream;

use super::{Sink, SinkError};
use crate::error::BoxError;
use crate::s3;

#[derive(Debug)]
pub(crate) struct ChunkSink {
    client: Client,
    bucket: String,
    prefix: String,
    next: u64,
}

impl ChunkSink {
    /// Looks which chunks are there and opens the channel after them.
    pub(crate) async fn open(client: Client, bucket: &str, prefix: &str) -> Result<Self, BoxError> {
        let folder = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
        let keys = s3::list_keys(&client, bucket, &folder).await?;
        let highest = keys.iter().filter_map(|key| chunk_number(key.strip_prefix(&folder)?)).max();
        Ok(Self { client, bucket: bucket.to_owned(), prefix: folder, next: highest.unwrap_or(0) + 1 })
    }
}

impl Sink for ChunkSink {
    async fn deliver(&mut self, lines: &mut Vec<String>) -> Result<(), SinkError> {
        let key = format!("{}{}.json", self.prefix, self.next);
        let body = ByteStream::from(lines.concat().into_bytes());
        self.client
            .put_object()
            .bucket(&self.bucket)
            .key(key)
            .body(body)
            .send()
            .await
            // Rights, buckets and stores come back; only the close deadline ends the trying.
            .map_err(|error| SinkError { is_final: false, source: s3::plain(error) })?;
        self.next += 1;
        lines.clear();
        Ok(())
    }
}

/// Returns the number of a chunk from its name in the folder; `None` for anything else that lies there.
fn chunk_number(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".json")?;
    let is_plain = digits.bytes().all(|byte| byte.is_ascii_digit()) && !digits.starts_with('0');
    is_plain.then(|| digits.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_chunk_names_have_a_number() {
        assert_eq!(chunk_number("1.json"), Some(1));
        assert_eq!(chunk_number("120.json"), Some(120));
        for other in
            ["context.json", "01.json", "0.json", "-1.json", "1.json.tmp", ".json", "+1.json", "a/1.json"]
        {
            assert_eq!(chunk_number(other), None, "{other}");
        }
    }
}
