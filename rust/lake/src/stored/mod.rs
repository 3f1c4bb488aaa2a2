//! Rows as files store them: a number per row into the column's distinct values, instead of the values.
//!
//! Compaction moves rows and looks at none. So it takes the codes of a dictionary-encoded column as they are, brings the
//! dictionaries of several files together (values are compared once per file, not once per row), puts the codes in order
//! and packs them again. Values that hardly ever repeat are moved as bytes. No value becomes anything else on the way:
//! bytes that come out are the bytes that went in.
//!
//! Silver and sessions look at each text once, and not in each row: they take such rows as batches whose texts are
//! dictionaries ([`StoredRows::to_batch`]), and silver gives them back as such ([`StoredRows::push`]). Whatever else writes
//! rows of flat columns has them turned into stored ones too, row group by row group.
//!
//! It knows flat columns in PLAIN and dictionary encoding. A table or a file that has anything else is not taken:
//! [`StoredLayout::of`] and [`StoredFile::open`] give `None`, and its rows must be read as values.

mod batch;
mod coded;
mod column;
mod dictionary;
mod digits;
mod file;
mod frame;
mod hybrid;
mod ids;
mod kind;
mod numbers;
mod pages;
mod plain;
mod push;
mod repeats;
mod sink;
mod states;
mod stretches;
mod unique;
mod unpacker;
mod write;

use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::DataType;
use arrow::error::ArrowError;
use parquet::arrow::ArrowSchemaConverter;
use parquet::schema::types::ColumnDescPtr;

use self::column::Column;
pub use self::file::StoredFile;
use self::kind::Kind;
pub(crate) use self::unique::UniqueColumns;
pub(crate) use self::write::write_columns;
use crate::catalog::LoadedTable;
use crate::files::{FileError, Layout, pays_dictionary};

/// A column of the table.
#[derive(Clone, Debug, PartialEq)]
struct Field {
    id: i32,
    kind: Kind,
    /// The type that its values have in Arrow.
    arrow: DataType,
    descriptor: ColumnDescPtr,
    /// Whether its values repeat, so that codes pay.
    is_coded: bool,
}

/// The columns of a table whose rows can be moved without being read.
#[derive(Clone, Debug)]
pub struct StoredLayout {
    table: Layout,
    fields: Arc<[Field]>,
    /// Whether these are all columns of the table.
    is_whole: bool,
}

impl StoredLayout {
    /// The layout of a table's files; `None` if a column is not flat, or of a type that is read as values only.
    ///
    /// # Errors
    /// [`FileError::UnsupportedSchema`]
    pub fn of(table: &LoadedTable) -> Result<Option<Self>, FileError> {
        let schema = table.metadata.current_schema();
        let layout = Layout::new(&table.name, schema)?;
        let arrow = layout.arrow_schema();
        let converted = ArrowSchemaConverter::new().convert(&arrow);
        let parquet =
            converted.map_err(|source| FileError::EncodingFailed { path: table.name.clone(), source })?;
        let fields = schema.as_struct().fields();
        if parquet.num_columns() != fields.len() {
            return Ok(None);
        }
        let types = arrow.fields().iter().map(|field| field.data_type().clone());
        let columns = fields.iter().zip(parquet.columns()).zip(types).map(|((field, descriptor), arrow)| {
            // A default stands for a column that a file lacks; it is a value that no file has.
            let kind = Kind::of(descriptor).filter(|_| field.initial_default.is_none())?;
            let repeats = pays_dictionary(&field.name, &field.field_type);
            let is_coded = repeats || !matches!(kind, Kind::Int64 | Kind::Text | Kind::Binary);
            Some(Field { id: field.id, kind, arrow, descriptor: Arc::clone(descriptor), is_coded })
        });
        let fields = columns.collect::<Option<Arc<[_]>>>();
        Ok(fields.map(|fields| Self { table: layout, fields, is_whole: true }))
    }

    /// The layout of some columns; `None` if the table has not all of them.
    pub fn select(&self, columns: &[&str]) -> Option<Self> {
        let field = |name: &&str| self.fields.iter().find(|field| field.descriptor.name() == *name).cloned();
        let fields = columns.iter().map(field).collect::<Option<Arc<[_]>>>()?;
        Some(Self { table: self.table.clone(), fields, is_whole: false })
    }

    /// Memory in bytes that a row takes at most, stored and as a batch, without its texts.
    pub fn row_bytes(&self) -> usize {
        2 * size_of::<u64>() * self.fields.len()
    }
}

/// Rows of one or more files, in the order of their arrival; at most [`StoredRows::MAX_ROWS`].
#[derive(Clone, Debug)]
pub struct StoredRows {
    layout: StoredLayout,
    columns: Vec<Column>,
    num_rows: usize,
}

impl StoredRows {
    /// Codes are 32-bit numbers, one of which stands for null.
    pub const MAX_ROWS: usize = u32::MAX as usize - 1;

    /// No rows, and room for so many.
    pub fn with_capacity(layout: &StoredLayout, num_rows: usize) -> Self {
        let mut columns: Vec<Column> = layout.fields.iter().map(Column::new).collect();
        columns.iter_mut().for_each(|column| column.reserve(num_rows));
        Self { layout: layout.clone(), columns, num_rows: 0 }
    }

    /// No rows, and room for so many: the room of these rows, if they are of the same layout.
    pub fn emptied(mut self, layout: &StoredLayout, num_rows: usize) -> Self {
        if self.layout.fields != layout.fields {
            return Self::with_capacity(layout, num_rows);
        }
        self.num_rows = 0;
        for column in &mut self.columns {
            column.clear();
            column.reserve(num_rows);
        }
        self
    }

    /// How many rows there are.
    pub fn num_rows(&self) -> usize {
        self.num_rows
    }

    /// Memory in bytes that is in use.
    pub fn memory(&self) -> usize {
        self.columns.iter().map(Column::memory).sum()
    }

    /// The rows in the order of these columns, as `streamify_core::order_of` has it; columns that the table has not are
    /// left out.
    ///
    /// # Errors
    /// Those of Arrow's kernels.
    pub fn order(&self, sort_key: &[String]) -> Result<Vec<u32>, ArrowError> {
        let place =
            |name: &String| self.layout.fields.iter().position(|field| field.descriptor.name() == name);
        let keys: Vec<ArrayRef> =
            sort_key.iter().filter_map(place).map(|place| self.columns[place].sort_key()).collect();
        Ok(match streamify_core::order_of(&keys.iter().collect::<Vec<_>>())? {
            Some(order) => order.values().to_vec(),
            None => (0..self.num_rows as u32).collect(),
        })
    }
}
