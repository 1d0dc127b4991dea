// One stage of one instance on this node: a thread that loads the weights, then owns the stage's
// compute and its data links until it is stopped. At the head (stage 0) it also batches, samples
// and emits.
//
//   load ─> (all stages loaded: Serve) ─> link up ─> head: batch, compute, send / receive, sample
//                                                    other: receive, compute, send
//
// What may be computed is decided by the passive machines of cluster/ (HeadMachine, StageMachine),
// which the simulator drives as well; this file only moves bytes and time.
//
// Thread: all public methods on the loop thread; RunnerEvents are called on the runner's own
// thread.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "backend/backend.h"
#include "net/data_link.h"
#include "net/identity.h"
#include "store/manifest.h"
#include "store/model.h"
#include "wire/messages.h"

namespace exo::node {

struct RunnerEvents {
  std::function<void(uint64_t done_bytes, uint64_t total_bytes)> on_progress;
  std::function<void(Result<void> result, uint64_t milliseconds)> on_loaded;
  // `lost`: the neighbour whose link broke, or zero.
  std::function<void(Error error, NodeId lost)> on_failed;
  std::function<void(RequestId request, std::vector<TokenId> tokens)> on_tokens;
  std::function<void(wire::Finished finished)> on_finished;
};

struct RunnerOptions {
  wire::Plan plan;
  uint32_t stage = 0;
  NodeId self;
  std::vector<std::string> names;                // of the stages' nodes, for messages
  std::shared_ptr<const store::ModelFile> file;  // null: pull from one of `holders`
  std::vector<net::DialOptions> holders;         // bulk links to nodes that hold the file
  std::string pull_folder;
  Time predicted_decode{};
  Time predicted_chunk{};
};

class InstanceRunner {
 public:
  // Starts loading at once. References outlive the object.
  static std::unique_ptr<InstanceRunner> Start(const net::Identity& identity,
                                               backend::Backend& backend, RunnerOptions options,
                                               RunnerEvents events);
  // Stops and joins: at most the time of one work item.
  virtual ~InstanceRunner() = default;

  // All stages are loaded: dial the next stage with `next` (unset members: no link is needed).
  virtual void Serve(net::DialOptions next) = 0;
  // The link that the previous stage dialled.
  virtual void GiveLink(std::unique_ptr<net::DataLink> link) = 0;
  // Head only.
  virtual void Submit(wire::Submit submit) = 0;
  virtual void Cancel(const RequestId& request) = 0;
  // Any stage: rows of this request need not be computed any more, also in the step that is
  // running.
  virtual void Abandon(const RequestId& request) = 0;
  // Head only: requests in work and waiting.
  virtual uint32_t active() const = 0;
  virtual uint32_t queued() const = 0;
};

}  // namespace exo::node
