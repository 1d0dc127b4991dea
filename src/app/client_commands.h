// Commands that talk to the node of this machine over its HTTP API: run, stop, devices, ps, rm; and
// the demo cluster's: demo, bench --nodes.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "app/data_folder.h"
#include "app/http_client.h"
#include "app/local_commands.h"
#include "app/settings.h"
#include "base/result.h"

namespace exo::app {

// The API of a node of this machine, with its admin token where this user may read that.
HttpClient ClientOf(const RunningNode& node);

// The API of the node that runs on this machine's data folder; where it left no note (on a full
// disk), of the port that the settings name. Errors: kDisconnected; kOverloaded: it runs, and does
// not answer for some seconds.
Result<HttpClient> OwnNode(const Settings& settings);

// An answer that may be waited for a few seconds at most: another program may have the port and say
// nothing. Errors: kOverloaded then; those of HttpClient::Get.
Result<nlohmann::json> GetSoon(const HttpClient& api, const std::string& path);

// How a model is to be loaded; what is unset is as its last time.
struct PlacingOptions {
  bool spread = false;
  std::string split;   // empty: not said
  std::string use;     // likewise
  uint32_t users = 0;  // answers at once; 0: not said
  std::optional<uint32_t> context;
  std::string kv;
  std::string wire;                    // empty: not said; likewise kv
  std::vector<std::string> lora = {};  // FILE[:SCALE]
  std::string draft;                   // name or path of a small model
  std::string keep;                    // a time; empty: as it is
  bool pin = false;
  bool any() const {
    return spread || !split.empty() || !use.empty() || users > 0 || !wire.empty() || context ||
           !kv.empty() || !lora.empty() || !draft.empty() || !keep.empty() || pin;
  }
};

// The body of a request to load or to plan. Errors: those of PathForNode.
Result<nlohmann::json> PlacingJson(const std::string& model, const PlacingOptions& placing);

struct AskOptions {
  std::string model;
  // Empty or "-": standard input. Else what standard input holds is added behind it, after an empty
  // line, when that is a file or a pipe.
  std::string prompt;
  bool raw = false;  // no chat template
  PlacingOptions placing;
  std::optional<uint32_t> max_tokens;
  double temperature = 0.7;
  std::optional<uint32_t> top_k;
  std::optional<double> top_p, min_p;
  std::optional<uint64_t> seed;
  bool json = false;
  bool verbose = false;     // figures behind the answer
  bool no_history = false;  // of a chat: what is asked is not kept
};

Result<void> RunRun(const Settings& settings, const AskOptions& options);
// Unloads a model from all devices. Errors: kNotFound naming what runs.
Result<void> RunStop(const Settings& settings, const std::string& model, bool json);
// A device's state for people: the API calls one that was lost "dead".
std::string StateWord(const std::string& state);
struct DevicesOptions {
  bool all = false;  // those that were forgotten, too; JSON always has them
  bool json = false;
  bool names = false;  // only names, one a line
};
Result<void> RunDevices(const Settings& settings, const DevicesOptions& options);
Result<void> RunPs(const Settings& settings, bool json);

struct DemoOptions {
  AskOptions ask;
  unsigned nodes = 3;
  unsigned threads = 1;  // of each node
  std::string split = "layer";
  std::string wire = "f32";
};
Result<void> RunDemo(const Settings& settings, const DemoOptions& options);
// `exo bench --nodes N`: prompt and decode speed over a demo cluster, one thread a node unless told
// otherwise.
Result<void> RunClusterBench(const Settings& settings, const BenchOptions& options);

struct RemoveOptions {
  std::string model;
  bool everywhere = false;  // on all devices; then only what exo has downloaded
  bool json = false;
};
// Forgets a file that was made known to this machine's node by its path, which stays, or deletes
// what was pulled. Says what was deleted, and what stays and why. Errors: those of the node,
// kIo (a device is away or has failed: the others have done it).
Result<void> RunRemove(const Settings& settings, const RemoveOptions& options);

}  // namespace exo::app
