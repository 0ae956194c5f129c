//! The exports bucket, to write to.
//!
//! Integrity is S3's own: every body carries its CRC64NVME, and a file in parts is checked as a whole, checksum and
//! size, when it is completed.

use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{ChecksumAlgorithm, ChecksumType, CompletedMultipartUpload, CompletedPart};
use aws_smithy_types::timeout::TimeoutConfig;
use aws_types::SdkConfig;
use crc_fast::{CrcAlgorithm, Digest};
use domain::file::CONTENT_TYPE;
use domain::ports::{Outage, StoreFile, Upload};
use std::time::Duration;

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

impl StoreFile for ExportsBucket {
    type Upload = MultipartUpload;

    async fn put_file(&self, key: &str, download_name: &str, bytes: Vec<u8>) -> Result<(), Outage> {
        self.client
            .put_object()
            .bucket(&self.bucket)
            .key(key)
            .content_type(CONTENT_TYPE)
            .content_disposition(disposition(download_name))
            .checksum_algorithm(ChecksumAlgorithm::Crc64Nvme)
            .body(ByteStream::from(bytes))
            .send()
            .await
            .map_err(|error| Outage::new("write the file", error))?;
        Ok(())
    }

    async fn begin_file(&self, key: &str, download_name: &str) -> Result<MultipartUpload, Outage> {
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
            .map_err(|error| Outage::new("begin the file", error))?;
        let upload_id = begun.upload_id.ok_or_else(|| Outage::new("begin the file", "the answer has no upload id"))?;
        Ok(MultipartUpload {
            client: self.client.clone(),
            bucket: self.bucket.clone(),
            key: key.to_owned(),
            upload_id,
            parts: Vec::new(),
            bytes: 0,
            checksum: Digest::new(CrcAlgorithm::Crc64Nvme),
        })
    }
}

/// A file that is being written in parts.
#[derive(Debug)]
pub struct MultipartUpload {
    client: aws_sdk_s3::Client,
    bucket: String,
    key: String,
    upload_id: String,
    parts: Vec<CompletedPart>,
    bytes: i64,
    checksum: Digest,
}

impl Upload for MultipartUpload {
    async fn part(&mut self, bytes: Vec<u8>) -> Result<(), Outage> {
        let number = i32::try_from(self.parts.len() + 1).unwrap_or(i32::MAX);
        self.bytes += i64::try_from(bytes.len()).unwrap_or(i64::MAX);
        self.checksum.update(&bytes);
        let part = self
            .client
            .upload_part()
            .bucket(&self.bucket)
            .key(&self.key)
            .upload_id(&self.upload_id)
            .part_number(number)
            .checksum_algorithm(ChecksumAlgorithm::Crc64Nvme)
            .body(ByteStream::from(bytes))
            .send()
            .await
            .map_err(|error| Outage::new("write a part of the file", error))?;
        let part = CompletedPart::builder()
            .part_number(number)
            .set_e_tag(part.e_tag)
            .set_checksum_crc64_nvme(part.checksum_crc64_nvme)
            .build();
        self.parts.push(part);
        Ok(())
    }

    async fn complete(self) -> Result<(), Outage> {
        let checksum = aws_smithy_types::base64::encode(self.checksum.finalize().to_be_bytes());
        self.client
            .complete_multipart_upload()
            .bucket(&self.bucket)
            .key(&self.key)
            .upload_id(&self.upload_id)
            .multipart_upload(CompletedMultipartUpload::builder().set_parts(Some(self.parts)).build())
            .checksum_type(ChecksumType::FullObject)
            .checksum_crc64_nvme(checksum)
            .mpu_object_size(self.bytes)
            .send()
            .await
            .map_err(|error| Outage::new("complete the file", error))?;
        Ok(())
    }

    async fn abort(self) -> Result<(), Outage> {
        self.client
            .abort_multipart_upload()
            .bucket(&self.bucket)
            .key(&self.key)
            .upload_id(&self.upload_id)
            .send()
            .await
            .map_err(|error| Outage::new("throw the parts away", error))?;
        Ok(())
    }
}
