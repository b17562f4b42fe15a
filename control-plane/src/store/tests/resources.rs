//! All resources of the configuration, in pages.

use super::*;
use crate::store::{
    entity::{api_key, secret, workflow, workflow_version},
    resources::{keys, page, workflows},
};

const PROJECTS: [&str; 3] = ["p", "p-1", "q"];
/// Of each kind in a project.
const EACH: usize = 5;

async fn insert(store: &Store, project: &str, n: usize) {
    let id = format!("r{n}");
    let key = api_key::Model {
        project: project.to_owned(),
        id: id.clone(),
        digest: format!("{project} {n}").into_bytes(),
        ..api_key::Model::default()
    };
    let secret = secret::Model {
        project: project.to_owned(),
        id: id.clone(),
        ciphertext: Vec::new(),
        create_time_us: 0,
        update_time_us: 0,
        revision: 0,
    };
    // The first is not published, and of the last there is no such version.
    let workflow = workflow::Model {
        project: project.to_owned(),
        id: id.clone(),
        published_version: i64::from(n > 0),
        ..workflow::Model::default()
    };
    let version = workflow_version::Model {
        project: project.to_owned(),
        workflow: id,
        version: if n + 1 == EACH { 2 } else { 1 },
        source: format!("{project} {n}").into_bytes(),
        create_time_us: 0,
        creator: String::new(),
    };
    let db = &store.db;
    key.into_active_model().insert(db).await.unwrap();
    secret.into_active_model().insert(db).await.unwrap();
    workflow.into_active_model().insert(db).await.unwrap();
    version.into_active_model().insert(db).await.unwrap();
}

fn shown(entry: ConfigEntry) -> String {
    match entry {
        ConfigEntry::Key(row) => format!("{}/{}", row.project, row.id),
        ConfigEntry::Secret(row) => format!("{}/{}", row.project, row.id),
        ConfigEntry::Workflow(row) => {
            let source = row.source.map(|source| String::from_utf8(source).unwrap());
            format!("{}/{} {source:?}", row.project, row.id)
        }
        ConfigEntry::Project(row) => row.id,
    }
}

/// The resources of a kind, and how many pages they took.
async fn read(store: &Store, kind: ConfigKind, max: u64) -> (Vec<String>, usize) {
    let mut all = Vec::new();
    let mut behind = None;
    for pages in 1.. {
        let page = store.config_page(kind, behind.as_ref(), max).await.unwrap();
        assert!(page.entries.len() as u64 <= max);
        all.extend(page.entries.into_iter().map(shown));
        behind = page.next;
        if behind.is_none() {
            return (all, pages);
        }
    }
    unreachable!()
}

#[tokio::test]
async fn pages_hold_each_resource_once_whatever_their_size() {
    each_database(async |store| {
        for project in PROJECTS {
            for n in 0..EACH {
                insert(&store, project, n).await;
            }
        }
        let names = |shown: &dyn Fn(&str, usize) -> Option<String>| -> Vec<String> {
            let each = |project| (0..EACH).filter_map(move |n| shown(project, n));
            PROJECTS.into_iter().flat_map(each).collect()
        };
        let plain = names(&|project, n| Some(format!("{project}/r{n}")));
        let workflows = names(&|project, n| {
            let source = (n > 0).then(|| format!("{project} {n}"));
            (n + 1 < EACH).then(|| format!("{project}/r{n} {source:?}"))
        });
        let total = PROJECTS.len() * EACH;
        for max in [1, 2, 5, 7, 15, 100] {
            for (kind, expected) in [
                (ConfigKind::Key, &plain),
                (ConfigKind::Secret, &plain),
                (ConfigKind::Workflow, &workflows),
                (ConfigKind::Project, &vec!["default".to_owned()]),
            ] {
                let (all, pages) = read(&store, kind, max).await;
                assert_eq!(&all, expected, "{kind:?} by {max}");
                if kind == ConfigKind::Key {
                    assert_eq!(pages, total / usize::try_from(max).unwrap() + 1);
                }
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_page_is_read_from_where_the_one_before_ended() {
    each_database(async |store| {
        let behind = Behind(vec!["p".to_owned(), "r".to_owned()]);
        let key = [api_key::Column::Project, api_key::Column::Id];
        let keys = plans::plan(&store, &page(keys(), &key, Some(&behind), 10)).await;
        let key = [workflow::Column::Project, workflow::Column::Id];
        let workflows = plans::plan(&store, &page(workflows(), &key, Some(&behind), 10)).await;
        for plan in [keys, workflows] {
            let enters =
                plan.contains("((project,id)>(?,?))") || plan.contains("Index Cond: (ROW(");
            assert!(enters, "{plan}");
            let sorts = plan.contains("TEMP B-TREE") || plan.contains("Sort");
            assert!(!sorts && !plan.contains("SCAN"), "{plan}");
        }
    })
    .await;
}
