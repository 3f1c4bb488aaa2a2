//! User agents: strings in common use, and the devices behind them.

/// A user agent.
#[derive(Clone, Copy, Debug)]
pub struct Agent {
    /// The string that the browser sends.
    pub text: &'static str,
    /// How common it is.
    pub weight: f64,
    /// `desktop`, `mobile` or `tablet`.
    pub device: &'static str,
    /// Operating system.
    pub os: &'static str,
    /// Browser.
    pub browser: &'static str,
    /// Version of the browser.
    pub version: &'static str,
}

const fn agent(
    weight: f64,
    device: &'static str,
    os: &'static str,
    browser: &'static str,
    version: &'static str,
    text: &'static str,
) -> Agent {
    Agent { text, weight, device, os, browser, version }
}

/// The agents that listeners use.
pub const AGENTS: &[Agent] = &[
    agent(
        30.0,
        "desktop",
        "Windows",
        "Chrome",
        "128.0.0.0",
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/128.0.0.0 Safari/537.36",
    ),
    agent(
        14.0,
        "desktop",
        "macOS",
        "Chrome",
        "128.0.0.0",
        "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/128.0.0.0 Safari/537.36",
    ),
    agent(
        18.0,
        "mobile",
        "iOS",
        "Safari",
        "17.6",
        "Mozilla/5.0 (iPhone; CPU iPhone OS 17_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.6 Mobile/15E148 Safari/604.1",
    ),
    agent(
        14.0,
        "mobile",
        "Android",
        "Chrome",
        "128.0.0.0",
        "Mozilla/5.0 (Linux; Android 14; Pixel 8) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/128.0.0.0 Mobile Safari/537.36",
    ),
    agent(
        8.0,
        "desktop",
        "macOS",
        "Safari",
        "17.6",
        "Mozilla/5.0 (Macintosh; Intel Mac OS X 14_6) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.6 Safari/605.1.15",
    ),
    agent(
        5.0,
        "desktop",
        "Windows",
        "Firefox",
        "129.0",
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:129.0) Gecko/20100101 Firefox/129.0",
    ),
    agent(
        3.0,
        "desktop",
        "Linux",
        "Firefox",
        "129.0",
        "Mozilla/5.0 (X11; Linux x86_64; rv:129.0) Gecko/20100101 Firefox/129.0",
    ),
    agent(
        4.0,
        "desktop",
        "Windows",
        "Edge",
        "128.0.0.0",
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/128.0.0.0 Safari/537.36 Edg/128.0.0.0",
    ),
    agent(
        3.0,
        "tablet",
        "iOS",
        "Safari",
        "17.6",
        "Mozilla/5.0 (iPad; CPU OS 17_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.6 Mobile/15E148 Safari/604.1",
    ),
    agent(
        1.0,
        "desktop",
        "Windows",
        "Internet Explorer",
        "9.0",
        "Mozilla/5.0 (compatible; MSIE 9.0; Windows NT 6.1; Trident/5.0)",
    ),
];
