// A running exo: one identity, one place in a cluster, its models, its stages and the requests that
// came in here. It drives the pure cluster core (cluster/core.h) with real sessions, real loads and
// stage threads.
//
// Thread: Start and everything of Api on the loop thread. Owner: app.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "engine/lead.h"
#include "fetch/source.h"
#include "net/event_loop.h"
#include "node/api.h"
#include "node/share_policy.h"

namespace exo::node {

struct NodeOptions {
  std::string data_folder;         // exists; locked by the caller
  std::string name;                // display name; empty: the host's name
  uint16_t port = 0;               // for peers; 0: any free one
  bool port_required = false;      // false: another port is taken when `port` is in use
  std::vector<std::string> peers;  // HOST:PORT to connect to whatever discovery says
  unsigned threads = 0;            // 0: all usable cores
  std::optional<uint64_t>
      memory_limit;           // bytes for weights and KV; unset: what is available, less a reserve
  std::string isa;            // forced instruction set, empty: the best
  bool copy_prepared = true;  // see backend::BackendOptions
  bool stream_models = true;  // layers that no memory holds are read from this device's disk
  std::string secret;         // cluster secret in text form; empty: the data folder's
  bool loopback = false;      // announce, listen and connect on this machine only
  bool discovery = true;
  std::vector<std::string> model_folders;
  std::vector<std::string> named_folders;  // those of them that the user named
  uint64_t download_space = 0;             // for models that are pulled, on disk; 0: no limit
  // For tensors pulled from peers, on disk; unset: a tenth of the disk, 20 GiB at most.
  std::optional<uint64_t> tensor_cache;
  uint64_t prefix_store = 0;     // for KV pages of ended requests, on disk; 0: none are kept
  uint32_t default_context = 0;  // positions; 0: as trained, as far as memory allows
  uint64_t keep_ms = 0;       // as in wire::DesiredModel, of a model that is loaded without a word
  uint8_t kv_type = 0;        // kernels::KvType of models that are loaded without a word about it
  ShareSettings share = {};   // of this device's speed, that models may count on
  bool keep_awake = true;     // no sleep while it answers
  bool conversations = true;  // are kept, and given to the other members
  bool log_prompts = false;   // the text of each prompt is logged
  engine::LeadOptions lead = {};  // pace and switches of the models this node leads
  fetch::Sources sources = {};    // of models that are pulled
  // Adapters of models that are loaded without a word about them.
  struct ModelAdapter {
    std::string model;  // its name
    AdapterChoice adapter;
  };
  std::vector<ModelAdapter> adapters;
};

// A started node. Destroying it ends its stages and cancels its requests; without Shutdown before,
// its connections are cut without a goodbye.
class Node : public Api {
 public:
  // Errors: kIo (ports), kInvalid (secret, key file, instruction set).
  static Result<std::unique_ptr<Node>> Start(net::EventLoop& loop, NodeOptions options);

  virtual uint16_t port() const = 0;
  virtual const NodeId& id() const = 0;
  virtual std::string Describe() const = 0;  // "cpu avx512, 2 threads; 12.1 GiB for models"
  virtual void SetApiPort(uint16_t port) = 0;
  // Ends every request of this node's clients with an error that says so. Returns how many.
  virtual size_t EndRequests() = 0;
  // Says goodbye and ends all work; `done` runs on the loop when the peers have closed their
  // sessions, after 300 ms at most. Stages are joined by jobs until the node is destroyed.
  virtual void Shutdown(std::function<void()> done) = 0;
};

}  // namespace exo::node
