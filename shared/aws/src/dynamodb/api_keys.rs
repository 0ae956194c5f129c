//! The ApiKeys table.

use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValue};
use aws_types::SdkConfig;
use exports_domain::caller::{ApiKeyRecord, Caller, KeyHash, Person};
use exports_domain::error::DependencyError;
use exports_domain::id::TenantId;
use exports_domain::ports::ApiKeyStore;
use exports_domain::time::Timestamp;
use tracing::error;

use super::item::{Item, ItemError, get, get_optional_day, get_optional_time, text};
use crate::error::dependency_error;

/// Records of API keys, by the key's SHA-256. The key itself is not stored.
#[derive(Clone, Debug)]
pub struct ApiKeysTable {
    client: aws_sdk_dynamodb::Client,
    table: String,
}

impl ApiKeysTable {
    /// A client of the table named `table`.
    #[must_use]
    pub fn new(config: &SdkConfig, table: String) -> Self {
        Self { client: aws_sdk_dynamodb::Client::new(config), table }
    }
}

impl ApiKeyStore for ApiKeysTable {
    async fn find_api_key(&self, hash: &KeyHash) -> Result<Option<ApiKeyRecord>, DependencyError> {
        let found = self
            .client
            .get_item()
            .table_name(&self.table)
            .key("keyHash", AttributeValue::S(hash.as_str().to_owned()))
            .consistent_read(true)
            .send()
            .await
            .map_err(|error| dependency_error("look up the API key", error))?;
        let record = found.item().map(from_item).transpose();
        record.map_err(|error| DependencyError::permanent("look up the API key", error))
    }

    async fn store_api_key(&self, record: &ApiKeyRecord) -> Result<(), DependencyError> {
        let Caller { tenant, client, user } = &record.caller;
        let expires_at = record.expires_at.map(|expiry| ("expiresAt".to_owned(), text(expiry)));
        let attributes = [
            ("keyHash", text(record.hash.as_str())),
            ("tenantId", text(tenant)),
            ("client", text(client.as_str())),
            ("email", text(&user.email)),
            ("name", text(user.name.as_str())),
            ("createdAt", text(record.created_at)),
        ];
        let attributes = attributes.map(|(name, value)| (name.to_owned(), value)).into_iter().chain(expires_at);
        let stored = self
            .client
            .put_item()
            .table_name(&self.table)
            .set_item(Some(attributes.collect()))
            .condition_expression("attribute_not_exists(keyHash)")
            .send()
            .await;
        match stored {
            Ok(_) => Ok(()),
            // The response to an earlier attempt was lost.
            Err(error)
                if matches!(error.as_service_error(), Some(PutItemError::ConditionalCheckFailedException(_))) =>
            {
                Ok(())
            }
            Err(error) => Err(dependency_error("store the API key", error)),
        }
    }

    async fn record_api_key_use(&self, hash: &KeyHash, day: Timestamp) -> Result<(), DependencyError> {
        // Roles may use no other attributes in this request.
        let recorded = self
            .client
            .update_item()
            .table_name(&self.table)
            .key("keyHash", AttributeValue::S(hash.as_str().to_owned()))
            .condition_expression("attribute_exists(keyHash) AND NOT lastUsedOn >= :day")
            .update_expression("SET lastUsedOn = :day")
            .expression_attribute_values(":day", text(day.to_date_text()))
            .send()
            .await;
        match recorded {
            Ok(_) => Ok(()),
            Err(error) => match error.as_service_error() {
                Some(UpdateItemError::ConditionalCheckFailedException(_)) => Ok(()),
                _ => Err(dependency_error("record the use of the API key", error)),
            },
        }
    }

    async fn list_api_keys(&self, tenant: &TenantId) -> Result<Vec<ApiKeyRecord>, DependencyError> {
        let action = "list the API keys";
        let mut pages = self
            .client
            .query()
            .table_name(&self.table)
            .index_name("TenantIndex")
            .key_condition_expression("#tenantId = :tenant")
            .expression_attribute_names("#tenantId", "tenantId")
            .expression_attribute_values(":tenant", text(tenant))
            .into_paginator()
            .items()
            .send();
        let mut records = Vec::new();
        while let Some(item) = pages.next().await {
            let item = item.map_err(|error| dependency_error(action, error))?;
            match from_item(&item) {
                Ok(record) => records.push(record),
                // The other keys must still be listed and revoked.
                Err(ItemError(attribute)) => {
                    let key_id = item.get("keyHash").and_then(|hash| hash.as_s().ok());
                    error!(keyId = key_id, attribute, "the record of an API key is corrupt");
                }
            }
        }
        Ok(records)
    }

    async fn revoke_api_key(&self, hash: &KeyHash, now: Timestamp) -> Result<Option<ApiKeyRecord>, DependencyError> {
        let action = "revoke the API key";
        let revoked = self
            .client
            .update_item()
            .table_name(&self.table)
            .key("keyHash", AttributeValue::S(hash.as_str().to_owned()))
            .condition_expression("attribute_exists(keyHash)")
            .update_expression("SET revokedAt = if_not_exists(revokedAt, :now)")
            .expression_attribute_values(":now", text(now))
            .return_values(ReturnValue::AllNew)
            .send()
            .await;
        match revoked {
            Ok(revoked) => {
                let record = revoked.attributes().map(from_item).transpose();
                record.map_err(|error| DependencyError::permanent(action, error))
            }
            Err(error) => match error.as_service_error() {
                Some(UpdateItemError::ConditionalCheckFailedException(_)) => Ok(None),
                _ => Err(dependency_error(action, error)),
            },
        }
    }
}

fn from_item(item: &Item) -> Result<ApiKeyRecord, ItemError> {
    let user = Person { email: get(item, "email")?, name: get(item, "name")? };
    Ok(ApiKeyRecord {
        hash: get(item, "keyHash")?,
        caller: Caller { tenant: get(item, "tenantId")?, client: get(item, "client")?, user },
        created_at: get(item, "createdAt")?,
        expires_at: get_optional_time(item, "expiresAt")?,
        // Every route may write this attribute, so that its value must not make the record corrupt.
        last_used_on: get_optional_day(item, "lastUsedOn").unwrap_or_default(),
        revoked_at: get_optional_time(item, "revokedAt")?,
    })
}
