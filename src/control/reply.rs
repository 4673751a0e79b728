//! What a request is answered with.

use std::os::fd::OwnedFd;

use serde_json::{Map, Value, json};
use vfio_device::Errno;

use crate::errors;

/// What a verb has to say: the value of `ok`, and a descriptor to go along.
pub struct Answer {
    pub value: Value,
    pub fd: Option<OwnedFd>,
}

impl From<Value> for Answer {
    fn from(value: Value) -> Self {
        Self { value, fd: None }
    }
}

/// Why a verb did nothing.
#[derive(Debug, PartialEq, Eq)]
pub struct Failure {
    pub errno: Errno,
    pub message: String,
}

impl Failure {
    pub fn new(errno: Errno, message: impl Into<String>) -> Self {
        Self { errno, message: message.into() }
    }

    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(Errno::INVAL, message)
    }
}

/// The line, without its end. `id` is the request's, if there was one.
pub fn line(id: Option<Value>, result: Result<&Value, &Failure>) -> String {
    let mut reply = Map::new();
    if let Some(id) = id {
        reply.insert("id".into(), id);
    }
    let (name, value) = match result {
        Ok(value) => ("ok", value.clone()),
        Err(Failure { errno, message }) => {
            ("error", json!({ "errno": errors::name(*errno), "message": message }))
        }
    };
    reply.insert(name.into(), value);
    Value::Object(reply).to_string()
}
