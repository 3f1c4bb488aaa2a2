//! Which faults are asked for, and how often.

use super::kinds::{ALL, Cause, Kind, Variant};

/// A fault that was asked for.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The case.
    pub kind: &'static Kind,
    /// Its ways with the part of the records each hits, in the order of the catalogue; zeros left out.
    pub rates: Vec<(&'static Variant, f64)>,
}

/// All faults of a run.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// In the order of the catalogue, each case once.
    pub wanted: Vec<Wanted>,
    /// When D20 begins, milliseconds since 1970.
    pub drift_at_ms: i64,
}

/// Why a fault cannot be had.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum PlanError {
    /// No such case.
    #[error("invalid `--fault`: `{0}` is not one of `all` and D1 to D23")]
    Unknown(String),
    /// No such way.
    #[error("invalid `--fault`: `{id}` has no way `{name}` (it has: {known})")]
    UnknownVariant {
        /// The case.
        id: &'static str,
        /// As given.
        name: String,
        /// The names there are.
        known: String,
    },
    /// A case that is not injected.
    #[error("invalid `--fault`: {id} ({name}) is not injected: {why}")]
    NotInjected {
        /// The case.
        id: &'static str,
        /// Its name.
        name: &'static str,
        /// Who causes it.
        why: &'static str,
    },
    /// Not a probability.
    #[error(
        "invalid `--fault`: the rate of `{of}` is `{rate}` (expected a number from 0 to 1, e.g. `{of}=0.02`)"
    )]
    Rate {
        /// What it is the rate of.
        of: String,
        /// As given.
        rate: String,
    },
    /// Ways of one case that are more than certain together.
    #[error("invalid `--fault`: the rates of the ways of {id} sum to {sum}, more than 1")]
    MoreThanCertain {
        /// The case.
        id: &'static str,
        /// Their sum.
        sum: f64,
    },
}

impl Plan {
    /// Reads the words of `--fault`: `all`, `all=0.01`, `D19`, `D19=0.02`, `D15.cut=0.01`. Later ones replace earlier ones.
    ///
    /// # Errors
    /// Any [`PlanError`], of the first word that cannot be meant.
    pub fn parse<'a>(words: impl IntoIterator<Item = &'a str>, drift_at_ms: i64) -> Result<Self, PlanError> {
        let mut plan = Self { wanted: Vec::new(), drift_at_ms };
        for word in words {
            let (name, rate) = match word.split_once('=') {
                Some((name, rate)) => (name.trim(), Some(parse_rate(name.trim(), rate.trim())?)),
                None => (word.trim(), None),
            };
            plan.want(name, rate)?;
        }
        for wanted in &plan.wanted {
            let sum = wanted.total();
            if sum > 1.0 + 1e-9 {
                return Err(PlanError::MoreThanCertain { id: wanted.kind.id, sum });
            }
        }
        Ok(plan)
    }

    /// Asks for D19, delivered twice, at a rate, in place of what was asked for before.
    pub fn with_duplicates(mut self, rate: f64) -> Self {
        if let Some((kind, variants, _)) = ALL.iter().filter_map(injected).find(|(kind, ..)| kind.id == "D19")
        {
            self.set(kind, spread(variants, rate));
        }
        self
    }

    /// Returns whether nothing was asked for.
    pub fn is_empty(&self) -> bool {
        self.wanted.is_empty()
    }

    fn want(&mut self, name: &str, rate: Option<f64>) -> Result<(), PlanError> {
        if name.eq_ignore_ascii_case("all") {
            for (kind, variants, default) in ALL.iter().filter_map(injected) {
                self.set(kind, spread(variants, rate.unwrap_or(default)));
            }
            return Ok(());
        }
        let (id, way) = name.split_once('.').map_or((name, None), |(id, way)| (id, Some(way)));
        let Some(kind) = ALL.iter().find(|kind| kind.id.eq_ignore_ascii_case(id)) else {
            return Err(PlanError::Unknown(name.to_owned()));
        };
        let (variants, default) = match &kind.cause {
            Cause::Injected { variants, default_rate } => (*variants, *default_rate),
            Cause::Natural(why) | Cause::Elsewhere(why) => {
                return Err(PlanError::NotInjected { id: kind.id, name: kind.name, why });
            }
        };
        let rate = rate.unwrap_or(default);
        let Some(way) = way else {
            self.set(kind, spread(variants, rate));
            return Ok(());
        };
        let Some(variant) = variants.iter().find(|variant| variant.name == way) else {
            let known = variants.iter().map(|variant| variant.name).collect::<Vec<_>>().join(", ");
            return Err(PlanError::UnknownVariant { id: kind.id, name: way.to_owned(), known });
        };
        let known = self.wanted.iter().find(|wanted| wanted.kind.id == kind.id);
        let mut rates = known.map_or_else(Vec::new, |wanted| wanted.rates.clone());
        rates.retain(|(other, _)| other.name != variant.name);
        rates.push((variant, rate));
        self.set(kind, rates);
        Ok(())
    }

    fn set(&mut self, kind: &'static Kind, mut rates: Vec<(&'static Variant, f64)>) {
        let order = |id: &str| ALL.iter().position(|kind| kind.id == id);
        self.wanted.retain(|wanted| wanted.kind.id != kind.id);
        rates.retain(|(_, rate)| *rate > 0.0);
        if !rates.is_empty() {
            self.wanted.push(Wanted { kind, rates });
            self.wanted.sort_by_key(|wanted| order(wanted.kind.id));
        }
    }
}

impl Wanted {
    /// Returns the part of the records that any way hits.
    pub fn total(&self) -> f64 {
        self.rates.iter().map(|(_, rate)| rate).sum()
    }

    /// Returns the way that a uniform number in [0, 1) draws, or none.
    pub fn draw(&self, unit: f64) -> Option<&'static Variant> {
        let mut edge = 0.0;
        self.rates.iter().find_map(|(variant, rate)| {
            edge += rate;
            (unit < edge).then_some(*variant)
        })
    }
}

fn injected(kind: &'static Kind) -> Option<(&'static Kind, &'static [Variant], f64)> {
    match kind.cause {
        Cause::Injected { default_rate, variants } => Some((kind, variants, default_rate)),
        Cause::Natural(_) | Cause::Elsewhere(_) => None,
    }
}

fn spread(variants: &'static [Variant], rate: f64) -> Vec<(&'static Variant, f64)> {
    let total: f64 = variants.iter().map(|variant| variant.weight).sum();
    variants.iter().map(|variant| (variant, rate * variant.weight / total)).collect()
}

fn parse_rate(of: &str, text: &str) -> Result<f64, PlanError> {
    match text.parse::<f64>() {
        Ok(rate) if (0.0..=1.0).contains(&rate) => Ok(rate),
        _ => Err(PlanError::Rate { of: of.to_owned(), rate: text.to_owned() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(words: &[&str]) -> Vec<String> {
        let plan = Plan::parse(words.iter().copied(), 0).unwrap();
        let show = |wanted: &Wanted| {
            let rates = wanted.rates.iter().map(|(variant, rate)| format!("{}={rate:.4}", variant.name));
            format!("{} {}", wanted.kind.id, rates.collect::<Vec<_>>().join(" "))
        };
        plan.wanted.iter().map(show).collect()
    }

    #[test]
    fn rates_are_divided_among_the_ways_and_later_words_replace_earlier_ones() {
        assert_eq!(shown(&["D19=0.5"]), ["D19 duplicate=0.5000"]);
        assert_eq!(
            shown(&["d2=0.2", "D1=0.1"]),
            ["D1 mojibake=0.1000", "D2 quotes=0.1000 backslashes=0.1000"]
        );
        assert_eq!(shown(&["D2=0.2", "D2.quotes=0.5"]), ["D2 backslashes=0.1000 quotes=0.5000"]);
        assert_eq!(shown(&["D2=0.2", "D2=0"]), Vec::<String>::new());
        assert_eq!(shown(&["D19"]), ["D19 duplicate=0.0200"]);
        assert_eq!(shown(&["all"]).len(), 15);
        assert_eq!(shown(&["all=0.1", "D12=0"]).len(), 14);
    }

    #[test]
    fn what_cannot_be_meant_is_explained() {
        let message = |word: &str| Plan::parse([word], 0).unwrap_err().to_string();

        assert_eq!(message("D24"), "invalid `--fault`: `D24` is not one of `all` and D1 to D23");
        assert!(message("D19=2").contains("the rate of `D19` is `2` (expected a number from 0 to 1"));
        assert!(message("D15.cute=0.1").ends_with("(it has: cut, single_quotes, bad_byte)"));
        assert!(message("D18").contains("D18 (offsets go back) is not injected: only a broker"));
        let sum = Plan::parse(["D2.quotes=0.7", "D2.backslashes=0.7"], 0).unwrap_err().to_string();
        assert!(sum.contains("sum to 1.4"), "{sum}");
    }
}
