//! The exports bucket, to write to.
//!
//! Integrity is S3's own: every body carries its CRC64NVME in a signed header, and a file in parts is checked as a
//! whole, checksum and size, when it is completed. So bodies are not hashed once more for the signature.

use async_trait::async_trait;
use std::num::TryFromIntError;
use std::time::Duration;

use aws_sdk_s3::error::ProvideErrorMetadata;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{ChecksumAlgorithm, ChecksumType, CompletedMultipartUpload, CompletedPart};
use aws_smithy_runtime_api::client::stalled_stream_protection::StalledStreamProtectionConfig;
use aws_smithy_types::base64;
use aws_smithy_types::timeout::TimeoutConfig;
use aws_types::SdkConfig;
use exports_domain::error::DependencyError;
use exports_domain::file::CONTENT_TYPE;
use exports_domain::ports::{CompleteError, FileStore, Part, Upload};

use crate::error::dependency_error;

/// How long the response to a completion may take to begin. S3 begins it once it works on the request (API Reference,
/// CompleteMultipartUpload); botocore waits as long by default, so a connection that is silent for longer is dead.
const COMPLETION_BEGINS: Duration = Duration::from_secs(60);

/// The bucket that holds the files.
#[derive(Clone, Debug)]
pub struct ExportsBucket {
    client: aws_sdk_s3::Client,
    bucket: String,
}

impl ExportsBucket {
    /// The bucket of this name.
    #[must_use]
    pub fn new(config: &SdkConfig, bucket: String) -> Self {
        // A part takes longer than the small calls that the common time-outs are for.
        let time_outs = TimeoutConfig::builder()
            .connect_timeout(Duration::from_secs(2))
            .operation_attempt_timeout(Duration::from_secs(30))
            .operation_timeout(Duration::from_secs(90))
            .build();
        let config = aws_sdk_s3::config::Builder::from(config).timeout_config(time_outs).build();
        Self { client: aws_sdk_s3::Client::from_conf(config), bucket }
    }
}

fn disposition(download_name: &str) -> String {
    format!("attachment; filename=\"{download_name}\"")
}

#[async_trait]
impl FileStore for ExportsBucket {
    async fn put_file(&self, key: &str, download_name: &str, bytes: Vec<u8>) -> Result<(), DependencyError> {
        self.client
            .put_object()
            .bucket(&self.bucket)
            .key(key)
            .content_type(CONTENT_TYPE)
            .content_disposition(disposition(download_name))
            .checksum_algorithm(ChecksumAlgorithm::Crc64Nvme)
            .body(ByteStream::from(bytes))
            .customize()
            .disable_payload_signing()
            .send()
            .await
            .map_err(|error| dependency_error("write the file", error))?;
        Ok(())
    }

    async fn start_upload(&self, key: &str, download_name: &str) -> Result<Upload, DependencyError> {
        let begun = self
            .client
            .create_multipart_upload()
            .bucket(&self.bucket)
            .key(key)
            .content_type(CONTENT_TYPE)
            .content_disposition(disposition(download_name))
            .checksum_algorithm(ChecksumAlgorithm::Crc64Nvme)
            .checksum_type(ChecksumType::FullObject)
            .send()
            .await
            .map_err(|error| dependency_error("begin the file", error))?;
        let id = begun
            .upload_id
            .ok_or_else(|| DependencyError::transient("begin the file", "the response has no upload id"))?;
        Ok(Upload { key: key.to_owned(), id })
    }

    async fn upload_part(&self, upload: &Upload, number: u32, bytes: Vec<u8>) -> Result<Part, DependencyError> {
        let attempt = "write a part of the file";
        let size = bytes.len() as u64;
        let written = self
            .client
            .upload_part()
            .bucket(&self.bucket)
            .key(&upload.key)
            .upload_id(&upload.id)
            .part_number(i32::try_from(number).map_err(|error| DependencyError::permanent(attempt, error))?)
            .checksum_algorithm(ChecksumAlgorithm::Crc64Nvme)
            .body(ByteStream::from(bytes))
            .customize()
            .disable_payload_signing()
            .send()
            .await
            .map_err(|error| dependency_error(attempt, error))?;
        let tag = written.e_tag.ok_or_else(|| DependencyError::transient(attempt, "the response has no ETag"))?;
        Ok(Part { number, tag, bytes: size })
    }

    async fn list_parts(&self, upload: &Upload) -> Result<Option<Vec<Part>>, DependencyError> {
        let attempt = "list the parts of the file";
        let mut pages = self
            .client
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
                            .ok_or_else(|| DependencyError::transient(attempt, "a part lacks its number or ETag"))?,
                    );
                }
                Err(error) if error.code() == Some("NoSuchUpload") => return Ok(None),
                Err(error) => return Err(dependency_error(attempt, error)),
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
        within: Duration,
    ) -> Result<(), CompleteError> {
        let attempt = "complete the file";
        let wrong = |error: TryFromIntError| DependencyError::permanent(attempt, error);
        let part = |part: &Part| {
            let number = i32::try_from(part.number)?;
            Ok(CompletedPart::builder().part_number(number).e_tag(&part.tag).build())
        };
        let parts: Result<Vec<_>, TryFromIntError> = parts.iter().map(part).collect();
        let parts = parts.map_err(wrong)?;
        // For minutes S3 sends a blank now and then, under a status of 200, and at last the result or an error: neither an
        // attempt's time-out nor a throughput too low must end that.
        let time_outs = TimeoutConfig::builder()
            .read_timeout(COMPLETION_BEGINS)
            .disable_operation_attempt_timeout()
            .operation_timeout(within)
            .build();
        let patient = aws_sdk_s3::config::Builder::new()
            .timeout_config(time_outs)
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
        let completed = self
            .client
            .complete_multipart_upload()
            .bucket(&self.bucket)
            .key(&upload.key)
            .upload_id(&upload.id)
            .multipart_upload(CompletedMultipartUpload::builder().set_parts(Some(parts)).build())
            .checksum_type(ChecksumType::FullObject)
            .checksum_crc64_nvme(base64::encode(crc64.to_be_bytes()))
            .mpu_object_size(i64::try_from(bytes).map_err(wrong)?)
            .customize()
            .config_override(patient)
            .send()
            .await;
        match completed {
            Ok(_) => Ok(()),
            Err(error) => match error.code() {
                Some(code) if LOST.contains(&code) => Err(CompleteError::UploadLost(code.to_owned())),
                _ => Err(dependency_error(attempt, error).into()),
            },
        }
    }

    async fn abort_upload(&self, upload: &Upload) -> Result<(), DependencyError> {
        self.client
            .abort_multipart_upload()
            .bucket(&self.bucket)
            .key(&upload.key)
            .upload_id(&upload.id)
            .send()
            .await
            .map_err(|error| dependency_error("throw the parts away", error))?;
        Ok(())
    }

    async fn file_size(&self, key: &str) -> Result<Option<u64>, DependencyError> {
        let found = self.client.head_object().bucket(&self.bucket).key(key).send().await;
        match found {
            Ok(head) => Ok(head.content_length.and_then(|bytes| u64::try_from(bytes).ok())),
            // 403 says nothing of the file: S3 responses so without the right to read it, and for what is not there without
            // the right to list the bucket.
            Err(error) => match error.raw_response().map(|response| response.status().as_u16()) {
                Some(404) => Ok(None),
                _ => Err(dependency_error("look for the file", error)),
            },
        }
    }
}

/// What S3 says of an upload that will never be a file: it is gone, or what is there is not what was written.
const LOST: [&str; 7] = [
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
        tag: part.e_tag.clone()?,
        bytes: u64::try_from(part.size?).ok()?,
    })
}

#[cfg(test)]
mod tests;
