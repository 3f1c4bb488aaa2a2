//! The ranges of a profile's numbers.

use super::{ProfileError, ProfileFile, eventsim};
use crate::holidays::Holidays;

fn holidays(file: &ProfileFile, origin: &str) -> Result<(), ProfileError> {
    let country = &file.weekend.holidays;
    let unknown =
        |known| ProfileError::UnknownHolidays { origin: origin.to_owned(), country: country.clone(), known };
    Holidays::of(country).map_err(unknown).map(|_| ())
}

/// Checks the numbers of a profile and the country of its holidays.
pub(super) fn ranges(file: &ProfileFile, origin: &str, is_eventsim: bool) -> Result<(), ProfileError> {
    holidays(file, origin)?;
    let check = |key, value: f64, ok: bool, expected| {
        // NaN fails every comparison, so `ok` is false for it.
        if ok {
            Ok(())
        } else {
            let key = if is_eventsim { eventsim::name_of(key) } else { key };
            Err(ProfileError::OutOfRange { origin: origin.to_owned(), key, value, expected })
        }
    };
    let positive = |key, value: f64| check(key, value, value > 0.0 && value.is_finite(), "a number above 0");
    let size =
        |key, value: usize| check(key, value as f64, (1..=10_000_000).contains(&value), "1 to 10000000");
    let ProfileFile { rates, daily, weekend, users, catalogue, .. } = file;
    positive("rates.alpha_seconds", rates.alpha_seconds)?;
    positive("rates.beta_seconds", rates.beta_seconds)?;
    let gap = rates.session_gap_seconds;
    check("rates.session_gap_seconds", gap as f64, (1..=86_400).contains(&gap), "1 to 86400")?;
    let damping = daily.damping;
    if is_eventsim {
        // Some public configurations are above what keeps time from running backwards; sessions stay in order all the same.
        check("daily.damping", damping, (0.0..0.5).contains(&damping), "0 to below 0.5")?;
    } else {
        let flat_limit = 1.0 / std::f64::consts::TAU;
        check("daily.damping", damping, (0.0..flat_limit).contains(&damping), "0 to below 0.159")?;
    }
    check(
        "daily.quietest_hour",
        daily.quietest_hour,
        (0.0..24.0).contains(&daily.quietest_hour),
        "0 to below 24",
    )?;
    check("weekend.damping", weekend.damping, (0.0..1.0).contains(&weekend.damping), "0 to below 1")?;
    let (offset, scale) = (weekend.offset_minutes, weekend.scale_minutes);
    check("weekend.offset_minutes", offset as f64, (0..=1440).contains(&offset), "0 to 1440")?;
    check("weekend.scale_minutes", scale as f64, (0..=1440).contains(&scale), "0 to 1440")?;
    let age = users.registration_age_days;
    check("users.registration_age_days", age, (0.0..=36_500.0).contains(&age), "0 to 36500")?;
    let age = users.registration_age_max_days;
    check("users.registration_age_max_days", age, (0.0..=36_500.0).contains(&age), "0 to 36500")?;
    let growth = users.growth_rate;
    check("users.growth_rate", growth, (0.0..=1_000_000.0).contains(&growth), "0 to 1000000")?;
    let attrition = users.attrition_rate;
    check("users.attrition_rate", attrition, (0.0..1.0).contains(&attrition), "0 to below 1")?;
    size("catalogue.places", catalogue.places)?;
    size("catalogue.first_names", catalogue.first_names)?;
    size("catalogue.last_names", catalogue.last_names)?;
    size("catalogue.artists", catalogue.artists)?;
    size("catalogue.songs", catalogue.songs)?;
    let exponent = catalogue.song_weight_exponent;
    check("catalogue.song_weight_exponent", exponent, (0.0..=5.0).contains(&exponent), "0 to 5")?;
    let awkward = catalogue.awkward_share;
    check("catalogue.awkward_share", awkward, (0.0..=1.0).contains(&awkward), "0 to 1")
}
