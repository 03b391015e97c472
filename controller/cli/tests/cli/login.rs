//! Kubeconfigs as `az aks get-credentials` and kubelogin leave them: several contexts, and users who log in by a command.

use crate::api::Api;
use crate::installation;
use crate::support::{Ran, check, command, run, turnout, write};
use serde_json::json;
use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use tempfile::TempDir;

const CREDENTIAL: &str = r#"{"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential",
"status": {"token": "of-the-plugin", "expirationTimestamp": "2999-01-01T00:00:00Z"}}"#;

/// A server with one rollout, and a kubeconfig whose current user logs in by a command.
struct Bed {
    api: Api,
    directory: TempDir,
}

impl Bed {
    fn start() -> Self {
        let (api, directory) = (Api::start(), tempfile::tempdir().unwrap());
        api.put_rollout(&json!({}), &json!({"stage": "Blue_50"}));
        installation::put(&api);
        Self { api, directory }
    }

    /// A script of this name, beside the kubeconfig.
    fn script(&self, name: &str, lines: &str) {
        let path = write(self.directory.path(), name, &format!("#!/bin/sh\n{lines}\n"));
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn kubeconfig(&self, plugin: &str, more: &str) -> String {
        let server = format!("http://{}", self.api.address());
        let text = format!(
            "apiVersion: v1
kind: Config
current-context: aks
clusters: [{{name: aks, cluster: {{server: '{server}'}}}}]
contexts: [{{name: aks, context: {{cluster: aks, user: clusterUser, namespace: ns}}}}]
users:
- name: clusterUser
  user:
    exec:
      apiVersion: client.authentication.k8s.io/v1
      command: {plugin}
      args: [get-token, --server-id, some-id]
      env: [{{name: CLIENT_SECRET, value: hush}}]
      {more}
"
        );
        write(self.directory.path(), "kubeconfig", &text)
    }

    fn list(&self, plugin: &str, more: &str) -> Ran {
        let kubeconfig = self.kubeconfig(plugin, more);
        run(command(&["rollout", "list", "--kubeconfig", &kubeconfig]).env("PATH", "/nowhere"), "")
    }
}

#[test]
fn every_verb_logs_in_once_by_the_command_of_the_kubeconfig() {
    let bed = Bed::start();
    let lines = format!("echo \"$KUBERNETES_EXEC_INFO $CLIENT_SECRET $*\" >> said\ncat <<END\n{CREDENTIAL}\nEND");
    bed.script("kubelogin", &lines);
    let said = bed.directory.path().join("said");
    for mode in ["Never", "IfAvailable"] {
        bed.api.put_rollout(&json!({}), &json!({"stage": "Blue_50"}));
        let more = format!("interactiveMode: {mode}\n      provideClusterInfo: true");
        let kubeconfig = bed.kubeconfig("./kubelogin", &more);
        for verb in ["rollout list", "rollout status", "wait --stage Blue_50", "check", "routes", "rollout pause"] {
            let words: Vec<&str> = verb.split(' ').chain(["--kubeconfig", &kubeconfig]).collect();
            check(&run(command(&words).current_dir(bed.directory.path()), ""), 0, &[]);
            let known: BTreeSet<String> = bed.api.requests().into_iter().map(|request| request.authorization).collect();
            assert_eq!(known, BTreeSet::from(["Bearer of-the-plugin".to_owned()]), "{verb}");
            let info = std::fs::read_to_string(&said).unwrap();
            assert_eq!(info.lines().count(), 1, "{verb}: {info}");
            assert!(info.ends_with(" hush get-token --server-id some-id\n"), "{info}");
            assert!(info.contains(&format!("\"server\":\"http://{}\"", bed.api.address())), "{info}");
            std::fs::remove_file(&said).unwrap();
        }
    }
}

#[test]
fn a_token_that_ends_is_fetched_anew() {
    let bed = Bed::start();
    let credential = CREDENTIAL.replace("2999", "2000").replace("of-the-plugin", "$(wc -l < said)");
    bed.script("kubelogin", &format!("echo >> said\ncat <<END\n{credential}\nEND"));
    let kubeconfig = bed.kubeconfig("./kubelogin", "");
    let mut command = command(&["rollout", "pause", "--kubeconfig", &kubeconfig]);
    check(&run(command.current_dir(bed.directory.path()), ""), 0, &["it is to go no further"]);
    let known: Vec<String> = bed.api.requests().into_iter().map(|request| request.authorization).collect();
    // The first token was old when it came.
    let expected: Vec<String> = (2..known.len() + 2).map(|number| format!("Bearer {number}")).collect();
    assert_eq!(known, expected);
    bed.script("kubelogin", &format!("[ -e ended ] && exit 5\necho > ended\ncat <<END\n{credential}\nEND"));
    let failed = "cannot list the rollouts of namespace ns: cannot log in: `";
    check(&run(&mut command, ""), 2, &[failed, "failed (exit status: 5)"]);
}

#[test]
fn a_login_may_give_a_certificate() {
    let (api, [certificate, key]) = Api::start_with_tls(&["127.0.0.1"], true);
    api.put_rollout(&json!({}), &json!({"stage": "Blue_50"}));
    let directory = tempfile::tempdir().unwrap();
    write(directory.path(), "ca.pem", &certificate);
    let status = json!({"clientCertificateData": certificate, "clientKeyData": key});
    write(directory.path(), "credential", &json!({"kind": "ExecCredential", "status": status}).to_string());
    let list = |user: &str| {
        let text = format!(
            "apiVersion: v1
kind: Config
current-context: test
clusters: [{{name: test, cluster: {{server: 'https://{}', certificate-authority: ca.pem}}}}]
contexts: [{{name: test, context: {{cluster: test, user: test, namespace: ns}}}}]
users: [{{name: test, user: {{{user}}}}}]
",
            api.address()
        );
        let kubeconfig = write(directory.path(), "kubeconfig", &text);
        run(command(&["rollout", "list", "--kubeconfig", &kubeconfig]).current_dir(directory.path()), "")
    };
    check(&list("exec: {command: cat, args: [credential]}"), 0, &["model  Holding  Blue_50"]);
    check(&list("token: secret"), 2, &["no answer from https://127.0.0.1:"]);
}

#[test]
fn a_login_that_fails_is_told_with_the_command_and_its_words_and_no_secret() {
    let bed = Bed::start();
    bed.script("kubelogin", "echo 'AADSTS700082: the refresh token has expired' >&2; exit 3");
    bed.script("talker", "echo hello");
    bed.script("empty", "echo '{\"kind\": \"ExecCredential\"}'");
    bed.script("stingy", "echo '{\"kind\": \"ExecCredential\", \"status\": {}}'");
    bed.script("blank", "echo '{\"kind\": \"ExecCredential\", \"status\": {\"token\": \" \"}}'");
    for mode in ["interactiveMode: Never", "interactiveMode: IfAvailable", ""] {
        let fails = |plugin: &str, said: &str| {
            let ran = bed.list(plugin, mode);
            check(&ran, 2, &[&format!("cannot log in at http://{}: `", bed.api.address()), said]);
            assert!(!ran.stderr.contains("hush"), "{ran:?}");
            ran
        };
        let ran = fails("./kubelogin", "/kubelogin`, by which the kubeconfig logs in, failed (exit status: 3)\n");
        assert_eq!(ran.stderr.matches("AADSTS700082: the refresh token has expired").count(), 1, "{ran:?}");
        fails("./talker", "/talker`, by which the kubeconfig logs in, did not print an ExecCredential with a status\n");
        fails("./empty", "/empty`, by which the kubeconfig logs in, did not print an ExecCredential with a status\n");
        for script in ["stingy", "blank"] {
            let said = format!("/{script}`, by which the kubeconfig logs in, did not print a token\n");
            fails(&format!("./{script}"), &said);
        }
    }
    check(&bed.list("./kubelogin", "interactiveMode: Always"), 2, &["logs in, needs a terminal\n"]);
    assert_eq!(bed.api.requests().len(), 0);
}

/// Whoever reads a kubeconfig well shows what is wrong with it, and what stands beside that.
#[test]
fn a_kubeconfig_that_cannot_be_read_is_named_without_its_secrets() {
    let directory = tempfile::tempdir().unwrap();
    let user = "apiVersion: v1\nkind: Config\nusers:\n- name: me\n  user:\n    token: hush\n";
    for rest in ["   bad: [\n", "    password: {hush: hush}\n", "    client-key-data: [hush]\n"] {
        let kubeconfig = write(directory.path(), "kubeconfig", &format!("{user}{rest}"));
        let named = run(&mut command(&["rollout", "list", "--kubeconfig", &kubeconfig]), "");
        for ran in [named, run(command(&["rollout", "list"]).env("KUBECONFIG", &kubeconfig), "")] {
            check(&ran, 2, &[&format!("cannot read {kubeconfig}: "), "line "]);
            assert!(!ran.stderr.contains("hush"), "{rest}: {ran:?}");
        }
    }
}

#[test]
fn a_login_command_that_is_not_there_is_told_with_what_to_install() {
    let bed = Bed::start();
    let missing = "`kubelogin`, by which the kubeconfig logs in, is not installed or not in PATH: install kubelogin, as by \
                   `az aks install-cli`\n";
    check(&bed.list("kubelogin", ""), 2, &[missing]);
    let hint = "installHint: see https://aka.ms/aks/kubelogin";
    check(&bed.list("kubelogin", hint), 2, &[missing, "\nsee https://aka.ms/aks/kubelogin\n"]);
    let ran = bed.list("other-login", hint);
    check(&ran, 2, &["`other-login`, by which", "not in PATH\nsee https://aka.ms/aks/kubelogin\n"]);
    bed.script("locked", "exit 0");
    std::fs::set_permissions(bed.directory.path().join("locked"), std::fs::Permissions::from_mode(0o644)).unwrap();
    check(&bed.list("./locked", ""), 2, &["/locked`, by which the kubeconfig logs in, cannot run: Permission denied"]);
}

#[test]
fn each_context_has_its_own_server_user_and_namespace() {
    let (staging, production) = (Bed::start(), Bed::start());
    staging.script("kubelogin", &format!("/bin/cat <<END\n{CREDENTIAL}\nEND"));
    let text = format!(
        "apiVersion: v1
kind: Config
current-context: staging
clusters:
- {{name: of-staging, cluster: {{server: 'http://{}'}}}}
- {{name: of-production, cluster: {{server: 'http://{}'}}}}
contexts:
- {{name: staging, context: {{cluster: of-staging, user: me, namespace: one}}}}
- {{name: production, context: {{cluster: of-production, user: robot, namespace: two}}}}
- {{name: bare, context: {{cluster: of-production, user: nobody, namespace: ''}}}}
- {{name: lost, context: {{cluster: gone, user: me}}}}
users:
- {{name: me, user: {{exec: {{apiVersion: client.authentication.k8s.io/v1, command: ./kubelogin}}}}}}
- {{name: robot, user: {{token: of-the-robot}}}}
",
        staging.api.address(),
        production.api.address()
    );
    let kubeconfig = write(staging.directory.path(), "kubeconfig", &text);
    let list = |arguments: &[&str]| turnout(&[&["rollout", "list", "--kubeconfig", &kubeconfig], arguments].concat());
    let listed = |arguments: &[&str], bed: &Bed, namespace: &str, authorization: &str| {
        check(&list(arguments), 0, &[]);
        let requests = bed.api.requests();
        let asked: Vec<_> =
            requests.iter().map(|request| (request.path.as_str(), request.authorization.as_str())).collect();
        let path = format!("/apis/turnout.dev/v1alpha1/namespaces/{namespace}/modelrollouts");
        assert_eq!(asked, [(path.as_str(), authorization)], "{arguments:?}");
    };
    listed(&[], &staging, "one", "Bearer of-the-plugin");
    listed(&["-n", "three"], &staging, "three", "Bearer of-the-plugin");
    listed(&["--context", "production"], &production, "two", "Bearer of-the-robot");
    listed(&["--context", "production", "-n", "three"], &production, "three", "Bearer of-the-robot");
    listed(&["--context", "bare"], &production, "default", "");
    check(&list(&["--context", "lost"]), 2, &["the kubeconfig cannot be used: there is no cluster gone"]);
    let said = "there is no context other, only: staging, production, bare, lost";
    check(&list(&["--context", "other"]), 2, &[said]);
}
