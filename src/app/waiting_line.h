// What a terminal shows until an answer begins: that it is waited for, and how far a model is that
// is being loaded for it.
#pragma once

#include <string>

#include "app/http_client.h"
#include "app/terminal.h"
#include "base/units.h"

namespace exo::app {

class WaitingLine {
 public:
  // `api` outlives the object.
  WaitingLine(const HttpClient& api, std::string model);
  // Call it about ten times a second. Shows nothing where a line cannot be taken back.
  void Show();
  void End();

 private:
  std::string Doing();

  const HttpClient& api_;
  const std::string model_;
  const Time start_;
  Time asked_{};  // when the node was asked last
  std::string doing_;
  size_t turn_ = 0;
  bool ended_ = false;
  ProgressLine line_;
};

}  // namespace exo::app
