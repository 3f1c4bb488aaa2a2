//! The batches of a scan: a task reads ahead a little, whoever has the Arrow stream takes them one by one, on any thread.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, RecordBatchReader, new_null_array};
use arrow::compute::cast;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use futures::TryStreamExt as _;
use pyo3::PyResult;
use streamify_lake::catalog::LoadedTable;
use streamify_lake::read::{ReadError, Selection};
use streamify_runtime::report::format_error;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::task::AbortHandle;

use crate::runtime::runtime;

/// Batches that wait for the reader.
const READ_AHEAD: usize = 2;

enum Message {
    Batch(RecordBatch),
    Failed(String),
    /// All rows were sent. Without it the task ended before its time.
    End,
}

/// Reads a scan; dropped, it stops reading.
pub struct Reader {
    schema: SchemaRef,
    messages: Option<Receiver<Message>>,
    task: AbortHandle,
    pid: u32,
}

impl Reader {
    /// Starts reading.
    ///
    /// # Errors
    /// The system gives no threads.
    pub fn start(table: &LoadedTable, selection: &Selection, schema: SchemaRef) -> PyResult<Self> {
        let (sender, receiver) = channel(READ_AHEAD);
        let (table, selection, wanted) = (table.clone(), selection.clone(), Arc::clone(&schema));
        let task = runtime()?.spawn(async move {
            let last = match send_all(&table, selection, &wanted, &sender).await {
                Ok(()) => Message::End,
                Err(text) => Message::Failed(text),
            };
            let _ = sender.send(last).await;
        });
        let pid = std::process::id();
        Ok(Self { schema, messages: Some(receiver), task: task.abort_handle(), pid })
    }

    fn take(&mut self) -> Option<Result<RecordBatch, ArrowError>> {
        if self.pid != std::process::id() {
            self.messages = None;
            return Some(Err(failure(
                "a scan that was begun before a fork cannot be read after it; begin it anew",
            )));
        }
        let message = self.messages.as_mut()?.blocking_recv();
        if let Some(Message::Batch(batch)) = message {
            return Some(Ok(batch));
        }
        self.messages = None;
        match message {
            Some(Message::Failed(text)) => Some(Err(failure(&text))),
            Some(_) => None,
            None => {
                Some(Err(failure("a defect in streamify ended the scan before its end; please report it")))
            }
        }
    }
}

impl Iterator for Reader {
    type Item = Result<RecordBatch, ArrowError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.take()
    }
}

impl RecordBatchReader for Reader {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        // In a forked child there is no such task.
        if self.pid == std::process::id() {
            self.task.abort();
        }
    }
}

async fn send_all(
    table: &LoadedTable,
    selection: Selection,
    wanted: &SchemaRef,
    sender: &Sender<Message>,
) -> Result<(), String> {
    let told =
        |error: ReadError| format_error(&error, None).trim_start_matches("error: ").trim_end().to_owned();
    let mut batches = table.rows(selection).await.map_err(told)?;
    while let Some(batch) = batches.try_next().await.map_err(told)? {
        let batch = conform(&batch, wanted).map_err(|error| format!("table `{}`: {error}", table.name))?;
        if sender.send(Message::Batch(batch)).await.is_err() {
            // Nobody reads any more.
            return Ok(());
        }
    }
    Ok(())
}

/// Gives a batch exactly the promised columns: the reader encodes constants its own way, and columns that are younger than the
/// snapshot are null.
fn conform(batch: &RecordBatch, wanted: &SchemaRef) -> Result<RecordBatch, ArrowError> {
    let columns = wanted.fields().iter().map(|field| match batch.column_by_name(field.name()) {
        Some(column) if column.data_type() == field.data_type() => Ok(Arc::clone(column)),
        Some(column) => cast(column, field.data_type()),
        None => Ok(new_null_array(field.data_type(), batch.num_rows())),
    });
    let columns = columns.collect::<Result<Vec<ArrayRef>, _>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(Arc::clone(wanted), columns, &options)
}

/// Arrow hands the text on as a C string.
fn failure(text: &str) -> ArrowError {
    ArrowError::ExternalError(text.replace('\0', " ").into())
}
