//! Marks that depend on the event before in the session: which auth event is the outcome of a login.
//!
//! A producer can send a further auth event for one login, on a later page. The true one follows the `Login` page view at
//! once: same run, same session, one item later, on the same UTC day or the day after. The view is in another topic, so the
//! job reads both tables and asks here.

use std::collections::HashMap;

/// Where an event stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Step {
    /// Run and session: the first 128 bits of the BLAKE3 hash of both, laid out as in [`crate::identity`].
    pub session: u128,
    /// Position in the session.
    pub item: i64,
    /// UTC day of the event, days since 1970.
    pub day: i32,
}

/// Returns for each auth event whether one of the login views stands one item before it, on its day or the day before.
#[must_use]
pub fn login_results(auth: &[Step], logins: &[Step]) -> Vec<bool> {
    let mut days: HashMap<(u128, i64), Vec<i32>> = HashMap::with_capacity(logins.len());
    for login in logins {
        days.entry((login.session, login.item)).or_default().push(login.day);
    }
    let follows = |event: &Step| {
        let before = event.item.checked_sub(1).and_then(|item| days.get(&(event.session, item)));
        before.is_some_and(|days| {
            days.iter().any(|day| *day == event.day || day.checked_add(1) == Some(event.day))
        })
    };
    auth.iter().map(follows).collect()
}
