//! Keys.

use std::sync::Arc;

use ::http::Method;
use bytes::Bytes;
use consul::kv::KvPair;

use crate::http::{Call, escape};
use crate::{Client, Error};

/// A key with its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// Key.
    pub key: Arc<str>,
    /// Value.
    pub value: Bytes,
    /// Opaque number of whoever set it.
    pub flags: u64,
    /// Index of its last change, for [`Kv::put_if`] and [`Kv::delete_if`].
    pub index: u64,
}

impl From<KvPair> for Key {
    fn from(pair: KvPair) -> Key {
        Key { key: pair.key, value: pair.value.0, flags: pair.flags, index: pair.modify_index }
    }
}

/// The key-value store of a daemon.
#[derive(Debug, Clone, Copy)]
pub struct Kv<'a>(&'a Client);

impl Client {
    /// The key-value store.
    pub fn kv(&self) -> Kv<'_> {
        Kv(self)
    }
}

impl Kv<'_> {
    /// One key; none when it is not there.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn get(&self, key: &str) -> Result<Option<Key>, Error> {
        Ok(self.read(&format!("/v1/kv/{}", escape(key))).await?.into_iter().next())
    }

    /// Every key that starts with `prefix`, in byte order.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn list(&self, prefix: &str) -> Result<Vec<Key>, Error> {
        self.read(&format!("/v1/kv/{}?recurse", escape(prefix))).await
    }

    /// Sets a key.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn put(&self, key: &str, value: impl Into<Bytes>) -> Result<(), Error> {
        let call = Call::put(&format!("/v1/kv/{}", escape(key)));
        self.0.transport.call(call.body(value.into())).await.map(drop)
    }

    /// Sets a key if its index is still that; 0 means that it must not be there. False when it is not so.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn put_if(&self, key: &str, index: u64, value: impl Into<Bytes>) -> Result<bool, Error> {
        let call = Call::put(&format!("/v1/kv/{}?cas={index}", escape(key)));
        Ok(self.0.transport.call(call.body(value.into()).once()).await?.json()?.value)
    }

    /// Deletes a key. What is not there is deleted already.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn delete(&self, key: &str) -> Result<(), Error> {
        let call = Call::new(Method::DELETE, &format!("/v1/kv/{}", escape(key)));
        self.0.transport.call(call).await.map(drop)
    }

    /// Deletes a key if its index is still that. False when it is not so.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn delete_if(&self, key: &str, index: u64) -> Result<bool, Error> {
        let call = Call::new(Method::DELETE, &format!("/v1/kv/{}?cas={index}", escape(key)));
        Ok(self.0.transport.call(call.once()).await?.json()?.value)
    }

    /// Deletes every key that starts with `prefix`.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn delete_all(&self, prefix: &str) -> Result<(), Error> {
        let call = Call::new(Method::DELETE, &format!("/v1/kv/{}?recurse", escape(prefix)));
        self.0.transport.call(call).await.map(drop)
    }

    async fn read(&self, path: &str) -> Result<Vec<Key>, Error> {
        match self.0.get::<Vec<KvPair>>(path).await {
            Ok(found) => Ok(found.value.into_iter().map(Key::from).collect()),
            Err(error) if error.is_not_found() => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }
}
