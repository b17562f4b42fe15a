//! signalbox-migrations
