//! Mutual TLS: both listeners let in whom their authority vouches for, and nobody else.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
    time::Duration,
};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};
use signalbox_tests::{
    planes::{Options, Planes},
    process::{binary, free_port},
    wait,
};
use tempfile::TempDir;

const LIMIT: Duration = Duration::from_secs(20);

/// Authorities, and certificates by them, as files.
struct Files(TempDir);

type Ca = CertifiedIssuer<'static, KeyPair>;

impl Files {
    /// The listeners' certificate `tls` by `ca`; the clients' `good` and `wrong`, by `clients` and `others`.
    fn new() -> Self {
        let files = Self(tempfile::tempdir().unwrap());
        for (ca, name) in [("ca", "tls"), ("clients", "good"), ("others", "wrong")] {
            let issuer = files.authority(ca);
            files.issue(&issuer, name);
        }
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    fn authority(&self, name: &str) -> Ca {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        std::fs::write(self.path(&format!("{name}.pem")), ca.pem()).unwrap();
        ca
    }

    fn issue(&self, ca: &Ca, name: &str) {
        let key = KeyPair::generate().unwrap();
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let certificate = CertificateParams::new(names).unwrap();
        let certificate = certificate.signed_by(&key, ca).unwrap();
        std::fs::write(self.path(&format!("{name}.crt")), certificate.pem()).unwrap();
        std::fs::write(self.path(&format!("{name}.key")), key.serialize_pem()).unwrap();
    }

    /// What a listener is given.
    fn listener(&self) -> Vec<String> {
        let mut arguments = Vec::new();
        for (flag, file) in [
            ("--tls-cert", "tls.crt"),
            ("--tls-key", "tls.key"),
            ("--tls-client-ca", "clients.pem"),
        ] {
            arguments.extend([flag.to_owned(), self.text(file)]);
        }
        arguments
    }

    /// `signalbox nodes list`, with a certificate or none.
    fn list(&self, endpoint: &str, token: &str, name: Option<&str>) -> Output {
        let mut command = Command::new(binary("signalbox"));
        command
            .args(["nodes", "list", "--timeout", "5s", "--ca-file"])
            .arg(self.path("ca.pem"))
            .env("SIGNALBOX_ENDPOINT", endpoint)
            .env("SIGNALBOX_TOKEN", token);
        if let Some(name) = name {
            command
                .env("SIGNALBOX_CLIENT_CERT", self.path(&format!("{name}.crt")))
                .env("SIGNALBOX_CLIENT_KEY", self.path(&format!("{name}.key")));
        }
        command.output().unwrap()
    }

    /// A webhook's answer, to a sender with a certificate or none.
    async fn post(&self, port: u16, name: Option<&str>) -> Result<u16, reqwest::Error> {
        let mut roots = RootCertStore::empty();
        for certificate in certificates(&self.path("ca.pem")) {
            roots.add(certificate).unwrap();
        }
        let builder = ClientConfig::builder().with_root_certificates(roots);
        let tls = match name {
            None => builder.with_no_client_auth(),
            Some(name) => {
                let chain = certificates(&self.path(&format!("{name}.crt")));
                let key = PrivateKeyDer::from_pem_file(self.path(&format!("{name}.key")));
                builder.with_client_auth_cert(chain, key.unwrap()).unwrap()
            }
        };
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .build()
            .unwrap();
        let url = format!("https://localhost:{port}/v1/projects/default/workflows/w/webhook");
        Ok(client.post(url).body("{}").send().await?.status().as_u16())
    }
}

fn certificates(path: &Path) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_file_iter(path)
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn both_listeners_let_in_whom_their_authority_vouches_for() {
    let files = Files::new();
    let port = free_port();
    let endpoint = format!("https://localhost:{port}");
    let mut data_plane = files.listener();
    for (flag, file) in [
        ("--control-plane-ca", "ca.pem"),
        ("--control-plane-client-cert", "good.crt"),
        ("--control-plane-client-key", "good.key"),
    ] {
        data_plane.extend([flag.to_owned(), files.text(file)]);
    }
    let mut planes = Planes::new(Options {
        control_plane: files.listener(),
        data_plane,
        control_plane_seen_as: Some(endpoint.clone()),
        control_plane_port: Some(port),
        // One is told of its new files, by a signal.
        one_replica: true,
        ..Options::default()
    });
    // Probes need no certificate: they go to the admin listeners.
    planes.control.start().await;
    planes.write_node_token();
    // Ready is in sync: the node has shown its certificate.
    planes.data.start().await;

    let token = planes.control.token("viewer");
    let listed = files.list(&endpoint, &token, Some("good"));
    assert!(listed.status.success(), "{listed:?}");
    assert!(String::from_utf8_lossy(&listed.stdout).contains("CONNECTED"));
    for name in [None, Some("wrong")] {
        let refused = files.list(&endpoint, &token, name);
        assert_eq!(refused.status.code(), Some(69), "{name:?}: {refused:?}");
    }

    let webhooks = planes.data.addr().port();
    assert_eq!(files.post(webhooks, Some("good")).await.unwrap(), 401);
    for name in [None, Some("wrong")] {
        let refused = files.post(webhooks, name).await;
        assert!(refused.is_err(), "{name:?}: {refused:?}");
    }

    // Another authority, on SIGHUP.
    std::fs::copy(files.path("others.pem"), files.path("clients.pem")).unwrap();
    planes.control.process().hang_up();
    planes.data.process().hang_up();
    wait::until("the control plane's new authority", LIMIT, || async {
        let listed = files.list(&endpoint, &token, Some("wrong"));
        match listed.status.success() {
            true => Ok(()),
            false => Err(format!("{listed:?}")),
        }
    })
    .await;
    wait::until("the node's new authority", LIMIT, || async {
        let posted = files.post(webhooks, Some("wrong")).await;
        posted.map_err(|error| format!("{error:?}"))
    })
    .await;
    let refused = files.list(&endpoint, &token, Some("good"));
    assert_eq!(refused.status.code(), Some(69), "{refused:?}");
    let refused = files.post(webhooks, Some("good")).await;
    assert!(refused.is_err(), "{refused:?}");
}
