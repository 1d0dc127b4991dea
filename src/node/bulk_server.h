// Answers members that pull manifests and tensors of models this node holds, or KV of requests that
// moved away from it, or measure their link to it: one thread per bulk link, a few at a time.
//
// Thread: Share, Serve and the destructor on the loop thread.
#pragma once

#include <algorithm>
#include <atomic>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <thread>
#include <vector>

#include "base/mutex.h"
#include "engine/data_link.h"
#include "node/link_turn.h"
#include "store/block_hash.h"
#include "store/manifest.h"

namespace exo::node {

// The hashes of blocks in one reply, of a tensor of so many bytes from the block at `offset` on:
// those of 64 MiB at most, so that a reply is not waited for in vain, however slow the disk.
inline constexpr uint64_t kMostHashes = 4096;
inline uint64_t HashesInReply(uint64_t bytes, uint64_t offset) {
  return std::min(kMostHashes, store::BlocksOf(bytes - offset));
}

class BulkServer {
 public:
  // Links beyond these are closed: the puller tries another holder or again later. Who measures its
  // link needs no other place than one of all.
  static constexpr size_t kMaxLinks = 8;
  static constexpr size_t kMaxOpen = 16;

  ~BulkServer();
  struct Model {
    std::shared_ptr<const store::Manifest> manifest;
    // Bytes of one tensor; blocks.
    std::function<Result<std::vector<uint8_t>>(const std::string& tensor, uint64_t offset,
                                               uint64_t bytes)>
        read;
    // Which of its tensors are here, in the order of the manifest. Null: all are.
    std::function<std::vector<bool>()> held;
  };
  // Exactly these models are given out from now on.
  void Share(std::vector<Model> models);
  // What members get of requests that have moved away; once, before the first link.
  void SharePages(std::function<wire::PageReply(const wire::PageRequest&)> pages) {
    pages_ = std::move(pages);
  }
  // Who measures its link to here waits for its turn; once, before the first link.
  void TakeTurns(std::shared_ptr<LinkTurn> turn) { turn_ = std::move(turn); }
  // `member`: otherwise a guest, who may not see what is almost the text.
  void Serve(std::unique_ptr<engine::DataLink> link, bool member);
  // Ends the links of a device that is not trusted any more.
  void Cut(const NodeId& peer);

 private:
  struct Connection {
    std::unique_ptr<engine::DataLink> link;
    bool member = false;
    bool measures = false;  // its link: it has had its turn
    bool pulls = false;     // has one of kMaxLinks places
    std::atomic<bool> cut{false};
    std::atomic<bool> done{false};
    std::thread thread;
  };
  std::optional<Model> Find(const ModelId& id);
  void Main(Connection& connection);
  static wire::ManifestReply AnswerAbout(const Model& model, bool held_only);
  // False: its link is one too many.
  bool Admit(Connection& connection, const wire::Message& question);
  void AdmitOnce(Connection& connection);
  wire::Message Answer(const Connection& connection, const wire::Message& question);
  Result<std::vector<uint8_t>> BytesFor(const Connection& connection, const Model& model,
                                        const wire::TensorRequest& ask);
  static void Cut(Connection& connection);
  void Reap();

  Mutex mutex_;
  std::map<ModelId, Model> models_ EXO_GUARDED_BY(mutex_);
  size_t pulling_ EXO_GUARDED_BY(mutex_) = 0;  // links
  Mutex hashing_;  // held meanwhile: one at a time leaves a processor for the rest
  std::list<Connection> connections_;
  std::function<wire::PageReply(const wire::PageRequest&)> pages_;
  std::shared_ptr<LinkTurn> turn_;  // null: nobody waits
};

}  // namespace exo::node
