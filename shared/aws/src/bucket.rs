//! The exports bucket: its files, their uploads, and links to them.
//!
//! S3 checks the integrity: every body carries its CRC64NVME in a signed header, and CompleteMultipartUpload checks the
//! checksum and size of the whole file. So the signature does not need a SHA-256 of the body.

use async_trait::async_trait;
use std::num::TryFromIntError;
use std::sync::OnceLock;
use std::time::Duration;

use aws_sdk_s3::error::ProvideErrorMetadata;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{ChecksumAlgorithm, ChecksumType, CompletedMultipartUpload, CompletedPart};
use aws_smithy_runtime_api::client::stalled_stream_protection::StalledStreamProtectionConfig;
use aws_smithy_types::base64;
use aws_smithy_types::timeout::TimeoutConfig;
use aws_types::SdkConfig;
use exports_domain::error::DependencyError;
use exports_domain::file::NewFile;
use exports_domain::ports::{CompleteError, FileStore, Part, Upload};
use exports_domain::time::Timestamp;

use crate::config::CONNECT_TIMEOUT;
use crate::error::dependency_error;
use crate::files::StoredFiles;
use crate::links::LinkSigner;

/// Read time-out of CompleteMultipartUpload. S3 sends the status line as soon as it starts processing (API Reference,
/// CompleteMultipartUpload), so a connection that is silent for longer is dead. The same as botocore's default.
const COMPLETE_READ_TIMEOUT: Duration = Duration::from_secs(60);

/// The exports bucket.
#[derive(Debug)]
pub struct ExportsBucket {
    config: SdkConfig,
    bucket: String,
    /// Made at its first use, so that functions that only link to files or delete them do not link the S3 client.
    client: OnceLock<aws_sdk_s3::Client>,
    files: StoredFiles,
    links: Option<LinkSigner>,
}

impl ExportsBucket {
    /// A client of the bucket named `bucket`, without links.
    #[must_use]
    pub fn new(config: &SdkConfig, bucket: String) -> Self {
        let files = StoredFiles::new(config, &bucket);
        Self { config: config.clone(), bucket, client: OnceLock::new(), files, links: None }
    }

    /// The same bucket with links to its files. `secret` is the name or ARN of the secret with the signing key.
    #[must_use]
    pub fn with_links(self, secret: String) -> Self {
        let links = Some(LinkSigner::new(&self.config, secret, &self.bucket));
        Self { links, ..self }
    }

    /// Connects to S3 and reads the signing key during initialization, when Lambda provides a full CPU. Errors are
    /// ignored: the first request reports them.
    pub async fn warm_up(&self, now: Timestamp) {
        if let Some(links) = &self.links {
            tokio::join!(self.files.warm_up(), links.warm_up(now));
        }
    }

    fn client(&self) -> &aws_sdk_s3::Client {
        self.client.get_or_init(|| {
            // Uploading a part takes longer than the calls that the common time-outs are made for.
            let time_outs = TimeoutConfig::builder()
                .connect_timeout(CONNECT_TIMEOUT)
                .operation_attempt_timeout(Duration::from_secs(30))
                .operation_timeout(Duration::from_secs(90))
                .build();
            let config = aws_sdk_s3::config::Builder::from(&self.config).timeout_config(time_outs).build();
            aws_sdk_s3::Client::from_conf(config)
        })
    }
}

fn disposition(download_name: &str) -> String {
    format!("attachment; filename=\"{download_name}\"")
}

#[async_trait]
impl FileStore for ExportsBucket {
    async fn put_file(&self, file: &NewFile, bytes: Vec<u8>) -> Result<(), DependencyError> {
        self.client()
            .put_object()
            .bucket(&self.bucket)
            .key(&file.key)
            .content_type(file.format.content_type())
            .content_disposition(disposition(&file.name))
            .checksum_algorithm(ChecksumAlgorithm::Crc64Nvme)
            .body(ByteStream::from(bytes))
            .customize()
            .disable_payload_signing()
            .send()
            .await
            .map_err(|error| dependency_error("write the file", error))?;
        Ok(())
    }

    async fn start_upload(&self, file: &NewFile) -> Result<Upload, DependencyError> {
        let created = self
            .client()
            .create_multipart_upload()
            .bucket(&self.bucket)
            .key(&file.key)
            .content_type(file.format.content_type())
            .content_disposition(disposition(&file.name))
            .checksum_algorithm(ChecksumAlgorithm::Crc64Nvme)
            .checksum_type(ChecksumType::FullObject)
            .send()
            .await
            .map_err(|error| dependency_error("start the upload", error))?;
        let id = created
            .upload_id
            .ok_or_else(|| DependencyError::transient("start the upload", "the response has no upload id"))?;
        Ok(Upload { key: file.key.clone(), id })
    }

    async fn upload_part(&self, upload: &Upload, number: u32, bytes: Vec<u8>) -> Result<Part, DependencyError> {
        let action = "upload a part of the file";
        let size = bytes.len() as u64;
        let uploaded = self
            .client()
            .upload_part()
            .bucket(&self.bucket)
            .key(&upload.key)
            .upload_id(&upload.id)
            .part_number(i32::try_from(number).map_err(|error| DependencyError::permanent(action, error))?)
            .checksum_algorithm(ChecksumAlgorithm::Crc64Nvme)
            .body(ByteStream::from(bytes))
            .customize()
            .disable_payload_signing()
            .send()
            .await
            .map_err(|error| dependency_error(action, error))?;
        let receipt = uploaded.e_tag.ok_or_else(|| DependencyError::transient(action, "the response has no ETag"))?;
        Ok(Part { number, receipt, bytes: size })
    }

    async fn list_parts(&self, upload: &Upload) -> Result<Option<Vec<Part>>, DependencyError> {
        let action = "list the parts of the file";
        let mut pages = self
            .client()
            .list_parts()
            .bucket(&self.bucket)
            .key(&upload.key)
            .upload_id(&upload.id)
            .into_paginator()
            .items()
            .send();
        let mut parts = Vec::new();
        while let Some(listed) = pages.next().await {
            match listed {
                Ok(part) => {
                    parts.push(
                        part_of(&part)
                            .ok_or_else(|| DependencyError::transient(action, "a part has no number, ETag or size"))?,
                    );
                }
                Err(error) if error.code() == Some("NoSuchUpload") => return Ok(None),
                Err(error) => return Err(dependency_error(action, error)),
            }
        }
        Ok(Some(parts))
    }

    async fn complete_upload(
        &self,
        upload: &Upload,
        parts: &[Part],
        bytes: u64,
        crc64: u64,
        timeout: Duration,
    ) -> Result<(), CompleteError> {
        let action = "complete the file";
        let permanent = |error: TryFromIntError| DependencyError::permanent(action, error);
        let part = |part: &Part| {
            let number = i32::try_from(part.number)?;
            Ok(CompletedPart::builder().part_number(number).e_tag(&part.receipt).build())
        };
        let parts: Result<Vec<_>, TryFromIntError> = parts.iter().map(part).collect();
        let parts = parts.map_err(permanent)?;
        // S3 responds with status 200 at once, sends a space now and then for minutes, and then the result or an error.
        // Neither the attempt time-out nor the minimum throughput may abort that.
        let time_outs = TimeoutConfig::builder()
            .read_timeout(COMPLETE_READ_TIMEOUT)
            .disable_operation_attempt_timeout()
            .operation_timeout(timeout)
            .build();
        let overrides = aws_sdk_s3::config::Builder::new()
            .timeout_config(time_outs)
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
        let completed = self
            .client()
            .complete_multipart_upload()
            .bucket(&self.bucket)
            .key(&upload.key)
            .upload_id(&upload.id)
            .multipart_upload(CompletedMultipartUpload::builder().set_parts(Some(parts)).build())
            .checksum_type(ChecksumType::FullObject)
            .checksum_crc64_nvme(base64::encode(crc64.to_be_bytes()))
            .mpu_object_size(i64::try_from(bytes).map_err(permanent)?)
            .customize()
            .config_override(overrides)
            .send()
            .await;
        match completed {
            Ok(_) => Ok(()),
            Err(error) => match error.code() {
                Some(code) if LOST_UPLOAD_CODES.contains(&code) => Err(CompleteError::UploadLost(code.to_owned())),
                _ => Err(dependency_error(action, error).into()),
            },
        }
    }

    async fn abort_upload(&self, upload: &Upload) -> Result<(), DependencyError> {
        self.files.abort(upload).await
    }

    async fn put_unfinished(&self, key: &str, bytes: Vec<u8>) -> Result<(), DependencyError> {
        self.client()
            .put_object()
            .bucket(&self.bucket)
            .key(key)
            .checksum_algorithm(ChecksumAlgorithm::Crc64Nvme)
            .body(ByteStream::from(bytes))
            .customize()
            .disable_payload_signing()
            .send()
            .await
            .map_err(|error| dependency_error("write the unfinished part", error))?;
        Ok(())
    }

    async fn get_unfinished(&self, key: &str) -> Result<Option<Vec<u8>>, DependencyError> {
        let action = "read the unfinished part";
        let found = match self.client().get_object().bucket(&self.bucket).key(key).send().await {
            Ok(found) => found,
            Err(error) if error.code() == Some("NoSuchKey") => return Ok(None),
            Err(error) => return Err(dependency_error(action, error)),
        };
        let bytes = found.body.collect().await.map_err(|error| DependencyError::transient(action, error))?;
        Ok(Some(bytes.to_vec()))
    }

    async fn delete_unfinished(&self, key: &str) -> Result<(), DependencyError> {
        self.files.delete("delete the unfinished part", key).await
    }

    async fn delete_file(&self, key: &str) -> Result<(), DependencyError> {
        self.files.delete("delete the file", key).await
    }

    async fn file_size(&self, key: &str) -> Result<Option<u64>, DependencyError> {
        let found = self.client().head_object().bucket(&self.bucket).key(key).send().await;
        match found {
            Ok(head) => Ok(head.content_length.and_then(|bytes| u64::try_from(bytes).ok())),
            // S3 also responds with 403 to a missing object if the caller may not list the bucket (API Reference,
            // HeadObject), so only 404 means that the file does not exist.
            Err(error) => match error.raw_response().map(|response| response.status().as_u16()) {
                Some(404) => Ok(None),
                _ => Err(dependency_error("check whether the file exists", error)),
            },
        }
    }

    async fn file_exists(&self, key: &str) -> Result<bool, DependencyError> {
        self.files.exists(key).await
    }

    async fn sign_link(&self, key: &str, now: Timestamp, expiry: Timestamp) -> Result<String, DependencyError> {
        let missing = || DependencyError::permanent("sign the link", "the function was built without links");
        self.links.as_ref().ok_or_else(missing)?.sign_link(key, now, expiry).await
    }
}

/// Error codes for an upload that can never be completed: it no longer exists, or its parts are not those uploaded.
const LOST_UPLOAD_CODES: [&str; 7] = [
    "BadDigest",
    "EntityTooSmall",
    "InvalidPart",
    "InvalidPartOrder",
    "InvalidRequest",
    "NoSuchUpload",
    "XAmzContentChecksumMismatch",
];

fn part_of(part: &aws_sdk_s3::types::Part) -> Option<Part> {
    Some(Part {
        number: u32::try_from(part.part_number?).ok()?,
        receipt: part.e_tag.clone()?,
        bytes: u64::try_from(part.size?).ok()?,
    })
}

#[cfg(test)]
mod tests;
