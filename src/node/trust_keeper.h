// The node's trust on disk and in use: cluster/trust.h, read once at the start, so that later
// failures of the disk cannot turn a forgotten key into an unknown one; the secret that belongs to
// it. Writing is a job.
//
// The secret is the data folder's or a given one (settings, environment). When the cluster has
// made a new one, it is kept in the data folder, and the given one it replaces is not used any more
// (it is remembered by its fingerprint). With a secret that is neither of these, this device has
// been given to another cluster: it knows nobody there.
//
// Thread: loop. Owner: NodeImpl.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "cluster/trust.h"
#include "net/peers.h"
#include "net/secret.h"
#include "node/jobs.h"
#include "store/state.h"

namespace exo::node {

class TrustKeeper final : public net::TrustStore {
 public:
  struct Options {
    wire::TrustEntry self;  // this node as a member
    std::string folder;
    std::string given_secret;  // in text form; empty: the folder's, made when there is none
  };
  // Errors: kIo, kCorrupt (state file); kInvalid (secret mistyped or readable by others).
  static Result<std::unique_ptr<TrustKeeper>> Load(std::shared_ptr<store::State> state, Jobs& jobs,
                                                   Options options);

  // --- net::TrustStore ---
  bool IsTrusted(const NodeId& id) const override { return trust_.IsTrusted(id); }
  bool IsRevoked(const NodeId& id) const override { return trust_.IsForgotten(id); }
  void Admit(const NodeId& id, std::string_view name) override;

  // Called with everything that has changed, after it was noted to be saved.
  void OnChange(std::function<void(const cluster::Trust::Change&)> changed) {
    changed_ = std::move(changed);
  }
  const cluster::Trust& trust() const { return trust_; }
  std::shared_ptr<const net::ClusterSecret> secret() const { return secret_; }  // null: a guest

  // As those of cluster::Trust; `saved` is called when the change is on disk.
  using Saved = std::function<void(Result<void>)>;
  Result<void> Admit(wire::TrustEntry entry);
  void Forget(const NodeId& id, Saved saved);
  void Rotate(Saved saved);
  void Merge(const wire::TrustUpdate& update);
  void Join(const wire::TrustUpdate& grant, Saved saved);

  // What no job has written when the node ends is written now.
  void Flush();

 private:
  TrustKeeper(std::shared_ptr<store::State> state, Jobs& jobs, Options options)
      : state_(std::move(state)),
        jobs_(jobs),
        options_(std::move(options)),
        trust_(options_.self.id) {}
  Result<void> Read();
  void Took(const cluster::Trust::Change& change, Saved saved = nullptr);
  struct Image;
  Image Current() const;
  static Result<void> Write(store::State& state, const Image& image);
  void Save();

  const std::shared_ptr<store::State> state_;
  Jobs& jobs_;
  const Options options_;
  cluster::Trust trust_;
  std::shared_ptr<const net::ClusterSecret> secret_;
  std::string former_;          // fingerprint of the secret before this one
  bool secret_is_new_ = false;  // it was made or learned in this run: to be written
  std::function<void(const cluster::Trust::Change&)> changed_;
  std::vector<Saved> waiting_;  // for the next write
  std::vector<Saved> writing_;  // for the one that is going on
  bool unsaved_ = false;
  bool saving_ = false;
};

}  // namespace exo::node
