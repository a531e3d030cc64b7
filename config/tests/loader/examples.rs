//! The metadata in `examples/` loads without a word, and what stands around it fits.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use serde_yaml::Value;
use weir_config::load;

fn example(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples").join(path)
}

fn documents() -> Vec<Value> {
    use serde::Deserialize as _;
    let text = fs::read_to_string(example("kubernetes/weir.yaml")).unwrap();
    serde_yaml::Deserializer::from_str(&text)
        .map(|document| Value::deserialize(document).unwrap())
        .collect()
}

fn kind<'d>(documents: &'d [Value], kind: &str) -> &'d Value {
    documents.iter().find(|document| document["kind"] == kind).unwrap()
}

fn container(documents: &[Value]) -> &Value {
    &kind(documents, "Deployment")["spec"]["template"]["spec"]["containers"][0]
}

#[test]
fn the_local_one() {
    let env = [(
        "LOCAL_DATABASE_URL",
        "postgres://postgres:secret@localhost:5432/postgres",
    )];
    let loaded = load(&example("local"), &env, true);
    assert!(loaded.problems.is_empty(), "{:?}", loaded.problems);
}

/// As the kubelet lays it out: files behind links behind a link.
#[test]
fn the_metadata_of_kubernetes_as_it_is_mounted() {
    let documents = documents();
    let volumes = &kind(&documents, "Deployment")["spec"]["template"]["spec"]["volumes"];
    let folder = tempfile::tempdir().unwrap();
    let generation = folder.path().join("..2026_11_20");
    fs::create_dir_all(generation.join("databases")).unwrap();
    std::os::unix::fs::symlink("..2026_11_20", folder.path().join("..data")).unwrap();
    for item in volumes[0]["configMap"]["items"].as_sequence().unwrap() {
        let text = kind(&documents, "ConfigMap")["data"][item["key"].as_str().unwrap()]
            .as_str()
            .unwrap();
        fs::write(generation.join(item["path"].as_str().unwrap()), text).unwrap();
    }
    for name in ["version.yaml", "databases", "gateway.yaml"] {
        std::os::unix::fs::symlink(Path::new("..data").join(name), folder.path().join(name)).unwrap();
    }
    let mut env: BTreeMap<String, String> = BTreeMap::new();
    for variable in container(&documents)["env"].as_sequence().unwrap() {
        let text = |key: &str| variable[key].as_str().unwrap().to_owned();
        env.insert(text("name"), text("value"));
    }
    let loaded = load(folder.path(), &env, true);
    // The secrets are not there.
    let problems: Vec<_> = loaded.problems.iter().map(|problem| problem.message.as_str()).collect();
    assert!(
        problems
            .iter()
            .all(|message| message.contains("it is read again each time")),
        "{problems:?}"
    );
    assert_eq!((loaded.metadata.sources.len(), loaded.metadata.users.len()), (1, 1));
    assert_eq!(loaded.metadata.admin.port, 8080);
    let secrets = &kind(&documents, "Secret")["stringData"];
    for file in &loaded.files {
        if let Ok(name) = file.strip_prefix("/run/secrets/weir") {
            assert!(
                !secrets[name.to_str().unwrap()].is_null(),
                "{} is in no Secret",
                file.display()
            );
        }
    }
}

#[test]
fn names_ports_and_times_of_the_manifest_fit() {
    let documents = documents();
    let spec = &kind(&documents, "Deployment")["spec"];
    let (pod, container) = (&spec["template"]["spec"], container(&documents));
    let names = |list: &Value, key: &str| -> Vec<String> {
        let items = list.as_sequence().unwrap().iter();
        items.map(|item| item[key].as_str().unwrap().to_owned()).collect()
    };
    let volumes = names(&pod["volumes"], "name");
    for mount in names(&container["volumeMounts"], "name") {
        assert!(volumes.contains(&mount), "{mount}");
    }
    let ports = names(&container["ports"], "name");
    for probe in ["livenessProbe", "readinessProbe"] {
        assert!(ports.contains(&container[probe]["httpGet"]["port"].as_str().unwrap().to_owned()));
        assert_eq!(container[probe]["httpGet"]["path"], "/healthz");
    }
    for service in documents.iter().filter(|document| document["kind"] == "Service") {
        assert!(ports.contains(&service["spec"]["ports"][0]["targetPort"].as_str().unwrap().to_owned()));
        assert_eq!(service["spec"]["selector"], spec["selector"]["matchLabels"]);
    }
    let arguments: Vec<_> = container["args"]
        .as_sequence()
        .unwrap()
        .iter()
        .map(|value| value.as_str().unwrap())
        .collect();
    let drain = arguments
        .iter()
        .position(|argument| *argument == "--drain-timeout")
        .unwrap();
    let drain: u64 = arguments[drain + 1].parse().unwrap();
    let stop = container["lifecycle"]["preStop"]["sleep"]["seconds"].as_u64().unwrap();
    assert!(pod["terminationGracePeriodSeconds"].as_u64().unwrap() > drain + stop);
    let count = container["env"]
        .as_sequence()
        .unwrap()
        .iter()
        .find(|variable| variable["name"] == "WEIR_INSTANCE_COUNT");
    assert_eq!(
        count.unwrap()["value"].as_str().unwrap(),
        spec["replicas"].as_u64().unwrap().to_string()
    );
}
