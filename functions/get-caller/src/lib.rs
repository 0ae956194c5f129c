//! `GET /v1/caller`: who calls, as the API key says.

use domain::caller::Caller;
use domain::ports::{Clock, FindApiKey};
use http::auth::{Authenticator, NotAuthorized};
use http::{Request, Success};
use serde::Serialize;

/// Shows callers to themselves.
#[derive(Debug)]
pub struct GetCaller<K, C> {
    /// Tells callers.
    pub callers: Authenticator<K>,
    /// Tells the time.
    pub clock: C,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CallerView<'a> {
    tenant_id: &'a str,
    email: &'a str,
    name: &'a str,
    client: &'static str,
}

impl<K: FindApiKey, C: Clock> GetCaller<K, C> {
    /// Answers one request.
    ///
    /// # Errors
    /// [`NotAuthorized`].
    pub async fn handle(&self, request: &Request) -> Result<Success, NotAuthorized> {
        let Caller { tenant, user, client } = self.callers.operator(request, self.clock.now()).await?;
        Ok(Success::ok(&CallerView {
            tenant_id: tenant.as_str(),
            email: user.email.as_str(),
            name: user.name.as_str(),
            client: client.as_str(),
        }))
    }
}

#[cfg(test)]
mod tests;
