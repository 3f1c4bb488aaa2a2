//! The environment as Python sees it at the moment of the call, and what the caller puts in its place.

use std::collections::HashMap;
use std::path::PathBuf;

use pyo3::prelude::*;
use pyo3::types::PyDict;
use streamify_batch::{BatchError, Settings};
use streamify_lake::LakeSettings;
use streamify_runtime::settings::parse_bytes;

use crate::errors::{argument, raised};

/// Variables of one call.
pub struct Environment(HashMap<String, String>);

/// A size: bytes, or a text with a unit.
#[derive(FromPyObject)]
pub enum Size {
    Bytes(u64),
    Text(String),
}

impl Environment {
    /// Takes `os.environ`, with `changes` over it. `os.environ` is asked, not the C library, which another thread may be changing.
    pub fn now(py: Python<'_>, changes: Option<&Bound<'_, PyAny>>) -> PyResult<Self> {
        let environ = py.import("os")?.getattr("environ")?.call_method0("copy")?.cast_into::<PyDict>()?;
        // Variables that are not text are none of ours.
        let text = environ.iter().filter_map(|(name, value)| {
            Some((name.extract::<String>().ok()?, value.extract::<String>().ok()?))
        });
        let mut variables: HashMap<String, String> = text.collect();
        if let Some(changes) = changes {
            let changes = py.get_type::<PyDict>().call1((changes,))?;
            variables.extend(changes.extract::<HashMap<String, String>>()?);
        }
        Ok(Self(variables))
    }

    /// What they say about jobs; an argument is stronger than the variable.
    pub fn settings(&self, py: Python<'_>, memory_limit: Option<Size>) -> PyResult<Settings> {
        let mut settings = Settings::from_env(&|name| self.get(name)).map_err(|error| raised(py, &error))?;
        match memory_limit {
            None => {}
            Some(Size::Bytes(bytes)) => settings.memory_limit = bytes,
            Some(Size::Text(text)) => {
                settings.memory_limit =
                    parse_bytes(&text).map_err(|problem| argument("memory_limit", problem.to_string()))?;
            }
        }
        Ok(settings)
    }

    /// What they say about the lake.
    pub fn lake(&self, py: Python<'_>) -> PyResult<LakeSettings> {
        LakeSettings::from_env(&|name| self.get(name)).map_err(|error| raised(py, &BatchError::from(error)))
    }

    /// The folder of the contracts, if one is named.
    pub fn contracts(&self) -> Option<PathBuf> {
        self.get("STREAMIFY_CONTRACTS").map(PathBuf::from)
    }

    fn get(&self, name: &str) -> Option<String> {
        self.0.get(name).cloned()
    }
}
