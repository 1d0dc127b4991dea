// The two places a stage's model comes from (engine/stage_source.h): a file of this node, or bulk
// links to members that hold it. Also pulls a model's manifest alone, for its vocabulary.
#pragma once

#include <atomic>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "engine/stage_source.h"
#include "net/connect_link.h"
#include "net/identity.h"
#include "store/manifest.h"
#include "store/model.h"
#include "store/tensor_cache.h"

namespace exo::node {

std::unique_ptr<engine::StageSource> MakeFileSource(std::shared_ptr<const store::ModelFile> file);

struct PullOptions {
  ModelId model;
  std::string model_name;                    // for messages
  std::vector<net::ConnectOptions> holders;  // have all of it
  std::vector<net::ConnectOptions> others;   // may have a part of it
  const char* what = "model";                // likewise
};
// `identity` outlives the source.
std::unique_ptr<engine::StageSource> MakePullSource(const net::Identity& identity,
                                                    std::shared_ptr<store::TensorCache> cache,
                                                    PullOptions options);

// An adapter of a plan: a file of this node, or what members hold.
struct AdapterOptions {
  std::shared_ptr<const store::ModelFile> file;  // null: it is pulled
  PullOptions pull;                              // its name in any case
};
// `identity` outlives the source.
std::unique_ptr<engine::StageSource> MakeAdaptedSource(const net::Identity& identity,
                                                       std::shared_ptr<store::TensorCache> cache,
                                                       std::unique_ptr<engine::StageSource> model,
                                                       std::vector<AdapterOptions> adapters);

// Takes a reply with hashes of a tensor of so many bytes, which go on behind `blocks`. Errors:
// kCorrupt (others than there are in it: no reply is worth a question but that).
Result<void> TakeHashes(std::span<const uint8_t> reply, uint64_t bytes,
                        std::vector<Hash256>& blocks);

// The manifest of a model from one member, checked against its id. Blocks. Errors: kDisconnected,
// kNotFound, kCorrupt, kCancelled.
Result<std::shared_ptr<const store::Manifest>> PullManifest(const net::Identity& identity,
                                                            const net::ConnectOptions& holder,
                                                            const ModelId& model,
                                                            const std::atomic<bool>& cancel);

}  // namespace exo::node
