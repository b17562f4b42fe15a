//! signalbox-cli
