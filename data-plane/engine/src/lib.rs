//! signalbox-engine
