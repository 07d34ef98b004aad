//! Rollcall as its users meet it: on a real API server, installed by its chart, under exactly the
//! chart's rights and policies.

mod connections;
mod directories;
mod domains;
mod generated;
mod operations;
mod rights;
mod story;
mod world;
