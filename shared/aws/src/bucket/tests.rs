use aws_smithy_types::body::SdkBody;

use super::*;
use crate::testing::{Answering, response};

fn bucket(aws: &Answering) -> ExportsBucket {
    ExportsBucket::new(&aws.config(), "exports".to_owned())
}

#[tokio::test(start_paused = true)]
async fn file_is_missing_by_404_alone() {
    let size = async |status: u16| {
        let aws = Answering::new(move |_| {
            let mut found = response(status, SdkBody::empty());
            found.headers_mut().insert("content-length", "41");
            found
        });
        bucket(&aws).file_size("exports/x.csv").await
    };
    assert_eq!(size(200).await.unwrap(), Some(41));
    assert_eq!(size(404).await.unwrap(), None);
    assert!(size(403).await.is_err_and(|outage| outage.is_permanent()));
    assert!(size(503).await.is_err_and(|outage| !outage.is_permanent()));
}
