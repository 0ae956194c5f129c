//! No code, only features of dependencies. Cargo compiles a dependency again for each set of features, together with
//! everything that uses it. The tests need more features of tokio and hyper than the functions do, and the AWS SDK uses
//! both.
//!
//! The local stack builds the functions together with this package (`tests/stack/build.py`). Their dependencies then have
//! the features that they have in the tests, and are compiled once. A release build leaves this package out: deployed
//! functions have only the features that they ask for.
//!
//! `tests/contract/test_features.py` fails if a feature is missing.
