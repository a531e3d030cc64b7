//! FunctionCall: the fast path, in practice libpq's large objects.

/// The functions behind libpq's large-object interface, by their fixed identifiers: `lo_create`, `lo_import`,
/// `lo_export`, `lo_open`, `lo_close`, `loread`, `lowrite`, `lo_lseek`, `lo_creat`, `lo_tell`, `lo_unlink`, `lo_truncate`
/// and the 64-bit ones. Their descriptors end with the transaction, so they leave nothing behind on a session.
const LARGE_OBJECT_FUNCTIONS: [u32; 16] = [
    715, 764, 765, 767, 952, 953, 954, 955, 956, 957, 958, 964, 1004, 3170, 3171, 3172,
];

/// Whether a FunctionCall, of whose body the beginning is given, calls one of them.
pub fn is_about_large_objects(body: &[u8]) -> bool {
    let Some(function) = body.first_chunk::<4>().map(|bytes| u32::from_be_bytes(*bytes)) else {
        return false;
    };
    LARGE_OBJECT_FUNCTIONS.contains(&function)
}
