//! The SQL of order and payment against their migrated schemas, on a real PostgreSQL.
//!
//! Every text is prepared; and those whose meaning is in their guards are run, two at once where that is the point.

mod database;
mod order;
mod payment;

use database::Database;

#[tokio::test]
async fn every_statement_prepares_against_the_migrated_schema() {
    let services = [("order", towpath_order::store::STATEMENTS), ("payment", towpath_payment::store::STATEMENTS)];
    for (service, statements) in services {
        let database = Database::migrated(service).await;
        for (name, sql) in statements {
            if let Err(error) = database.client.prepare(sql).await {
                panic!("{service}: {name}: {:?}", error.as_db_error());
            }
        }
        database.drop().await;
    }
}
