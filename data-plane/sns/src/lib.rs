//! signalbox-sns
