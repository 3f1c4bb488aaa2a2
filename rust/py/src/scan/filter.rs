//! Conditions of Python as a predicate: triples `(column, operator, value)`, all of which must hold.
//!
//! Values must be of the column's type; nothing is guessed. A null fulfils no condition but `is None`.

use iceberg::expr::{Predicate, Reference};
use iceberg::spec::{Datum, PrimitiveType, Schema, Type};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyFloat, PyInt, PyString};

use crate::errors::argument;

/// One condition.
#[derive(FromPyObject)]
pub struct Condition<'py>(String, String, Bound<'py, PyAny>);

const OPERATORS: &str =
    "`=`, `==`, `!=`, `<`, `<=`, `>`, `>=`, `in`, `not in`, `is`, `is not`, `starts with`";

/// All conditions together.
///
/// # Errors
/// `SettingsError`: no such column, an unknown operator, a value that is not of the column's type.
pub fn predicate(py: Python<'_>, schema: &Schema, conditions: Vec<Condition<'_>>) -> PyResult<Predicate> {
    let mut all = Predicate::AlwaysTrue;
    for condition in conditions {
        all = all.and(one(py, schema, condition)?);
    }
    Ok(all)
}

/// What is said of a column that is not there.
pub fn no_column(schema: &Schema, name: &str) -> String {
    let fields = schema.as_struct().fields();
    let known: Vec<String> = fields.iter().map(|field| format!("`{}`", field.name)).collect();
    format!("the table has no column `{name}` (columns: {})", known.join(", "))
}

fn one(py: Python<'_>, schema: &Schema, condition: Condition<'_>) -> PyResult<Predicate> {
    let Condition(name, operator, value) = condition;
    let fields = schema.as_struct().fields();
    let Some(field) = fields.iter().find(|field| field.name == name) else {
        return Err(argument("filter", no_column(schema, &name)));
    };
    let column = Reference::new(name.as_str());
    if matches!(operator.as_str(), "is" | "is not") {
        if !value.is_none() {
            let problem = format!("`{operator}` goes with None only; compare `{name}` by `=` or `!=`");
            return Err(argument("filter", problem));
        }
        return Ok(if operator == "is" { column.is_null() } else { column.is_not_null() });
    }
    let Type::Primitive(kind) = field.field_type.as_ref() else {
        return Err(argument(
            "filter",
            format!("column `{name}` is a {}, which has no order", field.field_type),
        ));
    };
    let datum = |value: &Bound<'_, PyAny>| {
        datum(py, kind, value).map_err(|problem| argument("filter", format!("column `{name}` {problem}")))
    };
    match operator.as_str() {
        "=" | "==" => Ok(column.equal_to(datum(&value)?)),
        // Said twice, because readers do not agree on what a null is unequal to.
        "!=" => Ok(column.clone().is_not_null().and(column.not_equal_to(datum(&value)?))),
        "<" => Ok(column.less_than(datum(&value)?)),
        "<=" => Ok(column.less_than_or_equal_to(datum(&value)?)),
        ">" => Ok(column.greater_than(datum(&value)?)),
        ">=" => Ok(column.greater_than_or_equal_to(datum(&value)?)),
        "in" | "not in" => {
            if value.is_instance_of::<PyString>() {
                return Err(argument("filter", format!("`{operator}` takes a list of values, not a text")));
            }
            let mut values = Vec::new();
            for item in value.try_iter()? {
                values.push(datum(&item?)?);
            }
            Ok(match operator.as_str() {
                "in" => column.is_in(values),
                _ => column.clone().is_not_null().and(column.is_not_in(values)),
            })
        }
        "starts with" if *kind == PrimitiveType::String => Ok(column.starts_with(datum(&value)?)),
        "starts with" => Err(argument("filter", format!("column `{name}` is no text"))),
        _ => Err(argument("filter", format!("`{operator}` is not an operator (expected {OPERATORS})"))),
    }
}

/// A value of the column's type; what is wrong with it otherwise.
fn datum(py: Python<'_>, kind: &PrimitiveType, value: &Bound<'_, PyAny>) -> Result<Datum, String> {
    let wrong = |expected: &str| {
        let shown = value.repr().map_or_else(|_| "the value".to_owned(), |text| text.to_string());
        format!("is a {kind}: expected {expected}, got {shown}")
    };
    if value.is_none() {
        return Err(wrong("a value; nulls are found by `is` and `is not`"));
    }
    let is_flag = value.is_instance_of::<PyBool>();
    match kind {
        PrimitiveType::Boolean => {
            value.extract().map(Datum::bool::<bool>).map_err(|_| wrong("True or False"))
        }
        PrimitiveType::Int if value.is_instance_of::<PyInt>() && !is_flag => {
            value.extract().map(Datum::int::<i32>).map_err(|_| wrong("a number of 32 bits"))
        }
        PrimitiveType::Long if value.is_instance_of::<PyInt>() && !is_flag => {
            value.extract().map(Datum::long::<i64>).map_err(|_| wrong("a number of 64 bits"))
        }
        PrimitiveType::Int | PrimitiveType::Long => Err(wrong("a whole number")),
        PrimitiveType::Float | PrimitiveType::Double => {
            let is_number = value.is_instance_of::<PyFloat>() || value.is_instance_of::<PyInt>();
            let number: f64 =
                value.extract().ok().filter(|_| is_number && !is_flag).ok_or_else(|| wrong("a number"))?;
            if number.is_nan() {
                return Err(wrong("a number; NaN is equal to nothing"));
            }
            Ok(if *kind == PrimitiveType::Float {
                Datum::float(number as f32)
            } else {
                Datum::double(number)
            })
        }
        PrimitiveType::String if value.is_instance_of::<PyString>() => {
            value.extract::<String>().map(Datum::string).map_err(|_| wrong("a text of valid Unicode"))
        }
        PrimitiveType::String => Err(wrong("a text")),
        PrimitiveType::Date => {
            let text =
                instant_text(py, value, "date").ok_or_else(|| wrong("a date, or e.g. `2026-02-23`"))?;
            Datum::date_from_str(text).map_err(|_| wrong("a date, or e.g. `2026-02-23`"))
        }
        PrimitiveType::Timestamptz => {
            let expected = "a datetime with a time zone, or e.g. `2026-02-23T10:00:00+00:00`";
            let text = instant_text(py, value, "datetime").ok_or_else(|| wrong(expected))?;
            Datum::timestamptz_from_str(text).map_err(|_| wrong(expected))
        }
        PrimitiveType::Timestamp => {
            let expected = "a datetime without a time zone, or e.g. `2026-02-23T10:00:00`";
            let text = instant_text(py, value, "datetime").ok_or_else(|| wrong(expected))?;
            Datum::timestamp_from_str(text).map_err(|_| wrong(expected))
        }
        _ => Err(format!("is a {kind}, on which this cannot filter; filter after reading")),
    }
}

/// The ISO text of a `date` or `datetime` (exactly that class or a subclass: a datetime is no day), or the text itself.
fn instant_text(py: Python<'_>, value: &Bound<'_, PyAny>, class: &str) -> Option<String> {
    if value.is_instance_of::<PyString>() {
        return value.extract().ok();
    }
    let module = py.import("datetime").ok()?;
    let is = |class: &str| value.is_instance(&module.getattr(class).ok()?).ok();
    if !is(class)? || (class == "date" && is("datetime")?) {
        return None;
    }
    value.call_method0("isoformat").ok()?.extract().ok()
}
