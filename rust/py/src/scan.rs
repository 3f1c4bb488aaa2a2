//! Reading a table from Python: rows come as Arrow batches over the C stream interface, without a copy.
//!
//! Memory is bounded: a batch is read when there is room for it, at most a few wait for the reader.

mod filter;
mod stream;

use std::sync::Arc;

use arrow::datatypes::{DataType, FieldRef, Schema as ArrowSchema, SchemaRef};
use arrow::ffi::FFI_ArrowSchema;
use arrow::ffi_stream::FFI_ArrowArrayStream;
use iceberg::arrow::schema_to_arrow_schema;
use iceberg::spec::{Schema as TableSchema, SchemaRef as TableSchemaRef};
use pyo3::prelude::*;
use pyo3::types::PyCapsule;
use streamify_batch::Settings;
use streamify_lake::catalog::LoadedTable;
use streamify_lake::read::Selection;

use self::filter::Condition;
use self::stream::Reader;
use crate::call::{Watch, guarded, run};
use crate::environment::Environment;
use crate::errors::{StreamifyError, TableError, argument};

/// Which state of a table: a snapshot's id, or the name of a tag or branch.
#[derive(FromPyObject)]
pub enum SnapshotArgument {
    Id(i64),
    Name(String),
}

/// Rows and columns of one state of a table. Reading begins anew with each `__arrow_c_stream__`.
#[pyclass(frozen, module = "dagster_project._native")]
pub struct Scan {
    table: LoadedTable,
    selection: Selection,
    schema: SchemaRef,
}

/// Columns of a scan, for all that take the Arrow C schema interface.
#[pyclass(frozen, module = "dagster_project._native")]
pub struct Schema(SchemaRef);

#[pymethods]
impl Schema {
    /// Names of the columns, in their order.
    #[getter]
    fn names(&self) -> Vec<String> {
        self.0.fields().iter().map(|field| field.name().clone()).collect()
    }

    fn __arrow_c_schema__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyCapsule>> {
        guarded(py, || {
            let exported = FFI_ArrowSchema::try_from(self.0.as_ref())
                .map_err(|error| StreamifyError::new_err(error.to_string()))?;
            PyCapsule::new_with_value(py, exported, c"arrow_schema")
        })
    }

    fn __len__(&self) -> usize {
        self.0.fields().len()
    }

    fn __repr__(&self) -> String {
        let fields = self.0.fields().iter();
        let lines: Vec<String> =
            fields.map(|field| format!("{}: {}", field.name(), field.data_type())).collect();
        lines.join("\n")
    }
}

#[pymethods]
impl Scan {
    /// The table's name.
    #[getter]
    fn table(&self) -> &str {
        &self.table.name
    }

    /// The snapshot that is read; `None` of a table without any.
    #[getter]
    fn snapshot_id(&self) -> Option<i64> {
        self.selection.snapshot_id
    }

    /// The columns.
    #[getter]
    fn schema(&self) -> Schema {
        Schema(Arc::clone(&self.schema))
    }

    fn __arrow_c_schema__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyCapsule>> {
        self.schema().__arrow_c_schema__(py)
    }

    #[pyo3(signature = (requested_schema=None))]
    fn __arrow_c_stream__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyCapsule>> {
        // The interface lets a producer pass over a wish it cannot fulfil.
        let _ = requested_schema;
        guarded(py, || {
            let reader = Reader::start(&self.table, &self.selection, Arc::clone(&self.schema))?;
            let stream = FFI_ArrowArrayStream::new(Box::new(reader));
            PyCapsule::new_with_value(py, stream, c"arrow_array_stream")
        })
    }

    fn __repr__(&self) -> String {
        let snapshot = self.selection.snapshot_id.map_or_else(|| "None".to_owned(), |id| id.to_string());
        format!(
            "Scan(table={:?}, snapshot_id={snapshot}, columns={})",
            self.table.name,
            self.schema.fields().len()
        )
    }
}

/// Prepares reading `table`. Nothing but its metadata is read here.
#[pyfunction]
#[pyo3(signature = (table, columns=None, filter=None, snapshot=None, *, env=None))]
pub fn scan(
    py: Python<'_>,
    table: String,
    columns: Option<Vec<String>>,
    filter: Option<Vec<Condition<'_>>>,
    snapshot: Option<SnapshotArgument>,
    env: Option<Bound<'_, PyAny>>,
) -> PyResult<Scan> {
    guarded(py, || {
        let lake = Environment::now(py, env.as_ref())?.lake(py)?;
        let table = run(py, Watch::default(), move |_, _| async move {
            Settings::default().open(lake).await?.table(&table).await
        })?;
        let state = state(&table, snapshot)?;
        let filter = filter::predicate(py, &state.readable, filter.unwrap_or_default())?;
        let schema = projected(&state.schema, columns.as_deref())?;
        let names = schema.fields().iter().map(|field| field.name().clone());
        let columns = Some(names.filter(|name| state.readable.field_by_name(name).is_some()).collect());
        Ok(Scan { table, selection: Selection { columns, filter, snapshot_id: state.snapshot_id }, schema })
    })
}

/// The state of a table that is meant.
struct State {
    snapshot_id: Option<i64>,
    /// The columns to show.
    schema: TableSchemaRef,
    /// The columns of the snapshot. The head may lack those that were added after it.
    readable: TableSchemaRef,
}

/// Finds it. The head is fixed by its id, so that every reading of a scan is the same.
fn state(table: &LoadedTable, snapshot: Option<SnapshotArgument>) -> PyResult<State> {
    let metadata = &table.metadata;
    let current = metadata.current_schema();
    let missing = |what: String| {
        TableError::new_err(format!("table `{}` has no snapshot {what}; it may have expired", table.name))
    };
    let (found, is_head) = match snapshot {
        None => match metadata.current_snapshot() {
            None => {
                let (schema, readable) = (Arc::clone(current), Arc::clone(current));
                return Ok(State { snapshot_id: None, schema, readable });
            }
            Some(head) => (head, true),
        },
        Some(SnapshotArgument::Id(id)) => {
            (metadata.snapshot_by_id(id).ok_or_else(|| missing(format!("with the id {id}")))?, false)
        }
        Some(SnapshotArgument::Name(name)) => {
            let found = metadata.snapshot_for_ref(&name);
            (found.ok_or_else(|| missing(format!("that is a tag or branch `{name}`")))?, false)
        }
    };
    let readable = found.schema(metadata).map_err(|error| TableError::new_err(error.to_string()))?;
    let schema = if is_head { Arc::clone(current) } else { Arc::clone(&readable) };
    Ok(State { snapshot_id: Some(found.snapshot_id()), schema, readable })
}

/// The Arrow columns of the wanted ones.
fn projected(schema: &TableSchema, columns: Option<&[String]>) -> PyResult<SchemaRef> {
    let all = schema_to_arrow_schema(schema).map_err(|error| TableError::new_err(error.to_string()))?;
    let all = ArrowSchema::new(all.fields().iter().map(named_zone).collect::<Vec<_>>());
    let Some(columns) = columns else { return Ok(Arc::new(all)) };
    let mut indices = Vec::with_capacity(columns.len());
    for column in columns {
        let index =
            all.index_of(column).map_err(|_| argument("columns", filter::no_column(schema, column)))?;
        if indices.contains(&index) {
            return Err(argument("columns", format!("`{column}` is named twice")));
        }
        indices.push(index);
    }
    all.project(&indices).map(Arc::new).map_err(|error| TableError::new_err(error.to_string()))
}

/// The zone of instants by the name that all readers know; `+00:00` is one more time zone to most of them.
fn named_zone(field: &FieldRef) -> FieldRef {
    match field.data_type() {
        DataType::Timestamp(unit, Some(zone)) if zone.as_ref() == "+00:00" => {
            let kind = DataType::Timestamp(*unit, Some("UTC".into()));
            Arc::new(field.as_ref().clone().with_data_type(kind))
        }
        _ => Arc::clone(field),
    }
}
