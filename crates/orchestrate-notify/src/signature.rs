//! Standard Webhooks signatures: HMAC-SHA256 over `id.timestamp.body`.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use hmac::{Hmac, KeyInit, Mac};
use orchestrate_core::secrets::SecretText;
use sha2::Sha256;

/// Writes padding, and reads secrets that were copied without theirs.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The value of `webhook-signature`. A secret is `whsec_` and base64, or any other text, taken as its bytes.
pub fn sign(secret: &SecretText, id: &str, seconds: i64, body: &[u8]) -> Result<String, String> {
    let key = match secret.expose().strip_prefix("whsec_") {
        // The decoder's own message would quote a byte of the secret.
        Some(encoded) => BASE64
            .decode(encoded)
            .map_err(|_| "the signing secret starts with `whsec_` but the rest is not base64".to_owned())?,
        None => secret.expose().as_bytes().to_vec(),
    };
    let mut mac =
        Hmac::<Sha256>::new_from_slice(&key).map_err(|_| "the signing secret cannot be used".to_owned())?;
    mac.update(id.as_bytes());
    mac.update(b".");
    mac.update(seconds.to_string().as_bytes());
    mac.update(b".");
    mac.update(body);
    Ok(format!("v1,{}", BASE64.encode(mac.finalize().into_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
    const BODY: &[u8] = br#"{"test": 2432232314}"#;

    fn signed(secret: &str) -> Result<String, String> {
        sign(&SecretText::new(secret), ID, 1_614_265_330, BODY)
    }

    #[test]
    fn the_standards_own_example_is_signed_as_it_says() {
        let wanted = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        assert_eq!(signed("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap(), wanted);
    }

    #[test]
    fn another_text_is_taken_as_its_bytes() {
        // `aGVsbG8=` is `hello`.
        assert_eq!(signed("hello").unwrap(), signed("whsec_aGVsbG8=").unwrap());
        assert_eq!(signed("hello").unwrap(), signed("whsec_aGVsbG8").unwrap());
        assert_ne!(signed("hello").unwrap(), signed("aGVsbG8=").unwrap());
    }

    #[test]
    fn a_secret_that_is_not_base64_is_not_quoted() {
        let error = signed("whsec_hunter2!").unwrap_err();
        assert!(error.contains("not base64") && !error.contains("hunter2"), "{error}");
    }
}
