//! The envelope around every answer, and the errors that go into it.

use serde_json::{Value, json};

/// An answer before it becomes HTTP.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    pub status: u16,
    pub body: String,
    pub html: bool,
    pub headers: Vec<(&'static str, String)>,
}

impl Answer {
    pub fn json(status: u16, body: &Value) -> Self {
        Self {
            status,
            body: body.to_string(),
            html: false,
            headers: Vec::new(),
        }
    }

    /// One object, in the envelope.
    pub fn result(result: Value) -> Self {
        Self::with_messages(result, json!([]))
    }

    /// One object with remarks beside it.
    pub fn with_messages(result: Value, messages: Value) -> Self {
        Self::json(
            200,
            &json!({"success": true, "errors": [], "messages": messages, "result": result}),
        )
    }

    /// A page of what the edge shows instead of JSON.
    pub fn html(status: u16) -> Self {
        let title = match status {
            500 => "Internal Server Error",
            502 => "Bad Gateway",
            503 => "Service Temporarily Unavailable",
            504 => "Gateway Time-out",
            _ => "Web server is returning an unknown error",
        };
        Self {
            status,
            body: format!(
                "<html>\r\n<head><title>{status} {title}</title></head>\r\n<body>\r\n\
                 <center><h1>{status} {title}</h1></center>\r\n\
                 <hr><center>cloudflare</center>\r\n</body>\r\n</html>\r\n"
            ),
            html: true,
            headers: Vec::new(),
        }
    }

    /// The same answer, cut in the middle of its JSON.
    pub fn truncated(mut self) -> Self {
        self.body.truncate(self.body.len() / 2);
        self
    }
}

impl From<ApiError> for Answer {
    fn from(error: ApiError) -> Self {
        let body =
            json!({"success": false, "errors": error.errors, "messages": [], "result": null});
        Self {
            headers: error.headers,
            ..Self::json(error.status, &body)
        }
    }
}

/// A refusal: an HTTP status and at least one error object.
#[derive(Debug, Clone)]
pub(super) struct ApiError {
    status: u16,
    errors: Vec<Value>,
    headers: Vec<(&'static str, String)>,
}

impl ApiError {
    pub fn new(status: u16, code: u32, message: impl Into<String>) -> Self {
        Self {
            status,
            errors: Vec::new(),
            headers: Vec::new(),
        }
        .and(code, message)
    }

    /// One more error beside the first.
    pub fn and(mut self, code: u32, message: impl Into<String>) -> Self {
        self.errors
            .push(json!({"code": code, "message": message.into()}));
        self
    }

    /// What is behind the last error.
    pub fn chain(mut self, code: u32, message: impl Into<String>) -> Self {
        if let Some(last) = self.errors.last_mut() {
            last["error_chain"] = json!([{"code": code, "message": message.into()}]);
        }
        self
    }

    pub fn header(mut self, name: &'static str, value: impl ToString) -> Self {
        self.headers.push((name, value.to_string()));
        self
    }

    /// A field of a record is wrong, in the wrapping most of these come in.
    pub fn validation(code: u32, message: impl Into<String>) -> Self {
        Self::new(400, 1004, "DNS Validation Error").chain(code, message)
    }

    pub fn no_route(path: &str) -> Self {
        Self::new(
            404,
            7003,
            format!("Could not route to {path}, perhaps your object identifier is invalid?"),
        )
        .and(7000, "No route for that URI")
    }

    pub fn no_record() -> Self {
        Self::new(404, 81044, "Record does not exist.")
    }

    pub fn forbidden() -> Self {
        Self::new(403, 10000, "Authentication error")
    }

    /// Too many requests, in the words that go with the code.
    pub fn throttled(code: u32, retry_after: Option<u64>) -> Self {
        let message = match code {
            10300 => {
                "Overall calls per time limit per connecting user have exceeded the rate limit."
            }
            10429 => "Rate limited. Please wait and consider throttling your request speed",
            10502 => "Too many authentication failures",
            _ => "Please wait and consider throttling your request speed",
        };
        let error = Self::new(429, code, message);
        match retry_after {
            Some(seconds) => error.header("retry-after", seconds),
            None => error,
        }
    }
}
