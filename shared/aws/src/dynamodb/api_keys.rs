//! The ApiKeys table.

use aws_sdk_dynamodb::types::AttributeValue;
use aws_types::SdkConfig;
use domain::caller::{ApiKeyRecord, Caller, KeyHash, Person};
use domain::ports::{FindApiKey, Outage, StoreApiKey};

use super::item::{BadItem, Item, get, get_optional_time, text};

/// What is known of API keys, by the key's hash.
#[derive(Clone, Debug)]
pub struct ApiKeysTable {
    client: aws_sdk_dynamodb::Client,
    table: String,
}

impl ApiKeysTable {
    /// The table of this name.
    #[must_use]
    pub fn new(config: &SdkConfig, table: String) -> Self {
        Self { client: aws_sdk_dynamodb::Client::new(config), table }
    }
}

impl FindApiKey for ApiKeysTable {
    async fn find_api_key(&self, hash: &KeyHash) -> Result<Option<ApiKeyRecord>, Outage> {
        let found = self
            .client
            .get_item()
            .table_name(&self.table)
            .key("keyHash", AttributeValue::S(hash.as_str().to_owned()))
            .consistent_read(true)
            .send()
            .await
            .map_err(|error| Outage::new("look the API key up", error))?;
        let record = found.item().map(|item| from_item(hash.clone(), item)).transpose();
        record.map_err(|bad| Outage::new("look the API key up", bad))
    }
}

impl StoreApiKey for ApiKeysTable {
    async fn store_api_key(&self, record: &ApiKeyRecord) -> Result<(), Outage> {
        let Caller { tenant, client, user } = &record.caller;
        self.client
            .put_item()
            .table_name(&self.table)
            .item("keyHash", AttributeValue::S(record.hash.as_str().to_owned()))
            .item("tenantId", text(tenant))
            .item("client", text(client.as_str()))
            .item("email", text(&user.email))
            .item("name", text(user.name.as_str()))
            .item("createdAt", text(record.created_at))
            .condition_expression("attribute_not_exists(keyHash)")
            .send()
            .await
            .map_err(|error| Outage::new("store the API key", error))?;
        Ok(())
    }
}

fn from_item(hash: KeyHash, item: &Item) -> Result<ApiKeyRecord, BadItem> {
    let user = Person { email: get(item, "email")?, name: get(item, "name")? };
    Ok(ApiKeyRecord {
        hash,
        caller: Caller { tenant: get(item, "tenantId")?, client: get(item, "client")?, user },
        created_at: get(item, "createdAt")?,
        revoked_at: get_optional_time(item, "revokedAt")?,
    })
}
