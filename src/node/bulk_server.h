// Answers members that pull manifests and tensors of models this node holds: one thread per bulk
// link, a few at a time.
//
// Thread: Share, Serve and the destructor on the loop thread.
#pragma once

#include <list>
#include <map>
#include <memory>
#include <thread>
#include <vector>

#include "base/mutex.h"
#include "engine/data_link.h"
#include "store/model.h"

namespace exo::node {

class BulkServer {
 public:
  // Links beyond this are closed: the puller tries another holder or again later.
  static constexpr size_t kMaxLinks = 8;

  ~BulkServer();
  // Exactly these models are given out from now on.
  void Share(const std::vector<std::shared_ptr<const store::ModelFile>>& models);
  void Serve(std::unique_ptr<engine::DataLink> link);

 private:
  struct Connection {
    std::unique_ptr<engine::DataLink> link;
    std::atomic<bool> done{false};
    std::thread thread;
  };
  std::shared_ptr<const store::ModelFile> Find(const ModelId& id);
  void Main(Connection& connection);
  wire::Message Answer(const wire::Message& question);
  void Reap();

  Mutex mutex_;
  std::map<ModelId, std::shared_ptr<const store::ModelFile>> models_ EXO_GUARDED_BY(mutex_);
  std::list<Connection> connections_;
};

}  // namespace exo::node
