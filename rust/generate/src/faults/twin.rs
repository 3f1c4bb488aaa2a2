//! A second run beside the first: the same numbers for sessions and listeners, under another run id and at another time.

use super::edit;

/// Latest start of a second run after the first, milliseconds.
const MAX_SHIFT_MS: u64 = 3_600_000;

/// A second run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Twin {
    /// Its run id.
    pub run_id: String,
    /// How much later it started, in milliseconds; never whole seconds, so that its times are told from the first run's.
    pub shift_ms: i64,
    /// Whether its listeners are other people under the same numbers.
    pub is_other_people: bool,
}

impl Twin {
    /// Returns the second run of a case beside a run; each case has one.
    pub fn of(run_id: &str, id: &str) -> Self {
        let hash = blake3::hash(format!("{run_id} {id}").as_bytes());
        let mut number = [0; 8];
        number.copy_from_slice(&hash.as_bytes()[8..16]);
        let shift = 1 + u64::from_le_bytes(number) % MAX_SHIFT_MS;
        let shift = if shift.is_multiple_of(1000) { shift + 1 } else { shift };
        Self {
            run_id: hash.as_bytes()[..8].iter().map(|byte| format!("{byte:02x}")).collect(),
            shift_ms: shift.cast_signed(),
            is_other_people: id == "D3",
        }
    }

    /// Returns the second run's version of an event of the first; `None` if it has no time.
    pub fn tell(&self, json: &[u8]) -> Option<Vec<u8>> {
        let ts = edit::number(json, "ts")? + self.shift_ms;
        let mut told = edit::with_value(json, "ts", &ts.to_string())?;
        if let Some(registration) = edit::number(json, "registration") {
            let registration = registration + self.shift_ms;
            told = edit::with_value(&told, "registration", &registration.to_string())?;
        }
        if self.is_other_people {
            for (field, before) in [("city", "East "), ("lastName", "Mac"), ("firstName", "Jo-")] {
                if let Some(text) = edit::raw(&told, field) {
                    let text = format!("\"{before}{}", text.trim_start_matches('"'));
                    told = edit::with_value(&told, field, &text)?;
                }
            }
        }
        Some(told)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_run_has_own_times_and_the_same_numbers() {
        let json = br#"{"ts":1793000000926,"sessionId":3,"city":"Bear","userId":7,"lastName":"Reed","registration":5926}"#;
        let (others, same) = (Twin::of("0011", "D3"), Twin::of("0011", "D4"));
        let told = |twin: &Twin| String::from_utf8(twin.tell(json).unwrap()).unwrap();
        let ts = |twin: &Twin| 1_793_000_000_926 + twin.shift_ms;

        let registration = 5_926 + others.shift_ms;
        let expected = format!(
            r#"{{"ts":{},"sessionId":3,"city":"East Bear","userId":7,"lastName":"MacReed","registration":{registration}}}"#,
            ts(&others)
        );
        assert_eq!(told(&others), expected);
        assert!(told(&same).starts_with(&format!(r#"{{"ts":{},"sessionId":3,"city":"Bear","#, ts(&same))));
        assert!(others.run_id != same.run_id && others.run_id.len() == 16);
        assert!(others.shift_ms % 1000 != 0 && same.shift_ms % 1000 != 0);
    }
}
