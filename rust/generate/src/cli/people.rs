//! Arguments that change the population of a profile.

use clap::Args;

use crate::profile::Overrides;

/// Growth, attrition, holidays; each overrides the profile.
#[derive(Clone, Debug, Default, Args)]
pub struct PeopleArgs {
    /// New listeners a year, as a part of those there are: 0.01 is 1 % [default: the profile's]
    #[arg(long, allow_negative_numbers = true, value_name = "RATE", help_heading = "Model")]
    pub growth_rate: Option<f64>,
    /// Part of the listeners who stop coming within a year, 0 to below 1: 0.01 is 1 % [default: the profile's]
    #[arg(long, allow_negative_numbers = true, value_name = "RATE", help_heading = "Model")]
    pub attrition_rate: Option<f64>,
    /// Whose holidays are quiet like weekends: CA, DE, FR, GB, US, or none [default: the profile's]
    #[arg(long, value_name = "COUNTRY", help_heading = "Model")]
    pub holidays: Option<String>,
}

impl PeopleArgs {
    /// Returns what they change; `eventsim_registration` is for [`Overrides`].
    pub fn overrides(&self, eventsim_registration: bool) -> Overrides {
        let country = |code: &String| if code == "none" { String::new() } else { code.clone() };
        Overrides {
            growth_rate: self.growth_rate,
            attrition_rate: self.attrition_rate,
            holidays: self.holidays.as_ref().map(country),
            eventsim_registration,
        }
    }
}
