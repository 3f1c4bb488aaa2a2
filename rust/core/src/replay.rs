//! A range of a topic that is read again into a staging table: written down as a property of that table when it is made, so
//! that a restarted replay goes on with the same range, and the swap knows what to put in the place of what.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// The table property that holds the range, as JSON.
pub const PROPERTY: &str = "streamify.replay";

/// What a staging table stands for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplayRange {
    /// Topic that is read.
    pub topic: String,
    /// Table whose rows are to be replaced.
    pub target: String,
    /// Source epoch of the offsets.
    pub epoch: u32,
    /// Only rows of these event dates are meant, first and last (days since 1970); `None`: all rows of the offsets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub days: Option<[i32; 2]>,
    /// Offsets by partition, first and end (exclusive).
    pub offsets: BTreeMap<i32, [i64; 2]>,
}

impl ReplayRange {
    /// Reads the property; `None` if it is not one of ours.
    #[must_use]
    pub fn from_json(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    /// Returns the property's text.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Whether the row from this place is in the range, its day left aside.
    #[must_use]
    pub fn has_place(&self, epoch: i32, partition: i32, offset: i64) -> bool {
        let within = |[first, end]: &[i64; 2]| (*first..*end).contains(&offset);
        i64::from(epoch) == i64::from(self.epoch) && self.offsets.get(&partition).is_some_and(within)
    }

    /// Whether rows of this event date are meant.
    #[must_use]
    pub fn has_day(&self, day: i32) -> bool {
        self.days.is_none_or(|[first, last]| (first..=last).contains(&day))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_survives_its_property_and_holds_its_ends() {
        let range = ReplayRange {
            topic: "t".into(),
            target: "bronze_t".into(),
            epoch: 1,
            days: Some([20, 21]),
            offsets: BTreeMap::from([(0, [100, 200])]),
        };

        assert_eq!(ReplayRange::from_json(&range.to_json()), Some(range.clone()));
        assert!(range.has_place(1, 0, 100) && range.has_place(1, 0, 199));
        assert!(!range.has_place(1, 0, 200) && !range.has_place(0, 0, 100) && !range.has_place(1, 1, 100));
        assert!(range.has_day(20) && range.has_day(21) && !range.has_day(22));
        assert_eq!(ReplayRange::from_json("{}"), None);
    }
}
