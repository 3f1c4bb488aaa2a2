use arrow::array::StringArray;

use crate::silver::agents::{AgentCache, NONE, unquoted};

fn parsed(text: &str) -> (String, Option<String>, String, &'static str) {
    let mut cache = AgentCache::default();
    let numbers = cache.parse(&StringArray::from(vec![text]));
    let agent = cache.known()[numbers[0] as usize].clone();
    (agent.browser, agent.version, agent.os, agent.device)
}

/// Text, browser, version, system, device.
const AGENTS: [(&str, &str, &str, &str, &str); 14] = [
    (
        "Mozilla/5.0 (Windows NT 6.1; WOW64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/36.0.1985.143 Safari/537.36",
        "Chrome",
        "36.0.1985.143",
        "Windows",
        "desktop",
    ),
    (
        "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_9_4) AppleWebKit/537.77.4 (KHTML, like Gecko) Version/7.0.5 Safari/537.77.4",
        "Safari",
        "7.0.5",
        "Mac OS X",
        "desktop",
    ),
    (
        "Mozilla/5.0 (iPhone; CPU iPhone OS 7_1_2 like Mac OS X) AppleWebKit/537.51.2 (KHTML, like Gecko) Version/7.0 Mobile/11D257 Safari/9537.53",
        "Mobile Safari",
        "7.0",
        "iOS",
        "mobile",
    ),
    (
        "Mozilla/5.0 (iPad; CPU OS 17_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.6 Mobile/15E148 Safari/604.1",
        "Mobile Safari",
        "17.6",
        "iOS",
        "tablet",
    ),
    (
        "Mozilla/5.0 (X11; Linux x86_64; rv:31.0) Gecko/20100101 Firefox/31.0",
        "Firefox",
        "31.0",
        "Linux",
        "desktop",
    ),
    (
        "Mozilla/5.0 (X11; Ubuntu; Linux i686; rv:31.0) Gecko/20100101 Firefox/31.0",
        "Firefox",
        "31.0",
        "Ubuntu",
        "desktop",
    ),
    (
        "Mozilla/5.0 (compatible; MSIE 9.0; Windows NT 6.1; WOW64; Trident/5.0)",
        "IE",
        "9.0",
        "Windows",
        "desktop",
    ),
    (
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/128.0.0.0 Safari/537.36 Edg/128.0.0.0",
        "Edge",
        "128.0.0.0",
        "Windows",
        "desktop",
    ),
    (
        "Mozilla/5.0 (Linux; Android 14; Pixel 8) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/128.0.0.0 Mobile Safari/537.36",
        "Chrome Mobile",
        "128.0.0.0",
        "Android",
        "mobile",
    ),
    (
        "Mozilla/5.0 (Linux; Android 13; SM-X900) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/119.0.0.0 Safari/537.36",
        "Chrome",
        "119.0.0.0",
        "Android",
        "tablet",
    ),
    (
        "Mozilla/5.0 (Linux; U; Android 4.0.3; en-us; KFTT Build/IML74K) AppleWebKit/535.19 (KHTML, like Gecko) Silk/3.4 Mobile Safari/535.19 Silk-Accelerated=true",
        "Amazon Silk",
        "3.4",
        "Android",
        "tablet",
    ),
    (
        "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
        "Googlebot",
        "2.1",
        "Other",
        "bot",
    ),
    (
        "Mozilla/5.0 (Linux; Android 6.0.1; Nexus 5X Build/MMB29P) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/99.0 Mobile Safari/537.36 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
        "Googlebot",
        "2.1",
        "Android",
        "bot",
    ),
    (
        "Mozilla/5.0 (X11; CrOS x86_64 14541.0.0) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/128.0.0.0 Safari/537.36",
        "Chrome",
        "128.0.0.0",
        "Chrome OS",
        "desktop",
    ),
];

#[test]
fn agents_are_taken_apart() {
    for (text, browser, version, os, device) in AGENTS {
        let expected = (browser.to_owned(), Some(version.to_owned()), os.to_owned(), device);
        assert_eq!(parsed(text), expected, "{text}");
        assert_eq!(parsed(&format!("\"{text}\"")), expected, "{text}");
    }
    let unknown = ("Other".to_owned(), None, "Other".to_owned(), "other");
    for text in ["", "\"\"", "no agent at all", "\u{0}é🎵"] {
        assert_eq!(parsed(text), unknown, "{text}");
    }
}

#[test]
fn one_pair_of_quotes_is_removed() {
    let cases = [
        ("\"a\"", "a"),
        ("\"\"a\"\"", "\"a\""),
        ("\"a", "\"a"),
        ("a\"", "a\""),
        ("\"", "\""),
        ("\"\"", ""),
        ("a", "a"),
        ("", ""),
    ];
    for (text, expected) in cases {
        assert_eq!(unquoted(text), expected, "{text}");
    }
}

#[test]
fn texts_are_numbered_once_and_null_has_no_number() {
    let mut cache = AgentCache::default();
    let texts = StringArray::from(vec![Some("a"), None, Some("b"), Some("a"), Some("a"), None, Some("")]);
    assert_eq!(cache.parse(&texts), [0, NONE, 1, 0, 0, NONE, 2]);
    assert_eq!(cache.parse(&texts), [0, NONE, 1, 0, 0, NONE, 2]);
    assert_eq!(cache.known().len(), 3);
}

#[test]
fn the_cache_is_bounded_and_long_texts_are_known_by_their_beginning() {
    let mut cache = AgentCache::default();
    let long = |end: &str| format!("{}é{end}", "x".repeat(1023));
    let texts = StringArray::from(vec![long("1"), long("2")]);
    assert_eq!(cache.parse(&texts), [0, 0], "equal up to the limit");
    let many: StringArray = (0..17_000).map(|number| Some(format!("agent {number}"))).collect();
    let numbers = cache.parse(&many);
    assert_eq!(cache.known().len(), 17_001);
    assert_eq!(numbers.len(), 17_000);
    assert_eq!(cache.parse(&texts), [0, 0]);
    assert_eq!(cache.known().len(), 1, "emptied");
}
