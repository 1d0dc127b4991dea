// `exo pull`: a model from the internet, or files of this machine, to its node.
#pragma once

#include <string>

#include "app/http_client.h"
#include "app/settings.h"
#include "base/result.h"

namespace exo::app {

struct PullOptions {
  // A reference (fetch/reference.h), or the path of a GGUF file or of a folder of them.
  std::string model;
  bool json = false;  // each event as a line
};

// Progress goes to standard error, and the model's name here to standard output.
// Errors: those of the node, kDisconnected (none runs).
Result<void> RunPull(const Settings& settings, const PullOptions& options);

// Brings a model here that is named by a reference and shows how far it is; its name here.
Result<std::string> PullShown(const HttpClient& api, const std::string& reference);

// How far it is, in one line: "m.gguf  45 %  1.1 of 2.5 GiB  30 MiB/s".
struct PullLine {
  std::string file;
  uint64_t completed = 0, total = 0;
  double bytes_per_second = 0, seconds_left = 0;  // 0: not known
  bool verifying = false;
  unsigned silent_seconds = 0;  // since the last byte; 0: they come
};
std::string TextOf(const PullLine& line, bool bar);

}  // namespace exo::app
