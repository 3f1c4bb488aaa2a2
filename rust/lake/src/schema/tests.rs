use super::*;

fn column(name: &str, kind: ColumnType, nullable: bool) -> Column {
    Column { name: name.to_owned(), kind, nullable, doc: String::new(), unit: None, personal: false }
}

fn schema_of(fields: Vec<NestedField>) -> Schema {
    Schema::builder().with_fields(fields.into_iter().map(Arc::new)).build().unwrap()
}

fn primitive(kind: PrimitiveType) -> Type {
    Type::Primitive(kind)
}

#[test]
fn a_new_schema_has_docs_units_and_identity() {
    let mut duration = column("duration", ColumnType::Double, true);
    duration.doc = "Length of the song".to_owned();
    duration.unit = Some("s".to_owned());

    let schema =
        iceberg_schema(&[column("event_id", ColumnType::String, false), duration], &["event_id".to_owned()])
            .unwrap();

    assert_eq!(schema.identifier_field_ids().collect::<Vec<_>>(), [1]);
    let duration = schema.field_by_name("duration").unwrap();
    assert_eq!(duration.doc.as_deref(), Some("Length of the song (unit: s)"));
    assert!(!duration.required);
}

#[test]
fn an_identity_column_that_may_be_null_is_refused() {
    let error = iceberg_schema(&[column("id", ColumnType::String, true)], &["id".to_owned()]).unwrap_err();

    assert_eq!(error.to_string(), "column `id` cannot be used as identity: it may be null");
}

#[test]
fn partition_and_sort_refer_to_the_schemas_ids() {
    let columns = [column("ts", ColumnType::Long, false), column("event_ts", ColumnType::Timestamp, false)];
    let schema = iceberg_schema(&columns, &[]).unwrap();

    let spec = partition_spec(&schema, &Partitioning::Hour("event_ts".to_owned())).unwrap().unwrap();
    let order = sort_order(&schema, &["event_ts".to_owned(), "ts".to_owned()]).unwrap().unwrap();

    let partition = &spec.fields()[0];
    assert_eq!((partition.source_id, partition.name.as_str()), (2, "event_ts_hour"));
    assert_eq!(order.fields.iter().map(|field| field.source_id).collect::<Vec<_>>(), [2, 1]);
    assert!(partition_spec(&schema, &Partitioning::Identity("nope".to_owned())).is_err());
}

#[test]
fn a_schema_that_has_all_columns_needs_no_evolution_whatever_their_order() {
    let current = schema_of(vec![
        NestedField::optional(7, "b", primitive(PrimitiveType::Long)),
        NestedField::required(3, "a", primitive(PrimitiveType::String)),
    ]);
    let columns = [column("a", ColumnType::String, false), column("b", ColumnType::Int, false)];

    assert!(additive_evolution("t", &current, 9, &columns).unwrap().is_none());
}

#[test]
fn missing_columns_come_as_optional_with_fresh_ids() {
    let current = schema_of(vec![NestedField::required(3, "a", primitive(PrimitiveType::String))]);
    let columns = [column("a", ColumnType::String, false), column("b", ColumnType::Date, false)];

    let grown = additive_evolution("t", &current, 9, &columns).unwrap().unwrap();

    let added = grown.field_by_name("b").unwrap();
    assert_eq!((added.id, added.required), (10, false));
    assert_eq!(grown.field_by_name("a").unwrap().id, 3);
}

#[test]
fn narrow_numbers_widen_and_required_columns_relax_keeping_their_ids() {
    let current = schema_of(vec![
        NestedField::optional(1, "session", primitive(PrimitiveType::Int)),
        NestedField::optional(2, "length", primitive(PrimitiveType::Float)),
        NestedField::required(3, "level", primitive(PrimitiveType::String)),
    ]);
    let columns = [
        column("session", ColumnType::Long, true),
        column("length", ColumnType::Double, true),
        column("level", ColumnType::String, true),
    ];

    let grown = additive_evolution("t", &current, 3, &columns).unwrap().unwrap();

    let session = grown.field_by_name("session").unwrap();
    assert_eq!((session.id, session.field_type.as_ref()), (1, &primitive(PrimitiveType::Long)));
    assert_eq!(grown.field_by_name("length").unwrap().field_type.as_ref(), &primitive(PrimitiveType::Double));
    assert!(!grown.field_by_name("level").unwrap().required);
}

#[test]
fn a_type_conflict_names_table_column_and_both_types() {
    let current = schema_of(vec![NestedField::optional(1, "ts", primitive(PrimitiveType::String))]);

    let error =
        additive_evolution("bronze_x", &current, 1, &[column("ts", ColumnType::Long, true)]).unwrap_err();

    assert_eq!(error.to_string(), "column `ts` of table `bronze_x` is of type string, but long is wanted");
}

#[test]
fn columns_that_differ_in_letter_case_only_are_refused() {
    let current = schema_of(vec![NestedField::optional(1, "userid", primitive(PrimitiveType::Long))]);

    let error =
        additive_evolution("t", &current, 1, &[column("userId", ColumnType::Long, true)]).unwrap_err();

    assert!(matches!(error, SchemaError::CaseConflict { .. }), "{error}");
}

#[test]
fn an_identifier_cannot_become_optional() {
    let current = Schema::builder()
        .with_fields([Arc::new(NestedField::required(1, "id", primitive(PrimitiveType::String)))])
        .with_identifier_field_ids([1])
        .build()
        .unwrap();

    let error = additive_evolution("t", &current, 1, &[column("id", ColumnType::String, true)]).unwrap_err();

    assert!(matches!(error, SchemaError::IdentifierMustStayRequired { .. }), "{error}");
}

#[test]
fn elements_of_lists_get_ids_after_those_of_the_columns() {
    let columns = [
        column("songs", ColumnType::StringList, false),
        column("a", ColumnType::Long, false),
        column("ids", ColumnType::LongList, true),
    ];

    let schema = iceberg_schema(&columns, &[]).unwrap();

    let ids = ["songs", "a", "ids", "songs.element", "ids.element"];
    assert_eq!(ids.map(|name| schema.field_id_by_name(name).unwrap()), [1, 2, 3, 4, 5]);
    assert!(schema.field_by_name("songs.element").unwrap().required);
    assert!(additive_evolution("t", &schema, 5, &columns).unwrap().is_none());
}

#[test]
fn a_list_that_comes_later_gets_two_fresh_ids() {
    let current = schema_of(vec![NestedField::required(3, "a", primitive(PrimitiveType::String))]);
    let columns = [column("songs", ColumnType::StringList, false), column("b", ColumnType::Date, false)];

    let grown = additive_evolution("t", &current, 9, &columns).unwrap().unwrap();

    let ids = ["a", "songs", "songs.element", "b"];
    assert_eq!(ids.map(|name| grown.field_id_by_name(name).unwrap()), [3, 10, 11, 12]);
    assert!(!grown.field_by_name("songs").unwrap().required);
}

#[test]
fn a_list_does_not_become_a_list_of_another_type() {
    let columns = [column("songs", ColumnType::StringList, false)];
    let current = iceberg_schema(&columns, &[]).unwrap();

    let error =
        additive_evolution("t", &current, 2, &[column("songs", ColumnType::LongList, false)]).unwrap_err();

    assert!(matches!(error, SchemaError::TypeConflict { .. }), "{error}");
}
