//! What a request is answered with.

use std::fmt;
use std::os::fd::OwnedFd;

use serde_json::{Map, Value, json};
use vfio_device::Errno;

use super::events::Listening;
use crate::errors;

/// What a verb has to say: the value of `ok`, a descriptor to go along, and what follows without end.
pub struct Answer {
    pub value: Value,
    pub fd: Option<OwnedFd>,
    pub then: Option<Listening>,
}

impl From<Value> for Answer {
    fn from(value: Value) -> Self {
        Self { value, fd: None, then: None }
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

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", errors::name(self.errno), self.message)
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
