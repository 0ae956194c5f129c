//! The invocations: the real handlers, with the ports of this thread's world.

use std::cell::RefCell;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::LazyLock;
use std::time::Duration;

use aws_lambda_events::event::sqs::SqsEvent;
use cancel_export::CancelExport;
use create_export::CreateExport;
use exports_domain::caller::{ApiKeyRecord, Caller};
use exports_domain::email::AllowedDomains;
use exports_domain::export::Export;
use exports_domain::export_type::ExportType;
use exports_domain::id::{ExportId, TenantId};
use exports_domain::options::FileFormat;
use exports_domain::testing::{address, operator, start};
use exports_domain::time::Timestamp;
use exports_http::auth::{Authenticator, hash_of};
use exports_http::{Request, routes, serve};
use fail_export::FailExport;
use generate_export::Generator;
use get_export::GetExport;
use lambda_http::Body;
use lambda_http::aws_lambda_events::apigw::ApiGatewayV2httpRequest;
use lambda_http::http::{HeaderValue, Method};
use lambda_runtime::{Context, LambdaEvent};
use list_exports::ListExports;
use manage_api_keys::ManageApiKeys;
use resend_email::ResendEmail;
use serde_json::{Value, json};
use sweep_exports::{Sweeper, Tick};

use crate::clients::{KEPT, Op, Scope};
use crate::judge::Key;
use crate::ports::{PORTS, Ports};
use crate::rows::{Millis, Options, SampleFilter};
use crate::scenario::{Action, RE_ENQUEUE_AFTER};
use crate::world::{Event, MAX_SKEW, Process, TENANTS, World, time, with};

/// An invocation.
pub(crate) type Work = Pin<Box<dyn Future<Output = ()>>>;

pub(crate) const GENERATOR: &str = "generate-export";

/// The operators of each tenant.
const OPERATORS: [&str; 2] = ["ann", "bob"];

/// The time limit of a request.
const REQUEST: Millis = 10_000;

/// How long a received message stays invisible, and how often it is received.
const VISIBILITY: Millis = 360_000;
const MAX_RECEIVES: u32 = 5;

/// The instance of the functions of all routes: they share an authenticator with its cache of keys.
struct Instance {
    create: CreateExport<'static, Ports, Ports>,
    get: GetExport<'static, Ports, Ports, Ports>,
    list: ListExports<'static, Ports, Ports>,
    resend: ResendEmail<'static, Ports, Ports, Ports>,
    cancel: CancelExport<'static, Ports, Ports, Ports>,
}

thread_local! {
    static INSTANCES: RefCell<Vec<Rc<Instance>>> = const { RefCell::new(Vec::new()) };
}

/// Ends all instances.
pub(crate) fn end_instances() {
    INSTANCES.take();
}

impl Instance {
    fn start(world: &World) -> Self {
        let callers = || Authenticator::new(&PORTS);
        let allowed = AllowedDomains::default;
        Self {
            create: CreateExport {
                callers: callers(),
                exports: &PORTS,
                queue: &PORTS,
                system: &PORTS,
                settings: world.config.settings(),
                re_enqueue_after: RE_ENQUEUE_AFTER,
                allowed: allowed(),
            },
            get: GetExport { callers: callers(), exports: &PORTS, files: &PORTS, system: &PORTS },
            list: ListExports { callers: callers(), exports: &PORTS, system: &PORTS },
            resend: ResendEmail {
                callers: callers(),
                exports: &PORTS,
                files: &PORTS,
                mail: &PORTS,
                back_office: None,
                system: &PORTS,
                max_resends_a_day: world.config.max_resends_a_day,
                allowed: allowed(),
            },
            cancel: CancelExport {
                callers: callers(),
                exports: &PORTS,
                files: &PORTS,
                mail: &PORTS,
                back_office: None,
                system: &PORTS,
            },
        }
    }

    /// One that runs already, or a new one.
    fn any(world: &mut World) -> Rc<Self> {
        INSTANCES.with_borrow_mut(|instances| {
            let index = world.choices.below(u32::try_from(instances.len()).unwrap() + 1) as usize;
            // A new one is the dullest.
            if index > 0 {
                return Rc::clone(&instances[index - 1]);
            }
            let started = Rc::new(Self::start(world));
            if instances.len() < 2 {
                instances.push(Rc::clone(&started));
            }
            started
        })
    }
}

/// The API key of an operator.
fn api_key(tenant: usize, operator: usize) -> String {
    format!("{:0>64}", format!("{tenant}{}", OPERATORS[operator]))
}

/// The caller of that key.
fn caller(tenant: usize, number: usize) -> Caller {
    let mut caller = operator(TENANTS[tenant]);
    caller.user.email = address(&format!("{}@example.com", OPERATORS[number]));
    caller
}

/// The keys of all operators.
static KEYS: LazyLock<Vec<ApiKeyRecord>> = LazyLock::new(|| {
    let of = |tenant| (0..OPERATORS.len()).map(move |number| (tenant, number));
    let record =
        |(tenant, number)| ApiKeyRecord::new(hash_of(&api_key(tenant, number)), caller(tenant, number), start());
    (0..TENANTS.len()).flat_map(of).map(record).collect()
});

/// Issues the keys of all operators.
pub(crate) fn issue_keys(world: &World) {
    for (index, key) in KEYS.iter().enumerate() {
        let expires_at = world.key_expiry(index % OPERATORS.len()).map(time);
        world.store.put_api_key(ApiKeyRecord { expires_at, ..key.clone() });
    }
}

/// A request that launches an export.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Launch {
    scope: Scope,
    operator: usize,
    /// The idempotency key.
    key: Option<u32>,
    options: Options,
    has_cc: bool,
}

impl World {
    /// Starts a process, which is killed when its time is over.
    fn start(&mut self, name: &'static str, limit: Millis, operation: Option<usize>) -> (usize, Timestamp) {
        let skew = match self.choices.below(3) {
            0 => 0,
            _ => i64::from(self.choices.below(2 * MAX_SKEW as u32 + 1)) - MAX_SKEW as i64,
        };
        let number = self.processes.len();
        self.processes.push(Process {
            name,
            skew,
            is_alive: true,
            frozen_until: 0,
            subject: None,
            export: None,
            is_excused: false,
            operation,
        });
        self.schedule(limit, Event::Kill(number));
        (number, Timestamp::from_millis(time(self.now + limit).millis() + skew))
    }

    /// Chooses the tenant and type of an action.
    fn scope(&mut self) -> Scope {
        let tenant = self.choices.below(u32::try_from(self.config.tenants).unwrap()) as usize;
        let types = self.config.types.clone();
        (tenant, self.choices.pick(&types))
    }

    /// Chooses an export of this scope that was accepted, removed or not; the latest is the dullest.
    fn export(&mut self, (tenant, of): Scope) -> Option<(ExportId, usize)> {
        let mut known = self.operations.launched((tenant, of));
        known.retain(|(id, _)| self.judge.times(id).is_some());
        known.reverse();
        if known.is_empty() { None } else { Some(self.choices.pick(&known)) }
    }

    /// When the keys of these operators expire. Only the second one's does.
    fn key_expiry(&self, operator: usize) -> Option<Millis> {
        self.config.key_expiry.filter(|_| operator == 1)
    }

    /// The recorded day on which a key was used last.
    pub(crate) fn last_use(&self, (tenant, operator): Key) -> Option<Timestamp> {
        let hash = hash_of(&api_key(tenant, operator));
        self.store.api_keys().into_iter().find(|key| key.hash == hash).and_then(|key| key.last_used_on)
    }

    /// Sometimes schedules a launch that repeats an earlier one about a day later.
    pub(crate) fn schedule_repetition(&mut self) {
        if std::mem::replace(&mut self.is_repetition_scheduled, true) || !self.choices.chance(150) {
            return;
        }
        let keyed: Vec<_> = self.launches.iter().filter(|(_, launch)| launch.key.is_some()).copied().collect();
        if keyed.is_empty() {
            return;
        }
        let (operation, launch) = self.choices.pick(&keyed);
        let Some(accepted_at) = self.operations.accepted_at(operation) else { return };
        let wait = u64::try_from(accepted_at.plus(KEPT).since(self.time()).as_millis()).unwrap();
        // Just before the record is void, or just after.
        let at = wait - MAX_SKEW + u64::from(self.choices.below(3 * MAX_SKEW as u32));
        self.schedule(at, Event::Act(Action::Repeat(launch)));
    }

    /// Sometimes schedules the removal of all records, and what comes after it: a leftover message and requests.
    pub(crate) fn schedule_removal(&mut self, exports: &[Export]) {
        let Some(latest) = exports.iter().filter_map(Export::keep_until).max() else { return };
        if std::mem::replace(&mut self.is_removal_scheduled, true) || !self.choices.chance(100) {
            return;
        }
        let at = u64::try_from(latest.since(self.time()).as_millis()).unwrap() + 2 * MAX_SKEW;
        self.schedule(at, Event::Act(Action::RemoveRecords));
        if let Some(message) = self.messages.first_mut() {
            (message.is_deleted, message.receives) = (false, 0);
            self.schedule(at + 10, Event::Deliver(0));
        }
        for action in [Action::Get, Action::List, Action::Resend, Action::Cancel] {
            self.schedule(at + 20, Event::Act(action));
        }
    }

    /// Removes the records whose retention is over.
    pub(crate) fn remove_records(&mut self) {
        for export in self.store.exports() {
            if export.pending().is_some() || export.keep_until().is_none_or(|until| until > self.time()) {
                continue;
            }
            self.note(usize::MAX, format_args!("the record of {} is removed", export.id));
            self.store.remove_export(&export.tenant, &export.id);
            self.judge.forget(&export);
            if let Some(launch) = self.operations.launch_of(&export.id) {
                self.operations.add(launch, Op::Remove);
            }
        }
    }

    /// Chooses a pending export of any tenant and type.
    pub(crate) fn pending_export(&mut self) -> Option<(TenantId, ExportId)> {
        let exports = self.store.exports();
        let pending = exports.iter().filter(|export| export.pending().is_some());
        let pending: Vec<_> = pending.map(|export| (export.tenant.clone(), export.id)).collect();
        if pending.is_empty() {
            return None;
        }
        let index = self.choices.below(u32::try_from(pending.len()).unwrap()) as usize;
        Some(pending[index].clone())
    }

    /// The process that an action starts.
    pub(crate) fn act(&mut self, action: Action) -> Option<(usize, Work)> {
        match action {
            Action::Launch => {
                let launch = self.choose_launch();
                Some(self.launch(launch))
            }
            Action::Repeat(launch) => Some(self.launch(launch)),
            Action::Get | Action::List | Action::Resend | Action::Cancel => self.request(action),
            Action::Fail => self.fail(),
            Action::ManageKeys => Some(self.manage_keys()),
            Action::Sweep if self.has_checks() || self.choices.chance(100) => Some(self.sweep()),
            _ => None,
        }
    }

    fn choose_launch(&mut self) -> Launch {
        let scope = self.scope();
        let operator = self.choices.pick(&[0, 0, 1]);
        let key = self.choices.pick(&[None, Some(1), Some(1), Some(2)]);
        let filter = self.choices.pick(SampleFilter::of(ExportType::ALL[scope.1]));
        let has_cc = self.choices.pick(&[false, true]);
        let has_workbooks = self.config.has_workbooks;
        let format =
            if has_workbooks { self.choices.pick(&[FileFormat::Csv, FileFormat::Xlsx]) } else { FileFormat::Csv };
        Launch { scope, operator, key, options: Options { filter, format }, has_cc }
    }

    fn launch(&mut self, launch: Launch) -> (usize, Work) {
        let Launch { scope, operator, key, options, has_cc } = launch;
        let export_type = ExportType::ALL[scope.1];
        let keyed = key.map(|key| (operator, key));
        let form = (options, has_cc);
        let operation =
            self.operations.begin(scope, options, |launch| Op::Launch { launch, key: keyed, form, at: None });
        self.launches.push((operation, launch));
        let mut body = json!({ "filter": options.filter.json(export_type), "format": options.format.as_str() });
        if has_cc {
            body["cc"] = json!(["cc@example.com"]);
        }
        let mut event = event(Method::POST, routes::exports(export_type), &api_key(scope.0, operator));
        event.body = Some(body.to_string());
        if let Some(key) = key {
            event.headers.insert("idempotency-key", HeaderValue::from(key));
        }
        self.serve("create-export", event, (scope, operator), operation, |instance, request| {
            Box::pin(async move {
                let CreateExport { callers, .. } = &instance.create;
                callers.recording_use(&request, instance.create.handle(&request)).await
            })
        })
    }

    fn request(&mut self, action: Action) -> Option<(usize, Work)> {
        let scope = self.scope();
        let operator = self.choices.pick(&[0, 0, 1]);
        let key = api_key(scope.0, operator);
        let all = Options::default();
        if matches!(action, Action::List) {
            let operation = self.operations.begin(scope, all, |_| Op::List);
            let event = event(Method::GET, routes::exports(ExportType::ALL[scope.1]), &key);
            return Some(self.serve("list-exports", event, (scope, operator), operation, |instance, request| {
                Box::pin(async move {
                    let ListExports { callers, .. } = &instance.list;
                    callers.recording_use(&request, instance.list.handle(&request)).await
                })
            }));
        }
        let (id, launch) = self.export(scope)?;
        let (name, method, path, op): (_, _, _, fn(usize) -> Op) = match action {
            Action::Get => ("get-export", Method::GET, routes::export(&id), Op::Get),
            Action::Resend => ("resend-email", Method::POST, format!("/v1/exports/{id}/resend-email"), Op::Resend),
            _ => ("cancel-export", Method::POST, format!("/v1/exports/{id}/cancel"), Op::Cancel),
        };
        let operation = self.operations.begin(scope, all, |_| op(launch));
        let mut event = event(method, path, &key);
        event.path_parameters.insert("exportId".to_owned(), id.to_string());
        Some(self.serve(name, event, (scope, operator), operation, move |instance, request| {
            Box::pin(async move {
                match name {
                    "get-export" => {
                        let GetExport { callers, .. } = &instance.get;
                        callers.recording_use(&request, instance.get.handle(&request)).await
                    }
                    "resend-email" => {
                        let ResendEmail { callers, .. } = &instance.resend;
                        callers.recording_use(&request, instance.resend.handle(&request)).await
                    }
                    _ => {
                        let CancelExport { callers, .. } = &instance.cancel;
                        callers.recording_use(&request, instance.cancel.handle(&request)).await
                    }
                }
            })
        }))
    }

    fn serve(
        &mut self,
        name: &'static str,
        mut event: ApiGatewayV2httpRequest,
        (scope, operator): (Scope, usize),
        operation: usize,
        handle: impl Fn(Rc<Instance>, Request) -> Handled + 'static,
    ) -> (usize, Work) {
        let (number, _) = self.start(name, REQUEST, Some(operation));
        self.note(
            number,
            format_args!("{} {}", event.request_context.http.method, event.raw_path.as_deref().unwrap_or("")),
        );
        let (instance, started) = (Instance::any(self), self.now);
        event.request_context.request_id = Some(format!("request-{number}"));
        let work = async move {
            // Lambda's margin for the response.
            let limit = Duration::from_millis(REQUEST - 500);
            let response = serve(event, limit, async |request| handle(Rc::clone(&instance), request).await).await;
            let body = match &response.body {
                Some(Body::Text(text)) => serde_json::from_str(text).unwrap_or_default(),
                _ => Value::Null,
            };
            with(|world| {
                world.responded(number, operation, (scope.0, operator, started), (response.status_code, &body))
            });
        };
        (number, Box::pin(work))
    }

    /// A client has its response.
    fn responded(
        &mut self,
        process: usize,
        operation: usize,
        (tenant, operator, started): (usize, usize, Millis),
        (status, body): (i64, &Value),
    ) {
        let (seen, is_void) = self.operations.read(operation, status, body);
        let shown = fmt::from_fn(|f| match &seen {
            Some(seen) => write!(f, "{seen:?}"),
            None => write!(f, "{body}"),
        });
        self.note(process, format_args!("responds {status}: {shown}"));
        self.judge.check_key((tenant, operator), self.key_expiry(operator), (started, self.now), status);
        if is_void {
            self.operations.void(operation);
        }
        let id = body["exportId"].as_str().and_then(|id| id.parse::<ExportId>().ok());
        if let Some(id) = id.filter(|_| (200..300).contains(&status)) {
            let tenant: TenantId = TENANTS[tenant].parse().unwrap();
            if status == 202 {
                self.judge.accepted.push((tenant.clone(), id));
            }
            if let Some(at) = body["linkExpiresAt"].as_str().and_then(|at| at.parse().ok()) {
                self.judge.reported_links.push((tenant, id, at));
            }
        }
        if let Some(seen) = seen {
            self.operations.end(operation, seen);
        }
    }

    fn fail(&mut self) -> Option<(usize, Work)> {
        let scope = self.scope();
        let (id, _) = self.export(scope)?;
        let (number, ends_at) = self.start("fail-export", 30_000, None);
        let event = json!({"tenantId": TENANTS[scope.0], "exportId": id.to_string()});
        let work = async move {
            let handler = FailExport { exports: &PORTS, mail: &PORTS, back_office: None, system: &PORTS };
            let _ = handler.handle(lambda_event(event, number, ends_at)).await;
        };
        Some((number, Box::pin(work)))
    }

    /// Issues, lists or revokes a key. Only the second operator's is revoked.
    fn manage_keys(&mut self) -> (usize, Work) {
        let scope = self.scope();
        let (number, _) = self.start("manage-api-keys", 30_000, None);
        let tenant = TENANTS[scope.0];
        let revoked = hash_of(&api_key(scope.0, 1));
        let (event, revokes) = match self.choices.below(3) {
            0 => (json!({"action": "list", "tenantId": tenant}), false),
            1 => (
                json!({"action": "issue", "tenantId": tenant, "email": "eve@example.com", "name": "Eve", "client": "OPERATOR"}),
                false,
            ),
            _ => (json!({"action": "revoke", "keyId": revoked.as_str()}), true),
        };
        let work = async move {
            if revokes {
                with(|world| world.judge.revoking.insert((scope.0, 1)));
            }
            let done = ManageApiKeys { keys: &PORTS, system: &PORTS }.handle(event).await;
            if revokes && done.is_ok() {
                with(|world| world.judge.revoked.push(((scope.0, 1), world.now)));
            }
        };
        (number, Box::pin(work))
    }

    /// Whether a sweep would find something by any clock. Most of those that would not are left out.
    fn has_checks(&self) -> bool {
        let latest = self.time().plus(Duration::from_millis(MAX_SKEW));
        self.store.exports().iter().any(|export| export.next_check_at().is_some_and(|at| at <= latest))
    }

    fn sweep(&mut self) -> (usize, Work) {
        let (number, ends_at) = self.start("sweep-exports", 60_000, None);
        let started = self.now;
        let max_attempts = self.config.max_attempts;
        let work = async move {
            let sweeper = Sweeper {
                exports: &PORTS,
                queue: &PORTS,
                mail: &PORTS,
                back_office: None,
                system: &PORTS,
                max_attempts,
                re_enqueue_after: RE_ENQUEUE_AFTER,
            };
            let swept = sweep_exports::handle(&sweeper, lambda_event(Tick {}, number, ends_at)).await;
            with(|world| {
                let had_time = world.now < started + 45_000 && world.judge.accepted_at < started;
                if swept.is_ok_and(|swept| swept.errors == 0) && had_time && !world.processes[number].is_excused {
                    // By a slow clock, fewer deadlines have passed.
                    world.judge.swept_at = Some(time(started).minus(Duration::from_millis(MAX_SKEW)));
                }
            });
        };
        (number, Box::pin(work))
    }

    /// The generator's invocation for a message, unless the message is gone.
    pub(crate) fn deliver(&mut self, index: usize) -> Option<(usize, Work)> {
        if self.messages[index].is_deleted {
            return None;
        }
        self.messages[index].receives += 1;
        // Then it is moved to the dead-letter queue.
        if self.messages[index].receives > MAX_RECEIVES {
            self.messages[index].is_deleted = true;
            return None;
        }
        self.schedule(VISIBILITY, Event::Deliver(index));
        let (number, ends_at) = self.start(GENERATOR, self.config.invocation, None);
        let limits = self.config.limits();
        let message = &self.messages[index];
        self.processes[number].subject = Some(message.id);
        let body = json!({"version": message.version, "tenantId": message.tenant.as_str(), "exportId": message.id.to_string()});
        let (id, receives) = (message.id, message.receives);
        self.note(number, format_args!("receives the job of {id}, time {receives}"));
        let mut event = SQS_EVENT.clone();
        event.records.truncate(1);
        for record in &mut event.records {
            (record.message_id, record.body) = (Some(format!("message-{index}")), Some(body.to_string()));
        }
        let work = async move {
            let generator = Generator {
                exports: &PORTS,
                queue: &PORTS,
                rows: &PORTS,
                files: &PORTS,
                mail: &PORTS,
                back_office: None,
                system: &PORTS,
                limits,
            };
            let response = generate_export::handle(&generator, lambda_event(event, number, ends_at)).await;
            if response.batch_item_failures.is_empty() {
                with(|world| {
                    // The delete can be lost: the message comes again.
                    if !world.has_failures || !world.choices.chance(world.config.repeats_in_a_thousand) {
                        world.messages[index].is_deleted = true;
                    }
                });
            }
        };
        Some((number, Box::pin(work)))
    }
}

type Handled = Pin<Box<dyn Future<Output = Result<exports_http::Success, exports_http::ApiError>>>>;

fn lambda_event<T>(payload: T, number: usize, ends_at: Timestamp) -> LambdaEvent<T> {
    let mut context = Context::default();
    context.request_id = format!("request-{number}");
    context.deadline = u64::try_from(ends_at.millis()).unwrap();
    LambdaEvent::new(payload, context)
}

static SQS_EVENT: LazyLock<SqsEvent> =
    LazyLock::new(|| serde_json::from_str(include_str!("../../../events/generate-export/job.json")).unwrap());

static HTTP_EVENT: LazyLock<ApiGatewayV2httpRequest> =
    LazyLock::new(|| serde_json::from_str(include_str!("../../../events/create-export/without-body.json")).unwrap());

fn event(method: Method, path: String, key: &str) -> ApiGatewayV2httpRequest {
    let mut event = HTTP_EVENT.clone();
    event.request_context.http.method = method;
    event.request_context.route_key = None;
    event.raw_path = Some(path);
    event.headers.insert("content-type", HeaderValue::from_static("application/json"));
    event.headers.insert("dj-api-key", HeaderValue::from_str(key).unwrap());
    event
}
