//! From arguments to settings: the command line wins over an Eventsim configuration, which wins over the defaults.

use std::path::Path;

use anyhow::{Result, bail};

use super::{RunArgs, Wanted, Window};
use crate::{
    checkpoint::RunMark,
    kernel::Limits,
    pace::{Pace, WallClock},
    profile::{Profile, ProfileError},
    simulation::{Conduct, Settings},
};

const DEFAULT_SEED: u64 = 1;
const DEFAULT_USERS: u32 = 1_000;
const DEFAULT_FIRST_USER_ID: u64 = 1;
/// Eventsim's window, in days before now.
const EVENTSIM_WINDOW: (f64, f64) = (15.0, 1.0);

impl RunArgs {
    /// Loads the profile, changed by what the command line says.
    ///
    /// # Errors
    /// Any [`ProfileError`].
    pub fn load_profile(&self) -> Result<Profile, ProfileError> {
        Profile::load(&self.profile, &self.people.overrides(self.eventsim.compat))
    }

    /// Returns what the run is made from, at the time `now_ms`; `resumed` is the run that is gone on with, if there is one.
    ///
    /// # Errors
    /// Says which value cannot be meant.
    pub fn settings(&self, profile: Profile, now_ms: i64, resumed: Option<&RunMark>) -> Result<Settings> {
        let suggested = profile.suggestions.clone();
        let Window { start_ms, end_ms } = Window::resolve(&self.wanted(&profile, resumed), now_ms)?;
        let num_users = self.users.or(suggested.num_users).unwrap_or(DEFAULT_USERS);
        let first = self.first_user_id.or(suggested.first_user_id).unwrap_or(DEFAULT_FIRST_USER_ID);
        let first_user_id = first.saturating_add(u64::from(self.eventsim.compat));
        let last_user = first_user_id.saturating_add(u64::from(num_users));
        if last_user > 1 << 53 {
            bail!("invalid `--first-user-id`: the last listener would be number {last_user}, above 2^53");
        }
        Ok(Settings {
            profile,
            seed: self.seed.or(suggested.seed).unwrap_or(DEFAULT_SEED),
            num_users,
            first_user_id,
            start_ms,
            end_ms,
            tag: self.tag.clone().or(suggested.tag),
        })
    }

    /// Returns what was said about the window: all of it on the command line, or all of it in the configuration.
    fn wanted<'a>(&'a self, profile: &'a Profile, resumed: Option<&RunMark>) -> Wanted<'a> {
        let (from, to) = (self.eventsim.from, self.eventsim.to);
        let wanted = Wanted {
            start: self.start.as_deref(),
            end: self.end.as_deref(),
            days: self.days,
            from,
            to,
            is_continuous: self.pacing.continuous,
            resumed_ms: resumed.map(|run| run.start_ms),
        };
        let is_silent = wanted.start.is_none() && wanted.end.is_none() && wanted.days.is_none();
        if !is_silent || from.is_some() || to.is_some() {
            return wanted;
        }
        let (start, end) = (profile.suggestions.start.as_deref(), profile.suggestions.end.as_deref());
        if self.eventsim.compat && start.is_none() && end.is_none() {
            let to = (!self.pacing.continuous).then_some(EVENTSIM_WINDOW.1);
            return Wanted { from: Some(EVENTSIM_WINDOW.0), to, ..wanted };
        }
        Wanted { start, end, ..wanted }
    }

    /// Returns how fast simulated time passes.
    pub fn pace(&self) -> Pace {
        match self.speed {
            _ if self.pacing.continuous => Pace::Live,
            Some(speed) => Pace::Compressed(speed),
            None => Pace::Fastest,
        }
    }

    /// Returns how the run is carried out.
    pub fn conduct(&self) -> Conduct {
        Conduct {
            num_threads: self.pacing.num_threads(),
            limits: Limits::of(self.pace(), self.pacing.max_eps, &WallClock::system()),
            keeps_state: self.pacing.checkpoint.is_some(),
        }
    }

    /// Returns the folder that files go to, if they do.
    pub fn folder(&self) -> Option<&Path> {
        self.out.as_deref().or(self.eventsim.output_dir.as_deref())
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::{
        cli::{Cli, Command},
        profile::Suggestions,
        simulation::ENDLESS,
    };

    const NOW: i64 = 1_793_000_000_926;
    const DAY_MS: i64 = 86_400_000;

    fn run_args(words: &[&str]) -> RunArgs {
        match Cli::try_parse_from([&["streamify-generate", "run"], words].concat()).unwrap().command {
            Command::Run(args) => *args,
            other => panic!("{other:?}"),
        }
    }

    fn configured() -> Profile {
        let mut profile = Profile::builtin("example").unwrap();
        profile.suggestions = Suggestions {
            seed: Some(7),
            num_users: Some(70),
            first_user_id: Some(700),
            start: Some("2026-02-23".to_owned()),
            end: Some("2026-02-25".to_owned()),
            tag: Some("control".to_owned()),
            ignored: Vec::new(),
        };
        profile
    }

    fn settings(words: &[&str], profile: Profile) -> Settings {
        run_args(words).settings(profile, NOW, None).unwrap()
    }

    #[test]
    fn a_configuration_counts_where_the_command_line_is_silent() {
        let settings = settings(&[], configured());

        assert_eq!((settings.seed, settings.num_users, settings.first_user_id), (7, 70, 700));
        assert_eq!(settings.end_ms - settings.start_ms, 2 * DAY_MS);
        assert_eq!(settings.tag.as_deref(), Some("control"));
    }

    #[test]
    fn the_command_line_wins_under_eventsims_names_too() {
        let words =
            ["--nusers", "5", "--randomseed", "6", "--userid", "8", "--tag", "x", "--from", "3", "--to", "1"];
        let settings = settings(&words, configured());

        assert_eq!((settings.seed, settings.num_users, settings.first_user_id), (6, 5, 8));
        assert_eq!((settings.start_ms, settings.end_ms), (NOW - 3 * DAY_MS, NOW - DAY_MS));
        assert_eq!(settings.tag.as_deref(), Some("x"));
        let words = ["--start-time", "2026-02-01T00:00:00", "--end-time", "2026-02-02T00:00:00"];
        assert_eq!(self::settings(&words, configured()).end_ms, 1_769_990_400_000);
        let args = run_args(&["--config", "engagement", "--kafkaBrokerList", "a:9092", "folder"]);
        assert_eq!(
            (args.profile.as_str(), args.bootstrap_servers.as_deref()),
            ("engagement", Some("a:9092"))
        );
        assert_eq!(args.folder(), Some(Path::new("folder")));
    }

    #[test]
    fn continuous_runs_have_no_end() {
        let args = run_args(&["--continuous", "--from", "30"]);
        let settings = args.settings(Profile::builtin("example").unwrap(), NOW, None).unwrap();

        assert_eq!((settings.start_ms, settings.end_ms, settings.end()), (NOW - 30 * DAY_MS, ENDLESS, None));
        assert_eq!(args.pace(), Pace::Live);
    }

    #[test]
    fn compat_numbers_dates_and_registers_as_eventsim_does() {
        let args = run_args(&["--compat", "--growth-rate", "0.5"]);
        let profile = args.load_profile().unwrap();
        assert_eq!(profile.users.registration_age_days, 182.5);
        assert_eq!(profile.users.registration_age_max_days, 1825.0);
        assert_eq!(run_args(&["--compat"]).load_profile().unwrap().users.registration_age_days, 0.0);

        let settings = args.settings(profile, NOW, None).unwrap();

        assert_eq!(settings.first_user_id, 2);
        assert_eq!((settings.start_ms, settings.end_ms), (NOW - 15 * DAY_MS, NOW - DAY_MS));
    }

    #[test]
    fn numbers_above_2_to_the_53_are_refused() {
        let args = run_args(&["--first-user-id", "9007199254740992"]);
        let error = args.settings(Profile::builtin("example").unwrap(), NOW, None).unwrap_err().to_string();

        assert!(
            error.starts_with("invalid `--first-user-id`: the last listener would be number 9007"),
            "{error}"
        );
    }
}
