//! Workflows that run each other: those that are run stay, and no execution runs itself without end.

use super::{children::runs, *};

fn wname(id: &str) -> WorkflowName {
    format!("projects/default/workflows/{id}").parse().unwrap()
}

async fn create(app: &App, id: &str, new: NewWorkflow) -> Result<(), String> {
    let id = id.parse().unwrap();
    app.create_workflow(&actor(), &project(), &id, new, true, "")
        .await
        .map(drop)
        .map_err(|refused| refused.to_string())
}

async fn update(app: &App, id: &str, new: NewWorkflow, publish: bool) -> Result<(), String> {
    app.update_workflow(&actor(), &wname(id), new, publish, "")
        .await
        .map(drop)
        .map_err(|refused| refused.to_string())
}

fn plain() -> NewWorkflow {
    spec("manual: {}", "'1'")
}

const IF: &str = ", if: event.json.n > 0";

/// What a replica leaves behind that does not know of calls.
async fn forget_calls(store: &Store) {
    for sql in [
        "DELETE FROM workflow_calls",
        "UPDATE workflows SET calls_version = 0",
    ] {
        store.db.execute_unprepared(sql).await.unwrap();
    }
}

fn assert_referenced(refused: Result<(), Error>, by: &str) {
    let Err(Error::Precondition {
        subject,
        reason: "REFERENCED",
        message,
    }) = refused
    else {
        panic!("{refused:?}");
    };
    assert_eq!(subject, "projects/default/workflows/inner");
    let expected = format!("is run by the published version of {by};");
    assert!(message.contains(&expected), "{message}");
}

#[tokio::test]
async fn what_published_versions_of_others_run_is_not_deleted() {
    each_database(async |store| {
        let app = app(store.clone());
        create(&app, "inner", plain()).await.unwrap();
        update(&app, "inner", runs(&["inner"], IF), true)
            .await
            .unwrap();
        for outer in ["a", "b"] {
            create(&app, outer, runs(&["inner", "inner"], IF))
                .await
                .unwrap();
        }
        let delete = async |id: &str| app.delete_workflow(&actor(), &wname(id), "").await;
        let both = "projects/default/workflows/a, projects/default/workflows/b";
        assert_referenced(delete("inner").await, both);
        let purged = app.purge_workflow(&actor(), &wname("inner"), "").await;
        assert_referenced(purged, both);

        // A version that is not published does not count, one that is does.
        update(&app, "b", plain(), false).await.unwrap();
        assert_referenced(delete("inner").await, both);
        update(&app, "b", plain(), true).await.unwrap();
        assert_referenced(delete("inner").await, "projects/default/workflows/a");
        // Also one that another replica published, which does not know of calls.
        forget_calls(&store).await;
        assert_referenced(delete("inner").await, "projects/default/workflows/a");
        delete("a").await.unwrap();
        // That it runs itself keeps nobody.
        delete("inner").await.unwrap();
        // Nor does it come back without what it runs.
        let back = app
            .undelete_workflow(&actor(), &wname("a"), false, "")
            .await;
        let Err(Error::Precondition {
            reason: "REFERENCES_GONE",
            message,
            ..
        }) = back
        else {
            panic!("{back:?}");
        };
        assert!(
            message.contains("projects/default/workflows/inner does not exist"),
            "{message}"
        );
        app.undelete_workflow(&actor(), &wname("inner"), false, "")
            .await
            .unwrap();
        app.undelete_workflow(&actor(), &wname("a"), false, "")
            .await
            .unwrap();
        assert_referenced(delete("inner").await, "projects/default/workflows/a");
    })
    .await;
}

#[tokio::test]
async fn no_execution_runs_itself_without_end() {
    each_database(async |store| {
        let app = app(store.clone());
        create(&app, "c", plain()).await.unwrap();
        create(&app, "b", runs(&["c"], "")).await.unwrap();
        create(&app, "other", plain()).await.unwrap();
        create(&app, "a", runs(&["other", "b"], "")).await.unwrap();
        let circle = "spec.steps[1].runWorkflow.workflow: every execution would run the workflow itself again, \
                      by c -> a -> b -> c: let a condition decide on the way";
        let closing = || runs(&["other", "a"], "");
        let refused = update(&app, "c", closing(), true).await.unwrap_err();
        assert!(refused.contains(circle), "{refused}");
        // It is told beforehand, too, to whoever says whose definition it is.
        let definition = closing().definition.workflow;
        let own: signalbox_model::ids::WorkflowId = "c".parse().unwrap();
        let told = app.validate(&project(), Some(&own), &definition).await;
        let told: Vec<_> = told.unwrap().iter().map(ToString::to_string).collect();
        assert_eq!(told, [circle]);
        let told = app.validate(&project(), None, &definition).await.unwrap();
        assert_eq!(told, []);

        // As a draft it harms nobody; it is not published.
        update(&app, "c", closing(), false).await.unwrap();
        let published = app
            .publish_workflow(&actor(), &wname("c"), 0, "", decode)
            .await;
        let published = published.unwrap_err().to_string();
        assert!(published.contains(circle), "{published}");
        // Also when another replica published the others.
        forget_calls(&store).await;
        let refused = update(&app, "c", closing(), true).await.unwrap_err();
        assert!(refused.contains(circle), "{refused}");

        // One condition on the way is enough: a walk down a tree ends by its data.
        update(&app, "c", runs(&["other", "a"], IF), true)
            .await
            .unwrap();
        let refused = update(&app, "c", closing(), true).await;
        assert!(refused.is_err());
        update(&app, "b", runs(&["c"], IF), true).await.unwrap();
        update(&app, "c", closing(), true).await.unwrap();
        let refused = update(&app, "b", runs(&["c"], ""), true).await.unwrap_err();
        assert!(refused.contains("by b -> c -> a -> b:"), "{refused}");
    })
    .await;
}

#[tokio::test]
async fn a_workflow_may_run_itself_before_it_exists() {
    each_database(async |store| {
        let app = app(store);
        let own: signalbox_model::ids::WorkflowId = "me".parse().unwrap();
        let told = async |new: NewWorkflow, own| {
            let told = app
                .validate(&project(), own, &new.definition.workflow)
                .await;
            let told = told.unwrap().into_iter();
            told.map(|it| it.description).collect::<Vec<_>>()
        };
        assert_eq!(told(runs(&["me"], IF), Some(&own)).await, [""; 0]);
        let always = told(runs(&["me"], ""), Some(&own)).await;
        assert!(always[0].starts_with("every execution would run the workflow itself again"));
        let unknown = told(runs(&["me"], IF), None).await;
        assert_eq!(
            unknown,
            ["projects/default/workflows/me does not exist; expected a workflow of the project, which has none"]
        );
    })
    .await;
}

#[tokio::test]
async fn calls_of_an_older_database_are_noted_in_the_background() {
    each_database(async |store| {
        let app = app(store.clone());
        create(&app, "inner", plain()).await.unwrap();
        for n in 0..3 {
            create(&app, &format!("w{n}"), runs(&["inner"], ""))
                .await
                .unwrap();
        }
        assert_eq!(app.note_calls().await.unwrap(), 0);
        forget_calls(&store).await;
        assert_eq!(app.note_calls().await.unwrap(), 4);
        assert_eq!(app.note_calls().await.unwrap(), 0);
        let callers = store
            .write(async |tx| tx.callers(&wname("inner"), 10).await)
            .await;
        assert_eq!(callers.unwrap(), ["w0", "w1", "w2"]);
    })
    .await;
}
