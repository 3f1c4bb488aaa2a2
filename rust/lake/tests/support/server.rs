//! An Iceberg REST catalog in miniature, which can also misbehave below the level of HTTP.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};

use iceberg::TableCreation;
use iceberg::spec::{Schema, SortOrder, TableMetadata, TableMetadataBuilder, UnboundPartitionSpec};
use iceberg::{TableRequirement, TableUpdate};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// What the server does with a request.
#[derive(Clone, Debug)]
pub enum Reply {
    /// Answers.
    Send { status: u16, headers: Vec<(String, String)>, body: String },
    /// Closes the connection without a word.
    HangUp,
    /// Does what was asked, and closes the connection in the middle of the answer.
    BreakOff,
    /// Never answers, and keeps the connection.
    Stall,
}

impl Reply {
    pub fn status(status: u16) -> Self {
        Self::error(status, "as the test wants it")
    }

    pub fn error(status: u16, message: &str) -> Self {
        let body = json!({"error": {"message": message, "type": "TestException", "code": status}});
        Self::Send { status, headers: Vec::new(), body: body.to_string() }
    }

    pub fn with_header(self, name: &str, value: &str) -> Self {
        match self {
            Self::Send { status, mut headers, body } => {
                headers.push((name.to_owned(), value.to_owned()));
                Self::Send { status, headers, body }
            }
            other => other,
        }
    }

    fn json(body: Value) -> Self {
        Self::Send { status: 200, headers: Vec::new(), body: body.to_string() }
    }
}

/// A request as it came in.
#[derive(Clone, Debug)]
pub struct Seen {
    pub method: String,
    pub path: String,
    pub headers: HashMap<String, String>,
    pub body: String,
}

#[derive(Debug, Default)]
struct State {
    seen: Vec<Seen>,
    /// Replies to the next requests whose path contains the text, before the usual ones.
    planned: Vec<(String, VecDeque<Reply>)>,
    config: Option<Value>,
    token_life: Option<u64>,
    num_tokens: u32,
    etags: bool,
    namespaces: Vec<String>,
    root: Option<String>,
    tables: HashMap<String, (TableMetadata, u32)>,
}

/// A running server; it ends with the test's runtime.
#[derive(Clone, Debug)]
pub struct Server {
    pub uri: String,
    state: Arc<Mutex<State>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct CreateBody {
    name: String,
    schema: Schema,
    partition_spec: Option<UnboundPartitionSpec>,
    write_order: Option<SortOrder>,
    properties: HashMap<String, String>,
}

#[derive(Deserialize)]
struct CommitBody {
    requirements: Vec<TableRequirement>,
    updates: Vec<TableUpdate>,
}

impl Server {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let uri = format!("http://{}/api/catalog", listener.local_addr().unwrap());
        let server = Self { uri, state: Arc::default() };
        let serving = server.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serving.clone().serve(stream));
            }
        });
        server
    }

    /// Plans replies to the next requests whose `METHOD path` contains `text`.
    pub fn plan(&self, text: &str, replies: impl IntoIterator<Item = Reply>) {
        self.state.lock().unwrap().planned.push((text.to_owned(), replies.into_iter().collect()));
    }

    pub fn set_config(&self, config: Value) {
        self.state.lock().unwrap().config = Some(config);
    }

    pub fn set_token_life(&self, seconds: u64) {
        self.state.lock().unwrap().token_life = Some(seconds);
    }

    /// Places new tables below this address instead of `s3://lake`.
    pub fn set_root(&self, root: &str) {
        self.state.lock().unwrap().root = Some(root.to_owned());
    }

    pub fn send_etags(&self) {
        self.state.lock().unwrap().etags = true;
    }

    /// Returns the requests so far whose `METHOD path` contains `text`.
    pub fn seen(&self, text: &str) -> Vec<Seen> {
        let state = self.state.lock().unwrap();
        state
            .seen
            .iter()
            .filter(|seen| format!("{} {}", seen.method, seen.path).contains(text))
            .cloned()
            .collect()
    }

    /// Returns a property of a table as the server has it.
    pub fn property(&self, table: &str, key: &str) -> Option<String> {
        self.state.lock().unwrap().tables.get(table)?.0.properties().get(key).cloned()
    }

    async fn serve(self, stream: TcpStream) {
        let mut stream = BufReader::new(stream);
        while let Some(request) = read_request(&mut stream).await {
            let reply = self.answer(request);
            match reply {
                Reply::Send { status, headers, body } => {
                    let text = render(status, &headers, &body);
                    if stream.write_all(text.as_bytes()).await.is_err() {
                        return;
                    }
                }
                Reply::HangUp => return,
                Reply::BreakOff => {
                    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n{\"meta").await;
                    return;
                }
                Reply::Stall => {
                    // Until the client gives up.
                    let _ = stream.read_u8().await;
                    return;
                }
            }
        }
    }

    fn answer(&self, request: Seen) -> Reply {
        let mut state = self.state.lock().unwrap();
        let line = format!("{} {}", request.method, request.path);
        state.seen.push(request.clone());
        let planned =
            state.planned.iter_mut().find(|(text, left)| line.contains(text.as_str()) && !left.is_empty());
        match planned.and_then(|(_, left)| left.pop_front()) {
            Some(Reply::BreakOff) => {
                state.usual(&request);
                Reply::BreakOff
            }
            Some(reply) => reply,
            None => state.usual(&request),
        }
    }
}

impl State {
    fn usual(&mut self, request: &Seen) -> Reply {
        let path = request.path.split('?').next().unwrap_or_default();
        let parts: Vec<&str> = path.trim_start_matches("/api/catalog/v1/").split('/').collect();
        match (request.method.as_str(), parts.as_slice()) {
            ("POST", ["oauth", "tokens"]) => self.token(),
            ("GET", ["config"]) => {
                Reply::json(self.config.clone().unwrap_or(json!({"defaults": {}, "overrides": {}})))
            }
            ("GET", [.., "namespaces", name]) if self.namespaces.iter().any(|known| known == name) => {
                Reply::json(json!({"namespace": [name], "properties": {}}))
            }
            ("POST", [.., "namespaces"]) => {
                let body: Value = serde_json::from_str(&request.body).unwrap();
                self.namespaces.push(body["namespace"][0].as_str().unwrap().to_owned());
                Reply::json(body)
            }
            ("POST", [.., "tables"]) => self.create(&request.body),
            ("GET", [.., "tables"]) => {
                let names = self.tables.keys().map(|name| json!({"namespace": ["streamify"], "name": name}));
                Reply::json(json!({"identifiers": names.collect::<Vec<_>>()}))
            }
            ("GET", [.., "tables", name]) => self.load(name, request.headers.get("if-none-match")),
            ("POST", [.., "tables", name]) => self.commit(name, &request.body),
            _ => Reply::error(404, "no such thing"),
        }
    }

    fn token(&mut self) -> Reply {
        self.num_tokens += 1;
        let mut body = json!({"access_token": format!("token-{}", self.num_tokens), "token_type": "bearer"});
        if let Some(seconds) = self.token_life {
            body["expires_in"] = json!(seconds);
        }
        Reply::json(body)
    }

    fn create(&mut self, body: &str) -> Reply {
        let mut body: CreateBody = serde_json::from_str(body).unwrap();
        if self.tables.contains_key(&body.name) {
            return Reply::error(409, "Table already exists");
        }
        body.properties.remove("format-version");
        let creation = TableCreation::builder()
            .name(body.name.clone())
            .location(format!("{}/{}", self.root.as_deref().unwrap_or("s3://lake"), body.name))
            .schema(body.schema)
            .partition_spec_opt(body.partition_spec)
            .sort_order_opt(body.write_order)
            .properties(body.properties)
            .build();
        let metadata = TableMetadataBuilder::from_table_creation(creation).unwrap().build().unwrap().metadata;
        self.tables.insert(body.name.clone(), (metadata, 0));
        self.load(&body.name, None)
    }

    fn load(&self, name: &str, etag: Option<&String>) -> Reply {
        let Some((metadata, version)) = self.tables.get(name) else {
            return Reply::error(404, "no such table");
        };
        let current = format!("\"{version}\"");
        if self.etags && etag == Some(&current) {
            return Reply::Send { status: 304, headers: Vec::new(), body: String::new() };
        }
        let body = json!({
            "metadata-location": format!("{}/metadata/{version}.json", metadata.location()), "metadata": metadata, "config": {},
        });
        let reply = Reply::json(body);
        if self.etags { reply.with_header("etag", &current) } else { reply }
    }

    fn commit(&mut self, name: &str, body: &str) -> Reply {
        let body: CommitBody = serde_json::from_str(body).unwrap();
        let Some((metadata, version)) = self.tables.get_mut(name) else {
            return Reply::error(404, "no such table");
        };
        for requirement in &body.requirements {
            if let Err(error) = requirement.check(Some(metadata)) {
                return Reply::error(409, &error.to_string());
            }
        }
        let mut builder = metadata.clone().into_builder(None);
        for update in body.updates {
            builder = update.apply(builder).unwrap();
        }
        *metadata = builder.build().unwrap().metadata;
        *version += 1;
        self.load(name, None)
    }
}

async fn read_request(stream: &mut BufReader<TcpStream>) -> Option<Seen> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        match line.trim_end() {
            "" => break,
            text => lines.push(text.to_owned()),
        }
    }
    let mut start = lines.first()?.split(' ');
    let (method, path) = (start.next()?.to_owned(), start.next()?.to_owned());
    let headers: HashMap<String, String> = lines[1..]
        .iter()
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
        .collect();
    let length = headers.get("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    Some(Seen { method, path, headers, body: String::from_utf8(body).ok()? })
}

fn render(status: u16, headers: &[(String, String)], body: &str) -> String {
    let mut text = format!("HTTP/1.1 {status} Test\r\ncontent-length: {}\r\n", body.len());
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text + "\r\n" + body
}
