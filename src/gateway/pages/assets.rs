//! The stylesheet and the mark, kept in the program. Their names change with their content, so that
//! browsers may keep them for good.

use std::{fmt::Write, sync::LazyLock};

use aws_lc_rs::digest::{SHA256, digest};
use axum::{
    extract::{Path, State},
    http::header,
    response::{IntoResponse, Response},
};

use crate::gateway::Gateway;

pub(super) static STYLE: LazyLock<Asset> =
    LazyLock::new(|| Asset::new(include_str!("style.css"), "css", "text/css; charset=utf-8"));
pub(super) static MARK: LazyLock<Asset> =
    LazyLock::new(|| Asset::new(include_str!("mark.svg"), "svg", "image/svg+xml"));

/// A file of ours.
pub(super) struct Asset {
    content: &'static str,
    media_type: &'static str,
    name: String,
}

impl Asset {
    fn new(content: &'static str, extension: &str, media_type: &'static str) -> Self {
        let mut name = String::new();
        for byte in &digest(&SHA256, content.as_bytes()).as_ref()[..8] {
            let _ = write!(name, "{byte:02x}"); // a String takes everything
        }
        Self { content, media_type, name: format!("{name}.{extension}") }
    }

    /// Where it is.
    pub fn path(&self) -> String {
        format!("/assets/{}", self.name)
    }
}

pub(super) async fn get(State(gateway): State<Gateway>, Path(name): Path<String>) -> Response {
    match [&*STYLE, &*MARK].into_iter().find(|asset| asset.name == name) {
        Some(asset) => {
            let headers = [
                (header::CONTENT_TYPE, asset.media_type),
                (header::CACHE_CONTROL, "public, max-age=31536000, immutable"),
            ];
            (headers, asset.content).into_response()
        }
        None => super::problem::nothing_here(&gateway),
    }
}
