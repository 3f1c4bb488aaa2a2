//! From a batch's columns to the table's: by name, with the table's types, order and field ids.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, new_null_array};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Field, SchemaRef as ArrowSchemaRef};
use arrow::record_batch::RecordBatch;
use iceberg::spec::SchemaRef;

use super::FileError;

/// The columns of a table's files.
#[derive(Clone, Debug)]
pub struct Layout {
    table: String,
    schema: SchemaRef,
    arrow: ArrowSchemaRef,
}

impl Layout {
    /// The layout of a table with this schema.
    ///
    /// # Errors
    /// [`FileError::UnsupportedSchema`]
    pub fn new(table: &str, schema: &SchemaRef) -> Result<Self, FileError> {
        let arrow = iceberg::arrow::schema_to_arrow_schema(schema)
            .map_err(|source| FileError::UnsupportedSchema { table: table.to_owned(), source })?;
        Ok(Self { table: table.to_owned(), schema: schema.clone(), arrow: Arc::new(arrow) })
    }

    /// The table's name.
    pub(crate) fn name(&self) -> &str {
        &self.table
    }

    pub(super) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Returns the Arrow schema of the files, whose fields carry the table's ids.
    pub(crate) fn arrow_schema(&self) -> ArrowSchemaRef {
        self.arrow.clone()
    }

    /// Returns the rows of `batch` in the table's columns; missing optional columns become null.
    ///
    /// # Errors
    /// Columns that the table has not, or lacks, or that do not fit its types.
    pub fn arrange(&self, batch: &RecordBatch) -> Result<RecordBatch, FileError> {
        let columns = self.columns(batch, |_| false)?;
        RecordBatch::try_new(self.arrow.clone(), columns)
            .map_err(|error| FileError::EncodingFailed { path: self.table.clone(), source: error.into() })
    }

    /// As [`Layout::arrange`], but in columns where `is_kept` says so (by place) a dictionary stays one.
    pub(crate) fn columns(
        &self,
        batch: &RecordBatch,
        is_kept: impl Fn(usize) -> bool,
    ) -> Result<Vec<ArrayRef>, FileError> {
        for field in batch.schema_ref().fields() {
            if self.arrow.field_with_name(field.name()).is_err() {
                return Err(FileError::UnknownColumn {
                    table: self.table.clone(),
                    column: field.name().clone(),
                });
            }
        }
        let fields = self.arrow.fields().iter().enumerate();
        fields.map(|(place, field)| self.column(batch, field, is_kept(place))).collect()
    }

    fn column(&self, batch: &RecordBatch, field: &Field, is_kept: bool) -> Result<ArrayRef, FileError> {
        let Some(values) = batch.column_by_name(field.name()) else {
            if !field.is_nullable() {
                return Err(FileError::MissingColumn {
                    table: self.table.clone(),
                    column: field.name().clone(),
                });
            }
            return Ok(new_null_array(field.data_type(), batch.num_rows()));
        };
        let nulls = values.logical_null_count();
        if !field.is_nullable() && nulls > 0 {
            let (table, column) = (self.table.clone(), field.name().clone());
            return Err(FileError::NullInRequired { table, column, nulls });
        }
        let is_dictionary = matches!(values.data_type(), DataType::Dictionary(key, value)
            if **key == DataType::UInt32 && **value == *field.data_type());
        if values.data_type() == field.data_type() || is_kept && is_dictionary {
            return Ok(values.clone());
        }
        let mismatch = || FileError::TypeMismatch {
            table: self.table.clone(),
            column: field.name().clone(),
            found: values.data_type().to_string(),
            expected: field.data_type().to_string(),
        };
        if !holds(field.data_type(), values.data_type()) {
            return Err(mismatch());
        }
        let options = CastOptions { safe: false, ..CastOptions::default() };
        cast_with_options(values, field.data_type(), &options).map_err(|_| mismatch())
    }
}

/// Returns whether every value of type `from` can be stored as type `to` without loss.
fn holds(to: &DataType, from: &DataType) -> bool {
    use DataType::{
        Binary, BinaryView, Float32, Float64, Int32, Int64, LargeBinary, LargeUtf8, List, Timestamp, Utf8,
        Utf8View,
    };
    match (to, from) {
        (to, DataType::Dictionary(_, from)) => holds(to, from),
        // The table's element has an id, a batch's has not.
        (List(to), List(from)) => {
            (to.is_nullable() || !from.is_nullable()) && holds(to.data_type(), from.data_type())
        }
        (Int64, Int32)
        | (Float64, Float32)
        | (Utf8, LargeUtf8 | Utf8View)
        | (LargeBinary | Binary, Binary | LargeBinary | BinaryView) => true,
        // The zone is how an instant is shown, not which one it is; without a zone it is no instant.
        (Timestamp(left, Some(_)), Timestamp(right, Some(_))) => left == right,
        _ => to.equals_datatype(from),
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{
        AsArray, BinaryArray, DictionaryArray, Int32Array, Int64Array, ListArray, StringArray,
        TimestampMicrosecondArray,
    };
    use arrow::buffer::OffsetBuffer;
    use arrow::datatypes::UInt32Type;
    use iceberg::spec::{ListType, NestedField, PrimitiveType, Schema, Type};
    use parquet::arrow::PARQUET_FIELD_ID_META_KEY;

    use super::*;

    /// A table whose ids do not follow the order of its columns.
    fn layout() -> Layout {
        let optional =
            |id, name: &str, kind| Arc::new(NestedField::optional(id, name, Type::Primitive(kind)));
        let schema = Schema::builder()
            .with_fields([
                optional(9, "at", PrimitiveType::Timestamptz),
                Arc::new(NestedField::required(2, "id", Type::Primitive(PrimitiveType::Long))),
                optional(5, "raw", PrimitiveType::Binary),
                optional(7, "added_later", PrimitiveType::String),
            ])
            .build()
            .unwrap();
        Layout::new("t", &Arc::new(schema)).unwrap()
    }

    fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
        RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, array)| (name, array, true)))
            .unwrap()
    }

    #[test]
    fn columns_are_matched_by_name_widened_and_filled() {
        let arranged = layout()
            .arrange(&batch(vec![
                ("id", Arc::new(Int32Array::from(vec![1, 2]))),
                ("raw", Arc::new(BinaryArray::from_vec(vec![b"a", b"b"]))),
                ("at", Arc::new(TimestampMicrosecondArray::from(vec![5, 6]).with_timezone("UTC"))),
            ]))
            .unwrap();

        let names: Vec<_> = arranged.schema_ref().fields().iter().map(|field| field.name().clone()).collect();
        assert_eq!(names, ["at", "id", "raw", "added_later"]);
        let ids: Vec<_> = arranged
            .schema_ref()
            .fields()
            .iter()
            .map(|f| f.metadata()[PARQUET_FIELD_ID_META_KEY].clone())
            .collect();
        assert_eq!(ids, ["9", "2", "5", "7"]);
        assert_eq!(arranged.column(1).as_ref(), &Int64Array::from(vec![1, 2]) as &dyn Array);
        assert_eq!(arranged.column(3).null_count(), 2);
    }

    #[test]
    fn a_dictionary_becomes_its_texts_unless_it_is_kept() {
        let texts: DictionaryArray<UInt32Type> = [Some("a"), None, Some("a")].into_iter().collect();
        let batch = batch(vec![
            ("id", Arc::new(Int64Array::from(vec![1, 2, 3]))),
            ("added_later", Arc::new(texts.clone())),
        ]);

        let arranged = layout().arrange(&batch).unwrap();
        let kept = layout().columns(&batch, |place| place == 3).unwrap();

        let plain = StringArray::from(vec![Some("a"), None, Some("a")]);
        assert_eq!(arranged.column(3).as_ref(), &plain as &dyn Array);
        assert_eq!(kept[3].as_ref(), &texts as &dyn Array);
    }

    #[test]
    fn a_column_that_the_table_has_not_is_refused() {
        let error = layout()
            .arrange(&batch(vec![
                ("id", Arc::new(Int64Array::from(vec![1]))),
                ("nope", Arc::new(Int64Array::from(vec![1]))),
            ]))
            .unwrap_err();

        assert_eq!(error.to_string(), "table `t` has no column `nope`");
    }

    #[test]
    fn a_required_column_must_be_there_and_not_null() {
        let missing =
            layout().arrange(&batch(vec![("raw", Arc::new(BinaryArray::from_vec(vec![b"a"])))])).unwrap_err();
        let null = layout()
            .arrange(&batch(vec![("id", Arc::new(Int64Array::from(vec![None, Some(1)])))]))
            .unwrap_err();

        assert_eq!(missing.to_string(), "rows for table `t` lack the required column `id`");
        assert_eq!(null.to_string(), "column `id` of table `t` must not be null, but 1 of its values are");
    }

    #[test]
    fn lists_take_the_tables_element_and_its_id() {
        let list = |element| Type::List(ListType { element_field: Arc::new(element) });
        let element = NestedField::list_element(12, Type::Primitive(PrimitiveType::Long), true);
        let field = Arc::new(NestedField::required(4, "ids", list(element)));
        let schema = Arc::new(Schema::builder().with_fields([field]).build().unwrap());
        let layout = Layout::new("t", &schema).unwrap();
        let ids = |nullable| {
            let element = Arc::new(Field::new("element", DataType::Int32, nullable));
            let values = Arc::new(Int32Array::from(vec![1, 2, 3]));
            ListArray::new(element, OffsetBuffer::from_lengths([2, 1]), values, None)
        };

        let arranged = layout.arrange(&batch(vec![("ids", Arc::new(ids(false)))])).unwrap();
        let refused = layout.arrange(&batch(vec![("ids", Arc::new(ids(true)))])).unwrap_err();

        let DataType::List(element) = arranged.column(0).data_type() else { panic!("no list") };
        assert_eq!(element.metadata()[PARQUET_FIELD_ID_META_KEY], "12");
        assert_eq!(arranged.column(0).as_list::<i32>().values().as_ref(), &Int64Array::from(vec![1, 2, 3]));
        assert!(matches!(refused, FileError::TypeMismatch { .. }), "{refused}");
    }

    #[test]
    fn values_that_could_be_lost_are_refused() {
        let text =
            layout().arrange(&batch(vec![("id", Arc::new(StringArray::from(vec!["1"])))])).unwrap_err();
        let no_zone = layout()
            .arrange(&batch(vec![
                ("id", Arc::new(Int64Array::from(vec![1]))),
                ("at", Arc::new(TimestampMicrosecondArray::from(vec![5]))),
            ]))
            .unwrap_err();

        assert!(matches!(text, FileError::TypeMismatch { .. }), "{text}");
        assert!(matches!(no_zone, FileError::TypeMismatch { .. }), "{no_zone}");
    }
}
