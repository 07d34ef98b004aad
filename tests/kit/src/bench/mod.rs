//! What `make bench` measures. Each part starts a control plane and a Rollcall of its own, the two
//! sides apart, so that each process's memory and processor time are its own.

mod company;
pub mod domains;
pub mod machine;
pub mod metrics;
mod peers;
mod push;
pub mod report;
pub mod saml;
pub mod scim;
mod seen;
pub mod sign_in;
pub mod teams;

use std::{env, path::Path};

use anyhow::bail;

use crate::{
    control_plane::ControlPlane,
    postgres::{Database, Disk, Postgres},
    scratch::Scratch,
    stage::{Sides, Stage},
};

/// The namespace of the organization that is measured.
const ORGANIZATION: &str = "bench";

/// What a part runs on; ended in this order.
struct Setting {
    stage: Stage,
    control_plane: ControlPlane,
    _database: Option<(Database, Postgres)>,
    scratch: Scratch,
}

impl Setting {
    async fn start(program: &Path, part: &str) -> anyhow::Result<Self> {
        println!("==> {part}: starting a control plane and Rollcall");
        let scratch = Scratch::take("bench")?;
        let control_plane = ControlPlane::start(scratch.path()).await?;
        let own = scratch.path().join("rollcall");
        let database = match env::var("LEDGER").unwrap_or_default().as_str() {
            "" | "sqlite" => None,
            "postgres" => {
                let server = Postgres::start(Disk::Waited).await?;
                server.run_in()?;
                Some((server.database()?, server))
            }
            other => bail!("LEDGER={other}: it is sqlite or postgres"),
        };
        let ledger = database.as_ref().map(|(database, _)| database);
        let stage = Stage::start(&control_plane, program, &own, Sides::Apart, ledger).await?;
        let organization =
            format!("{{apiVersion: v1, kind: Namespace, metadata: {{name: {ORGANIZATION}}}}}");
        control_plane.kubectl_apply(&organization).await?;
        Ok(Self { stage, control_plane, _database: database, scratch })
    }

    fn controller(&self) -> u32 {
        self.stage.processes()[0].id()
    }

    fn gateway(&self) -> u32 {
        self.stage.processes()[1].id()
    }
}
