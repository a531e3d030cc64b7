//! What a client sends, as bytes.

/// A message with its length.
pub fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![tag];
    bytes.extend(u32::try_from(body.len() + 4).unwrap().to_be_bytes());
    bytes.extend(body);
    bytes
}

/// A message whose length field claims something else than the truth.
pub fn hostile(tag: u8, claimed: u32, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![tag];
    bytes.extend(claimed.to_be_bytes());
    bytes.extend(body);
    bytes
}

/// A StartupMessage of protocol 3.`minor`.
pub fn startup(minor: u16, parameters: &[(&str, &str)]) -> Vec<u8> {
    let mut body = Vec::from([0, 3]);
    body.extend(minor.to_be_bytes());
    for (name, value) in parameters {
        body.extend(zero_terminated(name));
        body.extend(zero_terminated(value));
    }
    body.push(0);
    untagged(&body)
}

/// A message without a type byte, as they are before login.
pub fn untagged(body: &[u8]) -> Vec<u8> {
    let mut bytes = u32::try_from(body.len() + 4).unwrap().to_be_bytes().to_vec();
    bytes.extend(body);
    bytes
}

/// SSLRequest.
pub fn ssl_request() -> Vec<u8> {
    untagged(&80_877_103_u32.to_be_bytes())
}

/// GSSENCRequest.
pub fn gss_request() -> Vec<u8> {
    untagged(&80_877_104_u32.to_be_bytes())
}

/// CancelRequest.
pub fn cancel_request(process: u32, key: &[u8]) -> Vec<u8> {
    let mut body = 80_877_102_u32.to_be_bytes().to_vec();
    body.extend(process.to_be_bytes());
    body.extend(key);
    untagged(&body)
}

/// Query.
pub fn query(sql: &str) -> Vec<u8> {
    message(b'Q', &zero_terminated(sql))
}

/// Parse, with the types of its parameters (0 or fewer: unspecified).
pub fn parse(statement: &str, sql: &str, types: &[u32]) -> Vec<u8> {
    let mut body = zero_terminated(statement);
    body.extend(zero_terminated(sql));
    body.extend(u16::try_from(types.len()).unwrap().to_be_bytes());
    body.extend(types.iter().flat_map(|oid| oid.to_be_bytes()));
    message(b'P', &body)
}

/// Bind with text parameters and text results.
pub fn bind(portal: &str, statement: &str, parameters: &[Option<&[u8]>]) -> Vec<u8> {
    bind_with(portal, statement, parameters, false)
}

/// Bind with text parameters, and results in text or binary.
pub fn bind_with(portal: &str, statement: &str, parameters: &[Option<&[u8]>], binary_results: bool) -> Vec<u8> {
    let mut body = zero_terminated(portal);
    body.extend(zero_terminated(statement));
    body.extend(0_u16.to_be_bytes());
    body.extend(u16::try_from(parameters.len()).unwrap().to_be_bytes());
    for parameter in parameters {
        match parameter {
            Some(bytes) => {
                body.extend(u32::try_from(bytes.len()).unwrap().to_be_bytes());
                body.extend(*bytes);
            }
            None => body.extend((-1_i32).to_be_bytes()),
        }
    }
    body.extend(1_u16.to_be_bytes());
    body.extend(u16::from(binary_results).to_be_bytes());
    message(b'B', &body)
}

/// Describe; `kind` is `b'S'` or `b'P'`.
pub fn describe_message(kind: u8, name: &str) -> Vec<u8> {
    message(b'D', &[&[kind][..], &zero_terminated(name)].concat())
}

/// Execute; 0 rows is all.
pub fn execute(portal: &str, rows: u32) -> Vec<u8> {
    message(b'E', &[&zero_terminated(portal)[..], &rows.to_be_bytes()].concat())
}

/// Close; `kind` is `b'S'` or `b'P'`.
pub fn close(kind: u8, name: &str) -> Vec<u8> {
    message(b'C', &[&[kind][..], &zero_terminated(name)].concat())
}

/// Sync.
pub fn sync() -> Vec<u8> {
    message(b'S', &[])
}

/// Flush.
pub fn flush() -> Vec<u8> {
    message(b'H', &[])
}

/// Terminate.
pub fn terminate() -> Vec<u8> {
    message(b'X', &[])
}

/// CopyData.
pub fn copy_data(data: &[u8]) -> Vec<u8> {
    message(b'd', data)
}

/// CopyDone.
pub fn copy_done() -> Vec<u8> {
    message(b'c', &[])
}

/// CopyFail.
pub fn copy_fail(reason: &str) -> Vec<u8> {
    message(b'f', &zero_terminated(reason))
}

/// FunctionCall with text arguments and a text result.
pub fn function_call(function: u32, arguments: &[&[u8]]) -> Vec<u8> {
    let mut body = function.to_be_bytes().to_vec();
    body.extend(0_u16.to_be_bytes());
    body.extend(u16::try_from(arguments.len()).unwrap().to_be_bytes());
    for argument in arguments {
        body.extend(u32::try_from(argument.len()).unwrap().to_be_bytes());
        body.extend(*argument);
    }
    body.extend(0_u16.to_be_bytes());
    message(b'F', &body)
}

/// SASLInitialResponse.
pub fn sasl_initial(mechanism: &str, response: &[u8]) -> Vec<u8> {
    let mut body = zero_terminated(mechanism);
    body.extend(u32::try_from(response.len()).unwrap().to_be_bytes());
    body.extend(response);
    message(b'p', &body)
}

/// PasswordMessage or SASLResponse.
pub fn password(response: &[u8]) -> Vec<u8> {
    message(b'p', response)
}

fn zero_terminated(text: &str) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    bytes.push(0);
    bytes
}
