//! signalbox-control-plane
