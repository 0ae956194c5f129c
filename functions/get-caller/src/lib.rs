//! `GET /v1/caller`: the user that the API key belongs to.

use exports_domain::caller::Caller;
use exports_domain::ports::{ApiKeyStore, System};
use exports_http::auth::Authenticator;
use exports_http::{ApiError, Request, Success};
use serde::Serialize;

/// Returns the caller.
pub struct GetCaller<'a, K> {
    /// Authenticates the caller.
    pub callers: Authenticator<'a, K>,
    /// The clock.
    pub system: &'a dyn System,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CallerView<'a> {
    tenant_id: &'a str,
    email: &'a str,
    name: &'a str,
    client: &'static str,
}

impl<K: ApiKeyStore> GetCaller<'_, K> {
    /// Handles one request.
    ///
    /// ```
    /// use exports_domain::testing::{FakeSystem, operator};
    /// use exports_http::auth::Authenticator;
    /// use exports_http::testing::{keys, response_to};
    /// use get_caller::GetCaller;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let keys = keys(operator("acme"));
    /// let function = GetCaller { callers: Authenticator::new(&keys), system: &FakeSystem::default() };
    /// // events/get-caller/caller.json
    /// let response = response_to("get-caller", "caller", async |request| function.handle(&request).await).await;
    /// assert_eq!((&response["statusCode"], &response["body"]["tenantId"]), (&200.into(), &"acme".into()));
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn handle(&self, request: &Request) -> Result<Success, ApiError> {
        let Caller { tenant, user, client } = self.callers.operator(request, self.system.now()).await?;
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
