//! Tells the tables that a job has read how far it is, so that their care keeps what is still to be read.
//!
//! The truth stands in the job's own table; this copy may lag behind, which only keeps more than is needed. It is renewed
//! at most every ten minutes, so that frequent runs do not double the commits of the tables they read.

use streamify_core::state::Change;
use streamify_lake::care::consumers::{self, Consumer};
use streamify_lake::catalog::LoadedTable;
use tracing::{debug, warn};

use crate::context::Context;

const RENEW_AFTER_MS: i64 = 10 * 60 * 1_000;

/// Registers `reader` at each table that the landed `changes` consumed. What fails is told and left to the next run.
pub(crate) async fn renew(context: &Context, reader: &LoadedTable, changes: &[Change]) {
    for change in changes {
        let Change::Consume { table, to, .. } = change else { continue };
        let consumer = Consumer::new(reader.metadata.uuid(), to);
        match is_due(context, table, reader, &consumer).await {
            Ok(false) => {}
            Ok(true) => {
                let catalog = context.lake.catalog();
                match consumers::register(catalog, table, &reader.name, &consumer, &context.commit).await {
                    Ok(_) => debug!(table, consumer = reader.name, "registered"),
                    Err(error) => {
                        warn!(table, consumer = reader.name, %error, "not registered as a consumer")
                    }
                }
            }
            Err(error) => warn!(table, consumer = reader.name, %error, "not registered as a consumer"),
        }
    }
}

async fn is_due(
    context: &Context,
    table: &str,
    reader: &LoadedTable,
    consumer: &Consumer,
) -> Result<bool, crate::BatchError> {
    let source = context.table(table).await?;
    let stored = consumers::registered(&source.metadata).remove(&reader.name).flatten();
    Ok(stored.is_none_or(|stored| {
        stored.table_uuid != consumer.table_uuid
            || consumer.updated_at_ms - stored.updated_at_ms >= RENEW_AFTER_MS
    }))
}
