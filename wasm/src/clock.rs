//! The browser's clock and chance, as the machine wants them.

use tandem_client::protocol::time::Instant;

/// Now, on the page's monotonic clock.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "performance.now() is positive and small"
)]
pub(crate) fn now() -> Instant {
    let ms = web_sys::window().and_then(|window| window.performance()).map_or(0.0, |p| p.now());
    Instant::from_micros((ms * 1000.0) as u64)
}

/// A seed for jitter. A page without random numbers gets the time, which differs as well.
pub(crate) fn seed() -> u64 {
    let mut bytes = [0; 8];
    let crypto = web_sys::window().and_then(|window| window.crypto().ok());
    match crypto.map(|crypto| crypto.get_random_values_with_u8_array(&mut bytes)) {
        Some(Ok(_)) => u64::from_le_bytes(bytes),
        Some(Err(_)) | None => js_sys::Date::now().to_bits(),
    }
}
