// A link's figures: as measured, and corrected by what models send over it.
//
// Thread: pure, one caller at a time.
#pragma once

#include <vector>

#include "node/link_probe.h"

namespace exo::node {

class LiveLink {
 public:
  // `heartbeat_ms`: the round trip of heartbeats at that time; 0: there was none yet.
  void SetMeasured(const LinkFigures& figures, double heartbeat_ms);
  // The rate of a large frame of a model. True: known() has changed.
  bool LearnMbps(double mbps);
  // Heartbeats take another time than they did when it was measured: it should be measured anew.
  bool IsAnother(double heartbeat_ms);
  // Zeros: not measured yet.
  const LinkFigures& known() const { return known_; }

 private:
  LinkFigures known_;
  double heartbeat_ms_ = 0;
  std::vector<double> rates_;  // since the last correction, the latest few
};

}  // namespace exo::node
