use super::*;

/// 2026-02-23T10:00:00.926Z, a Monday.
const START: i64 = 1_771_840_800_926;

struct View {
    second: i64,
    session: u64,
    item: u32,
    user: Option<u64>,
    page: &'static str,
    status: u16,
    auth: &'static str,
    level: &'static str,
}

fn view(second: i64, session: u64, item: u32, user: Option<u64>, page: &'static str) -> View {
    let status = if matches!(page, "Login" | "Logout") { 307 } else { 200 };
    let auth = if user.is_some() { "Logged In" } else { "Logged Out" };
    View { second, session, item, user, page, status, auth, level: "free" }
}

fn text(view: &View) -> String {
    let user = view.user.map_or_else(String::new, |user| format!(r#","userId":{user}"#));
    format!(
        r#"{{"ts":{},"sessionId":{},"page":"{}","auth":"{}","method":"GET","status":{},"level":"{}","itemInSession":{}{user}}}"#,
        START + view.second * 1000,
        view.session,
        view.page,
        view.auth,
        view.status,
        view.level,
        view.item,
    )
}

const DAY: i64 = 86_400;

/// Three users with ids 11 to 14 (12 is silent), four sessions over a week.
fn stream() -> Survey {
    let paid = |view: View| View { level: "paid", ..view };
    let views = [
        // Logs in, plays two songs, one after the other, is then asked for money and pays.
        view(0, 1, 0, None, "Home"),
        view(1, 1, 1, None, "Login"),
        view(21, 1, 2, Some(11), "Home"),
        view(21, 1, 3, Some(11), "NextSong"),
        view(221, 1, 4, Some(11), "NextSong"),
        paid(view(2_100, 1, 5, Some(11), "Home")),
        // Comes back within 30 minutes: a timeout does not see it.
        view(3_000, 2, 0, Some(11), "NextSong"),
        // A login that fails, over midnight of Saturday.
        view(5 * DAY + 50_000, 3, 0, None, "Login"),
        view(5 * DAY + 50_500, 3, 1, None, "Home"),
        // Exactly a week after the start.
        paid(view(7 * DAY, 4, 0, Some(13), "NextSong")),
        view(7 * DAY, 5, 0, Some(14), "Home"),
    ];
    let mut survey = Survey::default();
    for view in &views {
        survey.add(0, text(view).as_bytes());
    }
    for _ in 0..5 {
        survey.add(0, br#"{"artist":"a","song":"b","duration":200.0,"ts":1771840821926,"sessionId":1}"#);
    }
    survey.add(0, br#"{"ts":1771840821926,"sessionId":1,"level":"free","itemInSession":2,"success":true}"#);
    survey.add(0, br#"{"ts":1772322800926,"sessionId":3,"level":"free","itemInSession":1,"success":false}"#);
    survey
        .add(0, br#"{"ts":1771840821926,"sessionId":1,"auth":"Logged In","level":"free","itemInSession":5}"#);
    survey.add(0, b"not JSON");
    survey.add(0, text(&views[0]).as_bytes());
    survey
}

#[test]
fn every_number_of_a_small_stream_is_known() {
    let measures = stream().measures(Some(4));
    let expected = [
        ("listens per page view", 5.0 / 11.0),
        ("auth events per page view", 2.0 / 11.0),
        ("status changes per page view", 1.0 / 11.0),
        ("auth events: success", 50.0),
        ("page: NextSong", 400.0 / 11.0),
        ("page: Help", 0.0),
        ("status: 307", 200.0 / 11.0),
        ("page views: paid", 200.0 / 11.0),
        ("page views: no user", 400.0 / 11.0),
        ("users: paid at first", 100.0 / 3.0),
        ("page views per user and day", 11.0 / (4.0 * 7.0)),
        ("sessions per user and day", 5.0 / (4.0 * 7.0)),
        ("users: active in the span", 75.0),
        // Two days with known users: one on the first, two on the last.
        ("users: active in a day", 37.5),
        ("users: daily / monthly", 0.5),
        ("events of the top 10 % of users", 0.0),
        ("events by hour: most", 900.0 / 11.0),
        ("events by hour: busiest", 10.0),
        ("gaps: 0 s", 100.0 / 6.0),
        ("gaps: 1 s", 100.0 / 6.0),
        ("gaps: over 30 min", 100.0 / 6.0),
        ("gaps: mean", (1.0 + 20.0 + 0.0 + 200.0 + 1879.0 + 500.0) / 6.0),
        ("song to song: mean", 200.0),
        ("to other pages: mean", (20.0 + 1879.0 + 500.0) / 3.0),
        ("to other pages: median", 500.0),
        ("logins that succeed", 50.0),
        ("events per session: mean", 11.0 / 5.0),
        ("events per session: median", 1.0),
        ("songs per session: mean", 4.0 / 5.0),
        ("sessions: no song", 40.0),
        ("sessions: one event", 60.0),
        ("session seconds: mean", 2_600.0 / 5.0),
        ("session hours: longest", 2_100.0 / 3_600.0),
        ("sessions: over UTC midnight", 20.0),
        ("sessions: level changes", 20.0),
        ("events per session begun Logged Out/free", 4.0),
        ("events per session begun Logged In/paid", 1.0),
        ("session starts: weekend day / weekday", (1.0 / 2.0) / (4.0 / 5.0)),
        ("session starts by hour: most", 80.0),
        ("30-min timeout: exact sessions", 50.0),
        ("30-min timeout: short gaps between", 100.0),
        ("30-min timeout: long gaps inside", 25.0),
    ];

    for (name, value) in expected {
        let found = measures.value(name);
        assert!(found.is_some_and(|found| (found - value).abs() < 1e-9), "{name}: {found:?}, not {value}");
    }
    assert_eq!((measures.tally.repeated, measures.tally.malformed), (1, 1));
    assert_eq!((measures.users, measures.users_seen, measures.days), (Some(4), 3, 7.0));
}

#[test]
fn users_are_not_guessed_from_ids_with_holes() {
    let mut survey = Survey::default();
    for user in [1, 2, 900] {
        survey.add(0, text(&view(0, user, 0, Some(user), "Home")).as_bytes());
    }

    let measures = survey.measures(None);

    assert_eq!((measures.users, measures.value("page views per user and day")), (None, None));
}

#[test]
fn the_silent_are_counted_where_ids_look_consecutive() {
    let mut survey = Survey::default();
    for user in [101, 102, 103, 105] {
        survey.add(0, text(&view(0, user, 0, Some(user), "Home")).as_bytes());
    }

    assert_eq!(survey.measures(None).users, Some(5));
}

#[test]
fn every_reference_has_its_number() {
    use crate::stats::reference::KnownProfile;
    let measures = stream().measures(Some(4));

    for profile in [KnownProfile::Example, KnownProfile::Engagement] {
        for reference in profile.references() {
            // In the small stream nobody pays and then logs out, and there are hours without anything.
            let cannot_be =
                ["Logged Out/paid", "most / least"].iter().any(|end| reference.name.ends_with(end));
            assert!(measures.value(reference.name).is_some() || cannot_be, "`{}`", reference.name);
        }
    }
}
