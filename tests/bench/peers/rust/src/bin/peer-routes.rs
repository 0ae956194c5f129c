//! Three routes, written like the introductory examples of the SDK and the runtime: `aws-config` finds region and
//! credentials, `serde_dynamo` converts items to structs. `_HANDLER` selects the route. Validates almost nothing, and
//! has no idempotency keys or filters.

use std::collections::HashMap;
use std::env;
use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime};

use aws_config::BehaviorVersion;
use aws_sdk_dynamodb::primitives::{DateTime, DateTimeFormat};
use aws_sdk_dynamodb::types::{AttributeValue, Put, TransactWriteItem};
use aws_sdk_s3::config::Credentials;
use aws_sdk_s3::presigning::PresigningConfig;
use lambda_http::{Body, Error, Request, RequestExt, Response, run, service_fn};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

const API_KEY_CACHE_LIFETIME: Duration = Duration::from_secs(45);

struct App {
    dynamodb: aws_sdk_dynamodb::Client,
    sqs: aws_sdk_sqs::Client,
    s3: Option<aws_sdk_s3::Client>,
    cached_keys: Mutex<HashMap<String, (Instant, Caller)>>,
}

#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Caller {
    tenant_id: String,
    email: String,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Export {
    tenant_id: String,
    sk: String,
    export_id: String,
    status: String,
    recipient_to: String,
    recipients_cc: Vec<String>,
    created_at: String,
    updated_at: String,
    deadline: String,
    rows_written: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<File>,
    #[serde(skip_serializing_if = "Option::is_none")]
    link_expires_at: Option<String>,
}

#[derive(Deserialize, Serialize)]
struct File {
    key: String,
    name: String,
    rows: u64,
    bytes: u64,
    sha256: String,
}

#[derive(Default, Deserialize)]
struct CreateRequest {
    #[serde(default)]
    cc: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Signer {
    access_key_id: String,
    secret_access_key: String,
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let config = aws_config::load_defaults(BehaviorVersion::latest()).await;
    let route = env::var("_HANDLER")?;
    let s3 = if route == "routes.detail" {
        let secrets = aws_sdk_secretsmanager::Client::new(&config);
        let found = secrets.get_secret_value().secret_id(env::var("LINK_SIGNER_SECRET")?).send().await?;
        let signer: Signer = serde_json::from_str(found.secret_string().unwrap_or_default())?;
        let credentials = Credentials::new(signer.access_key_id, signer.secret_access_key, None, None, "signer");
        let config = aws_sdk_s3::config::Builder::from(&config).credentials_provider(credentials).build();
        Some(aws_sdk_s3::Client::from_conf(config))
    } else {
        None
    };
    let app = App {
        dynamodb: aws_sdk_dynamodb::Client::new(&config),
        sqs: aws_sdk_sqs::Client::new(&config),
        s3,
        cached_keys: Mutex::default(),
    };
    let (app, route) = (&app, route.as_str());
    run(service_fn(|request: Request| async move {
        let Some(caller) = app.authenticate(&request).await? else {
            return response(401, &json!({ "errors": [{ "code": "UNAUTHENTICATED" }] }));
        };
        match route {
            "routes.create" => app.create(caller, &request).await,
            "routes.history" => app.history(caller).await,
            _ => app.detail(caller, &request).await,
        }
    }))
    .await
}

impl App {
    async fn create(&self, caller: Caller, request: &Request) -> Result<Response<Body>, Error> {
        let CreateRequest { cc } = match request.body() {
            Body::Text(text) => serde_json::from_str(text)?,
            _ => CreateRequest::default(),
        };
        let now = SystemTime::now();
        let id = format!("mpo_{}", uuid::Uuid::new_v4().simple());
        let export = Export {
            tenant_id: caller.tenant_id.clone(),
            sk: format!("EXPORT#{id}"),
            export_id: id.clone(),
            status: "PENDING".to_owned(),
            recipient_to: caller.email,
            recipients_cc: cc,
            created_at: text(now)?,
            updated_at: text(now)?,
            deadline: text(now + Duration::from_secs(6 * 3600))?,
            rows_written: 0,
            file: None,
            link_expires_at: None,
        };
        let lock = HashMap::from([
            ("tenantId".to_owned(), AttributeValue::S(caller.tenant_id.clone())),
            ("sk".to_owned(), AttributeValue::S("LOCK#marketplace-payouts".to_owned())),
            ("exportId".to_owned(), AttributeValue::S(id.clone())),
        ]);
        let mut writes = Vec::new();
        for item in [serde_dynamo::to_item(&export)?, lock] {
            let put = Put::builder()
                .table_name(env::var("EXPORTS_TABLE")?)
                .set_item(Some(item))
                .condition_expression("attribute_not_exists(sk)")
                .build()?;
            writes.push(TransactWriteItem::builder().put(put).build());
        }
        let written = self.dynamodb.transact_write_items().set_transact_items(Some(writes)).send().await;
        if let Err(error) = written {
            if error.as_service_error().is_some_and(|error| error.is_transaction_canceled_exception()) {
                return response(409, &json!({ "errors": [{ "code": "EXPORT_ALREADY_PENDING" }] }));
            }
            return Err(error.into());
        }
        let message = json!({ "version": 1, "tenantId": caller.tenant_id, "exportId": id });
        let queue = env::var("JOBS_QUEUE_URL")?;
        self.sqs.send_message().queue_url(queue).message_body(message.to_string()).send().await?;
        response(202, &view(&export))
    }

    async fn history(&self, caller: Caller) -> Result<Response<Body>, Error> {
        let found = self
            .dynamodb
            .query()
            .table_name(env::var("EXPORTS_TABLE")?)
            .consistent_read(true)
            .key_condition_expression("tenantId = :tenant AND begins_with(sk, :export)")
            .expression_attribute_values(":tenant", AttributeValue::S(caller.tenant_id))
            .expression_attribute_values(":export", AttributeValue::S("EXPORT#".to_owned()))
            .scan_index_forward(false)
            .limit(20)
            .send()
            .await?;
        let exports: Vec<Export> = serde_dynamo::from_items(found.items.unwrap_or_default())?;
        let content: Vec<_> = exports.iter().map(view).collect();
        response(200, &json!({ "content": content, "size": content.len() }))
    }

    async fn detail(&self, caller: Caller, request: &Request) -> Result<Response<Body>, Error> {
        let parameters = request.path_parameters();
        let id = parameters.first("exportId").unwrap_or_default();
        let found = self
            .dynamodb
            .get_item()
            .table_name(env::var("EXPORTS_TABLE")?)
            .key("tenantId", AttributeValue::S(caller.tenant_id))
            .key("sk", AttributeValue::S(format!("EXPORT#{id}")))
            .consistent_read(true)
            .send()
            .await?;
        let Some(item) = found.item else {
            return response(404, &json!({ "errors": [{ "code": "EXPORT_NOT_FOUND" }] }));
        };
        let export: Export = serde_dynamo::from_item(item)?;
        let mut shown = view(&export);
        if let (Some(file), Some(s3)) = (&export.file, &self.s3) {
            let bucket = env::var("EXPORTS_BUCKET")?;
            let found = s3.head_object().bucket(&bucket).key(&file.key).send().await;
            if !found.as_ref().err().and_then(|error| error.as_service_error()).is_some_and(|error| error.is_not_found()) {
                found?;
                let life = PresigningConfig::expires_in(Duration::from_secs(900))?;
                let link = s3.get_object().bucket(bucket).key(&file.key).presigned(life).await?;
                shown["downloadUrl"] = json!(link.uri());
            }
        }
        response(200, &shown)
    }

    async fn authenticate(&self, request: &Request) -> Result<Option<Caller>, Error> {
        let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        if header("dj-client") != "OPERATOR" {
            return Ok(None);
        }
        let digest = Sha256::digest(header("dj-api-key"));
        let hash: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        if let Some((read_at, caller)) = self.cached_keys.lock().unwrap().get(&hash) {
            if read_at.elapsed() < API_KEY_CACHE_LIFETIME {
                return Ok(Some(caller.clone()));
            }
        }
        let found = self
            .dynamodb
            .get_item()
            .table_name(env::var("API_KEYS_TABLE")?)
            .key("keyHash", AttributeValue::S(hash.clone()))
            .consistent_read(true)
            .send()
            .await?;
        let Some(item) = found.item else { return Ok(None) };
        let caller: Caller = serde_dynamo::from_item(item)?;
        self.cached_keys.lock().unwrap().insert(hash, (Instant::now(), caller.clone()));
        Ok(Some(caller))
    }
}

fn view(export: &Export) -> Value {
    let mut shown = json!({
        "exportId": export.export_id,
        "status": export.status,
        "recipients": { "to": export.recipient_to, "cc": export.recipients_cc },
        "createdAt": export.created_at,
        "updatedAt": export.updated_at,
        "progress": { "rows": export.rows_written },
    });
    if let Some(file) = &export.file {
        let File { name, rows, bytes, sha256, .. } = file;
        shown["file"] = json!({ "name": name, "rows": rows, "bytes": bytes, "sha256": sha256 });
        shown["linkExpiresAt"] = json!(export.link_expires_at);
    }
    shown
}

fn text(time: SystemTime) -> Result<String, Error> {
    Ok(DateTime::from(time).fmt(DateTimeFormat::DateTime)?)
}

fn response(status: u16, body: &Value) -> Result<Response<Body>, Error> {
    let response = Response::builder().status(status).header("content-type", "application/json");
    Ok(response.body(Body::from(body.to_string()))?)
}
