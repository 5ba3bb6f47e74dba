//! `make demo`: starts the site of the seed article in network namespaces, moves real traffic through the gateway, and says
//! what was expected and what was seen. Exits with 0 only if everything held.

use std::{process::ExitCode, time::Instant};

use anyhow::Result;
use tidegate_tests::{
    demo::{self, Table},
    lab::{Internet, Lab, Site, agent},
};

const PICTURE: &str = r#"
   vpc-1                                              vpc-2, the same addresses
     web 192.168.20.154  VNI 222  on host1              web2 192.168.20.154  VNI 300  on host2
     app 192.168.21.10   VNI 223  on host2              app2 192.168.21.10   VNI 301  on host1
     db  192.168.22.10   VNI 224  on host1
     203.0.113.93  SNAT of vpc-1; TCP 2222, 2223, 2224 to port 23 of web, app, db;
                   TCP 2300 by turns to port 23, TCP 8000 to port 80 of web, app, db;
                   5201 to web; 40 Mbit/s each way, of which UDP 5201 gets 10
     203.0.113.94  of app alone

   +---------------------+                                        +------------------------+
   | host1               |    +--------+    +---------------+     | upstream 203.0.113.1   |
   | bridge, kernel VXLAN+----+        |    |   tidegate    |     | neighbour 203.0.113.50 |
   | 10.172.11.11        |    |underlay+----+ 10.172.11.91  +-----+   |                    |
   +---------------------+    | switch | TAP| DPDK, one     | TAP | transit                |
   | host2               |    |        |    | polling worker|     |   |                    |
   | bridge, kernel VXLAN+----+        |    +---------------+     | server 192.0.2.10      |
   | 10.172.11.12        |    +--------+     203.0.113.2          +------------------------+
   +---------------------+
"#;

fn main() -> ExitCode {
    match demo() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            println!("\nNot everything held.");
            ExitCode::FAILURE
        }
        Err(why) => {
            eprintln!("demo: {why:#}");
            ExitCode::FAILURE
        }
    }
}

fn demo() -> Result<bool> {
    let start = Instant::now();
    let lab = Lab::new()?;
    println!("{PICTURE}");
    let keys = agent::key_file()?;
    let mut site = Site::new(lab, &demo::config(keys.path()))?;
    let internet = Internet::behind(&site)?;
    println!("The gateway runs in namespace {}. Its ports:\n", site.gateway.netns().name());
    println!("{}", site.gateway.show("ports")?);

    let mut table = Table::default();
    let seen = demo::look(&mut site, &internet, &mut table);
    table.print();
    seen?;
    let held = table.held();
    drop(site);
    println!("\n{} rows in {:.1} s.", table.len(), start.elapsed().as_secs_f64());
    Ok(held)
}
