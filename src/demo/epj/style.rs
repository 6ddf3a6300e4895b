//! The EPJ's look, for apps that care: the address names the content, so a change is a new address. SMART 2.2 `smart_style_url`, SAL-078, SAL-079.

use axum::extract::Path;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};

use crate::secret::Digest;

const STYLE: &str = r##"{
  "color_background": "#f3f6f8",
  "color_error": "#8f1d1d",
  "color_highlight": "#0b4f6c",
  "color_modal_backdrop": "#14212b",
  "color_success": "#17633a",
  "color_text": "#14212b",
  "dim_border_radius": "6px",
  "dim_font_size": "16px",
  "dim_spacing_size": "20px",
  "font_family_body": "system-ui, sans-serif",
  "font_family_heading": "system-ui, sans-serif"
}
"##;

fn file() -> String {
    let digest = Digest::of(STYLE.as_bytes()).text();
    format!("{}.json", digest.get(..16).unwrap_or(&digest))
}

/// The style's address here.
pub fn url(public_url: &str) -> String {
    format!("{public_url}/style/{}", file())
}

/// Readable by apps of any origin, for good: what is at this address never changes.
pub async fn get(Path(asked): Path<String>) -> Response {
    if asked != file() {
        return StatusCode::NOT_FOUND.into_response();
    }
    let headers = [
        (header::CONTENT_TYPE, "application/json"),
        (header::CACHE_CONTROL, "public, max-age=31536000, immutable"),
        (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
    ];
    (headers, STYLE).into_response()
}
